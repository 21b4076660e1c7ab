"""A table object for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.display import Card
from pennon.errors import redact
from pennon.storage.keys import primary_key

if TYPE_CHECKING:
    import pyarrow as pa

    from pennon.storage.abc import TagInfo, VersionInfo
    from pennon.storage.table import Table

__all__ = ["table_card"]

_VERSIONS = 5


def table_card(table: Table) -> Card:
    """Return what the store says of a table; what goes wrong meanwhile is shown, not raised."""
    facts = {"in": redact(repr(table.backend.namespace))}
    grids: dict[str, list[tuple[str, ...]]] = {}
    trouble: str | None = None
    try:
        _ask(table, facts, grids)
    except Exception as error:  # noqa: BLE001 - a cell of a notebook shows what there is
        trouble = redact(f"{type(error).__name__}: {error}")
    return Card(f"Table {table}", facts, grids, trouble)


def _ask(table: Table, facts: dict[str, str], grids: dict[str, list[tuple[str, ...]]]) -> None:
    schema = table.get_table_schema()
    assert schema is not None
    grids["Columns"] = _columns(schema)
    facts["rows"] = f"{table.count_rows():,}"
    tags = table.list_tags()
    grids["Versions"] = [
        ("version", "when (UTC)", "operation", "inserted", "updated", "deleted", "message"),
        *(_version(v) for v in _history(table, tags)),
    ]
    if "list_indexes" in table.backend.capabilities:
        grids["Indexes"] = [
            ("name", "columns", "kind", "rows not indexed"),
            *(
                (i.name, ", ".join(i.columns), str(i.kind), f"{i.rows_not_indexed:,}")
                for i in table.list_indexes()
            ),
        ]
    grids["Branches"] = [
        ("name", "from", "at version"),
        *((b.name, b.parent, str(b.parent_version)) for b in table.list_branches()),
    ]
    grids["Tags"] = [
        ("name", "branch", "version"),
        *((t.name, t.branch, str(t.version)) for t in tags),
    ]


def _history(table: Table, tags: list[TagInfo]) -> list[VersionInfo]:
    """Return the last commits up to the state, the newest first; none if a time says which."""
    branch, version = table.branch, table.version
    for tag in tags:
        if tag.name == table.tag:
            branch, version = tag.branch, tag.version
    if table.as_of is not None:
        return []
    before = None if version is None else version + 1
    return table.backend.versions(table.id, branch=branch, limit=_VERSIONS, before=before)


def _version(info: VersionInfo) -> tuple[str, ...]:
    counts = (info.rows_inserted, info.rows_updated, info.rows_deleted)
    return (
        str(info.version),
        f"{info.committed_at:%Y-%m-%d %H:%M:%S}",
        info.operation,
        *("" if n is None else f"{n:,}" for n in counts),
        info.message or "",
    )


def _columns(schema: pa.Schema) -> list[tuple[str, ...]]:
    key = primary_key(schema)
    return [
        ("name", "type", "NULL", "key"),
        *(
            (
                field.name,
                str(field.type),
                "yes" if field.nullable else "no",
                str(key.index(field.name) + 1) if field.name in key else "",
            )
            for field in schema
        ),
    ]
