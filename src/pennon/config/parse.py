"""From keys and values as they come to checked options."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, cast

from pennon.config.options import (
    AzureOptions,
    ClientOptions,
    GCSOptions,
    NoOptions,
    ProviderOptions,
    S3Options,
    Secret,
    kinds,
)
from pennon.config.profiles import find_profile
from pennon.config.spellings import PROVIDERS, STRUCTS, spellings
from pennon.config.store import StoreOptions
from pennon.config.unfold import NESTED, unfold
from pennon.errors import InvalidOption, did_you_mean
from pennon.uri import Scheme, Uri

__all__ = ["parse_options", "split_storage"]

_TRUE = {"true", "1", "yes", "on"}
_FALSE = {"false", "0", "no", "off"}
_UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|sec|s|min|m|h)?\s*")
_ENDPOINTS: dict[Scheme, tuple[str, ...]] = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ALLOW_HTTP: dict[Scheme, str] = {"s3": "AWS_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}


def split_storage(properties: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Split properties into all others and those under ``storage.``, whose prefix is cut."""
    rest = {k: v for k, v in properties.items() if not k.startswith("storage.")}
    cut = len("storage.")
    return rest, {k[cut:]: v for k, v in properties.items() if k.startswith("storage.")}


def parse_options(uri: Uri, options: Mapping[str, object] | None = None) -> StoreOptions:
    """Check storage options and give each its type.

    Accepts the keys of object_store and Lance in any case (``aws_region``, ``region``), those of
    s3fs, gcsfs and adlfs (``key``, ``client_kwargs``, ``token``, ``connection_string``), and what
    the query of the URI gave. ``None`` means not given. What is not given is left to the
    environment, except that an endpoint or AWS profile named there is taken over, so that every
    layer uses the same one. An ``http://`` endpoint implies ``allow_http``; an S3 endpoint
    is addressed with the bucket in the path, and without a region gets ``us-east-1``.

    Raises:
        InvalidOption: An unknown key, a value of the wrong type, or one option given twice with
            different values.
        MissingExtra: A profile is named and botocore is not installed.
        Unauthenticated: The profile holds no credentials.
    """
    given: list[tuple[str, object]] = [*uri.options.items(), *(options or {}).items()]
    scheme = uri.scheme
    if scheme not in STRUCTS:
        return _none(uri, given)
    found = _collect(scheme, given)
    provider_type = STRUCTS[scheme]
    client_names = set(ClientOptions.__struct_fields__)
    chosen = {k: v for k, v in found.items() if k not in client_names}
    client = {k: v for k, v in found.items() if k in client_names}
    provider = cast("ProviderOptions", provider_type(**_complete(scheme, chosen)))
    return StoreOptions.of(scheme, provider, _client(scheme, provider, client))


def _none(uri: Uri, given: Iterable[tuple[str, object]]) -> StoreOptions:
    keys = [k for k, v in given if v is not None]
    if keys:
        raise InvalidOption(
            f"{uri} takes no storage options, yet {keys[0]!r} was given; they belong to a "
            "bucket (s3://, gs://, az://)."
        )
    return StoreOptions.of(uri.scheme, NoOptions(), ClientOptions())


def _collect(scheme: Scheme, given: Iterable[tuple[str, object]]) -> dict[str, Any]:
    known = spellings(scheme)
    types = kinds(STRUCTS[scheme]) | kinds(ClientOptions)
    found: dict[str, Any] = {}
    first: dict[str, str] = {}
    for key, value in unfold(scheme, given):
        field = known.get(key.lower())
        if field is None:
            raise _unknown(scheme, key)
        typed = _typed(key, value, types[field])
        if field in found and found[field] != typed:
            raise InvalidOption(
                f"{first[field]!r} and {key!r} are the same option with two values; keep one."
            )
        found[field] = typed
        first.setdefault(field, key)
    return found


def _unknown(scheme: Scheme, key: str) -> InvalidOption:
    here = PROVIDERS[scheme]
    for other, name in PROVIDERS.items():
        if other != scheme and key.lower() in {*spellings(other), *NESTED[other]}:
            return InvalidOption(f"{key!r} is an option of {name} ({other}://), not of {here}.")
    known = {*spellings(scheme), *NESTED[scheme]}
    hint = did_you_mean(key.lower(), known)
    if not hint.startswith("did"):
        hint = did_you_mean(key.lower(), STRUCTS[scheme].__struct_fields__)
    return InvalidOption(f"{key!r} is no storage option of {here}: {hint}")


