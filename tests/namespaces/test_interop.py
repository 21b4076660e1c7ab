"""pylance and lancedb on catalogs of pennon."""

from __future__ import annotations

import inspect
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import lance
import lance_namespace as spec
import pyarrow as pa
import pytest
from lance.namespace import RestAdapter
from lance_namespace.errors import LanceNamespaceError

import pennon
from pennon.errors import Unsupported
from pennon.namespaces import Namespace
from pennon.namespaces.interop import LanceNamespaceAdapter
from pennon.testing.services import TestRoot

ROWS = pa.table(
    {
        "id": [1, 2, 3],
        "vector": pa.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], pa.list_(pa.float32(), 2)),
    }
)


def _connect(root: TestRoot) -> Namespace:
    storage = {f"storage.{k}": v for k, v in root.options.items()}
    return pennon.connect("dir", {"root": root.uri, **storage}).connect()


@pytest.fixture(params=["local", "s3"])
def namespace(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Namespace]:
    if request.param == "local":
        root = TestRoot(str(tmp_path / "root"))
    else:
        root = request.getfixturevalue("s3_root")
    with _connect(root) as namespace:
        yield namespace


@pytest.fixture
def memory() -> Namespace:
    return pennon.connect("memory").connect()


def _code(call: Any, *args: Any) -> int:
    with pytest.raises(LanceNamespaceError) as caught:
        call(*args)
    return int(caught.value.code)


# -- the operations on names --------------------------------------------------------------------


def test_the_adapter_is_one_of_lance(memory: Namespace) -> None:
    adapter = memory.to_lance()
    assert isinstance(adapter, spec.LanceNamespace)
    assert isinstance(adapter, LanceNamespaceAdapter)
    found = {n for n, _ in inspect.getmembers(spec.LanceNamespace, inspect.isfunction)}
    operations = {n for n in found if not n.startswith("_")}
    assert len(operations) >= 56
    for name in operations:
        method = getattr(type(adapter), name)
        assert method is not getattr(spec.LanceNamespace, name), f"{name} is inherited"


