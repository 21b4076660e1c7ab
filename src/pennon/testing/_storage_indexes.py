"""Conformance of indexes."""

from __future__ import annotations

from typing import Any

import pytest

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    IndexAlreadyExists,
    IndexNotFound,
    InvalidInput,
    InvalidOption,
    TableNotFound,
)
from pennon.storage.abc import ColumnChange, IndexProgress, ScanRequest, StorageBackend
from pennon.storage.indexing import BTree, FullText, IvfFlat, IvfPq, VectorIndex, ZoneMap
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_branches import refused

__all__ = ["IndexCases"]

COUNT = 300


def rows(first: int = 0, count: int = COUNT) -> Any:
    """Rows with a column for every kind of index."""
    import numpy as np
    import pyarrow as pa

    numbers = np.random.default_rng(first).standard_normal(count * 8).astype("f4")
    return pa.table(
        {
            "id": pa.array(range(first, first + count), pa.int64()),
            "lang": pa.array([("en", "fr", None)[n % 3] for n in range(count)], pa.string()),
            "body": pa.array([f"the word{n % 7} and text {n}" for n in range(count)], pa.string()),
            "tags": pa.array([[f"t{n % 5}", "all"] for n in range(count)], pa.list_(pa.string())),
            "vec": pa.FixedSizeListArray.from_arrays(pa.array(numbers), 8),
        }
    )


