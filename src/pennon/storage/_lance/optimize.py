"""Compaction and retention of one branch of a table, beside its readers and writers.

A compaction is planned and committed by Lance, one group of fragments at a time: its own commit
reserves the numbers of the new fragments and moves the indexes along, which no commit made from
outside can. It carries no write id, but names files that nobody else has; by these it is known
again. Lance lets it fail if a writer changed one of its fragments, so no change is lost.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pennon.errors import CommitConflict, PennonError
from pennon.namespaces.newest import GRACE_SECONDS
from pennon.retry import Deadline
from pennon.storage._lance.errors import is_lance_error, meaning, translate, translated
from pennon.storage._lance.fragments import discard
from pennon.storage._lance.history import data_files
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage._lance.removal import announced

if TYPE_CHECKING:
    import lance

__all__ = ["Compacted", "compact", "remove_old"]

_BYTES = 128 << 20
"""Of the files of a fragment: Lance holds about what it rewrites at once in memory."""
_ROWS = 1 << 20
"""Of a fragment at most."""
_LOSSES = 5
"""How often a group of fragments may lose to writers before it is left for another day."""
_PATIENCE = 2
"""How often it may lose before the writers of this process are made to wait."""
_FAILURES = 5
_LOST = frozenset({"conflict", "incompatible"})


@dataclass(slots=True)
class Compacted:
    """What compactions came to."""

    removed: int = 0
    added: int = 0
    rows: int = 0
    conflicts: int = 0
    failures: int = 0
    losses: Counter[int] = field(default_factory=Counter[int])
    """How often each fragment lost."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What a compaction is about: what was there when it began."""

    newest: int
    """The highest number of a fragment."""
    target: int
    """Rows of a fragment that is large enough. Lance rewrites less than twice as many at once."""

    @classmethod
    def of(cls, head: lance.LanceDataset) -> _Scope:
        fragments = [f.metadata for f in head.get_fragments()]
        size = sum(f.file_size_bytes or 0 for x in fragments for f in x.files)
        rows = sum(f.physical_rows for f in fragments)
        fitting = max(1, _BYTES * rows // size) if size else _ROWS
        # A power of two, so that what was large enough once is not rewritten for a few bytes.
        return cls(
            max((f.id for f in fragments), default=-1),
            min(_ROWS, 1 << (fitting.bit_length() - 1)),
        )


def compact(place: Place, end: Deadline, *, dry_run: bool) -> Compacted:
    """Rewrite the fragments there are now that are small, or have many deleted rows.

    Args:
        place: The table.
        end: When to begin nothing more.
        dry_run: Only say what would be done.
    """
    done = Compacted()
    head = place.open()
    scope = _Scope.of(head)
    if dry_run:
        for task in _tasks(place, head, done, scope):
            done.removed += len(task.fragments)
            done.added += 1
            done.rows += sum(f.num_rows for f in task.fragments)
        return done
    while end.remaining and (tasks := _tasks(place, head, done, scope)):
        # Those that lost before come last: a busy fragment keeps no other one waiting.
        task = min(tasks, key=lambda t: max(done.losses[f.id] for f in t.fragments))
        with contextlib.ExitStack() as stack:
            if max(done.losses[f.id] for f in task.fragments) >= _PATIENCE:
                lane = stack.enter_context(lane_of(place))
                with contextlib.suppress(CommitConflict):
                    stack.enter_context(lane.passing(end))
                head = place.open()
                task = next((t for t in _tasks(place, head, done, scope) if _same(t, task)), task)
            _rewrite(place, head, task, done)
        head = place.open()
    return done


def _same(one: Any, other: Any) -> bool:
    return [f.id for f in one.fragments] == [f.id for f in other.fragments]


def _tasks(place: Place, head: lance.LanceDataset, done: Compacted, scope: _Scope) -> list[Any]:
    """Return the groups of fragments to rewrite, without what is new or lost too often."""
    from lance.optimize import Compaction

    left = [
        f.fragment_id
        for f in head.get_fragments()
        if f.fragment_id > scope.newest or done.losses[f.fragment_id] >= _LOSSES
    ]
    with translated(place.name, place.secrets):
        plan: Any = Compaction.plan(
            head,
            {"excluded_fragment_ids": left, "target_rows_per_fragment": scope.target},
        )
        return list(plan.tasks)


def _rewrite(place: Place, head: lance.LanceDataset, task: Any, done: Compacted) -> None:
    """Rewrite one group of fragments and commit that, or count the loss."""
    from lance.optimize import Compaction

    old = list(task.fragments)
    new: list[Any] = []
    try:
        result: Any = task.execute(head)
        new = list(result.new_fragments)
        Compaction.commit(head, [result])
    except BaseException as error:
        if not is_lance_error(error):
            # A signal does not tell whether the commit had been made.
            raise
        if meaning(error) in _LOST:
            discard(place, new)
            done.conflicts += 1
            done.losses.update(f.id for f in old)
            return
        if not new or not _is_there(place, new):
            # What cannot be told lost stays; the next retention takes it if nobody names it.
            done.failures += 1
            failure = translate(error, place.name, place.secrets)
            if not failure.retryable or done.failures > _FAILURES:
                raise failure from None
            return
    done.removed += len(old)
    done.added += len(new)
    done.rows += sum(f.physical_rows for f in new)


def _is_there(place: Place, fragments: list[Any]) -> bool:
    """Whether the newest version names the files of a compaction that gave no answer."""
    try:
        named = data_files(f.metadata for f in place.open().get_fragments())
    except PennonError:
        return False
    return data_files(fragments) <= named


def remove_old(place: Place, retain: timedelta, *, dry_run: bool) -> tuple[int, int, int]:
    """Remove old versions of a branch; return how many, how many files, and their bytes.

    A version is as old as the one that followed it: until then it was the newest, which everybody
    reads, and nobody is slow who read it a moment ago. Lance keeps those that tags name and
    branches start from, and files of 7 days that no version names, since somebody may be about to.
    """
    handle = place.open()
    if place.uri.scheme != "file":
        # What a reader of a bucket takes for the newest version is there for this long.
        retain = max(retain, timedelta(seconds=GRACE_SECONDS))
    old = place.versions_until(datetime.now(UTC) - retain, handle)[:-1]
    # There is no version 0: it stands for none.
    which: Any = {"versions": old or [0], "error_if_tagged_old_versions": False}
    with translated(place.name, place.secrets):
        if dry_run:
            found: Any = handle.explain_cleanup_old_versions(**which).stats
        else:
            with announced(place):
                found = handle.cleanup_old_versions(**which)
    kinds = ("data", "transaction", "index", "deletion")
    files = sum(int(getattr(found, f"{kind}_files_removed")) for kind in kinds)
    return int(found.old_versions), int(found.old_versions) + files, int(found.bytes_removed)
