"""A rollback that expects a version undoes nothing unseen, whoever writes meanwhile."""

from __future__ import annotations

import uuid

import branch_workers
import pytest
from workers import kept

from pennon.storage.abc import ScanRequest
from pennon.testing.races import Racers
from pennon.testing.services import TestRoot


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_rollback_against_appends(request: pytest.FixtureRequest, kind: str) -> None:
    found = request.getfixturevalue(f"{kind}_root")
    base = found if isinstance(found, TestRoot) else TestRoot(found)
    root = TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)
    db = kept(root)
    db.create_table("t", [{"id": 1}])
    db.write("t", [{"id": 2}])
    with Racers(3) as racers:
        outcomes = racers.run(branch_workers.roll_back_or_append, root, "t", 8)
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    rolled = {made: expected for expected, made in outcomes[0].value if made is not None}
    assert all(made == expected + 1 for made, expected in rolled.items())
    appended = dict(pair for o in outcomes[1:] for pair in o.value)
    newest = db.get_table_version("t")
    assert sorted({1, 2, *rolled, *appended}) == list(range(1, newest + 1))

    known: set[int] = set()
    for version in range(1, newest + 1):
        known = {1, 2} if version in rolled else known | {appended.get(version, version)}
        rows = db.scan(ScanRequest("t", version=version)).read_all()["id"].to_pylist()
        assert sorted(rows) == sorted(known), version
    print(f"{len(rolled)} of {len(outcomes[0].value)} rollbacks won")  # noqa: T201
