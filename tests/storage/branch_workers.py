"""What racing processes do to branches: importable, since they are spawned."""

from __future__ import annotations

import os
import signal
from typing import Any

from workers import kept

from pennon.errors import CommitConflict
from pennon.testing.services import TestRoot


def create_branch(worker: int, root: TestRoot, table: str, name: str) -> int:
    """Create a branch, each worker from another version."""
    return kept(root).create_branch(table, name, version=worker + 1).parent_version


def fork_and_write(worker: int, root: TestRoot, table: str, name: str) -> int:
    """Fork the newest version while everybody moves it."""
    kept(root).write(table, [{"id": 100 + worker}])
    return kept(root).create_branch(table, name).parent_version


def create_tag(worker: int, root: TestRoot, table: str, name: str) -> int:
    """Create a tag, each worker for another version."""
    return kept(root).create_tag(table, name, version=worker + 1).version


def tag_or_delete(worker: int, root: TestRoot, table: str, name: str) -> None:
    """Delete a branch that others tag and fork."""
    match worker:
        case 0:
            kept(root).delete_branch(table, name)
        case 1:
            kept(root).create_branch(table, f"{name}-child", source=name)
        case _:
            kept(root).create_tag(table, f"{name}-{worker}", branch=name)


def roll_back_or_append(worker: int, root: TestRoot, table: str, times: int) -> list[Any]:
    """Append rows, or return to version 2 whatever is there, if nobody writes meanwhile."""
    db = kept(root)
    done: list[Any] = []
    for n in range(times):
        if worker:
            done.append((db.write(table, [{"id": 1000 * worker + n}]).version, 1000 * worker + n))
            continue
        expected = db.get_table_version(table)
        try:
            done.append((expected, db.rollback_table(table, 2, expected=expected).version))
        except CommitConflict:
            done.append((expected, None))
    return done


def churn(worker: int, root: TestRoot, table: str, name: str) -> list[str]:
    """Create and delete one name, by turns."""
    done = []
    for n in range(4):
        if (worker + n) % 2:
            kept(root).create_branch(table, name, version=worker + 1)
            done.append("created")
        else:
            kept(root).delete_branch(table, name)
            done.append("deleted")
    return done


def die_in_create(root: TestRoot, table: str, name: str, step: str) -> None:
    """Create a branch, and be killed after a step of that."""
    import lance

    create = lance.LanceDataset.create_branch

    def and_die(handle: Any, *args: Any, **kwargs: Any) -> None:
        if step != "claim":
            create(handle, *args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    lance.LanceDataset.create_branch = and_die
    kept(root).create_branch(table, name, version=2)
