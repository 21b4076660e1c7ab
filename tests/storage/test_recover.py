"""Killed processes leave nothing that ``recover`` does not finish or take back."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pytest
from lance import LanceOperation
from merge_workers import SCHEMA
from recover_workers import interrupted, race_a_rival, wild
from workers import kept

import pennon
from pennon.errors import Corrupt, OutcomeUnknown
from pennon.storage._lance import lanes, upserts
from pennon.storage._lance.places import Place
from pennon.storage.abc import StorageBackend
from pennon.testing.services import TestRoot

SPAWN = multiprocessing.get_context("spawn")


FOUND = {
    "create: claimed": ["create"],
    "create: written": ["create"],
    "append: noted": ["note"],
    "merge: twins": ["key"],
    "merge: twins, failing": ["key"],
    "merge: aligned": ["key"],
    "overwrite: indexes": ["index"],
    "index: built": [],
    "branch: claimed": ["branch"],
    "branch: made": [],
    "branch: being deleted": ["branch"],
    "branch: deleted": ["branch"],
    "drop: named": ["directory"],
}
CASES = [("local", step) for step in FOUND] + [
    ("s3", step) for step in FOUND if step in ("append: noted", "merge: twins", "branch: deleted")
]


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


def stocked(base: TestRoot) -> tuple[TestRoot, StorageBackend]:
    root = TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)
    db = kept(root)
    db.create_table("t", [{"id": n, "by": 1, "n": n} for n in range(6)], schema=SCHEMA)
    db.create_scalar_index("t", "by")
    db.write("t", [{"id": 10, "by": 1}], write_id="kept")
    return root, db


def rows(db: StorageBackend, branch: str = "main") -> dict[int, Any]:
    found = db.scan(pennon.ScanRequest("t", branch=branch)).read_all().to_pylist()
    assert max(Counter(r["id"] for r in found).values()) == 1
    return {r["id"]: r["by"] for r in found}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("base", "step"), CASES, indirect=["base"])
def test_what_a_process_leaves_when_it_is_killed(base: TestRoot, step: str) -> None:
    root, db = stocked(base)
    process = SPAWN.Process(target=interrupted, args=(root, step))
    process.start()
    process.join(100)
    assert process.exitcode == -9

    assert db.recover().findings == (), "whoever did it may still be alive"
    seen = db.recover(alone=True, dry_run=True).findings
    assert [(f.kind, f.resolved) for f in seen] == [(kind, False) for kind in FOUND[step]]
    done = db.recover(alone=True).findings
    assert [(f.kind, f.table, f.branch) for f in done] == [
        (f.kind, f.table, f.branch) for f in seen
    ]
    assert all(f.resolved for f in done), done
    assert db.recover(alone=True).findings == ()
    check(db, step)


def check(db: StorageBackend, step: str) -> None:
    """Look at what a step left, after it was put right."""
    if step == "drop: named":
        assert db.table_names() == []
        db.create_table("t", [{"id": 1}])
        return
    there = rows(db)
    if step == "overwrite: indexes":
        assert there.keys() == {1, 2}
        assert [i.rows_indexed for i in db.list_indexes("t")] == [2]
        return
    assert there.keys() >= {0, 1, 2, 3, 4, 5, 10}
    extra = {k: v for k, v in there.items() if k not in {0, 1, 2, 3, 4, 5, 10}}
    match step:
        case "merge: twins" | "merge: aligned":
            assert extra == {6: 5, 7: 5, 8: 0}
        case "merge: twins, failing":
            assert extra == {7: 0, 8: 0}
        case _:
            assert extra == {}
    assert db.write("t", [{"id": 10}], write_id="kept").rows_inserted == 1
    assert rows(db) == there
    if step.startswith("branch"):
        names = [b.name for b in db.list_branches("t")]
        assert names == (["b"] if step in ("branch: claimed", "branch: made") else [])
        if not names:
            db.create_branch("t", "b")
        assert rows(db, "b") == there
        db.write("t", [{"id": 31}], branch="b")
        assert rows(db, "b").keys() == {*there, 31}
    if step.startswith("create"):
        assert not db.table_exists("new")
        assert db.create_table("new", [{"id": 2}]).version == 1
    if step == "index: built":
        # Its files are taken by the retention; nobody sees them.
        assert [i.columns for i in db.list_indexes("t")] == [("by",)]
        assert db.create_scalar_index("t", "n").rows_indexed == len(there)
    if step == "append: noted":
        assert db.write("t", [{"id": 90}], write_id="noted").rows_inserted == 1
        assert rows(db).keys() == {*there, 90}


@pytest.mark.timeout(600)
def test_killed_at_random(base: TestRoot, race_rounds: int, tmp_path: Path) -> None:
    root, db = stocked(base)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    found: Counter[str] = Counter()
    log = tmp_path / "acknowledged"
    log.touch()
    for number in range(max(2, race_rounds // 10)):
        process = SPAWN.Process(target=wild, args=(root, seed + number, str(log)))
        size = log.stat().st_size
        process.start()
        while log.stat().st_size == size:
            assert process.is_alive()
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        process.join()
        found.update(f.kind for f in db.recover(alone=True).findings)
        assert db.recover(alone=True).findings == ()
    print(dict(found))  # noqa: T201
    there = {f"t {id}" for id in rows(db)}
    for (name,) in db.table_names():
        if name != "t":
            there |= {f"{name} {r['id']}" for r in db.scan(name).read_all().to_pylist()}
    acknowledged = [line for line in log.read_text().splitlines() if line]
    assert set(acknowledged) <= there
    for branch in db.list_branches("t"):
        assert rows(db, branch.name)


def test_upserts_that_were_one_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of them was repaired, and the process died before it came to the other."""
    root, db = stocked(TestRoot(str(tmp_path)))
    race_a_rival(db, [{"id": 7, "by": 0, "n": 0}, {"id": 8, "by": 0, "n": 0}])
    real = upserts.repaired
    done: list[str] = []

    def first_only(*args: Any) -> Any:
        done.append(args[5].write_id)
        if len(done) > 1:
            raise KeyboardInterrupt
        return real(*args)

    def upsert(id: int) -> None:
        with contextlib.suppress(KeyboardInterrupt):
            db.merge_insert("t", [{"id": id, "by": 5}], write_id=f"w{id}")

    monkeypatch.setattr(upserts, "repaired", first_only)
    threads = [threading.Thread(target=upsert, args=(id,)) for id in (7, 8)]
    with db.lock_table_for_write("t"):
        for thread in threads:
            thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while len(lane.waiting) < len(threads):
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join()
    assert sorted(done) == ["w7", "w8"]
    again = pennon.open(root.uri)
    assert again.count_rows("t", "id IN (7, 8)") == 3
    assert [f.kind for f in again.recover(alone=True).findings] == ["key"]
    assert again.recover(alone=True).findings == ()
    assert {k: v for k, v in rows(again).items() if k in (7, 8)} == {7: 5, 8: 5}


