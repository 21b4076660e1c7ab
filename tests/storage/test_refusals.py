"""What must be refused, or stay refused, on the disk and in memory."""

from __future__ import annotations

import math
import operator
import uuid
from collections.abc import Callable
from datetime import date, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

import pennon
from pennon import ColumnChange, col
from pennon.errors import (
    DuplicateKey,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    PennonError,
    SchemaMismatch,
    TableNotFound,
)
from pennon.storage.abc import ScanRequest, StorageBackend

SCHEMA = pa.schema({"a": pa.int64(), "b": pa.int64()})
SWAPPED = pa.record_batch({"b": [200], "a": [2]})


@pytest.fixture(params=["local", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    return pennon.open(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4()}")


@pytest.mark.parametrize(
    "stream",
    [
        lambda: iter([pa.record_batch({"a": [1], "b": [100]}), SWAPPED]),
        lambda: pa.RecordBatchReader.from_batches(SCHEMA, iter([SWAPPED])),
    ],
    ids=["iterable", "reader"],
)
def test_batches_in_another_order_are_not_taken_by_position(
    db: StorageBackend, stream: Callable[[], Any]
) -> None:
    db.create_table("t", schema=SCHEMA)
    with pytest.raises(SchemaMismatch, match="another order"):
        db.write("t", stream())
    assert db.count_rows("t") == 0


def test_no_write_brings_a_primary_key_twice(db: StorageBackend) -> None:
    rows = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    twice = [{"id": 5, "name": "x"}, {"id": 5, "name": "y"}]
    db.create_table("t", rows, primary_key="id")
    with pytest.raises(InvalidOption, match="primary key id"):
        db.merge_insert("t", [{"id": 1, "name": "new"}], on="name")
    with pytest.raises(InvalidOption, match="primary key id"):
        db.merge_insert("t", [{"id": 1, "name": "b"}], on="name", when_not_matched="ignore")
    with pytest.raises(DuplicateKey):
        db.write("t", twice, mode="overwrite")
    with pytest.raises(DuplicateKey):
        db.replace_table_atomic("t", twice)
    assert db.scan("t").read_all().to_pylist() == rows


@pytest.mark.parametrize("value", ["5 ; x", "a + 1, b", "7 ORDER BY a", "1 2 3", "a) + 1"])
def test_an_update_takes_one_whole_expression(db: StorageBackend, value: str) -> None:
    db.create_table("t", [{"a": 1, "b": 2}])
    with pytest.raises(InvalidInput):
        db.update("t", {"a": value})
    assert db.scan("t").read_all().to_pylist() == [{"a": 1, "b": 2}]


def test_values_of_other_libraries(db: StorageBackend) -> None:
    db.create_table("t", [{"a": 1, "v": 1.5}])
    assert db.count_rows("t", col("v") == np.float64(1.5)) == 1
    assert db.count_rows("t", col("a").is_in(np.array([1, 2])) & (col("a") < np.uint8(2))) == 1
    with pytest.raises(InvalidFilter, match="no literal"):
        col("a").is_in([np.timedelta64(1)])
    with pytest.raises(PennonError):
        db.count_rows("t", version=2**64)
    assert db.write("t", [{"a": 2, "v": 0.5}], deadline=math.inf).rows_inserted == 1


def test_a_refused_append_stays_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1, "v": 1}], primary_key="id")
    commit = lance.LanceDataset.commit
    rivals = iter([{"id": 7, "v": 70}])

    def late(base: Any, *args: Any, **kwargs: Any) -> Any:
        for row in rivals:
            there = lance.dataset(db.namespace.describe_table("t").location)
            new = pa.Table.from_pylist([row], schema=there.schema)
            lance.write_dataset(new, there.uri, mode="append")
        return commit(base, *args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(late))
    rows = [{"id": 7, "v": 0}, {"id": 8, "v": 0}]
    for _ in range(2):
        with pytest.raises(DuplicateKey):
            db.write("t", rows, check_keys=True, write_id="w")
    assert sorted(db.scan("t").read_all()["id"].to_pylist()) == [1, 7]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([0.1]), pa.float32()),
        (pa.array([1.005]), pa.decimal128(10, 2)),
        (pa.array([[0.1, float("nan")]]), pa.list_(pa.float32())),
        (pa.array([datetime(2020, 1, 1, 5)]), pa.date32()),  # noqa: DTZ001
        (pa.array([datetime(2020, 1, 1, 5)]), pa.time64("us")),  # noqa: DTZ001
        (pa.array([5]), pa.bool_()),
        (pa.array([{"a": 1}]), pa.struct({"b": pa.int64()})),
    ],
)
def test_a_new_type_rounds_cuts_and_drops_nothing(
    db: StorageBackend, values: pa.Array, kind: pa.DataType
) -> None:
    db.create_table("t", pa.table({"k": [1], "x": values}))
    with pytest.raises(SchemaMismatch, match=r"another value|Unsupported"):
        db.alter_columns("t", {"x": ColumnChange(type=kind)})
    assert db.head("t")["x"].combine_chunks().equals(values) or kind == pa.list_(pa.float32())
    assert db.get_table_version("t") == 1


