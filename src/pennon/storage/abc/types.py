"""What goes into a storage backend and comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pennon.errors import InvalidOption
from pennon.namespaces.abc import Id, IdLike

__all__ = ["CommitReceipt", "Durability", "ScanRequest"]

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
