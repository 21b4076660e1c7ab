"""Small upserts of a process that wait for one table: those with different keys are one merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput
from pennon.expr import Expr, col
from pennon.retry import Deadline
from pennon.storage._lance.commit import Attempt, Crowded, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import Write
from pennon.storage._lance.jobs import FEW_BYTES, FEW_ROWS, Job, fail, receipts_of
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import rebuild
from pennon.storage._lance.repair import repaired
from pennon.storage.merging import MergeRules, key_of, source_of

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Upsert", "upsert_all"]

_PLAIN = MergeRules()


@dataclass(slots=True, eq=False, kw_only=True)
class Upsert(Job):
    """An upsert by the default rules."""

    data: Any
    on: str | Sequence[str] | None
    key: list[str] = field(init=False)
    source: pa.Table = field(init=False)
    keys: list[tuple[Any, ...]] | None = None
    """Those of its rows, the ones with a NULL left out, which match nothing; None if there are too
    many, or it is not easy to tell whether two are equal."""

    def read(self, place: Place, schema: pa.Schema) -> None:
        """Make rows of the data."""
        import pyarrow as pa

        self.key = key_of(self.on, schema, place.name)
        self.source = source_of(self.data, schema, self.key, _PLAIN, place.name)
        self.data = None
        types = pa.types
        plain = (types.is_integer, types.is_string, types.is_large_string)
        kinds = [self.source.schema.field(name).type for name in self.key]
        if (
            0 < self.source.num_rows <= FEW_ROWS
            and self.source.nbytes <= FEW_BYTES
            and all(any(is_kind(kind) for is_kind in plain) for kind in kinds)
        ):
            columns = [self.source[name].to_pylist() for name in self.key]
            self.keys = [k for k in zip(*columns, strict=True) if None not in k]

    def fits(self, other: Upsert) -> bool:
        """Whether both have the same columns and are matched by the same of them."""
        return (
            None not in (self.keys, other.keys)
            and other.key == self.key
            and other.source.schema.equals(self.source.schema)
        )


Prepare = Callable[["lance.LanceDataset", "pa.Table", Upsert], Attempt | None]


def upsert_all(place: Place, jobs: list[Upsert], prepare: Prepare, deadline: Deadline) -> None:
    """Do upserts, in as few commits as there are rows for the key that has most of them.

    Args:
        place: The table, whose lane the caller is in.
        jobs: That of the caller, and those that wait along with it.
        prepare: Makes the merge of some rows ready, in the name of one of the jobs.
        deadline: When to give up.
    """
    handle: lance.LanceDataset | None = None
    try:
        handle = place.open(to_write=True)
        with translated(place.name, place.secrets):
            schema = handle.schema
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        fail(jobs, error)
        return
    for job in jobs:
        try:
            job.read(place, schema)
        except BaseException as error:  # noqa: BLE001 - raised again by the one it belongs to
            job.error = error
    left = [job for job in jobs if not job.done]
    while left:
        seen = set(left[0].keys or ())
        group, later = left[:1], list[Upsert]()
        for job in left[1:]:
            joins = left[0].fits(job) and seen.isdisjoint(job.keys or ())
            (group if joins else later).append(job)
            seen.update(job.keys or ())
        _upsert(place, group, prepare, deadline, handle)
        left, handle = later, None


def _upsert(
    place: Place,
    jobs: list[Upsert],
    prepare: Prepare,
    deadline: Deadline,
    handle: lance.LanceDataset | None = None,
) -> None:
    """Do upserts that have no key in common."""
    import pyarrow as pa

    first = jobs[0]
    source = pa.concat_tables([job.source for job in jobs])
    base = 0
    writes: list[Write] = []

    def ready(head: lance.LanceDataset) -> Attempt | None:
        nonlocal base
        base = head.version
        attempt = prepare(head, source, first)
        if attempt is None:
            writes[:] = [job.asked.write() for job in jobs]
            return None
        writes[:] = _parts(place, head, jobs, attempt.write)
        others = tuple((w, job.asked) for w, job in zip(writes[1:], jobs[1:], strict=True))
        return replace(attempt, write=writes[0], others=others)

    try:
        made = commit(place, first.asked, ready, deadline, handle)
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        if isinstance(error, (InvalidInput, Crowded)) and jobs[1:]:
            # One is at fault, and the others do not have to know of it.
            for job in jobs:
                _upsert(place, [job], prepare, deadline)
        else:
            fail(jobs, error)
        return
    late = made.version > base + 1
    for job, receipt in zip(jobs, receipts_of(writes, made), strict=True):
        try:
            if late or job is first:
                receipt = rebuild(place, receipt, job.asked)  # noqa: PLW2901
            if late:
                receipt = repaired(  # noqa: PLW2901
                    place, receipt, job.source, job.key, _PLAIN, job.asked, deadline, base
                )
            job.receipt = receipt
        except BaseException as error:  # noqa: BLE001 - raised again by the one it belongs to
            job.error = error


def _parts(place: Place, head: lance.LanceDataset, jobs: list[Upsert], whole: Write) -> list[Write]:
    """Return what of a merge each of the upserts in it did."""
    total = sum(job.source.num_rows for job in jobs)
    if len(jobs) == 1:
        return [whole]
    if whole.rows_inserted == total and not whole.rows_updated:
        return [job.asked.write(job.source.num_rows) for job in jobs]
    if whole.rows_updated == total and not whole.rows_inserted:
        return [job.asked.write(0, updated=job.source.num_rows) for job in jobs]
    there = _there(place, head, [k for job in jobs for k in job.keys or ()], jobs[0].key)
    found: list[Write] = []
    for job in jobs:
        keys = job.keys or ()
        known = sum(k in there for k in keys)
        updated = sum(there[k] for k in keys)
        found.append(job.asked.write(job.source.num_rows - known, updated=updated))
    return found


def _there(
    place: Place, head: lance.LanceDataset, keys: list[tuple[Any, ...]], names: Sequence[str]
) -> Counter[tuple[Any, ...]]:
    """Return how many rows there are with each of some keys."""
    filter: Expr | None = None
    for number, name in enumerate(names):
        one = col(name).is_in(dict.fromkeys(k[number] for k in keys))
        filter = one if filter is None else filter & one
    assert filter is not None
    with translated(place.name, place.secrets):
        rows = head.scanner(columns=list(names), filter=filter.to_sql()).to_table()
    wanted = set(keys)
    columns = [rows[name].to_pylist() for name in names]
    return Counter(k for k in zip(*columns, strict=True) if k in wanted)
