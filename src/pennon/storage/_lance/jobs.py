"""Writes of a process that wait for one table, done together by the first of them that may."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from pennon.errors import CommitConflict, OutcomeUnknown
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.history import Write, forget
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt

__all__ = ["FEW_BYTES", "FEW_ROWS", "Job", "fail", "is_small", "passed", "receipts_of"]

FEW_BYTES = 256 << 10
"""Bytes of a write at most that waits for others with its rows in memory."""
FEW_ROWS = 1000
"""Rows of such a write at most, where each costs Python time."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A write that somebody does for the one who waits for it."""

    asked: Asked
    receipt: CommitReceipt | None = None
    """Set when all is done: whoever waits for it goes at once."""
    error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether somebody committed it, or tried to."""
        return self.receipt is not None or self.error is not None

    def joins(self, other: Job) -> bool:
        """Whether both may be one commit, as far as what they do is concerned."""
        return type(other) is type(self)


def is_small(data: Any) -> bool:
    """Whether whoever does a write can read its rows as well, without keeping others long."""
    import pyarrow as pa

    if isinstance(data, (pa.Table, pa.RecordBatch)):
        return data.nbytes <= FEW_BYTES
    if isinstance(data, Mapping):
        return all(isinstance(v, Sized) and len(v) <= FEW_ROWS for v in data.values())
    if isinstance(data, (list, tuple)):
        return len(data) <= FEW_ROWS and all(isinstance(row, Mapping) for row in data)
    return False


_J = TypeVar("_J", bound=Job)


def passed(
    place: Place, job: _J, deadline: Deadline, work: Callable[[list[_J]], None]
) -> CommitReceipt:
    """Wait until a job is done, or do it with all that can be done along with it.

    Args:
        place: The table.
        job: The write.
        deadline: When to give up waiting.
        work: Does jobs, this one the first of them, and tells each of them what came of it.
    """
    with lane_of(place) as lane:

        def chosen(other: Any) -> bool:
            alone = lane.depth > 1 or {job.asked.message, other.asked.message} != {None}
            return other is job or (not alone and job.joins(other))

        lane.put(job)
        try:
            with lane.passing(deadline, lambda: job.done) as entered:
                if entered:
                    with lane.together(chosen) as jobs:
                        if job in jobs:
                            work([job, *(other for other in jobs if other is not job)])
                        else:
                            # Whoever took it was interrupted.
                            job.error = _unsettled(place, job)
        except CommitConflict:
            if not lane.take(job):
                # Whoever took it is not back yet.
                raise _unsettled(place, job) from None
            raise
        except BaseException:
            lane.take(job)
            raise
    if job.receipt is not None:
        return job.receipt
    assert job.error is not None
    raise job.error


def receipts_of(writes: list[Write], made: CommitReceipt) -> list[CommitReceipt]:
    """Return the receipt of each of the writes in one commit.

    Args:
        writes: They; the first one is what the commit was made for.
        made: Its receipt.
    """
    others = (
        replace(
            made,
            rows_inserted=write.rows_inserted,
            rows_updated=write.rows_updated,
            write_id=write.write_id,
            committed_at=datetime.fromisoformat(write.at),
        )
        for write in writes[1:]
    )
    return [made, *others]


def fail(place: Place, jobs: list[Any], error: BaseException) -> None:
    """Tell jobs, the first of which is the caller's, what a failure of their commit means."""
    jobs[0].error = error
    for job in jobs[1:]:
        if isinstance(error, OutcomeUnknown) or not isinstance(error, Exception):
            job.error = _unsettled(place, job)
            continue
        if job.asked.repeated:
            forget(place, job.asked.identity())
        # Raised by several threads, one exception would gather the frames of all.
        job.error = copy.copy(error)


def _unsettled(place: Place, job: Job) -> OutcomeUnknown:
    operation, write_id = job.asked.operation, job.asked.write_id
    return OutcomeUnknown(
        f"The {operation} of {place.name} could not be settled in time; repeat it with "
        f"write_id={write_id!r}.",
        table=place.info.id,
        write_id=write_id,
    )
