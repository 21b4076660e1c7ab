"""Expressions mean what SQL's three-valued logic says, in Lance too."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pennon.errors import InvalidFilter
from pennon.expr import Expr, col, filter_sql, lit

ROWS = pa.table(
    {
        "a": pa.array([0, 1, None, 2, -3, None, 1], pa.int64()),
        "b": pa.array([0, None, 5, 2, 2, None, 0], pa.int64()),
        "s": pa.array(["a'b", "x%y", "é", "a_b", None, "", '"q"']),
        "t": pa.array([True, False, None, True, None, False, True]),
    }
)
INTEGERS = [None, -3, 0, 1, 2, 7]
TEXTS = [None, "", "a'b", "x%y", "a_b", "é", '"q"', "`", "%", "_"]
COMPARE = {
    "==": (lambda x, y: x == y, pc.equal),
    "!=": (lambda x, y: x != y, pc.not_equal),
    "<": (lambda x, y: x < y, pc.less),
    "<=": (lambda x, y: x <= y, pc.less_equal),
    ">": (lambda x, y: x > y, pc.greater),
    ">=": (lambda x, y: x >= y, pc.greater_equal),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> lance.LanceDataset:
    return lance.write_dataset(ROWS, str(tmp_path_factory.mktemp("expr") / "t"))


def _is_in(values: pa.Array, wanted: list[object]) -> pa.Array:
    """SQL's IN: unknown for NULL, and for no match when the list holds NULL."""
    out: list[bool | None] = []
    for value in values.to_pylist():
        if not wanted:
            out.append(False)
        elif value is not None and value in [w for w in wanted if w is not None]:
            out.append(True)
        else:
            out.append(None if value is None or None in wanted else False)
    return pa.array(out, pa.bool_())


@st.composite
def _leaf(draw: st.DrawFn) -> tuple[Expr, pa.Array]:
    kind = draw(st.sampled_from(["int", "text", "columns", "null", "in", "bool"]))
    if kind == "int":
        name, op = draw(st.sampled_from("ab")), draw(st.sampled_from(sorted(COMPARE)))
        value = draw(st.sampled_from(INTEGERS[1:]))
        return COMPARE[op][0](col(name), value), COMPARE[op][1](ROWS[name], value)
    if kind == "text":
        op, value = draw(st.sampled_from(sorted(COMPARE))), draw(st.sampled_from(TEXTS[1:]))
        return COMPARE[op][0](col("s"), value), COMPARE[op][1](ROWS["s"], value)
    if kind == "columns":
        op = draw(st.sampled_from(sorted(COMPARE)))
        return COMPARE[op][0](col("a"), col("b")), COMPARE[op][1](ROWS["a"], ROWS["b"])
    if kind == "null":
        name = draw(st.sampled_from("abst"))
        return col(name).is_null(), pc.is_null(ROWS[name])
    if kind == "in":
        name = draw(st.sampled_from("abs"))
        pool = TEXTS if name == "s" else INTEGERS
        values = draw(st.lists(st.sampled_from(pool), max_size=3))
        return col(name).is_in(values), _is_in(ROWS[name], values)
    return col("t"), ROWS["t"]


def _grow(inner: st.SearchStrategy[tuple[Expr, pa.Array]]) -> st.SearchStrategy:
    pair = st.tuples(inner, inner)
    return st.one_of(
        pair.map(lambda p: (p[0][0] & p[1][0], pc.and_kleene(p[0][1], p[1][1]))),
        pair.map(lambda p: (p[0][0] | p[1][0], pc.or_kleene(p[0][1], p[1][1]))),
        inner.map(lambda p: (~p[0], pc.invert(p[1]))),
    )


@given(case=st.recursive(_leaf(), _grow, max_leaves=6))
@settings(max_examples=300, deadline=None)
def test_three_valued_logic_agrees_with_arrow(
    dataset: lance.LanceDataset, case: tuple[Expr, pa.Array]
) -> None:
    expression, truth = case
    expected = [i for i, keep in enumerate(truth.to_pylist()) if keep]
    found = dataset.to_table(columns=[], filter=expression.to_sql(), with_row_id=True)
    assert sorted(found["_rowid"].to_pylist()) == expected, expression.to_sql()


