"""Queries in all their forms: scan, vector, text and hybrid search, and how they are answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput
from pennon.expr import col
from pennon.namespaces.names import show_id
from pennon.storage.abc import StorageBackend
from pennon.storage.abc.search_types import HybridSearch, TextSearch, VectorSearch
from pennon.storage.abc.types import ROW_ID, ScanRequest
from pennon.storage.searching import (
    DISTANCE,
    QUERY_INDEX,
    RELEVANCE,
    SCORE,
    Boolean,
    Boost,
    Match,
    Phrase,
    TextQuery,
    leaves,
)
from pennon.storage.serving.wire import (
    column_of,
    file_of,
    id_of,
    metric_of,
    models,
    path_of,
    state_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["OPERATIONS"]


def query_table(backend: StorageBackend, request: Any) -> Any:
    """Answer a query with an Arrow IPC file.

    Without a vector and a text it is a scan, where ``k=0`` means all rows. Filters come before
    the search unless ``prefilter`` is false. ``fast_search`` allows to leave rows out that no
    index covers, which is never done.
    """
    return models.QueryTableResponse(data=file_of(_asked(backend, request).rows(backend)))


def explain_table_query_plan(backend: StorageBackend, request: Any) -> str:
    """Return how a query would be answered."""
    query = request.query
    if query.id is None:
        query = query.model_copy(update={"id": request.id})
    if query.branch is None:
        query = query.model_copy(update={"branch": request.branch})
    return backend.explain(_asked(backend, query).request)


def analyze_table_query_plan(backend: StorageBackend, request: Any) -> str:
    """Answer a query, and return how that was done."""
    return backend.analyze(_asked(backend, request).request)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query in the words of the backend."""

    kind: Any
    options: dict[str, Any]
    """Of the request, and of the method of the backend alike."""
    offset: int = 0
    """Rows of a search to leave out at the start: the request asks for so many more."""

    @property
    def request(self) -> Any:
        return self.kind(**self.options)

    def rows(self, backend: StorageBackend) -> pa.Table:
        """Return what is found."""
        if self.kind is ScanRequest:
            return backend.scan(self.request).read_all()
        methods: dict[Any, Callable[..., pa.Table]] = {
            VectorSearch: backend.vector_search,
            TextSearch: backend.full_text_search,
            HybridSearch: backend.hybrid_search,
        }
        found = methods[self.kind](**self.options)
        return _without_first(found, self.offset) if self.offset else found


def _without_first(found: pa.Table, offset: int) -> pa.Table:
    """Leave out the first rows, of each query vector if there are several."""
    import pyarrow as pa

    if QUERY_INDEX not in found.schema.names:
        return found.slice(min(offset, found.num_rows))
    numbers = found[QUERY_INDEX]
    parts = [
        found.filter(pa.compute.equal(numbers, number)).slice(offset)  # type: ignore[attr-defined]
        for number in numbers.unique().to_pylist()
    ]
    return pa.concat_tables(parts) if parts else found


def _asked(backend: StorageBackend, request: Any) -> _Asked:
    vector, text = _vector(request), _text(request)
    columns, row_id = _columns(request)
    options: dict[str, Any] = {
        "table": id_of(request),
        "filter": request.filter,
        "columns": columns,
        "with_row_id": row_id,
        **state_of(request),
    }
    offset = request.offset or 0
    if vector is None and text is None:
        options |= {"limit": request.k or None, "offset": offset}
        return _Asked(ScanRequest, options)
    rows = request.k or max(1, backend.count_rows(id_of(request), **state_of(request)))
    options |= {"k": rows + offset, "prefilter": request.prefilter is not False}
    names = None if text is None else _text_columns(backend, request, text)
    if vector is None:
        return _Asked(TextSearch, {**options, "column": names, "query": text}, offset)
    options |= _vector_options(request, rows + offset)
    column = _vector_column(backend, request)
    if text is None:
        options |= {
            "distance_range": _bounds(request),
            "use_index": not request.bypass_vector_index,
        }
        return _Asked(VectorSearch, {**options, "column": column, "query": vector}, offset)
    if _bounds(request) is not None or request.bypass_vector_index:
        raise InvalidInput(
            "lower_bound, upper_bound and bypass_vector_index are for a query by vector alone."
        )
    both = {"vector_column": column, "vector": vector, "text_column": names, "text": text}
    return _Asked(HybridSearch, {**options, **both}, offset)


# -- what is returned ----------------------------------------------------------------------------


def _columns(request: Any) -> tuple[Any, bool]:
    """Return the columns that are asked for, and whether the row id is one of them."""
    asked, row_id = request.columns, bool(request.with_row_id)
    names: list[str] = list((asked and asked.column_names) or ())
    aliases: dict[str, str] = dict((asked and asked.column_aliases) or {})
    if ROW_ID in names:
        row_id = True
    # A search returns its scores whether they are asked for or not.
    own = {ROW_ID, DISTANCE, SCORE, RELEVANCE}
    paths = {name: path_of(name) for name in names if name not in own}
    if not aliases and all(len(steps) == 1 for steps in paths.values()):
        found = [steps[0] for steps in paths.values()]
        return (found if found or names else None), row_id
    computed: dict[str, Any] = {
        name: col(steps[0]) if len(steps) == 1 else name for name, steps in paths.items()
    }
    return {**computed, **aliases}, row_id


