"""Tables in this process: the reference model, and a test double for users."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pennon.arrow import to_reader
from pennon.errors import (
    ColumnNotFound,
    CommitConflict,
    InvalidOption,
    TableAlreadyExists,
    TableNotFound,
    did_you_mean,
)
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.memory import MemoryNamespace
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.storage._arguments import check_filter, check_mode, check_write_id, rows_of
from pennon.storage.abc import CommitReceipt, ScanRequest, StorageBackend

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryBackend"]


@dataclass(slots=True)
class _Table:
    """What a location holds. Versions are immutable tables; the lock orders the commits."""

    versions: list[pa.Table]
    lock: threading.Lock = field(default_factory=threading.Lock)
    receipts: dict[tuple[str, str], CommitReceipt] = field(
        default_factory=dict[tuple[str, str], CommitReceipt]
    )
    """By operation and write id."""

    def receipt(self, id: Id, operation: str, write_id: str, rows: int) -> CommitReceipt:
        """Return the receipt of the version made last, and remember it."""
        made = CommitReceipt(
            table=id,
            branch="main",
            version=len(self.versions),
            rows_inserted=rows,
            rows_updated=0,
            rows_deleted=0,
            write_id=write_id,
            committed_at=datetime.now(UTC),
        )
        self.receipts[operation, write_id] = made
        return made


class MemoryBackend(StorageBackend):
    """Arrow tables in memory under the names of a memory catalog, gone when the process ends.

    Every backend on one ``memory://`` root of a process sees the same tables. A filter is
    evaluated by Lance over the rows in memory, so that it means what it means on every backend;
    without one nothing but Arrow is used.

    Args:
        namespace: The catalog; one of its own if None.
        within: The namespace that ids are relative to.
    """

    def __init__(self, namespace: MemoryNamespace | None = None, *, within: Id = ()) -> None:
        self._namespace = namespace or MemoryNamespace()
        self._within = within

    @property
    def namespace(self) -> MemoryNamespace:
        """The catalog whose names this backend stores tables under."""
        return self._namespace

    def create_table(
        self,
        table: IdLike,
        data: Any = None,
        *,
        schema: pa.Schema | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Create a table; see :meth:`StorageBackend.create_table`."""
        id = self._within + check_new(parse_id(table, what="table"), what="table")
        named = check_write_id(write_id)
        rows = rows_of(data, schema).read_all()
        try:
            self._namespace.declare_table(id, properties=properties)
        except TableAlreadyExists:
            if not self._namespace.table_exists(id):
                raise _moved(id) from None
        mine = _Table([rows])
        first = mine.receipt(id, "create", named, rows.num_rows)
        try:
            held = self._namespace.mark_written(id, mine)
        except TableNotFound:
            raise _moved(id) from None
        assert isinstance(held, _Table)
        earlier = held.receipts.get(("create", named))
        if earlier is None:
            raise TableAlreadyExists(
                f"{show_id(id)} is a table already; write to it, choose another name, or drop it "
                "first.",
                table=id,
            )
        return first if held is mine else earlier

    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append"] = "append",
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Append rows; see :meth:`StorageBackend.write`."""
        import pyarrow as pa

        check_mode(mode)
        named = check_write_id(write_id)
        id, held = self._held(table)
        earlier = held.receipts.get(("append", named))
        if earlier is not None:
            return earlier
        rows = to_reader(data, held.versions[0].schema).read_all()
        with held.lock:
            earlier = held.receipts.get(("append", named))
            if earlier is not None:
                return earlier
            if not rows.num_rows:
                return CommitReceipt(
                    id, "main", len(held.versions), 0, 0, 0, named, datetime.now(UTC)
                )
            if not self._namespace.table_exists(id) or self._namespace.data_of(id) is not held:
                raise _moved(id)
            held.versions.append(pa.concat_tables([held.versions[-1], rows]))
            return held.receipt(id, "append", named, rows.num_rows)

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

    def _held(self, table: IdLike) -> tuple[Id, _Table]:
        id = self._within + parse_id(table, what="table")
        held = self._namespace.data_of(id)
        if not isinstance(held, _Table):
            raise TableNotFound(
                f"The table {show_id(id)} is declared but nothing was written to it yet; "
                "create_table fills it.",
                table=id,
            )
        return id, held


def _moved(id: Id) -> CommitConflict:
    return CommitConflict(
        f"{show_id(id)} was dropped or renamed while being written; look for it, then retry.",
        table=id,
    )


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
