"""The catalog of a directory, on a disk or in a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pennon.config import parse_options, split_storage
from pennon.errors import (
    Corrupt,
    InvalidName,
    InvalidOption,
    InvalidState,
    NamespaceNotFound,
    PennonError,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces import model
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
from pennon.namespaces.directory._care import Sweeper, check_age, migrate
from pennon.namespaces.directory._changes import Changes
from pennon.namespaces.directory._flat import SUFFIX, FlatCatalog
from pennon.namespaces.directory._manifest import Manifest, Snapshot
from pennon.namespaces.directory._places import DEREGISTERED, has_data, is_confined, spread
from pennon.namespaces.directory._roots import root_of
from pennon.namespaces.directory.reports import MigrationReport, SweepReport, VacuumReport
from pennon.namespaces.model import Catalog, Change, Entry
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.namespaces.properties import check_keys, get_bool
from pennon.namespaces.session import Session
from pennon.uri import Uri

if TYPE_CHECKING:
    from pennon.config import StoreOptions
    from pennon.objects import ObjectStore

__all__ = ["DirectoryNamespace"]

T = TypeVar("T")

_WEEK = timedelta(days=7)
_MIGRATE = "migrate() turns this V1 directory into one that can."
_FULL: frozenset[Capability] = frozenset({"nested", "properties", "update", "register", "rename"})


class DirectoryNamespace(Namespace):
    """A directory of Lance tables that names them itself, without a server.

    There are two layouts, both those of Lance's own directory namespace. V2 keeps all names in a
    Lance table ``__manifest`` that every change replaces by compare-and-swap; namespaces nest, and
    tables move without their data. V1 has one directory ``<name>.lance`` per table and nothing
    else. A root with ``__manifest`` is V2; else one with ``*.lance`` directories is V1; else V2,
    made by the first change. :meth:`migrate` turns V1 into V2.

    Of racing changes of one name one wins, also between processes and machines, and also against
    Lance's own implementation once ``__manifest`` exists. Existence and description cost one
    request on a bucket while the catalog is unchanged (a HEAD; a listing every five seconds) and
    four after a change, whatever its size.

    Lance's own ``DirectoryNamespace`` sees root tables of V2 only with
    ``dir_listing_enabled="false"``.

    Args:
        root: Path, URI, or an fsspec ``DirFileSystem``.
        storage_options: Credentials, endpoint and so on; see :mod:`pennon.config`.
        manifest_enabled: True for V2, False for V1, None to find out.
        allow_unsafe: Use a store that failed the proof that concurrent writers are safe there.
        session: Clients and caches to share.

    Raises:
        InvalidURI: A root that is no directory or bucket.
        InvalidOption: Options that do not fit it.
    """

    kind = "dir"

    def __init__(
        self,
        root: Any,
        *,
        storage_options: Mapping[str, object] | None = None,
        manifest_enabled: bool | None = None,
        allow_unsafe: bool = False,
        session: Session | None = None,
    ) -> None:
        uri, given = root_of(root)
        self._setup(
            uri,
            parse_options(uri, {**given, **(storage_options or {})}),
            manifest_enabled,
            allow_unsafe,
            session or Session(),
        )

    def _setup(
        self,
        uri: Uri,
        options: StoreOptions,
        manifest_enabled: bool | None,  # noqa: FBT001
        allow_unsafe: bool,  # noqa: FBT001
        session: Session,
    ) -> None:
        self._uri = uri
        self._options = options
        self._manifest_enabled = manifest_enabled
        self._allow_unsafe = allow_unsafe
        self._seen: Literal["manifest", "flat"] | None = None
        self._uri_of = lru_cache(maxsize=1024)(lambda location: str(uri.join(location)))
        self.session = session
        self._manifest = Manifest(uri, options, session)
        self._changes = Changes(self._manifest, lambda: self._store, allow_unsafe=allow_unsafe)
        _ = self._store

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
            kind: ``"dir"``.
            properties: ``root``; ``storage.*``; ``manifest_enabled`` and ``allow_unsafe``
                (booleans).
            session: Clients and caches to share.
            context: Unused, because no request is made that could carry it: must be None.

        Raises:
            InvalidOption: An unknown property or value, or a context provider.
            InvalidURI: A root that is no directory or bucket.
        """
        check_keys(
            kind,
            properties,
            ("root", "manifest_enabled", "allow_unsafe"),
            prefixes=("storage.",),
            required=("root",),
        )
        if context is not None:
            raise InvalidOption(
                "Kind 'dir' sends no requests a context could go with; leave it out."
            )
        rest, storage = split_storage(properties)
        manifest = None
        if rest.get("manifest_enabled") is not None:
            manifest = get_bool(rest, "manifest_enabled", default=True)
        return cls(
            rest["root"],
            storage_options=storage,
            manifest_enabled=manifest,
            allow_unsafe=get_bool(rest, "allow_unsafe", default=False),
            session=session,
        )

    @property
    def root(self) -> str:
        """Path or URI of the directory."""
        return str(self._uri)

    @property
    def capabilities(self) -> frozenset[Capability]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Everything in V2, nothing in V1; finding out which may ask the store."""
        return frozenset() if self._is_flat() else _FULL

    @property
    def _store(self) -> ObjectStore:
        return self.session.store(self._uri, self._options)

    @property
    def _flat(self) -> FlatCatalog:
        return FlatCatalog(self._store)

    def certify(self) -> None:
        """Prove the root safe for concurrent writers; storage asks before it writes.

        The first change of the catalog does the same. Costs nothing once it was proven.

        Raises:
            UnsafeStore: It is not, and ``allow_unsafe`` is not set.
        """
        self._changes.certify()

    def sync(self) -> None:
        """Put the catalog as it is now on the disk, with the way to it; a bucket keeps it."""
        self._manifest.sync()

    # -- layout ------------------------------------------------------------------------------------

    def _look(self) -> Snapshot | None:
        """Return the catalog as it is now, None if the layout is V1."""
        if self._manifest_enabled is False:
            return None
        snapshot = self._manifest.read()
        if snapshot.version:
            self._seen = "manifest"
        if self._manifest_enabled or self._seen == "manifest":
            return snapshot
        if self._seen is None and any(d.endswith(SUFFIX) for d in self._store.list_directories()):
            self._seen = "flat"
        return None if self._seen == "flat" else snapshot

    def _is_flat(self) -> bool:
        if self._manifest_enabled is not None:
            return not self._manifest_enabled
        return self._seen != "manifest" and self._look() is None

    def _ask(self, snapshot: Snapshot, question: Callable[[Catalog], T]) -> T:
        try:
            return question(snapshot.catalog)
        except (TableNotFound, NamespaceNotFound) as error:
            raise self._manifest.explain(error, snapshot) from None

    def _parse(self, id: IdLike, what: str, *, allow_root: bool = False) -> Id:
        """Return an id; one that others gave and pennon would not is good where it exists."""
        try:
            return parse_id(id, what=what, allow_root=allow_root)
        except InvalidName:
            if self._manifest_enabled is False or not isinstance(id, str | Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise
            given = (id,) if isinstance(id, str) else tuple(id)
            # An id with something unhashable or foreign in it is in no catalog.
            with contextlib.suppress(PennonError, TypeError):
                if given in self._manifest.read().catalog:
                    return given
            raise

    # -- answers -----------------------------------------------------------------------------------

    def _info(self, entry: Entry | None, *, declared: bool | None = None) -> TableInfo:
        assert entry is not None
        assert entry.location is not None
        return TableInfo(
            entry.id,
            self._uri_of(entry.location),
            entry.properties,
            declared,
            self._options.for_lance() or None,
        )

    def _usable(self, snapshot: Snapshot, id: Id) -> Entry:
        """Return a table whose row can be trusted.

        Raises:
            TableNotFound: There is none.
            Corrupt: Its row is broken, or leads out of the root.
        """
        entry = model.get_table(snapshot.catalog, id)
        snapshot.check(id)
        if entry.location is None or not is_confined(entry.location):
            raise Corrupt(
                f"The catalog entry of {show_id(id)} leads to {entry.location!r}, which is no "
                f"directory of a table below {self._uri}; drop it, which deletes nothing but the "
                "name.",
                table=id,
            )
        return entry

    # -- namespaces --------------------------------------------------------------------------------

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
        if self._is_flat():
            raise self._unsupported("create_namespace", _MIGRATE)
        change = self._changes.apply(lambda s: model.create_namespace(s.catalog, new, mode, kept))
        assert change.entry is not None
        return NamespaceInfo(change.entry.id, change.entry.properties)

    def list_namespaces(
        self, parent: IdLike = (), *, limit: int | None = None, page_token: str | None = None
    ) -> Page:
        """List namespaces; see :meth:`Namespace.list_namespaces`."""
        check_limit(limit, page_token)
        above = self._parse(parent, "namespace", allow_root=True)
        snapshot = self._look()
        if snapshot is None:
            if above:
                raise model.namespace_not_found(above)
            return Page(())
        found = self._ask(snapshot, lambda c: model.list_namespaces(c, above))
        return page_of(found, limit, page_token)

    def describe_namespace(self, id: IdLike) -> NamespaceInfo:
        """Describe a namespace; see :meth:`Namespace.describe_namespace`."""
        parsed = self._parse(id, "namespace", allow_root=True)
        if not parsed:
            return NamespaceInfo(())
        snapshot = self._look()
        if snapshot is None:
            raise model.namespace_not_found(parsed)
        entry = self._ask(snapshot, lambda c: model.get_namespace(c, parsed))
        snapshot.check(parsed)
        return NamespaceInfo(entry.id, entry.properties)

    def update_namespace(
        self, id: IdLike, *, set: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> NamespaceInfo:
        """Update properties; see :meth:`Namespace.update_namespace`."""
        new, gone = model.check_properties(set), model.check_unset(unset)
        parsed = self._parse(id, "namespace", allow_root=True)
        if self._is_flat():
            raise self._unsupported("update_namespace", _MIGRATE)

        def rule(snapshot: Snapshot) -> Change:
            change = model.update_namespace(snapshot.catalog, parsed, new, gone)
            snapshot.check(parsed)
            return change

        change = self._changes.apply(rule)
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
        model.check_choice("behavior", behavior, ("restrict", "cascade"))
        parsed = self._parse(id, "namespace", allow_root=True)
        if self._is_flat():
            model.drop_namespace(Catalog(), parsed, missing_ok=missing_ok)
            return
        self._changes.apply(
            lambda s: model.drop_namespace(s.catalog, parsed, behavior, missing_ok=missing_ok)
        )

    # -- tables ------------------------------------------------------------------------------------

    def declare_table(
        self, id: IdLike, *, properties: Mapping[str, str] | None = None
    ) -> TableInfo:
        """Claim a name; see :meth:`Namespace.declare_table`."""
        new = check_new(parse_id(id, what="table"), what="table")
        kept = model.check_properties(properties)
        if self._is_flat():
            if kept:
                raise self._unsupported("declare_table with properties", _MIGRATE)
            return self._declare_flat(new)
        return self._info(self._changes.declare(new, kept).entry)

    def register_table(
        self,
        id: IdLike,
        location: str,
        *,
        mode: Literal["create", "overwrite"] = "create",
        properties: Mapping[str, str] | None = None,
    ) -> TableInfo:
        """Name a location again; see :meth:`Namespace.register_table`."""
        new = check_new(parse_id(id, what="table"), what="table")
        place = model.check_location(location)
        model.check_choice("mode", mode, ("create", "overwrite"))
        kept = model.check_properties(properties)
        if self._is_flat():
            raise self._unsupported("register_table", _MIGRATE)

        def rule(snapshot: Snapshot) -> Change:
            change = model.register_table(snapshot.catalog, new, place, mode, kept)
            if not self._is_kept(place):
                raise TableNotFound(
                    f"There is no dataset at {location!r} to register as {show_id(new)}; "
                    "declare_table makes a new one.",
                    table=new,
                    location=location,
                )
            return change

        change = self._changes.apply(rule)
        with contextlib.suppress(PennonError):
            self._store.delete(f"{place}/{DEREGISTERED}")
        return self._info(change.entry)

    def _is_kept(self, place: str) -> bool:
        """Whether there is a dataset at a location that nobody is about to delete."""
        return self._flat.state(place) != "dropped" and has_data(self._store, place)

    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        """Describe a table; see :meth:`Namespace.describe_table`."""
        parsed = self._parse(id, "table")
        snapshot = self._look()
        if snapshot is None:
            self._flat.check(parsed)
            entry = self._flat_entry(parsed)
        else:
            entry = self._ask(snapshot, lambda _: self._usable(snapshot, parsed))
        declared = not has_data(self._store, entry.location or "") if check_declared else None
        return self._info(entry, declared=declared)

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
        check_limit(limit, page_token)
        above = self._parse(namespace, "namespace", allow_root=True)
        snapshot = self._look()
        if snapshot is None:
            if above:
                raise model.namespace_not_found(above)
            found = self._flat.tables(include_declared=include_declared)
        else:
            found = self._ask(snapshot, lambda c: model.list_tables(c, above, recursive=recursive))
            if not include_declared:
                found = self._written(snapshot, found)
        return page_of(found, limit, page_token)

    def _written(self, snapshot: Snapshot, ids: list[Id]) -> list[Id]:
        def is_written(id: Id) -> bool:
            location = snapshot.catalog[id].location
            usable = location is not None and is_confined(location)
            return usable and has_data(self._store, location or "")

        flags = spread(self._store, is_written, ids)
        return [id for id, written in zip(ids, flags, strict=True) if written]

    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        """Rename or move a table; see :meth:`Namespace.rename_table`."""
        new = check_new(parse_id(new_id, what="table"), what="table")
        old = self._parse(id, "table")
        if self._is_flat():
            raise self._unsupported("rename_table", _MIGRATE)

        def rule(snapshot: Snapshot) -> Change:
            self._usable(snapshot, old)
            return model.rename_table(snapshot.catalog, old, new)

        return self._info(self._changes.apply(rule).entry)

    def deregister_table(self, id: IdLike) -> TableInfo:
        """Forget a name; see :meth:`Namespace.deregister_table`."""
        parsed = self._parse(id, "table")
        if self._is_flat():
            raise self._unsupported("deregister_table", _MIGRATE)

        def rule(snapshot: Snapshot) -> Change:
            self._usable(snapshot, parsed)
            return model.deregister_table(snapshot.catalog, parsed)

        return self._info(self._changes.apply(rule).entry)

    def drop_table(self, id: IdLike, *, missing_ok: bool = False) -> None:
        """Drop a table; see :meth:`Namespace.drop_table`.

        What cannot be deleted once the name is gone is left to :meth:`sweep`. A name whose entry
        leads out of the root, or into another table, is dropped and nothing is deleted.
        """
        parsed = self._parse(id, "table")
        if not self._is_flat():
            self._changes.apply(
                lambda s: model.drop_table(s.catalog, parsed, missing_ok=missing_ok)
            )
            return
        with contextlib.ExitStack() as stack:
            if missing_ok:
                stack.enter_context(contextlib.suppress(TableNotFound))
            self._drop_flat(parsed)

    # -- V1 ----------------------------------------------------------------------------------------

    def _flat_entry(self, id: Id) -> Entry:
        return Entry(id, "table", FlatCatalog.location(id))

    def _enter_flat(self) -> None:
        if self._manifest_enabled is False and self._manifest.open() is not None:
            raise InvalidState(
                f"{self._uri} has a catalog table, which this V1 connection passes by; connect "
                "without manifest_enabled=false to change it."
            )
        self._changes.certify()

    def _declare_flat(self, id: Id) -> TableInfo:
        if len(id) != 1:
            raise model.namespace_not_found(id[:-1])
        self._enter_flat()
        self._flat.declare(id)
        entry = self._flat_entry(id)
        # A migration that was under way has seen the claim, or is over now.
        if self._manifest.open() is not None:
            self._changes.adopt(entry)
        return self._info(entry)

    def _drop_flat(self, id: Id) -> None:
        self._flat.check(id)
        self._enter_flat()
        self._flat.drop(id)
        if self._manifest.open() is not None:
            self._changes.forget(self._flat_entry(id))

    # -- maintenance -------------------------------------------------------------------------------

    def migrate(self, *, dry_run: bool = False) -> MigrationReport:
        """Turn a V1 directory into V2: name every ``<name>.lance`` in ``__manifest``.

        One commit; data stay where they are. Repeating it is harmless and names what V1 writers
        added since; pennon's own V1 connections notice and follow at once.

        Args:
            dry_run: Change nothing, only say what would be done.

        Returns:
            What was named, what had been before, and what was left alone.

        Raises:
            UnsafeStore: The store cannot be trusted with concurrent changes.
        """
        return migrate(self._flat, self._manifest.read, None if dry_run else self._changes.apply)

    def vacuum(self, *, older_than: timedelta = _WEEK, dry_run: bool = False) -> VacuumReport:
        """Remove old versions of ``__manifest``, of which every change leaves one.

        The newest version always stays. pennon's readers need no version for longer than one call.
        A process that uses Lance's own ``DirectoryNamespace`` goes on from the last version it
        saw: it fails if that one was removed, so the grace period must be longer than any such
        process may be idle. On a bucket less than 10 seconds are waited for: readers count on it.

        Args:
            older_than: The grace period.
            dry_run: Remove nothing, only say what would be.
        """
        check_age(older_than)
        return VacuumReport(dry_run, *self._manifest.clean(older_than, dry_run=dry_run))

    def sweep(
        self,
        *,
        older_than: timedelta = _WEEK,
        dry_run: bool = False,
        drop_declared: bool = False,
    ) -> SweepReport:
        """Remove directories of tables that no name leads to: left by crashes and lost races.

        Only what a catalog makes is touched: directories named ``<8 or 16 hexadecimal digits>_…``
        that hold nothing but parts of a Lance table, and ``*.lance`` directories whose drop had
        begun. What pennon deregistered is kept. What Lance's own implementation deregistered looks
        like garbage: look at a dry run first if you use that.

        Args:
            older_than: The grace period, counted from the newest object in a directory. pennon's
                creators are safe from any; one of Lance's own must not take longer to name what it
                wrote, and with ``drop_declared`` nobody longer from a name to its first row.
            dry_run: Remove nothing, only say what would be.
            drop_declared: Also drop tables that were declared that long ago and never written.
        """
        check_age(older_than)
        sweeper = Sweeper(self._store, self._manifest.read, self._changes, older_than)
        return sweeper.sweep(dry_run=dry_run, drop_declared=drop_declared)

    # -- copies ------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[object, ...]:
        if self._options.has_secrets:
            raise Unsupported(
                f"The connection to {self._uri} holds credentials, which are never pickled; give "
                "them to the other process by its environment and connect there."
            )
        state = (self._uri, self._options, self._manifest_enabled, self._allow_unsafe)
        return type(self).__new__, (type(self),), state

    def __setstate__(self, state: tuple[Uri, StoreOptions, bool | None, bool]) -> None:
        self._setup(*state, Session())
