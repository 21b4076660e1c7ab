"""The identity of a write: put into its commit, and found again in the history of the table.

A commit carries, in its transaction's properties, the id of each write in it with what it did. A
write that somebody may repeat leaves a small object named after it and after the version it is
tried on *before* it commits. One small listing therefore tells whether a write was ever tried and
from which version on; only the versions after that are searched. The file that Lance itself writes
for each transaction is no such evidence: Lance deletes it when a commit fails, and a commit that
timed out may arrive later all the same.

Several processes may make one write at the same moment. Each attempt opens the newest version,
leaves a note of its own, and only then lists those of the others: of two, at least one sees the
other. What the other committed by then is in the history. What it has still under way conflicts
with every kind of write but two: an append, so whoever sees a note and appends takes a version
first that no append made on an older one can follow (:func:`bar`); and a return to an old version,
for which there is no such remedy.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    CommitConflict,
    OutcomeUnknown,
    VersionNotFound,
)
from pennon.namespaces.abc import Id
from pennon.namespaces.newest import transaction_of
from pennon.retry import Backoff, Deadline
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage._writer import writer
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import lance

__all__ = [
    "INDEXES",
    "MESSAGE",
    "WRITER",
    "Write",
    "bar",
    "data_files",
    "find",
    "is_reachable",
    "read_receipt",
    "search",
    "seen",
    "transaction_file",
    "undone",
    "uuid_of",
]

MESSAGE = "__lance_commit_message"
"""The property that holds what the writer says of a commit, for every Lance tool."""
WRITER = "pennon.writer"
"""The property that holds who made a commit."""
INDEXES = "pennon.indexes"
"""The property of an overwrite that holds which indexes are built anew, and which are dropped."""
_KIND = uuid.UUID("0f5c9bb2-3d0b-5a0e-9a39-6d4f6f0f7a11")
_MAY_REMOVE = frozenset({"Rewrite", "Delete", "Update", "Merge", "DataReplacement"})
_REPLACES = frozenset({"Overwrite", "Restore"})
_REWRITES = frozenset({"Delete", "Update", "Merge", "DataReplacement"})


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a caller, as its commit remembers it."""

    operation: str
    """``"create"``, ``"append"`` and so on: what the caller asked for."""
    write_id: str
    rows_inserted: int = 0
    rows_updated: int = 0
    rows_deleted: int = 0
    at: str = ""
    """When it was committed, by the clock of the writer: ISO 8601, UTC."""
    message: str | None = None
    """What the caller says of it."""

    @classmethod
    def now(
        cls,
        operation: str,
        write_id: str,
        inserted: int,
        *,
        updated: int = 0,
        deleted: int = 0,
        message: str | None = None,
    ) -> Write:
        """Return a write that is about to be committed."""
        at = datetime.now(UTC).isoformat()
        return cls(operation, write_id, inserted, updated, deleted, at, message)

    @property
    def key(self) -> str:
        """The property that holds it: one for each write of a commit."""
        return f"pennon.{self.operation}:{self.write_id}"

    @property
    def uuid(self) -> str:
        """What notes on it are named after."""
        return uuid_of(self.key)

    def properties(self) -> dict[str, str]:
        """Return what its transaction carries."""
        done = [self.rows_inserted, self.rows_updated, self.rows_deleted, self.at]
        said = {} if self.message is None else {MESSAGE: self.message}
        return {self.key: json.dumps(done), WRITER: writer(), **said}

    def receipt(
        self, table: Id, branch: str, version: int, said: Mapping[str, str]
    ) -> CommitReceipt | None:
        """Return the receipt of this write if it is in a commit with these properties."""
        text = said.get(self.key)
        if text is None:
            return None
        inserted, updated, deleted, at = json.loads(text)
        kept, dropped = json.loads(said[INDEXES]) if INDEXES in said else ((), ())
        return CommitReceipt(
            table=table,
            branch=branch,
            version=version,
            rows_inserted=inserted,
            rows_updated=updated,
            rows_deleted=deleted,
            write_id=self.write_id,
            committed_at=datetime.fromisoformat(at),
            indexes_rebuilt=tuple(index[0] for index in kept),
            indexes_dropped=tuple(dropped),
        )


