"""The life of tables, on Lance."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from pennon.errors import CommitConflict, TableNotFound
from pennon.namespaces.abc import Id, IdLike
from pennon.storage._lance.base import COMMIT_SECONDS, LanceBase
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.create import create, create_or_overwrite
from pennon.storage._lance.durability import keep
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage.abc.tables import Creation, TableLifecycle
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceTables"]


class LanceTables(LanceBase, TableLifecycle):
    """The life of tables, on Lance."""

    def _create(self, id: Id, rows: pa.RecordBatchReader, asked: Creation) -> CommitReceipt:
        return self._made(create, "create", id, rows, asked)

    def _create_or_overwrite(
        self, id: Id, rows: pa.RecordBatchReader, asked: Creation
    ) -> CommitReceipt:
        return self._made(create_or_overwrite, "overwrite", id, rows, asked)

    def _made(
        self,
        make: Callable[..., CommitReceipt],
        operation: str,
        id: Id,
        rows: pa.RecordBatchReader,
        asked: Creation,
    ) -> CommitReceipt:
        """Make a table, and tell what a drop meanwhile means."""
        places: list[Place] = []

        def prove(place: Place) -> None:
            places.append(place)
            self._prove(place)

        with self._unless_dropped(places, CommitConflict):
            receipt = make(
                self._namespace,
                id,
                rows,
                prove=prove,
                properties=asked.properties,
                asked=_asked(operation, asked),
            )
            if asked.durability == "disk":
                place = Place.of(self._namespace, self._namespace.describe_table(id))
                keep(self._namespace, place, receipt)
        return receipt

    def table_exists(self, table: IdLike) -> bool:
        """Tell whether a table exists; see :meth:`StorageBackend.table_exists`."""
        try:
            return self._read_place(table, None).is_written
        except TableNotFound:
            return False

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
            place, handle = self._opened(table, ref)
        except TableNotFound:
            if missing_ok:
                return None
            raise
        with translated(place.name, place.secrets):
            return handle.schema


def _asked(operation: str, asked: Creation) -> Asked:
    return Asked(
        operation,
        asked.write_id,
        repeated=asked.repeated,
        seconds=COMMIT_SECONDS if asked.deadline is None else asked.deadline,
        message=asked.message,
        durability=asked.durability,
    )
