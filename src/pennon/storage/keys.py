"""The primary key of a table: said by its schema, the way Lance and its other tools say it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pennon.errors import ColumnNotFound, InvalidOption, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["primary_key", "with_primary_key"]

_KEY = b"lance-schema:unenforced-primary-key"
_POSITION = b"lance-schema:unenforced-primary-key:position"


def primary_key(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns of the primary key in their order; none if no key is declared."""
    found: list[tuple[int, int, str]] = []
    for place, field in enumerate(schema):
        said = field.metadata or {}
        if said.get(_KEY, b"").lower() in (b"true", b"1", b"yes") or _POSITION in said:
            position = said.get(_POSITION, b"")
            found.append((int(position) if position.isdigit() else 0, place, field.name))
    return tuple(name for _, _, name in sorted(found))


def with_primary_key(schema: pa.Schema, names: str | Sequence[str]) -> pa.Schema:
    """Return a schema that declares a primary key; its columns then allow no NULL.

    Raises:
        ColumnNotFound: A column of the key does not exist.
        InvalidOption: The key is empty, names a column twice, has a column of floats or of
            nested values, or the schema declares another key already.
    """
    import pyarrow as pa

    key = [names] if isinstance(names, str) else list(names)
    if not key or len(set(key)) != len(key):
        raise InvalidOption(f"primary_key={names!r} must name columns, each once.")
    missing = [n for n in key if n not in schema.names]
    if missing:
        raise ColumnNotFound(
            f"The primary key needs a column {missing[0]!r}; "
            f"{did_you_mean(missing[0], schema.names)}",
            columns=tuple(missing),
        )
    declared = primary_key(schema)
    if declared and declared != tuple(key):
        raise InvalidOption(
            f"primary_key={names!r} is not the key the schema declares, which is {declared!r}."
        )
    fields: list[pa.Field] = []
    for field in schema:
        if field.name not in key:
            fields.append(field)
            continue
        if pa.types.is_nested(field.type) or pa.types.is_floating(field.type):
            raise InvalidOption(
                f"The column {field.name!r} is {field.type}, which cannot be part of a key; use "
                "whole numbers, text, bytes, dates or times."
            )
        said = {**(field.metadata or {}), _KEY: b"true"}
        said[_POSITION] = str(key.index(field.name) + 1).encode()
        fields.append(field.with_nullable(nullable=False).with_metadata(said))
    return pa.schema(fields, metadata=schema.metadata)
