"""Arguments of a wrong type are refused with an error of pennon, on the disk and in memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

import pennon
from pennon import ScanRequest, col
from pennon.errors import (
    ColumnNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    PennonError,
    SchemaMismatch,
)
from pennon.storage.abc import StorageBackend

WRONG: list[Any] = [0, 1.5, True, b"id", [1], [None], [["id"]], {1: 2}, {1}, object(), iter([1])]


@pytest.fixture(params=["local", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    db = pennon.open(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4()}")
    db.create_table("t", [{"id": 1, "s": "a"}, {"id": 2, "s": "b"}], primary_key="id")
    return db


CALLS: dict[str, Callable[[StorageBackend, Any], object]] = {
    "columns of a scan": lambda _, wrong: ScanRequest("t", columns=wrong),
    "order_by": lambda _, wrong: ScanRequest("t", order_by=wrong),
    "columns of head": lambda db, wrong: db.head("t", columns=wrong),
    "schema": lambda db, wrong: db.create_table("u", [{"id": 1}], schema=wrong),
    "primary_key": lambda db, wrong: db.create_table("u", [{"id": 1}], primary_key=wrong),
    "properties": lambda db, wrong: db.create_table("u", [{"id": 1}], properties=[wrong]),  # type: ignore[arg-type]
    "on": lambda db, wrong: db.merge_insert("t", [{"id": 1, "s": "b"}], on=wrong),
    "mode": lambda db, wrong: db.write("t", [{"id": 3}], mode=wrong),
    "row_ids": lambda db, wrong: db.take("t", row_ids=["x", wrong]),
    "deadline": lambda db, wrong: db.truncate("t", deadline=[wrong]),  # type: ignore[arg-type]
    "version": lambda db, wrong: db.count_rows("t", version=[wrong]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_wrong_type_is_refused(
    db: StorageBackend, call: Callable[[StorageBackend, Any], object]
) -> None:
    for wrong in WRONG:
        with pytest.raises(PennonError):
            call(db, wrong)
    assert db.count_rows("t") == 2
    assert not db.table_exists("u")


def test_a_key_that_is_no_list_is_refused(db: StorageBackend) -> None:
    for wrong in (1, "1", b"1", object()):
        with pytest.raises(PennonError):
            db.take("t", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["/b", "b/", "b//", "../b", "", None, 5])
def test_a_branch_is_written_to_by_its_name_alone(db: StorageBackend, name: Any) -> None:
    db.create_branch("t", "b")
    calls: list[Callable[[], object]] = [
        lambda: db.write("t", [{"id": 3, "s": "c"}], branch=name),
        lambda: db.delete_rows("t", "id = 1", branch=name),
        lambda: db.update("t", {"s": "'z'"}, branch=name),
        lambda: db.create_scalar_index("t", "id", branch=name),
        lambda: db.truncate("t", branch=name),
        lambda: db.add_columns("t", {"z": "id"}, branch=name),
    ]
    for call in calls:
        with pytest.raises(PennonError, match="is no branch"):
            call()
    assert db.get_table_version("t", branch="b") == db.get_table_version("t")


def test_the_reason_is_told_below_sql_of_several_lines(db: StorageBackend) -> None:
    with pytest.raises(InvalidFilter, match="could not convert"):
        db.count_rows("t", "id < 1.5")
    with pytest.raises(InvalidFilter, match=r"The condition \(true\) is true"):
        db.delete_rows("t", "true")


def test_the_longest_deadlines_are_no_overflow(db: StorageBackend) -> None:
    for seconds in (2**63, 10**400, float("inf")):
        with db.lock_table_for_write("t", deadline=seconds):
            db.truncate("t", deadline=seconds)


@pytest.mark.parametrize("value", [1.9, float("nan"), float("inf"), np.float32(1.5)])
def test_fractions_are_not_cut(db: StorageBackend, value: Any) -> None:
    wide = pa.schema({"id": pa.int64(), "l": pa.list_(pa.struct({"n": pa.int8()}))})
    db.create_table("u", [{"id": 1, "l": [{"n": 1.0}]}], schema=wide, primary_key="id")
    rows: list[Any] = [
        [{"id": value}],
        {"id": [value]},
        [{"id": 2, "l": [{"n": value}]}],
    ]
    for given in rows:
        for write in (db.write, db.merge_insert):
            with pytest.raises(SchemaMismatch, match="cannot hold"):
                write("u", given)
    assert db.scan("u").read_all().to_pylist() == [{"id": 1, "l": [{"n": 1}]}]


def test_a_seed_is_a_number(db: StorageBackend) -> None:
    with pytest.raises(PennonError):
        db.sample("t", 1, seed=[1])  # type: ignore[arg-type]


def test_arrays_of_numpy_and_arrow_are_lists_of_values(db: StorageBackend) -> None:
    for some in (np.array([1, 5]), pa.array([1, 5]), pa.chunked_array([[1], [5]])):
        assert db.count_rows("t", col("id").is_in(some)) == 1
        assert db.take("t", some)["s"].to_pylist() == ["a"]
    ids = db.scan(ScanRequest("t", with_row_id=True)).read_all()["_rowid"]
    assert db.take("t", row_ids=ids).num_rows == 2


def test_categories_of_polars_go_in_and_come_out(db: StorageBackend) -> None:
    frame = pl.DataFrame(
        {
            "id": [1, 2],
            "c": pl.Series(["x", "y"], dtype=pl.Categorical),
            "e": pl.Series(["q", "r"], dtype=pl.Enum(["q", "r"])),
            "a": pl.Series([["u", "v"]] * 2, dtype=pl.List(pl.String)),
        }
    )
    db.create_table("u", frame, primary_key="id")
    db.write("u", frame.with_columns(pl.col("id") + 10))
    back = db.scan("u").read_all()
    assert back["c"].to_pylist() == ["x", "y"] * 2
    assert back["e"].to_pylist() == ["q", "r"] * 2
    assert back["a"].to_pylist() == [["u", "v"]] * 4


@pytest.mark.parametrize(
    "item", [pa.string(), pa.large_binary(), pa.string_view(), pa.list_(pa.int8())]
)
def test_a_fixed_size_list_of_values_that_vary_is_refused(
    db: StorageBackend, item: pa.DataType
) -> None:
    with pytest.raises(InvalidInput, match="cannot store"):
        db.create_table("u", schema=pa.schema({"a": pa.list_(item, 2)}))
    assert list(db.namespace.iter_tables()) == [("t",)]


FLAGS: dict[str, Callable[[StorageBackend, Any], object]] = {
    "force": lambda db, wrong: db.drop_table("t", force=wrong),
    "missing_ok": lambda db, wrong: db.drop_table("none", missing_ok=wrong),
    "all_rows": lambda db, wrong: db.delete_rows("t", "true", all_rows=wrong),
    "replace": lambda db, wrong: db.create_scalar_index("t", "id", replace=wrong),
    "check_keys": lambda db, wrong: db.write("t", [], check_keys=wrong),
    "with_row_id": lambda db, wrong: db.scan(ScanRequest("t", with_row_id=wrong)),
    "compaction": lambda db, wrong: db.optimize_table("t", compaction=wrong),
    "dry_run": lambda db, wrong: db.recover(dry_run=wrong),
    "alone": lambda db, wrong: db.optimize_table("t", alone=wrong),
    "evolve": lambda db, wrong: db.open_or_create_table("t", SCHEMA, evolve=wrong),
    "use_index": lambda db, wrong: db.vector_search("t", "v", [1.0], use_index=wrong),
}


@pytest.mark.parametrize("call", FLAGS.values(), ids=FLAGS)
def test_a_flag_is_true_or_false(
    db: StorageBackend, call: Callable[[StorageBackend, Any], object]
) -> None:
    for wrong in ("no", "false", 0, 1, None, []):
        with pytest.raises(InvalidOption, match="must be True or False"):
            call(db, wrong)
    assert db.count_rows("t") == 2
    assert db.list_indexes("t") == []


SCHEMA = pa.schema({"id": pa.int64(), "s": pa.string()})


@pytest.mark.parametrize("version", [None, 0, -1, 1.0, "1", True])
def test_a_version_to_go_to_is_a_number(db: StorageBackend, version: Any) -> None:
    for call in (
        lambda: db.rollback_table("t", version),
        lambda: db.rollback_table("t", 1, expected=version or 0),
        lambda: db.replace_table_atomic("t", [], expected_version=version or 0),
        lambda: db.diff("t", version, 1),
        lambda: db.diff("t", 1, version),
    ):
        with pytest.raises(InvalidOption, match=r"version|expected"):
            call()
    assert db.get_table_version("t") == 1


def test_what_cannot_be_called_is_no_progress(db: StorageBackend) -> None:
    for build in (
        lambda: db.create_scalar_index("t", "id", progress=1),  # type: ignore[arg-type]
        lambda: db.update_indexes("t", progress="x"),  # type: ignore[arg-type]
        lambda: db.add_columns("t", lambda b: b, schema=SCHEMA, progress=1),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidOption, match="progress"):
            build()
    assert db.list_indexes("t") == []


def test_what_is_no_list_of_tables_or_no_metadata(db: StorageBackend, tmp_path: Path) -> None:
    wrong: Any
    for wrong in ("t", b"t", 3):
        with pytest.raises(InvalidOption, match="list of ids"):
            db.snapshot(wrong)
        with pytest.raises(InvalidOption, match="must map"):
            db.update_metadata("t", wrong)
        for columns in (wrong, {"id": wrong}):
            with pytest.raises(InvalidOption, match="must map"):
                db.update_metadata("t", columns=columns)
    with pytest.raises(InvalidOption, match="path of a directory"):
        db.add_columns("t", lambda b: b, schema=SCHEMA, checkpoint=3)  # type: ignore[arg-type]
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InvalidOption, match="keeps no files"):
        db.add_columns(
            "t",
            lambda b: {"x": b["id"]},
            schema=pa.schema({"x": pa.int64()}),
            checkpoint=file / "below",
        )
    assert db.get_table_version("t") == 1


def test_rows_that_are_mistaken_say_which_column(db: StorageBackend) -> None:
    wrong: Any
    for wrong, said in (
        ({"id": 1, "s": "x"}, "put a single row into a list"),
        ([{"id": 3}, None], "A row is a NoneType"),
        ([{"id": 3, "s": 5}], "The column 's' does not hold values that are string"),
        ({"id": [1, 2], "s": ["x"]}, "columns of one length"),
    ):
        with pytest.raises(InvalidInput, match=said):
            db.write("t", wrong)
    assert db.get_table_version("t") == 1


def test_arrays_in_a_dict_take_the_types_of_the_table(db: StorageBackend) -> None:
    db.write("t", {"id": pa.array([3], pa.int8()), "s": pa.chunked_array([["c"]])})
    db.write("t", {"id": np.array([4], np.int16)})
    assert db.count_rows("t") == 4
    with pytest.raises(SchemaMismatch, match="The column 'id' does not hold"):
        db.write("t", {"id": pa.array([1.5])})


def test_numbers_too_large_for_a_short_float_are_no_infinity(db: StorageBackend) -> None:
    vectors = pa.list_(pa.float32(), 2)
    wide = pa.schema({"h": pa.float16(), "f": pa.float32(), "v": vectors, "l": pa.list_(vectors)})
    db.create_empty_table("u", wide)
    for wrong in ({"h": 1e6}, {"f": 1e300}, {"v": [1.0, -1e39]}, {"l": [[0, 0], [1e39, 1]]}):
        for rows in ([wrong, {}], {name: [value] for name, value in wrong.items()}):
            with pytest.raises(SchemaMismatch, match="as large"):
                db.write("u", rows)
    inf = float("inf")
    db.write("u", [{"h": inf, "f": -inf, "v": [inf, 1], "l": None}, {"f": np.float32(0.1)}])
    assert db.count_rows("u", col("f") == -inf) == 1


def test_fields_that_a_struct_lacks_are_not_left_out(db: StorageBackend) -> None:
    kind = pa.struct({"a": pa.int64()})
    schema = pa.schema({"s": kind, "l": pa.list_(kind), "m": pa.map_(pa.string(), kind)})
    db.create_empty_table("u", schema)
    for wrong in (
        {"s": {"a": 1, "b": 2}},
        {"l": [{"b": 2}]},
        {"m": {"k": {"a": 1, "b": 2}}},
        {"m": [("k", {"b": 2})]},
    ):
        with pytest.raises(SchemaMismatch, match="no field 'b'"):
            db.write("u", [wrong])
    with pytest.raises(SchemaMismatch, match="cannot hold"):
        db.write("u", [{"m": {"k": {"a": 1.5}}}])
    assert db.count_rows("u") == 0


def test_a_query_that_is_no_vector(db: StorageBackend) -> None:
    db.create_table("v", pa.table({"v": pa.array([[1.0]], pa.list_(pa.float32(), 1)), "s": ["a"]}))
    with pytest.raises(InvalidInput, match="numbers"):
        db.vector_search("v", "v", [10**400])
    with pytest.raises(ColumnNotFound):
        db.hybrid_search("v", "v", [1.0], "s", "a", columns=["nope"])


def test_a_query_that_returns_nothing_is_none(db: StorageBackend) -> None:
    with pytest.raises(InvalidInput, match="INTO"):
        db.sql("t", "SELECT * INTO other FROM dataset")
    with pytest.raises(InvalidInput, match="the table is called dataset"):
        db.sql("t", "SELECT * FROM t")
    assert db.table_names() == [("t",)]
