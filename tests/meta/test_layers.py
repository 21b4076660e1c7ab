"""The contracts on imports hold, and each of them notices a violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(root: Path) -> tuple[int, str]:
    done = subprocess.run(
        [LINT, "--no-cache", "--config", str(root / "pyproject.toml")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_holds() -> None:
    code, output = lint(ROOT)
    assert code == 0, output
    assert " 0 broken" in output


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("errors", "import pennon.uri", "The house"),
        ("uri", "import pennon.config", "The house"),
        ("objects/abc", "import pennon.namespaces.abc", "The house"),
        ("namespaces/names", "import pennon.storage.abc", "The house"),
        ("storage/refs", "import pennon.integrations", "The house"),
        ("storage/refs", "import pennon.aio", "The house"),
        ("aio/_open", "import pennon.integrations", "The house"),
        ("integrations/__init__", "import pennon.testing.services", "The house"),
        ("arrow", "import pennon.expr", "The house"),
        ("newroom", "", "The house"),
        ("namespaces/memory", "import obstore", "Only objects/ imports obstore"),
        ("objects/local", "import lance", "Lance is imported where"),
        ("storage/refs", "from lance import dataset", "Lance is imported where"),
        ("namespaces/connect", "import lance_namespace", "lance_namespace stays"),
        ("storage/refs", "import lancedb", "The core never imports lancedb"),
        ("objects/bucket", "import httpx", "Only the REST catalog imports httpx"),
        ("objects/local", "import fsspec", "Only integrations import fsspec"),
        ("config/store", "import s3fs", "Only integrations import fsspec"),
    ],
)
def test_a_planted_violation_is_found(copy: Path, module: str, line: str, contract: str) -> None:
    path = copy / "src" / "pennon" / f"{module}.py"
    before = path.read_text("utf-8") if path.exists() else ""
    # Inside a function, where an import also counts.
    path.write_text(f"{before}\n\ndef _planted():\n    {line or 'pass'}\n", "utf-8")
    code, output = lint(copy)
    assert code != 0, output
    broken = [text for text in output.splitlines() if text.startswith(contract)]
    assert any("BROKEN" in text for text in broken), output
