"""Forty ways in which a storage backend over Lance can be wrong, each with the test that it is not.

They are those of a well-known implementation, numbered as its readers numbered them: here is what a
caller of pennon sees instead.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import re
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import pennon
import pennon.aio
import pennon.testing
from pennon import ScanRequest, col, errors
from pennon.storage._lance import lanes
from pennon.storage.abc import StorageBackend
from pennon.storage.abc.capabilities import operations
from pennon.storage.abc.columns import ColumnChange
from pennon.storage.consistency import Eventual
from pennon.testing.services import S3Server, TestRoot

ROWS = [{"id": n, "name": f"n{n}"} for n in range(5)]


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "lake") if request.param == "local" else f"memory://{uuid.uuid4()}"


@pytest.fixture
def db(root: str) -> StorageBackend:
    return pennon.open(root)


@pytest.fixture
def other(root: str, db: StorageBackend) -> StorageBackend:
    """Another backend on the same tables that shares no cache with the first."""
    return pennon.open(root)


@pytest.fixture
def disk(tmp_path: Path) -> StorageBackend:
    return pennon.open(tmp_path / "lake")


def ids(db: StorageBackend, table: Any = "t") -> list[int]:
    request = table if isinstance(table, ScanRequest) else ScanRequest(table)
    return sorted(db.scan(request).read_all()["id"].to_pylist())


# -- caches and locks ------------------------------------------------------------------------------


def test_w01_invalidating_the_cache_really_does(disk: StorageBackend) -> None:
    disk.create_table("t", ROWS)
    for forget in ("invalidate_cache", "clear_cache"):
        stale = pennon.open(disk.namespace.root, consistency=Eventual(3600))
        before = stale.count_rows("t")
        disk.write("t", [{"id": 9}])
        assert stale.count_rows("t") == before
        getattr(stale, forget)()
        assert stale.count_rows("t") == before + 1


def test_w02_locks_of_a_process_do_not_pile_up(disk: StorageBackend) -> None:
    for n in range(20):
        disk.create_table(f"t{n}", ROWS)
        disk.write(f"t{n}", ROWS, write_id="again")
        with disk.lock_table_for_write(f"t{n}"):
            disk.delete_rows(f"t{n}", "id = 1")
    assert lanes._lanes == {}
    assert lanes._busy == {}


def test_w03_existence_is_never_remembered(db: StorageBackend, other: StorageBackend) -> None:
    for _ in range(2):
        assert not db.table_exists("t")
        other.create_table("t", ROWS)
        assert db.table_exists("t")
        assert ids(db) == [0, 1, 2, 3, 4]
        other.drop_table("t")
    assert not db.table_exists("t")


def test_w04_schemas_follow_every_change(db: StorageBackend, other: StorageBackend) -> None:
    def names() -> list[str]:
        schema = db.get_table_schema("t")
        assert schema is not None
        return schema.names

    db.create_table("t", ROWS)
    assert names() == ["id", "name"]
    other.write("t", pa.table({"x": [1]}), mode="overwrite", schema=pa.schema({"x": pa.int64()}))
    assert names() == ["x"]
    other.rollback_table("t", 1)
    assert names() == ["id", "name"]
    other.drop_table("t")
    other.create_table("t", [{"y": 1}])
    assert names() == ["y"]


def test_w05_errors_are_types(db: StorageBackend) -> None:
    db.create_table("t", ROWS, primary_key="id")
    calls: dict[type[errors.PennonError], Callable[[], object]] = {
        errors.TableNotFound: lambda: db.scan("none"),
        errors.TableAlreadyExists: lambda: db.create_table("t", ROWS),
        errors.VersionNotFound: lambda: db.count_rows("t", version=99),
        errors.CommitConflict: lambda: db.replace_table_atomic("t", ROWS, expected_version=99),
        errors.InvalidFilter: lambda: db.count_rows("t", "id ="),
        errors.SchemaMismatch: lambda: db.write("t", [{"id": "x"}]),
        errors.DuplicateKey: lambda: db.write("t", ROWS, check_keys=True),
        errors.IndexNotFound: lambda: db.drop_index("t", "none"),
    }
    for expected, call in calls.items():
        with pytest.raises(errors.PennonError) as caught:
            call()
        assert type(caught.value) is expected
    assert issubclass(errors.TableNotFound, LookupError)
    assert errors.CommitConflict("x").retryable


def test_w06_branches_have_the_credentials_of_the_table(s3_root: TestRoot) -> None:
    db = pennon.open(s3_root.uri, storage_options=s3_root.options)
    db.create_table("t", ROWS)
    assert db.fork_branch("t", "main", "exp") == (1, "exp")
    db.write("t", [{"id": 9}], branch="exp")
    db.create_tag("t", "mark", branch="exp")
    assert ids(db, ScanRequest("t", tag="mark")) == [0, 1, 2, 3, 4, 9]
    db.delete_tag("t", "mark")
    db.delete_branch("t", "exp")
    assert ids(db) == [0, 1, 2, 3, 4]


def test_w07_two_reads_can_be_of_one_moment(db: StorageBackend, other: StorageBackend) -> None:
    db.create_table("a", ROWS)
    db.create_table("b", ROWS)
    with db.snapshot(["a", "b"]) as then:
        other.write("a", [{"id": 9}])
        other.write("b", [{"id": 9}])
        assert then.count_rows("a") == then.count_rows("b") == 5
    assert db.count_rows("a") == db.count_rows("b") == 6


# -- names and layout ------------------------------------------------------------------------------


def test_w08_names_cannot_leave_the_root(db: StorageBackend) -> None:
    for name in ("../x", "a/b", "a\\b", "..", "", "_x", "a\nb"):
        with pytest.raises(errors.InvalidName):
            db.create_table(name, ROWS)
    assert db.table_names() == []


def test_w09_main_is_a_branch_like_any_other(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    assert db.fork_branch("t", "main", "a") == (1, "a")
    db.write("t", [{"id": 9}], branch="a")
    assert db.fork_branch("t", "a", "b")[0] == db.get_table_version("t", branch="a")
    assert ids(db, ScanRequest("t", branch="b")) == [0, 1, 2, 3, 4, 9]
    with pytest.raises(errors.InvalidName):
        db.fork_branch("t", "a", "main")


def test_w10_a_scan_has_every_option(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    db.write("t", [{"id": 9, "name": "n9"}])
    found = db.scan(
        ScanRequest(
            "t",
            columns={"twice": "id * 2"},
            filter=col("id") > 0,
            offset=1,
            limit=2,
            order_by=[("id", "desc")],
            with_row_id=True,
            batch_size=1,
            version=1,
        )
    )
    batches = list(found)
    assert [b.num_rows for b in batches] == [1, 1]
    rows = pa.Table.from_batches(batches)
    assert rows["twice"].to_pylist() == [6, 4]
    assert rows["_rowid"].type == pa.uint64()


def test_w11_branches_are_read_by_the_same_code(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    db.create_branch("t", "b")
    for options in (
        {"limit": 2**62},
        {"limit": 2, "offset": 1},
        {"filter": col("id") > 2, "columns": ["name"]},
        {"order_by": [("id", "desc")], "with_row_id": True},
    ):
        on_main = db.scan(ScanRequest("t", **options)).read_all()
        assert db.scan(ScanRequest("t", branch="b", **options)).read_all() == on_main
        assert on_main.num_rows == min(options.get("limit", 5), 2 if "filter" in options else 5)


def test_w12_listings_show_tables_and_nothing_else(db: StorageBackend) -> None:
    for n in range(12):
        db.create_table(f"t{n:02}", ROWS)
    db.create_branch("t00", "b")
    db.namespace.declare_table("u")
    assert db.table_names() == [(f"t{n:02}",) for n in range(12)]
    page = db.namespace.list_tables(limit=5)
    assert len(page) == 5
    assert page.next_page_token


def test_w13_existence_costs_no_listing_of_tables(
    s3_server: S3Server, s3_root: TestRoot, recording_proxy: Callable[[str], Any]
) -> None:
    proxy = recording_proxy(s3_server.endpoint)
    options = {k: proxy.endpoint if "endpoint" in k else v for k, v in s3_root.options.items()}
    db = pennon.open(s3_root.uri, storage_options=options)
    counts = []
    for n in range(2):
        for m in range(12):
            db.create_table(f"t{n}-{m}", ROWS)
        db.table_exists("t0-0")
        proxy.clear()
        assert not db.table_exists("none")
        assert db.table_exists("t0-0")
        counts.append(len(proxy.requests))
    assert counts[0] == counts[1] <= 4


# -- creating and dropping -------------------------------------------------------------------------


def test_w14_create_never_appends(db: StorageBackend, other: StorageBackend) -> None:
    db.create_table("t", ROWS)
    with pytest.raises(errors.TableAlreadyExists):
        other.create_table("t", ROWS)
    assert other.create_table("t", ROWS, mode="exist_ok").rows_inserted == 0
    assert ids(db) == [0, 1, 2, 3, 4]
    other.create_table("t", ROWS[:2], mode="overwrite")
    assert ids(db) == [0, 1]


def test_w15_creating_without_rows_is_exclusive_too(db: StorageBackend) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def create(n: int) -> None:
        schema = pa.schema({f"c{n}": pa.int64()})
        barrier.wait()
        try:
            db.create_empty_table("t", schema)
        except errors.TableAlreadyExists:
            outcomes.append("")
        else:
            outcomes.append(f"c{n}")

    threads = [threading.Thread(target=create, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [o for o in outcomes if o]
    assert len(outcomes) == 4
    schema = db.get_table_schema("t")
    assert schema is not None
    assert schema.names == [winner]


def test_w16_opening_compares_the_columns(db: StorageBackend) -> None:
    schema = pa.schema({"id": pa.int64()})
    db.open_or_create_table("t", schema)
    db.open_or_create_table("t", schema)
    for wrong in (pa.schema({"id": pa.string()}), pa.schema({"x": pa.int64()})):
        with pytest.raises(errors.SchemaMismatch):
            db.open_or_create_table("t", wrong)
    wider = schema.append(pa.field("new", pa.string()))
    with pytest.raises(errors.SchemaMismatch):
        db.open_or_create_table("t", wider)
    assert db.open_or_create_table("t", wider, evolve=True).names == ["id", "new"]


def test_w17_a_drop_respects_what_hangs_on_the_table(db: StorageBackend) -> None:
    with pytest.raises(errors.TableNotFound):
        db.drop_table("t")
    db.drop_table("t", missing_ok=True)
    db.create_table("t", ROWS)
    db.create_branch("t", "b")
    db.create_tag("t", "mark")
    with pytest.raises(errors.TablePinned, match="branch b, tag mark"):
        db.drop_table("t")
    assert ids(db, ScanRequest("t", branch="b")) == [0, 1, 2, 3, 4]
    db.drop_table("t", force=True)
    assert not db.table_exists("t")


def test_w18_nobody_has_to_be_told_of_new_tables(db: StorageBackend, other: StorageBackend) -> None:
    with pytest.raises(errors.TableNotFound):
        db.write("t", ROWS)
    other.create_table("t", ROWS)
    db.write("t", [{"id": 9}])
    assert not hasattr(db, "notify_table_created")


# -- reading ---------------------------------------------------------------------------------------


def test_w19_an_error_is_never_an_empty_result(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    for error, request in (
        (errors.InvalidFilter, ScanRequest("t", filter="id = = 1")),
        (errors.InvalidFilter, ScanRequest("t", filter="nope = 1")),
        (errors.ColumnNotFound, ScanRequest("t", columns=["nope"])),
        (errors.TableNotFound, ScanRequest("nope")),
        (errors.BranchNotFound, ScanRequest("t", branch="nope")),
        (errors.InvalidFilter, ScanRequest("t", filter="1 / (id - id) = 1")),
    ):
        with pytest.raises(error):
            db.scan(request).read_all()


def test_w20_scan_and_scan_stream_never_differ(root: str, db: StorageBackend) -> None:
    db.create_table("t", ROWS)

    async def streamed(request: ScanRequest) -> list[pa.RecordBatch]:
        async with pennon.aio.open(root) as twin:
            return [batch async for batch in twin.scan_stream(request)]

    for request in (
        ScanRequest("t", filter="id > 1", columns=["id"]),
        ScanRequest("t", filter="nope = 1"),
        ScanRequest("t", filter="1 / (id - id) = 1"),
        ScanRequest("nope"),
    ):
        try:
            expected = db.scan(request).read_all()
        except errors.PennonError as error:
            with pytest.raises(type(error), match=re.escape(str(error))):
                asyncio.run(streamed(request))
        else:
            assert pa.Table.from_batches(asyncio.run(streamed(request))) == expected


def test_w21_a_broken_table_is_not_a_missing_one(disk: StorageBackend) -> None:
    disk.create_table("t", ROWS)
    versions = Path(disk.namespace.describe_table("t").location, "_versions")
    for manifest in versions.glob("*.manifest"):
        manifest.write_bytes(b"no manifest")
    fresh = pennon.open(disk.namespace.root)
    for call in (
        lambda: fresh.get_table_schema("t", missing_ok=True),
        lambda: fresh.table_exists("t"),
        lambda: fresh.get_table_version("t", missing_ok=True),
    ):
        with pytest.raises(errors.StorageError):
            call()


def test_w22_every_method_says_the_same_of_a_missing_table(db: StorageBackend) -> None:
    tried = set()
    for name, method in operations(type(db)).items():
        parameters = [*inspect.signature(method).parameters.values()][1:]
        if not parameters or parameters[0].name != "table" or name in _FOR_NEW_TABLES:
            continue
        needed = [p.name for p in parameters[1:] if p.default is p.empty]
        given = [_GIVEN.get((name, n), _GIVEN.get(("", n), "x")) for n in needed]
        options = {"row_ids": [1]} if name == "take" else {}
        options |= {"schema": {"k": "v"}} if name == "update_metadata" else {}
        with pytest.raises(errors.TableNotFound, match="missing"):
            getattr(db, name)("missing", *given, **options)
        tried.add(name)
    assert len(tried) > 35


_FOR_NEW_TABLES = {
    "create_empty_table",
    "create_table",
    "invalidate_cache",
    "lock_table_for_write",
    "open_or_create_table",
    "table",
    "table_exists",
}
_GIVEN: dict[tuple[str, str], Any] = {
    ("", "changes"): {"x": ColumnChange(name="y")},
    ("", "columns"): ["x"],
    ("", "data"): [{"x": 1}],
    ("", "from_version"): 1,
    ("", "n"): 1,
    ("", "query"): [1.0],
    ("", "to_version"): 2,
    ("", "values"): {"x": "1"},
    ("", "vector"): [1.0],
    ("", "version"): 1,
    ("", "where"): "x = 1",
    ("add_columns", "columns"): {"x": "1"},
    ("full_text_search", "query"): "x",
    ("sql", "query"): "SELECT 1",
}


# -- writing ---------------------------------------------------------------------------------------


def test_w23_overwriting_with_nothing_empties(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    assert db.write("t", []).version == 1
    receipt = db.write("t", [], mode="overwrite", write_id="empty")
    assert (receipt.version, receipt.rows_inserted, receipt.rows_deleted) == (2, 0, 5)
    assert db.write("t", [], mode="overwrite", write_id="empty") == receipt
    assert ids(db) == []
    schema = db.get_table_schema("t")
    assert schema is not None
    assert schema.names == ["id", "name"]


def test_w24_a_merge_does_all_that_merges_do(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    new = [{"id": 4, "name": "new"}, {"id": 5, "name": "new"}]
    receipt = db.merge_insert("t", new, on="id")
    assert (receipt.rows_inserted, receipt.rows_updated) == (1, 1)
    receipt = db.merge_insert("t", new, on="id", when_matched="ignore")
    assert (receipt.rows_inserted, receipt.rows_updated) == (0, 0)
    receipt = db.merge_insert("t", new, on="id", when_not_matched_by_source="delete")
    assert (receipt.rows_inserted, receipt.rows_updated, receipt.rows_deleted) == (0, 2, 4)
    assert ids(db) == [4, 5]


def test_w25_deleting_all_rows_must_be_meant(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    for everything in ("true", "1 = 1", "NOT false"):
        with pytest.raises(errors.InvalidFilter, match="all_rows"):
            db.delete_rows("t", everything)
    assert db.delete_rows("t", "id >= 3").rows_deleted == 2
    assert db.delete_rows("t", "true", all_rows=True).rows_deleted == 3


def test_w26_a_replacement_needs_no_second_table(db: StorageBackend) -> None:
    db.create_table("t_staging", [{"id": 77}])
    db.create_table("t", ROWS)
    receipt = db.replace_table_atomic("t", [{"id": 8}], expected_version=1)
    assert (receipt.version, receipt.rows_inserted, receipt.rows_deleted) == (2, 1, 5)
    with pytest.raises(errors.CommitConflict):
        db.replace_table_atomic("t", [{"id": 9}], expected_version=1)
    assert db.replace_table_atomic("t", [], pa.schema({"id": pa.int32()})).version == 3
    assert ids(db, "t_staging") == [77]
    schema = db.get_table_schema("t")
    assert schema is not None
    assert schema.field("id").type == pa.int32()


def test_w27_versions_are_asked_for_each_time(db: StorageBackend, other: StorageBackend) -> None:
    assert db.get_table_version("t", missing_ok=True) is None
    other.create_table("t", ROWS)
    assert db.get_table_version("t") == 1
    other.write("t", ROWS)
    assert db.get_table_version("t") == 2


def test_w28_a_rollback_tells_the_new_version(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    db.write("t", [{"id": 9}])
    receipt = db.rollback_table("t", 1, expected=2)
    assert (receipt.version, receipt.rows_inserted, receipt.rows_deleted) == (3, 5, 6)
    with pytest.raises(errors.CommitConflict):
        db.rollback_table("t", 1, expected=2)
    with pytest.raises(errors.VersionNotFound):
        db.rollback_table("t", 99)
    assert ids(db) == [0, 1, 2, 3, 4]


# -- upkeep ----------------------------------------------------------------------------------------


def test_w29_upkeep_says_what_it_does_and_keeps_what_is_pinned(disk: StorageBackend) -> None:
    disk.create_table("t", ROWS)
    for n in range(6):
        disk.write("t", [{"id": 10 + n}])
    disk.create_tag("t", "kept", version=3)
    with pytest.raises(errors.InvalidOption, match="retain"):
        disk.optimize_table("t", retain=timedelta(0))
    planned = disk.optimize_table("t", retain=timedelta(0), alone=True, dry_run=True)
    assert planned.dry_run
    assert disk.get_table_version("t") == 7
    report = disk.optimize_table("t", retain=timedelta(0), alone=True)
    assert (report.fragments_removed, report.fragments_added) == (7, 1)
    assert report.versions_removed >= 5
    assert report.bytes_removed > 0
    assert ids(disk, ScanRequest("t", tag="kept")) == [0, 1, 2, 3, 4, 10, 11]
    assert len(ids(disk)) == 11


def test_w30_opening_changes_nothing(disk: StorageBackend) -> None:
    disk.create_table("a_staging", ROWS)
    disk.create_table("b", ROWS)
    disk.create_table("b_staging", ROWS[:1])
    before = sorted(p for p in Path(disk.namespace.root).rglob("*") if p.is_file())
    fresh = pennon.open(disk.namespace.root)
    assert fresh.table_names() == [("a_staging",), ("b",), ("b_staging",)]
    assert [len(ids(fresh, name)) for (name,) in fresh.table_names()] == [5, 5, 1]
    assert sorted(p for p in Path(disk.namespace.root).rglob("*") if p.is_file()) == before


def test_w31_callers_build_no_paths(db: StorageBackend) -> None:
    db.create_table("t", ROWS)
    place = db.namespace.describe_table("t").location
    db.rename_table("t", "u")
    assert db.namespace.describe_table("u").location == place
    assert ids(db, "u") == [0, 1, 2, 3, 4]
    assert not hasattr(db, "base_uri")


# -- the whole -------------------------------------------------------------------------------------


def test_w38_the_suite_tries_every_operation() -> None:
    texts = [p.read_text() for p in Path(pennon.testing.__file__).parent.glob("*storage*.py")]
    missing = [n for n in operations(StorageBackend) if not any(f".{n}(" in t for t in texts)]
    assert missing == []


def test_w39_waiting_ends(disk: StorageBackend) -> None:
    disk.create_table("t", ROWS)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with disk.lock_table_for_write("t"):
            inside.set()
            leave.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    inside.wait(60)
    try:
        for write in (
            lambda: disk.write("t", ROWS, deadline=0.05),
            lambda: disk.merge_insert("t", ROWS, "id", deadline=0.05),
            lambda: disk.write("t", ROWS, deadline=0.05, write_id="mine"),
        ):
            with pytest.raises(errors.CommitConflict):
                write()
    finally:
        leave.set()
        holder.join()
    assert disk.write("t", [{"id": 9}], deadline=math.inf).rows_inserted == 1
    assert len(ids(disk)) == 6


def test_w40_what_was_missing_is_there(db: StorageBackend) -> None:
    db.create_table("t", ROWS, primary_key="id", properties={"owner": "ada"})
    before = datetime.now(UTC)
    db.update("t", {"name": "upper(name)"}, col("id") == 1)
    db.add_columns("t", {"twice": "id * 2"})
    db.rename_table("t", "u")
    db.create_tag("u", "mark")
    assert db.take("u", [1], columns=["name", "twice"]).to_pylist() == [{"name": "N1", "twice": 2}]
    assert db.take("u", [1], columns=["name"], as_of=before)["name"].to_pylist() == ["n1"]
    assert db.table_properties("u") == {"owner": "ada"}
    assert db.table_stats("u").rows == 5
    db.truncate("u")
    assert db.count_rows("u") == 0
    assert db.count_rows("u", tag="mark") == 5


def test_there_are_forty() -> None:
    here = Path(__file__)
    texts = [path.read_text("utf-8") for path in here.parent.glob(f"{here.stem}*.py")]
    found = [int(n) for text in texts for n in re.findall(r"^def test_w(\d\d)_", text, re.M)]
    assert sorted(found) == list(range(1, 41))
