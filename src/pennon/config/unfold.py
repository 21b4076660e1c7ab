"""The nested and many-meaning arguments of s3fs, gcsfs and adlfs, as plain keys and values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

from pennon.errors import InvalidOption, did_you_mean
from pennon.uri import Scheme

__all__ = ["NESTED", "unfold"]

Pair = tuple[str, object]

_AMBIENT: Final = {"google_default", "cloud", "cache"}
_CONNECTION: Final = {
    "accountname": "account_name",
    "accountkey": "account_key",
    "blobendpoint": "endpoint",
    "sharedaccesssignature": "sas_token",
}


def unfold(scheme: Scheme, given: Iterable[Pair]) -> Iterator[Pair]:
    """Yield plain options; ``None`` means not given.

    Raises:
        InvalidOption: A key that is no text, or a nested value that cannot be expressed.
    """
    for key, value in given:
        if not isinstance(cast("object", key), str):
            raise InvalidOption(f"A storage option has text as its name, not {type(key).__name__}.")
        if value is None:
            continue
        special = _SPECIAL.get((scheme, key.lower()))
        if special is None:
            yield key, value
        else:
            yield from special(value)


def _mapping(key: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidOption(f"{key!r} must be a mapping, not {type(value).__name__}.")
    return cast("Mapping[str, Any]", value)


def _client_kwargs(value: object) -> Iterator[Pair]:
    known = {
        "endpoint_url",
        "region_name",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
        "use_ssl",
        "verify",
    }
    for key, inner in _mapping("client_kwargs", value).items():
        if key not in known:
            raise InvalidOption(f"'client_kwargs' holds {key!r}: {did_you_mean(key, known)}")
        if inner is not None:
            yield from _SPECIAL["s3", key](inner) if ("s3", key) in _SPECIAL else [(key, inner)]


def _config_kwargs(value: object) -> Iterator[Pair]:
    known = {"s3", "signature_version", "connect_timeout", "read_timeout"}
    for key, inner in _mapping("config_kwargs", value).items():
        if key not in known:
            raise InvalidOption(f"'config_kwargs' holds {key!r}: {did_you_mean(key, known)}")
        if key == "s3":
            yield from _addressing(_mapping("config_kwargs['s3']", inner))
        elif key != "signature_version":
            yield key, inner
        elif type(inner).__name__ == "UnsignedSignatureSentinel":
            yield "skip_signature", True
        elif inner not in {"s3v4", "v4"}:
            raise InvalidOption("'signature_version' must be 's3v4' or UNSIGNED.")


def _addressing(inner: Mapping[str, Any]) -> Iterator[Pair]:
    style = inner.get("addressing_style", "auto")
    if set(inner) - {"addressing_style"} or style not in {"auto", "path", "virtual"}:
        raise InvalidOption(
            "'config_kwargs' may hold {'s3': {'addressing_style': 'auto', 'path' or 'virtual'}}."
        )
    if style != "auto":
        yield "virtual_hosted_style_request", style == "virtual"


def _verify(value: object) -> Iterator[Pair]:
    if not isinstance(value, bool):
        raise InvalidOption(
            "'verify' must be true or false; for a CA of your own add it to those of the system."
        )
    if not value:
        yield "allow_invalid_certificates", True


def _use_ssl(value: object) -> Iterator[Pair]:
    if not isinstance(value, bool):
        raise InvalidOption(f"'use_ssl' must be true or false, not {value!r}.")
    if not value:
        yield "allow_http", True


def _gcs_token(value: object) -> Iterator[Pair]:
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        kind = fields.get("type", "service_account")
        if kind != "service_account":
            raise InvalidOption(
                f"'token' holds credentials of type {str(kind)[:40]!r}; save them to a file and "
                "name it as 'application_credentials'."
            )
        yield "service_account_key", json.dumps(dict(fields), sort_keys=True)
    elif value == "anon":
        yield "skip_signature", True
    elif isinstance(value, str) and value not in {"browser", *_AMBIENT}:
        yield _gcs_text(value), value
    elif value not in _AMBIENT:
        raise InvalidOption(
            "'token' must be 'google_default', 'cloud', 'anon', a path or the fields of a service "
            "account; credentials of another kind cannot be passed on to Lance."
        )


def _gcs_text(value: str) -> str:
    if Path(value).is_file():
        return "application_credentials"
    if "/" in value or value.endswith(".json"):
        raise InvalidOption("'token' names a file that does not exist; correct the path.")
    return "bearer_token"


def _session(_: object) -> Iterator[Pair]:
    raise InvalidOption(
        "'session' is an object, which cannot be passed on to Lance; give 'profile', or 'key' "
        "and 'secret', or leave it to the environment."
    )


def _additional(value: object) -> Iterator[Pair]:
    known = {"ServerSideEncryption": "server_side_encryption", "SSEKMSKeyId": "sse_kms_key_id"}
    for key, inner in _mapping("s3_additional_kwargs", value).items():
        if key not in known:
            raise InvalidOption(f"'s3_additional_kwargs' holds {key!r}: {did_you_mean(key, known)}")
        yield known[key], inner


def _connection_string(value: object) -> Iterator[Pair]:
    if not isinstance(value, str) or "=" not in value:
        raise InvalidOption("'connection_string' must be text of the form 'AccountName=...;...'.")
    parts = [p.partition("=") for p in value.strip().strip(";").split(";")]
    fields = {name.strip().lower(): text for name, _, text in parts}
    if fields.get("usedevelopmentstorage", "").lower() == "true":
        yield "use_emulator", True
    for name, field in _CONNECTION.items():
        if fields.get(name):
            yield field, fields[name]
    if "blobendpoint" not in fields and fields.get("accountname"):
        suffix = fields.get("endpointsuffix")
        protocol = fields.get("defaultendpointsprotocol", "https")
        if suffix or protocol != "https":
            host = f"{fields['accountname']}.blob.{suffix or 'core.windows.net'}"
            yield "endpoint", f"{protocol}://{host}"


def _credential(value: object) -> Iterator[Pair]:
    if not isinstance(value, str):
        raise InvalidOption(
            "'credential' is an object, which cannot be passed on to Lance; give 'account_key', "
            "'sas_token', or 'tenant_id', 'client_id' and 'client_secret', or leave it to the "
            "environment."
        )
    yield "sas_token" if "sig=" in value else "account_key", value


def _account_host(value: object) -> Iterator[Pair]:
    if not isinstance(value, str) or "/" in value:
        raise InvalidOption("'account_host' must be a host name; for a URL use 'endpoint'.")
    yield "endpoint", f"https://{value}"


_SPECIAL: Final[dict[tuple[Scheme, str], Callable[[object], Iterator[Pair]]]] = {
    ("s3", "client_kwargs"): _client_kwargs,
    ("s3", "config_kwargs"): _config_kwargs,
    ("s3", "use_ssl"): _use_ssl,
    ("s3", "verify"): _verify,
    ("s3", "session"): _session,
    ("s3", "s3_additional_kwargs"): _additional,
    ("gs", "token"): _gcs_token,
    ("az", "connection_string"): _connection_string,
    ("az", "azure_storage_connection_string"): _connection_string,
    ("az", "credential"): _credential,
    ("az", "account_host"): _account_host,
}
NESTED: Final[dict[Scheme, tuple[str, ...]]] = {
    scheme: tuple(k for s, k in _SPECIAL if s == scheme) for scheme in ("s3", "gs", "az")
}
"""Keys beyond those of :func:`pennon.config.spellings.spellings`."""
