"""The handle cache: datasets that are open at what was their newest version.

A handle that is kept here is never changed, and so may be read by many threads; everybody gets a
clone of it, which costs microseconds and no request. Whether it is still the newest version is
asked each time, as :mod:`pennon.namespaces.newest` says, and in doubt the dataset is opened anew;
so nothing here has to be thrown away for a reader to be right. Nothing is kept of what does not
exist.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pennon.namespaces.newest import Look, Newest
from pennon.objects import ObjectStore

if TYPE_CHECKING:
    import lance

__all__ = ["Handles", "Kept", "clone"]

_MOST = 256
_FEW = 100
"""Versions that are listed as fast as two objects are looked for."""


@dataclass(slots=True)
class _Known:
    handle: lance.LanceDataset
    newest: Newest
    asked: float
    """When somebody began to make sure of it last, by the monotonic clock."""
    followed: bool = False
    """Whether this process itself committed on top of it: there is no need to ask."""
    own: bool = False
    """Whether this process itself made the version."""
    seen: int = 0
    """The last version of this process that :meth:`Handles.committed` saw."""


class Kept(Protocol):
    """What keeps handles for places."""

    def newest(
        self,
        location: str,
        store: ObjectStore,
        base: str,
        open: Callable[[], lance.LanceDataset],
        since: float | None = None,
        *,
        listed: bool = False,
    ) -> lance.LanceDataset:
        """Return a handle of the caller's own on the newest version; see :class:`Handles`."""
        ...

    def look(self, location: str, store: ObjectStore, base: str) -> None:
        """Note whether what is known of a dataset is still the newest version."""
        ...

    def is_written(self, location: str, store: ObjectStore, base: str, since: float | None) -> bool:
        """Whether there surely is a version; False is also the answer to a doubt."""
        ...

    def follow(self, location: str) -> None:
        """Note that this process committed to a dataset."""
        ...

    def committed(
        self,
        location: str,
        store: ObjectStore,
        base: str,
        made: lance.LanceDataset,
        transaction: str,
    ) -> bool:
        """Whether a commit of this process surely is the newest version; False in doubt."""
        ...

    def outlived(self, location: str, version: int) -> bool:
        """Whether a dataset surely was not dropped before a commit of this process was seen."""
        ...


class Handles:
    """The handles of one set of credentials, by location. Safe to use from many threads.

    Args:
        most: How many are kept; those that were not used for longest are closed.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def newest(
        self,
        location: str,
        store: ObjectStore,
        base: str,
        open: Callable[[], lance.LanceDataset],
        since: float | None = None,
        *,
        listed: bool = False,
    ) -> lance.LanceDataset:
        """Return a handle of the caller's own on the newest version.

        Args:
            location: The dataset.
            store: Objects at or above it.
            base: Its place in the store.
            open: Opens it anew at the newest version.
            since: The moment that counts, by the monotonic clock, if it is not this one: what was
                the newest version then, or later, is good enough.
            listed: Whether the versions are rather listed, while they are few: one request instead
                of two, and none that a listing of them a moment later would not have to send too.
        """
        asked = time.monotonic()
        with self._lock:
            known = self._known.get(location)
            if known is not None:
                self._known.move_to_end(location)
        if known is not None and (
            (since is not None and known.asked >= since)
            or _look(known, asked, store, base, listed=listed)
        ):
            return clone(known.handle)
        look = Look.now(store, base)
        handle = open()
        new = _Known(handle, Newest.of(handle, look), asked)
        if known is not None and (
            known.newest.same(new.newest) or (known.followed and known.newest.named)
        ):
            # A commit names its manifest as the one below it is named.
            new.newest.named = known.newest.named
        self._keep(location, new)
        return clone(handle)

    def look(self, location: str, store: ObjectStore, base: str) -> None:
        """Note whether what is known of a dataset is still the newest version.

        Who opens it with this moment, or an earlier one, for ``since`` then sends no request.
        """
        asked = time.monotonic()
        with self._lock:
            known = self._known.get(location)
        if known is not None:
            _look(known, asked, store, base)

    def is_written(
        self, location: str, store: ObjectStore, base: str, since: float | None = None
    ) -> bool:
        """Whether there surely is a version; False is also the answer to a doubt."""
        with self._lock:
            known = self._known.get(location)
        if known is None:
            return False
        return (since is not None and known.asked >= since) or known.newest.is_there(store, base)

    def follow(self, location: str) -> None:
        """Note that this process committed to a dataset: what is known is not the newest."""
        with self._lock:
            known = self._known.get(location)
            if known is not None:
                known.followed = True

    def committed(
        self,
        location: str,
        store: ObjectStore,
        base: str,
        made: lance.LanceDataset,
        transaction: str,
    ) -> bool:
        """Whether a commit of this process surely is the newest version; False in doubt.

        Args:
            location: The dataset.
            store: Objects at or above it.
            base: Its place in the store.
            made: What Lance reported: its content is that which was sent, seen or not.
            transaction: The name of its transaction.
        """
        with self._lock:
            known = self._known.get(location)
        if store.uri.scheme == "file":
            new = known and known.newest.followed_by(made.version, transaction, store, base)
        else:
            new = Newest.listed(made.version, transaction, store, base)
        if new is None:
            return False
        self._keep(location, _Known(made, new, new.look.at, own=True, seen=made.version))
        return True

    def outlived(self, location: str, version: int) -> bool:
        """Whether a dataset surely was not dropped before a commit of this process was seen.

        Args:
            location: The dataset.
            version: The commit, or an earlier one than was seen.
        """
        with self._lock:
            known = self._known.get(location)
        return known is not None and version <= known.seen

    def _keep(self, location: str, new: _Known) -> None:
        with self._lock:
            old = self._known.get(location)
            # Of two that were opened at once, the one asked for last saw at least as much.
            if old is None or old.asked <= new.asked:
                new.seen = max(new.seen, old.seen if old is not None else 0)
                self._known[location] = new
            else:
                old.seen = max(new.seen, old.seen)
            self._known.move_to_end(location)
            while len(self._known) > self._most:
                self._known.popitem(last=False)


def _look(
    known: _Known, asked: float, store: ObjectStore, base: str, *, listed: bool = False
) -> bool:
    """Whether what is known surely is the newest version, and if so, since when that is known."""
    if known.followed or not _holds(known, store, base, listed=listed):
        return False
    known.asked = max(known.asked, asked)
    return True


def _holds(known: _Known, store: ObjectStore, base: str, *, listed: bool) -> bool:
    if store.uri.scheme == "file":
        if known.newest.holds(store, base):
            return True
        return known.own and known.newest.holds_by_names(store, base)
    return not (listed and known.newest.version <= _FEW) and known.newest.holds(store, base)


def clone(handle: lance.LanceDataset) -> lance.LanceDataset:
    """Return a handle on the same version, of the caller's own."""
    return handle.checkout_version(handle.version)
