"""The warts of searches and indexes among the forty of ``test_warts.py``."""

from __future__ import annotations

import uuid
from pathlib import Path

import pyarrow as pa
import pytest

import pennon
from pennon import col, errors
from pennon.storage.abc import StorageBackend
from pennon.storage.indexing import FullText, IndexKind
from pennon.storage.searching import Boolean, Match, Phrase


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "lake") if request.param == "local" else f"memory://{uuid.uuid4()}"


@pytest.fixture
def db(root: str) -> StorageBackend:
    return pennon.open(root)


def documents(db: StorageBackend) -> None:
    """A table to be searched: vectors on a line, and texts."""
    vectors = pa.array([[float(n), 0.0] for n in range(40)], pa.list_(pa.float32(), 2))
    texts = [f"document {n} {'about lances' if n % 4 == 0 else 'about flags'}" for n in range(40)]
    db.create_table("d", pa.table({"id": range(40), "vec": vectors, "text": texts, "more": texts}))


def test_w32_what_it_says_it_can_do_it_can(db: StorageBackend) -> None:
    documents(db)
    assert {"create_vector_index", "drop_index", "vector_search"} <= db.capabilities
    name = db.create_vector_index("d", "vec").name
    db.drop_index("d", name)
    assert db.list_indexes("d") == []


def test_w33_a_vector_search_has_every_option(db: StorageBackend) -> None:
    documents(db)
    db.create_vector_index("d", "vec", "ivf_flat")
    found = db.vector_search(
        "d",
        "vec",
        [0.0, 0.0],
        k=3,
        filter=col("id") >= 10,
        columns=["id"],
        metric="l2",
        nprobes=1,
        refine_factor=2,
        distance_range=(None, 145.0),
    )
    assert found.column_names == ["id", "_distance"]
    assert found["id"].to_pylist() == [10, 11, 12]
    assert found["_distance"].to_pylist() == [100.0, 121.0, 144.0]


def test_w34_a_text_search_finds_k_rows_that_satisfy_the_filter(db: StorageBackend) -> None:
    documents(db)
    db.create_fts_index("d", "text")
    db.create_fts_index("d", "more")
    found = db.full_text_search("d", "text", "lances", k=3, filter=col("id") >= 20)
    assert found.num_rows == 3
    assert min(found["id"].to_pylist()) >= 20
    both = db.full_text_search("d", ["text", "more"], "lances", k=40)
    assert sorted(both["id"].to_pylist()) == list(range(0, 40, 4))
    phrase = db.full_text_search("d", "text", Phrase("about lances"), k=40)
    assert phrase.num_rows == 10
    either = Boolean(must=[Match("flags")], must_not=[Match("9")])
    assert db.full_text_search("d", "text", either, k=40).num_rows == 29


def test_w35_indexes_have_names_and_are_not_replaced_unasked(db: StorageBackend) -> None:
    documents(db)
    made = db.create_scalar_index("d", "id", name="mine")
    assert (made.name, made.columns, made.rows_indexed) == ("mine", ("id",), 40)
    with pytest.raises(errors.IndexAlreadyExists):
        db.create_scalar_index("d", "id", "bitmap", name="mine")
    replaced = db.create_scalar_index("d", "id", "bitmap", name="mine", replace=True)
    assert [(i.name, i.kind) for i in db.list_indexes("d")] == [("mine", "bitmap")]
    db.write("d", [{"id": 99}])
    stats = db.index_stats("d", "mine")
    assert stats.index.rows_indexed + stats.index.rows_not_indexed == 41
    assert (replaced.rows_indexed, replaced.rows_not_indexed) == (40, 0)


def test_w36_how_text_becomes_words_can_be_chosen(db: StorageBackend) -> None:
    db.create_table("t", [{"id": 1, "text": "Running the LANCES"}])
    db.create_fts_index("t", "text", FullText(stem=False, lower_case=False))
    assert db.full_text_search("t", "text", "run").num_rows == 0
    assert db.full_text_search("t", "text", "LANCES").num_rows == 1
    db.create_fts_index("t", "text", FullText(), replace=True)
    assert db.full_text_search("t", "text", "run lance").num_rows == 1


def test_w37_kinds_of_indexes_are_stable_names(db: StorageBackend) -> None:
    documents(db)
    db.create_scalar_index("d", "id")
    db.create_fts_index("d", "text")
    db.create_vector_index("d", "vec", "ivf_pq")
    kinds = {i.kind for i in db.list_indexes("d")}
    assert kinds == {"btree", "fts", "ivf_pq"}
    assert kinds <= set(IndexKind.__args__)
