"""What is searched for in one table: a request for each kind of search, checked at the door."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, get_args

from pennon.errors import InvalidInput, InvalidOption
from pennon.expr import Expr
from pennon.namespaces.abc import IdLike
from pennon.storage._arguments import check_flags
from pennon.storage.abc.types import Columns, ScanRequest
from pennon.storage.refs import MAIN, Ref
from pennon.storage.searching import (
    DISTANCE,
    QUERY_INDEX,
    RELEVANCE,
    SCORE,
    Boolean,
    Boost,
    Match,
    Metric,
    ReciprocalRank,
    Reranker,
    TextQuery,
    check_finite,
    leaves,
)

__all__ = ["Distances", "HybridSearch", "Search", "TextSearch", "VectorSearch"]

Distances = tuple[float | None, float | None]
_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What all searches have in common.

    Raises:
        InvalidOption: A number out of range, a column named twice or named as the search names
            its own, or more than one of ``version``, ``tag`` and ``as_of``.
        InvalidFilter: A filter or an expression that is empty or no text.
        InvalidName: A branch name that no branch can have.
    """

    table: IdLike
    k: int = field(default=10, kw_only=True)
    """Rows at most."""
    filter: Expr | str | None = field(default=None, kw_only=True)
    """Condition, as an expression or SQL; None for all rows."""
    columns: Columns | None = field(default=None, kw_only=True)
    """What to return; see :class:`ScanRequest`. The scores are always returned, as last columns."""
    prefilter: bool = field(default=True, kw_only=True)
    """Whether the ``k`` best of those that satisfy the filter are found; else the ``k`` best of
    all are found, and those that do not satisfy it are left out."""
    with_row_id: bool = field(default=False, kw_only=True)
    """Whether to add a column ``_rowid`` before the scores."""
    branch: str = field(default=MAIN, kw_only=True)
    version: int | None = field(default=None, kw_only=True)
    tag: str | None = field(default=None, kw_only=True)
    as_of: datetime | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        _check_count("k", self.k)
        check_flags(prefilter=self.prefilter, with_row_id=self.with_row_id)
        names = self.rows.names or ()
        for name in (DISTANCE, SCORE, RELEVANCE, QUERY_INDEX):
            if name in names:
                raise InvalidOption(f"columns= has {name!r}; the search itself adds its scores.")

    @property
    def rows(self) -> ScanRequest:
        """The rows that are searched, and what is returned of them."""
        return ScanRequest(
            self.table,
            columns=self.columns,
            filter=self.filter,
            with_row_id=self.with_row_id,
            branch=self.branch,
            version=self.version,
            tag=self.tag,
            as_of=self.as_of,
        )

    @property
    def ref(self) -> Ref:
        """The state of the table that is meant."""
        return Ref(branch=self.branch, version=self.version, tag=self.tag, as_of=self.as_of)


@dataclass(frozen=True, slots=True, eq=False)
class VectorSearch(Search):
    """Which rows have the vectors nearest to another one; see :meth:`Searches.vector_search`.

    Raises:
        InvalidInput: The query is no vector, or holds NaN or an infinite number.
        InvalidOption: An option of the wrong type or range.
    """

    column: str
    query: Any
    """A vector, or several."""
    metric: Metric | None = field(default=None, kw_only=True)
    nprobes: int | None = field(default=None, kw_only=True)
    refine_factor: int | None = field(default=None, kw_only=True)
    ef: int | None = field(default=None, kw_only=True)
    distance_range: Distances | None = field(default=None, kw_only=True)
    use_index: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        Search.__post_init__(self)
        _check_column(self.column)
        check_flags(use_index=self.use_index)
        object.__setattr__(self, "query", _vectors(self.query))
        _check_metric(self.metric)
        for name in ("nprobes", "refine_factor", "ef"):
            if getattr(self, name) is not None:
                _check_count(name, getattr(self, name))
        if self.ef is not None and self.ef < self.k * (self.refine_factor or 1):
            raise InvalidOption(f"ef={self.ef} must be at least k (times refine_factor).")
        if self.distance_range is not None:
            object.__setattr__(self, "distance_range", _distances(self.distance_range))


@dataclass(frozen=True, slots=True, eq=False)
class TextSearch(Search):
    """Which rows have texts that a query finds; see :meth:`Searches.full_text_search`.

    Raises:
        InvalidInput: The query is empty or none.
        InvalidOption: An option of the wrong type or range.
    """

    column: str | Sequence[str] | None
    query: str | TextQuery

    def __post_init__(self) -> None:
        Search.__post_init__(self)
        object.__setattr__(self, "column", _text_columns(self.column))
        query = Match(self.query) if isinstance(self.query, str) else self.query
        if not isinstance(query, TextQuery):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidInput(
                f"{type(query).__name__} is no query of text; pass a text, Match, Phrase, Boolean "
                "or Boost."
            )
        object.__setattr__(self, "query", query)
        if not self.column and any(part.column is None for part in leaves(query)):
            raise InvalidOption("No column to search is named; pass one, or name it in the query.")

    @property
    def bound(self) -> TextQuery:
        """The query, every part of it with its column.

        A part without one is asked of each column: what one of them finds is found, and the
        scores add up.
        """
        query, columns = self.query, self.column
        assert isinstance(query, TextQuery)
        return _bound(query, () if columns is None else tuple(columns))


