"""Changing the catalog table, and the markers and data in directories that go with a change."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pennon.errors import OutcomeUnknown, PennonError, TableAlreadyExists
from pennon.namespaces import model
from pennon.namespaces.directory._flat import SUFFIX, FlatCatalog
from pennon.namespaces.directory._places import (
    DEREGISTERED,
    RESERVED,
    has_data,
    is_confined,
    neighbours,
)
from pennon.namespaces.model import Change, Entry
from pennon.objects import certify

if TYPE_CHECKING:
    from pennon.namespaces.directory._manifest import Manifest, Snapshot
    from pennon.objects import ObjectStore

__all__ = ["Changes"]


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

    def apply(self, rule: Callable[[Snapshot], Change], *, claim: str | None = None) -> Change:
        """Commit what a rule makes of the catalog, and delete what lost its name.

        Args:
            rule: See :meth:`Manifest.apply`.
            claim: The fresh location of a table to be declared.
        """
        claimed = False

        def before(snapshot: Snapshot, change: Change) -> None:
            nonlocal claimed
            self.certify()
            self._mark(snapshot, change)
            if claim is not None and not claimed:
                self._store.put(f"{claim}/{RESERVED}", b"")
                claimed = True

        try:
            change = self._manifest.apply(rule, before)
        except OutcomeUnknown:
            raise
        except PennonError:
            if claimed:
                with contextlib.suppress(PennonError):
                    self._store.delete(f"{claim}/{RESERVED}")
            raise
        self._delete_data(change)
        return change

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
