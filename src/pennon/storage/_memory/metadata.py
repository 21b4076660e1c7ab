"""What a table says of itself besides its rows, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from pennon.errors import ColumnNotFound, did_you_mean
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._arguments import check_durability, check_message, check_write_id
from pennon.storage._memory.base import MemoryBase, moved
from pennon.storage.abc.metadata import (
    Changes,
    Metadata,
    TableStats,
    VersionFile,
    check_metadata,
)
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryMetadata"]


class MemoryMetadata(MemoryBase, Metadata):
    """What a table says of itself besides its rows, in memory."""

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
        _, number, rows = self._numbered(table, ref)
        return TableStats(
            version=number,
            rows=rows.num_rows,
            deleted_rows=0,
            bytes=rows.nbytes,
            fragment_rows=(rows.num_rows,) if rows.num_rows else (),
        )

    def version_files(self, table: IdLike, *, branch: str = MAIN) -> list[VersionFile]:
        """Return what stands for manifests; see :meth:`Metadata.version_files`."""
        _, held = self._held(table, branch)
        with held.lock:
            numbered = list(enumerate(held.times, held.first))
        return [
            VersionFile(version=number, path="", size=0, etag="", stored_at=time)
            for number, time in reversed(numbered)
        ]

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
        check_durability(durability)
        check_message(commit_message)
        named = check_write_id(write_id)
        id, held = self._held(table, branch)
        with held.writing(id, deadline), held.lock:
            earlier = held.receipts.get(("metadata", named))
            if earlier is not None:
                return earlier
            rows = held.versions[-1]
            changed = _changed(rows.schema, of_schema, of_columns, id)
            if not self._namespace.table_exists(id) or self._held(table, branch)[1] is not held:
                raise moved(id)
            held.add(rows.cast(changed))
            return held.receipt(id, "metadata", named, 0, message=commit_message)


def _changed(
    schema: pa.Schema,
    of_schema: Changes,
    of_columns: Mapping[str, Changes],
    id: Id,
) -> pa.Schema:
    import pyarrow as pa

    missing = [name for name in of_columns if name not in schema.names]
    if missing:
        raise ColumnNotFound(
            f"{show_id(id)} has no column {missing[0]!r}; {did_you_mean(missing[0], schema.names)}",
            table=id,
            columns=tuple(missing),
        )
    fields = [
        f.with_metadata(_merged(f.metadata, of_columns[f.name])) if f.name in of_columns else f
        for f in schema
    ]
    return pa.schema(fields, metadata=_merged(schema.metadata, of_schema))


def _merged(old: Mapping[bytes, bytes] | None, changes: Changes) -> dict[str, str] | None:
    now = {k.decode(): v.decode() for k, v in (old or {}).items()}
    for key, value in changes.items():
        if value is None:
            now.pop(key, None)
        else:
            now[key] = value
    return now or None
