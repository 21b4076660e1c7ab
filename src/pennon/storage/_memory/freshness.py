"""How fresh reads are, and reads of many tables at one moment, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pennon.namespaces.abc import IdLike
from pennon.storage._arguments import check_ids
from pennon.storage._memory.base import MemoryBase, MemoryTable
from pennon.storage.abc.freshness import Freshness
from pennon.storage.snapshot import Snapshot

__all__ = ["MemoryFreshness", "frozen"]


class MemoryFreshness(MemoryBase, Freshness):
    """How fresh reads are, in memory: there is nothing to be older than."""

    def snapshot(
        self, tables: Iterable[IdLike] | None = None, *, deadline: float | None = None
    ) -> Snapshot:
        """Pin tables; see :meth:`StorageBackend.snapshot`."""
        from pennon.storage._memory.snapshot import MemorySnapshot

        taken = MemorySnapshot(self._namespace, within=self._within)
        if tables is not None:
            taken.pin([self._id(table) for table in check_ids(tables)], deadline)
        return taken

    def invalidate_cache(self, table: IdLike | None = None) -> None:
        """Forget a table; see :meth:`StorageBackend.invalidate_cache`."""
        if table is not None:
            self._id(table)

    def clear_cache(self) -> None:
        """Forget everything; see :meth:`StorageBackend.clear_cache`."""


def frozen(table: MemoryTable) -> MemoryTable:
    """Return a copy that later commits do not change; its versions are shared."""
    with table.lock:
        return replace(
            table,
            versions=list(table.versions),
            lineages=list(table.lineages),
            times=list(table.times),
            receipts=dict(table.receipts),
            history=dict(table.history),
            branches={name: frozen(branch) for name, branch in table.branches.items()},
            tags=dict(table.tags),
            indexes={version: dict(known) for version, known in table.indexes.items()},
        )
