"""A catalog on a Lance namespace server."""

from __future__ import annotations

import contextlib
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Literal, Self

from pennon.config import parse_options
from pennon.errors import (
    AlreadyExists,
    CommitConflict,
    InvalidInput,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    PennonError,
    StorageError,
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
)
from pennon.namespaces.names import DELIMITER, check_new, parse_id, show_id
from pennon.namespaces.rest._failures import name_taken, not_empty
from pennon.namespaces.rest._register import register
from pennon.namespaces.rest._settings import Settings, secret_properties
from pennon.namespaces.rest.client import RestClient
from pennon.namespaces.session import Session
from pennon.retry import Backoff, Deadline
from pennon.uri import parse_uri

__all__ = ["RestNamespace"]

_BACKOFF = Backoff(base=0.05, cap=1.0, attempts=8)


class RestNamespace(Namespace):
    """A catalog on a server that speaks the Lance Namespace REST specification.

    What the server does in one step stays one step. What servers leave out is made of several
    requests, and a rival may come in between, or a crash leave it half done:

    - ``create_namespace(mode="overwrite")`` and ``drop_namespace(behavior="cascade")`` where the
      server ignores the mode: contents go one by one, then the namespace.
    - ``register_table``: the name is claimed first, then the dataset is looked for and the
      locations of all other tables are compared (one request for each); a refusal takes the name
      back. ``mode="overwrite"`` leaves the name free for a moment.
    - ``declare_table`` looks for the parent first: one that is dropped at that very moment leaves
      a table that no listing reaches.
    - Of several callers who drop or deregister one table at once, those in this session see one
      winner; a server may tell callers elsewhere that they won, too.

    A call whose answer got lost raises ``OutcomeUnknown`` if it may have changed something.

    ``rename_table`` asks the server, although it is not among the capabilities: whether a server
    can is known only when it is asked. No server of the specification updates namespaces.

    Args:
        settings: The checked properties.
        session: Whose connections to share; None for own ones.
        context: Extra headers for every request, or None.
        properties: What to reconnect by after pickling.
    """

    kind = "rest"
    capabilities: frozenset[Capability] = frozenset({"nested", "properties", "register"})

    def __init__(
        self,
        settings: Settings,
        *,
        session: Session | None = None,
        context: ContextProvider | None = None,
        properties: Mapping[str, Any] | None = None,
    ) -> None:
        self.session = session or Session()
        self._properties = dict(properties or {"uri": settings.uri})
        self.client = RestClient(settings, session=self.session, context=context)
        """For the operations of the specification that a catalog has no method for."""

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
            kind: ``"rest"``.
            properties: ``uri``: ``http(s)://host[:port]/path``, also with ``rest+`` before it.
                ``delimiter``: what joins ids, ``"$"``. ``timeout``: seconds one call may take
                with all its tries, 60. ``header.NAME``: a header of every request.
                ``tls.cert_file``, ``tls.key_file``, ``tls.ssl_ca_cert``: paths of PEM files.
                ``tls.assert_hostname``: whether the certificate must name the host, true.
                ``storage.*``: options for the data of tables the server sends none for.
            session: Whose connections to share.
            context: Extra headers for every request. If it raises, nothing is sent and the call
                raises ``Unauthenticated``.

        Raises:
            InvalidOption: An unknown property, or one that cannot be used.
            InvalidURI: ``uri`` names no server.
            MissingExtra: httpx is not installed.
        """
        settings = Settings.of(kind, properties)
        return cls(settings, session=session, context=context, properties=properties)

    @property
    def root(self) -> str:
        """The address of the server."""
        return self.client.settings.uri

    def close(self) -> None:
        """Release what only this instance holds; connections belong to the session."""
        self.client.close()

    def _tries(self) -> Iterator[int]:
        return _BACKOFF.tries(Deadline.after(None, self.client.settings.timeout))

    def _one_by_one(self) -> threading.Lock:
        return self.session.shared(("rest-drops", self.root), threading.Lock)

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
        for _ in self._tries():
            made = self._try_create(new, kept)
            if made is not None:
                return made
            try:
                known = self.describe_namespace(new)
            except NamespaceNotFound:
                if self.table_exists(new):
                    raise name_taken(new, by_table=True) from None
                continue
            if mode == "create":
                break
            if mode == "exist_ok":
                return known
            replaced = self._replace_namespace(new, kept)
            if replaced is not None:
                return replaced
        raise name_taken(new, by_table=False)

    def _try_create(
        self, id: Id, properties: Mapping[str, str], mode: str = "Create"
    ) -> NamespaceInfo | None:
        """Return the new namespace, or None if the name is taken."""
        try:
            answer = self.client.call(
                "create_namespace", id=id, mode=mode, properties=dict(properties) or None
            )
        except NamespaceNotFound:
            raise model.namespace_not_found(id[:-1]) from None
        except (AlreadyExists, CommitConflict):
            return None
        made = NamespaceInfo(id, _frozen(answer.get("properties")))
        if made.properties != properties:
            made = self.describe_namespace(id)
        # In the other modes the server may rightly answer with what was there before.
        if mode == "Create" and made.properties != properties:
            self.drop_namespace(id, missing_ok=True)
            raise self.no_properties("create_namespace")
        return made

    def _replace_namespace(self, id: Id, properties: Mapping[str, str]) -> NamespaceInfo | None:
        made = self._try_create(id, properties, "Overwrite")
        if made is not None:
            empty = not self.list_tables(id, limit=1) and not self.list_namespaces(id, limit=1)
            if empty and made.properties == properties:
                return made
        self.drop_namespace(id, behavior="cascade", missing_ok=True)
        return self._try_create(id, properties)

    def list_namespaces(
        self, parent: IdLike = (), *, limit: int | None = None, page_token: str | None = None
    ) -> Page:
        """List namespaces; see :meth:`Namespace.list_namespaces`."""
        above = parse_id(parent, what="namespace", allow_root=True)
        return self._list("list_namespaces", "namespaces", above, limit, page_token)

    def _list(
        self,
        operation: str,
        field: str,
        above: Id,
        limit: int | None,
        page_token: str | None,
    ) -> Page:
        check_limit(limit, page_token)
        found: list[Id] = []
        token = page_token
        try:
            while True:
                answer = self.client.call(operation, id=above, limit=limit, page_token=token)
                names: list[str] = answer.get(field) or []
                found += [(*above, name) for name in names]
                previous, token = token, answer.get("page_token") or None
                if token is not None and token == previous:
                    raise StorageError(
                        f"The server {self.root} answers {operation} of {show_id(above)} with the "
                        "same page again; ask who runs it.",
                        namespace=above,
                    )
                # A server that pages although nobody asked for pages is asked for the rest.
                if token is None or limit is not None:
                    break
        except NamespaceNotFound:
            raise model.namespace_not_found(above) from None
        if not found and not self.namespace_exists(above):
            raise model.namespace_not_found(above)
        return Page(tuple(sorted(found)), token)

    def describe_namespace(self, id: IdLike) -> NamespaceInfo:
        """Describe a namespace; see :meth:`Namespace.describe_namespace`."""
        parsed = parse_id(id, what="namespace", allow_root=True)
        try:
            answer = self.client.call("describe_namespace", id=parsed)
        except NamespaceNotFound:
            raise model.namespace_not_found(parsed) from None
        return NamespaceInfo(parsed, _frozen(answer.get("properties")))

    def namespace_exists(self, id: IdLike) -> bool:
        """Return whether a namespace has this id; the root always exists."""
        parsed = parse_id(id, what="namespace", allow_root=True)
        if not parsed:
            return True
        try:
            self.client.call("namespace_exists", id=parsed)
        except NamespaceNotFound:
            return False
        return True

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
            raise InvalidInput(
                "The root cannot be dropped; drop the namespaces and tables in it.", namespace=()
            )
        word = behavior.capitalize()
        for _ in self._tries():
            try:
                self.client.call("drop_namespace", id=parsed, mode="Fail", behavior=word)
            except NamespaceNotFound:
                if missing_ok:
                    return
                raise model.namespace_not_found(parsed) from None
            except CommitConflict:
                continue
            except (NamespaceNotEmpty, InvalidInput, Unsupported) as error:
                if behavior == "restrict":
                    if isinstance(error, NamespaceNotEmpty):
                        raise not_empty(parsed) from None
                    raise
                self._empty(parsed)
                word = "Restrict"
            else:
                return
        raise not_empty(parsed)

    def _empty(self, id: Id) -> None:
        """Drop what is in a namespace, one by one."""
        try:
            for table in list(self._walk(id)):
                self.drop_table(table, missing_ok=True)
            for below in reversed(list(self.iter_namespaces(id, recursive=True))):
                self.drop_namespace(below, missing_ok=True)
        except (NamespaceNotFound, NamespaceNotEmpty):
            # A rival drops the same, or adds to it: the caller looks again.
            return

    # -- tables ----------------------------------------------------------------------------------

    def declare_table(
        self, id: IdLike, *, properties: Mapping[str, str] | None = None
    ) -> TableInfo:
        """Claim a name; see :meth:`Namespace.declare_table`."""
        new = check_new(parse_id(id, what="table"), what="table")
        kept = model.check_properties(properties)
        answer = self.claim(
            new, lambda: self.client.call("declare_table", id=new, properties=dict(kept) or None)
        )
        made = self._info(new, answer) if answer.get("location") else None
        if made is None or made.properties != kept:
            made = self.describe_table(new)
        if made.properties != kept:
            self.drop_table(new, missing_ok=True)
            raise self.no_properties("declare_table")
        return made

    def no_properties(self, operation: str) -> Unsupported:
        """Return the error for properties that the server took and did not keep."""
        return self._unsupported(
            f"{operation} with these properties",
            "the server does not keep them, so nothing was made: leave them out.",
        )

    def claim(self, id: Id, request: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Make a request that gives a name to a table; retry while it lost to unrelated changes.

        Raises:
            TableAlreadyExists: A table has the id.
            NamespaceAlreadyExists: A namespace has it.
            NamespaceNotFound: The parent does not exist.
        """
        if not self.namespace_exists(id[:-1]):
            raise model.namespace_not_found(id[:-1])
        lost: PennonError | None = None
        for _ in self._tries():
            try:
                return request()
            except NamespaceNotFound:
                raise model.namespace_not_found(id[:-1]) from None
            except (AlreadyExists, CommitConflict) as error:
                lost = error
            if self.table_exists(id):
                raise name_taken(id, by_table=True)
            if self.namespace_exists(id):
                raise name_taken(id, by_table=False)
        raise lost or name_taken(id, by_table=True)

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
        place = model.check_location(location)
        model.check_choice("mode", mode, ("create", "overwrite"))
        kept = model.check_properties(properties)
        return register(self, new, place, mode, kept)

    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        """Describe a table; see :meth:`Namespace.describe_table`."""
        parsed = parse_id(id, what="table")
        try:
            answer = self.client.call(
                "describe_table", id=parsed, check_declared=check_declared or None
            )
            declared: bool | None = None
            if check_declared:
                # "True" is asked twice: pylance's server says so of every table whose name it
                # has to encode in a file name. Its list of versions tells the truth.
                declared = answer.get("is_only_declared") is not False and not self.client.call(
                    "list_table_versions", id=parsed, limit=1
                ).get("versions")
        except (TableNotFound, NamespaceNotFound):
            raise model.table_not_found(parsed) from None
        return self._info(parsed, answer, declared=declared)

    def _info(self, id: Id, answer: dict[str, Any], *, declared: bool | None = None) -> TableInfo:
        location = answer.get("location") or answer.get("table_uri")
        if not isinstance(location, str):
            raise StorageError(
                f"The server {self.root} does not say where {show_id(id)} is; ask who runs it.",
                table=id,
            )
        options = answer.get("storage_options") or self._storage(location)
        return TableInfo(id, location, _frozen(answer.get("properties")), declared, options)

    def _storage(self, location: str) -> Mapping[str, str] | None:
        """Return the configured options for a location the server sent none for."""
        given = self.client.settings.storage
        if not given or "://" not in location:
            return None
        # Only scheme and bucket decide: a path may hold what no URI of a root does.
        uri = parse_uri("/".join(location.split("/", 3)[:3]) + "/")
        return parse_options(uri, given).for_lance() if uri.is_bucket else None

    def table_exists(self, id: IdLike) -> bool:
        """Return whether a table has this id, declared or written; never answers from a cache."""
        parsed = parse_id(id, what="table")
        try:
            self.client.call("table_exists", id=parsed)
        except (TableNotFound, NamespaceNotFound):
            return False
        return True

    def list_tables(
        self,
        namespace: IdLike = (),
        *,
        recursive: bool = False,
        include_declared: bool = True,
        limit: int | None = None,
        page_token: str | None = None,
    ) -> Page:
        """List tables; see :meth:`Namespace.list_tables`.

        With ``recursive`` the namespaces are walked, two requests for each.
        """
        above = parse_id(namespace, what="namespace", allow_root=True)
        if include_declared and not recursive:
            return self._list("list_tables", "tables", above, limit, page_token)
        check_limit(limit, page_token)
        after = None if page_token is None else tuple(page_token.split(DELIMITER))
        ids = self._walk(above, after, recursive=recursive)
        if not include_declared:
            ids = filter(self._is_written, ids)
        if limit is None:
            return Page(tuple(ids))
        found = tuple(islice(ids, limit + 1))
        if len(found) <= limit:
            return Page(found)
        return Page(found[:limit], DELIMITER.join(found[limit - 1]))

    def _walk(self, above: Id, after: Id | None = None, *, recursive: bool = True) -> Iterator[Id]:
        """Iterate over the tables below, sorted; namespaces before ``after`` are not entered."""
        tables = set(self._list("list_tables", "tables", above, None, None))
        below = self.list_namespaces(above) if recursive else ()
        for id in sorted((*tables, *below)):
            if after is not None and (id <= after if id in tables else id < after[: len(id)]):
                continue
            if id in tables:
                yield id
                continue
            # A namespace may have been dropped since it was listed.
            with contextlib.suppress(NamespaceNotFound):
                yield from self._walk(id, after)

    def _is_written(self, id: Id) -> bool:
        try:
            return not self.describe_table(id, check_declared=True).declared_only
        except TableNotFound:
            return False

    def iter_tables(
        self, namespace: IdLike = (), *, recursive: bool = False, page_size: int = 1000
    ) -> Iterator[Id]:
        """Iterate over tables; see :meth:`Namespace.iter_tables`."""
        if not recursive:
            yield from super().iter_tables(namespace, page_size=page_size)
            return
        check_limit(page_size)
        above = parse_id(namespace, what="namespace", allow_root=True)
        yield from self._walk(above)

    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        """Rename a table if the server can; see :meth:`Namespace.rename_table`."""
        old = parse_id(id, what="table")
        new = check_new(parse_id(new_id, what="table"), what="table")
        try:
            self.client.call(
                "rename_table",
                id=old,
                new_table_name=new[-1],
                new_namespace_id=list(new[:-1]),
            )
        except Unsupported:
            raise self._unsupported(
                "rename_table", "deregister_table and register_table do it in two steps."
            ) from None
        except TableNotFound:
            raise model.table_not_found(old) from None
        except NamespaceNotFound:
            raise model.namespace_not_found(new[:-1]) from None
        except AlreadyExists as error:
            by_table = not isinstance(error, NamespaceAlreadyExists)
            raise name_taken(new, by_table=by_table) from None
        return self.describe_table(new)

    def deregister_table(self, id: IdLike) -> TableInfo:
        """Forget a name; see :meth:`Namespace.deregister_table`."""
        parsed = parse_id(id, what="table")
        with self._one_by_one():
            known = self.describe_table(parsed)
            try:
                self.client.call("deregister_table", id=parsed)
            except (TableNotFound, NamespaceNotFound):
                raise model.table_not_found(parsed) from None
        return known

    def drop_table(self, id: IdLike, *, missing_ok: bool = False) -> None:
        """Drop a table; see :meth:`Namespace.drop_table`."""
        parsed = parse_id(id, what="table")
        with self._one_by_one():
            try:
                self.client.call("drop_table", id=parsed)
            except (TableNotFound, NamespaceNotFound):
                if not missing_ok:
                    raise model.table_not_found(parsed) from None
            except StorageError as error:
                # A server that found no data to delete has dropped the name before it said so.
                if "Failed to delete table directory: NotFound" not in str(error):
                    raise

    # -- copies ----------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[object, ...]:
        secrets = secret_properties(self._properties)
        if secrets:
            raise Unsupported(
                f"A connection to {self.root} with credentials in {', '.join(secrets)} is not "
                "pickled; give them by a context provider, or connect in the other process."
            )
        provider = self.client.context
        if provider is not None:
            try:
                pickle.dumps(provider)
            except Exception:  # noqa: BLE001 - what a foreign object raises is its own choice
                raise Unsupported(
                    f"The context provider of the connection to {self.root} cannot be pickled; "
                    "make it a function of a module, or connect in the other process."
                ) from None
        return _reconnect, (self._properties, provider)


def _reconnect(properties: dict[str, Any], context: ContextProvider | None) -> RestNamespace:
    return RestNamespace.from_properties("rest", properties, session=Session(), context=context)


def _frozen(properties: Mapping[str, str] | None) -> Mapping[str, str]:
    return MappingProxyType(dict(properties or {}))
