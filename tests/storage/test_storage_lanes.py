"""Appends that wait for one table are committed together, and lanes do not outlive their use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

import pennon
from pennon.errors import CommitConflict, OutcomeUnknown, PennonError, SchemaMismatch
from pennon.storage._lance import lanes
from pennon.storage._lance.backend import LanceBackend
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.jobs import Job, fail
from pennon.storage.abc import CommitReceipt


def test_appends_that_wait_are_one_commit(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    receipts: dict[int, CommitReceipt] = {}

    def work(number: int) -> None:
        rows = [{"id": number}] * (number + 1)
        named = f"w{number}" if number % 2 else None
        receipts[number] = db.write("t", rows, write_id=named)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    with db.lock_table_for_write("t"):
        for thread in threads:
            thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while len(lane.waiting) < len(threads):
            threading.Event().wait(0.01)
        assert db.write("t", [{"id": 100}]).version == 2
    for thread in threads:
        thread.join()
    assert {r.version for r in receipts.values()} == {3}
    assert [receipts[n].rows_inserted for n in range(8)] == list(range(1, 9))
    assert len({r.write_id for r in receipts.values()}) == 8
    assert db.count_rows("t") == 2 + 36
    again = pennon.open(local_root)
    for number in (1, 3, 5, 7):
        rows = [{"id": number}] * (number + 1)
        assert again.write("t", rows, write_id=f"w{number}") == receipts[number]
    assert db.count_rows("t") == 2 + 36
    assert not lanes._lanes  # pyright: ignore[reportPrivateUsage]
    assert not lanes._busy  # pyright: ignore[reportPrivateUsage]


def test_rows_that_are_wrong_do_not_hurt_those_that_wait_along_with_them(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", schema=pa.schema([pa.field("id", pa.int64(), nullable=False)]))
    plain = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    wrong = pa.table([pa.array([1, None], pa.int64())], schema=plain)
    found: dict[int, CommitReceipt | PennonError] = {}

    def work(number: int, data: object) -> None:
        try:
            found[number] = db.write("t", data)
        except PennonError as error:
            found[number] = error

    sources = [[{"id": 7}], wrong, [{"id": 8}], {"nope": [1]}, wrong.slice(0, 0)]
    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(sources)]
    with db.lock_table_for_write("t"):
        for thread in threads:
            thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while len(lane.waiting) < len(threads):
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join()
    assert [isinstance(found[n], SchemaMismatch) for n in range(5)] == [
        *(False, True, False, True, False)
    ]
    assert sorted(db.scan("t").read_all()["id"].to_pylist()) == [7, 8]
    empty = found[4]
    assert isinstance(empty, CommitReceipt)
    assert empty.rows_inserted == 0


def test_waiting_appends_share_a_data_file(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    threads = [
        threading.Thread(target=db.write, args=("t", pa.table({"id": [n] * size})))
        for n, size in enumerate([1, 100_000, 1, 1, 100_000, 1])
    ]
    with db.lock_table_for_write("t"):
        for thread in threads:
            thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while len(lane.waiting) < len(threads):
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join()
    assert db.count_rows("t") == 1 + 4 + 200_000
    folder = db.namespace.describe_table("t").location
    assert len(list(Path(folder, "data").iterdir())) == 1 + 2 + 1


def test_a_schema_with_a_key_is_the_same_in_the_next_version(tmp_path: Path) -> None:
    # Lance shows the metadata of a field in any order, so that schemas are not compared as text.
    db = pennon.open(tmp_path)
    rows = pa.table({"id": range(50_000), "x": [1.5] * 50_000})
    db.create_table("t", rows.slice(0, 1), primary_key="id")

    def batches() -> Iterator[pa.RecordBatch]:
        yield from rows.to_batches()
        db.write("t", rows.slice(0, 1))

    for _ in range(8):
        source = pa.RecordBatchReader.from_batches(rows.schema, batches())
        assert db.write("t", source).rows_inserted == 50_000


def test_writes_that_fail_together_raise_errors_of_their_own(local_root: str) -> None:
    db = pennon.open(local_root)
    assert isinstance(db, LanceBackend)
    db.create_table("t", [{"id": -1}])
    place = db._place("t")  # pyright: ignore[reportPrivateUsage]
    failed = [Job(asked=Asked("append", f"w{n}", repeated=False, seconds=1)) for n in range(3)]
    fail(place, failed, CommitConflict("Rivals won.", table=("t",)))
    assert len({id(job.error) for job in failed}) == 3
    assert {(type(job.error), str(job.error)) for job in failed} == {
        (CommitConflict, "Rivals won.")
    }


def test_a_write_whose_committer_was_interrupted_is_not_made_again(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    found: list[BaseException] = []

    def work() -> None:
        try:
            db.write("t", [{"id": 1}])
        except PennonError as error:
            found.append(error)

    thread = threading.Thread(target=work)
    with db.lock_table_for_write("t"):
        thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while not lane.waiting:
            threading.Event().wait(0.01)
        with pytest.raises(KeyboardInterrupt), lane.together(lambda _: True):
            raise KeyboardInterrupt
    thread.join()
    assert [type(error) for error in found] == [OutcomeUnknown]
    assert db.count_rows("t") == 1
