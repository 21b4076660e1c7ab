"""What is generated is what the generator would write now, and it notices when it is not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMAND = "nox -s generate"


def generate(root: Path, *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(root / ".ci" / "generate.py"), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci", ignore=ignored)
    return tmp_path


def test_the_generated_files_are_up_to_date() -> None:
    code, stale = generate(ROOT, "--check")
    assert code == 0, f"the contract has changed; run `{COMMAND}` and commit:\n{stale}"


def test_a_change_of_the_contract_is_noticed_and_followed(copy: Path) -> None:
    assert generate(copy, "--check")[0] == 0
    package = copy / "src" / "pennon"
    contract = package / "storage" / "abc"
    (contract / "novelties.py").write_text(
        "class Novelties:\n"
        "    def polish(self, table: str, cloth: int = 1, *, branch: str = 'main') -> int:\n"
        '        """Make it shine."""\n',
        "utf-8",
    )
    init = contract / "__init__.py"
    text = init.read_text("utf-8")
    text = text.replace("class StorageBackend(", "class StorageBackend(Novelties, ", 1)
    init.write_text(f"from pennon.storage.abc.novelties import Novelties\n{text}", "utf-8")

    code, stale = generate(copy, "--check")
    assert code == 1
    assert "storage/_table/novelties.py" in stale
    assert not (package / "storage" / "_table" / "novelties.py").exists()
    assert generate(copy)[0] == 0
    assert generate(copy, "--check") == (0, "")
    made = (package / "storage" / "_table" / "novelties.py").read_text("utf-8")
    assert "def polish(self, cloth: int = 1) -> int:" in made
    assert 'branch=self._on("polish")' in made
    twin = (package / "aio" / "_table" / "novelties.py").read_text("utf-8")
    assert "async def polish(self, cloth: int = 1) -> int:" in twin

    init.write_text(text.replace("Novelties, ", ""), "utf-8")
    assert generate(copy)[0] == 0
    assert not (package / "storage" / "_table" / "novelties.py").exists()
    assert generate(copy, "--check") == (0, "")
