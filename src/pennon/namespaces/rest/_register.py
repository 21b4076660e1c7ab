"""Registering a location on a server that checks neither the dataset nor who else has it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pennon.errors import NotFound, PennonError, TableNotFound
from pennon.namespaces import model
from pennon.namespaces.abc import Id, TableInfo
from pennon.namespaces.model import Catalog, Entry
from pennon.namespaces.names import show_id
from pennon.namespaces.rest._failures import name_taken

if TYPE_CHECKING:
    from pennon.namespaces.rest.namespace import RestNamespace

__all__ = ["register"]


def register(
    namespace: RestNamespace, id: Id, location: str, mode: str, properties: Mapping[str, str]
) -> TableInfo:
    """Register a table; see :meth:`pennon.namespaces.abc.Namespace.register_table`."""
    if mode == "create" or not namespace.table_exists(id):
        return _register_new(namespace, id, location, properties)
    # Everything that can be wrong is found under another name, before this one is touched.
    probe = (f"pennon-{secrets.token_hex(8)}",)
    found = _register_new(namespace, probe, location, properties, beside=id)
    namespace.deregister_table(probe)
    root = _plain(found.location).removesuffix(location)
    old = namespace.deregister_table(id)
    try:
        return _claim(namespace, id, location, properties)
    except PennonError:
        back = _plain(old.location)
        if back.startswith(root):
            _claim(namespace, id, back.removeprefix(root), old.properties)
        raise


def _register_new(
    namespace: RestNamespace,
    id: Id,
    location: str,
    properties: Mapping[str, str],
    beside: Id | None = None,
) -> TableInfo:
    """Claim the name, then check the location; take the name back if it cannot be used.

    ``beside`` is a table that may have the location, too.
    """
    new = _claim(namespace, id, location, properties)
    try:
        _check(namespace, new, location, beside)
        if new.properties != properties:
            raise namespace.no_properties("register_table")
    except PennonError:
        with contextlib.suppress(NotFound):
            namespace.deregister_table(id)
        raise
    return new


def _claim(
    namespace: RestNamespace, id: Id, location: str, properties: Mapping[str, str]
) -> TableInfo:
    namespace.claim(
        id,
        lambda: namespace.client.call(
            "register_table", id=id, location=location, properties=dict(properties) or None
        ),
    )
    try:
        return namespace.describe_table(id, check_declared=True)
    except TableNotFound:
        # A rival dropped it at once; the name was ours for a moment.
        raise name_taken(id, by_table=True) from None


def _check(namespace: RestNamespace, new: TableInfo, location: str, beside: Id | None) -> None:
    entries = [Entry(new.id, "table", _plain(new.location))]
    for other in namespace.iter_tables(recursive=True):
        if other in {new.id, beside}:
            continue
        with contextlib.suppress(TableNotFound):
            entries.append(Entry(other, "table", _plain(namespace.describe_table(other).location)))
    model.register_table(Catalog(entries), new.id, _plain(new.location), "overwrite")
    if new.declared_only:
        raise TableNotFound(
            f"There is no dataset at {location!r} to register as {show_id(new.id)}; "
            "declare_table makes a new one.",
            table=new.id,
            location=location,
        )


def _plain(location: str) -> str:
    """Return a location in the one spelling that locations are compared in."""
    if location.startswith("file://"):
        location = unquote(location.removeprefix("file://"))
    return location.rstrip("/")
