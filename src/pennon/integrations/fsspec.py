"""Roots of pennon as fsspec filesystems, and the other way round.

>>> fs = filesystem("s3://bucket/lake", storage_options={"region": "eu-west-1"})
>>> fs.ls("")                          # paths are relative to the root
>>> root_of(fs)[0]
Uri(scheme='s3', bucket='bucket', path='lake', namespace=())

pennon and Lance never read or write through fsspec: they use the place it names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from pennon.config import from_fsspec, parse_options
from pennon.errors import InvalidURI, MissingExtra
from pennon.uri import Scheme, Uri, parse_uri

__all__ = ["filesystem", "root_of"]

_PACKAGES: Final[dict[Scheme, tuple[str, str]]] = {
    "file": ("fsspec", "fsspec"),
    "memory": ("fsspec", "fsspec"),
    "s3": ("s3fs", "s3"),
    "gs": ("gcsfs", "gcs"),
    "az": ("adlfs", "azure"),
}


def filesystem(
    root: str | os.PathLike[str] | Uri,
    *,
    storage_options: Mapping[str, object] | None = None,
) -> Any:
    """Return a ``fsspec.implementations.dirfs.DirFileSystem`` over a root.

    It sees the files of the root under relative paths and does not cache listings. Writing to
    the files of a table or catalog through it damages them. Like any fsspec filesystem it shows
    and pickles the credentials it was given. ``memory://name`` becomes a directory of fsspec's own
    memory, which shares nothing with pennon's.

    Args:
        root: A directory or a URI of ``file``, ``memory``, ``s3``, ``gs`` or ``az``.
        storage_options: See :func:`pennon.config.parse_options`.

    Raises:
        InvalidURI: Not a root, or the URI of a server.
        InvalidOption: A wrong option.
        Unsupported: The filesystem cannot be told one of the options.
        MissingExtra: The package for this scheme is not installed.
    """
    uri = parse_uri(root)
    if uri.scheme not in _PACKAGES:
        raise InvalidURI(f"{uri} is a server, not a place with files; pass a path or bucket URI.")
    options = parse_options(uri, storage_options).for_fsspec()
    package, extra = _PACKAGES[uri.scheme]
    try:
        import fsspec
        from fsspec.implementations.dirfs import DirFileSystem

        kind = fsspec.get_filesystem_class(uri.scheme)
    except ImportError as error:
        raise MissingExtra(
            f"A filesystem for {uri.scheme}:// needs {package}; run: pip install 'pennon[{extra}]'"
        ) from error
    if uri.scheme == "file":
        return DirFileSystem(uri.path, kind(auto_mkdir=True))
    if uri.scheme == "memory":
        return DirFileSystem(f"/{uri.bucket}/{uri.path}".rstrip("/"), kind())
    inner = kind(**options, use_listings_cache=False)
    return DirFileSystem(f"{uri.bucket}/{uri.path}".rstrip("/"), inner)


def root_of(fs: object) -> tuple[Uri, dict[str, object]]:
    """Return the root and storage options of an fsspec filesystem with a directory.

    The inverse of :func:`filesystem`: both open the same place with the same credentials. The
    options may hold credentials; never log them.

    Raises:
        InvalidURI: Not a ``DirFileSystem`` over a local, memory, S3, Google Cloud or Azure
            filesystem.
    """
    return from_fsspec(fs)
