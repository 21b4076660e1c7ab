"""Comparisons of columns of whole numbers with any number: exact, and possible in Lance.

Lance refuses to compare such a column with a fraction, or with a number that it cannot hold. Where
it does, both become doubles, which are too coarse beyond 2**53. So the number is made one that the
column can hold, with the same answer for each value.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, TypeGuard, overload

from pennon.expr import Binary, Call, Cast, Column, Expr, In, IsNull, Lit, Not, terms

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["fitted"]

_TURNED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""The comparisons, and what they are with their sides changed."""
_UNKNOWN = Cast(Lit(None), "boolean")


@overload
def fitted(filter: Expr | str, schema: pa.Schema) -> Expr | str: ...
@overload
def fitted(filter: Expr | str | None, schema: pa.Schema) -> Expr | str | None: ...
def fitted(filter: Expr | str | None, schema: pa.Schema) -> Expr | str | None:
    """Return a filter or value for a table with these columns; SQL stays as it is."""
    if not isinstance(filter, Expr):
        return filter
    try:
        return _fitted(filter, schema)
    except RecursionError:
        # What renders it says so.
        return filter


def _fitted(expression: Expr, schema: pa.Schema) -> Expr:
    match expression:
        case Binary(operator="AND" | "OR" as operator):
            parts = (_fitted(term, schema) for term in terms(expression))
            return reduce(lambda left, right: Binary(operator, left, right), parts)
        case Binary(operator=operator, left=Column() as column, right=Lit() as number):
            return _compared(expression, operator, column, number, schema)
        case Binary(operator=operator, left=Lit() as number, right=Column() as column):
            return _compared(expression, _TURNED.get(operator, ""), column, number, schema)
        case Binary():
            left, right = _fitted(expression.left, schema), _fitted(expression.right, schema)
            return replace(expression, left=left, right=right)
        case In(inner=Column() as column):
            return _among(expression, column, schema)
        case In() | Not() | IsNull() | Cast():
            return replace(expression, inner=_fitted(expression.inner, schema))
        case Call():
            arguments = tuple(_fitted(a, schema) for a in expression.arguments)
            return replace(expression, arguments=arguments)
        case _:
            return expression


def _compared(
    expression: Expr, operator: str, column: Column, number: Lit, schema: pa.Schema
) -> Expr:
    """Return a comparison of a column with a number; others as they are."""
    bounds, value = _bounds(column, schema), number.value
    if bounds is None or operator not in _TURNED or not _is_number(value):
        return expression
    low, high = bounds
    if value > high or value < low:
        below = value > high
        held = operator == "<>" or operator in (("<", "<=") if below else (">", ">="))
        return _always(column) if held else _never(column)
    whole = math.floor(value)
    if whole == value:
        return Binary(operator, column, Lit(whole))
    match operator:
        case "=":
            return _never(column)
        case "<>":
            return _always(column)
        case _:
            return Binary("<=" if operator in ("<", "<=") else ">", column, Lit(whole))


def _among(expression: In, column: Column, schema: pa.Schema) -> Expr:
    bounds = _bounds(column, schema)
    if bounds is None:
        return expression
    low, high = bounds
    numbers = [v for v in expression.values if _is_number(v)]
    kept = [int(v) for v in numbers if low <= v <= high and v == math.floor(v)]
    others = [v for v in expression.values if not _is_number(v) and v == v]  # noqa: PLR0124 - NaN
    found = replace(expression, values=(*kept, *others))
    if len(found.values) == len(expression.values) or any(v is not None for v in found.values):
        return found
    return Binary("OR", found, _never(column))


def _is_number(value: object) -> TypeGuard[int | float]:
    """Whether a literal is a number, which NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value  # noqa: PLR0124


def _bounds(column: Column, schema: pa.Schema) -> tuple[int, int] | None:
    """Return the least and the greatest number that a column can hold; None for other columns."""
    import pyarrow as pa

    kind = pa.struct(list(schema))
    for step in column.path:
        place = kind.get_field_index(step) if pa.types.is_struct(kind) else -1
        if place < 0:
            return None
        kind = kind.field(place).type
    if not pa.types.is_integer(kind):
        return None
    if pa.types.is_unsigned_integer(kind):
        return 0, 2**kind.bit_width - 1
    return -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1


def _never(column: Column) -> Expr:
    """False, and unknown where the column is NULL."""
    return Binary("AND", IsNull(column), _UNKNOWN)


def _always(column: Column) -> Expr:
    """True, and unknown where the column is NULL."""
    return Binary("OR", Not(IsNull(column)), _UNKNOWN)
