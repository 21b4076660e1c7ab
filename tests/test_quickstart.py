"""The quickstart tells the truth about what it did, on disk and in a bucket."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pennon
from pennon import col
from pennon.testing.services import TestRoot

SCRIPT = Path(__file__).parents[1] / "examples" / "quickstart.py"
FUNCTIONS, MODULES, VISITS = (("quickstart", t) for t in ("functions", "modules", "visits"))
ENVIRONMENT = {
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "region": "AWS_REGION",
    "endpoint": "AWS_ENDPOINT_URL",
}


def run(root: TestRoot) -> str:
    given = {k.removeprefix("aws_"): v for k, v in root.options.items()}
    environment = {ENVIRONMENT[k]: v for k, v in given.items() if k in ENVIRONMENT}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), root.uri],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def numbers(pattern: str, out: str) -> list[int]:
    found = re.search(pattern, out, re.M)
    assert found, pattern
    return [int(n.replace(",", "")) for n in found.groups()]


def check(root: TestRoot, out: str) -> None:
    db = pennon.open(root.uri, storage_options=root.options or None)
    (first,) = numbers(r"^first pass: +([\d,]+) functions$", out)
    new, seen = numbers(r"^second pass: +([\d,]+) new, ([\d,]+) seen before$", out)
    assert first > 4000
    assert (new > 1000, seen) == (True, first)
    assert db.count_rows(FUNCTIONS) == first + new
    assert len(set(db.scan(FUNCTIONS).read_all()["key"].to_pylist())) == first + new
    assert re.search(r"^a key twice: .*quickstart\.functions", out, re.M)

    listed = re.findall(r"^  (\w+) +(fts|bitmap|ivf_\w+) +([\d,]+) rows$", out, re.M)
    indexes = {i.name: i for i in db.list_indexes(FUNCTIONS)}
    assert {name for name, _, _ in listed} == indexes.keys() == {i[0] for i in listed}
    assert {i.columns for i in indexes.values()} == {("doc",), ("vec",), ("package",)}

    check_searches(db, out)
    check_history(db, out, first + new)
    assert "repeated: the same receipt, 1 row" in out
    assert db.count_rows(MODULES, col("module") == "quickstart") == 1

    outcomes = sorted(re.findall(r"^  (?:this|second) process +(.*)$", out, re.M))
    assert outcomes == ["created the table", "was told that the table exists"]
    made, counted, rows = numbers(r"^  (\d+) increments made, (\d+) counted; (\d+) rows", out)
    visits = db.scan(VISITS).read_all().to_pylist()
    assert (made, counted, rows) == (40, 40, 41)
    assert len({v["name"] for v in visits}) == len(visits) == 41
    assert next(v["n"] for v in visits if v["name"] == "both") == 40


def check_searches(db: pennon.StorageBackend, out: str) -> None:
    sections = re.findall(r"^by (words|meaning|both)[^\n]*\n((?:  .*\n){3})", out, re.M)
    assert [kind for kind, _ in sections] == ["words", "meaning", "both"]
    for kind, lines in sections:
        found = re.findall(r"^  +([\d.]+)  ([\w.]+)\.(\w+) ", lines, re.M)
        scores = [float(score) for score, _, _ in found]
        assert scores == sorted(scores, reverse=kind != "meaning")
        for _, module, name in found:
            where = (col("module") == module) & col("signature").starts_with(f"{name}(")
            assert db.count_rows(FUNCTIONS, where) >= 1
            assert kind != "both" or module.startswith("http.")


def check_history(db: pennon.StorageBackend, out: str, rows: int) -> None:
    deleted, left = numbers(r"^a mistake: ([\d,]+) rows deleted, ([\d,]+) left$", out)
    assert deleted + left == rows
    assert left == db.count_rows(FUNCTIONS, col("package") == "json") > 10
    assert numbers(r"^rolled back: ([\d,]+) rows$", out) == [rows]
    shown = re.findall(r"^ +(\d+)  \d\d:\d\d:\d\d  (\w+)", out, re.M)
    assert shown == [(str(v.version), v.operation) for v in db.versions(FUNCTIONS, limit=8)]
    assert db.count_rows(FUNCTIONS, version=7) == left


def test_it_does_what_it_prints_in_a_bucket(s3_root: TestRoot) -> None:
    check(s3_root, run(s3_root))


def test_it_makes_a_directory_and_can_be_run_there_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=True,
    )
    made = re.match(r"root: (\S+)", done.stdout)
    assert made
    root = TestRoot(made[1])
    assert Path(root.uri).parent == tmp_path
    check(root, done.stdout)
    check(root, run(root))
