"""pylance, lancedb and the generated client of the specification over ``to_lance()``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lance
import lance.namespace
import lance_namespace as spec
import lancedb
import pyarrow as pa
import pytest
from adapter_server import AdapterServer
from lance_namespace.errors import LanceNamespaceError
from lance_namespace_urllib3_client import ApiClient, Configuration
from lance_namespace_urllib3_client.api.data_api import DataApi
from lance_namespace_urllib3_client.models import (
    CountTableRowsRequest,
    QueryTableRequest,
    QueryTableRequestVector,
)
from lancedb.index import BTree
from lancedb.namespace import LanceNamespaceDBConnection
from serving_cases import ROWS, connect, ipc, rows_of

import pennon
from pennon.namespaces import Namespace


@pytest.fixture(params=["local", "s3"])
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with connect(request.getfixturevalue(f"{request.param}_root")) as namespace:
        yield namespace


@pytest.fixture
def server(local_root: str) -> Iterator[AdapterServer]:
    with connect(local_root) as namespace, AdapterServer(namespace.to_lance()) as server:
        yield server


# -- in the process ------------------------------------------------------------------------------


def test_pylance_and_operations_share_tables(namespace: Namespace) -> None:
    n = namespace.to_lance()
    n.create_table({"id": ["t"]}, ipc(ROWS))
    lance.write_dataset(ROWS, namespace_client=n, table_id=["t"], mode="append")
    dataset = lance.dataset(namespace_client=n, table_id=["t"])
    dataset.delete("id = 1")
    dataset.create_scalar_index("id", "BTREE", name="by_id")
    assert n.count_table_rows({"id": ["t"]}).count == 4
    (index,) = n.list_table_indices({"id": ["t"]}).indexes
    assert (index.index_name, index.index_type, index.num_indexed_rows) == ("by_id", "BTREE", 4)
    segment = next(iter(dataset.describe_indices())).segments[0]
    assert index.index_uuid == str(segment.uuid)
    versions = n.list_table_versions({"id": ["t"]}).versions
    assert [v.version for v in versions] == [v["version"] for v in dataset.versions()]
    said = n.describe_transaction({"id": ["t", "2"]}).properties
    assert said["operation"] == "append"
    n.insert_into_table({"id": ["t"]}, ipc(ROWS))
    assert lance.dataset(namespace_client=n, table_id=["t"]).count_rows() == 7
    lance.write_dataset(ROWS, namespace_client=n, table_id=["new"], mode="create")
    assert len(rows_of(n.query_table({"id": ["new"], "k": 0, "vector": {}}))) == 3


def test_a_dataset_of_others(namespace: Namespace) -> None:
    n = namespace.to_lance()
    info = namespace.describe_table(namespace.declare_table("t").id)
    options: Any = dict(info.storage_options or {})
    lance.write_dataset(
        ROWS, info.location, storage_options=options, enable_v2_manifest_paths=False
    )
    lance.write_dataset(ROWS, info.location, storage_options=options, mode="append")
    versions = n.list_table_versions({"id": ["t"]}).versions
    assert [v.version for v in versions] == [1, 2]
    assert all(v.manifest_size for v in versions)
    assert n.describe_table({"id": ["t"], "load_detailed_metadata": True}).version == 2
    assert n.restore_table({"id": ["t"], "version": 1}).transaction_id
    assert n.count_table_rows({"id": ["t"]}).count == 3


def test_lancedb_and_operations_share_tables(namespace: Namespace) -> None:
    n = namespace.to_lance()
    db = LanceNamespaceDBConnection(n)
    db.create_table("t", ROWS)
    n.insert_into_table({"id": ["t"]}, ipc(ROWS))
    table = db.open_table("t")
    assert table.count_rows() == 6
    table.add(ROWS)
    table.create_index("id", config=BTree())
    assert n.count_table_rows({"id": ["t"]}).count == 9
    (index,) = n.list_table_indices({"id": ["t"]}).indexes
    assert (index.columns, index.num_unindexed_rows) == (["id"], 0)
    n.create_table_tag({"id": ["t"], "tag": "v1", "version": 1})
    assert table.tags.list()["v1"]["version"] == 1
    n.create_table({"id": ["other"]}, ipc(ROWS))
    found = db.open_table("other").search([1.0, 0.0]).limit(1).to_list()
    assert found[0]["id"] == 1
    with pytest.raises(Exception, match="already"):
        db.create_table("other", ROWS)


@pytest.mark.parametrize("root", ["local", "s3"])
def test_schemas_are_written_as_pylance_does(request: pytest.FixtureRequest, root: str) -> None:
    where = request.getfixturevalue(f"{root}_root")
    uri, options = (where, {}) if isinstance(where, str) else (where.uri, where.options)
    fields: list[pa.Field] = [
        *(pa.field(str(t), t) for t in (pa.null(), pa.bool_(), pa.date32(), pa.date64())),
        *(pa.field(str(t), t) for t in (pa.string(), pa.large_string(), pa.binary())),
        *(pa.field(f"i{n}", t) for n, t in enumerate((pa.int8(), pa.int16(), pa.int32()))),
        *(pa.field(f"u{n}", t) for n, t in enumerate((pa.uint8(), pa.uint16(), pa.uint32()))),
        *(pa.field(f"l{n}", t) for n, t in enumerate((pa.int64(), pa.uint64()))),
        *(pa.field(f"f{n}", t) for n, t in enumerate((pa.float16(), pa.float32(), pa.float64()))),
        pa.field("large_binary", pa.large_binary()),
        pa.field("fixed_binary", pa.binary(5)),
        pa.field("decimal", pa.decimal128(10, 2)),
        pa.field("wide", pa.decimal256(50, 7)),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("t32", pa.time32("s")),
        pa.field("t64", pa.time64("ns")),
        pa.field("dur", pa.duration("ms")),
        pa.field("list", pa.list_(pa.field("item", pa.int16(), nullable=False))),
        pa.field("large_list", pa.large_list(pa.string())),
        pa.field("vector", pa.list_(pa.float32(), 4)),
        pa.field("struct", pa.struct([pa.field("x", pa.int64(), False), ("y", pa.string())])),
        pa.field("deep", pa.list_(pa.struct([("v", pa.list_(pa.float16(), 2))]))),
        pa.field("dictionary", pa.dictionary(pa.int8(), pa.string())),
        pa.field("told", pa.int64(), False, {"unit": "m"}),
    ]
    schema = pa.schema([f.with_name(f.name.replace("[", "").replace("]", "")) for f in fields])
    schema = schema.with_metadata({"k": "v"})
    with connect(where) as namespace:
        n = namespace.to_lance()
        sink = pa.BufferOutputStream()
        pa.ipc.new_stream(sink, schema).close()
        n.create_table({"id": ["t"]}, sink.getvalue().to_pybytes())
        storage = {f"storage.{k}": v for k, v in options.items()}
        native = lance.namespace.DirectoryNamespace(
            root=uri, dir_listing_enabled="false", **storage
        )
        asked = spec.DescribeTableRequest(id=["t"], load_detailed_metadata=True)
        ours, theirs = n.describe_table(asked), native.describe_table(asked)
        assert ours.var_schema.model_dump() == theirs.var_schema.model_dump()
        assert (ours.version, ours.properties) == (theirs.version, theirs.properties or {})


def test_statistics_are_those_of_pylance(local_root: str) -> None:
    with connect(local_root) as namespace:
        n = namespace.to_lance()
        n.create_table({"id": ["t"]}, ipc(ROWS))
        for times in range(1, 6):
            n.insert_into_table({"id": ["t"]}, ipc(pa.concat_tables([ROWS] * times)))
        n.create_table_branch({"id": ["t"], "name": "dev", "from_version": 2})
        native = lance.namespace.DirectoryNamespace(root=local_root, dir_listing_enabled="false")
        for branch in (None, "dev"):
            asked = spec.GetTableStatsRequest(id=["t"], branch=branch)
            ours, theirs = n.get_table_stats(asked), native.get_table_stats(asked)
            assert (ours.num_rows, ours.num_indices) == (theirs.num_rows, theirs.num_indices)
            assert ours.fragment_stats == theirs.fragment_stats
            asked = spec.ListTableVersionsRequest(id=["t"], branch=branch)
            ours, theirs = n.list_table_versions(asked), native.list_table_versions(asked)
            for own, other in zip(ours.versions, theirs.versions, strict=True):
                assert (own.version, own.manifest_size) == (other.version, other.manifest_size)
                assert own.manifest_path == f"/{other.manifest_path}"
        # Theirs go on counting the rows that are deleted.
        n.delete_from_table({"id": ["t"], "predicate": "id = 1"})
        assert n.get_table_stats({"id": ["t"]}).num_rows == 32
        tag = {"id": ["t"], "tag": "a", "version": 1}
        n.create_table_tag(tag)
        asked = spec.ListTableTagsRequest(id=["t"])
        assert n.list_table_tags(asked).tags == native.list_table_tags(asked).tags


# -- over the wire -------------------------------------------------------------------------------


def test_the_client_of_pylance(server: AdapterServer) -> None:
    n = lance.namespace.RestNamespace(uri=server.uri)
    made = n.create_table(spec.CreateTableRequest(id=["t"], properties={"a": "b"}), ipc(ROWS))
    assert (made.version, made.properties) == (1, {"a": "b"})
    with pytest.raises(LanceNamespaceError) as caught:
        n.create_table(spec.CreateTableRequest(id=["t"]), ipc(ROWS))
    assert caught.value.code == 5
    n.create_table_branch(spec.CreateTableBranchRequest(id=["t"], name="dev"))
    n.insert_into_table(spec.InsertIntoTableRequest(id=["t"], branch="dev"), ipc(ROWS))
    merge = spec.MergeInsertIntoTableRequest(
        id=["t"], on=["id", "name"], when_matched_update_all=True, when_not_matched_insert_all=True
    )
    assert n.merge_insert_into_table(merge, ipc(ROWS)).num_updated_rows == 2
    counts = [
        n.count_table_rows(spec.CountTableRowsRequest(id=["t"], branch=b)).count
        for b in (None, "dev")
    ]
    assert counts == [4, 6]
    query = spec.QueryTableRequest(
        id=["t"], k=1, vector=QueryTableRequestVector(single_vector=[1.0, 0.0])
    )
    assert rows_of(n.query_table(query))[0]["_distance"] == 0.0
    explained = spec.ExplainTableQueryPlanRequest(id=["t"], query=query)
    assert "flat scan" in n.explain_table_query_plan(explained)
    index = spec.CreateTableIndexRequest(id=["t"], column="id", index_type="BTREE", name="by_id")
    n.create_table_scalar_index(index)
    stats = spec.DescribeTableIndexStatsRequest(id=["t"], index_name="by_id")
    assert n.describe_table_index_stats(stats).num_indexed_rows == 4
    n.create_table_tag(spec.CreateTableTagRequest(id=["t"], tag="v1", version=1))
    assert n.get_table_tag_version(spec.GetTableTagVersionRequest(id=["t"], tag="v1")).version == 1
    metadata = spec.UpdateTableSchemaMetadataRequest(id=["t"], metadata={"k": "v"})
    assert n.update_table_schema_metadata(metadata).metadata == {"k": "v"}
    n.rename_table(spec.RenameTableRequest(id=["t"], new_table_name="u"))
    assert lance.dataset(namespace_client=n, table_id=["u"]).count_rows() == 4
    with pytest.raises(LanceNamespaceError) as caught:
        n.count_table_rows(spec.CountTableRowsRequest(id=["t"]))
    assert caught.value.code == 4


def test_lancedb_lets_the_server_answer(server: AdapterServer) -> None:
    db = lancedb.connect_namespace(
        "rest", {"uri": server.uri}, namespace_client_pushdown_operations=["QueryTable"]
    )
    db.create_table("t", ROWS)
    table = db.open_table("t")
    found = table.search([1.0, 0.0]).limit(2).to_list()
    assert [row["id"] for row in found] == [1, 3]
    rows = table.search().where("id > 1").select(["id"]).to_list()
    assert rows == [{"id": 2}, {"id": 3}]
    assert "query_table" in server.asked
    table.update(where="id = 1", values={"name": "z"})
    table.add(ROWS)
    assert table.count_rows() == 6
    namespace = pennon.connect("rest", {"uri": server.uri}).connect()
    assert pennon.open(namespace).count_rows("t", "name = 'z'") == 1


def test_the_generated_client(server: AdapterServer) -> None:
    api = DataApi(ApiClient(Configuration(host=server.uri)))
    made = api.create_table("t", ipc(ROWS), delimiter="$")
    assert made.version == 1
    inserted = api.insert_into_table("t", ipc(ROWS), delimiter="$", mode="append")
    assert (inserted.num_inserted_rows, inserted.version) == (3, 2)
    merged = api.merge_insert_into_table(
        "t", ["id", "name"], ipc(ROWS.slice(0, 1)), delimiter="$", when_matched_update_all=True
    )
    assert merged.num_updated_rows == 2
    assert api.count_table_rows("t", CountTableRowsRequest(predicate="id = 1")) == 2
    query = QueryTableRequest(k=2, vector=QueryTableRequestVector(), filter="id > 1")
    assert len(rows_of(api.query_table("t", query))) == 2
