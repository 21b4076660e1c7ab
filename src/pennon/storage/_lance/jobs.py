"""Writes of a process that wait for one table, done together by the first of them that may."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from pennon.errors import CommitConflict, OutcomeUnknown, PennonError
from pennon.namespaces.abc import Id, Namespace
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked
from pennon.storage._lance.create import check_mapping
from pennon.storage._lance.history import Write
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt

__all__ = [
    "FEW_BYTES",
    "FEW_ROWS",
    "Job",
    "Moved",
    "acknowledge",
    "fail",
    "found",
    "is_small",
    "passed",
    "receipts_of",
]

FEW_BYTES = 256 << 10
"""Bytes of a write at most that waits for others with its rows in memory."""
FEW_ROWS = 1000
"""Rows of such a write at most, where each costs Python time."""


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A write that somebody does for the one who waits for it."""

    asked: Asked
    place: Place
    """Where its caller takes the table to be."""
    namespace: Namespace | None = None
    """Who is to be asked whether it is there; None if the caller asks."""
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


_J = TypeVar("_J", bound=Job)


class Moved(Exception):
    """A table is not where the caller of a write takes it to be: the caller has to look."""


def found(jobs: list[_J]) -> list[_J]:
    """Return the jobs whose tables are there, and tell the others; one look serves all of a name.

    It is a look for each of them: they came before it.
    """
    there: dict[tuple[int, Id], Place | None] = {}
    for job in jobs:
        if job.namespace is not None:
            name = id(job.namespace), job.place.info.id
            if name not in there:
                there[name] = _now(job.namespace, job.place)
            job.place = there[name] or job.place
            job.error = None if there[name] else Moved()
    return [job for job in jobs if not job.done]


def _now(namespace: Namespace, place: Place) -> Place | None:
    """Return a place as the catalog describes it now; None if it leads elsewhere."""
    try:
        info = namespace.describe_table(place.info.id)
        if info.location != place.info.location:
            return None
        # A bucket may want other credentials by now.
        return Place.of(namespace, info) if place.uri.is_bucket else place
    except PennonError:
        return None  # What it is, the caller's own look will tell.


def acknowledge(jobs: list[_J], receipts: list[CommitReceipt]) -> None:
    """Give jobs their receipts, once it is seen that their table was not dropped before.

    What saw the commit usually saw that too; else one look at the catalog serves all of a name.
    """
    there: set[tuple[int, Id]] = set()
    for job, receipt in zip(jobs, receipts, strict=True):
        if job.namespace is not None and not job.place.outlived(receipt.version):
            name = id(job.namespace), job.place.info.id
            if name not in there:
                try:
                    check_mapping(job.namespace, job.place, job.asked.write_id)
                except Exception as error:  # noqa: BLE001 - raised again by the one it belongs to
                    job.error = error
                    continue
                there.add(name)
        job.receipt = receipt


def is_small(data: Any) -> bool:
    """Whether whoever does a write can read its rows as well, without keeping others long."""
    import pyarrow as pa

    if isinstance(data, (pa.Table, pa.RecordBatch)):
        # The buffers, of which the rows may be a part, are counted much faster than the rows.
        return data.get_total_buffer_size() <= FEW_BYTES or data.nbytes <= FEW_BYTES
    if isinstance(data, Mapping):
        return all(isinstance(v, Sized) and len(v) <= FEW_ROWS for v in data.values())
    if isinstance(data, (list, tuple)):
        return len(data) <= FEW_ROWS and all(isinstance(row, Mapping) for row in data)
    return False


def passed(job: _J, deadline: Deadline, work: Callable[[list[_J]], None]) -> CommitReceipt:
    """Wait until a job is done, or do it with all that can be done along with it.

    Args:
        job: The write.
        deadline: When to give up waiting.
        work: Does jobs, this one the first of them, and tells each of them what came of it.
    """
    with lane_of(job.place) as lane:

        def chosen(other: Any) -> bool:
            alone = lane.depth > 1 or {job.asked.message, other.asked.message} != {None}
            return other is job or (not alone and job.joins(other))

        try:
            with lane.passing(deadline, job) as entered:
                if entered:
                    with lane.together(chosen) as jobs:
                        if job in jobs:
                            work([job, *(other for other in jobs if other is not job)])
                        else:
                            # Whoever took it was interrupted.
                            job.error = _unsettled(job)
        except CommitConflict:
            if lane.take(job):
                raise
            if not job.done:
                # Whoever took it is not back yet.
                raise _unsettled(job) from None
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


def fail(jobs: list[Any], error: BaseException) -> None:
    """Tell jobs, the first of which is the caller's, what a failure of their commit means."""
    jobs[0].error = error
    for job in jobs[1:]:
        if isinstance(error, OutcomeUnknown) or not isinstance(error, Exception):
            job.error = _unsettled(job)
            continue
        # Raised by several threads, one exception would gather the frames of all.
        job.error = copy.copy(error)


def _unsettled(job: Job) -> OutcomeUnknown:
    operation, write_id = job.asked.operation, job.asked.write_id
    return OutcomeUnknown(
        f"The {operation} of {job.place.name} could not be settled in time; repeat it with "
        f"write_id={write_id!r}.",
        table=job.place.info.id,
        write_id=write_id,
    )
