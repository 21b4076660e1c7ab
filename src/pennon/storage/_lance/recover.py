"""What killed processes left behind one table: found, and finished or taken back.

Files of commits that were lost are not looked for: Lance's cleanup, which ``optimize_table`` calls,
removes those that no version names once they are a week old.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pennon.errors import (
    Conflict,
    DuplicateKey,
    NotFound,
)
from pennon.retry import Deadline
from pennon.storage._lance.branches import abandoned, list_branches, settle_abandoned
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import Write, bar, read_receipt, search
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.notes import forget, tried
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import finish_rebuilds, unfinished
from pennon.storage._lance.repair import Intent, has_twins, intent_of, repaired
from pennon.storage._lance.torn import cut, torn
from pennon.storage.abc.maintenance import Finding
from pennon.storage.refs import MAIN

__all__ = ["recover_catalog", "recover_table"]

_AT_ONCE = 8
_SECONDS = 60.0
_KINDS = ("merge", "append")
"""The operations that may insert rows by their key."""


def recover_table(place: Place, before: datetime, *, dry_run: bool) -> Iterator[Finding]:
    """Find what was left of a table and all its branches, and put it right.

    Args:
        place: The table.
        before: What changed after this is left to whoever does it.
        dry_run: Change nothing.
    """
    main = place.on(MAIN)
    lost = _torn_of(main, dry_run=dry_run)
    yield from lost
    if lost and dry_run:
        # Nothing else can be read until that is put right.
        return
    yield from _branches(main, before, dry_run=dry_run)
    for name in (MAIN, *(b.name for b in list_branches(main))):
        with contextlib.suppress(NotFound):
            at = place.on(name)
            lost = [] if name == MAIN else _torn_of(at, dry_run=dry_run)
            if not (lost and dry_run):
                lost += [
                    _found(at, "version", what, resolved=resolved)
                    for what, resolved in cut(at, dry_run=dry_run)
                ]
            yield from lost
            if not all(found.resolved for found in lost):
                continue
            yield from _writes(at, before, dry_run=dry_run)
            yield from _indexes(at, before, dry_run=dry_run)


# -- a newest version that was torn ------------------------------------------------------------


def recover_catalog(catalog: Place, *, dry_run: bool) -> Iterator[Finding]:
    """Put newest versions of a catalog table aside that a loss of power left empty or cut.

    Args:
        catalog: The table that names all others, replaced whole by each change.
        dry_run: Change nothing.
    """

    def read(version: int) -> None:
        handle = catalog.open(version)
        with translated(catalog.name, catalog.secrets):
            handle.to_table()

    for what in torn(catalog, read, dry_run=dry_run):
        yield Finding(
            kind="version",
            table=None,
            branch=MAIN,
            what=f"the catalog: {what}",
            resolved=not dry_run,
        )


def _torn_of(place: Place, *, dry_run: bool) -> list[Finding]:
    found = torn(place, place.open, dry_run=dry_run)
    return [_found(place, "version", what, resolved=not dry_run) for what in found]


# -- branches ----------------------------------------------------------------------------------


def _branches(main: Place, before: datetime, *, dry_run: bool) -> Iterator[Finding]:
    for name, why in sorted(abandoned(main, before).items()):
        at = main.on(name)
        if dry_run:
            yield _found(at, "branch", why, resolved=False)
            continue
        try:
            settle_abandoned(main, name)
        except Conflict as error:
            yield _found(at, "branch", f"{why}; {error.message}", resolved=False)
        else:
            yield _found(at, "branch", f"{why}; finished", resolved=True)


# -- writes ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Commit:
    """What the history says of one version."""

    version: int
    properties: dict[str, str]


def _writes(place: Place, before: datetime, *, dry_run: bool) -> Iterator[Finding]:
    """Finish merges that died before they had looked for rivals, forget writes that never were."""
    notes = tried(place, before)
    commits = _history(place)
    there = {key for commit in commits for key in commit.properties}
    for commit in commits:
        meant = intent_of(commit.properties)
        if meant is not None and meant.base + 1 < commit.version:
            yield from _merge(place, commit, meant, there, before, dry_run=dry_run)
    # Where versions were cleaned up nobody knows, so the note stays to say so. Tags keep some of
    # them, so it is what has no gap behind it that counts.
    known = {c.version for c in commits}
    oldest = max(known, default=1)
    while oldest - 1 in known:
        oldest -= 1
    never = {k: n for k, n in notes.items() if k not in there and min(n.values()) + 1 >= oldest}
    # A process that stalled for so long may still be about to commit, and nobody else would know.
    end = Deadline.after(_SECONDS, _SECONDS)
    head = bar(place, place.open(), end) if never and not dry_run else None
    for key, found in never.items():
        operation, _, write_id = key.removeprefix("pennon.").partition(":")
        what = f"the {operation} {write_id!r} was tried and never committed"
        if head is None:
            yield _found(place, "note", what, resolved=False)
        elif search(place, Write(operation, write_id), head, found.values()) is None:
            forget(place, found)
            yield _found(place, "note", f"{what}; forgotten", resolved=True)


def _history(place: Place) -> list[_Commit]:
    head = place.open()
    with translated(place.name, place.secrets):
        versions = sorted(ref["version"] for ref in head.version_refs())

    def read(version: int) -> _Commit | None:
        try:
            with contextlib.suppress(NotFound), translated(place.name, place.secrets):
                found: Any = place.open(version).read_transaction(version)
                return _Commit(version, dict(getattr(found, "transaction_properties", None) or {}))
        except TypeError:
            # pylance cannot show a compaction that moved an index; it is none of our commits.
            return _Commit(version, {})
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return [c for c in pool.map(read, versions) if c is not None]


def _merge(
    place: Place,
    commit: _Commit,
    meant: Intent,
    there: set[str],
    before: datetime,
    *,
    dry_run: bool,
) -> Iterator[Finding]:
    """Do what is left of a merge: its rows, as its own version has them, are its data."""
    keys = [k for k in commit.properties if k.startswith(tuple(f"pennon.{n}:" for n in _KINDS))]
    # Several upserts may be one commit; each repairs what is its own.
    left = [k for k in keys if f"pennon.repair:{k.partition(':')[2]}" not in there]
    if not left:
        return
    operation, _, write_id = left[0].removeprefix("pennon.").partition(":")
    if datetime.fromisoformat(json.loads(commit.properties[left[0]])[3]) > before:
        return
    if not has_twins(place, meant.key, meant.base, commit.version):
        return
    what = f"the {operation} {write_id!r} left rows with keys that others had inserted"
    if dry_run:
        yield _found(place, "key", what, resolved=False)
        return
    asked = Asked(operation, write_id, repeated=True, seconds=_SECONDS)
    end = Deadline.after(_SECONDS, _SECONDS)
    with translated(place.name, place.secrets):
        source = (
            place.open(commit.version)
            .scanner(
                columns=list(meant.columns), filter=f"_row_created_at_version = {commit.version}"
            )
            .to_table()
        )
    with lane_of(place) as lane, lane.passing(end):
        receipt = read_receipt(place, place.open(), commit.version, Write(operation, write_id))
        assert receipt is not None
        with contextlib.suppress(DuplicateKey):
            repaired(place, receipt, source, meant.key, meant.rules, asked, end, meant.base)
    yield _found(place, "key", f"{what}; repaired", resolved=True)


# -- indexes -----------------------------------------------------------------------------------


def _indexes(place: Place, before: datetime, *, dry_run: bool) -> Iterator[Finding]:
    if not unfinished(place, before):
        return
    what = "an overwrite did not come to build the indexes anew"
    if dry_run:
        yield _found(place, "index", what, resolved=False)
        return
    built = ", ".join(finish_rebuilds(place, _SECONDS)) or "none that still fits"
    yield _found(place, "index", f"{what}; built: {built}", resolved=not unfinished(place, before))


def _found(place: Place, kind: Any, what: str, *, resolved: bool) -> Finding:
    return Finding(
        kind=kind, table=place.info.id, branch=place.branch, what=what, resolved=resolved
    )
