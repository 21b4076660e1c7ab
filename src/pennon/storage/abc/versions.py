"""Contract: the versions of a table."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, overload

from pennon.errors import InvalidOption, TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN, Ref, check_version

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CHANGE", "VersionInfo", "Versions", "check_page"]

CHANGE = "_change"
"""The column of a difference that says what happened to a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """One version of a branch, as the commit that made it tells it."""

    version: int
    committed_at: datetime
    """UTC; by the clock of the writer, or of the store if the writer did not say."""
    operation: str
    """What was done: ``"create"``, ``"append"``, ``"rollback"`` and so on; for a commit that
    pennon did not make, the name Lance has for it, in lower case."""
    rows_inserted: int | None = None
    """None if the writer did not say; so are the other two."""
    rows_updated: int | None = None
    rows_deleted: int | None = None
    writer: str | None = None
    """Who made it: the user, machine and process, such as ``"ada@host:4711"``. None if pennon did
    not make it, and for compactions and the first version of a branch."""
    write_ids: tuple[str, ...] = ()
    """Of the writes in it: none if pennon did not make it, several if appends were grouped."""
    message: str | None = None


def check_page(limit: int | None, before: int | None) -> None:
    """Refuse a page that is none.

    Raises:
        InvalidOption: The limit is below 0, or one of the two is no whole number.
    """
    if before is not None:
        check_version("before", before)
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"limit={limit!r} must be a whole number from 0, or None for all.")


class Versions(abc.ABC):
    """The versions of a table. Each commit to a branch makes the next one."""

    @abc.abstractmethod
    def _newest(self, table: IdLike, branch: str) -> int:
        """Return the number of the newest version."""

    @overload
    def get_table_version(self, table: IdLike, *, branch: str = MAIN) -> int: ...

    @overload
    def get_table_version(
        self, table: IdLike, *, branch: str = MAIN, missing_ok: bool
    ) -> int | None: ...

    def get_table_version(
        self, table: IdLike, *, branch: str = MAIN, missing_ok: bool = False
    ) -> int | None:
        """Return the number of the newest version; None if no such table and ``missing_ok``.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
        """
        try:
            return self._newest(table, Ref(branch=branch).branch)
        except TableNotFound:
            if missing_ok:
                return None
            raise

    @abc.abstractmethod
    def versions(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[VersionInfo]:
        """Return what the commits of a branch did, the newest first.

        Costs one listing and two small reads for each version returned, so ask for a page of a
        long history. A branch begins with the version it was made from.

        Args:
            table: Its id.
            branch: The branch.
            limit: Versions at most; None for all that are kept.
            before: Only versions with a smaller number: that of the last one of the page before.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
            InvalidOption: A limit below 0, or a version that is none.
        """

    @abc.abstractmethod
    def rollback_table(
        self,
        table: IdLike,
        version: int,
        *,
        expected: int | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Make a new version with the rows and columns of an old one. The history stays.

        Without ``expected`` no data are copied and the indexes of the old version come back;
        whatever was committed until then is undone, also by a rival a moment ago. With ``expected``
        it is an exact compare-and-swap on the version, so that nothing unseen is undone; Lance has
        that only for rows written anew, so it copies the old version and builds its indexes anew.

        Args:
            table: Its id.
            version: The version of the branch to return to.
            expected: The newest version as the caller knows it.
            branch: The branch.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt and writes nothing. Without ``expected`` that holds once the first
                call has ended: if another process repeats it before, both may roll back, the later
                one also what was written between the two.
            durability: ``"os"`` or ``"disk"``; see :class:`~pennon.storage.abc.writes.Writes`.
            deadline: Seconds to try to commit; 60 if None.
            commit_message: Kept with the version.

        Returns:
            The receipt: the rows of the old version count as inserted, those there were as deleted.

        Raises:
            VersionNotFound: The branch has no such version, or not any more.
            CommitConflict: ``expected`` is not the newest version; nothing was written.
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
            OutcomeUnknown: The fate of the write could not be settled; repeat with its write id.
        """

    @abc.abstractmethod
    def diff(
        self, table: IdLike, from_version: int, to_version: int, *, branch: str = MAIN
    ) -> pa.RecordBatchReader:
        """Stream the rows that differ between two versions of a branch, in no promised order.

        A row that was written again counts as updated, also with the values it had; a column that
        gets another type writes all of them. A rollback with ``expected=`` and an overwrite make
        all rows new. Holds 24 bytes in memory for each row of the data files that the versions do
        not share.

        Args:
            table: Its id.
            from_version: The version to start from.
            to_version: The version to get to; it may be the older one.
            branch: The branch.

        Returns:
            The columns of the table and ``_change``: ``"inserted"`` and ``"updated"`` rows as they
            are in ``to_version``, ``"deleted"`` ones as they were in ``from_version``.

        Raises:
            Unsupported: The rows have no stable ids: a table that other tools made.
            SchemaMismatch: The columns differ.
            VersionNotFound: The branch has no such version, or not any more.
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
        """