def test_a_new_type_keeps_what_is_no_number(db: StorageBackend) -> None:
    nan = float("nan")
    db.create_table("t", pa.table({"x": [1.5, None, nan, -0.0, math.inf]}))
    db.alter_columns("t", {"x": ColumnChange(type=pa.float32())})
    assert str(db.head("t")["x"].to_pylist()) == "[1.5, None, nan, -0.0, inf]"


@pytest.mark.parametrize(
    "kind",
    [
        pa.month_day_nano_interval(),
        pa.run_end_encoded(pa.int32(), pa.string()),
        pa.dense_union([pa.field("a", pa.int8())]),
        pa.decimal32(5, 1),
        pa.list_(pa.int8(), 0),
        pa.dictionary(pa.int8(), pa.list_(pa.int8())),
        pa.map_(pa.string(), pa.list_(pa.month_day_nano_interval())),
        pa.list_(pa.struct([("x", pa.int8()), ("x", pa.int8())])),
    ],
    ids=str,
)
def test_a_type_that_cannot_be_stored(db: StorageBackend, kind: pa.DataType) -> None:
    schema = pa.schema({"k": pa.int64(), "x": kind})
    with pytest.raises(InvalidInput, match=r"'x' is .* cannot store"):
        db.create_table("t", schema=schema)
    with pytest.raises(InvalidInput, match=r"'x' is .* cannot store"):
        db.open_or_create_table("t", schema)
    with pytest.raises(TableNotFound, match="no table"):
        db.head("t")
    db.create_table("t", [{"k": 1, "n": 1}])
    changes: list[Callable[[], object]] = [
        lambda: db.add_columns("t", {"x": kind}),
        lambda: db.add_columns("t", pa.schema({"x": kind})),
        lambda: db.add_columns("t", lambda batch: batch, schema=pa.schema({"x": kind})),
        lambda: db.alter_columns("t", {"n": ColumnChange(type=kind)}),
        lambda: db.write("t", mode="overwrite", data=None, schema=schema),
    ]
    for change in changes:
        with pytest.raises(InvalidInput):
            change()
    assert db.head("t").to_pylist() == [{"k": 1, "n": 1}]
    assert db.get_table_version("t") == 1


def test_view_layouts_become_plain_ones(db: StorageBackend) -> None:
    schema = pa.schema({"s": pa.string_view(), "b": pa.list_(pa.binary_view())})
    plain = pa.schema({"s": pa.string(), "b": pa.list_(pa.binary())})
    db.create_table("t", [{"s": "a", "b": [b"b"]}], schema=schema)
    assert db.open_or_create_table("t", schema).equals(plain)
    db.add_columns("t", {"v": pa.string_view(), "w": "arrow_cast('w', 'Utf8View')"})
    db.alter_columns("t", {"s": ColumnChange(type=pa.binary_view())})
    found = db.scan(ScanRequest("t", filter=col("v").is_null())).read_all()
    assert found.to_pylist() == [{"s": b"a", "b": [b"b"], "v": None, "w": "w"}]
    assert found.schema.types == [pa.binary(), pa.list_(pa.binary()), pa.string(), pa.string()]


