"""Appends that wait for one table are committed together, and lanes do not outlive their use."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.errors import (
    CommitConflict,
    OutcomeUnknown,
    PennonError,
    SchemaMismatch,
    TableNotFound,
)
from pennon.namespaces.abc import TableInfo
from pennon.namespaces.directory import DirectoryNamespace
from pennon.storage._lance import commit, lanes
from pennon.storage._lance.backend import LanceBackend
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.jobs import Job, fail
from pennon.storage.abc import CommitReceipt, StorageBackend


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


class Held:
    """Appends of one row each that wait for the lane of a table."""

    def __init__(self, db: StorageBackend, count: int) -> None:
        self.db = db
        # Who wrote to a table before lets others look whether it is there.
        db.create_table("t", [{"id": -2}])
        db.write("t", [{"id": -1}])
        self.receipts: dict[int, CommitReceipt] = {}
        self.errors: list[PennonError] = []
        self.threads = [threading.Thread(target=self._work, args=(n,)) for n in range(count)]

    def _work(self, number: int) -> None:
        try:
            self.receipts[number] = self.db.write("t", pa.table({"id": [number]}))
        except PennonError as error:
            self.errors.append(error)

    def run(self, before: Callable[[], object]) -> None:
        """Let them go after something was done that they did not see before they waited."""
        with self.db.lock_table_for_write("t"):
            for thread in self.threads:
                thread.start()
            (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
            while len(lane.waiting) < len(self.threads):
                threading.Event().wait(0.01)
            before()
        for thread in self.threads:
            thread.join()


def test_one_look_at_the_catalog_serves_those_that_wait(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = pennon.open(local_root)
    held, looks = Held(db, 8), list[object]()
    describe = DirectoryNamespace.describe_table

    def counted(self: DirectoryNamespace, *args: Any, **options: Any) -> TableInfo:
        looks.append(args)
        return describe(self, *args, **options)

    held.run(lambda: monkeypatch.setattr(DirectoryNamespace, "describe_table", counted))
    assert len(held.receipts) == 8
    assert len(looks) == 1


@pytest.mark.parametrize("again", [False, True])
def test_a_table_that_is_dropped_while_appends_wait(local_root: str, *, again: bool) -> None:
    db = pennon.open(local_root)
    held, other = Held(db, 3), pennon.open(local_root)

    def drop() -> None:
        other.drop_table("t")
        if again:
            other.create_table("t", [{"id": -3}])

    held.run(drop)
    if again:
        assert sorted(db.scan("t").read_all()["id"].to_pylist()) == [-3, 0, 1, 2]
        assert len(held.receipts) == 3
    else:
        assert [type(error) for error in held.errors] == [TableNotFound] * 3
        assert not db.table_exists("t")


@pytest.mark.parametrize("files", [False, True])
def test_a_table_that_is_dropped_before_the_commit_is_seen(
    local_root: str, monkeypatch: pytest.MonkeyPatch, *, files: bool
) -> None:
    db = pennon.open(local_root)
    held, other = Held(db, 3), pennon.open(local_root)
    seen = commit.seen

    location = db.namespace.describe_table("t").location

    def dropped(*args: Any) -> CommitReceipt | None:
        other.drop_table("t")
        return seen(*args)

    def forgotten(*args: Any) -> CommitReceipt | None:
        other.namespace.deregister_table("t")
        lance.dataset(location).insert(pa.table({"id": [7]}))
        return seen(*args)

    held.run(lambda: monkeypatch.setattr(commit, "seen", forgotten if files else dropped))
    assert not held.receipts
    assert [type(error) for error in held.errors] == [CommitConflict] * 3
    if files:
        assert len({error.context["write_id"] for error in held.errors}) == 3


@pytest.mark.parametrize(
    "call",
    [
        lambda db: db.write("t", [{"id": 1}]),
        lambda db: db.lock_table_for_write("t").__enter__(),
    ],
)
def test_who_is_interrupted_leaves_the_lane_to_others(
    local_root: str, call: Callable[[StorageBackend], object]
) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    entered, leave = threading.Event(), threading.Event()
    main = threading.main_thread().ident or 0

    def hold() -> None:
        with db.lock_table_for_write("t"):
            entered.set()
            (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
            while not lane._turns:  # pyright: ignore[reportPrivateUsage]
                threading.Event().wait(0.01)
            signal.pthread_kill(main, signal.SIGINT)
            leave.wait(10)

    # A process in the background of a shell ignores the signal unless it says otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(10)
    try:
        with pytest.raises(KeyboardInterrupt):
            call(db)
    finally:
        signal.signal(signal.SIGINT, before)
    leave.set()
    thread.join()
    db.write("t", [{"id": 2}])
    assert sorted(db.scan("t").read_all()["id"].to_pylist()) == [-1, 2]


def test_a_deadline_that_comes_when_the_rows_are_committed(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever committed them has yet to say so: it is no conflict any more."""
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    found: dict[str, CommitReceipt] = {}
    committed = threading.Event()
    wake, turn = lanes.Lane._wake, lanes._Turn  # pyright: ignore[reportPrivateUsage]

    def work(name: str) -> None:
        found[name] = db.write("t", [{"id": 1}])

    first = threading.Thread(target=work, args=("patient",))
    second = threading.Thread(target=work, args=("impatient",))

    class Expires:
        def acquire(self, timeout: float) -> bool:
            assert committed.wait(timeout)
            return False

    def of_each(*args: Any) -> object:
        made: Any = turn(*args)
        if threading.current_thread() is second:
            made.gate = Expires()
        return made

    def late(self: lanes.Lane) -> None:
        if threading.current_thread() is first:
            committed.set()
            second.join()
        wake(self)

    monkeypatch.setattr(lanes, "_Turn", of_each)
    monkeypatch.setattr(lanes.Lane, "_wake", late)
    with db.lock_table_for_write("t"):
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        for number, thread in enumerate((first, second)):
            thread.start()
            while len(lane.waiting) <= number:
                threading.Event().wait(0.01)
    first.join()
    assert {n: (r.version, r.rows_inserted) for n, r in found.items()} == {
        "patient": (2, 1),
        "impatient": (2, 1),
    }
    assert db.count_rows("t") == 3


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
    failed = [
        Job(asked=Asked("append", f"w{n}", repeated=False, seconds=1), place=place)
        for n in range(3)
    ]
    fail(failed, CommitConflict("Rivals won.", table=("t",)))
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


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_write_that_another_thread_is_about_to_make_is_made_within_the_lock(
    local_root: str, mode: Literal["append", "overwrite"]
) -> None:
    """Else each would wait for the other: one for the lock, one for the write."""
    db = pennon.open(local_root)
    db.create_table("t", [{"id": -1}])
    found: list[CommitReceipt] = []

    def work() -> None:
        found.append(db.write("t", [{"id": 1}], mode=mode, write_id="w"))

    thread = threading.Thread(target=work)
    with db.lock_table_for_write("t"):
        thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while not lane._turns:  # pyright: ignore[reportPrivateUsage]
            threading.Event().wait(0.01)
        mine = db.write("t", [{"id": 1}], mode=mode, write_id="w", deadline=5)
    thread.join()
    assert found == [mine]
    assert db.count_rows("t") == (2 if mode == "append" else 1)
    assert not lanes._busy  # pyright: ignore[reportPrivateUsage]