@dataclass(frozen=True, slots=True, eq=False)
class HybridSearch(Search):
    """What a vector search and a text search find, in one list; see :meth:`Searches.hybrid_search`.

    Raises:
        InvalidInput: Either query is none.
        InvalidOption: An option of the wrong type or range.
    """

    vector_column: str
    vector: Any
    text_column: str | Sequence[str] | None
    text: str | TextQuery
    reranker: Reranker = field(default_factory=ReciprocalRank, kw_only=True)
    candidates: int | None = field(default=None, kw_only=True)
    metric: Metric | None = field(default=None, kw_only=True)
    nprobes: int | None = field(default=None, kw_only=True)
    refine_factor: int | None = field(default=None, kw_only=True)
    ef: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        Search.__post_init__(self)
        if not isinstance(self.reranker, Reranker):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(
                f"reranker={self.reranker!r} has no method rerank(candidates, search); pass "
                "ReciprocalRank(), Weighted() or an object that has it."
            )
        if self.candidates is None:
            object.__setattr__(self, "candidates", min(max(4 * self.k, 50), _MOST))
        _check_count("candidates", self.candidates)
        if self.candidates < self.k:  # pyright: ignore[reportOptionalOperand]
            raise InvalidOption(f"candidates={self.candidates} must be at least k={self.k}.")
        if self.vector_search.query.ndim != 1:
            raise InvalidInput("A hybrid search takes one query vector; search once for each.")
        _ = self.text_search

    @property
    def vector_search(self) -> VectorSearch:
        """The vector half: the candidates, by their row ids."""
        return VectorSearch(
            self.table,
            self.vector_column,
            self.vector,
            k=self.candidates or self.k,
            metric=self.metric,
            nprobes=self.nprobes,
            refine_factor=self.refine_factor,
            ef=self.ef,
            filter=self.filter,
            columns=[],
            prefilter=self.prefilter,
            with_row_id=True,
            branch=self.branch,
            version=self.version,
            tag=self.tag,
            as_of=self.as_of,
        )

    @property
    def text_search(self) -> TextSearch:
        """The text half: the candidates, by their row ids."""
        return TextSearch(
            self.table,
            self.text_column,
            self.text,
            k=self.candidates or self.k,
            filter=self.filter,
            columns=[],
            prefilter=self.prefilter,
            with_row_id=True,
            branch=self.branch,
            version=self.version,
            tag=self.tag,
            as_of=self.as_of,
        )


def _vectors(query: Any) -> Any:
    found = check_finite("The query", query.to_pylist() if hasattr(query, "to_pylist") else query)
    if found.ndim not in (1, 2) or not found.size:
        raise InvalidInput("The query must be a vector, or a list of vectors of one length.")
    found = found.copy()
    found.flags.writeable = False
    return found


def _text_columns(column: object) -> tuple[str, ...] | None:
    if column is None:
        return None
    given = (column,) if isinstance(column, str) else column
    names = [n for n in given if isinstance(n, str) and n] if isinstance(given, Sequence) else []
    if not names or len(set(names)) != len(given):  # type: ignore[arg-type]
        raise InvalidOption(f"column={column!r} must name one column or several different ones.")
    return tuple(names)


def _bound(query: TextQuery, columns: tuple[str, ...]) -> TextQuery:
    match query:
        case Boolean():
            parts = {
                name: tuple(_bound(part, columns) for part in getattr(query, name))
                for name in ("must", "should", "must_not")
            }
            return Boolean(**parts)
        case Boost():
            return replace(
                query,
                positive=_bound(query.positive, columns),
                negative=_bound(query.negative, columns),
            )
        case _ if query.column is not None:
            return query
        case _:
            each = tuple(replace(query, column=name) for name in columns)
            return each[0] if len(each) == 1 else Boolean(should=each)


def _check_column(column: object) -> None:
    if not isinstance(column, str) or not column:
        raise InvalidOption(f"column={column!r} must be the name of a column.")


def _check_count(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST:
        raise InvalidOption(f"{option}={value!r} must be a whole number from 1 to {_MOST}.")


def _check_metric(metric: object) -> None:
    if metric is not None and metric not in get_args(Metric):
        words = ", ".join(map(repr, get_args(Metric)))
        raise InvalidOption(f"metric={metric!r} must be one of {words}, or None.")


def _distances(given: object) -> Distances:
    pair = tuple(given) if isinstance(given, (tuple, list)) else ()
    numbers = [n for n in pair if n is not None]
    bad = any(
        isinstance(n, bool) or not isinstance(n, (int, float)) or math.isnan(n) for n in numbers
    )
    if len(pair) != 2 or bad or (len(numbers) == 2 and numbers[0] >= numbers[1]):  # noqa: PLR2004
        raise InvalidOption(
            f"distance_range={given!r} must be two numbers, the first one less; None for no bound."
        )
    return pair[0], pair[1]
