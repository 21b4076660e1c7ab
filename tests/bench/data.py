"""Reading and writing rows with pennon beside plain pylance and lancedb, in one interleaved run.

Each library works on a table of its own that holds the same rows; shown are medians. What a bar of
the project asks is printed beside what was measured.

    python tests/bench/data.py [--rows 5000000] [--rounds 15] [--only disk|s3|memory] [--json FILE]
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.metadata
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import counted
import numpy as np
import pyarrow as pa

from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot, start_s3

KEY = pa.field("id", pa.int64(), nullable=False)
SCHEMA = pa.schema(
    [
        KEY.with_metadata({"lance-schema:unenforced-primary-key": "true"}),
        ("x", pa.float64()),
        ("n", pa.int64()),
        ("kind", pa.string()),
    ]
)
BATCH = 100_000
WRITERS = 16
WRITES = 8
"""Of each of the concurrent writers."""


def rows(start: int, count: int) -> pa.Table:
    """Rows with these ids, alike for all."""
    rng = np.random.default_rng(start)
    ids = np.arange(start, start + count)
    kinds = np.array(["alpha", "beta", "gamma", "delta"])[ids % 4]
    return pa.table([ids, rng.random(count), ids * 7, kinds], schema=SCHEMA)


def many(count: int) -> pa.RecordBatchReader:
    """A stream of rows with the ids from 0."""

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, count, BATCH):
            yield from rows(start, min(BATCH, count - start)).to_batches()

    return pa.RecordBatchReader.from_batches(SCHEMA, batches())


class Library(Protocol):
    """What every library is asked to do."""

    def create(self, table: str, data: Any) -> None: ...
    def index(self, table: str) -> None: ...
    def scan(self, table: str) -> int: ...
    def lookup(self, table: str, key: int) -> int: ...
    def append(self, table: str, data: pa.Table) -> None: ...
    def upsert(self, table: str, data: pa.Table) -> None: ...
    def delete(self, table: str, key: int) -> None: ...
    def exists(self, table: str) -> bool: ...
    def versions(self, table: str, limit: int | None) -> int: ...
    def fragments(self, table: str) -> int: ...


class Pennon:
    """A pennon backend as it is opened by default: each call is fresh, each write verified."""

    def __init__(self, root: TestRoot) -> None:
        import pennon

        self.db = pennon.open(root.uri, storage_options=root.options or None)

    def native(self, table: str) -> Any:
        """Open the table as any Lance tool does."""
        import lance

        info = self.db.namespace.describe_table(table)
        return lance.dataset(info.location, storage_options=dict(info.storage_options or {}))

    def create(self, table: str, data: Any) -> None:
        self.db.create_table(table, data, primary_key="id")

    def index(self, table: str) -> None:
        self.native(table).create_scalar_index("id", "BTREE")

    def scan(self, table: str) -> int:
        return sum(batch.num_rows for batch in self.db.scan(table))

    def lookup(self, table: str, key: int) -> int:
        from pennon import ScanRequest

        return self.db.scan(ScanRequest(table, filter=f"id = {key}")).read_all().num_rows

    def append(self, table: str, data: pa.Table) -> None:
        self.db.write(table, data)

    def upsert(self, table: str, data: pa.Table) -> None:
        self.db.merge_insert(table, data)

    def delete(self, table: str, key: int) -> None:
        self.db.delete_rows(table, f"id = {key}")

    def exists(self, table: str) -> bool:
        return self.db.table_exists(table)

    def versions(self, table: str, limit: int | None) -> int:
        return len(self.db.versions(table, limit=limit))

    def fragments(self, table: str) -> int:
        return len(self.native(table).get_fragments())


class Pylance:
    """Plain pylance with one session: a table is opened anew for each call, so that it is fresh."""

    def __init__(self, root: TestRoot) -> None:
        import lance

        self.root = root
        self.session = lance.Session()

    def at(self, table: str) -> str:
        return f"{self.root.uri}/{table}.lance"

    def open(self, table: str) -> Any:
        import lance

        options = self.root.options or None
        return lance.dataset(self.at(table), storage_options=options, session=self.session)

    def create(self, table: str, data: Any) -> None:
        import lance

        options: Any = self.root.options or None
        lance.write_dataset(
            data,
            self.at(table),
            storage_options=options,
            data_storage_version="2.2",
            enable_stable_row_ids=True,
        )

    def index(self, table: str) -> None:
        self.open(table).create_scalar_index("id", "BTREE")

    def scan(self, table: str) -> int:
        return sum(batch.num_rows for batch in self.open(table).scanner().to_reader())

    def lookup(self, table: str, key: int) -> int:
        return int(self.open(table).scanner(filter=f"id = {key}").to_reader().read_all().num_rows)

    def append(self, table: str, data: pa.Table) -> None:
        self.open(table).insert(data)

    def upsert(self, table: str, data: pa.Table) -> None:
        merge = self.open(table).merge_insert("id").when_matched_update_all()
        merge.when_not_matched_insert_all().use_index(use_index=False).execute(data)

    def delete(self, table: str, key: int) -> None:
        self.open(table).delete(f"id = {key}")

    def exists(self, table: str) -> bool:
        try:
            self.open(table)
        except ValueError:
            return False
        return True

    def versions(self, table: str, limit: int | None) -> int:
        return len(self.open(table).versions()[-(limit or 0) :])

    def fragments(self, table: str) -> int:
        return len(self.open(table).get_fragments())


class LanceDB:
    """lancedb with strong consistency, on tables that stay open, as it recommends."""

    def __init__(self, root: TestRoot) -> None:
        from datetime import timedelta

        import lancedb

        self.db: Any = lancedb.connect(
            root.uri,
            storage_options=root.options or None,
            read_consistency_interval=timedelta(0),
        )
        self.tables: dict[str, Any] = {}
        self.lock = threading.Lock()

    def table(self, table: str) -> Any:
        with self.lock:
            if table not in self.tables:
                self.tables[table] = self.db.open_table(table)
            return self.tables[table]

    def create(self, table: str, data: Any) -> None:
        self.tables[table] = self.db.create_table(table, data)

    def index(self, table: str) -> None:
        from lancedb.index import BTree

        self.table(table).create_index("id", config=BTree())

    def scan(self, table: str) -> int:
        return sum(batch.num_rows for batch in self.table(table).search().to_batches())

    def lookup(self, table: str, key: int) -> int:
        return int(self.table(table).search().where(f"id = {key}").to_arrow().num_rows)

    def append(self, table: str, data: pa.Table) -> None:
        self.table(table).add(data)

    def upsert(self, table: str, data: pa.Table) -> None:
        merge = self.table(table).merge_insert("id").when_matched_update_all()
        merge.when_not_matched_insert_all().execute(data)

    def delete(self, table: str, key: int) -> None:
        self.table(table).delete(f"id = {key}")

    def exists(self, table: str) -> bool:
        try:
            self.db.open_table(table)
        except (ValueError, FileNotFoundError):
            return False
        return True

    def versions(self, table: str, limit: int | None) -> int:
        return len(self.table(table).list_versions()[-(limit or 0) :])

    def fragments(self, table: str) -> int:
        return int(self.table(table).stats()["fragment_stats"]["num_fragments"])


LIBRARIES: dict[str, Callable[[TestRoot], Library]] = {
    "pennon": Pennon,
    "pylance": Pylance,
    "lancedb": LanceDB,
}
Measures = dict[str, dict[str, float]]
"""By what was done and library."""


class Bench:
    """The libraries, each on a root of its own, and what was measured of them."""

    def __init__(self, roots: dict[str, TestRoot], rounds: int) -> None:
        self.libraries = {name: make(roots[name]) for name, make in LIBRARIES.items()}
        self.rounds = rounds
        self.found: Measures = {}
        self.keys = iter(range(10**9, 2 * 10**9))

    def timed(
        self, what: str, work: Callable[[Library], object], rounds: int | None = None
    ) -> None:
        """Measure one thing, round after round; who goes first rotates. Milliseconds."""
        names = list(self.libraries)
        times: dict[str, list[float]] = {name: [] for name in names}
        for name in names:
            work(self.libraries[name])
        for turn in range(rounds or self.rounds):
            shift = turn % len(names)
            for name in names[shift:] + names[:shift]:
                begin = time.perf_counter()
                work(self.libraries[name])
                times[name].append((time.perf_counter() - begin) * 1000)
        self.found[what] = {name: statistics.median(t) for name, t in times.items()}

    def large(self, count: int) -> None:
        """Scans, and lookups by key through an index."""
        for library in self.libraries.values():
            library.create("large", many(count))
            library.index("large")
        dice = random.Random(7)

        def scan(library: Library) -> None:
            check(library.scan("large"), count)

        def lookup(library: Library) -> None:
            check(library.lookup("large", dice.randrange(count)), 1)

        self.timed(f"scan of {count:,} rows", scan)
        self.timed("lookup by key", lookup, self.rounds * 10)

    def single(self) -> None:
        """One writer, a row at a time."""
        for library in self.libraries.values():
            library.create("single", rows(0, 1000))
        self.timed("append", lambda db: db.append("single", rows(next(self.keys), 1)), 60)
        self.timed("upsert of a new key", lambda db: db.upsert("single", rows(next(self.keys), 1)))
        self.timed("upsert of a known key", lambda db: db.upsert("single", rows(7, 1)))

    def concurrent(self, rounds: int) -> None:
        """Many writers in threads: commits per second, and what they left behind."""
        for what in ("appenders", "upserters"):
            speeds: dict[str, list[float]] = {name: [] for name in self.libraries}
            left: dict[str, list[float]] = {name: [] for name in self.libraries}
            for turn in range(rounds):
                for name, library in self.libraries.items():
                    table = f"{what}{turn}"
                    library.create(table, rows(0, 1000))
                    speeds[name].append(self._race(library, what, table))
                    left[name].append(library.fragments(table) - 1)
                    check(library.scan(table), 1000 + WRITERS * WRITES)
            for title, values in (("writes per second", speeds), ("fragments added", left)):
                self.found[f"{WRITERS} {what}, {title}"] = {
                    name: statistics.median(v) for name, v in values.items()
                }

    def _race(self, library: Library, what: str, table: str) -> float:
        start = threading.Barrier(WRITERS + 1)
        given = [rows(10_000 + number, 1) for number in range(WRITERS * WRITES)]

        def work(number: int) -> None:
            start.wait()
            for data in given[number::WRITERS]:
                if what == "appenders":
                    library.append(table, data)
                else:
                    library.upsert(table, data)

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            done = [pool.submit(work, number) for number in range(WRITERS)]
            start.wait()
            begin = time.perf_counter()
            for future in done:
                future.result()
            return WRITERS * WRITES / (time.perf_counter() - begin)

    def existence(self) -> None:
        """Whether a table is there, among few and among many."""
        made = 0
        for tables in (10, 1000):
            for library in self.libraries.values():
                for number in range(made, tables):
                    library.create(f"t{number}", rows(0, 1))
            made = tables
            title = f"table_exists among {tables}"
            self.timed(title, lambda db: check(db.exists("t3"), True), self.rounds * 10)

    def history(self, versions: int) -> None:
        """A table of many versions."""
        one = rows(0, 1)
        for library in self.libraries.values():
            library.create("old", one)
            for _ in range(versions - 1):
                library.append("old", one)
        self.timed(f"append at {versions} versions", lambda db: db.append("old", one))
        self.timed(f"versions() of {versions}", lambda db: db.versions("old", None), 5)
        title = f"the newest 20 of {versions} versions"
        self.timed(title, lambda db: check(db.versions("old", 20), 20), 5)


def check(found: object, expected: object) -> None:
    """Make sure that nobody is fast by being wrong."""
    if found != expected:
        raise AssertionError(f"{found} instead of {expected}")


def requests(roots: dict[str, TestRoot]) -> Measures:
    """Count the requests of one warm call, by what it does and library."""
    works: dict[str, Callable[[Library, int], object]] = {
        "table_exists": lambda db, _: db.exists(counted.TABLE),
        "scan": lambda db, _: db.scan(counted.TABLE),
        "lookup by key": lambda db, n: db.lookup(counted.TABLE, n),
        "append": lambda db, n: db.append(counted.TABLE, rows(5000 + n, 1)),
        "upsert of a new key": lambda db, n: db.upsert(counted.TABLE, rows(6000 + n, 1)),
        "upsert of a known key": lambda db, n: db.upsert(counted.TABLE, rows(n, 1)),
        "delete": lambda db, n: db.delete(counted.TABLE, 100 + n),
    }
    found: Measures = {}
    for name, make in LIBRARIES.items():
        with RecordingProxy(roots[name].endpoint) as proxy:
            library = make(roots[name].via(proxy.endpoint))
            library.create(counted.TABLE, rows(0, 1000))
            library.index(counted.TABLE)
            library.create(counted.SMALL, rows(0, 10))
            library.append(counted.SMALL, rows(10, 10))
            library.create(counted.VECTORS, counted.vectors(rows(0, 300)))
            others = counted.WORKS[name](library, rows(0, 10))
            for what in [*works, *others]:
                for turn in (1, 2, 3):
                    if what.startswith("optimize"):
                        library.append(counted.SMALL, rows(100 * turn, 10))
                    proxy.clear()
                    works[what](library, turn) if what in works else others[what](turn)
                found.setdefault(what, {})[name] = proxy.count()
    return found


def memory() -> dict[str, float]:
    """Return by how many MiB a fresh process grew at most, over a table of 1.3 GiB."""
    worker = Path(__file__).parent.parent / "storage" / "memory_worker.py"
    works: dict[str, tuple[str, dict[str, Any]]] = {
        "ingest of 1.3 GiB": ("fill", {"batches": 900}),
        "scan with a budget of 128 MiB": ("scan", {"memory_budget": 128 << 20}),
        "scan without a budget": ("scan", {}),
        "merge of 105 MiB": ("merge", {"batches": 70, "first": 865_000}),
    }
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as root:
        for title, (what, options) in works.items():
            command = [sys.executable, str(worker), what, root, json.dumps(options)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[title] = json.loads(done.stdout)["peak"] / 2**20
    return found


def bars(found: Measures) -> list[tuple[str, str, bool]]:
    """Return what was asked, what was measured, and whether it is reached."""
    judged: list[tuple[str, str, bool]] = []

    def judge(what: str, ratio: float, most: float | None, least: float | None = None) -> None:
        asked = f"at most {most}" if most is not None else f"at least {least}"
        good = ratio <= most if most is not None else ratio >= (least or 0)
        judged.append((what, f"{ratio:.2f} ({asked})", good))

    def ratio(what: str, rival: str) -> float:
        return found[what]["pennon"] / found[what][rival]

    for what in found:
        if what.startswith("scan of"):
            judge(f"{what} / pylance", ratio(what, "pylance"), 1.03)
        elif what == "lookup by key":
            judge(f"{what} / pylance", ratio(what, "pylance"), 1.3)
            judge(f"{what} / lancedb", ratio(what, "lancedb"), 1)
        elif what == "append":
            judge(f"{what} / pylance", ratio(what, "pylance"), 1.5)
        elif what.startswith("append at"):
            judge(f"{what} / pylance", ratio(what, "pylance"), 1)
        elif what.endswith("appenders, writes per second"):
            judge(f"{what} / lancedb", ratio(what, "lancedb"), None, 10)
        elif what.endswith("appenders, fragments added"):
            judge(f"{what} / lancedb", ratio(what, "lancedb"), 0.1)
        elif what.endswith("upserters, writes per second"):
            judge(f"{what} / lancedb", ratio(what, "lancedb"), None, 3)
    few, more = (found.get(f"table_exists among {n}") for n in (10, 1000))
    if few and more:
        judge("table_exists, 1000 / 10", more["pennon"] / few["pennon"], 1.2)
    return judged


def show(title: str, found: Measures) -> None:
    """Print a table."""
    print(f"\n## {title}\n\n| | " + " | ".join(LIBRARIES) + " |")
    print("|---|" + "---|" * len(LIBRARIES))
    for what, values in found.items():
        print(f"| {what} | " + " | ".join(f"{values[name]:.4g}" for name in LIBRARIES) + " |")


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure everything that is asked for."""
    result: dict[str, Any] = {"load": os.getloadavg()[0]}
    if given.only in {None, "memory"}:
        result["memory"] = memory()
        print("\n## Peak memory of a fresh process, MiB\n\n| | pennon |\n|---|---|")
        for what, size in result["memory"].items():
            print(f"| {what} | {size:.0f} |")
    if given.only in {None, "disk"}:
        with tempfile.TemporaryDirectory() as place:
            roots = {name: TestRoot(f"{place}/{name}") for name in LIBRARIES}
            for root in roots.values():
                Path(root.uri).mkdir()
            bench = Bench(roots, given.rounds)
            bench.large(given.rows)
            bench.single()
            bench.concurrent(3)
            bench.existence()
            bench.history(given.versions)
        judged = bars(bench.found)
        show("Local disk: milliseconds, unless it says otherwise", bench.found)
        print("\n| bar | measured | reached |\n|---|---|---|")
        for what, measured, good in judged:
            print(f"| {what} | {measured} | {'yes' if good else 'NO'} |")
        result |= {"disk": bench.found, "bars": judged}
    if given.only in {None, "s3"}:
        with start_s3() as server:
            counts = requests({name: server.root() for name in LIBRARIES})
            show(f"Requests of one warm call, {server.what}", counts)
            result["requests"] = counts
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--versions", type=int, default=1000)
    parser.add_argument("--only", choices=["disk", "s3", "memory"])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    versions = (f"{n} {importlib.metadata.version(n)}" for n in ("pennon", "pylance", "lancedb"))
    print(f"{', '.join(versions)}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    result = run(given)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
