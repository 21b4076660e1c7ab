"""Contract: the life of tables."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from pennon.arrow import storable
from pennon.errors import (
    ColumnAlreadyExists,
    CommitConflict,
    InvalidOption,
    SchemaMismatch,
    TableAlreadyExists,
    TableNotFound,
    TablePinned,
)
from pennon.namespaces.abc import Id, IdLike, Namespace
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.retry import Backoff, Deadline
from pennon.storage._arguments import (
    check_durability,
    check_flags,
    check_message,
    check_write_id,
    rows_of,
)
from pennon.storage.abc.branches import Branches
from pennon.storage.abc.capabilities import needs
from pennon.storage.abc.columns import ColumnChange, TableColumns
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.abc.versions import Versions
from pennon.storage.abc.writes import Writes
from pennon.storage.keys import Difference, checked_rows, difference, with_primary_key
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Creation", "TableLifecycle"]

_EVOLVE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Creation:
    """What the caller says of a create, besides its rows."""

    properties: dict[str, str] | None
    write_id: str
    repeated: bool
    """Whether it may have been done before, because the caller named its id."""
    durability: Durability
    deadline: float | None
    message: str | None

    @classmethod
    def of(
        cls,
        properties: dict[str, str] | None,
        write_id: str | None,
        durability: Durability,
        deadline: float | None,
        message: str | None,
    ) -> Creation:
        """Check what the caller says.

        Raises:
            InvalidOption: Something that is none.
        """
        check_durability(durability)
        Deadline.after(deadline, 1)
        named, repeated = check_write_id(write_id), write_id is not None
        return cls(properties, named, repeated, durability, deadline, check_message(message))


class TableLifecycle(Writes, TableColumns, Branches, Versions, abc.ABC):
    """Making, finding, renaming and dropping tables.

    A table exists once something was committed to it, if only its columns; a name that was only
    declared in the catalog is no table yet. That something is not there is never remembered.
    """

    _within: Id = ()

    @property
    @abc.abstractmethod
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""

    @abc.abstractmethod
    def _create(self, id: Id, rows: pa.RecordBatchReader, asked: Creation) -> CommitReceipt:
        """Create a table, or raise ``TableAlreadyExists``."""

    @abc.abstractmethod
    def _create_or_overwrite(
        self, id: Id, rows: pa.RecordBatchReader, asked: Creation
    ) -> CommitReceipt:
        """Create a table, or replace all that it has."""

    @abc.abstractmethod
    def get_table_schema(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
        missing_ok: bool = False,
    ) -> pa.Schema | None:
        """Return the columns of a table; None if it does not exist and ``missing_ok``.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
            VersionNotFound: The branch has no such version, or not any more.
            TagNotFound: The table has no such tag.
        """

    def table_names(self, namespace: IdLike = (), *, recursive: bool = False) -> list[Id]:
        """Return the ids of the tables of a namespace, sorted; without what is only declared.

        Args:
            namespace: The root by default.
            recursive: Also those of all namespaces below it.

        Raises:
            NamespaceNotFound: The namespace does not exist.
        """
        above = self._within + parse_id(namespace, what="namespace", allow_root=True)
        found = self.namespace.list_tables(above, recursive=recursive, include_declared=False)
        return [id[len(self._within) :] for id in found]

    def table_exists(self, table: IdLike) -> bool:
        """Return whether a table exists; costs the same however many there are."""
        return self.get_table_schema(table, missing_ok=True) is not None

    def table_properties(self, table: IdLike) -> dict[str, str]:
        """Return the strings that the catalog keeps with a table, declared or written.

        Raises:
            TableNotFound: No table has the id.
        """
        return dict(self.namespace.describe_table(self._full(table)).properties)

    def create_table(
        self,
        table: IdLike,
        data: Any = None,
        *,
        schema: pa.Schema | None = None,
        mode: Literal["create", "exist_ok", "overwrite"] = "create",
        primary_key: str | Sequence[str] | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Create a table with these rows. Of N racing creators exactly one succeeds.

        A table that was declared but never written is adopted, by exactly one creator; its
        properties stay as they were declared. A create whose data fail in mid-stream may leave the
        name declared, without data.

        Args:
            table: Its id; the namespace must exist.
            data: The rows; may be left out when ``schema`` is given.
            schema: The columns; those of the data if None.
            mode: ``"exist_ok"`` leaves a table that exists as it is, and ignores the data: the
                receipt then has no rows and the newest version. ``"overwrite"`` replaces its
                rows and columns in one commit, by the rules of ``write(mode="overwrite")``: its
                history, branches, tags and properties stay, and rows that a rival writes meanwhile
                are replaced or come after it. Every one of racing overwriters succeeds, and the
                last one's rows are there.
            primary_key: Columns whose values tell rows apart; they allow no NULL. Kept in the
                schema, where every Lance tool finds it, and never changed. The keys of the data
                are held in memory to be compared.
            properties: Strings the catalog keeps with the table.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt.
            durability: ``"os"``, or ``"disk"``: the name of the table is then on the disk as well,
                if the catalog is a directory there; see :class:`Writes`.
            deadline: Seconds to try to commit, once the data files are written; 60 if None.
            commit_message: A text kept with the first version.

        Raises:
            TableAlreadyExists: The name is taken; nothing of this call remains.
            NamespaceNotFound: The namespace does not exist.
            InvalidInput: Neither data nor schema, data no Arrow stream can be made of, or a column
                of a type that cannot be stored.
            InvalidName: A name no table or column can have.
            InvalidOption: A primary key that cannot be one.
            ColumnNotFound: A column of the primary key does not exist.
            DuplicateKey: Two rows of the data have one key.
            SchemaMismatch: The data do not fit ``schema``, or a key is NULL.
        """
        id = self._within + check_new(parse_id(table, what="table"), what="table")
        asked = Creation.of(properties, write_id, durability, deadline, commit_message)
        rows = rows_of(data, schema)
        if mode not in ("create", "exist_ok", "overwrite"):
            raise InvalidOption(f"mode={mode!r} must be 'create', 'exist_ok' or 'overwrite'.")
        rows = checked_rows(rows, primary_key)
        if mode == "overwrite":
            return self._create_or_overwrite(id, rows, asked)
        try:
            return self._create(id, rows, asked)
        except TableAlreadyExists:
            if mode == "create":
                raise
            version = self.get_table_version(table)
            return CommitReceipt(id, MAIN, version, 0, 0, 0, asked.write_id, datetime.now(UTC))

    def create_empty_table(
        self,
        table: IdLike,
        schema: pa.Schema,
        *,
        primary_key: str | Sequence[str] | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Create a table without rows; see :meth:`create_table`."""
        return self.create_table(
            table,
            schema=schema,
            primary_key=primary_key,
            properties=properties,
            write_id=write_id,
            durability=durability,
            deadline=deadline,
            commit_message=commit_message,
        )

    def open_or_create_table(
        self,
        table: IdLike,
        schema: pa.Schema,
        *,
        primary_key: str | Sequence[str] | None = None,
        properties: dict[str, str] | None = None,
        evolve: bool = False,
    ) -> pa.Schema:
        """Make sure that a table with these columns exists, and return its schema.

        Args:
            table: Its id.
            schema: The columns: names, types and which allow NULL; their order does not matter.
            primary_key: See :meth:`create_table`.
            properties: What the catalog keeps with a table that is made.
            evolve: Whether a table that lacks columns gets them, if they allow NULL, and whether a
                column that allows no NULL does so from now on, if that is what is wanted. Several
                that evolve one table at the same time all succeed.

        Returns:
            What the table has.

        Raises:
            SchemaMismatch: It exists with other columns or another key; nothing was changed.
            InvalidInput: A column of a type that cannot be stored.
            NamespaceNotFound: The namespace does not exist.
        """
        check_flags(evolve=evolve)
        wanted = storable(schema)
        if primary_key is not None:
            wanted = with_primary_key(wanted, primary_key)
        for _ in Backoff().tries(Deadline.after(None, _EVOLVE_SECONDS)):
            found = self.get_table_schema(table, missing_ok=True)
            if found is None:
                self.create_table(table, schema=wanted, mode="exist_ok", properties=properties)
                found = self.get_table_schema(table)
                assert found is not None
            differs = difference(found, wanted)
            if differs is None:
                return found
            if differs.other is not None or not evolve:
                raise self._mismatch(table, differs)
            # Somebody else may do the same; what counts is what is there afterwards.
            with contextlib.suppress(ColumnAlreadyExists, CommitConflict):
                self._evolve(table, wanted, differs)
        raise CommitConflict(
            f"The columns of {show_id(self._full(table))} changed again and again; retry.",
            table=self._full(table),
        )

    def _evolve(self, table: IdLike, wanted: pa.Schema, differs: Difference) -> None:
        import pyarrow as pa

        if differs.added:
            self.add_columns(table, pa.schema([wanted.field(n) for n in differs.added]))
        if differs.relaxed:
            self.alter_columns(table, {n: ColumnChange(nullable=True) for n in differs.relaxed})

    def _mismatch(self, table: IdLike, differs: Difference) -> SchemaMismatch:
        id = self._full(table)
        if differs.other is None:
            text = f"evolve=True would {differs.steps}"
        else:
            text = f"{differs.other}; change the schema, or choose another name"
        return SchemaMismatch(f"{show_id(id)} exists with other columns: {text}.", table=id)

    @needs("rename")
    def rename_table(self, table: IdLike, new: IdLike) -> None:
        """Rename a table, or move it to another namespace; its data stay where they are.

        Raises:
            TableNotFound: No table has the id.
            TableAlreadyExists: The new id names a table.
            NamespaceAlreadyExists: The new id names a namespace.
            NamespaceNotFound: The new parent does not exist.
            Unsupported: The catalog cannot rename.
        """
        self.namespace.rename_table(self._full(table), self._full(new))

    def drop_table(self, table: IdLike, *, missing_ok: bool = False, force: bool = False) -> None:
        """Drop a table: first the name, atomically, then the data, branches included.

        Args:
            table: Its id; a name that is only declared is given up.
            missing_ok: A missing table is not an error.
            force: Drop it with its branches and tags, also with those made at this moment.

        Raises:
            TableNotFound: No table has the id.
            TablePinned: It has branches or tags, and not ``force``; nothing was dropped.
        """
        id = self._full(table)
        check_flags(missing_ok=missing_ok, force=force)
        if not force:
            try:
                pins = self._pinned_by(table)
            except TableNotFound:
                pins = []
            if pins:
                raise TablePinned(
                    f"{show_id(id)} is pinned by {', '.join(pins[:5])}; delete what is not needed, "
                    "or pass force=True to drop it all.",
                    table=id,
                )
        self.namespace.drop_table(id, missing_ok=missing_ok)

    def _pinned_by(self, table: IdLike) -> list[str]:
        """Return what keeps a table from being dropped, for people."""
        branches = [f"branch {b.name}" for b in self.list_branches(table)]
        return branches + [f"tag {t.name}" for t in self.list_tags(table)]

    def _full(self, table: IdLike) -> Id:
        return self._within + parse_id(table, what="table")
