"""Searching one state of a table, on Lance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput, InvalidState
from pennon.expr import closed, col, filter_sql
from pennon.storage._fitting import fitted
from pennon.storage._lance import text
from pennon.storage._lance.moved import with_changed_rows
from pennon.storage._lance.rows import Rows
from pennon.storage._select import check_columns
from pennon.storage._vectors import (
    check_free,
    check_texts,
    is_multivector,
    numbered,
    query_vectors,
    vector_field,
)
from pennon.storage.abc.search_types import HybridSearch, Search, TextSearch, VectorSearch
from pennon.storage.abc.types import ROW_ID
from pennon.storage.searching import (
    DISTANCE,
    QUERY_INDEX,
    RELEVANCE,
    SCORE,
    Phrase,
    TextQuery,
    leaves,
)

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Searcher", "TextIndex", "TextPlan", "reranked"]

_SEVERAL = 10
"""How many times more rows of several vectors are compared again: Lance adds up only distances to
the vectors that it came across."""
_MOST_TEXT = 256 * 2**20
"""Bytes of text without an index that are searched at most: they are copied into memory."""


@dataclass(frozen=True, slots=True)
class TextIndex:
    """An index of the texts of a column.

    Args:
        name: Its name.
        config: How it takes texts apart, in the words of Lance.
        fragments: The fragments it holds.
        segments: Its parts.
    """

    name: str
    config: Mapping[str, Any]
    fragments: frozenset[int]
    segments: int

    @property
    def positions(self) -> bool:
        """Whether it knows where words stand."""
        return bool(self.config.get("with_position"))


@dataclass(frozen=True, slots=True)
class TextPlan:
    """Which rows are searched through indexes, and which are copied into memory and indexed there.

    Args:
        indexes: The text indexes of the columns of the query.
        missing: The columns without one.
        fragments: The fragments whose rows the indexes find.
        others: All other fragments.
        stale: Whether an index may find rows by what they were: each segment still knows the rows
            that moved out of its fragments, and Lance believes it if another segment holds them.
        fuzzy: Whether the query allows wrong letters.
    """

    indexes: Mapping[str, TextIndex]
    missing: tuple[str, ...]
    fragments: frozenset[int]
    others: frozenset[int]
    stale: bool
    fuzzy: bool

    @property
    def through_index(self) -> bool:
        """Whether Lance's own search answers: for all rows, or for those in the indexes.

        Lance takes the words of a column without an index as they are, neither lower case nor
        stems, and does not find them with wrong letters; nor does it in rows outside the index.
        """
        return not self.missing and not (self.apart and not self.fragments)

    @property
    def in_memory(self) -> bool:
        """Whether rows are searched in memory: all, or those outside the indexes."""
        return not self.through_index or (self.apart and bool(self.others))

    @property
    def apart(self) -> bool:
        """Whether Lance cannot search the other fragments together with the indexes."""
        return self.fuzzy or self.stale


class Searcher(Rows):
    """The rows of one state of a table, to be searched."""

    __slots__ = ()

    @classmethod
    def over(cls, rows: Rows) -> Searcher:
        """Return what searches rows."""
        return cls(rows.handle, rows.id, rows.name, rows.secrets, rows.guard)

    def search(self, asked: Search) -> pa.Table:
        """Return the rows of a search, the best first."""
        check_free(self.schema, asked.columns, self.id)
        match asked:
            case VectorSearch():
                return self.vectors(asked)
            case TextSearch():
                return self.texts(asked)
            case HybridSearch():
                return self.hybrid(asked)
            case _:
                raise InvalidInput(f"{type(asked).__name__} is no search that is known.")

    # -- vectors -----------------------------------------------------------------------------------

    def vectors(self, asked: VectorSearch) -> pa.Table:
        """Return the rows nearest to a vector."""
        import pyarrow as pa
        import pyarrow.compute

        pc: Any = pyarrow.compute
        queries = self.queries(asked)
        with self.reading(computes=isinstance(asked.columns, Mapping)):
            parts = [self._nearest(asked, query) for query in queries]
        if asked.query.ndim > 1 and isinstance(queries[0], pa.Array):
            parts = [numbered(part, n) for n, part in enumerate(parts)]
        found = pa.concat_tables(parts)
        if asked.distance_range is not None and asked.distance_range[1] is not None:
            end = pa.scalar(asked.distance_range[1], pa.float32())
            found = found.filter(pc.less(found[DISTANCE], end))
        if asked.filter is not None and not asked.prefilter:
            found = self._filtered(found, filter_sql(fitted(asked.filter, self.schema)))
        order = [(name, "ascending") for name in (DISTANCE, ROW_ID)]
        if QUERY_INDEX in found.schema.names:
            order.insert(0, (QUERY_INDEX, "ascending"))
        found = found.sort_by(order)
        names = [n for n in found.schema.names if n not in (DISTANCE, ROW_ID)]
        return found.select([*names, *([ROW_ID] if asked.with_row_id else []), DISTANCE])

    def queries(self, asked: VectorSearch) -> list[Any]:
        """Return what to search for, in one search or one for each.

        Lance takes several at once as float32 only, and keeps float64 only of Arrow's arrays.
        """
        import numpy as np
        import pyarrow as pa

        field = vector_field(self.schema, asked.column, self.id)
        queries = query_vectors(asked, field, self.id)
        batch = len(queries) > 1 and queries.dtype != np.float64
        if is_multivector(field) or (batch and QUERY_INDEX not in self.schema.names):
            return [queries.astype(np.float32)]
        kind = queries.dtype if queries.dtype == np.float64 else np.float32
        return [pa.array(query.astype(kind)) for query in queries]

    def _nearest(self, asked: VectorSearch, query: Any) -> pa.Table:
        """Return the rows nearest to what is one search for Lance."""
        import numpy as np

        found = self.vector_scanner(asked, query).to_table()
        many = isinstance(query, np.ndarray) and QUERY_INDEX in found.schema.names
        wanted = min(asked.k, self.handle.count_rows()) * (len(query) if many else 1)
        if len(found) < wanted and asked.use_index and self.measured_by(asked.column):
            found = self.vector_scanner(asked, query, alive=True).to_table()
        return found

    def vector_scanner(
        self, asked: VectorSearch, query: Any, *, alive: bool = False
    ) -> lance.LanceScanner:
        """Return what finds the rows nearest to a vector.

        Args:
            asked: The search.
            query: The vector, or several.
            alive: See :func:`_where`.
        """
        names, computed = asked.rows.names, asked.rows.computed
        schema = self.schema
        columns: Any
        if computed is not None:
            self.check_computed(computed)
            columns = {name: closed(sql) for name, sql in computed.items()}
            columns[DISTANCE] = DISTANCE
        else:
            check_columns(names or (), schema, self.id)
            columns = [*(schema.names if names is None else names), DISTANCE]
        # Lance makes room for k * refine_factor rows, and aborts the process if it finds none.
        total = max(self.handle.count_rows(), 1)
        k = min(asked.k, total)
        several = asked.ef is None and is_multivector(vector_field(schema, asked.column, self.id))
        refine = min(asked.refine_factor or (_SEVERAL if several else 1), -(-total // k))
        use_index, between = asked.use_index, asked.distance_range
        if between is not None and self.guesses(asked):
            use_index, between = between[0] is None, None if between[0] is None else between
        nearest = {
            "column": asked.column,
            "q": query,
            "k": k,
            "metric": asked.metric or (None if use_index else self.measured_by(asked.column)),
            # As a maximum too, it would cost rows that are there.
            "minimum_nprobes": asked.nprobes,
            "refine_factor": refine,
            "ef": asked.ef,
            "distance_range": between,
            "use_index": use_index,
        }
        return self.handle.scanner(
            columns=columns,
            nearest={name: value for name, value in nearest.items() if value is not None},
            filter=_where(
                filter_sql(fitted(asked.filter, self.schema)) if asked.prefilter else None,
                alive=alive,
            ),
            prefilter=True,
            with_row_id=True,
            disable_scoring_autoprojection=True,
        )

    def guesses(self, asked: VectorSearch) -> bool:
        """Whether an index would compare with the range of a search what it guesses of distances.

        Lance does so whatever it refines: by another measure than that of the range, for cosine.
        """
        return (
            asked.use_index
            and asked.distance_range is not None
            and any(
                "compression" in index.details
                for index in self.handle.describe_indices()
                if list(index.field_names) == [asked.column]
            )
        )

    def measured_by(self, column: str) -> str | None:
        """Return the metric of the index of a column; None without one."""
        found = (
            index.details.get("metric_type")
            for index in self.handle.describe_indices()
            if list(index.field_names) == [column]
        )
        return next((metric.lower() for metric in found if metric), None)

    # -- texts -------------------------------------------------------------------------------------

    def texts(self, asked: TextSearch) -> pa.Table:
        """Return the rows whose texts a query finds best."""
        found = self.text_ids(asked)
        rows = self.take_ids(found[ROW_ID].to_pylist(), asked.columns)
        if len(rows) < len(found):
            found = self.text_ids(asked, alive=True)
            rows = self.take_ids(found[ROW_ID].to_pylist(), asked.columns)
        if asked.with_row_id:
            rows = rows.append_column(ROW_ID, found[ROW_ID])
        return rows.append_column(SCORE, found[SCORE])

    def text_ids(self, asked: TextSearch, *, alive: bool = False) -> pa.Table:
        """Return the row ids and scores of the rows a query finds best.

        Args:
            asked: The search.
            alive: See :func:`_where`.
        """
        import pyarrow as pa

        query, filter = asked.bound, filter_sql(fitted(asked.filter, self.schema))
        if asked.columns is not None and not isinstance(asked.columns, Mapping):
            check_columns(asked.columns, self.schema, self.id)
        plan = self.text_plan(query)
        k = min(asked.k, max(self.handle.count_rows(), 1))
        before = filter if asked.prefilter else None
        parts: list[pa.Table] = []
        if plan.through_index:
            # What is filtered afterwards would not tell of rows that are gone.
            options = self.index_options(plan, _where(before, alive=alive or before != filter))
            with self.reading():
                parts.append(text.best(self.handle, text.to_lance(query), k, **options))
        if plan.in_memory:
            parts.append(self._found_in_memory(query, plan, k, before))
        found = pa.concat_tables(parts)
        found = found.sort_by([(SCORE, "descending"), (ROW_ID, "ascending")]).slice(0, k)
        return found if before == filter else self._filtered(found, filter)

    def _filtered(self, found: pa.Table, filter: str | None) -> pa.Table:
        import pyarrow.compute

        pc: Any = pyarrow.compute
        ids = ", ".join(map(str, found[ROW_ID].to_pylist()))
        left = self.ids(f"({filter}) AND " + (f"{ROW_ID} IN ({ids})" if ids else "false"))
        return found.filter(pc.is_in(found[ROW_ID], value_set=left.combine_chunks()))

    def text_plan(self, query: TextQuery) -> TextPlan:
        """Return how a query is answered.

        Raises:
            InvalidState: It asks for a phrase, and the index keeps no positions.
        """
        columns = text.columns_of(query)
        for column in columns:
            check_texts(self.schema, column, self.id)
        with self.reading():
            indexes = {c: i for c in columns if (i := text_index(self.handle, c)) is not None}
            everything = frozenset(f.fragment_id for f in self.handle.get_fragments())
        for part in leaves(query):
            index = indexes.get(part.column or "")
            if isinstance(part, Phrase) and index is not None and not index.positions:
                raise InvalidState(
                    f"The index {index.name!r} on {part.column!r} of {self.name} does not know "
                    "where words stand, so it finds no phrases; build it again with "
                    "create_fts_index(..., FullText(positions=True), replace=True).",
                    table=self.id,
                    index=index.name,
                )
        covered = everything
        for index in indexes.values():
            covered &= index.fragments
        moved = with_changed_rows(self.handle) & covered
        stale = bool(moved) and any(index.segments > 1 for index in indexes.values())
        if stale:
            covered -= moved
        return TextPlan(
            indexes=indexes,
            missing=tuple(c for c in columns if c not in indexes),
            fragments=covered,
            others=everything - covered,
            stale=stale,
            fuzzy=text.is_fuzzy(query),
        )

    def index_options(self, plan: TextPlan, filter: str | None) -> dict[str, Any]:
        """Return the options of the scanner for the part of the rows that indexes answer."""
        options: dict[str, Any] = {"filter": filter}
        if plan.in_memory:
            options["fragments"] = self._fragments(plan.fragments)
        return options

    def _fragments(self, ids: frozenset[int]) -> list[Any]:
        return [f for f in self.handle.get_fragments() if f.fragment_id in ids]

    def _found_in_memory(
        self, query: TextQuery, plan: TextPlan, k: int, filter: str | None
    ) -> pa.Table:
        """Return the best of the rows that no index answers for."""
        handle, names = self.texts_in_memory(query, plan, filter)
        with self.reading():
            return text.best(handle, text.to_lance(query, names), k, "id")

    def texts_in_memory(
        self, query: TextQuery, plan: TextPlan, filter: str | None
    ) -> tuple[lance.LanceDataset, dict[str, str]]:
        """Return a copy of the texts no index answers for, and what their columns are called."""
        names = {column: f"c{n}" for n, column in enumerate(text.columns_of(query))}
        with self.reading():
            reader = self.texts_scanner(names, plan, filter).to_reader()
            schema = reader.schema
            schema = schema.set(
                schema.get_field_index(ROW_ID), schema.field(ROW_ID).with_name("id")
            )
            configs = {
                names[c]: plan.indexes[c].config if c in plan.indexes else text.DEFAULT
                for c in names
            }
            batches = [b.rename_columns(schema.names) for b in self._bounded(reader, plan)]
            handle = text.indexed_in_memory(batches, schema, configs, trained=plan.fuzzy)
        return handle, names

    def texts_scanner(
        self, names: Mapping[str, str], plan: TextPlan, filter: str | None
    ) -> lance.LanceScanner:
        """Return what reads the texts that no index answers for."""
        columns = {name: col(*column.split(".")).to_sql() for column, name in names.items()}
        fragments = self._fragments(plan.others) if plan.through_index else None
        return self.handle.scanner(
            columns=columns, filter=filter, with_row_id=True, fragments=fragments
        )

    def _bounded(self, reader: pa.RecordBatchReader, plan: TextPlan) -> Iterator[pa.RecordBatch]:
        total = 0
        for batch in reader:
            total += batch.nbytes
            if total > _MOST_TEXT:
                cure = (
                    f"create_fts_index on {plan.missing[0]!r}"
                    if plan.missing
                    else "update_indexes, for a fuzzy query"
                )
                raise InvalidState(
                    f"More than {_MOST_TEXT >> 20} MiB of text of {self.name} are in no index, "
                    f"too much to search without one; call {cure}, or filter more.",
                    table=self.id,
                )
            yield batch

    # -- both --------------------------------------------------------------------------------------

    def hybrid(self, asked: HybridSearch) -> pa.Table:
        """Return the best of what a vector and a text find."""
        near = self.vectors(asked.vector_search)
        ids: list[int] = []
        for alive in (False, True):
            good = self.text_ids(asked.text_search, alive=alive)
            ids = sorted({*near[ROW_ID].to_pylist(), *good[ROW_ID].to_pylist()})
            rows = self.take_ids(ids, asked.columns)
            if len(rows) == len(ids):
                break
        return reranked(rows, ids, near, good, asked)


def reranked(
    rows: pa.Table, ids: Sequence[int], near: pa.Table, good: pa.Table, asked: HybridSearch
) -> pa.Table:
    """Return the best candidates of two searches.

    Args:
        rows: The candidates.
        ids: Their row ids, ascending.
        near: What the vector search found: row ids and distances.
        good: What the text search found: row ids and scores.
        asked: The search.

    Raises:
        InvalidInput: The reranker returned something else than one number for each.
    """
    import numpy as np
    import pyarrow as pa

    for found, name in ((near, DISTANCE), (good, SCORE)):
        known = dict(zip(found[ROW_ID].to_pylist(), found[name].to_pylist(), strict=True))
        rows = rows.append_column(name, pa.array([known.get(i) for i in ids], pa.float32()))
    given = asked.reranker.rerank(rows, asked)
    try:
        scores = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        scores = np.array(np.nan)
    if scores.shape != (len(ids),) or np.isnan(scores).any():
        raise InvalidInput(
            f"{type(asked.reranker).__name__}.rerank() must return {len(ids)} numbers, one for "
            "each candidate."
        )
    order = np.argsort(-scores, kind="stable")[: asked.k]
    rows = rows.append_column(RELEVANCE, pa.array(scores.astype(np.float32)))
    if asked.with_row_id:
        at = rows.schema.get_field_index(DISTANCE)
        rows = rows.add_column(at, ROW_ID, pa.array(ids, pa.uint64()))
    return rows.take(pa.array(order))


def _where(filter: str | None, *, alive: bool) -> str | None:
    """Return a filter, so that only rows that there are satisfy it if ``alive``.

    Where a compaction dropped deleted rows, an index still finds them and they take the place of
    others, also those that an index of the filter's columns lets pass. It takes a look at the ids
    of all rows to tell, so it is left out until a search finds rows that are gone.
    """
    if not alive:
        return filter
    return f"{ROW_ID} >= 0" if filter is None else f"({filter}) AND {ROW_ID} >= 0"


def text_index(handle: lance.LanceDataset, column: str) -> TextIndex | None:
    """Return the text index of a column, if there is one: of several the oldest, as Lance does."""
    known = [
        index
        for index in handle.describe_indices()
        if index.index_type == "Inverted" and list(index.field_names) == [column]
    ]
    if not known:
        return None
    index = min(known, key=lambda i: min(str(part.created_at) for part in i.segments))
    held = frozenset(i for part in index.segments for i in part.fragment_ids)
    return TextIndex(index.name, dict(index.details), held, len(index.segments))
