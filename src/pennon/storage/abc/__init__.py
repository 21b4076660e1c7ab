"""The contract of a storage backend: flat methods, table id first, Arrow in, Arrow out."""

from __future__ import annotations

import abc
from types import TracebackType
from typing import Self

from pennon.namespaces.abc import Namespace
from pennon.storage.abc.branches import Branches, BranchInfo, TagInfo
from pennon.storage.abc.columns import ColumnChange
from pennon.storage.abc.metadata import Metadata, TableStats, VersionFile
from pennon.storage.abc.reads import Reads
from pennon.storage.abc.tables import TableLifecycle
from pennon.storage.abc.types import CommitReceipt, Durability, ScanRequest
from pennon.storage.abc.versions import VersionInfo, Versions
from pennon.storage.abc.writes import Writes

__all__ = [
    "BranchInfo",
    "ColumnChange",
    "CommitReceipt",
    "Durability",
    "ScanRequest",
    "StorageBackend",
    "TableStats",
    "TagInfo",
    "VersionFile",
    "VersionInfo",
]


class StorageBackend(TableLifecycle, Reads, Writes, Branches, Versions, Metadata, abc.ABC):
    """Tables under the names of a namespace.

    Data is anything with ``__arrow_c_stream__`` (pyarrow, polars, pandas, duckdb), an iterable of
    record batches with a ``schema``, or a list of dicts. Safe to use from many threads.
    """

    @property
    @abc.abstractmethod
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""

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