def _typed(key: str, value: object, kind: type) -> Any:
    if kind is bool:
        return _boolean(key, value)
    if kind is float:
        return _seconds(key, value)
    if kind is int:
        return _integer(key, value)
    if not isinstance(value, str) or not value:
        what = type(value).__name__ if not isinstance(value, str) else "empty text"
        raise InvalidOption(f"{key!r} must be text, not {what}.")
    return Secret(value) if kind is Secret else value


def _boolean(key: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or (word == "requester" and key.lower().endswith("request_payer")):
            return True
        if word in _FALSE:
            return False
    raise InvalidOption(f"{key!r} must be true or false, not {value!r}.")


def _integer(key: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value.strip()):
        return int(value)
    raise InvalidOption(f"{key!r} must be a whole number, 0 or more, not {value!r}.")


def _seconds(key: str, value: object) -> float:
    total = math.nan
    if isinstance(value, timedelta):
        total = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        total = float(value)
    elif isinstance(value, str) and re.fullmatch(f"(?:{_SPAN.pattern})+", value.strip()):
        spans = _SPAN.findall(value.strip())
        if len(spans) == 1 or all(unit for _, unit in spans):
            total = sum(float(n) * _UNITS[unit or "s"] for n, unit in spans)
    if not 0 < total < 1e9:  # noqa: PLR2004
        raise InvalidOption(
            f"{key!r} must be a time above zero such as 5, '5s' or '1m 30s', not {value!r}."
        )
    return total


def _complete(scheme: Scheme, chosen: dict[str, Any]) -> dict[str, Any]:
    name = "base_url" if scheme == "gs" else "endpoint"
    if name not in chosen:
        around = next((os.environ[v] for v in _ENDPOINTS[scheme] if os.environ.get(v)), None)
        if around:
            chosen[name] = around
    if name in chosen:
        chosen[name] = _endpoint(name, chosen[name])
    if scheme == "s3":
        _complete_s3(chosen)
    return chosen


def _complete_s3(chosen: dict[str, Any]) -> None:
    static = {"access_key_id", "secret_access_key"} & set(chosen)
    if len(static) == 1:
        raise InvalidOption(
            "'access_key_id' and 'secret_access_key' go together; give both or neither."
        )
    if "profile" in chosen and static:
        raise InvalidOption("'profile' and 'access_key_id' exclude each other; keep one.")
    env = os.environ
    signs = not chosen.get("skip_signature") and not static
    if signs and env.get("AWS_PROFILE") and not env.get("AWS_ACCESS_KEY_ID"):
        chosen.setdefault("profile", env["AWS_PROFILE"])
    if "endpoint" in chosen and not env.get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST"):
        chosen.setdefault("virtual_hosted_style_request", False)
    if "profile" in chosen:
        find_profile(chosen["profile"])
    somewhere = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
    if "endpoint" in chosen and "profile" not in chosen and not somewhere:
        chosen.setdefault("region", "us-east-1")


def _endpoint(name: str, value: str) -> str:
    if not re.match(r"(?i)^https?://[^/\s]+", value):
        raise InvalidOption(f"{name!r} must begin with http:// or https:// and name a host.")
    if "@" in value:
        raise InvalidOption(f"{name!r} holds credentials; give them as options of their own.")
    return value.rstrip("/")


def _plain_http(provider: ProviderOptions) -> bool:
    urls: list[str] = []
    if isinstance(provider, (S3Options, AzureOptions)):
        urls = [provider.endpoint or ""]
    elif isinstance(provider, GCSOptions):
        urls = [provider.base_url or "", _key_url(provider.service_account_key)]
    return any(u.lower().startswith("http://") for u in urls)


def _key_url(key: str | None) -> str:
    if not key:
        return ""
    try:
        fields = json.loads(key)
    except ValueError:
        raise InvalidOption(
            "'service_account_key' must be the JSON of a service account; for a path use "
            "'service_account'."
        ) from None
    return str(fields.get("gcs_base_url", "")) if isinstance(fields, dict) else ""


def _client(scheme: Scheme, provider: ProviderOptions, client: dict[str, Any]) -> ClientOptions:
    if _plain_http(provider):
        if client.get("allow_http") is False:
            raise InvalidOption("The endpoint is http:// and 'allow_http' is false; change one.")
        client["allow_http"] = True
    around = os.environ.get(_ALLOW_HTTP.get(scheme, ""), "")
    if around.strip().lower() in _TRUE:
        client.setdefault("allow_http", True)
    return ClientOptions(**client)