def test_no_write_is_lost_or_made_twice_whatever_waits(local_root: str) -> None:
    backends = [pennon.open(local_root), pennon.open(local_root)]
    backends[0].create_table("t", [{"id": -1}], primary_key="id")
    done: dict[int, CommitReceipt | PennonError] = {}

    def write(db: StorageBackend, key: int, dice: random.Random) -> CommitReceipt:
        rows, seconds = {"id": [key]}, dice.choice([None, None, 0.001, 0.03])
        match dice.randrange(8):
            case 0:
                return db.write("t", rows, commit_message="alone", deadline=seconds)
            case 1:
                return db.merge_insert("t", rows, deadline=seconds)
            case 2:
                return db.write("t", rows, write_id=f"w{key}", deadline=seconds)
            case 3:
                with db.lock_table_for_write("t", deadline=seconds):
                    return db.write("t", rows)
            case 4:
                return db.write("t", {"id": ["no number"]})
            case _:
                return db.write("t", rows, deadline=seconds)

    def work(thread: int) -> None:
        dice = random.Random(thread)
        for key in range(thread * 100, thread * 100 + 20):
            try:
                done[key] = write(dice.choice(backends), key, dice)
            except PennonError as error:
                done[key] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    there = backends[0].scan("t").read_all()["id"].to_pylist()
    assert len(there) == len(set(there))
    assert {k for k, found in done.items() if isinstance(found, CommitReceipt)} <= set(there)
    unsettled = {k for k, found in done.items() if isinstance(found, OutcomeUnknown)}
    failed = {k for k, found in done.items() if isinstance(found, PennonError)}
    assert not (failed - unsettled) & set(there)
    assert len(done) == 160
    assert not lanes._lanes  # pyright: ignore[reportPrivateUsage]
