"""Rows from anything: what is accepted, what it becomes, and what is refused with which words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pytest

from pennon.arrow import to_reader
from pennon.errors import InvalidInput, SchemaMismatch

ROWS = [{"id": 1, "s": "a"}, {"id": 2, "s": None}]
TABLE = pa.table({"id": [1, 2], "s": ["a", None]})
SCHEMA = TABLE.schema


class Exporter:
    """Only the capsule protocol, as nanoarrow, duckdb and others have it."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


class ArrayExporter:
    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self._batch.__arrow_c_array__(requested_schema)


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.to_batches()[0],
        TABLE.to_reader(),
        Exporter(TABLE),
        ArrayExporter(TABLE.to_batches()[0]),
        pa.dataset.dataset(TABLE),
        pa.dataset.dataset(TABLE).scanner(),
        ROWS,
        tuple(ROWS),
        {"id": [1, 2], "s": ["a", None]},
        {"id": np.array([1, 2]), "s": pa.array(["a", None])},
        TABLE.to_batches(),
        iter(TABLE.to_batches()),
        [TABLE.slice(0, 1), TABLE.slice(1)],
        pl.DataFrame({"id": [1, 2], "s": ["a", None]}),
    ],
    ids=lambda d: type(d).__name__,
)
def test_accepted(data: Any) -> None:
    reader = to_reader(data)
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.schema.names == ["id", "s"]
    assert reader.read_all().to_pylist() == ROWS


def test_with_a_schema_all_of_them_become_it() -> None:
    for data in (TABLE, ROWS, {"id": [1, 2], "s": ["a", None]}, pl.DataFrame(ROWS), iter([TABLE])):
        reader = to_reader(data, SCHEMA)
        assert reader.schema == SCHEMA
        assert reader.read_all() == TABLE


def test_keys_that_only_later_rows_have_are_columns() -> None:
    assert to_reader([{"a": 1}, {"b": 2}]).read_all().to_pylist() == [
        {"a": 1, "b": None},
        {"a": None, "b": 2},
    ]


def test_a_stream_stays_one() -> None:
    pulled: list[int] = []

    def batches() -> Iterator[pa.RecordBatch]:
        for n in range(5):
            pulled.append(n)
            yield pa.RecordBatch.from_pylist([{"id": n, "s": "x"}])

    source = pa.RecordBatchReader.from_batches(SCHEMA, batches())
    reader = to_reader(source, pa.schema({"s": pa.large_string(), "id": pa.int64()}))
    assert pulled == []
    assert reader.read_next_batch().to_pylist() == [{"s": "x", "id": 0}]
    assert len(pulled) < 3


def test_the_error_of_a_source_stays_what_it_is() -> None:
    def batches() -> Iterator[pa.RecordBatch]:
        yield TABLE.to_batches()[0]
        raise ZeroDivisionError("in the source")

    reader = to_reader(batches())
    with pytest.raises(ZeroDivisionError, match="in the source"):
        reader.read_all()


@pytest.mark.parametrize(
    "data",
    [
        None,
        7,
        "text",
        b"bytes",
        object(),
        [1],
        [ROWS[0], 1],
        [],
        {},
        iter([]),
        [{1: 2}],
        pa.array([1]),
    ],
    ids=lambda d: type(d).__name__,
)
def test_refused(data: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        to_reader(data).read_all()
    assert str(caught.value).endswith(".")


def test_what_is_accepted_is_said() -> None:
    with pytest.raises(InvalidInput, match=r"polars, pandas.*list of dicts, or a dict of lists"):
        to_reader(7)


def test_columns_of_one_name_are_refused() -> None:
    twice = pa.table([[1], [2]], names=["a", "a"])
    with pytest.raises(InvalidInput, match="more than one column 'a'"):
        to_reader(twice)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"id": [1], "z": [1]}, "column 'z' that the schema lacks"),
        (pa.table({"id": [1.5], "s": ["a"]}), "is double and must be int64"),
        (pa.table({"id": pa.array([1], pa.int32())}), "is int32 and must be int64"),
        (pa.table({"s": ["a"]}), "lack the column 'id'"),
        (pa.table({"id": pa.array([None], pa.int64())}), "holds a NULL"),
        ([{"id": None}], "holds a NULL"),
        ([{"id": "x"}], "'id' does not hold values that are int64"),
        ([{"id": 2**70}], "'id' does not hold values that are int64"),
    ],
)
def test_data_that_do_not_fit(data: Any, said: str) -> None:
    strict = pa.schema([pa.field("id", pa.int64(), nullable=False), ("s", pa.string())])
    with pytest.raises(SchemaMismatch, match=said):
        to_reader(data, strict).read_all()


def test_rows_of_mixed_types_are_refused() -> None:
    with pytest.raises(SchemaMismatch):
        to_reader([{"a": 1}, {"a": "x"}])


@pytest.mark.parametrize(
    "given",
    [
        pa.array(["a", None, "ü"], pa.string_view()),
        pa.array(["a", None, "ü"], pa.large_string()),
        pa.array(["a", None, "ü"]).dictionary_encode(),
    ],
    ids=lambda a: str(a.type)[:12],
)
def test_other_layouts_of_the_same_values_are_converted(given: pa.Array) -> None:
    reader = to_reader(pa.table({"s": given}), pa.schema({"s": pa.string()}))
    assert reader.read_all()["s"].to_pylist() == ["a", None, "ü"]


def test_nested_layouts_are_converted() -> None:
    given = pa.table(
        {
            "l": pa.array([["a"], None, []], pa.large_list(pa.large_string())),
            "r": pa.array([{"x": "a"}, None, {"x": None}], pa.struct({"x": pa.large_string()})),
        }
    )
    wanted = pa.schema({"l": pa.list_(pa.string()), "r": pa.struct({"x": pa.string()})})
    got = to_reader(given, wanted).read_all()
    assert got.schema == wanted
    assert got.to_pylist() == given.to_pylist()


def test_views_become_plain_without_a_schema() -> None:
    table = pa.table(
        {"s": pa.array(["a"], pa.string_view()), "b": pa.array([b"x"], pa.binary_view())}
    )
    assert to_reader(table).schema == pa.schema({"s": pa.string(), "b": pa.binary()})


def test_a_column_of_nothing_but_null_fits_any_type() -> None:
    got = to_reader(pa.table({"id": [1], "s": pa.nulls(1)}), SCHEMA).read_all()
    assert got == pa.table({"id": [1], "s": pa.array([None], pa.string())})


def test_a_large_batch_is_converted_piece_by_piece() -> None:
    table = pa.table({"s": pa.array(["x"] * 100_000, pa.large_string())})
    sizes = [b.num_rows for b in to_reader(table, pa.schema({"s": pa.string()}))]
    assert sum(sizes) == 100_000
    assert max(sizes) <= 8192


def test_metadata_of_the_schema_are_kept() -> None:
    schema = pa.schema([pa.field("id", pa.int64(), metadata={"k": "v"})], metadata={"a": "b"})
    assert to_reader([{"id": 1}], schema).schema.equals(schema, check_metadata=True)
