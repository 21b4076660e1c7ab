"""Everything one does in this repository: `pip install nox`, then `nox -l`."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.sessions = ["tests", "lint", "typecheck"]
nox.options.reuse_existing_virtualenvs = True

PROJECT = nox.project.load_toml("pyproject.toml")["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
SOURCE = {"PYTHONPATH": "src"}
SOAKED = re.compile(r"_(races?|storm|machine(?!_can))[._]")
PLACES = ("src", "tests", "examples", ".ci", "noxfile.py")


def install_services(session: nox.Session, *, required: bool) -> None:
    """Fetch what is missing; tests fall back, and say so, where something cannot be had."""
    session.run(
        "python",
        "-m",
        "pennon.testing.services",
        "install",
        env=SOURCE,
        success_codes=[0] if required else [0, 1],
    )


@nox.session(reuse_venv=False)
def quickstart(session: nox.Session) -> None:
    """Install pennon into a fresh environment and run the main job; takes a root to do it in."""
    session.install(".")
    session.run("python", "examples/quickstart.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against real services, which are installed first."""
    session.install("-e", ".[dev]")
    install_services(session, required=False)
    # Half of the time goes by waiting for servers: three share two cores well.
    parallel = [] if session.posargs else ["-n", "3", "--dist", "worksteal"]
    session.run("pytest", *parallel, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run races and state machines ten times as long, one test after the other."""
    session.install("-e", ".[dev]")
    install_services(session, required=False)
    env = {"PENNON_RACE_ROUNDS": "200", "HYPOTHESIS_PROFILE": "soak"}
    files = (str(path) for path in Path("tests").rglob("test_*.py") if SOAKED.search(path.name))
    session.run("pytest", "--timeout=7200", *(session.posargs or sorted(files)), env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, lint rules, the layers of the house and the size of files."""
    session.install(*EXTRAS["lint"])
    session.run("ruff", "format", "--check", *PLACES)
    session.run("ruff", "check", *PLACES)
    session.run("lint-imports", "--no-cache", env=SOURCE)
    session.run("pytest", "-q", "-c", os.devnull, "--noconftest", "tests/meta/test_files.py")


@nox.session
def generate(session: nox.Session) -> None:
    """Write the table objects and the async twins anew, after a change of a contract."""
    session.run("python", ".ci/generate.py", *session.posargs)


@nox.session
def typecheck(session: nox.Session) -> None:
    """Check the types of the package, strictly."""
    session.install("-e", ".[dev,typecheck]")
    session.run("pyright")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install(*EXTRAS["docs"])
    session.run("mkdocs", "build", "--strict", "-f", ".ci/mkdocs.yml", *session.posargs)


@nox.session
def services(session: nox.Session) -> None:
    """Install the servers that tests run against, into a cache outside the checkout."""
    install_services(session, required=True)
    session.run("python", "-m", "pennon.testing.services", "status", env=SOURCE)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the catalog, reads and writes beside plain pylance and lancedb, on disk and MinIO."""
    session.install("-e", ".[dev]")
    install_services(session, required=False)
    quiet = {"LANCE_LOG": "error"}
    session.run("python", "tests/bench/run.py", env=quiet)
    session.run("python", "tests/bench/data.py", *session.posargs, env=quiet)
