"""What a table says of itself besides its rows, on Lance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from pennon.errors import TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.storage._lance import metadata
from pennon.storage._lance.write_methods import LanceWrites
from pennon.storage.abc.metadata import (
    Changes,
    Metadata,
    TableStats,
    VersionFile,
    check_metadata,
)
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN, Ref

__all__ = ["LanceMetadata"]


class LanceMetadata(LanceWrites, Metadata):
    """What a table says of itself besides its rows, on Lance."""

    def table_stats(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> TableStats:
        """Return how big a version is; see :meth:`Metadata.table_stats`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        place = self._read_place(table, ref)
        with self._unless_dropped([place], TableNotFound):
            return metadata.stats(place, ref)

    def version_files(self, table: IdLike, *, branch: str = MAIN) -> list[VersionFile]:
        """Return the manifests of a branch; see :meth:`Metadata.version_files`."""
        place = self._place(table, Ref(branch=branch).branch)
        with self._unless_dropped([place], TableNotFound):
            return metadata.version_files(place)

    def update_metadata(
        self,
        table: IdLike,
        schema: Changes | None = None,
        *,
        columns: Mapping[str, Changes] | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Change metadata; see :meth:`Metadata.update_metadata`."""
        of_schema, of_columns = check_metadata(schema, columns)
        asked = self._asked("metadata", write_id, deadline, commit_message, durability)
        return self._once(
            table, branch, asked, lambda at: metadata.update(at, of_schema, of_columns, asked)
        )
