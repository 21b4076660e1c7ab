"""Racing creators that overwrite, and racing evolutions: one of the acknowledged states remains."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from workers import kept, stray_files

from pennon.testing.races import Racers
from pennon.testing.services import TestRoot


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(3) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    base = found if isinstance(found, TestRoot) else TestRoot(found)
    return TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)


def overwrite(worker: int, root: TestRoot, table: str) -> tuple[int, int]:
    rows = [{f"c{worker}": n} for n in range(worker + 1)]
    made = kept(root).create_table(table, rows, mode="overwrite", write_id=f"w{worker}")
    return made.version, made.rows_deleted


def create(worker: int, root: TestRoot, table: str) -> tuple[int, int]:
    return kept(root).create_table(table, [{"other": 0}]).version, 0


def evolve(worker: int, root: TestRoot, table: str, names: list[str]) -> list[str]:
    schema = pa.schema([("id", pa.int64()), *((name, pa.string()) for name in names)])
    return kept(root).open_or_create_table(table, schema, evolve=True).names


@pytest.mark.timeout(600)
def test_creators_that_overwrite(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    for number in range(max(race_rounds // 2, 3)):
        name = f"t{number}"
        last = create if number % 2 else overwrite
        outcomes = racers.run_each([(overwrite, root, name)] * 2 + [(last, root, name)])
        won = {o.value[0]: o for o in outcomes if o.won}
        assert {o.error for o in outcomes} <= {"", "TableAlreadyExists"}, [o.text for o in outcomes]
        assert all(o.won for o in outcomes[:2]), [o.text for o in outcomes]
        assert sorted(won) == list(range(1, len(won) + 1))
        db = kept(root)
        rows: list[Any] = db.scan(name).read_all().to_pylist()
        winner = won[max(won)]
        expected = [{f"c{winner.worker}": n} for n in range(winner.worker + 1)]
        assert rows == ([{"other": 0}] if winner.worker == 2 and last is create else expected)
        told = [(v.version, v.rows_deleted) for v in db.versions(name)]
        assert told == [(v, won[v].value[1]) for v in sorted(won, reverse=True)]
        strays = {f for f in stray_files(root, name) if f.startswith("data/")}
        assert strays <= named(root, name)


def named(root: TestRoot, table: str) -> set[str]:
    """The data files that any version of a table names."""
    import lance

    info = kept(root).namespace.describe_table(table)
    options = dict(info.storage_options or {}) or None
    head = lance.dataset(info.location, storage_options=options)
    versions = [head.checkout_version(v) for v in range(1, head.version + 1)]
    return {f"data/{f.path}" for v in versions for x in v.get_fragments() for f in x.metadata.files}


@pytest.mark.timeout(600)
def test_everybody_evolves_at_once(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    for number in range(max(race_rounds // 2, 3)):
        name = f"t{number}"
        kept(root).open_or_create_table(name, pa.schema([("id", pa.int64())]))
        outcomes = racers.run(evolve, root, name, ["a", "b"])
        assert [o.value for o in outcomes] == [["id", "a", "b"]] * 3, [o.text for o in outcomes]
        assert kept(root).get_table_version(name) == 2
