"""Data operations of the Lance Namespace specification over ``to_lance()``."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import lance_namespace as spec
import pyarrow as pa
import pytest
from lance_namespace.errors import LanceNamespaceError, UnsupportedOperationError
from serving_cases import PLACES, ROWS, code, ipc, place, rows_of

import pennon
from pennon.namespaces import Namespace
from pennon.storage.serving.adapter import OPERATIONS
from pennon.storage.serving.refusals import REFUSALS


@pytest.fixture(params=PLACES)
def namespace(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    with place(request) as namespace:
        yield namespace


@pytest.fixture
def n(namespace: Namespace) -> Any:
    return namespace.to_lance()


@pytest.fixture
def t(n: Any) -> Any:
    """The adapter, with a table ``t`` of three rows."""
    n.create_table({"id": ["t"]}, ipc(ROWS))
    return n


def ids(n: Any, **query: Any) -> list[int]:
    asked = {"id": ["t"], "k": 0, "vector": {}, "columns": {"column_names": ["id"]}, **query}
    return sorted(row["id"] for row in rows_of(n.query_table(asked)))


def test_every_operation_has_an_answer_or_a_reason() -> None:
    names = {m for m, _ in inspect.getmembers(spec.LanceNamespace, inspect.isfunction)}
    names = {m for m in names if not m.startswith("_")}
    adapter = pennon.connect("memory").connect().to_lance()
    here = {m for m in names if m in vars(type(adapter).__mro__[1])}
    assert names == here
    generated = {m for m in names if getattr(type(adapter), m).__doc__.startswith("Answer the op")}
    extra = {"describe_table", "table_exists"}
    assert generated | extra == set(OPERATIONS) | set(REFUSALS)
    assert not set(OPERATIONS) & set(REFUSALS)


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_what_is_refused_says_why(name: str) -> None:
    adapter = pennon.connect("memory").connect().to_lance()
    model = inspect.signature(getattr(spec.LanceNamespace, name)).parameters["request"].annotation
    with pytest.raises(UnsupportedOperationError) as caught:
        getattr(adapter, name)(model.model_construct(id=["t"]))
    assert caught.value.code == 0
    assert REFUSALS[name] in str(caught.value)


# -- create --------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_dict", [False, True])
def test_create(namespace: Namespace, n: Any, as_dict: bool) -> None:
    def ask(request: Any) -> Any:
        return request.model_dump() if as_dict else request

    namespace.create_namespace("team")
    made = n.create_table(
        ask(spec.CreateTableRequest(id=["team", "t"], properties={"k": "v"})), ipc(ROWS)
    )
    assert (made.version, made.properties) == (1, {"k": "v"})
    assert made.location == namespace.describe_table(("team", "t")).location
    assert made.transaction_id
    assert pennon.open(namespace).scan(("team", "t")).read_all().equals(ROWS)
    again = ask(spec.CreateTableRequest(id=["team", "t"]))
    assert code(n.create_table, again, ipc(ROWS)) == 5
    kept = n.create_table(ask(spec.CreateTableRequest(id=["team", "t"], mode="ExistOk")), ipc(ROWS))
    assert (kept.version, kept.properties) == (1, {"k": "v"})
    assert pennon.open(namespace).count_rows(("team", "t")) == 3
    assert code(n.create_table, ask(spec.CreateTableRequest(id=["no", "t"])), ipc(ROWS)) == 1
    assert code(n.create_table, ask(spec.CreateTableRequest(id=["u"], mode="x")), ipc(ROWS)) == 13
    assert code(n.create_table, ask(spec.CreateTableRequest(id=["a$b"])), ipc(ROWS)) == 13
    with_options = spec.CreateTableRequest(id=["u"], storage_options={"region": "x"})
    assert code(n.create_table, ask(with_options), ipc(ROWS)) == 0
    assert code(n.table_exists, {"id": ["u"]}) == 4


def test_create_over_a_table(t: Any, namespace: Namespace) -> None:
    other = pa.table({"x": ["a"]})
    made = t.create_table({"id": ["t"], "mode": "Overwrite"}, ipc(other))
    assert pennon.open(namespace).scan("t").read_all().equals(other)
    assert made.location == namespace.describe_table("t").location
    versions = t.list_table_versions({"id": ["t"]}).versions
    assert [v.version for v in versions] == [1, 2]
    new = {"id": ["new"], "mode": "overwrite", "properties": {"k": "v"}}
    t.create_table(new, ipc(ROWS))
    assert t.create_table(new, ipc(ROWS)).properties == {"k": "v"}
    assert code(t.create_table, {**new, "properties": {}}, ipc(ROWS)) == 0
    assert t.count_table_rows({"id": ["new"]}).count == 3


def test_create_without_rows(n: Any, namespace: Namespace) -> None:
    sink = pa.BufferOutputStream()
    pa.ipc.new_stream(sink, ROWS.schema).close()
    made = n.create_table({"id": ["t"]}, sink.getvalue().to_pybytes())
    assert made.version == 1
    assert pennon.open(namespace).get_table_schema("t") == ROWS.schema


def test_create_adopts_a_declared_name(n: Any) -> None:
    n.declare_table({"id": ["t"], "properties": {"k": "v"}})
    assert code(n.count_table_rows, {"id": ["t"]}) == 4
    made = n.create_table({"id": ["t"]}, ipc(ROWS))
    assert (made.version, made.properties) == (1, {"k": "v"})


def test_rows_that_are_none(t: Any) -> None:
    for data in (b"", b"no arrow", ipc(ROWS)[:-300], None, "text"):
        assert code(t.create_table, {"id": ["u"]}, data) == 13
        assert code(t.insert_into_table, {"id": ["t"]}, data) == 13
        assert code(t.merge_insert_into_table, {"id": ["t"], "on": ["id"]}, data) == 13
    assert code(t.table_exists, {"id": ["u"]}) == 4
    assert t.count_table_rows({"id": ["t"]}).count == 3


def test_a_primary_key_travels_in_the_schema(n: Any, namespace: Namespace) -> None:
    key = {"lance-schema:unenforced-primary-key:position": "0"}
    schema = pa.schema([pa.field("id", pa.int64(), False, key), ("x", pa.int64())])
    n.create_table({"id": ["t"]}, ipc([{"id": 1, "x": 1}], schema))
    upsert = {"when_matched_update_all": True, "when_not_matched_insert_all": True}
    # Over the wire the key has to be said.
    key_said = {"on": ["id"]} if namespace.kind == "rest" else {}
    done = n.merge_insert_into_table(
        {"id": ["t"], **upsert, **key_said},
        ipc([{"id": 1, "x": 2}, {"id": 2, "x": 2}]),
    )
    assert (done.num_updated_rows, done.num_inserted_rows) == (1, 1)
    assert ids(n) == [1, 2]


# -- rows ----------------------------------------------------------------------------------------


def test_insert(t: Any, namespace: Namespace) -> None:
    more = ROWS.set_column(0, "id", pa.array([4, 5, 6]))
    added = t.insert_into_table(spec.InsertIntoTableRequest(id=["t"]), ipc(more))
    assert (added.version, added.num_inserted_rows) == (2, 3)
    assert t.describe_transaction({"id": ["t", added.transaction_id]}).status == "Succeeded"
    assert ids(t) == [1, 2, 3, 4, 5, 6]
    put = t.insert_into_table({"id": ["t"], "mode": "OVERWRITE"}, ipc(more.slice(0, 1)))
    assert (put.version, put.num_inserted_rows) == (3, 1)
    assert ids(t) == [4]
    nothing = t.insert_into_table({"id": ["t"]}, ipc(ROWS.slice(0, 0)))
    assert (nothing.version, nothing.num_inserted_rows, nothing.transaction_id) == (3, 0, None)
    assert code(t.insert_into_table, {"id": ["t"]}, ipc(pa.table({"zz": [1]}))) == 20
    assert code(t.insert_into_table, {"id": ["no"]}, ipc(ROWS)) == 4
    assert code(t.insert_into_table, {"id": ["t"], "mode": "x"}, ipc(ROWS)) == 13
    assert code(t.insert_into_table, {"id": ["t"], "branch": "no"}, ipc(ROWS)) == 22


def test_insert_into_a_declared_name(n: Any) -> None:
    for number, mode in enumerate(("append", "overwrite")):
        id = [f"t{number}"]
        n.declare_table({"id": id})
        assert code(n.insert_into_table, {"id": id, "branch": "dev"}, ipc(ROWS)) == 4
        made = n.insert_into_table({"id": id, "mode": mode}, ipc(ROWS))
        assert (made.version, made.num_inserted_rows) == (1, 3)


def test_merge(t: Any) -> None:
    def merge(rows: list[dict[str, Any]], **rules: Any) -> tuple[int, int, int]:
        done = t.merge_insert_into_table({"id": ["t"], "on": ["id"], **rules}, ipc(rows, schema))
        return done.num_inserted_rows, done.num_updated_rows, done.num_deleted_rows

    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])
    update, insert = {"when_matched_update_all": True}, {"when_not_matched_insert_all": True}
    delete = {"when_not_matched_by_source_delete": True}
    assert merge([{"id": 1, "name": "x"}, {"id": 9, "name": "y"}], **update, **insert) == (1, 1, 0)
    assert merge([{"id": 1, "name": "z"}, {"id": 10, "name": "y"}], **insert) == (1, 0, 0)
    assert merge([{"id": 1, "name": "z"}, {"id": 11, "name": "y"}], **update) == (0, 1, 0)
    newer = {"when_matched_update_all_filt": "source.name > target.name"}
    assert merge([{"id": 1, "name": "a"}, {"id": 9, "name": "zz"}], **newer) == (0, 1, 0)
    assert merge([{"id": 1, "name": "a"}], **newer, **update, timeout="30s") == (0, 0, 0)
    some = {"when_not_matched_by_source_delete_filt": "id > 9"}
    assert merge([{"id": 1, "name": "z"}], **some) == (0, 0, 1)
    assert merge([{"id": 1, "name": "z"}], **some, **delete) == (0, 0, 0)
    assert merge([{"id": 1, "name": "z"}], **delete, **update, use_index=False) == (0, 1, 3)
    assert ids(t) == [1]
    assert code(lambda: merge([{"id": 1, "name": "z"}])) == 13
    assert code(lambda: merge([{"id": 1, "name": "z"}], timeout="soon", **update)) == 13
    assert code(lambda: merge([{"id": 1, "name": "z"}] * 2, **update)) == 13
    no_key = {"id": ["t"], "on": ["no"], **update}
    assert code(t.merge_insert_into_table, no_key, ipc([{"id": 1, "name": "z"}])) == 12
    no_on = {"id": ["t"], **update}
    assert code(t.merge_insert_into_table, no_on, ipc([{"id": 1, "name": "z"}])) == 13


def test_update(t: Any) -> None:
    done = t.update_table(
        {"id": ["t"], "updates": [["name", "'x'"], ["id", "id + 10"]], "predicate": "id > 1"}
    )
    assert (done.updated_rows, done.version) == (2, 2)
    assert ids(t) == [1, 12, 13]
    assert t.update_table({"id": ["t"], "updates": [["`name`", "'y'"]]}).updated_rows == 3
    nothing = t.update_table({"id": ["t"], "updates": [["id", "0"]], "predicate": "id = 99"})
    assert (nothing.updated_rows, nothing.version, nothing.transaction_id) == (0, 3, None)
    assert code(t.update_table, {"id": ["t"], "updates": [["no", "1"]]}) == 12
    assert code(t.update_table, {"id": ["t"], "updates": [["id", "no + 1"]]}) == 12
    assert code(t.update_table, {"id": ["t"], "updates": [["id", "1"], ["id", "2"]]}) == 13
    assert code(t.update_table, {"id": ["t"], "updates": [["a.b", "1"]]}) == 13
    assert code(t.update_table, {"id": ["t"], "updates": [["id"]]}) == 13
    kept = {"id": ["t"], "updates": [["id", "1"]], "properties": {"a": "b"}}
    assert code(t.update_table, kept) == 13
    assert code(t.update_table, {"id": ["no"], "updates": [["id", "1"]]}) == 4


def test_delete(t: Any) -> None:
    done = t.delete_from_table({"id": ["t"], "predicate": "id = 2"})
    assert done.version == 2
    assert ids(t) == [1, 3]
    nothing = t.delete_from_table({"id": ["t"], "predicate": "id = 2"})
    assert (nothing.version, nothing.transaction_id) == (2, None)
    assert code(t.delete_from_table, {"id": ["t"], "predicate": ""}) == 13
    assert code(t.delete_from_table, {"id": ["t"], "predicate": "no = 1"}) == 12
    assert code(t.delete_from_table, {"id": ["no"], "predicate": "id = 2"}) == 4
    t.delete_from_table({"id": ["t"], "predicate": "true"})
    assert ids(t) == []


def test_count(t: Any) -> None:
    t.insert_into_table({"id": ["t"]}, ipc(ROWS))
    assert t.count_table_rows(spec.CountTableRowsRequest(id=["t"])).count == 6
    assert t.count_table_rows({"id": ["t"], "version": 1}).count == 3
    assert t.count_table_rows({"id": ["t"], "predicate": "id = 1"}).count == 2
    assert code(t.count_table_rows, {"id": ["t"], "predicate": "no = 1"}) == 12
    assert code(t.count_table_rows, {"id": ["t"], "version": 9}) == 11
    assert code(t.count_table_rows, {"id": ["t"], "branch": "no"}) == 22
    assert code(t.count_table_rows, {"id": ["no"]}) == 4


def test_scan(t: Any) -> None:
    def query(**asked: Any) -> list[Any]:
        return rows_of(t.query_table({"id": ["t"], "k": 0, "vector": {}, **asked}))

    assert query() == ROWS.to_pylist()
    assert query(k=2, columns={"column_names": ["id"]}) == [{"id": 1}, {"id": 2}]
    assert query(k=2, offset=2, columns={"column_names": ["id"]}) == [{"id": 3}]
    assert query(filter="id > 2", columns={"column_names": ["`name`", "id"]}) == [
        {"name": None, "id": 3}
    ]
    assert query(columns={"column_aliases": {"twice": "id * 2", "n": "name"}}, k=1) == [
        {"twice": 2, "n": "ada"}
    ]
    both = {"column_names": ["id"], "column_aliases": {"n": "name"}}
    assert query(columns=both, k=1) == [{"id": 1, "n": "ada"}]
    with_id = query(columns={"column_names": ["id"]}, with_row_id=True)
    assert len({row["_rowid"] for row in with_id}) == 3
    assert query(columns={"column_names": ["id", "_rowid"]}) == with_id
    assert query(columns={}) == query()
    t.delete_from_table({"id": ["t"], "predicate": "id = 1"})
    assert len(query(version=1)) == 3
    assert code(lambda: query(columns={"column_names": ["no"]})) == 12
    assert code(lambda: query(filter="no > 1")) == 12
    assert code(lambda: query(filter="id >")) == 13
    assert code(lambda: query(version=99)) == 11
    assert code(lambda: query(branch="no")) == 22
    assert code(lambda: query(columns={"column_names": ["a..b"]})) == 13
    assert code(lambda: query(offset=-1)) == 13
    assert code(t.query_table, {"id": ["t"]}) == 13
    assert code(t.query_table, {"id": ["no"], "k": 0, "vector": {}}) == 4


def test_scan_of_nested_fields(n: Any) -> None:
    n.create_table({"id": ["t"]}, ipc([{"at": {"x": 1, "y": 2}}, {"at": {"x": 3, "y": 4}}]))
    asked = {"id": ["t"], "k": 0, "vector": {}, "columns": {"column_names": ["at.x", "at"]}}
    assert rows_of(n.query_table(asked))[1] == {"at.x": 3, "at": {"x": 3, "y": 4}}
    assert ids_of(n, "at.y > 3") == [3]


def ids_of(n: Any, filter: str) -> list[int]:
    asked = {"id": ["t"], "k": 0, "vector": {}, "filter": filter}
    return [row["at"]["x"] for row in rows_of(n.query_table(asked))]


# -- states --------------------------------------------------------------------------------------


def test_versions(t: Any, namespace: Namespace) -> None:
    t.insert_into_table({"id": ["t"]}, ipc(ROWS))
    t.delete_from_table({"id": ["t"], "predicate": "id = 1"})
    listed = t.list_table_versions(spec.ListTableVersionsRequest(id=["t"])).versions
    assert [v.version for v in listed] == [1, 2, 3]
    now = datetime.now(UTC).timestamp() * 1000
    assert all(abs(v.timestamp_millis - now) < 300_000 for v in listed)
    assert all(v.manifest_path.startswith(namespace.describe_table("t").location) for v in listed)
    newest = t.list_table_versions({"id": ["t"], "descending": True, "limit": 2})
    assert [v.version for v in newest.versions] == [3, 2]
    rest = t.list_table_versions({"id": ["t"], "descending": True, "page_token": newest.page_token})
    assert ([v.version for v in rest.versions], rest.page_token) == ([1], None)
    assert t.describe_table_version({"id": ["t"]}).version == listed[-1]
    assert t.describe_table_version({"id": ["t"], "version": 2}).version == listed[1]
    assert code(t.describe_table_version, {"id": ["t"], "version": 9}) == 11
    assert code(t.list_table_versions, {"id": ["t"], "limit": 0}) == 13
    assert code(t.list_table_versions, {"id": ["t"], "page_token": "x"}) == 13
    assert code(t.list_table_versions, {"id": ["no"]}) == 4
    assert code(t.list_table_versions, {"id": ["t"], "branch": "no"}) == 22
    back = t.restore_table({"id": ["t"], "version": 1})
    assert ids(t) == [1, 2, 3]
    assert t.describe_transaction({"id": ["t", back.transaction_id]}).properties["version"] == "4"
    assert code(t.restore_table, {"id": ["t"], "version": 9}) == 11


def test_transactions(t: Any) -> None:
    added = t.insert_into_table({"id": ["t"]}, ipc(ROWS)).transaction_id
    t.create_table_branch({"id": ["t"], "name": "dev"})
    gone = t.delete_from_table({"id": ["t"], "branch": "dev", "predicate": "id = 1"}).transaction_id
    by_id = t.describe_transaction(spec.DescribeTransactionRequest(id=["t", added]))
    assert by_id.properties["operation"] == "append"
    assert by_id.properties["rows_inserted"] == "3"
    assert t.describe_transaction({"id": ["t", "2"]}) == by_id
    on_branch = t.describe_transaction({"id": ["t", gone]})
    assert on_branch.properties["rows_deleted"] == "2"
    assert code(t.describe_transaction, {"id": ["t", "none"]}) == 10
    assert code(t.describe_transaction, {"id": ["t", "99"]}) == 10
    assert code(t.describe_transaction, {"id": ["no", "1"]}) == 4


def test_tags(t: Any) -> None:
    t.insert_into_table({"id": ["t"]}, ipc(ROWS))
    t.create_table_branch({"id": ["t"], "name": "dev"})
    t.create_table_tag(spec.CreateTableTagRequest(id=["t"], tag="a", version=1))
    t.create_table_tag({"id": ["t"], "tag": "b", "version": 2, "branch": "dev"})
    one, two = (t.get_table_tag_version({"id": ["t"], "tag": tag}) for tag in "ab")
    assert ((one.version, one.branch), (two.version, two.branch)) == ((1, None), (2, "dev"))
    listed = t.list_table_tags({"id": ["t"]}).tags
    assert {k: (v.version, v.branch) for k, v in listed.items()} == {
        "a": (1, None),
        "b": (2, "dev"),
    }
    page = t.list_table_tags({"id": ["t"], "limit": 1})
    assert (list(page.tags), page.page_token) == (["a"], "a")
    t.delete_table_tag({"id": ["t"], "tag": "a"})
    page = t.list_table_tags({"id": ["t"], "limit": 1, "page_token": "a"})
    assert (list(page.tags), page.page_token) == (["b"], None)
    t.create_table_tag({"id": ["t"], "tag": "a", "version": 1})
    t.update_table_tag({"id": ["t"], "tag": "a", "version": 2})
    assert t.get_table_tag_version({"id": ["t"], "tag": "a"}).version == 2
    assert t.describe_table({"id": ["t"], "tag": "a", "load_detailed_metadata": True}).version == 2
    assert code(t.create_table_tag, {"id": ["t"], "tag": "a", "version": 1}) == 9
    assert code(t.create_table_tag, {"id": ["t"], "tag": "c", "version": 9}) == 11
    assert code(t.create_table_tag, {"id": ["t"], "tag": "c", "version": 1, "branch": "no"}) == 22
    assert code(t.create_table_tag, {"id": ["t"], "tag": "a b", "version": 1}) == 13
    assert code(t.update_table_tag, {"id": ["t"], "tag": "c", "version": 1}) == 8
    assert code(t.get_table_tag_version, {"id": ["t"], "tag": "c"}) == 8
    t.delete_table_tag({"id": ["t"], "tag": "a"})
    assert code(t.delete_table_tag, {"id": ["t"], "tag": "a"}) == 8
    assert list(t.list_table_tags({"id": ["t"]}).tags) == ["b"]


def test_branches(t: Any) -> None:
    t.insert_into_table({"id": ["t"]}, ipc(ROWS))
    t.create_table_branch({"id": ["t"], "name": "dev"})
    t.create_table_branch({"id": ["t"], "name": "old", "from_version": 1})
    t.create_table_branch({"id": ["t"], "name": "two", "from_branch": "dev"})
    listed = t.list_table_branches({"id": ["t"]}).branches
    started = {k: (v.parent_branch, v.parent_version) for k, v in listed.items()}
    assert started == {"dev": (None, 2), "old": (None, 1), "two": ("dev", 2)}
    assert abs(listed["dev"].create_at - datetime.now(UTC).timestamp()) < 300
    page = t.list_table_branches({"id": ["t"], "limit": 2})
    assert (list(page.branches), page.page_token) == (["dev", "old"], "old")
    assert t.count_table_rows({"id": ["t"], "branch": "old"}).count == 3
    assert code(t.create_table_branch, {"id": ["t"], "name": "dev"}) == 23
    assert code(t.create_table_branch, {"id": ["t"], "name": "x", "from_branch": "no"}) == 22
    assert code(t.create_table_branch, {"id": ["t"], "name": "x", "from_version": 9}) == 11
    assert code(t.create_table_branch, {"id": ["t"], "name": "main"}) == 13
    assert code(t.delete_table_branch, {"id": ["t"], "name": "dev"}) == 19
    t.delete_table_branch({"id": ["t"], "name": "old"})
    assert code(t.delete_table_branch, {"id": ["t"], "name": "old"}) == 22


WRITES: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "insert": lambda n, at: n.insert_into_table(at, ipc(ROWS)),
    "overwrite": lambda n, at: n.insert_into_table({**at, "mode": "overwrite"}, ipc(ROWS)),
    "merge": lambda n, at: n.merge_insert_into_table(
        {**at, "on": ["id"], "when_matched_update_all": True}, ipc(ROWS)
    ),
    "update": lambda n, at: n.update_table({**at, "updates": [["name", "'x'"]]}),
    "delete": lambda n, at: n.delete_from_table({**at, "predicate": "id = 1"}),
    "restore": lambda n, at: n.restore_table({**at, "version": 1}),
    "schema": lambda n, at: n.update_table_schema_metadata({**at, "metadata": {"a": "b"}}),
    "field": lambda n, at: n.update_field_metadata(
        {**at, "updates": [{"path": "id", "metadata": {"a": "b"}}]}
    ),
    "add": lambda n, at: n.alter_table_add_columns(
        {**at, "new_columns": [{"name": "z", "expression": "id + 1"}]}
    ),
    "alter": lambda n, at: n.alter_table_alter_columns(
        {**at, "alterations": [{"path": "id", "rename": "key"}]}
    ),
    "drop": lambda n, at: n.alter_table_drop_columns({**at, "columns": ["name"]}),
    "index": lambda n, at: n.create_table_index({**at, "column": "id", "index_type": "BTREE"}),
}


def test_what_names_a_branch_stays_there(t: Any, namespace: Namespace) -> None:
    db = pennon.open(namespace)
    for name, write in WRITES.items():
        at = {"id": ["t"], "branch": name}
        t.create_table_branch({"id": ["t"], "name": name})
        write(t, at)
        assert db.get_table_version("t", branch=name) == 2, name
        listed = t.list_table_versions(at).versions
        assert [v.version for v in listed] == [1, 2], name
        assert t.describe_table_version(at).version.version == 2, name
    assert db.get_table_version("t") == 1
    assert db.scan("t").read_all().equals(ROWS)


# -- what a table is -----------------------------------------------------------------------------


def test_describe(t: Any, namespace: Namespace) -> None:
    t.insert_into_table({"id": ["t"]}, ipc(ROWS))
    t.create_table_branch({"id": ["t"], "name": "dev", "from_version": 1})
    plain = t.describe_table({"id": ["t"]})
    assert (plain.version, plain.var_schema, plain.is_only_declared) == (None, None, None)
    full = t.describe_table({"id": ["t"], "load_detailed_metadata": True})
    assert (full.version, full.is_only_declared, full.managed_versioning) == (2, False, False)
    assert [f.name for f in full.var_schema.fields] == ROWS.schema.names
    assert full.stats.num_deleted_rows == 0
    old = t.describe_table({"id": ["t"], "version": 1, "load_detailed_metadata": True})
    assert (old.version, old.location) == (1, full.location)
    other = t.describe_table({"id": ["t"], "branch": "dev", "load_detailed_metadata": True})
    assert (other.version, other.location) == (1, full.location)
    assert t.describe_table({"id": ["t"], "branch": "dev"}).location == full.location
    for wrong, said in (({"branch": "no"}, 22), ({"tag": "no"}, 8), ({"version": 9}, 11)):
        assert code(t.describe_table, {"id": ["t"], **wrong}) == said
    assert code(t.describe_table, {"id": ["t"], "tag": "a", "version": 1}) == 13
    t.table_exists({"id": ["t"], "version": 2})
    assert code(t.table_exists, {"id": ["t"], "version": 9}) == 11
    assert code(t.table_exists, {"id": ["no"], "version": 1}) == 4
    t.declare_table({"id": ["d"]})
    declared = t.describe_table({"id": ["d"], "load_detailed_metadata": True})
    assert (declared.is_only_declared, declared.version) == (True, None)
    assert code(t.describe_table, {"id": ["d"], "version": 1}) == 11
    assert code(t.describe_table, {"id": ["no"], "load_detailed_metadata": True}) == 4


def test_metadata(t: Any) -> None:
    first = t.update_table_schema_metadata({"id": ["t"], "metadata": {"a": "1", "b": "2"}})
    assert first.metadata == {"a": "1", "b": "2"}
    second = t.update_table_schema_metadata({"id": ["t"], "metadata": {"a": "3"}})
    assert second.metadata == {"a": "3", "b": "2"}
    known = t.describe_table({"id": ["t"], "load_detailed_metadata": True})
    assert known.metadata == {"a": "3", "b": "2"}
    updates = [
        {"path": "id", "metadata": {"unit": "m", "x": "1"}},
        {"path": "name", "metadata": {"lang": "en"}},
    ]
    done = t.update_field_metadata({"id": ["t"], "updates": updates})
    assert done.fields == {"id": {"unit": "m", "x": "1"}, "name": {"lang": "en"}}
    replaced = [{"path": "id", "metadata": {"unit": "km"}, "replace": True}]
    assert t.update_field_metadata({"id": ["t"], "updates": replaced}).fields == {
        "id": {"unit": "km"}
    }
    removed = [{"path": "id", "metadata": {"unit": None}}]
    assert t.update_field_metadata({"id": ["t"], "updates": removed}).fields == {"id": {}}
    assert code(t.update_table_schema_metadata, {"id": ["t"]}) == 13
    no = [{"path": "no", "metadata": {"a": "b"}}]
    assert code(t.update_field_metadata, {"id": ["t"], "updates": no}) == 12
    assert code(t.update_field_metadata, {"id": ["t"], "updates": no * 2}) == 13


def test_columns(t: Any) -> None:
    added = t.alter_table_add_columns(
        {"id": ["t"], "new_columns": [{"name": "twice", "expression": "id * 2"}]}
    )
    assert added.version == 2
    changes = [
        {"path": "twice", "rename": "double", "data_type": {"type": "float64"}},
        {"path": "id", "nullable": True},
    ]
    t.alter_table_alter_columns({"id": ["t"], "alterations": changes})
    known = t.describe_table({"id": ["t"], "load_detailed_metadata": True}).var_schema.fields
    assert [(f.name, f.type.type) for f in known][-1] == ("double", "float64")
    asked = {"id": ["t"], "k": 1, "vector": {}, "columns": {"column_names": ["double"]}}
    assert rows_of(t.query_table(asked)) == [{"double": 2.0}]
    dropped = t.alter_table_drop_columns({"id": ["t"], "columns": ["double"]})
    assert t.describe_transaction({"id": ["t", dropped.transaction_id]}).properties["version"] == (
        str(dropped.version)
    )
    add, alter, drop = (
        t.alter_table_add_columns,
        t.alter_table_alter_columns,
        t.alter_table_drop_columns,
    )

    def new(**entry: Any) -> Any:
        return {"id": ["t"], "new_columns": [{"name": "z", **entry}]}

    def change(**entry: Any) -> Any:
        return {"id": ["t"], "alterations": [{"path": "id", **entry}]}

    assert code(add, new()) == 13
    assert code(add, new(computed="id + 1")) == 0
    assert code(add, new(expression="no + 1")) == 12
    assert code(add, {"id": ["t"], "new_columns": [{"name": "id", "expression": "1"}]}) == 13
    assert code(alter, change()) == 13
    assert code(alter, change(data_type={"type": "integer"})) == 13
    assert code(alter, change(data_type={})) == 13
    assert code(alter, {"id": ["t"], "alterations": [{"path": "no", "rename": "x"}]}) == 12
    assert code(alter, change(rename="name")) == 13
    assert code(drop, {"id": ["t"], "columns": ["no"]}) == 12


# -- many at once --------------------------------------------------------------------------------


def test_racing_creators(n: Any) -> None:
    barrier = threading.Barrier(4)
    won: list[int] = []
    lost: list[int] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            n.create_table({"id": ["t"]}, ipc([{"id": number}]))
        except LanceNamespaceError as error:
            lost.append(int(error.code))
        else:
            won.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), lost) == (1, [5, 5, 5])
    assert ids(n) == won


def test_racing_inserts_into_a_declared_name(n: Any) -> None:
    n.declare_table({"id": ["t"]})
    barrier = threading.Barrier(4)
    failed: list[BaseException] = []

    def work(number: int) -> None:
        barrier.wait()
        try:
            n.insert_into_table({"id": ["t"]}, ipc([{"id": number}]))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert ids(n) == [0, 1, 2, 3]
