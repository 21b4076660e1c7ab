"""Queries of text as Lance takes them, and texts without an index as Lance would index them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pennon.storage.abc.types import ROW_ID
from pennon.storage.searching import SCORE, Boolean, Boost, Match, Phrase, TextQuery, leaves

if TYPE_CHECKING:
    import lance
    import pyarrow as pa
    from lance.query import FullTextQuery

__all__ = ["DEFAULT", "best", "columns_of", "indexed_in_memory", "is_fuzzy", "to_lance"]

DEFAULT: Mapping[str, Any] = {}
"""How the texts of a column without an index are taken apart: as a new index would."""

_TIES = 1_000
"""How many rows are looked at to put those of one score in order."""

_OPTIONS = (
    "base_tokenizer",
    "language",
    "max_token_length",
    "lower_case",
    "stem",
    "remove_stop_words",
    "custom_stop_words",
    "ascii_folding",
    "min_ngram_length",
    "max_ngram_length",
    "prefix_only",
    "split_identifiers",
    "split_on_numerics",
    "preserve_original",
    "index_operators",
)


def columns_of(query: TextQuery) -> list[str]:
    """Return the columns a query asks, each once."""
    return list(dict.fromkeys(part.column for part in leaves(query) if part.column is not None))


def is_fuzzy(query: TextQuery) -> bool:
    """Whether any part of a query allows wrong letters."""
    return any(isinstance(part, Match) and part.fuzziness for part in leaves(query))


def to_lance(query: TextQuery, names: Mapping[str, str] | None = None) -> FullTextQuery:
    """Return a query as Lance takes it.

    Args:
        query: The query, each part with its column.
        names: What the columns are called there, if not the same.
    """
    from lance import query as lq

    match query:
        case Match():
            return lq.MatchQuery(
                query.text,
                _name(query, names),
                boost=query.boost,
                fuzziness=query.fuzziness,
                max_expansions=query.max_expansions,
                operator=lq.FullTextOperator[query.operator.upper()],
                prefix_length=query.prefix_length,
            )
        case Phrase():
            return lq.PhraseQuery(query.text, _name(query, names), slop=query.slop)
        case Boost():
            return lq.BoostQuery(
                to_lance(query.positive, names),
                to_lance(query.negative, names),
                negative_boost=query.negative_boost,
            )
        case Boolean():
            return lq.BooleanQuery(
                [
                    (occur, to_lance(part, names))
                    for occur, parts in (
                        (lq.Occur.MUST, query.must),
                        (lq.Occur.SHOULD, query.should),
                        (lq.Occur.MUST_NOT, query.must_not),
                    )
                    for part in parts
                ]
            )


def _name(part: Match | Phrase, names: Mapping[str, str] | None) -> str:
    column = part.column or ""
    return column if names is None else names[column]


def best(
    handle: lance.LanceDataset, query: FullTextQuery, k: int, by: str = ROW_ID, **options: Any
) -> pa.Table:
    """Return the row ids and scores of the ``k`` best rows, ties in the order of their ids.

    Lance breaks ties by chance, so where the last one has the score of the next, :data:`_TIES`
    more are looked at. It also delivers a row twice if two segments of an index hold it.

    Args:
        handle: The rows.
        query: The query.
        k: Rows at most.
        by: The column that holds the row ids.
        **options: Of the scanner.
    """
    import numpy as np
    import pyarrow as pa

    ids, scores = np.zeros(0, np.uint64), np.zeros(0, np.float32)
    for limit in (k + 1, k + _TIES):
        found = scanner(handle, query, limit, by, **options).to_table()
        ids, scores = found[by].to_numpy(), found[SCORE].to_numpy()
        order = np.lexsort((ids, -scores))
        order = order[np.sort(np.unique(ids[order], return_index=True)[1])]
        ids, scores = ids[order], scores[order]
        if len(found) < limit or (len(ids) > k and scores[k - 1] > scores[-1]):
            break
    return pa.table({ROW_ID: ids[:k], SCORE: scores[:k]})


def scanner(
    handle: lance.LanceDataset, query: FullTextQuery, limit: int, by: str = ROW_ID, **options: Any
) -> lance.LanceScanner:
    """Return what finds rows by their texts, filtered before; see :func:`best`."""
    return handle.scanner(
        columns=[*([] if by == ROW_ID else [by]), SCORE],
        full_text_query=query,
        limit=limit,
        prefilter=True,
        with_row_id=by == ROW_ID,
        disable_scoring_autoprojection=True,
        **options,
    )


def indexed_in_memory(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    configs: Mapping[str, Mapping[str, Any]],
    *,
    trained: bool,
) -> lance.LanceDataset:
    """Return texts in memory, with a text index on each column.

    An index that holds no rows yet makes Lance take texts apart as one that holds them, and costs
    nothing; only fuzzy queries need the words themselves.

    Args:
        batches: The columns of texts, and others.
        schema: Of the batches.
        configs: How the texts of each column are taken apart.
        trained: Whether to index the rows, too.
    """
    import lance
    import pyarrow as pa

    def rows() -> Iterator[pa.RecordBatch]:
        yield from batches

    handle = lance.write_dataset(
        pa.RecordBatchReader.from_batches(schema, rows()),
        "memory://texts",
        data_storage_version="2.2",
        enable_stable_row_ids=True,
    )
    for column, config in configs.items():
        options = {name: config[name] for name in _OPTIONS if name in config}
        handle.create_scalar_index(column, "INVERTED", with_position=True, train=trained, **options)
    return handle
