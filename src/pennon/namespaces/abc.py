"""The contract of a catalog: names of namespaces and tables, and where the tables are.

Namespaces nest; the root namespace is ``()`` and always exists. An id is a tuple of strings; a bare
string means one part. Table and namespace ids share one space: an id names one or the other.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pennon.errors import (
    InvalidOption,
    NamespaceNotFound,
    TableNotFound,
    Unsupported,
)

if TYPE_CHECKING:
    from pennon.namespaces.session import Session

__all__ = [
    "Capability",
    "ContextProvider",
    "Id",
    "IdLike",
    "Namespace",
    "NamespaceInfo",
    "Page",
    "TableInfo",
    "check_limit",
    "page_of",
]

Id = tuple[str, ...]
IdLike = str | Sequence[str]
ContextProvider = Callable[[str, str], Mapping[str, str]]
"""Called as ``provider(operation, object_id)`` before a request; returns extra HTTP headers. One
that raises means that no request is sent."""

Capability = Literal["nested", "properties", "update", "register", "rename"]


@dataclass(frozen=True, slots=True)
class NamespaceInfo:
    """What a catalog knows of one namespace."""

    id: Id
    properties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class TableInfo:
    """What a catalog knows of one table."""

    id: Id
    location: str
    """URI or absolute path of the Lance dataset."""
    properties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    declared_only: bool | None = None
    """Whether the name is claimed but nothing is written there yet; None if it was not asked."""
    storage_options: Mapping[str, str] | None = field(default=None, repr=False)
    """Options Lance needs to open the location, credentials included: never log them."""


@dataclass(frozen=True, slots=True)
class Page(Sequence[Id]):
    """Some ids of a listing, sorted, and the token that asks for the next ones."""

    items: tuple[Id, ...]
    next_page_token: str | None = None
    """None on the last page."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __iter__(self) -> Iterator[Id]:
        return iter(self.items)


def check_limit(limit: int | None, page_token: str | None = None) -> None:
    """Refuse arguments that no page can be cut by.

    Raises:
        InvalidOption: ``limit`` is no whole number above 0, or the token is no string.
    """
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"limit={limit!r} must be at least 1, or None for everything.")
    if page_token is not None and not isinstance(page_token, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"page_token is a {type(page_token).__name__}; pass next_page_token of the page before."
        )


def page_of(ids: Iterable[Id], limit: int | None, page_token: str | None) -> Page:
    """Cut one page out of a whole listing.

    The token is the last id of the page before, joined by ``$``: it stays right when names come
    and go in between.

    Raises:
        InvalidOption: See :func:`check_limit`.
    """
    check_limit(limit, page_token)
    ordered = sorted(ids)
    if page_token is not None:
        after = tuple(page_token.split("$"))
        ordered = [i for i in ordered if i > after]
    if limit is None or len(ordered) <= limit:
        return Page(tuple(ordered))
    return Page(tuple(ordered[:limit]), "$".join(ordered[limit - 1]))