def test_names_alone_need_no_storage_backend() -> None:
    code = """
import sys, pennon
n = pennon.connect("memory").connect()
n.declare_table("t")
assert "lance_namespace" not in sys.modules and "pennon.storage.serving" not in sys.modules
n.to_lance().describe_table({"id": ["t"]})
assert "pennon.storage._memory.base" not in sys.modules
assert "lance" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("as_dict", [False, True])
def test_names(memory: Namespace, as_dict: bool) -> None:
    n = memory.to_lance()

    def ask(request: Any) -> Any:
        return request.model_dump() if as_dict else request

    made = n.create_namespace(
        ask(spec.CreateNamespaceRequest(id=["a"], properties={"k": "v"}, mode="Create"))
    )
    assert made.properties == {"k": "v"}
    for mode in ("ExistOk", "exist_ok", "EXISTOK", "existok"):
        again = n.create_namespace(ask(spec.CreateNamespaceRequest(id=["a"], mode=mode)))
        assert again.properties == {"k": "v"}
    assert _code(n.create_namespace, ask(spec.CreateNamespaceRequest(id=["a"]))) == 2
    assert _code(n.create_namespace, ask(spec.CreateNamespaceRequest(id=["a"], mode="x"))) == 13
    n.create_namespace(ask(spec.CreateNamespaceRequest(id=["a", "b"])))
    assert n.list_namespaces(ask(spec.ListNamespacesRequest(id=["a"]))).namespaces == ["b"]
    assert n.list_namespaces(ask(spec.ListNamespacesRequest())).namespaces == ["a"]
    assert _code(n.list_namespaces, ask(spec.ListNamespacesRequest(id=["no"]))) == 1
    n.namespace_exists(ask(spec.NamespaceExistsRequest(id=["a", "b"])))
    assert _code(n.namespace_exists, ask(spec.NamespaceExistsRequest(id=["b"]))) == 1
    described = n.describe_namespace(ask(spec.DescribeNamespaceRequest(id=["a"])))
    assert described.properties == {"k": "v"}
    assert _code(n.drop_namespace, ask(spec.DropNamespaceRequest(id=["a"]))) == 3
    n.drop_namespace(ask(spec.DropNamespaceRequest(id=["no"], mode="SKIP")))
    n.drop_namespace(ask(spec.DropNamespaceRequest(id=["a"], behavior="CASCADE")))
    assert _code(n.drop_namespace, ask(spec.DropNamespaceRequest(id=["a"]))) == 1
    overwritten = spec.CreateNamespaceRequest(id=["c"], mode="Overwrite", properties={"x": "y"})
    assert n.create_namespace(ask(overwritten)).properties == {"x": "y"}


@pytest.mark.parametrize("as_dict", [False, True])
def test_tables(memory: Namespace, as_dict: bool) -> None:
    n = memory.to_lance()

    def ask(request: Any) -> Any:
        return request.model_dump() if as_dict else request

    memory.create_namespace("a")
    made = n.declare_table(ask(spec.DeclareTableRequest(id=["a", "t"], properties={"k": "v"})))
    assert (made.properties, made.managed_versioning) == ({"k": "v"}, False)
    assert _code(n.declare_table, ask(spec.DeclareTableRequest(id=["a", "t"]))) == 5
    assert _code(n.declare_table, ask(spec.DeclareTableRequest(id=["a"]))) == 2
    assert _code(n.declare_table, ask(spec.DeclareTableRequest(id=["no", "t"]))) == 1
    assert _code(n.declare_table, ask(spec.DeclareTableRequest(id=["u"], location="x"))) == 0
    asked = spec.DescribeTableRequest(id=["a", "t"], check_declared=True, with_table_uri=True)
    known = n.describe_table(ask(asked))
    assert (known.table, known.namespace, known.location) == ("t", ["a"], made.location)
    assert (known.table_uri, known.is_only_declared) == (made.location, True)
    assert (known.properties, known.managed_versioning) == ({"k": "v"}, False)
    assert n.describe_table(ask(spec.DescribeTableRequest(id=["a", "t"]))).is_only_declared is None
    n.table_exists(ask(spec.TableExistsRequest(id=["a", "t"])))
    assert _code(n.table_exists, ask(spec.TableExistsRequest(id=["t"]))) == 4
    assert _code(n.table_exists, ask(spec.TableExistsRequest(id=["a", "t"], version=3))) == 4
    n.rename_table(ask(spec.RenameTableRequest(id=["a", "t"], new_table_name="u")))
    n.rename_table(
        ask(spec.RenameTableRequest(id=["a", "u"], new_table_name="v", new_namespace_id=[]))
    )
    assert n.list_tables(ask(spec.ListTablesRequest())).tables == ["v"]
    memory.declare_table(("a", "w"))
    assert n.list_all_tables(ask(spec.ListTablesRequest())).tables == ["a$w", "v"]
    declared = spec.ListTablesRequest(include_declared=False)
    assert n.list_tables(ask(declared)).tables == []
    memory.mark_written("v")  # type: ignore[attr-defined]
    assert n.list_tables(ask(declared)).tables == ["v"]
    gone = n.deregister_table(ask(spec.DeregisterTableRequest(id=["v"])))
    place = gone.location.removeprefix(f"{memory.root}/")
    registered = spec.RegisterTableRequest(id=["x"], location=place, mode="CREATE")
    assert n.register_table(ask(registered)).location == made.location
    assert _code(n.register_table, ask(registered)) == 5
    registered = spec.RegisterTableRequest(id=["y"], location="no/where")
    assert _code(n.register_table, ask(registered)) == 4
    registered = spec.RegisterTableRequest(id=["y"], location="../x")
    assert _code(n.register_table, ask(registered)) == 13
    assert n.drop_table(ask(spec.DropTableRequest(id=["x"]))).id == ["x"]
    assert _code(n.drop_table, ask(spec.DropTableRequest(id=["x"]))) == 4


def test_pages(memory: Namespace) -> None:
    n = memory.to_lance()
    for name in "abcde":
        memory.declare_table(name)
    found: list[str] = []
    token: str | None = None
    for _ in range(3):
        answer = n.list_tables({"limit": 2, "page_token": token})
        found += answer.tables
        token = answer.page_token
    assert (found, token) == (list("abcde"), None)
    assert n.list_tables({"page_token": ""}).tables == list("abcde")
    assert _code(n.list_tables, {"limit": 0}) == 13


def test_bad_requests(memory: Namespace) -> None:
    n = memory.to_lance()
    assert _code(n.list_tables, None) == 13
    assert _code(n.list_tables, "t") == 13
    assert _code(n.register_table, {"id": ["t"]}) == 13
    with pytest.raises(LanceNamespaceError) as caught:
        n.create_table_tag({"id": ["t"], "tag": {"secret": "hush-hush"}})
    assert "hush-hush" not in str(caught.value)
    assert _code(n.describe_table, {"id": []}) == 13
    assert _code(n.declare_table, {"id": ["a$b"]}) == 13
    assert _code(n.list_tables, {"id": ["no"], "unknown_field": 1}) == 1


def test_instances_differ(memory: Namespace) -> None:
    first, second = memory.to_lance(), memory.to_lance()
    assert first.namespace_id() != second.namespace_id()
    assert first.namespace_id() == first.namespace_id()


# -- pylance --------------------------------------------------------------------------------------


def test_pylance(namespace: Namespace) -> None:
    n = namespace.to_lance()
    namespace.create_namespace("team")
    for id in (["docs"], ["team", "docs"], ["odd name'%41 é"]):
        lance.write_dataset(ROWS, namespace_client=n, table_id=id, mode="create")
        lance.write_dataset(ROWS, namespace_client=n, table_id=id, mode="append")
        dataset = lance.dataset(namespace_client=n, table_id=id)
        assert dataset.count_rows() == 6
        assert dataset.version == 2
        assert namespace.describe_table(id, check_declared=True).declared_only is False
        info = namespace.describe_table(id)
        options: Any = dict(info.storage_options or {})
        assert lance.dataset(info.location, storage_options=options).count_rows() == 6
        lance.write_dataset(ROWS, namespace_client=n, table_id=id, mode="overwrite")
        assert lance.dataset(namespace_client=n, table_id=id).count_rows() == 3
        with pytest.raises(LanceNamespaceError) as caught:
            lance.write_dataset(ROWS, namespace_client=n, table_id=id, mode="create")
        assert caught.value.code == 5
    with pytest.raises(LanceNamespaceError) as caught:
        lance.dataset(namespace_client=n, table_id=["no"])
    assert caught.value.code == 4
    namespace.rename_table("docs", "pages")
    assert lance.dataset(namespace_client=n, table_id=["pages"]).count_rows() == 3
    namespace.drop_table("pages")
    with pytest.raises(LanceNamespaceError):
        lance.dataset(namespace_client=n, table_id=["pages"])


def test_credentials_are_vended_on_request(s3_root: TestRoot) -> None:
    n = _connect(s3_root).to_lance()
    made = n.declare_table({"id": ["t"]})
    secret = s3_root.options["secret_access_key"]
    assert secret in (made.storage_options or {}).values()
    assert n.describe_table({"id": ["t"], "vend_credentials": False}).storage_options is None
    assert n.declare_table({"id": ["u"], "vend_credentials": False}).storage_options is None
    assert secret not in f"{n!r} {n.namespace_id()}"
    with pytest.raises(Unsupported) as caught:
        pickle.dumps(n)
    assert secret not in str(caught.value)


def test_pickle(tmp_path: Any) -> None:
    namespace = pennon.connect("dir", {"root": str(tmp_path / "root")}).connect()
    lance.write_dataset(ROWS, namespace_client=namespace.to_lance(), table_id=["t"])
    copy = pickle.loads(pickle.dumps(namespace.to_lance()))
    assert lance.dataset(namespace_client=copy, table_id=["t"]).count_rows() == 3


def test_threads(namespace: Namespace) -> None:
    n = namespace.to_lance()
    lance.write_dataset(ROWS, namespace_client=n, table_id=["shared"], mode="create")

    def work(number: int) -> int:
        id = [f"t{number}"]
        lance.write_dataset(ROWS, namespace_client=n, table_id=id, mode="create")
        lance.write_dataset(ROWS, namespace_client=n, table_id=["shared"], mode="append")
        return lance.dataset(namespace_client=n, table_id=id).count_rows()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(8))) == [3] * 8
    assert lance.dataset(namespace_client=n, table_id=["shared"]).count_rows() == 27
    assert len(n.list_tables({}).tables) == 9


# -- lancedb --------------------------------------------------------------------------------------


def test_lancedb(namespace: Namespace) -> None:
    from lancedb.namespace import LanceNamespaceDBConnection

    db = LanceNamespaceDBConnection(namespace.to_lance())
    db.create_namespace(["team"])
    assert db.list_namespaces().namespaces == ["team"]
    for where in ([], ["team"]):
        table = db.create_table("docs", ROWS, namespace_path=where)
        table.add(ROWS)
        assert db.open_table("docs", namespace_path=where).count_rows() == 6
        found = table.search([1.0, 0.0]).limit(2).to_arrow()
        assert found["id"].to_pylist() == [1, 1]
        table.merge_insert("id").when_matched_update_all().execute(ROWS.slice(0, 0))
        assert db.list_tables(namespace_path=where).tables == ["docs"]
        with pytest.raises(Exception, match="already"):
            db.create_table("docs", ROWS, namespace_path=where)
        replaced = db.create_table("docs", ROWS.slice(0, 1), namespace_path=where, mode="overwrite")
        assert replaced.count_rows() == 1
    assert namespace.describe_table(("team", "docs"), check_declared=True).declared_only is False
    assert lance.dataset(namespace_client=namespace.to_lance(), table_id=["docs"]).count_rows() == 1
    db.drop_table("docs", namespace_path=["team"])
    assert namespace.table_exists(("team", "docs")) is False
    with pytest.raises(Exception, match=r"no table team\.docs"):
        db.open_table("docs", namespace_path=["team"])
    db.drop_namespace(["team"])
    db.drop_all_tables()
    assert list(namespace.iter_tables(recursive=True)) == []


# -- a server below ----------------------------------------------------------------------------


@pytest.fixture
def rest(tmp_path: Any) -> Iterator[Namespace]:
    root = {"root": str(tmp_path / "served"), "dir_listing_enabled": "false"}
    with RestAdapter("dir", root, port=0) as server:
        uri = f"http://127.0.0.1:{server.port}"
        with pennon.connect("rest", {"uri": uri}) as namespace:
            yield namespace


def _ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def test_data_operations_go_to_the_server(rest: Namespace) -> None:
    n = rest.to_lance()
    made = n.create_table(spec.CreateTableRequest(id=["t"]), _ipc(ROWS))
    assert (made.version, bool(made.location)) == (1, True)
    assert n.count_table_rows({"id": ["t"]}).count == 3
    n.insert_into_table({"id": ["t"], "mode": "append"}, _ipc(ROWS))
    assert n.count_table_rows(spec.CountTableRowsRequest(id=["t"], predicate="id = 1")).count == 2
    versions = n.list_table_versions({"id": ["t"]}).versions
    assert sorted(v.version for v in versions) == [1, 2]
    n.create_table_tag({"id": ["t"], "tag": "v1", "version": 1})
    assert n.get_table_tag_version({"id": ["t"], "tag": "v1"}).version == 1
    assert "v1" in n.list_table_tags({"id": ["t"]}).tags
    assert n.describe_table({"id": ["t"], "load_detailed_metadata": True}).version == 2
    n.update_table_schema_metadata({"id": ["t"], "metadata": {"a": "b"}})
    data = n.query_table(
        {"id": ["t"], "k": 0, "vector": {}, "columns": {"column_names": ["id"]}}
    ).data
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        assert reader.read_all().num_rows == 6
    assert _code(n.count_table_rows, {"id": ["no"]}) == 4
    assert lance.dataset(namespace_client=n, table_id=["t"]).count_rows() == 6
    lance.write_dataset(ROWS, namespace_client=n, table_id=["u"], mode="create")
    assert n.count_table_rows({"id": ["u"]}).count == 3


def test_a_server_is_not_asked_about_branches_it_ignores(rest: Namespace) -> None:
    n = rest.to_lance()
    n.create_table({"id": ["t"]}, _ipc(ROWS))
    n.create_table_branch({"id": ["t"], "name": "dev"})
    at = {"id": ["t"], "branch": "dev"}
    n.insert_into_table(at, _ipc(ROWS))
    n.merge_insert_into_table({**at, "on": ["id"], "when_matched_update_all": True}, _ipc(ROWS))
    n.update_table({**at, "updates": [["id", "id + 10"]]})
    n.delete_from_table({**at, "predicate": "id = 11"})
    n.create_table_index({**at, "column": "id", "index_type": "BTREE"})
    n.create_table_tag({**at, "tag": "here", "version": 2})
    n.update_table_schema_metadata({**at, "metadata": {"a": "b"}})
    n.alter_table_add_columns({**at, "new_columns": [{"name": "x", "expression": "id"}]})
    n.alter_table_alter_columns({**at, "alterations": [{"path": "x", "rename": "y"}]})
    n.alter_table_drop_columns({**at, "columns": ["y"]})
    dataset = lance.dataset(namespace_client=n, table_id=["t"])
    assert (dataset.version, dataset.count_rows()) == (1, 3)
    branch = dataset.checkout_version(("dev", None))
    assert (branch.count_rows(), branch.schema.metadata) == (4, {b"a": b"b"})
    assert [i.name for i in branch.describe_indices()] == ["id_btree"]
    assert n.get_table_tag_version({"id": ["t"], "tag": "here"}).branch == "dev"
    assert len(n.list_table_indices(at).indexes) == 1
    assert n.describe_table_index_stats({**at, "index_name": "id_btree"}).num_indexed_rows == 4
    query = {"k": 0, "vector": {}, "filter": "id < 12"}
    assert "id_btree" in n.explain_table_query_plan({**at, "query": query})
    assert "id_btree" in n.explain_table_query_plan({"id": ["t"], "query": {**query, **at}})
    assert "id_btree" in n.analyze_table_query_plan({**at, **query})
    known = n.describe_table({**at, "load_detailed_metadata": True})
    assert known.version == branch.version
    assert not known.managed_versioning
    assert (
        n.describe_table({"id": ["t"], "tag": "here", "load_detailed_metadata": True}).version == 2
    )
    dataset.create_scalar_index("id", "BTREE", name="id_btree")
    n.drop_table_index({**at, "index_name": "id_btree"})
    assert [i.index_name for i in n.list_table_indices({"id": ["t"]}).indexes] == ["id_btree"]
    n.update_table_tag({**at, "tag": "here", "version": 3})
    assert n.get_table_tag_version({"id": ["t"], "tag": "here"}).branch == "dev"
    assert _code(n.insert_into_table, {**at, "identity": {"api_key": "k"}}, _ipc(ROWS)) == 0
    assert _code(n.insert_into_table, {**at, "branch": "no"}, _ipc(ROWS)) == 22
    assert n.insert_into_table({**at, "branch": "main"}, _ipc(ROWS)).version == 3


class _Echo(BaseHTTPRequestHandler):
    """Remembers the headers it was sent and answers every request alike."""

    seen: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.seen.append({k.lower(): v for k, v in self.headers.items()})
        body = json.dumps({"location": "/x", "tables": []}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_credentials_of_one_request_are_sent() -> None:
    _Echo.seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}"
        with pennon.connect("rest", {"uri": uri}) as namespace:
            n = namespace.to_lance()
            n.declare_table({"id": ["t"], "identity": {"api_key": "hush-hush"}})
            n.list_tables({"context": {"header.x-team": "docs"}})
            assert [h.get("x-api-key") for h in _Echo.seen] == ["hush-hush", None]
            assert [h.get("x-team") for h in _Echo.seen] == [None, "docs"]
            assert "hush-hush" not in repr(n)
        server.shutdown()
