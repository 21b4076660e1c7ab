"""pennon.open: every way to say where tables are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem

import pennon
from pennon.errors import (
    InvalidInput,
    InvalidOption,
    InvalidURI,
    NamespaceNotFound,
    TableNotFound,
    Unsupported,
)
from pennon.storage._lance import LanceBackend
from pennon.storage.memory import MemoryBackend
from pennon.testing.services import TestRoot

ROWS = [{"id": 1}]


def test_a_directory_in_every_spelling(local_root: str) -> None:
    pennon.open(local_root).create_table("t", ROWS)
    for target in (
        Path(local_root),
        f"file://{local_root}",
        DirFileSystem(local_root, LocalFileSystem()),
        pennon.filesystem(local_root),
        pennon.connect("dir", {"root": local_root}).connect(),
    ):
        db = pennon.open(target)
        assert isinstance(db, LanceBackend)
        assert db.count_rows("t") == 1


def test_a_bucket(s3_root: TestRoot) -> None:
    pennon.open(s3_root.uri, storage_options=s3_root.options).create_table("t", ROWS)
    fs = pennon.filesystem(s3_root.uri, storage_options=s3_root.options)
    assert pennon.open(fs).count_rows("t") == 1


def test_opening_creates_nothing(tmp_path: Path) -> None:
    db = pennon.open(tmp_path / "lake")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TableNotFound):
        db.scan("t")
    assert list(tmp_path.iterdir()) == []


def test_memory_is_shared_by_name(memory_root: str) -> None:
    db = pennon.open(memory_root)
    assert isinstance(db, MemoryBackend)
    db.create_table("t", ROWS)
    assert pennon.open(memory_root).count_rows("t") == 1
    assert pennon.open(db.namespace).count_rows("t") == 1
    with pytest.raises(TableNotFound):
        pennon.open(f"{memory_root}x").count_rows("t")


def test_dropped_memory_is_let_go(memory_root: str) -> None:
    db = pennon.open(memory_root)
    db.create_table("t", ROWS)
    db.namespace.rename_table("t", "u")
    assert db.count_rows("u") == 1
    db.namespace.drop_table("u")
    db.create_table("u", [{"other": 2}])
    assert db.scan("u").read_all().to_pylist() == [{"other": 2}]


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_ids_are_relative_to_the_namespace_of_the_uri(
    kind: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(f"{kind}_root")
    uri = f"file://{root}" if kind == "local" else root
    whole = pennon.open(root)
    part = pennon.open(f"{uri}?ns=team$docs")
    with pytest.raises(NamespaceNotFound):
        part.create_table("t", ROWS)
    whole.namespace.create_namespace("team")
    whole.namespace.create_namespace(("team", "docs"))
    receipt = part.create_table("t", ROWS)
    assert receipt.table == ("team", "docs", "t")
    part.write("t", ROWS)
    assert part.count_rows("t") == whole.count_rows(("team", "docs", "t")) == 2
    assert part.scan("t").read_all().num_rows == 2


def test_a_session_is_shared(local_root: str) -> None:
    session = pennon.Session()
    assert pennon.open(local_root, session=session).namespace.session is session


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("db://mine", Unsupported),
        ("ftp://host/x", InvalidURI),
        ("", InvalidURI),
        (7, InvalidURI),
        (None, InvalidURI),
        (LocalFileSystem(), InvalidURI),
    ],
)
def test_what_keeps_no_tables_is_refused(target: Any, error: type[InvalidInput]) -> None:
    with pytest.raises(error) as caught:
        pennon.open(target)
    assert type(caught.value) is error


def test_options_that_do_not_fit(local_root: str, memory_root: str) -> None:
    with pytest.raises(InvalidOption):
        pennon.open(memory_root, storage_options={"region": "x"})
    with pytest.raises(InvalidOption, match="region"):
        pennon.open("s3://bucket/x", storage_options={"regoin": "x"})
    namespace = pennon.connect("memory", {}).connect()
    with pytest.raises(InvalidOption):
        pennon.open(namespace, session=pennon.Session())
    with pytest.raises(InvalidOption):
        pennon.open(namespace, storage_options={})


def test_options_and_sessions_of_a_wrong_type(tmp_path: Path) -> None:
    wrong: Any
    for wrong in ("x", 3, ["x"], {1: "x"}):
        with pytest.raises(InvalidOption, match="storage_options="):
            pennon.open(tmp_path, storage_options=wrong)
    with pytest.raises(InvalidOption, match="session="):
        pennon.open(tmp_path, session={})  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
