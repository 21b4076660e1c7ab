"""The table of operations: complete, as in the generated client, and as pylance's server has it."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc
from rest_servers import native_server

from pennon.errors import (
    BranchAlreadyExists,
    BranchNotFound,
    ColumnNotFound,
    CommitConflict,
    IndexAlreadyExists,
    IndexNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    PennonError,
    SchemaMismatch,
    TableAlreadyExists,
    TableNotFound,
    TagAlreadyExists,
    TagNotFound,
    TransactionNotFound,
    Unsupported,
    VersionNotFound,
)
from pennon.namespaces.names import parse_id
from pennon.namespaces.rest._routes import ROUTES
from pennon.namespaces.rest._settings import Settings
from pennon.namespaces.rest.client import RestClient, encode_id

# -- the generated client --------------------------------------------------------------------------


def _generated() -> dict[str, dict[str, Any]]:
    """Return what the generated client sends for each operation, read from its source."""
    api = pytest.importorskip("lance_namespace_urllib3_client").api
    found: dict[str, dict[str, Any]] = {}
    for _, group in inspect.getmembers(api, inspect.isclass):
        for name, method in inspect.getmembers(group, inspect.isfunction):
            match = re.fullmatch(r"_(\w+)_serialize", name)
            if match is None:
                continue
            source = inspect.getsource(method)
            known = {
                "method": _one(r"method='(\w+)'", source),
                "path": _one(r"resource_path='([^']+)'", source),
                "query": set(re.findall(r"_query_params\.append\(\('(\w+)'", source)),
                "arrow": "application/vnd.apache.arrow.stream" in source,
                "file": "application/vnd.apache.arrow.file" in source,
                **_models(inspect.getsource(getattr(group, match[1]))),
            }
            assert found.setdefault(match[1], known) == known, "two groups disagree"
    return found


def _one(pattern: str, source: str) -> str:
    match = re.search(pattern, source)
    assert match is not None
    return match[1]


def _models(source: str) -> dict[str, Any]:
    from lance_namespace_urllib3_client import models

    request = re.search(r"\w+: (?:Optional\[)?(\w+Request)\b", source)
    answer = getattr(models, _one(r"'20\d': \"?(\w+)", source), None)
    body, required = None, set[str]()
    if request is not None:
        fields = getattr(models, request[1]).model_fields.items()
        body = {f.alias or n for n, f in fields} - {"id", "identity", "context"}
        required = {f.alias or n for n, f in fields if f.is_required()}
    returns = None
    if hasattr(answer, "model_fields"):
        returns = {f.alias or n for n, f in answer.model_fields.items()} - {"context"}
    return {"body": body, "required": required, "returns": returns}


def test_the_table_is_that_of_the_generated_client() -> None:
    generated = _generated()
    assert len(ROUTES) == 54
    assert set(generated) == set(ROUTES)
    for name, theirs in generated.items():
        ours = ROUTES[name]
        assert (ours.method, ours.path) == (theirs["method"], theirs["path"]), name
        assert {*ours.query, "delimiter"} == theirs["query"], name
        assert (None if ours.body is None else set(ours.body)) == theirs["body"], name
        assert ours.arrow == theirs["arrow"], name
        assert (ours.result == "data") == theirs["file"], name
        if theirs["body"] is not None:
            assert set(ours.required) - set(ours.in_path) == theirs["required"], name
        if theirs["returns"] is not None:
            assert set(ours.returns) == theirs["returns"], name


def test_only_reading_operations_are_repeated() -> None:
    reading = re.compile(r"(list|describe|get|count|query|explain|analyze)_|\w+_exists$")
    for name, route in ROUTES.items():
        assert route.repeatable == bool(reading.match(name)), name


# -- ids in paths ----------------------------------------------------------------------------------


def _is_name(text: str) -> bool:
    try:
        parse_id(text)
    except InvalidName:
        return False
    return True


_NAMES = st.text(max_size=40).filter(_is_name)


@given(
    id=st.lists(_NAMES, max_size=4).map(tuple),
    delimiter=st.sampled_from(("$", ".", "::", "a", "%")),
)
def test_an_id_survives_the_path(id: tuple[str, ...], delimiter: str) -> None:
    if any(delimiter in part for part in id):
        with pytest.raises(InvalidName):
            encode_id(id, delimiter)
        return
    step = encode_id(id, delimiter)
    assert re.fullmatch(r"[A-Za-z0-9_.~%-]+", step)
    decoded = unquote(step)
    assert (() if decoded == delimiter else tuple(decoded.split(delimiter))) == id


# -- every operation against pylance's server ------------------------------------------------------


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "x": ["a", "b", "c"],
        "vec": pa.FixedSizeListArray.from_arrays(pa.array([0.1] * 6, pa.float32()), 2),
    }
)
SCAN: dict[str, Any] = {"k": 0, "vector": {}}


class Recorder:
    """Calls operations and remembers which."""

    def __init__(self, client: RestClient) -> None:
        self.client = client
        self.called: set[str] = set()

    def __call__(self, operation: str, id: Any = (), **fields: Any) -> dict[str, Any]:
        self.called.add(operation)
        answer = self.client.call(operation, id=id, **fields)
        route = ROUTES[operation]
        assert set(answer) <= {*route.returns, route.result}, f"{operation}: {answer}"
        return answer

    def fails(self, error: type[PennonError], operation: str, id: Any = (), **fields: Any) -> None:
        with pytest.raises(PennonError) as caught:
            self(operation, id, **fields)
        assert type(caught.value) is error, f"{operation}: {caught.value!r}"
        assert caught.value.context["operation"] == operation


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Recorder]:
    with (
        native_server(tmp_path) as uri,
        RestClient(Settings.of("rest", {"uri": f"{uri}/"})) as client,
    ):
        yield Recorder(client)


def _namespaces(call: Recorder) -> None:
    assert call("create_namespace", "n", properties={"k": "v"}) == {"properties": {"k": "v"}}
    call("create_namespace", ("n", "m"))
    call.fails(NamespaceAlreadyExists, "create_namespace", "n")
    call.fails(NamespaceNotFound, "create_namespace", ("no", "m"))
    assert call("list_namespaces")["namespaces"] == ["n"]
    assert call("list_namespaces", "n")["namespaces"] == ["m"]
    assert call("describe_namespace", "n")["properties"] == {"k": "v"}
    call.fails(NamespaceNotFound, "describe_namespace", "no")
    assert call("namespace_exists", "n") == {}
    call.fails(NamespaceNotFound, "namespace_exists", "no")
    call.fails(NamespaceNotEmpty, "drop_namespace", "n")
    call("drop_namespace", ("n", "m"))
    call("drop_namespace", "n")
    call.fails(NamespaceNotFound, "drop_namespace", "n")
    call.fails(InvalidInput, "drop_namespace")


def _tables(call: Recorder) -> None:
    made = call("create_table", "t", data=stream(ROWS), properties={"k": "v w&=%"})
    assert (made["version"], made["properties"]) == (1, {"k": "v w&=%"})
    call.fails(TableAlreadyExists, "create_table", "t", data=stream(ROWS))
    call.fails(InvalidInput, "create_table", "u", data=stream(ROWS), mode="bogus")
    call.fails(InvalidInput, "create_table", "u", data=stream(ROWS.slice(0, 0)))
    big = pa.table({"x": ["x" * 3_000_000]})
    call.fails(InvalidInput, "create_table", "u", data=stream(big))
    call("declare_table", "d")
    call.fails(TableAlreadyExists, "declare_table", "d")
    assert call("list_tables")["tables"] == ["d", "t"]
    assert call("list_tables", include_declared=False)["tables"] == ["t"]
    first = call("list_tables", limit=1)
    assert call("list_tables", limit=1, page_token=first["page_token"])["tables"] == ["t"]
    # The server forgets what its catalog table holds.
    assert call("list_all_tables") == {"tables": []}
    known = call("describe_table", "t", load_detailed_metadata=True, check_declared=True)
    assert known["is_only_declared"] is False
    assert [f["name"] for f in known["schema"]["fields"]] == ["id", "x", "vec"]
    call.fails(TableNotFound, "describe_table", "no")
    call.fails(VersionNotFound, "describe_table", "t", version=99, load_detailed_metadata=True)
    assert call("table_exists", "d") == {}
    call.fails(TableNotFound, "table_exists", "no")
    call.fails(Unsupported, "rename_table", "t", new_table_name="u")
    place = call("deregister_table", "t")["location"]
    call.fails(TableNotFound, "deregister_table", "t")
    call("register_table", "t", location=place.rsplit("/", 1)[1])
    call.fails(TableAlreadyExists, "register_table", "t", location="elsewhere")
    call.fails(InvalidInput, "register_table", "u", location="../outside")
    assert call("drop_table", "d")["id"] == ["d"]
    call.fails(TableNotFound, "drop_table", "d")


def _rows(call: Recorder) -> None:
    assert call("insert_into_table", "t", data=stream(ROWS), mode="append")["version"] == 2
    call.fails(SchemaMismatch, "insert_into_table", "t", data=stream(pa.table({"zz": [1]})))
    call.fails(InvalidInput, "insert_into_table", "t", data=b"no stream")
    call.fails(TableNotFound, "insert_into_table", "no", data=stream(ROWS))
    merge: dict[str, Any] = {"data": stream(ROWS), "when_matched_update_all": True}
    assert call("merge_insert_into_table", "t", on=["id", "x"], **merge)["num_updated_rows"] == 6
    call.fails(ColumnNotFound, "merge_insert_into_table", "t", on=["no"], **merge)
    changed = call("update_table", "t", updates=[["x", "'z'"]], predicate="id = 1")
    assert changed["updated_rows"] == 2
    call.fails(ColumnNotFound, "update_table", "t", updates=[["no", "1"]])
    call("delete_from_table", "t", predicate="id = 2")
    call.fails(ColumnNotFound, "delete_from_table", "t", predicate="no = 2")
    call.fails(InvalidFilter, "delete_from_table", "t", predicate="((")
    call.fails(InvalidInput, "delete_from_table", "t", predicate="")
    assert call("count_table_rows", "t") == {"count": 4}
    assert call("count_table_rows", "t", predicate="x = 'z'") == {"count": 2}
    call.fails(ColumnNotFound, "count_table_rows", "t", predicate="no = 1")
    call.fails(InvalidFilter, "count_table_rows", "t", predicate="((")
    call.fails(VersionNotFound, "count_table_rows", "t", version=99)
    call.fails(BranchNotFound, "count_table_rows", "t", branch="no")


def _queries(call: Recorder) -> None:
    with ipc.open_file(call("query_table", "t", filter="x = 'z'", **SCAN)["data"]) as reader:
        assert reader.read_all()["id"].to_pylist() == [1, 1]
    call.fails(ColumnNotFound, "query_table", "t", filter="no = 1", **SCAN)
    call.fails(InvalidFilter, "query_table", "t", filter="((", **SCAN)
    call.fails(VersionNotFound, "query_table", "t", version=99, **SCAN)
    nearest = {"k": 1, "vector": {"single_vector": [0.1, 0.2]}, "vector_column": "vec"}
    assert "TopK" in call("explain_table_query_plan", "t", query=nearest)["plan"]
    assert "elapsed" in call("analyze_table_query_plan", "t", **nearest)["analysis"]
    bad = {"k": 1, "vector": {}, "filter": "no = 1"}
    call.fails(ColumnNotFound, "explain_table_query_plan", "t", query=bad)
    assert call("get_table_stats", "t")["num_indices"] == 0
    call.fails(BranchNotFound, "get_table_stats", "t", branch="no")


def _columns(call: Recorder) -> None:
    new = [{"name": "y", "expression": "id * 2"}]
    assert call("alter_table_add_columns", "t", new_columns=new)["version"]
    call.fails(InvalidInput, "alter_table_add_columns", "t", new_columns=new)
    call.fails(InvalidInput, "alter_table_add_columns", "t", new_columns=[{"name": "q"}])
    rename = [{"path": "y", "rename": "z"}]
    assert call("alter_table_alter_columns", "t", alterations=rename)["version"]
    call.fails(ColumnNotFound, "alter_table_alter_columns", "t", alterations=rename)
    assert call("alter_table_drop_columns", "t", columns=["z"])["version"]
    call.fails(ColumnNotFound, "alter_table_drop_columns", "t", columns=["z"])
    changed = call("update_table_schema_metadata", "t", metadata={"a": "b"})
    assert changed == {"metadata": {"a": "b"}}
    call.fails(Unsupported, "update_field_metadata", "t", updates=[])
    call.fails(Unsupported, "alter_table_backfill_columns", "t", column="x")


def _indices(call: Recorder) -> None:
    vector: dict[str, Any] = {"column": "vec", "num_partitions": 1, "distance_type": "l2"}
    assert call("create_table_index", "t", index_type="IVF_FLAT", **vector)["transaction_id"]
    call.fails(ColumnNotFound, "create_table_index", "t", column="no", index_type="IVF_FLAT")
    odd = "i dx/?#%41"
    scalar: dict[str, Any] = {"column": "id", "index_type": "BTREE", "name": odd}
    assert call("create_table_scalar_index", "t", **scalar)["transaction_id"]
    call.fails(IndexAlreadyExists, "create_table_scalar_index", "t", **scalar)
    names = {i["index_name"] for i in call("list_table_indices", "t")["indexes"]}
    assert names == {odd, "vec_idx"}
    stats = call("describe_table_index_stats", "t", index_name=odd)
    assert stats["index_type"] == "BTree"
    call.fails(IndexNotFound, "describe_table_index_stats", "t", index_name="no")
    call("drop_table_index", "t", index_name=odd)
    call.fails(IndexNotFound, "drop_table_index", "t", index_name=odd)


def _history(call: Recorder) -> None:
    latest = call("describe_table_version", "t")["version"]["version"]
    (top,) = call("list_table_versions", "t", limit=1, descending=True)["versions"]
    assert top["version"] == latest
    call.fails(VersionNotFound, "describe_table_version", "t", version=99)
    beyond: dict[str, Any] = {"version": latest + 9, "manifest_path": "nowhere"}
    call.fails(CommitConflict, "create_table_version", "t", **beyond)
    call.fails(Unsupported, "batch_create_table_versions", entries=[])
    call.fails(Unsupported, "batch_commit_tables", operations=[])
    call("create_table_tag", "t", tag="v1", version=1)
    call.fails(TagAlreadyExists, "create_table_tag", "t", tag="v1", version=1)
    call.fails(VersionNotFound, "create_table_tag", "t", tag="v2", version=99)
    call("update_table_tag", "t", tag="v1", version=2)
    assert call("get_table_tag_version", "t", tag="v1")["version"] == 2
    assert set(call("list_table_tags", "t")["tags"]) == {"v1"}
    call("delete_table_tag", "t", tag="v1")
    call.fails(TagNotFound, "delete_table_tag", "t", tag="v1")
    call.fails(TagNotFound, "get_table_tag_version", "t", tag="v1")
    call("create_table_branch", "t", name="br")
    call.fails(BranchAlreadyExists, "create_table_branch", "t", name="br")
    assert set(call("list_table_branches", "t")["branches"]) == {"br"}
    call("delete_table_branch", "t", name="br")
    call.fails(BranchNotFound, "delete_table_branch", "t", name="br")
    call("restore_table", "t", version=1)
    call.fails(VersionNotFound, "restore_table", "t", version=99)
    assert call("count_table_rows", "t") == {"count": 3}
    known = call("describe_transaction", ("t", "3"))
    assert (known["status"], known["properties"]["version"]) == ("SUCCEEDED", "3")
    call.fails(TransactionNotFound, "describe_transaction", ("t", "99"))
    assert call("alter_transaction", ("t", "3"), actions=[])["status"] == "SUCCEEDED"
    ranges = [{"start_version": 2, "end_version": 4}]
    assert call("batch_delete_table_versions", "t", ranges=ranges)["deleted_count"] == 2
    call.fails(Unsupported, "refresh_materialized_view", "t")
    view: dict[str, Any] = {"kind": "query", "source_query": "x", "output_schema": "x"}
    with pytest.raises((Unsupported, InvalidInput)):
        call("create_materialized_view", "mv", **view)


def test_every_operation(call: Recorder) -> None:
    for part in (_namespaces, _tables, _rows, _queries, _columns, _indices, _history):
        part(call)
    assert call.called == set(ROUTES)
