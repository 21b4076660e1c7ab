"""Maintenance of a directory: migration of the V1 layout, sweeping what no name leads to."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from pennon.errors import InvalidOption, TableNotFound
from pennon.namespaces import model
from pennon.namespaces.abc import Id
from pennon.namespaces.directory._flat import SUFFIX, FlatCatalog
from pennon.namespaces.directory._places import (
    DEREGISTERED,
    ORPHAN,
    RESERVED,
    has_data,
    is_confined,
    spread,
)
from pennon.namespaces.directory.reports import MigrationReport, SweepReport
from pennon.namespaces.model import Change, Entry
from pennon.namespaces.names import show_id

if TYPE_CHECKING:
    from pennon.namespaces.directory._changes import Changes
    from pennon.namespaces.directory._manifest import Snapshot
    from pennon.objects import ObjectStore

__all__ = ["Sweeper", "check_age", "migrate"]

_PARTS = frozenset(
    {
        RESERVED,
        "_pennon",
        "_deletions",
        "_indices",
        "_latest.manifest",
        "_refs",
        "_transactions",
        "_versions",
        "data",
        "tree",
    }
)
_DATE = re.compile(r"\d{8}_")


def check_age(older_than: timedelta) -> timedelta:
    """Return the grace period if it is one.

    Raises:
        InvalidOption: It is no timedelta, or negative.
    """
    if not isinstance(older_than, timedelta) or older_than < timedelta(0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"older_than={older_than!r} must be a datetime.timedelta, 0 or more.")
    return older_than


def _plan(flat: FlatCatalog, snapshot: Snapshot) -> tuple[Change, MigrationReport]:
    """Return the one change that names every V1 table, and what it does."""
    catalog = snapshot.catalog
    usable = set(flat.tables())
    new: list[Entry] = []
    known: list[Id] = []
    skipped: dict[str, str] = {}
    for id in flat.directories():
        location = flat.location(id)
        holder = catalog.locations.get(location)
        if holder is not None:
            known.append(holder)
        elif id not in usable:
            skipped[location] = "it is deregistered or being dropped"
        elif id in catalog or id in snapshot.foreign:
            skipped[location] = f"{show_id(id)} names something else"
        else:
            new.append(Entry(id, "table", location))
    change = Change(catalog.changed(new), None, tuple(new))
    report = MigrationReport(
        dry_run=True,
        registered=tuple(sorted(e.id for e in new)),
        known=tuple(sorted(known)),
        skipped=MappingProxyType(skipped),
    )
    return change, report


def migrate(
    flat: FlatCatalog,
    read: Callable[[], Snapshot],
    apply: Callable[[Callable[[Snapshot], Change]], Change] | None,
) -> MigrationReport:
    """Name every V1 table in the catalog table; see :meth:`DirectoryNamespace.migrate`.

    Args:
        flat: The V1 directory.
        read: Reads the catalog as it is now.
        apply: Applies a rule to the catalog; None for a dry run.
    """
    _, report = _plan(flat, read())
    if apply is None:
        return report
    registered: list[Id] = []
    while report.registered:
        plans: list[MigrationReport] = []

        def rule(snapshot: Snapshot, plans: list[MigrationReport] = plans) -> Change:
            change, plan = _plan(flat, snapshot)
            plans.append(plan)
            return change

        apply(rule)
        registered += plans[-1].registered
        # What was declared after the directory was listed and before the commit.
        _, report = _plan(flat, read())
    return MigrationReport(
        dry_run=False,
        registered=tuple(sorted(set(registered))),
        known=tuple(i for i in report.known if i not in registered),
        skipped=report.skipped,
    )


class Sweeper:
    """Finds and removes directories that no name leads to.

    Args:
        store: The root.
        read: Reads the catalog as it is now.
        changes: Changes the catalog.
        older_than: What changed within this time is left alone.
    """

    def __init__(
        self,
        store: ObjectStore,
        read: Callable[[], Snapshot],
        changes: Changes,
        older_than: timedelta,
    ) -> None:
        self._store = store
        self._read = read
        self._changes = changes
        self._before = datetime.now(UTC) - older_than

    def sweep(self, *, dry_run: bool, drop_declared: bool) -> SweepReport:
        """Remove directories without a name; see :meth:`DirectoryNamespace.sweep`."""
        directories = self._store.list_directories()
        snapshot = self._read()
        young: list[str] = []
        kept: list[str] = []
        found: dict[str, int] = {}
        for directory in self._nameless(directories, snapshot):
            state, size = self._look(directory, dry_run=dry_run)
            if state == "young":
                young.append(directory)
            elif state == "deregistered":
                kept.append(directory)
            elif state == "garbage":
                found[directory] = size
        removed = sorted(found if dry_run else self._remove(sorted(found)))
        declared, dropped = self._declared(snapshot, dry_run=dry_run, drop=drop_declared)
        return SweepReport(
            dry_run=dry_run,
            removed=tuple(removed),
            size=sum(found[d] for d in removed),
            young=tuple(young),
            deregistered=tuple(kept),
            declared=declared,
            dropped=dropped,
        )

    def _nameless(self, directories: tuple[str, ...], snapshot: Snapshot) -> Iterator[str]:
        """Yield the directories a catalog may have made and no row names."""
        named = _named(snapshot)
        for directory in directories:
            if directory in named:
                continue
            if directory.endswith(SUFFIX) or (
                # Without a catalog there is no telling what is garbage.
                snapshot.version and ORPHAN.fullmatch(directory) and not _DATE.match(directory)
            ):
                yield directory

    def _look(self, directory: str, *, dry_run: bool) -> tuple[str, int]:
        marker = f"{directory}/{DEREGISTERED}"
        objects = list(self._store.list(directory))
        flat = directory.endswith(SUFFIX)
        state = "table"
        if any(meta.key == marker for meta in objects):
            state = FlatCatalog(self._store).state(directory)
        old = all(meta.modified <= self._before for meta in objects)
        if state == "mistaken" and old and not dry_run:
            self._store.delete(marker)
        if state in {"deregistered", "mistaken"} or (flat and state == "table"):
            return state, 0
        steps = {meta.key[len(directory) + 1 :].split("/", maxsplit=1)[0] for meta in objects}
        if not objects or not steps - {DEREGISTERED} <= _PARTS:
            return "foreign", 0
        return "garbage" if old else "young", sum(meta.size for meta in objects)

    def _remove(self, directories: list[str]) -> list[str]:
        """Remove the directories that nobody names meanwhile, and return them.

        Who names one now either commits before :meth:`Changes.settle`, and then it is named below,
        or has to read the catalog once more, and then finds the marker in the directory.
        """
        flat = FlatCatalog(self._store)
        fresh = [d for d in directories if not d.endswith(SUFFIX)]
        spread(self._store, flat.begin_drop, fresh)
        if fresh:
            self._changes.settle()
        nameless = list(self._nameless(tuple(directories), self._read()))
        spread(self._store, flat.finish, nameless)
        named = set(fresh).difference(nameless)
        self._store.delete(*(f"{directory}/{DEREGISTERED}" for directory in named))
        return nameless

    def _declared(
        self, snapshot: Snapshot, *, dry_run: bool, drop: bool
    ) -> tuple[tuple[Id, ...], tuple[Id, ...]]:
        tables = [
            e
            for e in snapshot.catalog.values()
            if e.kind == "table" and e.location is not None and is_confined(e.location)
        ]
        written = spread(self._store, lambda e: has_data(self._store, e.location or ""), tables)
        empty = [e for e, data in zip(tables, written, strict=True) if not data]
        dropped: list[Id] = []
        for entry in empty if drop else []:
            claim = self._store.head(f"{entry.location}/{RESERVED}")
            if claim is None or claim.modified > self._before:
                continue
            with contextlib.suppress(TableNotFound):
                if dry_run or self._give_up(entry):
                    dropped.append(entry.id)
        return tuple(sorted(e.id for e in empty)), tuple(sorted(dropped))

    def _give_up(self, entry: Entry) -> bool:
        """Drop a table without data: its name first; a creator that was faster gets it back.

        One that commits after the second look finds the name gone, and acknowledges nothing.
        """
        location = entry.location or ""
        self._changes.apply(lambda s: self._forget_unwritten(s, entry))
        if has_data(self._store, location):
            self._changes.apply(
                lambda s: model.register_table(
                    s.catalog, entry.id, location, properties=entry.properties
                )
            )
            return False
        FlatCatalog(self._store).finish(location)
        return True

    def _forget_unwritten(self, snapshot: Snapshot, entry: Entry) -> Change:
        now = model.get_table(snapshot.catalog, entry.id)
        if now.location != entry.location or has_data(self._store, entry.location or ""):
            raise model.table_not_found(entry.id)
        return model.deregister_table(snapshot.catalog, entry.id)


def _named(snapshot: Snapshot) -> set[str]:
    """Return the first steps of all locations, those of rows nobody understands included."""
    if snapshot.table is None:
        return set()
    locations = snapshot.table.column("location").to_pylist()
    return {str(place).split("/", maxsplit=1)[0] for place in locations if place}
