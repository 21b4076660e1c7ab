"""A loopback HTTP proxy that counts requests and makes chosen ones fail.

>>> with RecordingProxy(root.endpoint) as proxy:
...     stalled = proxy.stall(method="PUT")
...     ...                                  # open root.via(proxy.endpoint) and write, elsewhere
...     stalled.wait(); stalled.release()
...     assert proxy.count("GET") == 1
"""

from __future__ import annotations

import contextlib
import fnmatch
import http.client
import socket
import threading
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from pennon.errors import DeadlineExceeded, InvalidURI

__all__ = ["RecordedRequest", "RecordingProxy", "Rule"]

_HOP = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "content-length"}
_BODILESS = {204, 304}


class RecordedRequest(NamedTuple):
    """What one request was and how it was answered."""

    method: str
    path: str
    """As sent, with its query."""
    status: int
    """What the client was told; 0 where it was told nothing."""


@dataclass(slots=True, eq=False)
class Rule:
    """One thing a proxy does to requests that match."""

    kind: Literal["drop_header", "refuse", "phantom", "stall", "truncate"]
    method: str | None
    path: str
    times: int | None
    value: str = ""
    number: int = 0
    hits: int = 0
    """How many requests it has struck."""
    _reached: threading.Event = field(default_factory=threading.Event, repr=False)
    _released: threading.Event = field(default_factory=threading.Event, repr=False)
    _answered: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, seconds: float = 30) -> None:
        """Return once a request is stalled here.

        Raises:
            DeadlineExceeded: None came in time.
        """
        if not self._reached.wait(seconds):
            raise DeadlineExceeded(f"No request met {self!r} within {seconds} s.")

    def release(self) -> None:
        """Let stalled requests go on; later ones are not stalled."""
        self._released.set()

    def arrive(self, seconds: float = 30) -> None:
        """Let stalled requests go on, and return once the server has answered one of them.

        Raises:
            DeadlineExceeded: It has not in time, or none was stalled.
        """
        self.release()
        if not self._answered.wait(seconds):
            raise DeadlineExceeded(f"No request came past {self!r} within {seconds} s.")

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is meant and the rule has strikes left."""
        return (
            self.method in {None, method}
            and fnmatch.fnmatchcase(path, self.path)
            and (self.times is None or self.hits < self.times)
        )

    def hold(self) -> None:
        """Wait for :meth:`release`, in the proxy's thread."""
        self._reached.set()
        self._released.wait()

    def passed(self) -> None:
        """Note that the server has answered a request that was held."""
        self._answered.set()


class _Log:
    """What came and what is to go wrong, shared by the threads of one proxy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []
        self._rules: list[Rule] = []

    def requests(self) -> tuple[RecordedRequest, ...]:
        with self._lock:
            return tuple(self._requests)

    def record(self, request: RecordedRequest) -> None:
        with self._lock:
            self._requests.append(request)

    def clear(self) -> None:
        with self._lock:
            self._requests.clear()

    def add(self, rule: Rule) -> Rule:
        with self._lock:
            self._rules.append(rule)
        return rule

    def strike(self, method: str, path: str, headers: Container[str]) -> list[Rule]:
        with self._lock:
            struck = [
                rule
                for rule in self._rules
                if rule.matches(method, path)
                and (rule.kind != "drop_header" or rule.value in headers)
            ]
            for rule in struck:
                rule.hits += 1
            return struck

    def heal(self) -> None:
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.release()


class RecordingProxy:
    """A reverse proxy in front of one HTTP server, on a free port of the loopback interface.

    Requests pass unchanged, the ``Host`` header too, so signatures stay valid. It runs from
    construction to :meth:`close`. Every rule says which requests it strikes: ``method`` (None is
    any), ``path`` as a shell pattern over path and query, ``times`` (None is always), and
    returns itself, so that a test can assert ``hits``.

    Args:
        upstream: ``http://host:port``.

    Raises:
        InvalidURI: The upstream is not plain HTTP.
    """

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        if parts.scheme != "http" or not parts.netloc:
            raise InvalidURI(f"{upstream!r} is no upstream; use http://host:port.")
        self._log = _Log()
        self._server = _Server(parts.netloc, self._log)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True, name="recording-proxy"
        )
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:port``; give it to a client instead of the server's own."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """The requests so far, in the order in which they were answered."""
        return self._log.requests()

    def count(self, method: str | None = None, path: str = "*") -> int:
        """Return how many requests had this method, and a path that fits a shell pattern."""
        return sum(
            method in {None, request.method} and fnmatch.fnmatchcase(request.path, path)
            for request in self.requests
        )

    def clear(self) -> None:
        """Forget the requests so far; the rules stay."""
        self._log.clear()

    def heal(self) -> None:
        """Drop all rules and release what they stall."""
        self._log.heal()

    def drop_header(
        self, name: str, *, method: str | None = None, path: str = "*", times: int | None = None
    ) -> Rule:
        """Remove a request header, as a proxy that knows nothing of conditions would.

        A server that checks signatures notices, as clients sign the condition of a write. moto
        and the double of Google Cloud Storage do not look.
        """
        return self._log.add(Rule("drop_header", method, path, times, value=name))

    def refuse(
        self, status: int, *, method: str | None = None, path: str = "*", times: int | None = 1
    ) -> Rule:
        """Answer with an error and never pass the request on; status 0 cuts the connection."""
        return self._log.add(Rule("refuse", method, path, times, number=status))

    def phantom(
        self, status: int, *, method: str | None = None, path: str = "*", times: int | None = 1
    ) -> Rule:
        """Let the server do it, then answer with an error; status 0 cuts the connection."""
        return self._log.add(Rule("phantom", method, path, times, number=status))

    def stall(self, *, method: str | None = None, path: str = "*", times: int | None = 1) -> Rule:
        """Hold requests back before the server sees them, until ``release()`` of the rule."""
        return self._log.add(Rule("stall", method, path, times))

    def truncate(
        self, size: int, *, method: str | None = None, path: str = "*", times: int | None = 1
    ) -> Rule:
        """Announce the whole answer, send its first ``size`` bytes, and cut the connection."""
        return self._log.add(Rule("truncate", method, path, times, number=size))

    def close(self) -> None:
        """Stop, cutting open connections."""
        self.heal()
        self._server.shutdown()
        self._thread.join()
        self._server.cut_all()
        self._server.server_close()

    def __enter__(self) -> RecordingProxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    # Closing waits for the threads, which end when their connections are cut.
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, upstream: str, log: _Log) -> None:
        self.upstream = upstream
        self.log = log
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut_all(self) -> None:
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client may hang up whenever it likes, and a test may cut it off."""


