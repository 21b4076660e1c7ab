"""One write id, used by several processes at the same moment: the write is made once."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import pytest
import twin_workers
from twin_workers import WRITES, stocked
from workers import kept

import pennon
from pennon.retry import Deadline
from pennon.storage._lance import history
from pennon.storage._lance.backend import LanceBackend
from pennon.storage.abc import StorageBackend
from pennon.testing.races import Racers
from pennon.testing.services import TestRoot

PROCESSES = 4
ON_A_BUCKET = ["append", "update", "merge", "overwrite"]
"""What is tried there as well: what differs is the store, and not what conflicts with what."""


def kinds(root: TestRoot) -> list[str]:
    return ON_A_BUCKET if root.options else list(WRITES)


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(PROCESSES) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    base = found if isinstance(found, TestRoot) else TestRoot(found)
    return TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)


def check_made_once(db: StorageBackend, kind: str, table: str, receipts: list[Any]) -> None:
    """Check that a write is in one version, and that everybody was told so."""
    made = f"{table} new" if kind in ("create", "create, overwriting") else table
    named = [i for v in db.versions(made) for i in v.write_ids]
    assert [i for i in named if i in ("w", "w/old")].count("w") == (kind != "update indexes"), kind
    assert len(named) == len(set(named)), (kind, named)
    assert all(r == receipts[0] for r in receipts), (kind, receipts)


@pytest.mark.timeout(300)
def test_at_the_same_moment(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    db = kept(root)
    for kind in kinds(root):
        for number in range(max(1, race_rounds // 20)):
            table = f"{kind} {number}"
            stocked(db, table)
            outcomes = racers.run(twin_workers.write, root, table, kind)
            assert all(o.won for o in outcomes), [o.text for o in outcomes]
            check_made_once(db, kind, table, [o.value for o in outcomes])


@pytest.fixture
def stalling() -> Iterator[Connection]:
    spawn = multiprocessing.get_context("spawn")
    pipe, theirs = spawn.Pipe()
    process = spawn.Process(target=twin_workers.stall, args=(theirs,), daemon=True)
    process.start()
    yield pipe
    pipe.close()
    process.join(30)
    assert process.exitcode == 0


@pytest.mark.timeout(300)
def test_a_process_that_stalls_as_it_commits(root: TestRoot, stalling: Connection) -> None:
    db = kept(root)
    for kind in kinds(root):
        stocked(db, kind)
        stalling.send((root, kind, kind))
        assert stalling.recv() == "stalled"
        mine = twin_workers.write(1, root, kind, kind)
        stalling.send("go on")
        check_made_once(db, kind, kind, [mine, stalling.recv()])


@pytest.mark.timeout(300)
def test_a_process_that_stalls_until_its_note_is_forgotten(
    local_root: str, stalling: Connection
) -> None:
    root = TestRoot(local_root)
    db = kept(root)
    stocked(db, "t")
    stalling.send((root, "t", "append"))
    assert stalling.recv() == "stalled"
    assert [f.kind for f in db.recover(alone=True).findings] == ["note"]
    mine = twin_workers.write(1, root, "t", "append")
    stalling.send("go on")
    check_made_once(db, "append", "t", [mine, stalling.recv()])


@pytest.mark.timeout(300)
def test_appends_that_wait_for_each_other_in_several_processes(
    local_root: str, racers: Racers, race_rounds: int
) -> None:
    root = TestRoot(local_root)
    db = kept(root)
    ids = 8
    for number in range(max(1, race_rounds // 20)):
        table = f"t{number}"
        db.create_table(table, [{"id": -1}])
        outcomes = racers.run(twin_workers.append_in_threads, root, table, ids)
        assert all(o.won for o in outcomes), [o.text for o in outcomes]
        rows = db.scan(table).read_all()["id"].to_pylist()
        assert sorted(rows) == list(range(-1, ids))
        for receipts in zip(*(o.value for o in outcomes), strict=True):
            assert all(r == receipts[0] for r in receipts)


@pytest.mark.parametrize("branch", ["main", "b"])
def test_a_bar_changes_nothing(local_root: str, branch: str) -> None:
    db = pennon.open(local_root)
    assert isinstance(db, LanceBackend)
    rows = [{"id": n, "body": f"word {n % 7}", "in": {"a": [n]}} for n in range(300)]
    db.create_table("t", rows, primary_key="id")
    db.create_scalar_index("t", "id")
    db.create_fts_index("t", "body")
    db.create_branch("t", "b")
    db.write("t", [{**row, "id": row["id"] + 1000} for row in rows[:5]], branch=branch)
    db.delete_rows("t", "id < 10", branch=branch)
    db.update("t", {"body": "'special'"}, "id = 50", branch=branch)
    place = db._place("t", branch)  # pyright: ignore[reportPrivateUsage]

    def state() -> list[Any]:
        found = place.open()
        columns = ["id", "body", "in", "_row_created_at_version", "_row_last_updated_at_version"]
        scanner = found.scanner(columns=columns, with_row_id=True, with_row_address=True)
        schema = found.schema
        return [
            *(scanner.to_table().to_pylist(), schema, [dict(f.metadata or {}) for f in schema]),
            *(db.list_indexes("t", branch=branch), found.config()),
            db.full_text_search("t", "body", "special", k=10, branch=branch).num_rows,
        ]

    before, head = state(), place.open()
    after = history.bar(place, head, Deadline.after(10, 10))
    assert after.version == head.version + 1
    assert before[-1] == 1
    assert state() == before
    assert db.diff("t", head.version, after.version, branch=branch).read_all().num_rows == 0
