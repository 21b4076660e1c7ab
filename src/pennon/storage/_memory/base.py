"""What all methods of the memory backend share: the state of a table, and how to find it."""

from __future__ import annotations

import contextlib
import threading
from bisect import bisect_right
from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    CommitConflict,
    InvalidInput,
    TableNotFound,
    TagNotFound,
    VersionNotFound,
)
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.memory import MemoryNamespace
from pennon.namespaces.names import parse_id, show_id
from pennon.retry import Deadline
from pennon.storage._indexing import field_of
from pennon.storage._memory.lineage import Lineage
from pennon.storage._writer import writer
from pennon.storage.abc.branches import TagInfo
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.abc.versions import VersionInfo
from pennon.storage.consistency import Consistency, Strong
from pennon.storage.indexing import Index
from pennon.storage.refs import MAIN, Ref, check_branch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryBase", "MemoryIndex", "MemoryTable", "branch_of", "moved", "renamed"]


@dataclass(frozen=True, slots=True)
class MemoryIndex:
    """What an index was built as: nothing is faster by it, since all rows are at hand."""

    name: str
    column: str
    index: Index
    version: int
    """The version of the table it was built on."""
    built_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def fits(self, schema: pa.Schema) -> bool:
        """Whether it can be built on a table with these columns."""
        try:
            self.index.check(field_of(schema, self.column, ""), "")
        except (ColumnNotFound, InvalidInput):
            return False
        return True


@dataclass(slots=True)
class MemoryTable:
    """One branch of a table. Versions are immutable tables; writers take turns.

    A branch has its own of everything, so nothing aimed at one can reach another; the main one
    also holds the other branches and the tags of the table.
    """

    versions: list[pa.Table]
    times: list[datetime] = field(default_factory=list[datetime])
    """When each version was made, UTC."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Guards all of this, for moments."""
    turn: threading.RLock = field(default_factory=threading.RLock)
    """Is held by who writes, for as long as that takes."""
    receipts: dict[tuple[str, str], CommitReceipt] = field(
        default_factory=dict[tuple[str, str], CommitReceipt]
    )
    """By operation and write id."""
    branch: str = MAIN
    first: int = 1
    """The number of the first of ``versions``: that of the version a branch starts from."""
    parent: str | None = None
    """The branch it was made from."""
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    history: dict[int, VersionInfo] = field(default_factory=dict[int, VersionInfo])
    branches: dict[str, MemoryTable] = field(default_factory=dict[str, "MemoryTable"])
    tags: dict[str, TagInfo] = field(default_factory=dict[str, TagInfo])
    indexes: dict[int, dict[str, MemoryIndex]] = field(
        default_factory=dict[int, dict[str, "MemoryIndex"]]
    )
    """The indexes by name, of each version that has others than the one before it."""
    lineages: list[Lineage] = field(default_factory=list[Lineage])
    """Which rows the versions have."""
    rows_made: int = 0
    """How many ids of rows were given away."""

    def __post_init__(self) -> None:
        if not self.lineages:
            self.rows_made = self.versions[0].num_rows
            self.lineages.append(Lineage.fresh(self.rows_made, self.first, 0))

    @contextlib.contextmanager
    def writing(self, id: Id, deadline: float | None) -> Generator[None]:
        """Wait until it is this thread's turn to write.

        Raises:
            CommitConflict: Others kept it busy until the deadline.
        """
        seconds = Deadline.after(deadline, 60).remaining
        if not self.turn.acquire(timeout=min(seconds, threading.TIMEOUT_MAX)):
            raise CommitConflict(
                f"Other writers of this process kept {show_id(id)} busy until the deadline; raise "
                "deadline=, or retry.",
                table=id,
            )
        try:
            yield
        finally:
            self.turn.release()

    def add(
        self,
        rows: pa.Table,
        *,
        kept: Sequence[int] | None = None,
        touched: Collection[int] = (),
        like: int | None = None,
    ) -> None:
        """Make the next version.

        Args:
            rows: Its rows: those that stay, then new ones.
            kept: The positions of those that stay; None for all.
            touched: The positions of those that change.
            like: The version whose rows it has instead.
        """
        version, before = self.latest + 1, self.lineages[-1]
        now = before.then(rows.num_rows, version, self.rows_made, kept, touched)
        if like is not None:
            now = self.lineages[like - self.first]
        self.rows_made = max(self.rows_made, *(n + 1 for n in now.ids), 0)
        # Readers do not lock: they look for a version first.
        self.lineages.append(now)
        self.versions.append(rows)

    @property
    def latest(self) -> int:
        """The number of the newest version."""
        return self.first + len(self.versions) - 1

    def at(self, version: int) -> pa.Table | None:
        """Return the rows of a version, or None if the branch has no such version."""
        known = self.first <= version <= self.latest
        return self.versions[version - self.first] if known else None

    def indexes_at(self, version: int) -> dict[str, MemoryIndex]:
        """Return the indexes of a version: those whose column it still has."""
        known = max((v for v in self.indexes if v <= version), default=None)
        rows = self.at(version)
        if known is None or rows is None:
            return {}
        found = self.indexes[known]
        return {name: found[name] for name in sorted(found) if found[name].fits(rows.schema)}

    def rebuilt(self, id: Id, made: CommitReceipt, wanted: dict[str, MemoryIndex]) -> CommitReceipt:
        """Build indexes anew over rows that took the place of all others, each in a version.

        Args:
            id: Of the table.
            made: The receipt of what put them there.
            wanted: The indexes there were.
        """
        rows = self.versions[-1]
        self.indexes[self.latest] = {}
        kept = {n: i for n, i in wanted.items() if i.fits(rows.schema)}
        for name, index in kept.items():
            before = self.indexes_at(self.latest)
            self.add(rows)
            self.receipt(id, "rebuild_index", f"{made.write_id}/{name}", 0)
            self.indexes[self.latest] = {**before, name: replace(index, version=self.latest - 1)}
        done = replace(
            made,
            indexes_rebuilt=tuple(kept),
            indexes_dropped=tuple(n for n in wanted if n not in kept),
        )
        operation = self.history[made.version].operation
        self.receipts[operation, made.write_id] = done
        return done

    def receipt(
        self,
        id: Id,
        operation: str,
        write_id: str,
        rows: int,
        *,
        updated: int = 0,
        deleted: int = 0,
        message: str | None = None,
    ) -> CommitReceipt:
        """Return the receipt of the version made last, and remember it."""
        made = CommitReceipt(
            table=id,
            branch=self.branch,
            version=self.latest,
            rows_inserted=rows,
            rows_updated=updated,
            rows_deleted=deleted,
            write_id=write_id,
            committed_at=datetime.now(UTC),
        )
        self.times.append(made.committed_at)
        self.receipts[operation, write_id] = made
        self.history[made.version] = VersionInfo(
            version=made.version,
            committed_at=made.committed_at,
            operation=operation,
            rows_inserted=rows,
            rows_updated=updated,
            rows_deleted=deleted,
            writer=writer(),
            write_ids=(write_id,),
            message=message,
        )
        return made


