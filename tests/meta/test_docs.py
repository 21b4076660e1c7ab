"""What the documentation shows works: every Python fence runs, every session exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_REASON = re.compile(r'python no-run="([^"]{10,})"')


@dataclass(frozen=True)
class Fence:
    line: int
    info: str
    code: str


def fences(path: Path) -> list[Fence]:
    text = path.read_text("utf-8")
    found: list[Fence] = []
    for match in _FENCE.finditer(text):
        indent, info, body = match.groups()
        code = "\n".join(line.removeprefix(indent) for line in body.splitlines())
        found.append(Fence(text[: match.start()].count("\n") + 1, info.strip(), code))
    return [f for f in found if f.info.startswith("py")]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_fence_that_is_not_run_says_why(path: Path) -> None:
    for fence in fences(path):
        runs = fence.info == "python"
        assert runs or _REASON.fullmatch(fence.info), f"{name(path)}:{fence.line}: {fence.info}"


@pytest.mark.parametrize("path", [p for p in PAGES if fences(p)], ids=name)
def test_the_python_of_a_page_runs(path: Path, tmp_path: Path) -> None:
    script: list[str] = []
    for fence in fences(path):
        if fence.info == "python":
            # Blank lines up to the fence keep the line numbers of tracebacks those of the page.
            script += [""] * (fence.line - len(script))
            script += fence.code.splitlines()
    if not script:
        return
    program = tmp_path / f"{path.stem}.py"
    program.write_text("\n".join(script) + "\n", "utf-8")
    place = tmp_path / "cwd"
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def sessions() -> set[str]:
    text = (ROOT / "noxfile.py").read_text("utf-8")
    return set(re.findall(r"@nox\.session[^\n]*\ndef (\w+)\(", text))


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_session_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"nox -s (\w+)", path.read_text("utf-8")))
    assert named <= sessions()


def test_the_sessions_that_are_promised_exist() -> None:
    promised = {"quickstart", "tests", "lint", "typecheck", "docs", "services", "soak", "bench"}
    assert promised <= sessions()


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    command = "pip install nox && nox -s tests"
    assert f"\n{command}\n" in readme
    ci = (ROOT / ".ci" / "run").read_text("utf-8")
    assert command in ci
    assert "nox -s lint typecheck" in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_a_link_to_a_page_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text("utf-8"))
    missing = [t for t in targets if not (path.parent / t).exists()]
    assert missing == []
