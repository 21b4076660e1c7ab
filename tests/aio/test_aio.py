"""pennon.aio: nothing blocks the loop, nothing is lost or left behind."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aio_gates import ROWS, SECONDS, Gate, run, threads

import pennon
import pennon.aio
from pennon import ScanRequest
from pennon.aio import AsyncStorageBackend, BatchStream
from pennon.errors import (
    InvalidOption,
    InvalidState,
    Unsupported,
)


def test_an_import_starts_no_thread_and_loads_nothing() -> None:
    code = (
        "import sys, threading, pennon.aio; pennon.aio.open; "
        "assert threading.active_count() == 1; "
        "assert not {'lance', 'pyarrow', 'obstore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_options(memory_root: str) -> None:
    for wrong in (0, -1, True, 1.5, "2"):
        with pytest.raises(InvalidOption):
            pennon.aio.open(memory_root, max_concurrency=wrong)  # type: ignore[arg-type]
    assert threads() == set()


# -- the loop --------------------------------------------------------------------------------------


def test_the_loop_never_waits(tmp_path: Path, record_property: Any) -> None:
    big = pa.table({"id": range(500_000), "x": [1.5] * 500_000})
    gaps: list[float] = []

    async def tick(stop: asyncio.Event) -> None:
        last = time.perf_counter()
        while not stop.is_set():
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async def main() -> None:
        async with pennon.aio.open(tmp_path) as db:
            await db.create_table("warm", ROWS)
            stop = asyncio.Event()
            ticker = asyncio.create_task(tick(stop))
            await db.create_table("big", big, primary_key="id")
            await asyncio.gather(*(db.write("big", big.slice(0, 50_000)) for _ in range(4)))
            async for _ in db.scan(ScanRequest("big", order_by="x")):
                pass
            await db.count_rows("big", "x > 1")
            await db.delete_rows("big", "id % 7 = 0")
            stop.set()
            await ticker

    begin = time.perf_counter()
    run(main)
    worst = max(gaps)
    record_property("note", f"event loop: longest gap {worst * 1000:.0f} ms in {len(gaps)} ticks")
    # A call that ran in the loop would be one gap as long as the call; others share this machine.
    assert worst < 0.5 * (time.perf_counter() - begin)
    assert len(gaps) > 20


def test_calls_run_at_the_same_time_up_to_the_bound(memory_root: str) -> None:
    async def main() -> None:
        async with pennon.aio.open(memory_root, max_concurrency=3) as db:
            for n in range(5):
                await db.create_table(f"t{n}", [{"id": 0}])
            gates = [Gate() for _ in range(5)]
            writes = [
                asyncio.create_task(db.write(f"t{n}", gate.data())) for n, gate in enumerate(gates)
            ]
            await asyncio.gather(*(g.has_begun() for g in gates[:3]))
            assert len(threads()) == 3
            assert not any(g.begun.is_set() for g in gates[3:])
            for gate in gates:
                gate.go.set()
            assert [r.rows_inserted for r in await asyncio.gather(*writes)] == [1] * 5
            assert len(threads()) == 3
        assert threads() == set()

    run(main)


def test_context_variables_are_those_of_the_caller(memory_root: str) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    def rows(schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        seen.append(who.get())
        who.set("the thread")
        yield pa.record_batch({"id": [1]}, schema=schema)

    async def one(db: AsyncStorageBackend, name: str) -> None:
        who.set(name)
        schema = pa.schema({"id": pa.int64()})
        await db.write("t", pa.RecordBatchReader.from_batches(schema, rows(schema)))
        assert who.get() == name

    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            await db.create_table("t", ROWS)
            await asyncio.gather(*(one(db, f"task {n}") for n in range(8)))

    run(main)
    assert sorted(seen) == [f"task {n}" for n in range(8)]


def test_several_loops_one_after_the_other_and_at_once(tmp_path: Path) -> None:
    db = pennon.aio.open(tmp_path)

    async def write(n: int) -> int:
        return (await db.write("t", [{"id": n}])).rows_inserted

    async def main() -> None:
        await db.create_table("t", ROWS)

    run(main)
    results: list[int] = []
    workers = [
        threading.Thread(target=lambda n=n: results.append(run(lambda: write(n)))) for n in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert results == [1] * 4
    assert run(lambda: db.count_rows("t")) == 14
    run(db.aclose)
    assert threads() == set()


# -- cancellation ----------------------------------------------------------------------------------


def test_a_cancelled_wait_ends_at_once_and_the_write_is_whole(tmp_path: Path) -> None:
    gate = Gate(rows=1000)

    async def main() -> None:
        async with pennon.aio.open(tmp_path) as db:
            await db.create_table("t", ROWS)
            write = asyncio.create_task(db.write("t", gate.data(), write_id="mine"))
            await gate.has_begun()
            write.cancel()
            begin = time.perf_counter()
            with pytest.raises(asyncio.CancelledError):
                await write
            assert time.perf_counter() - begin < 5
            assert not gate.go.is_set()
            assert await db.count_rows("t") == 10
            gate.go.set()
        assert threads() == set()

    run(main)
    after = pennon.open(tmp_path)
    assert after.count_rows("t") == 1010
    receipt = after.write("t", [{"id": 1}], write_id="mine")
    assert receipt.rows_inserted == 1000
    assert after.count_rows("t") == 1010


def test_a_call_that_has_not_begun_is_cancelled(memory_root: str) -> None:
    gate = Gate()

    async def main() -> None:
        async with pennon.aio.open(memory_root, max_concurrency=1) as db:
            await db.create_table("t", ROWS)
            first = asyncio.create_task(db.write("t", gate.data()))
            await gate.has_begun()
            second = asyncio.create_task(db.write("t", ROWS))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.go.set()
            await first
            assert await db.count_rows("t") == 11

    run(main)


def test_a_deadline_of_asyncio(memory_root: str) -> None:
    gate = Gate()

    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            await db.create_table("t", ROWS)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await db.write("t", gate.data())
            gate.go.set()
        assert threads() == set()

    run(main)


def test_closing_waits_for_what_is_under_way_and_drops_the_rest(memory_root: str) -> None:
    gate = Gate()

    async def main() -> None:
        db = pennon.aio.open(memory_root, max_concurrency=1)
        await db.create_table("t", ROWS)
        first = asyncio.create_task(db.write("t", gate.data()))
        await gate.has_begun()
        queued = [
            asyncio.create_task(db.write("t", ROWS)),
            asyncio.create_task(_entered(db)),
            asyncio.create_task(_drained(db.scan("t"))),
        ]
        await asyncio.sleep(0)
        closing = [asyncio.create_task(db.aclose()) for _ in range(2)]
        done, _ = await asyncio.wait(queued)
        for task in done:
            with pytest.raises(InvalidState, match="closed"):
                task.result()
        assert not first.done()
        gate.go.set()
        assert (await first).rows_inserted == 1
        await asyncio.gather(*closing)
        await db.aclose()
        assert threads() == set()
        for call in (db.count_rows("t"), db.scan("t").read_all(), db.namespace.list_tables()):
            with pytest.raises(InvalidState, match="closed"):
                await call

    run(main)
    assert pennon.open(memory_root).count_rows("t") == 11


async def _entered(db: AsyncStorageBackend) -> None:
    async with db.lock_table_for_write("t"):
        pass


async def _drained(stream: BatchStream) -> int:
    return sum([batch.num_rows async for batch in stream])


def test_a_backend_that_is_let_go_leaves_no_thread(memory_root: str) -> None:
    async def main() -> None:
        db = pennon.aio.open(memory_root)
        await db.create_table("t", ROWS)

    run(main)
    gc.collect()
    end = time.monotonic() + SECONDS
    while threads() and time.monotonic() < end:
        os.sched_yield()
    assert threads() == set()


# -- locks -----------------------------------------------------------------------------------------


def test_a_read_modify_write_under_a_lock(tmp_path: Path) -> None:
    async def add(db: AsyncStorageBackend) -> None:
        async with db.lock_table_for_write("t"):
            n = await db.count_rows("t")
            async with db.table("t").lock_table_for_write():
                await db.write("t", [{"id": n}])

    async def main() -> None:
        async with pennon.aio.open(tmp_path, max_concurrency=4) as db:
            await db.create_table("t", [{"id": 0}])
            await asyncio.gather(*(add(db) for _ in range(12)))
            found = await db.scan("t").read_all()
            assert sorted(found["id"].to_pylist()) == list(range(13))
            assert len(threads()) <= 4
        assert threads() == set()

    run(main)


def test_a_lock_that_is_cancelled_is_free(tmp_path: Path) -> None:
    async def main() -> None:
        async with pennon.aio.open(tmp_path) as db:
            await db.create_table("t", ROWS)
            entered = asyncio.Event()

            async def hold() -> None:
                async with db.lock_table_for_write("t"):
                    entered.set()
                    await asyncio.sleep(SECONDS)

            held = asyncio.create_task(hold())
            await entered.wait()
            waiting = asyncio.create_task(hold())
            while len(threads()) < 2:
                await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert not held.done()
            held.cancel()
            with pytest.raises(asyncio.CancelledError):
                await held
            assert (await db.write("t", ROWS, deadline=5)).rows_inserted == 10

    run(main)


def test_closing_inside_of_a_lock_is_refused(memory_root: str) -> None:
    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            await db.create_table("t", ROWS)
            async with db.lock_table_for_write("t"):
                with pytest.raises(InvalidState, match="Leave the block"):
                    await db.aclose()

    run(main)


def test_a_task_that_outlives_the_lock_it_was_started_under(memory_root: str) -> None:
    async def later(db: AsyncStorageBackend, left: asyncio.Event) -> Any:
        await left.wait()
        return await db.write("t", ROWS)

    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            await db.create_table("t", ROWS)
            left = asyncio.Event()
            async with db.lock_table_for_write("t"):
                late = asyncio.create_task(later(db, left))
            left.set()
            assert (await late).rows_inserted == 10

    run(main)


# -- the rest --------------------------------------------------------------------------------------


def test_the_catalog(memory_root: str) -> None:
    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            catalog = db.namespace
            await catalog.create_namespace("team")
            for n in range(3):
                await db.create_table(("team", f"t{n}"), ROWS)
            found = catalog.iter_tables("team")
            assert isinstance(found, AsyncIterator)
            assert [i async for i in found] == [("team", f"t{n}") for n in range(3)]
            assert (await catalog.describe_table(("team", "t0"))).id == ("team", "t0")
            assert "rename" in await catalog.capabilities()
            assert (catalog.kind, catalog.root) == ("memory", memory_root)
            assert await db.capabilities() == pennon.open(memory_root).capabilities

    run(main)


def test_table_objects(memory_root: str) -> None:
    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            docs = db.table("docs")
            await docs.create_table(ROWS, primary_key="id")
            await docs.create_branch("exp")
            await docs.on("exp").write([{"id": 100}])
            assert await docs.count_rows() == 10
            assert await docs.on("exp").count_rows("id >= 9") == 2
            assert await docs.on("exp").at(version=1).count_rows() == 10
            with pytest.raises(InvalidState, match=r"\.on\('main'\)"):
                await docs.at(version=1).write(ROWS)
            assert docs == db.table(("docs",))
            assert hash(docs) == hash(db.table("docs"))
            assert (docs.id, docs.on("exp").branch, docs.at(tag="v").tag) == (("docs",), "exp", "v")
            assert docs.at(version=2).version == 2
            assert docs.as_of is None
            assert repr(docs.on("exp")) == "<async <pennon table docs (exp)>>"

    run(main)


def test_what_stays_in_its_process_says_so(memory_root: str) -> None:
    async def main() -> None:
        async with pennon.aio.open(memory_root) as db:
            await db.create_table("t", [{"id": 1, "s": "a"}])
            for thing in (db, db.table("t"), db.namespace):
                with pytest.raises(Unsupported, match="stays in its process"):
                    pickle.dumps(thing)
            stream = db.scan("t")
            assert "not open yet" in repr(stream)
            assert "id, s" in repr(await stream)
            await stream.aclose()
            assert "closed" in repr(stream)

    run(main)


def test_a_forked_child_is_told(memory_root: str) -> None:
    code = f"""
