"""Where tables of another maker's catalog lie: telling whether they hold data, deleting these."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pennon.config import StoreOptions, parse_options
from pennon.errors import InvalidInput
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id
from pennon.uri import Uri, parse_uri

if TYPE_CHECKING:
    from pennon.namespaces.session import Session
    from pennon.objects import ObjectStore

__all__ = ["Places", "frozen", "plain"]

_NOT_STORE_OPTIONS = frozenset({"expires_at_millis", "refresh_offset_millis"})


def frozen(properties: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return properties as an immutable copy."""
    return MappingProxyType(dict(properties or {}))


def plain(location: str) -> str:
    """Return a location in the one spelling that locations are compared and opened in.

    Lance encodes a ``file://`` URI once more when it writes there, so that data land elsewhere.
    """
    if location.startswith("file://"):
        location = unquote(location.removeprefix("file://"))
    return location.rstrip("/")


@dataclass(frozen=True)
class Places:
    """The storage behind a catalog.

    Args:
        session: Whose clients to use.
        base: Below where new tables go and old ones are deleted; None if that is not known.
        storage: Storage options in any spelling; they win over what the catalog sends.
    """

    session: Session
    base: Uri | None
    storage: Mapping[str, object]

    def fresh(self, id: Id) -> str:
        """Return a location that nobody has used."""
        assert self.base is not None
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", id[-1]).strip("-.")[:32] or "table"
        return str(self.base.join(f"{secrets.token_hex(8)}_{slug}"))

    def at(self, relative: str) -> str:
        """Return the location of a path relative to the root."""
        assert self.base is not None
        return f"{str(self.base).rstrip('/')}/{relative}"

    def relative(self, location: str) -> str | None:
        """Return a location relative to the root, or None if it lies elsewhere."""
        above = f"{str(self.base).rstrip('/')}/" if self.base else ""
        inside = bool(above) and location.startswith(above)
        return location.removeprefix(above) if inside else None

    def options(self, location: str, vended: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """Return the options Lance opens a location with."""
        if not self.storage:
            return dict(vended) if vended else None
        uri = _bucket(location)
        return self._options(uri, vended).for_lance() if uri.is_bucket else None

    def _options(self, uri: Uri, vended: Mapping[str, str] | None) -> StoreOptions:
        given = self.storage or {
            k: v for k, v in (vended or {}).items() if k not in _NOT_STORE_OPTIONS
        }
        return parse_options(uri, given if uri.is_bucket else None)

    def _store(self, location: str, vended: Mapping[str, str] | None) -> tuple[ObjectStore, str]:
        inside = self.relative(location)
        if inside is not None and self.base is not None:
            uri, key = self.base, inside
        elif "://" in location:
            uri = _bucket(location)
            key = location.split("/", 3)[3]
        else:
            above, _, key = location.rpartition("/")
            uri = parse_uri(above or "/")
        return self.session.store(uri, self._options(uri, vended)), key

    def is_written(self, location: str, vended: Mapping[str, str] | None = None) -> bool:
        """Return whether a location holds a Lance dataset; one request."""
        store, key = self._store(location, vended)
        return next(iter(store.list(f"{key}/_versions")), None) is not None

    def check_deletable(self, id: Id, location: str) -> None:
        """Refuse to delete what is not known to belong to the catalog.

        Raises:
            InvalidInput: The location is not below the root.
        """
        if not self.relative(location):
            raise InvalidInput(
                f"The data of {show_id(id)} at {location} are not below the root of the catalog, "
                "so they are not deleted; deregister_table forgets the name alone.",
                table=id,
            )

    def delete(self, location: str, vended: Mapping[str, str] | None = None) -> None:
        """Delete everything at a location."""
        store, key = self._store(location, vended)
        store.delete_directory(key)


def _bucket(location: str) -> Uri:
    """Return the bucket of a location: its path may hold what no URI of a root does."""
    return parse_uri("/".join(location.split("/", 3)[:3]) if "://" in location else "/")
