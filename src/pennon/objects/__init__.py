"""One bucket: get, put if absent, put if match, list, delete, on local disk, memory and buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.errors import InvalidURI
from pennon.objects.abc import Durability, ObjectMeta, ObjectStore, StoredObject

if TYPE_CHECKING:
    from pennon.config import StoreOptions
    from pennon.objects.certification import Certificate
    from pennon.retry import Deadline
    from pennon.uri import Uri

__all__ = [
    "Certificate",
    "Durability",
    "ObjectMeta",
    "ObjectStore",
    "StoredObject",
    "certify",
    "open_store",
]


def open_store(uri: Uri, options: StoreOptions) -> ObjectStore:
    """Return the store for a root. Sends no request and creates nothing.

    Args:
        uri: The root: ``file``, ``memory``, ``s3``, ``gs`` or ``az``.
        options: What :func:`pennon.config.parse_options` made of the user's options.

    Raises:
        InvalidURI: The URI names a server, not a place for objects.
        InvalidOption: The options do not make a client.
    """
    if uri.scheme == "file":
        from pennon.objects.local import LocalStore

        return LocalStore(uri)
    if uri.scheme == "memory":
        from pennon.objects.memory import MemoryStore

        return MemoryStore(uri)
    if uri.is_bucket:
        from pennon.objects.bucket import BucketStore

        return BucketStore(uri, options)
    raise InvalidURI(f"{uri} is a server, not a place for objects; pass a directory or a bucket.")


def certify(
    store: ObjectStore, *, allow_unsafe: bool = False, deadline: float | Deadline | None = None
) -> Certificate:
    """Prove a root safe for concurrent writers; see :func:`pennon.objects.certification.certify`.

    Raises:
        UnsafeStore: A check failed and ``allow_unsafe`` is not set.
    """
    from pennon.objects import certification

    return certification.certify(store, allow_unsafe=allow_unsafe, deadline=deadline)


def __getattr__(name: str) -> object:
    if name == "Certificate":
        from pennon.objects.certification import Certificate

        return Certificate
    raise AttributeError(f"module 'pennon.objects' has no attribute {name!r}")
