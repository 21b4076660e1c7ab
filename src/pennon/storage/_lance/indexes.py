"""Indexes: built beside the writers, committed in one step, listed with what they cover."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    ColumnNotFound,
    CommitConflict,
    IndexAlreadyExists,
    OutcomeUnknown,
)
from pennon.retry import Deadline
from pennon.storage._indexing import SYSTEM, field_of, known_index
from pennon.storage._lance.building import (
    build,
    definition,
    files_of,
    kind_of,
    remove,
    rows_of,
    stats_of,
    still_covered,
)
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.extents import far_apart
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.moved import with_changed_rows
from pennon.storage._lance.places import Place
from pennon.storage.abc.indexes import IndexInfo, IndexStats, Progress
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.indexing import Index, IvfHnswSq, IvfSq, VectorIndex

if TYPE_CHECKING:
    import lance

__all__ = ["Named", "create", "describe", "drop", "info_of", "list_indexes", "stats", "update"]


@dataclass(frozen=True, slots=True)
class Named:
    """What to build and what to call it."""

    name: str
    column: str
    index: Index | None
    """None for what suits a column of vectors."""


def describe(place: Place, handle: lance.LanceDataset) -> dict[str, Any]:
    """Return what Lance says of each index of a version, by name."""
    with translated(place.name, place.secrets):
        found = handle.describe_indices()
    return {d.name: d for d in found if not d.name.startswith(SYSTEM)}


def list_indexes(place: Place, handle: lance.LanceDataset) -> list[IndexInfo]:
    """Return the indexes of a version, by name; see :meth:`Indexes.list_indexes`."""
    known = describe(place, handle)
    rows = rows_of(handle) if known else {}
    return [_info(known[name], rows) for name in sorted(known)]


def info_of(place: Place, handle: lance.LanceDataset, name: str) -> IndexInfo:
    """Return one index of a version.

    Raises:
        IndexNotFound: There is none.
    """
    return _info(known_index(describe(place, handle), name, place.name), rows_of(handle))


def stats(place: Place, handle: lance.LanceDataset, name: str) -> IndexStats:
    """Return what is known of an index; see :meth:`Indexes.index_stats`."""
    found = known_index(describe(place, handle), name, place.name)
    made = definition(handle, found)
    return IndexStats(
        index=_info(found, rows_of(handle)),
        parameters={} if made is None else made.parameters(),
        built_at=max((s.created_at for s in found.segments if s.created_at), default=None),
        version=max((s.dataset_version_at_last_update for s in found.segments), default=0),
        segments=tuple(stats_of(handle, name)),
    )


def _info(description: Any, rows: dict[int, int]) -> IndexInfo:
    covered = {f for s in description.segments for f in s.fragment_ids if f in rows}
    indexed = sum(rows[f] for f in covered)
    return IndexInfo(
        name=description.name,
        columns=tuple(description.field_names),
        kind=kind_of(description),
        rows_indexed=indexed,
        rows_not_indexed=sum(rows.values()) - indexed,
        size_bytes=description.total_size_bytes,
        segments=len(description.segments),
        ids=tuple(str(s.uuid) for s in description.segments),
    )


def create(
    place: Place, asked: Asked, named: Named, progress: Progress | None, *, replace: bool
) -> CommitReceipt:
    """Build an index over all rows and commit it; see :meth:`Indexes.create_scalar_index`."""

    def removed(head: lance.LanceDataset) -> list[Any]:
        old = describe(place, head).get(named.name)
        if old is None:
            return []
        if not replace:
            raise _taken(place, named.name)
        return _segments(old)

    def everything(head: lance.LanceDataset) -> _Plan:
        removed(head)
        return _Plan(named, frozenset(rows_of(head)))

    made = _built(place, asked, everything, removed, progress)
    assert made is not None
    return made


def drop(place: Place, asked: Asked, name: str, *, missing_ok: bool) -> CommitReceipt:
    """Drop an index; see :meth:`Indexes.drop_index`."""
    from lance import LanceOperation

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        known = describe(place, head)
        if missing_ok and name not in known:
            return None
        gone = _segments(known_index(known, name, place.name))
        return Attempt(LanceOperation.CreateIndex([], gone), asked.write())

    deadline = Deadline.after(asked.seconds, asked.seconds)
    with lane_of(place) as lane, lane.passing(deadline):
        return commit(place, asked, prepare, deadline)


def update(place: Place, asked: Asked, name: str, progress: Progress | None) -> CommitReceipt:
    """Let an index cover all rows; see :meth:`Indexes.update_indexes`."""
    known: Any = None
    wanted: frozenset[int] = frozenset()
    gone: frozenset[str] = frozenset()

    def missing(head: lance.LanceDataset) -> _Plan | None:
        nonlocal known, wanted, gone
        known = known_index(describe(place, head), name, place.name)
        made = definition(head, known)
        least = made.least_rows if isinstance(made, VectorIndex) else 1
        wanted, gone = _to_build(known.segments, rows_of(head), least)
        if made is None or not wanted:
            return None
        every = frozenset(str(s.uuid) for s in known.segments)
        column = known.field_names[0]
        if isinstance(made, IvfSq | IvfHnswSq):
            anew = far_apart(place, head, name, column, every - set(map(str, gone)), wanted)
        else:
            anew = not isinstance(made, VectorIndex) and with_changed_rows(head) & wanted
        if anew:
            wanted, gone = frozenset(rows_of(head)), frozenset(s.uuid for s in known.segments)
        return _Plan(Named(name, column, made), wanted, covers=True)

    def removed(head: lance.LanceDataset) -> list[Any]:
        found = known_index(describe(place, head), name, place.name)
        others = [s for s in found.segments if s.uuid not in gone]
        same = (found.type_url, found.fields) == (known.type_url, known.fields)
        covered = set[int]().union(*(s.fragment_ids for s in others))
        if not same or len(found.segments) - len(others) < len(gone) or covered & wanted:
            raise _Stale
        return [s for s in _segments(found) if s.uuid in gone]

    made = _built(place, asked, missing, removed, progress)
    if made is None:
        return commit(place, asked, lambda _: None, Deadline.after(asked.seconds, asked.seconds))
    return made


def _to_build(
    segments: Sequence[Any], rows: dict[int, int], least: int
) -> tuple[frozenset[int], frozenset[str]]:
    """Return the fragments that a new segment is to cover, and the segments it takes the place of.

    Those are the small ones, so that there are about log2(updates) segments and each row is read
    as often.

    Args:
        segments: Those there are.
        rows: Of each fragment there is.
        least: How many rows a segment needs.
    """
    mine = {s.uuid: {f for f in s.fragment_ids if f in rows} for s in segments}
    wanted = set(rows).difference(*mine.values())
    if not sum(rows[f] for f in wanted):
        return frozenset(), frozenset()
    replaced: set[str] = set()
    for uuid in sorted(mine, key=lambda u: sum(rows[f] for f in mine[u])):
        new = sum(rows[f] for f in wanted)
        if new >= least and sum(rows[f] for f in mine[uuid]) > new:
            break
        wanted |= mine[uuid]
        replaced.add(uuid)
    if sum(rows[f] for f in wanted) < least:
        return frozenset(), frozenset()
    return frozenset(wanted), frozenset(replaced)


@dataclass(frozen=True, slots=True)
class _Plan:
    named: Named
    fragments: frozenset[int]
    covers: bool = False
    """Whether a segment without rows is of no use."""


class _Stale(Exception):
    """A segment that does not fit the newest version and is to be built anew."""


def _built(
    place: Place,
    asked: Asked,
    plan: Callable[[lance.LanceDataset], _Plan | None],
    removed: Callable[[lance.LanceDataset], list[Any]],
    progress: Progress | None,
) -> CommitReceipt | None:
    """Build a segment beside the writers of the table and commit it, until one fits.

    A compaction moves rows and a rewrite of the column changes them, and what was built then does
    not hold; so it is built anew. Time counts from the end of the first build.

    Args:
        place: The table.
        asked: What the caller says of the write.
        plan: What to build on a version; None if there is nothing to do.
        removed: The segments that a version is to lose by it.
        progress: Called now and then.
    """
    deadline: Deadline | None = None
    while True:
        head = place.open()
        todo = plan(head)
        if todo is None:
            return None
        named = todo.named
        segment = build(
            place, head, named.column, named.index, named.name, todo.fragments, progress
        )
        if todo.covers and not len(segment.fragment_ids):
            remove(place, segment.uuid)
            return None
        deadline = deadline or Deadline.after(asked.seconds, asked.seconds)
        try:
            return _commit_segment(place, asked, head, todo, segment, removed, deadline)
        except OutcomeUnknown:
            raise
        except _Stale:
            remove(place, segment.uuid)
            if not deadline.remaining:
                raise CommitConflict(
                    f"Rivals moved the rows of {place.name} again and again while the index "
                    f"{named.name!r} was being built; retry when it is quiet.",
                    table=place.info.id,
                ) from None
        except Exception:
            remove(place, segment.uuid)
            raise


def _commit_segment(
    place: Place,
    asked: Asked,
    built: lance.LanceDataset,
    todo: _Plan,
    segment: Any,
    removed: Callable[[lance.LanceDataset], list[Any]],
    deadline: Deadline,
) -> CommitReceipt:
    """Commit a segment, less what rivals moved meanwhile, unless that is most of it.

    Lance would follow rivals from the version it was built on, and keep what is left however
    little that is; so it is committed on the newest one.
    """
    from lance import LanceOperation

    rows, covered = rows_of(built), frozenset(segment.fragment_ids)
    base = built.version

    def prepare(head: lance.LanceDataset) -> Attempt:
        nonlocal base
        base = head.version
        old, new = removed(head), segment
        if base != built.version:
            field_of(head.schema, todo.named.column, place.name)
            left = still_covered(built, head, todo.named.column, covered)
            if sum(rows[f] for f in left) * 2 < sum(rows[f] for f in covered):
                raise _Stale
            new = dataclasses.replace(segment, fragment_ids=sorted(left))
        return Attempt(
            LanceOperation.CreateIndex([new], old),
            asked.write(),
            files_of(segment),
            kept=True,
        )

    with lane_of(place) as lane, lane.passing(deadline):
        made = commit(place, asked, prepare, deadline)
        if made.version > base + 1:
            _check_column(place, made, todo.named)
    return made


def _check_column(place: Place, made: CommitReceipt, named: Named) -> None:
    """Take an index back whose column a rival dropped a moment before its commit."""
    try:
        field_of(place.open(made.version).schema, named.column, place.name)
    except ColumnNotFound:
        again = Asked("drop_index", f"{made.write_id}/undo", repeated=False, seconds=60.0)
        drop(place, again, named.name, missing_ok=True)
        raise


def _segments(description: Any) -> list[Any]:
    """Return the segments of an index as a commit names them to remove them."""
    from lance.dataset import Index as Segment

    return [
        Segment(
            uuid=s.uuid,
            name=description.name,
            fields=list(description.fields),
            dataset_version=s.dataset_version_at_last_update,
            fragment_ids=s.fragment_ids,
            index_version=s.index_version,
            created_at=s.created_at,
            base_id=s.base_id,
        )
        for s in description.segments
    ]


def _taken(place: Place, name: str) -> IndexAlreadyExists:
    return IndexAlreadyExists(
        f"{place.name} has an index {name!r} already; pass replace=True, or another name=.",
        table=place.info.id,
        index=name,
    )
