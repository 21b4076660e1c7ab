"""Four processes race for tables: one creates, every acknowledged row is there, nothing is left."""

from __future__ import annotations

import multiprocessing
import random
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import workers
from workers import append, churn, create, kept, stray_files

from pennon.namespaces.directory import DirectoryNamespace
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


def check_one_winner(root: TestRoot, table: str, outcomes: list[Any]) -> None:
    winners = [o for o in outcomes if o.won]
    assert len(winners) == 1, [(o.error, o.text) for o in outcomes]
    assert winners[0].value == {"version": 1, "rows": 3}
    losers = {o.error for o in outcomes if not o.won}
    assert losers == {"TableAlreadyExists"}, [o.text for o in outcomes]
    rows = kept(root).scan(table).read_all().to_pylist()
    assert rows == [{"owner": winners[0].worker, "n": n} for n in range(3)]
    assert stray_files(root, table) == set()


@pytest.mark.timeout(1200)
def test_create_on_a_fresh_root(base: TestRoot, racers: Racers, race_rounds: int) -> None:
    tally = Tally(f"create, fresh root, {base.uri.split(':')[0]}")
    for _ in range(race_rounds):
        root = fresh(base)
        outcomes = racers.run(create, root, "t")
        tally.add(outcomes)
        check_one_winner(root, "t", outcomes)
    print(tally)  # noqa: T201


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("declared", [False, True])
def test_create_on_a_warm_root(
    base: TestRoot, racers: Racers, race_rounds: int, declared: bool
) -> None:
    root = fresh(base)
    tally = Tally(f"create, warm root, {declared=}, {base.uri.split(':')[0]}")
    for number in range(race_rounds):
        if declared:
            kept(root).namespace.declare_table(f"t{number}")
        outcomes = racers.run(create, root, f"t{number}")
        tally.add(outcomes)
        check_one_winner(root, f"t{number}", outcomes)
    print(tally)  # noqa: T201
    assert len(list(kept(root).namespace.iter_tables())) == race_rounds


@pytest.mark.timeout(1200)
def test_create_in_a_v1_directory(base: TestRoot, racers: Racers, race_rounds: int) -> None:
    root = fresh(base)
    flat = DirectoryNamespace(root.uri, storage_options=root.options, manifest_enabled=False)
    flat.declare_table("first")
    for number in range(race_rounds):
        check_one_winner(root, f"t{number}", racers.run(create, root, f"t{number}"))


@pytest.mark.timeout(1200)
def test_appends_of_all_processes_are_there(
    base: TestRoot, racers: Racers, race_rounds: int
) -> None:
    root = fresh(base)
    kept(root).create_table("t", [{"owner": -1, "n": 0}])
    times = max(2, min(race_rounds // 4, 10))
    outcomes = racers.run(append, root, "t", times)
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    versions = sorted(v for o in outcomes for v in o.value)
    assert versions == list(range(2, 2 + PROCESSES * times))
    rows = kept(root).scan("t").read_all().to_pylist()
    for worker in range(PROCESSES):
        mine = sorted(r["n"] for r in rows if r["owner"] == worker)
        assert mine == [n for n in range(times) for _ in range(n + 1)]
    assert len(rows) == 1 + PROCESSES * times * (times + 1) // 2
    assert stray_files(root, "t") == set()


@pytest.mark.timeout(1200)
def test_churn_ends_with_catalog_and_disk_agreeing(
    base: TestRoot, racers: Racers, race_rounds: int
) -> None:
    root = fresh(base)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    for number in range(max(1, race_rounds // 5)):
        outcomes = racers.run(churn, root, seed + number)
        assert all(o.won for o in outcomes), [o.text for o in outcomes]
    db = kept(root)
    namespace = db.namespace
    assert isinstance(namespace, DirectoryNamespace)
    namespace.sweep(older_than=timedelta(0), drop_declared=True)
    for table in namespace.iter_tables():
        rows = db.scan(table).read_all()
        assert rows.num_rows == db.count_rows(table) > 0
    left = namespace.sweep(older_than=timedelta(0), dry_run=True)
    assert left.removed == left.young == ()
    named = {
        namespace.describe_table(t).location.rpartition("/")[2] for t in namespace.iter_tables()
    }
    there = set(namespace.session.store(*_opened(root)).list_directories())
    assert there - {"__manifest", "_pennon"} == named


def _opened(root: TestRoot) -> tuple[Any, Any]:
    from pennon.config import parse_options
    from pennon.uri import parse_uri

    uri = parse_uri(root.uri)
    return uri, parse_options(uri, root.options)


@pytest.mark.parametrize("operation", ["create", "append"])
def test_killed_between_commit_and_answer(base: TestRoot, operation: str) -> None:
    root = fresh(base)
    db = kept(root)
    if operation == "append":
        db.create_table("t", [{"n": 0}])
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=workers.die_after_commit, args=(root, "t", operation))
    process.start()
    process.join(100)
    assert process.exitcode == -9

    rows = [{"n": 1}, {"n": 2}]
    if operation == "create":
        receipt = db.create_table("t", rows, write_id="the-one")
        assert (receipt.version, receipt.rows_inserted) == (1, 2)
        assert db.count_rows("t") == 2
    else:
        receipt = db.write("t", rows, write_id="the-one")
        assert (receipt.version, receipt.rows_inserted) == (2, 2)
        assert db.write("t", rows, write_id="the-one") == receipt
        assert db.count_rows("t") == 3


@pytest.mark.timeout(300)
def test_killed_anywhere_and_repeated(base: TestRoot, race_rounds: int) -> None:
    """An ingest that is killed at random moments and started again ends with each row once."""
    root = fresh(base)
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201
    rng = random.Random(seed)
    total = 30
    spawn = multiprocessing.get_context("spawn")
    kills = 0
    while True:
        seen = spawn.Event()
        process = spawn.Process(target=workers.ingest, args=(root, "t", total, seen))
        process.start()
        assert seen.wait(60)
        if kills < max(2, race_rounds // 5):
            time.sleep(rng.uniform(0.0, 0.6))
            if process.is_alive():
                process.kill()
                process.join()
                kills += 1
                continue
        process.join(100)
        assert process.exitcode == 0
        break
    rows = kept(root).scan("t").read_all()["n"].to_pylist()
    print(f"{kills} kills")  # noqa: T201
    assert sorted(rows) == [-1, *(n for n in range(total) for _ in range(2))]
