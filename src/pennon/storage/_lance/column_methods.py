"""Changing the columns of a table, on Lance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from pennon.namespaces.abc import IdLike
from pennon.storage._columns import check_changes, wanted
from pennon.storage._lance.columns import add_columns, alter_columns, drop_columns
from pennon.storage._lance.write_methods import LanceWrites
from pennon.storage.abc.columns import ColumnChange, NewColumns, Progress, TableColumns
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceColumns"]


class LanceColumns(LanceWrites, TableColumns):
    """Changing the columns of a table, on Lance."""

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
        asked = self._asked("add_columns", write_id, deadline, commit_message, durability)
        return self._once(table, branch, asked, lambda place: add_columns(place, new, asked))

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
        asked = self._asked("alter_columns", write_id, deadline, commit_message, durability)
        return self._once(table, branch, asked, lambda place: alter_columns(place, changes, asked))

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
        asked = self._asked("drop_columns", write_id, deadline, commit_message, durability)
        return self._once(table, branch, asked, lambda place: drop_columns(place, columns, asked))
