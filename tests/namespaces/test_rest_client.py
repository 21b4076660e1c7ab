"""The client against servers that answer by a script: bad weather, bad answers, bad settings."""

from __future__ import annotations

import email.utils
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rest_servers import LISTING, Answer, Request, ScriptedServer, client

from pennon.errors import (
    CommitConflict,
    DeadlineExceeded,
    InvalidInput,
    InvalidName,
    InvalidOption,
    InvalidURI,
    OutcomeUnknown,
    PennonError,
    PermissionDenied,
    RootNotFound,
    StorageError,
    TableNotFound,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from pennon.namespaces.connect import connect
from pennon.namespaces.rest import RestClient, RestNamespace
from pennon.namespaces.rest._routes import ROUTES
from pennon.namespaces.rest._settings import Settings
from pennon.namespaces.session import Session

SECRET = "hush-hush-3f9a"


def failing(status: int, **headers: str) -> Answer:
    return Answer(status, b"<html>out of order</html>", {"Content-Type": "text/html", **headers})


# -- tries -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_read_is_tried_again(status: int) -> None:
    script = (failing(status), failing(status), LISTING)
    with ScriptedServer(*script) as server, client(server.uri) as rest:
        assert rest.call("list_tables") == {"tables": ["t"]}
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "error"),
    [(502, OutcomeUnknown), (503, Unavailable), (504, OutcomeUnknown), (500, StorageError)],
)
def test_a_change_is_not_tried_again(status: int, error: type[PennonError]) -> None:
    with ScriptedServer(failing(status), Answer()) as server, client(server.uri) as rest:
        with pytest.raises(error) as caught:
            rest.call("declare_table", id="t")
        assert type(caught.value) is error
        assert len(server.requests) == 1


def test_a_change_that_was_throttled_is_tried_again() -> None:
    with ScriptedServer(failing(429), Answer()) as server, client(server.uri) as rest:
        rest.call("declare_table", id="t")
        assert len(server.requests) == 2


def test_every_operation_is_repeated_or_not() -> None:
    fields: dict[str, Any] = {"index_name": "i"}
    for name, route in ROUTES.items():
        given = {f: fields.get(f, "x") for f in route.required}
        data = b"rows" if route.arrow else None
        id = "t" if route.has_id else ()
        with ScriptedServer(Answer(cut=True), failing(500)) as server, client(server.uri) as rest:
            with pytest.raises(PennonError) as caught:
                rest.call(name, id=id, data=data, **given)
            assert len(server.requests) == (2 if route.repeatable else 1), name
            expected = StorageError if route.repeatable else OutcomeUnknown
            assert type(caught.value) is expected, f"{name}: {caught.value!r}"


def test_tries_end() -> None:
    with ScriptedServer(failing(503)) as server, client(server.uri) as rest:
        with pytest.raises(Unavailable, match="cannot serve now"):
            rest.call("list_tables", deadline=1.5)
        assert 2 <= len(server.requests) <= 6


def test_retry_after_is_honoured() -> None:
    for as_date in (False, True):
        started = time.monotonic()
        value = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1"
        with ScriptedServer(failing(503, **{"Retry-After": value}), LISTING) as server:
            client(server.uri).call("list_tables")
            assert len(server.requests) == 2
        assert 0.8 <= time.monotonic() - started < 30


def test_retry_after_beyond_the_deadline_ends_at_once() -> None:
    started = time.monotonic()
    with ScriptedServer(failing(429, **{"Retry-After": "3600"})) as server:
        with client(server.uri) as rest, pytest.raises(Throttled):
            rest.call("list_tables", deadline=60)
        assert len(server.requests) == 1
    assert time.monotonic() - started < 30


def test_nonsense_in_retry_after_is_ignored() -> None:
    script = (failing(503, **{"Retry-After": "soon"}), LISTING)
    with ScriptedServer(*script) as server, client(server.uri) as rest:
        assert rest.call("list_tables") == {"tables": ["t"]}


