"""Rows of the catalog table that must not be trusted: damaged, doubled, or leading elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from catalog_rows import append, names_in, rows

from pennon.errors import (
    Corrupt,
    InvalidName,
)
from pennon.namespaces.directory import DirectoryNamespace


@pytest.fixture
def root(local_root: str) -> str:
    return local_root


@pytest.fixture
def ns(root: str) -> DirectoryNamespace:
    return DirectoryNamespace(root)


BAD_PLACES = (
    "../outside",
    "/etc",
    "a/../../outside",
    "__manifest",
    "__manifest/data",
    "_pennon",
    "s3://other/place",
    "file:///etc",
    "",
    ".",
)


@pytest.mark.parametrize("place", [*BAD_PLACES, None])
def test_locations_outside_are_never_followed(tmp_path: Path, place: str | None) -> None:
    root = tmp_path / "root"
    outside = tmp_path / "outside"
    lance.write_dataset(pa.table({"a": [1]}), str(outside))
    ns = DirectoryNamespace(root)
    ns.declare_table("good")
    append(root, {"object_id": "bad", "object_type": "table", "location": place})
    assert list(ns.list_tables()) == [("bad",), ("good",)]
    assert list(ns.list_tables(include_declared=False)) == []
    for attempt in (
        lambda: ns.describe_table("bad"),
        lambda: ns.describe_table("bad", check_declared=True),
        lambda: ns.rename_table("bad", "worse"),
        lambda: ns.deregister_table("bad"),
    ):
        with pytest.raises(Corrupt, match="bad"):
            attempt()
    ns.drop_table("bad")
    assert list(ns.list_tables()) == [("good",)]
    assert lance.dataset(str(outside)).count_rows() == 1
    assert ns.table_exists("good")


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    outside = tmp_path / "outside"
    lance.write_dataset(pa.table({"a": [1]}), str(outside))
    ns = DirectoryNamespace(root)
    ns.declare_table("good")
    (root / "link").symlink_to(outside)
    append(root, {"object_id": "bad", "object_type": "table", "location": "link"})
    ns.drop_table("bad")
    assert lance.dataset(str(outside)).count_rows() == 1


def write(ns: DirectoryNamespace, id: Any) -> str:
    location = ns.describe_table(id).location
    lance.write_dataset(pa.table({"a": [1]}), location)
    return location


def test_data_with_another_name_are_kept(ns: DirectoryNamespace, root: str) -> None:
    ns.declare_table("t")
    place = write(ns, "t")
    name = Path(place).name
    append(
        root,
        {"object_id": "alias", "object_type": "table", "location": name},
        {"object_id": "slash", "object_type": "table", "location": f"{name}/"},
        {"object_id": "inner", "object_type": "table", "location": f"{name}/data"},
    )
    for gone in ("alias", "slash", "inner"):
        ns.drop_table(gone)
        assert lance.dataset(place).count_rows() == 1
    append(root, {"object_id": "inner", "object_type": "table", "location": f"{name}/data"})
    ns.drop_table("t")
    assert names_in(place, "data"), "another name leads into these data"


def test_two_rows_of_one_id(ns: DirectoryNamespace, root: str) -> None:
    ns.declare_table("t")
    append(root, {"object_id": "t", "object_type": "table", "location": "other"})
    assert list(ns.list_tables()) == [("t",)]
    with pytest.raises(Corrupt, match="two of them"):
        ns.describe_table("t")
    ns.drop_table("t")
    assert rows(root) == {}
    ns.declare_table("t")
    ns.describe_table("t")


@pytest.mark.parametrize("text", ["{", "[]", '{"k": 1}', "7"])
def test_unreadable_properties(ns: DirectoryNamespace, root: str, text: str) -> None:
    ns.declare_table("t")
    append(
        root,
        {"object_id": "n", "object_type": "namespace", "metadata": text},
        {"object_id": "u", "object_type": "table", "location": "x", "metadata": text},
    )
    assert list(ns.list_namespaces()) == [("n",)]
    with pytest.raises(Corrupt, match="not a JSON object"):
        ns.describe_namespace("n")
    with pytest.raises(Corrupt, match="not a JSON object"):
        ns.update_namespace("n", set={"k": "v"})
    with pytest.raises(Corrupt, match="not a JSON object"):
        ns.describe_table("u")
    ns.drop_namespace("n")
    ns.drop_table("u")
    assert list(ns.list_tables()) == [("t",)]


def test_names_that_others_gave(ns: DirectoryNamespace, root: str) -> None:
    """They cannot be given anew, but what has one can be used, renamed and dropped."""
    ns.declare_table("t")
    odd = ("", "p/q", "..", "x" * 300, "tab\t")
    append(
        root,
        *({"object_id": n, "object_type": "table", "location": f"d{i}"} for i, n in enumerate(odd)),
        {"object_id": "a/b", "object_type": "namespace"},
        {"object_id": "a/b$t", "object_type": "table", "location": "below"},
    )
    assert set(ns.list_tables()) == {("t",), *((n,) for n in odd)}
    assert list(ns.iter_namespaces(recursive=True)) == [("a/b",)]
    assert list(ns.list_tables(("a/b",))) == [("a/b", "t")]
    for number, name in enumerate(odd):
        assert ns.describe_table((name,)).location == f"{root}/d{number}"
        with pytest.raises(InvalidName):
            ns.declare_table((name, "deeper"))
    ns.rename_table(("p/q",), "pq")
    ns.drop_table(("..",))
    ns.drop_namespace("a/b", behavior="cascade")
    assert set(ns.list_tables()) == {("t",), ("pq",), ("",), ("x" * 300,), ("tab\t",)}
