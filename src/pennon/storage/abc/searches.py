"""Contract: finding the rows nearest to a vector or a text, and how requests are answered."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.expr import Expr
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.search_types import (
    Distances,
    HybridSearch,
    Search,
    TextSearch,
    VectorSearch,
)
from pennon.storage.abc.types import Columns, ScanRequest
from pennon.storage.refs import MAIN
from pennon.storage.searching import Metric, ReciprocalRank, Reranker, TextQuery

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Searches"]


class Searches(abc.ABC):
    """Finding the rows nearest to a vector or a text.

    Every search reads one version: the newest acknowledged commit of the branch, or the one that
    ``version``, ``tag`` or ``as_of`` names. It works with and without an index: without one it
    compares every row, which is exact, and rows that an index does not hold yet are found as
    well. :meth:`explain` says what was used. The result has the best row first and exactly ``k``
    rows where so many qualify; a row whose vector or text is NULL never does. Rows with one score
    are in the order of their row ids, which also decides who of them finds room; but chance does
    where an index of vectors finds them, or where more than 1,000 texts have one score.

    All raise ``TableNotFound`` if no table has the id or it is only declared, ``BranchNotFound``,
    ``VersionNotFound`` or ``TagNotFound`` if the state that is asked for does not exist,
    ``ColumnNotFound`` if a column does not exist, ``InvalidFilter`` if the filter cannot be
    understood or fails on a row, ``InvalidInput`` if a computed column does, ``InvalidOption``
    if an option is out of range or more than one of ``version``, ``tag`` and ``as_of`` is given,
    and ``InvalidName`` for a branch name that no branch can have.
    """

    def vector_search(
        self,
        table: IdLike,
        column: str,
        query: Any,
        *,
        k: int = 10,
        filter: Expr | str | None = None,
        columns: Columns | None = None,
        metric: Metric | None = None,
        nprobes: int | None = None,
        refine_factor: int | None = None,
        ef: int | None = None,
        distance_range: Distances | None = None,
        use_index: bool = True,
        prefilter: bool = True,
        with_row_id: bool = False,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return the rows whose vectors are nearest to one, and their ``_distance``.

        Args:
            table: Its id.
            column: The vectors: fixed-size lists of float16, float32, float64 or uint8, or lists
                of such vectors. The distance of several vectors is the sum, over those of the
                query, of that to the nearest one of the row.
            query: A vector as long as those of the column: a list, a numpy or an Arrow array.
                Several (2-D) are several searches in one, and the result has a first column
                ``query_index``, with ``k`` rows for each; in a column of lists of vectors they are
                one query.
            k: Rows at most, of each query vector.
            filter: Condition, as an expression or SQL; None for all rows.
            columns: What to return; see :class:`ScanRequest`.
            metric: How distances are measured; None for what the index of the column was made
                for, else ``"l2"``, or ``"hamming"`` for uint8, which has no other. Another metric
                than that of the index makes the search exact, and slow.
            nprobes: How many partitions of the index to search; None for what Lance thinks best.
            refine_factor: Compare ``k`` times so many rows again by their whole vectors; for
                indexes that compress them, and for rows with several vectors. None for 1, so
                that every distance is that of whole vectors, and for 10 on rows with several unless
                ``ef`` is given.
            ef: How many candidates an HNSW index keeps, at least ``k``.
            distance_range: Only distances from the first number (included) to the second
                (excluded), each or None. The first one makes the search exact, and slow, where the
                index compresses vectors.
            use_index: Whether an index may be used; without, all rows are compared, by the metric
                of the index all the same.
            prefilter: Whether to filter before searching, so that ``k`` rows are found if there
                are so many.
            with_row_id: Whether to add a column ``_rowid`` before ``_distance``.
            branch: The branch to read.
            version: A version of it; the newest if None.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            InvalidInput: The query is no vector of the right length, holds NaN or an infinite
                number, or the column holds no vectors.
            InvalidOption: The metric is not one for such vectors.
        """
        return self._search(
            VectorSearch(
                table,
                column,
                query,
                k=k,
                filter=filter,
                columns=columns,
                metric=metric,
                nprobes=nprobes,
                refine_factor=refine_factor,
                ef=ef,
                distance_range=distance_range,
                use_index=use_index,
                prefilter=prefilter,
                with_row_id=with_row_id,
                branch=branch,
                version=version,
                tag=tag,
                as_of=as_of,
            )
        )

    def full_text_search(
        self,
        table: IdLike,
        column: str | Sequence[str] | None,
        query: str | TextQuery,
        *,
        k: int = 10,
        filter: Expr | str | None = None,
        columns: Columns | None = None,
        prefilter: bool = True,
        with_row_id: bool = False,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return the rows whose texts a query finds best, and their ``_score``.

        A query without words, or with none but stop words, finds nothing.

        Args:
            table: Its id.
            column: The texts. If there are several columns, what any of them finds is found, and
                the scores add up. None if every part of the query names its own.
            query: Words, of which one is enough; or :class:`~pennon.storage.searching.Match`,
                ``Phrase``, ``Boolean`` or ``Boost``.
            k: Rows at most.
            filter: Condition, as an expression or SQL; None for all rows.
            columns: What to return; see :class:`ScanRequest`.
            prefilter: Whether to filter before searching, so that ``k`` rows are found if there
                are so many.
            with_row_id: Whether to add a column ``_rowid`` before ``_score``.
            branch: The branch to read.
            version: A version of it; the newest if None.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            InvalidInput: The query is empty, or a column holds no texts.
            InvalidState: A phrase, and the text index of the column keeps no positions.
        """
        return self._search(
            TextSearch(
                table,
                column,
                query,
                k=k,
                filter=filter,
                columns=columns,
                prefilter=prefilter,
                with_row_id=with_row_id,
                branch=branch,
                version=version,
                tag=tag,
                as_of=as_of,
            )
        )

    def hybrid_search(
        self,
        table: IdLike,
        vector_column: str,
        vector: Any,
        text_column: str | Sequence[str] | None,
        text: str | TextQuery,
        *,
        k: int = 10,
        reranker: Reranker | None = None,
        candidates: int | None = None,
        filter: Expr | str | None = None,
        columns: Columns | None = None,
        metric: Metric | None = None,
        nprobes: int | None = None,
        refine_factor: int | None = None,
        ef: int | None = None,
        prefilter: bool = True,
        with_row_id: bool = False,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return the best of what a vector search and a text search of one version find.

        The last columns are ``_distance`` and ``_score``, NULL where only the other search found
        the row, and ``_relevance_score``.

        Args:
            table: Its id.
            vector_column: The vectors.
            vector: The query vector.
            text_column: The texts; see :meth:`full_text_search`.
            text: The query text.
            k: Rows at most.
            reranker: What makes one list of two; None for reciprocal rank fusion. See
                :class:`~pennon.storage.searching.Reranker`.
            candidates: How many rows each of the searches finds; None for ``4 * k``, 50 at least.
            filter: Condition, as an expression or SQL; None for all rows.
            columns: What to return; see :class:`ScanRequest`. A reranker sees them too.
            metric: See :meth:`vector_search`.
            nprobes: See :meth:`vector_search`.
            refine_factor: See :meth:`vector_search`.
            ef: See :meth:`vector_search`; at least ``candidates``.
            prefilter: Whether to filter before searching.
            with_row_id: Whether to add a column ``_rowid`` before the scores.
            branch: The branch to read.
            version: A version of it; the newest if None.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            InvalidInput: What either search raises it for; or the reranker returned something
                else than one number for each candidate.
            InvalidState: What :meth:`full_text_search` raises it for.
        """
        return self._search(
            HybridSearch(
                table,
                vector_column,
                vector,
                text_column,
                text,
                k=k,
                reranker=ReciprocalRank() if reranker is None else reranker,
                candidates=candidates,
                filter=filter,
                columns=columns,
                metric=metric,
                nprobes=nprobes,
                refine_factor=refine_factor,
                ef=ef,
                prefilter=prefilter,
                with_row_id=with_row_id,
                branch=branch,
                version=version,
                tag=tag,
                as_of=as_of,
            )
        )

    @abc.abstractmethod
    def explain(self, request: ScanRequest | Search | IdLike) -> str:
        """Return how a scan or a search would be answered, for people: nothing is run.

        The first lines say whether an index or a scan of every row answers it, which index, how
        many rows it does not hold, and why an index that is there is not used. Then comes the
        plan of the engine. The text is no format to parse.

        Args:
            request: A :class:`ScanRequest`, :class:`VectorSearch`, :class:`TextSearch` or
                :class:`HybridSearch`, or the id of a table.
        """

    @abc.abstractmethod
    def analyze(self, request: ScanRequest | Search | IdLike) -> str:
        """Run a scan or a search, and return how it was answered: :meth:`explain` with numbers.

        The plan tells rows, time and bytes of each step. The text is no format to parse.

        Args:
            request: See :meth:`explain`.
        """

    @abc.abstractmethod
    def _search(self, request: Search) -> pa.Table:
        """Return the rows of a search, the best first."""
