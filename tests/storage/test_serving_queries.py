"""Queries over ``to_lance()``: vectors, texts, both, and how they are answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lance_namespace as spec
import numpy as np
import pyarrow as pa
import pytest
from serving_cases import PLACES, code, ipc, place, rows_of

import pennon
from pennon.namespaces import Namespace

TEXTS = (
    "the quick brown fox",
    "the lazy dog sleeps",
    "a quick dog runs",
    "the fox sleeps",
    "quick quick fox",
)
DOCS = pa.table(
    {
        "id": range(5),
        "title": ["fox", "dog", "dog", "fox", "pair"],
        "text": TEXTS,
        "vector": pa.array([[float(i), 0.0] for i in range(5)], pa.list_(pa.float32(), 2)),
    }
)
NEAR_ONE = {"single_vector": [1.2, 0.0]}


@pytest.fixture(params=PLACES)
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with place(request) as namespace:
        yield namespace


@pytest.fixture
def t(namespace: Namespace) -> Any:
    adapter = namespace.to_lance()
    adapter.create_table({"id": ["t"]}, ipc(DOCS))
    return adapter


def ask(t: Any, **asked: Any) -> list[dict[str, Any]]:
    columns = {"column_names": ["id"]}
    return rows_of(t.query_table({"id": ["t"], "k": 3, "vector": {}, "columns": columns, **asked}))


def found(t: Any, **asked: Any) -> list[int]:
    return [row["id"] for row in ask(t, **asked)]


def words(query: str, **options: Any) -> dict[str, Any]:
    return {"full_text_query": {"string_query": {"query": query, **options}}}


def structured(**query: Any) -> dict[str, Any]:
    return {"full_text_query": {"structured_query": {"query": query}}}


# -- vectors -------------------------------------------------------------------------------------


def test_vector(t: Any) -> None:
    rows = ask(t, vector=NEAR_ONE)
    assert [row["id"] for row in rows] == [1, 2, 0]
    assert [round(row["_distance"], 2) for row in rows] == [0.04, 0.64, 1.44]
    assert found(t, vector=NEAR_ONE, offset=1, k=2) == [2, 0]
    assert found(t, vector=NEAR_ONE, k=0) == [1, 2, 0, 3, 4]
    assert found(t, vector=NEAR_ONE, offset=9) == []
    assert found(t, vector=NEAR_ONE, filter="id > 1", k=2) == [2, 3]
    assert found(t, vector=NEAR_ONE, filter="id > 1", k=2, prefilter=True) == [2, 3]
    assert found(t, vector=NEAR_ONE, filter="id > 1", k=2, prefilter=False) == [2]
    assert found(t, vector=NEAR_ONE, lower_bound=0.1, upper_bound=1.44, k=5) == [2]
    assert found(t, vector=NEAR_ONE, upper_bound=1, k=5) == [1, 2]
    assert found(t, vector={"single_vector": [9.0, 0.0]}, distance_type="DOT", k=1) == [4]
    assert "_rowid" in ask(t, vector=NEAR_ONE, with_row_id=True)[0]
    named = {"column_names": ["id", "_distance", "_rowid"]}
    assert set(ask(t, vector=NEAR_ONE, columns=named)[0]) == {"id", "_distance", "_rowid"}
    aliases = {"column_aliases": {"twice": "id * 2"}}
    assert [row["twice"] for row in ask(t, vector=NEAR_ONE, columns=aliases)] == [2, 4, 0]
    assert set(ask(t, vector=NEAR_ONE, columns=None)[0]) == {*DOCS.schema.names, "_distance"}
    request = spec.QueryTableRequest(id=["t"], k=1, vector=NEAR_ONE, vector_column="vector")
    assert rows_of(t.query_table(request))[0]["id"] == 1


def test_several_vectors(t: Any) -> None:
    vectors = {"multi_vector": [[1.2, 0.0], [3.9, 0.0]]}
    rows = ask(t, vector=vectors, k=2)
    assert [(row["query_index"], row["id"]) for row in rows] == [(0, 1), (0, 2), (1, 4), (1, 3)]
    rows = ask(t, vector=vectors, k=1, offset=1)
    assert [(row["query_index"], row["id"]) for row in rows] == [(0, 2), (1, 3)]


def test_vector_by_index(t: Any) -> None:
    t.create_table_index({"id": ["t"], "column": "vector", "index_type": "IVF_FLAT"})
    for tuning in (
        *({"nprobes": 3}, {"minimum_nprobes": 1, "maximum_nprobes": 4}, {"nprobes": 0}),
        *({"refine_factor": 2}, {"fast_search": True}, {"bypass_vector_index": True}),
    ):
        assert found(t, vector=NEAR_ONE, **tuning) == [1, 2, 0]
    t.insert_into_table({"id": ["t"]}, ipc(DOCS.slice(1, 1)))
    assert found(t, vector=NEAR_ONE, k=2) == found(t, vector=NEAR_ONE, k=2, fast_search=True)


def test_vector_past_its_index(namespace: Namespace) -> None:
    numbers = np.random.default_rng(3).normal(size=(512, 16)).astype(np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), 16)
    n = namespace.to_lance()
    n.create_table({"id": ["t"]}, ipc(pa.table({"id": range(512), "vector": vectors})))
    coarse = {"num_partitions": 1, "num_sub_vectors": 1, "distance_type": "cosine"}
    n.create_table_index({"id": ["t"], "column": "vector", "index_type": "IVF_PQ", **coarse})
    query = numbers[7] + numbers[8]
    away = 1 - numbers @ query / np.linalg.norm(numbers, axis=1) / np.linalg.norm(query)
    exact = np.argsort(away)[:20].tolist()
    asked = {"vector": {"single_vector": query.tolist()}, "k": 20}
    assert found(n, **asked, bypass_vector_index=True) == exact
    plan = n.explain_table_query_plan(
        {"id": ["t"], "query": {**asked, "bypass_vector_index": True}}
    )
    assert "flat scan" in plan
    if namespace.kind != "memory":
        assert found(n, **asked) != exact
        assert "flat scan" not in n.explain_table_query_plan({"id": ["t"], "query": asked})


def test_vector_of_a_state(t: Any) -> None:
    t.create_table_branch({"id": ["t"], "name": "dev"})
    t.delete_from_table({"id": ["t"], "branch": "dev", "predicate": "id = 1"})
    t.delete_from_table({"id": ["t"], "predicate": "id = 2"})
    assert found(t, vector=NEAR_ONE) == [1, 0, 3]
    assert found(t, vector=NEAR_ONE, branch="dev") == [2, 0, 3]
    assert found(t, vector=NEAR_ONE, version=1) == [1, 2, 0]


def test_vectors_that_are_refused(t: Any) -> None:
    def refused(**asked: Any) -> int:
        return code(lambda: ask(t, vector=NEAR_ONE, **asked))

    assert refused(vector_column="no") == 12
    assert refused(vector_column="text") == 13
    assert refused(distance_type="manhattan") == 13
    assert refused(filter="no > 1") == 12
    assert refused(columns={"column_names": ["no"]}) == 12
    assert refused(lower_bound=2, upper_bound=1) == 13
    assert refused(branch="no") == 22
    assert refused(version=9) == 11
    assert refused(id=["no"]) == 4
    assert code(lambda: ask(t, vector={"single_vector": [1.0]})) == 13
    assert code(lambda: ask(t, vector={"single_vector": [1.0], "multi_vector": [[1.0]]})) == 13
    assert code(lambda: ask(t, vector={"multi_vector": [[1.0, 0.0], [1.0]]})) == 13


def test_the_column_of_vectors_is_found(namespace: Namespace) -> None:
    n = namespace.to_lance()
    pair = pa.array([[1.0, 0.0]], pa.list_(pa.float32(), 2))
    n.create_table({"id": ["t"]}, ipc(pa.table({"id": [1], "emb": pair})))
    assert found(n, vector=NEAR_ONE) == [1]
    n.create_table({"id": ["two"]}, ipc(pa.table({"id": [1], "a": pair, "b": pair})))
    assert code(lambda: ask(n, id=["two"], vector=NEAR_ONE)) == 13
    n.create_table({"id": ["none"]}, ipc(pa.table({"id": [1]})))
    assert code(lambda: ask(n, id=["none"], vector=NEAR_ONE)) == 13


# -- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("indexed", [False, True])
def test_texts(t: Any, indexed: bool) -> None:
    if indexed:
        asked = {"id": ["t"], "column": "text", "index_type": "FTS", "stem": False}
        t.create_table_index({**asked, "with_position": True})
    text = {"columns": ["text"]}
    rows = ask(t, **words("quick", **text))
    assert {row["id"] for row in rows} == {0, 2, 4}
    assert [row["_score"] for row in rows] == sorted((r["_score"] for r in rows), reverse=True)
    first = rows[0]["id"]
    assert found(t, **words("quick", **text), k=1) == [first]
    assert found(t, **words("quick", **text), offset=1) == [row["id"] for row in rows[1:]]
    assert sorted(found(t, **words("quick", **text), filter="id > 0")) == [2, 4]
    assert sorted(found(t, **words("quick dog", **text), k=0)) == [0, 1, 2, 4]
    match = {"column": "text", "terms": "quick dog", "operator": "And"}
    assert found(t, **structured(match=match)) == [2]
    assert found(t, **structured(match={"column": "text", "terms": "slep"})) == []
    fuzzy = {"column": "text", "terms": "sleep", "fuzziness": 1}
    assert sorted(found(t, **structured(match=fuzzy))) == [1, 3]
    assert found(t, **structured(phrase={"column": "text", "terms": "brown fox"})) == [0]
    dog, fox, quick = ({"match": {"column": "text", "terms": w}} for w in ("dog", "fox", "quick"))
    both = {"must": [quick], "must_not": [fox], "should": []}
    assert found(t, **structured(boolean=both)) == [2]
    less = {"positive": quick, "negative": fox, "negative_boost": 0.9}
    assert found(t, **structured(boost=less))[0] == 2
    queries = [dog["match"], fox["match"]]
    assert sorted(found(t, k=9, **structured(multi_match={"match_queries": queries}))) == [
        *range(5)
    ]
    assert set(ask(t, **words("fox", **text), columns={"column_names": ["id", "_score"]})[0]) == {
        *("id", "_score")
    }


def test_columns_of_texts_are_found(t: Any) -> None:
    assert sorted(found(t, k=9, **words("pair"))) == [4]
    assert sorted(found(t, k=9, **words("dog"))) == [1, 2]
    t.create_table_index({"id": ["t"], "column": "text", "index_type": "FTS"})
    assert found(t, k=9, **words("pair")) == []
    assert sorted(found(t, k=9, **structured(match={"terms": "dog"}))) == [1, 2]


def test_texts_that_are_refused(t: Any) -> None:
    def refused(**asked: Any) -> int:
        return code(lambda: ask(t, **asked))

    assert refused(**words("")) == 13
    assert refused(**words("fox", columns=["no"])) == 12
    assert refused(**words("fox", columns=["id"])) == 13
    assert refused(full_text_query={}) == 13
    assert refused(**structured()) == 13
    assert refused(**structured(match={"terms": "a"}, phrase={"terms": "a"})) == 13
    assert refused(**structured(match={"terms": "a", "operator": "xor"})) == 13
    assert refused(**words("fox", columns=["text"]), filter="no = 1") == 12
    assert refused(**words("fox"), version=9) == 11


# -- both ----------------------------------------------------------------------------------------


def test_hybrid(t: Any) -> None:
    rows = ask(t, vector=NEAR_ONE, **words("dog", columns=["text"]))
    assert rows[0]["id"] == 1
    assert {"_distance", "_score", "_relevance_score"} <= set(rows[0])
    assert found(t, vector=NEAR_ONE, offset=1, **words("dog", columns=["text"]))[0] == rows[1]["id"]
    bounded = {"vector": NEAR_ONE, "lower_bound": 1, **words("dog", columns=["text"])}
    assert code(lambda: ask(t, **bounded)) == 13
    past = {"vector": NEAR_ONE, "bypass_vector_index": True, **words("dog", columns=["text"])}
    assert code(lambda: ask(t, **past)) == 13


# -- how -----------------------------------------------------------------------------------------


def test_explain_and_analyze(t: Any, namespace: Namespace) -> None:
    queries: list[dict[str, Any]] = [
        {"k": 0, "vector": {}, "filter": "id > 1"},
        {"k": 2, "vector": NEAR_ONE},
        {"k": 2, "vector": {}, **words("fox", columns=["text"])},
        {"k": 2, "vector": NEAR_ONE, **words("fox", columns=["text"])},
    ]
    for query in queries:
        plan = t.explain_table_query_plan({"id": ["t"], "query": query})
        assert isinstance(plan, str)
        assert "scan" in plan
        done = t.analyze_table_query_plan({"id": ["t"], **query})
        assert isinstance(done, str)
        assert len(done) >= len("scan")
        missing = {"id": ["no"], "query": query}
        assert code(t.explain_table_query_plan, missing) == 4
        branch = {"id": ["t"], "query": query, "branch": "no"}
        assert code(t.explain_table_query_plan, branch) == 22
    bad = {"id": ["t"], "k": 2, "vector": {}, "filter": "no > 1"}
    assert code(t.analyze_table_query_plan, bad) == 12
    assert pennon.open(namespace).get_table_version("t") == 1
