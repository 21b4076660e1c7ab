"""Starting a service on a free port of the loopback interface, and stopping it for certain."""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pennon.errors import Unavailable

__all__ = ["HOST", "Service", "answers", "call", "start"]

HOST = "127.0.0.1"
_SUPERVISOR = Path(__file__).with_name("_supervise.py")
_ATTEMPTS = 5
_OK = 300


class Service:
    """A running child process that answers on ``port``.

    It ends when :meth:`stop` is called, and also when this process ends in any other way.
    """

    def __init__(self, name: str, port: int, directory: Path, process: subprocess.Popen[bytes]):
        self.name = name
        self.port = port
        self.directory = directory
        self._process = process

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``."""
        return f"http://{HOST}:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def log(self) -> str:
        """The end of what the service printed."""
        with contextlib.suppress(OSError):
            return (self.directory / "log").read_text("utf-8", "replace")[-2000:].strip()
        return ""

    def stop(self) -> None:
        """Stop the service and remove its data; returns when both are done."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def start(
    name: str,
    command: Callable[[int, Path], Sequence[str]],
    ready: Callable[[int], bool],
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = 60,
) -> Service:
    """Start a service on a port that was free a moment ago; on another one if it was taken since.

    Args:
        name: For messages.
        command: Makes the command line from a port and an empty directory for data.
        ready: Whether the service on this port answers.
        env: Added to the environment.
        seconds: How long it may take to become ready.

    Raises:
        Unavailable: It did not become ready, or ended at once on every port tried.
    """
    said = ""
    for _ in range(_ATTEMPTS):
        service = _spawn(name, command, env or {})
        end = time.monotonic() + seconds
        try:
            while service.alive and time.monotonic() < end:
                # What answers must be this child, not a stranger who took the port before it.
                if ready(service.port) and service.alive:
                    return service
                time.sleep(0.05)
            said, ended = service.log, not service.alive
        except BaseException:
            service.stop()
            raise
        service.stop()
        if not ended:
            break
    raise Unavailable(f"{name} did not start within {seconds:.0f} s; it printed: {said!r}.")


def _spawn(
    name: str, command: Callable[[int, Path], Sequence[str]], env: Mapping[str, str]
) -> Service:
    directory = Path(tempfile.mkdtemp(prefix="pennon-"))
    data = directory / "data"
    data.mkdir()
    port = _free_port()
    line = [sys.executable, "-I", "-S", str(_SUPERVISOR), str(directory), *command(port, data)]
    with (directory / "log").open("wb") as log:
        # Its own session: an interrupt at the keyboard must not end it before the tests do.
        process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=directory,
            env={**os.environ, **env},
            start_new_session=True,
        )
    return Service(name, port, directory, process)


def _free_port() -> int:
    # Below the range from which systems hand out ports, so that hardly anybody takes it meanwhile.
    while True:
        port = secrets.choice(range(20_000, 30_000))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port


def call(
    method: str,
    url: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    seconds: float = 10,
) -> tuple[int, bytes]:
    """Send one HTTP request, never through a proxy, and return status and body.

    Raises:
        OSError: Nobody answers.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=seconds)
    try:
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, body or None, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"{url} does not speak HTTP: {error!r}.") from None
    finally:
        connection.close()


def answers(url: str) -> bool:
    """Whether a GET of this URL succeeds now."""
    try:
        return call("GET", url, seconds=2)[0] < _OK
    except OSError:
        return False
