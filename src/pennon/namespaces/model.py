"""The rules of a catalog as pure functions over an immutable state.

Every kind that decides about names itself applies these functions to the state it read and then
swaps the result in atomically: the memory kind under a lock, the directory kind by a conditional
commit. They raise what :class:`pennon.namespaces.abc.Namespace` promises and touch nothing else.
Ids and properties must have passed :mod:`pennon.namespaces.names` and :func:`check_properties`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from pennon.errors import (
    InvalidInput,
    InvalidOption,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    TableAlreadyExists,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id

__all__ = [
    "Catalog",
    "Change",
    "Entry",
    "check_choice",
    "check_location",
    "check_properties",
    "check_unset",
    "create_namespace",
    "declare_table",
    "deregister_table",
    "drop_namespace",
    "drop_table",
    "get_namespace",
    "get_table",
    "list_namespaces",
    "list_tables",
    "namespace_not_found",
    "register_table",
    "rename_table",
    "table_not_found",
    "update_namespace",
]

_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One name of a catalog and what it stands for."""

    id: Id
    kind: Literal["namespace", "table"]
    location: str | None = None
    """Of a table, in the spelling of its catalog; None for a namespace."""
    properties: Mapping[str, str] = field(default_factory=lambda: _NONE)


class Catalog(Mapping[Id, Entry]):
    """An immutable set of entries by id, with fast access to what is below an id.

    Args:
        entries: The entries; of two with one id the later one stays.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {e.id: e for e in entries}

    def __getitem__(self, id: Id) -> Entry:
        return self._entries[id]

    def __iter__(self) -> Iterator[Id]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"Catalog({len(self)} entries)"

    @cached_property
    def _children(self) -> Mapping[Id, Sequence[Entry]]:
        children: dict[Id, list[Entry]] = {}
        for entry in self._entries.values():
            children.setdefault(entry.id[:-1], []).append(entry)
        return children

    @cached_property
    def locations(self) -> Mapping[str, Id]:
        """The tables by location."""
        return {e.location: e.id for e in self._entries.values() if e.location is not None}

    def children(self, id: Id) -> Sequence[Entry]:
        """Return the entries directly below an id, in no order."""
        return self._children.get(id, ())

    def below(self, id: Id) -> Iterator[Entry]:
        """Iterate over all entries below an id at any depth, in no order.

        Other writers may have left tables in namespaces that were never created; they count.
        """
        depth = len(id)
        if not depth:
            return iter(self._entries.values())
        return (e for i, e in self._entries.items() if len(i) > depth and i[:depth] == id)

    def changed(self, upserts: Iterable[Entry] = (), deletes: Collection[Id] = ()) -> Catalog:
        """Return a catalog without ``deletes`` and then with ``upserts``."""
        result = Catalog()
        result._entries = self._entries.copy()
        for id in deletes:
            result._entries.pop(id, None)
        for entry in upserts:
            result._entries[entry.id] = entry
        return result


@dataclass(frozen=True, slots=True)
class Change:
    """The outcome of one rule: the new state, and how to get there from the old one."""

    catalog: Catalog
    entry: Entry | None = None
    """What the operation was about; None if a missing thing was dropped with ``missing_ok``."""
    upserts: tuple[Entry, ...] = ()
    """Rows to insert or replace, after the deletes."""
    deletes: tuple[Id, ...] = ()
    """Rows to remove."""
    dropped: tuple[Entry, ...] = ()
    """Tables whose data nothing names any more: to be deleted once the change is committed."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not self.upserts and not self.deletes


def _change(
    catalog: Catalog,
    entry: Entry,
    *,
    upserts: tuple[Entry, ...] = (),
    deletes: tuple[Id, ...] = (),
    dropped: tuple[Entry, ...] = (),
) -> Change:
    after = catalog.changed(upserts, deletes)
    # Other writers may have given one location two names: what still has a name keeps its data.
    freed = tuple(e for e in dropped if e.location not in after.locations) if dropped else ()
    return Change(after, entry, upserts, deletes, freed)


# -- checks of arguments ---------------------------------------------------------------------------


