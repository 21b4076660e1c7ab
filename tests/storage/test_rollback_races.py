"""A rollback that expects a version undoes nothing unseen, whoever writes meanwhile."""

from __future__ import annotations

import uuid
from typing import Any

import branch_workers
import lance
import pyarrow as pa
import pytest
from workers import kept

import pennon
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


def test_a_rollback_counts_what_it_really_undid(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, rival = pennon.open(local_root), pennon.open(local_root)
    db.create_table("t", [{"id": 1}])
    db.write("t", [{"id": 2}])
    commit, late = lance.LanceDataset.commit, iter([[{"id": 3}, {"id": 4}]])

    def after_a_rival(*args: Any, **options: Any) -> Any:
        for rows in late:
            foreign = lance.dataset(db.namespace.describe_table("t").location)
            foreign.insert(pa.Table.from_pylist(rows))
        return commit(*args, **options)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(after_a_rival))
    receipt = db.rollback_table("t", 1, write_id="back")
    assert (receipt.version, receipt.rows_inserted, receipt.rows_deleted) == (4, 1, 4)
    assert rival.rollback_table("t", 1, write_id="back") == receipt
    assert db.versions("t")[0].rows_deleted == 4
    assert db.scan("t").read_all()["id"].to_pylist() == [1]
