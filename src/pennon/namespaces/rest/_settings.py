"""What a connection to a server can be told, checked."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pennon.config import split_storage
from pennon.errors import InvalidOption, InvalidURI
from pennon.namespaces.names import DELIMITER
from pennon.namespaces.properties import check_keys, get_bool, get_number, get_str, show_properties
from pennon.uri import parse_uri

if TYPE_CHECKING:
    import ssl

__all__ = ["Settings", "check_headers", "secret_properties"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~](?:[\t -~]*[!-~])?)?")
_OWN_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host"}
    | {"transfer-encoding"}
)
_SECRET_HEADER = re.compile(
    r"(?i)auth|cookie|token|secret|password|passwd|credential|signature|session|api[-_]?key|"
    r"(^|[-_])key($|[-_])"
)
_SECRET_VALUE = re.compile(r"(?i)^\s*(bearer|basic|digest|apikey|token)\s")
_PREFIXES = ("header.", "headers.")
_TIMEOUT = 60.0


@dataclass(frozen=True)
class Settings:
    """The checked properties of one server. ``repr()`` shows no header and no option."""

    uri: str
    """Without a slash at its end, percent-encoded."""
    delimiter: str = DELIMITER
    timeout: float = _TIMEOUT
    """Seconds one call may take with all its tries."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    tls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    storage: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    @classmethod
    def of(cls, kind: str, properties: Mapping[str, Any]) -> Settings:
        """Check properties.

        Raises:
            InvalidOption: An unknown key, or a value that cannot be used.
            InvalidURI: ``uri`` names no server.
        """
        rest, storage = split_storage(properties)
        check_keys(
            kind,
            rest,
            ("uri", "delimiter", "timeout", *(f"tls.{k}" for k in _TLS)),
            prefixes=_PREFIXES,
            required=("uri",),
        )
        uri, tls = _base(rest["uri"]), _tls(rest)
        if tls and not uri.startswith("https:"):
            raise InvalidOption(f"{uri} is not encrypted, but tls.* is given; write https://.")
        return cls(
            uri,
            _delimiter(get_str(rest, "delimiter", DELIMITER)),
            get_number(rest, "timeout", _TIMEOUT, least=0.001),
            check_headers({k: v for k, v in rest.items() if k.startswith(_PREFIXES)}),
            tls,
            MappingProxyType({k: v for k, v in storage.items() if v is not None}),
        )

    @property
    def principal(self) -> str:
        """Hash of everything that decides as whom the server sees the connection."""
        digest = hashlib.sha256()
        for part in (*sorted(self.headers.items()), *sorted(self.tls.items())):
            digest.update(repr(part).encode())
        return digest.hexdigest()[:40]

    def ssl_context(self) -> ssl.SSLContext | bool:
        """Return how to verify the server and what to show it.

        Raises:
            InvalidOption: A file of ``tls.*`` cannot be read or used.
        """
        if not self.tls:
            return True
        import ssl

        import httpx

        authority = self.tls.get("ssl_ca_cert")
        try:
            context = (
                ssl.create_default_context(cafile=authority)
                if authority
                else httpx.create_ssl_context()
            )
            if "cert_file" in self.tls:
                # A callback that answers nothing: never ask for a passphrase on the terminal.
                context.load_cert_chain(
                    self.tls["cert_file"], self.tls.get("key_file"), password=lambda: ""
                )
        except (ssl.SSLError, OSError, ValueError) as error:
            names = ", ".join(f"tls.{k}" for k in self.tls)
            raise InvalidOption(
                f"The TLS files for {self.uri} cannot be used ({error}); check {names}."
            ) from error
        context.check_hostname = self.tls.get("assert_hostname") != "false"
        return context


def _base(uri: object) -> str:
    if not isinstance(uri, str):
        raise InvalidOption(f"uri is a {type(uri).__name__}, not a string.", option="uri")
    parsed = parse_uri(uri)
    if parsed.scheme not in {"http", "https"}:
        raise InvalidURI(
            f"{parsed} is no address of a REST server; write http://host:port, or connect kind "
            "'dir' to a directory or bucket."
        )
    if parsed.options or parsed.namespace:
        raise InvalidURI(f"{parsed} takes no query; pass what follows '?' as properties.")
    path = f"/{quote(parsed.path, safe='/~')}" if parsed.path else ""
    return f"{parsed.scheme}://{parsed.bucket}{path}"


def _delimiter(text: str) -> str:
    if not re.fullmatch(r"[!-.:-\[\]-~]{1,8}", text) or not text.strip("."):
        raise InvalidOption(
            f"delimiter={text!r} cannot join ids; choose one to eight printable characters "
            "without a slash, such as '$', and not only dots.",
            option="delimiter",
        )
    return text


def check_headers(given: Mapping[Any, Any]) -> Mapping[str, str]:
    """Return HTTP headers without the prefixes ``header.`` and ``headers.``; values are not shown.

    Raises:
        InvalidOption: A name or value that no header can have, or a header the client sets itself.
    """
    headers: dict[str, str] = {}
    for key, value in given.items():
        name = key
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix) if isinstance(name, str) else name
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise InvalidOption(f"{key!r} is no name of an HTTP header.", option=str(key))
        if name.lower() in _OWN_HEADERS:
            raise InvalidOption(f"The header {name!r} is set by the client itself.", option=key)
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise InvalidOption(
                f"The header {name!r} must hold a string of printable ASCII characters without "
                "space at its ends.",
                option=key,
            )
        headers[name] = value
    return MappingProxyType(headers)


_TLS = ("cert_file", "key_file", "ssl_ca_cert", "assert_hostname")


def _tls(properties: Mapping[str, Any]) -> Mapping[str, str]:
    tls: dict[str, str] = {}
    for name in _TLS[:3]:
        path = get_str(properties, f"tls.{name}")
        if path is None:
            continue
        if not Path(path).is_file() or not os.access(path, os.R_OK):
            raise InvalidOption(f"tls.{name}={path!r} is no readable file.", option=f"tls.{name}")
        tls[name] = str(Path(path).absolute())
    if "key_file" in tls and "cert_file" not in tls:
        raise InvalidOption("tls.key_file needs tls.cert_file as well.", option="tls.cert_file")
    if not get_bool(properties, "tls.assert_hostname", default=True):
        tls["assert_hostname"] = "false"
    return MappingProxyType(tls)


def secret_properties(properties: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values look like credentials, sorted."""
    found: list[str] = []
    for key, value in properties.items():
        if key.startswith(_PREFIXES):
            looks = _SECRET_HEADER.search(key) or _SECRET_VALUE.match(str(value))
        else:
            looks = "***" in show_properties({key: value})
        if looks:
            found.append(key)
    return sorted(found)
