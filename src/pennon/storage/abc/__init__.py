"""The contract of a storage backend: flat methods, table id first, Arrow in, Arrow out."""

from __future__ import annotations

import abc
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pennon.namespaces.abc import IdLike, Namespace
from pennon.namespaces.names import parse_id
from pennon.storage.abc.branches import Branches, BranchInfo, TagInfo
from pennon.storage.abc.capabilities import Capable
from pennon.storage.abc.columns import ColumnChange, TableColumns
from pennon.storage.abc.freshness import Freshness
from pennon.storage.abc.indexes import Indexes, IndexInfo, IndexProgress, IndexStats
from pennon.storage.abc.maintenance import Finding, Maintenance, OptimizeReport, RecoveryReport
from pennon.storage.abc.metadata import Metadata, TableStats, VersionFile
from pennon.storage.abc.reads import Reads
from pennon.storage.abc.search_types import HybridSearch, TextSearch, VectorSearch
from pennon.storage.abc.searches import Searches
from pennon.storage.abc.tables import TableLifecycle
from pennon.storage.abc.types import CommitReceipt, Durability, ScanRequest
from pennon.storage.abc.versions import VersionInfo, Versions
from pennon.storage.abc.writes import Writes
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    from pennon.storage.table import Table

__all__ = [
    "BranchInfo",
    "ColumnChange",
    "CommitReceipt",
    "Durability",
    "Finding",
    "HybridSearch",
    "IndexInfo",
    "IndexProgress",
    "IndexStats",
    "OptimizeReport",
    "RecoveryReport",
    "ScanRequest",
    "StorageBackend",
    "TableStats",
    "TagInfo",
    "TextSearch",
    "VectorSearch",
    "VersionFile",
    "VersionInfo",
]


class StorageBackend(
    TableLifecycle,
    Reads,
    Writes,
    TableColumns,
    Indexes,
    Searches,
    Branches,
    Versions,
    Metadata,
    Freshness,
    Maintenance,
    Capable,
    abc.ABC,
):
    """Tables under the names of a namespace.

    Data is anything with ``__arrow_c_stream__`` (pyarrow, polars, pandas, duckdb), an iterable of
    record batches with a ``schema``, or a list of dicts. Safe to use from many threads.
    """

    @property
    @abc.abstractmethod
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""

    def table(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> Table:
        """Return a table to hold in the hand, with the methods of this backend that take its id.

        Asks nothing of the store: whether there is such a table, its methods tell.

        Args:
            table: Its id.
            branch: The branch to work on.
            version: A version of it to read; None for the newest, whenever it is asked.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            InvalidName: A name no table or branch can have.
            InvalidOption: More than one of ``version``, ``tag`` and ``as_of``.
        """
        from pennon.storage.table import Table

        ref = Ref(branch=branch, version=version, tag=tag, as_of=as_of)
        return Table(self, parse_id(table, what="table"), ref)

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
        return f"<pennon {type(self).__name__} on {self.namespace!r}, {self.consistency!r}>"
