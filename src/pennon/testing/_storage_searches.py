"""Conformance of searches: what is found, in which order, and of which state of the table."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    InvalidState,
    PennonError,
    TableNotFound,
    TagNotFound,
    VersionNotFound,
)
from pennon.expr import col
from pennon.storage.abc import (
    HybridSearch,
    ScanRequest,
    StorageBackend,
    TextSearch,
    VectorSearch,
)
from pennon.storage.indexing import FullText
from pennon.storage.searching import Boolean, Boost, Match, Phrase, Weighted
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_branches import refused

__all__ = ["SearchCases"]

TEXTS = [
    "The quick brown fox",
    "Foxes jump over lazy dogs",
    None,
    "the lazy dog sleeps",
    "a dog and a fox, quick friends",
    "café au lait",
]
SPOTS = [[0.0, 0.0], [1.0, 0.0], None, [3.0, 4.0], [0.0, 2.0], [1.0, 0.0]]


def documents() -> Any:
    """Return six rows with texts and vectors, a NULL among each."""
    import pyarrow as pa

    return pa.table(
        {
            "id": range(6),
            "body": pa.array(TEXTS, pa.string()),
            "title": ["fox", "fox", "fox", "dog", "dog", "café"],
            "spot": pa.array(SPOTS, pa.list_(pa.float32(), 2)),
        }
    )


def ids(found: Any) -> list[int]:
    """Return the ids of the rows of a result."""
    return found["id"].to_pylist()


class SearchCases(StorageCases):
    """Cases on searches, mixed into the suite."""

    # -- vectors -----------------------------------------------------------------------------------

    def test_the_nearest_come_first(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        found = backend.vector_search("t", "spot", [0.0, 0.0])
        assert found.schema.names == ["id", "body", "title", "spot", "_distance"]
        assert ids(found) == [0, 1, 5, 4, 3]
        assert found["_distance"].to_pylist() == [0, 1, 1, 4, 25]
        assert ids(backend.vector_search("t", "spot", [0, 0], k=2)) == [0, 1]
        found = backend.vector_search("t", "spot", [1.0, 0.0], metric="dot", k=2)
        assert (ids(found), found["_distance"].to_pylist()) == ([3, 1], [-2, 0])
        found = backend.vector_search("t", "spot", [2.0, 0.0], metric="cosine", columns=["id"])
        assert ids(found) == [1, 5, 3, 4]
        assert found["_distance"].to_pylist() == pytest.approx([0, 0, 0.4, 1], abs=1e-6)
        near = backend.vector_search("t", "spot", [0.0, 0.0], distance_range=(1, 25))
        assert ids(near) == [1, 5, 4]
        assert ids(backend.vector_search("t", "spot", [0.0, 0.0], distance_range=(None, 1))) == [0]

    def test_what_a_search_returns(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        found = backend.vector_search("t", "spot", [0, 0], k=1, columns={"x": col("id") + 7})
        assert found.to_pylist() == [{"x": 7, "_distance": 0}]
        found = backend.vector_search("t", "spot", [0, 0], k=3, columns=["id"], with_row_id=True)
        assert found.schema.names == ["id", "_rowid", "_distance"]
        row_ids = found["_rowid"].to_pylist()
        assert ids(backend.take("t", row_ids=row_ids)) == ids(found)
        found = backend.full_text_search("t", "body", "lait", columns={"x": "id * 2"})
        assert [(r["x"], r["_score"] > 0) for r in found.to_pylist()] == [(10, True)]
        found = backend.full_text_search("t", "body", "dog", columns=["id"], with_row_id=True)
        assert found.schema.names == ["id", "_rowid", "_score"]
        assert ids(backend.take("t", row_ids=found["_rowid"].to_pylist())) == ids(found)

    def test_several_query_vectors(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        found = backend.vector_search(
            "t", "spot", [[0, 0], [3, 4]], k=2, columns=["id"], filter="id <> 1"
        )
        assert found.to_pylist() == [
            {"query_index": 0, "id": 0, "_distance": 0},
            {"query_index": 0, "id": 5, "_distance": 1},
            {"query_index": 1, "id": 3, "_distance": 0},
            {"query_index": 1, "id": 4, "_distance": 13},
        ]
        one = backend.vector_search("t", "spot", [[0, 0]], k=1, columns=["id"])
        assert one.to_pylist() == [{"query_index": 0, "id": 0, "_distance": 0}]
        assert one.schema.equals(found.schema)

    @pytest.mark.parametrize("kind", ["float16", "float64", "uint8"])
    def test_numbers_of_vectors(self, backend: StorageBackend, kind: str) -> None:
        import pyarrow as pa

        value = getattr(pa, kind)()
        high = 255 if kind == "uint8" else 2048 if kind == "float16" else 2**27 + 1
        vectors = pa.array([[0, 7], None, [high, 3], [1, 7]], pa.list_(value, 2))
        backend.create_table("t", pa.table({"id": range(4), "v": vectors}))
        found = backend.vector_search("t", "v", [high, 3], columns=["id"])
        if kind == "uint8":
            assert found["_distance"].to_pylist() == [0, 8, 9]
            assert ids(found) == [2, 3, 0]
        else:
            assert ids(found)[0] == 2
            assert found["_distance"][0].as_py() == 0
            both = backend.vector_search("t", "v", [[high, 3], [0, 7]], columns=["id"], k=1)
            assert both["_distance"].to_pylist() == [0, 0]
        refused(InvalidOption, lambda: backend.vector_search("t", "v", [1, 1], metric=_other(kind)))
        wrong = {"uint8": [1.5, 0], "float16": [1e6, 0], "float64": [math.inf, 0]}[kind]
        refused(InvalidInput, lambda: backend.vector_search("t", "v", wrong))

    def test_rows_with_several_vectors(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        kind = pa.list_(pa.list_(pa.float32(), 2))
        many = pa.array([[[0, 0], [9, 9]], None, [[1, 1]], [[0, 1], [5, 5], [8, 8]]], kind)
        backend.create_table("t", pa.table({"id": range(4), "v": many}))
        found = backend.vector_search("t", "v", [[0, 0], [9, 9]], columns=["id"])
        assert found.to_pylist() == [
            {"id": 0, "_distance": 0},
            {"id": 3, "_distance": 1 + 2},
            {"id": 2, "_distance": 2 + 128},
        ]
        assert ids(backend.vector_search("t", "v", [0, 1], k=1)) == [3]

    def test_vector_searches_that_cannot_be(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        wrong: list[tuple[Any, dict[str, Any]]] = [
            *((InvalidInput, {"query": q}) for q in ([1], [1, 2, 3], [], [[]], "ab", None, 3.0)),
            *((InvalidInput, {"query": q}) for q in ([math.nan, 0], [None, 1], [[1, 2], [1]])),
            (InvalidInput, {"query": [1e300, 0]}),
            (InvalidInput, {"column": "id"}),
            (ColumnNotFound, {"column": "Spot"}),
            (ColumnNotFound, {"columns": ["nothere"]}),
            (ColumnNotFound, {"columns": {"x": "nothere + 1"}}),
            (InvalidInput, {"columns": {"x": "1 / (id - id)"}}),
            (InvalidFilter, {"filter": "nothere > 1"}),
            (InvalidFilter, {"filter": "1 / (id - id) > 1"}),
            *((InvalidOption, {"k": k}) for k in (0, -1, 1.5, True, 2**40)),
            *((InvalidOption, {"metric": m}) for m in ("hamming", "L2", 3)),
            *((InvalidOption, {n: 0}) for n in ("nprobes", "refine_factor", "ef")),
            (InvalidOption, {"ef": 9}),
            *((InvalidOption, {"distance_range": r}) for r in ((2, 1), (1,), 3, (math.nan, 1))),
            (InvalidOption, {"columns": ["_distance"]}),
            (InvalidOption, {"columns": []}),
            (InvalidOption, {"version": 1, "tag": "x"}),
            (VersionNotFound, {"version": 9}),
            (TagNotFound, {"tag": "nothere"}),
            (BranchNotFound, {"branch": "nothere"}),
            (TableNotFound, {"table": "nothere"}),
        ]
        for error, options in wrong:
            asked = {"table": "t", "column": "spot", "query": [0, 0], **options}
            refused(error, lambda a=asked: backend.vector_search(**a))

    # -- texts -------------------------------------------------------------------------------------

    @pytest.mark.parametrize("indexed", [False, True])
    def test_words(self, backend: StorageBackend, indexed: bool) -> None:  # noqa: FBT001
        """A text index makes no difference to what is found."""
        backend.create_table("t", documents())
        if indexed:
            backend.create_fts_index("t", "body")
            backend.create_fts_index("t", "title")

        def found(query: Any, column: Any = "body", **options: Any) -> list[int]:
            return sorted(ids(backend.full_text_search("t", column, query, **options)))

        fox, dog = Match("fox"), Match("dog")
        assert found("FOX") == found("fox jumped friends the") == [0, 1, 4]
        assert found("cafe") == [5]
        assert found(Match("quick fox", operator="and")) == [0, 4]
        assert found(Match("qiuck", fuzziness=2)) == [0, 4]
        assert found(Match("fxo")) == found(Match("qiuck", fuzziness=2, prefix_length=2)) == []
        assert found(Phrase("lazy dog")) == [1, 3]
        assert found(Phrase("dog fox")) == []
        assert found(Phrase("dog fox", slop=3)) == [4]
        assert found(Boolean(must=[dog], must_not=[fox])) == [3]
        assert found(Boolean(must=[dog], should=[fox])) == [1, 3, 4]
        assert found(Boolean(should=[Match("lait"), Phrase("brown fox")])) == [0, 5]
        assert found("cafe dog", ["body", "title"]) == [1, 3, 4, 5]
        both = Boolean(must=(Match("quick", "body"), Match("dog", "title")))
        assert found(both, None) == [4]
        ranked = ids(backend.full_text_search("t", "body", Boost(dog, fox)))
        assert ranked[0] == 3
        assert sorted(ranked) == [1, 3, 4]
        assert found("the") == found("...") == found("zebra") == []
        assert found("fox", filter="id > 0", k=1) in ([1], [4])

    def test_scores(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        found = backend.full_text_search("t", "body", "lazy sleeps", columns=["id"])
        assert found.schema.names == ["id", "_score"]
        assert ids(found) == [3, 1]
        scores = found["_score"].to_pylist()
        assert scores == sorted(scores, reverse=True)
        double = backend.full_text_search("t", "body", Match("lazy sleeps", boost=2.0))
        assert double["_score"].to_pylist() == pytest.approx([2 * s for s in scores])
        same = [{"id": n, "body": "one text"} for n in range(40)]
        backend.create_table("u", same)
        assert ids(backend.full_text_search("u", "body", "text", k=7)) == list(range(7))
        backend.create_fts_index("u", "body")
        assert ids(backend.full_text_search("u", "body", "text", k=7)) == list(range(7))

    def test_text_searches_that_cannot_be(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        wrong: list[tuple[Any, dict[str, Any]]] = [
            *((InvalidInput, {"query": q}) for q in ("", " ", 3, None)),
            (InvalidInput, {"column": "id"}),
            (InvalidInput, {"column": "spot"}),
            (ColumnNotFound, {"column": "nothere"}),
            (ColumnNotFound, {"query": Match("fox", "nothere")}),
            (ColumnNotFound, {"columns": ["nothere"]}),
            (ColumnNotFound, {"columns": {"x": "nothere"}}),
            (InvalidFilter, {"filter": "nothere > 1"}),
            *((InvalidOption, {"column": c}) for c in (None, [], ["body", "body"], 3, [3])),
            (InvalidOption, {"k": 0}),
            (InvalidOption, {"columns": ["_score"]}),
            (VersionNotFound, {"version": 9}),
            (TableNotFound, {"table": "nothere"}),
        ]
        for error, options in wrong:
            asked = {"table": "t", "column": "body", "query": "fox", **options}
            refused(error, lambda a=asked: backend.full_text_search(**a))
        for make, error in (
            (lambda: Match("x", fuzziness=3), InvalidOption),
            (lambda: Match("x", operator="xor"), InvalidOption),  # type: ignore[arg-type]
            (lambda: Match("x", boost=-1.0), InvalidOption),
            (lambda: Phrase("x", slop=-1), InvalidOption),
            (lambda: Phrase(" "), InvalidInput),
            (lambda: Boolean(must_not=[Match("x")]), InvalidInput),
            (lambda: Boolean(must=["x"]), InvalidInput),  # type: ignore[list-item]
            (lambda: Boolean(must=Match("x")), InvalidInput),  # type: ignore[arg-type]
            (lambda: Boost(Match("a"), Match("b"), math.inf), InvalidOption),
            (lambda: Boost("a", "b"), InvalidInput),  # type: ignore[arg-type]
        ):
            refused(error, make)
        backend.create_fts_index("t", "body", FullText(positions=False))
        message = refused(
            InvalidState, lambda: backend.full_text_search("t", "body", Phrase("lazy dog"))
        )
        assert "positions=True" in message

    # -- both --------------------------------------------------------------------------------------

    def test_hybrid(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        found = backend.hybrid_search("t", "spot", [3, 4], "body", "sleeps", columns=["id"])
        assert found.schema.names == ["id", "_distance", "_score", "_relevance_score"]
        assert ids(found) == [3, 4, 1, 5, 0]
        assert found["_score"].is_null().to_pylist() == [False, True, True, True, True]
        rank = 1 / 61
        expected = [2 * rank, 1 / 62, 1 / 63, 1 / 63, 1 / 65]
        assert found["_relevance_score"].to_pylist() == pytest.approx(expected)
        weighted = backend.hybrid_search(
            "t", "spot", [0, 0], "body", "quick", k=3, reranker=Weighted(0.25), with_row_id=True
        )
        assert weighted.schema.names[-4:] == ["_rowid", "_distance", "_score", "_relevance_score"]
        assert ids(weighted)[:2] == [0, 4]
        assert weighted["_relevance_score"][0].as_py() == pytest.approx(1.0)
        some = backend.hybrid_search("t", "spot", [0, 0], "body", "fox", filter=col("id") > 3)
        assert sorted(ids(some)) == [4, 5]

    def test_a_reranker_of_ones_own(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())

        class Oldest:
            def rerank(self, candidates: Any, search: HybridSearch) -> Any:
                assert candidates.schema.names == ["id", "_distance", "_score"]
                assert search.text == "dog"
                return [-n for n in candidates["id"].to_pylist()]

        class Broken:
            answer: Any = None

            def rerank(self, candidates: Any, search: HybridSearch) -> Any:
                assert candidates.num_rows == 5 == search.k - 5
                return self.answer

        asked: Any = ("t", "spot", [0, 0], "body", "dog")
        found = backend.hybrid_search(*asked, columns=["id"], reranker=Oldest(), k=4)
        assert ids(found) == [0, 1, 3, 4]
        broken = Broken()
        for broken.answer in (None, [1.0], "abc", [math.nan] * 5, [[1.0]] * 5):
            refused(InvalidInput, lambda: backend.hybrid_search(*asked, reranker=broken))
        for options in ({"reranker": "rrf"}, {"k": 60, "candidates": 50}, {"candidates": 0}):
            refused(InvalidOption, lambda o=options: backend.hybrid_search(*asked, **o))
        refused(InvalidInput, lambda: backend.hybrid_search("t", "spot", [[0, 0]], "body", "dog"))

    # -- states of the table -----------------------------------------------------------------------

    def test_searches_see_one_state(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        backend.create_fts_index("t", "body")
        backend.create_vector_index("t", "spot", "ivf_flat")
        before = backend.get_table_version("t")
        backend.create_tag("t", "v1")
        backend.create_branch("t", "dev")

        def near(**options: Any) -> list[int]:
            return ids(backend.vector_search("t", "spot", [0, 0], k=2, **options))

        def good(**options: Any) -> list[int]:
            return sorted(ids(backend.full_text_search("t", "body", "fox", **options)))

        backend.delete_rows("t", "id = 0")
        backend.update("t", {"body": "'a fox at last'", "spot": "[0.5, 0.0]"}, "id = 3")
        new = documents().slice(0, 1).set_column(0, "id", [[9]])
        backend.write("t", new)
        assert near() == [9, 3]
        assert good() == [1, 3, 4, 9]
        for state in ({"version": before}, {"tag": "v1"}, {"branch": "dev"}):
            assert near(**state)[0] == 0
            assert good(**state) == [0, 1, 4]
        backend.update_indexes("t")
        assert near() == [9, 3]
        assert good() == [1, 3, 4, 9]
        backend.update("t", {"body": "'only dogs'"}, "id = 3", branch="dev")
        backend.delete_rows("t", "id = 4", branch="dev")
        assert good(branch="dev") == [0, 1]
        assert good() == [1, 3, 4, 9]

    def test_an_empty_table(self, backend: StorageBackend) -> None:
        backend.create_table("t", schema=documents().schema)
        assert backend.vector_search("t", "spot", [0, 0]).num_rows == 0
        assert backend.full_text_search("t", "body", "fox").num_rows == 0
        assert backend.full_text_search("t", "body", Match("fxo", fuzziness=1)).num_rows == 0
        found = backend.hybrid_search("t", "spot", [0, 0], "body", "fox", columns=["id"])
        assert found.schema.names == ["id", "_distance", "_score", "_relevance_score"]
        assert found.num_rows == 0

    def test_how_requests_are_answered(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        requests: list[Any] = [
            "t",
            ScanRequest("t", filter=col("id") > 2),
            VectorSearch("t", "spot", [0, 0], filter="id > 2"),
            TextSearch("t", "body", Match("fxo", fuzziness=1), filter="id > 2"),
            HybridSearch("t", "spot", [0, 0], "body", "fox", filter="id > 2"),
        ]
        for request in requests:
            for told in (backend.explain(request), backend.analyze(request)):
                assert "flat scan" in told
                assert request == "t" or "id > 2" in told.replace("`", "").replace("(", "")
        refused(TableNotFound, lambda: backend.explain("nothere"))
        refused(ColumnNotFound, lambda: backend.analyze(VectorSearch("t", "nothere", [0, 0])))

    def test_explain_of_what_cannot_be_answered(self, backend: StorageBackend) -> None:
        backend.create_table("t", documents())
        wrong: dict[type[PennonError], list[Any]] = {
            InvalidFilter: [
                ScanRequest("t", filter="nothere > 1"),
                VectorSearch("t", "spot", [1, 0], filter="nothere > 1"),
            ],
            InvalidInput: [VectorSearch("t", "id", [1, 0]), TextSearch("t", "id", "a")],
            ColumnNotFound: [
                ScanRequest("t", columns=["nothere"]),
                ScanRequest("t", columns={"a": "nothere"}),
                ScanRequest("t", order_by="nothere"),
                VectorSearch("t", "nothere", [1, 0]),
                TextSearch("t", "nothere", "a"),
                HybridSearch("t", "spot", [1, 0], "nothere", "a"),
            ],
        }
        for error, requests in wrong.items():
            for request in requests:
                refused(error, lambda r=request: backend.explain(r))


def _other(kind: str) -> Any:
    return "l2" if kind == "uint8" else "hamming"
