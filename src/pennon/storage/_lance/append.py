"""Append: data files first, then one commit that carries the write id, seen before acknowledged.

Appends of a process that wait for the same table are committed together by the first of them that
may: one version, which carries the id of each, and a receipt for each of what was its own. Those of
few rows share a data file as well; only larger ones write their own, before they wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pennon.arrow import to_reader
from pennon.errors import CommitConflict, InvalidInput, OutcomeUnknown
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard, few, file_names, write_files
from pennon.storage._lance.history import Write
from pennon.storage._lance.jobs import FEW_BYTES, Job, fail, is_small, passed, receipts_of
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["append"]

_FOLLOWS = 20
"""How many rivals in a row an append follows by itself, before it is tried again."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Append(Job):
    """An append: its data while they are not looked at, then its rows, in files or in memory."""

    data: Any
    batches: list[pa.RecordBatch] = field(default_factory=list["pa.RecordBatch"])
    fragments: list[Any] = field(default_factory=list[Any])
    known: Any = None
    """The columns its rows were made for; None for those of the newest version."""
    write: Write = field(init=False)

    def read(self, place: Place, head: lance.LanceDataset, schema: pa.Schema) -> None:
        """Make rows of the data: in memory if they are few, else in files."""
        self.batches, rest = few(to_reader(self.data, schema), FEW_BYTES)
        self.fragments = [] if rest is None else write_files(place, rest, head)
        self.known = head.lance_schema
        rows = sum(f.physical_rows for f in self.fragments)
        self.write = self.asked.write(rows + sum(b.num_rows for b in self.batches))
        self.data = None


def append(place: Place, data: Any, asked: Asked) -> CommitReceipt:
    """Append rows; see :meth:`Writes.write`."""
    job = _Append(asked=asked, data=data)
    if not is_small(data):
        head = place.open()
        with translated(place.name, place.secrets):
            schema = head.schema
        job.read(place, head, schema)
    deadline = Deadline.after(asked.seconds, asked.seconds)
    try:
        return passed(place, job, deadline, lambda jobs: _commit_all(place, jobs, deadline))
    except OutcomeUnknown:
        raise
    except Exception:
        discard(place, job.fragments)
        raise


def _commit_all(place: Place, jobs: list[_Append], deadline: Deadline) -> None:
    """Commit jobs, those with rows in one version, and tell each of them what came of it."""
    try:
        head = place.open(to_write=True)
        with translated(place.name, place.secrets):
            schema, columns = head.schema, head.lance_schema
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        fail(place, jobs, error)
        return
    for job in jobs:
        if job.known is not None:
            job.error = None if job.known == columns else _changed(place)
            continue
        try:
            job.read(place, head, schema)
        except BaseException as error:  # noqa: BLE001 - raised again by the one it belongs to
            job.error = error
    left = [job for job in jobs if not job.done]
    full = [job for job in left if job.write.rows_inserted]
    for group in ([full] if full else []) + [[job] for job in left if job not in full]:
        _commit_group(place, group, head, columns, deadline)


def _changed(place: Place) -> CommitConflict:
    return CommitConflict(
        f"The schema of {place.name} changed while rows were being written; read it, then write "
        "them again.",
        table=place.info.id,
    )


def _commit_group(
    place: Place, jobs: list[_Append], handle: lance.LanceDataset, columns: Any, deadline: Deadline
) -> None:
    """Commit jobs in one version."""
    import pyarrow as pa
    from lance import LanceOperation

    first = jobs[0]
    batches = [batch for job in jobs for batch in job.batches]
    shared: list[Any] = []

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        if not first.write.rows_inserted:
            return None
        if head is not handle and head.lance_schema != columns:
            raise _changed(place)
        if batches and not shared:
            shared.extend(write_files(place, pa.Table.from_batches(batches), handle))
        fragments = [*(f for job in jobs for f in job.fragments), *shared]
        return Attempt(
            LanceOperation.Append(fragments),
            first.write,
            file_names(fragments),
            others=tuple((job.write, job.asked) for job in jobs[1:]),
            kept=True,
            retries=_FOLLOWS,
        )

    try:
        made = commit(place, first.asked, prepare, deadline, handle)
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        if isinstance(error, Exception) and not isinstance(error, OutcomeUnknown):
            discard(place, shared)
        if isinstance(error, InvalidInput) and jobs[1:]:
            # The rows of one are at fault, and the others do not have to know of it.
            for job in jobs:
                _commit_group(place, [job], handle, columns, deadline)
        else:
            fail(place, jobs, error)
        return
    for job, receipt in zip(jobs, receipts_of([job.write for job in jobs], made), strict=True):
        job.receipt = receipt
