"""One change of one table: prepared on its newest version, committed once, seen, tried again.

Every write that is not a create goes this way. What differs is how a change is prepared, and
whether it has to be prepared anew when a rival was faster.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    BranchNotFound,
    CommitConflict,
    OutcomeUnknown,
    PennonError,
    StorageError,
    TableNotFound,
)
from pennon.retry import Backoff, Deadline
from pennon.storage._lance.durability import keep_files
from pennon.storage._lance.errors import is_lance_error, meaning, translate
from pennon.storage._lance.fragments import discard
from pennon.storage._lance.history import Write, bar, find, search, seen, transaction_file
from pennon.storage._lance.notes import earlier, forget, notes, remember
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt, Durability

if TYPE_CHECKING:
    import lance

__all__ = ["Asked", "Attempt", "Crowded", "commit", "done_elsewhere"]

_SURELY_LOST = frozenset({"conflict", "incompatible"})
_FAILURES = 12
"""How often a store may fail before a write gives up; lost races do not count."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller says of a write, whatever it does."""

    operation: str
    write_id: str
    repeated: bool
    """Whether it may have been done before, because the caller named its id."""
    seconds: float
    """How long to try to commit, once the data files are written."""
    message: str | None = None
    durability: Durability = "os"

    def identity(self) -> Write:
        """Return the write without what it did: enough to find it."""
        return Write(self.operation, self.write_id)

    def write(self, inserted: int = 0, *, updated: int = 0, deleted: int = 0) -> Write:
        """Return the write with what it is about to do."""
        return Write.now(
            self.operation,
            self.write_id,
            inserted,
            updated=updated,
            deleted=deleted,
            message=self.message,
        )


