"""Loopback doubles of three catalog servers, as far as lance-namespace-impls talks to them.

They speak the routes of the Iceberg REST catalog, of Polaris' generic tables and of Unity Catalog
from one dictionary. They show that pennon drives these clients right, not that the clients and a
real server agree.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["TOP", "CatalogDouble"]

TOP = "main"
"""The one warehouse or catalog there is."""

Id = tuple[str, ...]


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class CatalogDouble(ThreadingHTTPServer):
    """A server on a free port; ``kind`` says which routes it has."""

    daemon_threads = True

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kind = kind
        self.namespaces: dict[Id, dict[str, str]] = {(): {}, (TOP,): {}}
        self.tables: dict[Id, dict[str, Any]] = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def properties(self) -> dict[str, str]:
        """What connects to it."""
        address = f"http://127.0.0.1:{self.server_port}"
        return {"endpoint" if self.kind == "iceberg" else f"{self.kind}.endpoint": address}

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    # -- the state ---------------------------------------------------------------------------------

    def children(self, above: Id) -> list[Id]:
        self._need(self.namespaces, above)
        return [i for i in self.namespaces if i and i[:-1] == above]

    def create(self, id: Id, properties: dict[str, str] | None) -> dict[str, str]:
        if id in self.namespaces:
            raise _Refused(409)
        self._need(self.namespaces, id[:-1])
        self.namespaces[id] = properties or {}
        return self.namespaces[id]

    def describe(self, id: Id) -> dict[str, str]:
        return self._need(self.namespaces, id)

    def drop(self, id: Id) -> None:
        self._need(self.namespaces, id)
        if any(i[:-1] == id for i in (*self.namespaces, *self.tables)):
            raise _Refused(409)
        del self.namespaces[id]

    def names(self, above: Id) -> list[str]:
        self._need(self.namespaces, above)
        return [i[-1] for i in self.tables if i[:-1] == above]

    def add(self, id: Id, table: dict[str, Any]) -> dict[str, Any]:
        self._need(self.namespaces, id[:-1])
        if id in self.tables:
            raise _Refused(409)
        self.tables[id] = table
        return table

    def table(self, id: Id) -> dict[str, Any]:
        return self._need(self.tables, id)

    def remove(self, id: Id) -> None:
        self._need(self.tables, id)
        del self.tables[id]

    @staticmethod
    def _need(known: dict[Id, Any], id: Id) -> Any:
        if id not in known:
            raise _Refused(404)
        return known[id]

    # -- the routes --------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        steps = [unquote(s) for s in path.strip("/").split("/")]
        if self.kind == "unity":
            return self._unity(method, steps[3:], query, body)
        if self.kind == "polaris":
            generic = steps[2] == "polaris"
            return self._rest(method, steps[4 if generic else 3 :], query, body, ".")
        if steps == ["v1", "config"]:
            return {"defaults": {"prefix": f"prefix-of-{query['warehouse']}"}}
        top = steps[1].removeprefix("prefix-of-")
        return self._rest(method, [top, *steps[2:]], query, body, "\x1f")

    def _rest(
        self, method: str, steps: list[str], query: dict[str, str], body: Any, joint: str
    ) -> Any:
        top, rest = steps[0], steps[2:]
        if not rest and method == "POST":
            return {"properties": self.create((top, *body["namespace"]), body["properties"])}
        parent = query.get("parent", "")
        if not rest or rest[1:] == ["namespaces"]:
            inside = rest[0] if rest else unquote(parent)
            above = (top, *(unquote(p) for p in inside.split(joint) if p))
            return {"namespaces": [list(i[1:]) for i in self.children(above)]}
        id = (top, *(unquote(p) for p in rest[0].split(joint)))
        if len(rest) == 1:
            if method == "DELETE":
                return self.drop(id)
            return {"properties": self.describe(id)}
        if len(rest) == 2:
            if method == "POST":
                return self._wrap(self.add((*id, body["name"]), body))
            return {"identifiers": [{"name": n} for n in self.names(id)]}
        if method == "DELETE":
            return self.remove((*id, rest[2]))
        return self._wrap(self.table((*id, rest[2])))

    def _wrap(self, table: dict[str, Any]) -> Any:
        return {"table" if self.kind == "polaris" else "metadata": table}

    def _unity(self, method: str, steps: list[str], query: dict[str, str], body: Any) -> Any:
        what = steps[0]
        id = tuple(steps[1].split(".")) if len(steps) > 1 else ()
        if what == "catalogs":
            return {"catalogs": [{"name": i[0]} for i in self.children(())]}
        if method == "POST" and what == "schemas":
            id = (body["catalog_name"], body["name"])
            return {**body, "properties": self.create(id, body.get("properties"))}
        if method == "POST":
            return self.add((body["catalog_name"], body["schema_name"], body["name"]), body)
        if not id and what == "schemas":
            return {"schemas": [{"name": i[1]} for i in self.children((query["catalog_name"],))]}
        if not id:
            above = (query["catalog_name"], query["schema_name"])
            return {"tables": [self.tables[(*above, n)] for n in self.names(above)]}
        if method == "DELETE":
            return self.drop(id) if what == "schemas" else self.remove(id)
        if what == "schemas":
            return {"name": id[1], "catalog_name": id[0], "properties": self.describe(id)}
        return self.table(id)


class _Handler(BaseHTTPRequestHandler):
    server: CatalogDouble

    def _answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        parts = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(parts.query).items()}
        try:
            found = self.server.answer(self.command, parts.path, query, body)
            status = 200
        except _Refused as refused:
            found, status = {"error": {"code": refused.status}}, refused.status
        data = json.dumps(found).encode() if found is not None else b""
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass
