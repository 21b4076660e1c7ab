"""The one bridge from asyncio to blocking calls: a bounded pool of threads for each backend."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pennon.aio._futures import closed, settled
from pennon.aio._stream import BatchStream
from pennon.errors import InvalidOption, InvalidState, Unsupported

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MAX_CONCURRENCY", "Bridge"]

P = ParamSpec("P")
T = TypeVar("T")

MAX_CONCURRENCY = 32
"""Calls of one backend at a time, unless told otherwise: each is a thread while it runs."""
_AT_ONCE = 1000
"""Items of an iterator that are fetched in one go: a page of a listing."""


class Bridge:
    """Runs blocking calls in threads of its own, which start when they are needed.

    It belongs to no event loop: several may use it, at the same time or one after the other.

    Args:
        max_concurrency: Threads at most; further calls wait for their turn.
    """

    def __init__(self, max_concurrency: int = MAX_CONCURRENCY) -> None:
        if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"max_concurrency={max_concurrency!r} must be a whole number.")
        if max_concurrency < 1:
            raise InvalidOption(f"max_concurrency={max_concurrency} must be at least 1.")
        self._pool = ThreadPoolExecutor(max_concurrency, thread_name_prefix="pennon-aio")
        self._process = os.getpid()
        self._closing: Future[None] | None = None
        self._streams: weakref.WeakSet[BatchStream] = weakref.WeakSet()
        self._guard = threading.Lock()

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call in a thread, with the context variables of the caller.

        Raises:
            InvalidState: The bridge is closed.
            Unsupported: This is a forked child, which has none of the threads.
        """
        if os.getpid() != self._process:
            raise Unsupported(
                "This async backend was opened before a fork, and its threads stayed with the "
                "parent; call pennon.aio.open in the child, or start processes with 'spawn'."
            )
        context = copy_context()
        holder = _HOLDERS.get().get(self)
        if holder is not None:
            future = holder.submit(context.run, call, *args, **kwargs)
            if future is not None:
                return future
        try:
            return self._pool.submit(context.run, call, *args, **kwargs)
        except RuntimeError:
            if self._closing is None:
                raise
            raise closed() from None

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for a call without blocking the event loop.

        When this is cancelled, a call that has not begun never does; one that is under way is not
        waited for and ends in its thread.
        """
        return await settled(self.submit(call, *args, **kwargs))

    def stream(
        self, call: Callable[P, pa.RecordBatchReader], *args: P.args, **kwargs: P.kwargs
    ) -> BatchStream:
        """Return the stream that a call opens, as an async iterator."""
        made = BatchStream(self.submit, lambda: call(*args, **kwargs))
        with self._guard:
            self._streams.add(made)
        return made

    async def iterate(
        self, call: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T]:
        """Iterate over what a call yields, fetching a page at a time."""
        source = await self.run(call, *args, **kwargs)
        while some := await self.run(lambda: list(islice(source, _AT_ONCE))):
            for item in some:
                yield item

    @contextlib.asynccontextmanager
    async def holding(
        self, call: Callable[P, AbstractContextManager[T]], *args: P.args, **kwargs: P.kwargs
    ) -> AsyncGenerator[T]:
        """Enter a context manager that belongs to its thread, such as a lock.

        One thread of the pool serves the block alone: every call of the block runs in it, also
        those of tasks that the block starts, one after the other.
        """
        holders = _HOLDERS.get()
        outer = holders.get(self)
        holder = outer
        if holder is None or holder.is_closed:
            holder = _Holder()
            self.submit(holder.serve).add_done_callback(holder.end)
        stack, is_inside = contextlib.ExitStack(), False
        token = _HOLDERS.set(MappingProxyType({**holders, self: holder}))
        try:
            value = await self.run(lambda: stack.enter_context(call(*args, **kwargs)))
            is_inside = True
            yield value
        finally:
            # In its thread, hence after an entry whose await was cancelled: nobody waits for that.
            left = holder.submit(stack.__exit__, *sys.exc_info())
            if holder is not outer:
                holder.close()
            _HOLDERS.reset(token)
            if left is not None and is_inside:
                await asyncio.shield(asyncio.wrap_future(left))

    async def aclose(self, finish: Callable[[], object]) -> None:
        """Wait for the calls under way, drop those that have not begun, and end all threads.

        Args:
            finish: Called last, in a thread.

        Raises:
            InvalidState: The caller is in a block that has a thread of its own.
        """
        holder = _HOLDERS.get().get(self)
        if holder is not None and not holder.is_closed:
            raise InvalidState("Leave the block that holds the lock before closing the backend.")
        if os.getpid() != self._process:
            return
        with self._guard:
            mine = self._closing is None
            closing = self._closing = self._closing or Future()
        closer = threading.Thread(target=self._close, args=(closing, finish))
        if mine:
            closer.start()
        await asyncio.shield(asyncio.wrap_future(closing))
        if mine:
            closer.join()

    def _close(self, closing: Future[None], finish: Callable[[], object]) -> None:
        self._pool.shutdown(cancel_futures=True)
        with self._guard:
            streams = list(self._streams)
        for stream in streams:
            stream.release()
        try:
            finish()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            closing.set_exception(error)
        else:
            closing.set_result(None)


class _Holder:
    """One thread that serves one block."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]
        self._calls = queue.SimpleQueue()
        self._guard = threading.Lock()
        self.is_closed = False

    def submit(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T] | None:
        """Have a call run after those before; None if there is no such thread any more."""
        future: Future[T] = Future()
        with self._guard:
            if self.is_closed:
                return None
            self._calls.put((future, lambda: call(*args, **kwargs)))
        return future

    def serve(self) -> None:
        """Run calls in this thread until there will be no more."""
        while (item := self._calls.get()) is not None:
            future, call = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - raised by whoever waits
                    future.set_exception(error)

    def close(self) -> None:
        """End the thread after the calls before."""
        with self._guard:
            self.is_closed = True
            self._calls.put(None)

    def end(self, _: object) -> None:
        """Drop the calls that nobody will run, as the thread never began."""
        self.close()
        while (item := self._calls.get()) is not None:
            item[0].cancel()


_NONE: Mapping[Bridge, _Holder] = MappingProxyType({})
_HOLDERS: ContextVar[Mapping[Bridge, _Holder]] = ContextVar("pennon_aio_holders", default=_NONE)
