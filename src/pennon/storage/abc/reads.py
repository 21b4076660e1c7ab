"""Contract: reading rows."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import ScanRequest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Reads"]


class Reads(abc.ABC):
    """Reading the rows of a table."""

    @abc.abstractmethod
    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream the rows of one table, as of its latest acknowledged commit.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            ColumnNotFound: A projected column does not exist.
            InvalidInput: The filter cannot be understood.
        """

    @abc.abstractmethod
    def count_rows(self, table: IdLike, filter: str | None = None) -> int:
        """Return the number of rows, or of those that satisfy ``filter``.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            InvalidInput: The filter cannot be understood.
        """
