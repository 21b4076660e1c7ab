"""The quickstart tells the truth about what it did, on disk and in a bucket."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pennon
from pennon.testing.services import TestRoot

SCRIPT = Path(__file__).parents[1] / "examples" / "quickstart.py"
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
    assert "Traceback" not in done.stderr
    return done.stdout


def check(root: TestRoot, out: str) -> None:
    db = pennon.open(root.uri, storage_options=root.options or None)
    modules, functions = (
        int(n.replace(",", ""))
        for n in re.search(r"^([\d,]+) modules, ([\d,]+) functions$", out, re.M).groups()
    )
    tables = list(db.namespace.iter_tables("quickstart", recursive=True))
    assert modules > 150
    assert functions > 5000
    # The row that was written twice under one id came after the numbers were printed.
    assert sum(db.count_rows(t) for t in tables if t[-1] == "modules") == modules + 1
    assert sum(db.count_rows(t) for t in tables if t[-1] == "functions") == functions
    for table in tables:
        if table[-1] == "functions":
            assert f"{db.count_rows(table):,} rows" in out
    assert "repeated: the same receipt, 1 row" in out
    assert re.search(r"^  json\.decoder: ", out, re.M)

    outcomes = re.findall(
        r"^  process (\d)  (won: version 1, 5 rows|TableAlreadyExists: )", out, re.M
    )
    winners = [int(rival) for rival, outcome in outcomes if outcome.startswith("won")]
    assert len(outcomes) == 4
    assert len(winners) == 1
    rows = db.scan(("quickstart", "prize")).read_all().to_pylist()
    assert {r["owner"] for r in rows} == set(winners)
    assert len(rows) == 5
    assert f"the table holds 5 rows, all of process {winners[0]}" in out


@pytest.mark.parametrize("pennon_root", ["local", "s3"], indirect=True)
def test_it_does_what_it_prints(pennon_root: TestRoot) -> None:
    check(pennon_root, run(pennon_root))


def test_it_can_be_run_again_on_the_same_root(local_root: str) -> None:
    root = TestRoot(local_root)
    run(root)
    check(root, run(root))


def test_without_an_argument_it_makes_a_directory_and_says_which(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=170,
        check=True,
    )
    root = re.match(r"root: (\S+)", done.stdout)[1]
    check(TestRoot(root), done.stdout)