def test_a_note_stays_if_versions_it_may_speak_of_are_gone(tmp_path: Path) -> None:
    """Also where a tag keeps an older version."""
    db = pennon.open(str(tmp_path))
    db.create_table("t", [{"id": 0}])
    db.create_tag("t", "first")
    db.write("t", [{"id": 1}])
    db.write("t", [{"id": 2}], write_id="w")
    db.write("t", [{"id": 3}])
    db.optimize_table("t", compaction=False, retain=timedelta(0), alone=True)
    assert db.recover(alone=True).findings == ()
    with pytest.raises(OutcomeUnknown):
        db.write("t", [{"id": 2}], write_id="w")
    assert db.count_rows("t") == 4


@pytest.mark.parametrize("left", [b"", b"\0\0\0\0", b"\xff\xfe", b"pennon.append:other"])
def test_a_note_that_the_disk_has_torn(tmp_path: Path, left: bytes) -> None:
    """Its name is all that a repeat needs."""
    db = pennon.open(str(tmp_path))
    db.create_table("t", [{"id": 0}])
    first = db.write("t", [{"id": 1}], write_id="w")
    (note,) = tmp_path.glob("*_t/_pennon/tried/*/1-*")
    note.write_bytes(left)
    assert db.recover(alone=True).findings == ()
    assert db.write("t", [{"id": 1}], write_id="w") == first


