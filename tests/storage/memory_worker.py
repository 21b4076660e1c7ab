"""Run in a fresh process: fills or reads a table, and prints by how much its memory grew at most.

python memory_worker.py fill|scan|merge <root> <json options>
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import pennon
from pennon import ScanRequest

TEXT = 1000
WIDTH = 128
ROWS = 1000
"""Of a batch: 1.5 MB."""


def batches(count: int, first: int = 0) -> Iterator[pa.RecordBatch]:
    """Rows that do not compress: a key, a text and a vector."""
    rng = np.random.default_rng(first)
    for number in range(count):
        start = first + number * ROWS
        noise = rng.bytes(ROWS * TEXT // 2).hex()
        vectors = pa.array(rng.standard_normal(ROWS * WIDTH, dtype=np.float32))
        yield pa.record_batch(
            {
                "id": pa.array(np.arange(start, start + ROWS)),
                "text": [noise[n * TEXT : (n + 1) * TEXT] for n in range(ROWS)],
                "vector": pa.FixedSizeListArray.from_arrays(vectors, WIDTH),
            }
        )


def peak() -> int:
    """The most bytes this process ever had in memory since the last reset."""
    status = Path("/proc/self/status").read_text()
    return next(int(t.split()[1]) for t in status.splitlines() if t.startswith("VmHWM")) * 1024


def work(db: Any, what: str, table: str, options: dict[str, Any]) -> int:
    if what == "fill":
        db.create_table(table, batches(options["batches"]))
        return int(db.write(table, batches(1, 10**9)).version)
    if what == "merge":
        source = batches(options["batches"], options["first"])
        return int(db.merge_insert(table, source, on="id").rows_inserted)
    return sum(batch.num_rows for batch in db.scan(ScanRequest(table, **options)))


def main() -> None:
    what, root, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    db = pennon.open(root)
    # What the libraries take once, whatever they work on, is not counted.
    small = f"small_{os.getpid()}"
    if what != "fill":
        db.create_table(small, batches(1))
    work(db, what, small, given | ({"batches": 1} if "batches" in given else {}))
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    result = work(db, what, "t", given)
    sys.stdout.write(json.dumps({"result": result, "peak": peak() - before}))


if __name__ == "__main__":
    main()
