"""What two writers race with: each operation, and what a serial run of them must come to."""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lance

import pennon
from pennon import ScanRequest, col, errors
from pennon.errors import PennonError
from pennon.storage.abc import StorageBackend
from pennon.storage.memory import MemoryBackend
from pennon.testing.services import TestRoot

Op = Callable[[StorageBackend, str, int], Any]


def _rows(*ids: int, n: int) -> list[dict[str, int]]:
    return [{"id": i, "n": n} for i in ids]


def _upsert(*ids: int) -> Op:
    return lambda db, t, who: db.merge_insert(t, _rows(*ids, n=100 + who), on="id")


OPERATIONS: dict[str, Op] = {
    "create": lambda db, t, who: db.create_table(t, _rows(1, 50 + who, n=who), primary_key="id"),
    "append": lambda db, t, who: db.write(t, _rows(300 + who, 310 + who, n=who)),
    "overwrite": lambda db, t, who: db.write(t, _rows(1, 60 + who, n=who), mode="overwrite"),
    "upsert same key": _upsert(3, 7),
    "upsert new key": _upsert(200, 201),
    "upsert other keys": lambda db, t, who: _upsert(who, 210 + who)(db, t, who),
    "update": lambda db, t, who: db.update(t, {"n": "n * 2 + 1"}, col("id") >= 2),
    "delete": lambda db, t, who: db.delete_rows(t, (col("id") < 3) | (col("id") == 200)),
    "compact": lambda db, t, who: db.optimize_table(t, retain=None),
    "index": lambda db, t, who: db.create_scalar_index(t, "id"),
    "drop": lambda db, t, who: db.drop_table(t, force=True),
    "restore": lambda db, t, who: db.rollback_table(t, 1),
    "branch create": lambda db, t, who: db.create_branch(t, "new"),
    "branch delete": lambda db, t, who: db.delete_branch(t, "old"),
}
PAIRS = list(itertools.combinations_with_replacement(OPERATIONS, 2))

LOST = {"CommitConflict", "MergeConflict", "InvalidState"}
"""What the loser of a race may be told without having done anything."""
TYPED = {n for n, c in vars(errors).items() if isinstance(c, type) and issubclass(c, PennonError)}


def prepare(db: StorageBackend, table: str, pair: Sequence[str]) -> None:
    """Make a table of two fragments and three versions; none where one is to be created."""
    if "create" in pair:
        return
    db.create_table(table, _rows(*range(5), n=0), primary_key="id")
    db.write(table, _rows(*range(5, 10), n=0))
    if "branch delete" in pair:
        db.create_branch(table, "old")


@dataclass(frozen=True)
class Done:
    """What came of an operation: the rows of its receipt, and how often it tried to commit."""

    error: str
    counts: tuple[int, int, int] | None = None
    attempts: int = 0


def perform(db: StorageBackend, table: str, operation: str, who: int) -> Done:
    """Do an operation; a typed error is an outcome, anything else is raised."""
    before = _tried()
    try:
        made = OPERATIONS[operation](db, table, who)
    except PennonError as error:
        return Done(type(error).__name__, None, _tried() - before)
    counts = None
    if isinstance(made, pennon.CommitReceipt):
        counts = made.rows_inserted, made.rows_updated, made.rows_deleted
    return Done("", counts, _tried() - before)


def state(db: StorageBackend, table: str) -> Any:
    """Return all there is of a table: rows and indexes of every branch; None if it is gone."""
    if not db.table_exists(table):
        return None
    branches = ["main", *(b.name for b in db.list_branches(table))]
    return {
        b: (
            sorted(
                (r["id"], r["n"])
                for r in db.scan(ScanRequest(table, branch=b)).read_all().to_pylist()
            ),
            sorted(i.name for i in db.list_indexes(table, branch=b)),
        )
        for b in branches
    }


def serial(pair: Sequence[str], outcomes: Sequence[Done]) -> list[Any]:
    """Return the states that some order of the operations explains, with these very outcomes.

    Who lost a race did nothing, except that a creator may have claimed the name; whatever else was
    answered must be what that order answers.
    """
    found: list[Any] = []
    lost = [who for who, done in enumerate(outcomes) if done.error in LOST]
    claims = [False, True] if any(pair[who] == "create" for who in lost) else [False]
    for order, claimed in itertools.product(itertools.permutations(range(len(pair))), claims):
        model = MemoryBackend()
        prepare(model, "t", pair)
        if claimed:
            model.namespace.declare_table("t")
        for who in order:
            if who in lost:
                continue
            done = perform(model, "t", pair[who], who)
            if (done.error, done.counts) != (outcomes[who].error, outcomes[who].counts):
                break
        else:
            found.append(state(model, "t"))
    return found


_attempts = threading.local()
"""How often this thread tried to commit to a table."""


def _tried() -> int:
    return getattr(_attempts, "count", 0)


def count_attempts() -> None:
    """Count what Lance is asked to commit, other than to the catalog."""
    if getattr(lance.LanceDataset.commit, "counted", False):
        return
    commit = lance.LanceDataset.commit

    def counting(base: Any, *args: Any, **options: Any) -> Any:
        if not str(getattr(base, "uri", base)).endswith("__manifest"):
            _attempts.count = _tried() + 1
        return commit(base, *args, **options)

    counting.counted = True  # type: ignore[attr-defined]
    lance.LanceDataset.commit = staticmethod(counting)  # type: ignore[method-assign,assignment]


@functools.lru_cache(maxsize=4)
def opened(uri: str, options: tuple[tuple[str, str], ...]) -> StorageBackend:
    """One backend per root and process."""
    count_attempts()
    return pennon.open(uri, storage_options=dict(options) or None)


def raced(worker: int, root: TestRoot, table: str, operation: str) -> Done:
    """What a process does in a race."""
    return perform(opened(root.uri, tuple(root.options.items())), table, operation, worker)


def native_ids(db: StorageBackend, table: str) -> list[int]:
    """The ids a Lance tool without pennon sees, by a scan and through the index if there is one."""
    info = db.namespace.describe_table(table)
    options = dict(info.storage_options or {}) or None
    return lance.dataset(info.location, storage_options=options).to_table()["id"].to_pylist()
