"""Contract: changing the columns of a table."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from pennon.expr import Expr
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ColumnChange", "Compute", "NewColumns", "Progress", "TableColumns"]

Compute: TypeAlias = Callable[["pa.RecordBatch"], Any]
"""Makes the new columns of a batch: as many rows, as anything pennon accepts as data."""
NewColumns: TypeAlias = Union[Mapping[str, "Expr | str | pa.DataType"], "pa.Schema", Compute]
Progress: TypeAlias = Callable[[int, int], None]
"""Is told the rows that are done and those there are in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnChange:
    """What is to become of a column; None leaves that as it is."""

    name: str | None = None
    """Its new name."""
    type: pa.DataType | None = None
    """Its new type. Every value must fit: nothing is rounded or cut, but text is read as numbers
    are written in it. A view layout becomes the plain one."""
    nullable: bool | None = None
    """Whether it allows NULL. Forbidding it needs a column without one."""


class TableColumns(abc.ABC):
    """Changing the columns of a table; each call is one commit, with the options of ``Writes``.

    A change of columns excludes every other write: what a rival of pennon commits meanwhile is
    followed, and a rival that began before the change and commits after it prepares its write
    anew, or is refused because the columns are no longer what it was told. So a row that was
    appended meanwhile has the new values too, and no update is lost.

    Receipts count no rows. Every method may raise ``TableNotFound``, ``BranchNotFound``,
    ``CommitConflict`` and ``OutcomeUnknown`` as :class:`Writes` says.
    """

    @abc.abstractmethod
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
        """Add columns, after those there are.

        >>> db.add_columns("docs", {"twice": col("n") * 2, "lang": lit("en"), "note": pa.string()})
        >>> db.add_columns("docs", embed, schema=pa.schema({"vec": pa.list_(pa.float32(), 64)}))

        A new column allows NULL, also one that is the same value everywhere: that is the value of
        the rows there are, and rows appended later without the column have NULL in it.
        ``alter_columns`` forbids NULL.

        Memory follows the batches, not the table. A function is called with one batch after the
        other, in the order of each data file, from one thread that is not that of the caller. It
        must depend on nothing but its batch if ``checkpoint`` is given.

        Args:
            table: Its id.
            columns: Names to what they are computed from: an expression or SQL over the columns
                there are, a constant as ``pennon.lit(...)``, or a type for a column of NULLs. Or a
                schema, for columns of NULLs alone, which reads and writes no row. Or a function
                over batches.
            schema: What a function returns: required with one, and only allowed with one.
            read_columns: The columns a function is given; all if None.
            batch_size: Rows of a batch for a function at most; 8192 if None.
            checkpoint: A local directory that keeps what a function returned until the columns
                are committed. A call with the same directory, after a crash or an error, does not
                compute a batch again, even if other rows changed meanwhile. Use one for one
                function only.
            progress: Called after each batch of a function.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds to try to commit, once the values are computed; 60 if None.
            commit_message: A text kept with the version.

        Raises:
            ColumnAlreadyExists: The table has a column of this name.
            ColumnNotFound: An expression or ``read_columns`` names a column it lacks.
            InvalidName: A name that no column can have.
            InvalidInput: An expression cannot be understood, or fails on a row, or a type cannot be
                stored.
            InvalidOption: No columns, options that are for a function only, or a ``checkpoint``
                where no file can be kept.
            SchemaMismatch: A function returned other columns than ``schema`` says, or another
                number of rows than it was given.
        """

    @abc.abstractmethod
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
        """Rename columns, change their types, or whether they allow NULL; all in one commit.

        >>> db.alter_columns("docs", {"n": ColumnChange(name="count", type=pa.int64())})

        A column keeps its place. If a type changes, the columns of the call are written anew, and
        their indexes are dropped; otherwise no row is read or written, but to look for NULL.

        Args:
            table: Its id.
            changes: Columns by their present names.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds to try to commit, once values of a new type are written; 60 if None.
            commit_message: A text kept with the version.

        Raises:
            ColumnNotFound: The table has no such column.
            ColumnAlreadyExists: A new name is that of another column.
            InvalidInput: A column belongs to the primary key, or a new type cannot be stored.
            InvalidName: A name that no column can have.
            InvalidOption: No change at all.
            SchemaMismatch: A value does not fit the new type, or a NULL is there.
        """

    @abc.abstractmethod
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
        """Drop columns, with their indexes; older versions keep them.

        Args:
            table: Its id.
            columns: Their names; one column at least must stay.
            branch: See :class:`Writes`, as for the rest.
            write_id: Identity of this write.
            durability: ``"os"`` or ``"disk"``.
            deadline: Seconds to try to commit; 60 if None.
            commit_message: A text kept with the version.

        Raises:
            ColumnNotFound: The table has no such column.
            InvalidInput: A column belongs to the primary key, or none would be left.
        """
