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

A query after a URI adds options: ``?ns=team`` starts in that namespace (``$`` separates its parts),
every other key is a storage option such as ``region`` (see :mod:`pennon.config`). A path without a
scheme is taken as it is: it has no percent escapes and no query. A ``+`` means itself everywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast
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
_CHAINED = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*::|::[A-Za-z][A-Za-z0-9+.\-]*://")
_BARE_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.\-]*):")
_BUCKET = re.compile(r"[A-Za-z0-9._$\-]+")
_NAME = re.compile(r"[^\s/?#%:@]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AZURE_PUBLIC = {"dfs.core.windows.net", "blob.core.windows.net"}
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
    options: Mapping[str, str] = field(
        default_factory=lambda: MappingProxyType({}), repr=False, hash=False
    )
    """Storage options given in the query or, for Azure, in the authority."""

    def __str__(self) -> str:
        if self.scheme == "file":
            return self._file_uri() if "?ns=" in self.path else self.path
        tail = f"/{quote(self.path, safe='/~')}" if self.path else ""
        return f"{self.scheme}://{self.bucket}{tail}"

    def _file_uri(self) -> str:
        return f"file://{quote(self.path, safe='/~')}"

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
        """Return the URI of something below this one; options and namespace stay behind.

        Raises:
            InvalidURI: A part has a ``.`` or ``..`` step.
        """
        steps = [s for p in parts for s in p.split("/") if s]
        if any(s in {".", ".."} for s in steps):
            raise InvalidURI("What is below a root has no '.' or '..' steps.")
        tail = "/".join(steps)
        if self.scheme == "file":
            return Uri("file", "", f"{self.path.rstrip('/')}/{tail}" if tail else self.path)
        return Uri(self.scheme, self.bucket, "/".join(p for p in (self.path, tail) if p))

    def with_query(self) -> str:
        """Return the canonical form with ``ns`` and options. May hold credentials: never log it."""
        query = {"ns": "$".join(self.namespace)} if self.namespace else {}
        query.update(self.options)
        if not query:
            return str(self)
        start = self._file_uri() if self.scheme == "file" else str(self)
        return f"{start}?{urlencode(query, quote_via=quote, safe='')}"


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
    text = uri if isinstance(uri, str) else _from_path(uri)
    if not text.strip():
        raise InvalidURI("An empty string names no root; pass a directory or a URI.")
    if _CONTROL.search(text):
        raise InvalidURI("The URI or path holds a control character or half a character.")
    if _CHAINED.search(text):
        raise InvalidURI(
            "Chained URLs ('::') name no root; copy the data to a bucket or directory of its own."
        )
    match = _HAS_SCHEME.match(text)
    if match is None:
        if isinstance(uri, str) and "?ns=" in text:
            raise InvalidURI("A path has no query; write file:///absolute/path?ns=... instead.")
        return _parse_path(text)
    name = match[1].lower()
    if name not in _SCHEMES:
        raise InvalidURI(f"Unknown scheme {name!r}: {did_you_mean(name, _SCHEMES)}")
    _check_typing(text)
    return _parse_scheme(name, text)


def _check_typing(text: str) -> None:
    if text != text.strip():
        raise InvalidURI("The URI ends in a space; remove it, or write it as '%20'.")
    for char, entity in _MANGLED.items():
        if char in text:
            raise InvalidURI(
                f"The URI holds {char!r}, which is {entity!r} mangled by HTML; "
                "type the ampersand again, or write the character percent-encoded."
            )
    if _BAD_ESCAPE.search(text):
        raise InvalidURI("The URI holds a '%' without two hex digits; write it as '%25'.")


def _from_path(path: object) -> str:
    text = os.fspath(cast("os.PathLike[str]", path)) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidURI(f"{type(path).__name__} is no URI or path; pass text or a Path.")
    return text


def _parse_path(text: str) -> Uri:
    scheme = _BARE_SCHEME.match(text)
    if scheme and scheme[1].lower() in _SCHEMES:
        raise InvalidURI(
            f"{scheme[0]!r} must be followed by two slashes; for a file of that name write "
            f"'./{scheme[0]}...'."
        )
    if "://" in text:
        raise InvalidURI("There is something before the scheme of the URI; remove it.")
    try:
        full = Path(text).expanduser()
    except RuntimeError:
        raise InvalidURI("The path begins with the home of an unknown user.") from None
    return Uri("file", "", os.path.abspath(full))  # noqa: PTH100 - no symlinks


def _parse_scheme(name: str, text: str) -> Uri:
    try:
        parts = urlsplit(text)
        _ = parts.port
        path = unquote(parts.path, errors="strict")
        query = parse_qsl(
            parts.query.replace("+", "%2B"),
            keep_blank_values=True,
            strict_parsing=bool(parts.query),
            errors="strict",
        )
    except UnicodeDecodeError:
        raise InvalidURI("The percent escapes of the URI are not UTF-8.") from None
    except ValueError:
        raise InvalidURI(
            "The URI cannot be parsed; it must be scheme://name/path?key=value&key=value."
        ) from None
    if _CONTROL.search(path) or any(_CONTROL.search(k + v) for k, v in query):
        raise InvalidURI("The URI holds an encoded control character.")
    if parts.fragment:
        raise InvalidURI("A URI of a root has no fragment; write '#' in a path as '%23'.")
    scheme = _SCHEMES[name]
    namespace, options = _parse_query(query)
    bucket, path = _authority(name, parts.netloc, path, options)
    if scheme == "file":
        return Uri("file", "", path, namespace, MappingProxyType(options))
    steps = [p for p in path.split("/") if p]
    if any(p in {".", ".."} for p in steps):
        raise InvalidURI("A URI path has no '.' or '..' steps.")
    return Uri(scheme, bucket, "/".join(steps), namespace, MappingProxyType(options))


def _parse_query(query: list[tuple[str, str]]) -> tuple[tuple[str, ...], dict[str, str]]:
    options: dict[str, str] = {}
    namespace: tuple[str, ...] = ()
    for key, value in query:
        if key.startswith("amp;"):
            raise InvalidURI("The query holds '&amp;', an ampersand mangled by HTML; write '&'.")
        if key in options or (key == "ns" and namespace):
            raise InvalidURI(f"The query gives {key!r} twice.")
        if key != "ns":
            options[key] = value
            continue
        namespace = tuple(value.split("$"))
        if "" in namespace:
            raise InvalidURI("'?ns=' must name a namespace, with '$' between its parts.")
    return namespace, options


def _authority(name: str, netloc: str, path: str, options: dict[str, str]) -> tuple[str, str]:
    scheme = _SCHEMES[name]
    if scheme == "file":
        if netloc not in {"", "localhost"}:
            raise InvalidURI(
                f"file://{netloc}/... names a host; a path on this machine has three slashes."
            )
        return "", os.path.abspath(path or "/")  # noqa: PTH100 - no symlinks
    if name in {"abfs", "abfss"} and "@" in netloc:
        netloc = _azure_account(netloc, options)
    if "@" in netloc:
        raise InvalidURI("Credentials do not belong in a URI; pass them as options.")
    if not netloc and scheme != "memory":
        what = "host" if scheme in {"http", "https"} else "name"
        raise InvalidURI(f"The URI lacks a {what} after '{name}://'.")
    grammar = _BUCKET if scheme in {"s3", "gs", "az"} else _NAME
    if netloc and scheme not in {"http", "https"} and not grammar.fullmatch(netloc):
        raise InvalidURI(f"{netloc!r} cannot be the name of a bucket, container or database.")
    return netloc, path


def _azure_account(netloc: str, options: dict[str, str]) -> str:
    container, _, host = netloc.partition("@")
    account, _, domain = host.partition(".")
    if not container or not account:
        raise InvalidURI("An Azure URI has the form abfss://container@account.domain/path.")
    if options.setdefault("account_name", account) != account:
        raise InvalidURI("The URI names two Azure accounts, before and after the '?'; keep one.")
    if domain and domain not in _AZURE_PUBLIC:
        domain = "blob." + domain.removeprefix("dfs.").removeprefix("blob.")
        options.setdefault("endpoint", f"https://{account}.{domain}")
    return container