# -- the vector ----------------------------------------------------------------------------------


def _vector(request: Any) -> Any:
    given = request.vector
    if given is None:
        return None
    if given.single_vector and given.multi_vector:
        raise InvalidInput("vector= has single_vector and multi_vector; give one of them.")
    return given.single_vector or given.multi_vector or None


def _vector_column(backend: StorageBackend, request: Any) -> str:
    """Return the column to search: the one that is named, or the only one with vectors."""
    if request.vector_column is not None:
        return column_of(request.vector_column)
    schema: Any = backend.get_table_schema(id_of(request), **state_of(request))
    found = [field.name for field in schema if _holds_vectors(field.type)]
    if len(found) == 1 or "vector" in found:
        return found[0] if len(found) == 1 else "vector"
    raise InvalidInput(
        f"{show_id(id_of(request))} has {len(found)} columns of vectors; name one as vector_column."
    )


def _holds_vectors(kind: Any) -> bool:
    import pyarrow.types as t

    if t.is_list(kind) or t.is_large_list(kind):
        kind = kind.value_type
    return t.is_fixed_size_list(kind) and (
        t.is_floating(kind.value_type) or t.is_uint8(kind.value_type)
    )


def _vector_options(request: Any, rows: int) -> dict[str, Any]:
    metric = None if request.distance_type is None else metric_of(request.distance_type)
    refine = request.refine_factor or None
    # The search is asked for more rows than k when some are to be left out.
    ef = max(request.ef, rows * (refine or 1)) if request.ef else None
    probes = request.minimum_nprobes or request.maximum_nprobes or request.nprobes or None
    return {"metric": metric, "nprobes": probes, "refine_factor": refine, "ef": ef}


def _bounds(request: Any) -> tuple[float | None, float | None] | None:
    bounds = request.lower_bound, request.upper_bound
    return None if bounds == (None, None) else bounds


# -- the text ------------------------------------------------------------------------------------


def _text(request: Any) -> TextQuery | None:
    given = request.full_text_query
    if given is None:
        return None
    if (given.string_query is None) == (given.structured_query is None):
        raise InvalidInput("full_text_query= must have a string_query or a structured_query.")
    if given.string_query is not None:
        return Match(given.string_query.query)
    return _query(given.structured_query.query)


def _text_columns(backend: StorageBackend, request: Any, text: TextQuery) -> list[str] | None:
    """Return the columns for the parts of a query that name none.

    Those the query names, else those with a text index, else all that hold text.
    """
    if all(leaf.column is not None for leaf in leaves(text)):
        return None
    string = request.full_text_query.string_query
    if string is not None and string.columns:
        return [column_of(path) for path in string.columns]
    id, state = id_of(request), state_of(request)
    indexed = {i.columns[0] for i in backend.list_indexes(id, **state) if i.kind == "fts"}
    schema: Any = backend.get_table_schema(id, **state)
    found = sorted(indexed) or [f.name for f in schema if str(f.type) in ("string", "large_string")]
    if not found:
        raise InvalidInput(f"{show_id(id)} has no column of text to search.")
    return found


def _query(given: Any) -> TextQuery:
    """Return a structured query in the words of the backend."""
    kinds = ("match", "phrase", "boost", "multi_match", "boolean")
    named = [kind for kind in kinds if getattr(given, kind) is not None]
    if len(named) != 1:
        raise InvalidInput(f"A structured query is exactly one of {', '.join(kinds)}.")
    part = getattr(given, named[0])
    match named[0]:
        case "match":
            return _match(part)
        case "phrase":
            return Phrase(part.terms, _column(part), part.slop or 0)
        case "multi_match":
            return Boolean(should=tuple(_match(m) for m in part.match_queries))
        case "boost":
            weight = 0.5 if part.negative_boost is None else part.negative_boost
            return Boost(_query(part.positive), _query(part.negative), weight)
        case _:
            return Boolean(
                must=tuple(map(_query, part.must)),
                should=tuple(map(_query, part.should)),
                must_not=tuple(map(_query, part.must_not)),
            )


def _match(part: Any) -> Match:
    if part.operator is not None and part.operator.lower() not in ("and", "or"):
        raise InvalidInput(f"operator={part.operator!r} must be 'And' or 'Or'.")
    return Match(
        part.terms,
        _column(part),
        operator="and" if part.operator and part.operator.lower() == "and" else "or",
        fuzziness=part.fuzziness or 0,
        prefix_length=part.prefix_length or 0,
        max_expansions=50 if part.max_expansions is None else part.max_expansions,
        boost=1.0 if part.boost is None else part.boost,
    )


def _column(part: Any) -> str | None:
    return None if part.column is None else column_of(part.column)


OPERATIONS = (query_table, explain_table_query_plan, analyze_table_query_plan)
