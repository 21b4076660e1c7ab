"""What is searched for: queries of text, and how two lists of hits become one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pennon.errors import InvalidInput, InvalidOption

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pennon.storage.abc.search_types import HybridSearch

__all__ = [
    "DISTANCE",
    "QUERY_INDEX",
    "RELEVANCE",
    "SCORE",
    "Boolean",
    "Boost",
    "Match",
    "Metric",
    "Phrase",
    "ReciprocalRank",
    "Reranker",
    "TextQuery",
    "Weighted",
    "check_finite",
    "leaves",
]

DISTANCE = "_distance"
"""The column of distances to a query vector; less is better."""
SCORE = "_score"
"""The column of text scores (BM25); more is better."""
RELEVANCE = "_relevance_score"
"""The column a reranker fills; more is better."""
QUERY_INDEX = "query_index"
"""The column that says which of several query vectors a row belongs to."""

Metric = Literal["l2", "cosine", "dot", "hamming"]
"""How far two vectors are apart: the squared Euclidean distance, one minus the cosine, one minus
the dot product, or the number of different bits."""

_DEEPEST = 32
"""How deep queries may be nested: whoever walks them recurses."""


@dataclass(frozen=True, slots=True)
class Match:
    """Texts with the words of another text.

    Words are what the tokenizer of the column's text index makes of both; of a column without an
    index, runs of letters and digits in lower case.

    Args:
        text: The words.
        column: The column; None for each of those that are searched.
        operator: Whether one of the words is enough (``"or"``) or all must be there (``"and"``).
        fuzziness: How many letters of a word may be wrong, missing or too many: 0, 1 or 2.
        prefix_length: How many letters at the start of a word must be right all the same.
        max_expansions: How many words of the column one fuzzy word may stand for.
        boost: What the scores are multiplied by.

    Raises:
        InvalidInput: There is no text.
        InvalidOption: An option of the wrong type or range.
    """

    text: str
    column: str | None = None
    operator: Literal["or", "and"] = "or"
    fuzziness: int = 0
    prefix_length: int = 0
    max_expansions: int = 50
    boost: float = 1.0

    def __post_init__(self) -> None:
        _check_text(self.text)
        _check_column(self.column)
        if self.operator not in ("or", "and"):
            raise InvalidOption(f"operator={self.operator!r} must be 'or' or 'and'.")
        _check_whole("fuzziness", self.fuzziness, 0, 2)
        _check_whole("prefix_length", self.prefix_length, 0)
        _check_whole("max_expansions", self.max_expansions, 1)
        _check_positive("boost", self.boost)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Texts with words in this order, next to each other.

    Needs a text index that keeps positions, or a column without a text index.

    Args:
        text: The words.
        column: The column; None for each of those that are searched.
        slop: How many other words may be between them in all.

    Raises:
        InvalidInput: There is no text.
        InvalidOption: An option of the wrong type or range.
    """

    text: str
    column: str | None = None
    slop: int = 0

    def __post_init__(self) -> None:
        _check_text(self.text)
        _check_column(self.column)
        _check_whole("slop", self.slop, 0)


@dataclass(frozen=True, slots=True)
class Boolean:
    """Texts that all of ``must`` find and none of ``must_not``; the scores of all parts add up.

    Args:
        must: Queries that all have to find a row.
        should: Queries that may; without ``must`` one of them has to.
        must_not: Queries that exclude what they find.

    Raises:
        InvalidInput: Neither ``must`` nor ``should``, or something that is no query.
    """

    must: Sequence[TextQuery] = ()
    should: Sequence[TextQuery] = ()
    must_not: Sequence[TextQuery] = ()

    def __post_init__(self) -> None:
        for name in ("must", "should", "must_not"):
            given = getattr(self, name)
            if not isinstance(given, Sequence):
                raise InvalidInput(f"{name}= must be a list of queries.")
            for part in given:
                _check_query(part)
            object.__setattr__(self, name, tuple(given))
        if not self.must and not self.should:
            raise InvalidInput("A Boolean query finds nothing without must= or should=; give one.")
        _check_depth(self)


@dataclass(frozen=True, slots=True)
class Boost:
    """What one query finds, ranked lower where another one finds it too.

    Args:
        positive: Finds the rows.
        negative: Whatever it also finds loses ``negative_boost`` times its score there.
        negative_boost: How much.

    Raises:
        InvalidInput: Something that is no query.
        InvalidOption: ``negative_boost`` is no number from 0.
    """

    positive: TextQuery
    negative: TextQuery
    negative_boost: float = 0.5

    def __post_init__(self) -> None:
        _check_query(self.positive)
        _check_query(self.negative)
        _check_positive("negative_boost", self.negative_boost)
        _check_depth(self)


TextQuery = Match | Phrase | Boolean | Boost


def leaves(query: TextQuery) -> Iterator[Match | Phrase]:
    """Return the parts of a query that hold text."""
    match query:
        case Boolean():
            for part in (*query.must, *query.should, *query.must_not):
                yield from leaves(part)
        case Boost():
            yield from leaves(query.positive)
            yield from leaves(query.negative)
        case _:
            yield query


