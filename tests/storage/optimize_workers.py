"""What processes do to a table while others optimize it: importable, since they are spawned."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from workers import kept

from pennon.storage.abc import ScanRequest
from pennon.testing.services import TestRoot


def use_or_optimize(worker: int, root: TestRoot, times: int) -> dict[str, Any]:
    """Write, read or optimize; return what the receipts and reports say."""
    db = kept(root)
    done: dict[str, Any] = {"inserted": 0, "updated": 0, "deleted": 0, "conflicts": 0, "rows": []}
    for n in range(times):
        match worker:
            case 0:
                report = db.optimize_table("t", retain=timedelta(hours=1))
                done["conflicts"] += report.conflicts
                assert report.version >= 1
                continue
            case 1:
                receipt = db.update("t", {"n": "n + 1"}, "id % 7 = 0")
            case 2:
                rows = [{"id": 10_000 + n, "n": 0}, {"id": n, "n": 1000}]
                receipt = db.merge_insert("t", rows)
            case 3:
                receipt = db.delete_rows("t", f"id = {100 + n}")
                found = db.scan(ScanRequest("t", columns=["id"])).read_all()
                done["rows"].append(found.num_rows)
                assert len(set(found["id"].to_pylist())) == found.num_rows
            case _:
                receipt = db.write("t", [{"id": 20_000 + n, "n": 0}])
        done["inserted"] += receipt.rows_inserted
        done["updated"] += receipt.rows_updated
        done["deleted"] += receipt.rows_deleted
    return done
