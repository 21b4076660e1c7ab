"""The names an option goes by: those of object_store (which Lance uses too) and of fsspec."""

from __future__ import annotations

from typing import Final

import msgspec

from pennon.config.options import AzureOptions, ClientOptions, GCSOptions, NoOptions, S3Options
from pennon.uri import Scheme

__all__ = ["LANCE_NAMES", "PROVIDERS", "STRUCTS", "spellings"]

PROVIDERS: Final[dict[Scheme, str]] = {
    "s3": "S3",
    "gs": "Google Cloud Storage",
    "az": "Azure",
}
STRUCTS: Final[dict[Scheme, type[msgspec.Struct]]] = {
    "s3": S3Options,
    "gs": GCSOptions,
    "az": AzureOptions,
}

_S3_MORE: Final[dict[str, str]] = {
    "key": "access_key_id",
    "secret": "secret_access_key",
    "token": "session_token",
    "aws_token": "session_token",
    "region_name": "region",
    "default_region": "region",
    "aws_default_region": "region",
    "endpoint_url": "endpoint",
    "aws_endpoint_url": "endpoint",
    "aws_endpoint_url_s3": "endpoint",
    "anon": "skip_signature",
    "requester_pays": "request_payer",
}
_GCS_MORE: Final[dict[str, str]] = {
    "service_account_path": "service_account",
    "google_service_account_path": "service_account",
    "google_storage_token": "bearer_token",
    "endpoint_url": "base_url",
}
_AZURE_MORE: Final[dict[str, str]] = {
    "azure_storage_account_name": "account_name",
    "access_key": "account_key",
    "master_key": "account_key",
    "azure_storage_account_key": "account_key",
    "azure_storage_access_key": "account_key",
    "azure_storage_master_key": "account_key",
    "azure_storage_client_id": "client_id",
    "azure_storage_client_secret": "client_secret",
    "authority_id": "tenant_id",
    "azure_authority_id": "tenant_id",
    "azure_storage_tenant_id": "tenant_id",
    "azure_storage_authority_id": "tenant_id",
    "azure_storage_authority_host": "authority_host",
    "sas_key": "sas_token",
    "azure_storage_sas_key": "sas_token",
    "azure_storage_sas_token": "sas_token",
    "token": "bearer_token",
    "azure_storage_token": "bearer_token",
    "azure_storage_endpoint": "endpoint",
    "azure_storage_use_emulator": "use_emulator",
    "identity_endpoint": "msi_endpoint",
    "azure_identity_endpoint": "msi_endpoint",
    "anon": "skip_signature",
    "connection_timeout": "connect_timeout",
}
_CLIENT_MORE: Final[dict[str, str]] = {
    "proxy": "proxy_url",
    "aws_allow_http": "allow_http",
    "azure_allow_http": "allow_http",
    "google_allow_http": "allow_http",
}
_PREFIX: Final[dict[Scheme, str]] = {"s3": "aws_", "gs": "google_", "az": "azure_"}
_MORE: Final[dict[Scheme, dict[str, str]]] = {"s3": _S3_MORE, "gs": _GCS_MORE, "az": _AZURE_MORE}

LANCE_NAMES: Final[dict[Scheme, dict[str, str]]] = {
    "s3": {name: f"aws_{name}" for name in S3Options.__struct_fields__ if name != "profile"},
    "gs": {name: f"google_{name}" for name in GCSOptions.__struct_fields__ if name != "project"},
    "az": {
        "account_name": "azure_storage_account_name",
        "account_key": "azure_storage_account_key",
        "sas_token": "azure_storage_sas_token",
        "bearer_token": "azure_storage_token",
        "tenant_id": "azure_storage_tenant_id",
        "client_id": "azure_storage_client_id",
        "client_secret": "azure_storage_client_secret",
        "authority_host": "azure_storage_authority_host",
        "endpoint": "azure_storage_endpoint",
        "use_emulator": "azure_storage_use_emulator",
        "encryption_key": "encryption_key",
        **{
            name: f"azure_{name}"
            for name in AzureOptions.__struct_fields__
            if name.startswith(("fabric_", "msi_", "use_azure", "use_fabric"))
            or name
            in {
                "credential_type",
                "federated_token_file",
                "object_id",
                "skip_signature",
                "disable_tagging",
            }
        },
    },
}
"""Field to the one name object_store and Lance are given."""


def spellings(scheme: Scheme) -> dict[str, str]:
    """Return every accepted key of a provider, in lower case, with the field it stands for."""
    struct = STRUCTS.get(scheme, NoOptions)
    if struct is NoOptions:
        return {}
    known = {name: name for name in ClientOptions.__struct_fields__} | _CLIENT_MORE
    for name in struct.__struct_fields__:
        known[name] = name
        known[_PREFIX[scheme] + name] = name
    return known | _MORE[scheme]
