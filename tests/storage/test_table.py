"""Table objects: what they bind, what they refuse, how they show themselves."""

from __future__ import annotations

import inspect
import pickle
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import pennon
from pennon.errors import (
    InvalidInput,
    InvalidName,
    InvalidOption,
    InvalidState,
    TableNotFound,
    Unsupported,
)
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.abc.capabilities import operations
from pennon.storage.refs import Ref
from pennon.storage.table import Table

ROWS = [{"id": 1, "name": "ada"}, {"id": 2, "name": "grace"}]
LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def db(memory_root: str) -> StorageBackend:
    db = pennon.open(memory_root)
    db.create_table("docs", ROWS, primary_key="id")
    db.create_branch("docs", "exp")
    db.create_tag("docs", "v1")
    return db


def on_a_table() -> dict[str, Any]:
    """Return the operations that a table object has, by what the contract says."""
    first = {
        name: next(iter(list(inspect.signature(method).parameters.values())[1:]), None)
        for name, method in operations(StorageBackend).items()
    }
    return {n: p for n, p in first.items() if p is not None and p.name in {"table", "request"}}


def test_every_operation_on_a_table_is_a_method_of_it() -> None:
    wanted = on_a_table()
    assert len(wanted) > 30
    assert [n for n in wanted if not callable(getattr(Table, n, None))] == []
    for name in wanted:
        ours = inspect.signature(getattr(Table, name)).parameters
        assert "table" not in ours
        assert inspect.getdoc(getattr(Table, name)), name


def test_it_works_where_it_stands(db: StorageBackend) -> None:
    docs = db.table("docs")
    docs.on("exp").write([{"id": 3, "name": "mary"}])
    assert (docs.count_rows(), docs.on("exp").count_rows()) == (2, 3)
    assert docs.on("exp").at(version=1).count_rows() == 2
    assert docs.at(tag="v1").scan(columns=["id"], limit=1).read_all().to_pylist() == [{"id": 1}]
    assert docs.on("exp").at(tag="v1").branch == "main"
    assert docs.on("exp").create_tag("v2").branch == "exp"
    assert docs.at(version=1).on("exp").count_rows() == 3
    assert docs.on("exp").create_branch("next").parent == "exp"
    assert docs.at(tag="v1").create_branch("old").parent_version == 1
    assert docs.at(as_of=LATER).count_rows() == 2
    assert (len(docs), len(docs.on("exp"))) == (2, 3)


@pytest.mark.parametrize("state", [{"version": 1}, {"tag": "v1"}, {"as_of": LATER}])
@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.write(ROWS),
        lambda t: t.merge_insert(ROWS, on="id"),
        lambda t: t.update({"name": "'x'"}),
        lambda t: t.delete_rows("id = 1"),
        lambda t: t.truncate(),
        lambda t: t.replace_table_atomic(ROWS),
        lambda t: t.rollback_table(1),
        lambda t: t.lock_table_for_write(),
        lambda t: t.create_table(ROWS, mode="exist_ok"),
        lambda t: t.drop_table(force=True),
        lambda t: t.rename_table("other"),
    ],
)
def test_a_state_of_the_past_is_not_changed(
    db: StorageBackend, state: dict[str, Any], write: Callable[[Table], Any]
) -> None:
    before = db.versions("docs")
    with pytest.raises(InvalidState, match=r"\.on\('main'\)"):
        write(db.table("docs", **state))
    assert db.versions("docs") == before


@pytest.mark.parametrize("call", ["drop_table", "create_table", "rename_table"])
def test_what_concerns_all_branches_is_refused_on_one(db: StorageBackend, call: str) -> None:
    exp = db.table("docs", branch="exp")
    with pytest.raises(InvalidState, match="all its branches"):
        getattr(exp, call)(*(["x"] if call == "rename_table" else []))
    assert db.count_rows("docs") == 2


def test_a_branch_starts_from_no_time(db: StorageBackend) -> None:
    docs = db.table("docs")
    with pytest.raises(
        InvalidState, match=r"needs a branch or version or tag.*\.at\(version="
    ) as no:
        docs.at(as_of=LATER).create_branch("dev")
    assert ".on('main')" in str(no.value)
    assert [b.name for b in docs.list_branches()] == ["exp"]


def test_a_request_is_for_this_table_and_state(db: StorageBackend) -> None:
    docs = db.table("docs")
    assert docs.at(version=1)._asked(ScanRequest("docs", limit=3)).version == 1  # type: ignore[union-attr]
    assert docs._asked(None).table == ("docs",)
    exp = docs.on("exp")
    assert exp._asked(ScanRequest("docs", branch="exp")).ref == Ref(branch="exp")
    for wrong in (ScanRequest("other"), ScanRequest("docs", branch="dev")):
        with pytest.raises(InvalidInput, match="ask the backend"):
            exp._asked(wrong)


