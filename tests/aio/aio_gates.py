"""What tests of the async side share: a time limit, and writes that wait to be let through."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pyarrow as pa

ROWS = [{"id": n} for n in range(10)]
SECONDS = 30


def run(main: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(asyncio.wait_for(main(), SECONDS))


class Gate:
    """Rows that a write waits for, so that tests decide how far it is."""

    def __init__(self, rows: int = 1) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.schema = pa.schema({"id": pa.int64()})
        self.rows = rows

    def data(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        self.begun.set()
        assert self.go.wait(SECONDS)
        yield pa.record_batch({"id": list(range(100, 100 + self.rows))})

    async def has_begun(self) -> None:
        await asyncio.to_thread(self.begun.wait, SECONDS)


def threads() -> set[str]:
    return {t.name for t in threading.enumerate() if t.name.startswith("pennon-aio")}