def test_what_is_none_of_ours_is_left(tmp_path: Path) -> None:
    """A version that Lance keeps apart from the history, and strange files."""
    db = pennon.open(str(tmp_path))
    db.create_table("t", [{"id": 0}])
    table = lance.dataset(db.namespace.describe_table("t").location)
    rows = LanceOperation.Append([f.metadata for f in table.get_fragments()])
    lance.LanceDataset.commit(table, rows, read_version=1, detached=True)
    (table_path,) = tmp_path.glob("*_t")
    strange = [table_path / "_pennon/tried" / name for name in ("x", "y/z")]
    strange += [table_path / "_versions/x.manifest"]
    for path in strange:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    there = sorted((table_path / "_versions").iterdir())
    assert len(there) > 2
    assert db.recover(alone=True).findings == ()
    assert sorted((table_path / "_versions").iterdir()) == there
    assert all(path.exists() for path in strange)
    assert db.write("t", [{"id": 1}]).version == 2


@pytest.mark.parametrize("branch", ["main", "b"])
@pytest.mark.parametrize("kept_bytes", [0, 20])
def test_a_newest_version_that_the_disk_has_torn(
    tmp_path: Path, branch: str, kept_bytes: int
) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1}], durability="disk")
    db.create_branch("t", "b")
    last = db.write("t", [{"id": 2}], durability="disk", branch=branch)
    db.write("t", [{"id": 3}], branch=branch)
    place = Path(db.namespace.describe_table("t").location)
    folder = place if branch == "main" else place / "tree" / branch
    newest = min((folder / "_versions").glob("*.manifest"))
    newest.write_bytes(newest.read_bytes()[:kept_bytes])
    request = pennon.ScanRequest("t", branch=branch)
    with pytest.raises(Corrupt):
        pennon.open(tmp_path).scan(request)
    (seen,) = db.recover("t", dry_run=True).findings
    assert (seen.kind, seen.branch, seen.resolved) == ("version", branch, False)
    (done,) = db.recover("t").findings
    assert (done.kind, done.branch, done.resolved) == ("version", branch, True)
    assert db.recover(alone=True).findings == ()
    again = pennon.open(tmp_path)
    assert again.scan(request).read_all().num_rows == 2
    assert again.write("t", [{"id": 4}], branch=branch).version == last.version + 1
    assert len(list((folder / "_pennon" / "torn").iterdir())) == 1


@pytest.mark.parametrize("branch", ["main", "b"])
@pytest.mark.parametrize("kept_bytes", [None, 0, 20])
def test_data_that_the_disk_has_cut_below_whole_manifests(
    tmp_path: Path, branch: str, kept_bytes: int | None
) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1}], durability="disk")
    db.create_branch("t", "b")
    db.write("t", [{"id": 2}], durability="disk", branch=branch)
    place = Path(db.namespace.describe_table("t").location)
    folder = place if branch == "main" else place / "tree" / branch
    before = {*(folder / "data").iterdir()}
    db.write("t", [{"id": 3}], branch=branch, write_id="again")
    (lost,) = {*(folder / "data").iterdir()} - before
    db.write("t", [{"id": 4}, {"id": 5}], branch=branch)
    size = lost.stat().st_size
    if kept_bytes is None:
        lost.unlink()
    else:
        lost.write_bytes(lost.read_bytes()[:kept_bytes])

    there = {*(folder / "_versions").iterdir()}
    (seen,) = db.recover("t", dry_run=True).findings
    assert (seen.kind, seen.branch, seen.resolved) == ("version", branch, False)
    assert {*(folder / "_versions").iterdir()} == there
    (done,) = db.recover("t").findings
    assert (done.kind, done.branch, done.resolved) == ("version", branch, True)
    assert (f"{kept_bytes} of {size} bytes" if kept_bytes is not None else "missing") in done.what
    assert "has 2 rows where there were 5; 2 put aside" in done.what
    assert [f.kind for f in db.recover(alone=True).findings] == ["note"]
    assert db.recover(alone=True).findings == ()
    again = pennon.open(tmp_path)
    request = pennon.ScanRequest("t", branch=branch)
    assert again.scan(request).read_all().num_rows == 2
    # Whoever repeats a write by its id brings it back.
    repeated = again.write("t", [{"id": 3}], branch=branch, write_id="again")
    assert repeated.rows_inserted == 1
    assert again.scan(request).read_all().num_rows == 3
    assert len(list((folder / "_pennon" / "torn").iterdir())) == 2


