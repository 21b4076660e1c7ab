"""Four processes race on one root."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from roots import open_root

from pennon.errors import ObjectAlreadyExists, PreconditionFailed
from pennon.testing.services import TestRoot

PROCESSES = 4
ROUNDS = 60
STEPS = 40
SPAWN = multiprocessing.get_context("spawn")


def _create(root: TestRoot, rival: int, barrier: Any, results: Any) -> None:
    store = open_root(root)
    won: list[int] = []
    for number in range(ROUNDS):
        barrier.wait(60)
        try:
            store.put(f"race/{number}", b"%d" % rival, if_absent=True)
        except ObjectAlreadyExists:
            continue
        won.append(number)
    results.put((rival, won))


def _swap(root: TestRoot, rival: int, barrier: Any, results: Any) -> None:
    store = open_root(root)
    barrier.wait(60)
    retries = 0
    for _ in range(STEPS):
        while True:
            old = store.get("counter")
            new = b"%s,%d" % (old.data, rival)
            try:
                store.put("counter", new, if_match=old.meta.etag)
            except PreconditionFailed:
                retries += 1
                continue
            break
    results.put((rival, retries))


def _churn(root: TestRoot, rival: int, barrier: Any, results: Any) -> None:
    """Take a lock object, hold it, and give it back: nobody else may hold it meanwhile."""
    store = open_root(root)
    barrier.wait(60)
    held = 0
    while held < STEPS:
        try:
            store.put("locks/one", b"%d" % rival, if_absent=True)
        except ObjectAlreadyExists:
            continue
        assert store.get("locks/one").data == b"%d" % rival
        store.delete("locks/one")
        held += 1
    results.put((rival, held))


def _race(job: Any, root: TestRoot) -> dict[int, Any]:
    barrier, results = SPAWN.Barrier(PROCESSES), SPAWN.Queue()
    workers = [
        SPAWN.Process(target=job, args=(root, rival, barrier, results))
        for rival in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    found = dict(results.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    return found


@pytest.fixture(params=["local", "s3_root", "azure_root", "gcs_root"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> TestRoot:
    if request.param == "local":
        return TestRoot(str(tmp_path / "root"), {})
    return request.getfixturevalue(request.param)


def test_put_if_absent_has_one_winner(root: TestRoot) -> None:
    won = _race(_create, root)
    store = open_root(root)
    winners = sorted((number, rival) for rival, numbers in won.items() for number in numbers)
    assert [number for number, _ in winners] == list(range(ROUNDS))
    for number, rival in winners:
        assert store.get(f"race/{number}").data == b"%d" % rival
    assert len(list(store.list())) == ROUNDS


def test_put_if_match_loses_no_update(root: TestRoot) -> None:
    store = open_root(root)
    store.put("counter", b"start")
    _race(_swap, root)
    entries = store.get("counter").data.split(b",")[1:]
    assert len(entries) == PROCESSES * STEPS
    for rival in range(PROCESSES):
        assert entries.count(b"%d" % rival) == STEPS


def test_create_and_delete_churn(root: TestRoot) -> None:
    held = _race(_churn, root)
    assert held == dict.fromkeys(range(PROCESSES), STEPS)
    assert list(open_root(root).list()) == []
