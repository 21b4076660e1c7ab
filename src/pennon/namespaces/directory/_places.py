"""Where tables lie below a root, and what lies there."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pennon.errors import InvalidName
from pennon.namespaces.abc import Id
from pennon.namespaces.directory._lance import MANIFEST
from pennon.namespaces.model import Catalog
from pennon.objects import ObjectStore
from pennon.objects.abc import check_key

__all__ = [
    "DEREGISTERED",
    "ORPHAN",
    "RESERVED",
    "fresh_location",
    "has_data",
    "is_confined",
    "neighbours",
    "spread",
]

RESERVED = ".lance-reserved"
"""In the directory of a declared table. The native implementation cannot drop a table on a local
disk whose directory does not exist."""
DEREGISTERED = ".lance-deregistered"
"""In the directory of a table whose name was taken away while its data are kept."""
ORPHAN = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{8})?_.*", re.DOTALL)
"""Directories that only a catalog makes: ours have 16 hexadecimal digits, native ones 8."""
_OURS = frozenset({MANIFEST, "_pennon"})
_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


def fresh_location(id: Id) -> str:
    """Return a directory that was never used: random digits and something people recognise."""
    slug = re.sub(r"[^A-Za-z0-9.-]+", "-", id[-1]).strip("-.")[:32] or "table"
    return f"{secrets.token_hex(8)}_{slug}"


def is_confined(location: str) -> bool:
    """Whether a location of a catalog, written by whomever, is a directory below the root."""
    try:
        check_key(location)
    except InvalidName:
        return False
    return location.split("/", maxsplit=1)[0] not in _OURS and "://" not in location


def neighbours(catalog: Catalog, location: str) -> list[Id]:
    """Return the tables that lie within a location, or within which it lies."""
    return [
        owner
        for taken, owner in catalog.locations.items()
        if taken.startswith(f"{location}/") or location.startswith(f"{taken}/")
    ]


def has_data(store: ObjectStore, location: str) -> bool:
    """Whether a Lance dataset was ever committed at a location."""
    return next(store.list(f"{location}/_versions"), None) is not None


def spread(store: ObjectStore, work: Callable[[T], R], items: Iterable[T]) -> Sequence[R]:
    """Return ``work`` of each item; requests to a bucket are made side by side."""
    todo = list(items)
    if store.uri.scheme == "file" or len(todo) < 2:  # noqa: PLR2004
        return [work(item) for item in todo]
    with ThreadPoolExecutor(min(_THREADS, len(todo))) as pool:
        return list(pool.map(work, todo))
