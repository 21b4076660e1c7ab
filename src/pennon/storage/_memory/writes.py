"""Changing rows, in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pennon.arrow import to_reader
from pennon.errors import CommitConflict
from pennon.expr import Expr, filter_sql
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._arguments import (
    check_durability,
    check_message,
    check_mode,
    check_write_id,
)
from pennon.storage._changes import (
    cast_values,
    check_all_rows,
    check_columns,
    check_values,
    check_where,
)
from pennon.storage._fitting import fitted
from pennon.storage._memory.base import MemoryBase, MemoryIndex, MemoryTable, moved
from pennon.storage._memory.merge import merged, set_rows
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.abc.writes import Writes
from pennon.storage.keys import checked_rows
from pennon.storage.merging import (
    NEW_KEYS,
    BySource,
    Matched,
    MergeRules,
    NotMatched,
    key_of,
    source_of,
)
from pennon.storage.refs import MAIN, check_version

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Asked", "Change", "MemoryWrites"]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller says of a write."""

    operation: str
    write_id: str | None
    deadline: float | None
    message: str | None
    durability: Durability = "os"

    def __post_init__(self) -> None:
        check_durability(self.durability)
        check_message(self.message)


@dataclass(frozen=True, slots=True)
class Change:
    """What a write makes of a version."""

    rows: pa.Table
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    kept: Sequence[int] | None = None
    """The positions of the rows that stay, before the new ones; None for all."""
    touched: Sequence[int] = ()
    """The positions of those that change."""
    indexes: Callable[[dict[str, MemoryIndex]], dict[str, MemoryIndex]] | None = None
    """What becomes of the indexes; None if they stay."""


