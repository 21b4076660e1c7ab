"""Python's own documentation in Lance tables: keys, indexes, three searches, history, two writers.

    python examples/quickstart.py                       # in a fresh temporary directory
    python examples/quickstart.py ./lake                # in a directory of yours
    python examples/quickstart.py s3://bucket/lake      # in a bucket; credentials as usual

Everything is written below the namespace "quickstart", which is emptied first.
"""

from __future__ import annotations

import ast
import multiprocessing
import os
import re
import sys
import sysconfig
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import pennon
from pennon import col
from pennon.display import catalog_tree
from pennon.errors import DuplicateKey, TableAlreadyExists

os.environ.setdefault("LANCE_LOG", "error")  # or Lance warns that these tables are small

TOP = "quickstart"
STDLIB = Path(sysconfig.get_paths()["stdlib"])
PACKAGES = ["asyncio", "collections", "email", "http", "importlib", "json", "logging", "urllib"]
DIMENSIONS = 64
STEPS = 20

Row = dict[str, Any]


# -- the documents: source files of the standard library ------------------------------------------


def sources() -> Iterator[tuple[str, str, Path]]:
    """Yield (package, name of the module, file) for some packages and all top-level modules."""
    for file in sorted(STDLIB.glob("*.py")):
        yield "toplevel", file.stem, file
    for package in PACKAGES:
        for file in sorted((STDLIB / package).rglob("*.py")):
            yield package, ".".join(file.relative_to(STDLIB).with_suffix("").parts), file


def read(package: str, module: str, file: Path) -> tuple[Row, list[Row]]:
    """Return a row about a module and rows about its functions and methods."""
    text = file.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escape sequences in the library's own strings
        tree = ast.parse(text)
    functions = [
        {
            "key": f"{module}:{node.lineno}",
            "package": package,
            "module": module,
            "signature": f"{node.name}({ast.unparse(node.args)})",
            "doc": ast.get_docstring(node),
        }
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    lines = text.count("\n")
    about = {"module": module, "package": package, "lines": lines, "functions": len(functions)}
    return about, functions


# -- the vectors: words weighed by how rare they are (TF-IDF), reduced to 64 numbers (SVD) ---------


class Embedding:
    """Turns texts into vectors: near each other if they speak of the same things."""

    def __init__(self, texts: Iterable[str]) -> None:
        counts = [Counter(_words(text)) for text in texts]
        seen = Counter(word for text in counts for word in text)
        known = sorted(word for word, n in seen.items() if n >= 4)
        self._column = {word: n for n, word in enumerate(known)}
        self._rarity = np.log(len(counts) / np.array([seen[w] for w in known]))
        weighed = self._weigh(counts)
        # The right singular vectors, found in a random subspace that hardly misses any of them.
        random = np.random.default_rng(0).standard_normal((len(known), 2 * DIMENSIONS))
        basis, _ = np.linalg.qr(weighed @ (weighed.T @ (weighed @ random)))
        _, _, right = np.linalg.svd(basis.T @ weighed, full_matrices=False)
        self._axes = right[:DIMENSIONS].T

    def __call__(self, texts: Iterable[str | None]) -> np.ndarray:
        """Return a row of numbers for each text, of length 1 unless no word is known."""
        vectors = self._weigh([Counter(_words(text or "")) for text in texts]) @ self._axes
        return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(
            np.float32
        )

    def _weigh(self, counts: list[Counter[str]]) -> np.ndarray:
        weighed = np.zeros((len(counts), len(self._column)))
        for row, words in enumerate(counts):
            for word, n in words.items():
                if (column := self._column.get(word)) is not None:
                    weighed[row, column] = (1 + np.log(n)) * self._rarity[column]
        return weighed


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]{3,}", text.lower())


# -- the other process -----------------------------------------------------------------------------


def contend(root: str, who: str, barrier: Any) -> str:
    """Try to create one table at the same moment as somebody else, then count in it together."""
    db = pennon.open(root)
    barrier.wait()
    try:
        db.create_table((TOP, "visits"), [{"name": "both", "n": 0}], primary_key="name")
        outcome = "created the table"
    except TableAlreadyExists:
        outcome = "was told that the table exists"
    visits = db.table((TOP, "visits"))
    for step in range(STEPS):
        visits.update({"n": "n + 1"}, col("name") == "both")
        visits.merge_insert([{"name": f"{who}, step {step}", "n": 1}])
    return outcome


def other_process(root: str, barrier: Any, answer: Any) -> None:
    """What the second process does."""
    answer.put(contend(root, "second process", barrier))


def together(root: str) -> None:
    """Create and write one table from two processes at once."""
    spawn = multiprocessing.get_context("spawn")
    barrier, answer = spawn.Barrier(2), spawn.Queue()
    other = spawn.Process(target=other_process, args=(root, barrier, answer))
    other.start()
    print(f"  this process    {contend(root, 'this process', barrier)}")
    print(f"  second process  {answer.get(timeout=60)}")
    other.join()
    visits = pennon.open(root).table((TOP, "visits"))
    (total,) = visits.take(["both"])["n"].to_pylist()
    print(f"  {2 * STEPS} increments made, {total} counted; {len(visits)} rows, each key once")


