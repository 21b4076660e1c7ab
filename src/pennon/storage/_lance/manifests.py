"""What the commits of pennon say of themselves, read from the first bytes of their manifests.

A manifest names every fragment of its version, a megabyte for 10,000 of them. But it begins with
the transaction that made it, or with that after a short section on indexes; and a transaction
begins with the version it was made on and its properties, where pennon keeps all it has to say.
The numbers of the fields are those of ``transaction.proto`` and ``table.proto`` in Lance. Whatever
looks otherwise is left to Lance to read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pennon.errors import PennonError
from pennon.namespaces.newest import lists_newest_first, manifest_of, version_of
from pennon.storage._lance.places import Place

__all__ = ["Said", "said", "versions_of"]

_BYTES = 4096
"""Of a manifest, read at once: room for some indexes and a dozen writes."""
_NUMBER = 4
"""Bytes of the length of a section."""
_INDEXES = 0x0A
"""The first byte of a section on indexes; none of a transaction."""
_READ_VERSION, _ID, _PROPERTIES, _OPERATIONS = 1, 2, 4, 100
"""Fields of a transaction, in the order in which they are written; operations come last."""
_VARINT, _EIGHT, _TEXT, _FOUR = 0, 1, 2, 5
"""Wire types of protocol buffers."""


@dataclass(frozen=True, slots=True)
class Said:
    """The beginning of a transaction."""

    read_version: int
    """The version it was made on, or followed."""
    properties: dict[str, str]


def versions_of(place: Place, limit: int | None = None, before: int | None = None) -> list[int]:
    """Return the versions of a branch, the newest first; none if there is no such branch.

    Args:
        place: The branch.
        limit: How many; all if None.
        before: Only those that are older.
    """
    found: list[int] = []
    ordered = lists_newest_first(place.above)
    for name in _names(place):
        number = version_of(name)
        if number is None or (before is not None and number >= before):
            continue
        found.append(number)
        if ordered and len(found) == limit and name.endswith(manifest_of(number)):
            break
    return sorted(found, reverse=True)[:limit]


def _names(place: Place) -> Iterator[str]:
    directory = f"{place.base}/_versions"
    if place.uri.scheme != "file":
        yield from (meta.key for meta in place.above.list(directory))
        return
    try:
        yield from os.listdir(f"{place.above.uri.path}/{directory}")  # noqa: PTH208 - no Path of each
    except (FileNotFoundError, NotADirectoryError):
        return


def said(place: Place, version: int) -> Said | None:
    """Return what the commit of a version says; None if that is not where it is expected."""
    key = f"{place.base}/_versions/{manifest_of(version)}"
    if place.uri.scheme != "file":

        def read(start: int, end: int) -> bytes:
            return place.above.get(key, range=(start, end)).data

        try:
            return _said(read)
        except (PennonError, ValueError, IndexError):
            return None
    try:
        with open(f"{place.above.uri.path}/{key}", "rb", buffering=0) as file:  # noqa: PTH123

            def read_file(start: int, end: int) -> bytes:
                file.seek(start)
                return file.read(end - start)

            return _said(read_file)
    except (OSError, ValueError, IndexError):
        return None


def _said(read: Callable[[int, int], bytes]) -> Said | None:
    """Return what a manifest begins with.

    Args:
        read: Returns its bytes from one place to another, or as far as they go.

    Raises:
        ValueError: It begins otherwise; so does IndexError.
    """
    start, data = 0, read(0, _BYTES)
    if data[_NUMBER] == _INDEXES:
        start = _NUMBER + _length(data)
        data = data[start:] if start + _BYTES // 2 <= len(data) else read(start, start + _BYTES)
    size = _NUMBER + _length(data)
    if size <= len(data):
        return _parsed(data[_NUMBER:size])
    try:
        return _parsed(data[_NUMBER:])
    except IndexError:
        return _parsed(read(start, start + size)[_NUMBER:])


def _length(data: bytes) -> int:
    return int.from_bytes(data[:_NUMBER], "little")


def _parsed(data: bytes) -> Said | None:
    """Return what a transaction says; None if it is none, IndexError if more of it is needed."""
    version = 0
    properties: dict[str, str] = {}
    known = False
    for field, value in _fields(data):
        if field >= _OPERATIONS:
            break
        if field == _READ_VERSION and isinstance(value, int):
            version = value
        elif field == _ID:
            known = True
        elif field == _PROPERTIES and isinstance(value, bytes):
            pair = dict(_fields(value))
            properties[_text(pair.get(1, b""))] = _text(pair.get(2, b""))
    return Said(version, properties) if known else None


def _text(value: int | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a message of protocol buffers."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        field, wire = key >> 3, key & 7
        if field >= _OPERATIONS:
            yield field, 0
            return
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield field, value
            continue
        if wire == _TEXT:
            size, at = _varint(data, at)
        elif wire in {_EIGHT, _FOUR}:
            size = 8 if wire == _EIGHT else 4
        else:
            raise ValueError(f"{wire} is no wire type.")
        if at + size > len(data):
            raise IndexError("The message goes on.")
        yield field, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says that there is more
            return value, at
        shift += 7
