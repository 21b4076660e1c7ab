"""Nothing aimed at a branch ever lands on main, or on another branch."""

from __future__ import annotations

import inspect
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import pennon
from pennon.errors import BranchNotFound
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.abc.columns import ColumnChange

BRANCHES = ("main", "a", "b", "a/c")


def content(db: StorageBackend, branch: str) -> tuple[int, list[tuple[int, str]]]:
    """The newest version of a branch and its rows."""
    rows = db.scan(ScanRequest("t", branch=branch)).read_all().to_pylist()
    return db.get_table_version("t", branch=branch), sorted((r["id"], r["v"]) for r in rows)


def writes(db: StorageBackend, branch: str, version: int) -> dict[str, Any]:
    """Every write there is, aimed at a branch."""
    row = [{"id": 100, "v": "new"}]
    return {
        "write": lambda: db.write("t", row, branch=branch),
        "overwrite": lambda: db.write("t", row, mode="overwrite", branch=branch),
        "replace_table_atomic": lambda: db.replace_table_atomic("t", row, branch=branch),
        "truncate": lambda: db.truncate("t", branch=branch),
        "delete_rows": lambda: db.delete_rows("t", "id < 3", branch=branch),
        "update": lambda: db.update("t", {"v": "'changed'"}, "id < 3", branch=branch),
        "merge_insert": lambda: db.merge_insert("t", row, "id", branch=branch),
        "rollback_table": lambda: db.rollback_table("t", version, branch=branch),
        "rollback_table, expected": lambda: db.rollback_table(
            "t", version, branch=branch, expected=db.get_table_version("t", branch=branch)
        ),
    }


def other_writes(db: StorageBackend, branch: str) -> dict[str, Any]:
    """Every write that changes something else than the rows, aimed at a branch."""
    renamed = {"extra": ColumnChange(name="renamed")}
    return {
        "add_columns": lambda: db.add_columns("t", {"new": "id + 1"}, branch=branch),
        "alter_columns": lambda: db.alter_columns("t", renamed, branch=branch),
        "drop_columns": lambda: db.drop_columns("t", "extra", branch=branch),
        "create_scalar_index": lambda: db.create_scalar_index("t", "extra", branch=branch),
        "create_fts_index": lambda: db.create_fts_index("t", "v", branch=branch),
        "create_vector_index": lambda: db.create_vector_index("t", "vec", branch=branch),
        "drop_index": lambda: db.drop_index("t", "id_btree", branch=branch),
        "update_indexes": lambda: db.update_indexes("t", branch=branch),
        "optimize_table": lambda: db.optimize_table("t", branch=branch, retain=None),
        "update_metadata": lambda: db.update_metadata("t", {"key": "value"}, branch=branch),
    }


def start(root: str) -> StorageBackend:
    db = pennon.open(root)
    vectors = pa.array([[1.0, 2.0]] * 4, pa.list_(pa.float32(), 2))
    rows = pa.table({"id": range(4), "v": ["old"] * 4, "extra": [1] * 4, "vec": vectors})
    db.create_table("t", rows.slice(0, 3))
    db.write("t", rows.slice(3))
    return db


