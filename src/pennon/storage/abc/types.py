"""What goes into a storage backend and comes out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from pennon.errors import InvalidOption
from pennon.expr import Expr, filter_sql, value_sql
from pennon.namespaces.abc import Id, IdLike
from pennon.storage._arguments import check_flags
from pennon.storage.refs import MAIN, Ref

__all__ = [
    "LEAST_BUDGET",
    "ROW_ID",
    "Columns",
    "CommitReceipt",
    "Durability",
    "Order",
    "ScanRequest",
]

ROW_ID = "_rowid"
"""The column that holds the row ids."""

LEAST_BUDGET = 32 << 20
"""Bytes of the smallest memory budget of a scan."""

Durability = Literal["os", "disk"]


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """Proof of a commit: made only after the commit was seen in the history of the table."""

    table: Id
    branch: str
    version: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    write_id: str
    committed_at: datetime
    """UTC, by the clock of the writer."""
    indexes_rebuilt: tuple[str, ...] = ()
    """The indexes that were built anew over rows that took the place of all others, by name."""
    indexes_dropped: tuple[str, ...] = ()
    """Those that are gone, because their column is gone or holds another type."""


_WAYS = ("asc", "desc")

Columns = Sequence[str] | Mapping[str, Expr | str]
Order = Sequence[str | tuple[str, Literal["asc", "desc"]]]


@dataclass(frozen=True, slots=True, eq=False)
class ScanRequest:
    """What to read from one table.

    Raises:
        InvalidOption: A number out of range, a column named twice, or more than one of
            ``version``, ``tag`` and ``as_of``.
        InvalidFilter: A filter or an expression that is empty or no text.
        InvalidName: A branch name that no branch can have.
    """

    table: IdLike
    columns: Columns | None = field(default=None, kw_only=True)
    """Names to return, in this order, or a mapping from the names of computed columns to what they
    are computed from (an expression or SQL); None for all."""
    filter: Expr | str | None = field(default=None, kw_only=True)
    """Condition, as an expression or SQL; None for all rows."""
    limit: int | None = field(default=None, kw_only=True)
    """Rows at most; None for all."""
    offset: int = field(default=0, kw_only=True)
    """Rows to leave out at the start: of those that satisfy the filter, in their order."""
    order_by: str | Order = field(default=(), kw_only=True)
    """Names of columns, each alone or as ``(name, "desc")``; NULL comes last, NaN is the greatest
    number, and rows that are equal in all of them come in any order. Empty for the order in which
    rows are stored, where those that an upsert or a compaction wrote again may have moved."""
    with_row_id: bool = field(default=False, kw_only=True)
    """Whether to add a last column ``_rowid``: a number that no other row of this version has."""
    batch_size: int | None = field(default=None, kw_only=True)
    """Rows of a batch at most; None for what is fast."""
    memory_budget: int | None = field(default=None, kw_only=True)
    """Bytes that reading may hold at once, at least 32 MiB; None for what is fast. The width of
    rows is learned while reading, so rows that are many times wider than the ones before them may
    exceed it for a moment. It cannot be combined with ``order_by``, which holds all rows."""
    branch: str = field(default=MAIN, kw_only=True)
    version: int | None = field(default=None, kw_only=True)
    """A version of the branch; None for its newest."""
    tag: str | None = field(default=None, kw_only=True)
    as_of: datetime | None = field(default=None, kw_only=True)
    """The newest version of the branch at that time, by the clocks of its writers."""

    def __post_init__(self) -> None:
        _check_number("limit", self.limit, 0)
        _check_number("offset", self.offset, 0)
        _check_number("batch_size", self.batch_size, 1)
        _check_number("memory_budget", self.memory_budget, LEAST_BUDGET)
        check_flags(with_row_id=self.with_row_id)
        if self.columns is not None and (
            isinstance(self.columns, (str, bytes))
            or not isinstance(self.columns, (Sequence, Mapping))  # pyright: ignore[reportUnnecessaryIsInstance]
        ):
            raise InvalidOption(f"columns={self.columns!r} must be a list of names.")
        _check_names("columns", self.names or ())
        if not self.names and self.columns is not None and not self.with_row_id:
            raise InvalidOption(
                "columns= is empty; name some, or use count_rows, or with_row_id=True."
            )
        _check_names("order_by", [name for name, _ in self.ordering])
        if self.memory_budget is not None and self.ordering:
            raise InvalidOption(
                "order_by= holds all rows, so that it has no memory_budget=; leave out one of them."
            )
        filter_sql(self.filter)
        _ = self.computed, self.ref

    @property
    def ref(self) -> Ref:
        """The state of the table that is meant."""
        return Ref(branch=self.branch, version=self.version, tag=self.tag, as_of=self.as_of)

    @property
    def names(self) -> list[str] | None:
        """The names of the columns to return; None for all."""
        return None if self.columns is None else list(self.columns)

    @property
    def computed(self) -> dict[str, str] | None:
        """The SQL of computed columns by name; None if columns are returned as they are."""
        if not isinstance(self.columns, Mapping):
            return None
        return {name: _expression(name, value) for name, value in self.columns.items()}

    @property
    def ordering(self) -> list[tuple[str, bool]]:
        """The columns to order by, each with whether it ascends."""
        given = [self.order_by] if isinstance(self.order_by, str) else self.order_by
        if not isinstance(given, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"order_by={given!r} must be a list of names.")
        pairs: list[Any] = [(o, "asc") if isinstance(o, str) else o for o in given]
        for pair in pairs:
            if not isinstance(pair, Sequence) or len(pair) != 2 or pair[1] not in _WAYS:  # noqa: PLR2004
                raise InvalidOption(
                    f"order_by= has {pair!r}; pass names, or pairs such as ('id', 'desc')."
                )
        return [(name, way == "asc") for name, way in pairs]


def _expression(name: str, value: object) -> str:
    if isinstance(value, Expr):
        return value_sql(value)
    if not isinstance(value, str) or not value.strip():
        raise InvalidOption(
            f"The column {name!r} is computed from {value!r}; pass an expression or SQL text."
        )
    return value


def _check_number(option: str, value: int | None, lowest: int) -> None:
    if value is None and option != "offset":
        return
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 2**63:
        unless = "" if option == "offset" else ", or None"
        raise InvalidOption(f"{option}={value!r} must be a whole number from {lowest}{unless}.")


def _check_names(option: str, names: Sequence[object]) -> None:
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidOption(f"{option}= has {name!r}, which is no name of a column.")
        if name == ROW_ID:
            raise InvalidOption(f"{option}= has {ROW_ID!r}; pass with_row_id=True to get it.")
        if names.count(name) > 1:
            raise InvalidOption(f"{option}= names the column {name!r} twice.")
