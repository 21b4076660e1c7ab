"""SQL over rows in memory, evaluated by Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.storage._lance.errors import translated
from pennon.storage._lance.rows import Rows
from pennon.storage.abc.types import ScanRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from pennon.expr import Expr
    from pennon.namespaces.abc import Id

__all__ = ["computed", "in_memory", "positions"]


def in_memory(rows: pa.Table, table: str, id: Id = ()) -> Rows:
    """Return rows in memory as Lance reads them; their row ids are their positions.

    Args:
        rows: All rows.
        table: What they are, for errors.
        id: The table, for errors.
    """
    import lance

    with translated(table):
        # A store in memory belongs to its handle and goes with it.
        handle = lance.write_dataset(
            rows, "memory://rows", data_storage_version="2.2", enable_stable_row_ids=True
        )
    return Rows(handle, id or (table,), table)


def positions(rows: pa.Table, filter: Expr | str, table: str, id: Id = ()) -> pa.ChunkedArray:
    """Return the positions of the rows that satisfy a filter, in their order.

    Raises:
        InvalidFilter: The filter cannot be used on these columns.
    """
    return in_memory(rows, table, id).ids(filter)


def computed(
    rows: pa.Table, columns: Mapping[str, Expr | str], table: str, id: Id = ()
) -> pa.Table:
    """Return columns computed from rows, in their order.

    Raises:
        InvalidInput: One cannot be understood, or fails on a row.
    """
    read = in_memory(rows, table, id)
    return read.scan(ScanRequest(read.id, columns=columns)).read_all()
