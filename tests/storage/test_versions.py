"""The history as the manifests begin, beside the history as Lance tells it."""

from __future__ import annotations

import threading
from datetime import timedelta

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.storage._lance import versions
from pennon.storage._lance.manifests import said
from pennon.storage._lance.places import Place
from pennon.storage.abc import StorageBackend
from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot


def opened(root: TestRoot) -> StorageBackend:
    return pennon.open(root.uri, storage_options=root.options or None)


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, local_root: str) -> TestRoot:
    found: TestRoot = (
        TestRoot(local_root) if request.param == "local" else request.getfixturevalue("s3_root")
    )
    return found


def rows(start: int) -> dict[str, list[object]]:
    ids = range(start, start + 3)
    return {"id": list(ids), "text": [str(n) for n in ids], "vec": [[float(n), 1.0] for n in ids]}


def lived(db: StorageBackend) -> lance.LanceDataset:
    """Make a table with a history of all sorts; return it as pylance opens it."""
    db.create_table("t", rows(0), primary_key="id")
    db.write("t", rows(10), commit_message="ä" * 5000)
    for number in range(14):
        db.create_scalar_index("t", "id", "btree", name=f"{'i' * 190}{number}")
    db.write("t", rows(20), write_id='with: signs / in "it"')
    db.merge_insert("t", rows(21))
    db.update("t", {"text": "'new'"}, "id = 1")
    db.delete_rows("t", "id = 2")
    db.add_columns("t", {"twice": "id * 2"})
    db.drop_columns("t", ["twice"])
    db.rollback_table("t", 2)
    db.write("t", rows(40), mode="overwrite")
    db.truncate("t")
    db.create_branch("t", "b")
    db.write("t", rows(50), branch="b")
    info = db.namespace.describe_table("t")
    foreign = lance.dataset(info.location, storage_options=dict(info.storage_options or {}) or None)
    foreign.insert(pa.table(rows(60), schema=foreign.schema))
    foreign.delete("id = 60")
    db.write("t", rows(70))
    db.optimize_table("t")
    return foreign


@pytest.mark.parametrize("branch", ["main", "b"])
def test_what_manifests_begin_with_is_what_lance_tells(
    root: TestRoot, branch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = opened(root)
    lived(db)
    found = db.versions("t", branch=branch)
    place = Place.of(db.namespace, db.namespace.describe_table("t"), branch)
    told = {info.version: said(place, info.version) for info in found}
    ours = {v for v, t in told.items() if t and any(k.startswith("pennon.") for k in t.properties)}
    assert ours == {info.version for info in found if info.write_ids}
    monkeypatch.setattr(versions, "_own", lambda *_: None)
    assert db.versions("t", branch=branch) == found
    for limit, before in ((3, None), (2, 6), (0, None), (None, 3), (5, 1)):
        kept = [info for info in found if before is None or info.version < before][:limit]
        monkeypatch.undo()
        assert db.versions("t", branch=branch, limit=limit, before=before) == kept


def test_a_history_of_another_scheme_of_names_is_told(local_root: str) -> None:
    db = opened(TestRoot(local_root))
    db.create_table("t", [{"n": 0}])
    info = db.namespace.describe_table("t")
    db.drop_table("t")
    lance.write_dataset(pa.table({"n": [0]}), info.location, enable_v2_manifest_paths=False)
    db.namespace.register_table("t", info.location.rpartition("/")[2])
    db.write("t", [{"n": 1}], write_id="w")
    assert [(v.version, v.operation, v.write_ids) for v in db.versions("t")] == [
        (2, "append", ("w",)),
        (1, "overwrite", ()),
    ]


def test_versions_send_a_listing_and_one_request_each(s3_root: TestRoot) -> None:
    proxy = RecordingProxy(s3_root.endpoint)
    with proxy:
        db = opened(s3_root.via(proxy.endpoint))
        db.create_table("t", [{"n": 0}])
        for number in range(5):
            db.write("t", [{"n": number}])
        db.versions("t")
        proxy.clear()
        assert len(db.versions("t", limit=4)) == 4
        assert (proxy.count("HEAD"), proxy.count("GET")) == (1, 1 + 4)


def test_versions_beside_commits_and_clean_ups_leave_none_out(local_root: str) -> None:
    db = opened(TestRoot(local_root))
    db.create_table("t", [{"n": 0}])
    info = db.namespace.describe_table("t")
    acknowledged = [1]
    failures: list[BaseException] = []
    over = threading.Event()

    def write() -> None:
        try:
            for number in range(60):
                acknowledged.append(db.write("t", [{"n": number}]).version)
                if number % 10 == 9:
                    foreign = lance.dataset(info.location)
                    foreign.cleanup_old_versions(older_than=timedelta(0), retain_versions=5)
        except BaseException as error:
            failures.append(error)
        finally:
            over.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not over.is_set():
        newest = acknowledged[-1]
        found = [v.version for v in db.versions("t")]
        assert found == sorted(set(found), reverse=True)
        # The newest five are kept, of which the last may be on its way to being acknowledged.
        assert {*range(max(acknowledged[-1] - 3, 1), newest + 1)} <= {*found}
    writer.join()
    assert failures == []
