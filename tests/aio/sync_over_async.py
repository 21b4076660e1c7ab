"""An async backend with the face of a sync one, so that the conformance suite can drive it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pyarrow as pa

from pennon.aio import AsyncNamespace, AsyncStorageBackend, AsyncTable, BatchStream
from pennon.aio.backend import AsyncSnapshot


class Loops:
    """An event loop for every thread that asks, each with context variables that persist."""

    def __init__(self) -> None:
        self._mine = threading.local()
        self._all: list[asyncio.Runner] = []

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        runner = getattr(self._mine, "runner", None)
        if runner is None:
            runner = self._mine.runner = asyncio.Runner()
            self._all.append(runner)
        return runner.run(coroutine)

    def close(self) -> None:
        for runner in self._all:
            runner.close()


class Sync:
    """Whatever the async object has, to be called without ``await``."""

    def __init__(self, target: Any, loops: Loops) -> None:
        self.target = target
        self.loops = loops

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.target, name)
        if name == "capabilities":
            return self._adapted(value())
        if not inspect.ismethod(value):
            return self._adapted(value)
        # The same object each time, as a bound method is equal to itself.
        called = self.__dict__[name] = self._called(value)
        return called

    def _called(self, method: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: self._adapted(method(*args, **kwargs))

    def _adapted(self, value: Any) -> Any:
        if isinstance(value, BatchStream):
            return self._reader(value)
        if inspect.iscoroutine(value):
            return self._adapted(self.loops.run(value))
        if isinstance(value, AsyncIterator):
            return self._iterated(value)
        if isinstance(value, AsyncSnapshot):
            return SyncSnapshot(value, self.loops)
        if isinstance(value, AbstractAsyncContextManager) and not isinstance(
            value, AsyncStorageBackend
        ):
            return self._entered(value)
        if isinstance(value, (AsyncNamespace, AsyncTable)):
            return Sync(value, self.loops)
        return value

    def _reader(self, stream: BatchStream) -> pa.RecordBatchReader:
        self.loops.run(_opened(stream))
        return pa.RecordBatchReader.from_batches(stream.schema, self._iterated(stream))

    def _iterated(self, source: AsyncIterator[Any]) -> Iterator[Any]:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield self.loops.run(_next(source))

    @contextlib.contextmanager
    def _entered(self, manager: AbstractAsyncContextManager[Any]) -> Iterator[Any]:
        value = self.loops.run(manager.__aenter__())
        try:
            yield value
        except BaseException as error:
            if not self.loops.run(manager.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.loops.run(manager.__aexit__(None, None, None))


class SyncSnapshot(Sync):
    """The same of a snapshot, which is a context manager."""

    def close(self) -> None:
        self.loops.run(self.target.aclose())

    def __enter__(self) -> SyncSnapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def _opened(stream: BatchStream) -> None:
    await stream


async def _next(source: AsyncIterator[Any]) -> Any:
    return await anext(source)
