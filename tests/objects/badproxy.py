"""A loopback HTTP proxy that does to chosen requests what bad networks and servers do."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Weather = Callable[[str, str], str]


class BadProxy(ThreadingHTTPServer):
    """Forwards to ``upstream`` unless ``weather(method, path)`` names a fault.

    ``"cut before"`` closes the connection without forwarding, ``"cut after"`` forwards and closes
    without answering, ``"500 after"`` forwards and answers 500, ``"503 before"`` and any other
    ``"<status> <code>"`` answer so without forwarding, ``"half"`` sends half the body, ``"hang"``
    never answers.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urlsplit(upstream)
        self.requests: list[tuple[str, str]] = []
        self.weather: Weather = lambda method, path: ""
        self.afterwards: Callable[[], None] = lambda: None
        self.closing = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Stay silent: clients leave broken connections on purpose here."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def once(self, method: str, fault: str) -> None:
        """Let the first request with this method meet a fault."""
        left = [fault]
        self.weather = lambda m, path: left.pop() if m == method and left else ""

    def count(self, method: str) -> int:
        return sum(1 for m, _ in self.requests if m == method)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BadProxy

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_any(self) -> None:
        body = self._body()
        self.server.requests.append((self.command, self.path))
        fault = self.server.weather(self.command, self.path)
        if fault == "hang":
            self.server.closing.wait(60)
        if fault in {"hang", "cut before"}:
            return self._cut()
        if fault == "503 before":
            fault = "503 ServiceUnavailable"
        if fault[:3].isdigit() and fault != "500 after":
            text = f"<Error><Code>{fault[4:]}</Code><Message>As planned</Message></Error>"
            return self._answer(int(fault[:3]), [], text.encode())
        host, port = self.server.upstream.hostname or "", self.server.upstream.port
        upstream = http.client.HTTPConnection(host, port, timeout=60)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() != "transfer-encoding":
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        headers = answer.getheaders()
        upstream.close()
        if fault:
            self.server.afterwards()
        if fault == "cut after":
            return self._cut()
        if fault == "500 after":
            return self._answer(500, [], b"<Error><Code>InternalError</Code></Error>")
        return self._answer(answer.status, headers, data, half=fault == "half")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, *, half: bool = False
    ) -> None:
        self.send_response_only(status)
        kept = [h for h in headers if h[0].lower() not in {"transfer-encoding", "connection"}]
        for name, value in kept:
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name, _ in kept):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if half else data)
        if half:
            self.wfile.flush()
            self._cut()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815