class MemoryBase:
    """Finds tables in the memory catalog.

    Args:
        namespace: The catalog; one of its own if None.
        within: The namespace that ids are relative to.
        consistency: How old an answer may be; all are new.
    """

    def __init__(
        self,
        namespace: MemoryNamespace | None = None,
        *,
        within: Id = (),
        consistency: Consistency | None = None,
    ) -> None:
        self._namespace = namespace or MemoryNamespace()
        self._within = within
        self._consistency = consistency or Strong()

    def __reduce__(self) -> tuple[object, ...]:
        opened = partial(type(self), within=self._within, consistency=self._consistency)
        return opened, (self._namespace,)

    @property
    def namespace(self) -> MemoryNamespace:
        """The catalog whose names this backend stores tables under."""
        return self._namespace

    def _id(self, table: IdLike) -> Id:
        return self._within + parse_id(table, what="table")

    def _held(self, table: IdLike, branch: str = MAIN) -> tuple[Id, MemoryTable]:
        check_branch(branch)
        id = self._id(table)
        held = self._namespace.data_of(id)
        if not isinstance(held, MemoryTable):
            raise TableNotFound(
                f"The table {show_id(id)} is declared but nothing was written to it yet; "
                "create_table fills it.",
                table=id,
            )
        return id, held if branch == MAIN else branch_of(id, held, branch)

    def _at(self, table: IdLike, ref: Ref) -> tuple[Id, pa.Table]:
        """Return the rows of the state that is meant."""
        id, _, rows = self._numbered(table, ref)
        return id, rows

    def _numbered(self, table: IdLike, ref: Ref) -> tuple[Id, int, pa.Table]:
        """Return the version that is meant, and its rows."""
        id, there, version = self._state(table, ref)
        return id, version, there.versions[version - there.first]

    def _with_ids(self, table: IdLike, ref: Ref) -> tuple[Id, pa.Table, tuple[int, ...]]:
        """Return the rows of the state that is meant, and their ids."""
        id, there, version = self._state(table, ref)
        place = version - there.first
        return id, there.versions[place], there.lineages[place].ids

    def _state(self, table: IdLike, ref: Ref) -> tuple[Id, MemoryTable, int]:
        """Return the branch and the version that are meant."""
        id, held = self._held(table)
        branch, version = ref.branch, ref.version
        if ref.tag is not None:
            tag = held.tags.get(ref.tag)
            if tag is None:
                raise TagNotFound(
                    f"{show_id(id)} has no tag {ref.tag!r}; list_tags shows those it has.",
                    table=id,
                    tag=ref.tag,
                )
            branch, version = tag.branch, tag.version
        there = branch_of(id, held, branch)
        if ref.as_of is not None:
            version = there.first - 1 + bisect_right(there.times, ref.as_of)
        if version is None:
            version = there.latest
        if there.at(version) is None:
            raise VersionNotFound(
                f"{show_id(id)} has no such version ({ref}); versions {there.first} to "
                f"{there.latest} are kept.",
                table=id,
            )
        return id, there, version


def renamed(indexes: dict[str, MemoryIndex], columns: dict[str, str]) -> dict[str, MemoryIndex]:
    """Return the indexes that are left when columns change.

    Args:
        indexes: Those there were.
        columns: The columns that are still there, by the names they had.
    """
    found: dict[str, MemoryIndex] = {}
    for name, index in indexes.items():
        first, dot, inside = index.column.partition(".")
        if first in columns:
            found[name] = replace(index, column=f"{columns[first]}{dot}{inside}")
    return found


def branch_of(id: Id, held: MemoryTable, branch: str) -> MemoryTable:
    """Return a branch of a table.

    Raises:
        BranchNotFound: It has no such branch.
    """
    if branch == MAIN:
        return held
    found = held.branches.get(branch)
    if found is None:
        raise BranchNotFound(
            f"{show_id(id)} has no branch {branch!r}; create_branch makes one.",
            table=id,
            branch=branch,
        )
    return found


def moved(id: Id) -> CommitConflict:
    return CommitConflict(
        f"{show_id(id)} was dropped or renamed while being written; look for it, then retry.",
        table=id,
    )
