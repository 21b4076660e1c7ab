"""The life of tables, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pennon.errors import TableAlreadyExists, TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.storage._arguments import check_write_id, rows_of
from pennon.storage._memory.base import MemoryBase, MemoryTable, moved
from pennon.storage.abc.tables import TableLifecycle
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryTables"]


class MemoryTables(MemoryBase, TableLifecycle):
    """The life of tables, in memory."""

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
                raise moved(id) from None
        mine = MemoryTable([rows])
        first = mine.receipt(id, "create", named, rows.num_rows)
        try:
            held = self._namespace.mark_written(id, mine)
        except TableNotFound:
            raise moved(id) from None
        assert isinstance(held, MemoryTable)
        earlier = held.receipts.get(("create", named))
        if earlier is None:
            raise TableAlreadyExists(
                f"{show_id(id)} is a table already; write to it, choose another name, or drop it "
                "first.",
                table=id,
            )
        return first if held is mine else earlier
