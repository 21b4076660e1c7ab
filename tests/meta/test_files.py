"""Rules about files, readable without importing the package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
PLACES = ("src", "tests", "examples", "docs", ".ci")
TEXTS = [
    *(
        path
        for place in PLACES
        for path in sorted((ROOT / place).rglob("*"))
        if path.suffix in {".py", ".md", ".yml", ""}
        and path.is_file()
        and not {"site", "__pycache__", ".pytest_cache"} & set(path.parts)
    ),
    *(ROOT / name for name in ("README.md", "noxfile.py", "pyproject.toml")),
]

NOT_IN_SOURCES = {
    "a debugger": re.compile(r"\bbreakpoint\(\)|\bpdb\b"),
    "an unfinished note": re.compile(r"\b(TODO|FIXME|XXX|HACK)\b"),
}
NOT_ANYWHERE = {
    "a home directory": re.compile(r"/(?:home|Users)/(?!me\b)\w+|/root/\.|(?<![\w.])/work/\w+"),
    "a package registry": re.compile(r"(?:pypi|pythonhosted|npmjs|proxy\.golang)\.(?:org|com)\b"),
    "a merge conflict": re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE),
}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_files_to_check() -> None:
    assert len(SOURCES) > 20
    assert len(TEXTS) > len(SOURCES)


def prints(code: str) -> list[int]:
    """Return the lines that call ``print``; examples in docstrings do not count."""
    calls = (n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.Call))
    return [n.lineno for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]


@pytest.mark.parametrize("path", [t for t in TEXTS if t.suffix == ".py"], ids=name)
def test_a_file_stays_small(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 600


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_source_is_clean(path: Path) -> None:
    text = path.read_text("utf-8")
    found = [what for what, pattern in NOT_IN_SOURCES.items() if pattern.search(text)]
    assert found == []
    assert prints(text) == []


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_a_file_names_nothing_of_one_machine(path: Path) -> None:
    if path == Path(__file__):
        return
    text = path.read_text("utf-8")
    found = {what: p.findall(text) for what, p in NOT_ANYWHERE.items() if p.search(text)}
    assert found == {}


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("a debugger", "breakpoint()"),
        ("an unfinished note", "# TODO: later"),
        ("a home directory", "see /home/someone/x"),
        ("a package registry", "https://" + "pypi" + ".org/simple"),
        ("a merge conflict", "<<<<<<< HEAD\n"),
    ],
)
def test_the_rules_find_what_they_forbid(rule: str, text: str) -> None:
    assert {**NOT_IN_SOURCES, **NOT_ANYWHERE}[rule].search(text)


def test_a_print_is_found_in_code_only() -> None:
    assert prints('"""print(1)"""\nx = 1; print(x)') == [2]
