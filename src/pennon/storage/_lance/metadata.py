"""What a table says of itself besides its rows, on Lance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pennon.errors import ColumnNotFound, did_you_mean
from pennon.namespaces.newest import version_of
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage.abc.metadata import Changes, TableStats, VersionFile
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import lance

__all__ = ["stats", "update", "version_files"]


def stats(place: Place, ref: Ref) -> TableStats:
    """Return how big a version is; see :meth:`Metadata.table_stats`."""
    handle = place.open_at(ref)
    with translated(place.name, place.secrets):
        fragments: list[Any] = [f.metadata for f in handle.get_fragments()]
        deleted = [f.deletion_file.num_deleted_rows if f.deletion_file else 0 for f in fragments]
        sizes = [file.file_size_bytes for f in fragments for file in f.files]
        if None in sizes:
            # Writers of old did not say.
            of_fields: Any = handle.stats.data_stats().fields
            sizes = [field.bytes_on_disk for field in of_fields]
        return TableStats(
            version=handle.version,
            rows=sum(f.physical_rows for f in fragments) - sum(deleted),
            deleted_rows=sum(deleted),
            bytes=sum(sizes),
            fragment_rows=tuple(
                f.physical_rows - gone for f, gone in zip(fragments, deleted, strict=True)
            ),
        )


def version_files(place: Place) -> list[VersionFile]:
    """Return the manifests that a branch keeps; see :meth:`Metadata.version_files`."""
    place.open()
    above = "" if place.branch == MAIN else f"tree/{place.branch}/"
    found = [
        VersionFile(
            version=version,
            path=f"{above}{meta.key}",
            size=meta.size,
            etag=meta.etag,
            stored_at=meta.modified,
        )
        for meta in place.store().list("_versions")
        if (version := version_of(meta.key)) is not None
    ]
    return sorted(found, key=lambda f: -f.version)


def update(
    place: Place,
    schema: Changes,
    columns: Mapping[str, Changes],
    asked: Asked,
) -> CommitReceipt:
    """Change metadata; see :meth:`Metadata.update_metadata`."""
    from lance import LanceOperation

    def prepare(head: lance.LanceDataset) -> Attempt:
        with translated(place.name, place.secrets):
            ids = {field.name(): field.id() for field in head.lance_schema.fields()}
        missing = [name for name in columns if name not in ids]
        if missing:
            raise ColumnNotFound(
                f"{place.name} has no column {missing[0]!r}; {did_you_mean(missing[0], ids)}",
                table=place.info.id,
                columns=tuple(missing),
            )
        operation = LanceOperation.UpdateConfig(
            schema_metadata_updates=LanceOperation.UpdateMap(dict(schema)) if schema else None,
            field_metadata_updates={
                ids[name]: LanceOperation.UpdateMap(dict(changes))
                for name, changes in columns.items()
            }
            or None,
        )
        return Attempt(operation, asked.write())

    deadline = Deadline.after(asked.seconds, asked.seconds)
    with lane_of(place) as lane, lane.passing(deadline):
        return commit(place, asked, prepare, deadline)
