"""Indexes: create, list, describe, drop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from pennon.errors import InvalidInput, Unsupported
from pennon.storage import indexing
from pennon.storage._indexing import from_parameters
from pennon.storage.abc import StorageBackend
from pennon.storage.abc.indexes import IndexInfo
from pennon.storage.serving.wire import (
    branch_of,
    id_of,
    metric_of,
    models,
    page_of,
    path_of,
    state_of,
)

__all__ = ["OPERATIONS"]

_NAMES = {
    "distance_type": "metric",
    "num_partitions": "partitions",
    "num_sub_vectors": "sub_vectors",
    "num_bits": "bits",
    "m": "m",
    "ef_construction": "ef_construction",
    "with_position": "positions",
    "base_tokenizer": "tokenizer",
    "language": "language",
    "max_token_length": "max_token_length",
    "lower_case": "lower_case",
    "stem": "stem",
    "remove_stop_words": "remove_stop_words",
    "ascii_folding": "ascii_folding",
}
"""What the specification calls the parameters, and what they are called here."""
_TRAINING = ("sample_rate", "max_iterations")


def create_table_index(backend: StorageBackend, request: Any) -> Any:
    """Build an index of any kind."""
    _build(backend, request)
    return models.CreateTableIndexResponse()


def create_table_scalar_index(backend: StorageBackend, request: Any) -> Any:
    """Build an index for filters, or for texts."""
    if _kind(request).startswith("ivf"):
        raise InvalidInput(f"{request.index_type} is no scalar index; use create_table_index.")
    _build(backend, request)
    return models.CreateTableScalarIndexResponse()


def _kind(request: Any) -> str:
    """Return the kind of an index, in any spelling: BTree, BTREE and b_tree are one."""
    known = {kind.replace("_", ""): kind for kind in get_args(indexing.IndexKind)}
    word = request.index_type.lower().replace("-", "").replace("_", "")
    found = "fts" if word == "inverted" else known.get(word)
    if found is None:
        names = ", ".join(kind.upper() for kind in known.values())
        raise InvalidInput(f"index_type={request.index_type!r} is none of {names}.")
    return found


def _build(backend: StorageBackend, request: Any) -> None:
    kind, id, branch = _kind(request), id_of(request), branch_of(request)
    config: Any = from_parameters(kind, _parameters(backend, request))
    builders: dict[type, Callable[..., Any]] = {
        indexing.VectorIndex: backend.create_vector_index,
        indexing.FullText: backend.create_fts_index,
        indexing.ScalarIndex: backend.create_scalar_index,
    }
    build = next(method for of, method in builders.items() if isinstance(config, of))
    build(id, ".".join(path_of(request.column)), config, name=request.name, branch=branch)


def _parameters(backend: StorageBackend, request: Any) -> dict[str, Any]:
    """Return the parameters that are given, by the names they have here."""
    for name in _TRAINING:
        if getattr(request, name) is not None:
            raise Unsupported(f"{name} is chosen by the backend; leave it out.")
    given = {name: getattr(request, name) for name in _NAMES}
    if request.distance_type is not None:
        given["distance_type"] = metric_of(request.distance_type)
    if request.target_partition_size is not None and request.num_partitions is None:
        rows = backend.count_rows(id_of(request), branch=branch_of(request))
        given["num_partitions"] = max(1, rows // request.target_partition_size)
    return {_NAMES[name]: value for name, value in given.items() if value is not None}


def list_table_indices(backend: StorageBackend, request: Any) -> Any:
    """List the indexes of a state of a table, by name."""
    id, state = id_of(request), state_of(request)
    known = {index.name: index for index in backend.list_indexes(id, **state)}
    names, token = page_of(known, request)
    indexes = [_content(known[name]) for name in names]
    return models.ListTableIndicesResponse(indexes=indexes, page_token=token)


def _content(index: IndexInfo) -> Any:
    return models.IndexContent(
        index_name=index.name,
        index_uuid=index.ids[0] if index.ids else index.name,
        columns=list(index.columns),
        status="SUCCEEDED",
        index_type=index.kind.upper(),
        num_indexed_rows=index.rows_indexed,
        num_unindexed_rows=index.rows_not_indexed,
        size_bytes=index.size_bytes,
        num_segments=index.segments,
    )


def describe_table_index_stats(backend: StorageBackend, request: Any) -> Any:
    """Return what is known of an index."""
    if not request.index_name:
        raise InvalidInput("index_name= says which index is meant; give it.")
    stats = backend.index_stats(id_of(request), request.index_name, **state_of(request))
    index = stats.index
    return models.DescribeTableIndexStatsResponse(
        distance_type=stats.parameters.get("metric"),
        index_type=index.kind.upper(),
        num_indexed_rows=index.rows_indexed,
        num_unindexed_rows=index.rows_not_indexed,
        num_indices=index.segments,
    )


def drop_table_index(backend: StorageBackend, request: Any) -> Any:
    """Drop an index; older versions keep it."""
    if not request.index_name:
        raise InvalidInput("index_name= says which index is meant; give it.")
    made = backend.drop_index(id_of(request), request.index_name, branch=branch_of(request))
    return models.DropTableIndexResponse(transaction_id=made.write_id)


OPERATIONS = (
    create_table_index,
    create_table_scalar_index,
    list_table_indices,
    describe_table_index_stats,
    drop_table_index,
)
