"""One write, made by several processes at the same moment: importable, since they are spawned."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any

import pyarrow as pa
from workers import kept

import pennon
from pennon.errors import PennonError
from pennon.storage.abc import StorageBackend
from pennon.testing.services import TestRoot

Call = Callable[..., Any]
NEW = [{"id": 7, "n": 7}]
APPENDS: dict[str, Call] = {
    "append": lambda db, t, **o: db.write(t, NEW, **o),
    "append of many": lambda db, t, **o: db.write(t, pa.table({"id": range(40_000)}), **o),
}
WRITES: dict[str, Call] = {
    **APPENDS,
    "check keys": lambda db, t, **o: db.write(t, NEW, check_keys=True, **o),
    "overwrite": lambda db, t, **o: db.write(t, NEW, mode="overwrite", **o),
    "replace": lambda db, t, **o: db.replace_table_atomic(t, NEW, expected_version=3, **o),
    "truncate": lambda db, t, **o: db.truncate(t, **o),
    "delete": lambda db, t, **o: db.delete_rows(t, "id >= 1", **o),
    "update": lambda db, t, **o: db.update(t, {"n": "n + 1"}, **o),
    "merge": lambda db, t, **o: db.merge_insert(t, [{"id": 1, "n": 9}, *NEW], on="id", **o),
    "merge, fail": lambda db, t, **o: db.merge_insert(t, NEW, on="id", when_matched="fail", **o),
    "add columns": lambda db, t, **o: db.add_columns(t, {"m": "n + 1"}, **o),
    "alter columns": lambda db, t, **o: db.alter_columns(
        t, {"n": pennon.ColumnChange(type=pa.float64())}, **o
    ),
    "rename column": lambda db, t, **o: db.alter_columns(
        t, {"n": pennon.ColumnChange(name="m")}, **o
    ),
    "drop columns": lambda db, t, **o: db.drop_columns(t, "n", **o),
    "rollback": lambda db, t, **o: db.rollback_table(t, 1, expected=3, **o),
    "index": lambda db, t, **o: db.create_scalar_index(t, "n", name="new", **o),
    "update indexes": lambda db, t, **o: db.update_indexes(t, **o),
    "metadata": lambda db, t, **o: db.update_metadata(t, {"k": "v"}, **o),
    "create": lambda db, t, **o: db.create_table(f"{t} new", NEW, **o),
    "create, overwriting": lambda db, t, **o: db.create_table(
        f"{t} new", NEW, mode="overwrite", **o
    ),
    "create or overwrite": lambda db, t, **o: db.create_table(t, NEW, mode="overwrite", **o),
}


def stocked(db: StorageBackend, table: str) -> None:
    """Make a table of three versions, with an index that lacks a row."""
    db.create_table(table, [{"id": 0, "n": 0}, {"id": 1, "n": 1}], primary_key="id")
    db.create_scalar_index(table, "id", name="old")
    db.write(table, [{"id": 2, "n": 2}])


def write(worker: int, root: TestRoot, table: str, kind: str) -> Any:
    """Make a write that all workers make; return its receipt."""
    made = WRITES[kind](kept(root), table, write_id="w")
    return made if isinstance(made, pennon.CommitReceipt) else None


def append_in_threads(worker: int, root: TestRoot, table: str, ids: int) -> list[Any]:
    """Append rows under ids that all workers use, each row once and all of them at one moment."""
    db = kept(root)
    with ThreadPoolExecutor(ids) as pool:
        return list(pool.map(lambda n: db.write(table, [{"id": n}], write_id=f"w{n}"), range(ids)))


def stall(pipe: Connection) -> None:
    """Make writes that are told, each of which stops, as it commits, until it is told to go on."""
    import lance

    commit = lance.LanceDataset.commit

    def slow(*args: Any, **options: Any) -> Any:
        lance.LanceDataset.commit = staticmethod(commit)
        pipe.send("stalled")
        pipe.recv()
        return commit(*args, **options)

    with contextlib.suppress(EOFError):
        while True:
            root, table, kind = pipe.recv()
            lance.LanceDataset.commit = staticmethod(slow)
            try:
                pipe.send(write(0, root, table, kind))
            except PennonError as error:
                pipe.send(error)