def uuid_of(key: str) -> str:
    """Return what notes on the write with a key are named after."""
    return str(uuid.uuid5(_KIND, key))


def transaction_file(transaction: lance.Transaction) -> str:
    """Return the name of the file Lance writes before it tries to commit a transaction.

    Lance deletes it when that fails, so no two may share a name.
    """
    return f"_transactions/{transaction.read_version}-{transaction.uuid}.txn"


def data_files(fragments: Iterable[Any]) -> frozenset[str]:
    """Return the paths of the data files of fragments, below ``data/``."""
    # Each use of "path" makes a class.
    return frozenset(f._path for fragment in fragments for f in fragment.files)  # noqa: SLF001


def read_receipt(
    place: Place, handle: lance.LanceDataset, version: int, write: Write
) -> CommitReceipt | None:
    """Return the receipt of a write if the given version is its commit.

    Raises:
        VersionNotFound: The version was cleaned up.
    """
    with translated(place.name, place.secrets):
        try:
            transaction: Any = handle.read_transaction(version)
        except TypeError:
            # pylance cannot show a compaction that moved an index; it is none of our commits.
            return None
    said = transaction.transaction_properties or {}
    found = write.receipt(place.info.id, place.branch, version, said)
    if found is None or write.operation != "rollback":
        return found
    return replace(found, rows_deleted=undone(place, version, transaction, found.rows_deleted))


def undone(place: Place, version: int, transaction: Any, counted: int) -> int:
    """Return how many rows a rollback undid: it follows rivals that its writer never saw.

    Args:
        place: The table.
        version: The version it made.
        transaction: Its transaction.
        counted: The rows of the version its writer saw.
    """
    if transaction.read_version == version - 1:
        return counted
    before = place.open_or_none(version - 1)
    with translated(place.name, place.secrets):
        return counted if before is None else int(before.count_rows())


def find(place: Place, write: Write, tried: Iterable[int]) -> CommitReceipt | None:
    """Return the receipt of a write that its caller sent and had no answer for.

    None is final: a commit that was sent and never answered may still be on its way, but it names
    the version it makes, so an empty commit takes that version first.

    Args:
        place: The table.
        write: Its identity.
        tried: Versions it was tried on.

    Raises:
        OutcomeUnknown: The versions in question were cleaned up.
    """
    head = place.open()
    found = search(place, write, head, tried)
    if found is not None:
        return found
    fence = _fence(place, head)
    return _search(place, write, fence, range(head.version + 1, fence.version))


def search(
    place: Place, write: Write, head: lance.LanceDataset, tried: Iterable[int]
) -> CommitReceipt | None:
    """Return the receipt of a write if it is in the history up to a version.

    Args:
        place: The table.
        write: Its identity.
        head: The version.
        tried: Versions it was tried on.

    Raises:
        OutcomeUnknown: Versions were cleaned up that may hold it.
    """
    # The last try first: an earlier one may have fallen into a gap, and names the same files.
    bases = sorted({*tried}, reverse=True)
    for base, end in zip(bases, [head.version, *bases], strict=False):
        found = _search(place, write, head, range(base + 1, end + 1))
        if found is not None:
            return found
    return None


def _search(
    place: Place, write: Write, handle: lance.LanceDataset, versions: range
) -> CommitReceipt | None:
    cleaned: int | None = None
    for version in versions:
        try:
            found = read_receipt(place, handle, version, write)
        except VersionNotFound:
            cleaned = version
            continue
        if found and is_reachable(place, version, _left_by(place, handle, version)):
            return found
    if cleaned is None:
        return None
    raise OutcomeUnknown(
        f"The write {write.write_id!r} to {place.name} was tried, and version {cleaned}, which may "
        "hold it, was cleaned up; look for its rows before repeating it.",
        table=place.info.id,
        write_id=write.write_id,
    )


