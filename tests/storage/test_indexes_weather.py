"""Index builds when answers are lost: an index is there once, with all its files, or not at all."""

from __future__ import annotations

from collections.abc import Callable

import lance
import pytest
from lance_files import segments_left

import pennon
from pennon.errors import OutcomeUnknown, PennonError, Unavailable
from pennon.storage.abc import StorageBackend
from pennon.testing._storage_indexes import rows
from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot


def manifest(db: StorageBackend, version: int) -> str:
    """A pattern for the manifest of a version of the table t, not of the catalog."""
    directory = db.namespace.describe_table("t").location.rpartition("/")[2]
    return f"*{directory}*_versions/{2**64 - 1 - version}.manifest*"


def left(db: StorageBackend) -> set[str]:
    info = db.namespace.describe_table("t")
    options = dict(info.storage_options or {})
    return segments_left(lance.dataset(info.location, storage_options=options), options)


@pytest.fixture
def proxy(s3_root: TestRoot, recording_proxy: Callable[[str], RecordingProxy]) -> RecordingProxy:
    return recording_proxy(s3_root.endpoint)


def opened(root: TestRoot) -> StorageBackend:
    return pennon.open(root.uri, storage_options=root.options)


@pytest.mark.parametrize("status", [500, 0])
def test_the_answer_to_the_commit_is_lost(
    s3_root: TestRoot, proxy: RecordingProxy, status: int
) -> None:
    direct = opened(s3_root)
    direct.create_table("t", rows())
    rule = proxy.phantom(status, method="PUT", path=manifest(direct, 2))
    made = opened(s3_root.via(proxy.endpoint)).create_scalar_index("t", "id", write_id="w")
    assert rule.hits >= 1
    assert direct.list_indexes("t") == [made]
    assert direct.count_rows("t", "id = 7") == 1
    assert direct.create_scalar_index("t", "id", write_id="w") == made
    assert left(direct) == set()


def test_a_store_that_never_takes_the_commit(s3_root: TestRoot, proxy: RecordingProxy) -> None:
    direct = opened(s3_root)
    direct.create_table("t", rows())
    db = opened(s3_root.via(proxy.endpoint))
    proxy.refuse(500, method="PUT", path=manifest(direct, 2), times=None)
    with pytest.raises((OutcomeUnknown, Unavailable)):
        db.create_fts_index("t", "body", write_id="w", deadline=2)
    proxy.heal()
    assert direct.list_indexes("t") == []
    made = db.create_fts_index("t", "body", write_id="w")
    assert direct.list_indexes("t") == [made]


def test_a_store_that_fails_while_an_index_is_built(
    s3_root: TestRoot, proxy: RecordingProxy
) -> None:
    direct = opened(s3_root)
    direct.create_table("t", rows())
    db = opened(s3_root.via(proxy.endpoint))
    proxy.refuse(403, method="PUT", path="*_indices/*", times=None)
    with pytest.raises(PennonError) as caught:
        db.create_vector_index("t", "vec")
    assert "t" in str(caught.value)
    assert ".rs" not in str(caught.value)
    assert direct.list_indexes("t") == []
    assert left(direct) == set()


def test_an_overwrite_whose_indexes_cannot_be_built_yet(
    s3_root: TestRoot, proxy: RecordingProxy
) -> None:
    direct = opened(s3_root)
    direct.create_table("t", rows())
    direct.create_scalar_index("t", "id")
    direct.create_scalar_index("t", "lang", "bitmap")
    db = opened(s3_root.via(proxy.endpoint))
    proxy.refuse(403, method="PUT", path="*_indices/*", times=None)
    done = db.write("t", rows(1000, 50), mode="overwrite", write_id="w")
    assert (done.indexes_rebuilt, done.indexes_dropped) == ((), ())
    assert direct.count_rows("t") == 50
    assert direct.list_indexes("t") == []
    proxy.heal()
    again = db.write("t", rows(1000, 50), mode="overwrite", write_id="w")
    assert again.version == done.version
    assert again.indexes_rebuilt == ("id_btree", "lang_bitmap")
    assert [i.rows_indexed for i in direct.list_indexes("t")] == [50, 50]