@pytest.mark.parametrize(
    ("operation", "error"), [("list_tables", DeadlineExceeded), ("drop_table", OutcomeUnknown)]
)
def test_a_server_that_hangs(operation: str, error: type[PennonError]) -> None:
    for by_property in (False, True):
        given = {"timeout": "0.7"} if by_property else {}
        deadline = None if by_property else 0.7
        with ScriptedServer(Answer(stall=60)) as server, client(server.uri, **given) as rest:
            started = time.monotonic()
            with pytest.raises(error, match="in time") as caught:
                rest.call(operation, id="t", deadline=deadline)
            assert type(caught.value) is error
            assert 0.5 < time.monotonic() - started < 20
            assert len(server.requests) == 1


def test_an_answer_that_drips_ends_with_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not over.wait(0.1):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        started = time.monotonic()
        uri = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with client(uri) as rest, pytest.raises(DeadlineExceeded):
            rest.call("list_tables", deadline=1)
        assert time.monotonic() - started < 20
    finally:
        over.set()
        thread.join()
        listener.close()


def test_a_refused_connection_is_one_sentence_soon() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{closed.getsockname()[1]}"
        for operation in ("list_tables", "drop_table"):
            started = time.monotonic()
            with client(uri) as rest, pytest.raises(Unavailable) as caught:
                rest.call(operation, id="t")
            assert time.monotonic() - started < 10
            message = str(caught.value)
            assert uri in message
            assert "check the uri" in message
            assert message.count(". ") == 0
            assert "\n" not in message


def test_a_server_that_comes_up_is_found() -> None:
    server = ScriptedServer(Answer(), delay=0.2)
    with server, client(server.uri) as rest:
        rest.call("drop_table", id="t")
        assert len(server.requests) == 1


# -- answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (301, InvalidOption),
        (400, InvalidInput),
        (401, Unauthenticated),
        (403, PermissionDenied),
        (404, RootNotFound),
        (405, Unsupported),
        (409, CommitConflict),
        (413, InvalidInput),
        (418, StorageError),
        (500, StorageError),
        (501, Unsupported),
    ],
)
def test_answers_without_json(status: int, error: type[PennonError]) -> None:
    page = f"<html>proxy says no {SECRET} {'x' * 5000}</html>".encode()
    answer = Answer(status, page, {"Content-Type": "text/html", "Location": "http://other/"})
    with ScriptedServer(answer) as server, client(server.uri, **{"header__x-api-key": SECRET}) as c:
        with pytest.raises(PennonError) as caught:
            c.call("describe_table", id=("a", "t"))
        assert len(server.requests) == 1
    raised = caught.value
    assert type(raised) is error
    assert raised.context == {"operation": "describe_table", "id": ("a", "t"), "status": status}
    message = str(raised)
    assert f"status {status}" in message
    assert "a.t" in message
    assert "proxy says no" in message
    assert SECRET not in message
    assert len(message) < 600


def test_json_errors_keep_detail_and_instance() -> None:
    body = {"error": f"gone; token={SECRET}", "code": 4, "detail": "why", "instance": "/req/7"}
    answer = Answer(404, json.dumps(body).encode())
    with (
        ScriptedServer(answer) as server,
        client(server.uri) as rest,
        pytest.raises(TableNotFound) as caught,
    ):
        rest.call("describe_table", id="t")
    context = caught.value.context
    assert (context["detail"], context["instance"]) == ("why", "/req/7")
    assert (context["server_code"], context["status"], context["id"]) == (4, 404, ("t",))
    assert "gone" in str(caught.value)
    assert SECRET not in f"{caught.value} {context}"


def test_json_without_a_code_goes_by_status() -> None:
    answer = Answer(404, b'{"detail": "Not Found"}')
    with (
        ScriptedServer(answer) as server,
        client(server.uri) as rest,
        pytest.raises(RootNotFound, match="check the path"),
    ):
        rest.call("describe_table", id="t")


