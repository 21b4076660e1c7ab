"""Whether a version of a Lance dataset is still its newest, found out without a listing.

Lance finds the newest version by listing ``_versions``, which grows with the history: on MinIO one
listing takes 1 ms at 10 versions and 20 ms at 1000, a HEAD 0.7 ms at any number.

**On a bucket.** Versions are numbered without gaps when they are made: version ``V + 1`` is put if
absent by a writer that saw ``V`` as the newest. A version that is the newest is never removed. So,
if ``V`` was the newest once (a listing proved it) and is not any more, then ``V + 1`` was made in
between. It is there still, and one HEAD sees it, unless it was removed. Who may do that?

- *A clean-up*, of any tool, as soon as there is ``V + 2``; Lance allows a grace period of 0, and a
  compaction followed by such a clean-up is common. A clean-up goes by age or number, so it takes
  ``V`` too, and it removes the transactions of all versions it takes before the first of their
  manifests. So a second HEAD, *after* the first, of the transaction of ``V``, finds it missing. (At
  the same time would not do: the clean-up may fall between the second and the first.) This is why
  one request is not enough: whatever single object is looked at, there is a legal history in which
  it looks the same and ``V`` is not the newest.
- *A clean-up that takes V + 1 and leaves V*, because ``V`` has a tag, or a branch begins with it.
  Nothing near ``V`` shows that. But ``V + 1`` was made after the listing, so such a clean-up
  removes a version younger than the listing is old. Listings are trusted for ``TRUST_SECONDS``
  only; within them a clean-up would have to be told to remove versions that are seconds old, and
  the next listing sees what it did. pennon's own clean-ups never do (``GRACE_SECONDS``).
- *Dropping the table and making it again at the same place*, or a branch under the same name. The
  transaction of ``V`` is named after a random id, so the second HEAD misses it.

A restore, an overwrite, a change of the schema are commits like any other. Stalled writers that
fill a gap of the history make no newest version. What is *not* seen before ``TRUST_SECONDS`` are
over: the second case above, a drop and create of pennon itself that reuses a ``write_id`` in the
V1 layout of a directory (elsewhere a location is never used again), and files moved by hand.

The names are those of Lance's V2 scheme. Whether a dataset uses it is found out by a third HEAD,
once per version; a dataset in the V1 scheme, or without its transaction, is listed each time.

**On a disk** the directory ``_versions`` itself tells: making or removing a manifest changes its
times and nothing else does. They are compared, not ordered, so clocks that are set do not matter;
a change within one tick of the clock after a look could hide, so times that were young at the look
are not trusted. One ``stat``, and exact for whatever anybody does. A version that this process
made itself is looked at by names, as on a bucket, while those times are young.

**After a commit of this process.** That Lance reports a commit as ``V + 1`` is no proof that
anybody will see it: its writer may have stalled until others had made, and cleaned up, a ``V + 1``
of their own. It is the newest version, and so in the history, if a listing shows no later one; that
what has its number is the commit itself, the put-if-absent of the store has said. If the same
listing shows ``V`` too, the dataset was not dropped by then: a drop removes all versions before it
returns. On a disk two looks tell both, as above: no ``V + 2``, and then the transaction of ``V``.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from pennon.errors import InvalidName, PermissionDenied, Unauthenticated
from pennon.objects import ObjectStore

__all__ = [
    "GRACE_SECONDS",
    "TRUST_SECONDS",
    "Look",
    "Newest",
    "lists_newest_first",
    "manifest_of",
    "transaction_of",
    "version_of",
]

TRUST_SECONDS = 5.0
"""How long a listing says what the newest version was, together with the HEADs of this module."""
GRACE_SECONDS = 10.0
"""No clean-up by pennon removes a version younger than this. Longer than ``TRUST_SECONDS``, because
ages are by the clocks of the writers."""

_LAST = 2**64 - 1
_SUFFIX = b".txn"
_TRANSACTION = re.compile(rb"\d+-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.txn\Z")
_DIGITS = 20
"""Of the number in the name of a manifest that counts down; others count up."""
_UNORDERED = "--x-s3"
"""How the names of the buckets end that list in no order."""
_LONGEST = 64
"""Bytes of the name of a transaction at most."""
_TICK = 100_000_000
"""Nanoseconds that a clock of a file system may be behind."""
_SECOND = 1_000_000_000

_Times = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Look:
    """What was noted before a dataset was opened at its newest version."""

    at: float
    """By the monotonic clock."""
    times: _Times | None
    """Of the directory of the versions, if it is on a disk and had come to rest."""

    @classmethod
    def now(cls, store: ObjectStore, base: str) -> Look:
        """Note what there is before opening.

        Args:
            store: Objects at or above the dataset.
            base: The dataset's place in it.
        """
        at = time.monotonic()
        return cls(at, _times(store, base) if store.uri.scheme == "file" else None)


@dataclass(slots=True)
class Newest:
    """A version that was the newest at a moment not before a look.

    Args:
        handle: A ``LanceDataset`` at that version.
        look: What was noted before it was opened.
    """

    version: int
    transaction: str | None
    look: Look
    named: bool | None = None
    """Whether its manifest has the name that is expected; None if nobody looked."""

    @classmethod
    def of(cls, handle: Any, look: Look) -> Newest:
        """Return what a handle that was opened after a look says."""
        return cls(handle.version, transaction_of(handle), look)

    def same(self, other: Newest) -> bool:
        """Whether both are one version of one dataset."""
        return (self.version, self.transaction) == (other.version, other.transaction)

    def holds(
        self, store: ObjectStore, base: str, *, against: Literal["all", "kept"] = "all"
    ) -> bool:
        """Whether it is surely still the newest version; False is also the answer to a doubt.

        Args:
            store: Objects at or above the dataset.
            base: The dataset's place in it.
            against: ``"kept"`` where nobody removes versions younger than ``GRACE_SECONDS``, nor
                drops the dataset while others use it: one request less on a bucket.
        """
        if store.uri.scheme == "file":
            at = time.monotonic()
            if self.look.times is None or self.look.times != _times(store, base):
                return False
            self.look = Look(at, self.look.times)
            return True
        return self.holds_by_names(store, base, against=against)

    def holds_by_names(
        self, store: ObjectStore, base: str, *, against: Literal["all", "kept"] = "all"
    ) -> bool:
        """Return what :meth:`holds` returns on a bucket, on whatever store."""
        if self.named is False or self.transaction is None:
            return False
        if time.monotonic() - self.look.at > TRUST_SECONDS:
            return False
        try:
            known = self.named
            if known is None:
                known = _has(store, f"{base}/_versions/{manifest_of(self.version)}")
                self.named = known
            if not known or _has(store, f"{base}/_versions/{manifest_of(self.version + 1)}"):
                return False
            if against == "kept" or _has(store, self._transaction(base)):
                return True
            # It is gone, or transactions are not kept here: then no HEAD will ever do.
        except (PermissionDenied, Unauthenticated, InvalidName):
            pass  # Some stores answer so where nothing is; opening will tell.
        self.named = False
        return False

    def followed_by(
        self, version: int, transaction: str, store: ObjectStore, base: str
    ) -> Newest | None:
        """Return what a commit of this process on a disk made, if it surely is the newest.

        It is if the one after it is missing and then the transaction of this one is still there,
        for the reasons that hold on a bucket. That it is the commit itself, its manifest says.

        Args:
            version: The one it made.
            transaction: The name of its transaction.
            store: Objects at or above the dataset.
            base: The dataset's place in it.
        """
        look = Look(time.monotonic(), None)
        if version != self.version + 1 or look.at - self.look.at > TRUST_SECONDS:
            return None
        names = f"{base}/_versions"
        try:
            with open(f"{store.uri.path}/{names}/{manifest_of(version)}", "rb") as file:  # noqa: PTH123
                stored = file.read()
        except OSError:
            return None
        if transaction.encode() not in stored or self.transaction is None:
            return None
        if _has(store, f"{names}/{manifest_of(version + 1)}") or not _has(
            store, self._transaction(base)
        ):
            return None
        return Newest(version, transaction, look, named=True)

    @classmethod
    def listed(cls, version: int, transaction: str, store: ObjectStore, base: str) -> Newest | None:
        """Return what a commit of this process on a bucket made, if it surely is the newest.

        One request, since most buckets list the newest version first.

        Args:
            version: The one it made.
            transaction: The name of its transaction.
            store: Objects at or above the dataset.
            base: The dataset's place in it.
        """
        look = Look(time.monotonic(), None)
        named = False
        found: list[int] = []
        for meta in store.list(f"{base}/_versions"):
            number = version_of(meta.key)
            if number is None:
                continue
            found.append(number)
            named = meta.key.endswith(manifest_of(number))
            if named and len(found) > 1 and lists_newest_first(store):
                break
        if sorted(found)[-2:] != [version - 1, version]:
            return None
        return cls(version, transaction, look, named=named)

    def is_there(self, store: ObjectStore, base: str) -> bool:
        """Whether the version is surely there still, the newest or not; one request."""
        if store.uri.scheme == "file":
            return self.look.times is not None and self.look.times == _times(store, base)
        try:
            return self.transaction is not None and store.head(self._transaction(base)) is not None
        except (PermissionDenied, Unauthenticated, InvalidName):
            return False

    def _transaction(self, base: str) -> str:
        return f"{base}/_transactions/{self.transaction}"


def transaction_of(handle: Any) -> str | None:
    """Return the name of the transaction that made the version of a ``LanceDataset``.

    No two versions have the same, of whatever dataset. None if it cannot be told.
    """
    manifest: bytes = handle._ds.serialized_manifest()  # noqa: SLF001
    found: set[bytes] = set()
    # A manifest grows with the table, and looking for the suffix alone is a hundred times as fast.
    at = manifest.find(_SUFFIX)
    while at >= 0:
        end = at + len(_SUFFIX)
        match = _TRANSACTION.search(manifest, max(0, end - _LONGEST), end)
        found.update([match[0]] if match else ())
        at = manifest.find(_SUFFIX, end)
    return found.pop().decode() if len(found) == 1 else None


def version_of(key: str) -> int | None:
    """Return the version that a manifest is of; None if an object is no manifest.

    Lance counts down in new tables, up in old ones.
    """
    name = key.rpartition("/")[2].removesuffix(".manifest")
    if not key.endswith(".manifest") or not name.isdecimal():
        return None
    return _LAST - int(name) if len(name) == _DIGITS else int(name)


def lists_newest_first(store: ObjectStore) -> bool:
    """Whether a listing of manifests in the V2 scheme begins with the newest."""
    return store.uri.is_bucket and not store.uri.bucket.endswith(_UNORDERED)


def manifest_of(version: int) -> str:
    """Return the name of the manifest of a version, in Lance's V2 scheme."""
    return f"{_LAST - version:020d}.manifest"


def _has(store: ObjectStore, key: str) -> bool:
    if store.uri.scheme == "file":
        return os.path.exists(f"{store.uri.path}/{key}")  # noqa: PTH110
    return store.head(key) is not None


def _times(store: ObjectStore, base: str) -> _Times | None:
    """Return what changes with the directory of the versions; None if that is changing now."""
    try:
        now = time.time_ns()
        # To make a Path takes longer than to look.
        found = os.stat(f"{store.uri.path}/{base}/_versions")  # noqa: PTH116
    except OSError:
        return None
    changed = max(found.st_mtime_ns, found.st_ctime_ns)
    # Times in whole seconds are those of a file system that has no others.
    rest = _TICK if changed % _SECOND else 3 * _SECOND
    if now - changed <= rest:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns
