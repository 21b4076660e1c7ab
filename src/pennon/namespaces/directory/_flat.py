"""The V1 layout: one directory ``<name>.lance`` per table, no catalog table."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from pennon.errors import (
    InvalidName,
    ObjectAlreadyExists,
    ObjectNotFound,
    PennonError,
    TableAlreadyExists,
)
from pennon.namespaces import model
from pennon.namespaces.abc import Id
from pennon.namespaces.directory._places import DEREGISTERED, RESERVED, has_data, spread
from pennon.namespaces.names import parse_id, show_id

if TYPE_CHECKING:
    from pennon.objects import ObjectStore

__all__ = ["DROPPED", "SUFFIX", "FlatCatalog"]

SUFFIX = ".lance"
DROPPED = b"dropped by pennon\n"
"""Content of the marker in a directory whose drop has begun; sweep() finishes it."""


class FlatCatalog:
    """Names are directories: a name is claimed by a marker object and dropped by another one.

    Args:
        store: The root.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    @staticmethod
    def location(id: Id) -> str:
        """Return where the table of a name is, relative to the root."""
        return f"{id[0]}{SUFFIX}"

    def directories(self) -> list[Id]:
        """Return the names of all directories of tables, whether they can be used or not."""
        found: list[Id] = []
        for directory in self.store.list_directories():
            if directory.endswith(SUFFIX):
                with contextlib.suppress(InvalidName):
                    found.append(parse_id(directory.removesuffix(SUFFIX), what="table"))
        return found

    def tables(self, *, include_declared: bool = True) -> list[Id]:
        """Return the tables: one listing, and a request for each directory."""
        found = self.directories()
        flags = spread(self.store, lambda i: self._is_listed(i, include_declared), found)
        return [id for id, listed in zip(found, flags, strict=True) if listed]

    def _is_listed(self, id: Id, include_declared: bool) -> bool:  # noqa: FBT001
        location = self.location(id)
        if self.store.head(f"{location}/{DEREGISTERED}") is not None:
            return False
        return include_declared or has_data(self.store, location)

    def exists(self, id: Id) -> bool:
        """Whether a name has a table: two requests."""
        if len(id) != 1:
            return False
        location = self.location(id)
        if self.store.head(f"{location}/{DEREGISTERED}") is not None:
            return False
        return self._holds_anything(location)

    def check(self, id: Id) -> None:
        """Raise unless a name has a table.

        Raises:
            TableNotFound: It has none.
        """
        if not self.exists(id):
            raise model.table_not_found(id)

    def _holds_anything(self, location: str) -> bool:
        return next(self.store.list(location), None) is not None

    def declare(self, id: Id) -> None:
        """Claim a name.

        Raises:
            TableAlreadyExists: It is taken, deregistered, or still being dropped.
            NamespaceNotFound: The id has more than one part.
        """
        if len(id) != 1:
            raise model.namespace_not_found(id[:-1])
        location = self.location(id)
        own = uuid.uuid4().hex.encode()
        if not self._holds_anything(location):
            try:
                self.store.put(f"{location}/{RESERVED}", own, if_absent=True)
            except ObjectAlreadyExists:
                pass
            else:
                # A drop that was under way may have taken the claim along.
                if not self._is_dropped(location) and self._is_claimed(location, own):
                    return
        raise self._taken(id)

    def _taken(self, id: Id) -> TableAlreadyExists:
        location = self.location(id)
        if self.store.head(f"{location}/{DEREGISTERED}") is None:
            return TableAlreadyExists(
                f"{show_id(id)} is a table already; choose another name or drop it first.",
                table=id,
            )
        return TableAlreadyExists(
            f"{location} is deregistered or still being dropped, so {show_id(id)} cannot be used; "
            "choose another name, or let sweep() finish a drop that was interrupted.",
            table=id,
        )

    def _is_dropped(self, location: str) -> bool:
        return self.store.head(f"{location}/{DEREGISTERED}") is not None

    def _is_claimed(self, location: str, own: bytes) -> bool:
        try:
            return self.store.get(f"{location}/{RESERVED}").data == own
        except ObjectNotFound:
            return False

    def drop(self, id: Id) -> None:
        """Drop a table: a marker takes the name away, then the data go, the marker last.

        Raises:
            TableNotFound: There is none, or another one drops it.
        """
        location = self.location(id)
        try:
            self.store.put(f"{location}/{DEREGISTERED}", DROPPED, if_absent=True)
        except ObjectAlreadyExists:
            raise model.table_not_found(id) from None
        try:
            held = self.finish(location)
        except PennonError:
            # The name is gone; sweep() deletes what is left.
            return
        if not held:
            raise model.table_not_found(id)

    def finish(self, location: str) -> bool:
        """Delete what a dropped table left, its marker last; return whether there was anything."""
        marker = f"{location}/{DEREGISTERED}"
        keys = [meta.key for meta in self.store.list(location) if meta.key != marker]
        keys.sort(key=lambda key: key.endswith(f"/{RESERVED}"))
        self.store.delete(*keys)
        self.store.delete(marker)
        return bool(keys)
