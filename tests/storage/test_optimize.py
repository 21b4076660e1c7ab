"""Promise 7: optimizing never takes a row, an update or an index away from anybody."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from optimize_workers import use_or_optimize
from workers import kept

import pennon
from pennon.errors import (
    BranchNotFound,
    CommitConflict,
    OutcomeUnknown,
    StorageError,
    VersionNotFound,
)
from pennon.retry import Deadline
from pennon.storage._lance import (
    branches,
    building,
    maintenance_methods,
    optimize,
    places,
    rebuilds,
    removal,
    tags,
)
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.keys import with_primary_key
from pennon.testing.races import Racers
from pennon.testing.services import TestRoot

SCHEMA = with_primary_key(pa.schema({"id": pa.int64(), "n": pa.int64()}), "id")
AT_ONCE: Any = {"retain": timedelta(0), "alone": True}


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(5) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


def stocked(db: StorageBackend, fragments: int = 20, rows: int = 20) -> None:
    """Create ``t`` in many fragments."""
    db.create_table("t", schema=SCHEMA)
    for f in range(fragments):
        db.write("t", [{"id": f * rows + k, "n": 0} for k in range(rows)])


def raw(db: StorageBackend, branch: str = "main") -> lance.LanceDataset:
    place = db.namespace.describe_table("t").location
    return lance.dataset(place if branch == "main" else f"{place}/tree/{branch}")


@pytest.mark.timeout(600)
def test_beside_writers_and_readers_of_other_processes(
    base: TestRoot, racers: Racers, race_rounds: int
) -> None:
    root = TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)
    db = kept(root)
    stocked(db)
    db.create_scalar_index("t", "n")
    times = max(4, min(race_rounds // 2, 30))
    outcomes = racers.run(use_or_optimize, root, times)
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    did = [o.value for o in outcomes]
    rows = {r["id"]: r["n"] for r in db.scan("t").read_all().to_pylist()}
    assert len(rows) == db.count_rows("t") == 400 + 2 * times - times
    # Every update is there: those of the merges last set the value, so only others are counted.
    untouched = [k for k in rows if times <= k < 400 and k % 7 == 0]
    assert {rows[k] for k in untouched} == {times}
    assert sum(d["deleted"] for d in did) == times
    assert sum(d["inserted"] for d in did) == 2 * times
    for n in {*rows.values()}:
        found = db.scan(ScanRequest("t", filter=f"n = {n}")).read_all().num_rows
        assert found == sum(v == n for v in rows.values())
    print(f"{times} optimizations, {did[0]['conflicts']} lost to writers")  # noqa: T201


def test_rows_keep_their_ids_and_indexes(local_root: str) -> None:
    db = pennon.open(local_root)
    stocked(db)
    db.create_scalar_index("t", "id")
    db.write("t", [{"id": 5000, "n": 1}])
    db.delete_rows("t", "id < 5")
    request = ScanRequest("t", with_row_id=True, order_by="id")
    before = db.scan(request).read_all()
    columns = ["id", "_row_created_at_version", "_row_last_updated_at_version"]
    history = raw(db).to_table(columns=columns).sort_by("id")
    report = db.optimize_table("t", **AT_ONCE)
    # The last one is covered by a segment of its own, and not joined with others.
    assert (report.fragments_removed, report.rows_rewritten) == (20, 395)
    assert report.fragments_added == 1
    assert report.indexes_updated == tuple(i.name for i in db.list_indexes("t"))
    assert report.versions_removed > 20
    assert report.files_removed > 40
    assert report.bytes_removed > 20_000
    assert db.scan(request).read_all().equals(before)
    assert raw(db).to_table(columns=columns).sort_by("id").equals(history)
    (index,) = db.list_indexes("t")
    assert (index.rows_indexed, index.rows_not_indexed) == (396, 0)
    assert [v.operation for v in db.versions("t")][-1] != "baseoperation"
    assert len(list(Path(raw(db).uri, "_versions").glob("*.manifest"))) == 1
    raw(db).validate()


def test_a_writer_wins_over_a_rewrite(local_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change between the rewrite and its commit is kept, and the rewrite is done again."""
    from lance.optimize import Compaction

    db = pennon.open(local_root)
    stocked(db, 4)
    real = Compaction.commit
    rivals = [3, 4, 5]

    def late(*args: Any) -> Any:
        if rivals:
            lance.dataset(raw(db).uri).update({"n": "n + 1"}, where=f"id = {rivals.pop()}")
        return real(*args)

    monkeypatch.setattr(Compaction, "commit", staticmethod(late))
    report = db.optimize_table("t")
    assert report.conflicts == 3
    assert report.fragments_removed == 4
    assert db.count_rows("t", "n = 1 AND id IN (3, 4, 5)") == 3
    assert db.count_rows("t") == 80
    # What lost is taken back at once, and named by nobody.
    named = {f.path for v in raw(db).versions() for x in files(db, v["version"]) for f in x.files}
    there = {p.name for p in Path(raw(db).uri, "data").iterdir()}
    assert there == named


