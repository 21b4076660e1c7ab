"""Any ``lance_namespace.LanceNamespace`` of another maker as a catalog of pennon."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from pennon.config import split_storage
from pennon.errors import (
    AlreadyExists,
    Conflict,
    InvalidInput,
    InvalidOption,
    NamespaceNotEmpty,
    NamespaceNotFound,
    NotFound,
    PennonError,
    StorageError,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces import model
from pennon.namespaces._foreign import GENERIC, make, secret_keys
from pennon.namespaces._foreign_client import ForeignClient
from pennon.namespaces._foreign_errors import name_taken, not_empty
from pennon.namespaces._foreign_places import Places, frozen, plain
from pennon.namespaces.abc import (
    Capability,
    ContextProvider,
    Id,
    IdLike,
    Namespace,
    NamespaceInfo,
    Page,
    TableInfo,
    check_limit,
    page_of,
)
from pennon.namespaces.model import Catalog, Entry
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.namespaces.properties import get_str
from pennon.namespaces.session import Session
from pennon.retry import Backoff, Deadline
from pennon.uri import parse_uri

__all__ = ["ExternalNamespace"]

_BACKOFF = Backoff(base=0.05, cap=1.0, attempts=8)
_SECONDS = 60.0
_MARKERS = frozenset({"table_type", "managed_by", "empty_table"})


class ExternalNamespace(Namespace):
    """A catalog of another maker: Glue, Hive, Iceberg, Polaris, Unity, or a class of your own.

    These implement about eight operations; the others are made of these, and what is made of
    several is not atomic, whatever the catalog promises for one:

    - names are checked before they are claimed, so that a rival may claim in between: a new table
      may end up in a namespace that is dropped at that moment;
    - ``mode="overwrite"`` and ``behavior="cascade"`` drop tables and namespaces one by one;
    - ``rename_table`` gives the new name, then takes the old one. A crash in between leaves both
      names for one table: ``deregister_table`` one of them, do not drop it;
    - ``register_table`` compares the locations of all tables, one request each;
    - ``drop_table`` takes the name, then deletes the data; of several callers who drop one table,
      those in this session see one winner.

    Pages are cut from whole listings. Ids have the depth the catalog gives them: a Glue table is
    ``(database, table)``, a Unity one ``(catalog, schema, table)``.

    Args:
        impl: The ``lance_namespace.LanceNamespace``. Its user closes it.
        session: Clients to share; one of its own if None.
        root: Below where the catalog keeps tables, if known: what renaming, registering and the
            deletion of data need.
        storage: Storage options for the data; if None, those that the catalog sends.

    Raises:
        InvalidOption: ``impl`` is no ``LanceNamespace``.
    """

    def __init__(
        self,
        impl: Any,
        *,
        session: Session | None = None,
        root: str | os.PathLike[str] | None = None,
        storage: Mapping[str, object] | None = None,
    ) -> None:
        client = impl if isinstance(impl, ForeignClient) else ForeignClient.around(impl)
        self.kind = client.kind
        self.session = session or Session()
        self._client = client
        self._known = client.known
        base = parse_uri(root) if root else None
        self._places = Places(self.session, base, dict(storage or {}))
        self.capabilities = self._find_capabilities()

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
            kind: ``"glue"``, ``"hive2"``, ``"hive3"``, ``"iceberg"``, ``"polaris"``,
                ``"unity"``, or the path of a ``LanceNamespace`` class.
            properties: As ``lance-namespace-impls`` or the class documents them, and
                ``storage.*`` for the data. ``root`` (``polaris.root``, ``unity.root``) is below
                where tables are made and deleted; without one, tables are only read.
            session: Clients to share.
            context: Must be None: these catalogs take their headers as properties.

        Raises:
            InvalidOption: An unknown, missing or unusable property, or a context provider.
            MissingExtra: The kind needs a package that is not installed.
        """
        if context is not None:
            raise InvalidOption(
                f"Kind {kind!r} takes no context provider; give credentials as properties."
            )
        client = ForeignClient(kind, make(kind, properties), properties)
        rest, storage = split_storage(properties)
        return cls(client, session=session, root=get_str(rest, client.known.root), storage=storage)

    @property
    def root(self) -> str:
        """The address of the catalog, or what it calls itself."""
        return self._client.address

    def _find_capabilities(self) -> frozenset[Capability]:
        found: set[Capability] = {"properties"}
        if self._client.has("create_namespace") and self._known.namespaces[1] != 1:
            found.add("nested")
        places = self._known.places or self._client.has("register_table")
        if places and self._client.has("deregister_table") and self._places.base is not None:
            found |= {"register", "rename"}
        return frozenset(found)

    def _tries(self) -> Iterator[int]:
        return _BACKOFF.tries(Deadline.after(None, _SECONDS))

    def _one_by_one(self) -> Any:
        return self.session.shared(("external", self.kind, self.root), threading.RLock)

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
        if not new:
            raise name_taken(new, by_table=False)
        self._client.check_depth(new, "namespaces")
        with self._one_by_one():
            for _ in self._tries():
                made = self._try_create(new, mode, kept)
                if made is not None:
                    return made
        raise name_taken(new, by_table=False)

    def _try_create(self, id: Id, mode: str, properties: Mapping[str, str]) -> NamespaceInfo | None:
        if not self.namespace_exists(id[:-1]):
            raise model.namespace_not_found(id[:-1])
        try:
            self._client.call(
                "create_namespace", id, mode="Create", properties=dict(properties) or None
            )
        except NamespaceNotFound:
            raise model.namespace_not_found(id[:-1]) from None
        except (AlreadyExists, Conflict):
            if self._client.fits(id, "tables") and self.table_exists(id):
                raise name_taken(id) from None
            if mode == "create":
                if self.namespace_exists(id):
                    raise name_taken(id, by_table=False) from None
                return None
            if mode == "overwrite":
                self.drop_namespace(id, behavior="cascade", missing_ok=True)
                return None
            try:
                return self.describe_namespace(id)
            except NamespaceNotFound:
                return None
        return self.describe_namespace(id) if properties else NamespaceInfo(id)

    def list_namespaces(
        self, parent: IdLike = (), *, limit: int | None = None, page_token: str | None = None
    ) -> Page:
        """List namespaces; see :meth:`Namespace.list_namespaces`.

        Raises:
            Unsupported: ``parent`` is the root, and the catalog cannot list what is there.
        """
        above = parse_id(parent, what="namespace", allow_root=True)
        check_limit(limit, page_token)
        return page_of(self._children(above), limit, page_token)

    def _children(self, above: Id) -> list[Id]:
        most = self._known.namespaces[1]
        if most is not None and len(above) >= most:
            if not self.namespace_exists(above):
                raise model.namespace_not_found(above)
            return []
        if not above and self._known.top:
            raise self._unsupported(
                "Listing the root", f"name the {self._known.top}: it is the first part of an id."
            )
        try:
            names = self._client.names("list_namespaces", "namespaces", above)
        except NamespaceNotFound:
            raise model.namespace_not_found(above) from None
        if not names and not self.namespace_exists(above):
            raise model.namespace_not_found(above)
        if self._known.dotted:
            names = [n.removeprefix(".".join((*above, ""))) for n in names]
        return [(*above, name) for name in names]

    def describe_namespace(self, id: IdLike) -> NamespaceInfo:
        """Describe a namespace; see :meth:`Namespace.describe_namespace`."""
        parsed = parse_id(id, what="namespace", allow_root=True)
        least, most = self._known.namespaces
        if not parsed:
            return NamespaceInfo(())
        if most is not None and len(parsed) > most:
            raise model.namespace_not_found(parsed)
        try:
            if len(parsed) < least:
                # A warehouse or catalog cannot be described, but what is in it is listed.
                if not self._known.listed_top:
                    self._client.call("list_namespaces", parsed)
                elif parsed not in self._children(parsed[:-1]):
                    raise model.namespace_not_found(parsed)
                return NamespaceInfo(parsed)
            answer = self._client.call("describe_namespace", parsed)
        except NamespaceNotFound:
            raise model.namespace_not_found(parsed) from None
        return NamespaceInfo(parsed, frozen(answer.properties))

    def update_namespace(
        self, id: IdLike, *, set: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> NamespaceInfo:
        """Raise ``Unsupported``: the specification has no such operation."""
        parse_id(id, what="namespace", allow_root=True)
        model.check_properties(set)
        model.check_unset(unset)
        raise self._unsupported(
            "update_namespace", "create_namespace with mode='overwrite' sets properties anew."
        )

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
        if not parsed:
            raise InvalidInput("The root cannot be dropped; drop the namespaces and tables in it.")
        with self._one_by_one():
            for _ in self._tries():
                if self._try_drop(parsed, behavior, missing_ok=missing_ok):
                    return
        raise not_empty(parsed)

    def _try_drop(self, id: Id, behavior: str, *, missing_ok: bool) -> bool:
        """Return whether it is gone now; False if it is worth another try."""
        try:
            # Some report success for what was never there.
            self.describe_namespace(id)
            self._client.check_depth(id, "namespaces")
            tables, below = self._tables(id), self._children(id)
            if behavior == "restrict" and (tables or below):
                raise not_empty(id)
            for table in tables:
                self.drop_table(table, missing_ok=True)
            for child in below:
                self.drop_namespace(child, behavior="cascade", missing_ok=True)
            self._client.call("drop_namespace", id)
        except NamespaceNotFound:
            if missing_ok:
                return True
            raise model.namespace_not_found(id) from None
        except Conflict as error:
            # Tables of other formats are in no listing: nothing of ours drops them.
            final = behavior == "restrict" or not self._tables(id)
            if isinstance(error, NamespaceNotEmpty) and final:
                raise not_empty(id) from None
            return False
        return True

    # -- tables ----------------------------------------------------------------------------------

    def declare_table(
        self, id: IdLike, *, properties: Mapping[str, str] | None = None
    ) -> TableInfo:
        """Claim a name; see :meth:`Namespace.declare_table`.

        Raises:
            InvalidOption: The catalog has no ``root`` to put tables in.
        """
        new = check_new(parse_id(id, what="table"), what="table")
        kept = model.check_properties(properties)
        if not self._known.places:
            return self._claim(new, "declare_table", kept)
        if self._places.base is None:
            raise InvalidOption(
                f"{self!r} has no place for tables; connect with the property "
                f"{self._known.root!r}.",
                option=self._known.root,
            )
        return self._claim(new, "declare_table", kept, location=self._places.fresh(new))

    def _check_parent(self, id: Id) -> None:
        if not self.namespace_exists(id[:-1]):
            raise model.namespace_not_found(id[:-1])
        self._client.check_depth(id, "tables")

    def _claim(
        self, id: Id, operation: str, properties: Mapping[str, str], **fields: Any
    ) -> TableInfo:
        """Give a name to a table; retry while it lost to unrelated changes."""
        with self._one_by_one():
            self._check_parent(id)
            lost: PennonError | None = None
            for attempt in self._tries():
                try:
                    answer = self._client.call(
                        operation, id, properties=dict(properties) or None, **fields
                    )
                except NamespaceNotFound:
                    raise model.namespace_not_found(id[:-1]) from None
                except (AlreadyExists, Conflict) as error:
                    lost = error
                else:
                    if properties and not answer.properties:
                        return self.describe_table(id)
                    return self._info(id, answer)
                self._check_free(id)
                if isinstance(lost, AlreadyExists) and attempt:
                    break  # what has the name is no Lance table
            raise lost or name_taken(id)

    def _check_free(self, id: Id) -> None:
        if self.table_exists(id):
            raise name_taken(id)
        if self.namespace_exists(id):
            raise name_taken(id, by_table=False)

    def _info(self, id: Id, answer: Any, *, declared: bool | None = None) -> TableInfo:
        if not answer.location:
            raise StorageError(
                f"The catalog {self.root} does not say where {show_id(id)} is; repair the entry.",
                table=id,
            )
        place = plain(answer.location)
        # Kinds that are known send back the very options they were given, unchecked.
        vended = getattr(answer, "storage_options", None) if self._known is GENERIC else None
        hidden = _MARKERS if self._known.places else frozenset[str]()
        kept = {k: v for k, v in (answer.properties or {}).items() if k not in hidden}
        return TableInfo(
            id, place, frozen(kept), declared, self._places.options(place, vended or None)
        )

    def register_table(
        self,
        id: IdLike,
        location: str,
        *,
        mode: Literal["create", "overwrite"] = "create",
        properties: Mapping[str, str] | None = None,
    ) -> TableInfo:
        """Name an existing dataset; see :meth:`Namespace.register_table`.

        Not atomic: see the class. Costs one request for each table of the catalog.
        """
        new = check_new(parse_id(id, what="table"), what="table")
        inside = model.check_location(location)
        model.check_choice("mode", mode, ("create", "overwrite"))
        kept = model.check_properties(properties)
        if "register" not in self.capabilities:
            raise self._unsupported("register_table", "it cannot name a place, or has no 'root'.")
        place = self._places.at(inside)
        with self._one_by_one():
            self._check_parent(new)
            entries = self._entries(new)
            model.register_table(Catalog(entries), new, place, mode)
            if not self._places.is_written(place):
                raise TableNotFound(
                    f"There is no dataset at {location!r} to register as {show_id(new)}; "
                    "declare_table makes a new one.",
                    table=new,
                    location=location,
                )
            if mode == "create" or not self.table_exists(new):
                return self._claim_at(new, place, kept)
            old = self.deregister_table(new)
            try:
                return self._claim_at(new, place, kept)
            except PennonError:
                self._claim_at(new, old.location, old.properties)
                raise

    def _entries(self, id: Id) -> list[Entry]:
        """Return the namespaces above and beside an id, and all tables of the catalog."""
        top = id[:1] if self._known.top else ()
        entries = [Entry(id[:n], "namespace") for n in range(1, len(id))]
        if self.namespace_exists(id):
            entries.append(Entry(id, "namespace"))
        for table in self.iter_tables(top, recursive=True):
            with contextlib.suppress(TableNotFound):
                entries.append(Entry(table, "table", self.describe_table(table).location))
        return entries

    def _claim_at(self, id: Id, place: str, properties: Mapping[str, str]) -> TableInfo:
        """Give a name to a location."""
        if self._known.places:
            return self._claim(id, "declare_table", properties, location=place)
        inside = self._places.relative(place)
        if inside is None:
            raise self._unsupported(f"Naming {place}", "it is not below the root of the catalog.")
        self._claim(id, "register_table", properties, location=inside)
        made = self.describe_table(id)
        if made.properties != properties:
            self._forget(id)
            raise self._unsupported(
                f"Naming {place} with properties", "the catalog forgets them: leave them out."
            )
        return made

    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        """Describe a table; see :meth:`Namespace.describe_table`."""
        parsed = parse_id(id, what="table")
        if not self._client.fits(parsed, "tables"):
            raise model.table_not_found(parsed)
        try:
            info = self._info(parsed, self._client.call("describe_table", parsed))
        except (TableNotFound, NamespaceNotFound):
            raise model.table_not_found(parsed) from None
        if not check_declared:
            return info
        written = self._places.is_written(info.location, info.storage_options)
        return replace(info, declared_only=not written)

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
        found: Iterable[Id] = self._walk(above) if recursive else self._tables(above)
        if not include_declared:
            found = [i for i in found if self._is_written(i)]
        return page_of(found, limit, page_token)

    def _is_written(self, id: Id) -> bool:
        try:
            return self.describe_table(id, check_declared=True).declared_only is False
        except TableNotFound:
            return False

    def _tables(self, above: Id) -> list[Id]:
        if len(above) + 1 < self._known.tables[0] or not self._client.fits((*above, ""), "tables"):
            if not self.namespace_exists(above):
                raise model.namespace_not_found(above)
            return []
        try:
            names = self._client.names("list_tables", "tables", above)
        except NamespaceNotFound:
            raise model.namespace_not_found(above) from None
        if not names and not self.namespace_exists(above):
            raise model.namespace_not_found(above)
        return [(*above, name) for name in names]

    def _walk(self, above: Id) -> Iterator[Id]:
        yield from self._tables(above)
        for child in self._children(above):
            with contextlib.suppress(NamespaceNotFound):
                yield from self._walk(child)

    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        """Rename or move a table; see :meth:`Namespace.rename_table`.

        Not atomic: see the class.
        """
        old = parse_id(id, what="table")
        new = check_new(parse_id(new_id, what="table"), what="table")
        if "rename" not in self.capabilities:
            raise self._unsupported("rename_table", "it cannot name a place, or has no 'root'.")
        with self._one_by_one():
            info = self.describe_table(old)
            self._check_parent(new)
            self._check_free(new)
            made = self._claim_at(new, info.location, info.properties)
            try:
                self.deregister_table(old)
            except NotFound:
                # A rival renamed or dropped it first: the new name is not ours to give.
                self.deregister_table(new)
                raise
        return made

    def deregister_table(self, id: IdLike) -> TableInfo:
        """Forget a name; see :meth:`Namespace.deregister_table`."""
        parsed = parse_id(id, what="table")
        if "register" not in self.capabilities:
            raise self._unsupported("deregister_table", "it cannot be undone there.")
        return self._forget(parsed)

    def _forget(self, id: Id) -> TableInfo:
        with self._one_by_one():
            info = self.describe_table(id)
            self._retried(lambda: self._client.call("deregister_table", id), id)
        return info

    def _retried(self, change: Callable[[], object], id: Id) -> None:
        lost: PennonError | None = None
        for _ in self._tries():
            try:
                change()
            except (TableNotFound, NamespaceNotFound):
                raise model.table_not_found(id) from None
            except Conflict as error:
                lost = error
            else:
                return
        assert lost is not None
        raise lost

    def drop_table(self, id: IdLike, *, missing_ok: bool = False) -> None:
        """Drop a table; see :meth:`Namespace.drop_table`.

        Raises:
            InvalidInput: The data are not below the root; nothing was dropped.
        """
        parsed = parse_id(id, what="table")
        with self._one_by_one():
            try:
                info = self.describe_table(parsed)
                if self._client.has("drop_table") and self._places.base is None:
                    self._retried(lambda: self._client.call("drop_table", parsed), parsed)
                    return
                self._places.check_deletable(parsed, info.location)
                self._forget(parsed)
            except TableNotFound:
                if missing_ok:
                    return
                raise
        self._places.delete(info.location, info.storage_options)

    # -- lifetime --------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the client of the catalog if this made it."""
        self._client.close()

    def __reduce__(self) -> tuple[object, ...]:
        properties = self._client.properties
        if properties is None:
            raise Unsupported(
                f"{self!r} was made around an object and cannot be made again elsewhere; connect "
                f"with pennon.connect({self.kind!r}, properties) to pickle it."
            )
        hidden = secret_keys(properties)
        if hidden:
            raise Unsupported(
                f"{self!r} was connected with the credential {hidden[0]!r}, which is not pickled; "
                "give it to the other process by its environment, or connect there."
            )
        return _reconnect, (self.kind, dict(properties))


def _reconnect(kind: str, properties: dict[str, Any]) -> ExternalNamespace:
    return ExternalNamespace.from_properties(kind, properties, session=Session(), context=None)
