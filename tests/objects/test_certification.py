"""Certification: safe stores pass once, broken ones are refused and say why."""

from __future__ import annotations

import json
import multiprocessing
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from roots import open_root

from pennon.errors import Unavailable, UnsafeStore
from pennon.objects import Certificate, ObjectStore, certification, certify
from pennon.objects.certification import CERTIFICATE_KEY
from pennon.testing.faults import BrokenStore, Defect, Fault, FaultyStore
from pennon.testing.services import TestRoot


@pytest.mark.parametrize(
    "kind",
    ["memory_store", "local_store", "s3_store", "moto_store", "azure_store", "gcs_store"],
)
def test_a_safe_store_passes_once(kind: str, request: pytest.FixtureRequest) -> None:
    store: ObjectStore = request.getfixturevalue(kind)
    verdict = certify(store)
    assert verdict.safe
    assert not verdict.failures
    assert verdict.store == store.uri.scheme
    assert len(verdict.checks) >= 6
    assert [m.key for m in store.list()] == [CERTIFICATE_KEY]
    kept = msgspec.json.decode(store.get(CERTIFICATE_KEY).data, type=Certificate)
    assert kept == verdict


def _counting(store: ObjectStore) -> FaultyStore:
    operations = ("get", "head", "list", "list_directories", "put")
    return FaultyStore(store, [Fault(on, "delay", times=10**9, seconds=0) for on in operations])


def test_it_costs_little_once_and_then_nothing(memory_store: ObjectStore) -> None:
    first = _counting(memory_store)
    certify(first)
    assert 10 < sum(first.hits) <= 25
    certify(first)
    assert sum(first.hits) <= 25
    second = _counting(memory_store)
    certify(second)
    certify(second)
    assert sum(second.hits) == 1


DEFECTS: list[tuple[Defect, str]] = [
    ("check_then_put", "racing puts-if-absent"),
    ("ignores_if_absent", "racing puts-if-absent"),
    ("ignores_if_match", "stale etag succeeded"),
    ("forgets_write_ids", "write id was not recognised"),
    ("lists_late", "missing in a listing"),
]


@pytest.mark.parametrize(("defect", "what"), DEFECTS)
@pytest.mark.parametrize("kind", ["memory_store", "local_store", "s3_store"])
def test_a_broken_store_is_refused(
    kind: str, defect: Defect, what: str, request: pytest.FixtureRequest
) -> None:
    inner: ObjectStore = request.getfixturevalue(kind)
    store = BrokenStore(inner, defect)
    for _ in range(2):
        with pytest.raises(UnsafeStore, match=what) as caught:
            certify(store)
        assert "allow_unsafe=True" in str(caught.value)
        assert str(inner.uri) in str(caught.value)
    assert list(inner.list()) == []


def test_allow_unsafe_says_so_and_does_not_stick(memory_store: ObjectStore) -> None:
    store = BrokenStore(memory_store, "ignores_if_absent")
    verdict = certify(store, allow_unsafe=True)
    assert not verdict.safe
    assert verdict.allowed_unsafe
    assert verdict.failures
    assert json.loads(memory_store.get(CERTIFICATE_KEY).data)["safe"] is False
    with pytest.raises(UnsafeStore):
        certify(store)
    assert certify(memory_store).safe
    assert json.loads(memory_store.get(CERTIFICATE_KEY).data)["safe"] is True


def test_a_certificate_of_another_place_counts_for_nothing(memory_store: ObjectStore) -> None:
    verdict = certify(memory_store)
    elsewhere = msgspec.structs.replace(verdict, place="s3://other/root")
    memory_store.put(CERTIFICATE_KEY, msgspec.json.encode(elsewhere))
    with pytest.raises(UnsafeStore):
        certify(BrokenStore(memory_store, "check_then_put"))


@pytest.mark.parametrize("text", [b"", b"{}", b"not json", b"\xff"])
def test_a_damaged_certificate_is_replaced(memory_store: ObjectStore, text: bytes) -> None:
    memory_store.put(CERTIFICATE_KEY, text)
    assert certify(memory_store).safe
    assert msgspec.json.decode(memory_store.get(CERTIFICATE_KEY).data, type=Certificate).safe


def test_an_unreliable_store_is_no_verdict(memory_store: ObjectStore) -> None:
    store = FaultyStore(memory_store, [Fault("put", "after", skip=9, times=1)])
    with pytest.raises(Unavailable, match="try again"):
        certify(store)
    assert memory_store.head(CERTIFICATE_KEY) is None
    store = FaultyStore(memory_store, [Fault("put", "before", skip=2, times=1)])
    with pytest.raises(Unavailable):
        certify(store)
    assert certify(store).safe


def _certify_there(root: TestRoot, barrier: Any, results: Any) -> None:
    store = open_root(root)
    barrier.wait(60)
    results.put(certify(store).safe)


@pytest.mark.parametrize("kind", ["local_root", "s3_root"])
def test_four_processes_certify_a_fresh_root_at_once(
    kind: str, request: pytest.FixtureRequest
) -> None:
    found = request.getfixturevalue(kind)
    root = TestRoot(found) if isinstance(found, str) else found
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(4), spawn.Queue()
    workers = [spawn.Process(target=_certify_there, args=(root, barrier, results)) for _ in "1234"]
    for worker in workers:
        worker.start()
    assert [results.get(timeout=60) for _ in workers] == [True] * 4
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert [m.key for m in open_root(root).list()] == [CERTIFICATE_KEY]


def test_threads_certify_one_root_at_once(local_store: ObjectStore) -> None:
    stores = [FaultyStore(local_store, []) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        verdicts = list(pool.map(certify, stores))
    assert all(v.safe for v in verdicts)
    assert [m.key for m in local_store.list()] == [CERTIFICATE_KEY]


def test_the_cache_of_this_process_knows_principals_apart(memory_store: ObjectStore) -> None:
    name = uuid.uuid4().hex
    certify(memory_store)
    assert (memory_store.place, memory_store.principal) in certification._known
    assert (memory_store.place, name) not in certification._known
