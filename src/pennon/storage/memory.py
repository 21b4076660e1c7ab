"""Tables in this process: the reference model, and a test double for users."""

from __future__ import annotations

from pennon.storage._memory.branches import MemoryBranches
from pennon.storage._memory.columns import MemoryColumns
from pennon.storage._memory.freshness import MemoryFreshness
from pennon.storage._memory.indexes import MemoryIndexes
from pennon.storage._memory.maintenance import MemoryMaintenance
from pennon.storage._memory.metadata import MemoryMetadata
from pennon.storage._memory.reads import MemoryReads
from pennon.storage._memory.searches import MemorySearches
from pennon.storage._memory.tables import MemoryTables
from pennon.storage._memory.versions import MemoryVersions
from pennon.storage._memory.writes import MemoryWrites
from pennon.storage.abc import StorageBackend

__all__ = ["MemoryBackend"]


class MemoryBackend(
    MemoryTables,
    MemorySearches,
    MemoryReads,
    MemoryColumns,
    MemoryIndexes,
    MemoryWrites,
    MemoryBranches,
    MemoryVersions,
    MemoryMetadata,
    MemoryMaintenance,
    MemoryFreshness,
    StorageBackend,
):
    """Arrow tables in memory under the names of a memory catalog, gone when the process ends.

    Every backend on one ``memory://`` root of a process sees the same tables. A filter is
    evaluated by Lance over the rows in memory, so that it means what it means on every backend;
    without one nothing but Arrow is used.

    Args:
        namespace: The catalog; one of its own if None.
        within: The namespace that ids are relative to.
        consistency: How old an answer may be; all are new.
    """