# -- the tour --------------------------------------------------------------------------------------


def show(title: str, found: pa.Table, score: str) -> None:
    """Print the rows of a search."""
    print(f"\n{title}")
    for row in found.to_pylist():
        doc = " ".join((row["doc"] or "").split())[:56]
        print(
            f"  {row[score]:7.3f}  {row['module'] + '.' + row['signature'].split('(')[0]:38} {doc}"
        )


def search(functions: pennon.Table, embed: Embedding) -> None:
    """Find functions by words, by meaning, and by both."""
    shown = ["module", "signature", "doc"]
    words = "parse the headers of a message"
    (vector,) = embed([words])
    by_text = functions.full_text_search("doc", words, k=3, columns=shown)
    show(f"by words: {words!r}", by_text, "_score")
    by_meaning = functions.vector_search("vec", vector, k=3, columns=shown)
    show("by meaning", by_meaning, "_distance")
    in_http = functions.hybrid_search(
        "vec", vector, "doc", words, k=3, filter=col("package") == "http", columns=shown
    )
    show("by both, in http only", in_http, "_relevance_score")


def undo(functions: pennon.Table) -> None:
    """Make a mistake, take it back, and show what the history says of both."""
    # Every commit is a version, and every version can be read, tagged, and returned to.
    before = functions.get_table_version()
    gone = functions.delete_rows(col("package") != "json")
    print(f"\na mistake: {gone.rows_deleted:,} rows deleted, {len(functions):,} left")
    functions.rollback_table(before)
    print(f"rolled back: {len(functions):,} rows\n\nversions:")
    for info in functions.versions(limit=8):
        rows = [info.rows_inserted, info.rows_updated, info.rows_deleted]
        counts = "".join(f"{n or '':>8}" for n in rows)
        print(f"  {info.version:3}  {info.committed_at:%H:%M:%S}  {info.operation:14}{counts}")


def main(root: str) -> None:
    """Write the documents, find some of them, change them and change them back."""
    began = time.monotonic()
    print(f"root: {root}\n")

    # A catalog names tables. A backend stores tables under its names.
    ns = pennon.connect("dir", {"root": root}).connect()
    ns.create_namespace(TOP, mode="overwrite")
    db = pennon.open(ns)

    # The first pass reads the top-level modules; the second reads everything, and upserts.
    documents = [(package, *read(package, module, file)) for package, module, file in sources()]
    first = [row for package, _, inside in documents if package == "toplevel" for row in inside]
    everything = [row for _, _, inside in documents for row in inside]
    db.create_table((TOP, "modules"), [about for _, about, _ in documents], primary_key="module")
    created = db.create_table((TOP, "functions"), first, primary_key="key")
    merged = db.merge_insert((TOP, "functions"), everything)
    print(f"first pass:  {created.rows_inserted:6,} functions")
    print(f"second pass: {merged.rows_inserted:6,} new, {merged.rows_updated:,} seen before")

    functions = db.table((TOP, "functions"))
    try:
        functions.write(everything[:1], check_keys=True)
    except DuplicateKey as error:
        print(f"a key twice: {error}")

    # Vectors are computed from the documents, batch by batch, and added as a column.
    embed = Embedding(row["doc"] for row in everything if row["doc"])

    def vectors(batch: pa.RecordBatch) -> pa.Table:
        docs = batch["doc"]
        numbers = pa.array(embed(docs.to_pylist()).ravel())
        made = pa.FixedSizeListArray.from_arrays(numbers, DIMENSIONS, mask=docs.is_null())
        return pa.table({"vec": made})

    kind = pa.schema({"vec": pa.list_(pa.float32(), DIMENSIONS)})
    functions.add_columns(vectors, schema=kind, read_columns=["doc"])
    functions.create_fts_index("doc")
    functions.create_vector_index("vec")
    functions.create_scalar_index("package", "bitmap")
    print("\nindexes:")
    for index in functions.list_indexes():
        print(f"  {index.name:15} {index.kind:9} {index.rows_indexed:6,} rows")

    search(functions, embed)

    undo(functions)

    # A receipt is given only after the commit was seen in the history of the table. Repeating a
    # write with its id, after a crash or a lost answer, returns the same receipt.
    note = [{"module": "quickstart", "package": "examples", "lines": 1, "functions": 0}]
    once = db.write((TOP, "modules"), note, write_id=f"note-{began}")
    again = db.write((TOP, "modules"), note, write_id=f"note-{began}")
    count = db.count_rows((TOP, "modules"), filter=col("module") == "quickstart")
    same = "the same receipt" if again == once else again
    print(f"\na write with an id, repeated: {same}, {count} row")

    print("\ntwo processes create one table and write to it at the same moment:")
    together(root)

    print()
    print(catalog_tree(ns, (TOP,), note=lambda table: f"{db.count_rows(table):>6,} rows"))
    print(f"\ndone in {time.monotonic() - began:.1f} s; look around in {root}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="pennon-"))
