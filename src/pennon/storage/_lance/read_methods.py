"""Reading rows, on Lance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.errors import TableNotFound
from pennon.expr import Expr, filter_sql
from pennon.namespaces.abc import IdLike
from pennon.storage._lance.base import LanceBase
from pennon.storage._lance.rows import Rows
from pennon.storage._select import check_n, check_one_of, check_row_ids
from pennon.storage.abc.reads import Reads
from pennon.storage.abc.types import Columns, ScanRequest
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceReads"]


class LanceReads(LanceBase, Reads):
    """Reading rows, on Lance."""

    def _rows(self, table: IdLike, ref: Ref) -> Rows:
        """Open the state that is meant."""
        place = self._read_place(table, ref)
        with self._unless_dropped([place], TableNotFound):
            handle = place.open_at(ref)
        return Rows(
            handle,
            place.info.id,
            place.name,
            place.secrets,
            lambda: self._unless_dropped([place], TableNotFound),
        )

    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream rows; see :meth:`StorageBackend.scan`."""
        asked = request if isinstance(request, ScanRequest) else ScanRequest(request)
        return self._rows(asked.table, asked.ref).scan(asked)

    def count_rows(
        self,
        table: IdLike,
        filter: Expr | str | None = None,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> int:
        """Count rows; see :meth:`StorageBackend.count_rows`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        filter_sql(filter)
        return self._rows(table, ref).count(filter)

    def take(
        self,
        table: IdLike,
        keys: Sequence[Any] | None = None,
        *,
        row_ids: Sequence[int] | None = None,
        columns: Columns | None = None,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return single rows; see :meth:`StorageBackend.take`."""
        check_one_of(keys, row_ids)
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        rows = self._rows(table, ref)
        if keys is not None:
            return rows.take_keys(keys, columns)
        return rows.take_ids(check_row_ids(row_ids or ()), columns)

    def sample(
        self,
        table: IdLike,
        n: int,
        *,
        seed: int | None = None,
        columns: Columns | None = None,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return rows at random; see :meth:`StorageBackend.sample`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        return self._rows(table, ref).sample(check_n(n), seed, columns)

    def sql(
        self,
        table: IdLike,
        query: str,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.RecordBatchReader:
        """Stream the answer to a query; see :meth:`StorageBackend.sql`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        return self._rows(table, ref).sql(query)
