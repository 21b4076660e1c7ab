"""What racing processes do in the tests of merges: importable, since they are spawned."""

from __future__ import annotations

import os
import signal
from typing import Any

import pyarrow as pa
from workers import kept

from pennon.storage.keys import with_primary_key
from pennon.testing.services import TestRoot

SCHEMA = with_primary_key(pa.schema({"id": pa.int64(), "by": pa.int64(), "n": pa.int64()}), "id")


def upsert(worker: int, root: TestRoot, table: str, keys: list[int]) -> dict[str, int]:
    """Upsert keys, and return what the receipt says."""
    rows = [{"id": key, "by": worker} for key in keys]
    receipt = kept(root).merge_insert(table, rows)
    return {"inserted": receipt.rows_inserted, "updated": receipt.rows_updated}


def mixed(worker: int, root: TestRoot, table: str, times: int) -> dict[str, int]:
    """Each worker changes one table in its own way; return what the receipts say."""
    db = kept(root)
    done = {"inserted": 0, "updated": 0, "deleted": 0}
    for n in range(times):
        match worker:
            case 0:
                receipt = db.merge_insert(table, [{"id": n, "by": 0}, {"id": 100 + n, "by": 0}])
            case 1:
                receipt = db.update(table, {"n": "coalesce(n, 0) + 1"})
            case 2:
                receipt = db.delete_rows(table, f"id = {50 + n}")
            case _:
                receipt = db.write(table, [{"id": 1000 + n, "by": 3}])
        done["inserted"] += receipt.rows_inserted
        done["updated"] += receipt.rows_updated
        done["deleted"] += receipt.rows_deleted
    return done


def do(db: Any, operation: str) -> Any:
    """Make one write with an id of its own."""
    match operation:
        case "overwrite":
            return db.write("t", [{"id": 9}], mode="overwrite", write_id="the-one")
        case "replace":
            return db.replace_table_atomic("t", [{"id": 9}], write_id="the-one")
        case "delete":
            return db.delete_rows("t", "id = 1", write_id="the-one")
        case "update":
            return db.update("t", {"n": "n + 1"}, write_id="the-one")
        case "truncate":
            return db.truncate("t", write_id="the-one")
        case _:
            return db.merge_insert("t", [{"id": 1, "n": 7}, {"id": 9}], write_id="the-one")


def die_after_commit(root: TestRoot, operation: str) -> None:
    """Write, and be killed when the commit is made and nobody has heard of it."""
    import lance

    commit = lance.LanceDataset.commit

    def and_die(base: Any, *args: Any, **kwargs: Any) -> Any:
        done = commit(base, *args, **kwargs)
        if "/" + kept(root).namespace.describe_table("t").location.split("/")[-1] in base.uri:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    lance.LanceDataset.commit = staticmethod(and_die)
    do(kept(root), operation)
