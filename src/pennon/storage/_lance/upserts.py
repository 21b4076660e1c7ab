"""Small upserts of a process that wait for one table: those with different keys are one merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput
from pennon.expr import Expr, col
from pennon.retry import Deadline
from pennon.storage._lance.commit import Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import Write
from pennon.storage._lance.jobs import FEW_BYTES, FEW_ROWS, Job, fail, share
from pennon.storage._lance.places import Place
from pennon.storage._lance.repair import repaired
from pennon.storage.merging import MergeRules

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Upsert", "is_small", "upsert_all"]

_PLAIN = MergeRules()


@dataclass(slots=True, eq=False, kw_only=True)
class Upsert(Job):
    """An upsert by the default rules."""

    source: pa.Table
    key: Sequence[str]

    def joins(self, other: Job) -> bool:
        """Whether both have the same columns and are matched by the same of them."""
        return (
            isinstance(other, Upsert)
            and list(other.key) == list(self.key)
            and other.source.schema.equals(self.source.schema)
        )

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        """The keys of its rows, those with a NULL left out: they match nothing."""
        columns = [self.source[name].to_pylist() for name in self.key]
        return [k for k in zip(*columns, strict=True) if None not in k]


def is_small(source: pa.Table, key: Sequence[str], rules: MergeRules) -> bool:
    """Whether a merge can be made along with others: by rules and keys that are easy to tell."""
    import pyarrow as pa

    types = pa.types
    kinds = [source.schema.field(name).type for name in key]
    return (
        rules == _PLAIN
        and 0 < source.num_rows <= FEW_ROWS
        and source.nbytes <= FEW_BYTES
        and all(
            types.is_integer(k) or types.is_string(k) or types.is_large_string(k) for k in kinds
        )
    )


Prepare = Callable[["lance.LanceDataset", "pa.Table", Upsert], Attempt | None]


def upsert_all(place: Place, jobs: list[Upsert], prepare: Prepare, deadline: Deadline) -> None:
    """Do upserts, in as few commits as there are rows for the key that has most of them.

    Args:
        place: The table, whose lane the caller is in.
        jobs: That of the caller, and those that join it.
        prepare: Makes the merge of some rows ready, in the name of one of the jobs.
        deadline: When to give up.
    """
    left = jobs
    while left:
        seen: set[tuple[Any, ...]] = set()
        group: list[Upsert] = []
        later: list[Upsert] = []
        for job in left:
            keys = job.keys
            (group if seen.isdisjoint(keys) else later).append(job)
            seen.update(keys)
        _upsert(place, group, prepare, deadline)
        left = later


def _upsert(place: Place, jobs: list[Upsert], prepare: Prepare, deadline: Deadline) -> None:
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
            return None
        writes[:] = _parts(place, head, jobs, attempt.write)
        others = tuple((w, job.asked) for w, job in zip(writes[1:], jobs[1:], strict=True))
        return replace(attempt, write=writes[0], others=others)

    try:
        made = commit(place, first.asked, ready, deadline)
    except BaseException as error:  # noqa: BLE001 - raised again by each that waits
        if isinstance(error, InvalidInput) and jobs[1:]:
            # The rows of one are at fault, and the others do not have to know of it.
            for job in jobs:
                _upsert(place, [job], prepare, deadline)
        else:
            fail(place, jobs, error)
        return
    share(jobs, writes, made)
    if made.version <= base + 1:
        return
    for job in jobs:
        assert job.receipt is not None
        try:
            job.receipt = repaired(
                place, job.receipt, job.source, job.key, _PLAIN, job.asked, deadline, base
            )
        except BaseException as error:  # noqa: BLE001 - raised again by the one it belongs to
            job.receipt, job.error = None, error


def _parts(place: Place, head: lance.LanceDataset, jobs: list[Upsert], whole: Write) -> list[Write]:
    """Return what of a merge each of the upserts in it did."""
    total = sum(job.source.num_rows for job in jobs)
    if len(jobs) == 1:
        return [whole]
    if whole.rows_inserted == total and not whole.rows_updated:
        return [job.asked.write(job.source.num_rows) for job in jobs]
    if whole.rows_updated == total and not whole.rows_inserted:
        return [job.asked.write(0, updated=job.source.num_rows) for job in jobs]
    there = _there(place, head, [k for job in jobs for k in job.keys], jobs[0].key)
    found: list[Write] = []
    for job in jobs:
        keys = job.keys
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
