"""Contract: the versions of a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["VersionInfo"]


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
    write_ids: tuple[str, ...] = ()
    """Of the writes in it: none if pennon did not make it, several if appends were grouped."""
    message: str | None = None