def test_plain_lance_gets_null_lists_wrong(dataset: lance.LanceDataset) -> None:
    """The reason for the rendering of IN; when this fails, the detour can go."""
    plain = dataset.to_table(filter="NOT ((a IN (NULL)) AND (a IN (0)))")
    ours = dataset.to_table(filter=(~(col("a").is_in([None]) & col("a").is_in([0]))).to_sql())
    assert plain.num_rows == 7
    disjoint = "NOT ((a IN (5)) AND (a IN (0)))"
    assert dataset.count_rows(disjoint) == 7
    assert dataset.count_rows((~(col("a").is_in([5]) & col("a").is_in([0]))).to_sql()) == 5
    assert ours["a"].to_pylist() == [1, 2, -3, 1]


LITERALS = {
    "integer": (pa.int64(), 2**63 - 1),
    "lowest": (pa.int64(), -(2**63)),
    "unsigned": (pa.uint64(), 2**64 - 1),
    "double": (pa.float64(), 0.1),
    "infinity": (pa.float64(), float("inf")),
    "string": (pa.string(), "it's `q` \\ % _ \n é 🏳"),
    "bytes": (pa.binary(), b"\x00'\xff"),
    "decimal": (pa.decimal128(9, 3), decimal.Decimal("-12.340")),
    "small decimal": (pa.decimal128(9, 3), decimal.Decimal("0.001")),
    "date": (pa.date32(), dt.date(2024, 2, 29)),
    "timestamp": (pa.timestamp("us"), dt.datetime(2024, 2, 29, 1, 2, 3, 456)),  # noqa: DTZ001
    "zoned": (pa.timestamp("us", "UTC"), dt.datetime(2024, 2, 29, 1, 2, 3, 456, dt.UTC)),
    "boolean": (pa.bool_(), True),
}


@pytest.mark.parametrize("kind", LITERALS)
def test_every_literal_finds_itself(kind: str, tmp_path: Path) -> None:
    type_, value = LITERALS[kind]
    rows = pa.table({"v": pa.array([value, None], type_)})
    dataset = lance.write_dataset(rows, str(tmp_path / "t"))
    assert dataset.to_table(filter=(col("v") == value).to_sql())["v"].to_pylist() == [value]


NUMPY: dict[str, tuple[pa.DataType, Any, Any]] = {
    "int8": (pa.int64(), np.int8(-3), -3),
    "uint64": (pa.uint64(), np.uint64(2**64 - 1), 2**64 - 1),
    "bool": (pa.bool_(), np.True_, True),
    "text": (pa.string(), np.str_("it's"), "it's"),
    "bytes": (pa.binary(), np.bytes_(b"\x00'"), b"\x00'"),
    "float16": (pa.float64(), np.float16(1.5), 1.5),
    "float32": (pa.float64(), np.float32(0.1), float(np.float32(0.1))),
    "float64": (pa.float64(), np.float64(0.1), 0.1),
    "nan": (pa.float64(), np.float64("nan"), float("nan")),
    "day": (pa.date32(), np.datetime64("2024-02-29"), dt.date(2024, 2, 29)),
    "month": (pa.date32(), np.datetime64("2024-02"), dt.date(2024, 2, 1)),
    "hour": (pa.timestamp("s"), np.datetime64("2024-02-29T07", "h"), dt.datetime(2024, 2, 29, 7)),  # noqa: DTZ001
    "nanoseconds": (
        pa.timestamp("us"),
        np.datetime64("1969-02-28T01:02:03.456789", "ns"),
        dt.datetime(1969, 2, 28, 1, 2, 3, 456789),  # noqa: DTZ001
    ),
}


@pytest.mark.parametrize("kind", NUMPY)
def test_scalars_and_arrays_of_numpy_are_literals(kind: str, tmp_path: Path) -> None:
    type_, value, plain = NUMPY[kind]
    dataset = lance.write_dataset(pa.table({"v": pa.array([plain, None], type_)}), tmp_path / "t")
    for filter in (col("v") == value, lit(value) == col("v"), col("v").is_in(np.array([value]))):
        found = dataset.to_table(filter=filter.to_sql())["v"].to_pylist()
        assert repr(found) == repr([plain])


def test_no_time_of_numpy_is_null() -> None:
    assert lit(np.datetime64("NaT")).to_sql() == "NULL"
    days = np.array(["2024-01-01", "NaT"], "datetime64[D]")
    assert col("v").is_in(days).to_sql() == col("v").is_in([dt.date(2024, 1, 1), None]).to_sql()


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2024-01-01T00:00:00.000000001", "ns"),
        np.datetime64(2**62, "s"),
        np.datetime64("10000-01-01"),
        np.datetime64("0000-12-31"),
    ],
)
def test_times_of_numpy_that_python_cannot_hold(value: np.datetime64) -> None:
    with pytest.raises(InvalidFilter, match="microseconds"):
        lit(value)
    with pytest.raises(InvalidFilter, match="microseconds"):
        col("v").is_in(np.array([value]))


