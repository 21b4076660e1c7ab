"""Reading rows, on Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.errors import TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.storage._lance.base import LanceBase
from pennon.storage._lance.scan import count, scan
from pennon.storage.abc.reads import Reads
from pennon.storage.abc.types import ScanRequest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceReads"]


class LanceReads(LanceBase, Reads):
    """Reading rows, on Lance."""

    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream the rows of one table; see :meth:`StorageBackend.scan`."""
        asked = request if isinstance(request, ScanRequest) else ScanRequest(request)
        place = self._place(asked.table)
        return scan(place, asked, lambda: self._unless_dropped([place], TableNotFound))

    def count_rows(self, table: IdLike, filter: str | None = None) -> int:
        """Count rows; see :meth:`StorageBackend.count_rows`."""
        place = self._place(table)
        with self._unless_dropped([place], TableNotFound):
            return count(place, filter)
