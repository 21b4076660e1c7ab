"""Indexes built, updated, dropped and raced for by processes while others write and compact."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import index_workers
import pytest
from lance_files import segments_left
from workers import kept

from pennon.storage.abc import ScanRequest
from pennon.testing._storage_indexes import rows
from pennon.testing.races import Racers, Tally
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


def check(root: TestRoot) -> None:
    """Whatever an index says is what the rows say, and no file of a segment is left over."""
    import lance

    where, options = index_workers.location(root)
    handle = lance.dataset(where, storage_options=options)
    ids = handle.to_table(columns=["id"], use_scalar_index=False)["id"].to_pylist()
    known = Counter(ids)
    filters = [f"id = {n}" for n in sorted({*list(known)[:25], *list(known)[-10:], 3, 77})]
    filters += [f"id >= {n} AND id < {n + 90}" for n in (0, 150, 10_000)]
    filters += ["lang = 'xx'", "lang = 'fr'", "lang IS NULL"]
    for where_ in filters:
        with_index = handle.to_table(columns=["id"], filter=where_)["id"].to_pylist()
        without = handle.to_table(columns=["id"], filter=where_, use_scalar_index=False)
        assert sorted(with_index) == sorted(without["id"].to_pylist()), where_
    if any(d.index_type == "Inverted" for d in handle.describe_indices()):
        found = handle.to_table(columns=["id"], full_text_query="word3", limit=100_000)
        expected = handle.to_table(columns=["id"], filter="body LIKE '%word3 %'")
        assert sorted(found["id"].to_pylist()) == sorted(expected["id"].to_pylist())


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("root", "what"),
    [("local", w) for w in ("append", "partial", "compact", "overwrite")]
    + [("local", "anything"), ("s3", "anything")],
    indirect=["root"],
)
def test_builds_against_writers(
    root: TestRoot, racers: Racers, what: str, race_rounds: int
) -> None:
    times = max(4, race_rounds // 2)
    db = kept(root)
    db.create_table("t", rows(0, 300))
    db.write("t", rows(300, 100))
    outcomes = racers.run_each(
        [
            (index_workers.build, root, "btree", times),
            (index_workers.build, root, "zonemap", times),
            (index_workers.disturb, root, what, times),
        ]
    )
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    print(what, [o.value for o in outcomes])  # noqa: T201
    check(root)
    db.update_indexes("t")
    assert all(i.rows_not_indexed == 0 for i in db.list_indexes("t"))
    check(root)
    if what not in {"compact", "anything"}:
        # A compaction of Lance that lost to a rival leaves the index files it wrote.
        assert stray_segments(root) == set()


def stray_segments(root: TestRoot) -> set[str]:
    """The directories of segments that no version names."""
    import lance

    where, options = index_workers.location(root)
    return segments_left(lance.dataset(where, storage_options=options), options)


@pytest.mark.timeout(300)
def test_one_name_is_given_once(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    db = kept(root)
    db.create_table("t", rows(0, 100))
    tally = Tally("index name")
    for _ in range(max(2, race_rounds // 4)):
        db.drop_index("t", "wanted", missing_ok=True)
        outcomes = racers.run(index_workers.one_name, root)
        tally.add(outcomes)
        [winner] = [o for o in outcomes if o.won]
        assert {o.error for o in outcomes if not o.won} == {"IndexAlreadyExists"}
        [made] = db.list_indexes("t")
        assert made.columns == (winner.value,)
    print(tally)  # noqa: T201
    assert stray_segments(root) == set()


@pytest.mark.timeout(300)
def test_builds_against_drop_and_recreate(root: TestRoot, racers: Racers, race_rounds: int) -> None:
    kept(root).create_table("t", rows(0, 100))
    times = max(4, race_rounds // 3)
    outcomes = racers.run_each(
        [
            (index_workers.build, root, "btree", times),
            (index_workers.build, root, "bitmap", times),
            (index_workers.recreate, root, 3),
        ]
    )
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    print([o.value for o in outcomes])  # noqa: T201
    check(root)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("root", "empty"),
    [("local", True), ("local", False), ("s3", True)],
    indirect=["root"],
)
def test_upserts_with_an_index_on_the_key(
    root: TestRoot, racers: Racers, race_rounds: int, empty: bool
) -> None:
    db = kept(root)
    db.create_table("t", rows(0, 12))
    db.create_scalar_index("t", "id")
    for _ in range(max(2, race_rounds // 5)):
        db.truncate("t")
        if not empty:
            db.write("t", rows(0, 12))
        outcomes = racers.run(index_workers.upsert, root, 3)
        assert all(o.won for o in outcomes), [o.text for o in outcomes]
        found = db.scan(ScanRequest("t", columns=["id"])).read_all()["id"].to_pylist()
        assert sorted(found) == list(range(20))
        assert all(db.count_rows("t", f"id = {n}") == 1 for n in range(20))


@pytest.mark.timeout(300)
@pytest.mark.parametrize("by", ["repeating it", "finish_rebuilds"])
def test_killed_between_an_overwrite_and_its_indexes(root: TestRoot, by: str) -> None:
    import multiprocessing

    db = kept(root)
    db.create_table("t", rows(0, 100))
    db.create_scalar_index("t", "id")
    db.create_fts_index("t", "body")
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=index_workers.die_before_rebuild, args=(root,))
    process.start()
    process.join(100)
    assert process.exitcode == -9
    assert db.list_indexes("t") == []
    assert db.count_rows("t") == 40
    if by == "repeating it":
        done = db.write("t", rows(500, 40), mode="overwrite", write_id="the-one")
        assert done.indexes_rebuilt == ("body_fts", "id_btree")
    else:
        assert finish(db) == ("body_fts", "id_btree")
    assert [(i.name, i.rows_indexed) for i in db.list_indexes("t")] == [
        ("body_fts", 40),
        ("id_btree", 40),
    ]
    assert finish(db) == ()
    assert db.count_rows("t") == 40


def finish(db: Any) -> tuple[str, ...]:
    from pennon.storage._lance.rebuilds import finish_rebuilds

    return finish_rebuilds(db._place("t"), 60)
