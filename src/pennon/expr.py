"""Typed expressions: ``col("price") > 10`` instead of a string of SQL.

An expression is a small immutable tree. It renders to the SQL dialect of Lance (DataFusion) at one
place, which does all quoting and works around what that dialect gets wrong, so that the same tree
means the same thing everywhere: SQL's three-valued logic, where a comparison with NULL is unknown
and a row is kept only if the whole condition is true. A string of SQL is accepted wherever an
expression is, as it is.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal, NoReturn, Protocol, TypeGuard, final, get_args

from pennon.errors import InvalidFilter

__all__ = ["Expr", "Scalar", "closed", "col", "filter_sql", "listed", "lit", "value_sql"]

Scalar = None | bool | int | float | str | bytes | decimal.Decimal | dt.date | dt.datetime
"""What a literal can be."""

SqlType = Literal["boolean", "int", "bigint", "float", "double", "string", "date"]
"""What a value can be cast to."""


class Generic(Protocol):
    """A scalar of numpy, which is the literal that ``item()`` returns; NaT is NULL."""

    @property
    def dtype(self) -> Any: ...
    def item(self) -> Any: ...


_INT64 = 2**63
_UNKNOWN = "CAST(NULL AS BOOLEAN)"
_TURNED = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""The comparisons, and what they are with their sides changed."""
_DAYS = ("D", "W", "M", "Y")
"""The units of numpy's times that are dates."""
_NANOSECONDS = 1678, 2261
"""The years between which nanoseconds fit into 64 bits."""
_MARK = re.compile(r"""'(?:[^']|'')*'|`[^`]*`|"(?:[^"]|"")*"|--[^\n]*|/\*|[()]""")


