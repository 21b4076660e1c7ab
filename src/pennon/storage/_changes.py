"""What every backend checks of a change by condition, in the same words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    ColumnNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    SchemaMismatch,
    did_you_mean,
)
from pennon.expr import Expr, closed, filter_sql, value_sql
from pennon.storage._arguments import check_flags
from pennon.storage.keys import primary_key

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "cast_values",
    "check_all_rows",
    "check_columns",
    "check_values",
    "check_where",
    "primary_key",
]


def check_all_rows(where: str, table: str, *, trivial: bool, all_rows: bool) -> None:
    """Refuse a condition that is true of every row, unless all rows are meant.

    Raises:
        InvalidFilter: They are not.
    """
    check_flags(all_rows=all_rows)
    if trivial and not all_rows:
        raise InvalidFilter(
            f"The condition {' '.join(where.split()).replace(' )', ')')} is true of every row of "
            f"{table}; pass all_rows=True if all of them are meant."
        )


def check_where(where: Expr | str) -> str:
    """Return a condition as SQL.

    Raises:
        InvalidFilter: There is none.
    """
    condition = filter_sql(where)
    if condition is None:
        raise InvalidFilter("No condition is no way to delete; truncate deletes all rows.")
    return condition


def check_values(values: Mapping[str, Expr | str]) -> dict[str, str]:
    """Return what columns are set to, as SQL.

    Raises:
        InvalidOption: None at all, or a value that is neither an expression nor SQL.
    """
    if not isinstance(values, Mapping) or not values:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            "values= maps columns to what they become, such as {'score': 'score + 1'}."
        )
    return {name: _value(name, value) for name, value in values.items()}


def _value(name: str, value: Any) -> str:
    if isinstance(value, Expr):
        return value_sql(value)
    if not isinstance(value, str):
        raise InvalidOption(
            f"values={{{name!r}: ...}} is a {type(value).__name__}; a literal is written as "
            "pennon.lit(...), and a string is SQL."
        )
    if not value.strip():
        raise InvalidOption(f"values={{{name!r}: ''}} is no SQL; the empty text is lit('').")
    return closed(value)


def check_columns(names: Iterable[str], schema: pa.Schema, table: str) -> None:
    """Refuse to set columns that a table does not have, or that make up its key.

    Raises:
        ColumnNotFound: It has not.
        InvalidInput: One belongs to the primary key.
    """
    missing = [n for n in names if n not in schema.names]
    if missing:
        raise ColumnNotFound(
            f"{table} has no column {missing[0]!r}; {did_you_mean(missing[0], schema.names)}",
            columns=tuple(missing),
        )
    keys = [n for n in names if n in primary_key(schema)]
    if keys:
        raise InvalidInput(
            f"The column {keys[0]!r} belongs to the primary key of {table}, which an update cannot "
            "change; delete the rows and insert them anew."
        )


def _cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute

    compute: Any = pyarrow.compute
    cast = values.cast(kind)
    if pa.types.is_floating(kind) and pa.types.is_floating(values.type) and kind != values.type:
        # Arrow makes infinity of what is too large.
        beyond = compute.and_(compute.is_inf(cast), compute.is_finite(values))
        if compute.any(beyond).as_py():
            raise pa.ArrowInvalid(f"{values.filter(beyond)[0]} is too large")
    return cast


def cast_values(found: pa.Table, names: Iterable[str], schema: pa.Schema, table: str) -> pa.Table:
    """Return rows with the computed columns as the table has them; nothing is cut.

    Raises:
        SchemaMismatch: A value does not fit its column.
    """
    import pyarrow as pa

    for name in names:
        field = schema.field(name)
        place = found.schema.get_field_index(name)
        try:
            column = _cast(found.column(place), field.type)
        except pa.ArrowException as error:
            text = str(error).split("\n", maxsplit=1)[0]
            raise SchemaMismatch(
                f"A value for the column {name!r} of {table} does not fit {field.type}: {text}.",
                columns=(name,),
            ) from error
        if column.null_count and not field.nullable:
            raise SchemaMismatch(
                f"A value for the column {name!r} of {table} is NULL, which it does not allow.",
                columns=(name,),
            )
        found = found.set_column(place, field, column)
    return found
