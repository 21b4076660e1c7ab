"""A REST server over what ``to_lance()`` returns, so that real clients can drive it over HTTP."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

from lance_namespace.errors import LanceNamespaceError
from pydantic import BaseModel

from pennon.namespaces.rest._routes import ROUTES, Route

_STATUS = {0: 406, 13: 400, 20: 400, 15: 403, 16: 401, 17: 503, 18: 500, 21: 429}
_MISSING = {1, 4, 6, 8, 10, 11, 12, 22}


class AdapterServer:
    """Serves an adapter on loopback; one thread for each request."""

    def __init__(self, adapter: Any) -> None:
        server = self
        self.adapter = adapter
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, kind, content = server.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = answer  # noqa: N815
            do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> AdapterServer:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, str, bytes]:
        parts = urlsplit(url)
        route, found = _match(method, parts.path)
        self.asked.append(route.name)
        fields: dict[str, Any] = {
            name: _value(name, values) for name, values in parse_qs(parts.query).items()
        }
        delimiter = fields.pop("delimiter", "$")
        if route.whole:
            fields[route.whole] = json.loads(body)
        elif route.body is not None and body:
            fields |= json.loads(body)
        if "index_name" in found:
            fields["index_name"] = unquote(found["index_name"])
        if "id" in found:
            id = unquote_plus(found["id"])
            fields["id"] = [] if id == delimiter else id.split(delimiter)
        try:
            data = (body,) if route.arrow else ()
            answer = getattr(self.adapter, route.name)(fields, *data)
        except LanceNamespaceError as error:
            code = int(error.code)
            status = 404 if code in _MISSING else _STATUS.get(code, 409)
            return status, "application/json", _json({"error": str(error), "code": code})
        return _encoded(route, answer)


def _encoded(route: Route, answer: Any) -> tuple[int, str, bytes]:
    if route.result == "data":
        return 200, "application/vnd.apache.arrow.file", answer.data
    if isinstance(answer, BaseModel):
        answer = answer.model_dump(by_alias=True, exclude_none=True, mode="json")
    if route.result and isinstance(answer, dict):
        answer = answer[route.result]
    return 200, "application/json", _json(answer)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _match(method: str, path: str) -> tuple[Route, dict[str, str]]:
    for route in ROUTES.values():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(route.path))
        found = re.fullmatch(pattern, path)
        if found and route.method == method:
            return route, found.groupdict()
    raise AssertionError(f"{method} {path} is no route")


def _value(name: str, values: list[str]) -> Any:
    if name == "on":
        return values
    (value,) = values
    if value in {"true", "false"}:
        return value == "true"
    if name == "limit":
        return int(value)
    return json.loads(value) if name in {"properties", "storage_options"} else value
