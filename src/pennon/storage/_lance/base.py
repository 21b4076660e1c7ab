"""What all methods of the Lance backend share: where a table is, and whether its store is safe."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable
from weakref import WeakSet

from pennon.errors import (
    CommitConflict,
    NotFound,
    OutcomeUnknown,
    PennonError,
    StorageError,
    TableNotFound,
)
from pennon.namespaces.abc import Id, IdLike, Namespace, TableInfo
from pennon.namespaces.names import parse_id
from pennon.objects import certify
from pennon.storage._lance.places import Place
from pennon.storage.consistency import Consistency, Strong
from pennon.storage.refs import MAIN, Ref, check_branch

if TYPE_CHECKING:
    import lance

__all__ = ["COMMIT_SECONDS", "LanceBase"]

COMMIT_SECONDS = 60.0
"""How long a write tries to commit, once its data files are written."""
_MOST = 1024
"""Tables whose places are remembered."""


_alive: WeakSet[LanceBase] = WeakSet()


class LanceBase:
    """Finds tables in the catalog and proves their stores.

    Args:
        namespace: The catalog.
        within: The namespace that ids are relative to.
        consistency: How old an answer may be.
    """

    def __init__(
        self, namespace: Namespace, *, within: Id = (), consistency: Consistency | None = None
    ) -> None:
        self._namespace = namespace
        self._within = within
        self._consistency = consistency or Strong()
        self._lock = threading.Lock()
        _alive.add(self)
        self._touched: OrderedDict[Id, float] = OrderedDict()
        self._floor = time.monotonic()
        self._found: OrderedDict[Id, tuple[float, TableInfo]] = OrderedDict()
        self._written: OrderedDict[Id, Place] = OrderedDict()
        self._proves = isinstance(namespace, SelfProven)
        self._proven: set[tuple[str, str]] = set()

    def __reduce__(self) -> tuple[object, ...]:
        opened = partial(type(self), within=self._within, consistency=self._consistency)
        return opened, (self._namespace,)

    @property
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""
        return self._namespace

    def _id(self, table: IdLike) -> Id:
        return self._within + parse_id(table, what="table")

    def _place(self, table: IdLike, branch: str = MAIN) -> Place:
        """Return the branch of a table as it is now."""
        check_branch(branch)
        id, asked = self._id(table), time.monotonic()
        info = self._namespace.describe_table(id)
        self._remember(id, asked, info)
        return Place.of(self._namespace, info, branch)

    def _remember(self, id: Id, asked: float, info: TableInfo) -> None:
        with self._lock:
            self._found[id] = asked, info
            self._found.move_to_end(id)
            while len(self._found) > _MOST:
                self._found.popitem(last=False)

    def _last_place(self, table: IdLike) -> Place | None:
        """Return where a table was when it was written to last; None if it never was."""
        place = self._written.get(self._id(table))
        return place if place is not None and place.lasts(self._namespace) else None

    def _note(self, table: IdLike, place: Place) -> None:
        """Remember where a table was when it was written to."""
        id = self._id(table)
        with self._lock:
            self._written[id] = place
            self._written.move_to_end(id)
            while len(self._written) > _MOST:
                self._written.popitem(last=False)

    def _read_place(self, table: IdLike, ref: Ref | None) -> Place:
        """Return the branch of a table for a read: as old as the consistency allows.

        Args:
            table: Its id.
            ref: What is to be read; None if nothing is.
        """
        branch = MAIN if ref is None else ref.branch
        asked = time.monotonic()
        id = self._id(table)
        with self._lock:
            known = self._found.get(id)
            touched = self._touched.get(id, self._floor)
        if isinstance(self._consistency, Strong):
            oldest = asked
        else:
            oldest = max(asked - self._consistency.seconds, touched)
        if known is None or known[0] < oldest:
            newest = ref is not None and ref.version is None
            before = Place.of(self._namespace, known[1], branch) if known and newest else None
            known = asked, self._described(id, before)
            self._remember(id, *known)
        return replace(Place.of(self._namespace, known[1], branch), since=oldest)

    def _described(self, id: Id, before: Place | None) -> TableInfo:
        """Ask the catalog for a table and, meanwhile, a bucket for the newest version of it.

        Both answers are of moments after the call began, in whatever order they come: the name led
        there, and no version acknowledged before is missing. If the name leads elsewhere by now,
        the second one is of no use, and of no harm.

        Args:
            id: The table.
            before: Where it was when it was looked for last.
        """
        if before is None or not before.uri.is_bucket:
            return self._namespace.describe_table(id)
        looking = threading.Thread(target=before.look, name="pennon-look")
        with contextlib.suppress(RuntimeError):  # No more threads: then one after the other.
            looking.start()
        try:
            return self._namespace.describe_table(id)
        finally:
            if looking.ident is not None:
                looking.join()

    def _touch(self, table: IdLike | None) -> None:
        """Let no later read be older than this moment."""
        now = time.monotonic()
        with self._lock:
            if table is None:
                self._floor = now
                self._touched.clear()
                return
            id = self._id(table)
            self._touched[id] = now
            self._touched.move_to_end(id)
            while len(self._touched) > _MOST:
                self._floor = max(self._floor, self._touched.popitem(last=False)[1])

    def _opened(self, table: IdLike, ref: Ref) -> tuple[Place, lance.LanceDataset]:
        """Return the branch of a table, and a new handle on the state that is meant."""
        place = self._read_place(table, ref)
        return place, place.open_at(ref)

    @contextlib.contextmanager
    def _unless_dropped(
        self, places: Sequence[Place], error: type[CommitConflict | TableNotFound]
    ) -> Generator[None]:
        """Raise ``error`` if the block failed because a table was dropped or renamed under it.

        Files that vanish have many faces: a missing manifest, a directory that is gone, a commit
        that cannot be found again. What the catalog says now tells whether that is why.

        Args:
            places: The tables; looked at after the failure.
            error: What a drop means for the caller of the block.
        """
        try:
            yield
        except (NotFound, StorageError, OutcomeUnknown):
            for place in places:
                if self._is_moved(place):
                    raise error(
                        f"{place.name} was dropped or renamed meanwhile; look for it, then retry.",
                        table=place.info.id,
                    ) from None
            raise

    def _is_moved(self, place: Place) -> bool:
        try:
            return self._namespace.describe_table(place.info.id).location != place.info.location
        except TableNotFound:
            return True
        except PennonError:
            return False

    def _prove(self, place: Place) -> None:
        """Refuse to write to a store whose put-if-absent is not atomic.

        A directory catalog proves its own root, and knows if the user insists on an unsafe one.
        Where the catalog is a server, the directory that holds the table is proven.

        Raises:
            UnsafeStore: It is not.
        """
        if self._proves:
            cast("SelfProven", self._namespace).certify()
            return
        above = replace(place.uri, path=place.uri.path.rpartition("/")[0] or "/")
        key = str(above), place.options.principal
        if key not in self._proven:
            certify(self._namespace.session.store(above, place.options))
            self._proven.add(key)


@runtime_checkable
class SelfProven(Protocol):
    """A catalog that proves the root of its tables safe for concurrent writers."""

    def certify(self) -> None:
        """Raise ``UnsafeStore`` unless it is; costs nothing once it was proven."""


def _forget() -> None:
    """Start anew in a forked child: the threads that held the locks are not in it."""
    for backend in _alive:
        backend._lock = threading.Lock()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
