"""The V1 layout: one directory ``<name>.lance`` per table, no catalog table."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Literal

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
from pennon.retry import Backoff, Deadline

if TYPE_CHECKING:
    from pennon.objects import ObjectStore

__all__ = ["DROPPED", "SUFFIX", "FlatCatalog"]

SUFFIX = ".lance"
_PATIENCE = 10.0
DROPPED = b"dropped by pennon "
"""How the marker begins in a directory whose drop has begun; the claim to be dropped follows."""


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
                raise self._taken(id) from None
            # The drop of what was here before may still be under way; it leaves the claim alone.
            # One that names the claim came after it: then the table was there and is gone again.
            for _ in Backoff(cap=0.5, attempts=1000).tries(Deadline.after(None, _PATIENCE)):
                marker = self._content(location, DEREGISTERED)
                if marker is None or marker == DROPPED + own:
                    return
            self.store.delete(f"{location}/{RESERVED}")
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

    def _content(self, location: str, marker: str) -> bytes | None:
        try:
            return self.store.get(f"{location}/{marker}").data
        except ObjectNotFound:
            return None

    def state(self, location: str) -> Literal["table", "deregistered", "dropped", "mistaken"]:
        """Return what the markers at a location say; ``mistaken`` is a drop of an older table."""
        marker = self._content(location, DEREGISTERED)
        if marker is None:
            return "table"
        if not marker.startswith(DROPPED):
            return "deregistered"
        claim = self._content(location, RESERVED)
        return "dropped" if claim is None or marker == DROPPED + claim else "mistaken"

    def drop(self, id: Id) -> None:
        """Drop a table: a marker takes the name away, then the data go, the marker last.

        Raises:
            TableNotFound: There is none, or another one drops it.
        """
        location = self.location(id)
        claim = self._content(location, RESERVED) or b""
        try:
            self.store.put(f"{location}/{DEREGISTERED}", DROPPED + claim, if_absent=True)
        except ObjectAlreadyExists:
            raise model.table_not_found(id) from None
        if (self._content(location, RESERVED) or b"") != claim:
            # What was to be dropped was dropped by another one, and the name claimed anew.
            self.store.delete(f"{location}/{DEREGISTERED}")
            raise model.table_not_found(id)
        try:
            held = self.finish(location)
        except PennonError:
            # The name is gone; sweep() deletes what is left.
            return
        if not held:
            raise model.table_not_found(id)

    def begin_drop(self, location: str) -> None:
        """Mark what is at a location as dropped, whatever it is marked as now."""
        claim = self._content(location, RESERVED) or b""
        self.store.put(f"{location}/{DEREGISTERED}", DROPPED + claim)

    def finish(self, location: str) -> bool:
        """Delete what a dropped table left, its marker last; return whether there was anything."""
        marker = f"{location}/{DEREGISTERED}"
        keys = [meta.key for meta in self.store.list(location) if meta.key != marker]
        keys.sort(key=lambda key: key.endswith(f"/{RESERVED}"))
        self.store.delete(*keys)
        self.store.delete(marker)
        return bool(keys)
