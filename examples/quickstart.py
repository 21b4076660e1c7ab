"""Python's own documentation in Lance tables: a catalog, verified writes, and a race for one name.

    python examples/quickstart.py                       # in a fresh temporary directory
    python examples/quickstart.py ./lake                # in a directory of yours
    python examples/quickstart.py s3://bucket/lake      # in a bucket; credentials as usual

Everything is written below the namespace "quickstart", which is emptied first.
"""

from __future__ import annotations

import ast
import multiprocessing
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

import pennon
from pennon.display import catalog_tree
from pennon.errors import TableAlreadyExists

TOP = "quickstart"
STDLIB = Path(sysconfig.get_paths()["stdlib"])
PACKAGES = ["asyncio", "collections", "email", "http", "importlib", "json", "logging", "urllib"]
RIVALS = 4

MODULES = pa.schema({"module": pa.string(), "doc": pa.string(), "lines": pa.int64()})
FUNCTIONS = pa.schema(
    {
        "module": pa.string(),
        "name": pa.string(),
        "signature": pa.string(),
        "doc": pa.string(),
        "line": pa.int64(),
    }
)

Row = dict[str, Any]


# -- the documents: source files of the standard library ------------------------------------------


def sources() -> Iterator[tuple[str, str, Path]]:
    """Yield (namespace, name of the module, file) for some packages and all top-level modules."""
    for file in sorted(STDLIB.glob("*.py")):
        yield "toplevel", file.stem, file
    for package in PACKAGES:
        for file in sorted((STDLIB / package).rglob("*.py")):
            yield package, ".".join(file.relative_to(STDLIB).with_suffix("").parts), file


def read(module: str, file: Path) -> tuple[Row, list[Row]]:
    """Return a row about a module and rows about its functions and methods."""
    text = file.read_text(encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old escape sequences in the library's own strings
        tree = ast.parse(text)
    functions = [
        {
            "module": module,
            "name": node.name,
            "signature": f"{node.name}({ast.unparse(node.args)})",
            "doc": ast.get_docstring(node),
            "line": node.lineno,
        }
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    about = {"module": module, "doc": ast.get_docstring(tree), "lines": text.count("\n")}
    return about, functions


# -- the race: what each of four processes does ---------------------------------------------------


def contend(root: str, rival: int, start: Any, answers: Any) -> None:
    """Try to create one table at the same moment as the others, with rows of our own."""
    db = pennon.open(root)
    rows = [{"owner": rival, "row": n} for n in range(5)]
    start.wait()
    try:
        receipt = db.create_table((TOP, "prize"), rows)
    except TableAlreadyExists as error:
        answers.put((rival, f"{type(error).__name__}: {error}"))
    else:
        answers.put((rival, f"won: version {receipt.version}, {receipt.rows_inserted} rows"))


def race(root: str) -> None:
    """Let four processes create one table, and show who did and whose rows it holds."""
    spawn = multiprocessing.get_context("spawn")
    start, answers = spawn.Barrier(RIVALS), spawn.Queue()
    rivals = [spawn.Process(target=contend, args=(root, n, start, answers)) for n in range(RIVALS)]
    for process in rivals:
        process.start()
    for rival, outcome in sorted(answers.get(timeout=60) for _ in rivals):
        print(f"  process {rival}  {outcome}")
    for process in rivals:
        process.join()

    rows = pennon.open(root).scan((TOP, "prize")).read_all().to_pylist()
    owners = {row["owner"] for row in rows}
    print(f"  the table holds {len(rows)} rows, all of process {', '.join(map(str, owners))}")


# -- the tour -------------------------------------------------------------------------------------


def main(root: str) -> None:
    """Write the documents, read some back, and race for a name."""
    began = time.monotonic()
    print(f"root: {root}\n")

    # A catalog names tables. It lives in the same directory or bucket as they do.
    ns = pennon.connect("dir", {"root": root}).connect()
    ns.create_namespace(TOP, mode="overwrite")

    # A backend stores tables under the names of a catalog.
    db = pennon.open(ns)

    found: dict[str, tuple[list[Row], list[Row]]] = {}
    for package, module, file in sources():
        modules, functions = found.setdefault(package, ([], []))
        about, inside = read(module, file)
        modules.append(about)
        functions.extend(inside)

    for package, (modules, functions) in found.items():
        ns.create_namespace((TOP, package))
        db.create_table((TOP, package, "modules"), modules, schema=MODULES)
        half = len(functions) // 2
        db.create_table((TOP, package, "functions"), functions[:half], schema=FUNCTIONS)
        db.write((TOP, package, "functions"), functions[half:])

    print(catalog_tree(ns, (TOP,), note=lambda table: f"{db.count_rows(table):>6,} rows"))
    total = {
        kind: sum(db.count_rows((TOP, package, kind)) for package in found)
        for kind in ("modules", "functions")
    }
    print(f"\n{total['modules']:,} modules, {total['functions']:,} functions")

    # Any Arrow tool takes what a scan returns; here it becomes Python dicts.
    print("\nfunctions of json with a docstring about decoding:")
    request = pennon.ScanRequest(
        (TOP, "json", "functions"),
        columns=["module", "signature"],
        filter="doc LIKE '%ecode%'",
        limit=5,
    )
    for row in db.scan(request).read_all().to_pylist():
        print(f"  {row['module']}: {row['signature'][:70]}")

    # A receipt is given only after the commit was seen in the history of the table. Repeating a
    # write with its id, after a crash or a lost answer, returns the same receipt.
    print("\nreceipts:")
    note = [{"module": "quickstart", "doc": "Written twice, there once.", "lines": 1}]
    first = db.write((TOP, "json", "modules"), note, write_id=f"note-{began}")
    again = db.write((TOP, "json", "modules"), note, write_id=f"note-{began}")
    print(f"  {first}")
    count = db.count_rows((TOP, "json", "modules"), filter="module = 'quickstart'")
    print(f"  repeated: {'the same receipt' if again == first else again}, {count} row")

    print(f"\n{RIVALS} processes create one table at the same moment:")
    race(root)
    print(f"\ndone in {time.monotonic() - began:.1f} s; look around in {root}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="pennon-"))
