"""Indexes over ``to_lance()``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lance_namespace as spec
import numpy as np
import pyarrow as pa
import pytest
from serving_cases import PLACES, code, ipc, place

import pennon
from pennon.namespaces import Namespace

WIDTH = 8


def _rows(count: int = 300) -> pa.Table:
    numbers = np.random.default_rng(7).random(count * WIDTH, dtype=np.float32)
    return pa.table(
        {
            "id": range(count),
            "kind": [["red", "blue"][i % 2] for i in range(count)],
            "tags": [[["a", "b"][i % 2]] for i in range(count)],
            "text": [f"the {['lazy dog', 'quick fox'][i % 2]} number {i}" for i in range(count)],
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(numbers), WIDTH),
        }
    )


@pytest.fixture(params=PLACES)
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with place(request) as namespace:
        yield namespace


@pytest.fixture
def t(namespace: Namespace) -> Any:
    adapter = namespace.to_lance()
    adapter.create_table({"id": ["t"]}, ipc(_rows()))
    return adapter


def test_scalar_indexes(t: Any) -> None:
    for column, kind in (
        *(("`id`", "BTREE"), ("kind", "Bitmap"), ("tags", "label_list"), ("text", "NGRAM")),
        *(("id", "ZoneMap"), ("kind", "BLOOMFILTER"), ("text", "INVERTED")),
    ):
        asked = spec.CreateTableIndexRequest(
            id=["t"], column=column, index_type=kind, name=f"{column}_{kind}"
        )
        t.create_table_scalar_index(asked)
    listed = t.list_table_indices(spec.ListTableIndicesRequest(id=["t"])).indexes
    assert sorted((i.columns[0], i.index_type) for i in listed) == [
        *(("id", "BTREE"), ("id", "ZONEMAP"), ("kind", "BITMAP"), ("kind", "BLOOMFILTER")),
        *(("tags", "LABEL_LIST"), ("text", "FTS"), ("text", "NGRAM")),
    ]
    assert {(i.num_indexed_rows, i.num_unindexed_rows, i.status) for i in listed} == {
        (300, 0, "SUCCEEDED")
    }
    assert len({i.index_uuid for i in listed}) == 7
    page = t.list_table_indices({"id": ["t"], "limit": 3})
    rest = t.list_table_indices({"id": ["t"], "page_token": page.page_token})
    assert page.indexes + rest.indexes == listed
    assert t.list_table_indices({"id": ["t"], "version": 1}).indexes == []
    assert t.get_table_stats({"id": ["t"]}).num_indices == 7
    asked = {"id": ["t"], "column": "id", "index_type": "IVF_PQ"}
    assert code(t.create_table_scalar_index, asked) == 13


def test_vector_index(t: Any, namespace: Namespace) -> None:
    asked = spec.CreateTableIndexRequest(
        id=["t"],
        column="vector",
        index_type="IVF_PQ",
        distance_type="Cosine",
        num_partitions=2,
        num_sub_vectors=4,
        num_bits=8,
    )
    t.create_table_index(asked)
    (index,) = t.list_table_indices({"id": ["t"]}).indexes
    assert (index.columns, index.index_type) == (["vector"], "IVF_PQ")
    stats = t.describe_table_index_stats({"id": ["t"], "index_name": index.index_name})
    assert (stats.distance_type, stats.index_type) == ("cosine", "IVF_PQ")
    assert (stats.num_indexed_rows, stats.num_unindexed_rows, stats.num_indices) == (300, 0, 1)
    t.insert_into_table({"id": ["t"]}, ipc(_rows(5)))
    stats = t.describe_table_index_stats({"id": ["t"], "index_name": index.index_name})
    covered = (stats.num_indexed_rows, stats.num_unindexed_rows)
    # In memory there is nothing to bring up to date.
    assert covered == ((305, 0) if namespace.kind == "memory" else (300, 5))
    again = {"id": ["t"], "column": "vector", "index_type": "IVF_FLAT"}
    assert code(t.create_table_index, again) == 7
    t.create_table_index({**again, "name": "other", "target_partition_size": 100})
    dropped = t.drop_table_index({"id": ["t"], "index_name": index.index_name})
    assert t.describe_transaction({"id": ["t", dropped.transaction_id]}).status == "Succeeded"
    assert [i.index_name for i in t.list_table_indices({"id": ["t"]}).indexes] == ["other"]


def test_text_index(t: Any) -> None:
    asked = {"id": ["t"], "column": "text", "index_type": "FTS", "language": "English"}
    t.create_table_index({**asked, "with_position": True, "stem": False, "lower_case": True})
    (index,) = t.list_table_indices({"id": ["t"]}).indexes
    assert (index.columns, index.index_type) == (["text"], "FTS")


def test_index_of_a_branch(t: Any) -> None:
    t.create_table_branch({"id": ["t"], "name": "dev"})
    for name, kind, method in (
        ("id", "BTREE", t.create_table_scalar_index),
        ("vector", "IVF_FLAT", t.create_table_index),
    ):
        method({"id": ["t"], "branch": "dev", "column": name, "index_type": kind, "name": kind})
    names = [i.index_name for i in t.list_table_indices({"id": ["t"], "branch": "dev"}).indexes]
    assert names == ["BTREE", "IVF_FLAT"]
    assert t.list_table_indices({"id": ["t"]}).indexes == []
    t.drop_table_index({"id": ["t"], "branch": "dev", "index_name": "BTREE"})
    missing = {"id": ["t"], "index_name": "BTREE"}
    assert code(t.drop_table_index, missing) == 6
    assert code(t.describe_table_index_stats, {**missing, "branch": "dev"}) == 6


def test_indexes_that_are_refused(t: Any, namespace: Namespace) -> None:
    def build(**asked: Any) -> int:
        return code(t.create_table_index, {"id": ["t"], "index_type": "BTREE", **asked})

    assert build(column="no") == 12
    assert build(column="id", index_type="TREE") == 13
    assert build(column="text", index_type="IVF_PQ") == 13
    assert build(column="id", num_partitions=3) == 13
    assert build(column="text", index_type="FTS", num_bits=3) == 13
    assert build(column="vector", index_type="IVF_FLAT", m=3) == 13
    assert build(column="vector", index_type="IVF_FLAT", distance_type="manhattan") == 13
    assert build(column="vector", index_type="IVF_FLAT", sample_rate=3) == 0
    assert build(column="id", branch="no") == 22
    assert build(column="id", id=["no"]) == 4
    assert code(t.drop_table_index, {"id": ["t"]}) == 13
    assert code(t.list_table_indices, {"id": ["t"], "version": 9}) == 11
    assert pennon.open(namespace).get_table_version("t") == 1