def test_a_checkpoint_of_what_python_has_no_type_for(db: StorageBackend, tmp_path: Path) -> None:
    times = pa.array([1, None, 2], pa.timestamp("ns"))
    spans = pa.array([1, 2, None], pa.duration("ns"))
    db.create_table(
        "t", pa.table({"t": times, "d": spans, "h": pa.array([1, 2, 3], pa.time64("ns"))})
    )
    calls: list[int] = []

    def compute(batch: pa.RecordBatch) -> dict[str, list[int]]:
        calls.append(batch.num_rows)
        if len(calls) == 3:
            raise ZeroDivisionError
        return {"n": [batch["t"].cast(pa.int64())[0].as_py() or 0]}

    def add() -> None:
        new = pa.schema({"n": pa.int64()})
        db.add_columns("t", compute, schema=new, batch_size=1, checkpoint=tmp_path / "kept")

    with pytest.raises(ZeroDivisionError):
        add()
    add()
    assert calls == [1] * 4
    assert db.head("t")["n"].to_pylist() == [1, 0, 2]


@pytest.mark.parametrize(
    "state",
    [
        {"tag": 1},
        {"tag": ("main", 1)},
        {"version": 1.0},
        {"version": "1"},
        {"version": [1]},
        {"as_of": date(2020, 1, 1)},
        {"as_of": "2020-01-01"},
        {"as_of": 0},
    ],
    ids=str,
)
def test_a_state_is_named_by_what_names_one(db: StorageBackend, state: dict[str, Any]) -> None:
    db.create_table("t", [{"k": 1}])
    with pytest.raises(InvalidOption, match=next(iter(state))):
        db.head("t", **state)
    with pytest.raises(InvalidOption, match=next(iter(state))):
        db.table("t", **state)


@pytest.mark.parametrize("limit", [-1, 1.5, "1", [1]])
def test_a_page_is_a_number(db: StorageBackend, limit: Any) -> None:
    db.create_table("t", [{"k": 1}])
    with pytest.raises(InvalidOption, match="limit"):
        db.versions("t", limit=limit)
    with pytest.raises(InvalidOption, match="before"):
        db.versions("t", before=limit)


@pytest.mark.parametrize("join", [operator.or_, operator.and_])
def test_many_conditions_joined_one_by_one(db: StorageBackend, join: Callable[..., Any]) -> None:
    db.create_table("t", [{"k": n} for n in range(10)])
    wanted = join is operator.or_
    many = reduce(join, [(col("k") == n) if wanted else (col("k") != n) for n in range(3, 2003)])
    assert db.count_rows("t", many) == (7 if wanted else 3)
    assert db.count_rows("t", ~many) == (3 if wanted else 7)
    mixed = (col("k") == 0) | ((col("k") > 3) & ((col("k") > 4) & (col("k") < 7)))
    assert db.count_rows("t", mixed) == 3


def test_an_expression_that_nests_too_deeply(db: StorageBackend) -> None:
    db.create_table("t", [{"k": 1}])
    deep = reduce(operator.add, [col("k")] * 5000)
    with pytest.raises(InvalidFilter, match="within each other"):
        db.count_rows("t", deep > 1)
    with pytest.raises(InvalidFilter, match="within each other"):
        db.add_columns("t", {"n": deep})


@pytest.mark.parametrize("key", [([1], 1), ({}, 1), (col("a"), 1)], ids=str)
def test_a_key_of_what_no_key_holds(db: StorageBackend, key: Any) -> None:
    db.create_table("t", [{"a": 1, "b": 1}], primary_key=["a", "b"])
    with pytest.raises(InvalidInput, match="cannot hold"):
        db.take("t", [key])