@pytest.mark.parametrize("body", [b"<html>log in</html>", b"[1]", b'"text"', b"\xff\xfe"])
def test_success_that_is_no_answer(body: bytes) -> None:
    answer = Answer(200, body, {"Content-Type": "text/html"})
    with ScriptedServer(answer) as server, client(server.uri) as rest:
        for operation, fields in (("list_tables", {}), ("query_table", {"k": 1, "vector": {}})):
            with pytest.raises(StorageError, match="check the uri"):
                rest.call(operation, id="t", **fields)


def test_a_server_that_never_ends_a_listing() -> None:
    page = Answer(body=b'{"tables": ["t"], "page_token": "t"}')
    with ScriptedServer(page) as server, connect("rest", {"uri": server.uri}) as namespace:
        assert list(namespace.list_tables(limit=1)) == [("t",)]
        with pytest.raises(StorageError, match="same page again"):
            namespace.list_tables()
        assert len(server.requests) == 3


def test_a_server_that_pages_by_itself_is_read_to_the_end() -> None:
    first = Answer(body=b'{"tables": ["b"], "page_token": "b"}')
    last = Answer(body=b'{"tables": ["a"]}')
    with ScriptedServer(first, last) as server, connect("rest", {"uri": server.uri}) as namespace:
        assert list(namespace.list_tables()) == [("a",), ("b",)]
        assert "page_token=b" in server.requests[1].path


# -- requests --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "step"),
    [
        ((), "%24"),
        ("sp ace", "sp%20ace"),
        ("%41", "%2541"),
        ("a+b", "a%2Bb"),
        ("why?", "why%3F"),
        ("a#b", "a%23b"),
        (("日", "é"), "%E6%97%A5%24%C3%A9"),
        ("~user", "~user"),
        ("..x", "..x"),
    ],
)
def test_paths_on_the_wire(id: Any, step: str) -> None:
    for base in ("", "/", "/base", "/base/", "/b%20ase//"):
        with ScriptedServer(LISTING) as server, client(server.uri + base) as rest:
            rest.call("list_tables", id=id, limit=5)
            (request,) = server.requests
        prefix = base.rstrip("/")
        path = f"{prefix}/v1/namespace/{step}/table/list?delimiter=%24&limit=5"
        assert (request.method, request.path) == ("GET", path)


def test_another_delimiter() -> None:
    with ScriptedServer(LISTING) as server, client(server.uri, delimiter="::") as rest:
        rest.call("list_tables", id=("a", "b"))
        assert server.requests[0].path == "/v1/namespace/a%3A%3Ab/table/list?delimiter=%3A%3A"
        with pytest.raises(InvalidName, match="delimiter"):
            rest.call("list_tables", id=("a::b",))
        assert len(server.requests) == 1


def test_fields_go_where_they_belong() -> None:
    with ScriptedServer(Answer()) as server, client(server.uri) as rest:
        rest.call("create_table", id="t", data=b"rows", mode="Create", properties={"k": "ü&"})
        rest.call("describe_table", id="t", version=3, check_declared=True)
        rest.call("update_table_schema_metadata", id="t", branch="b", metadata={"a": "b"})
        rest.call("drop_table_index", id="t", index_name="i /x", branch="b")
        rest.call("create_namespace", id="n", context={"who": "me", "header.X-Trace": "7"})
        rest.call("drop_table", id="t", identity={"api_key": "k1", "auth_token": "t1"})
        create, describe, metadata, index, namespace, drop = server.requests
    properties = "properties=%7B%22k%22%3A%20%22%C3%BC%26%22%7D"
    assert create.path == f"/v1/table/t/create?delimiter=%24&mode=Create&{properties}"
    assert create.body == b"rows"
    assert create.headers["Content-Type"] == "application/vnd.apache.arrow.stream"
    assert describe.path == "/v1/table/t/describe?delimiter=%24&check_declared=true"
    assert json.loads(describe.body) == {"version": 3, "check_declared": True}
    assert metadata.path.endswith("?delimiter=%24&branch=b")
    assert json.loads(metadata.body) == {"a": "b"}
    assert index.path == "/v1/table/t/index/i%20%2Fx/drop?delimiter=%24&branch=b"
    assert json.loads(namespace.body) == {"context": {"who": "me"}}
    assert namespace.headers["X-Trace"] == "7"
    assert drop.headers["x-api-key"] == "k1"
    assert drop.headers["Authorization"] == "Bearer t1"


