"""What differs between two versions, against a model of single rows."""

from __future__ import annotations

import random
from pathlib import Path

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.errors import SchemaMismatch, Unsupported, VersionNotFound
from pennon.storage.abc import StorageBackend

Row = tuple[int, str]


@pytest.fixture(params=["local", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    root = tmp_path / "root" if request.param == "local" else f"memory://{tmp_path.name}"
    made = pennon.open(root)
    made.create_table("t", [{"id": n, "v": "a"} for n in range(4)])
    return made


def changes(db: StorageBackend, a: int, b: int, branch: str = "main") -> dict[str, set[Row]]:
    found: dict[str, set[Row]] = {"inserted": set(), "updated": set(), "deleted": set()}
    for row in db.diff("t", a, b, branch=branch).read_all().to_pylist():
        mine = (row["id"], row["v"])
        assert mine not in found[row["_change"]]
        found[row["_change"]].add(mine)
    return found


def test_each_kind_of_change(db: StorageBackend) -> None:
    db.write("t", [{"id": 9, "v": "new"}])
    db.update("t", {"v": "'b'"}, "id = 1")
    db.delete_rows("t", "id = 2")
    found = changes(db, 1, 4)
    assert found == {"inserted": {(9, "new")}, "updated": {(1, "b")}, "deleted": {(2, "a")}}
    back = changes(db, 4, 1)
    assert back == {"inserted": {(2, "a")}, "updated": {(1, "a")}, "deleted": {(9, "new")}}
    assert changes(db, 3, 3) == {"inserted": set(), "updated": set(), "deleted": set()}
    schema = db.diff("t", 1, 4).schema
    assert schema.names == ["id", "v", "_change"]
    assert db.diff("t", 2, 2).read_all().num_rows == 0


def test_compaction_changes_nothing_and_rollback_everything_since(db: StorageBackend) -> None:
    db.write("t", [{"id": 9, "v": "new"}])
    db.update("t", {"v": "'b'"}, "id = 1")
    db.optimize_table("t")
    newest = db.get_table_version("t")
    assert changes(db, 3, newest) == {"inserted": set(), "updated": set(), "deleted": set()}
    done = db.rollback_table("t", 1).version
    found = changes(db, newest, done)
    assert found == {"inserted": set(), "updated": {(1, "a")}, "deleted": {(9, "new")}}
    assert changes(db, 1, done) == {"inserted": set(), "updated": set(), "deleted": set()}
    db.write("t", [{"id": 7, "v": "after"}])
    found = changes(db, newest, done + 1)
    assert found["inserted"] == {(7, "after")}
    assert found["deleted"] == {(9, "new")}


def test_on_a_branch(db: StorageBackend) -> None:
    db.write("t", [{"id": 9, "v": "main"}])
    db.create_branch("t", "dev", version=1)
    db.delete_rows("t", "id = 0", branch="dev")
    found = changes(db, 1, 2, "dev")
    assert found == {"inserted": set(), "updated": set(), "deleted": {(0, "a")}}
    with pytest.raises(VersionNotFound):
        db.diff("t", 1, 3, branch="dev")


def test_random_histories(db: StorageBackend) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    states: dict[int, dict[int, str]] = {1: dict.fromkeys(range(4), "a")}
    now, fresh = dict(states[1]), 100
    for step in range(20):
        match rng.randrange(4):
            case 0:
                db.write("t", [{"id": fresh, "v": "n"}, {"id": fresh + 1, "v": "n"}])
                now |= {fresh: "n", fresh + 1: "n"}
                fresh += 2
            case 1 if now:
                which = rng.choice(sorted(now))
                db.update("t", {"v": f"'s{step}'"}, f"id = {which}")
                now[which] = f"s{step}"
            case 2 if now:
                which = rng.choice(sorted(now))
                db.delete_rows("t", f"id = {which}")
                del now[which]
            case _:
                which = rng.choice(sorted(states))
                db.rollback_table("t", which)
                now = dict(states[which])
        states[db.get_table_version("t")] = dict(now)
    for _ in range(40):
        a, b = rng.choice(sorted(states)), rng.choice(sorted(states))
        old, new = states[a], states[b]
        found = changes(db, a, b)
        assert found["inserted"] == {(k, new[k]) for k in new.keys() - old.keys()}
        assert found["deleted"] == {(k, old[k]) for k in old.keys() - new.keys()}
        assert found["updated"] == {
            (k, new[k]) for k in new.keys() & old.keys() if new[k] != old[k]
        }


def test_what_cannot_be_told(db: StorageBackend, tmp_path: Path) -> None:
    other = pa.table({"x": [1]})
    db.write("t", other, mode="overwrite", schema=other.schema)
    with pytest.raises(SchemaMismatch, match="columns of t differ"):
        db.diff("t", 1, 2)
    with pytest.raises(VersionNotFound):
        db.diff("t", 1, 9)
    lance.write_dataset(other, str(tmp_path / "flat" / "plain.lance"))
    with pytest.raises(Unsupported, match="stable row ids"):
        pennon.open(tmp_path / "flat").diff("plain", 1, 1)
