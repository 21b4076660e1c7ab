"""What every backend checks in the same words."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pennon.arrow import storable, to_reader
from pennon.errors import InvalidInput, InvalidOption
from pennon.namespaces.abc import IdLike
from pennon.objects.abc import Durability

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "AUTOMATIC",
    "check_callable",
    "check_durability",
    "check_flags",
    "check_ids",
    "check_message",
    "check_mode",
    "check_write_id",
    "rows_of",
]

AUTOMATIC = "auto-"
"""What write ids begin with that nobody chose."""


def rows_of(data: Any, schema: pa.Schema | None) -> pa.RecordBatchReader:
    """Return the rows of a new table as a stream.

    Raises:
        InvalidInput: Neither data nor schema, data no Arrow stream can be made of, or a column of
            a type that cannot be stored.
    """
    plain = None if schema is None else storable(schema)
    if data is not None:
        return to_reader(data, plain)
    if plain is None:
        raise InvalidInput("A new table needs columns; pass data, or schema= for an empty table.")
    return to_reader(plain.empty_table(), plain)


def check_write_id(write_id: str | None) -> str:
    """Return the write id, drawn at random if the caller gave none.

    Raises:
        InvalidOption: An empty one, or not a string.
    """
    if write_id is None:
        return f"{AUTOMATIC}{uuid.uuid4().hex}"
    if not _is_text(write_id) or not write_id:
        raise InvalidOption(f"write_id={write_id!r} must be a unique string, or None.")
    return write_id


def check_message(message: str | None) -> str | None:
    """Return what a writer says of a commit if it can be kept.

    Raises:
        InvalidOption: Not a string, or one that is no Unicode text.
    """
    if message is not None and not _is_text(message):
        raise InvalidOption(f"commit_message={message!r} must be a text, or None.")
    return message


def _is_text(value: object) -> bool:
    """Whether a value is a string without lone surrogates, which no file can hold."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def check_flags(**flags: object) -> None:
    """Refuse anything but True and False: a text such as ``"no"`` would count as yes.

    Raises:
        InvalidOption: One of them is neither.
    """
    for name, given in flags.items():
        if not isinstance(given, bool):
            raise InvalidOption(f"{name}={given!r} must be True or False.")


def check_ids(tables: Iterable[IdLike]) -> list[IdLike]:
    """Return the ids of several tables.

    Raises:
        InvalidOption: It is a single one, whose letters would be names, or no list.
    """
    if isinstance(tables, (str, bytes)) or not isinstance(tables, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"tables={tables!r} must be a list of ids.")
    return list(tables)


def check_callable(option: str, given: object) -> None:
    """Refuse what cannot be called, before anything is done that it was to be told of.

    Raises:
        InvalidOption: It is not None and cannot be called.
    """
    if given is not None and not callable(given):
        raise InvalidOption(f"{option}={given!r} must be a function, or None.")


def check_durability(durability: Durability) -> Durability:
    """Return the durability if it is one.

    Raises:
        InvalidOption: It is not.
    """
    if durability not in ("os", "disk"):
        raise InvalidOption(f"durability={durability!r} must be 'os' or 'disk'.")
    return durability


def check_mode(mode: str, schema: pa.Schema | None, *, check_keys: bool) -> None:
    """Refuse a mode of writing that is none.

    Raises:
        InvalidOption: It is neither ``"append"`` nor ``"overwrite"``, or an option is for the
            other.
    """
    check_flags(check_keys=check_keys)
    if mode not in ("append", "overwrite"):
        raise InvalidOption(f"mode={mode!r} is no way to write; pass 'append' or 'overwrite'.")
    if mode == "append" and schema is not None:
        raise InvalidOption("schema= is for mode='overwrite'; appended rows fit the table's own.")
    if mode == "overwrite" and check_keys:
        raise InvalidOption("check_keys= is for mode='append'; an overwrite leaves no other rows.")
