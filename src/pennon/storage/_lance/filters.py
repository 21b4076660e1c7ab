"""SQL filters over rows in memory, evaluated by Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.storage._lance.errors import translated

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["matching"]


def matching(rows: pa.Table, filter: str, table: str) -> pa.Table:
    """Return the rows that satisfy a filter, in their order.

    Args:
        rows: All rows.
        filter: SQL text.
        table: What the rows are, for errors.

    Raises:
        InvalidFilter: The filter cannot be used on these columns.
    """
    import lance

    with translated(table):
        # A store in memory belongs to its handle and goes with it.
        written = lance.write_dataset(rows, "memory://rows")
        return written.to_table(filter=filter, scan_in_order=True).cast(rows.schema)