@runtime_checkable
class Reranker(Protocol):
    """Ranks what a vector search and a text search found. Anything with this method is one."""

    def rerank(self, candidates: pa.Table, search: HybridSearch) -> Any:
        """Return a number for each candidate; more is better.

        Args:
            candidates: What either search found, each row once: the columns that are asked for,
                then ``_distance`` and ``_score``, which are NULL where only the other found it.
            search: What was asked.

        Returns:
            As many numbers as candidates, in their order: a list, a numpy or an Arrow array.
        """
        ...


@dataclass(frozen=True, slots=True)
class ReciprocalRank:
    """Reciprocal rank fusion: the sum of ``1 / (k + rank)`` over the lists that hold a row.

    The best row of a list has rank 1, and rows with one score have one rank.

    Args:
        k: The larger, the less the first ranks count.

    Raises:
        InvalidOption: ``k`` is no number from 0.
    """

    k: float = 60.0

    def __post_init__(self) -> None:
        _check_positive("k", self.k)

    def rerank(self, candidates: pa.Table, search: HybridSearch) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the sums; see :meth:`Reranker.rerank`."""
        import numpy as np

        total = np.zeros(candidates.num_rows)
        for name, sign in ((DISTANCE, 1.0), (SCORE, -1.0)):
            found, values = _found(candidates, name)
            order = np.sort(sign * values)
            total[found] += 1.0 / (self.k + 1.0 + np.searchsorted(order, sign * values))
        return total


@dataclass(frozen=True, slots=True)
class Weighted:
    """A weighted sum of both scores, each first scaled so that its best hit has 1.

    The farthest of the candidates has 0, a text score is divided by the best one, and a row that
    a list lacks has 0 there.

    Args:
        vector: The weight of the vector search, 0 to 1; the text search has the rest.

    Raises:
        InvalidOption: ``vector`` is no number from 0 to 1.
    """

    vector: float = 0.5

    def __post_init__(self) -> None:
        _check_positive("vector", self.vector)
        if self.vector > 1:
            raise InvalidOption(f"vector={self.vector!r} must be a number from 0 to 1.")

    def rerank(self, candidates: pa.Table, search: HybridSearch) -> np.ndarray[Any, Any]:  # noqa: ARG002
        """Return the sums; see :meth:`Reranker.rerank`."""
        import numpy as np

        total = np.zeros(candidates.num_rows)
        near, distances = _found(candidates, DISTANCE)
        if len(near):
            span = np.ptp(distances)
            total[near] += self.vector * ((distances.max() - distances) / span if span else 1.0)
        good, scores = _found(candidates, SCORE)
        if len(good) and scores.max() > 0:
            total[good] += (1.0 - self.vector) * scores / scores.max()
        return total


def check_finite(name: str, values: Any) -> np.ndarray[Any, Any]:
    """Return numbers as an array.

    Raises:
        InvalidInput: They are none, or one is NaN or infinite.
    """
    import numpy as np

    try:
        found = np.asarray(values, dtype=np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise InvalidInput(f"{name} must be numbers, not {type(values).__name__}.") from error
    if not np.isfinite(found).all():
        raise InvalidInput(f"{name} holds None, NaN or an infinite number; nothing is near that.")
    return found


def _found(candidates: pa.Table, name: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return where a column has values, and these."""
    import numpy as np

    values = candidates[name].cast("float64").to_numpy()
    found = np.flatnonzero(~np.isnan(values))
    return found, values[found]


def _check_query(given: object) -> None:
    if not isinstance(given, TextQuery):
        raise InvalidInput(
            f"{type(given).__name__} is no query of text; pass Match, Phrase, Boolean or Boost."
        )


def _check_depth(query: TextQuery, depth: int = 1) -> None:
    if depth > _DEEPEST:
        raise InvalidInput(f"Queries are nested more than {_DEEPEST} deep; flatten them.")
    inner: tuple[TextQuery, ...] = ()
    if isinstance(query, Boolean):
        inner = (*query.must, *query.should, *query.must_not)
    elif isinstance(query, Boost):
        inner = (query.positive, query.negative)
    for part in inner:
        _check_depth(part, depth + 1)


def _check_text(text: object) -> None:
    if not isinstance(text, str):
        raise InvalidInput(f"The text of a query must be a string, not {type(text).__name__}.")
    if not text.strip():
        raise InvalidInput("The text of a query is empty; say what to search for.")


def _check_column(column: object) -> None:
    if column is not None and (not isinstance(column, str) or not column):
        raise InvalidOption(f"column={column!r} must be the name of a column, or None.")


def _check_whole(option: str, value: object, lowest: int, highest: int = 2**31 - 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidOption(
            f"{option}={value!r} must be a whole number from {lowest} to {highest}."
        )


def _check_positive(option: str, value: object) -> None:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else -1
    if not 0 <= number < float("inf"):
        raise InvalidOption(f"{option}={value!r} must be a number from 0.")