class _Answer(NamedTuple):
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        """Keep standard error clean."""

    def handle_expect_100(self) -> bool:
        found = super().handle_expect_100()
        self.wfile.flush()
        return found

    def _forward(self) -> None:
        server = cast("_Server", self.server)
        # `self.path` is not what was sent: the base class merges leading slashes.
        method, path = self.command, self.requestline.split()[1]
        body = self._read_body()
        struck = server.log.strike(method, path, self.headers)
        rules = {rule.kind: rule for rule in struck}
        if "stall" in rules:
            rules["stall"].hold()
        if "refuse" in rules:
            answer = _error(rules["refuse"].number)
        else:
            dropped = {rule.value.lower() for rule in struck if rule.kind == "drop_header"}
            answer = self._ask(server.upstream, method, path, body, dropped)
            if "stall" in rules:
                rules["stall"].passed()
            if "phantom" in rules:
                answer = _error(rules["phantom"].number)
        # Recorded before it is sent, so that who has the answer also sees the record.
        server.log.record(RecordedRequest(method, path, answer.status))
        self._send(answer, rules.get("truncate"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._forward
        raise AttributeError(name)

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            parts: list[bytes] = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _ask(
        self, upstream: str, method: str, path: str, body: bytes, dropped: set[str]
    ) -> _Answer:
        connection = http.client.HTTPConnection(upstream, timeout=120)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _HOP | dropped:
                    connection.putheader(name, value)
            if body or "Content-Length" in self.headers or "Transfer-Encoding" in self.headers:
                connection.putheader("Content-Length", str(len(body)))
            connection.putheader("Connection", "close")
            connection.endheaders(body)
            found = connection.getresponse()
            kept = [(k, v) for k, v in found.getheaders() if k.lower() not in _HOP]
            length = found.getheader("Content-Length")
            content = found.read()
            if method == "HEAD" and length is not None:
                kept.append(("Content-Length", length))
            return _Answer(found.status, found.reason, kept, content)
        except (OSError, http.client.HTTPException) as error:
            return _error(502, f"{type(error).__name__} from {upstream}")
        finally:
            connection.close()

    def _send(self, answer: _Answer, truncate: Rule | None) -> None:
        if answer.status == 0:
            self.close_connection = True
            return
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.headers:
            self.send_header(name, value)
        body = b"" if self.command == "HEAD" else answer.body
        if self.command != "HEAD" and answer.status not in _BODILESS:
            self.send_header("Content-Length", str(len(body)))
        if truncate is not None:
            body = body[: truncate.number]
            self.close_connection = True
        elif self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def _error(status: int, text: str = "planned fault") -> _Answer:
    return _Answer(status, "", [("Content-Type", "text/plain")], text.encode())
