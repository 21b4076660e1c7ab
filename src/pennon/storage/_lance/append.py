"""Append: data files first, then one commit that carries the write id, seen before acknowledged.

Appends of a process that wait for the same table are committed together by the first of them that
may: one version, which carries the id of each, and a receipt for each of what was its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.arrow import to_reader
from pennon.errors import CommitConflict, OutcomeUnknown
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard, file_names, peek, write_files
from pennon.storage._lance.history import Write, forget
from pennon.storage._lance.lanes import Lane, lane_of
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import lance

__all__ = ["append"]

_FOLLOWS = 20
"""How many rivals in a row an append follows by itself, before it is tried again."""


@dataclass(slots=True, eq=False)
class _Job:
    """An append whose rows are written."""

    handle: lance.LanceDataset
    asked: Asked
    fragments: list[Any]
    known: str
    """The columns its files were written for."""
    receipt: CommitReceipt | None = None
    error: BaseException | None = None
    write: Write = field(init=False)

    def __post_init__(self) -> None:
        self.write = self.asked.write(sum(f.physical_rows for f in self.fragments))

    @property
    def done(self) -> bool:
        """Whether somebody committed it, or tried to."""
        return self.receipt is not None or self.error is not None


def append(place: Place, data: Any, asked: Asked) -> CommitReceipt:
    """Append rows; see :meth:`Writes.write`."""
    handle = place.open()
    with translated(place.name, place.secrets):
        schema = handle.schema
    reader, any_rows = peek(to_reader(data, schema))
    fragments = write_files(place, reader, handle) if any_rows else []
    job = _Job(handle, asked, fragments, repr(handle.lance_schema))
    deadline = Deadline.after(asked.seconds, asked.seconds)
    try:
        return _passed(place, job, deadline)
    except OutcomeUnknown:
        raise
    except Exception:
        discard(place, fragments)
        raise


def _passed(place: Place, job: _Job, deadline: Deadline) -> CommitReceipt:
    with lane_of(place) as lane:
        with lane.gate:
            lane.waiting.append(job)
        try:
            with lane.passing(deadline):
                if not job.done:
                    _commit_all(place, _taken(lane, job), deadline)
        except CommitConflict:
            if not _left(lane, job):
                # Whoever took it is not back yet.
                raise _unsettled(place, job) from None
            raise
        except BaseException:
            _left(lane, job)
            raise
    if job.receipt is not None:
        return job.receipt
    assert job.error is not None
    raise job.error


def _left(lane: Lane, job: _Job) -> bool:
    """Whether a job that gives up waiting was not taken by anybody."""
    with lane.gate:
        waited = job in lane.waiting
        if waited:
            lane.waiting.remove(job)
    return waited


def _taken(lane: Lane, job: _Job) -> list[_Job]:
    """Take a job off the lane, with all that can be committed along with it."""
    alone = lane.depth > 1 or not job.fragments or job.asked.message is not None
    with lane.gate:
        with_it = [
            other
            for other in lane.waiting
            if other is not job
            and not alone
            and other.fragments
            and other.known == job.known
            and other.asked.message is None
        ]
        for taken in (job, *with_it):
            lane.waiting.remove(taken)
    return [job, *with_it]


def _commit_all(place: Place, jobs: list[_Job], deadline: Deadline) -> None:
    """Commit jobs in one version, and tell each of them what came of it."""
    from lance import LanceOperation

    first = jobs[0]
    fragments = [f for job in jobs for f in job.fragments]

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        if not fragments:
            return None
        if repr(head.lance_schema) != first.known:
            raise CommitConflict(
                f"The schema of {place.name} changed while rows were being written; read it, then "
                "write them again.",
                table=place.info.id,
            )
        return Attempt(
            LanceOperation.Append(fragments),
            first.write,
            file_names(fragments),
            others=tuple((job.write, job.asked) for job in jobs[1:]),
            kept=True,
            retries=_FOLLOWS,
        )

    try:
        made = commit(place, first.asked, prepare, deadline, first.handle)
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        for job in jobs[1:]:
            job.error = _failed(place, job, error)
        first.error = error
        return
    first.receipt = made
    for job in jobs[1:]:
        job.receipt = replace(
            made,
            rows_inserted=job.write.rows_inserted,
            write_id=job.write.write_id,
            committed_at=datetime.fromisoformat(job.write.at),
        )


def _failed(place: Place, job: _Job, error: BaseException) -> BaseException:
    """Return what a failure of the commit means for one that was to be made along with it."""
    if isinstance(error, OutcomeUnknown) or not isinstance(error, Exception):
        return _unsettled(place, job)
    if job.asked.repeated:
        forget(place, job.write)
    return error


def _unsettled(place: Place, job: _Job) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"The append to {place.name} could not be settled in time; repeat it with "
        f"write_id={job.write.write_id!r}.",
        table=place.info.id,
        write_id=job.write.write_id,
    )