class Namespace(abc.ABC):
    """A catalog of tables.

    Every method validates its arguments before anything is read or sent (``InvalidName``,
    ``InvalidOption``), and takes effect completely or not at all unless it says otherwise.
    Instances are safe to share between threads, are context managers, and pickle by their
    properties: credentials given in clear refuse to be pickled.

    Raises, besides what each method names: ``RootNotFound``, ``Unauthenticated``,
    ``PermissionDenied``, ``Unavailable``, ``DeadlineExceeded``; ``UnsafeStore`` from the first
    change under a root whose store cannot be trusted.
    """

    kind: str
    """``"dir"``, ``"rest"``, ``"memory"`` or the name of a plugin."""
    session: Session
    capabilities: frozenset[Capability] = frozenset()
    """What goes beyond naming root tables; an operation that is missing raises ``Unsupported``."""

    @classmethod
    @abc.abstractmethod
    def from_properties(
        cls,
        kind: str,
        properties: Mapping[str, Any],
        *,
        session: Session,
        context: ContextProvider | None,
    ) -> Self:
        """Connect; what ``pennon.connect(kind, properties)`` calls.

        Args:
            kind: The kind that was asked for.
            properties: What the user gave; unknown keys are refused.
            session: Clients and caches to share.
            context: Extra headers for every request, or None.

        Raises:
            InvalidOption: A property that is unknown, missing or cannot be used.
        """

    @property
    @abc.abstractmethod
    def root(self) -> str:
        """Where the catalog is, without credentials: for people, errors and equality."""

    # -- namespaces ------------------------------------------------------------------------------

    @abc.abstractmethod
    def create_namespace(
        self,
        id: IdLike,
        *,
        mode: Literal["create", "exist_ok", "overwrite"] = "create",
        properties: Mapping[str, str] | None = None,
    ) -> NamespaceInfo:
        """Create a namespace. Of N racing creators in mode ``create`` exactly one succeeds.

        Args:
            id: Its id; the parent must exist.
            mode: ``exist_ok`` returns an existing namespace unchanged; ``overwrite`` drops an
                existing one with everything in it and makes an empty one.
            properties: Strings to keep with it.

        Raises:
            NamespaceAlreadyExists: ``mode="create"`` and it exists, or the id is the root.
            TableAlreadyExists: The id names a table.
            NamespaceNotFound: The parent does not exist.
            Unsupported: No capability ``nested``.
        """

    @abc.abstractmethod
    def list_namespaces(
        self, parent: IdLike = (), *, limit: int | None = None, page_token: str | None = None
    ) -> Page:
        """Return the ids of the namespaces directly below ``parent``, sorted.

        Args:
            parent: The root by default.
            limit: Ids per page; None for all.
            page_token: ``next_page_token`` of the page before.

        Raises:
            NamespaceNotFound: ``parent`` does not exist.
        """

    @abc.abstractmethod
    def describe_namespace(self, id: IdLike) -> NamespaceInfo:
        """Return what is known of a namespace.

        Raises:
            NamespaceNotFound: It does not exist.
        """

    @abc.abstractmethod
    def update_namespace(
        self, id: IdLike, *, set: Mapping[str, str] | None = None, unset: Sequence[str] = ()
    ) -> NamespaceInfo:
        """Set and remove properties in one step and return the result.

        Raises:
            NamespaceNotFound: It does not exist.
            Unsupported: No capability ``update``, or the id is the root.
        """

    @abc.abstractmethod
    def drop_namespace(
        self,
        id: IdLike,
        *,
        behavior: Literal["restrict", "cascade"] = "restrict",
        missing_ok: bool = False,
    ) -> None:
        """Drop a namespace.

        Args:
            id: Which; the root cannot be dropped (``InvalidInput``).
            behavior: ``restrict`` refuses unless it is empty; ``cascade`` drops all tables and
                namespaces in it, their names in one step, then their data.
            missing_ok: A missing namespace is not an error.

        Raises:
            NamespaceNotFound: It does not exist.
            NamespaceNotEmpty: ``restrict``, and it holds something.
        """

    def namespace_exists(self, id: IdLike) -> bool:
        """Return whether a namespace has this id; the root always exists."""
        try:
            self.describe_namespace(id)
        except NamespaceNotFound:
            return False
        return True

    # -- tables ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def declare_table(
        self, id: IdLike, *, properties: Mapping[str, str] | None = None
    ) -> TableInfo:
        """Claim a name and get a fresh location for its data; writes none.

        Of N racing callers exactly one succeeds. The location was never used before and is not
        used again after the table is dropped, except in V1 directories, where it is the name.

        Raises:
            TableAlreadyExists: A table has the id, declared or written.
            NamespaceAlreadyExists: The id names a namespace.
            NamespaceNotFound: The parent does not exist.
        """

    @abc.abstractmethod
    def register_table(
        self,
        id: IdLike,
        location: str,
        *,
        mode: Literal["create", "overwrite"] = "create",
        properties: Mapping[str, str] | None = None,
    ) -> TableInfo:
        """Give a name to a Lance dataset that exists below the root.

        Args:
            id: The name.
            location: Path relative to the root, inside it, and not within another table.
            mode: ``overwrite`` points an existing name at the new location; the data it named
                before are kept.
            properties: Strings to keep with it.

        Raises:
            TableAlreadyExists: ``mode="create"`` and the id names a table, or another id has this
                location.
            NamespaceAlreadyExists: The id names a namespace.
            InvalidInput: The location leaves the root or is reserved.
            TableNotFound: There is no dataset at the location.
            Unsupported: No capability ``register``.
        """

    @abc.abstractmethod
    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        """Return where a table is and what is known of it.

        Args:
            id: Which.
            check_declared: Also find out whether it is only declared (one more request).

        Raises:
            TableNotFound: No table has the id.
        """

    @abc.abstractmethod
    def list_tables(
        self,
        namespace: IdLike = (),
        *,
        recursive: bool = False,
        include_declared: bool = True,
        limit: int | None = None,
        page_token: str | None = None,
    ) -> Page:
        """Return the full ids of the tables in a namespace, sorted.

        Args:
            namespace: The root by default.
            recursive: Also those of all namespaces below it.
            include_declared: False leaves out tables without data (one more request for each).
            limit: Ids per page; None for all.
            page_token: ``next_page_token`` of the page before.

        Raises:
            NamespaceNotFound: The namespace does not exist.
        """

    def table_exists(self, id: IdLike) -> bool:
        """Return whether a table has this id, declared or written; never answers from a cache."""
        try:
            self.describe_table(id)
        except TableNotFound:
            return False
        return True

    @abc.abstractmethod
    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        """Rename a table, or move it to another namespace; its data stay where they are.

        Raises:
            TableNotFound: No table has the id.
            TableAlreadyExists: The new id names a table.
            NamespaceAlreadyExists: The new id names a namespace.
            NamespaceNotFound: The new parent does not exist.
            Unsupported: No capability ``rename``.
        """

    @abc.abstractmethod
    def deregister_table(self, id: IdLike) -> TableInfo:
        """Forget a name and keep the data; returns what was known of it.

        Raises:
            TableNotFound: No table has the id.
            Unsupported: No capability ``register``.
        """

    @abc.abstractmethod
    def drop_table(self, id: IdLike, *, missing_ok: bool = False) -> None:
        """Drop a table: first the name, atomically, then the data.

        Of N racing callers one succeeds, the others get ``TableNotFound``.

        Args:
            id: Which.
            missing_ok: A missing table is not an error.

        Raises:
            TableNotFound: No table has the id.
        """

    # -- iteration and lifetime --------------------------------------------------------------------

    def iter_namespaces(
        self, parent: IdLike = (), *, recursive: bool = False, page_size: int = 1000
    ) -> Iterator[Id]:
        """Iterate over namespaces page by page; with ``recursive`` parents come before children."""
        for id in self._pages(self.list_namespaces, parent, limit=page_size):
            yield id
            if recursive:
                yield from self.iter_namespaces(id, recursive=True, page_size=page_size)

    def iter_tables(
        self, namespace: IdLike = (), *, recursive: bool = False, page_size: int = 1000
    ) -> Iterator[Id]:
        """Iterate over tables page by page; pages after the first see later changes."""
        yield from self._pages(self.list_tables, namespace, recursive=recursive, limit=page_size)

    @staticmethod
    def _pages(fetch: Callable[..., Page], id: IdLike, **options: Any) -> Iterator[Id]:
        token: str | None = None
        while True:
            page = fetch(id, page_token=token, **options)
            yield from page
            token = page.next_page_token
            if token is None:
                return

    def to_lance(self) -> Any:
        """Return a ``lance_namespace.LanceNamespace`` over this, for pylance and lancedb.

        It answers operations on names by this catalog, and those on data by the storage backend
        over it: :class:`pennon.storage.serving.BackendAdapter`.
        """
        from pennon.namespaces.plugins import adapter

        return adapter()(self)

    def close(self) -> None:
        """Release what only this instance holds; a shared session stays open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pennon {self.kind} namespace {self.root}>"

    def _unsupported(self, operation: str, instead: str) -> Unsupported:
        return Unsupported(
            f"{operation} is not possible in {self!r}; {instead}", operation=operation
        )
