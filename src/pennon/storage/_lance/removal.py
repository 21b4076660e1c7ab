"""Removals of old versions are announced, so that whoever names a version meanwhile keeps it.

Lance reads what tags and branches need, then removes the rest; a name that is given in between
comes too late. So who names an old version waits for the removals that are under way afterwards,
and looks whether the version is left. One that begins later sees the name.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Generator
from datetime import UTC, datetime, timedelta

from pennon.errors import CommitConflict, PennonError, VersionNotFound
from pennon.retry import Backoff, Deadline
from pennon.storage._lance.places import Place
from pennon.storage.refs import MAIN

__all__ = ["announced", "check_left"]

_REMOVALS = "_pennon/removals"
_SECONDS = 60.0
"""How long to wait for a removal."""
_LOST = timedelta(hours=1)
"""The age at which an announcement is that of a process that was killed."""
_LAST = 2**64 - 1


@contextlib.contextmanager
def announced(place: Place) -> Generator[None]:
    """Let those who name a version of a table know that versions are being removed."""
    store = place.on(MAIN).store()
    key = f"{_REMOVALS}/{uuid.uuid4().hex}"
    old = [m.key for m in store.list(_REMOVALS) if datetime.now(UTC) - m.modified > _LOST]
    store.delete(*old)
    store.put(key, b"")
    try:
        yield
    finally:
        with contextlib.suppress(PennonError):
            store.delete(key)


def check_left(place: Place, version: int) -> None:
    """Make sure, after a version was named, that no removal takes it that did not see the name.

    Args:
        place: The branch.
        version: The version.

    Raises:
        VersionNotFound: One took it.
        CommitConflict: One takes too long.
    """
    if place.open().version == version:
        # What is the newest version now was made after a removal began, or spared by it.
        return
    removals = f"{place.on(MAIN).base}/{_REMOVALS}"
    for _ in Backoff(base=0.05, cap=1.0, attempts=1000).tries(Deadline.after(_SECONDS, _SECONDS)):
        now = datetime.now(UTC)
        if not any(now - meta.modified <= _LOST for meta in place.above.list(removals)):
            break
    else:
        raise CommitConflict(
            f"Old versions of {place.name} are being removed, perhaps version {version} too; retry "
            "when that is over.",
            table=place.info.id,
        )
    own = place.store()
    names = (f"_versions/{_LAST - version:020d}.manifest", f"_versions/{version}.manifest")
    if all(own.head(name) is None for name in names):
        raise VersionNotFound(
            f"Version {version} of {place.name} was removed while it was being named.",
            table=place.info.id,
        )
