"""Rows: insert, merge, update, delete, count."""

from __future__ import annotations

import re
from typing import Any

from pennon.errors import InvalidInput, TableAlreadyExists, TableNotFound
from pennon.namespaces.interop import choice
from pennon.storage.abc import CommitReceipt, StorageBackend
from pennon.storage.refs import MAIN
from pennon.storage.serving.wire import (
    branch_of,
    column_of,
    id_of,
    models,
    rows_of,
    state_of,
    transaction_of,
)

__all__ = ["OPERATIONS", "WITH_DATA"]

WITH_DATA = frozenset({"create_table", "insert_into_table", "merge_insert_into_table"})
"""Operations that bring an Arrow IPC stream."""
_MODES = {"append": "append", "overwrite": "overwrite"}
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMEOUT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)")


def insert_into_table(backend: StorageBackend, request: Any, data: bytes | None) -> Any:
    """Append rows, or put them in the place of all there are."""
    mode = choice("mode", request.mode, _MODES, "append")
    rows, branch = rows_of(data), branch_of(request)
    try:
        made = backend.write(id_of(request), rows, mode=mode, branch=branch)
    except TableNotFound:
        # A name that is only declared takes its first rows this way.
        if branch != MAIN:
            raise
        backend.namespace.describe_table(id_of(request))
        made = _first(backend, request, rows, mode)
    return models.InsertIntoTableResponse(
        transaction_id=made.write_id if mode == "overwrite" else transaction_of(made),
        num_inserted_rows=made.rows_inserted,
        version=made.version,
    )


def _first(backend: StorageBackend, request: Any, rows: Any, mode: Any) -> CommitReceipt:
    try:
        return backend.create_table(id_of(request), rows)
    except TableAlreadyExists:
        return backend.write(id_of(request), rows, mode=mode)


def merge_insert_into_table(backend: StorageBackend, request: Any, data: bytes | None) -> Any:
    """Merge rows by a key. ``use_index`` is a hint nobody needs: keys are always found fast.

    A condition alone says what to do as well: to update, or delete, where it is true.
    """
    update_if = request.when_matched_update_all_filt
    delete_if = request.when_not_matched_by_source_delete_filt
    updates = request.when_matched_update_all or update_if is not None
    deletes = request.when_not_matched_by_source_delete or delete_if is not None
    made = backend.merge_insert(
        id_of(request),
        rows_of(data),
        None if request.on is None else [column_of(path) for path in request.on],
        when_matched="update" if updates else "ignore",
        matched_if=update_if,
        when_not_matched="insert" if request.when_not_matched_insert_all else "ignore",
        when_not_matched_by_source="delete" if deletes else "keep",
        not_matched_by_source_if=delete_if,
        branch=branch_of(request),
        deadline=_seconds(request.timeout),
    )
    return models.MergeInsertIntoTableResponse(
        transaction_id=transaction_of(made),
        num_updated_rows=made.rows_updated,
        num_inserted_rows=made.rows_inserted,
        num_deleted_rows=made.rows_deleted,
        version=made.version,
    )


def _seconds(timeout: str | None) -> float | None:
    if timeout is None:
        return None
    found = _TIMEOUT.fullmatch(timeout.strip().lower())
    if found is None:
        raise InvalidInput(f"timeout={timeout!r} is no time; write it as '30s' or '5m'.")
    return float(found[1]) * _UNITS[found[2]]


def update_table(backend: StorageBackend, request: Any) -> Any:
    """Set columns of the rows for which a condition is true."""
    if request.properties:
        raise InvalidInput(
            "The properties of a table are set when it is declared, created or registered; leave "
            "them out, or change the metadata of its schema."
        )
    values: dict[str, str] = {}
    for path, expression in request.updates:
        column = column_of(path)
        if column in values:
            raise InvalidInput(f"updates= sets the column {column!r} twice; set it once.")
        values[column] = expression
    made = backend.update(id_of(request), values, request.predicate, branch=branch_of(request))
    return models.UpdateTableResponse(
        transaction_id=transaction_of(made), updated_rows=made.rows_updated, version=made.version
    )


def delete_from_table(backend: StorageBackend, request: Any) -> Any:
    """Delete the rows for which a condition is true; ``"true"`` deletes all."""
    made = backend.delete_rows(
        id_of(request), request.predicate, all_rows=True, branch=branch_of(request)
    )
    return models.DeleteFromTableResponse(transaction_id=transaction_of(made), version=made.version)


def count_table_rows(backend: StorageBackend, request: Any) -> Any:
    """Count the rows, or those for which a condition is true."""
    count = backend.count_rows(id_of(request), request.predicate, **state_of(request))
    return models.CountTableRowsResponse(count=count)


OPERATIONS = (
    insert_into_table,
    merge_insert_into_table,
    update_table,
    delete_from_table,
    count_table_rows,
)
