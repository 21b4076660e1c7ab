"""What differs between two versions, told by the ids of rows.

A row keeps its id, with the versions that made it and that changed it last, through updates,
compaction and rollback. Lance's own delta counts from the older version on and so misses what a
rollback undid; comparing the two states does not. Data files that both versions name are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.errors import SchemaMismatch, Unsupported
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import ROW_ID
from pennon.storage.abc.versions import CHANGE

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["diff"]

_MADE = "_row_created_at_version"
_CHANGED = "_row_last_updated_at_version"


def diff(place: Place, before: int, after: int) -> pa.RecordBatchReader:
    """Stream the rows that differ; see :meth:`Versions.diff`."""
    import pyarrow as pa

    old, new = place.open(before), place.open(after)
    with translated(place.name, place.secrets):
        schema: pa.Schema = new.schema
        same = old.schema.equals(schema)
        stable = old.has_stable_row_ids and new.has_stable_row_ids
    if not stable:
        raise Unsupported(
            f"{place.name} was made without stable row ids, so what became of a row cannot be told;"
            " copy it into a new table, which has them.",
            table=place.info.id,
        )
    if not same or CHANGE in schema.names:
        raise SchemaMismatch(
            f"The columns of {place.name} differ between versions {before} and {after}, or one is "
            f"named {CHANGE!r}; compare two scans instead.",
            table=place.info.id,
        )
    with translated(place.name, place.secrets):
        found = _compare(_Side.of(old, new), _Side.of(new, old))
    shown = schema.append(pa.field(CHANGE, pa.string(), nullable=False))
    return pa.RecordBatchReader.from_batches(shown, _rows(place, found, shown))


@dataclass(frozen=True, slots=True)
class _Side:
    """One version, with those of its fragments that the other one does not have."""

    handle: lance.LanceDataset
    fragments: list[Any]

    @classmethod
    def of(cls, handle: lance.LanceDataset, other: lance.LanceDataset) -> _Side:
        there = {_identity(f) for f in other.get_fragments()}
        return cls(handle, [f for f in handle.get_fragments() if _identity(f) not in there])

    def read(self, columns: list[str]) -> pa.RecordBatchReader:
        return self.handle.scanner(columns=columns, fragments=self.fragments).to_reader()

    def ids(self) -> pa.Table:
        names = [ROW_ID, _MADE, _CHANGED]
        if self.fragments:
            return self.read(names).read_all().select(names).cast(_ids_schema())
        return _ids_schema().empty_table()


def _ids_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(name, pa.uint64()) for name in (ROW_ID, _MADE, _CHANGED)])


def _identity(fragment: Any) -> tuple[object, ...]:
    """Return what is equal for two fragments only if they hold the same rows."""
    metadata = fragment.metadata
    if metadata.overlays:
        return (object(),)
    gone = metadata.deletion_file
    return (
        tuple((f.path, tuple(f.fields)) for f in metadata.files),
        None if gone is None else (gone.read_version, gone.id),
    )


@dataclass(frozen=True, slots=True)
class _Found:
    old: _Side
    new: _Side
    inserted: pa.ChunkedArray
    updated: pa.ChunkedArray
    deleted: pa.ChunkedArray


def _compare(old: _Side, new: _Side) -> _Found:
    import pyarrow.compute as pc

    # Another row may have the id of one that was rolled back, but not its birth as well.
    key = [ROW_ID, _MADE]
    was, now = old.ids(), new.ids()
    both = now.join(was, key, join_type="inner", right_suffix="_before")
    changed: Any = pc.not_equal(both[_CHANGED], both[f"{_CHANGED}_before"])  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    return _Found(
        old,
        new,
        inserted=now.join(was, key, join_type="left anti")[ROW_ID],
        updated=both.filter(changed)[ROW_ID],
        deleted=was.join(now, key, join_type="left anti")[ROW_ID],
    )


def _rows(place: Place, found: _Found, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    wanted = (
        (found.new, "inserted", found.inserted),
        (found.new, "updated", found.updated),
        (found.old, "deleted", found.deleted),
    )
    with translated(place.name, place.secrets):
        for side, change, ids in wanted:
            if len(ids):
                yield from _marked(side, change, ids, schema)


def _marked(
    side: _Side, change: str, ids: pa.ChunkedArray, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc

    names = schema.names[:-1]
    for batch in side.read([*names, ROW_ID]):
        mask: Any = pc.is_in(batch[ROW_ID], value_set=ids.combine_chunks())  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        rows = batch.filter(mask)
        if rows.num_rows:
            label = pa.array([change] * rows.num_rows, pa.string())
            columns = [*(rows[n] for n in names), label]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
