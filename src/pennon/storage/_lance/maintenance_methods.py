"""Maintenance of tables, on Lance."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from pennon.errors import (
    CommitConflict,
    DeadlineExceeded,
    IndexNotFound,
    NamespaceNotFound,
    StorageError,
    TableNotFound,
)
from pennon.namespaces.abc import Id, IdLike, TableInfo
from pennon.namespaces.directory import DirectoryNamespace
from pennon.namespaces.names import parse_id, show_id
from pennon.retry import Deadline
from pennon.storage._arguments import check_flags
from pennon.storage._lance.base import COMMIT_SECONDS
from pennon.storage._lance.durability import keep_version
from pennon.storage._lance.index_methods import LanceIndexes
from pennon.storage._lance.notes import remove_notes
from pennon.storage._lance.optimize import Compacted, compact, remove_old
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import finish_rebuilds
from pennon.storage._lance.recover import recover_catalog, recover_table
from pennon.storage.abc.indexes import IndexProgress, Progress
from pennon.storage.abc.maintenance import (
    WEEK,
    Finding,
    Maintenance,
    OptimizeReport,
    RecoveryReport,
    check_retain,
)
from pennon.storage.refs import MAIN, check_branch

__all__ = ["LanceMaintenance"]

_MANIFEST = "__manifest"
"""The table in which a directory keeps its names."""
_PATIENCE = timedelta(hours=1)
"""How long what a process has begun is left to it."""
_FOREVER = 10 * 365 * 86400.0


class LanceMaintenance(LanceIndexes, Maintenance):
    """Maintenance of tables, on Lance."""

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
        """Keep a table small and fast; see :meth:`Maintenance.optimize_table`."""
        check_retain(retain, alone=alone)
        check_flags(compaction=compaction, indexes=indexes, dry_run=dry_run)
        end = Deadline.after(deadline, _FOREVER)
        started = time.monotonic()
        place = self._place(table, check_branch(branch))
        place.open()
        done, removed, notes = Compacted(), (0, 0, 0), 0
        updated: tuple[str, ...] = ()
        rebuilt: tuple[str, ...] = ()
        with self._unless_dropped([place], CommitConflict):
            if not dry_run:
                self._prove(place)
            # First, because what a segment covers is joined with nothing else.
            if indexes and not dry_run and end.remaining:
                on_time = None if deadline is None else partial(_check_time, end)
                rebuilt = finish_rebuilds(place, COMMIT_SECONDS, on_time)
                updated = tuple(self._updated(table, branch, end, on_time))
            if compaction:
                done = compact(place, end, dry_run=dry_run)
            if retain is not None and (dry_run or end.remaining):
                if not dry_run:
                    # What is about to be removed may be on the disk, and what replaces it not yet.
                    keep_version(self._namespace, place, place.open().version)
                removed = remove_old(place, retain, dry_run=dry_run)
                notes = remove_notes(place, dry_run=dry_run)
            version = place.open().version
        return OptimizeReport(
            table=place.info.id,
            branch=branch,
            dry_run=dry_run,
            version=version,
            fragments_removed=done.removed,
            fragments_added=done.added,
            rows_rewritten=done.rows,
            conflicts=done.conflicts,
            indexes_updated=updated,
            indexes_rebuilt=rebuilt,
            versions_removed=removed[0],
            files_removed=removed[1],
            bytes_removed=removed[2],
            notes_removed=notes,
            seconds=time.monotonic() - started,
        )

    def _updated(
        self, table: IdLike, branch: str, end: Deadline, on_time: Progress | None
    ) -> Iterator[str]:
        """Update the indexes until time is up; yield their names."""
        for index in self.list_indexes(table, branch=branch):
            if not end.remaining:
                return
            try:
                done = self.update_indexes(table, [index.name], progress=on_time, branch=branch)
            except IndexNotFound:
                # Dropped by a rival.
                continue
            except DeadlineExceeded:
                return
            yield from (i.name for i in done)

    def recover(
        self, id: IdLike = (), *, alone: bool = False, dry_run: bool = False
    ) -> RecoveryReport:
        """Put right what a crash left behind; see :meth:`Maintenance.recover`."""
        started = time.monotonic()
        check_flags(alone=alone, dry_run=dry_run)
        full = self._within + parse_id(id, what="table", allow_root=True)
        found = list(self._recovered(full, alone=alone, dry_run=dry_run))
        return RecoveryReport(
            dry_run=dry_run, findings=tuple(found), seconds=time.monotonic() - started
        )

    def _recovered(self, full: Id, *, alone: bool, dry_run: bool) -> Iterator[Finding]:
        now = datetime.now(UTC)
        before = now + WEEK if alone else now - _PATIENCE
        catalog = [] if full else self._catalog(dry_run=dry_run)
        yield from catalog
        if catalog and dry_run:
            # No name can be read until that is put right.
            return
        for table in self._tables_at(full):
            try:
                place = Place.of(self._namespace, self._namespace.describe_table(table))
                if not dry_run:
                    self._prove(place)
                yield from recover_table(place, before, dry_run=dry_run)
            except TableNotFound:
                # It was dropped meanwhile.
                continue
            except StorageError as error:
                if full == table:
                    raise
                yield _unreadable(table, error)
        if not full and isinstance(self._namespace, DirectoryNamespace):
            age = timedelta(0) if alone else WEEK
            yield from self._swept(self._namespace, age, dry_run=dry_run)

    def _catalog(self, *, dry_run: bool) -> list[Finding]:
        """Make the catalog readable again if it is a directory on a disk."""
        if not isinstance(self._namespace, DirectoryNamespace):
            return []
        info = TableInfo((_MANIFEST,), f"{self._namespace.root}/{_MANIFEST}")
        return list(recover_catalog(Place.of(self._namespace, info), dry_run=dry_run))

    def _tables_at(self, id: Id) -> list[Id]:
        """Return a table, or the tables of a namespace and below.

        Raises:
            TableNotFound: There is neither.
        """
        if id:
            with contextlib.suppress(TableNotFound):
                return [self._namespace.describe_table(id).id]
        try:
            return list(self._namespace.list_tables(id, recursive=True, include_declared=False))
        except NamespaceNotFound:
            raise TableNotFound(
                f"There is neither a table nor a namespace {show_id(id)}; table_names shows what "
                "there is.",
                table=id,
            ) from None

    def _swept(
        self, namespace: DirectoryNamespace, older_than: timedelta, *, dry_run: bool
    ) -> Iterator[Finding]:
        """Take up the directories and names that belong to no table."""
        swept = namespace.sweep(older_than=older_than, dry_run=dry_run, drop_declared=True)
        for directory in swept.removed:
            what = f"the directory {directory} belongs to no table; removed"
            yield Finding(
                kind="directory", table=None, branch=MAIN, what=what, resolved=not dry_run
            )
        for table in swept.dropped:
            what = "the name was claimed and no table was written; given up"
            yield Finding(kind="create", table=table, branch=MAIN, what=what, resolved=not dry_run)


def _check_time(end: Deadline, _: IndexProgress) -> None:
    end.check("an index was being updated")


def _unreadable(table: Id, error: StorageError) -> Finding:
    return Finding(kind="table", table=table, branch=MAIN, what=error.message, resolved=False)
