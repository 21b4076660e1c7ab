"""Directories in buckets, seen from the wire: how many requests, lost answers, bad settings."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

import pennon.namespaces.directory._manifest as manifest
from pennon.errors import (
    OutcomeUnknown,
    PennonError,
    RootNotFound,
    TableAlreadyExists,
    TableNotFound,
    Unauthenticated,
    Unavailable,
)
from pennon.namespaces import newest
from pennon.namespaces.directory import DirectoryNamespace
from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot

MANIFESTS = "*__manifest/_versions/*.manifest*"


@pytest.fixture
def proxy(
    s3_root: TestRoot, recording_proxy: Callable[[str], RecordingProxy]
) -> Iterator[RecordingProxy]:
    made = recording_proxy(s3_root.endpoint)
    yield made
    made.heal()


def connect(root: TestRoot, **options: Any) -> DirectoryNamespace:
    return DirectoryNamespace(root.uri, storage_options=root.options, **options)


@pytest.fixture
def direct(s3_root: TestRoot) -> DirectoryNamespace:
    ns = connect(s3_root)
    ns.declare_table("first")
    return ns


@pytest.fixture
def via(s3_root: TestRoot, proxy: RecordingProxy) -> TestRoot:
    return s3_root.via(proxy.endpoint)


def requests(proxy: RecordingProxy, call: Callable[[], object]) -> int:
    proxy.clear()
    call()
    return proxy.count()


# -- how many requests -----------------------------------------------------------------------------


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings are trusted for so long that a slow machine does not change what is counted."""
    monkeypatch.setattr(newest, "TRUST_SECONDS", 600.0)


def fill(ns: DirectoryNamespace, count: int) -> None:
    """Put many rows into the catalog table in one go, with long names and properties."""
    from lance import LanceDataset, LanceOperation
    from lance.fragment import write_fragments

    table = ns._manifest.open()
    assert table is not None
    rows = table.to_table().to_pylist()
    rows += [
        {
            "object_id": f"{uuid.uuid4().hex}-{uuid.uuid4().hex}-{number:05}",
            "object_type": "table",
            "location": f"{uuid.uuid4().hex[:16]}_{uuid.uuid4().hex}",
            "metadata": f'{{"owner": "{uuid.uuid4().hex}"}}',
            "base_objects": None,
        }
        for number in range(count)
    ]
    made = write_fragments(pa.Table.from_pylist(rows, schema=table.schema), table, mode="overwrite")
    LanceDataset.commit(
        table,
        LanceOperation.Overwrite(table.schema, made),
        read_version=table.version,
        max_retries=0,
    )


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("size", [1, 1000, 3000])
def test_requests_do_not_grow_with_the_catalog(
    direct: DirectoryNamespace,
    via: TestRoot,
    proxy: RecordingProxy,
    size: int,
    record_property: Any,
) -> None:
    fill(direct, size)
    ns = connect(via)
    cold = requests(proxy, ns.list_tables)
    assert len(ns.list_tables()) == size + 1
    warm = requests(proxy, ns.list_tables)
    exists = requests(proxy, lambda: ns.table_exists("first"))
    missing = requests(proxy, lambda: ns.table_exists("nope"))
    ns.describe_table("first", check_declared=True)
    describe = requests(proxy, lambda: ns.describe_table("first"))
    declared = requests(proxy, lambda: ns.describe_table("first", check_declared=True))
    direct.declare_table("second")
    changed = requests(proxy, lambda: ns.table_exists("second"))
    ns.declare_table("third")
    declare = requests(proxy, lambda: ns.declare_table("fourth"))
    drop = requests(proxy, lambda: ns.drop_table("fourth"))
    cold_exists = requests(proxy, lambda: connect(via).table_exists("first"))
    assert cold <= 3
    assert cold_exists <= 3
    assert (warm, exists, missing, describe, declared) == (1, 1, 1, 1, 2)
    assert changed <= 4
    assert declare <= 5
    assert drop <= 6
    record_property(
        "note",
        f"{size} tables: cold list {cold}, warm list {warm}, exists {exists}, after a change "
        f"{changed}, declare {declare}, drop {drop} requests",
    )


def test_v1_requests(
    s3_root: TestRoot, via: TestRoot, proxy: RecordingProxy, record_property: Any
) -> None:
    flat = connect(s3_root, manifest_enabled=False)
    for number in range(6):
        flat.declare_table(f"t{number}")
    ns = connect(via, manifest_enabled=False)
    assert ns.table_exists("t0")
    exists = requests(proxy, lambda: ns.table_exists("t1"))
    missing = requests(proxy, lambda: ns.table_exists("nope"))
    listed = requests(proxy, ns.list_tables)
    assert (exists, missing, listed) == (2, 2, 1 + 6)
    declare = requests(proxy, lambda: ns.declare_table("new"))
    record_property("note", f"V1: exists {exists}, list of 6 {listed}, declare {declare} requests")


@pytest.mark.usefixtures("trusting")
def test_a_session_is_shared(
    direct: DirectoryNamespace, via: TestRoot, proxy: RecordingProxy
) -> None:
    from pennon.namespaces.session import Session

    session = Session()
    first, second = connect(via, session=session), connect(via, session=session)
    assert first.table_exists("first")
    assert requests(proxy, second.list_tables) == 2, "how manifests are named is found out once"
    assert requests(proxy, second.list_tables) == 1