def test_wrong_requests_are_not_sent() -> None:
    wrong: list[tuple[str, dict[str, Any], type[PennonError], str]] = [
        ("list_tabels", {}, InvalidOption, "did you mean 'list_tables'"),
        ("list_tables", {"limt": 1}, InvalidOption, "did you mean 'limit'"),
        ("get_table_tag_version", {"id": "t"}, InvalidInput, "needs tag"),
        ("insert_into_table", {"id": "t"}, InvalidInput, "Arrow IPC stream"),
        ("drop_table", {"id": "t", "data": b"x"}, InvalidInput, "carries no rows"),
        ("list_all_tables", {"id": "t"}, InvalidInput, "leave out the id"),
        ("drop_table", {"id": "a/b"}, InvalidName, "separator"),
        ("drop_table_index", {"id": "t", "index_name": ".."}, InvalidName, "index_name"),
        ("create_namespace", {"id": "n", "properties": {"k": object()}}, InvalidInput, "JSON"),
        ("drop_table", {"id": "t", "context": {"who": "me"}}, InvalidInput, "no JSON body"),
        ("drop_table", {"id": "t", "context": {"header.Host": "x"}}, InvalidOption, "itself"),
        ("drop_table", {"id": "t", "identity": {"user": "me"}}, InvalidOption, "api_key"),
        ("list_tables", {"deadline": 0}, InvalidOption, "deadline"),
    ]
    with ScriptedServer(Answer()) as server, client(server.uri) as rest:
        for operation, fields, error, words in wrong:
            with pytest.raises(error, match=words):
                rest.call(operation, **fields)
        assert server.requests == []


# -- credentials -----------------------------------------------------------------------------------


def test_headers_go_with_every_request() -> None:
    def provider(operation: str, object_id: str) -> Mapping[str, str]:
        return {"headers.authorization": f"Bearer {operation} {object_id}"}

    given = {"header__X-Tenant": "t1", "headers__Authorization": "Bearer old"}
    with (
        ScriptedServer(failing(503), LISTING) as server,
        client(server.uri, provider, **given) as rest,
    ):
        rest.call("list_tables", id=("a", "b"))
        assert len(server.requests) == 2
        for request in server.requests:
            lowered = {k.lower(): v for k, v in request.headers.items()}
            assert lowered["x-tenant"] == "t1"
            assert lowered["authorization"] == "Bearer list_tables a$b"


def _raises(operation: str, object_id: str) -> Mapping[str, str]:
    raise RuntimeError(f"cannot refresh {SECRET}")


@pytest.mark.parametrize(
    "provider",
    [
        _raises,
        lambda o, i: None,
        lambda o, i: SECRET,
        lambda o, i: {"Authorization": None},
        lambda o, i: {"Authorization": SECRET.encode()},
        lambda o, i: {"Authorization": f"{SECRET}\r\nX: y"},
        lambda o, i: {"bad name": SECRET},
        lambda o, i: {"Host": SECRET},
        lambda o: {},
    ],
)
def test_a_provider_that_fails_means_that_nothing_is_sent(provider: Any) -> None:
    with ScriptedServer(Answer()) as server:
        namespace = connect("rest", {"uri": server.uri}).with_context(provider).connect()
        for use in (
            namespace.list_tables,
            lambda: namespace.declare_table("t"),
            lambda: namespace.drop_table("t", missing_ok=True),
        ):
            with pytest.raises(Unauthenticated, match="nothing was sent") as caught:
                use()
            text = f"{caught.value} {caught.value!r} {caught.value.context}"
            assert SECRET not in text
            assert caught.value.__cause__ is None
            assert caught.value.__suppress_context__
        assert server.requests == []


