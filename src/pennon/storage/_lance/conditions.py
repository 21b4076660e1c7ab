"""Conditions and expressions of a change, evaluated by Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.storage._lance.errors import translated
from pennon.storage._lance.rows import Rows

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["computed", "is_trivial", "paired", "satisfying"]

_TRUE = "full_filter=Boolean(true)"


def is_trivial(handle: lance.LanceDataset, condition: str) -> bool:
    """Whether a condition is true of every row there could be, as far as Lance can tell."""
    scanner = handle.scanner(columns=[], filter=condition, with_row_id=True)
    return _TRUE in scanner.explain_plan(verbose=True)


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
        return found["_rowid"].to_pylist(), is_trivial(handle, condition)


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
