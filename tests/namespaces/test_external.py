"""Catalogs of other makers: Glue on a real (moto) server, the others as far as they can be had."""

from __future__ import annotations

import importlib.util
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import lance
import lance_namespace as spec
import pyarrow as pa
import pytest

import pennon
from pennon.errors import (
    InvalidInput,
    InvalidName,
    InvalidOption,
    MissingExtra,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    PennonError,
    StorageError,
    TableAlreadyExists,
    TableNotFound,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from pennon.namespaces import Namespace
from pennon.namespaces._foreign_errors import translate
from pennon.namespaces.external import ExternalNamespace
from pennon.testing._suite_base import tree
from pennon.testing.services import S3Server, TestRoot

ROWS = pa.table({"id": [1, 2]})
SECRET = "glue-" + "secret"


def _glue(endpoint: str, root: TestRoot | None = None) -> dict[str, str]:
    storage = {f"storage.{k}": v for k, v in root.options.items()} if root else {}
    return {
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": "any",
        "secret_access_key": SECRET,
        **({"root": root.uri} if root else {}),
        **storage,
    }


@pytest.fixture
def glue(moto_server: S3Server, moto_root: TestRoot) -> Iterator[Namespace]:
    client: Any = boto3.client(
        "glue",
        endpoint_url=moto_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key=SECRET,
    )
    for database in client.get_databases()["DatabaseList"]:
        client.delete_database(Name=database["Name"])
    with pennon.connect("glue", _glue(moto_server.endpoint, moto_root)) as namespace:
        assert isinstance(namespace, ExternalNamespace)
        yield namespace


# -- Glue ------------------------------------------------------------------------------------------


def test_glue_namespaces(glue: Namespace) -> None:
    assert tree(glue) == ([], [])
    made = glue.create_namespace("db", properties={"k": "v"})
    assert dict(made.properties) == {"k": "v"}
    with pytest.raises(NamespaceAlreadyExists):
        glue.create_namespace("db")
    assert dict(glue.create_namespace("db", mode="exist_ok").properties) == {"k": "v"}
    assert glue.namespace_exists("db") is True
    assert glue.namespace_exists("no") is False
    assert glue.namespace_exists(("db", "deeper")) is False
    assert "nested" not in glue.capabilities
    with pytest.raises(Unsupported, match="1 part"):
        glue.create_namespace(("db", "deeper"))
    with pytest.raises(NamespaceNotFound):
        glue.describe_namespace("no")
    with pytest.raises(NamespaceNotFound):
        glue.list_tables("no")
    with pytest.raises(NamespaceNotFound):
        glue.list_namespaces("no")
    with pytest.raises(NamespaceNotFound):
        glue.drop_namespace("no")
    glue.drop_namespace("no", missing_ok=True)
    assert glue.create_namespace("db", mode="overwrite").id == ("db",)
    assert dict(glue.describe_namespace("db").properties) == {}
    glue.drop_namespace("db")
    assert tree(glue) == ([], [])
    with pytest.raises(NamespaceAlreadyExists):
        glue.create_namespace(())
    with pytest.raises(InvalidInput):
        glue.drop_namespace(())
    with pytest.raises(InvalidName):
        glue.create_namespace("a$b")
    with pytest.raises(Unsupported):
        glue.update_namespace("db", set={"k": "v"})


def test_glue_tables(glue: Namespace, moto_root: TestRoot) -> None:
    glue.create_namespace("db")
    made = glue.declare_table(("db", "t"), properties={"k": "v"})
    assert made.location.startswith(f"{moto_root.uri}/")
    assert dict(made.properties) == {"k": "v"}
    assert glue.describe_table(("db", "t")).location == made.location
    with pytest.raises(TableAlreadyExists):
        glue.declare_table(("db", "t"))
    with pytest.raises(NamespaceNotFound):
        glue.declare_table(("no", "t"))
    with pytest.raises(Unsupported, match="2 parts"):
        glue.declare_table("t")
    for id in ("t", ("db", "no"), ("no", "t"), ("db", "t", "u")):
        assert glue.table_exists(id) is False
        with pytest.raises(TableNotFound):
            glue.describe_table(id)
        with pytest.raises(TableNotFound):
            glue.drop_table(id)
        glue.drop_table(id, missing_ok=True)
    info = glue.describe_table(("db", "t"), check_declared=True)
    assert info.declared_only is True
    options: Any = info.storage_options
    lance.write_dataset(ROWS, info.location, storage_options=options)
    assert glue.describe_table(("db", "t"), check_declared=True).declared_only is False
    glue.declare_table(("db", "u"))
    assert list(glue.list_tables("db")) == [("db", "t"), ("db", "u")]
    assert list(glue.list_tables("db", include_declared=False)) == [("db", "t")]
    page = glue.list_tables(recursive=True, limit=1)
    assert (list(page), page.next_page_token) == ([("db", "t")], "db$t")
    assert list(glue.list_tables(recursive=True, page_token="db$t")) == [("db", "u")]
    with pytest.raises(NamespaceNotEmpty):
        glue.drop_namespace("db")


def test_glue_moves(glue: Namespace, moto_root: TestRoot) -> None:
    glue.create_namespace("db")
    glue.create_namespace("other")
    made = glue.declare_table(("db", "t"), properties={"k": "v"})
    options: Any = made.storage_options
    lance.write_dataset(ROWS, made.location, storage_options=options)
    glue.declare_table(("db", "u"))
    with pytest.raises(TableAlreadyExists):
        glue.rename_table(("db", "t"), ("db", "u"))
    with pytest.raises(NamespaceNotFound):
        glue.rename_table(("db", "t"), ("no", "t"))
    moved = glue.rename_table(("db", "t"), ("other", "t"))
    assert (moved.location, dict(moved.properties)) == (made.location, {"k": "v"})
    assert glue.table_exists(("db", "t")) is False
    gone = glue.deregister_table(("other", "t"))
    place = gone.location.removeprefix(f"{moto_root.uri}/")
    back = glue.register_table(("db", "back"), place)
    assert back.location == made.location
    with pytest.raises(TableAlreadyExists):
        glue.register_table(("db", "twice"), place)
    with pytest.raises(TableNotFound):
        glue.register_table(("db", "no"), "no/where")
    with pytest.raises(InvalidInput):
        glue.register_table(("db", "no"), "../escape")
    assert lance.dataset(back.location, storage_options=options).count_rows() == 2
    glue.drop_namespace("db", behavior="cascade")
    assert tree(glue) == ([("other",)], [])
    with pytest.raises(ValueError, match="not found"):
        lance.dataset(made.location, storage_options=options)


def test_glue_deletes_nothing_outside_its_root(
    moto_server: S3Server, glue: Namespace, moto_root: TestRoot
) -> None:
    glue.create_namespace("db")
    made = glue.declare_table(("db", "t"))
    elsewhere = {**_glue(moto_server.endpoint, moto_root), "root": f"{moto_root.uri}/below"}
    other = pennon.connect("glue", elsewhere).connect()
    with pytest.raises(InvalidInput, match="not below the root"):
        other.drop_table(("db", "t"))
    rootless = {k: v for k, v in elsewhere.items() if k != "root"}
    with pennon.connect("glue", rootless) as other:
        assert other.describe_table(("db", "t")).location == made.location
        with pytest.raises(InvalidOption, match="'root'"):
            other.declare_table(("db", "u"))
        with pytest.raises(InvalidInput, match="not below the root"):
            other.drop_table(("db", "t"))
        with pytest.raises(Unsupported):
            other.rename_table(("db", "t"), ("db", "u"))
    assert glue.table_exists(("db", "t"))


def test_glue_in_pylance(glue: Namespace) -> None:
    glue.create_namespace("db")
    adapter = glue.to_lance()
    lance.write_dataset(ROWS, namespace_client=adapter, table_id=["db", "t"], mode="create")
    lance.write_dataset(ROWS, namespace_client=adapter, table_id=["db", "t"], mode="append")
    assert lance.dataset(namespace_client=adapter, table_id=["db", "t"]).count_rows() == 4
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, ROWS.schema) as writer:
        writer.write_table(ROWS)
    stream = sink.getvalue().to_pybytes()
    adapter.create_table({"id": ["db", "u"]}, stream)
    for table, rows in (("t", 6), ("u", 4)):
        assert adapter.insert_into_table({"id": ["db", table]}, stream).num_inserted_rows == 2
        assert adapter.count_table_rows({"id": ["db", table]}).count == rows


