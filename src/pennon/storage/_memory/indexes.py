"""Indexes of tables, in memory: kept and listed; reads need none to be exact and fast."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pennon.errors import IndexAlreadyExists
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._arguments import check_callable, check_flags
from pennon.storage._indexing import (
    chosen_names,
    field_of,
    full_text,
    index_name,
    known_index,
    scalar_index,
    vector_index,
    vector_index_for,
)
from pennon.storage._memory.base import MemoryIndex, branch_of
from pennon.storage._memory.writes import Asked, Change, MemoryWrites
from pennon.storage.abc.indexes import Indexes, IndexInfo, IndexProgress, IndexStats, Progress
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.indexing import FullText, Index, ScalarIndex, VectorIndex
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryIndexes"]


class MemoryIndexes(MemoryWrites, Indexes):
    """Indexes of tables, in memory."""

    def create_scalar_index(
        self,
        table: IdLike,
        column: str,
        kind: ScalarIndex | str = "btree",
        *,
        name: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> IndexInfo:
        """Build an index for filters; see :meth:`Indexes.create_scalar_index`."""
        index = scalar_index(kind)
        asked = Asked("create_index", write_id, deadline, commit_message, durability)
        named = index_name(name, column, index.suffix)
        return self._indexed(table, branch, asked, (named, column, index), progress, replace)

    def create_fts_index(
        self,
        table: IdLike,
        column: str,
        config: FullText | None = None,
        *,
        name: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> IndexInfo:
        """Build an index for full-text search; see :meth:`Indexes.create_fts_index`."""
        index: Index = full_text(config)
        asked = Asked("create_index", write_id, deadline, commit_message, durability)
        named = index_name(name, column, index.suffix)
        return self._indexed(table, branch, asked, (named, column, index), progress, replace)

    def create_vector_index(
        self,
        table: IdLike,
        column: str,
        config: VectorIndex | str | None = None,
        *,
        name: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> IndexInfo:
        """Build an index for vectors; see :meth:`Indexes.create_vector_index`."""
        index = vector_index(config)
        asked = Asked("create_index", write_id, deadline, commit_message, durability)
        named = index_name(name, column, VectorIndex.suffix)
        return self._indexed(table, branch, asked, (named, column, index), progress, replace)

    def _indexed(
        self,
        table: IdLike,
        branch: str,
        asked: Asked,
        what: tuple[str, str, Index | None],
        progress: Progress | None,
        replace: bool,  # noqa: FBT001
    ) -> IndexInfo:
        check_flags(replace=replace)
        check_callable("progress", progress)
        name, column, index = what
        id, held = self._held(table, branch)
        shown = show_id(id)

        def change(rows: pa.Table) -> Change:
            field = field_of(rows.schema, column, shown)
            made = vector_index_for(field, rows.num_rows) if index is None else index
            made.check(field, shown)
            if name in held.indexes_at(held.latest) and not replace:
                raise IndexAlreadyExists(
                    f"{shown} has an index {name!r} already; pass replace=True, or another name=.",
                    table=id,
                    index=name,
                )
            new = MemoryIndex(name, column, made, held.latest)
            return Change(rows, indexes=lambda before: {**before, name: new})

        rows = held.versions[-1]
        if progress is not None and (asked.operation, asked.write_id) not in held.receipts:
            # Outside of the lock: it may write.
            change(rows)
            progress(_whole(name, rows.num_rows))
        made = self._once(table, branch, asked, change)
        return _info(held.indexes_at(made.version)[name], held.at(made.version))

    def drop_index(
        self,
        table: IdLike,
        name: str,
        *,
        missing_ok: bool = False,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Drop an index; see :meth:`Indexes.drop_index`."""
        asked = Asked("drop_index", write_id, deadline, commit_message, durability)
        id, held = self._held(table, branch)

        def change(rows: pa.Table) -> Change | None:
            known = held.indexes_at(held.latest)
            if missing_ok and name not in known:
                return None
            known_index(known, name, show_id(id))
            return Change(
                rows, indexes=lambda before: {n: i for n, i in before.items() if n != name}
            )

        return self._once(table, branch, asked, change)

    def update_indexes(
        self,
        table: IdLike,
        names: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> list[IndexInfo]:
        """Let indexes cover new rows; see :meth:`Indexes.update_indexes`."""
        check_callable("progress", progress)
        Asked("update_index", write_id, deadline, commit_message, durability)
        id, held = self._held(table, branch)
        chosen_names(names, held.indexes_at(held.latest), show_id(id))
        return []

    def list_indexes(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> list[IndexInfo]:
        """List the indexes; see :meth:`Indexes.list_indexes`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        _, rows, known = self._indexes(table, ref)
        return [_info(index, rows) for index in known.values()]

    def index_stats(
        self,
        table: IdLike,
        name: str,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> IndexStats:
        """Tell what is known of an index; see :meth:`Indexes.index_stats`."""
        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        id, rows, known = self._indexes(table, ref)
        index = known_index(known, name, show_id(id))
        return IndexStats(
            index=_info(index, rows),
            parameters=index.index.parameters(),
            built_at=index.built_at,
            version=index.version,
            segments=(),
        )

    def _indexes(self, table: IdLike, ref: Ref) -> tuple[Id, pa.Table, dict[str, MemoryIndex]]:
        id, version, rows = self._numbered(table, ref)
        main = self._held(table)[1]
        branch = ref.branch if ref.tag is None else main.tags[ref.tag].branch
        return id, rows, branch_of(id, main, branch).indexes_at(version)


def _whole(name: str, rows: int) -> IndexProgress:
    return IndexProgress(
        index=name, stage="load_data", completed=rows, total=rows, unit="rows", done=True
    )


def _info(index: MemoryIndex, rows: pa.Table | None) -> IndexInfo:
    return IndexInfo(
        name=index.name,
        columns=(index.column,),
        kind=index.index.kind,
        rows_indexed=0 if rows is None else rows.num_rows,
        rows_not_indexed=0,
        size_bytes=0,
        segments=1,
    )
