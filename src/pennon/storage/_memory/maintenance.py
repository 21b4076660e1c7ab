"""Maintenance of tables in memory: there is nothing to be done, and nothing survives a crash."""

from __future__ import annotations

from datetime import timedelta

from pennon.errors import NamespaceNotFound, TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.namespaces.names import parse_id, show_id
from pennon.retry import Deadline
from pennon.storage._arguments import check_flags
from pennon.storage._memory.base import MemoryBase
from pennon.storage.abc.maintenance import (
    WEEK,
    Maintenance,
    OptimizeReport,
    RecoveryReport,
    check_retain,
)
from pennon.storage.refs import MAIN

__all__ = ["MemoryMaintenance"]


class MemoryMaintenance(MemoryBase, Maintenance):
    """Maintenance of tables in memory, where all versions are kept."""

    def optimize_table(
        self,
        table: IdLike,
        *,
        compaction: bool = True,
        indexes: bool = True,
        retain: timedelta | None = WEEK,
        alone: bool = False,
        branch: str = MAIN,
        deadline: float | None = None,
        dry_run: bool = False,
    ) -> OptimizeReport:
        """Say that there is nothing to do; see :meth:`Maintenance.optimize_table`."""
        check_retain(retain, alone=alone)
        check_flags(compaction=compaction, indexes=indexes, dry_run=dry_run)
        Deadline.after(deadline, 60)
        id, held = self._held(table, branch)
        return OptimizeReport(table=id, branch=branch, dry_run=dry_run, version=held.latest)

    def recover(
        self,
        id: IdLike = (),
        *,
        alone: bool = False,
        dry_run: bool = False,
    ) -> RecoveryReport:
        """Find nothing; see :meth:`Maintenance.recover`."""
        check_flags(alone=alone, dry_run=dry_run)
        full = self._within + parse_id(id, what="table", allow_root=True)
        if full and not self._namespace.table_exists(full):
            try:
                self._namespace.describe_namespace(full)
            except NamespaceNotFound:
                raise TableNotFound(
                    f"There is neither a table nor a namespace {show_id(full)}.", table=full
                ) from None
        return RecoveryReport(dry_run=dry_run)
