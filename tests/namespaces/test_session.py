"""What a shared session saves, in requests, and what it never shares."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

import pennon
from pennon.config import parse_options
from pennon.errors import PermissionDenied, TableNotFound, Unavailable
from pennon.namespaces import Namespace
from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri

Proxy = Callable[[str], RecordingProxy]
MANY = 5


def _connect(root: TestRoot, session: pennon.Session) -> Namespace:
    storage = {f"storage.{k}": v for k, v in root.options.items()}
    builder = pennon.connect("dir", {"root": root.uri, **storage})
    return builder.with_session(session).connect()


def _work(namespace: Namespace) -> None:
    """Do what an application does when it starts."""
    assert len(namespace.list_tables()) == 3
    assert namespace.table_exists("docs") is True
    assert namespace.describe_table("t1", check_declared=True).declared_only is True
    database = pennon.open(namespace)
    assert database.count_rows("docs") == 3
    assert database.scan("docs").read_all().num_rows == 3


@pytest.fixture
def lake(s3_root: TestRoot) -> TestRoot:
    namespace = _connect(s3_root, pennon.Session())
    pennon.open(namespace).create_table("docs", [{"id": i} for i in range(3)])
    for name in ("t1", "t2"):
        namespace.declare_table(name)
    return s3_root


def test_requests(
    lake: TestRoot, recording_proxy: Proxy, record_property: Callable[[str, object], None]
) -> None:
    proxy = recording_proxy(lake.endpoint)
    root = lake.via(proxy.endpoint)

    def count(sessions: list[pennon.Session]) -> list[int]:
        found: list[int] = []
        for session in sessions:
            proxy.clear()
            _work(_connect(root, session))
            found.append(proxy.count())
        return found

    shared = count([pennon.Session()] * MANY)
    own = count([pennon.Session() for _ in range(MANY)])
    record_property(
        "note",
        f"requests of {MANY} namespaces on one bucket: one session {sum(shared)} {shared}, "
        f"a session each {sum(own)} {own}",
    )
    assert shared[0] == own[0]
    assert max(shared[1:]) < own[0], "the second namespace of a session saves nothing"
    assert sum(shared) < sum(own)


def test_a_shared_cache_is_never_stale(lake: TestRoot) -> None:
    session = pennon.Session()
    first, second = _connect(lake, session), _connect(lake, session)
    stranger = _connect(lake, pennon.Session())
    _work(first)
    _work(second)
    stranger.declare_table("t3")
    assert first.table_exists("t3") is second.table_exists("t3") is True
    stranger.drop_table("docs")
    for namespace in (first, second):
        assert namespace.table_exists("docs") is False
        with pytest.raises(TableNotFound):
            pennon.open(namespace).count_rows("docs")
    pennon.open(stranger).create_table("docs", [{"id": 9}])
    for namespace in (first, second):
        assert pennon.open(namespace).count_rows("docs") == 1


def test_caches_are_kept_apart_by_credentials(lake: TestRoot) -> None:
    session = pennon.Session()
    right = _connect(lake, session)
    _work(right)
    wrong_options = {**lake.options, "secret_access_key": "of-somebody-else"}
    wrong = _connect(TestRoot(lake.uri, wrong_options), session)
    database = pennon.open(wrong)
    for call in (
        wrong.list_tables,
        lambda: wrong.table_exists("docs"),
        lambda: wrong.describe_table("docs"),
        lambda: wrong.declare_table("new"),
        lambda: database.count_rows("docs"),
    ):
        with pytest.raises(PermissionDenied):
            call()
    _work(right)


def test_what_is_shared(lake: TestRoot) -> None:
    session = pennon.Session()
    uri = parse_uri(lake.uri)
    other_secret = {**lake.options, "secret_access_key": "of-somebody-else"}

    def options(given: dict[str, str]) -> Any:
        return parse_options(uri, given)

    same, again, other = options(lake.options), options(dict(lake.options)), options(other_secret)
    assert session.store(uri, same) is session.store(uri, again)
    assert session.lance(same) is session.lance(again)
    assert session.store(uri, same) is not session.store(uri, other)
    assert session.lance(same) is not session.lance(other)
    assert session.store(uri, same) is not session.store(uri.join("below"), same)
    assert session.lance(same) is not pennon.Session().lance(same)


def test_the_principal_of_the_environment_counts(
    lake: TestRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = pennon.Session()
    monkeypatch.setenv("AWS_ENDPOINT_URL", lake.endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", lake.options["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", lake.options["secret_access_key"])
    root = TestRoot(lake.uri)
    _work(_connect(root, session))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-somebody-else")
    with pytest.raises(PermissionDenied):
        _connect(root, session).list_tables()


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT])
def test_an_endpoint_without_a_way_to_it_is_not_left_to_lance(
    s3_root: TestRoot, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Whether the system or the time-out says so first is a matter of milliseconds."""

    def connect(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(Unavailable, match=r"Nothing answers at 192\.0\.2\.1:9"):
        _connect(s3_root.via("http://192.0.2.1:9"), pennon.Session()).list_tables()
