"""Contract: what a table says of itself besides its rows."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from pennon.errors import InvalidOption
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.refs import MAIN

__all__ = ["Changes", "Metadata", "TableStats", "VersionFile", "check_metadata"]

_KEY = "lance-schema:unenforced-primary-key"

Changes = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStats:
    """How big one version of a table is."""

    version: int
    rows: int
    deleted_rows: int
    """Rows that are deleted and still take room in the data files."""
    bytes: int
    """Of the data files this version reads; in memory, of the columns."""
    fragment_rows: tuple[int, ...]
    """The rows of each fragment, in the order of the table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionFile:
    """The file that makes a version exist: its manifest."""

    version: int
    path: str
    """Below the location of the table; empty for a table in memory, as are the next two."""
    size: int
    """Bytes."""
    etag: str
    stored_at: datetime
    """UTC, by the clock of the store."""


def check_metadata(
    schema: Changes | None, columns: Mapping[str, Changes] | None
) -> tuple[Changes, Mapping[str, Changes]]:
    """Return what is to be changed.

    Raises:
        InvalidOption: Nothing, something that is no text, or a key that says which columns are the
            primary key.
    """
    for given in (schema, columns, *(columns.values() if isinstance(columns, Mapping) else ())):
        if given is not None and not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"Metadata {given!r} must map keys to their new values.")
    of_columns = {name: changes for name, changes in (columns or {}).items() if changes}
    if not schema and not of_columns:
        raise InvalidOption("No metadata are to be changed; name keys and their new values.")
    for changes in (schema or {}, *of_columns.values()):
        for key, value in changes.items():
            if not isinstance(key, str) or not isinstance(value, (str, type(None))):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidOption(f"Metadata {key!r}: {value!r} must be strings, or None.")
            if key.startswith(_KEY):
                raise InvalidOption(
                    f"{key!r} says which columns are the primary key; that is settled when a table "
                    "is created."
                )
    return schema or {}, of_columns


class Metadata(abc.ABC):
    """What a table says of itself besides its rows."""

    @abc.abstractmethod
    def table_stats(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> TableStats:
        """Return how big a version is; reads its manifest and no data.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
            VersionNotFound: The branch has no such version, or not any more.
            TagNotFound: The table has no such tag.
        """

    @abc.abstractmethod
    def version_files(self, table: IdLike, *, branch: str = MAIN) -> list[VersionFile]:
        """Return the manifests of the versions that a branch keeps, the newest first.

        Costs one listing, however long the history: ``versions`` says more and reads more.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
        """

    @abc.abstractmethod
    def update_metadata(
        self,
        table: IdLike,
        schema: Changes | None = None,
        *,
        columns: Mapping[str, Changes] | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Change the metadata of the schema and of columns, in one commit.

        Args:
            table: Its id.
            schema: Keys of the schema to their new values; None removes a key. Others stay.
            columns: The same for columns by their names.
            branch: The branch to change; nothing else changes.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt and writes nothing.
            durability: ``"os"`` or ``"disk"``; see :class:`~pennon.storage.abc.writes.Writes`.
            deadline: Seconds to try to commit; 60 if None.
            commit_message: A text kept with the version.

        Returns:
            The receipt, which counts no rows.

        Raises:
            InvalidOption: Nothing to change, or a key that says which columns are the primary key.
            ColumnNotFound: The table has no such column.
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: The table has no such branch.
            CommitConflict: Rivals won again and again; nothing was written.
            OutcomeUnknown: The fate of the write could not be settled; repeat with its write id.
        """
