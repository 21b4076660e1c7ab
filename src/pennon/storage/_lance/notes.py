"""Notes on writes that are tried, left before each attempt: whoever comes after looks for them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pennon.errors import NotFound, ObjectNotFound, PennonError
from pennon.storage._arguments import AUTOMATIC
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import Write, search, uuid_of
from pennon.storage._lance.places import Place, committed_at
from pennon.storage.abc.types import CommitReceipt, Durability

__all__ = ["earlier", "forget", "noted", "notes", "remember", "remove_notes", "tried"]

_TRIED = "_pennon/tried"
_GRACE = timedelta(days=30)
"""How long a repeat is refused of which nobody can tell any more whether it was made."""
_AT_ONCE = 1000
"""Notes that are deleted by one call."""


def remember(place: Place, write: Write, version: int, durability: Durability) -> str:
    """Leave a note that a write is about to be committed on top of a version; return its name.

    It is as durable as the commit is to be, and before that: else the commit could survive a loss
    of power without it, and be repeated.
    """
    key = f"{_TRIED}/{write.uuid}/{version}-{uuid.uuid4().hex[:12]}"
    place.store().put(key, write.key.encode(), durability=durability)
    return key


def notes(place: Place, write: Write) -> dict[str, int]:
    """Return the names of the notes on a write, each with the version it was tried on.

    Nobody makes up an automatic id: it is that of a write whose fate pennon could not settle. It
    left no note, and may be in any version.
    """
    listed = place.store().list(f"{_TRIED}/{write.uuid}")
    found = {meta.key: _base_of(meta.key) for meta in listed}
    if write.write_id.startswith(AUTOMATIC):
        head = place.open()
        with translated(place.name, place.secrets):
            found[""] = min(v["version"] for v in head.version_refs()) - 1
    return {key: version for key, version in found.items() if version is not None}


def _base_of(key: str) -> int | None:
    """Return the version that the name of a note tells; None if it is no note."""
    version = key.rpartition("/")[2].partition("-")[0]
    return int(version) if version.isdecimal() else None


def noted(place: Place, write: Write) -> set[int]:
    """Return the versions a write was about to be committed on, as its notes say."""
    return set(notes(place, write).values())


def _left_before(place: Place, before: datetime) -> dict[str, dict[str, int]]:
    """Return the notes on each write that was not tried since, by what they are named after."""
    found: dict[str, dict[str, int]] = {}
    young: set[str] = set()
    for meta in place.store().list(_TRIED):
        name = meta.key.removeprefix(f"{_TRIED}/").partition("/")[0]
        version = _base_of(meta.key)
        if version is None:
            continue
        found.setdefault(name, {})[meta.key] = version
        if meta.modified > before:
            young.add(name)
    return {name: found[name] for name in found.keys() - young}


def tried(place: Place, before: datetime) -> dict[str, dict[str, int]]:
    """Return the notes on each write that was tried, by its key.

    Args:
        place: The table.
        before: Writes with a younger note are left out.
    """
    kept: dict[str, dict[str, int]] = {}
    for name, found in _left_before(place, before).items():
        with contextlib.suppress(ObjectNotFound):
            key = place.store().get(max(found)).data.decode(errors="replace")
            # A loss of power may leave less of it than its name, which is all that a repeat needs.
            if uuid_of(key) == name:
                kept[key] = found
    return kept


def forget(place: Place, names: Iterable[str]) -> None:
    """Take back notes on attempts that surely were not committed."""
    with contextlib.suppress(PennonError):
        place.store().delete(*names)


def remove_notes(place: Place, *, dry_run: bool) -> int:
    """Remove the notes on writes that no version can tell of any more; return how many.

    A note that was left a month before the oldest version there is, tags aside, cannot be on a
    write in it or in a later one: no attempt takes that long. Until then it says that a repeat may
    be a second write.

    Args:
        place: The table.
        dry_run: Only count them.
    """
    head = place.open()
    with translated(place.name, place.secrets):
        versions = {ref["version"] for ref in head.version_refs()}
    oldest = head.version
    while oldest - 1 in versions:
        oldest -= 1
    try:
        begin = committed_at(place.open(oldest))
        old = _left_before(place, begin - _GRACE)
        told = {n for v in versions if v < oldest for n in _told_by(place, v)} if old else set()
    except NotFound:
        # Somebody else removes versions, and looks for notes when that is done.
        return 0
    names = [note for name in old.keys() - told for note in old[name]]
    for first in range(0, 0 if dry_run else len(names), _AT_ONCE):
        place.store().delete(*names[first : first + _AT_ONCE])
    return len(names)


def _told_by(place: Place, version: int) -> set[str]:
    """Return what the notes on the writes in a version are named after."""
    try:
        with translated(place.name, place.secrets):
            found: Any = place.open(version).read_transaction(version)
    except TypeError:
        # pylance cannot show a compaction that moved an index; it is none of our commits.
        return set()
    return {uuid_of(key) for key in found.transaction_properties or ()}


def earlier(place: Place, write: Write) -> CommitReceipt | None:
    """Return the receipt of a write that was committed before, by whatever process.

    None says that it was not committed yet: somebody may have it under way.

    Raises:
        OutcomeUnknown: It was tried, and the versions in question were cleaned up.
    """
    known = noted(place, write)
    return search(place, write, place.open(), known) if known else None
