"""Processes that race over ``to_lance()``."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from serving_cases import ipc
from serving_workers import client, create, describe, insert, upsert
from workers import kept

from pennon.testing.races import Racers
from pennon.testing.services import TestRoot

PROCESSES = 4


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(PROCESSES) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


def name() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


def owners(root: TestRoot, table: str) -> list[int]:
    return sorted(kept(root).scan(table).read_all()["owner"].to_pylist())


def values(outcomes: list[Any]) -> list[Any]:
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    return [o.value for o in outcomes]


@pytest.mark.timeout(600)
def test_one_creates(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    for _ in range(max(2, race_rounds // 4)):
        table = name()
        outcomes = racers.run(create, root, table, "create")
        (winner,) = [o.worker for o in outcomes if o.won]
        assert {o.error for o in outcomes if not o.won} == {"TableAlreadyExistsError"}
        assert owners(root, table) == [winner] * (winner + 1)


@pytest.mark.timeout(600)
def test_all_overwrite(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    for _ in range(max(2, race_rounds // 4)):
        table = name()
        versions = values(racers.run(create, root, table, "overwrite"))
        assert sorted(versions) == list(range(1, PROCESSES + 1))
        last = versions.index(max(versions))
        assert owners(root, table) == [last] * (last + 1)


@pytest.mark.timeout(600)
def test_all_insert_into_a_declared_name(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    for _ in range(max(2, race_rounds // 4)):
        table = name()
        kept(root).namespace.declare_table(table)
        written = values(racers.run(insert, root, table))
        assert owners(root, table) == list(range(PROCESSES))
        found = {w for v in kept(root).versions(table) for w in v.write_ids}
        assert found == set(written)


@pytest.mark.timeout(600)
def test_all_metadata_are_there(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    table = name()
    client(root).create_table({"id": [table]}, ipc([{"owner": 0}]))
    versions = values(racers.run(describe, root, table))
    assert len(set(versions)) == PROCESSES
    schema = kept(root).get_table_schema(table)
    assert schema is not None
    keys = {f"k{n}".encode() for n in range(PROCESSES)}
    assert set(schema.metadata) == set(schema.field("owner").metadata) == keys
    assert kept(root).get_table_version(table) == 1 + 2 * PROCESSES


@pytest.mark.timeout(600)
def test_a_key_is_there_once(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    for _ in range(max(2, race_rounds // 4)):
        table = name()
        client(root).create_table({"id": [table]}, ipc([{"id": 0, "owner": 9}]))
        counts = values(racers.run(upsert, root, table))
        assert sum(inserted for inserted, _ in counts) == 3
        assert sum(map(sum, counts)) == 4 * PROCESSES
        rows = kept(root).scan(table).read_all().to_pylist()
        assert sorted(row["id"] for row in rows) == [0, 1, 2, 3]
        assert len({row["owner"] for row in rows}) == 1
