"""The primary key of a table: said by its schema, the way Lance and its other tools say it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.arrow import storable, to_reader
from pennon.errors import (
    ColumnNotFound,
    DuplicateKey,
    InvalidName,
    InvalidOption,
    did_you_mean,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Difference",
    "check_key_column",
    "check_names",
    "checked_rows",
    "difference",
    "names_of",
    "primary_key",
    "with_primary_key",
    "without_key",
]

_KEY = b"lance-schema:unenforced-primary-key"
_POSITION = b"lance-schema:unenforced-primary-key:position"
_RESERVED = frozenset(
    {
        "_rowid",
        "_rowaddr",
        "_rowoffset",
        "_row_created_at_version",
        "_row_last_updated_at_version",
        "_distance",
        "_score",
        "_relevance_score",
        "query_index",
        "_change",
    }
)
"""What Lance and pennon call columns that they add to results."""


def primary_key(schema: pa.Schema) -> tuple[str, ...]:
    """Return the columns of the primary key in their order; none if no key is declared."""
    found: list[tuple[int, int, str]] = []
    for place, field in enumerate(schema):
        said = field.metadata or {}
        if said.get(_KEY, b"").lower() in (b"true", b"1", b"yes") or _POSITION in said:
            position = said.get(_POSITION, b"")
            found.append((int(position) if position.isdigit() else 0, place, field.name))
    return tuple(name for _, _, name in sorted(found))


def without_key(field: pa.Field) -> pa.Field:
    """Return a column that is not said to belong to a primary key."""
    said = {k: v for k, v in (field.metadata or {}).items() if k not in (_KEY, _POSITION)}
    return field.with_metadata(said or None)


def names_of(option: str, given: str | Sequence[str]) -> list[str]:
    """Return the columns that an option names: one, or several.

    Raises:
        InvalidOption: No names, or one of them twice.
    """
    names: Any = [given] if isinstance(given, str) else given
    if (
        isinstance(names, (bytes, bytearray))
        or not isinstance(names, (Sequence, Mapping))
        or not names
        or not all(isinstance(n, str) for n in names)
        or len(set(names)) != len(names)
    ):
        raise InvalidOption(f"{option}={given!r} must name columns, each once.")
    return list(names)


def with_primary_key(schema: pa.Schema, names: str | Sequence[str]) -> pa.Schema:
    """Return a schema that declares a primary key; its columns then allow no NULL.

    Raises:
        ColumnNotFound: A column of the key does not exist.
        InvalidOption: The key is empty, names a column twice, has a column of a type that no key
            can have, or the schema declares another key already.
    """
    import pyarrow as pa

    key = names_of("primary_key", names)
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
        check_key_column(field)
        said = {**(field.metadata or {}), _KEY: b"true"}
        said[_POSITION] = str(key.index(field.name) + 1).encode()
        fields.append(field.with_nullable(nullable=False).with_metadata(said))
    return pa.schema(fields, metadata=schema.metadata)


def check_names(names: Iterable[str]) -> None:
    """Refuse names that no column can have.

    Raises:
        InvalidName: One that Lance cannot read or filter by, or that results need for themselves.
    """
    for name in names:
        if not isinstance(name, str) or name in ("", "*") or any(c in name for c in "`.\0"):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidName(
                f"The column {name!r} cannot be stored: Lance allows no empty name, no '*', and "
                "none with a dot, a back-tick or a NUL character; rename it."
            )
        if name in _RESERVED:
            raise InvalidName(
                f"The column {name!r} cannot be stored: results have a column of this name that is "
                "something else; rename it."
            )


def checked_rows(
    rows: pa.RecordBatchReader, key: str | Sequence[str] | None
) -> pa.RecordBatchReader:
    """Return the rows of a new table with its primary key declared and checked.

    Args:
        rows: The rows.
        key: Columns of the key; what the schema declares if None.

    Raises:
        InvalidName: A name that Lance cannot read or filter by; and see :func:`with_primary_key`.
        InvalidInput: A column of a type that cannot be stored.
        DuplicateKey: Two rows have one key; raised by the stream.
    """
    import pyarrow as pa

    check_names(rows.schema.names)
    storable(rows.schema)
    names = primary_key(rows.schema)
    if key is None and not names:
        return rows
    for name in names:
        check_key_column(rows.schema.field(name))
    keyed = rows
    if key is not None or any(rows.schema.field(n).nullable for n in names):
        keyed = to_reader(rows, with_primary_key(rows.schema, names if key is None else key))
        names = primary_key(keyed.schema)

    def unique() -> Iterator[pa.RecordBatch]:
        seen: set[tuple[object, ...]] = set()
        for batch in keyed:
            values = zip(*(batch.column(n).to_pylist() for n in names), strict=True)
            for value in values:
                if value in seen:
                    raise DuplicateKey(
                        f"Two rows have the key {value!r} in {', '.join(names)}; keep one of them."
                    )
                seen.add(value)
            yield batch

    return pa.RecordBatchReader.from_batches(keyed.schema, unique())


def check_key_column(field: pa.Field) -> None:
    """Refuse a column that rows cannot be told apart by.

    Raises:
        InvalidName: A name that Lance cannot match rows by.
        InvalidOption: A type whose values Python or Lance cannot compare without a doubt.
    """
    import pyarrow as pa

    types, kind = pa.types, field.type
    if '"' in field.name:
        raise InvalidName(
            f"The column {field.name!r} cannot be part of a key: Lance matches no rows by a name "
            "with a double quote; rename it."
        )
    if (
        types.is_nested(kind)
        or types.is_floating(kind)
        or types.is_null(kind)
        or types.is_time(kind)
        or types.is_duration(kind)
        or types.is_interval(kind)
        or (types.is_timestamp(kind) and kind.unit == "ns")
        or isinstance(kind, pa.BaseExtensionType)
    ):
        raise InvalidOption(
            f"The column {field.name!r} is {kind}, which cannot be part of a key; use whole "
            "numbers, text, bytes, dates, or timestamps down to microseconds."
        )


@dataclass(frozen=True, slots=True)
class Difference:
    """What a table lacks to have the columns that are wanted."""

    added: tuple[str, ...] = ()
    """Columns that allow NULL and that it does not have."""
    relaxed: tuple[str, ...] = ()
    """Columns that allow no NULL, and should."""
    other: str | None = None
    """What no evolution bridges, for people."""

    @property
    def steps(self) -> str:
        """What an evolution would do, for people."""
        add = [f"add {n!r}" for n in self.added]
        return ", ".join([*add, *(f"let {n!r} be NULL" for n in self.relaxed)])


def difference(found: pa.Schema, wanted: pa.Schema) -> Difference | None:
    """Return what differs between the columns or keys of two schemas; None if nothing does."""
    extra = [n for n in found.names if n not in wanted.names]
    missing = [f for f in wanted if f.name not in found.names]
    tight = [f.name for f in missing if not f.nullable]
    if extra or tight:
        has = [f"has {', '.join(map(repr, extra))} besides"] if extra else []
        lacks = f"lacks {', '.join(map(repr, tight))}, which cannot be NULL"
        return Difference(other=f"it {' and '.join([*has, lacks] if tight else has)}")
    relaxed: list[str] = []
    for field in wanted:
        there = field if field in missing else found.field(field.name)
        if there.type != field.type or (there.nullable and not field.nullable):
            return Difference(other=f"{field.name!r} is {_said(there)}, not {_said(field)}")
        if there.nullable != field.nullable:
            relaxed.append(field.name)
    if primary_key(found) != primary_key(wanted):
        keys = (", ".join(primary_key(s)) or "none" for s in (found, wanted))
        return Difference(other=f"its primary key is {', not '.join(keys)}")
    if not missing and not relaxed:
        return None
    return Difference(tuple(f.name for f in missing), tuple(relaxed))


def _said(field: pa.Field) -> str:
    return f"{field.type}" if field.nullable else f"{field.type} NOT NULL"