def files(db: StorageBackend, version: int) -> list[Any]:
    return [f.metadata for f in raw(db).checkout_version(version).get_fragments()]


def test_a_fragment_that_is_never_still_is_left(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lance.optimize import Compaction

    db = pennon.open(local_root)
    stocked(db, 4)
    real = Compaction.commit
    busy = iter(range(20))

    def late(*args: Any) -> Any:
        lance.dataset(raw(db).uri).update({"n": "n + 1"}, where=f"id = {next(busy)}")
        return real(*args)

    monkeypatch.setattr(Compaction, "commit", staticmethod(late))
    report = db.optimize_table("t")
    assert report.conflicts == optimize._LOSSES  # pyright: ignore[reportPrivateUsage]
    assert report.fragments_removed == 0
    assert db.count_rows("t") == 80


def test_a_compaction_without_an_answer_is_found(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lance.optimize import Compaction

    db = pennon.open(local_root)
    stocked(db, 4)
    real = Compaction.commit
    calls: list[int] = []

    def mute(*args: Any) -> Any:
        calls.append(1)
        real(*args)
        raise OSError("Generic S3 error: error sending request for url")

    monkeypatch.setattr(Compaction, "commit", staticmethod(mute))
    report = db.optimize_table("t")
    assert (report.fragments_removed, report.conflicts, len(calls)) == (4, 0, 1)
    assert db.count_rows("t") == 80


def test_a_compaction_that_is_interrupted_loses_no_row(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes after the commit, before its answer."""
    from lance.optimize import Compaction

    db = pennon.open(local_root)
    stocked(db, 4)
    real = Compaction.commit

    def interrupted(*args: Any) -> Any:
        real(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Compaction, "commit", staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        db.optimize_table("t")
    assert len(files(db, raw(db).version)) == 1
    assert db.scan("t").read_all().num_rows == 80


def test_nothing_is_removed_before_what_replaces_it_is_on_the_disk(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pennon.objects import _files

    db = pennon.open(local_root)
    stocked(db, 4)
    before = sorted(p.name for p in Path(raw(db).uri, "data").iterdir())

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(_files, "_sync", broken)
        with pytest.raises(StorageError, match="Input/output"):
            db.optimize_table("t", **AT_ONCE)
    after = {p.name for p in Path(raw(db).uri, "data").iterdir()}
    assert {*before} < after


def test_a_version_is_kept_from_the_moment_another_one_followed_it(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old it is: who reads the newest version is not too slow because nobody wrote."""
    db = pennon.open(local_root)
    stocked(db, 3)
    moment = places.committed_at(raw(db))

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return moment

    monkeypatch.setattr(optimize, "datetime", Clock)
    # At that moment the version before the last one was the newest.
    how: Any = {"compaction": False, "retain": timedelta(microseconds=1), "alone": True}
    assert db.optimize_table("t", dry_run=True, **how).versions_removed == 2
    assert db.optimize_table("t", **how).versions_removed == 2
    assert [v.version for v in db.versions("t")] == [4, 3]
    assert db.scan(ScanRequest("t", version=3)).read_all().num_rows == 40


def test_versions_that_are_removed_while_one_of_a_time_is_looked_for(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = pennon.open(local_root)
    stocked(db, 5)
    moment = places.committed_at(raw(db).checkout_version(5))
    real = lance.LanceDataset.version_refs

    def overtaken(self: Any) -> Any:
        found = real(self)
        lance.dataset(raw(db).uri).cleanup_old_versions(versions=[1, 2, 3, 4])
        return found

    monkeypatch.setattr(lance.LanceDataset, "version_refs", overtaken)
    assert db.count_rows("t", as_of=moment) == 80


def test_files_that_no_version_names_go_after_a_week(local_root: str) -> None:
    db = pennon.open(local_root)
    stocked(db, 2)
    data = Path(raw(db).uri, "data")
    old, young = data / "old.lance", data / "young.lance"
    for orphan, days in ((old, 8), (young, 6)):
        orphan.write_bytes(b"left by a commit that was lost")
        at = time.time() - days * 86400
        os.utime(orphan, (at, at))
    db.optimize_table("t", retain=timedelta(days=30))
    assert (old.exists(), young.exists()) == (False, True)
    assert db.count_rows("t") == 40


def test_a_table_of_another_tool(local_root: str) -> None:
    """Without stable row ids a compaction moves the indexes along, in a commit nobody can read."""
    db = pennon.open(local_root)
    place = db.namespace.declare_table("t").location
    foreign = lance.write_dataset(pa.table({"id": range(10)}), place, enable_stable_row_ids=False)
    foreign.insert(pa.table({"id": range(10, 20)}))
    foreign.create_scalar_index("id", "BTREE")
    db.write("t", [{"id": 20}], write_id="w")
    report = db.optimize_table("t")
    assert report.fragments_removed >= 2
    assert [db.count_rows("t", f"id = {n}") for n in (0, 15, 20, 21)] == [1, 1, 1, 0]
    assert db.write("t", [{"id": 20}], write_id="w").version == 4
    assert db.write("t", [{"id": 21}], write_id="v").rows_inserted == 1
    assert db.recover(alone=True).findings == ()
    assert "compact" in [v.operation for v in db.versions("t")]


def test_a_deadline_ends_the_work_not_the_call(local_root: str) -> None:
    db = pennon.open(local_root)
    stocked(db, 4)
    report = db.optimize_table("t", deadline=1e-9, **AT_ONCE)
    assert (report.fragments_removed, report.versions_removed) == (0, 0)
    assert db.optimize_table("t").fragments_removed == 4


@pytest.mark.parametrize("left", ["rows", "an overwrite"])
def test_a_deadline_ends_an_index_that_is_being_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Time is up as soon as Lance begins to build."""
    db = pennon.open(tmp_path)
    stocked(db, 1)
    db.create_scalar_index("t", "n")
    db.create_scalar_index("t", "id")
    if left == "rows":
        db.write("t", [{"id": 100, "n": 1}])
    else:

        def failing(*_: Any, **__: Any) -> None:
            raise CommitConflict("Later.")

        with monkeypatch.context() as patch:
            patch.setattr(rebuilds, "create", failing)
            db.write("t", [{"id": 100, "n": 1}], mode="overwrite")
    before = db.list_indexes("t"), db.get_table_version("t")
    real, begun = building._segment, []  # pyright: ignore[reportPrivateUsage]

    class Ending(Deadline):
        @property
        def remaining(self) -> float:
            return 0.0 if begun else 60.0

    def begin(*args: Any) -> Any:
        begun.append(args)
        return real(*args)

    monkeypatch.setattr(building, "_segment", begin)
    monkeypatch.setattr(maintenance_methods, "Deadline", Ending)
    report = db.optimize_table("t", compaction=False, deadline=60)
    assert (report.indexes_updated, report.indexes_rebuilt) == ((), ())
    assert (db.list_indexes("t"), db.get_table_version("t")) == before
    assert len(begun) == 1
    monkeypatch.undo()
    again = db.optimize_table("t", compaction=False, deadline=600)
    assert {*again.indexes_updated, *again.indexes_rebuilt} == {"id_btree", "n_btree"}
    assert all(i.rows_not_indexed == 0 for i in db.list_indexes("t"))


# -- what writes promise beside a deleted branch, and while they wait ------------------------------


def test_an_append_to_a_branch_that_was_deleted_meanwhile(
    base: TestRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pennon.storage._lance import commit

    db = pennon.open(f"{base.uri}/{uuid.uuid4().hex[:12]}", storage_options=base.options or None)
    db.create_table("t", [{"id": 1}])
    db.create_branch("t", "b")
    real = commit.seen

    def late(*args: Any) -> Any:
        db.delete_branch("t", "b", missing_ok=True)
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "seen", late)
        with pytest.raises((CommitConflict, BranchNotFound)):
            db.write("t", [{"id": 2}], branch="b")
    db.create_branch("t", "b")
    assert db.count_rows("t", branch="b") == 1


def test_one_write_id_waits_until_its_deadline(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 1}])
    inside, out = threading.Event(), threading.Event()
    done: list[Any] = []

    def slow() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"id": 2}])
        inside.set()
        out.wait(60)

    reader = pa.RecordBatchReader.from_batches(pa.schema({"id": pa.int64()}), slow())
    thread = threading.Thread(target=lambda: done.append(db.write("t", reader, write_id="w")))
    thread.start()
    assert inside.wait(60)
    with pytest.raises(CommitConflict, match="Another call writes"):
        db.write("t", [{"id": 2}], write_id="w", deadline=0.05)
    out.set()
    thread.join()
    assert db.write("t", [{"id": 2}], write_id="w") == done[0]
    assert db.count_rows("t") == 2


@pytest.mark.parametrize("kind", ["tag", "branch"])
def test_a_name_given_while_versions_are_removed(
    base: TestRoot, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """It came after the removal had looked for names: refused, or what it names is kept."""
    db = pennon.open(f"{base.uri}/{uuid.uuid4().hex[:12]}", storage_options=base.options or None)
    db.create_table("t", [{"id": 1}])
    for n in (2, 3):
        db.write("t", [{"id": n}])
    real: Any = removal.check_left
    looked = threading.Event()
    removed = threading.Event()
    ended: list[threading.Thread] = []

    @contextlib.contextmanager
    def overlooking(place: Any) -> Iterator[None]:
        # Lance's removal in its two steps, as far as this name is concerned.
        with announced(place):
            looked.set()
            assert removed.wait(60)
            place.store().delete(*(m.key for m in place.store().list("_versions") if is_first(m)))
            yield

    def is_first(meta: Any) -> bool:
        return meta.key.endswith(("/18446744073709551614.manifest", "/1.manifest"))

    def remove() -> None:
        thread = threading.Thread(target=db.optimize_table, args=("t",), kwargs=AT_ONCE)
        ended.append(thread)
        thread.start()
        assert looked.wait(60)

    calls: list[int] = []

    def late(place: Any, version: int) -> None:
        calls.append(version)
        if kind == "tag" or len(calls) == 2:
            remove()
            threading.Timer(0.2, removed.set).start()
        real(place, version)

    announced = removal.announced
    monkeypatch.setattr(optimize, "announced", overlooking)
    monkeypatch.setattr(tags if kind == "tag" else branches, "check_left", late)
    name = db.create_tag if kind == "tag" else db.create_branch
    with pytest.raises(VersionNotFound):
        name("t", "first", version=1)
    ended[0].join()
    assert db.list_tags("t") == []
    assert [b.name for b in db.list_branches("t")] in ([], ["main"])
    assert db.recover("t").findings == ()


def test_a_removal_of_a_killed_process_is_not_waited_for(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 1}])
    db.write("t", [{"id": 2}])
    left = Path(raw(db).uri, "_pennon", "removals", "left")
    left.parent.mkdir(parents=True)
    left.touch()
    old = time.time() - 2 * 3600
    os.utime(left, (old, old))
    db.create_tag("t", "first", version=1)
    db.create_branch("t", "b", version=1)
    db.optimize_table("t")
    assert not left.exists()


def test_notes_on_writes_outlive_their_versions_by_a_month(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"n": 0}])
    receipts = {name: db.write("t", [{"n": 1}], write_id=name) for name in ("tagged", "gone")}
    db.create_tag("t", "then", version=receipts["tagged"].version)
    receipts["kept"] = db.write("t", [{"n": 1}], write_id="kept")
    alone = {"retain": timedelta(0), "alone": True, "compaction": False}
    assert db.optimize_table("t", **alone).notes_removed == 0
    with pytest.raises(OutcomeUnknown):
        db.write("t", [{"n": 1}], write_id="gone")

    month = time.time() - 31 * 86400
    notes = {read.read_text(): read for read in tmp_path.glob("*_t/_pennon/tried/*/*")}
    assert len(notes) == 3
    for name in ("gone", "tagged"):
        os.utime(notes[f"pennon.append:{name}"], (month, month))
    assert db.optimize_table("t", retain=None, compaction=False).notes_removed == 0
    assert db.optimize_table("t", dry_run=True, **alone).notes_removed == 1
    assert notes["pennon.append:gone"].exists()
    assert db.optimize_table("t", **alone).notes_removed == 1
    assert not notes["pennon.append:gone"].parent.exists()
    for name in ("tagged", "kept"):
        assert db.write("t", [{"n": 1}], write_id=name) == receipts[name]
    assert db.write("t", [{"n": 1}], write_id="gone").version > receipts["kept"].version
