"""Record batches as an async iterator."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pennon.aio._futures import settled
from pennon.errors import InvalidState

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["BatchStream"]


class BatchStream:
    """The record batches of one read: the async twin of a ``pyarrow.RecordBatchReader``.

    >>> async for batch in db.scan("docs"):
    ...     print(batch.num_rows)
    >>> table = await db.scan("docs").read_all()

    It opens when it is first used, or awaited, which returns the stream itself. While one batch is
    worked on the next one is read, and no more. The reader is let go at the end, by ``aclose()``,
    at the end of an ``async with``, and when the stream itself is let go, as by ``break``. A read
    that is cancelled loses nothing: the next one returns the batch it would have. One task reads at
    a time.
    """

    def __init__(
        self, submit: Callable[..., Future[Any]], start: Callable[[], pa.RecordBatchReader]
    ) -> None:
        self._submit = submit
        self._start = start
        self._reader: pa.RecordBatchReader | None = None
        self._schema: pa.Schema | None = None
        self._ahead: Future[pa.RecordBatch | None] | None = None
        self._is_read = False
        self._is_closed = False
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        columns = None if self._schema is None else ", ".join(self._schema.names)
        state = "closed" if self._is_closed else columns or "not open yet"
        return f"<async stream of record batches: {state}>"

    @property
    def schema(self) -> pa.Schema:
        """The columns; of a stream that is open.

        Raises:
            InvalidState: It is not; await it first.
        """
        if self._schema is None:
            raise InvalidState("The stream is not open yet; await it first.")
        return self._schema

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._opened().__await__()

    async def _opened(self) -> Self:
        self._check()
        if self._schema is None:
            await settled(self._submit(self._open))
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> pa.RecordBatch:
        self._check()
        self._is_read = True
        try:
            if self._ahead is None or self._ahead.cancelled():
                self._ahead = self._submit(self._next)
            batch = await settled(self._ahead)
        finally:
            self._is_read = False
        if batch is None:
            self._reader = None
            raise StopAsyncIteration
        # Closing the backend meanwhile takes the next batch, not this one.
        with contextlib.suppress(InvalidState):
            self._ahead = self._submit(self._next)
        return batch

    async def read_all(self) -> pa.Table:
        """Return all rows that are left."""
        import pyarrow as pa

        await self
        batches = [batch async for batch in self]
        return pa.Table.from_batches(batches, self.schema)

    async def aclose(self) -> None:
        """Let go of the reader; waits for the batch that is being read."""
        ahead, self._ahead = self._ahead, None
        self.release()
        if ahead is not None and not ahead.cancel():
            with contextlib.suppress(Exception):
                await asyncio.shield(asyncio.wrap_future(ahead))

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def release(self) -> None:
        """Let go of the reader without waiting, from any thread."""
        # In this order, and without the lock: an opening looks for it when it has its reader.
        self._is_closed = True
        self._reader = None

    def _check(self) -> None:
        if self._is_closed:
            raise InvalidState("The stream is closed; read the table again.")
        if self._is_read:
            raise InvalidState("Another task is reading this stream; give each task its own.")

    # -- in a thread -------------------------------------------------------------------------------

    def _open(self) -> pa.RecordBatchReader:
        # A rival is the call of an await that was cancelled: it goes on until it is open.
        with self._guard:
            reader = self._reader
            if reader is None and not self._is_closed:
                reader = self._reader = self._start()
                self._schema = reader.schema
            if reader is None or self._is_closed:
                self._reader = None
                raise InvalidState("The stream was closed meanwhile.")
            return reader

    def _next(self) -> pa.RecordBatch | None:
        reader = self._open()
        try:
            return reader.read_next_batch()
        except StopIteration:
            return None
