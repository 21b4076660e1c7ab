"""Conditions and expressions of a change, evaluated by Lance."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from pennon.storage._lance.errors import is_lance_error, translated
from pennon.storage._lance.rows import Rows

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["computed", "is_always_true", "is_trivial", "paired", "satisfying"]

_TRUE = "full_filter=Boolean(true)"
_MARK = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|`[^`]*`|\b[^\W\d]\w*\b(?!\s*\()""")
"""What names no column, and what may."""
_CHOICES = 4
"""Columns that may be NULL at most: each doubles the work."""


def is_trivial(handle: lance.LanceDataset, condition: str) -> bool:
    """Whether a condition is true of every row there could be, as far as Lance can tell."""
    scanner = handle.scanner(columns=[], filter=condition, with_row_id=True)
    return _TRUE in scanner.explain_plan(verbose=True)


def is_always_true(schema: pa.Schema, condition: str) -> bool:
    """Whether a condition is true of every row there could be, NULL or not in each column.

    Lance gives up where a column may be NULL. So it is asked for each choice of columns that are:
    those are written as NULL, and the others said never to be. What it cannot answer counts as no.
    """
    import pyarrow as pa

    named = [n for n in _named(schema, condition) if schema.field(n).nullable]
    if len(named) > _CHOICES:
        return False
    filled = [f.with_nullable(nullable=False) if f.name in named else f for f in schema]
    try:
        handle = _in_memory(pa.schema(filled).empty_table())
        return all(
            is_trivial(handle, _with_nulls(condition, set(some), schema))
            for number in range(len(named) + 1)
            for some in itertools.combinations(named, number)
        )
    except BaseException as error:
        if not is_lance_error(error):
            raise
        return False


def _named(schema: pa.Schema, condition: str) -> list[str]:
    """Return the columns that the text may name."""
    found = (_column(mark, schema) for mark in _MARK.findall(condition))
    return list(dict.fromkeys(name for name in found if name is not None))


def _column(mark: str, schema: pa.Schema) -> str | None:
    name = mark.strip("`")
    if name in schema.names:
        return name
    alike = [n for n in schema.names if n.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def _with_nulls(condition: str, names: set[str], schema: pa.Schema) -> str:
    """Return the text with NULL in the place of columns."""
    return _MARK.sub(
        lambda mark: "NULL" if _column(mark[0], schema) in names else mark[0], condition
    )


def satisfying(rows: pa.Table, condition: str, table: str) -> tuple[list[int], bool]:
    """Return which rows in memory a condition is true of, and whether it always would be.

    Args:
        rows: All rows.
        condition: SQL.
        table: What they are, for errors.
    """
    with translated(table):
        handle = _in_memory(rows)
    with Rows(handle, (table,), table).reading():
        found = handle.to_table(columns=[], filter=condition, with_row_id=True, scan_in_order=True)
        trivial = is_trivial(handle, condition) or (
            0 < found.num_rows == rows.num_rows and is_always_true(rows.schema, condition)
        )
        return found["_rowid"].to_pylist(), trivial


def computed(
    rows: pa.Table, values: dict[str, str], condition: str | None, table: str
) -> tuple[list[int], pa.Table]:
    """Return which rows in memory a condition is true of, and columns computed from them.

    Args:
        rows: All rows.
        values: Names to SQL.
        condition: SQL; None for all rows.
        table: What they are, for errors.
    """
    with translated(table):
        handle = _in_memory(rows)
    with Rows(handle, (table,), table).computing(values):
        scanner = handle.scanner(
            columns=values, filter=condition, with_row_id=True, scan_in_order=True
        )
        found = scanner.to_table()
        return found["_rowid"].to_pylist(), found.drop_columns(["_rowid"])


def paired(source: pa.Table, target: pa.Table) -> pa.Table:
    """Return rows side by side, so that a condition can speak of ``source.x`` and ``target.x``."""
    import pyarrow as pa

    def struct(rows: pa.Table) -> pa.StructArray:
        columns = [c.combine_chunks() for c in rows.columns]
        return pa.StructArray.from_arrays(columns, rows.schema.names)

    return pa.table({"source": struct(source), "target": struct(target)})


def _in_memory(rows: pa.Table) -> lance.LanceDataset:
    import lance

    # A store in memory belongs to its handle and goes with it. Stable row ids count from 0.
    return lance.write_dataset(
        rows, "memory://rows", data_storage_version="2.2", enable_stable_row_ids=True
    )
