"""One segment of an index, built and not committed; and what an index was built with."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pennon.errors import PennonError, StorageError
from pennon.storage._indexing import field_of, from_parameters, vector_index_for
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage._lance.watching import watched
from pennon.storage.abc.indexes import Progress
from pennon.storage.indexing import (
    Bitmap,
    BloomFilter,
    FullText,
    Index,
    IvfPq,
    MinHash,
    VectorIndex,
    ZoneMap,
)

if TYPE_CHECKING:
    import lance

__all__ = [
    "build",
    "definition",
    "field_ids",
    "files_of",
    "kind_of",
    "remove",
    "rows_of",
    "stats_of",
    "still_covered",
    "text_options",
]

_LANCE = {
    "btree": "BTREE",
    "bitmap": "BITMAP",
    "label_list": "LABEL_LIST",
    "ngram": "NGRAM",
    "rtree": "RTREE",
    "fts": "INVERTED",
}
_KINDS = {
    "labellist": "label_list",
    "minhashlsh": "minhash",
    "inverted": "fts",
}
_NO_VECTORS = re.compile(r"cannot train \d+ centroids|Not enough rows to train")
"""What Lance says when too many vectors are NULL or NaN."""
_NAMED_BY_LANCE = {"btree", "ngram", "label_list", "rtree"}
"""Kinds of which Lance alone names the directory."""


def build(
    place: Place,
    handle: lance.LanceDataset,
    column: str,
    index: Index | None,
    name: str,
    fragments: Iterable[int],
    progress: Progress | None,
) -> Any:
    """Build one segment over fragments of a version, and return the ``Index`` that names it.

    An index that learns from the rows, and has too few of them, covers none: they are searched
    without it. Whatever fails, also ``progress``, the files are deleted; only of an index whose
    directory Lance names some may be left that no version names, for the cleanup.

    Args:
        place: The table.
        handle: The version.
        column: The column.
        index: What to build; None for what suits a column of vectors.
        name: The name of the index.
        fragments: Which.
        progress: Called now and then.
    """
    with translated(place.name, place.secrets):
        schema = handle.schema
    field = field_of(schema, column, place.name)
    covered = sorted(fragments)
    rows = sum(n for f, n in rows_of(handle).items() if f in set(covered))
    wanted = vector_index_for(field, rows) if index is None else index
    wanted.check(field, place.name)
    if isinstance(wanted, VectorIndex) and rows < wanted.least_rows:
        # Lance learns nothing from so few, but keeps an index that is to cover rows later.
        covered, rows = [], 0
    if isinstance(wanted, Bitmap) and not covered:
        return _empty_bitmap(handle, column, name)
    kind, options = _options(wanted, field, rows)
    directory = None if wanted.kind in _NAMED_BY_LANCE else str(uuid.uuid4())

    def work(report: Callable[[Any], None] | None) -> Any:
        try:
            return _segment(place, handle, column, kind, covered, directory, report, options)
        except StorageError as error:
            if not covered or not _NO_VECTORS.search(str(error)):
                raise
            return _segment(place, handle, column, kind, [], directory, None, options)

    made = watched(name, progress, work, lambda made: remove(place, made.uuid))
    return dataclasses.replace(made, name=name)


def _segment(
    place: Place,
    handle: lance.LanceDataset,
    column: str,
    kind: Any,
    fragments: list[int],
    directory: str | None,
    report: Callable[[Any], None] | None,
    options: dict[str, Any],
) -> Any:
    made: Any = None
    try:
        with translated(place.name, place.secrets):
            made = handle.create_index_uncommitted(
                column,
                kind,
                # Lance looks whether the name is free now; what counts is the commit.
                name=str(uuid.uuid4()),
                fragment_ids=fragments,
                train=bool(fragments),
                index_uuid=directory,
                progress_callback=report,
                **options,
            )
            if any(f.path.startswith("staging/") for f in made.files or ()):
                made = handle.merge_existing_index_segments([made])
    except BaseException:
        remove(place, made.uuid if made is not None else directory)
        raise
    return made


def _empty_bitmap(handle: lance.LanceDataset, column: str, name: str) -> Any:
    """Return an index that covers nothing and has no file: Lance builds no empty bitmap."""
    from lance.bitmap import Bitmap as Fragments
    from lance.dataset import Index as Segment

    field: Any = handle.lance_schema.field(column)
    return Segment(
        uuid=str(uuid.uuid4()),
        name=name,
        fields=[field.id()],
        dataset_version=handle.version,
        fragment_ids=Fragments([]),
        index_version=0,
        created_at=datetime.now(UTC),
        files=[],
        index_details=("/lance.table.BitmapIndexDetails", b""),
    )


def _options(index: Index, field: Any, rows: int) -> tuple[Any, dict[str, Any]]:
    """Return what Lance calls an index, and its parameters."""
    from lance.indices import IndexConfig

    match index:
        case FullText():
            return "INVERTED", text_options(index)
        case VectorIndex():
            return index.kind.upper(), _vector_options(index, field, rows)
        case ZoneMap() | BloomFilter():
            return IndexConfig(index.kind, index.parameters()), {}
        case MinHash():
            return IndexConfig("minhashlsh", index.parameters()), {}
        case _:
            return _LANCE[index.kind], {}


def text_options(index: FullText) -> dict[str, Any]:
    given = {
        "base_tokenizer": None if index.tokenizer == "code" else index.tokenizer,
        "analyzer": "code" if index.tokenizer == "code" else None,
        "split_identifiers": True if index.tokenizer == "code" else None,
        "language": index.language,
        "with_position": index.positions,
        "stem": index.stem,
        "remove_stop_words": index.remove_stop_words,
        "custom_stop_words": None if index.stop_words is None else list(index.stop_words),
        "lower_case": index.lower_case,
        "ascii_folding": index.ascii_folding,
    }
    if index.tokenizer == "ngram":
        given |= {
            "min_ngram_length": index.min_ngram,
            "max_ngram_length": index.max_ngram,
            "prefix_only": index.prefix_only,
        }
    named = {k: v for k, v in given.items() if v is not None}
    return named | {"max_token_length": index.max_token_length}


def _vector_options(index: VectorIndex, field: Any, rows: int) -> dict[str, Any]:
    given: dict[str, Any] = {
        "metric": index.metric_for(field),
        "num_partitions": index.partitions_for(rows),
    }
    parameters = index.parameters()
    for ours, theirs in (("bits", "num_bits"), ("m", "m"), ("ef_construction", "ef_construction")):
        if ours in parameters:
            given[theirs] = parameters[ours]
    if isinstance(index, IvfPq):
        given["num_sub_vectors"] = index.sub_vectors_for(field)
    return given


def remove(place: Place, directory: str | None) -> None:
    """Delete the files of a segment that no version names."""
    if directory is not None:
        with contextlib.suppress(PennonError):
            place.store().delete_directory(f"_indices/{directory}")


def files_of(segment: Any) -> tuple[str, ...]:
    """Return the objects of a segment, below the table."""
    return tuple(f"_indices/{segment.uuid}/{f.path}" for f in segment.files or ())


def rows_of(handle: lance.LanceDataset) -> dict[int, int]:
    """Return how many rows each fragment has, without the deleted ones."""
    return {f.fragment_id: int(f.metadata.num_rows) for f in handle.get_fragments()}


def still_covered(
    built: lance.LanceDataset, head: lance.LanceDataset, column: str, fragments: Iterable[int]
) -> set[int]:
    """Return the fragments whose values of a column are the same in a later version.

    Rows that were deleted or moved since are no matter: an index is only asked for those that its
    fragments still have.
    """
    before, after = _files(built, column), _files(head, column)
    return {f for f in fragments if f in after and before.get(f) == after[f]}


def _files(handle: lance.LanceDataset, column: str) -> dict[int, set[tuple[str, int]]]:
    ids = field_ids(handle.lance_schema.field(column))
    return {
        f.fragment_id: {
            (file.path, number)
            for file in f.metadata.files
            for number in file.fields
            if number in ids
        }
        for f in handle.get_fragments()
    }


def field_ids(field: Any) -> set[int]:
    """Return the ids of a column and of all within it."""
    if field is None:
        return set()
    return {field.id()}.union(*(field_ids(child) for child in field.children()))


def kind_of(description: Any) -> str:
    """Return what kind an index is, as Lance describes it."""
    name = str(description.index_type).lower()
    return _KINDS.get(name, name)


def stats_of(handle: lance.LanceDataset, name: str) -> list[dict[str, Any]]:
    """Return what Lance tells of each segment; nothing if it cannot read them."""
    try:
        found = handle.stats.index_stats(name)
    except (KeyError, ValueError, OSError, RuntimeError):
        return []
    return [s for s in found.get("indices", []) if s]


def definition(handle: lance.LanceDataset, description: Any) -> Index | None:
    """Return what would build an index like an existing one; None for a kind unknown here."""
    kind = kind_of(description)
    told = next(iter(stats_of(handle, description.name)), {})
    details: dict[str, Any] = description.details or {}
    with contextlib.suppress(PennonError):
        if kind == "fts":
            return _text_definition({**details, **told.get("params", {})})
        if kind.startswith("ivf_"):
            return _vector_definition(kind, details, told)
        source = details if kind == "minhash" else told
        names = from_parameters(kind, {}).parameters()
        return from_parameters(kind, {n: source[n] for n in names if n in source})
    return None


def _text_definition(found: dict[str, Any]) -> Index:
    names = {
        "tokenizer": "base_tokenizer",
        "language": "language",
        "positions": "with_position",
        "stem": "stem",
        "remove_stop_words": "remove_stop_words",
        "stop_words": "custom_stop_words",
        "lower_case": "lower_case",
        "ascii_folding": "ascii_folding",
        "max_token_length": "max_token_length",
        "min_ngram": "min_ngram_length",
        "max_ngram": "max_ngram_length",
        "prefix_only": "prefix_only",
    }
    return from_parameters("fts", {k: found[v] for k, v in names.items() if v in found})


def _vector_definition(kind: str, details: dict[str, Any], told: dict[str, Any]) -> Index:
    compression, graph = details.get("compression") or {}, details.get("hnsw") or {}
    known = {
        "metric": str(details.get("metric_type", "l2")).lower(),
        "bits": compression.get("num_bits"),
        "sub_vectors": compression.get("num_sub_vectors"),
        "m": graph.get("max_connections"),
        "ef_construction": graph.get("construction_ef"),
    }
    plain = from_parameters(kind, {})
    given = {n: v for n, v in known.items() if n in plain.parameters() and v is not None}
    # A number of partitions that the rows alone would have led to was not asked for.
    rows = sum(p["size"] for p in told.get("partitions", ()))
    made = told.get("num_partitions")
    assert isinstance(plain, VectorIndex)
    if made is not None and made != plain.partitions_for(rows):
        given["partitions"] = made
    return from_parameters(kind, given)
