"""``pennon.open``: a storage backend for whatever names tables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pennon.config.filesystems import from_fsspec, is_filesystem
from pennon.errors import InvalidOption, InvalidURI, Unsupported
from pennon.namespaces.abc import Id, Namespace
from pennon.namespaces.names import parse_id
from pennon.storage.abc import StorageBackend
from pennon.storage.consistency import Consistency, Strong, check_consistency
from pennon.uri import Uri, parse_uri

if TYPE_CHECKING:
    from pennon.namespaces.session import Session

__all__ = ["open"]


def open(
    target: Namespace | str | os.PathLike[str] | Uri | Any,
    *,
    storage_options: Mapping[str, object] | None = None,
    session: Session | None = None,
    consistency: Consistency | None = None,
) -> StorageBackend:
    """Return the storage backend over a catalog. Sends no request and creates nothing.

    >>> db = open("memory://demo")
    >>> db.create_table("planets", [{"name": "Mars", "moons": 2}]).rows_inserted
    1

    Args:
        target: A namespace; a path or URI of a directory, a bucket (``s3://``, ``gs://``,
            ``az://``), ``memory://name`` or a REST server (``http(s)://``); or an fsspec
            ``DirFileSystem``. With ``?ns=team`` in the URI, ids are relative to that namespace.
        storage_options: Credentials, endpoint and so on, in any spelling of
            :mod:`pennon.config`; a namespace has its own.
        session: Clients and caches to share; a namespace has its own.
        consistency: How old what is read may be: ``Strong()``, which is what None means, or
            ``Eventual(seconds)``.

    Raises:
        InvalidURI: Nothing that tables can be kept in.
        InvalidOption: Options that do not fit the target.
        Unsupported: ``db://``, a database of LanceDB Cloud.
        MissingExtra: A REST server needs ``pennon[rest]``.
    """
    fresh = Strong() if consistency is None else check_consistency(consistency)
    if isinstance(target, Namespace):
        if storage_options is not None or session is not None:
            raise InvalidOption(
                "A namespace has its storage options and session already; leave them out."
            )
        return _over(target, (), fresh)
    if is_filesystem(target):
        uri, given = from_fsspec(target)
    elif isinstance(target, (str, os.PathLike, Uri)):
        uri, given = parse_uri(target), {}
    else:
        raise InvalidURI(
            f"A {type(target).__name__} keeps no tables; pass a path, a URI, a namespace, or an "
            "fsspec DirFileSystem."
        )
    _check_shared(storage_options, session)
    within = parse_id(uri.namespace, what="namespace", allow_root=True)
    options = {**given, **(storage_options or {})}
    return _over(_connect(replace(uri, namespace=()), options, session), within, fresh)


def _check_shared(storage_options: object, session: object) -> None:
    from pennon.namespaces.session import Session

    if storage_options is not None and (
        not isinstance(storage_options, Mapping)
        or not all(isinstance(key, str) for key in storage_options)  # pyright: ignore[reportUnknownVariableType]
    ):
        raise InvalidOption("storage_options= maps names of options to values, and is none such.")
    if session is not None and not isinstance(session, Session):
        raise InvalidOption(f"session= is a {type(session).__name__}; pass a pennon.Session.")


def _connect(uri: Uri, options: Mapping[str, object], session: Session | None) -> Namespace:
    from pennon.namespaces.connect import connect

    kept = {f"storage.{k.removeprefix('storage.')}": v for k, v in options.items()}
    if uri.scheme == "db":
        raise Unsupported(
            f"{uri} is a database of LanceDB Cloud, which pennon cannot open yet; use a directory, "
            "a bucket, or a REST server."
        )
    if uri.scheme == "memory":
        if options:
            raise InvalidOption(f"{uri} takes no storage options; leave them out.")
        builder = connect("memory", {"root": str(uri)})
    elif uri.scheme in {"http", "https"}:
        bare = replace(uri, options=MappingProxyType({}))
        builder = connect("rest", {"uri": str(bare), **uri.options, **kept})
    else:
        builder = connect("dir", {"root": uri, **kept})
    return (builder.with_session(session) if session is not None else builder).connect()


def _over(namespace: Namespace, within: Id, consistency: Consistency) -> StorageBackend:
    from pennon.namespaces.memory import MemoryNamespace

    if isinstance(namespace, MemoryNamespace):
        from pennon.storage.memory import MemoryBackend

        return MemoryBackend(namespace, within=within, consistency=consistency)
    from pennon.storage._lance.backend import LanceBackend

    return LanceBackend(namespace, within=within, consistency=consistency)
