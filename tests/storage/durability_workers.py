"""What a process does whose power is about to fail: importable, since it is spawned."""

from __future__ import annotations

import os
import pickle
import stat
import threading
from pathlib import Path
from typing import Any

import pennon
from pennon.storage.abc import Durability

Inode = tuple[int, int]


class Disk:
    """What a disk holds if it keeps nothing that was not synced: POSIX, taken at its word.

    A file has the bytes it had when it was synced last, and none if it never was; a directory has
    the names it had then.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.files: dict[Inode, bytes] = {}
        self.directories: dict[Inode, dict[str, tuple[Inode, bool]]] = {}
        self._lock = threading.Lock()
        self._real = os.fsync
        fd = os.open(root, os.O_RDONLY)
        self.fsync(fd)
        os.close(fd)

    def fsync(self, fd: int) -> None:
        """Sync, and remember what was there to be synced."""
        found = os.fstat(fd)
        inode = found.st_dev, found.st_ino
        if stat.S_ISDIR(found.st_mode):
            with os.scandir(fd) as entries:
                names = {e.name: (_inode(e), e.is_dir(follow_symlinks=False)) for e in entries}
            with self._lock:
                self.directories[inode] = names
        else:
            content = Path(f"/proc/self/fd/{fd}").read_bytes()
            with self._lock:
                self.files[inode] = content
        self._real(fd)

    def after_power_loss(self) -> dict[str, bytes | None]:
        """Return what is below the root: the bytes of files, None for directories."""
        found: dict[str, bytes | None] = {}
        top = Path(self.root).stat()
        self._add("", (top.st_dev, top.st_ino), found)
        return found

    def _add(self, path: str, inode: Inode, found: dict[str, bytes | None]) -> None:
        for name, (below, is_directory) in self.directories.get(inode, {}).items():
            key = f"{path}{name}"
            found[key] = None if is_directory else self.files.get(below, b"")
            if is_directory:
                self._add(f"{key}/", below, found)


def _inode(entry: os.DirEntry[str]) -> Inode:
    found = entry.stat(follow_symlinks=False)
    return found.st_dev, found.st_ino


def work(root: str, durability: Durability, report: str) -> None:
    """Write in every way there is; tell what the disk holds at the moment of each receipt."""
    import pyarrow as pa

    disk = Disk(root)
    os.fsync = disk.fsync
    db = pennon.open(f"{root}/lake")
    steps: list[tuple[str, str, str, str, list[Any], dict[str, bytes | None]]] = []

    def done(what: str, table: str = "t", branch: str = "main") -> None:
        there = disk.after_power_loss()
        request = pennon.ScanRequest(table, branch=branch)
        rows = sorted(db.scan(request).read_all().to_pylist(), key=lambda r: r["id"])
        place = db.namespace.describe_table(table).location
        steps.append((what, table, place, branch, rows, there))

    def people(*ids: int) -> pa.Table:
        return pa.table({"id": list(ids), "name": [f"p{i}" for i in ids]})

    db.create_table("t", people(1, 2), primary_key="id", durability=durability)
    done("create")
    db.create_table("others", people(1))
    db.write("others", people(2))
    db.write("others", people(3), durability=durability)
    done("append to what others wrote", "others")
    db.write("t", people(3, 4), durability=durability, write_id="mine")
    done("append")
    db.merge_insert("t", people(4, 5), durability=durability)
    done("merge")
    db.update("t", {"name": "'x'"}, "id = 1", durability=durability)
    done("update")
    db.delete_rows("t", "id = 2", durability=durability)
    done("delete")
    db.create_scalar_index("t", "id", durability=durability)
    done("index")
    db.add_columns("t", {"twice": "id * 2"}, durability=durability)
    done("columns")
    db.create_branch("t", "dev/a")
    db.write("t", people(9), durability=durability, branch="dev/a")
    done("branch", branch="dev/a")
    db.replace_table_atomic("t", people(7), people(7).schema, durability=durability)
    done("replace")
    db.rollback_table("t", 2, durability=durability)
    done("rollback")
    db.truncate("t", durability=durability)
    done("truncate")
    Path(report).write_bytes(pickle.dumps(steps))
