"""Reading rows, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.expr import Expr, filter_sql
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._memory.base import MemoryBase
from pennon.storage._select import (
    check_columns,
    check_n,
    check_one_of,
    check_order,
    check_query,
    check_row_ids,
    drawn,
    key_filter,
    picked,
)
from pennon.storage.abc.reads import Reads
from pennon.storage.abc.types import ROW_ID, Columns, ScanRequest
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryReads", "selected"]


class MemoryReads(MemoryBase, Reads):
    """Reading rows, in memory."""

    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream rows; see :meth:`StorageBackend.scan`."""
        asked = request if isinstance(request, ScanRequest) else ScanRequest(request)
        id, rows, known = self._with_ids(asked.table, asked.ref)
        found = selected(rows, asked, id, known)
        return found.combine_chunks().to_reader(max_chunksize=asked.batch_size)

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
        id, rows = self._at(table, ref)
        return len(_positions(rows, filter, id))

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
        import pyarrow as pa

        check_one_of(keys, row_ids)
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        id, rows, known = self._with_ids(table, ref)
        if keys is not None:
            names, wanted, filter = key_filter(keys, rows.schema, id)
            there = ScanRequest(id, columns=names, filter=filter, with_row_id=True)
            row_ids = picked(selected(rows, there, id, known), names, wanted)[ROW_ID].to_pylist()
        place = {row: n for n, row in enumerate(known)}
        found = [place[i] for i in check_row_ids(row_ids or ()) if i in place]
        some = rows.take(pa.array(found, pa.int64()))
        return selected(some, ScanRequest(id, columns=columns), id)

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
        import pyarrow as pa

        check_n(n)
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        id, rows = self._at(table, ref)
        some = rows.take(pa.array(drawn(n, rows.num_rows, seed), pa.int64()))
        return selected(some, ScanRequest(id, columns=columns), id)

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
        from pennon.storage._lance.in_memory import in_memory

        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        id, rows = self._at(table, ref)
        check_query(query, id)
        return in_memory(rows, show_id(id), id).sql(query)


def _positions(rows: pa.Table, filter: Expr | str | None, id: Id) -> pa.ChunkedArray:
    import pyarrow as pa

    if filter is None:
        return pa.chunked_array([pa.array(range(rows.num_rows), pa.uint64())])
    from pennon.storage._lance.in_memory import positions

    return positions(rows, filter, show_id(id), id)


def selected(rows: pa.Table, asked: ScanRequest, id: Id, known: Sequence[int] = ()) -> pa.Table:
    """Return the rows and columns that are asked for.

    Args:
        rows: All rows.
        asked: Which of them.
        id: The table, for errors.
        known: The ids of all rows, if they are to be returned.
    """
    import pyarrow as pa

    order = asked.ordering
    if asked.computed is None:
        check_columns(asked.names or (), rows.schema, id)
    check_order([name for name, _ in order], rows.schema, id)
    ids = _positions(rows, asked.filter, id)
    if order:
        ids = ids.take(_sorted(rows.take(ids), order))
    ids = ids.slice(min(asked.offset, len(ids)), asked.limit)
    found = _projected(rows.take(ids), asked, id)
    if not asked.with_row_id:
        return found
    return found.append_column(ROW_ID, pa.array(known, pa.uint64()).take(ids))


def _projected(rows: pa.Table, asked: ScanRequest, id: Id) -> pa.Table:
    if asked.computed is not None:
        from pennon.storage._lance.in_memory import computed

        return computed(rows, asked.computed, show_id(id), id)
    return rows if asked.names is None else rows.select(asked.names)


def _sorted(rows: pa.Table, order: list[tuple[str, bool]]) -> pa.Array:
    """Return the positions of rows in their order: NULL comes last, NaN is the greatest number."""
    import pyarrow as pa
    import pyarrow.compute

    pc: Any = pyarrow.compute

    keys: dict[str, Any] = {}
    ways: list[tuple[str, str]] = []
    for place, (name, up) in enumerate(order):
        values, way = rows[name], "ascending" if up else "descending"
        if pa.types.is_floating(values.type):
            values = values.cast(pa.float64())  # Arrow does not sort the shortest
            keys[f"nan{place}"] = pc.is_nan(values)
        keys[str(place)] = values
        ways += [(key, way) for key in (f"nan{place}", str(place)) if key in keys]
    return pc.sort_indices(pa.table(keys), sort_keys=ways)
