"""The plugin in somebody else's project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_TESTS = """
import pytest

@pytest.mark.parametrize("pennon_root", ["local", "memory", "s3", "azure", "gcs"], indirect=True)
def test_roots(pennon_root):
    from pennon.config import parse_options
    from pennon.objects import open_store
    from pennon.uri import parse_uri
    uri = parse_uri(pennon_root.uri)
    store = open_store(uri, parse_options(uri, pennon_root.options))
    assert list(store.list()) == []
    store.put("a", b"1")

def test_faults(memory_root, faulty_store):
    from pennon.config import parse_options
    from pennon.errors import Unavailable
    from pennon.objects import open_store
    from pennon.testing.faults import Fault
    from pennon.uri import parse_uri
    uri = parse_uri(memory_root)
    store = faulty_store(open_store(uri, parse_options(uri)), Fault("get", "before"))
    store.put("a", b"1")
    with pytest.raises(Unavailable):
        store.get("a")
    assert store.get("a").data == b"1"

def test_rounds(race_rounds):
    assert race_rounds == 7
"""


def run(place: Path, tests: str, *arguments: str, **env: str) -> str:
    (place / "test_theirs.py").write_text(tests)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", *arguments, "-p", "no:cacheprovider"],
        cwd=place,
        env={**os.environ, "PENNON_RACE_ROUNDS": "7", **env},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_fixtures_work_without_any_set_up(tmp_path: Path) -> None:
    output = run(tmp_path, _TESTS)
    assert "7 passed" in output, output
    assert "pennon: S3 was " in output


def test_parallel_runs_tell_what_they_used(tmp_path: Path) -> None:
    output = run(tmp_path, _TESTS, "-n", "2")
    assert "7 passed" in output, output
    assert "pennon: S3 was " in output


def test_what_cannot_be_had_is_skipped_with_the_reason(tmp_path: Path) -> None:
    output = run(tmp_path, _TESTS, PENNON_CACHE=str(tmp_path), PATH=str(tmp_path))
    assert "6 passed, 1 skipped" in output, output
    assert "azurite is neither on PATH nor in the cache" in output
    assert "pennon: S3 was moto fallback (no minio" in output


def test_who_uses_no_fixture_pays_nothing(tmp_path: Path) -> None:
    output = run(
        tmp_path,
        "import sys\n"
        "def test_nothing():\n"
        "    assert not {'lance', 'pyarrow', 'obstore', 'msgspec'} & set(sys.modules)\n",
        "-p",
        "no:hypothesispytest",
    )
    assert "1 passed" in output, output
    assert "pennon" not in output


def test_failing_suites_show_values(tmp_path: Path) -> None:
    output = run(
        tmp_path,
        "import importlib, pytest\n"
        "@pytest.mark.parametrize('name', ['objects_suite', 'namespaces_suite', '_suite_tables'])\n"
        "def test_rewritten(name):\n"
        "    suite = importlib.import_module(f'pennon.testing.{name}')\n"
        "    assert '_pytest.assertion.rewrite' in type(suite.__loader__).__module__\n",
    )
    assert "3 passed" in output, output
