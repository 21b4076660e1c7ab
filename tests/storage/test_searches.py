"""Searches on Lance find what the model finds and what numpy computes, whatever the index holds."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

import pennon
from pennon.errors import InvalidInput, InvalidState
from pennon.storage._indexing import from_parameters
from pennon.storage._lance import searches
from pennon.storage.abc import (
    HybridSearch,
    ScanRequest,
    StorageBackend,
    TextSearch,
    VectorSearch,
)
from pennon.storage.indexing import FullText, IvfFlat
from pennon.storage.searching import Boolean, Boost, Match, Phrase, TextQuery

WORDS = ["Apple", "banana", "cherry", "running", "fox", "quick", "lazy", "dog", "runs", "appel"]
UPDATED = {"body": "'fox fox lazy'", "title": "'dog'"}
METRICS = ("l2", "cosine", "dot")


def rows(chance: np.random.Generator, first: int, count: int) -> pa.Table:
    def text() -> str | None:
        return None if chance.random() < 0.1 else " ".join(chance.choice(WORDS, chance.integers(6)))

    def vector() -> list[float] | None:
        return None if chance.random() < 0.1 else chance.standard_normal(4).tolist()

    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "v": pa.array([vector() for _ in range(count)], pa.list_(pa.float32(), 4)),
            "body": pa.array([text() for _ in range(count)], pa.string()),
            "title": pa.array(chance.choice(WORDS, count).tolist(), pa.string()),
        }
    )


def query(chance: np.random.Generator, depth: int = 0) -> TextQuery:
    def words(n: int) -> str:
        return " ".join(chance.choice(WORDS, n))

    def some(low: int, high: int) -> list[TextQuery]:
        return [query(chance, depth + 1) for _ in range(chance.integers(low, high))]

    kind = chance.random()
    if depth > 1 or kind < 0.4:
        operator: Any = chance.choice(["or", "and"])
        return Match(words(chance.integers(1, 3)), None, operator, int(chance.choice([0, 0, 1, 2])))
    if kind < 0.6:
        return Phrase(words(2), slop=int(chance.integers(2)))
    if kind < 0.8:
        return Boolean(some(0, 2), some(1, 3), some(0, 2))
    return Boost(query(chance, depth + 1), query(chance, depth + 1))


def history(chance: np.random.Generator) -> list[Callable[[StorageBackend], Any]]:
    """Return what happens to a table: writes and indexes in any order."""
    steps: list[Callable[[StorageBackend], Any]] = []
    last = 60
    for kind in chance.choice(
        ["fts", "vector", "write", "update", "merge", "delete", "refresh"], 6
    ):
        number = int(chance.integers(7))
        match kind:
            case "fts":
                column = str(chance.choice(["body", "title"]))
                steps.append(lambda b, c=column: b.create_fts_index("t", c, replace=True))
            case "vector":
                steps.append(lambda b: b.create_vector_index("t", "v", "ivf_flat", replace=True))
            case "write":
                more, last = rows(chance, last, 20), last + 20
                steps.append(lambda b, m=more: b.write("t", m))
            case "update":
                steps.append(lambda b, n=number: b.update("t", UPDATED, f"id % 7 = {n}"))
            case "merge":
                some = rows(chance, int(chance.integers(last - 15)), 15)
                steps.append(lambda b, s=some: b.merge_insert("t", s, on="id"))
            case "delete":
                steps.append(lambda b, n=number: b.delete_rows("t", f"id % 11 = {n}"))
            case _:
                steps.append(lambda b: b.update_indexes("t"))
    return steps


def distances(table: pa.Table, asked: Any, metric: str) -> dict[int, float]:
    """Return the distance of each row that has a vector, by its id."""
    found: dict[int, float] = {}
    for row in table.to_pylist():
        if row["v"] is None:
            continue
        v, q = np.array(row["v"]), np.array(asked)
        found[row["id"]] = {
            "l2": float(((v - q) ** 2).sum()),
            "cosine": 1 - float(v @ q / np.linalg.norm(v) / np.linalg.norm(q)),
            "dot": 1 - float(v @ q),
        }[metric]
    return found


@pytest.mark.parametrize("seed", range(8))
def test_lance_finds_what_the_model_finds(seed: int, tmp_path: Path) -> None:
    chance = np.random.default_rng(seed)
    both = [pennon.open(tmp_path), pennon.open(f"memory://{uuid.uuid4()}")]
    first, steps = rows(chance, 0, 60), history(chance)
    for backend in both:
        backend.create_table("t", first)
        for step in steps[:3]:
            step(backend)
        backend.create_tag("t", "old")
        backend.create_branch("t", "dev")
        backend.delete_rows("t", "id % 5 = 1", branch="dev")
        for step in steps[3:]:
            step(backend)
    for state in ({}, {"tag": "old"}, {"branch": "dev"}):
        for _ in range(5):
            asked, columns = query(chance), [["body"], ["title"], ["body", "title"]]
            options: Any = {"filter": chance.choice([None, "id % 3 = 0"]), "k": 1000, **state}
            where: Any = columns[chance.integers(3)]
            ours, model = (b.full_text_search("t", where, asked, **options) for b in both)
            assert sorted(ours["id"].to_pylist()) == sorted(model["id"].to_pylist()), asked
            few = both[0].full_text_search("t", where, asked, **{**options, "k": 3})
            assert few.equals(ours.slice(0, 3)), asked
        everything = both[0].scan(ScanRequest("t", **state)).read_all()
        for metric in METRICS:
            vector = chance.standard_normal(4)
            for filter, k in itertools.product((None, "id % 3 = 0"), (3, 1000)):
                options = {"filter": filter, "k": k, "metric": metric, "nprobes": 9, **state}
                exact = distances(everything, vector, metric)
                kept = [d for i, d in exact.items() if filter is None or i % 3 == 0]
                for backend in both:
                    found = backend.vector_search("t", "v", vector, **options)
                    near, ids = found["_distance"].to_pylist(), found["id"].to_pylist()
                    assert near == pytest.approx(sorted(kept)[:k], abs=1e-4)
                    assert near == pytest.approx([exact[i] for i in ids], abs=1e-4)
                    assert len(set(ids)) == len(ids)


def table(db: StorageBackend, count: int = 300) -> pa.Table:
    """Create ``t`` with vectors on a circle and numbered words."""
    angles = np.arange(count) / count * 6
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    data = pa.table(
        {
            "id": range(count),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 2),
            "body": [f"common word{n} tens{n // 10}" for n in range(count)],
        }
    )
    db.create_table("t", data)
    return data


@pytest.mark.parametrize("kind", ["ivf_flat", "ivf_pq", "ivf_hnsw_sq"])
def test_a_narrow_filter_and_deletes_leave_k_rows(kind: str, tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    table(db)
    db.create_vector_index("t", "v", kind)
    options: Any = {"k": 4, "columns": ["id"], "nprobes": 1}
    found = db.vector_search("t", "v", [1, 0], filter="id % 50 = 49", **options)
    assert set(found["id"].to_pylist()) <= {49, 99, 149, 199, 249, 299}
    assert found.num_rows == 4
    nearest = db.vector_search("t", "v", [1, 0], **options)["id"].to_pylist()
    db.delete_rows("t", pennon.col("id").is_in(nearest))
    found = db.vector_search("t", "v", [1, 0], **options)
    assert found.num_rows == 4
    assert not set(nearest) & set(found["id"].to_pylist())
    after = db.vector_search("t", "v", [1, 0], filter="id > 200", prefilter=False, **options)
    assert after.num_rows < 4


@pytest.mark.parametrize(
    ("kind", "metric"),
    [("float16", "l2"), ("float64", "dot"), ("uint8", "hamming"), ("lists", "cosine")],
)
def test_indexes_of_other_numbers(kind: str, metric: Any, tmp_path: Path) -> None:
    chance, count = np.random.default_rng(7), 200
    if kind == "lists":
        many = [
            chance.standard_normal((n % 3, 8)).astype(np.float32).tolist() for n in range(count)
        ]
        vectors: Any = pa.array(many, pa.list_(pa.list_(pa.float32(), 8)))
        asked: Any = chance.standard_normal((2, 8))
    else:
        numbers = chance.integers(0, 200, (count, 8)) / (1 if kind == "uint8" else 100)
        flat = pa.array(numbers.astype(kind).reshape(-1))
        vectors, asked = pa.FixedSizeListArray.from_arrays(flat, 8), numbers[3]
    data = pa.table({"id": range(count), "v": vectors})
    both = [pennon.open(tmp_path), pennon.open(f"memory://{uuid.uuid4()}")]
    for db in both:
        db.create_table("t", data.slice(0, 150))
        db.create_vector_index("t", "v", IvfFlat(metric=metric))
        db.write("t", data.slice(150))
    for filter in (None, "id % 3 = 0"):
        options: Any = {"filter": filter, "k": 20, "nprobes": 99, "refine_factor": 9}
        ours, model = (b.vector_search("t", "v", asked, **options) for b in both)
        wanted = model["_distance"].to_pylist()
        assert ours["_distance"].to_pylist() == pytest.approx(wanted, abs=2e-3)
    told = both[0].explain(VectorSearch("t", "v", asked))
    assert f"by {metric}" in told
    assert "'v_vector' (IVF_FLAT) is used; 50 rows not in it" in told


@pytest.mark.parametrize("filter", [None, "id >= 0", "body = 'cat dog'"])
@pytest.mark.parametrize("prefilter", [True, False])
def test_rows_that_a_compaction_dropped_take_no_place(
    filter: str | None, prefilter: bool, tmp_path: Path
) -> None:
    db = pennon.open(tmp_path)
    vectors = pa.array([[float(n), 1.0] for n in range(40)], pa.list_(pa.float32(), 2))
    bodies = ["cat dog" if n % 2 else "cat" for n in range(40)]
    db.create_table("t", pa.table({"id": range(40), "body": bodies, "v": vectors}))
    db.create_vector_index("t", "v", "ivf_flat")
    db.create_fts_index("t", "body")
    db.create_scalar_index("t", "id")
    db.create_scalar_index("t", "body", "bitmap")
    db.delete_rows("t", "id % 4 = 3")
    db.optimize_table("t")
    options: Any = {"filter": filter, "prefilter": prefilter, "columns": ["id"]}
    dogs = list(range(1, 40, 4))
    assert db.full_text_search("t", "body", "dog", k=3, **options)["id"].to_pylist() == dogs[:3]
    assert db.full_text_search("t", "body", "dog", k=40, **options)["id"].to_pylist() == dogs
    there = dogs if filter == "body = 'cat dog'" else [n for n in range(40) if n % 4 != 3]
    assert db.vector_search("t", "v", [0, 1], k=40, **options)["id"].to_pylist() == there
    both = db.vector_search("t", "v", [[0, 1], [0, 1]], k=40, **options)
    assert both["id"].to_pylist() == there * 2
    found = db.hybrid_search("t", "v", [0, 1], "body", "dog", k=40, **options)
    assert sorted(found["id"].to_pylist()) == there


@pytest.mark.parametrize("kind", ["ivf_pq", "ivf_sq", "ivf_rq", "ivf_hnsw_sq"])
def test_compressed_vectors_have_whole_distances(kind: str, tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    chance = np.random.default_rng(5)
    vectors, near = chance.standard_normal((400, 8)), chance.standard_normal(8)
    values = pa.array(vectors.tolist(), pa.list_(pa.float32(), 8))
    db.create_table("t", pa.table({"id": range(400), "a vector": values}))
    db.create_vector_index("t", "a vector", from_parameters(kind, {"metric": "cosine"}))  # pyright: ignore[reportArgumentType]
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(near)
    true = 1 - (vectors @ near) / lengths

    def search(**options: Any) -> tuple[list[int], list[float]]:
        found = db.vector_search("t", "a vector", near, columns=["id"], **options)
        return found["id"].to_pylist(), found["_distance"].to_pylist()

    ids, distances = search(k=20)
    assert distances == pytest.approx(true[ids].tolist(), abs=1e-5)
    for low, high in ((None, 0.4), (0.6, None), (0.3, 0.7)):
        above, below = true >= (-9 if low is None else low), true < (9 if high is None else high)
        found, _ = search(k=400, distance_range=(low, high))
        assert sorted(found) == np.flatnonzero(above & below).tolist()
        told = db.explain(VectorSearch("t", "a vector", near, distance_range=(low, high)))
        assert ("flat scan" in told) == (low is not None)
        assert ("index 'a vector_vector'" in told) == (low is None)
    assert "index 'a vector_vector'" in db.analyze(VectorSearch("t", "a vector", near))


def test_rows_of_several_vectors_are_found_through_an_index(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    chance = np.random.default_rng(0)
    several = pa.array(chance.random((300, 2, 8)).tolist(), pa.list_(pa.list_(pa.float32(), 8)))
    db.create_table("t", pa.table({"id": range(300), "v": several}))
    db.create_vector_index("t", "v")
    hits = 0
    for near in chance.random((10, 2, 8)):
        found, exact = (
            db.vector_search("t", "v", near, k=3, columns=["id"], use_index=through)
            for through in (True, False)
        )
        hits += len({*found["id"].to_pylist()} & {*exact["id"].to_pylist()})
    assert hits > 25


def test_lists_of_lists_hold_no_texts(tmp_path: Path) -> None:
    deep = pa.array([[["fox"]]], pa.list_(pa.list_(pa.string())))
    for db in (pennon.open(tmp_path), pennon.open(f"memory://{uuid.uuid4()}")):
        db.create_table("t", pa.table({"body": deep}))
        with pytest.raises(InvalidInput, match="no texts"):
            db.full_text_search("t", "body", "fox")


def test_room_is_made_for_no_more_rows_than_there_are(tmp_path: Path) -> None:
    """Lance aborts the process when it finds no memory for k * refine_factor rows."""
    db = pennon.open(tmp_path)
    table(db)
    db.create_vector_index("t", "v", "ivf_flat")
    most = 2**31 - 1
    found = db.vector_search("t", "v", [1, 0], k=most, refine_factor=most, nprobes=most)
    assert found.num_rows == 300
    assert db.full_text_search("t", "body", "common", k=most).num_rows == 300
    assert db.hybrid_search("t", "v", [1, 0], "body", "common", k=most).num_rows == 300


def test_explain_says_what_is_used(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    data = table(db)

    def told(request: Any) -> str:
        return db.explain(request).partition("\n    ")[0]

    assert "'v' has no vector index, so all 300 rows" in told(VectorSearch("t", "v", [1, 0]))
    assert "'body' has no text index" in told(TextSearch("t", "body", "common"))
    assert "no index is used" in told(ScanRequest("t", filter="id = 3"))
    db.create_vector_index("t", "v", "ivf_flat", name="near")
    db.create_fts_index("t", "body", name="words")
    db.create_scalar_index("t", "id", name="ids")
    assert "index 'near' (IVF_FLAT) is used and holds all rows" in told(
        VectorSearch("t", "v", [1, 0])
    )
    assert "index 'words' is used and holds all rows" in told(TextSearch("t", "body", "common"))
    assert "index 'ids' is used" in told(ScanRequest("t", filter="id = 3"))
    other = told(VectorSearch("t", "v", [1, 0], metric="cosine"))
    assert "flat scan: 'near' measures l2, so all 300 rows are compared" in other
    db.write("t", data.slice(0, 7))
    left = "7 rows not in it are scanned flat"
    both = told(HybridSearch("t", "v", [1, 0], "body", "common", filter="id > 3"))
    assert both.count(left) == 1
    assert left in told(TextSearch("t", "body", "common"))
    assert "flat scan: the texts of 1 fragments" in told(
        TextSearch("t", "body", Match("comon", fuzziness=1))
    )
    ran = db.analyze(HybridSearch("t", "v", [1, 0], "body", Match("comon", fuzziness=1)))
    assert "output_rows=" in ran
    assert db.full_text_search("t", "body", Match("comon", fuzziness=1), k=999).num_rows == 307


def test_other_text_indexes_are_heeded(tmp_path: Path) -> None:
    """What an index was told of words holds for the rows it lacks, and for wrong letters."""
    both = [pennon.open(tmp_path), pennon.open(f"memory://{uuid.uuid4()}")]
    for db in both:
        db.create_table("t", [{"id": 1, "body": "The Foxes"}, {"id": 2, "body": "the fox"}])
        db.create_fts_index(
            "t", "body", FullText(stem=False, lower_case=False, remove_stop_words=False)
        )
        db.write("t", [{"id": 3, "body": "The fox"}, {"id": 4, "body": "foxes"}])

        def found(query: Any, db: StorageBackend = db) -> list[int]:
            return sorted(db.full_text_search("t", "body", query)["id"].to_pylist())

        assert found("the") == [2]
        assert found("fox") == [2, 3]
        assert found("foxes") == [4]
        assert found(Match("fxxes", fuzziness=1)) == [4]
        assert found(Phrase("The fox")) == [3]


def test_of_two_indexes_the_older_is_used(tmp_path: Path) -> None:
    both = [pennon.open(tmp_path), pennon.open(f"memory://{uuid.uuid4()}")]
    for db in both:
        table(db)
        db.create_fts_index("t", "body", FullText(positions=False), name="z")
        db.create_fts_index("t", "body", FullText(stem=False), name="a")
        db.create_vector_index("t", "v", IvfFlat(metric="cosine"), name="z2")
        db.create_vector_index("t", "v", IvfFlat(metric="l2"), name="b")
        assert db.full_text_search("t", "body", "commons").num_rows == 10
        with pytest.raises(InvalidState, match="'z'"):
            db.full_text_search("t", "body", Phrase("common word1"))
        found = db.vector_search("t", "v", [2, 0], k=1)
        assert found["_distance"].to_pylist() == pytest.approx([0], abs=1e-6)
        db.create_fts_index("t", "body", FullText(positions=False), name="z", replace=True)
        assert db.full_text_search("t", "body", "commons").num_rows == 0
        assert db.full_text_search("t", "body", Phrase("common word1")).num_rows == 1


@pytest.mark.parametrize("kind", ["fts", "bitmap"])
def test_rows_that_moved_are_found_by_what_they_are(kind: str, tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": n, "s": f"s{n % 50}"} for n in range(1000)])
    if kind == "fts":
        db.create_fts_index("t", "s")
    else:
        db.create_scalar_index("t", "s", kind)
    db.merge_insert("t", [{"id": n, "s": "new"} for n in range(0, 300, 3)], on="id")
    db.update_indexes("t")
    left = [n for n in range(3, 1000, 50) if n >= 300 or n % 3]
    if kind == "fts":
        found = db.full_text_search("t", "s", "s3", k=1000)
    else:
        found = db.scan(ScanRequest("t", filter="s = 's3'")).read_all()
    assert sorted(found["id"].to_pylist()) == left


@pytest.mark.parametrize("kind", ["label_list", "fts", "ivf_flat"])
def test_updated_lists_are_found_by_what_they_are(kind: str, tmp_path: Path) -> None:
    """The index of a list is one of the list, not of the values in it."""
    db = pennon.open(tmp_path)
    inner = pa.list_(pa.list_(pa.float32(), 2))
    vectors = pa.array([[[n, 0.0]] for n in range(100)], inner)
    words = [[f"s{n % 50}"] for n in range(100)]
    db.create_table("t", pa.table({"id": range(100), "l": words, "v": vectors}))
    if kind == "label_list":
        db.create_scalar_index("t", "l", kind)
    elif kind == "fts":
        db.create_fts_index("t", "l")
    else:
        db.create_vector_index("t", "v", IvfFlat(metric="cosine"))
    new = {"l": "make_array('new')", "v": "make_array(make_array(0.0, 1.0))"}
    db.update("t", new, "id = 53")
    for _ in range(2):
        if kind == "label_list":
            found = db.scan(ScanRequest("t", filter="array_has(l, 's3')")).read_all()
        elif kind == "fts":
            found = db.full_text_search("t", "l", "s3")
        else:
            found = db.vector_search("t", "v", [0, 1], k=1)
        assert found["id"].to_pylist() == ([53] if kind == "ivf_flat" else [3])
        db.update_indexes("t")


@pytest.mark.parametrize("stable", [True, False])
def test_segments_of_another_tool_are_not_believed(
    stable: bool,
    tmp_path: Path,
) -> None:
    """Lance's own update of an index finds a row that was updated by what it was."""
    db = pennon.open(tmp_path)
    data = pa.table({"id": range(10), "body": [f"word{n} common" for n in range(10)]})
    where = db.namespace.declare_table("t").location
    lance.write_dataset(data, where, enable_stable_row_ids=stable)
    db.create_fts_index("t", "body")
    db.update("t", {"body": "'new'"}, "id % 3 = 0")
    there = lance.dataset(where)
    there.optimize.optimize_indices(num_indices_to_merge=0)
    raw = there.to_table(full_text_query=lance.query.MatchQuery("common", "body"), limit=99)
    assert raw.num_rows > 10
    found = db.full_text_search("t", "body", "common", k=99)
    assert sorted(found["id"].to_pylist()) == [1, 2, 4, 5, 7, 8]
    assert db.full_text_search("t", "body", "new")["id"].to_pylist() == [0, 3, 6, 9]
    assert "what they were" in db.explain(TextSearch("t", "body", "common"))


