"""Which catalogs of other makers there are, what they need, and which ids they can hold."""

from __future__ import annotations

import importlib
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pennon.errors import InvalidOption, MissingExtra, Unavailable, redact
from pennon.namespaces.properties import check_keys

__all__ = ["GENERIC", "KINDS", "ForeignKind", "make", "reach", "secret_keys"]

_REACH_SECONDS = 3.0
_SECRET = re.compile(
    r"(?i)secret|token|connection[_-]?string|password|credential|signature|\bsas\b|(^|[._-])key|headers?\."
)
_OPEN = frozenset({"access_key_id"})


@dataclass(frozen=True, slots=True)
class ForeignKind:
    """What is known in advance of one kind of catalog."""

    path: str = ""
    """``package.module:Class``; empty for classes that users name."""
    keys: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    endpoint: str = ""
    """The property that holds the address; empty if there is none."""
    root: str = "root"
    """The property that holds where tables are stored."""
    defaults: tuple[tuple[str, str], ...] = ()
    """Properties that keep an address nobody answers from costing minutes."""
    namespaces: tuple[int, int | None] = (1, None)
    """Parts of an id that ``create_namespace`` takes: least and most."""
    tables: tuple[int, int | None] = (1, None)
    """Parts of an id that ``declare_table`` takes: least and most."""
    top: str = ""
    """What the first part of an id is where the catalog cannot list these; else empty."""
    listed_top: bool = False
    """Whether only a listing tells which namespaces above the least level exist."""
    dotted: bool = False
    """Whether listings spell namespaces as their parts joined by dots."""
    places: bool = False
    """Whether ``declare_table`` takes the location."""
    proxied: bool = False
    """Whether the client goes through the HTTP proxy that the environment names."""
    extra: str = ""
    """The extra of lance-namespace-impls with what else it imports."""


_IMPLS = "lance_namespace_impls"
_STORED: dict[str, Any] = {"places": True}


def _http(prefix: str, unit: str, *more: str) -> dict[str, Any]:
    waits = (f"{prefix}connect_timeout{unit}", f"{prefix}read_timeout{unit}")
    keys = (f"{prefix}endpoint", f"{prefix}auth_token", f"{prefix}root", f"{prefix}max_retries")
    return {
        "keys": (*keys, *waits, *more),
        "required": (f"{prefix}endpoint",),
        "endpoint": f"{prefix}endpoint",
        "root": f"{prefix}root",
        # One call makes up to two requests, each tried this often.
        "defaults": ((waits[0], "1500"), (waits[1], "20000"), (f"{prefix}max_retries", "1")),
    }


def _hive(level: int) -> dict[str, Any]:
    return {
        "keys": ("uri", "ugi", "root", "client.pool-size"),
        "required": ("uri",),
        "endpoint": "uri",
        "namespaces": (level, level),
        "tables": (level + 1, level + 1),
        "extra": f"hive{level + 1}",
    }


KINDS: Mapping[str, ForeignKind] = {
    "glue": ForeignKind(
        f"{_IMPLS}.glue:GlueNamespace",
        keys=(
            *("catalog_id", "endpoint", "region", "access_key_id", "secret_access_key"),
            *("session_token", "profile_name", "max_retries", "retry_mode", "root"),
        ),
        endpoint="endpoint",
        defaults=(("max_retries", "2"), ("retry_mode", "standard")),
        namespaces=(1, 1),
        tables=(2, 2),
        proxied=True,
        extra="glue",
        **_STORED,
    ),
    "hive2": ForeignKind(f"{_IMPLS}.hive2:Hive2Namespace", **_hive(1), **_STORED),
    "hive3": ForeignKind(f"{_IMPLS}.hive3:Hive3Namespace", listed_top=True, **_hive(2), **_STORED),
    "iceberg": ForeignKind(
        f"{_IMPLS}.iceberg:IcebergNamespace",
        **_http("", "", "credential"),
        namespaces=(2, None),
        tables=(3, None),
        top="warehouse",
        dotted=True,
        **_STORED,
    ),
    "polaris": ForeignKind(
        f"{_IMPLS}.polaris:PolarisNamespace",
        **_http("polaris.", "_millis"),
        namespaces=(2, None),
        tables=(3, None),
        top="catalog",
        dotted=True,
        **_STORED,
    ),
    "unity": ForeignKind(
        f"{_IMPLS}.unity:UnityNamespace",
        **_http("unity.", "_millis"),
        namespaces=(2, 2),
        tables=(3, 3),
        listed_top=True,
        **_STORED,
    ),
}

