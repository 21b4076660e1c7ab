"""Searches in processes beside others that write, index, compact and drop."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
import search_workers
from workers import kept

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


def test_a_search_finds_what_its_version_holds(
    root: TestRoot, racers: Racers, race_rounds: int
) -> None:
    db, times = kept(root), max(7, race_rounds)
    db.create_table("t", search_workers.rows(0, search_workers.ROWS))
    db.create_fts_index("t", "body", name="words")
    db.create_vector_index("t", "v", "ivf_flat")
    outcomes = racers.run_each(
        [
            (search_workers.write, root, times),
            (search_workers.write, root, times),
            (search_workers.search, root, times),
        ]
    )
    assert [o.text for o in outcomes if o.error] == []
    assert outcomes[2].value == []
    assert search_workers.search(0, root, 1) == []


def test_a_table_that_is_dropped_is_absent(
    root: TestRoot, racers: Racers, race_rounds: int
) -> None:
    db, times = kept(root), max(7, race_rounds)
    db.create_table("t", search_workers.rows(0, search_workers.ROWS))
    outcomes = racers.run_each(
        [
            (search_workers.drop, root, times),
            (search_workers.search_what_is_dropped, root, 5 * times),
            (search_workers.search_what_is_dropped, root, 5 * times),
        ]
    )
    assert [o.text for o in outcomes if o.error] == []
    assert sum(o.value for o in outcomes[1:]) > 0
