"""The options of one store, checked, and their form for each layer below."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import msgspec

from pennon.config.options import (
    ClientOptions,
    GCSOptions,
    NoOptions,
    ProviderOptions,
    S3Options,
    Secret,
)
from pennon.config.profiles import resolve_profile
from pennon.config.spellings import LANCE_NAMES
from pennon.errors import Unsupported
from pennon.uri import Scheme

__all__ = ["StoreOptions"]

_ENVIRONMENT: dict[Scheme, tuple[str, ...]] = {
    "s3": ("AWS_",),
    "gs": ("GOOGLE_",),
    "az": ("AZURE_", "IDENTITY_", "MSI_"),
}
# Lance makes each first request six times whatever it is told, and each of those as often as its
# client is told: so a closed port is reported in 5 seconds. Fewer tries or shorter ones would give
# up on distant buckets.
_LANCE_DEFAULTS = {"connect_timeout": 1.5, "client_max_retries": 3, "client_retry_timeout": 30.0}


class StoreOptions(msgspec.Struct, frozen=True, eq=True):
    """Checked options of one store; ``repr()`` masks every secret.

    What is not given here is looked up in the environment by the layers below: the variables of
    AWS, Google and Azure, instance roles, workload identities.

    Pickling is refused while :attr:`has_secrets`: credentials do not travel by accident.
    """

    scheme: Scheme
    provider: ProviderOptions
    client: ClientOptions
    principal: str
    """Hash of everything that decides whose data one sees: all options, and the variables of the
    provider in the environment at the time the options were parsed."""

    @classmethod
    def of(cls, scheme: Scheme, provider: ProviderOptions, client: ClientOptions) -> StoreOptions:
        """Return the options with their principal in the current environment."""
        return cls(scheme, provider, client, _principal(scheme, provider, client))

    @property
    def secrets(self) -> tuple[str, ...]:
        """The values that no message may show."""
        values = [*_given(self.provider).values(), *_given(self.client).values()]
        found = [v.plain for v in values if isinstance(v, Secret)]
        if isinstance(self.provider, GCSOptions) and self.provider.service_account_key:
            found += _inner_secrets(self.provider.service_account_key)
        if isinstance(self.provider, S3Options) and self.provider.profile:
            found += [
                v.plain for v in resolve_profile(self.provider).values() if isinstance(v, Secret)
            ]
        return tuple(dict.fromkeys(v for v in found if v))

    @property
    def has_secrets(self) -> bool:
        """Whether an option holds a credential, rather than naming where one is found."""
        values = [*_given(self.provider).values(), *_given(self.client).values()]
        return any(isinstance(v, Secret) for v in values)

    def for_obstore(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the configuration and the client options for a store of obstore."""
        client: dict[str, Any] = {}
        for name, value in _given(self.client).items():
            if name in {"client_max_retries", "client_retry_timeout", "download_retry_count"}:
                continue
            client[name] = _text(value) if isinstance(value, (float, Secret)) else value
        if "pool_max_idle_per_host" in client:
            client["pool_max_idle_per_host"] = str(client["pool_max_idle_per_host"])
        return dict(self._named()), client

    def for_lance(self) -> dict[str, str]:
        """Return the ``storage_options`` for Lance.

        Its own retries are bounded, so that an endpoint that refuses connections is reported within
        10 seconds. One that drops packets takes Lance 40 seconds: reach the bucket through an
        object store first, which gives up sooner.
        """
        if isinstance(self.provider, NoOptions):
            return {}
        client = _LANCE_DEFAULTS | _given(self.client)
        out = self._named()
        for name, value in client.items():
            whole = name == "client_retry_timeout"
            out[name] = str(max(1, round(value))) if whole else _text(value)
        return out

    def for_fsspec(self) -> dict[str, Any]:
        """Return the keyword arguments for the fsspec filesystem of this scheme."""
        from pennon.config.filesystems import to_fsspec

        return to_fsspec(self)

    def _named(self) -> dict[str, str]:
        given = _given(self.provider)
        if isinstance(self.provider, S3Options) and self.provider.profile:
            given = resolve_profile(self.provider) | given
            if self.provider.endpoint:
                given.setdefault("region", "us-east-1")
        names = LANCE_NAMES.get(self.scheme, {})
        out = {names[k]: _text(v) for k, v in given.items() if k in names}
        if "aws_endpoint" in out:
            # AWS_ENDPOINT_URL_S3 in the environment wins over a plain endpoint.
            out["aws_endpoint_url_s3"] = out["aws_endpoint"]
        return out

    def __reduce__(self) -> tuple[Any, ...]:
        if self.has_secrets:
            raise Unsupported(
                f"The options of this {self.scheme}:// store hold credentials and are not "
                "pickled; give them to the other process by its environment or open the store "
                "there."
            )
        return StoreOptions.of, (self.scheme, self.provider, self.client)


def _given(struct: msgspec.Struct) -> dict[str, Any]:
    fields = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return {name: value for name, value in fields if value is not None}


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{max(1, round(value * 1000))}ms"
    return value if isinstance(value, str) else str(value)


def _inner_secrets(key: Secret) -> list[str]:
    try:
        fields = json.loads(key)
    except ValueError:
        return []
    names = ("private_key", "private_key_id")
    return [str(fields[n]) for n in names if isinstance(fields, dict) and fields.get(n)]


def _principal(scheme: Scheme, provider: ProviderOptions, client: ClientOptions) -> str:
    prefixes = _ENVIRONMENT.get(scheme, ())
    seen: Mapping[str, str] = {
        k: v for k, v in os.environ.items() if prefixes and k.startswith(prefixes)
    }
    parts = [scheme, _given(provider), _given(client), sorted(seen.items())]
    text = json.dumps(parts, sort_keys=True).encode()
    return base64.b32encode(hashlib.sha256(text).digest()[:20]).decode().lower()
