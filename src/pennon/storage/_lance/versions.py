"""Versions: what each commit did, and a new version that equals an old one."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.errors import VersionNotFound
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import MESSAGE, WRITER, undone
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.manifests import said, versions_of
from pennon.storage._lance.places import Place, committed_at
from pennon.storage._lance.replace import replace_at
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.abc.versions import VersionInfo

if TYPE_CHECKING:
    import lance

__all__ = ["list_versions", "rollback"]

_AT_ONCE = 32
"""How many versions are read at the same time: on a bucket each is a round trip."""
_NAMES = {
    # All that pylance tells of the numbers that a compaction reserves for its fragments.
    "baseoperation": "reserve",
    "clone": "branch",
    "restore": "rollback",
    "rewrite": "compact",
}


def list_versions(place: Place, limit: int | None, before: int | None) -> list[VersionInfo]:
    """Return what the commits of a branch did; see :meth:`Versions.versions`."""
    asked = versions_of(place, limit, before)
    if not asked:
        place.open()  # Says so if there is no such table or branch.
        return []

    with ThreadPoolExecutor(min(_AT_ONCE, len(asked))) as pool:
        # A file is read faster than it is passed to another thread.
        each = map if place.uri.scheme == "file" else pool.map
        own = list(each(lambda v: _own(place, v), asked))
        others = pool.map(
            lambda v: _info(place, v), [v for v, i in zip(asked, own, strict=True) if i is None]
        )
        found = [info or next(others) for info in own]
    return [info for info in found if info is not None]


def _own(place: Place, version: int) -> VersionInfo | None:
    """Return what a commit of pennon did; None if it is none, or takes more to tell."""
    told = said(place, version)
    if told is None:
        return None
    info = _told(version, told.properties)
    if info is None or (info.operation == "rollback" and told.read_version != version - 1):
        return None
    return info


def _info(place: Place, version: int) -> VersionInfo | None:
    """Return what one commit did, as Lance tells it; None if it was cleaned up meanwhile."""
    try:
        handle = place.open(version)
    except VersionNotFound:
        return None
    try:
        with translated(place.name, place.secrets):
            transaction: Any = handle.read_transaction(version)
    except TypeError:
        # pylance cannot show a compaction that moved an index.
        transaction = None
    if transaction is None:
        return VersionInfo(version=version, committed_at=committed_at(handle), operation="compact")
    properties = transaction.transaction_properties or {}
    told = _told(version, properties)
    if told is None:
        name = type(transaction.operation).__name__.lower()
        return VersionInfo(
            version=version,
            committed_at=committed_at(handle),
            operation=_NAMES.get(name, name),
            message=properties.get(MESSAGE),
        )
    if told.operation != "rollback" or told.rows_deleted is None:
        return told
    return replace(told, rows_deleted=undone(place, version, transaction, told.rows_deleted))


def _told(version: int, properties: dict[str, str]) -> VersionInfo | None:
    """Return what a transaction of pennon says of itself; None if it is none."""
    ours = {k: v for k, v in properties.items() if k.startswith("pennon.") and ":" in k}
    if not ours:
        return None
    named = [k.removeprefix("pennon.").partition(":") for k in sorted(ours)]
    done = [json.loads(v) for v in ours.values()]
    return VersionInfo(
        version=version,
        committed_at=max(datetime.fromisoformat(d[3]) for d in done),
        operation=named[0][0],
        rows_inserted=sum(d[0] for d in done),
        rows_updated=sum(d[1] for d in done),
        rows_deleted=sum(d[2] for d in done),
        writer=properties.get(WRITER),
        write_ids=tuple(n[2] for n in named),
        message=properties.get(MESSAGE),
    )


def rollback(place: Place, version: int, expected: int | None, asked: Asked) -> CommitReceipt:
    """Make a new version that equals an old one; see :meth:`Versions.rollback_table`."""
    from lance import LanceOperation

    old = place.open(version)
    if expected is not None:
        with translated(place.name, place.secrets):
            rows = old.scanner(scan_in_order=True).to_reader()
        return replace_at(place, rows, old.schema, expected, asked, like=old)

    def prepare(head: lance.LanceDataset) -> Attempt:
        with translated(place.name, place.secrets):
            write = asked.write(int(old.count_rows()), deleted=int(head.count_rows()))
        return Attempt(LanceOperation.Restore(version), write)

    deadline = Deadline.after(asked.seconds, asked.seconds)
    with lane_of(place) as lane, lane.passing(deadline):
        return commit(place, asked, prepare, deadline)
