"""The life of tables, in memory."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pennon.errors import TableAlreadyExists, TableNotFound
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._memory.base import MemoryBase, MemoryTable, moved
from pennon.storage.abc.tables import Creation, TableLifecycle
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryTables"]


class MemoryTables(MemoryBase, TableLifecycle):
    """The life of tables, in memory."""

    def _create(self, id: Id, rows: pa.RecordBatchReader, asked: Creation) -> CommitReceipt:
        held_rows = rows.read_all()
        try:
            self._namespace.declare_table(id, properties=asked.properties)
        except TableAlreadyExists:
            if not self._namespace.table_exists(id):
                raise moved(id) from None
        mine = MemoryTable([held_rows])
        first = mine.receipt(
            id, "create", asked.write_id, held_rows.num_rows, message=asked.message
        )
        try:
            held = self._namespace.mark_written(id, mine)
        except TableNotFound:
            raise moved(id) from None
        assert isinstance(held, MemoryTable)
        earlier = held.receipts.get(("create", asked.write_id))
        if earlier is None:
            raise TableAlreadyExists(
                f"{show_id(id)} is a table already; write to it, choose another name, or drop it "
                "first.",
                table=id,
            )
        return first if held is mine else earlier

    def _create_or_overwrite(
        self, id: Id, rows: pa.RecordBatchReader, asked: Creation
    ) -> CommitReceipt:
        new = rows.read_all()
        try:
            return self._create(id, new.to_reader(), asked)
        except TableAlreadyExists:
            return self.write(
                id[len(self._within) :],
                new,
                mode="overwrite",
                schema=new.schema,
                write_id=asked.write_id,
                commit_message=asked.message,
            )

    def get_table_schema(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
        missing_ok: bool = False,
    ) -> pa.Schema | None:
        """Return the columns; see :meth:`StorageBackend.get_table_schema`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        try:
            return self._at(table, ref)[1].schema
        except TableNotFound:
            if missing_ok:
                return None
            raise
