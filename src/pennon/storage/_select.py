"""What both backends work out before they read: columns, order, keys and queries."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pennon.errors import ColumnNotFound, InvalidInput, InvalidOption, did_you_mean
from pennon.expr import Expr, col, listed
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id
from pennon.storage.keys import primary_key

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "check_columns",
    "check_n",
    "check_one_of",
    "check_order",
    "check_query",
    "check_row_ids",
    "drawn",
    "key_filter",
    "picked",
]

_QUERY = re.compile(r"[\s(]*(?:select|with|values)\b", re.IGNORECASE)


def check_columns(columns: Sequence[str], schema: pa.Schema, id: Id) -> None:
    """Refuse columns that a table lacks.

    Raises:
        ColumnNotFound: It lacks one.
    """
    missing = [c for c in columns if c not in schema.names]
    if missing:
        raise ColumnNotFound(
            f"{show_id(id)} has no column {missing[0]!r}; {did_you_mean(missing[0], schema.names)}",
            table=id,
            columns=tuple(missing),
        )


def check_order(columns: Sequence[str], schema: pa.Schema, id: Id) -> None:
    """Refuse to order by what a table lacks or what has no order.

    Raises:
        ColumnNotFound: It lacks such a column.
        InvalidOption: The type of one has no order.
    """
    check_columns(columns, schema, id)
    for name in columns:
        if not _has_order(schema.field(name).type):
            raise InvalidOption(
                f"The column {name!r} of {show_id(id)} is {schema.field(name).type}, which has no "
                "order; order by another column.",
                table=id,
            )


def _has_order(kind: pa.DataType) -> bool:
    import pyarrow as pa

    types = pa.types
    return (
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_decimal(kind)
        or types.is_boolean(kind)
        or types.is_temporal(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )


def check_n(n: int) -> int:
    """Return a number of rows.

    Raises:
        InvalidOption: It is none.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 2**63:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"n={n!r} must be a whole number from 0.")
    return n


def drawn(n: int, rows: int, seed: int | None) -> list[int]:
    """Return the positions of a random sample, in their order."""
    if seed is not None and not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"seed={seed!r} must be a whole number, or None.")
    chance = random.Random(seed)  # noqa: S311 - a sample hides nothing
    return sorted(chance.sample(range(rows), min(n, rows)))


def check_query(query: str, id: Id) -> None:
    """Refuse what could be more than a query.

    The first word decides what a statement is; DataFusion takes one statement only, and refuses
    every change inside a query. A comment in front could hide the first word.

    Raises:
        InvalidInput: It could.
    """
    if not isinstance(query, str) or not _QUERY.match(query):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(
            f"Only a query can be asked of {show_id(id)}: begin with SELECT, WITH or VALUES.",
            table=id,
        )


def check_one_of(keys: object, row_ids: object) -> None:
    """Refuse both and neither.

    Raises:
        InvalidOption: It is not exactly one.
    """
    if (keys is None) == (row_ids is None):
        raise InvalidOption("Pass either keys or row_ids=, to say which rows to take.")


def check_row_ids(row_ids: Sequence[int]) -> list[int]:
    """Return row ids as a list.

    Raises:
        InvalidOption: One of them is no row id.
    """
    if isinstance(row_ids, (str, bytes)) or not isinstance(row_ids, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"row_ids={row_ids!r} must be a list of numbers.")
    found = list(listed(row_ids))
    for number in found:
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**64:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"row_ids= has {number!r}; a row id is a whole number from 0.")
    return found


def key_filter(
    keys: Sequence[Any], schema: pa.Schema, id: Id
) -> tuple[list[str], list[tuple[Any, ...]], Expr]:
    """Return the primary key, the keys as tuples, and a filter that every row of them satisfies.

    Raises:
        InvalidInput: The table has no primary key, or a key has the wrong length.
    """
    names = list(primary_key(schema))
    if not names:
        raise InvalidInput(
            f"{show_id(id)} has no primary key to take rows by; pass row_ids=, or scan with a "
            "filter.",
            table=id,
        )
    if isinstance(keys, (str, bytes)) or not isinstance(keys, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"keys={keys!r} must be a list of keys.", table=id)
    wanted = [tuple(k) if isinstance(k, (tuple, list)) else (k,) for k in listed(keys)]
    if any(len(k) != len(names) for k in wanted):
        raise InvalidInput(
            f"A key of {show_id(id)} has {len(names)} values, for {', '.join(names)}.", table=id
        )
    for value in itertools.chain.from_iterable(wanted):
        if not isinstance(value, Hashable):
            raise InvalidInput(
                f"A key of {show_id(id)} cannot hold a {type(value).__name__}.", table=id
            )
    filter = col(names[0]).is_in(dict.fromkeys(k[0] for k in wanted))
    for place, name in enumerate(names[1:], 1):
        filter &= col(name).is_in(dict.fromkeys(k[place] for k in wanted))
    return names, wanted, filter


def picked(rows: pa.Table, by: list[str], wanted: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Return the rows with the wanted values, in the order these are wanted."""
    import pyarrow as pa

    columns = [rows[name].to_pylist() for name in by]
    place = {values: n for n, values in enumerate(zip(*columns, strict=True))}
    found = [place[values] for values in wanted if values in place]
    return rows.take(pa.array(found, pa.int64()))
