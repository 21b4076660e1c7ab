"""Run in a fresh process: fills or reads a table, and prints by how much its memory grew at most.

python memory_worker.py "fill|ingest|scan|merge|merge narrow" <root> <json options>
"""

from __future__ import annotations

import itertools
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
MIB = 1 << 20
DIMENSIONS = 1536
UNEVEN = [0.5, 0.3, 0.18, 0.015, 0.005]
"""How often each length of a text comes; it has 9 kB in the mean."""


SOURCE: list[pa.RecordBatch] = []
"""What is ingested again and again: made before anything is measured."""


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


def batch_of(kind: str, size: int) -> pa.RecordBatch:
    """Rows of about so many bytes."""
    rng = np.random.default_rng(0)
    match kind:
        case "vectors":
            made: dict[str, Any] = {"vector": vectors(rng, size // 4 // DIMENSIONS)}
        case "documents":
            lengths = rng.choice([5, 50, 5000, 200_000, MIB], size // 16_000, p=UNEVEN)
            texts = [rng.bytes(n // 2).hex() for n in lengths]
            made = {"text": texts, "vector": vectors(rng, len(texts))}
        case _:
            made = {f"c{n}": rng.standard_normal(size // 800) for n in range(100)}
    return pa.record_batch({k: pa.array(v) for k, v in made.items()})


def vectors(rng: np.random.Generator, count: int) -> pa.Array:
    values = pa.array(rng.standard_normal(count * DIMENSIONS, dtype=np.float32))
    return pa.FixedSizeListArray.from_arrays(values, DIMENSIONS)


def peak() -> int:
    """The most bytes this process ever had in memory since the last reset."""
    status = Path("/proc/self/status").read_text()
    return next(int(t.split()[1]) for t in status.splitlines() if t.startswith("VmHWM")) * 1024


def work(db: Any, what: str, table: str, options: dict[str, Any]) -> int:
    if what == "fill":
        db.create_table(table, batches(options["batches"]))
        return int(db.write(table, batches(1, 10**9)).version)
    if what == "ingest":
        schema, rows = SOURCE[0].schema, itertools.islice(itertools.cycle(SOURCE), options["times"])
        stream = pa.RecordBatchReader.from_batches(schema, rows)
        return int(db.create_table(table, stream).rows_inserted)
    if what == "merge narrow":
        ids = np.arange(options["first"], options["first"] + options["rows"])
        return int(db.merge_insert(table, {"id": ids, "n": ids}, on="id").rows_updated)
    if what == "merge":
        source = batches(options["batches"], options["first"])
        return int(db.merge_insert(table, source, on="id").rows_inserted)
    return sum(batch.num_rows for batch in db.scan(ScanRequest(table, **options)))


def main() -> None:
    what, root, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    db = pennon.open(root)
    if what == "ingest":
        SOURCE.append(batch_of(given["kind"], given["size"] * MIB))
    # What the libraries take once, whatever they work on, is not counted.
    small = f"small_{os.getpid()}"
    few = {"batches": 1, "rows": 10}
    if what == "ingest":
        db.create_table(small, SOURCE[0].slice(0, 1))
    else:
        if what == "merge narrow":
            db.create_table(small, {"id": [1], "n": [1]})
        elif what != "fill":
            db.create_table(small, batches(1))
        work(db, what, small, given | {k: v for k, v in few.items() if k in given})
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    result = work(db, what, "t", given)
    sys.stdout.write(json.dumps({"result": result, "peak": peak() - before}))


if __name__ == "__main__":
    main()