class IndexCases(StorageCases):
    """Cases on indexes, mixed into the suite."""

    def names(self, backend: StorageBackend, table: str = "t", **ref: Any) -> list[str]:
        """Return the names of the indexes of a table."""
        return [i.name for i in backend.list_indexes(table, **ref)]

    @pytest.mark.parametrize(
        ("column", "kind", "where"),
        [
            ("id", "btree", "id BETWEEN 40 AND 90"),
            ("lang", "bitmap", "lang = 'fr'"),
            ("tags", "label_list", "array_has(tags, 't3')"),
            ("body", "ngram", "contains(body, 'text 12')"),
            ("id", ZoneMap(rows_per_zone=64), "id > 250"),
            ("id", "bloomfilter", "id = 77"),
            ("body", "minhash", "body IS NOT NULL"),
        ],
    )
    def test_a_filter_finds_the_same_with_an_index(
        self, backend: StorageBackend, column: str, kind: Any, where: str
    ) -> None:
        backend.create_table("t", rows())
        request = ScanRequest("t", columns=["id"], filter=where, order_by="id")
        before = backend.scan(request).read_all()
        made = backend.create_scalar_index("t", column, kind)
        named = kind if isinstance(kind, str) else kind.kind
        assert (made.name, made.columns, made.kind) == (f"{column}_{named}", (column,), named)
        assert (made.rows_indexed, made.rows_not_indexed) == (COUNT, 0)
        assert backend.list_indexes("t") == self.reopen(backend).list_indexes("t") == [made]
        assert backend.scan(request).read_all() == before
        backend.write("t", rows(COUNT, 10))
        backend.delete_rows("t", "id < 5")
        backend.update("t", {"lang": "'fr'"}, "id = 77")
        expected = backend.scan(request).read_all()
        [updated] = backend.update_indexes("t") or backend.list_indexes("t")
        assert (updated.rows_indexed, updated.rows_not_indexed) == (COUNT + 5, 0)
        assert self.reopen(backend).scan(request).read_all() == expected
        assert backend.update_indexes("t") == []

    def test_an_index_for_text_and_one_for_vectors(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows(0, 600))
        text = backend.create_fts_index(
            "t", "body", FullText(language="French", positions=False, stop_words=("and",))
        )
        assert (text.name, text.kind, text.rows_indexed) == ("body_fts", "fts", 600)
        flat = backend.create_vector_index("t", "vec")
        assert (flat.name, flat.kind, flat.rows_indexed) == ("vec_vector", "ivf_flat", 600)
        parts = IvfPq(metric="cosine", partitions=2, sub_vectors=4)
        small = backend.create_vector_index("t", "vec", parts, name="small")
        assert small.kind == "ivf_pq"
        assert self.names(self.reopen(backend)) == ["body_fts", "small", "vec_vector"]
        said = backend.index_stats("t", "small")
        assert said.index == small
        assert {k: said.parameters[k] for k in ("metric", "partitions", "sub_vectors", "bits")} == {
            "metric": "cosine",
            "partitions": 2,
            "sub_vectors": 4,
            "bits": 8,
        }
        assert said.built_at is not None
        assert said.version == 3
        parameters = backend.index_stats("t", "body_fts").parameters
        assert (parameters["language"], parameters["positions"]) == ("French", False)
        assert parameters["stop_words"] == ("and",)

    def test_an_index_on_few_rows_or_none(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows().slice(0, 0))
        backend.create_scalar_index("t", "id")
        backend.create_fts_index("t", "body")
        backend.create_vector_index("t", "vec", "ivf_pq")
        assert [i.rows_not_indexed for i in backend.list_indexes("t")] == [0, 0, 0]
        backend.write("t", rows(0, 20))
        assert backend.count_rows("t", "id = 7") == 1
        backend.update_indexes("t")
        assert backend.count_rows("t", "id = 7") == 1
        backend.merge_insert("t", rows(10, 20), on="id")
        assert backend.count_rows("t", "id >= 10") == 20
        assert backend.count_rows("t") == 30

    def test_a_name_is_taken_once(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        backend.create_scalar_index("t", "id", name="mine")
        error = refused(
            IndexAlreadyExists, lambda: backend.create_scalar_index("t", "lang", name="mine")
        )
        assert "mine" in str(error)
        assert backend.list_indexes("t")[0].columns == ("id",)
        other = backend.create_scalar_index("t", "lang", "bitmap", name="mine", replace=True)
        assert (other.columns, other.kind) == (("lang",), "bitmap")
        assert backend.list_indexes("t") == [other]
        assert backend.create_scalar_index("t", "id", BTree(), replace=True).name == "id_btree"

    def test_an_index_is_dropped(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        backend.create_scalar_index("t", "id")
        backend.create_scalar_index("t", "lang")
        receipt = backend.drop_index("t", "id_btree", write_id="away", commit_message="bye")
        assert (receipt.version, receipt.write_id, receipt.rows_deleted) == (4, "away", 0)
        assert backend.drop_index("t", "id_btree", write_id="away") == receipt
        assert self.names(self.reopen(backend)) == ["lang_btree"]
        assert self.names(backend, version=3) == ["id_btree", "lang_btree"]
        assert backend.index_stats("t", "id_btree", version=2).index.rows_indexed == COUNT
        refused(IndexNotFound, lambda: backend.drop_index("t", "id_btree"))
        assert backend.drop_index("t", "id_btree", missing_ok=True).version == 4
        assert backend.versions("t", limit=1)[0].operation == "drop_index"
        assert backend.count_rows("t", "id = 3") == 1

    def test_what_cannot_be_indexed_is_refused(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows(0, 3))
        scalar, text, vector = (
            backend.create_scalar_index,
            backend.create_fts_index,
            backend.create_vector_index,
        )
        assert "lang" in str(refused(ColumnNotFound, lambda: scalar("t", "langs")))
        refused(ColumnNotFound, lambda: text("t", "body.nope"))
        refused(InvalidInput, lambda: scalar("t", "vec"))
        refused(InvalidInput, lambda: scalar("t", "id", "label_list"))
        refused(InvalidInput, lambda: scalar("t", "id", "ngram"))
        refused(InvalidInput, lambda: scalar("t", "id", "rtree"))
        refused(InvalidInput, lambda: text("t", "id"))
        refused(InvalidInput, lambda: vector("t", "body"))
        refused(InvalidInput, lambda: vector("t", "vec", IvfPq(sub_vectors=3)))
        refused(InvalidInput, lambda: vector("t", "vec", IvfFlat(metric="hamming")))
        assert "btree" in str(refused(InvalidOption, lambda: scalar("t", "id", "b-tree")))
        refused(InvalidOption, lambda: vector("t", "vec", "btree"))
        refused(InvalidOption, lambda: vector("t", "vec", VectorIndex()))
        refused(InvalidOption, lambda: scalar("t", "id", name=""))
        refused(InvalidOption, lambda: scalar("t", "id", name="__lance_own"))
        refused(TableNotFound, lambda: scalar("nope", "id"))
        refused(BranchNotFound, lambda: scalar("t", "id", branch="nope"))
        refused(IndexNotFound, lambda: backend.index_stats("t", "nope"))
        refused(IndexNotFound, lambda: backend.update_indexes("t", ["nope"]))
        refused(InvalidOption, lambda: backend.update_indexes("t", "nope"))
        anything: Any = []
        refused(IndexNotFound, lambda: backend.update_indexes("t", [anything]))
        refused(IndexNotFound, lambda: backend.drop_index("t", anything))
        refused(TableNotFound, lambda: backend.list_indexes("nope"))
        refused(BranchNotFound, lambda: backend.list_indexes("t", branch="nope"))
        assert backend.list_indexes("t") == []
        assert backend.get_table_version("t") == 1

    def test_kinds_that_few_types_suit(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        flags, sums = pa.array([True]), pa.array([1], pa.decimal128(9, 2))
        texts = pa.array([[["a"]]], pa.list_(pa.list_(pa.string())))
        six = pa.array([[0.0] * 6], pa.list_(pa.float32(), 6))
        table = pa.table({"flag": flags, "sum": sums, "texts": texts, "six": six})
        backend.create_table("t", table)
        scalar = backend.create_scalar_index
        refused(InvalidInput, lambda: scalar("t", "flag", "bloomfilter"))
        refused(InvalidInput, lambda: scalar("t", "sum", "bloomfilter"))
        refused(InvalidInput, lambda: scalar("t", "texts", "label_list"))
        refused(InvalidInput, lambda: backend.create_fts_index("t", "texts"))
        refused(InvalidInput, lambda: backend.create_vector_index("t", "six", "ivf_rq"))

    def test_one_write_id_builds_once(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        first = backend.create_scalar_index("t", "id", write_id="build")
        assert self.reopen(backend).create_scalar_index("t", "id", write_id="build") == first
        assert backend.get_table_version("t") == 2
        done = backend.versions("t", limit=1)[0]
        assert (done.operation, done.write_ids) == ("create_index", ("build",))

    def test_progress_is_told_and_may_end_a_build(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        seen: list[IndexProgress] = []
        backend.create_vector_index("t", "vec", "ivf_pq", progress=seen.append)
        assert {s.index for s in seen} == {"vec_vector"}
        assert seen[-1].done
        for build in (
            lambda stop: backend.create_fts_index("t", "body", progress=stop),
            lambda stop: backend.create_scalar_index("t", "id", progress=stop),
            lambda stop: backend.create_vector_index("t", "vec", name="v", progress=stop),
        ):
            with pytest.raises(KeyError, match="enough"):
                build(_stop)
        assert self.names(backend) == ["vec_vector"]
        assert backend.get_table_version("t") == 2

        def write(said: IndexProgress) -> None:
            if said.done:
                backend.write("t", rows(COUNT, 1))

        made = backend.create_scalar_index("t", "id", progress=write)
        assert made.rows_indexed + made.rows_not_indexed == backend.count_rows("t") > COUNT

    def test_indexes_of_a_branch_are_its_own(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        backend.create_scalar_index("t", "id")
        backend.create_tag("t", "before")
        backend.create_branch("t", "dev")
        backend.write("t", rows(COUNT, 20), branch="dev")
        backend.create_scalar_index("t", "lang", "bitmap", branch="dev")
        backend.update_indexes("t", ["id_btree"], branch="dev")
        [own, bitmap] = backend.list_indexes("t", branch="dev")
        assert (own.name, own.rows_indexed) == ("id_btree", COUNT + 20)
        assert (bitmap.name, bitmap.rows_indexed) == ("lang_bitmap", COUNT + 20)
        [main] = backend.list_indexes("t")
        assert (main.name, main.rows_indexed, main.rows_not_indexed) == ("id_btree", COUNT, 0)
        backend.drop_index("t", "id_btree", branch="dev")
        assert self.names(backend, tag="before") == ["id_btree"]
        assert self.names(backend) == ["id_btree"]
        assert self.names(backend, branch="dev") == ["lang_bitmap"]
        assert backend.count_rows("t", "id >= 290", branch="dev") == 30
        assert backend.count_rows("t", "id >= 290") == 10
        assert backend.get_table_version("t") == 2

    def test_an_overwrite_builds_indexes_anew_and_says_so(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        backend.create_scalar_index("t", "id", ZoneMap(rows_per_zone=32), name="zones")
        backend.create_fts_index("t", "body", FullText(positions=False))
        backend.create_vector_index("t", "vec", IvfFlat(metric="dot"))
        done = backend.write("t", rows(1000, 50), mode="overwrite", write_id="new")
        assert done.indexes_rebuilt == ("body_fts", "vec_vector", "zones")
        assert done.indexes_dropped == ()
        assert backend.write("t", rows(1000, 50), mode="overwrite", write_id="new") == done
        assert self.names(self.reopen(backend)) == ["body_fts", "vec_vector", "zones"]
        assert {i.rows_indexed for i in backend.list_indexes("t")} == {50}
        assert backend.index_stats("t", "zones").parameters == {"rows_per_zone": 32}
        assert backend.index_stats("t", "body_fts").parameters["positions"] is False
        assert backend.index_stats("t", "vec_vector").parameters["metric"] == "dot"
        assert backend.count_rows("t", "id >= 1040") == 10

        less = rows(0, 5).drop_columns(["vec"])
        other = less.set_column(2, "body", less["id"])
        replaced = backend.replace_table_atomic("t", other, other.schema)
        assert replaced.indexes_rebuilt == ("zones",)
        assert replaced.indexes_dropped == ("body_fts", "vec_vector")
        assert self.names(backend) == ["zones"]
        again = backend.create_table("t", rows(), mode="overwrite")
        assert (again.indexes_rebuilt, again.indexes_dropped) == (("zones",), ())
        appended = backend.write("t", rows())
        assert appended.indexes_rebuilt == appended.indexes_dropped == ()

    def test_a_rollback_brings_indexes_back(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        old = backend.write("t", rows(COUNT, 10)).version
        backend.create_scalar_index("t", "id")
        indexed = backend.get_table_version("t")
        backend.rollback_table("t", old)
        assert self.names(backend) == []
        backend.rollback_table("t", indexed)
        assert self.names(backend) == ["id_btree"]
        backend.write("t", rows(5, 5), mode="overwrite")
        backend.drop_index("t", "id_btree")
        back = backend.rollback_table("t", indexed, expected=backend.get_table_version("t"))
        assert back.indexes_rebuilt == ("id_btree",)
        assert backend.list_indexes("t")[0].rows_indexed == COUNT + 10
        assert backend.count_rows("t", "id = 301") == 1

    def test_a_truncated_table_keeps_its_indexes(self, backend: StorageBackend) -> None:
        backend.create_table("t", rows())
        backend.create_scalar_index("t", "id")
        backend.truncate("t")
        assert [(i.name, i.rows_indexed) for i in backend.list_indexes("t")] == [("id_btree", 0)]
        backend.merge_insert("t", rows(0, 7), on="id")
        backend.merge_insert("t", rows(5, 7), on="id")
        assert backend.count_rows("t") == 12
        assert [backend.count_rows("t", f"id = {n}") for n in (0, 5, 11)] == [1, 1, 1]

    def test_an_index_follows_its_column(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", rows())
        for column in ("id", "lang", "body"):
            backend.create_scalar_index("t", column)
        backend.alter_columns("t", {"lang": ColumnChange(name="language")})
        found = {i.name: i.columns for i in backend.list_indexes("t")}
        assert found == {"body_btree": ("body",), "id_btree": ("id",), "lang_btree": ("language",)}
        assert backend.count_rows("t", "language = 'fr'") == COUNT // 3
        backend.alter_columns("t", {"body": ColumnChange(type=pa.large_string())})
        assert self.names(backend) == ["id_btree", "lang_btree"]
        backend.drop_columns("t", "id")
        backend.add_columns("t", {"id": pa.int64()})
        assert self.names(backend) == ["lang_btree"]
        assert backend.write("t", backend.scan("t").read_all(), mode="overwrite").indexes_rebuilt

    def test_a_field_of_a_struct_is_indexed(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": n, "at": {"x": n % 10}} for n in range(50)])
        made = backend.create_scalar_index("t", "at.x")
        assert (made.name, made.columns) == ("at.x_btree", ("at.x",))
        assert backend.count_rows("t", "at.x = 3") == 5
        assert backend.write("t", [{"id": 0, "at": {"x": 1}}], mode="overwrite").indexes_rebuilt


def _stop(_: IndexProgress) -> None:
    raise KeyError("enough")
