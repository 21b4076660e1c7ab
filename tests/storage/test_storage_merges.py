"""Keys stay unique when processes race, also beside other tools; killed writes are repeated."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import lance
import pytest
from merge_workers import SCHEMA, die_after_commit, do, mixed, upsert
from workers import kept

from pennon.errors import DuplicateKey
from pennon.storage.abc import StorageBackend
from pennon.testing.races import Racers, Tally
from pennon.testing.services import TestRoot

PROCESSES = 4


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(PROCESSES) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


def fresh(base: TestRoot) -> TestRoot:
    return TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)


def native(db: StorageBackend) -> Any:
    """Open the table as any Lance tool does."""
    info = db.namespace.describe_table("t")
    return lance.dataset(info.location, storage_options=dict(info.storage_options or {}))


def keys(db: StorageBackend) -> list[int]:
    return sorted(db.scan("t").read_all()["id"].to_pylist())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("indexed", [False, True], ids=["plain", "btree"])
def test_upserts_of_new_keys(
    base: TestRoot, racers: Racers, race_rounds: int, *, indexed: bool
) -> None:
    root = fresh(base)
    db = kept(root)
    rounds = max(3, race_rounds // 4)
    db.create_table("t", schema=SCHEMA)
    tally = Tally(f"upsert of new keys, {base.uri.split(':')[0]}")
    inserted = updated = 0
    for number in range(rounds):
        wanted = [number, 1000 + number]
        outcomes = racers.run(upsert, root, "t", wanted)
        tally.add(outcomes)
        assert all(o.won for o in outcomes), [o.text for o in outcomes]
        inserted += sum(o.value["inserted"] for o in outcomes)
        updated += sum(o.value["updated"] for o in outcomes)
        if indexed and not number:
            native(db).create_scalar_index("id", "BTREE")
    print(tally)  # noqa: T201
    assert keys(db) == [*range(rounds), *range(1000, 1000 + rounds)]
    assert inserted == 2 * rounds
    assert updated == 2 * rounds * (PROCESSES - 1)
    assert bool(native(db).describe_indices()) is indexed


@pytest.mark.timeout(600)
def test_upserts_into_an_empty_table_with_an_index(
    base: TestRoot, racers: Racers, race_rounds: int
) -> None:
    root = fresh(base)
    db = kept(root)
    rounds = max(3, race_rounds // 8)
    for number in range(rounds):
        table = f"t{number}"
        db.create_table(table, schema=SCHEMA)
        db.create_scalar_index(table, "id")
        outcomes = racers.run(upsert, root, table, [1, 2, 3])
        assert all(o.won for o in outcomes), [o.text for o in outcomes]
        assert sorted(db.scan(table).read_all()["id"].to_pylist()) == [1, 2, 3]
        assert sum(o.value["inserted"] for o in outcomes) == 3
        assert sum(o.value["updated"] for o in outcomes) == 3 * (PROCESSES - 1)
        assert db.list_indexes(table)


@pytest.mark.timeout(600)
def test_every_kind_of_change_at_once(base: TestRoot, racers: Racers) -> None:
    root = fresh(base)
    db = kept(root)
    db.create_table("t", [{"id": n, "by": -1, "n": 0} for n in range(60)], schema=SCHEMA)
    outcomes = racers.run(mixed, root, "t", 5)
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    assert keys(db) == [*range(50), *range(55, 60), *range(100, 105), *range(1000, 1005)]
    assert outcomes[0].value == {"inserted": 5, "updated": 5, "deleted": 0}
    assert outcomes[2].value == {"inserted": 0, "updated": 0, "deleted": 5}
    total = sum(r["n"] or 0 for r in db.scan("t").read_all().to_pylist())
    assert total <= outcomes[1].value["updated"]
    assert {r["n"] for r in db.scan("t").read_all().to_pylist() if 5 <= r["id"] < 50} == {5}


def beside(monkeypatch: pytest.MonkeyPatch, rival: Callable[[], None]) -> None:
    """Let a rival commit after the next merge was made ready and before it commits."""
    commit = lance.LanceDataset.commit

    def second(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))
        rival()
        return commit(*args, **options)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(second))


@pytest.fixture
def db(local_root: str) -> StorageBackend:
    made = kept(fresh(TestRoot(local_root)))
    made.create_table("t", [{"id": 1, "by": 0, "n": 1}], schema=SCHEMA)
    return made


def append_natively(db: StorageBackend) -> None:
    import pyarrow as pa

    rows = [{"id": 5, "by": 7, "n": 7}, {"id": 6, "by": 7, "n": 7}]
    native(db).insert(pa.Table.from_pylist(rows, schema=SCHEMA))


def upsert_natively(db: StorageBackend) -> None:
    import pyarrow as pa

    rows = pa.Table.from_pylist([{"id": 5, "by": 7, "n": 7}, {"id": 6, "by": 7, "n": 7}], SCHEMA)
    merge = native(db).merge_insert("id").when_matched_update_all()
    merge.when_not_matched_insert_all().execute(rows)


@pytest.mark.parametrize("rival", [append_natively, upsert_natively])
def test_a_key_inserted_by_another_tool_meanwhile(
    db: StorageBackend, monkeypatch: pytest.MonkeyPatch, rival: Callable[[StorageBackend], None]
) -> None:
    beside(monkeypatch, lambda: rival(db))
    rows = [{"id": 5, "n": 50}, {"id": 8, "n": 80}, {"id": 1, "n": 10}]
    receipt = db.merge_insert("t", rows, write_id="w")
    assert (receipt.rows_inserted, receipt.rows_updated) == (1, 2)
    expected = [(1, 0, 10), (5, 7, 50), (6, 7, 7), (8, None, 80)]
    found = db.scan("t").read_all().to_pylist()
    assert sorted(tuple(r.values()) for r in found) == expected
    assert db.merge_insert("t", rows, write_id="w") == receipt
    assert sorted(tuple(r.values()) for r in db.scan("t").read_all().to_pylist()) == expected


def test_a_condition_decides_about_the_row_of_the_rival(
    db: StorageBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(monkeypatch, lambda: append_natively(db))
    rows = [{"id": 5, "n": 6}, {"id": 6, "n": 8}]
    db.merge_insert("t", rows, matched_if="source.n > target.n")
    found = {r["id"]: r["n"] for r in db.scan("t").read_all().to_pylist()}
    assert found == {1: 1, 5: 7, 6: 8}
    assert db.count_rows("t") == 3


@pytest.mark.parametrize("how", ["ignore", "fail", "delete"])
def test_what_else_becomes_of_the_row_of_the_rival(
    db: StorageBackend, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    beside(monkeypatch, lambda: append_natively(db))
    rows = [{"id": 5, "n": 50}, {"id": 8, "n": 80}]
    if how == "fail":
        with pytest.raises(DuplicateKey):
            db.write("t", rows, check_keys=True)
    else:
        receipt = db.merge_insert("t", rows, when_matched=how)
        assert (receipt.rows_inserted, receipt.rows_deleted) == (1, int(how == "delete"))
    left = {"ignore": [1, 5, 6, 8], "fail": [1, 5, 6], "delete": [1, 6, 8]}[how]
    assert keys(db) == left
    assert all(r["n"] in {1, 7, 80} for r in db.scan("t").read_all().to_pylist())


@pytest.mark.parametrize("operation", ["overwrite", "replace", "delete", "update", "merge"])
def test_killed_between_commit_and_answer(base: TestRoot, operation: str) -> None:
    root = fresh(base)
    db = kept(root)
    db.create_table("t", [{"id": 1, "n": 1}, {"id": 2, "n": 1}], schema=SCHEMA)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=die_after_commit, args=(root, operation))
    process.start()
    process.join(120)
    assert process.exitcode == -9
    before = db.scan("t").read_all().to_pylist()
    receipt = do(db, operation)
    assert receipt.version == 2
    assert receipt.rows_inserted + receipt.rows_updated + receipt.rows_deleted > 0
    assert db.scan("t").read_all().to_pylist() == before
    assert do(db, operation) == receipt
