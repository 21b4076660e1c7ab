"""One grammar for every place pennon accepts a URI.

========================  ================================================================
``./lake``, ``/data/x``   a directory on this machine (also any ``os.PathLike``)
``file:///data/x``        the same, percent-encoded
``memory://name``         a root in this process
``s3://bucket/path``      S3 and everything that speaks it (also ``s3a://``)
``gs://bucket/path``      Google Cloud Storage (also ``gcs://``)
``az://container/path``   Azure Blob Storage (also ``azure://``, ``abfs://``)
``abfss://c@acct.dfs…``   the same with the account in the authority
``db://name``             a database of LanceDB Cloud
``http(s)://host/path``   a server
``rest+http(s)://host``   a Lance REST namespace server
========================  ================================================================

A query adds options: ``?ns=team`` starts in that namespace (``$`` separates its parts), every
other key is a storage option such as ``region`` (see :mod:`pennon.config`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pennon.errors import InvalidURI, did_you_mean

__all__ = ["Scheme", "Uri", "parse_uri"]

Scheme = Literal["file", "memory", "s3", "gs", "az", "db", "http", "https"]

_SCHEMES: dict[str, Scheme] = {
    "file": "file",
    "memory": "memory",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
    "db": "db",
    "http": "http",
    "https": "https",
    "rest+http": "http",
    "rest+https": "https",
}
_HAS_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*)://")
# The HTML entity "&reg" swallows the first letters of "&region" when a page is copied.
_MANGLED = {"®": "&reg", "¬": "&not", "¶": "&para", "§": "&sect", "\u00d7": "&times"}


@dataclass(frozen=True, slots=True)
class Uri:
    """A parsed URI. ``str()`` gives its canonical form without options or credentials."""

    scheme: Scheme
    bucket: str
    """Bucket, container, memory root, database or ``host[:port]``; empty for ``file``."""
    path: str
    """Decoded. Absolute for ``file``; elsewhere without a slash at either end."""
    namespace: tuple[str, ...] = ()
    """What ``?ns=`` named."""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Storage options given in the query or, for Azure, in the authority."""

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.path
        tail = f"/{quote(self.path, safe='/~')}" if self.path else ""
        return f"{self.scheme}://{self.bucket}{tail}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.scheme, self.bucket, self.path, self.namespace, dict(self.options))

    @property
    def is_bucket(self) -> bool:
        """Whether this is a root in an object store."""
        return self.scheme in {"s3", "gs", "az"}

    @property
    def is_server(self) -> bool:
        """Whether this is a server to talk to rather than a place to store objects."""
        return self.scheme in {"http", "https", "db"}

    def join(self, *parts: str) -> Uri:
        """Return the URI of something below this one; options and namespace stay behind."""
        tail = "/".join(p.strip("/") for p in parts if p.strip("/"))
        if self.scheme == "file":
            return Uri("file", "", f"{self.path.rstrip('/')}/{tail}" if tail else self.path)
        return Uri(self.scheme, self.bucket, "/".join(p for p in (self.path, tail) if p))

    def with_query(self) -> str:
        """Return the canonical form with ``ns`` and options. May hold credentials: never log it."""
        query = {"ns": "$".join(self.namespace)} if self.namespace else {}
        query.update(self.options)
        return f"{self}?{urlencode(query)}" if query else str(self)


def _rebuild(
    scheme: Scheme,
    bucket: str,
    path: str,
    namespace: tuple[str, ...],
    options: dict[str, str],
) -> Uri:
    return Uri(scheme, bucket, path, namespace, MappingProxyType(options))


def parse_uri(uri: str | os.PathLike[str] | Uri) -> Uri:
    """Parse anything that names a root.

    Relative paths are resolved against the working directory, so that a later ``chdir`` cannot
    move a root.

    Raises:
        InvalidURI: Not a URI or path of the grammar above, or one that leaves its own root.
    """
    if isinstance(uri, Uri):
        return uri
    text = os.fspath(uri)
    if not text.strip():
        raise InvalidURI("An empty string names no root; pass a directory or a URI.")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):  # noqa: PLR2004
        raise InvalidURI(f"{text!r} holds a control character.")
    match = _HAS_SCHEME.match(text)
    if match is None:
        return _parse_path(text)
    name = match[1].lower()
    if name not in _SCHEMES:
        raise InvalidURI(f"Unknown scheme {name!r}: {did_you_mean(name, _SCHEMES)}")
    for char, entity in _MANGLED.items():
        if char in text:
            raise InvalidURI(
                f"The URI holds {char!r}, which is {entity!r} mangled by HTML; "
                "type the ampersand again."
            )
    return _parse_scheme(name, text)


def _parse_path(text: str) -> Uri:
    if re.match(r"^[A-Za-z0-9+]+:/[^/]", text):
        raise InvalidURI(f"{text!r} has one slash after the scheme; write '://'.")
    return Uri("file", "", os.path.abspath(Path(text).expanduser()))  # noqa: PTH100 - no symlinks


def _parse_scheme(name: str, text: str) -> Uri:
    try:
        parts = urlsplit(text)
        _ = parts.port
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise InvalidURI(f"The URI cannot be parsed: {error}.") from error
    if parts.fragment:
        raise InvalidURI("A URI of a root has no fragment; write '#' in a path as '%23'.")
    scheme = _SCHEMES[name]
    options: dict[str, str] = {}
    namespace: tuple[str, ...] = ()
    for key, value in query:
        if key in options or (key == "ns" and namespace):
            raise InvalidURI(f"The query gives {key!r} twice.")
        if key == "ns":
            namespace = tuple(value.split("$"))
        else:
            options[key] = value
    bucket, path = _authority(name, parts.netloc, unquote(parts.path), options)
    if scheme == "file":
        return Uri("file", "", path, namespace, MappingProxyType(options))
    steps = [p for p in path.split("/") if p]
    if any(p in {".", ".."} for p in steps):
        raise InvalidURI("A URI path has no '.' or '..' steps.")
    return Uri(scheme, bucket, "/".join(steps), namespace, MappingProxyType(options))


def _authority(name: str, netloc: str, path: str, options: dict[str, str]) -> tuple[str, str]:
    scheme = _SCHEMES[name]
    if scheme == "file":
        if netloc not in {"", "localhost"}:
            raise InvalidURI(
                f"file://{netloc}/... names a host; a path on this machine has three slashes."
            )
        return "", os.path.abspath(path or "/")  # noqa: PTH100 - no symlinks
    if name in {"abfs", "abfss"} and "@" in netloc:
        container, _, host = netloc.partition("@")
        options.setdefault("account_name", host.split(".")[0])
        return container, path
    if "@" in netloc:
        raise InvalidURI("Credentials do not belong in a URI; pass them as options.")
    if not netloc and scheme != "memory":
        what = "host" if scheme in {"http", "https"} else "name"
        raise InvalidURI(f"The URI lacks a {what} after '{name}://'.")
    return netloc, path
