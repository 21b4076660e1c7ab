"""Lance schemas with some fields changed.

A Lance schema gives every field a number, by which data files and indexes know it, so a changed
schema must keep the numbers: one made anew from Arrow would not. pylance can pickle a schema, as
one protobuf message per field, and has no other way to edit it; these few of its fields are all
that is read or written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Field", "fields_of", "new_fields", "next_id", "schema_of"]

_NAME, _ID, _PARENT, _NULLABLE = 2, 3, 4, 6
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_ROOT = -1
_MORE = 0x80


@dataclass(frozen=True, slots=True)
class Field:
    """A column, or a part of one: the parts follow it in a schema."""

    parts: tuple[tuple[int, int, Any], ...]
    """Number, wire type and content of the protobuf fields that are not the default."""

    @property
    def name(self) -> str:
        """Its own name, without those of what it is part of."""
        return self._get(_NAME, b"").decode()

    @property
    def id(self) -> int:
        """What files and indexes know it by."""
        return _signed(self._get(_ID, 0))

    @property
    def parent(self) -> int:
        """What it is part of; -1 for a column."""
        return _signed(self._get(_PARENT, 0))

    @property
    def is_column(self) -> bool:
        """Whether it is part of no other field."""
        return self.parent == _ROOT

    def named(self, name: str) -> Field:
        """Return it under another name."""
        return self._with(_NAME, _BYTES, name.encode())

    def allowing_null(self, nullable: bool) -> Field:  # noqa: FBT001
        """Return it with or without NULL."""
        return self._with(_NULLABLE, _VARINT, int(nullable))

    def moved(self, by: int) -> Field:
        """Return it with another number, part of a field moved as far."""
        at = self._with(_ID, _VARINT, self.id + by)
        return at if self.is_column else at._with(_PARENT, _VARINT, self.parent + by)  # noqa: SLF001

    def _get(self, number: int, default: Any) -> Any:
        return next((value for n, _, value in self.parts if n == number), default)

    def _with(self, number: int, wire: int, value: Any) -> Field:
        rest = [part for part in self.parts if part[0] != number]
        return Field(tuple(sorted([*rest, (number, wire, value)], key=lambda part: part[0])))


def fields_of(schema: Any) -> list[Field]:
    """Return the fields of a Lance schema, each before its parts."""
    _, (_, *messages) = schema.__reduce__()
    return [Field(tuple(_parsed(message))) for message in messages]


def schema_of(like: Any, fields: Iterable[Field]) -> Any:
    """Return a Lance schema with other fields than ``like`` has, and its metadata."""
    make, (metadata, *_) = like.__reduce__()
    return make(metadata, *(_message(field.parts) for field in fields))


def new_fields(schema: pa.Schema, first: int) -> list[Field]:
    """Return fields for new columns.

    Args:
        schema: The columns.
        first: The number of the first field.
    """
    from lance.schema import LanceSchema

    return [field.moved(first) for field in fields_of(LanceSchema.from_pyarrow(schema))]


def next_id(handle: lance.LanceDataset) -> int:
    """Return the lowest number no field has, nor any in the data files: a file keeps dropped ones.

    With a number that a file has, old values would come back under a new name.
    """
    in_schema = [field.id for field in fields_of(handle.lance_schema)]
    in_files = [
        number
        for fragment in handle.get_fragments()
        for file in fragment.metadata.files
        for number in file.fields
    ]
    return max([_ROOT, *in_schema, *in_files]) + 1


def _parsed(message: bytes) -> Iterable[tuple[int, int, Any]]:
    place = 0
    while place < len(message):
        tag, place = _read_varint(message, place)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _read_varint(message, place)
            yield number, wire, value
            continue
        if wire == _BYTES:
            length, place = _read_varint(message, place)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}[wire]
        yield number, wire, message[place : place + length]
        place += length


def _message(parts: Sequence[tuple[int, int, Any]]) -> bytes:
    out = bytearray()
    for number, wire, value in parts:
        out += _varint(number << 3 | wire)
        if wire == _VARINT:
            out += _varint(value)
            continue
        if wire == _BYTES:
            out += _varint(len(value))
        out += value
    return bytes(out)


def _read_varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & (_MORE - 1)) << shift
        shift += 7
        if byte < _MORE:
            return value, place


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= _MORE:
        out.append(value & (_MORE - 1) | _MORE)
        value >>= 7
    return bytes([*out, value])


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
