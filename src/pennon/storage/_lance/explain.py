"""How a scan or a search is answered, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pennon.expr import Expr, filter_sql
from pennon.storage._fitting import fitted
from pennon.storage._lance import text
from pennon.storage._lance.searches import Searcher, TextPlan
from pennon.storage.abc.search_types import HybridSearch, Search, TextSearch, VectorSearch
from pennon.storage.abc.types import ScanRequest

if TYPE_CHECKING:
    import lance

__all__ = ["explained"]

_METRIC = re.compile(r"metric=(\w+)")


def explained(rows: Searcher, request: ScanRequest | Search, *, run: bool) -> str:
    """Return how a request is answered.

    Args:
        rows: The state of the table it is about.
        request: The request.
        run: Whether to run it and measure.
    """
    return "\n".join(_lines(rows, request, run=run)) + "\n"


def _lines(rows: Searcher, request: ScanRequest | Search, *, run: bool) -> Iterator[str]:
    match request:
        case ScanRequest():
            yield from _scan(rows, request, run=run)
        case VectorSearch():
            yield from _vectors(rows, request, run=run)
        case TextSearch():
            yield from _texts(rows, request, run=run)
        case HybridSearch():
            name = type(request.reranker).__name__
            yield (
                f"hybrid search of {rows.name}: the {request.k} best by {name} of what both "
                f"searches find, {request.candidates} rows each"
            )
            for half in (request.vector_search, request.text_search):
                yield from (f"  {line}".rstrip() for line in _lines(rows, half, run=run))
        case _:
            raise AssertionError(request)


def _scan(rows: Searcher, request: ScanRequest, *, run: bool) -> Iterator[str]:
    options = rows.options(request)
    with rows.reading(computes=request.computed is not None):
        plan = _plan(rows.handle.scanner(**options), run=run)
        known = [index.name for index in rows.handle.describe_indices()]
    yield f"scan of {rows.name}"
    used = [name for name in known if f"]@{name}(" in plan]
    if used:
        shown = ", ".join(repr(name) for name in used)
        yield f"- index {shown} is used for the filter"
    elif request.filter is not None:
        yield "- flat scan: no index is used, every row is compared with the filter"
    else:
        yield "- flat scan: no filter"
    yield from _filter(request.filter)
    yield from _indented(plan)


def _vectors(rows: Searcher, asked: VectorSearch, *, run: bool) -> Iterator[str]:
    queries = rows.queries(asked)
    with rows.reading():
        plans = [_plan(rows.vector_scanner(asked, query), run=run) for query in queries]
        indexes = [
            index
            for index in rows.handle.describe_indices()
            if list(index.field_names) == [asked.column] and "metric_type" in index.details
        ]
        used = next((i for i in indexes if _names(plans[0], i.name)), None)
        metric = _METRIC.search(plans[0])
        total = rows.handle.count_rows()
        measured = metric[1].lower() if metric else asked.metric or "l2"
        yield (
            f"vector search of {rows.name}: the {asked.k} nearest in {asked.column!r} by {measured}"
        )
        if used is not None:
            held = frozenset(n for part in used.segments for n in part.fragment_ids)
            yield f"- index {used.name!r} ({used.index_type}) is used" + _rest(rows, held)
        elif indexes and not asked.use_index:
            yield f"- flat scan: no index is to be used, so all {total} rows are compared"
        elif indexes and rows.guesses(asked):
            yield (
                f"- flat scan: {indexes[0].name!r} guesses distances, and there is a least one, so "
                f"all {total} rows are compared, which is exact"
            )
        elif indexes:
            kinds = ", ".join(
                f"{i.name!r} measures {i.details['metric_type'].lower()}" for i in indexes
            )
            yield f"- flat scan: {kinds}, so all {total} rows are compared, which is exact"
        else:
            yield (
                f"- flat scan: {asked.column!r} has no vector index, so all {total} rows are "
                "compared, which is exact"
            )
    yield from _filter(asked.filter, before=asked.prefilter)
    for plan in plans:
        yield from _indented(plan)


def _texts(rows: Searcher, asked: TextSearch, *, run: bool) -> Iterator[str]:
    query = asked.bound
    plan = rows.text_plan(query)
    shown = ", ".join(repr(c) for c in text.columns_of(query))
    yield f"text search of {rows.name}: the {asked.k} best in {shown}"
    for index in plan.indexes.values():
        if plan.through_index:
            yield f"- index {index.name!r} is used" + _rest(rows, index.fragments)
        else:
            yield f"- index {index.name!r} is not used"
    for column in plan.missing:
        yield f"- flat scan: {column!r} has no text index, so the texts of all rows are read"
    if plan.in_memory and not plan.missing:
        why = "it may find updated rows by what they were" if plan.stale else "fuzzy words need it"
        yield f"- flat scan: the texts of {len(plan.others)} fragments are read, because {why}"
    yield from _filter(asked.filter, before=asked.prefilter)
    filter = filter_sql(fitted(asked.filter, rows.schema)) if asked.prefilter else None
    for title, inner in _text_plans(rows, asked, plan, filter, run=run):
        yield f"- {title}"
        yield from _indented(inner)


def _text_plans(
    rows: Searcher, asked: TextSearch, plan: TextPlan, filter: str | None, *, run: bool
) -> Iterator[tuple[str, str]]:
    query = asked.bound
    if plan.through_index:
        options = rows.index_options(plan, filter)
        with rows.reading():
            found = text.scanner(rows.handle, text.to_lance(query), asked.k + 1, **options)
            yield "search", _plan(found, run=run)
    if plan.in_memory:
        names = {column: f"c{n}" for n, column in enumerate(text.columns_of(query))}
        with rows.reading():
            yield "read", _plan(rows.texts_scanner(names, plan, filter), run=run)
        if run:
            handle, names = rows.texts_in_memory(query, plan, filter)
            with rows.reading():
                found = text.scanner(handle, text.to_lance(query, names), asked.k + 1, "id")
                yield "search", _plan(found, run=True)


def _names(plan: str, index: str) -> bool:
    """Whether vectors are found by an index; before its name may stand how long that took."""
    return re.search(rf"ANNSubIndex: .*name={re.escape(index)}, k=", plan) is not None


def _rest(rows: Searcher, held: frozenset[int]) -> str:
    """Return what becomes of the rows an index does not hold, as the end of a sentence."""
    left = sum(f.count_rows() for f in rows.handle.get_fragments() if f.fragment_id not in held)
    if not left:
        return " and holds all rows"
    return f"; {left} rows not in it are scanned flat, until update_indexes adds them"


def _filter(filter: Expr | str | None, *, before: bool = True) -> Iterator[str]:
    if filter is not None:
        shown = filter.to_sql() if isinstance(filter, Expr) else filter.strip()
        yield f"- filter {'before' if before else 'after'} that: {shown}"


def _plan(scanner: lance.LanceScanner, *, run: bool) -> str:
    return scanner.analyze_plan() if run else scanner.explain_plan(verbose=True)


def _indented(plan: str) -> Iterator[str]:
    yield from (f"    {line}" for line in plan.splitlines() if line.strip())
