"""A catalog in this process: the reference model every other kind is compared with."""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self

from pennon.errors import InvalidOption, InvalidURI, TableNotFound, Unsupported
from pennon.namespaces import model
from pennon.namespaces.abc import (
    Capability,
    ContextProvider,
    IdLike,
    Namespace,
    NamespaceInfo,
    Page,
    TableInfo,
    check_limit,
    page_of,
)
from pennon.namespaces.model import Catalog, Change, Entry
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.namespaces.properties import check_keys
from pennon.namespaces.session import Session
from pennon.uri import Uri, parse_uri

__all__ = ["MemoryNamespace"]


class _Shared:
    """What all connections to one root share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.catalog = Catalog()
        self.written: dict[str, object] = {}
        """Locations that hold data, named or not, and what storage keeps there."""


_roots: dict[str, _Shared] = {}
_guard = threading.Lock()


def _start_afresh() -> None:
    global _guard  # noqa: PLW0603 - the lock may have been held by a thread the child lacks
    _guard = threading.Lock()
    _roots.clear()


os.register_at_fork(after_in_child=_start_afresh)


class MemoryNamespace(Namespace):
    """Names in a dictionary, gone when the process ends.

    Every connection to ``memory://name`` in a process sees the same catalog; without a root the
    catalog belongs to this instance alone. A forked child starts with empty catalogs, and an
    instance made before the fork raises ``Unsupported`` there.

    The catalog makes no data: whoever writes some hands them over by :meth:`mark_written`.

    Args:
        root: ``memory://name``, or None for a catalog of its own.
        session: What storage built on this shares.
    """

    kind = "memory"
    capabilities: frozenset[Capability] = frozenset(
        {"nested", "properties", "update", "register", "rename"}
    )

    def __init__(self, root: str | Uri | None = None, *, session: Session | None = None) -> None:
        self.session = session or Session()
        self._pid = os.getpid()
        self._private = root is None
        if root is None:
            self._root = f"memory://private-{secrets.token_hex(4)}"
            self._shared = _Shared()
            return
        uri = parse_uri(root)
        if uri.scheme != "memory":
            raise InvalidURI(f"{uri} is not in memory; connect kind 'dir' to it instead.")
        if uri.options or uri.namespace:
            raise InvalidURI(f"{uri} takes no query; leave out what follows '?'.")
        self._root = str(uri)
        with _guard:
            self._shared = _roots.setdefault(self._root, _Shared())

    @classmethod
    def from_properties(
        cls,
        kind: str,
        properties: Mapping[str, Any],
        *,
        session: Session,
        context: ContextProvider | None,
    ) -> Self:
        """Connect; see :func:`pennon.namespaces.connect.connect`.

        Args:
            kind: ``"memory"``.
            properties: ``root``, optional: ``memory://name``.
            session: What storage built on this shares.
            context: Unused, because no request is sent: must be None.

        Raises:
            InvalidOption: An unknown property, or a context provider.
            InvalidURI: A root elsewhere.
        """
        check_keys(kind, properties, ("root",))
        if context is not None:
            raise InvalidOption(
                "Kind 'memory' sends no requests a context could go with; leave it out."
            )
        return cls(properties.get("root"), session=session)

    @property
    def root(self) -> str:
        """``memory://name``."""
        return self._root

    # -- the state -------------------------------------------------------------------------------

    def _enter(self) -> _Shared:
        if self._pid != os.getpid():
            raise Unsupported(
                f"{self._root} belongs to the process it was made in and this is a forked child; "
                "connect to a directory or a bucket to share names between processes."
            )
        return self._shared

    def _read(self) -> Catalog:
        return self._enter().catalog

    def _apply(self, rule: Callable[[Catalog], Change]) -> Change:
        shared = self._enter()
        with shared.lock:
            change = rule(shared.catalog)
            shared.catalog = change.catalog
            for entry in change.dropped:
                shared.written.pop(entry.location or "", None)
        return change

    def _table_info(self, entry: Entry | None, *, declared: bool | None = None) -> TableInfo:
        assert entry is not None
        assert entry.location is not None
        return TableInfo(entry.id, entry.location, entry.properties, declared)

    def mark_written(self, id: IdLike, data: object = None) -> object:
        """Note that a table holds data from now on; they are let go when the table is dropped.

        Args:
            id: The table.
            data: What storage keeps for it.

        Returns:
            What the table holds now: of racing callers, what the first one gave.

        Raises:
            TableNotFound: No table has the id.
        """
        parsed = parse_id(id, what="table")
        shared = self._enter()
        with shared.lock:
            entry = model.get_table(shared.catalog, parsed)
            return shared.written.setdefault(entry.location or "", data)

    def data_of(self, id: IdLike) -> object:
        """Return what :meth:`mark_written` noted for a table; None if it is only declared.

        Raises:
            TableNotFound: No table has the id.
        """
        parsed = parse_id(id, what="table")
        shared = self._enter()
        with shared.lock:
            entry = model.get_table(shared.catalog, parsed)
            return shared.written.get(entry.location or "")

    # -- namespaces ------------------------------------------------------------------------------

    def create_namespace(
        self,
        id: IdLike,
        *,
        mode: Literal["create", "exist_ok", "overwrite"] = "create",
        properties: Mapping[str, str] | None = None,
    ) -> NamespaceInfo:
        """Create a namespace; see :meth:`Namespace.create_namespace`."""
        new = check_new(parse_id(id, what="namespace", allow_root=True), what="namespace")
        model.check_choice("mode", mode, ("create", "exist_ok", "overwrite"))
        kept = model.check_properties(properties)
        change = self._apply(lambda c: model.create_namespace(c, new, mode, kept))
        assert change.entry is not None
        return NamespaceInfo(change.entry.id, change.entry.properties)

    def list_namespaces(
        self, parent: IdLike = (), *, limit: int | None = None, page_token: str | None = None
    ) -> Page:
        """List namespaces; see :meth:`Namespace.list_namespaces`."""
        above = parse_id(parent, what="namespace", allow_root=True)
        check_limit(limit, page_token)
        return page_of(model.list_namespaces(self._read(), above), limit, page_token)

    def describe_namespace(self, id: IdLike) -> NamespaceInfo:
        """Describe a namespace; see :meth:`Namespace.describe_namespace`."""
        parsed = parse_id(id, what="namespace", allow_root=True)
        entry = model.get_namespace(self._read(), parsed)
        return NamespaceInfo(entry.id, entry.properties)

    def update_namespace(
        self, id: IdLike, *, set: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> NamespaceInfo:
        """Update properties; see :meth:`Namespace.update_namespace`."""
        parsed = parse_id(id, what="namespace", allow_root=True)
        new, gone = model.check_properties(set), model.check_unset(unset)
        change = self._apply(lambda c: model.update_namespace(c, parsed, new, gone))
        assert change.entry is not None
        return NamespaceInfo(change.entry.id, change.entry.properties)

    def drop_namespace(
        self,
        id: IdLike,
        *,
        behavior: Literal["restrict", "cascade"] = "restrict",
        missing_ok: bool = False,
    ) -> None:
        """Drop a namespace; see :meth:`Namespace.drop_namespace`."""
        parsed = parse_id(id, what="namespace", allow_root=True)
        model.check_choice("behavior", behavior, ("restrict", "cascade"))
        self._apply(lambda c: model.drop_namespace(c, parsed, behavior, missing_ok=missing_ok))

    # -- tables ----------------------------------------------------------------------------------

    def declare_table(
        self, id: IdLike, *, properties: Mapping[str, str] | None = None
    ) -> TableInfo:
        """Claim a name; see :meth:`Namespace.declare_table`."""
        new = check_new(parse_id(id, what="table"), what="table")
        kept = model.check_properties(properties)
        slug = re.sub(r"[^A-Za-z0-9.-]+", "-", new[-1]).strip("-.")[:32] or "table"
        location = f"{self._root}/{secrets.token_hex(8)}_{slug}"
        change = self._apply(lambda c: model.declare_table(c, new, location, kept))
        return self._table_info(change.entry)

    def register_table(
        self,
        id: IdLike,
        location: str,
        *,
        mode: Literal["create", "overwrite"] = "create",
        properties: Mapping[str, str] | None = None,
    ) -> TableInfo:
        """Name a location again; see :meth:`Namespace.register_table`.

        Data exist where :meth:`mark_written` noted them for a table that was deregistered since
        and not dropped.
        """
        new = check_new(parse_id(id, what="table"), what="table")
        place = f"{self._root}/{model.check_location(location)}"
        model.check_choice("mode", mode, ("create", "overwrite"))
        kept = model.check_properties(properties)

        def rule(catalog: Catalog) -> Change:
            change = model.register_table(catalog, new, place, mode, kept)
            if place not in self._shared.written:
                raise TableNotFound(
                    f"There is no dataset at {location!r} to register as {show_id(new)}; "
                    "declare_table makes a new one.",
                    table=new,
                    location=location,
                )
            return change

        return self._table_info(self._apply(rule).entry)

    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        """Describe a table; see :meth:`Namespace.describe_table`."""
        parsed = parse_id(id, what="table")
        shared = self._enter()
        with shared.lock:
            entry = model.get_table(shared.catalog, parsed)
            declared = entry.location not in shared.written if check_declared else None
        return self._table_info(entry, declared=declared)

    def list_tables(
        self,
        namespace: IdLike = (),
        *,
        recursive: bool = False,
        include_declared: bool = True,
        limit: int | None = None,
        page_token: str | None = None,
    ) -> Page:
        """List tables; see :meth:`Namespace.list_tables`."""
        above = parse_id(namespace, what="namespace", allow_root=True)
        check_limit(limit, page_token)
        shared = self._enter()
        with shared.lock:
            catalog = shared.catalog
            written = None if include_declared else set(shared.written)
        found = model.list_tables(catalog, above, recursive=recursive)
        if written is not None:
            found = [i for i in found if catalog[i].location in written]
        return page_of(found, limit, page_token)

    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        """Rename or move a table; see :meth:`Namespace.rename_table`."""
        old = parse_id(id, what="table")
        new = check_new(parse_id(new_id, what="table"), what="table")
        return self._table_info(self._apply(lambda c: model.rename_table(c, old, new)).entry)

    def deregister_table(self, id: IdLike) -> TableInfo:
        """Forget a name; see :meth:`Namespace.deregister_table`."""
        parsed = parse_id(id, what="table")
        return self._table_info(self._apply(lambda c: model.deregister_table(c, parsed)).entry)

    def drop_table(self, id: IdLike, *, missing_ok: bool = False) -> None:
        """Drop a table; see :meth:`Namespace.drop_table`."""
        parsed = parse_id(id, what="table")
        self._apply(lambda c: model.drop_table(c, parsed, missing_ok=missing_ok))

    # -- copies ----------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[object, ...]:
        if self._private:
            raise Unsupported(
                "A catalog in memory without a name cannot be reached from anywhere else; "
                "connect with root='memory://name' to pickle it within this process."
            )
        return _reconnect, (self._root, os.getpid())


def _reconnect(root: str, pid: int) -> MemoryNamespace:
    if pid != os.getpid():
        raise Unsupported(
            f"{root} lives in the memory of process {pid}; connect to a directory or a bucket to "
            "share names between processes."
        )
    return MemoryNamespace(root)