def test_glue_shows_no_secret(glue: Namespace) -> None:
    glue.create_namespace("db")
    info = glue.declare_table(("db", "t"))
    assert SECRET not in f"{glue!r} {glue.root} {info!r} {info}"
    with pytest.raises(Unsupported, match="secret_access_key") as caught:
        pickle.dumps(glue)
    assert SECRET not in str(caught.value)


def test_glue_credentials_of_the_environment_travel(
    moto_server: S3Server, glue: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    glue.create_namespace("db")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    properties = {"endpoint": moto_server.endpoint, "region": "us-east-1"}
    namespace = pennon.connect("glue", properties).connect()
    data = pickle.dumps(namespace)
    assert SECRET.encode() not in data
    assert pickle.loads(data).namespace_exists("db") is True


def test_glue_without_credentials(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    here = {"endpoint": moto_server.endpoint}
    with pytest.raises(Unauthenticated):
        pennon.connect("glue", {**here, "region": "us-east-1"}).connect().namespace_exists("x")
    with pytest.raises(InvalidOption, match="region"):
        pennon.connect("glue", here).connect().namespace_exists("x")


# -- what every kind has in common -----------------------------------------------------------------

PROPERTIES: dict[str, dict[str, str]] = {
    "glue": {
        "endpoint": "http://{}",
        "region": "us-east-1",
        "access_key_id": "a",
        "secret_access_key": SECRET,
    },
    "iceberg": {"endpoint": "http://{}", "auth_token": SECRET},
    "polaris": {"polaris.endpoint": "http://{}", "polaris.auth_token": SECRET},
    "unity": {"unity.endpoint": "http://{}", "unity.auth_token": SECRET},
}


@pytest.fixture
def closed() -> Iterator[str]:
    """An address where nobody answers, nor comes to listen meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def _at(kind: str, address: str) -> Namespace:
    given = {k: v.replace("{}", address) for k, v in PROPERTIES[kind].items()}
    return pennon.connect(kind, given).connect()


@pytest.mark.parametrize("kind", PROPERTIES)
@pytest.mark.parametrize("address", ["closed", "192.0.2.1:9"])
def test_nobody_answers(
    kind: str, address: str, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    namespace = _at(kind, closed if address == "closed" else address)
    depth = 1 if kind == "glue" else 2
    for call in (
        lambda: namespace.list_tables(("a", "b")[:depth]),
        lambda: namespace.describe_table(("a", "b", "t")[-depth - 1 :]),
        lambda: namespace.namespace_exists(("a", "b")[:depth]),
    ):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="cannot be reached") as caught:
            call()
        assert time.monotonic() - started < 10
        assert SECRET not in str(caught.value)


def test_the_proxy_of_the_environment_is_not_passed_by(
    closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{closed}")
    started = time.monotonic()
    with pytest.raises(Unavailable, match="proxy"):
        _at("glue", "glue.invalid:80").list_tables("a")
    assert time.monotonic() - started < 10


def test_an_address_that_is_none() -> None:
    for address in ("nowhere", "http://", "http://host:x"):
        namespace = pennon.connect("iceberg", {"endpoint": address}).connect()
        with pytest.raises(InvalidOption, match="address"):
            namespace.list_tables(("a", "b"))


@pytest.mark.parametrize("kind", PROPERTIES)
def test_an_unknown_property(kind: str) -> None:
    given = {**PROPERTIES[kind], "endpont": "x"}
    with pytest.raises(InvalidOption, match="endpont") as caught:
        pennon.connect(kind, given).connect()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("kind", ["iceberg", "polaris", "unity", "hive2", "hive3"])
def test_the_address_is_needed(kind: str) -> None:
    with pytest.raises(InvalidOption, match="needs the property"):
        pennon.connect(kind).connect()


@pytest.mark.parametrize("kind", ["hive2", "hive3"])
def test_hive_needs_an_extra(kind: str) -> None:
    if importlib.util.find_spec("hive_metastore_client"):
        pytest.skip("the client of Hive is installed")
    with pytest.raises(MissingExtra, match=rf"pip install .*{kind}"):
        pennon.connect(kind, {"uri": "thrift://127.0.0.1:1"}).connect()


def test_without_the_package() -> None:
    code = """
import sys
sys.modules["lance_namespace_impls"] = None
import pennon
from pennon.errors import MissingExtra
try:
    pennon.connect("unity", {"unity.endpoint": "http://127.0.0.1:1"}).connect()
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'pennon[catalogs]'" in done.stdout


def test_a_context_provider_is_refused() -> None:
    builder = pennon.connect("unity", PROPERTIES["unity"]).with_context(lambda _, __: {})
    with pytest.raises(InvalidOption, match="context"):
        builder.connect()


# -- instances and classes ------------------------------------------------------------------------


class Tiny(spec.LanceNamespace):
    """Knows one table and no other operation."""

    def __init__(self, **properties: str) -> None:
        self.properties = properties

    def namespace_id(self) -> str:
        return "tiny"

    def list_tables(self, request: Any) -> Any:
        if request.id:
            raise KeyError("namespace")
        return spec.ListTablesResponse(tables=["t"])

    def describe_table(self, request: Any) -> Any:
        if request.id != ["t"]:
            raise RuntimeError(f"Table does not exist: {request.id}")
        return spec.DescribeTableResponse(location=self.properties["at"])


def test_an_instance(tmp_path: Path) -> None:
    lance.write_dataset(ROWS, tmp_path / "t.lance")
    with ExternalNamespace(Tiny(at=str(tmp_path / "t.lance"))) as namespace:
        assert namespace.capabilities == {"properties"}
        assert list(namespace.list_tables()) == [("t",)]
        assert namespace.describe_table("t", check_declared=True).declared_only is False
        with pytest.raises(TableNotFound):
            namespace.describe_table("u")
        for call in (
            lambda: namespace.create_namespace("n"),
            lambda: namespace.declare_table("u"),
            lambda: namespace.register_table("u", "x"),
            lambda: namespace.rename_table("t", "u"),
            lambda: namespace.deregister_table("t"),
            namespace.list_namespaces,
        ):
            with pytest.raises(Unsupported):
                call()
        with pytest.raises(InvalidInput, match="not below the root"):
            namespace.drop_table("t")
        with pytest.raises(Unsupported, match=r"pennon\.connect"):
            pickle.dumps(namespace)
    assert (tmp_path / "t.lance").exists()


def test_a_class_path(tmp_path: Path) -> None:
    kind = f"{Tiny.__module__}.Tiny"
    with pennon.connect(kind, {"at": str(tmp_path)}) as namespace:
        assert list(namespace.list_tables()) == [("t",)]
        copy = pickle.loads(pickle.dumps(namespace))
        assert (copy.kind, list(copy.list_tables())) == (kind, [("t",)])


def test_something_else_is_refused() -> None:
    with pytest.raises(InvalidOption, match="no lance_namespace"):
        ExternalNamespace(object())


# -- errors ---------------------------------------------------------------------------------------


class _Status(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(f"HTTP {status_code}: token=hush")
        self.status_code = status_code


def _wrapped(cause: Exception) -> Exception:
    try:
        try:
            raise cause  # noqa: TRY301
        except Exception as error:
            raise RuntimeError(f"Failed to do it: {error}") from None
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "operation", "expected"),
    [
        (spec.TableNotFoundError("x"), "describe_table", TableNotFound),
        (
            spec.InternalError("Internal error: RetryableCommitConflict {"),
            "declare_table",
            "commit_conflict",
        ),
        (
            spec.ConcurrentModificationError("Object 't' was concurrently created"),
            "declare_table",
            TableAlreadyExists,
        ),
        (
            spec.ConcurrentModificationError("Object 'n' was concurrently created"),
            "create_namespace",
            NamespaceAlreadyExists,
        ),
        (spec.InternalError("Internal error: disk"), "declare_table", StorageError),
        (ValueError("Namespace ['x'] does not exist"), "describe_namespace", NamespaceNotFound),
        (ValueError("Table ['x', 't'] already exists"), "declare_table", TableAlreadyExists),
        (ValueError("Namespace ['x'] is not empty"), "drop_namespace", NamespaceNotEmpty),
        (RuntimeError("Cannot drop non-empty namespace: x"), "drop_namespace", NamespaceNotEmpty),
        (ValueError("Invalid identifier: []"), "describe_table", InvalidInput),
        (NotImplementedError("rename"), "rename_table", Unsupported),
        (KeyError("Database"), "describe_namespace", StorageError),
        (ConnectionRefusedError("no"), "list_tables", Unavailable),
        (TimeoutError("late"), "list_tables", Unavailable),
        (_wrapped(_Status(404)), "list_namespaces", NamespaceNotFound),
        (_wrapped(_Status(404)), "describe_table", TableNotFound),
        (_wrapped(_Status(404)), "declare_table", NamespaceNotFound),
        (_wrapped(_Status(409)), "drop_namespace", NamespaceNotEmpty),
        (_wrapped(_Status(401)), "list_tables", Unauthenticated),
        (_wrapped(_Status(403)), "list_tables", "permission_denied"),
        (_wrapped(_Status(429)), "list_tables", "throttled"),
        (_wrapped(_Status(503)), "list_tables", Unavailable),
        (_wrapped(_Status(500)), "list_tables", StorageError),
        (TableNotFound("ours"), "describe_table", TableNotFound),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_errors(error: Exception, operation: str, expected: Any) -> None:
    found = translate(error, operation, ("a", "b"), where="here")
    assert isinstance(found, PennonError)
    assert expected in {type(found), found.kind}, repr(found)
    assert "hush" not in str(found)