GENERIC = ForeignKind()
"""A class or object about which nothing is known in advance."""


def secret_keys(properties: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the properties that hold credentials, rather than naming where one is found."""
    return tuple(
        k
        for k, v in properties.items()
        if v and k.removeprefix("storage.") not in _OPEN and _SECRET.search(k)
    )


def make(kind: str, properties: Mapping[str, Any]) -> Any:
    """Return a new ``lance_namespace.LanceNamespace`` of a kind.

    Raises:
        InvalidOption: An unknown, missing or unusable property.
        MissingExtra: What the kind needs is not installed.
    """
    known = KINDS.get(kind)
    given = {k: v for k, v in properties.items() if v is not None}
    for key, value in given.items():
        if not isinstance(value, str):
            raise InvalidOption(f"{key} is a {type(value).__name__}, not a string.", option=key)
    if known is not None:
        check_keys(kind, given, known.keys, prefixes=("storage.",), required=known.required)
        given = {**dict(known.defaults), **given}
    found = _load(kind, known)
    hidden = [given[k] for k in secret_keys(given)]
    try:
        return found(**given)
    except ImportError:
        raise _missing(kind, known) from None
    except (ValueError, TypeError) as error:
        raise InvalidOption(
            f"Kind {kind!r} cannot use its properties ({redact(str(error), hidden).rstrip('.')}); "
            "correct them."
        ) from None


def _load(kind: str, known: ForeignKind | None) -> Any:
    path = known.path if known else ":".join(kind.rpartition(".")[::2])
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        raise _missing(kind, known) from None


def _missing(kind: str, known: ForeignKind | None) -> MissingExtra:
    if known is None:
        return MissingExtra(f"{kind!r} cannot be imported; install the package it comes from.")
    more = f" 'lance-namespace-impls[{known.extra}]'" if known.extra else ""
    return MissingExtra(
        f"Kind {kind!r} needs a package that is not installed; run "
        f"pip install 'pennon[catalogs]'{more}."
    )


def reach(kind: str, properties: Mapping[str, Any]) -> None:
    """Make sure that something listens at the address of a catalog.

    The clients below wait for minutes, or forever, where nothing answers. Where they go through
    an HTTP proxy nothing is tried.

    Raises:
        InvalidOption: The address is none.
        Unavailable: Nothing listens there.
    """
    known = KINDS.get(kind, GENERIC)
    address = properties.get(known.endpoint) if known.endpoint else None
    if not address:
        return
    parts = urlsplit(str(address))
    host = parts.hostname or ""
    try:
        port = parts.port or {"http": 80, "https": 443, "thrift": 9083}.get(parts.scheme)
    except ValueError:
        port = None
    if not host or port is None:
        raise InvalidOption(
            f"{known.endpoint}={redact(str(address))!r} is no address; write scheme://host:port.",
            option=known.endpoint,
        )
    if known.proxied and parts.scheme in getproxies() and not proxy_bypass(host):
        return
    try:
        socket.create_connection((host, port), _REACH_SECONDS).close()
    except OSError as error:
        raise Unavailable(
            f"The {kind} catalog at {host}:{port} cannot be reached "
            f"({error.strerror or error}); check {known.endpoint!r} and that the server runs."
        ) from error
