"""Iceberg, Polaris and Unity clients on loopback doubles of their servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lance
import pyarrow as pa
import pytest
from catalog_doubles import TOP, CatalogDouble

import pennon
from pennon.errors import (
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    TableAlreadyExists,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces import Namespace

ROWS = pa.table({"id": [1, 2]})
DB = (TOP, "db")


@pytest.fixture(params=["iceberg", "polaris", "unity"])
def double(request: pytest.FixtureRequest) -> Iterator[CatalogDouble]:
    with CatalogDouble(request.param) as double:
        yield double


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def catalog(double: CatalogDouble, root: Path) -> Iterator[Namespace]:
    key = "root" if double.kind == "iceberg" else f"{double.kind}.root"
    properties = {**double.properties, key: str(root)}
    with pennon.connect(double.kind, properties) as namespace:
        yield namespace


def test_namespaces(catalog: Namespace) -> None:
    assert dict(catalog.create_namespace(DB, properties={"k": "v"}).properties) == {"k": "v"}
    with pytest.raises(NamespaceAlreadyExists):
        catalog.create_namespace(DB)
    assert dict(catalog.create_namespace(DB, mode="exist_ok").properties) == {"k": "v"}
    assert list(catalog.list_namespaces(TOP)) == [DB]
    assert list(catalog.list_namespaces(DB)) == []
    assert catalog.namespace_exists(TOP) is True
    assert catalog.namespace_exists(DB) is True
    for id in ((TOP, "no"), ("no",), ("no", "no")):
        assert catalog.namespace_exists(id) is False, id
        with pytest.raises(NamespaceNotFound):
            catalog.describe_namespace(id)
        with pytest.raises(NamespaceNotFound):
            catalog.list_tables(id)
        with pytest.raises(NamespaceNotFound):
            catalog.drop_namespace(id)
        catalog.drop_namespace(id, missing_ok=True)
    with pytest.raises(NamespaceNotFound):
        catalog.create_namespace(("no", "db"))
    with pytest.raises(Unsupported, match="parts"):
        catalog.create_namespace("other")
    with pytest.raises(Unsupported):
        catalog.drop_namespace(TOP)
    assert list(catalog.list_tables(TOP)) == []
    catalog.drop_namespace(DB)
    assert list(catalog.list_namespaces(TOP)) == []


def test_the_root(catalog: Namespace) -> None:
    assert catalog.namespace_exists(()) is True
    assert list(catalog.list_tables()) == []
    if catalog.kind == "unity":
        assert list(catalog.list_namespaces()) == [(TOP,)]
    else:
        with pytest.raises(Unsupported, match=r"warehouse|catalog"):
            catalog.list_namespaces()


def test_depth(catalog: Namespace) -> None:
    catalog.create_namespace(DB)
    deeper = (*DB, "deeper")
    if catalog.kind == "unity":
        with pytest.raises(Unsupported, match="2 parts"):
            catalog.create_namespace(deeper)
        assert catalog.namespace_exists(deeper) is False
    else:
        catalog.create_namespace(deeper)
        assert list(catalog.list_namespaces(DB)) == [deeper]
        catalog.declare_table((*deeper, "t"))
        assert list(catalog.iter_tables(TOP, recursive=True)) == [(*deeper, "t")]
        with pytest.raises(NamespaceNotEmpty):
            catalog.drop_namespace(DB)
        catalog.drop_namespace(DB, behavior="cascade")
        assert list(catalog.iter_namespaces(TOP, recursive=True)) == []
    with pytest.raises(Unsupported, match="3"):
        catalog.declare_table((TOP, "t"))


def test_tables(catalog: Namespace, root: Path) -> None:
    catalog.create_namespace(DB)
    id = (*DB, "t")
    made = catalog.declare_table(id, properties={"k": "v"})
    assert Path(made.location).parent == root
    assert dict(made.properties) == {"k": "v"}
    assert catalog.describe_table(id) == made
    with pytest.raises(TableAlreadyExists):
        catalog.declare_table(id)
    with pytest.raises(NamespaceNotFound):
        catalog.declare_table((TOP, "no", "t"))
    for missing in ((*DB, "no"), (TOP, "no", "t"), ("t",)):
        assert catalog.table_exists(missing) is False
        with pytest.raises(TableNotFound):
            catalog.drop_table(missing)
    assert catalog.describe_table(id, check_declared=True).declared_only is True
    assert list(catalog.list_tables(DB, include_declared=False)) == []
    lance.write_dataset(ROWS, made.location)
    assert list(catalog.list_tables(DB, include_declared=False)) == [id]
    for name in "abc":
        catalog.declare_table((*DB, name))
    page = catalog.list_tables(DB, limit=3)
    assert [i[-1] for i in page] == ["a", "b", "c"]
    assert list(catalog.list_tables(DB, page_token=page.next_page_token)) == [id]

    moved = catalog.rename_table(id, (*DB, "u"))
    assert (moved.location, dict(moved.properties)) == (made.location, {"k": "v"})
    assert catalog.table_exists(id) is False
    with pytest.raises(TableAlreadyExists):
        catalog.rename_table((*DB, "u"), (*DB, "a"))
    place = Path(catalog.deregister_table((*DB, "u")).location).name
    assert catalog.register_table(id, place).location == made.location
    with pytest.raises(TableAlreadyExists):
        catalog.register_table((*DB, "twice"), place)
    with pytest.raises(TableNotFound):
        catalog.register_table((*DB, "v"), "nowhere")
    with pennon.open(catalog) as database:
        assert database.count_rows(id) == 2
    catalog.drop_table(id)
    assert not Path(made.location).exists()
    catalog.create_namespace(DB, mode="overwrite")
    assert list(catalog.list_tables(DB)) == []


def test_tables_of_other_formats_are_left_alone(catalog: Namespace, double: CatalogDouble) -> None:
    catalog.create_namespace(DB)
    theirs = {
        "name": "theirs",
        "format": "delta",
        "base-location": "/x",
        "location": "/x",
        "storage_location": "/x",
        "properties": {"table_type": "delta"},
        "columns": [],
    }
    double.tables[(*DB, "theirs")] = theirs
    with pytest.raises(TableNotFound):
        catalog.describe_table((*DB, "theirs"))
    with pytest.raises(TableNotFound):
        catalog.drop_table((*DB, "theirs"))
    with pytest.raises(TableAlreadyExists):
        catalog.declare_table((*DB, "theirs"))
    with pytest.raises(NamespaceNotEmpty):
        catalog.drop_namespace(DB, behavior="cascade")
    assert (*DB, "theirs") in double.tables
