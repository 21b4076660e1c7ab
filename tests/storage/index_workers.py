"""What racing processes do in the tests of indexes: importable, since they are spawned."""

from __future__ import annotations

import os
import random
import signal
from typing import Any

from workers import kept

from pennon.errors import (
    CommitConflict,
    IndexAlreadyExists,
    IndexNotFound,
    PennonError,
    TableNotFound,
)
from pennon.testing._storage_indexes import rows
from pennon.testing.services import TestRoot

EXPECTED = (CommitConflict, IndexAlreadyExists, IndexNotFound, TableNotFound)


def location(root: TestRoot, table: str = "t") -> tuple[str, dict[str, str] | None]:
    """What raw Lance opens."""
    info = kept(root).namespace.describe_table(table)
    return info.location, dict(info.storage_options or {}) or None


def compact(root: TestRoot, table: str = "t") -> None:
    """Compact with Lance alone, as another tool would."""
    import lance

    where, options = location(root, table)
    handle = lance.dataset(where, storage_options=options)
    try:
        handle.optimize.compact_files(target_rows_per_fragment=1_000_000)
    except OSError as error:
        if "conflict" not in str(error):
            raise


def build(worker: int, root: TestRoot, kind: str, times: int) -> dict[str, int]:
    """Build, update and drop indexes; count what came of it."""
    db = kept(root)
    done: dict[str, int] = {}
    for n in range(times):
        calls: list[Any] = [
            lambda: db.create_scalar_index("t", "id", kind, name="mine", replace=True),
            lambda: db.update_indexes("t"),
            lambda: db.create_scalar_index("t", "lang", "bitmap"),
            lambda: db.create_fts_index("t", "body", name="mine2", replace=True),
            lambda: db.update_indexes("t"),
            lambda: db.drop_index("t", "lang_bitmap", missing_ok=True),
        ]
        what = "ok"
        try:
            calls[(n + worker) % len(calls)]()
        except EXPECTED as error:
            what = type(error).__name__
        done[what] = done.get(what, 0) + 1
    return done


def disturb(worker: int, root: TestRoot, what: str, times: int) -> dict[str, int]:
    """Write what moves the rows of an index; count what came of it."""
    db = kept(root)
    rng = random.Random(f"{worker} {what}")
    done: dict[str, int] = {}
    for n in range(times):
        first = 10_000 * (worker + 1) + 50 * n
        calls: dict[str, Any] = {
            "append": lambda first=first: db.write("t", rows(first, 20)),
            "upsert": lambda: db.merge_insert("t", rows(rng.randrange(300), 40), on="id"),
            "partial": lambda: db.merge_insert(
                "t", rows(0, 300).select(["id", "lang", "body"]), on="id", when_not_matched="ignore"
            ),
            "update": lambda: db.update("t", {"lang": "'xx'"}, f"id % 7 = {rng.randrange(7)}"),
            "delete": lambda: db.delete_rows("t", f"id % 50 = {rng.randrange(50)}"),
            "compact": lambda: compact(root),
            "overwrite": lambda first=first: db.write("t", rows(first, 60), mode="overwrite"),
            "truncate": lambda: db.truncate("t"),
        }
        name = what if what in calls else rng.choice(sorted(calls))
        outcome = "ok"
        try:
            calls[name]()
        except EXPECTED as error:
            outcome = type(error).__name__
        done[f"{name} {outcome}"] = done.get(f"{name} {outcome}", 0) + 1
    return done


def recreate(worker: int, root: TestRoot, times: int) -> int:
    """Drop the table and make it again."""
    db = kept(root)
    made = 0
    for n in range(times):
        try:
            db.drop_table("t", missing_ok=True)
            db.create_table("t", rows(n * 1000, 50))
            made += 1
        except PennonError as error:
            if type(error).__name__ not in {"TableAlreadyExists", "CommitConflict"}:
                raise
    return made


def one_name(worker: int, root: TestRoot) -> str:
    """Build an index of a name that all want."""
    column = "id" if worker % 2 else "lang"
    return kept(root).create_scalar_index("t", column, name="wanted").columns[0]


def upsert(worker: int, root: TestRoot, times: int) -> int:
    """Merge the same keys as everybody."""
    for n in range(times):
        kept(root).merge_insert("t", rows(n * 5, 10), on="id")
    return times


def die_before_rebuild(root: TestRoot) -> None:
    """Overwrite, and be killed when it is committed and no index is built yet."""
    from pennon.storage._lance import rebuilds

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    rebuilds.create = die
    kept(root).write("t", rows(500, 40), mode="overwrite", write_id="the-one")
