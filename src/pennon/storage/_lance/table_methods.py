"""The life of tables, on Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pennon.errors import CommitConflict
from pennon.namespaces.abc import IdLike
from pennon.namespaces.names import check_new, parse_id
from pennon.storage._arguments import check_write_id, rows_of
from pennon.storage._lance.base import COMMIT_SECONDS, LanceBase
from pennon.storage._lance.create import create
from pennon.storage._lance.places import Place
from pennon.storage.abc.tables import TableLifecycle
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceTables"]


class LanceTables(LanceBase, TableLifecycle):
    """The life of tables, on Lance."""

    def create_table(
        self,
        table: IdLike,
        data: Any = None,
        *,
        schema: pa.Schema | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Create a table; see :meth:`StorageBackend.create_table`.

        The properties of a declaration that is adopted stay as they were declared. A create whose
        data fail in mid-stream leaves the name declared without data.
        """
        places: list[Place] = []

        def prove(place: Place) -> None:
            places.append(place)
            self._prove(place)

        with self._unless_dropped(places, CommitConflict):
            return create(
                self._namespace,
                self._within + check_new(parse_id(table, what="table"), what="table"),
                rows_of(data, schema),
                prove=prove,
                properties=properties,
                write_id=check_write_id(write_id),
                seconds=COMMIT_SECONDS,
            )
