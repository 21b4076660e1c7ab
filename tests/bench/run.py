"""Catalog operations of pennon beside Lance's native catalog and lancedb, on disk and on S3.

Every operation is made by each library in turn, round after round, on a catalog of its own that
holds the same tables; shown are medians. On S3 a second pass through a counting proxy tells how
many requests one warm call sends.

    python tests/bench/run.py [--tables 200] [--rounds 21] [--only disk|s3]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pyarrow as pa

from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot, start_s3

ROWS = pa.table({"id": [1, 2, 3], "text": ["a", "b", "c"]})
OPERATIONS = ("exists", "missing", "list", "create")


class Catalog(Protocol):
    """What every library is asked to do."""

    def create(self, name: str) -> None: ...
    def exists(self, name: str) -> bool: ...
    def list(self) -> int: ...


class Pennon:
    """A pennon directory namespace, and its storage backend."""

    def __init__(self, root: TestRoot) -> None:
        import pennon

        self.ns = pennon.connect("dir", root.properties).connect()
        self.db = pennon.open(self.ns)

    def create(self, name: str) -> None:
        self.db.create_table(name, ROWS)

    def exists(self, name: str) -> bool:
        return self.ns.table_exists(name)

    def list(self) -> int:
        return sum(1 for _ in self.ns.iter_tables())


class Native:
    """Lance's own directory namespace, with its manifest."""

    def __init__(self, root: TestRoot) -> None:
        from lance.namespace import DirectoryNamespace

        self.ns: Any = DirectoryNamespace(**root.properties)

    def create(self, name: str) -> None:
        from lance_namespace import CreateTableRequest

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, ROWS.schema) as writer:
            writer.write_table(ROWS)
        self.ns.create_table(CreateTableRequest(id=[name]), sink.getvalue().to_pybytes())

    def exists(self, name: str) -> bool:
        from lance_namespace import TableExistsRequest
        from lance_namespace.errors import TableNotFoundError

        try:
            self.ns.table_exists(TableExistsRequest(id=[name]))
        except TableNotFoundError:
            return False
        return True

    def list(self) -> int:
        from lance_namespace import ListTablesRequest

        found, token = 0, None
        while True:
            page = self.ns.list_tables(ListTablesRequest(id=[], page_token=token))
            found += len(page.tables)
            token = page.page_token
            if not token:
                return found


class LanceDB:
    """lancedb's local connection, which has no test for existence but opening."""

    def __init__(self, root: TestRoot) -> None:
        import lancedb

        self.db: Any = lancedb.connect(root.uri, storage_options=root.options or None)

    def create(self, name: str) -> None:
        self.db.create_table(name, ROWS)

    def exists(self, name: str) -> bool:
        try:
            self.db.open_table(name)
        except (ValueError, FileNotFoundError):
            return False
        return True

    def list(self) -> int:
        found, token = 0, None
        while True:
            page = self.db.list_tables(page_token=token, limit=1000)
            found += len(page.tables)
            token = page.page_token
            if not token:
                return found


LIBRARIES: dict[str, Callable[[TestRoot], Catalog]] = {
    "pennon": Pennon,
    "native": Native,
    "lancedb": LanceDB,
}


def perform(catalog: Catalog, operation: str, name: str, tables: int) -> None:
    """Do one thing and check its answer, so that nobody is fast by being wrong."""
    if operation == "create":
        catalog.create(name)
        return
    if operation == "list":
        found = catalog.list()
        if found < tables:
            raise AssertionError(f"{type(catalog).__name__} lists {found} of {tables} tables.")
        return
    known = "t0" if operation == "exists" else "no_such_table"
    if catalog.exists(known) is not (operation == "exists"):
        raise AssertionError(f"{type(catalog).__name__} is wrong about {known}.")


def measure(
    roots: dict[str, TestRoot], tables: int, rounds: int
) -> dict[str, dict[str, tuple[float, float]]]:
    """Return median and fastest seconds, by operation and library."""
    catalogs = {name: make(roots[name]) for name, make in LIBRARIES.items()}
    for number in range(tables):
        for catalog in catalogs.values():
            catalog.create(f"t{number}")
    names = list(catalogs)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for operation in OPERATIONS:
        times: dict[str, list[float]] = {name: [] for name in names}
        for turn in range(rounds):
            # Who goes first rotates, so that none always pays for what the one before left.
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                begin = time.perf_counter()
                perform(catalogs[name], operation, f"new{turn}", tables)
                times[name].append(time.perf_counter() - begin)
        found[operation] = {n: (statistics.median(t), min(t)) for n, t in times.items()}
    return found


def requests(roots: dict[str, TestRoot], tables: int) -> dict[str, dict[str, str]]:
    """Return how many requests one warm call sends, by operation and library."""
    found: dict[str, dict[str, str]] = {operation: {} for operation in OPERATIONS}
    for name, make in LIBRARIES.items():
        with RecordingProxy(roots[name].endpoint) as proxy:
            catalog = make(roots[name].via(proxy.endpoint))
            for operation in OPERATIONS:
                perform(catalog, operation, f"warm-{operation}", tables)
                proxy.clear()
                perform(catalog, operation, f"counted-{operation}", tables)
                found[operation][name] = str(proxy.count())
    return found


def show(title: str, times: Any, counts: dict[str, dict[str, str]] | None) -> None:
    """Print a table: median (fastest) in milliseconds, and requests."""
    print(f"\n## {title}\n")
    print("| operation | " + " | ".join(LIBRARIES) + " |")
    print("|---|" + "---|" * len(LIBRARIES))
    for operation in OPERATIONS:
        cells: list[str] = []
        for name in LIBRARIES:
            median, least = times[operation][name]
            cell = f"{median * 1000:.1f} ms ({least * 1000:.1f})"
            cells.append(f"{cell}, {counts[operation][name]} requests" if counts else cell)
        print(f"| {operation} | " + " | ".join(cells) + " |")


@contextlib.contextmanager
def directories() -> Iterator[dict[str, TestRoot]]:
    with tempfile.TemporaryDirectory() as place:
        yield {name: TestRoot(f"{place}/{name}") for name in LIBRARIES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--only", choices=["disk", "s3"])
    given = parser.parse_args()
    versions = (f"{n} {importlib.metadata.version(n)}" for n in ("pennon", "pylance", "lancedb"))
    print(f"{', '.join(versions)}, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    print(f"{given.tables} tables, medians of {given.rounds} interleaved rounds (fastest)")
    if given.only != "s3":
        with directories() as roots:
            show("Local disk", measure(roots, given.tables, given.rounds), None)
    if given.only != "disk":
        with start_s3() as server:
            roots = {name: server.root() for name in LIBRARIES}
            times = measure(roots, given.tables, given.rounds)
            show(server.what, times, requests(roots, given.tables))


if __name__ == "__main__":
    main()
