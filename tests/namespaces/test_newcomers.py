"""The five errors a newcomer meets first: one sentence each, that says what to do, at once."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pennon
from pennon.errors import (
    InvalidURI,
    PennonError,
    PermissionDenied,
    RootNotFound,
    TableNotFound,
    Unavailable,
)
from pennon.testing.services import TestRoot

ROWS = [{"id": 1}]
SECONDS = 10.0
_FOREIGN = re.compile(r"\.rs\b|\.cargo|/rustc/|\bsource: |Error \{|<\?xml|Traceback|0x[0-9a-f]{6}")


def _connect(root: TestRoot) -> Any:
    storage = {f"storage.{k}": v for k, v in root.options.items()}
    return pennon.connect("dir", {"root": root.uri, **storage}).connect()


def _open(root: TestRoot) -> Any:
    return pennon.open(root.uri, storage_options=root.options)


CALLS: dict[str, Callable[[TestRoot], object]] = {
    "list": lambda r: _connect(r).list_tables(),
    "exists": lambda r: _connect(r).table_exists("docs"),
    "describe": lambda r: _connect(r).describe_table("docs"),
    "declare": lambda r: _connect(r).declare_table("docs"),
    "create namespace": lambda r: _connect(r).create_namespace("team"),
    "drop": lambda r: _connect(r).drop_table("docs"),
    "open, create": lambda r: _open(r).create_table("docs", ROWS),
    "open, write": lambda r: _open(r).write("docs", ROWS),
    "open, count": lambda r: _open(r).count_rows("docs"),
    "open, scan": lambda r: _open(r).scan("docs").read_all(),
}


def _refused(
    call: Callable[[], object], expected: type[PennonError], *mentions: str, root: TestRoot
) -> PennonError:
    started = time.monotonic()
    with pytest.raises(expected) as caught:
        call()
    took = time.monotonic() - started
    text = str(caught.value)
    assert took < SECONDS, f"{took:.1f} s: {text}"
    assert "\n" not in text, text
    assert text.endswith("."), text
    assert len(text) < 500, text
    assert not _FOREIGN.search(text), text
    for word in mentions:
        assert word in text, text
    for key, value in root.options.items():
        if key in {"secret_access_key", "account_key"}:
            assert value not in f"{text} {caught.value!r} {caught.value.context}"
    return caught.value


def _all(
    root: TestRoot, expected: type[PennonError], *mentions: str, names: Iterable[str] = CALLS
) -> list[PennonError]:
    """Make all calls at once: most of their time is spent waiting for somebody to answer."""
    with ThreadPoolExecutor(len(CALLS)) as pool:
        made = [
            pool.submit(_refused, partial(CALLS[n], root), expected, *mentions, root=root)
            for n in names
        ]
        return [m.result() for m in made]


@pytest.fixture
def closed() -> Iterator[str]:
    """An address where nobody answers, nor comes to listen meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def _changed(root: TestRoot, **options: str) -> TestRoot:
    return TestRoot(root.uri, {**root.options, **options})


@pytest.fixture(params=["s3", "azure"])
def bucket(request: pytest.FixtureRequest) -> TestRoot:
    return request.getfixturevalue(f"{request.param}_root")


# -- 1: a wrong path -----------------------------------------------------------------


def test_a_path_where_nothing_is(tmp_path: Path) -> None:
    root = TestRoot(str(tmp_path / "lkae"))
    for name in ("describe", "drop", "open, write", "open, count", "open, scan"):
        _refused(lambda name=name: CALLS[name](root), TableNotFound, "docs", root=root)
    assert not (tmp_path / "lkae").exists(), "looking for a table made a directory"


def test_a_path_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("hello")
    root = TestRoot(str(tmp_path / "lake"))
    _all(root, PennonError, "lake")
    assert (tmp_path / "lake").read_text() == "hello"


@pytest.mark.parametrize("uri", ["", "s3:/bucket/lake", "s4://bucket/lake", "s3://", "lake\0"])
def test_a_root_that_is_none(uri: str) -> None:
    root = TestRoot(uri)
    for call in (_connect, _open):
        _refused(lambda call=call: call(root), InvalidURI, root=root)


# -- 2: wrong credentials -----------------------------------------------------------------


def test_wrong_credentials(bucket: TestRoot) -> None:
    if "account_key" in bucket.options:
        wrong = _changed(bucket, account_key="d3Jvbmcta2V5LW9mLWEtbmV3Y29tZXI=")
    else:
        wrong = _changed(bucket, secret_access_key="wrong-key-of-a-newcomer")
    for error in _all(wrong, PermissionDenied, wrong.uri):
        assert not error.retryable


# -- 3: a wrong endpoint -----------------------------------------------------------------


def test_a_wrong_endpoint(bucket: TestRoot, closed: str) -> None:
    wrong = bucket.via(closed)
    _all(wrong, Unavailable, wrong.uri, "check the endpoint")


def test_an_endpoint_that_swallows_everything(bucket: TestRoot) -> None:
    wrong = bucket.via("http://192.0.2.1:9")
    _all(wrong, Unavailable, "192.0.2.1:9", "check the endpoint")


def test_a_wrong_server(closed: str) -> None:
    root = TestRoot(closed)
    for call in (
        lambda: pennon.connect("rest", {"uri": root.uri}).connect().list_tables(),
        lambda: pennon.connect("rest", {"uri": root.uri}).connect().declare_table("docs"),
        lambda: pennon.open(root.uri).count_rows("docs"),
        lambda: pennon.open(root.uri).create_table("docs", ROWS),
    ):
        _refused(call, Unavailable, root.uri, root=root)


# -- 4: a missing bucket -----------------------------------------------------------------


def test_a_missing_bucket(bucket: TestRoot) -> None:
    scheme = bucket.uri.partition("://")[0]
    missing = f"no-{uuid.uuid4().hex[:12]}"
    root = TestRoot(f"{scheme}://{missing}/lake", bucket.options)
    _all(root, RootNotFound, missing)


# -- 5: a missing extra -----------------------------------------------------------------

_WITHOUT = """
import sys
sys.modules[{module!r}] = None
import pennon
from pennon.errors import MissingExtra
try:
    {call}
except MissingExtra as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("httpx", "pennon.connect('rest', {'uri': 'http://127.0.0.1:9'}).connect()", "rest"),
        ("httpx", "pennon.open('http://127.0.0.1:9')", "rest"),
        (
            "lance_namespace_impls",
            "pennon.connect('glue', {'region': 'eu-west-1'}).connect()",
            "catalogs",
        ),
    ],
)
def test_a_missing_extra(module: str, call: str, extra: str) -> None:
    code = _WITHOUT.format(module=module, call=call)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'pennon[{extra}]'" in done.stdout
    assert done.stdout.count("\n") == 1
