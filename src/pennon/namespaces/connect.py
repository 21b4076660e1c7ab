"""``connect(kind, properties)``: the one way to a catalog."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidOption, InvalidState
from pennon.namespaces.abc import ContextProvider, Namespace
from pennon.namespaces.plugins import find
from pennon.namespaces.properties import show_properties

if TYPE_CHECKING:
    from pennon.namespaces.session import Session

__all__ = ["ConnectBuilder", "connect"]


def connect(kind: str, properties: Mapping[str, Any] | None = None) -> ConnectBuilder:
    """Prepare the connection to a catalog; nothing is read or sent before ``connect()``.

    ::

        ns = pennon.connect("dir", {"root": "./lake"}).connect()

        with pennon.connect("dir", {"root": "s3://bucket/lake"}).with_session(session) as ns:
            ns.create_namespace("team")

    Args:
        kind: ``"dir"``, ``"rest"``, ``"memory"``; ``"glue"``, ``"hive2"``, ``"hive3"``,
            ``"iceberg"``, ``"polaris"``, ``"unity"``; a kind an installed package adds (entry
            point group ``pennon.namespaces``); or the path of a class, ``package.module.Class``.
        properties: What the kind needs, such as ``root`` (a URI, a path or an fsspec filesystem)
            and ``storage.*``.

    Raises:
        InvalidOption: Unknown kind, or properties that are no mapping of strings. Unknown
            property keys are refused by ``connect()``.
        MissingExtra: The kind needs a package that is not installed.
    """
    find(kind)
    given: Any = {} if properties is None else properties
    if not isinstance(given, Mapping):
        raise InvalidOption(
            f"properties is a {type(given).__name__}; pass a mapping such as {{'root': './lake'}}."
        )
    for key in given:
        if not isinstance(key, str):
            raise InvalidOption(f"The property {key!r} is a {type(key).__name__}, not a string.")
    return ConnectBuilder(kind, MappingProxyType(dict(given)))


@dataclass(frozen=True, repr=False, eq=False)
class ConnectBuilder:
    """A connection to be made. Every method returns a new builder and leaves this one as it is.

    As a context manager it connects on enter and closes on exit, the session included unless one
    was given; one builder holds one connection open in this way at a time.
    """

    kind: str
    properties: Mapping[str, Any]
    """May hold credentials: never log it. The builder's repr masks them."""
    session: Session | None = None
    context: ContextProvider | None = None
    _busy: threading.Lock = field(default_factory=threading.Lock, init=False)
    _open: list[tuple[Namespace, Session | None]] = field(
        default_factory=list[tuple[Namespace, "Session | None"]], init=False
    )

    def with_session(self, session: Session) -> ConnectBuilder:
        """Share clients and caches with everything else that was given this session."""
        from pennon.namespaces.session import Session

        if not isinstance(session, Session):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(
                f"{type(session).__module__}.{type(session).__name__} is no pennon.Session."
            )
        return replace(self, session=session)

    def with_context(self, provider: ContextProvider) -> ConnectBuilder:
        """Ask ``provider(operation, object_id)`` for extra headers before every request.

        One that raises means that no request is sent.
        """
        if not callable(provider):  # pyright: ignore[reportUnnecessaryComparison]
            raise InvalidOption(
                f"A context provider is called with (operation, object_id); a "
                f"{type(provider).__name__} cannot be."
            )
        return replace(self, context=provider)

    def connect(self) -> Namespace:
        """Connect.

        Raises:
            InvalidOption: The kind does not know a property, lacks one, or cannot use its value.
        """
        return self._connect(self.session)

    def _connect(self, session: Session | None) -> Namespace:
        from pennon.namespaces.session import Session

        return find(self.kind).from_properties(
            self.kind, self.properties, session=session or Session(), context=self.context
        )

    def __enter__(self) -> Namespace:
        from pennon.namespaces.session import Session

        if not self._busy.acquire(blocking=False):
            raise InvalidState(
                f"{self!r} holds a connection open already; call its connect() for another one."
            )
        try:
            own = Session() if self.session is None else None
            namespace = self._connect(self.session or own)
            self._open.append((namespace, own))
        except BaseException:
            self._busy.release()
            raise
        return namespace

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        namespace, own = self._open.pop()
        self._busy.release()
        try:
            namespace.close()
        finally:
            if own is not None:
                own.close()

    def __repr__(self) -> str:
        session = f".with_session({self.session!r})" if self.session else ""
        context = ".with_context(...)" if self.context else ""
        return f"connect({self.kind!r}, {show_properties(self.properties)}){session}{context}"