@pytest.mark.parametrize("name", ["with space", 'double"quote', "it's", "naïve", "SELECT", "1st"])
def test_any_column_name(name: str, tmp_path: Path) -> None:
    dataset = lance.write_dataset(pa.table({name: [1, 2]}), str(tmp_path / "t"))
    assert dataset.to_table(filter=(col(name) > 1).to_sql())[name].to_pylist() == [2]


def test_text_and_list_functions(tmp_path: Path) -> None:
    rows = pa.table({"s": ["50%", "500", "A_b"], "l": [[1, 2], [], None], "st": [{"x.y": 1}] * 3})
    dataset = lance.write_dataset(rows, str(tmp_path / "t"))

    def kept(filter: Expr) -> list[str]:
        return dataset.to_table(filter=filter.to_sql())["s"].to_pylist()

    assert kept(col("s").contains("0%")) == ["50%"]
    assert kept(col("s").starts_with("A_")) == ["A_b"]
    assert kept(col("s").ends_with("_b")) == ["A_b"]
    assert kept(col("s").lower() == "a_b") == ["A_b"]
    assert kept(col("l").has(2)) == ["50%"]
    assert kept(col("st", "x.y") == 1) == ["50%", "500", "A_b"]
    assert kept(col("s").cast("string").is_not_null() & True) == ["50%", "500", "A_b"]


def test_arithmetic_keeps_its_order() -> None:
    assert ((col("a") + 1) * 2 - col("b") / 4 % 3 > 5).to_sql() == (
        "((((`a` + 1) * 2) - ((`b` / 4) % 3)) > 5)"
    )
    assert (1 + col("a")).between(0, 9).to_sql() == "(((1 + `a`) >= 0) AND ((1 + `a`) <= 9))"


def test_python_logic_is_refused_with_the_operator_to_use() -> None:
    with pytest.raises(InvalidFilter, match="use & for and"):
        bool(col("a") > 1)
    with pytest.raises(InvalidFilter, match="is_in"):
        assert 1 in [col("a")]
    with pytest.raises(TypeError, match="unhashable"):
        hash(col("a"))


@pytest.mark.parametrize(
    "value", [object(), [1], {"a": 1}, 1j, np.longdouble(1), np.timedelta64(1), np.array(1)]
)
def test_what_is_no_literal(value: object) -> None:
    with pytest.raises(InvalidFilter, match="no literal"):
        lit(value)


def test_durations_are_no_literals_in_arrays_either() -> None:
    with pytest.raises(InvalidFilter, match="no literal"):
        col("v").is_in(np.array([1], "timedelta64[ns]"))


def test_what_cannot_be_written() -> None:
    with pytest.raises(InvalidFilter, match="back-tick"):
        col("a`b").to_sql()
    with pytest.raises(InvalidFilter, match="64-bit"):
        lit(2**64).to_sql()
    with pytest.raises(InvalidFilter, match="no number"):
        lit(decimal.Decimal("NaN")).to_sql()
    with pytest.raises(InvalidFilter, match="no Unicode"):
        lit("\ud800").to_sql()


TRAILERS = [
    "a > 0; b",
    "a > 0 ORDER BY a",
    "a > 0 LIMIT 1",
    "a > 0 AS x",
    "a > 0, b",
    "a > 0 b",
    "a > 0)",
    "a > 0 /* /* */ ( */ ) b",
]


@pytest.mark.parametrize("text", TRAILERS)
def test_nothing_of_a_string_is_ignored(dataset: lance.LanceDataset, text: str) -> None:
    with pytest.raises(
        (ValueError, OSError), match=r"[Pp]arsing|not valid|not supported|none can be"
    ):
        dataset.count_rows(filter_sql(text))


def test_plain_lance_ignores_what_follows(dataset: lance.LanceDataset) -> None:
    """The reason for the parentheses; when this fails, they can go."""
    assert dataset.count_rows("a > 0; b") == dataset.count_rows(filter_sql("a > 0 -- b"))


def test_strings_pass_as_they_are_but_closed() -> None:
    assert filter_sql(None) is None
    assert filter_sql("a > 1") == "(a > 1\n)"
    assert filter_sql(col("a") > 1) == "(`a` > 1)"
    for wrong in ("", "  "):
        with pytest.raises(InvalidFilter, match="pass None"):
            filter_sql(wrong)
    with pytest.raises(InvalidFilter, match="not a int"):
        filter_sql(3)  # type: ignore[arg-type]