@dataclass(frozen=True, slots=True)
class Attempt:
    """A change that is ready to be committed on the version it was prepared on."""

    operation: Any
    """A ``LanceOperation``."""
    write: Write
    files: tuple[str, ...] = ()
    """Objects below the table that it names and no version did before."""
    others: tuple[tuple[Write, Asked], ...] = ()
    """Other writes that the same commit makes, and what their callers said of them."""
    kept: bool = False
    """Whether the files serve the next attempt too; else they are deleted when this one loses."""
    said: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the commit carries besides the writes."""
    retries: int = 0
    """How often Lance may follow rivals it does not conflict with, besides the first time."""


class Crowded(CommitConflict):
    """Somebody else may be making one of several writes; commit each of them alone."""


def commit(
    place: Place,
    asked: Asked,
    prepare: Callable[[lance.LanceDataset], Attempt | None],
    deadline: Deadline,
    handle: lance.LanceDataset | None = None,
) -> CommitReceipt:
    """Commit a change, and return the receipt once the commit is seen in the history.

    Args:
        place: The table.
        asked: What the caller says of the write.
        prepare: Makes the change ready on a version; None if there is nothing to change. What it
            raises ends the write, unless the store was at fault.
        deadline: When to give up.
        handle: The version to begin with; the newest if None.

    Raises:
        CommitConflict: Rivals won again and again; nothing was written. Or the rival was the same
            write, made by another process: see :func:`done_elsewhere`.
        Crowded: One of several writes may be under way elsewhere; none was made.
        OutcomeUnknown: The fate could not be settled in time.
    """
    made = _Commit(place, asked, prepare).run(deadline, handle)
    if asked.durability == "disk":
        # While the lane is held, so that those who wait are one commit, synced once. Whoever gives
        # the receipt asks for it again, and hears then what the disk said.
        with contextlib.suppress(PennonError):
            keep_files(place, made.version)
    return made


def done_elsewhere(place: Place, asked: Asked, error: PennonError) -> CommitReceipt:
    """Return the receipt of a write that failed here because somebody else made it meanwhile.

    Its rows may have been in the way then, or the column it was to add, or its version.

    Raises:
        PennonError: ``error``, if nobody did.
    """
    if asked.repeated and not isinstance(error, (StorageError, OutcomeUnknown)):
        with contextlib.suppress(PennonError):
            if found := earlier(place, asked.identity()):
                return found
    raise error


class _Commit:
    def __init__(
        self,
        place: Place,
        asked: Asked,
        prepare: Callable[[lance.LanceDataset], Attempt | None],
    ) -> None:
        self._place = place
        self._asked = asked
        self._prepare = prepare
        self._doubt: Attempt | None = None
        self._tried: list[int] = []
        self._left: list[str] = []
        """Transaction files that Lance may have left."""
        self._notes: list[str] = []
        """Those on the writes, by this call."""
        self._over = set[str]()
        """Those of others whose attempts can be committed no more."""
        self._error: PennonError = CommitConflict(
            f"There was no time to commit to {place.name}; nothing was written."
        )

    def run(self, deadline: Deadline, handle: lance.LanceDataset | None) -> CommitReceipt:
        """Try until it is committed, or surely not; else its fate is unknown."""
        self._deadline = deadline
        try:
            return self._tries(deadline, handle)
        except PennonError:
            raise
        except Exception as error:
            # No memory, no thread: the caller must not take files back that may be committed.
            if self._doubt is None:
                raise
            raise self._unknown(error) from error

    def _unknown(self, error: Exception) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"The {self._asked.operation} of {self._place.name} could not be settled in time "
            f"({str(error) or type(error).__name__}); repeat it with "
            f"write_id={self._asked.write_id!r}.",
            table=self._place.info.id,
            write_id=self._asked.write_id,
        )

    def _tries(self, deadline: Deadline, handle: lance.LanceDataset | None) -> CommitReceipt:
        failures = 0
        for _ in Backoff(attempts=10_000).tries(deadline):
            try:
                if found := self._settled():
                    return found
                if not self._error.retryable:
                    break
                # A handle on no rows is false.
                head = self._place.open(to_write=True) if handle is None else handle
                if found := self._attempt(head):
                    return found
            except (TableNotFound, BranchNotFound, OutcomeUnknown):
                raise
            except _Refused as refused:
                self._error = refused.error
                break
            except PennonError as failure:
                self._error = failure
                failures += not isinstance(failure, CommitConflict)
            if failures == _FAILURES:
                break
            handle = None
        if self._doubt is not None:
            raise self._unknown(self._error)
        self._give_up()
        raise self._error

    def _give_up(self) -> None:
        """Take back what was left of attempts that surely were not committed."""
        discard(self._place, (), *self._left)
        if self._notes:
            forget(self._place, self._notes)

    def _settled(self) -> CommitReceipt | None:
        """Return the receipt of an attempt whose answer was lost; afterwards nothing is open."""
        if self._doubt is None:
            return None
        found = find(self._place, self._asked.identity(), self._tried)
        if found is None:
            self._lost(self._doubt)
        return found

    def _lost(self, attempt: Attempt) -> None:
        self._doubt = None
        if not attempt.kept:
            discard(self._place, (), *attempt.files)

    def _attempt(self, handle: lance.LanceDataset) -> CommitReceipt | None:
        attempt = self._prepared(handle)
        if attempt is not None and (later := self._announced(handle, attempt)) is not handle:
            handle, attempt = later, self._prepared(later)
        if attempt is None:
            return self._nothing(handle)
        transaction = _transaction(handle, attempt)
        made = self._send(handle, attempt, transaction)
        found = seen(self._place, made, attempt.write, transaction, attempt.files)
        if found is None:
            # It fell into a gap of the history, which still names its files.
            self._doubt = None
        return found

    def _prepared(self, handle: lance.LanceDataset) -> Attempt | None:
        try:
            return self._prepare(handle)
        except StorageError:
            raise
        except PennonError as error:
            # What the rows, the caller or a rival are to blame for will not get better.
            raise _Refused(error) from None

    def _announced(self, handle: lance.LanceDataset, attempt: Attempt) -> lance.LanceDataset:
        """Tell of the attempt and heed what others tell; return the version to make it on.

        Only for writes that somebody may repeat. What they noted before the handle was opened
        is committed by then, or conflicts, except an append: that is barred.
        """
        named = [w for w, asked in self._writes(attempt) if asked.repeated]
        try:
            for write, asked in self._writes(attempt):
                if asked.repeated:
                    note = remember(self._place, write, handle.version, asked.durability)
                    self._notes.append(note)
            for write in named:
                found = notes(self._place, write)
                others = found.keys() - self._over - {*self._notes}
                if others:
                    since = {found[name] for name in others}
                    later = self._heeded(handle, attempt, write, since)
                    if later is not handle:
                        self._over |= others
                    handle = later
        except BaseException:
            self._lost(attempt)
            raise
        return handle

    def _heeded(
        self, handle: lance.LanceDataset, attempt: Attempt, write: Write, since: set[int]
    ) -> lance.LanceDataset:
        """Return the version to make a write on that others tried since these versions."""
        from lance import LanceOperation

        if attempt.others:
            raise _Refused(
                Crowded(f"Some writes to {self._place.name} may be under way elsewhere.")
            )

        def look(base: int, head: lance.LanceDataset) -> None:
            if search(self._place, write, head, {base}) is not None:
                raise self._made_elsewhere()

        look(min(since), handle)
        if not isinstance(attempt.operation, LanceOperation.Append):
            return handle
        return bar(self._place, handle, self._deadline, look)

    def _made_elsewhere(self) -> _Refused:
        name, asked = self._place.name, self._asked
        return _Refused(
            CommitConflict(
                f"Another process made the {asked.operation} {asked.write_id!r} of {name} "
                "meanwhile; repeat it for its receipt.",
                table=self._place.info.id,
                write_id=asked.write_id,
            )
        )

    def _writes(self, attempt: Attempt) -> tuple[tuple[Write, Asked], ...]:
        return (attempt.write, self._asked), *attempt.others

    def _send(
        self, handle: lance.LanceDataset, attempt: Attempt, transaction: lance.Transaction
    ) -> lance.LanceDataset:
        """Commit once and return the version Lance reports: its manifest is yet to be read."""
        from lance import LanceDataset

        self._doubt = attempt
        self._tried.append(handle.version)
        self._left.append(transaction_file(transaction))
        try:
            return LanceDataset.commit(handle, transaction, max_retries=attempt.retries)
        except BaseException as error:
            if not is_lance_error(error):
                raise
            if meaning(error) in _SURELY_LOST:
                self._lost(attempt)
            raise translate(error, self._place.name, self._place.secrets) from None

    def _nothing(self, handle: lance.LanceDataset) -> CommitReceipt:
        if self._asked.repeated and earlier(self._place, self._asked.identity()) is not None:
            raise self._made_elsewhere()
        return CommitReceipt(
            table=self._place.info.id,
            branch=self._place.branch,
            version=handle.version,
            rows_inserted=0,
            rows_updated=0,
            rows_deleted=0,
            write_id=self._asked.write_id,
            committed_at=datetime.now(UTC),
        )


def _transaction(handle: lance.LanceDataset, attempt: Attempt) -> lance.Transaction:
    """Return what is committed on a version, with the properties of each write in it."""
    from lance import Transaction

    said = {**attempt.said, **attempt.write.properties()}
    for write, _ in attempt.others:
        said |= write.properties()
    return Transaction(
        read_version=handle.version,
        operation=attempt.operation,
        uuid=str(uuid.uuid4()),
        transaction_properties=said,
    )


class _Refused(Exception):
    """A change that cannot be made ready."""

    def __init__(self, error: PennonError) -> None:
        super().__init__(str(error))
        self.error = error
