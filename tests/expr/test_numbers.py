"""Whole numbers are compared with any number exactly, as Python does it."""

from __future__ import annotations

import math
import operator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pennon
from pennon import ScanRequest, col
from pennon.expr import Expr
from pennon.storage.abc import StorageBackend

EDGE = 2**53
COLUMNS = {
    "a": (pa.int64(), [None, -(2**63), -EDGE - 1, -1, 0, 1, 2, EDGE, EDGE + 1, 2**63 - 1]),
    "b": (pa.uint64(), [0, 1, None, 2, EDGE, EDGE + 1, EDGE + 2, 2**63, 2**64 - 1, None]),
    "c": (pa.int8(), [-128, -1, 0, None, 1, 2, 3, 100, 126, 127]),
    "d": (pa.uint16(), [0, 1, 2, 3, None, 255, 256, 1000, 65534, 65535]),
}
NUMBERS = [
    *(0.0, -0.0, 1.0, 1.5, -0.5, 126.5, 128.0, 1e300, -1e300, math.inf, -math.inf),
    *(float(EDGE), float(EDGE + 2), -float(EDGE), 2.0**63, -(2.0**63), 2.0**64, 65535.5),
    *(-1, 128, 65536, 2**63, 2**64 - 1, -(2**63), EDGE + 1, -129),
    *(np.float32(0.1), np.float64(2.0), np.int64(2), np.uint64(2**64 - 1)),
]
OPERATORS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
Truth = list[bool | None]


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> list[StorageBackend]:
    rows = pa.table({n: pa.array(v, t) for n, (t, v) in COLUMNS.items()})
    rows = rows.append_column("k", pa.array(range(rows.num_rows)))
    both = [pennon.open(tmp_path_factory.mktemp("numbers")), pennon.open("memory://numbers")]
    for db in both:
        db.create_table("t", rows)
    return both


def plain(number: Any) -> Any:
    return number.item() if isinstance(number, np.generic) else number


@st.composite
def _leaf(draw: st.DrawFn) -> tuple[Expr, Truth]:
    name = draw(st.sampled_from(sorted(COLUMNS)))
    values = COLUMNS[name][1]
    if draw(st.booleans()):
        wanted = draw(st.lists(st.sampled_from([None, *NUMBERS]), max_size=3))
        numbers = [plain(w) for w in wanted if w is not None]
        otherwise = None if None in wanted else False
        truth: Truth = [
            (False if not wanted else None) if v is None else v in numbers or otherwise
            for v in values
        ]
        return col(name).is_in(wanted), truth
    number, compare = draw(st.sampled_from(NUMBERS)), draw(st.sampled_from(OPERATORS))
    truth = [None if v is None else compare(v, plain(number)) for v in values]
    if draw(st.booleans()) and not isinstance(number, np.generic):
        return compare(number, col(name)), [
            None if v is None else compare(plain(number), v) for v in values
        ]
    return compare(col(name), number), truth


def _and(a: bool | None, b: bool | None) -> bool | None:
    return False if False in (a, b) else None if None in (a, b) else True


def _not(a: bool | None) -> bool | None:
    return None if a is None else not a


def _grow(inner: st.SearchStrategy[tuple[Expr, Truth]]) -> st.SearchStrategy[Any]:
    def both(p: Any) -> tuple[Expr, Truth]:
        return p[0][0] & p[1][0], [_and(a, b) for a, b in zip(p[0][1], p[1][1], strict=True)]

    return st.tuples(inner, inner).map(both) | inner.map(lambda p: (~p[0], [_not(a) for a in p[1]]))


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_every_number_with_every_operator(backends: list[StorageBackend], name: str) -> None:
    values = COLUMNS[name][1]
    for number in NUMBERS:
        for compare in OPERATORS:
            filter = compare(col(name), number)
            found = backends[0].scan(ScanRequest("t", columns=["k"], filter=filter)).read_all()
            expected = [
                k for k, v in enumerate(values) if v is not None and compare(v, plain(number))
            ]
            assert found["k"].to_pylist() == expected, filter


@given(case=st.recursive(_leaf(), _grow, max_leaves=3))
@settings(max_examples=100, deadline=None)
def test_logic_over_them_has_three_values(
    backends: list[StorageBackend], case: tuple[Expr, Truth]
) -> None:
    filter, truth = case
    expected = [k for k, keep in enumerate(truth) if keep]
    for db in backends:
        found = db.scan(ScanRequest("t", columns=["k"], filter=filter)).read_all()
        assert found["k"].to_pylist() == expected, filter
        assert db.count_rows("t", filter) == len(expected)


@pytest.mark.parametrize("root", ["", "memory://"])
def test_in_every_place_that_takes_a_filter(tmp_path: Path, root: str) -> None:
    db = pennon.open(f"{root}{tmp_path}")
    rows: list[dict[str, Any]] = [
        {"id": n, "s": {"n": n}, "text": "a word", "v": [float(n), 0.0]} for n in range(6)
    ]
    schema = pa.schema(
        {
            "id": pa.int64(),
            "s": pa.struct({"n": pa.int32()}),
            "text": pa.string(),
            "v": pa.list_(pa.float32(), 2),
        }
    )
    db.create_table("t", rows, schema=schema)
    filter = (col("id") > 1.5) & (col("s", "n") < np.float64(4.5)) & (col("id") < 2.0**64)
    for prefilter in (True, False):
        near = db.vector_search("t", "v", [0, 0], k=6, filter=filter, prefilter=prefilter)
        assert sorted(near["id"].to_pylist()) == [2, 3, 4]
        texts = db.full_text_search("t", "text", "word", k=6, filter=filter, prefilter=prefilter)
        assert sorted(texts["id"].to_pylist()) == [2, 3, 4]
    merged = db.merge_insert(
        "t",
        [{"id": n, "text": "merged"} for n in (0, 1, 9)],
        "id",
        matched_if=(col("source", "id") > 0.5) & (col("target", "id") < 2.0**63),
        when_not_matched="ignore",
        when_not_matched_by_source="delete",
        not_matched_by_source_if=col("id") > np.float64(10.5),
    )
    assert (merged.rows_updated, merged.rows_deleted) == (1, 0)
    big = col("id").cast("int") > 3
    assert db.update("t", {"text": "'new'"}, filter & ~big).rows_updated == 2
    assert db.delete_rows("t", col("id") == 1.5).rows_deleted == 0
    assert db.delete_rows("t", filter).rows_deleted == 3
    assert sorted(db.scan("t").read_all()["id"].to_pylist()) == [0, 1, 5]


def test_a_column_of_fractions_is_compared_as_before(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    schema = pa.schema({"x": pa.float32(), "y": pa.float64(), "s": pa.string()})
    db.create_table("t", [{"x": 0.1, "y": 0.1, "s": "1.5"}], schema=schema)
    assert db.count_rows("t", (col("x") == 0.1) & (col("y") == 0.1) & (col("s") == "1.5")) == 1
    assert db.count_rows("t", (col("y") * 10 >= 1.0) & (col("x") < 1)) == 1
