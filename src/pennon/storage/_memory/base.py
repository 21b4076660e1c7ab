"""What all methods of the memory backend share: the state of a table, and how to find it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pennon.errors import CommitConflict, TableNotFound
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.memory import MemoryNamespace
from pennon.namespaces.names import parse_id, show_id
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryBase", "MemoryTable", "moved"]


@dataclass(slots=True)
class MemoryTable:
    """What a location holds. Versions are immutable tables; the lock orders the commits."""

    versions: list[pa.Table]
    lock: threading.Lock = field(default_factory=threading.Lock)
    receipts: dict[tuple[str, str], CommitReceipt] = field(
        default_factory=dict[tuple[str, str], CommitReceipt]
    )
    """By operation and write id."""

    def receipt(self, id: Id, operation: str, write_id: str, rows: int) -> CommitReceipt:
        """Return the receipt of the version made last, and remember it."""
        made = CommitReceipt(
            table=id,
            branch="main",
            version=len(self.versions),
            rows_inserted=rows,
            rows_updated=0,
            rows_deleted=0,
            write_id=write_id,
            committed_at=datetime.now(UTC),
        )
        self.receipts[operation, write_id] = made
        return made


class MemoryBase:
    """Finds tables in the memory catalog.

    Args:
        namespace: The catalog; one of its own if None.
        within: The namespace that ids are relative to.
    """

    def __init__(self, namespace: MemoryNamespace | None = None, *, within: Id = ()) -> None:
        self._namespace = namespace or MemoryNamespace()
        self._within = within

    @property
    def namespace(self) -> MemoryNamespace:
        """The catalog whose names this backend stores tables under."""
        return self._namespace

    def _held(self, table: IdLike) -> tuple[Id, MemoryTable]:
        id = self._within + parse_id(table, what="table")
        held = self._namespace.data_of(id)
        if not isinstance(held, MemoryTable):
            raise TableNotFound(
                f"The table {show_id(id)} is declared but nothing was written to it yet; "
                "create_table fills it.",
                table=id,
            )
        return id, held


def moved(id: Id) -> CommitConflict:
    return CommitConflict(
        f"{show_id(id)} was dropped or renamed while being written; look for it, then retry.",
        table=id,
    )
