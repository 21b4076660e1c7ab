"""Contract: changing rows."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal

from pennon.expr import Expr
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.merging import BySource, Matched, NotMatched
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Writes"]


class Writes(abc.ABC):
    """Changing the rows of a table; each call is one commit.

    Every method takes the same options:

    * ``branch``: the branch to write to; nothing else changes, whatever happens.
    * ``write_id``: identity of this write. Repeating the call with the same one returns the first
      receipt and writes nothing, also after the process was killed before it had the receipt, and
      while other processes are still at it: one makes it, and all have its receipt. (A rollback
      that names no expected version is the exception.) Calls of one process wait for each other. A
      call that changed nothing, such as a delete that found no row, is not remembered.
    * ``durability``: what the receipt promises if the power fails. ``"os"``: nothing; the operating
      system writes its files when it likes, and a killed process loses nothing. ``"disk"``: every
      file that the new version is made of, also those that others wrote before, and every directory
      that names them, up to the root of the disk, are on the disk before the receipt. In a bucket
      an object is durable once it is there, so both are the same; tables in memory have no disk.
      What writers with ``"os"`` can do to it is in the documentation.
    * ``deadline``: seconds to try to commit, once the data files are written; 60 if None.
    * ``commit_message``: a text kept with the version.

    And every method may raise:

    * ``TableNotFound``: no table has the id, or it is only declared.
    * ``BranchNotFound``: it has no such branch.
    * ``CommitConflict``: rivals won again and again, or the table was dropped meanwhile.
    * ``OutcomeUnknown``: the fate of the write could not be settled; repeat it with its write id.
    * ``EngineFailed``: Lance broke off in the middle, and nothing was committed.
    * ``NotDurable``: it was committed and everybody sees it, but the disk failed to keep it.
    """

    @abc.abstractmethod
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
        """Append rows to a table, or put them in the place of all it has.

        Appending nothing commits nothing; overwriting with nothing leaves an empty table. An
        overwrite replaces exactly one version: rows that a rival appends meanwhile are replaced
        and counted, or stay because they come after it; never is one lost in between.

        The indexes whose columns are still there, of a type they are for, are built anew before the
        call returns, each in a commit of its own, and the receipt names them; until then searches
        go without. One that is named in neither list of the receipt could not be built yet:
        the call repeated with its write id, ``recover`` or ``optimize_table`` builds it, also after
        the process was killed in between.

        Args:
            table: Its id.
            data: The rows. They fit the columns of the table, key and NOT NULL included.
            mode: ``"append"`` or ``"overwrite"``.
            schema: For an overwrite, other columns than the table has; taken exactly as given, so
                that a key or NOT NULL it does not declare is gone.
            check_keys: For an append to a table with a primary key: whether to refuse rows whose
                key is there already; with the guarantee of :meth:`merge_insert`.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            SchemaMismatch: The rows do not fit the table, or ``schema``.
            DuplicateKey: With ``check_keys``, a key is there already, or twice in the data.
        """

    @abc.abstractmethod
    def lock_table_for_write(
        self, table: IdLike, *, branch: str = MAIN, deadline: float | None = None
    ) -> AbstractContextManager[None]:
        """Keep the other writers of this process out, for a read-modify-write.

        >>> with db.lock_table_for_write("counters"):
        ...     n = db.count_rows("counters")
        ...     db.write("counters", [{"n": n}])

        The thread that holds it writes, and may enter again. Writers in other processes are not
        kept out: ``replace_table_atomic`` and ``expected_version`` notice those.

        Args:
            table: Its id.
            branch: The branch to lock.
            deadline: Seconds to wait for other writers; 60 if None.

        Raises:
            CommitConflict: Others kept it busy until the deadline.
        """

    @abc.abstractmethod
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
        """Put rows in the place of exactly one version: an overwrite that never follows a rival.

        Args:
            table: Its id.
            data: The new rows.
            schema: The new columns; those of the table if None. See :meth:`write`.
            expected_version: The version to replace; the newest one when the call begins if None.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            CommitConflict: The table is not, or no longer, at that version; it is unchanged.
            SchemaMismatch: The rows do not fit the columns.
        """

    @abc.abstractmethod
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
        """Delete all rows; columns, indexes and versions stay.

        Rows that a rival appends meanwhile stay too: they come after it.
        """

    @abc.abstractmethod
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
        """Delete the rows for which a condition is true. If there is none, nothing is committed.

        When a rival changes rows that are to be deleted, the condition is evaluated anew.

        Args:
            table: Its id.
            where: The condition: an expression or SQL.
            all_rows: Whether a condition that is true whatever the rows are, such as ``"1 = 1"`` or
                ``"n IS NULL OR n IS NOT NULL"``, is meant. Comparisons are not reasoned about:
                ``"n >= 1 OR n < 1"`` counts as a condition.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            InvalidFilter: The condition cannot be used, or is true of every row.
        """

    @abc.abstractmethod
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
        """Set columns of the rows for which a condition is true, computed from their old values.

        >>> db.update("docs", {"score": "score + 1", "lang": lit("en")}, where=col("id") < 10)

        Concurrent updates are as if one came after the other: none is lost. The rows that change
        are held in memory, with the columns that change. Whole numbers are computed in the type of
        their columns, and wrap around where they leave it, as Lance does it: cast first what may.

        Args:
            table: Its id.
            values: Columns to expressions. A string is SQL; a literal is ``pennon.lit(...)``.
            where: The condition; None for all rows.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            ColumnNotFound: The table has no such column.
            InvalidInput: A column belongs to the primary key, or an expression cannot be
                understood or fails on a row.
            InvalidFilter: The condition cannot be used.
            SchemaMismatch: A value does not fit its column. Only fractions are rounded, to what a
                column of floats or decimals holds.
        """

    @abc.abstractmethod
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
        """Merge rows into a table by a key; unless told otherwise, update or insert (upsert).

        >>> db.merge_insert("docs", changes, on="id")
        >>> db.merge_insert("docs", changes, matched_if="source.at > target.at")

        A key is inserted once, however many writers of pennon merge it at the same time, from
        whatever process, with or without an index on it. A row that *another* tool, or an append
        without ``check_keys``, inserts with the same key while the merge is under way is seen
        before the receipt is given: the row is updated and the one of the merge deleted, so that
        readers see two only in between; that needs stable row ids, which tables made by pennon
        have. One that is appended after the merge is not seen.

        The data are held in memory, up to four times, and the key columns of the table are read;
        data of more than 512 MiB are refused, a table at once and a stream while it is read: merge
        them in parts. Each row counts with 96 bytes besides its own. Data without some columns
        leave those as they are, or NULL in rows that are inserted. A key with a NULL matches
        nothing.

        Args:
            table: Its id.
            data: The rows, each key once.
            on: The columns of the key; the primary key of the table if None.
            when_matched: With a row whose key is in the data: ``"update"`` the columns the data
                have, ``"ignore"`` the new row, ``"fail"`` altogether, or ``"delete"`` it.
            matched_if: Condition over ``source.x`` and ``target.x``: only rows for which it is
                true are updated.
            when_not_matched: With new rows whose key the table lacks: ``"insert"`` or
                ``"ignore"``.
            when_not_matched_by_source: With rows of the table whose key the data lack: ``"keep"``
                or ``"delete"``.
            not_matched_by_source_if: Condition on such a row: only those are deleted.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            DuplicateKey: Two rows of the data have one key; or, with ``"fail"``, a key is there
                already. Nothing was written.
            ColumnNotFound: The table has no such column.
            InvalidName: A column of the key has a name with a double quote.
            InvalidOption: No key at all, one of a type that rows cannot be told apart by, or rules
                that contradict each other.
            SchemaMismatch: The rows do not fit the table, or lack a column that is needed.
            InvalidInput: The data are too large for one merge; nothing was written.
            InvalidFilter: A condition cannot be used.
        """
