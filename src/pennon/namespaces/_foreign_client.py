"""Calling another maker's catalog: requests made, pages followed, errors translated, forks seen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, cast

from pennon.errors import InvalidOption, Unsupported, redact
from pennon.namespaces._foreign import GENERIC, KINDS, ForeignKind, make, reach, secret_keys
from pennon.namespaces._foreign_errors import translate
from pennon.namespaces.abc import Id
from pennon.namespaces.session import enter_lance

__all__ = ["ForeignClient", "What"]

What = Literal["namespaces", "tables"]


class ForeignClient:
    """One ``lance_namespace.LanceNamespace`` and how it was made.

    Args:
        kind: The kind asked for, or the path of its class.
        impl: The instance.
        properties: What it was made by; None if it came as it is.
    """

    def __init__(self, kind: str, impl: Any, properties: Mapping[str, Any] | None) -> None:
        self.kind = kind
        self.known: ForeignKind = KINDS.get(kind, GENERIC)
        self.properties = None if properties is None else MappingProxyType(dict(properties))
        self._impl = impl
        self._pid = os.getpid()
        self._reached = properties is None

    @classmethod
    def around(cls, impl: Any) -> ForeignClient:
        """Return a client for an instance that somebody else made.

        Raises:
            InvalidOption: It is no ``LanceNamespace``.
        """
        from lance_namespace import LanceNamespace

        if not isinstance(impl, LanceNamespace):
            raise InvalidOption(
                f"A {type(impl).__name__} is no lance_namespace.LanceNamespace; pass an instance."
            )
        return cls(f"{type(impl).__module__}.{type(impl).__qualname__}", impl, None)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Values that no message may show."""
        found = self.properties or {}
        return tuple(str(found[k]) for k in secret_keys(found))

    @property
    def address(self) -> str:
        """Where the catalog is, or what it calls itself."""
        given = (self.properties or {}).get(self.known.endpoint)
        text = str(given or self._impl.namespace_id())
        return redact(text, self.secrets)

    def has(self, operation: str) -> bool:
        """Return whether the class implements an operation."""
        from lance_namespace import LanceNamespace

        return getattr(type(self._impl), operation) is not getattr(LanceNamespace, operation)

    def fits(self, id: Id, what: What) -> bool:
        """Return whether something of this depth can exist."""
        least, most = self.known.namespaces if what == "namespaces" else self.known.tables
        return len(id) >= least and (most is None or len(id) <= most)

    def check_depth(self, id: Id, what: What) -> None:
        """Refuse an id of a depth that the catalog does not have.

        Raises:
            Unsupported: It has none.
        """
        if self.fits(id, what):
            return
        least, most = self.known.namespaces if what == "namespaces" else self.known.tables
        parts = (
            f"{least}" if least == most else f"{least} to {most}" if most else f"{least} or more"
        )
        raise Unsupported(
            f"{id!r} cannot be one of the {what} of {self.kind} at {self.address}: their ids have "
            f"{parts} parts.",
            id=id,
        )

    def call(self, operation: str, id: Id, **fields: Any) -> Any:
        """Call one operation and return its answer.

        Raises:
            Unsupported: The class does not implement it, or this is a forked child.
            PennonError: What it raised, translated.
        """
        import lance_namespace

        if not self.has(operation):
            raise Unsupported(
                f"{operation} is not possible in {self.kind} at {self.address}, which has no such "
                "operation.",
                operation=operation,
            )
        client = self._get()
        name = "".join(word.capitalize() for word in operation.split("_"))
        request = getattr(lance_namespace, f"{name}Request")(id=list(id), **fields)
        try:
            return getattr(client, operation)(request)
        except Exception as error:  # noqa: BLE001 - hierarchies of others, translated in one place
            found = translate(error, operation, id, where=self.address, secrets=self.secrets)
            # What they say may hold the credentials they were given.
            raise found from None

    def names(self, operation: str, field: str, id: Id) -> list[str]:
        """Return all names of a listing, page by page where the catalog has pages."""
        names: list[str] = []
        token: str | None = None
        seen: set[str] = set()
        while True:
            answer = self.call(operation, id, page_token=token)
            names += cast("list[str]", getattr(answer, field) or [])
            token = answer.page_token
            # Most ignore tokens and answer everything at once.
            if not token or token in seen:
                return names
            seen.add(token)

    def _get(self) -> Any:
        if type(self._impl).__module__.partition(".")[0] == "lance":
            enter_lance()
        if self._pid != os.getpid():
            # The client shares its sockets with the parent.
            if self.properties is None:
                raise Unsupported(
                    f"{self.address} was connected before this process was forked; start "
                    "processes with the 'spawn' or 'forkserver' method, or connect in the child."
                )
            self._impl, self._pid = make(self.kind, self.properties), os.getpid()
        if not self._reached:
            reach(self.kind, self.properties or {})
            self._reached = True
        return self._impl

    def close(self) -> None:
        """Close the instance if it was made here."""
        if self.properties is not None and hasattr(self._impl, "close"):
            self._impl.close()
