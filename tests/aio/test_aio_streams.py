"""Streams of pennon.aio: read one batch ahead, let go of when they are left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aio_gates import SECONDS, run

import pennon
import pennon.aio
from pennon import ScanRequest
from pennon.aio import AsyncStorageBackend, BatchStream
from pennon.errors import (
    BranchNotFound,
    InvalidState,
    TableNotFound,
)
from pennon.storage.memory import MemoryBackend


class Slow(MemoryBackend):
    """Counts what its streams hand out, and whether they are let go."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.given = 0
        self.ended = threading.Event()
        self.gate: threading.Event | None = None

    def scan(self, request: Any) -> pa.RecordBatchReader:
        source = super().scan(request)
        return pa.RecordBatchReader.from_batches(source.schema, self._batches(source))

    def _batches(self, source: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            for batch in source:
                if self.gate is not None:
                    assert self.gate.wait(SECONDS)
                self.given += 1
                yield batch
        finally:
            self.ended.set()


@pytest.fixture
def slow() -> Slow:
    made = Slow()
    made.create_table("t", [{"id": n} for n in range(100)])
    return made


ONE_ROW = ScanRequest("t", batch_size=1)


def _async(backend: Slow, **options: Any) -> AsyncStorageBackend:
    from pennon.aio._bridge import Bridge

    return AsyncStorageBackend(backend, Bridge(**options))


def test_a_stream_is_read_one_batch_ahead(slow: Slow) -> None:
    async def main() -> None:
        async with _async(slow, max_concurrency=1) as db:
            seen = 0
            async for batch in db.scan_stream(ONE_ROW):
                seen += batch.num_rows
                # Whatever runs in the only thread now runs after the batch that is read ahead.
                await db.count_rows("t")
                assert seen <= slow.given <= seen + 1
            assert seen == 100

    run(main)


@pytest.mark.parametrize("way", ["aclose", "async with", "break", "cancel"])
def test_a_stream_that_is_left_in_the_middle_lets_go(slow: Slow, way: str) -> None:
    async def leave(stream: BatchStream) -> None:
        if way == "async with":
            async with stream:
                await anext(stream)
            return
        async for _ in stream:
            if way == "break":
                break
            if way == "aclose":
                await stream.aclose()
                with pytest.raises(InvalidState, match="closed"):
                    await anext(stream)
                return
            await asyncio.sleep(SECONDS)

    async def main() -> None:
        async with _async(slow) as db:
            stream = db.scan(ONE_ROW)
            task = asyncio.create_task(leave(stream))
            if way == "cancel":
                while not slow.given:
                    await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                await task
            del stream, task
            assert await asyncio.to_thread(slow.ended.wait, SECONDS)
            assert slow.given < 5

    run(main)


def test_a_read_that_is_cancelled_loses_no_batch(slow: Slow) -> None:
    slow.gate = threading.Event()

    async def main() -> None:
        async with _async(slow) as db:
            stream = db.scan(ONE_ROW)
            await stream
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(stream), 0.01)
            assert slow.gate is not None
            slow.gate.set()
            found = [batch["id"][0].as_py() async for batch in stream]
            assert found == list(range(100))
            with pytest.raises(StopAsyncIteration):
                await anext(stream)

    run(main)


def test_a_stream_is_closed_while_it_opens(slow: Slow) -> None:
    begun, go = threading.Event(), threading.Event()
    scan = slow.scan

    def late(request: Any) -> pa.RecordBatchReader:
        begun.set()
        assert go.wait(SECONDS)
        return scan(request)

    slow.scan = late  # type: ignore[method-assign]

    async def main() -> None:
        async with _async(slow) as db:
            stream = db.scan(ONE_ROW)
            opening = asyncio.create_task(stream._opened())
            await asyncio.to_thread(begun.wait, SECONDS)
            begin = time.perf_counter()
            await stream.aclose()
            assert time.perf_counter() - begin < SECONDS / 2
            assert not opening.done()
            go.set()
            with pytest.raises(InvalidState, match="closed"):
                await opening
            assert stream._reader is None

    run(main)


def test_two_tasks_do_not_share_a_stream(slow: Slow) -> None:
    slow.gate = threading.Event()

    async def main() -> None:
        async with _async(slow) as db:
            stream = await db.scan(ONE_ROW)
            first = asyncio.create_task(stream.read_all())
            while not stream._is_read:
                await asyncio.sleep(0)
            with pytest.raises(InvalidState, match="Another task"):
                await anext(stream)
            assert slow.gate is not None
            slow.gate.set()
            assert (await first).num_rows == 100

    run(main)


def test_an_error_of_a_stream_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with pennon.aio.open(tmp_path) as db:
            await db.create_table("t", [{"id": n, "s": "1" if n < 90 else "x"} for n in range(99)])
            late = db.scan(ScanRequest("t", filter="CAST(s AS INT) > 0", batch_size=10))
            for _ in range(2):
                with pytest.raises(pennon.errors.InvalidFilter):
                    await late.read_all()
            for wrong, error in (
                (ScanRequest("t", branch="b"), BranchNotFound),
                ("u", TableNotFound),
            ):
                with pytest.raises(error):
                    await db.scan(wrong)
                with pytest.raises(error):
                    async for _ in db.scan_stream(wrong):
                        pass
            with pytest.raises(InvalidState, match="await it first"):
                _ = db.scan("t").schema

    run(main)


REQUESTS: list[dict[str, Any]] = [
    {},
    {"columns": ["name", "id"]},
    {"columns": {"twice": "id * 2"}},
    {"filter": "id % 3 = 1", "order_by": [("id", "desc")], "limit": 20, "offset": 5},
    {"with_row_id": True, "batch_size": 7},
    {"version": 1},
    {"branch": "exp"},
    {"limit": 0},
]


@pytest.mark.parametrize("kind", ["memory", "local"])
def test_scan_and_its_stream_never_differ(kind: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(f"{kind}_root")
    sync = pennon.open(root)
    sync.create_table("t", [{"id": n, "name": f"n{n}"} for n in range(50)])
    sync.create_branch("t", "exp")
    sync.write("t", [{"id": 50, "name": None}], branch="exp")
    sync.delete_rows("t", "id = 7")

    async def main() -> None:
        async with pennon.aio.open(root) as db:
            for options in REQUESTS:
                asked = ScanRequest("t", **options)
                whole = sync.scan(asked).read_all()
                stream = await db.scan_stream(asked)
                assert stream.schema == whole.schema
                batches = [batch async for batch in stream]
                assert pa.Table.from_batches(batches, stream.schema).equals(whole)
                assert (await db.scan(asked).read_all()).equals(whole)
                state = {k: options[k] for k in ("version", "branch") if k in options}
                others = {k: v for k, v in options.items() if k not in state}
                handle = db.table("t", **state)
                assert (await handle.scan_stream(**others).read_all()).equals(whole)
            answer = await db.sql("t", "SELECT sum(id) AS s FROM dataset").read_all()
            assert (
                answer.to_pylist()
                == sync.sql("t", "SELECT sum(id) AS s FROM dataset").read_all().to_pylist()
            )

    run(main)