class Expr:
    """A condition or a value computed from columns.

    Comparisons (``==  !=  <  <=  >  >=``), arithmetic (``+ - * / %``) and the logic operators
    ``&  |  ~`` build larger expressions. Python's ``and``, ``or``, ``not`` and ``in`` cannot be
    overloaded and raise ``InvalidFilter``.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # == builds an expression, so none is a key

    def to_sql(self) -> str:
        """Render in the SQL dialect of Lance.

        Raises:
            InvalidFilter: A name or value cannot be written in that dialect.
        """
        raise NotImplementedError

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return _compare("=", self, other)

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return _compare("<>", self, other)

    def __lt__(self, other: Expr | Scalar | Generic) -> Expr:
        return _compare("<", self, other)

    def __le__(self, other: Expr | Scalar | Generic) -> Expr:
        return _compare("<=", self, other)

    def __gt__(self, other: Expr | Scalar | Generic) -> Expr:
        return _compare(">", self, other)

    def __ge__(self, other: Expr | Scalar | Generic) -> Expr:
        return _compare(">=", self, other)

    def __and__(self, other: Expr | bool) -> Expr:
        return Binary("AND", self, lit(other))

    def __rand__(self, other: bool) -> Expr:
        return Binary("AND", lit(other), self)

    def __or__(self, other: Expr | bool) -> Expr:
        return Binary("OR", self, lit(other))

    def __ror__(self, other: bool) -> Expr:
        return Binary("OR", lit(other), self)

    def __invert__(self) -> Expr:
        return Not(self)

    def __add__(self, other: Expr | Scalar | Generic) -> Expr:
        return Binary("+", self, lit(other))

    def __radd__(self, other: Scalar | Generic) -> Expr:
        return Binary("+", lit(other), self)

    def __sub__(self, other: Expr | Scalar | Generic) -> Expr:
        return Binary("-", self, lit(other))

    def __rsub__(self, other: Scalar | Generic) -> Expr:
        return Binary("-", lit(other), self)

    def __mul__(self, other: Expr | Scalar | Generic) -> Expr:
        return Binary("*", self, lit(other))

    def __rmul__(self, other: Scalar | Generic) -> Expr:
        return Binary("*", lit(other), self)

    def __truediv__(self, other: Expr | Scalar | Generic) -> Expr:
        return Binary("/", self, lit(other))

    def __mod__(self, other: Expr | Scalar | Generic) -> Expr:
        return Binary("%", self, lit(other))

    def __bool__(self) -> NoReturn:
        raise InvalidFilter(
            f"{self!r} has no truth value of its own: use & for and, | for or, ~ for not, "
            "and .is_in(...) for in."
        )

    def __repr__(self) -> str:
        return f"<{self.to_sql()}>"

    def is_null(self) -> Expr:
        """True where the value is NULL; never unknown."""
        return IsNull(self)

    def is_not_null(self) -> Expr:
        """True where the value is not NULL; never unknown."""
        return Not(IsNull(self))

    def is_in(self, values: Iterable[Scalar | Generic]) -> Expr:
        """True where the value equals one of ``values``.

        An empty list is false everywhere; a NULL in the list makes what matches nothing else
        unknown, as in SQL.
        """
        given = listed(values)
        if isinstance(given, str | bytes) or not isinstance(given, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidFilter(f"is_in({given!r}) needs a list of values.")
        return In(self, tuple(_scalar(v) for v in given))

    def between(self, low: Expr | Scalar | Generic, high: Expr | Scalar | Generic) -> Expr:
        """True from ``low`` to ``high``, both included."""
        return (self >= low) & (self <= high)

    def contains(self, text: str) -> Expr:
        """True where the string holds ``text``; no character is special."""
        return Call("contains", (self, lit(text)))

    def starts_with(self, text: str) -> Expr:
        """True where the string begins with ``text``; no character is special."""
        return Call("starts_with", (self, lit(text)))

    def ends_with(self, text: str) -> Expr:
        """True where the string ends with ``text``; no character is special."""
        return Call("ends_with", (self, lit(text)))

    def has(self, value: Scalar | Generic) -> Expr:
        """True where the list holds ``value``."""
        return Call("array_has", (self, lit(value)))

    def lower(self) -> Expr:
        """The string in lower case."""
        return Call("lower", (self,))

    def cast(self, to: SqlType) -> Expr:
        """The value as another type.

        Raises:
            InvalidFilter: A type that is none of these.
        """
        if to not in get_args(SqlType):
            words = ", ".join(map(repr, get_args(SqlType)))
            raise InvalidFilter(f"cast({to!r}) is to no type of SQL; known: {words}.")
        return Cast(self, to)


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Column(Expr):
    """A column, or a field of a struct column."""

    path: tuple[str, ...]

    def to_sql(self) -> str:
        return ".".join(f"`{_name(step)}`" for step in self.path)


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Lit(Expr):
    """A value."""

    value: Scalar

    def to_sql(self) -> str:
        return _literal(self.value)


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(Expr):
    """Two expressions joined by an operator."""

    operator: str
    left: Expr
    right: Expr

    def to_sql(self) -> str:
        if self.operator in {"AND", "OR"}:
            return f"({f' {self.operator} '.join(t.to_sql() for t in terms(self))})"
        turned = isinstance(self.left, Lit) and not isinstance(self.right, Lit)
        if turned and self.operator in _TURNED:
            return Binary(_TURNED[self.operator], self.right, self.left).to_sql()
        left = _exact(self.left).to_sql()
        if self.operator in _TURNED and isinstance(self.right, Lit) and _is_fine(self.right.value):
            return _compared(left, self.operator, self.right.value)
        return f"({left} {self.operator} {_exact(self.right).to_sql()})"


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Not(Expr):
    """Logical negation."""

    inner: Expr

    def to_sql(self) -> str:
        return f"(NOT {_exact(self.inner).to_sql()})"


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class IsNull(Expr):
    """A test for NULL."""

    inner: Expr

    def to_sql(self) -> str:
        return f"({_exact(self.inner).to_sql()} IS NULL)"


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class In(Expr):
    """Membership in a list of literals."""

    inner: Expr
    values: tuple[Scalar, ...]
    exact: bool = False
    """Whether it matters here that unknown is not false."""

    def to_sql(self) -> str:
        known = [v for v in self.values if v is not None]
        inside = "false"
        if known:
            value = _exact(self.inner).to_sql()
            coarse = ", ".join(_literal(v) for v in known if not _is_fine(v))
            found = [f"({value} IN ({coarse}))"] if coarse else []
            found += [_compared(value, "=", v) for v in known if _is_fine(v)]
            inside = found[0] if len(found) == 1 else f"({' OR '.join(found)})"
            if self.exact:
                # Lance takes x IN (1) AND x IN (2) for false where x is NULL, and negates that.
                inside = f"({inside} OR ({value} IS NULL AND {_UNKNOWN}))"
        # Lance answers NOT (x IN (NULL) AND y) wrongly, so the NULL is written as what it means.
        return f"({inside} OR {_UNKNOWN})" if len(known) < len(self.values) else inside


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Expr):
    """A function of DataFusion."""

    function: str
    arguments: tuple[Expr, ...]

    def to_sql(self) -> str:
        return f"{self.function}({', '.join(_exact(a).to_sql() for a in self.arguments)})"


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cast(Expr):
    """A change of type."""

    inner: Expr
    to: str

    def to_sql(self) -> str:
        return f"CAST({_exact(self.inner).to_sql()} AS {self.to.upper()})"


def col(name: str, *fields: str) -> Expr:
    """A column by its name; ``fields`` descend into a struct column.

    A dot in ``name`` is part of the name, not a path.
    """
    return Column((name, *fields))


def lit(value: object) -> Expr:
    """A literal; an expression stays what it is.

    Raises:
        InvalidFilter: A value of a type that no literal has.
    """
    return value if isinstance(value, Expr) else Lit(_scalar(value))


def listed(values: Iterable[Any]) -> Iterable[Any]:
    """Return the values of an array of Arrow or numpy as those of Python, of others as they are."""
    given: Any = values
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(given, numpy.ndarray) and given.dtype.kind in "mM":
        return list(given.ravel())  # tolist() makes numbers of what is finer than microseconds
    for plain in ("to_pylist", "tolist"):
        if hasattr(given, plain):
            return getattr(given, plain)()
    return values


def _scalar(value: object) -> Scalar:
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        value = _plain(value)
    if value is not None and not isinstance(
        value, bool | int | float | str | bytes | decimal.Decimal | dt.date
    ):
        raise InvalidFilter(
            f"A {type(value).__name__} is no literal; use None, bool, int, float, str, bytes, "
            "Decimal, date or datetime."
        )
    return value


def _plain(value: Any) -> object:
    """Return a scalar of numpy as the value of Python that it is, exactly."""
    if value.dtype.kind == "M":
        return _time_of(value)
    return value if value.dtype.kind == "m" else value.item()


def _time_of(value: Any) -> dt.date | dt.datetime | None:
    """Return a time of numpy; NaT is NULL, as it is in Arrow.

    Raises:
        InvalidFilter: Python has no such time: too early, too late, or finer than microseconds.
    """
    if value != value:  # noqa: PLR0124 - NaT, and nothing else, is none
        return None
    year = int(value.astype("datetime64[Y]").astype("int64")) + 1970
    unit = "D" if value.dtype.str[4:-1] in _DAYS else "us"
    exact = value.astype(f"datetime64[{unit}]")
    if not dt.MINYEAR <= year <= dt.MAXYEAR or exact != value:
        raise InvalidFilter(
            f"The time {value} cannot be written in a filter; use one between the years 1 and "
            "9999, in whole microseconds."
        )
    return exact.item()


def filter_sql(filter: Expr | str | None) -> str | None:
    """Return a filter as one closed expression of SQL; None stays None.

    Raises:
        InvalidFilter: Neither an expression nor a string, or an empty string.
    """
    if filter is None:
        return None
    if isinstance(filter, Expr):
        return _rendered(filter)
    if not isinstance(filter, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidFilter(
            f"A filter is an expression such as col('x') > 1 or a string of SQL, "
            f"not a {type(filter).__name__}."
        )
    if not filter.strip():
        raise InvalidFilter("An empty string is no filter; pass None for all rows.")
    return closed(filter)


def value_sql(expression: Expr) -> str:
    """Return an expression for a place where its value counts, not only whether it is true."""
    return _rendered(expression, exact=True)


def _rendered(expression: Expr, *, exact: bool = False) -> str:
    try:
        return (_exact(expression) if exact else expression).to_sql()
    except RecursionError:
        raise InvalidFilter(
            "The expression has too many parts within each other; use .is_in(...) for many values, "
            "or compute in steps."
        ) from None


def closed(text: str) -> str:
    """Return SQL text in parentheses, so that all of it counts.

    Lance reads one expression and ignores what follows it: ``true; ...`` and ``true ORDER BY ...``
    would mean ``true``.

    Raises:
        InvalidFilter: The text closes a parenthesis it did not open, or holds ``/*``, which could
            hide one.
    """
    depth = 0
    for mark in _MARK.findall(text):
        depth += (mark == "(") - (mark == ")")
        if depth < 0 or mark == "/*":
            raise InvalidFilter(
                f"The SQL {text!r} has a {mark!r} where none can be; remove it, or write "
                "comments after '--'."
            )
    return f"({text}\n)"


def _exact(expression: Expr) -> Expr:
    """Return the same expression for a place where unknown must be told from false."""
    match expression:
        case In():
            return replace(expression, exact=True)
        case Binary(operator="AND" | "OR" as operator):
            parts = map(_exact, terms(expression))
            return reduce(lambda left, right: Binary(operator, left, right), parts)
        case Binary():
            left, right = _exact(expression.left), _exact(expression.right)
            return Binary(expression.operator, left, right)
        case _:
            return expression


def terms(expression: Binary) -> list[Expr]:
    """Return what one operator joins, in its order: Lance allows few parentheses in each other."""
    found: list[Expr] = []
    left: list[Expr] = [expression]
    while left:
        one = left.pop()
        if isinstance(one, Binary) and one.operator == expression.operator:
            left += [one.right, one.left]
        else:
            found.append(one)
    return found


def _compare(operator: str, left: Expr, right: object) -> Expr:
    return Binary(operator, left, lit(right))


def _is_fine(value: Scalar) -> TypeGuard[dt.datetime]:
    """Whether a column of times may be too coarse for a value."""
    return isinstance(value, dt.datetime) and value.microsecond > 0


def _compared(left: str, operator: str, value: dt.datetime) -> str:
    """Compare with a time of microseconds, whatever the precision of the column.

    Lance cuts the time to the precision of the column, towards 1970. After 1970 that changes
    neither what is greater nor what is not, before it neither what is less nor what is not; the
    other comparisons are with the neighbour, a nanosecond away.
    """
    nanoseconds = _NANOSECONDS[0] < value.year < _NANOSECONDS[1]
    exact = _time(value, nanoseconds=nanoseconds)
    late = (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp() > 0
    if late:
        before = _time(value, nanoseconds=nanoseconds, step=-1)
        terms = {"<": f"<= {before}", ">": f"> {exact}", "<=": f"<= {exact}", ">=": f"> {before}"}
    else:
        after = _time(value, nanoseconds=nanoseconds, step=1)
        terms = {"<": f"< {exact}", ">": f">= {after}", "<=": f"< {after}", ">=": f">= {exact}"}
    match operator:
        case "=":
            return f"({left} {terms['>=']} AND {left} {terms['<=']})"
        case "<>":
            return f"({left} {terms['<']} OR {left} {terms['>']})"
        case _:
            return f"({left} {terms[operator]})"


def _time(value: dt.datetime, *, nanoseconds: bool = False, step: int = 0) -> str:
    """Return a time as SQL, or the one that is a step of its precision before or after it.

    Lance takes a plain time for one in the zone of the column, and drops nanoseconds from it.
    """
    unit, zone, fraction = "Microsecond", "None", ""
    if nanoseconds:
        unit, fraction = "Nanosecond", {-1: "999", 0: "000", 1: "001"}[step]
    if step < 0 or not nanoseconds:
        value += dt.timedelta(microseconds=step)
    if value.tzinfo is not None:
        value, zone = value.astimezone(dt.UTC).replace(tzinfo=None), 'Some("UTC")'
    text = f"{value.isoformat(timespec='microseconds')}{fraction}{'' if zone == 'None' else 'Z'}"
    return f"arrow_cast('{text}', 'Timestamp({unit}, {zone})')"


def _name(name: str) -> str:
    if not name or "`" in name or "\x00" in name:
        raise InvalidFilter(
            f"The column {name!r} cannot be named in a filter: Lance has no way to write an empty "
            "name or one with a back-tick; rename the column."
        )
    return name


def _literal(value: Scalar) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f"CAST('{value}' AS DOUBLE)"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, decimal.Decimal):
        return _decimal(value)
    if isinstance(value, dt.datetime):
        return f"timestamp '{value.isoformat(sep=' ')}'" if value.tzinfo is None else _time(value)
    return f"date '{value.isoformat()}'"


def _integer(value: int) -> str:
    if not -_INT64 <= value < 2 * _INT64:
        raise InvalidFilter(f"{value} is no 64-bit integer; no column of that type can hold it.")
    # The lowest 64-bit integer has no literal: its digits alone are one too many.
    return str(value) if value > -_INT64 else f"CAST('{value}' AS BIGINT)"


def _string(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidFilter(f"{value!r} is no Unicode text.") from error
    return "'" + value.replace("'", "''") + "'"


def _decimal(value: decimal.Decimal) -> str:
    if not value.is_finite():
        raise InvalidFilter(f"{value} is no number that a decimal column can hold.")
    _, digits, exponent = value.as_tuple()
    scale = max(0, -int(exponent))
    precision = max(len(digits) + max(0, int(exponent)), scale, 1)
    return f"CAST('{value:f}' AS DECIMAL({precision},{scale}))"
