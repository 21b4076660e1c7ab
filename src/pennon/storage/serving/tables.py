"""Tables as wholes: create with data, describe, exists."""

from __future__ import annotations

from typing import Any

from pennon.errors import TableNotFound, Unsupported, VersionNotFound
from pennon.namespaces.abc import Id
from pennon.namespaces.interop import choice, vended
from pennon.namespaces.names import show_id
from pennon.storage.abc import StorageBackend
from pennon.storage.serving.schemas import json_of, texts_of
from pennon.storage.serving.wire import branch_of, id_of, models, rows_of

__all__ = ["OPERATIONS"]

_MODES = {"create": "create", "existok": "exist_ok", "overwrite": "overwrite"}


def create_table(backend: StorageBackend, request: Any, data: bytes | None) -> Any:
    """Create a table with rows; modes ``Create``, ``ExistOk``, ``Overwrite``."""
    if request.storage_options:
        raise Unsupported(
            "storage_options of a single table are not possible: those of the catalog hold for all "
            "tables in it; leave them out."
        )
    mode = choice("mode", request.mode, _MODES, "create")
    id, rows = id_of(request), rows_of(data)
    if mode == "overwrite" and request.properties is not None:
        _check_properties(backend, id, request.properties)
    made = backend.create_table(id, rows, mode=mode, properties=request.properties)
    info = backend.namespace.describe_table(id)
    return models.CreateTableResponse(
        transaction_id=made.write_id,
        location=info.location,
        version=made.version,
        storage_options=vended(info, None),
        properties=dict(info.properties),
    )


def _check_properties(backend: StorageBackend, id: Id, wanted: dict[str, str]) -> None:
    """Refuse to overwrite a table that would keep other properties than those that are wanted."""
    try:
        known = dict(backend.namespace.describe_table(id).properties)
    except TableNotFound:
        return
    if known != wanted:
        raise Unsupported(
            f"{show_id(id)} exists, and an overwrite keeps its properties; leave properties out, "
            "or drop the table first.",
            table=id,
        )


def table_exists(backend: StorageBackend, request: Any) -> Any:
    """Raise unless a table exists, and the version that is asked for."""
    id = id_of(request)
    if request.version is None:
        backend.namespace.describe_table(id)
    else:
        backend.get_table_schema(id, version=request.version)
    return models.TableExistsResponse()


def describe_table(backend: StorageBackend, request: Any) -> Any:
    """Return where a table is, and what a state of it holds."""
    id = id_of(request)
    detailed = bool(request.load_detailed_metadata)
    check = detailed or bool(request.check_declared)
    info = backend.namespace.describe_table(id, check_declared=check)
    answer = models.DescribeTableResponse(
        table=info.id[-1],
        namespace=list(info.id[:-1]),
        location=info.location,
        table_uri=info.location if request.with_table_uri else None,
        storage_options=vended(info, request.vend_credentials),
        properties=dict(info.properties),
        managed_versioning=False,
        is_only_declared=info.declared_only,
    )
    state: dict[str, Any] = {
        "branch": branch_of(request),
        "version": request.version,
        "tag": request.tag,
    }
    try:
        if not detailed:
            backend.get_table_schema(id, **state)
            return answer
        stats = backend.table_stats(id, **state)
        if request.tag is None:
            # Of this very version, whatever is committed meanwhile.
            state["version"] = stats.version
        schema = backend.get_table_schema(id, **state)
    except TableNotFound:
        # A name that is only declared holds nothing to describe, and no version.
        if request.version is None and request.tag is None and request.branch is None:
            return answer
        raise VersionNotFound(
            f"{show_id(id)} is only declared; it has no versions yet.", table=id
        ) from None
    assert schema is not None
    answer.version = stats.version
    answer.var_schema = json_of(schema)
    answer.metadata = texts_of(schema.metadata)
    answer.stats = models.TableBasicStats(
        num_deleted_rows=stats.deleted_rows, num_fragments=len(stats.fragment_rows)
    )
    return answer


OPERATIONS = (create_table, table_exists, describe_table)
