"""Reading rows, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.errors import ColumnNotFound, InvalidOption, did_you_mean
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._arguments import check_filter
from pennon.storage._memory.base import MemoryBase
from pennon.storage.abc.reads import Reads
from pennon.storage.abc.types import ScanRequest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryReads"]


class MemoryReads(MemoryBase, Reads):
    """Reading rows, in memory."""

    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream the rows of one table; see :meth:`StorageBackend.scan`."""
        asked = request if isinstance(request, ScanRequest) else ScanRequest(request)
        id, held = self._held(asked.table)
        rows = _filtered(held.versions[-1], asked.filter, id)
        if asked.columns is not None:
            rows = _projected(rows, list(asked.columns), id)
        return rows.slice(0, asked.limit).to_reader()

    def count_rows(self, table: IdLike, filter: str | None = None) -> int:
        """Count rows; see :meth:`StorageBackend.count_rows`."""
        id, held = self._held(table)
        return _filtered(held.versions[-1], filter, id).num_rows


def _filtered(rows: pa.Table, filter: str | None, id: Id) -> pa.Table:
    if filter is None:
        return rows
    check_filter(filter, show_id(id))
    from pennon.storage._lance.filters import matching

    return matching(rows, filter, show_id(id))


def _projected(rows: pa.Table, columns: list[str], id: Id) -> pa.Table:
    missing = [c for c in columns if c not in rows.schema.names]
    if missing:
        raise ColumnNotFound(
            f"{show_id(id)} has no column {missing[0]!r}; "
            f"{did_you_mean(missing[0], rows.schema.names)}",
            table=id,
            columns=tuple(missing),
        )
    if len(set(columns)) != len(columns):
        raise InvalidOption(f"columns= of {show_id(id)} names a column twice.", table=id)
    return rows.select(columns)