def test_credentials_are_never_shown() -> None:
    def echo(request: Request) -> Answer:
        said = f"bad credentials: {SECRET} in {request.headers}"
        return Answer(401, said.encode(), {"Content-Type": "text/plain"})

    properties = {"header.Authorization": f"Bearer {SECRET}", "storage.secret_access_key": SECRET}
    with ScriptedServer(echo) as server:
        builder = connect("rest", {"uri": server.uri, **properties})
        namespace: Any = builder.connect()
        with pytest.raises(Unauthenticated) as caught:
            namespace.list_tables()
        shown = [builder, namespace, namespace.client, namespace.client.settings]
        text = " ".join(f"{o} {o!r}" for o in [*shown, caught.value, caught.value.context])
        assert SECRET not in text
        with pytest.raises(Unsupported, match=r"header\.Authorization") as refused:
            pickle.dumps(namespace)
        assert SECRET not in str(refused.value)


def given_by_module(operation: str, object_id: str) -> Mapping[str, str]:
    return {"Authorization": "Bearer from-module"}


def test_pickle_takes_the_provider_along() -> None:
    with ScriptedServer(LISTING) as server:
        properties = {"uri": server.uri, "header.X-Tenant": "t1"}
        namespace = connect("rest", properties).with_context(given_by_module).connect()
        copy = pickle.loads(pickle.dumps(namespace))
        copy.list_tables()
        (request,) = server.requests
        assert request.headers["Authorization"] == "Bearer from-module"
        assert request.headers["X-Tenant"] == "t1"
        local = connect("rest", properties).with_context(lambda o, i: {}).connect()
        with pytest.raises(Unsupported, match="cannot be pickled"):
            pickle.dumps(local)


def test_cookies_and_redirects_are_not_followed() -> None:
    cookie = {"Content-Type": "application/json", "Set-Cookie": "id=someone; Path=/"}
    with ScriptedServer(LISTING) as other:
        away = Answer(307, b"", {"Location": f"{other.uri}/v1/table", "Set-Cookie": "id=x"})
        with ScriptedServer(Answer(body=b"{}", headers=cookie), away) as server:
            with client(server.uri, header__Authorization=SECRET) as rest:
                rest.call("list_all_tables")
                with pytest.raises(InvalidOption, match="redirects"):
                    rest.call("list_all_tables")
            assert "Cookie" not in server.requests[1].headers
        assert other.requests == []


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "error", "words"),
    [
        ({}, InvalidOption, "needs the property 'uri'"),
        ({"uri": "s3://b/x"}, InvalidURI, "kind 'dir'"),
        ({"uri": "./lake"}, InvalidURI, "no address"),
        ({"uri": "http://u:p@h"}, InvalidURI, "Credentials"),
        ({"uri": "http://h?region=x"}, InvalidURI, "query"),
        ({"uri": 5}, InvalidOption, "uri is a int"),
        ({"uri": "http://h", "urii": "x"}, InvalidOption, "did you mean 'uri'"),
        ({"uri": "http://h", "timeout": "soon"}, InvalidOption, "timeout"),
        ({"uri": "http://h", "timeout": 0}, InvalidOption, "timeout"),
        ({"uri": "http://h", "delimiter": "."}, InvalidOption, "delimiter"),
        ({"uri": "http://h", "delimiter": "/"}, InvalidOption, "delimiter"),
        ({"uri": "http://h", "delimiter": ""}, InvalidOption, "delimiter"),
        ({"uri": "http://h", "header.X": 5}, InvalidOption, "printable ASCII"),
        ({"uri": "http://h", "header.X": "a\nb"}, InvalidOption, "printable ASCII"),
        ({"uri": "http://h", "header.X": "a "}, InvalidOption, "printable ASCII"),
        ({"uri": "http://\u00fc..\u00fc"}, InvalidURI, "no address"),
        ({"uri": "http://h", "header.a b": "x"}, InvalidOption, "no name"),
        ({"uri": "https://h", "tls.ssl_ca_cert": "/nowhere.pem"}, InvalidOption, "readable file"),
        ({"uri": "https://h", "tls.key_file": __file__}, InvalidOption, "tls.cert_file"),
        ({"uri": "https://h", "tls.cert_file": __file__}, InvalidOption, "cannot be used"),
        ({"uri": "https://h", "tls.ssl_ca_cert": __file__}, InvalidOption, "cannot be used"),
        ({"uri": "https://h", "tls.assert_hostname": "maybe"}, InvalidOption, "boolean"),
        ({"uri": "http://h", "tls.ssl_ca_cert": __file__}, InvalidOption, "https://"),
    ],
)
def test_wrong_settings(properties: dict[str, Any], error: type[PennonError], words: str) -> None:
    with pytest.raises(error, match=words):
        connect("rest", properties).connect()