# -- lost answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_commit_whose_answer_is_lost(
    direct: DirectoryNamespace, via: TestRoot, proxy: RecordingProxy, status: int
) -> None:
    """The server commits, the answer never arrives: the declare has succeeded, once."""
    ns = connect(via)
    lost = proxy.phantom(status, method="PUT", path=MANIFESTS, times=1)
    made = ns.declare_table("t", properties={"k": "v"})
    assert lost.hits == 1
    known = direct.describe_table("t")
    assert (known.location, dict(known.properties)) == (made.location, {"k": "v"})
    with pytest.raises(TableAlreadyExists):
        ns.declare_table("t")
    assert list(direct.list_tables()) == [("first",), ("t",)]


def test_a_lost_answer_to_the_first_commit_of_a_root(via: TestRoot, proxy: RecordingProxy) -> None:
    ns = connect(via)
    lost = proxy.phantom(0, method="PUT", path=MANIFESTS, times=1)
    ns.create_namespace("n")
    assert lost.hits == 1
    assert list(ns.list_namespaces()) == [("n",)]


def test_a_lost_answer_and_a_rival(
    direct: DirectoryNamespace, via: TestRoot, proxy: RecordingProxy
) -> None:
    """Each request is refused before it reaches the server while another one takes the name."""
    ns = connect(via)
    ns.list_tables()
    refused = proxy.refuse(500, method="PUT", path=MANIFESTS, times=4)
    stalled = proxy.stall(method="PUT", path=MANIFESTS, times=1)
    import threading

    outcome: list[object] = []

    def declare() -> None:
        try:
            outcome.append(ns.declare_table("t"))
        except PennonError as error:
            outcome.append(error)

    thread = threading.Thread(target=declare)
    thread.start()
    stalled.wait()
    # The other connection has other options, hence a lock and caches of its own.
    theirs = direct.declare_table("t")
    stalled.release()
    thread.join(60)
    assert refused.hits >= 1
    assert isinstance(outcome[0], TableAlreadyExists)
    assert direct.describe_table("t").location == theirs.location
    assert len(direct._store.list_directories()) == 2 + 2, "the loser left its directory"


def test_a_commit_that_cannot_be_settled(
    direct: DirectoryNamespace,
    via: TestRoot,
    proxy: RecordingProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ns = connect(via)
    ns.list_tables()
    monkeypatch.setattr(manifest, "_SECONDS", 4.0)
    proxy.phantom(500, method="PUT", path=MANIFESTS, times=None)
    proxy.refuse(500, path=MANIFESTS, times=None)
    with pytest.raises(OutcomeUnknown, match="look before you repeat") as caught:
        ns.declare_table("t")
    assert caught.value.context["write_id"]
    proxy.heal()
    assert list(ns.list_tables()) in ([("first",)], [("first",), ("t",)])


def test_data_that_cannot_be_deleted_are_swept_later(
    direct: DirectoryNamespace, via: TestRoot, proxy: RecordingProxy
) -> None:
    from datetime import timedelta

    ns = connect(via)
    place = ns.declare_table("t").location.rsplit("/", 1)[1]
    proxy.refuse(403, method="POST", path="*delete*", times=None)
    proxy.refuse(403, method="DELETE", path="*", times=None)
    ns.drop_table("t")
    proxy.heal()
    assert not direct.table_exists("t")
    assert direct.sweep(older_than=timedelta(days=1)).young == (place,)
    assert direct.sweep(older_than=timedelta(0)).removed == (place,)
    assert place not in direct._store.list_directories()


# -- what a newcomer gets wrong --------------------------------------------------------------------


def refused(root: TestRoot, error: type[PennonError], match: str) -> None:
    for call in (
        lambda n: n.list_tables(),
        lambda n: n.table_exists("t"),
        lambda n: n.declare_table("t"),
    ):
        started = time.monotonic()
        with pytest.raises(error, match=match) as caught:
            call(connect(root))
        took = time.monotonic() - started
        text = str(caught.value)
        assert took < 10, f"{took:.1f} s: {text}"
        assert text.count("\n") == 0
        assert ".rs" not in text
        assert len(text) < 400
        for key, value in root.options.items():
            assert "secret" not in key or value not in text


def test_wrong_credentials(s3_root: TestRoot) -> None:
    for key, value in (("secret_access_key", "wrong"), ("access_key_id", "nobody")):
        bad = replace(s3_root, options={**s3_root.options, key: value})
        refused(bad, Unauthenticated, "refused the credentials.*correct or renew")


def test_wrong_endpoint(s3_root: TestRoot) -> None:
    refused(s3_root.via("http://127.0.0.1:1"), Unavailable, "cannot be reached; check the endpoint")


def test_a_missing_bucket(s3_root: TestRoot) -> None:
    refused(
        replace(s3_root, uri="s3://no-such-bucket-here/x"), RootNotFound, "does not exist; create"
    )


def test_a_missing_root_in_a_bucket(s3_root: TestRoot) -> None:
    with pytest.raises(TableNotFound, match="holds no catalog yet"):
        connect(s3_root).describe_table("t")
