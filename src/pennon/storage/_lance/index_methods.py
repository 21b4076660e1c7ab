"""Indexes of tables, on Lance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as changed
from datetime import datetime

from pennon.errors import CommitConflict, IndexNotFound, TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.storage._arguments import check_callable, check_flags
from pennon.storage._indexing import chosen_names, full_text, index_name, scalar_index, vector_index
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.indexes import (
    Named,
    create,
    drop,
    info_of,
    list_indexes,
    stats,
    update,
)
from pennon.storage._lance.write_methods import LanceWrites
from pennon.storage.abc.indexes import Indexes, IndexInfo, IndexStats, Progress
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.indexing import FullText, Index, ScalarIndex, VectorIndex
from pennon.storage.refs import MAIN, Ref

__all__ = ["LanceIndexes"]


class LanceIndexes(LanceWrites, Indexes):
    """Indexes of tables, on Lance."""

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
        asked = self._asked("create_index", write_id, deadline, commit_message, durability)
        named = Named(index_name(name, column, index.suffix), column, index)
        return self._indexed(table, branch, asked, named, progress, replace=replace)

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
        asked = self._asked("create_index", write_id, deadline, commit_message, durability)
        named = Named(index_name(name, column, index.suffix), column, index)
        return self._indexed(table, branch, asked, named, progress, replace=replace)

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
        asked = self._asked("create_index", write_id, deadline, commit_message, durability)
        named = Named(index_name(name, column, VectorIndex.suffix), column, index)
        return self._indexed(table, branch, asked, named, progress, replace=replace)

    def _indexed(
        self,
        table: IdLike,
        branch: str,
        asked: Asked,
        named: Named,
        progress: Progress | None,
        *,
        replace: bool,
    ) -> IndexInfo:
        check_flags(replace=replace)
        check_callable("progress", progress)
        made = self._once(
            table, branch, asked, lambda at: create(at, asked, named, progress, replace=replace)
        )
        place = self._place(table, branch)
        with self._unless_dropped([place], CommitConflict):
            return info_of(place, place.open(made.version), named.name)

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
        asked = self._asked("drop_index", write_id, deadline, commit_message, durability)
        return self._once(
            table, branch, asked, lambda at: drop(at, asked, name, missing_ok=missing_ok)
        )

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
        asked = self._asked("update_index", write_id, deadline, commit_message, durability)
        known = {i.name: i for i in self.list_indexes(table, branch=branch)}
        place = self._place(table, branch)
        updated: list[IndexInfo] = []
        for name in chosen_names(names, known, place.name):
            if not known[name].rows_not_indexed:
                continue
            mine = changed(asked, write_id=f"{asked.write_id}/{name}")
            try:
                made = self._once(
                    table, branch, mine, lambda at, m=mine, n=name: update(at, m, n, progress)
                )
                info = info_of(place, place.open(made.version), name)
            except IndexNotFound:
                if names is not None:
                    raise
                # Dropped by a rival: it is none of all indexes any more.
                continue
            if info != known[name]:
                updated.append(info)
        return updated

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
        place = self._read_place(table, ref)
        with self._unless_dropped([place], TableNotFound):
            return list_indexes(place, place.open_at(ref))

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
        place = self._read_place(table, ref)
        with self._unless_dropped([place], TableNotFound):
            return stats(place, place.open_at(ref), name)
