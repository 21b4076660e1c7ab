"""The recording proxy in front of real servers: nothing changed, everything counted."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from pennon.config import parse_options
from pennon.errors import InvalidURI, ObjectAlreadyExists, PennonError
from pennon.objects import ObjectStore, open_store
from pennon.testing.proxy import RecordedRequest, RecordingProxy
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri

Make = Callable[[str], RecordingProxy]


def store_of(root: TestRoot) -> ObjectStore:
    uri = parse_uri(root.uri)
    return open_store(uri, parse_options(uri, root.options))


@pytest.mark.parametrize("pennon_root", ["s3", "azure", "gcs"], indirect=True)
def test_passes_everything_unchanged(pennon_root: TestRoot, recording_proxy: Make) -> None:
    proxy = recording_proxy(pennon_root.endpoint)
    behind = store_of(pennon_root.via(proxy.endpoint))
    direct = store_of(pennon_root)
    content = os.urandom(300_000)
    behind.put("a b/ü$%+~", content, if_absent=True)
    assert direct.get("a b/ü$%+~").data == content
    assert behind.get("a b/ü$%+~", range=(10, 20)).data == content[10:20]
    assert behind.head("a b/ü$%+~") == direct.head("a b/ü$%+~")
    assert behind.head("none") is None
    assert [m.key for m in behind.list()] == ["a b/ü$%+~"]
    with pytest.raises(ObjectAlreadyExists):
        behind.put("a b/ü$%+~", b"late", if_absent=True)
    behind.put("empty", b"")
    assert direct.get("empty").data == b""
    behind.delete("a b/ü$%+~")
    assert direct.head("a b/ü$%+~") is None
    assert proxy.count("PUT") == 3
    proxy.clear()
    assert proxy.count() == 0


def test_records_method_path_and_status(s3_root: TestRoot, recording_proxy: Make) -> None:
    proxy = recording_proxy(s3_root.endpoint)
    store = store_of(s3_root.via(proxy.endpoint))
    store.put("k", b"1")
    path = f"/{urlsplit(s3_root.uri).netloc}{urlsplit(s3_root.uri).path}/k"
    assert proxy.requests == (RecordedRequest("PUT", path, 200),)
    store.head("k")
    store.head("none")
    assert [r.status for r in proxy.requests[1:]] == [200, 404]
    assert proxy.count("HEAD", "*/k") == 1


def test_a_dropped_condition_makes_the_store_unsafe(
    moto_root: TestRoot, recording_proxy: Make
) -> None:
    proxy = recording_proxy(moto_root.endpoint)
    store = store_of(moto_root.via(proxy.endpoint))
    store.put("k", b"1", if_absent=True)
    rule = proxy.drop_header("If-None-Match")
    store.put("k", b"2", if_absent=True)
    assert (store.get("k").data, rule.hits) == (b"2", 1)
    proxy.heal()
    with pytest.raises(ObjectAlreadyExists):
        store.put("k", b"3", if_absent=True)


@pytest.mark.parametrize("status", [503, 0])
def test_refused_and_phantom_requests(
    s3_root: TestRoot, recording_proxy: Make, status: int
) -> None:
    proxy = recording_proxy(s3_root.endpoint)
    direct = store_of(s3_root)
    path = urlsplit(f"{s3_root.endpoint}/{urlsplit(s3_root.uri).netloc}/missing").path
    refused = proxy.refuse(status)
    assert ask(proxy, "GET", path)[0] == status
    assert ask(proxy, "GET", path)[0] in {403, 404}
    assert refused.hits == 1
    behind = store_of(s3_root.via(proxy.endpoint))
    phantom = proxy.phantom(status, method="PUT")
    behind.put("k", b"done", if_absent=True)  # settled by its write id
    assert phantom.hits == 1
    assert proxy.count("PUT") >= 1
    assert direct.get("k").data == b"done"


def ask(proxy: RecordingProxy, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(proxy.endpoint).netloc, timeout=20)
    try:
        connection.request(method, path, body or None)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except http.client.RemoteDisconnected:
        return 0, b""
    finally:
        connection.close()


def test_a_stalled_request_reaches_the_server_only_when_released(
    s3_root: TestRoot, recording_proxy: Make
) -> None:
    proxy = recording_proxy(s3_root.endpoint)
    direct = store_of(s3_root)
    stalled = proxy.stall(method="PUT")
    writer = threading.Thread(target=store_of(s3_root.via(proxy.endpoint)).put, args=("k", b"1"))
    writer.start()
    stalled.wait()
    assert direct.head("k") is None
    stalled.arrive()
    assert direct.get("k").data == b"1"
    writer.join(30)


def test_a_truncated_answer_is_announced_whole(s3_root: TestRoot, recording_proxy: Make) -> None:
    proxy = recording_proxy(s3_root.endpoint)
    store_of(s3_root).put("k", b"x" * 1000)
    proxy.truncate(10, method="GET", times=None)
    with pytest.raises(http.client.IncompleteRead):
        ask(proxy, "GET", f"/{urlsplit(s3_root.uri).netloc}/")
    with pytest.raises(PennonError):
        store_of(s3_root.via(proxy.endpoint)).get("k", deadline=3)


class Echo:
    """A server that answers each request with what arrived, byte by byte."""

    def __init__(self) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.send_header("X-Host", self.headers["Host"])
                self.end_headers()
                for start in range(0, len(body), 7):
                    part = body[start : start + 7]
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.write(b"0\r\n\r\n")

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def echo() -> Any:
    server = Echo()
    yield server
    server.close()


def test_chunks_both_ways_continue_and_keep_alive(echo: Echo, recording_proxy: Make) -> None:
    proxy = recording_proxy(echo.endpoint)
    host = urlsplit(proxy.endpoint)
    with socket.create_connection((host.hostname, host.port), timeout=10) as raw:
        reader = raw.makefile("rb")
        head = b"PUT //a?x=1 HTTP/1.1\r\nHost: signed.example\r\n"
        for _ in range(2):  # the second one over the same connection
            raw.sendall(head + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
            assert reader.readline().startswith(b"HTTP/1.1 100")
            assert reader.readline() == b"\r\n"
            raw.sendall(b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n")
            answer = reader.readline()
            assert answer.startswith(b"HTTP/1.1 200"), answer
            headers = http.client.parse_headers(reader)
            assert headers["X-Host"] == "signed.example"
            assert reader.read(int(headers["Content-Length"])) == b"hello world"
        reader.close()
    assert proxy.requests == (RecordedRequest("PUT", "//a?x=1", 200),) * 2


def test_no_server_behind_is_a_bad_gateway(recording_proxy: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert ask(recording_proxy(f"http://127.0.0.1:{port}"), "GET", "/")[0] == 502


def test_only_plain_http_is_proxied() -> None:
    with pytest.raises(InvalidURI, match="http://host:port"):
        RecordingProxy("127.0.0.1:9000")


def test_closing_cuts_open_connections(echo: Echo) -> None:
    proxy = RecordingProxy(echo.endpoint)
    host = urlsplit(proxy.endpoint)
    with socket.create_connection((host.hostname, host.port), timeout=10) as raw:
        raw.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert raw.recv(10)
        proxy.close()
        while raw.recv(1000):
            pass