def _fence(place: Place, head: lance.LanceDataset) -> lance.LanceDataset:
    """Take the version after ``head`` with a commit that changes nothing."""
    from lance import LanceOperation

    return _idle(place, head, LanceOperation.Append([]))


def bar(
    place: Place,
    head: lance.LanceDataset,
    deadline: Deadline,
    look: Callable[[int, lance.LanceDataset], None] | None = None,
) -> lance.LanceDataset:
    """Make a version that no write made on an older one can follow, and return it.

    It changes nothing: it says that all columns are written anew, which to Lance excludes every
    other change, as it does when a column is added. A return to an old version is the exception:
    that follows everything. It cannot follow others either, so on a busy table it waits for a gap.

    Args:
        place: The table.
        head: The newest version.
        deadline: When to give up.
        look: Called with a version and a newer one when others were faster; may raise.

    Raises:
        CommitConflict: There was no gap.
    """
    from lance import LanceOperation

    lost = CommitConflict(f"{place.name} was busy until the deadline.", table=place.info.id)
    for _ in Backoff(base=0.001, cap=0.05, attempts=10_000).tries(deadline):
        with translated(place.name, place.secrets):
            fragments = [f.metadata for f in head.get_fragments()]
            operation = LanceOperation.Merge(fragments, head.lance_schema)
        try:
            return _idle(place, head, operation)
        except CommitConflict as conflict:
            lost = conflict
        newer = place.open(to_write=True)
        if look is not None:
            look(head.version, newer)
        head = newer
    raise lost


def _idle(place: Place, head: lance.LanceDataset, operation: Any) -> lance.LanceDataset:
    from lance import LanceDataset, Transaction

    said = {MESSAGE: "Changes nothing: it ends a write that may still have been under way."}
    empty = Transaction(read_version=head.version, operation=operation, transaction_properties=said)
    with translated(place.name, place.secrets):
        return LanceDataset.commit(head, empty, max_retries=0)


def _left_by(place: Place, handle: lance.LanceDataset, version: int) -> Left:
    with translated(place.name, place.secrets):
        transaction: Any = handle.read_transaction(version)
    operation = transaction.operation
    new = [*getattr(operation, "fragments", ()), *getattr(operation, "new_fragments", ())]
    changed = getattr(operation, "updated_fragments", ())
    if not new and type(operation).__name__ == "Delete":
        cut = (x.deletion_file.path(x.id) for x in changed if x.deletion_file is not None)
        return Left.of(operation, cut)
    # Columns that are written anew, or added, are the last file of a fragment.
    return Left.of(operation, (f"data/{x.files[-1].path}" for x in new or changed if x.files))


@dataclass(frozen=True, slots=True)
class Left:
    """What tells that later versions were built upon a commit."""

    files: frozenset[str]
    """The data and deletion files that it added, below the table."""
    gone: frozenset[int] = frozenset()
    """The fragments that it removed."""

    @classmethod
    def of(cls, operation: Any, files: Iterable[str]) -> Left:
        """Return what an operation leaves, told the objects that it added."""
        removed: Any = getattr(operation, "deleted_fragment_ids", None) or getattr(
            operation, "removed_fragment_ids", ()
        )
        seen = (f for f in files if f.startswith(("data/", "_deletions/")))
        return cls(frozenset(seen), frozenset(removed or ()))


def seen(
    place: Place,
    made: lance.LanceDataset,
    write: Write,
    transaction: lance.Transaction,
    files: Iterable[str],
) -> CommitReceipt | None:
    """Return the receipt of a commit that Lance reported, once the history shows it.

    Most commits are the newest version then, as stored: that is found out at once, and tells all.

    Args:
        place: The table.
        made: The version Lance reported: what of it is stored is yet to be seen.
        write: The first write in it.
        transaction: What was committed.
        files: The objects below the table that it added.

    Returns:
        The receipt; None if it fell into a gap of the history, which still names its files.

    Raises:
        CommitConflict: The version is another commit.
        OutcomeUnknown: Versions were cleaned up that would have told.
    """
    version, base = made.version, transaction.read_version
    name = transaction_file(transaction).rpartition("/")[2]
    if version == base + 1 and place.is_newest(made, name):
        said = transaction.transaction_properties or {}
        return write.receipt(place.info.id, place.branch, version, said)
    found = read_receipt(place, made, version, write)
    if found is None:
        raise CommitConflict(
            f"Version {version} of {place.name} is not the commit Lance reported.",
            table=place.info.id,
        )
    return found if is_reachable(place, version, Left.of(transaction.operation, files)) else None


def is_reachable(place: Place, version: int, left: Left) -> bool:
    """Whether later versions were built upon a commit.

    They are not if its writer stalled for so long that its version was taken, and cleaned up, by
    others meanwhile: Lance then fills the gap in the history and reports success, and nobody will
    ever see what it did.

    Raises:
        OutcomeUnknown: Versions were cleaned up that would have told.
    """
    place.handles.follow(place.location)
    head = place.open()
    files = left.files
    if head.version == version or files & _present(head).keys():
        return True
    own = place.open_or_none(version)
    if own is None:
        raise OutcomeUnknown(
            f"Version {version} of {place.name} was cleaned up before its commit could be "
            "verified; look for what it did before repeating the write.",
            table=place.info.id,
        )
    later = (place.open_or_none(v) for v in range(version + 1, head.version + 1))
    after = next((h for h in later if h is not None), head)
    there = _present(after)
    if files & there.keys():
        return True
    with translated(place.name, place.secrets):
        try:
            transaction: Any = after.read_transaction(after.version)
            operation = type(transaction.operation).__name__
        except TypeError:
            operation = "Rewrite"
    if operation in _REPLACES:
        return True
    if not files:
        # The numbers of fragments are not given twice.
        removed = bool(left.gone) and not left.gone & set(there.values())
        return removed or (not left.gone and _is_kept(place, version, after.version))
    mine = {number for path, number in _present(own).items() if path in files}
    if not mine & set(there.values()):
        return operation in _MAY_REMOVE
    # The rows are there: what was written of them was written anew, or this commit came too late.
    return operation in _REWRITES and _is_kept(place, version, after.version)


def _is_kept(place: Place, version: int, after: int) -> bool:
    """Whether a commit that left nothing to see is in the history, told by what is around it.

    Who removed another version of this number removed the transaction of the one below first. If
    that is gone, by now, the clock of the store tells.
    """
    below = place.open_or_none(version - 1)
    name = None if below is None else transaction_of(below)
    if name is not None and place.store().head(f"_transactions/{name}") is not None:
        return True
    own, later = _put_at(place, version), _put_at(place, after)
    if own == later:
        raise OutcomeUnknown(
            f"The versions around {version} of {place.name} were cleaned up before its commit "
            "could be verified; look for what it did before repeating the write.",
            table=place.info.id,
        )
    return own < later


def _put_at(place: Place, version: int) -> datetime:
    """Return when the store got a version, by its own clock."""
    store = place.store()
    names = (f"_versions/{2**64 - 1 - version:020}.manifest", f"_versions/{version}.manifest")
    for name in names:
        found = store.head(name)
        if found is not None:
            return found.modified
    raise OutcomeUnknown(
        f"Version {version} of {place.name} was cleaned up while it was looked at; look for the "
        "rows before repeating the write.",
        table=place.info.id,
    )


def _present(handle: lance.LanceDataset) -> dict[str, int]:
    """Return the data and deletion files of a version, with the fragments they belong to."""
    found: dict[str, int] = {}
    for fragment in handle.get_fragments():
        metadata: Any = fragment.metadata
        found |= {f"data/{f.path}": metadata.id for f in metadata.files}
        if metadata.deletion_file is not None:
            found[metadata.deletion_file.path(metadata.id)] = metadata.id
    return found