class MemoryWrites(MemoryBase, Writes):
    """Changing rows, in memory."""

    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append", "overwrite"] = "append",
        schema: pa.Schema | None = None,
        check_keys: bool = False,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Append or overwrite rows; see :meth:`Writes.write`."""
        check_mode(mode, schema, check_keys=check_keys)
        asked = Asked(mode, write_id, deadline, commit_message, durability)
        if check_keys:
            return self._merge(table, data, None, NEW_KEYS, branch, asked)

        def append(rows: pa.Table, new: pa.Table) -> Change | None:
            import pyarrow as pa

            if not new.num_rows:
                return None
            return Change(pa.concat_tables([rows, new]), inserted=new.num_rows)

        change = append if mode == "append" else _replaced
        return self._written(table, branch, asked, data, schema, change)

    @contextlib.contextmanager
    def lock_table_for_write(
        self, table: IdLike, *, branch: str = MAIN, deadline: float | None = None
    ) -> Generator[None]:
        """Keep other writers of this process out; see :meth:`Writes.lock_table_for_write`."""
        id, held = self._held(table, branch)
        with held.writing(id, deadline):
            yield

    def replace_table_atomic(
        self,
        table: IdLike,
        data: Any,
        schema: pa.Schema | None = None,
        *,
        expected_version: int | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Replace one version; see :meth:`Writes.replace_table_atomic`."""
        if expected_version is not None:
            check_version("expected_version", expected_version)
        asked = Asked("replace", write_id, deadline, commit_message, durability)
        return self._written(table, branch, asked, data, schema, _replaced, expected_version)

    def truncate(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Delete all rows; see :meth:`Writes.truncate`."""
        asked = Asked("truncate", write_id, deadline, commit_message, durability)
        return self._once(
            table,
            branch,
            asked,
            lambda rows: Change(rows.slice(0, 0), deleted=rows.num_rows, kept=()) if rows else None,
        )

    def delete_rows(
        self,
        table: IdLike,
        where: Expr | str,
        *,
        all_rows: bool = False,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Delete rows by a condition; see :meth:`Writes.delete_rows`."""
        check_where(where)
        asked = Asked("delete", write_id, deadline, commit_message, durability)
        shown = show_id(self._held(table, branch)[0])

        def change(rows: pa.Table) -> Change | None:
            import pyarrow as pa

            from pennon.storage._lance.conditions import satisfying

            condition = check_where(fitted(where, rows.schema))
            found, trivial = satisfying(rows, condition, shown)
            check_all_rows(condition, shown, trivial=trivial, all_rows=all_rows)
            if not found:
                return None
            gone = set(found)
            left = [n for n in range(rows.num_rows) if n not in gone]
            return Change(rows.take(pa.array(left, pa.int64())), deleted=len(found), kept=left)

        return self._once(table, branch, asked, change)

    def update(
        self,
        table: IdLike,
        values: Mapping[str, Expr | str],
        where: Expr | str | None = None,
        *,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Set columns of rows; see :meth:`Writes.update`."""
        check_values(values)
        filter_sql(where)
        asked = Asked("update", write_id, deadline, commit_message, durability)
        shown = show_id(self._held(table, branch)[0])

        def change(rows: pa.Table) -> Change | None:
            from pennon.storage._lance.conditions import computed

            expressions = check_values({n: fitted(v, rows.schema) for n, v in values.items()})
            condition = filter_sql(fitted(where, rows.schema))
            check_columns(expressions, rows.schema, shown)
            found, new = computed(rows, expressions, condition, shown)
            if not found:
                return None
            new = cast_values(new, expressions, rows.schema, shown)
            return Change(set_rows(rows, found, new), updated=len(found), touched=found)

        return self._once(table, branch, asked, change)

    def merge_insert(
        self,
        table: IdLike,
        data: Any,
        on: str | Sequence[str] | None = None,
        *,
        when_matched: Matched = "update",
        matched_if: Expr | str | None = None,
        when_not_matched: NotMatched = "insert",
        when_not_matched_by_source: BySource = "keep",
        not_matched_by_source_if: Expr | str | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Merge rows by a key; see :meth:`Writes.merge_insert`."""
        rules = MergeRules(
            when_matched=when_matched,
            matched_if=matched_if,
            when_not_matched=when_not_matched,
            when_not_matched_by_source=when_not_matched_by_source,
            not_matched_by_source_if=not_matched_by_source_if,
        )
        asked = Asked("merge", write_id, deadline, commit_message, durability)
        return self._merge(table, data, on, rules, branch, asked)

    def _merge(
        self,
        table: IdLike,
        data: Any,
        on: str | Sequence[str] | None,
        rules: MergeRules,
        branch: str,
        asked: Asked,
    ) -> CommitReceipt:
        id, held = self._held(table, branch)
        earlier = held.receipts.get((asked.operation, check_write_id(asked.write_id)))
        if earlier is not None:
            return earlier
        shown = show_id(id)
        schema = held.versions[-1].schema
        key = key_of(on, schema, shown)
        source = source_of(data, schema, key, rules, shown)

        def change(rows: pa.Table) -> Change | None:
            made = merged(rows, source, key, rules, shown)
            return Change(*made) if any(made[1:4]) else None

        return self._once(table, branch, asked, change)

    def _written(
        self,
        table: IdLike,
        branch: str,
        asked: Asked,
        data: Any,
        schema: pa.Schema | None,
        change: Callable[[pa.Table, pa.Table], Change | None],
        expected: int | None = None,
    ) -> CommitReceipt:
        """Read the rows of a write outside of the lock, unless it was done before."""
        id, held = self._held(table, branch)
        earlier = held.receipts.get((asked.operation, check_write_id(asked.write_id)))
        if earlier is not None:
            return earlier
        if asked.operation == "replace" and expected is None:
            expected = held.latest
        known = held.versions[-1].schema
        reader = to_reader(data, known if schema is None else schema)
        if asked.operation != "append":
            reader = checked_rows(reader, None)
        new = reader.read_all()

        def checked(rows: pa.Table) -> Change | None:
            if expected is not None and held.latest != expected:
                raise CommitConflict(
                    f"{show_id(id)} is at version {held.latest}, not {expected}: somebody wrote to "
                    "it; read it again, then retry.",
                    table=id,
                )
            if schema is None and not rows.schema.equals(known, check_metadata=True):
                raise CommitConflict(
                    f"The schema of {show_id(id)} changed while rows were being written; read it, "
                    "then write them again.",
                    table=id,
                )
            return change(rows, new)

        return self._once(table, branch, asked, checked)

    def _once(
        self,
        table: IdLike,
        branch: str,
        asked: Asked,
        change: Callable[[pa.Table], Change | None],
    ) -> CommitReceipt:
        """Make a change of the newest version, or return its receipt if it was made before."""
        named = check_write_id(asked.write_id)
        id, held = self._held(table, branch)
        with held.writing(id, asked.deadline):
            earlier = held.receipts.get((asked.operation, named))
            if earlier is not None:
                return earlier
            made = _made(held, change)
            if made is None:
                now = datetime.now(UTC)
                return CommitReceipt(id, branch, held.latest, 0, 0, 0, named, now)
            if not self._namespace.table_exists(id) or not self._is(table, branch, held):
                raise moved(id)
            with held.lock:
                return _commit(held, id, asked, named, made)

    def _is(self, table: IdLike, branch: str, held: MemoryTable) -> bool:
        return self._held(table, branch)[1] is held


def _made(held: MemoryTable, change: Callable[[pa.Table], Change | None]) -> Change | None:
    """Make a change of the newest version: anew if what computes it writes to the table itself."""
    while True:
        before = held.latest
        made = change(held.versions[-1])
        if held.latest == before:
            return made


def _commit(held: MemoryTable, id: Id, asked: Asked, write_id: str, made: Change) -> CommitReceipt:
    before = held.indexes_at(held.latest)
    held.add(made.rows, kept=made.kept, touched=made.touched)
    done = held.receipt(
        id,
        asked.operation,
        write_id,
        made.inserted,
        updated=made.updated,
        deleted=made.deleted,
        message=asked.message,
    )
    if made.indexes is not None:
        held.indexes[held.latest] = made.indexes(before)
    replaces = asked.operation in {"overwrite", "replace"}
    return held.rebuilt(id, done, before) if replaces and before else done


def _replaced(rows: pa.Table, new: pa.Table) -> Change:
    return Change(new, inserted=new.num_rows, deleted=rows.num_rows, kept=())
