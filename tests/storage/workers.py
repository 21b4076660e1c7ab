"""What racing processes do in the storage tests: importable, since they are spawned."""

from __future__ import annotations

import functools
import os
import random
import signal
from typing import Any

import pennon
from pennon.errors import CommitConflict, TableAlreadyExists, TableNotFound
from pennon.objects import open_store
from pennon.storage.abc import StorageBackend
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri


@functools.lru_cache(maxsize=8)
def _kept(uri: str, options: tuple[tuple[str, str], ...]) -> StorageBackend:
    return pennon.open(uri, storage_options=dict(options) or None)


def kept(root: TestRoot) -> StorageBackend:
    """One backend per root and process."""
    return _kept(root.uri, tuple(root.options.items()))


def create(worker: int, root: TestRoot, table: Any, rows: int = 3) -> dict[str, Any]:
    receipt = kept(root).create_table(table, [{"owner": worker, "n": n} for n in range(rows)])
    return {"version": receipt.version, "rows": receipt.rows_inserted}


def append(worker: int, root: TestRoot, table: str, times: int) -> list[int]:
    versions = []
    for n in range(times):
        rows = [{"owner": worker, "n": n}] * (n + 1)
        versions.append(kept(root).write(table, rows).version)
    return versions


def churn(worker: int, root: TestRoot, seed: int) -> dict[str, int]:
    """Create, write, and drop a few names at random; return what came of it."""
    rng = random.Random(f"{seed}-{worker}")
    db = kept(root)
    counts = {"created": 0, "written": 0, "dropped": 0, "lost": 0}
    for _ in range(6):
        name = f"c{rng.randrange(2)}"
        try:
            match rng.randrange(3):
                case 0:
                    db.create_table(name, [{"owner": worker}])
                    counts["created"] += 1
                case 1:
                    db.write(name, [{"owner": worker}])
                    counts["written"] += 1
                case _:
                    db.namespace.drop_table(name)
                    counts["dropped"] += 1
        except (TableAlreadyExists, TableNotFound, CommitConflict):
            counts["lost"] += 1
    return counts


def die_after_commit(root: TestRoot, table: str, operation: str) -> None:
    """Write, and be killed when the commit is made and nobody has heard of it."""
    import lance

    commit = lance.LanceDataset.commit

    def and_die(base: Any, *args: Any, **kwargs: Any) -> Any:
        done = commit(base, *args, **kwargs)
        if table in str(getattr(base, "uri", base)):
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    lance.LanceDataset.commit = staticmethod(and_die)
    db = kept(root)
    if operation == "create":
        db.create_table(table, [{"n": 1}, {"n": 2}], write_id="the-one")
    else:
        db.write(table, [{"n": 1}, {"n": 2}], write_id="the-one")


def ingest(root: TestRoot, table: str, total: int, seen: Any) -> None:
    """Create a table and append numbered rows, each write under its own id."""
    db = kept(root)
    seen.set()
    db.create_table(table, [{"n": -1}], write_id="start")
    for n in range(total):
        db.write(table, [{"n": n}, {"n": n}], write_id=f"w{n}")


def append_once(root: TestRoot, table: str, write_id: str) -> None:
    kept(root).write(table, [{"n": 1}, {"n": 2}], write_id=write_id)


def stray_files(root: TestRoot, table: Any) -> set[str]:
    """The data files and transactions in the directory of a table that no version names."""
    import lance

    info = kept(root).namespace.describe_table(table)
    handle = lance.dataset(info.location, storage_options=dict(info.storage_options or {}) or None)
    named = {f"data/{f.path}" for x in handle.get_fragments() for f in x.metadata.files}
    for version in range(1, handle.version + 1):
        transaction = handle.read_transaction(version)
        named.add(f"_transactions/{transaction.read_version}-{transaction.uuid}.txn")
    from pennon.config import parse_options

    uri = parse_uri(info.location)
    store = open_store(uri, parse_options(uri, info.storage_options))
    there = {m.key for d in ("data", "_transactions") for m in store.list(d)}
    return there - named