import asyncio, os, warnings
warnings.simplefilter("ignore")
import pennon.aio
from pennon.errors import Unsupported

async def main(db):
    await db.create_table("t", [{{"id": 1}}])

async def child(db):
    for call in (db.count_rows("t"), db.scan("t").read_all(), db.namespace.list_tables()):
        try:
            await call
        except Unsupported as error:
            assert "before a fork" in str(error)
        else:
            os._exit(3)
    await db.aclose()

db = pennon.aio.open({memory_root!r})
asyncio.run(main(db))
pid = os.fork()
if pid == 0:
    code = 1
    try:
        asyncio.run(asyncio.wait_for(child(db), 20))
        code = 0
    finally:
        os._exit(code)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert asyncio.run(db.count_rows("t")) == 1
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    pennon.open(tmp_path).create_table("t", [{"id": n} for n in range(1000)])

    async def busy() -> None:
        async with pennon.aio.open(tmp_path) as db:
            stream = await db.scan(ScanRequest("t", batch_size=10))
            await anext(stream)
            reads = [asyncio.create_task(db.scan("t").read_all()) for _ in range(3)]
            writes = [asyncio.create_task(db.update("t", {"id": "id"})) for _ in range(2)]
            await anext(stream)
            for task in (*reads, *writes):
                task.cancel()
            await asyncio.gather(*reads, *writes, return_exceptions=True)

    def counts() -> tuple[int, int, int]:
        gc.collect()
        streams = sum(isinstance(o, BatchStream) for o in gc.get_objects())
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), streams

    for _ in range(2):
        run(busy)
    before = counts()
    for _ in range(10):
        run(busy)
    # Lance closes the file of a read that was let go when its own threads come to it.
    end = time.monotonic() + SECONDS
    while (after := counts())[1] > before[1] and time.monotonic() < end:
        os.sched_yield()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] == 0
    assert pennon.open(tmp_path).count_rows("t") == 1000
