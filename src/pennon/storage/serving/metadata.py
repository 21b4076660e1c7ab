"""Statistics, and metadata of schema and columns."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pennon.errors import InvalidInput
from pennon.storage.abc import StorageBackend
from pennon.storage.serving.schemas import texts_of
from pennon.storage.serving.wire import branch_of, column_of, id_of, models

__all__ = ["OPERATIONS"]

_SMALL = 1024 * 1024
"""Rows that a compaction aims at; a fragment with fewer is a small one."""


def get_table_stats(backend: StorageBackend, request: Any) -> Any:
    """Return how big a table is."""
    id, branch = id_of(request), branch_of(request)
    stats = backend.table_stats(id, branch=branch)
    sizes = stats.fragment_rows
    return models.GetTableStatsResponse(
        total_bytes=stats.bytes,
        num_rows=stats.rows,
        num_indices=len(backend.list_indexes(id, branch=branch, version=stats.version)),
        fragment_stats=models.FragmentStats(
            num_fragments=len(sizes),
            num_small_fragments=sum(size < _SMALL for size in sizes),
            lengths=_summary(sizes),
        ),
    )


def _summary(sizes: Sequence[int]) -> Any:
    if not sizes:
        return models.FragmentSummary(min=0, max=0, mean=0, p25=0, p50=0, p75=0, p99=0)
    ordered = sorted(sizes)
    at = {p: ordered[(len(ordered) - 1) * p // 100] for p in (25, 50, 75, 99)}
    return models.FragmentSummary(
        min=ordered[0],
        max=ordered[-1],
        mean=int(statistics.fmean(ordered)),
        p25=at[25],
        p50=at[50],
        p75=at[75],
        p99=at[99],
    )


def update_table_schema_metadata(backend: StorageBackend, request: Any) -> Any:
    """Set metadata of the schema; others stay. Answers all there are now."""
    id, branch = id_of(request), branch_of(request)
    made = backend.update_metadata(id, request.metadata, branch=branch)
    schema = backend.get_table_schema(id, branch=branch, version=made.version)
    assert schema is not None
    return models.UpdateTableSchemaMetadataResponse(
        metadata=texts_of(schema.metadata), transaction_id=made.write_id
    )


def update_field_metadata(backend: StorageBackend, request: Any) -> Any:
    """Set metadata of columns; with ``replace`` those that are not named are removed."""
    id, branch = id_of(request), branch_of(request)
    changes: dict[str, dict[str, str | None]] = {}
    known: Any = None
    for entry in request.updates:
        column = column_of(entry.path)
        if column in changes:
            raise InvalidInput(f"updates= names the column {column!r} twice; name it once.")
        changes[column] = dict(entry.metadata)
        if entry.replace:
            known = known or backend.get_table_schema(id, branch=branch)
            if column in known.names:
                old = texts_of(known.field(column).metadata)
                gone = {key: None for key in old if not key.startswith("lance-schema:")}
                changes[column] = {**gone, **changes[column]}
    made = backend.update_metadata(id, columns=changes, branch=branch)
    schema: Any = backend.get_table_schema(id, branch=branch, version=made.version)
    return models.UpdateFieldMetadataResponse(
        version=made.version,
        fields={name: texts_of(schema.field(name).metadata) for name in changes},
    )


OPERATIONS = (get_table_stats, update_table_schema_metadata, update_field_metadata)
