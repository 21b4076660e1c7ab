"""What a store can be told: one frozen struct per provider and one for the client.

A field's type is its grammar: ``str`` text, :class:`Secret` text that is masked when shown,
``bool``, ``int``, and ``float`` for seconds. The spellings a field is accepted in are in
:mod:`pennon.config.spellings`.
"""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec

__all__ = [
    "AzureOptions",
    "ClientOptions",
    "GCSOptions",
    "NoOptions",
    "ProviderOptions",
    "S3Options",
    "Secret",
    "kinds",
]


class Secret(str):
    """Text whose ``repr()`` is masked, so that no dump of variables or options shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (self.plain,)

    @property
    def plain(self) -> str:
        """The same text as an ordinary string."""
        return str.__str__(self)


class NoOptions(msgspec.Struct, frozen=True):
    """Local disk and memory: there is nothing to choose."""


class S3Options(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """S3 and everything that speaks it. ``None`` leaves the choice to the environment."""

    access_key_id: str | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    profile: str | None = None
    """A profile of the AWS configuration files, read through botocore each time a store opens."""
    region: str | None = None
    endpoint: str | None = None
    """With scheme; ``http://`` implies ``allow_http``. Wins over the environment."""
    virtual_hosted_style_request: bool | None = None
    """Bucket in the host name rather than in the path; then ``endpoint`` holds the bucket."""
    skip_signature: bool | None = None
    unsigned_payload: bool | None = None
    checksum_algorithm: str | None = None
    conditional_put: str | None = None
    copy_if_not_exists: str | None = None
    s3_express: bool | None = None
    request_payer: bool | None = None
    disable_tagging: bool | None = None
    disable_bulk_delete: bool | None = None
    server_side_encryption: str | None = None
    sse_kms_key_id: str | None = None
    sse_bucket_key_enabled: bool | None = None
    sse_customer_key_base64: Secret | None = None
    role_arn: str | None = None
    role_session_name: str | None = None
    web_identity_token_file: str | None = None
    endpoint_url_sts: str | None = None
    metadata_endpoint: str | None = None
    imdsv1_fallback: bool | None = None
    container_credentials_relative_uri: str | None = None
    container_credentials_full_uri: str | None = None
    container_authorization_token_file: str | None = None


class GCSOptions(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Google Cloud Storage. ``None`` leaves the choice to the environment."""

    service_account: str | None = None
    """Path of a service account file."""
    service_account_key: Secret | None = None
    """The JSON of a service account."""
    application_credentials: str | None = None
    """Path of a file of application default credentials."""
    bearer_token: Secret | None = None
    base_url: str | None = None
    skip_signature: bool | None = None
    project: str | None = None
    """Only fsspec uses it."""


class AzureOptions(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """Azure Blob Storage. ``None`` leaves the choice to the environment."""

    account_name: str | None = None
    account_key: Secret | None = None
    sas_token: Secret | None = None
    bearer_token: Secret | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    authority_host: str | None = None
    endpoint: str | None = None
    """With scheme, and for an emulator with the account as path."""
    credential_type: str | None = None
    federated_token_file: str | None = None
    msi_endpoint: str | None = None
    object_id: str | None = None
    msi_resource_id: str | None = None
    use_azure_cli: bool | None = None
    use_emulator: bool | None = None
    """Azurite on its own port, 10000; for another port give ``endpoint`` instead."""
    skip_signature: bool | None = None
    disable_tagging: bool | None = None
    encryption_key: Secret | None = None
    use_fabric_endpoint: bool | None = None
    fabric_token_service_url: str | None = None
    fabric_workload_host: str | None = None
    fabric_session_token: Secret | None = None
    fabric_cluster_identifier: str | None = None


class ClientOptions(msgspec.Struct, frozen=True, kw_only=True, repr_omit_defaults=True):
    """The HTTP client under every bucket. Times are seconds."""

    timeout: float | None = None
    """Of one request, including its body."""
    connect_timeout: float | None = None
    read_timeout: float | None = None
    """Between two pieces of an answer."""
    allow_http: bool | None = None
    """Implied by an ``http://`` endpoint."""
    allow_invalid_certificates: bool | None = None
    proxy_url: Secret | None = None
    """Masked, since it may hold a password."""
    proxy_excludes: str | None = None
    proxy_ca_certificate: str | None = None
    user_agent: str | None = None
    http1_only: bool | None = None
    http2_only: bool | None = None
    http2_keep_alive_interval: float | None = None
    http2_keep_alive_timeout: float | None = None
    http2_keep_alive_while_idle: bool | None = None
    pool_idle_timeout: float | None = None
    pool_max_idle_per_host: int | None = None
    randomize_addresses: bool | None = None
    client_max_retries: int | None = None
    """Of Lance's own client, per request."""
    client_retry_timeout: float | None = None
    """Of Lance's own client, whole seconds."""
    download_retry_count: int | None = None
    """Of Lance's own client."""


ProviderOptions = NoOptions | S3Options | GCSOptions | AzureOptions


def kinds(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the type of each field of a struct of options, without its ``None``."""
    return {name: get_args(hint)[0] for name, hint in get_type_hints(struct).items()}
