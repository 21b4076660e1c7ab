"""Columns: add, alter, drop."""

from __future__ import annotations

from typing import Any

from pennon.errors import InvalidInput, Unsupported
from pennon.storage.abc import ColumnChange, StorageBackend
from pennon.storage.serving.schemas import type_of
from pennon.storage.serving.wire import branch_of, column_of, id_of, models

__all__ = ["OPERATIONS"]


def alter_table_add_columns(backend: StorageBackend, request: Any) -> Any:
    """Add columns that are computed once, from the rows there are."""
    columns: dict[str, Any] = {}
    for entry in request.new_columns:
        if entry.computed is not None or entry.virtual_column is not None:
            raise Unsupported(
                f"The column {entry.name!r} would have to be kept up by a service that runs code; "
                "give an expression, which is evaluated once, or add it by a function with "
                "add_columns of the storage backend."
            )
        if entry.expression is None:
            raise InvalidInput(f"The column {entry.name!r} has no expression; give one.")
        if entry.name in columns:
            raise InvalidInput(f"new_columns= names {entry.name!r} twice; name it once.")
        columns[entry.name] = entry.expression
    made = backend.add_columns(id_of(request), columns, branch=branch_of(request))
    return models.AlterTableAddColumnsResponse(version=made.version)


def alter_table_alter_columns(backend: StorageBackend, request: Any) -> Any:
    """Rename columns, change their types, or whether they allow NULL."""
    changes: dict[str, ColumnChange] = {}
    for entry in request.alterations:
        column = column_of(entry.path)
        if entry.virtual_column is not None:
            raise Unsupported(
                f"The column {column!r} would have to be kept up by a service that runs code; "
                "leave virtual_column out."
            )
        if column in changes:
            raise InvalidInput(f"alterations= names {column!r} twice; name it once.")
        changes[column] = ColumnChange(
            name=entry.rename,
            type=None if entry.data_type is None else type_of(entry.data_type),
            nullable=entry.nullable,
        )
    made = backend.alter_columns(id_of(request), changes, branch=branch_of(request))
    return models.AlterTableAlterColumnsResponse(version=made.version)


def alter_table_drop_columns(backend: StorageBackend, request: Any) -> Any:
    """Drop columns, with their indexes."""
    columns = [column_of(path) for path in request.columns]
    made = backend.drop_columns(id_of(request), columns, branch=branch_of(request))
    return models.AlterTableDropColumnsResponse(transaction_id=made.write_id, version=made.version)


OPERATIONS = (alter_table_add_columns, alter_table_alter_columns, alter_table_drop_columns)
