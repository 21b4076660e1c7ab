"""Columns change while others write: every acknowledged row and value is there afterwards."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import column_workers as work
import pyarrow as pa
import pytest
from workers import kept

import pennon
from pennon import ColumnChange, col
from pennon.errors import ColumnAlreadyExists, CommitConflict, SchemaMismatch
from pennon.storage.abc import StorageBackend
from pennon.testing.races import Racers
from pennon.testing.services import TestRoot

ROWS = [{"id": n, "n": n} for n in range(6)]
SCHEMA = pa.schema({"id": pa.int64(), "n": pa.int32()})


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(3) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


@pytest.fixture
def root(base: TestRoot) -> TestRoot:
    return TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)


@pytest.fixture
def rounds(race_rounds: int) -> range:
    return range(max(race_rounds // 3, 2))


def made(root: TestRoot, name: str) -> StorageBackend:
    db = kept(root)
    db.create_table(name, ROWS[:3], schema=SCHEMA, primary_key="id")
    db.write(name, ROWS[3:])
    return db


def found(db: StorageBackend, name: str) -> dict[int, dict[str, Any]]:
    rows = db.scan(name).read_all().to_pylist()
    assert len({r["id"] for r in rows}) == len(rows)
    return {row["id"]: row for row in rows}


@pytest.mark.timeout(600)
def test_rows_inserted_while_a_column_is_added(
    root: TestRoot, racers: Racers, rounds: range
) -> None:
    for number in rounds:
        name = f"t{number}"
        db = made(root, name)
        added, *inserted = racers.run_each(
            [
                (work.add, root, name, "z", "n * 10"),
                (work.append, root, name, 4),
                (work.upsert, root, name, 4),
            ]
        )
        assert added.won, added.text
        rows = found(db, name)
        assert all(rows[r["id"]]["z"] == r["n"] * 10 for r in ROWS)
        for outcome in inserted:
            assert outcome.won, outcome.text
            for row, n, version in outcome.value:
                before = version < added.value
                assert rows[row] == {"id": row, "n": n, "z": n * 10 if before else None}


@pytest.mark.timeout(600)
def test_updates_while_a_column_gets_another_type(
    root: TestRoot, racers: Racers, rounds: range
) -> None:
    for number in rounds:
        name = f"t{number}"
        db = made(root, name)
        widened, *counted = racers.run_each(
            [
                (work.widen, root, name),
                (work.count_up, root, name, 3),
                (work.count_up, root, name, 3),
            ]
        )
        assert widened.won, widened.text
        assert all(o.won for o in counted), [o.text for o in counted]
        assert {i: r["n"] for i, r in found(db, name).items()} == {n: n + 6 for n in range(6)}
        schema = db.get_table_schema(name)
        assert schema is not None
        assert schema.field("n").type == pa.int64()


@pytest.mark.timeout(600)
def test_one_of_many_adds_a_column(root: TestRoot, racers: Racers, rounds: range) -> None:
    for number in rounds:
        name = f"t{number}"
        db = made(root, name)
        outcomes = racers.run_each(
            [
                (work.add, root, name, "z", "n * 10"),
                (work.add, root, name, "z", "n * 100"),
                (work.add, root, name, "y", "n * 1000"),
            ]
        )
        assert outcomes[2].won, outcomes[2].text
        (winner,) = [o for o in outcomes[:2] if o.won]
        (loser,) = [o for o in outcomes[:2] if not o.won]
        assert loser.error == "ColumnAlreadyExists", loser.text
        times = 100 if winner.worker else 10
        for n, row in found(db, name).items():
            assert row == {"id": n, "n": n, "z": n * times, "y": n * 1000}


@pytest.mark.timeout(600)
def test_null_is_forbidden_while_it_is_appended(
    root: TestRoot, racers: Racers, rounds: range
) -> None:
    for number in rounds:
        name = f"t{number}"
        db = made(root, name)
        forbidden, *appended = racers.run_each(
            [
                (work.forbid_null, root, name),
                (work.append_null, root, name),
                (work.append_null, root, name),
            ]
        )
        rows = found(db, name)
        for outcome in appended:
            if outcome.won:
                assert rows[outcome.worker * 1000]["n"] is None
            else:
                assert outcome.error in {"CommitConflict", "SchemaMismatch"}, outcome.text
        if forbidden.won:
            assert not any(o.won for o in appended)
        else:
            assert forbidden.error == "SchemaMismatch", forbidden.text
        schema = db.get_table_schema(name)
        assert schema is not None
        assert schema.field("n").nullable is not forbidden.won


@pytest.mark.timeout(600)
def test_a_column_goes_and_comes_while_rows_are_inserted(
    root: TestRoot, racers: Racers, rounds: range
) -> None:
    for number in rounds:
        name = f"t{number}"
        db = made(root, name)
        changed, *inserted = racers.run_each(
            [
                (work.drop_and_add, root, name),
                (work.append, root, name, 3),
                (work.upsert, root, name, 3),
            ]
        )
        assert changed.won, changed.text
        rows = found(db, name)
        assert all(rows[r["id"]]["n"] is None for r in ROWS)
        for outcome in inserted:
            assert outcome.won, outcome.text
            for row, n, version in outcome.value:
                assert rows[row]["n"] == (n if version > changed.value else None)


@pytest.mark.parametrize("when", ["committed", "computing"])
def test_a_process_killed_while_it_adds_a_column(root: TestRoot, tmp_path: Path, when: str) -> None:
    db = made(root, "t")
    process = multiprocessing.get_context("spawn").Process(
        target=work.die_while_adding, args=(root, "t", when, str(tmp_path / "kept"))
    )
    process.start()
    process.join(60)
    assert process.exitcode == -9
    known, calls = db.get_table_version("t"), list[list[int]]()

    def compute(batch: pa.RecordBatch) -> dict[str, Any]:
        calls.append(batch["id"].to_pylist())
        return {"z": [i * 2 for i in batch["id"].to_pylist()]}

    receipt = db.add_columns(
        "t",
        compute,
        schema=pa.schema({"z": pa.int64()}),
        read_columns=["id"],
        batch_size=2,
        checkpoint=tmp_path / "kept",
        write_id="the-one",
    )
    if when == "committed":
        assert (receipt.version, calls) == (3, [])
    else:
        assert calls == [[2], [3, 4], [5]]
        assert receipt.version > known - 1
    assert [row["z"] for row in found(db, "t").values()] == [0, 2, 4, 6, 8, 10]


def append(db: StorageBackend) -> None:
    db.write("t", [{"id": 7, "n": 7}])


def delete(db: StorageBackend) -> None:
    db.delete_rows("t", col("id") == 0)


def compact(db: StorageBackend) -> None:
    import lance

    lance.dataset(db.namespace.describe_table("t").location).optimize.compact_files()


def update(db: StorageBackend) -> None:
    db.update("t", {"n": "n + 100"}, where=col("id") == 1)


def undelete(db: StorageBackend) -> None:
    db.rollback_table("t", 2)


def add_another(db: StorageBackend) -> None:
    db.add_columns("t", {"other": "n * 3"})


@pytest.mark.parametrize("rival", [append, delete, compact, update, undelete, add_another])
def test_what_happens_while_values_are_computed(
    tmp_path: Path, rival: Callable[[StorageBackend], None]
) -> None:
    db = made(TestRoot(str(tmp_path)), "t")
    db.delete_rows("t", col("id") == 3)
    meanwhile = [rival]

    def compute(batch: pa.RecordBatch) -> dict[str, Any]:
        if len(meanwhile) == 1 and batch["id"].to_pylist()[-1] == 5:
            meanwhile.pop()(pennon.open(tmp_path))
        return {"z": [n * 2 for n in batch["n"].to_pylist()]}

    db.add_columns("t", compute, schema=pa.schema({"z": pa.int64()}))
    rows = found(db, "t")
    assert not meanwhile
    assert set(rows) == {
        append: {0, 1, 2, 4, 5, 7},
        delete: {1, 2, 4, 5},
        undelete: {0, 1, 2, 3, 4, 5},
    }.get(rival, {0, 1, 2, 4, 5})
    assert all(row["z"] == row["n"] * 2 for row in rows.values())
    if rival is add_another:
        assert all(row["other"] == row["n"] * 3 for row in rows.values())
    location = Path(db.namespace.describe_table("t").location)
    import lance

    named = {f.path for x in lance.dataset(location).get_fragments() for f in x.data_files()}
    newest = max(location.glob("data/*"), key=lambda f: f.stat().st_mtime_ns)
    assert newest.name in named


def test_a_rival_takes_the_name_or_the_columns(tmp_path: Path) -> None:
    db = made(TestRoot(str(tmp_path)), "t")
    data = Path(db.namespace.describe_table("t").location) / "data"
    schema = pa.schema({"z": pa.int32()})

    def compute(batch: pa.RecordBatch) -> dict[str, Any]:
        if "z" not in (db.get_table_schema("t") or schema).names:
            db.add_columns("t", schema)
        return {"z": batch["n"]}

    before = {f.name for f in data.iterdir()}
    with pytest.raises(ColumnAlreadyExists):
        db.add_columns("t", compute, schema=schema, read_columns=["n"])
    assert {f.name for f in data.iterdir()} == before


def test_indexes_stay_unless_the_type_changes(tmp_path: Path) -> None:
    import lance

    db = made(TestRoot(str(tmp_path)), "t")
    location = db.namespace.describe_table("t").location

    def indexes() -> list[tuple[str, list[str]]]:
        return [(i.name, i.field_names) for i in lance.dataset(location).describe_indices()]

    lance.dataset(location).create_scalar_index("n", "BTREE", name="i")
    db.add_columns("t", {"z": "n + 1", "y": pa.int8()})
    db.alter_columns("t", {"n": ColumnChange(name="m")})
    db.drop_columns("t", "z")
    assert indexes() == [("i", ["m"])]
    assert db.count_rows("t", col("m") == 3) == 1
    db.alter_columns("t", {"m": ColumnChange(type=pa.int64())})
    assert indexes() == []
    assert db.count_rows("t", col("m") == 3) == 1


def test_values_of_a_dropped_column_stay_gone(tmp_path: Path) -> None:
    db = made(TestRoot(str(tmp_path)), "t")
    db.add_columns("t", {"z": "n * 10"})
    db.drop_columns("t", "z")
    db.add_columns("t", {"z": pa.int64()})
    assert {row["z"] for row in found(db, "t").values()} == {None}
    compact(db)
    assert {row["z"] for row in found(db, "t").values()} == {None}


def test_appends_begun_before_a_change_of_columns(tmp_path: Path) -> None:
    db = made(TestRoot(str(tmp_path)), "t")

    def rows(change: Callable[[], Any]) -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pylist([{"id": 8, "n": 8}], schema=SCHEMA)
        change()

    for change in (
        lambda: db.add_columns("t", {"z": "n"}),
        lambda: db.drop_columns("t", "z"),
        lambda: db.alter_columns("t", {"n": ColumnChange(type=pa.int64())}),
    ):
        stream = pa.RecordBatchReader.from_batches(SCHEMA, rows(change))
        with pytest.raises((CommitConflict, SchemaMismatch)):
            db.write("t", stream)
    assert set(found(db, "t")) == set(range(6))


@pytest.mark.parametrize("rival", ["update", "retype"])
def test_a_commit_whose_file_a_rival_replaced_before_it_was_looked_for(
    base: TestRoot, root: TestRoot, monkeypatch: pytest.MonkeyPatch, rival: str
) -> None:
    import lance

    db, commit, calls = made(root, "t"), lance.LanceDataset.commit, list[int]()

    def and_rival(*args: Any, **kwargs: Any) -> Any:
        done = commit(*args, **kwargs)
        calls.append(done.version)
        if len(calls) == 1 and rival == "update":
            db.update("t", {"n": "n + 10"})
        elif len(calls) == 1:
            db.alter_columns("t", {"n": ColumnChange(type=pa.int64())})
        return done

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(and_rival))
    receipt = db.update("t", {"n": "n + 100"})
    assert (receipt.version, calls) == (3, [3, 4])
    more = 110 if rival == "update" else 100
    assert {i: r["n"] for i, r in found(db, "t").items()} == {n: n + more for n in range(6)}