def test_spellings_of_the_address() -> None:
    for uri in ("http://h:1/base", "http://h:1/base/", "rest+http://h:1/base//"):
        namespace = connect("rest", {"uri": uri}).connect()
        assert isinstance(namespace, RestNamespace)
        assert namespace.root == "http://h:1/base"


def test_storage_options_where_the_server_sends_none() -> None:
    def describe(request: Request) -> Answer:
        own = {"region": "mars"} if "own" in request.path else None
        place = "/data/t" if "local" in request.path else "s3://bucket/x #y/t"
        return Answer(body=json.dumps({"location": place, "storage_options": own}).encode())

    with ScriptedServer(describe) as server:
        keys = {"storage.access_key_id": "me", "storage.secret_access_key": SECRET}
        given = {"storage.region": "eu-west-1", **keys}
        with connect("rest", {"uri": server.uri, **given}) as namespace:
            merged = namespace.describe_table("t")
            assert merged.storage_options is not None
            assert merged.storage_options["aws_region"] == "eu-west-1"
            assert SECRET not in repr(merged)
            assert namespace.describe_table("own").storage_options == {"region": "mars"}
            assert namespace.describe_table("local").storage_options is None


# -- connections -----------------------------------------------------------------------------------


def test_one_session_shares_connections_of_one_principal() -> None:
    with ScriptedServer(LISTING) as server:
        session = Session()
        pools: list[Any] = []
        for secret in ("one", "one", "two"):
            settings = Settings.of("rest", {"uri": server.uri, "header.Authorization": secret})
            rest = RestClient(settings, session=session)
            rest.call("list_tables")
            pools.append(rest._pool())
        assert pools[0] is pools[1]
        assert pools[0] is not pools[2]
        session.close()


def test_threads_share_a_client() -> None:
    with ScriptedServer(LISTING) as server, client(server.uri) as rest:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: rest.call("list_tables"), range(64)))
        assert answers == [{"tables": ["t"]}] * 64
        assert len(server.requests) == 64


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_child_has_its_own_connections() -> None:
    with ScriptedServer(LISTING) as server, client(server.uri) as rest:
        rest.call("list_tables")
        before = rest._pool()
        child = os.fork()
        if child == 0:
            right = False
            try:
                right = rest.call("list_tables") == {"tables": ["t"]}
                right = right and rest._pool() is not before
            finally:
                os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert rest.call("list_tables") == {"tables": ["t"]}
        assert rest._pool() is before


def test_importing_it_loads_no_http_client() -> None:
    code = (
        "import sys, pennon.namespaces.rest as r; "
        "assert not {'httpx', 'lance', 'pyarrow', 'lance_namespace'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['httpx'] = None\n"
        "import pennon\n"
        "try: pennon.connect('rest', {'uri': 'http://h'}).connect()\n"
        "except pennon.errors.MissingExtra as e: assert \"pip install 'pennon[rest]'\" in str(e)\n"
        "else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
