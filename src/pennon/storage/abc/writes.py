"""Contract: changing rows."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pennon.expr import Expr
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Writes"]


class Writes(abc.ABC):
    """Changing the rows of a table; each call is one commit.

    Every method takes the same options:

    * ``branch``: the branch to write to; nothing else changes, whatever happens.
    * ``write_id``: identity of this write. Repeating the call with the same one returns the first
      receipt and writes nothing, also after the process was killed before it had the receipt.
    * ``deadline``: seconds to try to commit, once the data files are written; 60 if None.
    * ``commit_message``: a text kept with the version.

    And every method may raise:

    * ``TableNotFound``: no table has the id, or it is only declared.
    * ``BranchNotFound``: it has no such branch.
    * ``CommitConflict``: rivals won again and again, or the table was dropped meanwhile.
    * ``OutcomeUnknown``: the fate of the write could not be settled; repeat it with its write id.
    """

    @abc.abstractmethod
    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append", "overwrite"] = "append",
        schema: pa.Schema | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Append rows to a table, or put them in the place of all it has.

        Appending nothing commits nothing; overwriting with nothing leaves an empty table. An
        overwrite replaces exactly one version: rows that a rival appends meanwhile are replaced
        and counted, or stay because they come after it; never is one lost in between. It drops the
        indexes.

        Args:
            table: Its id.
            data: The rows. They fit the columns of the table, key and NOT NULL included.
            mode: ``"append"`` or ``"overwrite"``.
            schema: For an overwrite, other columns than the table has; taken exactly as given, so
                that a key or NOT NULL it does not declare is gone.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            SchemaMismatch: The rows do not fit the table, or ``schema``.
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
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Delete the rows for which a condition is true. If there is none, nothing is committed.

        When a rival changes rows that are to be deleted, the condition is evaluated anew.

        Args:
            table: Its id.
            where: The condition: an expression or SQL.
            all_rows: Whether a condition that is true of every row, such as ``"1 = 1"``, is meant.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
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
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Set columns of the rows for which a condition is true, computed from their old values.

        >>> db.update("docs", {"score": "score + 1", "lang": lit("en")}, where=col("id") < 10)

        Concurrent updates are as if one came after the other: none is lost. The rows that change
        are held in memory, with the columns that change.

        Args:
            table: Its id.
            values: Columns to expressions. A string is SQL; a literal is ``pennon.lit(...)``.
            where: The condition; None for all rows.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            deadline: Seconds.
            commit_message: A text kept with the version.

        Raises:
            ColumnNotFound: The table has no such column.
            InvalidInput: A column belongs to the primary key.
            InvalidFilter: The condition or an expression cannot be used.
            SchemaMismatch: A value does not fit its column; nothing is rounded or cut.
        """
