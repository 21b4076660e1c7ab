"""What racing processes do to columns: importable, since they are spawned."""

from __future__ import annotations

import os
import signal
from typing import Any

import pyarrow as pa
from workers import kept

from pennon import ColumnChange
from pennon.errors import CommitConflict, SchemaMismatch
from pennon.testing.services import TestRoot


def add(worker: int, root: TestRoot, table: str, name: str, sql: str) -> int:
    return kept(root).add_columns(table, {name: sql}).version


def append(worker: int, root: TestRoot, table: str, times: int) -> list[tuple[int, int, int]]:
    """Append single rows; return id, number of row and version of each that was acknowledged."""
    found = []
    for n in range(times):
        row = worker * 1000 + n
        try:
            found.append((row, n, kept(root).write(table, [{"id": row, "n": n}]).version))
        except (CommitConflict, SchemaMismatch):
            continue
    return found


def upsert(worker: int, root: TestRoot, table: str, times: int) -> list[tuple[int, int, int]]:
    """Insert single rows by their key; return them as ``append`` does."""
    found = []
    for n in range(times):
        row = worker * 1000 + n
        try:
            made = kept(root).merge_insert(table, [{"id": row, "n": n}])
            found.append((row, n, made.version))
        except (CommitConflict, SchemaMismatch):
            continue
    return found


def count_up(worker: int, root: TestRoot, table: str, times: int) -> int:
    """Add 1 to every row; return how often that was acknowledged."""
    for _ in range(times):
        kept(root).update(table, {"n": "n + 1"})
    return times


def widen(worker: int, root: TestRoot, table: str) -> int:
    change = ColumnChange(type=pa.int64())
    return kept(root).alter_columns(table, {"n": change}).version


def forbid_null(worker: int, root: TestRoot, table: str) -> int:
    return kept(root).alter_columns(table, {"n": ColumnChange(nullable=False)}).version


def append_null(worker: int, root: TestRoot, table: str) -> int:
    return kept(root).write(table, [{"id": worker * 1000, "n": None}]).version


def drop_and_add(worker: int, root: TestRoot, table: str) -> int:
    kept(root).drop_columns(table, "n")
    return kept(root).add_columns(table, {"n": pa.int32()}).version


def die_while_adding(root: TestRoot, table: str, when: str, directory: str) -> None:
    """Add a column with a function, and be killed after the commit or in the second batch."""
    import lance

    commit = lance.LanceDataset.commit

    def and_die(base: Any, *args: Any, **kwargs: Any) -> Any:
        done = commit(base, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
        return done

    if when == "committed":
        lance.LanceDataset.commit = staticmethod(and_die)
    seen: list[int] = []

    def compute(batch: pa.RecordBatch) -> dict[str, Any]:
        if when == "computing" and seen:
            os.kill(os.getpid(), signal.SIGKILL)
        seen.append(1)
        return {"z": [i * 2 for i in batch["id"].to_pylist()]}

    kept(root).add_columns(
        table,
        compute,
        schema=pa.schema({"z": pa.int64()}),
        read_columns=["id"],
        batch_size=2,
        checkpoint=directory,
        write_id="the-one",
    )
