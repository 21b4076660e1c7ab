"""The contract of a storage backend: flat methods, table id first, Arrow in, Arrow out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pennon.errors import InvalidOption
from pennon.namespaces.abc import Id, IdLike, Namespace

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CommitReceipt", "Durability", "ScanRequest", "StorageBackend"]

Durability = Literal["os", "disk"]


@dataclass(frozen=True, slots=True)
class CommitReceipt:
    """Proof of a commit: made only after the commit was seen in the history of the table."""

    table: Id
    branch: str
    version: int
    rows_inserted: int
    rows_updated: int
    rows_deleted: int
    write_id: str
    committed_at: datetime
    """UTC, by the clock of the writer."""


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """What to read from one table."""

    table: IdLike
    columns: Sequence[str] | None = field(default=None, kw_only=True)
    """Names to return, in this order; None for all."""
    filter: str | None = field(default=None, kw_only=True)
    """SQL condition; None for all rows."""
    limit: int | None = field(default=None, kw_only=True)
    """Rows at most; None for all."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 0:
            raise InvalidOption(f"limit={self.limit} must be 0 or more, or None for all rows.")
        if isinstance(self.columns, str):
            raise InvalidOption(f"columns={self.columns!r} must be a list of names.")


class StorageBackend(abc.ABC):
    """Tables under the names of a namespace.

    Data is anything with ``__arrow_c_stream__`` (pyarrow, polars, pandas, duckdb), an iterable of
    record batches with a ``schema``, or a list of dicts. Safe to use from many threads.
    """

    @property
    @abc.abstractmethod
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""

    @abc.abstractmethod
    def create_table(
        self,
        table: IdLike,
        data: Any = None,
        *,
        schema: pa.Schema | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Create a table with these rows. Of N racing creators exactly one succeeds.

        A table that was declared but never written is adopted, by exactly one creator.

        Args:
            table: Its id; the namespace must exist.
            data: The rows; may be left out when ``schema`` is given.
            schema: The columns; those of the data if None.
            properties: Strings the catalog keeps with the table.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt.

        Raises:
            TableAlreadyExists: The name is taken; nothing of this call remains.
            NamespaceNotFound: The namespace does not exist.
            InvalidInput: Neither data nor schema, or data no Arrow stream can be made of.
            SchemaMismatch: The data do not fit ``schema``.
        """

    @abc.abstractmethod
    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append"] = "append",
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Append rows to a table. Appending nothing commits nothing.

        Args:
            table: Its id.
            data: The rows.
            mode: ``"append"``.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt and writes nothing.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            SchemaMismatch: The rows do not fit the table.
            CommitConflict: Rivals won again and again; nothing was written.
            OutcomeUnknown: The fate of the write could not be settled; repeat with its write id.
        """

    @abc.abstractmethod
    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream the rows of one table, as of its latest acknowledged commit.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            ColumnNotFound: A projected column does not exist.
            InvalidInput: The filter cannot be understood.
        """

    @abc.abstractmethod
    def count_rows(self, table: IdLike, filter: str | None = None) -> int:
        """Return the number of rows, or of those that satisfy ``filter``.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            InvalidInput: The filter cannot be understood.
        """

    def close(self) -> None:
        """Release what only this backend holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<pennon {type(self).__name__} on {self.namespace!r}>"
