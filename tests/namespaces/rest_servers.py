"""Servers for the tests of the REST kind, on loopback."""

from __future__ import annotations

import contextlib
import http.server
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lance
import lance.namespace
import pyarrow as pa

from pennon.namespaces.rest import RestClient
from pennon.namespaces.rest._settings import Settings

_MANIFEST = pa.schema(
    [
        pa.field(
            "object_id", pa.string(), False, {"lance-schema:unenforced-primary-key:position": "0"}
        ),
        pa.field("object_type", pa.string(), False),
        pa.field("location", pa.string()),
        pa.field("metadata", pa.string()),
        pa.field("base_objects", pa.list_(pa.field("object_id", pa.string()))),
    ]
)


@contextlib.contextmanager
def native_server(root: Path) -> Iterator[str]:
    """Serve a fresh directory by pylance's own server; yields its address.

    Its catalog table is made before: making it on first use is a race of the server.
    """
    place = root / uuid.uuid4().hex
    place.mkdir()
    empty = lance.LanceOperation.Overwrite(_MANIFEST, [])
    lance.LanceDataset.commit(str(place / "__manifest"), empty, max_retries=0)
    properties = {"root": str(place), "dir_listing_enabled": "false"}
    with lance.namespace.RestAdapter("dir", properties, port=0) as server:
        yield f"http://127.0.0.1:{server.port}"


@dataclass
class Request:
    """What a scripted server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    """What a scripted server says."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    stall: float = 0.0
    """Seconds before it says anything."""
    cut: bool = False
    """Close the connection instead, after the request was read."""


class ScriptedServer:
    """A real HTTP server that answers by a script: one answer after the other, the last forever."""

    def __init__(
        self,
        *answers: Answer | Callable[[Request], Answer],
        delay: float = 0.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.over = threading.Event()
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                request = Request(
                    self.command, self.path, dict(self.headers.items()), self.rfile.read(length)
                )
                answer = script.take(request)
                script.over.wait(answer.stall)
                if answer.cut or script.over.is_set():
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_GET(self) -> None:
                self.handle_any()

            def do_POST(self) -> None:
                self.handle_any()

            def log_message(self, format: str, *args: object) -> None:
                return

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that gives up is what some tests are about."""

        self._server = Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._serve, args=(delay,))

    def _serve(self, delay: float) -> None:
        # Until then connections are refused.
        self.over.wait(delay)
        self._server.server_activate()
        self._server.serve_forever(0.02)

    def take(self, request: Request) -> Answer:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        return answer(request) if callable(answer) else answer

    @property
    def uri(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


LISTING = Answer(body=b'{"tables": ["t"]}')


def client(uri: str, context: Any = None, **properties: Any) -> RestClient:
    given = {k.replace("__", "."): v for k, v in properties.items()}
    return RestClient(Settings.of("rest", {"uri": uri, **given}), context=context)
