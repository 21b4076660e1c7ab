"""Searches, explain and analyze, in memory: exact, the reference of all others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput
from pennon.expr import Expr
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._memory.base import MemoryIndex
from pennon.storage._memory.indexes import MemoryIndexes
from pennon.storage._memory.reads import MemoryReads, selected
from pennon.storage._select import check_columns
from pennon.storage._vectors import (
    check_free,
    is_multivector,
    numbered,
    query_vectors,
    vector_field,
)
from pennon.storage.abc.search_types import HybridSearch, Search, TextSearch, VectorSearch
from pennon.storage.abc.searches import Searches
from pennon.storage.abc.types import ROW_ID, ScanRequest
from pennon.storage.indexing import FullText, VectorIndex
from pennon.storage.searching import DISTANCE

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from pennon.storage._lance.searches import Searcher

    Floats = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["MemorySearches"]


class MemorySearches(MemoryReads, MemoryIndexes, Searches):
    """Searches in memory. Vectors are compared one by one; texts are left to Lance."""

    def explain(self, request: ScanRequest | Search | IdLike) -> str:
        """Tell how a request would be answered; see :meth:`StorageBackend.explain`."""
        asked = request if isinstance(request, (ScanRequest, Search)) else ScanRequest(request)
        id, rows, indexes = self._indexes(asked.table, asked.ref)
        # What cannot be answered cannot be explained.
        if isinstance(asked, Search):
            _found(asked, id, rows.slice(0, 0), indexes)
        else:
            selected(rows.slice(0, 0), asked, id)
        kind = type(asked).__name__
        lines = [f"{kind} of {show_id(id)}", f"- flat scan: all {rows.num_rows} rows in memory"]
        if asked.filter is not None:
            before = isinstance(asked, ScanRequest) or asked.prefilter
            when = "before" if before else "after"
            shown = asked.filter.to_sql() if isinstance(asked.filter, Expr) else asked.filter
            lines.append(f"- filter {when} that: {shown.strip()}")
        return "\n".join(lines) + "\n"

    def analyze(self, request: ScanRequest | Search | IdLike) -> str:
        """Run a request and tell how it was answered; see :meth:`StorageBackend.analyze`."""
        start = time.perf_counter()
        if isinstance(request, Search):
            rows = self._search(request).num_rows
        else:
            rows = self.scan(request).read_all().num_rows
        seconds = time.perf_counter() - start
        return f"{self.explain(request)}- {rows} rows in {seconds * 1000:.3f} ms\n"

    def _search(self, request: Search) -> pa.Table:
        return _found(request, *self._indexes(request.table, request.ref))


def _found(request: Search, id: Id, rows: pa.Table, indexes: Mapping[str, MemoryIndex]) -> pa.Table:
    check_free(rows.schema, request.columns, id)
    match request:
        case VectorSearch():
            return _nearest(rows, indexes, request, id)
        case TextSearch():
            return _texts(rows, indexes, id).texts(request)
        case HybridSearch():
            return _hybrid(rows, indexes, request, id)
        case _:
            raise InvalidInput(f"{type(request).__name__} is no search that is known.")


def _texts(rows: pa.Table, indexes: Mapping[str, MemoryIndex], id: Id) -> Searcher:
    """Return what searches texts, which takes them apart as the text indexes of the table do."""
    from pennon.storage._lance.building import text_options
    from pennon.storage._lance.in_memory import in_memory
    from pennon.storage._lance.searches import Searcher

    copy = in_memory(rows, show_id(id), id)
    for name, made in _by_age(indexes):
        if isinstance(made.index, FullText):
            options = text_options(made.index)
            copy.handle.create_scalar_index(
                made.column, "INVERTED", name=name, train=False, **options
            )
    return Searcher.over(copy)


def _by_age(indexes: Mapping[str, MemoryIndex]) -> list[tuple[str, MemoryIndex]]:
    """Return the indexes, the oldest first: of several on a column that one is used."""
    return sorted(indexes.items(), key=lambda pair: pair[1].version)


def _hybrid(
    rows: pa.Table, indexes: Mapping[str, MemoryIndex], asked: HybridSearch, id: Id
) -> pa.Table:
    import pyarrow as pa

    from pennon.storage._lance.searches import reranked

    check_columns(asked.rows.names or () if asked.rows.computed is None else (), rows.schema, id)
    near = _nearest(rows, indexes, asked.vector_search, id)
    good = _texts(rows, indexes, id).text_ids(asked.text_search)
    ids = sorted({*near[ROW_ID].to_pylist(), *good[ROW_ID].to_pylist()})
    some = _projected(rows.take(pa.array(ids, pa.int64())), asked.rows, id)
    return reranked(some, ids, near, good, asked)


def _nearest(
    rows: pa.Table, indexes: Mapping[str, MemoryIndex], asked: VectorSearch, id: Id
) -> pa.Table:
    """Return the rows nearest to each query vector, one query after the other."""
    import numpy as np
    import pyarrow as pa

    field = vector_field(rows.schema, asked.column, id)
    queries = query_vectors(asked, field, id)
    check_columns(asked.rows.names or () if asked.rows.computed is None else (), rows.schema, id)
    kept = _kept(rows, asked, id)
    several = is_multivector(field)
    batch = asked.query.ndim == 2 and not several  # noqa: PLR2004
    measured = [
        made.index.metric_for(field)
        for _, made in _by_age(indexes)
        if made.column == asked.column and isinstance(made.index, VectorIndex)
    ]
    metric = asked.metric or next(iter(measured), "hamming" if queries.dtype == np.uint8 else "l2")
    parts: list[pa.Table] = []
    for number, query in enumerate([queries] if several else queries):
        distances = _distances(rows, asked.column, np.atleast_2d(query), metric)
        good = ~np.isnan(distances)
        if asked.distance_range is not None:
            low, high = asked.distance_range
            good &= (distances >= (-np.inf if low is None else low)) & (
                (distances < high) if high is not None else True
            )
        if asked.prefilter:
            good &= kept
        near = np.flatnonzero(good)
        near = near[np.argsort(distances[near], kind="stable")][: asked.k]
        if not asked.prefilter:
            near = near[kept[near]]
        found = _projected(rows.take(pa.array(near, pa.int64())), asked.rows, id)
        if asked.with_row_id:
            found = found.append_column(ROW_ID, pa.array(near, pa.uint64()))
        found = found.append_column(DISTANCE, pa.array(distances[near], pa.float32()))
        if batch:
            found = numbered(found, number)
        parts.append(found)
    return pa.concat_tables(parts)


def _kept(rows: pa.Table, asked: VectorSearch, id: Id) -> np.ndarray[Any, Any]:
    """Return which rows satisfy the filter."""
    import numpy as np

    if asked.filter is None:
        return np.ones(rows.num_rows, bool)
    from pennon.storage._lance.in_memory import positions

    kept = np.zeros(rows.num_rows, bool)
    kept[positions(rows, asked.filter, show_id(id), id).to_numpy().astype(np.int64)] = True
    return kept


def _projected(rows: pa.Table, asked: ScanRequest, id: Id) -> pa.Table:
    if asked.computed is not None:
        from pennon.storage._lance.in_memory import computed

        return computed(rows, asked.computed, show_id(id), id)
    return rows if asked.names is None else rows.select(asked.names)


def _distances(rows: pa.Table, column: str, query: np.ndarray[Any, Any], metric: str) -> Floats:
    """Return the distance of each row: the sum, over the query, of that to its nearest vector.

    NULL and what has no distance are NaN.
    """
    import numpy as np

    first, *steps = column.split(".")
    found = np.full(rows.num_rows, np.nan)
    for place, vectors in enumerate(rows[first].to_pylist()):
        for step in steps:
            vectors = vectors and vectors[step]  # noqa: PLW2901
        if not vectors:
            continue
        many = vectors if isinstance(vectors[0], list) else [vectors]
        whole = [v for v in many if v is not None and None not in v]
        if not whole:
            continue
        each = _measured(np.array(whole, np.float64), query, metric)
        found[place] = each.min(axis=1).sum()
    return found.astype(np.float32).astype(np.float64)


def _measured(vectors: Floats, query: np.ndarray[Any, Any], metric: str) -> Floats:
    """Return the distance of each vector of the query to each vector of a row."""
    import numpy as np

    asked = query.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        match metric:
            case "l2":
                return ((asked[:, None, :] - vectors[None]) ** 2).sum(axis=2)
            case "dot":
                return 1.0 - asked @ vectors.T
            case "cosine":
                lengths = np.linalg.norm(asked, axis=1)[:, None] * np.linalg.norm(vectors, axis=1)
                return 1.0 - asked @ vectors.T / lengths
            case _:
                bits = query.astype(np.uint8)[:, None, :] ^ vectors.astype(np.uint8)[None]
                return np.unpackbits(bits, axis=2).sum(axis=2).astype(np.float64)
