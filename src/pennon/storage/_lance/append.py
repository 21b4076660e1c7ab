"""Append: data files first, then one commit that carries the write id, seen before acknowledged.

Appends of a process that wait for the same table are committed together by the first of them that
may: one version, which carries the id of each, and a receipt for each of what was its own. Those of
few rows share a data file as well; only larger ones write their own, before they wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pennon.arrow import fitting, to_reader
from pennon.errors import CommitConflict, InvalidInput, OutcomeUnknown
from pennon.namespaces.abc import Namespace
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, Crowded, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard, few, file_names, write_files
from pennon.storage._lance.history import Write
from pennon.storage._lance.jobs import (
    FEW_BYTES,
    Job,
    acknowledge,
    fail,
    found,
    is_small,
    passed,
    receipts_of,
)
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
    rows: pa.Table | None = None
    fragments: list[Any] = field(default_factory=list[Any])
    known: Any = None
    """The columns its rows were made for if they are many; else those of the newest version."""
    write: Write = field(init=False)

    def read(self, head: lance.LanceDataset, schema: pa.Schema) -> None:
        """Make rows of the data: in memory if they are few, else in files."""
        import pyarrow as pa

        rows = fitting(self.data, schema) if self.known is None else None
        if rows is None:
            batches, rest = few(to_reader(self.data, schema), FEW_BYTES)
            rows = pa.Table.from_batches(batches, schema)
            self.fragments = [] if rest is None else write_files(self.place, rest, head)
        self.rows = rows
        count = rows.num_rows + sum(f.physical_rows for f in self.fragments)
        self.write = self.asked.write(count)
        self.data = None


def append(
    place: Place, data: Any, asked: Asked, namespace: Namespace | None = None
) -> CommitReceipt:
    """Append rows; see :meth:`Writes.write`.

    Args:
        place: The table, or where it was last.
        data: The rows; few if a namespace is given.
        asked: What the caller says of the write.
        namespace: Who is to be asked whether the table is there; None if the caller asks.

    Raises:
        Moved: It is not there, says the namespace.
    """
    job = _Append(asked=asked, place=place, namespace=namespace, data=data)
    if namespace is None and not is_small(data):
        head = place.open()
        with translated(place.name, place.secrets):
            schema, job.known = head.schema, head.lance_schema
        job.read(head, schema)
    deadline = Deadline.after(asked.seconds, asked.seconds)
    try:
        return passed(job, deadline, lambda jobs: _commit_all(jobs, deadline))
    except OutcomeUnknown:
        raise
    except Exception:
        discard(place, job.fragments)
        raise


def _commit_all(jobs: list[_Append], deadline: Deadline) -> None:
    """Commit jobs, those with rows in one version, and tell each of them what came of it."""
    jobs = found(jobs)
    if not jobs:
        return
    place = jobs[0].place
    try:
        head = place.open(to_write=True)
        with translated(place.name, place.secrets):
            schema, columns = head.schema, head.lance_schema
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        fail(jobs, error)
        return
    for job in jobs:
        if job.known is not None:
            job.error = None if job.known == columns else _changed(place)
            continue
        try:
            job.read(head, schema)
        except BaseException as error:  # noqa: BLE001 - raised again by the one it belongs to
            job.error = error
    left = [job for job in jobs if not job.done]
    full = [job for job in left if job.write.rows_inserted]
    for group in ([full] if full else []) + [[job] for job in left if job not in full]:
        _commit_group(place, group, head, schema, columns, deadline)


def _changed(place: Place) -> CommitConflict:
    return CommitConflict(
        f"The schema of {place.name} changed while rows were being written; read it, then write "
        "them again.",
        table=place.info.id,
    )


def _commit_group(
    place: Place,
    jobs: list[_Append],
    handle: lance.LanceDataset,
    schema: pa.Schema,
    columns: Any,
    deadline: Deadline,
) -> None:
    """Commit jobs in one version."""
    from lance import LanceOperation

    first = jobs[0]
    rows = [job.rows for job in jobs if job.rows]
    shared: list[Any] = []

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        if not first.write.rows_inserted:
            return None
        if head is not handle and head.lance_schema != columns:
            raise _changed(place)
        if rows and not shared:
            shared.extend(write_files(place, _as_one(rows, schema), handle))
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
        if isinstance(error, (InvalidInput, Crowded)) and jobs[1:]:
            # One is at fault, and the others do not have to know of it.
            for job in jobs:
                _commit_group(place, [job], handle, schema, columns, deadline)
        else:
            fail(jobs, error)
        return
    acknowledge(jobs, receipts_of([job.write for job in jobs], made))


def _as_one(rows: list[pa.Table], schema: pa.Schema) -> pa.Table:
    """Return rows as one table, in one piece: what Lance does costs by the piece."""
    import pyarrow as pa

    whole = rows[0] if len(rows) == 1 else pa.concat_tables(rows).combine_chunks()
    return pa.Table.from_arrays(whole.columns, schema=schema)