def test_rows_that_a_lost_deletion_would_bring_back(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1}, {"id": 2}])
    db.delete_rows("t", "id = 1")
    (deletions,) = tmp_path.glob("*_t/_deletions/*")
    deletions.write_bytes(b"")
    (done,) = db.recover("t").findings
    assert "has 2 rows where there were 1; 1 put aside" in done.what
    assert pennon.open(tmp_path).count_rows("t") == 2


def test_a_file_that_was_lost_later_is_only_told_of(tmp_path: Path) -> None:
    """It was there for longer than a loss of power can be to blame for."""
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 0}])
    db.write("t", [{"id": 1}])
    (place,) = tmp_path.glob("*_t")
    newest = min((place / "_versions").glob("*.manifest"))
    long_ago = time.time() - 2 * 3600
    os.utime(newest, (long_ago, long_ago))
    db.write("t", [{"id": 2}])
    (lost,) = lance.dataset(str(place), version=2).get_fragments()[1].metadata.files
    (place / "data" / lost.path).unlink()
    there = sorted((place / "_versions").iterdir())
    (seen,) = db.recover("t").findings
    assert (seen.kind, seen.resolved) == ("version", False)
    assert "version 1 is whole; put the file back, or call rollback_table" in seen.what
    assert sorted((place / "_versions").iterdir()) == there
    db.rollback_table("t", 1)
    assert db.recover("t").findings == ()
    assert db.count_rows("t") == 1


def test_a_file_that_is_gone_from_a_bucket_is_only_told_of(s3_root: TestRoot) -> None:
    _, db = stocked(s3_root)
    place = Place.of(db.namespace, db.namespace.describe_table("t"))
    names = [m.key for m in place.store().list("data")]
    place.store().delete(names[0])
    (seen,) = db.recover("t").findings
    assert (seen.kind, seen.resolved) == ("version", False)
    assert f"{names[0]} is missing" in seen.what


@pytest.mark.parametrize("what", ["_versions/*.manifest", "data/*.lance"])
def test_a_catalog_that_the_disk_has_torn(tmp_path: Path, what: str) -> None:
    db = pennon.open(tmp_path)
    db.create_table("kept", [{"id": 1}], durability="disk")
    before = {*(tmp_path / "__manifest").glob(what)}
    db.create_table("lost", [{"id": 1}])
    (newest,) = {*(tmp_path / "__manifest").glob(what)} - before
    newest.write_bytes(b"")
    again = pennon.open(tmp_path)
    with pytest.raises(Corrupt):
        again.table_names()
    assert [f.table for f in again.recover(dry_run=True).findings] == [None]
    done = again.recover(alone=True).findings
    assert [(f.kind, f.resolved) for f in done] == [("version", True), ("directory", True)]
    assert again.recover(alone=True).findings == ()
    assert again.table_names() == [("kept",)]
    assert again.count_rows("kept") == 1
    again.create_table("lost", [{"id": 2}])
    assert pennon.open(tmp_path).count_rows("lost") == 1
