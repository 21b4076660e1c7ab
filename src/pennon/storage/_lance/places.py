"""One table on its store: where it is, and handles on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pennon.config import StoreOptions, parse_options
from pennon.errors import TableNotFound, VersionNotFound
from pennon.namespaces.abc import Namespace, TableInfo
from pennon.namespaces.names import show_id
from pennon.objects import ObjectStore, open_store
from pennon.storage._lance.errors import translated
from pennon.uri import Uri, parse_uri

if TYPE_CHECKING:
    import lance

__all__ = ["Place"]


@dataclass(frozen=True, slots=True)
class Place:
    """A table that the catalog knows, written or only declared."""

    info: TableInfo
    uri: Uri
    options: StoreOptions = field(repr=False)
    session: Any = field(repr=False)
    """The ``lance.Session`` all handles of these credentials share."""

    @classmethod
    def of(cls, namespace: Namespace, info: TableInfo) -> Place:
        """Return the place of a table of a namespace."""
        uri = parse_uri(info.location)
        options = parse_options(uri, info.storage_options)
        return cls(info, uri, options, namespace.session.lance(options))

    @property
    def name(self) -> str:
        """The table for people: ``team.docs``."""
        return show_id(self.info.id)

    @property
    def location(self) -> str:
        """What Lance opens."""
        return self.info.location

    @property
    def storage_options(self) -> dict[str, str]:
        """What Lance needs to open it: credentials, never to be logged."""
        return self.options.for_lance()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values no message may show."""
        return self.options.secrets

    def store(self) -> ObjectStore:
        """Return the objects below the location: for single files of Lance, by name."""
        return open_store(self.uri, self.options)

    def open(self, version: int | None = None) -> lance.LanceDataset:
        """Return a new handle on the latest version, or on a given one.

        A handle belongs to one thread: Lance panics when a mutated one is shared.

        Raises:
            TableNotFound: Nothing was ever written here.
            VersionNotFound: There is no such version, or not any more.
        """
        import lance

        with translated(self.name, self.secrets):
            return lance.dataset(
                self.location,
                version=version,
                storage_options=self.storage_options,
                session=self.session,
            )

    def open_or_none(self, version: int | None = None) -> lance.LanceDataset | None:
        """Return a new handle, or None if the version, or any version, does not exist."""
        try:
            return self.open(version)
        except (TableNotFound, VersionNotFound):
            return None
