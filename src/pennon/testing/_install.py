"""Finding and installing the servers the tests run against."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pennon.errors import Unavailable, Unsupported

__all__ = ["AZURITE", "MINIO", "TOOLS", "TOXIPROXY", "Tool", "cache", "find", "install"]

_MINUTES = 30


@dataclass(frozen=True, slots=True)
class Tool:
    """A server that is built or fetched once, at one version, into the cache."""

    name: str
    version: str
    source: str
    """What ``go install`` or ``npm install`` is given."""
    maker: Literal["go", "npm"]
    command: str
    """Name of the executable, as it is looked for on PATH."""
    built: str
    """Where the maker leaves the executable."""
    cost: str
    """What the first install takes."""
    instead: str
    """What the tests do without it."""

    @property
    def home(self) -> Path:
        """Its directory in the cache; exists only when complete."""
        return cache() / f"{self.name}-{self.version}"

    @property
    def executable(self) -> Path:
        """Where the executable is once installed."""
        return self.home / self.built


MINIO = Tool(
    name="minio",
    version="v0.0.0-20260212201848-7aac2a2c5b7c",
    source="github.com/minio/minio",
    maker="go",
    command="minio",
    built="minio",
    cost="about 4 minutes and 3 GB of Go's own caches the first time",
    instead="S3 tests use moto, which takes one request at a time and so decides races gently",
)
TOXIPROXY = Tool(
    name="toxiproxy",
    version="v2.5.0",
    source="github.com/Shopify/toxiproxy/v2/cmd/server",
    maker="go",
    command="toxiproxy-server",
    built="server",
    cost="about 20 seconds the first time",
    instead="tests of cut and slow connections are skipped",
)
AZURITE = Tool(
    name="azurite",
    version="3.35.0",
    source="azurite",
    maker="npm",
    command="azurite-blob",
    built="node_modules/.bin/azurite-blob",
    cost="about 20 seconds the first time",
    instead="tests on Azure's protocol are skipped",
)
TOOLS = (MINIO, TOXIPROXY, AZURITE)


def cache() -> Path:
    """Return where servers are kept: below ``$PENNON_CACHE``, else the user's cache directory."""
    named = os.environ.get("PENNON_CACHE")
    if named:
        return Path(named).expanduser().absolute() / "services"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "pennon" / "services"


def find(tool: Tool) -> Path | None:
    """Return the executable: on PATH, else in the cache, else None. Installs nothing."""
    named = shutil.which(tool.command)
    if named:
        return Path(named)
    return tool.executable if tool.executable.exists() else None


def install(tool: Tool) -> Path:
    """Return the executable in the cache, installing it first if it is not there.

    Safe to call from several processes at once: one installs, the others wait for it. What was
    interrupted leaves nothing behind that looks installed.

    Raises:
        Unsupported: Go or npm is missing.
        Unavailable: The install failed; the message has the end of its output.
    """
    if tool.executable.exists():
        return tool.executable
    maker = shutil.which(tool.maker)
    if maker is None:
        name, home = {
            "go": ("Go", "https://go.dev/doc/install"),
            "npm": ("Node.js with npm", "https://nodejs.org"),
        }[tool.maker]
        raise Unsupported(
            f"{tool.name} needs {name}, which is not on PATH: install it ({home}) or put a "
            f"{tool.command} on PATH; until then {tool.instead}."
        )
    cache().mkdir(parents=True, exist_ok=True)
    with _locked(cache() / f"{tool.name}.lock"):
        if not tool.executable.exists():
            _build(tool, maker)
    return tool.executable


def _build(tool: Tool, maker: str) -> None:
    # A sibling of its final place, so that the rename which makes it visible is atomic.
    staging = Path(tempfile.mkdtemp(prefix=f".{tool.name}-", dir=cache()))
    try:
        env = dict(os.environ)
        if tool.maker == "go":
            env["GOBIN"] = str(staging)
            line = [maker, "install", f"{tool.source}@{tool.version}"]
        else:
            (staging / "package.json").write_text("{}\n")
            flags = ["--no-audit", "--no-fund", "--no-update-notifier", "--prefix", str(staging)]
            line = [maker, "install", *flags, f"{tool.source}@{tool.version}"]
        _run(tool, line, staging, env)
        if not (staging / tool.built).exists():
            raise Unavailable(f"Installing {tool.name} left no {tool.built}; see {' '.join(line)}.")
        shutil.rmtree(tool.home, ignore_errors=True)
        staging.chmod(0o755)
        staging.rename(tool.home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _run(tool: Tool, line: list[str], cwd: Path, env: dict[str, str]) -> None:
    try:
        done = subprocess.run(
            line,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_MINUTES * 60,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(
            f"Installing {tool.name} took more than {_MINUTES} minutes; run {' '.join(line)} by "
            f"hand to see why; until then {tool.instead}."
        ) from None
    if done.returncode:
        raise Unavailable(
            f"Installing {tool.name} failed; until it works {tool.instead}. "
            f"{' '.join(line)} ended with {done.returncode}: {done.stdout.strip()[-1500:]}"
        )


@contextlib.contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