@pytest.fixture(params=["memory", "local"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    return start(f"memory://{uuid.uuid4().hex}" if request.param == "memory" else str(tmp_path))


def files(db: StorageBackend) -> dict[str, bytes]:
    """Every file of main: of the table, but not of its branches, their names and claims."""
    root = Path(db.namespace.describe_table("t").location)
    there = (p for p in root.rglob("*") if p.is_file())
    names = {str(p.relative_to(root)): p for p in there}
    aside = ("tree/", "_refs/", "_pennon/")
    return {n: p.read_bytes() for n, p in names.items() if not n.startswith(aside)}


@pytest.mark.parametrize("name", [*writes(None, "", 1)])  # pyright: ignore[reportArgumentType]
def test_a_write_on_a_branch_leaves_every_byte_of_main(local_root: str, name: str) -> None:
    db = start(local_root)
    db.create_branch("t", "b")
    before, rows = files(db), content(db, "main")
    version = db.get_table_version("t", branch="b")
    receipt = writes(db, "b", version)[name]()
    assert (receipt.branch, receipt.version) == ("b", version + 1)
    assert files(db) == before
    assert content(db, "main") == rows
    assert content(db, "b")[0] == version + 1


def everything(db: StorageBackend, branch: str) -> tuple[Any, ...]:
    """Rows, columns with all metadata, and indexes of a branch."""
    schema = db.get_table_schema("t", branch=branch)
    assert schema is not None
    indexes = [(i.name, i.rows_indexed) for i in db.list_indexes("t", branch=branch)]
    return content(db, branch), schema.to_string(), sorted(indexes)


@pytest.mark.parametrize("name", [*other_writes(None, "")])  # pyright: ignore[reportArgumentType]
def test_another_write_on_a_branch_leaves_every_byte_of_main(local_root: str, name: str) -> None:
    db = start(local_root)
    db.create_scalar_index("t", "id")
    db.write("t", [{"id": 4, "v": "old"}])
    db.create_branch("t", "b")
    before, main, branch = files(db), everything(db, "main"), everything(db, "b")
    other_writes(db, "b")[name]()
    assert files(db) == before
    assert everything(db, "main") == main
    assert everything(db, "b") != branch


def test_a_branch_that_is_missing_is_never_main(db: StorageBackend) -> None:
    before = content(db, "main")
    for write in {**writes(db, "nope", 2), **other_writes(db, "nope")}.values():
        with pytest.raises(BranchNotFound):
            write()
    for read in (
        lambda: db.scan(ScanRequest("t", branch="nope")),
        lambda: db.count_rows("t", branch="nope"),
        lambda: db.versions("t", branch="nope"),
        lambda: db.get_table_version("t", branch="nope"),
        lambda: db.create_tag("t", "x", branch="nope"),
    ):
        with pytest.raises(BranchNotFound):
            read()
    assert content(db, "main") == before
    assert db.list_branches("t") == []


def test_every_write_is_tried() -> None:
    """A method that takes a branch and gives a receipt is among those tried above."""
    takes = {
        name
        for name, method in inspect.getmembers(StorageBackend, inspect.isfunction)
        if "branch" in (found := inspect.signature(method).parameters) and "write_id" in found
    }
    tried = {name.partition(",")[0] for name in writes(None, "", 1)}  # pyright: ignore[reportArgumentType]
    assert takes <= tried | {*other_writes(None, "")}  # pyright: ignore[reportArgumentType]


class Aimed(RuleBasedStateMachine):
    """Writes aimed at random branches; all others stay as they are."""

    root: str

    @initialize()
    def begin(self) -> None:
        self.db = start(self.open())
        self.known = {"main": content(self.db, "main")}

    def open(self) -> str:
        raise NotImplementedError

    @rule(name=st.sampled_from(BRANCHES[1:]), source=st.sampled_from(BRANCHES))
    def fork(self, name: str, source: str) -> None:
        if name in self.known or source not in self.known:
            return
        version, _ = self.db.fork_branch("t", source, name)
        assert version == self.known[source][0]
        self.known[name] = self.known[source]

    @rule(branch=st.sampled_from(BRANCHES), which=st.integers(0, 8))
    def write(self, branch: str, which: int) -> None:
        version = self.known.get(branch, (1,))[0]
        call = [*writes(self.db, branch, version).values()][which]
        if branch not in self.known:
            with pytest.raises(BranchNotFound):
                call()
            return
        receipt = call()
        assert receipt.branch == branch
        self.known[branch] = content(self.db, branch)
        assert self.known[branch][0] == receipt.version

    @precondition(lambda self: len(self.known) > 1)
    @rule(branch=st.sampled_from(BRANCHES[1:]))
    def delete(self, branch: str) -> None:
        needed = any(b.parent == branch for b in self.db.list_branches("t"))
        if branch in self.known and not needed:
            self.db.delete_branch("t", branch)
            del self.known[branch]

    @invariant()
    def all_branches_are_as_they_should_be(self) -> None:
        if not hasattr(self, "known"):
            return
        assert {b.name for b in self.db.list_branches("t")} == self.known.keys() - {"main"}
        for branch, known in self.known.items():
            assert content(self.db, branch) == known


@pytest.mark.parametrize("kind", ["memory", "local"])
@pytest.mark.timeout(300)
def test_writes_land_where_they_are_aimed(kind: str, tmp_path: Path) -> None:
    class Machine(Aimed):
        def open(self) -> str:
            name = uuid.uuid4().hex
            return f"memory://{name}" if kind == "memory" else str(tmp_path / name)

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=10, stateful_step_count=15, deadline=None)
    )
