"""Changing rows, on Lance."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pennon.errors import CommitConflict, PennonError
from pennon.expr import Expr, filter_sql
from pennon.namespaces.abc import IdLike
from pennon.retry import Deadline
from pennon.storage._arguments import (
    check_durability,
    check_message,
    check_mode,
    check_write_id,
)
from pennon.storage._changes import check_values, check_where
from pennon.storage._lance.append import append
from pennon.storage._lance.base import COMMIT_SECONDS, LanceBase
from pennon.storage._lance.branches import ref_of
from pennon.storage._lance.change import delete, truncate, update
from pennon.storage._lance.commit import Asked, done_elsewhere
from pennon.storage._lance.create import check_mapping
from pennon.storage._lance.durability import keep
from pennon.storage._lance.jobs import Moved, is_small
from pennon.storage._lance.lanes import lane_of, one_at_a_time
from pennon.storage._lance.merge import merge
from pennon.storage._lance.notes import earlier
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import rebuild
from pennon.storage._lance.replace import overwrite, replace_at
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.abc.writes import Writes
from pennon.storage.merging import NEW_KEYS, BySource, Matched, MergeRules, NotMatched
from pennon.storage.refs import MAIN, check_version

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceWrites"]


class LanceWrites(LanceBase, Writes):
    """Changing rows, on Lance."""

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
        asked = self._asked(mode, write_id, deadline, commit_message, durability)
        if check_keys:
            return self._merge(table, data, None, NEW_KEYS, branch, asked)
        if mode == "append":
            return self._append(table, data, branch, asked)
        return self._once(
            table,
            branch,
            asked,
            lambda at: overwrite(at, data, schema, asked),
            lambda at, found: rebuild(at, found, asked),
        )

    @contextlib.contextmanager
    def lock_table_for_write(
        self, table: IdLike, *, branch: str = MAIN, deadline: float | None = None
    ) -> Generator[None]:
        """Keep other writers of this process out; see :meth:`Writes.lock_table_for_write`."""
        place = self._place(table, branch)
        place.open()
        end = Deadline.after(deadline, COMMIT_SECONDS)
        with lane_of(place) as lane, lane.passing(end):
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
        asked = self._asked("replace", write_id, deadline, commit_message, durability)
        return self._once(
            table,
            branch,
            asked,
            lambda at: replace_at(at, data, schema, expected_version, asked),
            lambda at, found: rebuild(at, found, asked),
        )

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
        asked = self._asked("truncate", write_id, deadline, commit_message, durability)
        return self._once(table, branch, asked, lambda place: truncate(place, asked))

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
        asked = self._asked("delete", write_id, deadline, commit_message, durability)
        return self._once(
            table,
            branch,
            asked,
            lambda place: delete(place, where, asked, all_rows=all_rows),
        )

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
        asked = self._asked("update", write_id, deadline, commit_message, durability)
        return self._once(table, branch, asked, lambda place: update(place, values, where, asked))

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
        asked = self._asked("merge", write_id, deadline, commit_message, durability)
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
        def again(place: Place, found: CommitReceipt) -> CommitReceipt:
            return merge(place, data, on, rules, asked, found)

        return self._once(
            table, branch, asked, lambda place: merge(place, data, on, rules, asked), again
        )

    def _append(self, table: IdLike, data: Any, branch: str, asked: Asked) -> CommitReceipt:
        """Append rows; whoever commits a few for several callers looks for the table for all."""
        place = self._last_place(table)
        if place is None or asked.repeated or branch != MAIN or not is_small(data):
            return self._once(table, branch, asked, lambda place: append(place, data, asked))
        try:
            with self._unless_dropped([place], CommitConflict):
                receipt = append(place, data, asked, self._namespace)
                if asked.durability == "disk":
                    keep(self._namespace, place, receipt)
                return receipt
        except Moved:
            return self._once(table, branch, asked, lambda place: append(place, data, asked))

    def _asked(
        self,
        operation: str,
        write_id: str | None,
        deadline: float | None,
        message: str | None,
        durability: Durability = "os",
    ) -> Asked:
        return Asked(
            operation,
            check_write_id(write_id),
            repeated=write_id is not None,
            seconds=COMMIT_SECONDS if deadline is None else deadline,
            message=check_message(message),
            durability=check_durability(durability),
        )

    def _check_branch(self, place: Place, asked: Asked) -> None:
        """Make sure that nobody deleted the branch under a write: its rows would be nowhere.

        Raises:
            CommitConflict: Somebody did.
        """
        if place.branch == MAIN or place.on(MAIN).store().head(ref_of(place.branch)) is not None:
            return
        raise CommitConflict(
            f"{place.name} was deleted while being written; create it again, then retry.",
            table=place.info.id,
            branch=place.branch,
            write_id=asked.write_id,
        )

    def _once(
        self,
        table: IdLike,
        branch: str,
        asked: Asked,
        write: Callable[[Place], CommitReceipt],
        again: Callable[[Place, CommitReceipt], CommitReceipt] | None = None,
    ) -> CommitReceipt:
        """Do a write, or return the receipt of the same write if it was done before.

        The catalog is asked before. Whatever happens to the name from then on happens while the
        write is under way, and so after it, as far as anybody can tell; but a table that is dropped
        takes the rows along, and they would be nowhere. What saw the commit usually saw that the
        table was not; else the catalog is asked again, for whether a write is a success.

        Args:
            table: Its id.
            branch: Its branch.
            asked: What the caller says of the write.
            write: Does it.
            again: Completes one that was committed before; its receipt is all there is if None.
        """
        place = self._place(table, branch)
        self._prove(place)
        end = Deadline.after(asked.seconds, asked.seconds)
        alone = one_at_a_time(place, asked.write_id, end)
        with (
            self._unless_dropped([place], CommitConflict),
            alone if asked.repeated else contextlib.nullcontext(),
        ):
            found = earlier(place, asked.identity()) if asked.repeated else None
            new, outlived = None, True
            if found is None:
                try:
                    new = write(place)
                except PennonError as error:
                    found = done_elsewhere(place, asked, error)
            if new is not None:
                outlived = place.outlived(new.version)
                if not outlived:
                    self._check_branch(place, asked)
            if found is not None and again is not None:
                found = again(place, found)
            receipt = new or found
            assert receipt is not None
            if asked.durability == "disk":
                keep(self._namespace, place, receipt)
        if not outlived:
            check_mapping(self._namespace, place, asked.write_id)
        if branch == MAIN:
            self._note(table, place)
        return receipt
