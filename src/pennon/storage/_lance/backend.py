"""The storage backend over Lance datasets, under the names of any catalog."""

from __future__ import annotations

from pennon.storage._lance.branch_methods import LanceBranches
from pennon.storage._lance.column_methods import LanceColumns
from pennon.storage._lance.freshness_methods import LanceFreshness, sees_own_writes
from pennon.storage._lance.index_methods import LanceIndexes
from pennon.storage._lance.maintenance_methods import LanceMaintenance
from pennon.storage._lance.metadata_methods import LanceMetadata
from pennon.storage._lance.search_methods import LanceSearches
from pennon.storage._lance.table_methods import LanceTables
from pennon.storage._lance.version_methods import LanceVersions
from pennon.storage._lance.write_methods import LanceWrites
from pennon.storage.abc import StorageBackend

__all__ = ["LanceBackend"]


@sees_own_writes
class LanceBackend(
    LanceTables,
    LanceSearches,
    LanceMetadata,
    LanceColumns,
    LanceMaintenance,
    LanceIndexes,
    LanceVersions,
    LanceWrites,
    LanceBranches,
    LanceFreshness,
    StorageBackend,
):
    """Tables as plain Lance datasets that every Lance tool reads.

    New tables have stable row ids: they cannot be switched on later, and what changed between two
    versions can only be told with them. Open handles are kept, and looked at before they are
    read, so that every call sees what was acknowledged before it. Two *live* callers in different
    processes must not use one write id at the same time; one after the other, after a crash too,
    they may.

    Args:
        namespace: The catalog.
        within: The namespace that ids are relative to.
        consistency: How old an answer may be.
    """
