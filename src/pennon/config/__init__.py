"""Storage options: every common spelling in, checked and typed options out.

>>> from pennon.uri import parse_uri
>>> options = parse_options(parse_uri("s3://lake"), {"key": "me", "secret": "hush"})
>>> options.provider
S3Options(access_key_id='me', secret_access_key='***')
"""

from __future__ import annotations

from pennon.config.filesystems import from_fsspec
from pennon.config.options import (
    AzureOptions,
    ClientOptions,
    GCSOptions,
    NoOptions,
    ProviderOptions,
    S3Options,
    Secret,
)
from pennon.config.parse import parse_options, split_storage
from pennon.config.store import StoreOptions

__all__ = [
    "AzureOptions",
    "ClientOptions",
    "GCSOptions",
    "NoOptions",
    "ProviderOptions",
    "S3Options",
    "Secret",
    "StoreOptions",
    "from_fsspec",
    "parse_options",
    "split_storage",
]
