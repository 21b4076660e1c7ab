"""Times against columns that are coarser, before and after 1970, and in other zones."""

from __future__ import annotations

import datetime as dt
import operator
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from pennon.expr import Expr, col, lit, value_sql

EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - columns without a zone
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
HALF = 500_000_000
VALUES = [n * HALF + step for n in range(-4, 5) for step in (-1, 0, 1)]
ASKED = [n * HALF // 1000 + step for n in range(-3, 4) for step in (-1, 0, 1)]
OPERATORS = (operator.gt, operator.ge, operator.lt, operator.le, operator.eq, operator.ne)


def ids(table: Any, filter: Expr) -> list[int]:
    return table.to_table(columns=["id"], filter=filter.to_sql())["id"].to_pylist()


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kolkata", "-03:00"])
def test_a_time_is_never_cut(tmp_path: Path, zone: str | None, indexed: bool) -> None:
    columns: dict[str, Any] = {"id": range(len(VALUES) + 1)}
    stored: dict[str, list[int]] = {}
    for unit, size in NANOSECONDS.items():
        whole = [v // size for v in VALUES]
        stored[unit] = [w * size for w in whole]
        columns[unit] = pa.array([*whole, None], pa.int64()).cast(pa.timestamp(unit, zone))
    table = lance.write_dataset(pa.table(columns), tmp_path / "t", data_storage_version="2.2")
    for unit in NANOSECONDS if indexed else ():
        table.create_scalar_index(unit, "BTREE")
    for unit, values in stored.items():
        for asked in ASKED:
            time = EPOCH + dt.timedelta(microseconds=asked)
            if zone is not None:
                time = time.replace(tzinfo=dt.UTC).astimezone(dt.timezone(dt.timedelta(hours=2)))
            for compare in OPERATORS:
                right = [n for n, v in enumerate(values) if compare(v, asked * 1000)]
                wrong = [n for n in range(len(values)) if n not in right]
                condition = compare(col(unit), time)
                assert ids(table, condition) == right, condition
                assert ids(table, ~condition) == wrong, condition
            equal = [n for n, v in enumerate(values) if v == asked * 1000]
            assert ids(table, col(unit).is_in([time, None])) == equal
            assert ids(table, compare_turned(time, col(unit))) == [
                n for n, v in enumerate(values) if asked * 1000 <= v
            ]


def test_two_literals() -> None:
    assert (lit(1) == lit(None)).to_sql() == "(1 = NULL)"
    time = dt.datetime(2020, 1, 1, 0, 0, 0, 5)  # noqa: DTZ001
    assert "arrow_cast" in (lit(time) < lit(time)).to_sql()


def compare_turned(time: dt.datetime, column: Expr) -> Expr:
    return lit(time) <= column


@pytest.mark.parametrize("year", [1, 1600, 2500, 9999])
def test_times_that_have_no_nanoseconds(tmp_path: Path, year: int) -> None:
    time = dt.datetime(year, 6, 1, 12, 0, 0, 250_000)  # noqa: DTZ001
    stored = [time.replace(microsecond=0), time, time.replace(microsecond=500_000)]
    rows = pa.table({"id": range(3), "at": pa.array(stored, pa.timestamp("us"))})
    table = lance.write_dataset(rows, tmp_path / "t")
    for compare in OPERATORS:
        right = [n for n, v in enumerate(stored) if compare(v, time)]
        assert ids(table, compare(col("at"), time)) == right


def test_unknown_is_not_false_where_it_is_compared(tmp_path: Path) -> None:
    rows = pa.table({"id": range(3), "a": pa.array([1, 2, None])})
    table = lance.write_dataset(rows, tmp_path / "t")
    never = col("a").is_in([1]) & col("a").is_in([2])
    no, yes = False, True
    assert ids(table, never == no) == [0, 1]
    assert ids(table, never != yes) == [0, 1]
    assert ids(table, never.is_null()) == [2]
    assert ids(table, never.cast("int") == 0) == [0, 1]
    found = table.to_table(columns={"id": "id", "never": value_sql(never)})
    assert found["never"].to_pylist() == [False, False, None]
