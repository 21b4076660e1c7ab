"""The faulty store strikes exactly as planned, and otherwise is the store inside."""

from __future__ import annotations

import time

import pytest

from pennon.errors import (
    Corrupt,
    ObjectAlreadyExists,
    OutcomeUnknown,
    PennonError,
    Throttled,
    Unavailable,
)
from pennon.objects import ObjectStore
from pennon.testing.faults import Fault, FaultyStore


def test_before_does_nothing(memory_store: ObjectStore) -> None:
    store = FaultyStore(memory_store, [Fault("put", "before"), Fault("delete", "before")])
    with pytest.raises(Unavailable):
        store.put("a", b"x")
    assert memory_store.head("a") is None
    store.put("a", b"x")
    with pytest.raises(Unavailable):
        store.delete("a")
    assert memory_store.head("a") is not None
    assert store.hits == [1, 1]


def test_after_does_it_and_the_write_id_settles_it(memory_store: ObjectStore) -> None:
    store = FaultyStore(memory_store, [Fault("put", "after")])
    with pytest.raises(OutcomeUnknown) as caught:
        store.put("a", b"x", if_absent=True)
    assert memory_store.get("a").data == b"x"
    own = str(caught.value.context["write_id"])
    assert store.put("a", b"x", if_absent=True, write_id=own).size == 1
    with pytest.raises(ObjectAlreadyExists):
        store.put("a", b"x", if_absent=True)


@pytest.mark.parametrize("on", ["get", "head", "list", "list_directories", "delete"])
@pytest.mark.parametrize("kind", ["before", "after"])
def test_every_operation_can_fail(memory_store: ObjectStore, on: str, kind: str) -> None:
    memory_store.put("d/a", b"x")
    store = FaultyStore(memory_store, [Fault(on, kind)])  # type: ignore[arg-type]
    calls = {
        "get": lambda: store.get("d/a"),
        "head": lambda: store.head("d/a"),
        "list": lambda: list(store.list("d")),
        "list_directories": lambda: store.list_directories("d"),
        "delete": lambda: store.delete("d/a"),
    }
    with pytest.raises(Unavailable):
        calls[on]()
    assert store.hits == [1]
    gone = on == "delete" and kind == "after"
    assert (memory_store.head("d/a") is None) == gone


def test_which_calls_are_hit(memory_store: ObjectStore) -> None:
    plan = [Fault("put", "before", key="log/*", skip=1, times=2, error=Throttled("later."))]
    store = FaultyStore(memory_store, plan)
    outcomes: list[object] = []
    for key in ("log/1", "other", "log/2", "log/3", "log/4"):
        try:
            outcomes.append(store.put(key, b"").key)
        except PennonError as error:
            outcomes.append(type(error))
    assert outcomes == ["log/1", "other", Throttled, Throttled, "log/4"]
    assert store.hits == [2]


def test_delays_truncated_reads_and_stale_lists(memory_store: ObjectStore) -> None:
    memory_store.put("old", b"x")
    store = FaultyStore(
        memory_store,
        [
            Fault("get", "delay", seconds=0.2),
            Fault("get", "truncated", skip=1),
            Fault("list", "stale"),
        ],
    )
    store.put("new", b"y")
    start = time.monotonic()
    assert store.get("new").data == b"y"
    assert time.monotonic() - start >= 0.2
    with pytest.raises(Corrupt):
        store.get("new")
    assert store.get("new").data == b"y"
    assert [m.key for m in store.list()] == ["old"]
    assert {m.key for m in store.list()} == {"old", "new"}
    assert store.hits == [1, 1, 1]