def test_nonsense_is_refused_at_once(db: StorageBackend) -> None:
    docs = db.table("docs")
    for wrong in ({}, {"version": 1, "tag": "v1"}, {"as_of": datetime(2026, 1, 1)}):  # noqa: DTZ001
        with pytest.raises(InvalidOption):
            docs.at(**wrong)
    with pytest.raises(InvalidOption):
        db.table("docs", version=1, tag="v1")
    for name in ("", "a/b", ()):
        with pytest.raises(InvalidName):
            db.table(name)
    with pytest.raises(InvalidName):
        docs.on("no good")
    with pytest.raises(TableNotFound):
        db.table("none").count_rows()


def test_it_is_a_value(db: StorageBackend, memory_root: str, tmp_path: Any) -> None:
    docs = db.table("docs")
    same = pennon.open(memory_root).table(("docs",))
    assert docs == same
    assert len({docs, same, docs.on("exp"), docs.at(version=1), docs.on("exp").on("main")}) == 3
    assert docs != "docs"
    other = pennon.open("memory://other").table("docs")
    assert docs != other
    for name in ("id", "anything"):
        with pytest.raises(AttributeError):
            setattr(docs, name, "x")
    local = pennon.open(tmp_path)
    local.create_table("docs", ROWS)
    there = pickle.loads(pickle.dumps(local.table("docs").at(version=1)))
    assert there == local.table("docs", version=1)
    assert there.count_rows() == 2
    with local.snapshot(["docs"]) as pinned, pytest.raises(Unsupported, match="pins"):
        pickle.dumps(pinned.table("docs"))


def test_a_backend_travels_with_what_it_was_opened_with(tmp_path: Any) -> None:
    pennon.open(tmp_path).namespace.create_namespace("team")
    db = pennon.open(f"file://{tmp_path}?ns=team", consistency=pennon.Eventual(5))
    db.create_table("docs", ROWS)
    twin = pickle.loads(pickle.dumps(db))
    assert twin.consistency == pennon.Eventual(5)
    assert twin.table_names() == [("docs",)]


def test_ids_relative_to_a_namespace_name_the_same_table(memory_root: str) -> None:
    db = pennon.open(memory_root)
    part = pennon.open(f"{memory_root}?ns=team")
    assert part.table("docs") == db.table(("team", "docs"))
    assert part.table("docs") != db.table("docs")


def test_asking_whether_it_is_something_asks_no_store(tmp_path: Any) -> None:
    table = pennon.open(tmp_path / "nowhere").table("docs")
    assert table
    assert repr(table.on("exp").at(version=3)) == "<pennon table docs (exp at version 3)>"
    with pytest.raises(TableNotFound):
        len(table)


def test_a_notebook_shows_it(tmp_path: Any) -> None:
    db = pennon.open(tmp_path)
    docs = db.table("a<b>")
    docs.create_table([{"id": 1, "<i>": "x"}], primary_key="id")
    docs.write([{"id": 2, "<i>": "y"}], commit_message="<script>")
    docs.create_scalar_index("id", name="by_id")
    docs.create_branch("exp")
    docs.create_tag("v1")
    shown = docs._repr_html_()
    for part in (
        "a&lt;b&gt;",
        "&lt;i&gt;",
        "&lt;script&gt;",
        "by_id",
        "btree",
        "exp",
        "v1",
        "int64",
    ):
        assert part in shown, part
    for part in ("<i>", "<b>", "<script>", "⚠"):
        assert part not in shown
    assert "append" not in docs.at(version=1)._repr_html_()
    for state in ({"tag": "v1"}, {"as_of": LATER}, {"version": 2}):
        assert "⚠" not in docs.at(**state)._repr_html_()
    assert "⚠ VersionNotFound" in docs.at(version=99)._repr_html_()


def test_a_notebook_shows_what_is_wrong() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        options = {
            "endpoint": f"http://127.0.0.1:{taken.getsockname()[1]}",
            "region": "x",
            "access_key_id": "AKIAHIDDEN",
            "secret_access_key": "hidden+secret",
            "allow_http": "true",
            "client_max_retries": "0",
        }
        shown = pennon.open("s3://bucket/lake", storage_options=options).table("docs")._repr_html_()
    assert "⚠ Unavailable" in shown
    assert "s3://bucket/lake" in shown
    assert "AKIAHIDDEN" not in shown
    assert "hidden" not in shown


def test_any_arrow_tool_reads_it(db: StorageBackend) -> None:
    docs = db.table("docs")
    assert pa.table(docs).to_pylist() == ROWS
    assert pl.DataFrame(docs)["name"].to_list() == ["ada", "grace"]
    docs.on("exp").delete_rows("id = 1")
    assert db.create_table("copy", docs.on("exp")).rows_inserted == 1