def check_properties(properties: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return properties as an immutable copy; None counts as none.

    Raises:
        InvalidInput: A key or value is not a string of Unicode text.
    """
    if not properties:
        return _NONE
    if not isinstance(properties, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(
            f"properties= is a {type(properties).__name__}; it maps strings to strings."
        )
    for pair in properties.items():
        for part in pair:
            if not isinstance(part, str):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidInput(
                    f"The property {pair[0]!r} holds a {type(part).__name__}; "
                    "keys and values are strings."
                )
            try:
                part.encode()
            except UnicodeEncodeError:
                raise InvalidInput(
                    f"The property {pair[0]!r} holds half a character (an unpaired surrogate)."
                ) from None
    return MappingProxyType(dict(properties))


def check_unset(unset: Sequence[str]) -> frozenset[str]:
    """Return the keys to remove.

    Raises:
        InvalidInput: A bare string instead of a list of them, or something else than strings.
    """
    if isinstance(unset, str) or not all(isinstance(k, str) for k in unset):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"unset={unset!r} must be a list of property keys.")
    return frozenset(unset)


def check_choice(name: str, value: object, known: Sequence[str]) -> None:
    """Refuse a value of ``mode`` or ``behavior`` that is none of the known ones.

    Raises:
        InvalidOption: It is not.
    """
    if value not in known:
        raise InvalidOption(f"{name}={value!r} is not one of {', '.join(map(repr, known))}.")


def check_location(location: str) -> str:
    """Return a location relative to the root if a table may be registered there.

    Raises:
        InvalidInput: It is absolute, leaves the root, is not in its simplest spelling, or is
            reserved for Lance and pennon.
    """
    if not isinstance(location, str) or not location:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"{location!r} is no location; pass a path relative to the root.")
    if location.startswith("/") or "\\" in location or ":" in location.split("/", maxsplit=1)[0]:
        raise InvalidInput(f"{location!r} is not relative to the root; leave out the root itself.")
    steps = location.split("/")
    if any(step in {"", ".", ".."} for step in steps):
        raise InvalidInput(f"{location!r} holds an empty, '.' or '..' step; write it without.")
    if any(unicodedata.category(c) in {"Cc", "Cs"} for c in location):
        raise InvalidInput(f"{location!r} holds a control character or half a character.")
    if steps[0].startswith("_"):
        raise InvalidInput(f"{location!r} is reserved for Lance and pennon; choose another.")
    return location


# -- errors ----------------------------------------------------------------------------------------


def namespace_not_found(id: Id) -> NamespaceNotFound:
    """Return the error for a namespace that does not exist."""
    return NamespaceNotFound(
        f"There is no namespace {show_id(id)}; create_namespace makes one.", namespace=id
    )


def table_not_found(id: Id) -> TableNotFound:
    """Return the error for a table that does not exist."""
    return TableNotFound(
        f"There is no table {show_id(id)}; list_tables shows what there is.", table=id
    )


def _namespace_exists(id: Id) -> NamespaceAlreadyExists:
    return NamespaceAlreadyExists(
        f"{show_id(id)} is a namespace already; choose another name, or pass mode='exist_ok' "
        "to share it.",
        namespace=id,
    )


def _table_exists(id: Id) -> TableAlreadyExists:
    return TableAlreadyExists(
        f"{show_id(id)} is a table already; choose another name or drop it first.", table=id
    )


# -- reading ---------------------------------------------------------------------------------------


def get_namespace(catalog: Catalog, id: Id) -> Entry:
    """Return a namespace; the root always exists.

    Raises:
        NamespaceNotFound: It does not exist.
    """
    if not id:
        return Entry((), "namespace")
    entry = catalog.get(id)
    if entry is None or entry.kind != "namespace":
        raise namespace_not_found(id)
    return entry


def get_table(catalog: Catalog, id: Id) -> Entry:
    """Return a table.

    Raises:
        TableNotFound: It does not exist.
    """
    entry = catalog.get(id)
    if entry is None or entry.kind != "table":
        raise table_not_found(id)
    return entry


def list_namespaces(catalog: Catalog, parent: Id) -> list[Id]:
    """Return the namespaces directly below ``parent``, in no order.

    Raises:
        NamespaceNotFound: ``parent`` does not exist.
    """
    get_namespace(catalog, parent)
    return [e.id for e in catalog.children(parent) if e.kind == "namespace"]


def list_tables(catalog: Catalog, namespace: Id, *, recursive: bool = False) -> list[Id]:
    """Return the tables in ``namespace``, in no order; with ``recursive`` at any depth.

    Raises:
        NamespaceNotFound: ``namespace`` does not exist.
    """
    get_namespace(catalog, namespace)
    entries = catalog.below(namespace) if recursive else catalog.children(namespace)
    return [e.id for e in entries if e.kind == "table"]


# -- namespaces ------------------------------------------------------------------------------------


def create_namespace(
    catalog: Catalog,
    id: Id,
    mode: Literal["create", "exist_ok", "overwrite"] = "create",
    properties: Mapping[str, str] = _NONE,
) -> Change:
    """Make a namespace; see :meth:`Namespace.create_namespace`."""
    if not id:
        raise _namespace_exists(id)
    get_namespace(catalog, id[:-1])
    old = catalog.get(id)
    if old is not None and old.kind == "table":
        raise _table_exists(id)
    new = Entry(id, "namespace", None, properties)
    if old is None:
        return _change(catalog, new, upserts=(new,))
    if mode == "exist_ok":
        return Change(catalog, old)
    if mode == "create":
        raise _namespace_exists(id)
    below = tuple(catalog.below(id))
    return _change(
        catalog,
        new,
        upserts=(new,),
        deletes=tuple(e.id for e in below),
        dropped=tuple(e for e in below if e.kind == "table"),
    )


def update_namespace(
    catalog: Catalog, id: Id, set: Mapping[str, str] = _NONE, unset: Collection[str] = ()
) -> Change:
    """Set and remove properties; see :meth:`Namespace.update_namespace`."""
    if not id:
        raise Unsupported("The root has no properties to update; update a namespace below it.")
    old = get_namespace(catalog, id)
    kept = {k: v for k, v in old.properties.items() if k not in unset}
    new = replace(old, properties=MappingProxyType({**kept, **set}))
    if new.properties == old.properties:
        return Change(catalog, old)
    return _change(catalog, new, upserts=(new,))


def drop_namespace(
    catalog: Catalog,
    id: Id,
    behavior: Literal["restrict", "cascade"] = "restrict",
    *,
    missing_ok: bool = False,
) -> Change:
    """Drop a namespace; see :meth:`Namespace.drop_namespace`."""
    if not id:
        raise InvalidInput("The root cannot be dropped; drop the namespaces and tables in it.")
    old = catalog.get(id)
    if old is None or old.kind != "namespace":
        if missing_ok:
            return Change(catalog)
        raise namespace_not_found(id)
    below = tuple(catalog.below(id))
    if below and behavior == "restrict":
        raise NamespaceNotEmpty(
            f"{show_id(id)} still holds {len(below)} tables and namespaces; drop them first, "
            "or pass behavior='cascade'.",
            namespace=id,
            count=len(below),
        )
    return _change(
        catalog,
        old,
        deletes=(id, *(e.id for e in below)),
        dropped=tuple(e for e in below if e.kind == "table"),
    )


# -- tables ----------------------------------------------------------------------------------------


def _check_free(catalog: Catalog, id: Id) -> None:
    get_namespace(catalog, id[:-1])
    old = catalog.get(id)
    if old is not None:
        raise _table_exists(id) if old.kind == "table" else _namespace_exists(id)


def declare_table(
    catalog: Catalog, id: Id, location: str, properties: Mapping[str, str] = _NONE
) -> Change:
    """Claim a name for a fresh location; see :meth:`Namespace.declare_table`."""
    _check_free(catalog, id)
    new = Entry(id, "table", location, properties)
    return _change(catalog, new, upserts=(new,))


def register_table(
    catalog: Catalog,
    id: Id,
    location: str,
    mode: Literal["create", "overwrite"] = "create",
    properties: Mapping[str, str] = _NONE,
) -> Change:
    """Name an existing location; see :meth:`Namespace.register_table`.

    The caller has made sure that the location is inside the root, is normal (no slash at its end,
    no ``.`` steps) and holds a dataset.
    """
    old = catalog.get(id)
    if mode == "create" or old is None or old.kind != "table":
        _check_free(catalog, id)
    for taken, owner in catalog.locations.items():
        if owner == id:
            continue
        if taken == location:
            raise TableAlreadyExists(
                f"{location} is the table {show_id(owner)} already; rename that one instead.",
                table=owner,
            )
        if taken.startswith(f"{location}/") or location.startswith(f"{taken}/"):
            raise InvalidInput(
                f"{location} and the table {show_id(owner)} at {taken} lie within each other; "
                "a table needs a directory of its own."
            )
    new = Entry(id, "table", location, properties)
    return _change(catalog, new, upserts=(new,))


def rename_table(catalog: Catalog, id: Id, new_id: Id) -> Change:
    """Rename or move a table; see :meth:`Namespace.rename_table`."""
    old = get_table(catalog, id)
    _check_free(catalog, new_id)
    new = replace(old, id=new_id)
    return _change(catalog, new, upserts=(new,), deletes=(id,))


def deregister_table(catalog: Catalog, id: Id) -> Change:
    """Forget a name and keep the data; see :meth:`Namespace.deregister_table`."""
    old = get_table(catalog, id)
    return _change(catalog, old, deletes=(id,))


def drop_table(catalog: Catalog, id: Id, *, missing_ok: bool = False) -> Change:
    """Forget a name whose data are to be deleted; see :meth:`Namespace.drop_table`."""
    old = catalog.get(id)
    if old is None or old.kind != "table":
        if missing_ok:
            return Change(catalog)
        raise table_not_found(id)
    return _change(catalog, old, deletes=(id,), dropped=(old,))
