"""Append: data files first, then one commit that carries the write id, seen before acknowledged."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pennon.arrow import to_reader
from pennon.errors import CommitConflict, OutcomeUnknown, PennonError, TableNotFound
from pennon.namespaces.abc import Namespace
from pennon.retry import Backoff, Deadline
from pennon.storage._lance.create import check_mapping
from pennon.storage._lance.errors import is_lance_error, meaning, translate, translated
from pennon.storage._lance.fragments import discard, peek, write_files
from pennon.storage._lance.history import (
    Write,
    data_files,
    find,
    is_reachable,
    read_receipt,
    transaction_file,
)
from pennon.storage._lance.places import Place
from pennon.storage.abc import CommitReceipt

if TYPE_CHECKING:
    import lance

__all__ = ["append"]

_SURELY_LOST = frozenset({"conflict", "incompatible"})


def append(
    namespace: Namespace,
    place: Place,
    data: Any,
    *,
    write_id: str,
    repeated: bool,
    seconds: float,
) -> CommitReceipt:
    """Append rows; see :meth:`StorageBackend.write`.

    Args:
        namespace: The catalog.
        place: The table.
        data: The rows.
        write_id: Identity of this write.
        repeated: Whether the write may have been done before, because the caller named its id.
        seconds: How long to try to commit, once the data files are written.
    """
    handle = place.open()
    with _one_at_a_time(place.location, write_id) if repeated else contextlib.nullcontext():
        if repeated and (found := find(place, Write("append", write_id))):
            return found
        with translated(place.name, place.secrets):
            schema = handle.schema
        reader, any_rows = peek(to_reader(data, schema))
        if not any_rows:
            return _nothing(place, handle, write_id)
        fragments = write_files(place, reader, handle)
        write = Write.now("append", write_id, sum(f.physical_rows for f in fragments))
        commit = _Commit(place, handle, fragments, write)
        receipt = commit.run(Deadline.after(seconds, seconds))
    check_mapping(namespace, place, write_id)
    return receipt


def _nothing(place: Place, handle: lance.LanceDataset, write_id: str) -> CommitReceipt:
    return CommitReceipt(
        table=place.info.id,
        branch=place.branch,
        version=handle.version,
        rows_inserted=0,
        rows_updated=0,
        rows_deleted=0,
        write_id=write_id,
        committed_at=datetime.now(UTC),
    )


class _Commit:
    """The commit of data files that are written: tried until its fate is known."""

    def __init__(
        self, place: Place, handle: lance.LanceDataset, fragments: list[Any], write: Write
    ) -> None:
        self._place = place
        self._handle = handle
        self._fragments = fragments
        self._write = write
        self._schema = repr(handle.lance_schema)
        self._tried: list[int] = []

    def run(self, deadline: Deadline) -> CommitReceipt:
        """Commit, and return the receipt once the commit is seen in the history.

        Raises:
            CommitConflict: Rivals won again and again; nothing was written.
            OutcomeUnknown: The fate could not be settled in time.
        """
        doubt = False
        error: PennonError = CommitConflict(
            f"There was no time to commit to {self._place.name}; nothing was written."
        )
        for _ in Backoff(base=0.05, attempts=12).tries(deadline):
            try:
                if doubt and (found := find(self._place, self._write)):
                    return found
                doubt = False
                if not error.retryable:
                    break
                if self._tried:
                    self._refresh()
                doubt = True
                version = self._commit()
                if found := self._see(version):
                    return found
                doubt = False
            except _Lost as lost:
                error, doubt = lost.error, False
            except (TableNotFound, OutcomeUnknown):
                raise
            except PennonError as failure:
                error = failure
        if doubt:
            raise OutcomeUnknown(
                f"The append to {self._place.name} could not be settled in time ({error}); repeat "
                f"it with write_id={self._write.write_id!r}.",
                table=self._place.info.id,
                write_id=self._write.write_id,
            )
        names = [transaction_file(base, self._write) for base in self._tried]
        discard(self._place, self._fragments, *names)
        raise error

    def _refresh(self) -> None:
        """Follow the table to its latest version, if the data files still fit it."""
        self._handle = self._place.open()
        if repr(self._handle.lance_schema) != self._schema:
            raise _Lost(
                CommitConflict(
                    f"The schema of {self._place.name} changed while rows were being written; "
                    "read it, then write them again.",
                    table=self._place.info.id,
                ),
            )

    def _commit(self) -> int:
        """Commit once and return the version Lance reports."""
        from lance import LanceDataset, LanceOperation, Transaction

        base = self._handle.version
        transaction = Transaction(
            read_version=base,
            operation=LanceOperation.Append(self._fragments),
            uuid=self._write.uuid,
            transaction_properties=self._write.properties(),
        )
        self._tried.append(base)
        try:
            return LanceDataset.commit(self._handle, transaction).version
        except BaseException as error:
            if not is_lance_error(error):
                raise
            ours = translate(error, self._place.name, self._place.secrets)
            if meaning(error) in _SURELY_LOST:
                raise _Lost(ours) from None
            raise ours from None

    def _see(self, version: int) -> CommitReceipt | None:
        """Return the receipt if the commit is in the history; None if it fell into a gap."""
        found = read_receipt(self._place, self._handle, version, self._write)
        if found is None:
            raise CommitConflict(
                f"Version {version} of {self._place.name} is not the commit Lance reported.",
                table=self._place.info.id,
            )
        files = data_files(self._fragments)
        return found if is_reachable(self._place, version, files) else None


class _Lost(Exception):
    """A commit that surely did not happen."""

    def __init__(self, error: PennonError) -> None:
        super().__init__(str(error))
        self.error = error


_busy: dict[tuple[str, str], tuple[threading.Lock, int]] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def _one_at_a_time(location: str, write_id: str) -> Generator[None]:
    """Let callers of this process with one write id pass one after the other."""
    key = location, write_id
    with _guard:
        lock, waiting = _busy.get(key, (threading.Lock(), 0))
        _busy[key] = lock, waiting + 1
    try:
        with lock:
            yield
    finally:
        with _guard:
            lock, waiting = _busy.pop(key)
            if waiting > 1:
                _busy[key] = lock, waiting - 1
