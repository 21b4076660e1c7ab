"""Between fsspec filesystems and roots, without importing fsspec."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from pennon.config.options import (
    AzureOptions,
    ClientOptions,
    GCSOptions,
    S3Options,
    Secret,
)
from pennon.errors import InvalidURI, MissingExtra, Unsupported
from pennon.uri import Scheme, Uri, parse_uri

if TYPE_CHECKING:
    from pennon.config.store import StoreOptions

__all__ = ["from_fsspec", "is_filesystem", "to_fsspec"]

_PROTOCOLS: Final[dict[str, Scheme]] = {
    "file": "file",
    "local": "file",
    "memory": "memory",
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "abfs": "az",
    "az": "az",
    "abfss": "az",
}
# How a filesystem reads, caches and runs its loop; none of it says whose data it sees.
_BEHAVIOUR: Final = {
    "access", "assume_container_exists", "asynchronous", "auto_mkdir", "batch_size", "block_size",
    "blocksize", "cache_regions", "cache_timeout", "check_connection", "consistency",
    "default_block_size", "default_cache_type", "default_fill_cache", "default_location",
    "finalize_on_close", "fixed_upload_size", "listings_expiry_time", "local_expiry_check",
    "location_mode", "loop", "max_concurrency", "max_mrd_pool_cache_queue_size", "max_paths",
    "mrd_pool_cache_size", "request_session", "retry_reads", "secure_serialize", "session_kwargs",
    "skip_instance_cache", "socket_timeout", "use_listings_cache", "version_aware",
}  # fmt: skip


def is_filesystem(target: object) -> bool:
    """Whether this is a filesystem object of fsspec."""
    return any(
        c.__module__ == "fsspec.spec" and c.__name__ == "AbstractFileSystem"
        for c in type(target).__mro__
    )


def from_fsspec(fs: object) -> tuple[Uri, dict[str, object]]:
    """Return the root and the storage options that an fsspec filesystem stands for.

    Args:
        fs: A ``DirFileSystem`` over a local, memory, S3, Google Cloud or Azure filesystem. Of a
            memory filesystem only the name is taken: its bytes are fsspec's own.

    Raises:
        InvalidURI: Not a filesystem, one of another kind, or one without a directory.
    """
    if not is_filesystem(fs):
        raise InvalidURI(f"{type(fs).__name__} is no fsspec filesystem; pass a URI or a path.")
    inner, path = _unwrap(fs)
    scheme = _scheme(inner)
    if path is None:
        raise InvalidURI(
            f"{type(inner).__name__} alone names no directory; "
            "pass DirFileSystem(path, fs) of fsspec.implementations.dirfs."
        )
    options = {k: v for k, v in _arguments(inner) if k not in _BEHAVIOUR and v is not None}
    stripped = path.split("://", 1)[-1]
    if scheme == "file":
        return parse_uri(f"file://{quote(stripped)}"), {}
    return parse_uri(f"{scheme}://{quote(stripped.strip('/'))}"), (
        {} if scheme == "memory" else options
    )


def _unwrap(fs: Any) -> tuple[Any, str | None]:
    path: str | None = None
    while _is_a(fs, "DirFileSystem"):
        path = str(fs.path) if path is None else f"{fs.path}/{path.lstrip('/')}"
        fs = fs.fs
    return fs, path or None


def _is_a(fs: object, name: str) -> bool:
    return any(c.__name__ == name for c in type(fs).__mro__)


def _scheme(fs: Any) -> Scheme:
    names = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    if not _is_a(fs, "CachingFileSystem"):
        for name in names:
            if name in _PROTOCOLS:
                return _PROTOCOLS[name]
    raise InvalidURI(
        f"A filesystem of kind {type(fs).__name__} cannot hold tables; use a local, S3, Google "
        "Cloud or Azure filesystem."
    )


def _arguments(fs: Any) -> Iterator[tuple[str, object]]:
    for kind in type(fs).__mro__:
        found = list(inspect.signature(kind.__init__).parameters.values())[1:]
        if not any(p.kind is p.VAR_POSITIONAL for p in found):
            yield from zip((p.name for p in found), fs.storage_args, strict=False)
            break
    yield from fs.storage_options.items()


def to_fsspec(options: StoreOptions) -> dict[str, Any]:
    """Return the arguments of the filesystem that sees what a store with these options sees.

    Raises:
        Unsupported: The filesystem cannot be told one of them.
        MissingExtra: A bearer token is given and google-auth is not installed.
    """
    provider, client = options.provider, options.client
    if isinstance(provider, S3Options):
        return _for_s3fs(provider, client)
    if isinstance(provider, GCSOptions):
        return _for_gcsfs(provider)
    if isinstance(provider, AzureOptions):
        return _for_adlfs(provider)
    return {}


def _refuse(provider: Any, package: str, *fields: str) -> None:
    for name in fields:
        if getattr(provider, name) is not None:
            raise Unsupported(f"{package} cannot be told {name!r}; set it in the environment.")


def _clean(arguments: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v.plain if isinstance(v, Secret) else v for k, v in arguments.items()}
    return {k: v for k, v in plain.items() if v is not None and v != {}}


def _for_s3fs(provider: S3Options, client: ClientOptions) -> dict[str, Any]:
    _refuse(
        provider,
        "s3fs",
        "role_arn",
        "web_identity_token_file",
        "container_credentials_relative_uri",
        "container_credentials_full_uri",
        "sse_customer_key_base64",
    )
    config: dict[str, Any] = {
        "connect_timeout": client.connect_timeout,
        "read_timeout": client.read_timeout or client.timeout,
    }
    if provider.virtual_hosted_style_request is not None or provider.endpoint:
        style = "virtual" if provider.virtual_hosted_style_request else "path"
        config["s3"] = {"addressing_style": style}
    if client.proxy_url:
        config["proxies"] = dict.fromkeys(("http", "https"), client.proxy_url.plain)
    insecure = False if client.allow_invalid_certificates else None
    extra = {
        "ServerSideEncryption": provider.server_side_encryption,
        "SSEKMSKeyId": provider.sse_kms_key_id,
    }
    return _clean(
        {
            "key": provider.access_key_id,
            "secret": provider.secret_access_key,
            "token": provider.session_token,
            "profile": provider.profile,
            "anon": provider.skip_signature,
            "endpoint_url": provider.endpoint,
            "requester_pays": provider.request_payer,
            "client_kwargs": _clean({"region_name": provider.region, "verify": insecure}),
            "config_kwargs": _clean(config),
            "s3_additional_kwargs": _clean(extra),
        }
    )


def _for_gcsfs(provider: GCSOptions) -> dict[str, Any]:
    token: Any = provider.application_credentials or provider.service_account
    endpoint = provider.base_url
    if provider.service_account_key:
        token = json.loads(provider.service_account_key)
        endpoint = endpoint or token.get("gcs_base_url")
        if token.get("disable_oauth"):
            token = _ANONYMOUS
    if provider.skip_signature:
        token = _ANONYMOUS
    if provider.bearer_token:
        try:
            from google.oauth2.credentials import Credentials
        except ImportError as error:
            raise MissingExtra(
                "A bearer token needs google-auth; run: pip install 'pennon[gcs]'"
            ) from error
        token = Credentials(provider.bearer_token.plain)
    return _clean({"token": token, "project": provider.project, "endpoint_url": endpoint})


_ANONYMOUS: Final = "anon"
_EMULATOR_KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def _for_adlfs(provider: AzureOptions) -> dict[str, Any]:
    _refuse(provider, "adlfs", "bearer_token", "encryption_key", "fabric_session_token")
    name, key, endpoint = provider.account_name, provider.account_key, provider.endpoint
    if provider.use_emulator:
        name = name or "devstoreaccount1"
        key = key or Secret(_EMULATOR_KEY)
        endpoint = endpoint or f"http://127.0.0.1:10000/{name}"
    if endpoint and (key or provider.sas_token):
        fields = {
            "AccountName": name,
            "AccountKey": key.plain if key else None,
            "SharedAccessSignature": provider.sas_token.plain if provider.sas_token else None,
            "BlobEndpoint": endpoint,
        }
        joined = ";".join(f"{k}={v}" for k, v in fields.items() if v)
        return {"account_name": name, "connection_string": joined}
    host = endpoint.split("://", 1)[1] if endpoint else None
    return _clean(
        {
            "account_name": name,
            "account_key": key,
            "sas_token": provider.sas_token,
            "tenant_id": provider.tenant_id,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret,
            "account_host": host,
            "anon": provider.skip_signature,
        }
    )
