"""Branches under races and kills: one winner, and it gets what it asked for."""

from __future__ import annotations

import multiprocessing
import uuid
from collections.abc import Iterator
from datetime import timedelta

import branch_workers
import lance
import pytest
from workers import kept

from pennon.errors import BranchAlreadyExists, InvalidState
from pennon.storage._lance import branches
from pennon.storage._lance.places import Place
from pennon.testing.races import Racers, Tally
from pennon.testing.services import TestRoot

PROCESSES = 4


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(PROCESSES) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    base = found if isinstance(found, TestRoot) else TestRoot(found)
    made = TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)
    db = kept(made)
    db.create_table("t", [{"id": 1}])
    for number in range(2, 5):
        db.write("t", [{"id": number}])
    return made


def opened(root: TestRoot, branch: str) -> lance.LanceDataset:
    where = kept(root).namespace.describe_table("t").location
    return lance.dataset(f"{where}/tree/{branch}", storage_options=root.options or None)


def check(root: TestRoot, branch: str, version: int) -> None:
    """Assert that a branch has one version, with the rows it started from."""
    handle = opened(root, branch)
    assert [v["version"] for v in handle.version_refs()] == [version]
    assert handle.count_rows() == version


@pytest.mark.timeout(600)
def test_one_creator_wins_and_gets_its_own_source(
    root: TestRoot, racers: Racers, race_rounds: int
) -> None:
    tally = Tally(f"create_branch, {PROCESSES} sources, {root.uri.split(':')[0]}")
    rounds = max(3, race_rounds // 4)
    for number in range(rounds):
        outcomes = racers.run(branch_workers.create_branch, root, "t", f"b{number}")
        tally.add(outcomes)
        (winner,) = [o for o in outcomes if o.won]
        assert {o.error for o in outcomes if not o.won} == {"BranchAlreadyExists"}
        assert winner.value == winner.worker + 1
        check(root, f"b{number}", winner.value)
    print(tally)  # noqa: T201
    found = {b.name: b.parent_version for b in kept(root).list_branches("t")}
    assert len(found) == rounds


@pytest.mark.timeout(600)
def test_one_creator_wins_while_the_source_moves(root: TestRoot, racers: Racers) -> None:
    for number in range(4):
        outcomes = racers.run(branch_workers.fork_and_write, root, "t", f"b{number}")
        (winner,) = [o for o in outcomes if o.won]
        assert {o.error for o in outcomes if not o.won} == {"BranchAlreadyExists"}
        check(root, f"b{number}", winner.value)


@pytest.mark.timeout(600)
def test_create_and_delete_by_turns(root: TestRoot, racers: Racers) -> None:
    for _ in range(4):
        outcomes = racers.run(branch_workers.churn, root, "t", "b")
        failed = {o.error for o in outcomes if not o.won}
        assert failed <= {"BranchAlreadyExists", "BranchNotFound", "InvalidState"}, [
            o.text for o in outcomes
        ]
        for found in kept(root).list_branches("t"):
            check(root, found.name, found.parent_version)
        kept(root).delete_branch("t", "b", missing_ok=True)
        assert kept(root).list_branches("t") == []


def test_one_creator_of_a_tag_wins(root: TestRoot, racers: Racers) -> None:
    for number in range(4):
        outcomes = racers.run(branch_workers.create_tag, root, "t", f"a{number}")
        (winner,) = [o for o in outcomes if o.won]
        assert {o.error for o in outcomes if not o.won} == {"TagAlreadyExists"}
        (found,) = [t for t in kept(root).list_tags("t") if t.name == f"a{number}"]
        assert found.version == winner.value == winner.worker + 1


@pytest.mark.timeout(600)
def test_what_needs_a_branch_and_its_deletion_exclude_each_other(
    root: TestRoot, racers: Racers, race_rounds: int
) -> None:
    db = kept(root)
    deleted, rounds = 0, max(2, race_rounds // 5)
    for number in range(rounds):
        db.create_branch("t", f"b{number}")
        outcomes = racers.run(branch_workers.tag_or_delete, root, "t", f"b{number}")
        assert {o.error for o in outcomes} <= {"", "BranchNotFound", "InvalidState"}, [
            o.text for o in outcomes
        ]
        there = {b.name for b in db.list_branches("t")}
        needing = [b.name for b in db.list_branches("t") if b.parent == f"b{number}"]
        needing += [t.name for t in db.list_tags("t") if t.branch == f"b{number}"]
        assert (f"b{number}" in there) == (not outcomes[0].won)
        assert len(needing) == sum(o.won for o in outcomes[1:])
        assert not (needing and outcomes[0].won)
        deleted += outcomes[0].won
    print(f"deleted {deleted} of {rounds}")  # noqa: T201


def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that nobody is given time to finish."""
    monkeypatch.setattr(branches, "PATIENCE", timedelta(seconds=-60))


@pytest.mark.parametrize("step", ["claim", "first version", "name"])
def test_killed_while_creating(root: TestRoot, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    db = kept(root)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=branch_workers.die_in_create, args=(root, "t", "b", step))
    process.start()
    process.join(100)
    assert process.exitcode == -9
    if step == "first version":
        where = db.namespace.describe_table("t")
        place = Place.of(db.namespace, where)
        place.store().delete("_refs/branches/b.json")
    with pytest.raises(BranchAlreadyExists):
        db.create_branch("t", "b", version=3)
    assert len(db.list_branches("t")) == (1 if step == "name" else 0)

    aged(monkeypatch)
    with pytest.raises(BranchAlreadyExists):
        db.create_branch("t", "b", version=3)
    (found,) = db.list_branches("t")
    assert (found.parent, found.parent_version) == ("main", 2)
    check(root, "b", 2)
    db.create_branch("t", "c", source="b")
    with pytest.raises(InvalidState):
        db.delete_branch("t", "b")
    db.delete_branch("t", "c")
    db.delete_branch("t", "b")
    assert db.create_branch("t", "b", version=3).parent_version == 3
    check(root, "b", 3)


def test_killed_while_creating_and_given_up(
    root: TestRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = kept(root)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=branch_workers.die_in_create, args=(root, "t", "b", "claim"))
    process.start()
    process.join(100)
    aged(monkeypatch)
    db.delete_branch("t", "b")
    assert db.create_branch("t", "b", version=4).parent_version == 4
    check(root, "b", 4)


def test_what_other_tools_left_behind_is_no_part_of_a_branch(root: TestRoot) -> None:
    db = kept(root)
    where = db.namespace.describe_table("t").location
    main = lance.dataset(where, storage_options=root.options or None)
    main.create_branch("b", 1)
    main.create_branch("b/c", 2)
    opened(root, "b").delete("true")
    main.branches.delete("b")
    assert opened(root, "b").count_rows() == 0
    assert db.create_branch("t", "b", version=3).parent_version == 3
    check(root, "b", 3)
    check(root, "b/c", 2)
