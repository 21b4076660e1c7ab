"""Changing the catalog table, and the markers and data in directories that go with a change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pennon.errors import OutcomeUnknown, PennonError, TableAlreadyExists
from pennon.namespaces import model
from pennon.namespaces.abc import Id
from pennon.namespaces.directory._flat import SUFFIX, FlatCatalog
from pennon.namespaces.directory._places import (
    DEREGISTERED,
    RESERVED,
    fresh_location,
    has_data,
    is_confined,
    neighbours,
)
from pennon.namespaces.model import Change, Entry
from pennon.objects import certify

if TYPE_CHECKING:
    from pennon.namespaces.directory._manifest import Manifest, Snapshot
    from pennon.objects import ObjectStore

__all__ = ["Changes", "Claim"]


class Claim:
    """The fresh directory of a table to be declared, claimed by a marker before it has a name.

    A sweeper without a grace period takes it for garbage. It says so in the directory, and then
    commits a version: who has read an older one cannot commit the name, and looks here again.
    """

    def __init__(self, store: ObjectStore, id: Id) -> None:
        self._store = store
        self._id = id
        self._location = fresh_location(id)
        self._staked = False

    def location(self) -> str:
        """Return the directory: another one if a sweeper has begun to remove the first."""
        if self._staked and self._is_swept():
            self._location, self._staked = fresh_location(self._id), False
        return self._location

    def _is_swept(self) -> bool:
        # In this order: a sweeper deletes the claim first.
        return (
            self._store.head(f"{self._location}/{DEREGISTERED}") is not None
            or self._store.head(f"{self._location}/{RESERVED}") is None
        )

    def stake(self) -> None:
        """Put the marker."""
        if not self._staked:
            self._store.put(f"{self._location}/{RESERVED}", b"")
            self._staked = True

    def give_up(self) -> None:
        """Take the marker away."""
        if self._staked:
            self._store.delete(f"{self._location}/{RESERVED}")


class Changes:
    """Commits changes to a catalog: markers first, then the names, then the data.

    Args:
        manifest: The catalog table.
        store: Returns the client of the root in this process.
        allow_unsafe: Use a store that failed its certification.
    """

    def __init__(
        self, manifest: Manifest, store: Callable[[], ObjectStore], *, allow_unsafe: bool
    ) -> None:
        self._manifest = manifest
        self._open = store
        self._allow_unsafe = allow_unsafe

    @property
    def _store(self) -> ObjectStore:
        return self._open()

    def certify(self) -> None:
        """Prove the store safe before anything is written there.

        Raises:
            UnsafeStore: It is not.
        """
        certify(self._store, allow_unsafe=self._allow_unsafe)

    def apply(self, rule: Callable[[Snapshot], Change], *, claim: Claim | None = None) -> Change:
        """Commit what a rule makes of the catalog, and delete what lost its name.

        Args:
            rule: See :meth:`Manifest.apply`.
            claim: The directory of a table to be declared.
        """

        def before(snapshot: Snapshot, change: Change) -> None:
            self.certify()
            self._mark(snapshot, change)
            if claim is not None:
                claim.stake()

        try:
            change = self._manifest.apply(rule, before)
        except OutcomeUnknown:
            raise
        except PennonError:
            if claim is not None:
                with contextlib.suppress(PennonError):
                    claim.give_up()
            raise
        self._delete_data(change)
        return change

    def declare(self, id: Id, properties: Mapping[str, str]) -> Change:
        """Name a table of which there is nothing yet but a claim in a fresh directory."""
        claim = Claim(self._store, id)
        return self.apply(
            lambda s: model.declare_table(s.catalog, id, claim.location(), properties), claim=claim
        )

    def settle(self) -> None:
        """Commit a version without a change.

        Who read an older one and has yet to commit reads, and looks at his directory, again.
        """
        nobody = ("",)
        self.apply(lambda s: Change(s.catalog, deletes=(nobody,)))

    def _mark(self, snapshot: Snapshot, change: Change) -> None:
        """Say in a directory why it loses its name, so that it is not taken for something else."""
        dropped = {e.location for e in change.dropped}
        ids = (*change.deletes, *(e.id for e in change.upserts))
        before = [snapshot.catalog[i].location for i in ids if i in snapshot.catalog]
        for location in dict.fromkeys(before):
            if location is None or location in change.catalog.locations:
                continue
            if not is_confined(location):
                continue
            if location in dropped:
                if location.endswith(SUFFIX):
                    FlatCatalog(self._store).begin_drop(location)
            elif location.endswith(SUFFIX) or has_data(self._store, location):
                self._store.put(f"{location}/{DEREGISTERED}", b"")

    def _delete_data(self, change: Change) -> None:
        """Delete what lost its name; what cannot be deleted now is swept later."""
        for entry in change.dropped:
            location = entry.location
            if location is None or not is_confined(location):
                continue
            if neighbours(change.catalog, location):
                continue
            with contextlib.suppress(PennonError):
                if location.endswith(SUFFIX):
                    FlatCatalog(self._store).finish(location)
                else:
                    self._store.delete_directory(location)

    # -- V1 connections that meet a migration ------------------------------------------------------

    def adopt(self, entry: Entry) -> None:
        """Name a table that was declared in V1 while the directory was migrated.

        Raises:
            TableAlreadyExists: The name was given to another table meanwhile.
        """

        def rule(snapshot: Snapshot) -> Change:
            if snapshot.catalog.get(entry.id) == entry:
                return Change(snapshot.catalog, entry)
            return model.register_table(snapshot.catalog, entry.id, entry.location or "")

        try:
            self.apply(rule)
        except TableAlreadyExists:
            self._store.delete(f"{entry.location}/{RESERVED}")
            raise

    def forget(self, entry: Entry) -> None:
        """Take away the name of a table that was dropped in V1 during a migration."""

        def rule(snapshot: Snapshot) -> Change:
            if snapshot.catalog.get(entry.id) != entry:
                return Change(snapshot.catalog, entry)
            return model.deregister_table(snapshot.catalog, entry.id)

        self.apply(rule)
