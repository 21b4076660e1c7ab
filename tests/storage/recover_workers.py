"""Processes that are killed in the middle of things: importable, since they are spawned."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from merge_workers import SCHEMA
from workers import kept

from pennon.errors import AlreadyExists, Conflict, NotFound
from pennon.objects.abc import ObjectStore
from pennon.storage._lance import repair
from pennon.storage.abc import StorageBackend
from pennon.testing.services import TestRoot


def die(*_: Any, **__: Any) -> Any:
    """End as if by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str, when: Callable[..., bool] = lambda *_, **__: True) -> None:
    """Die at the call of a function, if its arguments are those."""
    real = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        if when(*args, **kwargs):
            die()
        return real(*args, **kwargs)

    setattr(
        owner, name, staticmethod(call) if isinstance(owner, type) and name == "commit" else call
    )


def after(owner: Any, name: str) -> None:
    """Die at the return of a function."""
    real = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        die()

    setattr(owner, name, call)


def race_a_rival(db: StorageBackend, rows: list[Any]) -> None:
    """Let another tool append rows between the moment a merge looks and that of its commit."""
    import lance
    import pyarrow as pa
    from lance.dataset import MergeInsertBuilder

    info = db.namespace.describe_table("t")
    options = dict(info.storage_options or {}) or None
    foreign = lance.dataset(info.location, storage_options=options)
    execute = MergeInsertBuilder.execute_uncommitted

    def call(*args: Any) -> Any:
        made = execute(*args)
        MergeInsertBuilder.execute_uncommitted = execute
        foreign.insert(pa.Table.from_pylist(rows, schema=SCHEMA))
        return made

    MergeInsertBuilder.execute_uncommitted = call


def interrupted(root: TestRoot, step: str) -> None:
    """Begin one thing, and be killed at a step of it."""
    import lance

    db = kept(root)
    match step:
        case "create: claimed":
            from pennon.storage._lance import create

            before(create, "write_files")
            db.create_table("new", [{"id": 1}])
        case "create: written":
            before(lance.LanceDataset, "commit", lambda *a, **_: "_new" in str(a[0]))
            db.create_table("new", [{"id": 1}])
        case "append: noted":
            before(lance.LanceDataset, "commit", lambda *a, **_: "_t" in str(a[0].uri))
            db.write("t", [{"id": 90}], write_id="noted")
        case "merge: twins" | "merge: twins, failing" | "merge: aligned":
            race_a_rival(db, [{"id": 7, "by": 0, "n": 0}, {"id": 8, "by": 0, "n": 0}])
            before(repair, "_align" if step != "merge: aligned" else "_remove")
            if step == "merge: twins, failing":
                before(repair, "_remove")
                db.write("t", [{"id": 7}, {"id": 6}], check_keys=True)
            else:
                db.merge_insert("t", [{"id": 7, "by": 5}, {"id": 6, "by": 5}])
        case "overwrite: indexes":
            from pennon.storage._lance import rebuilds

            before(rebuilds, "create")
            db.write("t", [{"id": 1}, {"id": 2}], mode="overwrite")
        case "index: built":
            before(lance.LanceDataset, "commit", lambda *a, **_: "_t" in str(a[0].uri))
            db.create_scalar_index("t", "n")
        case _ if step.startswith("branch"):
            _interrupted_branch(db, step)
        case _:
            before(ObjectStore, "delete_directory")
            db.drop_table("t")


def _interrupted_branch(db: StorageBackend, step: str) -> None:
    import lance

    match step:
        case "branch: claimed":
            before(lance.LanceDataset, "create_branch")
            db.create_branch("t", "b")
        case "branch: made":
            after(lance.LanceDataset, "create_branch")
            db.create_branch("t", "b")
        case "branch: being deleted":
            from pennon.storage._lance import branches

            db.create_branch("t", "b")
            db.write("t", [{"id": 30}], branch="b")
            before(branches, "_check_unused")
            db.delete_branch("t", "b")
        case _:
            from pennon.storage._lance import branches

            db.create_branch("t", "b")
            db.write("t", [{"id": 30}], branch="b")
            before(branches, "_remove")
            db.delete_branch("t", "b")


def wild(root: TestRoot, seed: int, log: str) -> None:
    """Do one thing after the other, and write down what was acknowledged, until killed."""
    db = kept(root)
    rng = random.Random(seed)
    with Path(log).open("a") as told:
        while True:
            told.write(_one(db, rng))
            told.flush()


def _one(db: StorageBackend, rng: random.Random) -> str:
    number = rng.randrange(10_000, 10**9)
    try:
        match rng.randrange(8):
            case 0:
                db.create_table(f"x{number}", [{"id": number}])
                return f"x{number} {number}\n"
            case 1 | 2:
                db.write("t", [{"id": number}], write_id=f"w{number}")
                return f"t {number}\n"
            case 3 | 4:
                db.merge_insert("t", [{"id": number}, {"id": rng.randrange(20)}])
                return f"t {number}\n"
            case 5:
                db.create_branch("t", f"b{rng.randrange(3)}")
            case 6:
                db.delete_branch("t", f"b{rng.randrange(3)}")
            case _:
                db.update_indexes("t")
    except (AlreadyExists, Conflict, NotFound):
        pass
    return ""
