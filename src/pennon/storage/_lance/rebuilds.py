"""Indexes after an overwrite: Lance drops them all, so they are built anew on the new rows.

The commit of the overwrite carries what to build, and a note that lies there from before it until
all is built leads to it. So whoever comes after a process that was killed in between (a retry with
the same write id, or ``recover``) finishes the work.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    ColumnNotFound,
    DeadlineExceeded,
    IndexAlreadyExists,
    InvalidInput,
    PennonError,
    VersionNotFound,
)
from pennon.storage._indexing import field_of, from_parameters
from pennon.storage._lance.building import definition
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.durability import keep_files
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import INDEXES, Write, uuid_of
from pennon.storage._lance.indexes import Named, create, describe
from pennon.storage._lance.places import Place
from pennon.storage.abc.indexes import Progress
from pennon.storage.abc.types import CommitReceipt, Durability

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Rebuild", "finish_rebuilds", "mark", "planned", "rebuild", "unfinished"]

_NOTES = "_pennon/rebuilds"


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What becomes of the indexes of a table when its rows are replaced."""

    kept: tuple[Named, ...]
    dropped: tuple[str, ...]

    def properties(self) -> dict[str, str]:
        """Return what the commit of the new rows carries."""
        if not self.kept and not self.dropped:
            return {}
        kept = [
            [n.name, n.column, n.index.kind, n.index.parameters()]
            for n in self.kept
            if n.index is not None
        ]
        return {INDEXES: json.dumps([kept, self.dropped])}


def planned(place: Place, like: lance.LanceDataset, schema: pa.Schema) -> Rebuild:
    """Return what becomes of the indexes of a version on rows with other columns."""
    kept: list[Named] = []
    dropped: list[str] = []
    for name, found in sorted(describe(place, like).items()):
        column, index = found.field_names[0], definition(like, found)
        try:
            if index is not None:
                index.check(field_of(schema, column, place.name), place.name)
        except (ColumnNotFound, InvalidInput):
            index = None
        if index is None:
            dropped.append(name)
        else:
            kept.append(Named(name, column, index))
    return Rebuild(tuple(kept), tuple(dropped))


def mark(place: Place, write: Write, version: int, durability: Durability) -> None:
    """Leave a note that a write is about to make a version whose indexes are to be built."""
    place.store().put(_note(write, version), b"", durability=durability)


def _note(write: Write, version: int) -> str:
    return f"{_NOTES}/{version}-{write.uuid}"


def rebuild(place: Place, receipt: CommitReceipt, asked: Asked) -> CommitReceipt:
    """Build what a committed overwrite still lacks; returns its receipt with what there is now."""
    if not receipt.indexes_rebuilt:
        return receipt
    note = _note(asked.identity(), receipt.version)
    if place.store().head(note) is None:
        return receipt
    built = _build(place, receipt.version, asked, note)
    return replace(receipt, indexes_rebuilt=built)


def unfinished(place: Place, before: datetime) -> bool:
    """Whether there are indexes left to be built since before a time."""
    return any(meta.modified <= before for meta in place.store().list(_NOTES))


def finish_rebuilds(
    place: Place, seconds: float, progress: Progress | None = None
) -> tuple[str, ...]:
    """Build the indexes that overwrites of killed processes left to be built.

    They are on the disk afterwards: nobody knows any more what the overwrites had promised.

    Args:
        place: The branch of a table.
        seconds: How long to try to commit each.
        progress: Called now and then; may raise ``DeadlineExceeded`` to leave the rest for later.

    Returns:
        The names of those that are there now.

    Raises:
        StorageError: The disk failed.
    """
    built: list[str] = []
    for note in [meta.key for meta in place.store().list(_NOTES)]:
        number, _, uuid = note.rpartition("/")[2].partition("-")
        version = int(number)
        if version > place.open().version:
            continue
        if uuid in _writes_of(place, version):
            asked = Asked("finish", f"finish-{version}", repeated=False, seconds=seconds)
            built += _build(place, version, asked, note, progress)
        else:
            place.store().delete(note)
    if built:
        keep_files(place, place.open().version)
    return tuple(built)


def _build(
    place: Place, version: int, asked: Asked, note: str, progress: Progress | None = None
) -> tuple[str, ...]:
    """Build what a version is to have, on the newest one; the note goes when nothing is left."""
    built: list[str] = []
    finished = True
    for named in _wanted(place, version):
        mine = replace(
            asked,
            operation="rebuild_index",
            write_id=f"{asked.write_id}/{named.name}",
            repeated=False,
            message=None,
        )
        try:
            create(place, mine, named, progress, replace=False)
        except IndexAlreadyExists:
            pass
        except DeadlineExceeded:
            finished = False
            break
        except (ColumnNotFound, InvalidInput):
            # A rival has replaced the columns since; its own overwrite says what became of it.
            continue
        except PennonError:
            finished = False
            continue
        built.append(named.name)
    if finished:
        with contextlib.suppress(PennonError):
            place.store().delete(note)
    return tuple(built)


def _wanted(place: Place, version: int) -> list[Named]:
    try:
        text = _transaction(place, version).transaction_properties.get(INDEXES)
    except VersionNotFound:
        return []
    kept = json.loads(text)[0] if text else []
    return [Named(name, column, from_parameters(kind, p)) for name, column, kind, p in kept]


def _writes_of(place: Place, version: int) -> set[str]:
    """Return what notes on the writes in a version are named after."""
    try:
        said = _transaction(place, version).transaction_properties or {}
    except (TypeError, VersionNotFound):
        # Cleaned up, or a compaction that moved an index, which pylance cannot show.
        return set()
    return {uuid_of(key) for key in said}


def _transaction(place: Place, version: int) -> Any:
    handle = place.open()
    with translated(place.name, place.secrets):
        return handle.read_transaction(version)