def test_text_without_an_index_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = pennon.open(tmp_path)
    table(db)
    monkeypatch.setattr(searches, "_MOST_TEXT", 2000)
    with pytest.raises(InvalidState, match="create_fts_index on 'body'"):
        db.full_text_search("t", "body", "common")
    assert db.full_text_search("t", "body", "common", filter="id < 20", k=99).num_rows == 20
    db.create_fts_index("t", "body")
    assert db.full_text_search("t", "body", "common", k=999).num_rows == 300


def test_names_that_results_have(tmp_path: Path) -> None:
    """Only other tools make tables with columns named as scores."""
    db = pennon.open(tmp_path)
    data = table(db)
    there = db.namespace.describe_table("t").location
    for name in ("_distance", "query_index"):
        new = data.append_column(name, pa.array(range(300)))
        lance.write_dataset(new, there, mode="overwrite")
        with pytest.raises(InvalidInput, match=name):
            db.vector_search("t", "v", [1, 0])
    found = db.vector_search("t", "v", [[1, 0], [0, 1]], k=1, columns=["id"])
    assert found["query_index"].to_pylist() == [0, 1]


def test_fields_of_structs(tmp_path: Path) -> None:
    both = [pennon.open(tmp_path), pennon.open(f"memory://{uuid.uuid4()}")]
    inner = pa.struct({"v": pa.list_(pa.float32(), 2), "body": pa.string()})
    data = pa.array([{"v": [0, n], "body": f"word{n} fox"} for n in range(4)], inner)
    for db in both:
        db.create_table("t", pa.table({"id": range(4), "doc": data}))
        found = db.vector_search("t", "doc.v", [0, 2.2], k=2, columns=["id"])
        assert found["id"].to_pylist() == [2, 3]
        found = db.full_text_search("t", "doc.body", "word3", columns=["id"])
        assert found["id"].to_pylist() == [3]
        db.create_fts_index("t", "doc.body")
        db.write("t", pa.table({"id": [9], "doc": data.slice(3)}))
        found = db.full_text_search("t", "doc.body", "word3", columns=["id"])
        assert found["id"].to_pylist() == [3, 9]


def test_searches_say_nothing_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    db = pennon.open(tmp_path)
    table(db)
    capfd.readouterr()
    db.hybrid_search("t", "v", [1, 0], "body", "common")
    db.vector_search("t", "v", [[1, 0], [0, 1]], columns={"n": "id + 1"})
    assert capfd.readouterr() == ("", "")
