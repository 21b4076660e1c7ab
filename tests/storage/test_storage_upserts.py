"""Small upserts of a process that wait for one table are one commit, with a receipt for each."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.errors import PennonError, SchemaMismatch
from pennon.storage._lance import lanes, upserts
from pennon.storage.abc import CommitReceipt, StorageBackend

SCHEMA = pa.schema([("id", pa.int64()), ("n", pa.int64())])


@pytest.fixture
def db(local_root: str) -> StorageBackend:
    made = pennon.open(local_root)
    rows = {"id": list(range(100)), "n": [0] * 100}
    made.create_table("t", pa.table(rows, schema=SCHEMA), primary_key="id")
    return made


def at_once(
    db: StorageBackend, works: list[Callable[[], CommitReceipt]], before: int = 0
) -> list[CommitReceipt | PennonError]:
    """Let all wait for the table, then let them go."""
    found: dict[int, CommitReceipt | PennonError] = {}

    def work(number: int) -> None:
        try:
            found[number] = works[number]()
        except PennonError as error:
            found[number] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(works))]
    with db.lock_table_for_write("t"):
        for thread in threads:
            thread.start()
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        while len(lane.waiting) < len(threads) - before:
            threading.Event().wait(0.01)
    for thread in threads:
        thread.join()
    return [found[n] for n in range(len(works))]


def counts(receipt: CommitReceipt | PennonError) -> tuple[int, int]:
    assert isinstance(receipt, CommitReceipt), receipt
    return receipt.rows_inserted, receipt.rows_updated


def contents(db: StorageBackend) -> dict[int, int]:
    rows = db.scan("t").read_all()
    assert len(set(rows["id"].to_pylist())) == rows.num_rows
    return dict(zip(rows["id"].to_pylist(), rows["n"].to_pylist(), strict=True))


def upsert(db: StorageBackend, ids: list[int], n: int, **options: Any) -> Any:
    return lambda: db.merge_insert("t", {"id": ids, "n": [n] * len(ids)}, **options)


def test_upserts_of_different_keys_are_one_commit(db: StorageBackend) -> None:
    ids = [[1, 500], [2], [501, 502, 503], [3, 4, 504]]
    found = at_once(db, [upsert(db, k, n, write_id=f"w{n}") for n, k in enumerate(ids)])
    assert [counts(r) for r in found] == [(1, 1), (0, 1), (3, 0), (1, 2)]
    assert {r.version for r in found if isinstance(r, CommitReceipt)} == {2}
    expected = {**dict.fromkeys(range(100), 0), 1: 0, 500: 0, 2: 1, 501: 2, 502: 2, 503: 2}
    assert contents(db) == {**expected, 3: 3, 4: 3, 504: 3}
    again = pennon.open(db.namespace.describe_table("t").location.rpartition("/")[0])
    for number, keys in enumerate(ids):
        assert upsert(again, keys, number, write_id=f"w{number}")() == found[number]
    assert db.get_table_version("t") == 2


def test_upserts_of_one_key_follow_each_other(db: StorageBackend) -> None:
    found = at_once(db, [upsert(db, [7, 700 + n], n) for n in range(4)])
    assert [counts(r) for r in found] == [(1, 1)] * 4
    assert len({r.version for r in found if isinstance(r, CommitReceipt)}) == 4
    assert contents(db).keys() == {*range(100), *range(700, 704)}


def test_appends_and_merges_of_other_kinds_wait_along(db: StorageBackend) -> None:
    def partial() -> CommitReceipt:
        return db.merge_insert("t", {"id": [30, 31]}, when_matched="delete")

    def lacking() -> CommitReceipt:
        return db.merge_insert("t", {"id": [800]})

    works = [upsert(db, [20], 1), partial, upsert(db, [21, 900], 2), lacking]
    works += [lambda: db.write("t", {"id": [901], "n": [0]})]
    found = at_once(db, works, before=1)
    assert counts(found[0]) == (0, 1)
    assert isinstance(found[1], CommitReceipt)
    assert found[1].rows_deleted == 2
    assert counts(found[2]) == (1, 1)
    assert counts(found[3]) == (1, 0)
    assert counts(found[4]) == (1, 0)
    assert contents(db).keys() == {*range(100), 800, 900, 901} - {30, 31}


def test_a_rival_of_another_tool_is_noticed_by_the_one_whose_key_it_is(
    db: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = lance.LanceDataset.commit
    location = db.namespace.describe_table("t").location

    def second(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))
        rows = pa.table({"id": [600, 601], "n": [-1, -1]}, schema=db.get_table_schema("t"))
        lance.dataset(location).insert(rows)
        return commit(*args, **options)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(second))
    works = [upsert(db, [600, 700], 1), upsert(db, [701], 2), upsert(db, [601, 5], 3)]
    found = at_once(db, works)
    assert [counts(r) for r in found] == [(1, 1), (1, 0), (0, 2)]
    expected = {**dict.fromkeys(range(100), 0), 5: 3}
    assert contents(db) == {**expected, 600: 1, 601: 3, 700: 1, 701: 2}


def test_nobody_is_answered_before_what_was_left_to_repair(
    db: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, repaired = lance.LanceDataset.commit, upserts.repaired
    location = db.namespace.describe_table("t").location
    calls = iter(range(3))

    def second(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))
        rows = pa.table({"id": [600, 601, 602], "n": [-1] * 3}, schema=db.get_table_schema("t"))
        lance.dataset(location).insert(rows)
        return commit(*args, **options)

    def slow(*args: Any) -> CommitReceipt:
        (lane,) = lanes._lanes.values()  # pyright: ignore[reportPrivateUsage]
        lane._wake()  # pyright: ignore[reportPrivateUsage]
        threading.Event().wait(0.05)
        assert lane.users >= 3 - next(calls), "only those that were repaired may go"
        return repaired(*args)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(second))
    monkeypatch.setattr(upserts, "repaired", slow)
    found = at_once(db, [upsert(db, [600 + n, 700 + n], n) for n in range(3)])
    assert [counts(r) for r in found] == [(1, 1)] * 3


def test_together_or_alone_is_the_same(db: StorageBackend) -> None:
    dice = random.Random(3)
    model = dict.fromkeys(range(100), 0)
    for turn in range(5):
        keys = dice.sample(range(160), 40)
        parts = [keys[n : n + 5] for n in range(0, 40, 5)]
        works = [upsert(db, part, turn * 10 + n) for n, part in enumerate(parts)]
        found = at_once(db, works)
        for number, part in enumerate(parts):
            known = sum(k in model for k in part)
            assert counts(found[number]) == (len(part) - known, known)
            model |= dict.fromkeys(part, turn * 10 + number)
        assert contents(db) == model


def test_a_schema_that_changed_meanwhile(db: StorageBackend) -> None:
    found = at_once(
        db, [upsert(db, [1], 1), lambda: db.merge_insert("t", {"id": [2], "x": [1]})], 1
    )
    assert counts(found[0]) == (0, 1)
    assert isinstance(found[1], SchemaMismatch)
