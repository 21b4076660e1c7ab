"""Changing the columns of a table, in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from pennon.namespaces.abc import IdLike
from pennon.namespaces.names import show_id
from pennon.storage._columns import (
    Wanted,
    altered,
    cast_column,
    check_changes,
    check_dropped,
    wanted,
)
from pennon.storage._memory.base import renamed
from pennon.storage._memory.writes import Asked, Change, MemoryWrites
from pennon.storage.abc.columns import ColumnChange, NewColumns, Progress, TableColumns
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryColumns"]


class MemoryColumns(MemoryWrites, TableColumns):
    """Changing the columns of a table, in memory."""

    def add_columns(
        self,
        table: IdLike,
        columns: NewColumns,
        *,
        schema: pa.Schema | None = None,
        read_columns: Sequence[str] | None = None,
        batch_size: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Add columns; see :meth:`TableColumns.add_columns`."""
        new = wanted(
            columns,
            schema=schema,
            read_columns=read_columns,
            batch_size=batch_size,
            checkpoint=checkpoint,
            progress=progress,
        )
        shown = show_id(self._held(table, branch)[0])
        asked = Asked("add_columns", write_id, deadline, commit_message, durability)
        made = self._once(table, branch, asked, lambda rows: Change(_with(rows, new, shown)))
        if new.function is not None:
            new.function.forget()
        return made

    def alter_columns(
        self,
        table: IdLike,
        changes: Mapping[str, ColumnChange],
        *,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Change columns; see :meth:`TableColumns.alter_columns`."""
        check_changes(changes)
        shown = show_id(self._held(table, branch)[0])

        def change(rows: pa.Table) -> Change:
            import pyarrow as pa

            after = altered(rows.schema, changes, shown)
            columns = [
                cast_column(rows[old], new, old, shown)
                for old, new in zip(rows.schema.names, after, strict=True)
            ]
            # An index follows a column that gets another name, and is lost with its type.
            kept = {
                old.name: new.name
                for old, new in zip(rows.schema, after, strict=True)
                if old.type == new.type
            }
            # A new type writes every row again.
            touched = () if rows.schema.types == after.types else range(rows.num_rows)
            return Change(
                pa.table(columns, schema=after),
                touched=touched,
                indexes=lambda had: renamed(had, kept),
            )

        asked = Asked("alter_columns", write_id, deadline, commit_message, durability)
        return self._once(table, branch, asked, change)

    def drop_columns(
        self,
        table: IdLike,
        columns: str | Sequence[str],
        *,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Drop columns; see :meth:`TableColumns.drop_columns`."""
        shown = show_id(self._held(table, branch)[0])
        asked = Asked("drop_columns", write_id, deadline, commit_message, durability)

        def change(rows: pa.Table) -> Change:
            left = rows.drop_columns(check_dropped(columns, rows.schema, shown))
            kept = {name: name for name in left.schema.names}
            return Change(left, indexes=lambda had: renamed(had, kept))

        return self._once(table, branch, asked, change)


def _with(rows: pa.Table, new: Wanted, shown: str) -> pa.Table:
    """Return rows with new columns."""
    import pyarrow as pa

    new.check(rows.schema, shown)
    made = pa.table({})
    if new.computed:
        from pennon.storage._lance.in_memory import computed

        made = computed(rows, new.computed, shown)
    function = new.function
    if function is not None:
        function.total = rows.num_rows
        given = rows if function.reads is None else rows.select(function.reads)
        batches = given.combine_chunks().to_batches(max_chunksize=function.batch_size)
        made = pa.Table.from_batches([function(b) for b in batches], function.schema)
    schema = new.schema(made.schema)
    for field in schema:
        nulls = pa.nulls(rows.num_rows, field.type)
        values = made[field.name].cast(field.type) if field.name in made.schema.names else nulls
        rows = rows.append_column(field, values)
    return rows
