"""Conformance of branches and tags."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pennon.errors import (
    BranchAlreadyExists,
    BranchNotFound,
    InvalidName,
    InvalidOption,
    InvalidState,
    PennonError,
    TableNotFound,
    TagAlreadyExists,
    TagNotFound,
    VersionNotFound,
)
from pennon.storage.abc import BranchInfo, StorageBackend
from pennon.testing._storage_base import StorageCases

__all__ = ["BranchCases"]


def refused(error: type[PennonError], call: Any) -> str:
    """Assert that a call raises this very error; return what it says."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert len(str(caught.value)) > 30
    assert ".rs:" not in str(caught.value)
    return str(caught.value)


def three_versions(backend: StorageBackend) -> None:
    """Make the table ``t`` with the rows 1, 2 and 3, one per version."""
    backend.create_table("t", [{"id": 1}])
    backend.write("t", [{"id": 2}])
    backend.write("t", [{"id": 3}])


class BranchCases(StorageCases):
    """Cases on branches, mixed into the suite."""

    def test_branches_are_made_and_listed(self, backend: StorageBackend) -> None:
        three_versions(backend)
        assert backend.list_branches("t") == []
        made = backend.create_branch("t", "dev")
        assert (made.name, made.parent, made.parent_version) == ("dev", "main", 3)
        assert made.created_at.tzinfo is UTC
        assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=5)
        old = backend.create_branch("t", "old", version=1)
        child = backend.create_branch("t", "team/a-b.c_d", source="old")
        assert (child.parent, child.parent_version) == ("old", 1)
        for other in (backend, self.reopen(backend)):
            assert other.list_branches("t") == [made, old, child]

    def test_fork_a_branch(self, backend: StorageBackend) -> None:
        three_versions(backend)
        assert backend.fork_branch("t", "main", "a") == (3, "a")
        assert backend.fork_branch("t", "a", "b") == (3, "b")
        assert [b.parent for b in backend.list_branches("t")] == ["main", "a"]
        refused(BranchNotFound, lambda: backend.fork_branch("t", "nope", "c"))
        refused(BranchAlreadyExists, lambda: backend.fork_branch("t", "main", "a"))

    def test_a_name_that_is_taken(self, backend: StorageBackend) -> None:
        three_versions(backend)
        made = backend.create_branch("t", "dev")
        create = backend.create_branch
        for again in (
            lambda: create("t", "dev"),
            lambda: create("t", "dev", version=1),
            lambda: create("t", "dev", source="dev"),
        ):
            assert "dev" in refused(BranchAlreadyExists, again)
        assert backend.list_branches("t") == [made]

    def test_a_source_that_is_not_there(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev")
        create = backend.create_branch
        refused(BranchNotFound, lambda: create("t", "x", source="nope"))
        refused(BranchNotFound, lambda: create("t", "x", source="nope", version=1))
        refused(VersionNotFound, lambda: create("t", "x", version=9))
        refused(VersionNotFound, lambda: create("t", "x", source="dev", version=2))
        refused(TagNotFound, lambda: create("t", "x", tag="nope"))
        refused(TableNotFound, lambda: create("nope", "x"))
        refused(InvalidOption, lambda: create("t", "x", version=1, tag="a"))
        refused(InvalidOption, lambda: create("t", "x", source="dev", tag="a"))
        assert [b.name for b in backend.list_branches("t")] == ["dev"]
        assert isinstance(create("t", "x"), BranchInfo)

    @pytest.mark.parametrize(
        "name",
        ["", "main", "a b", "a//b", "/a", "..", "a/../b", "ü", "x.lock", "a/data", "a/_refs"],
    )
    def test_names_no_branch_can_have(self, backend: StorageBackend, name: str) -> None:
        backend.create_table("t", [{"id": 1}])
        refused(InvalidName, lambda: backend.create_branch("t", name))
        refused(InvalidName, lambda: backend.delete_branch("t", name))
        assert backend.list_branches("t") == []

    def test_delete_a_branch(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev")
        backend.delete_branch("t", "dev")
        assert self.reopen(backend).list_branches("t") == []
        refused(BranchNotFound, lambda: backend.delete_branch("t", "dev"))
        backend.delete_branch("t", "dev", missing_ok=True)
        assert backend.create_branch("t", "dev", version=2).parent_version == 2

    def test_delete_a_branch_that_another_needs(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "a")
        backend.create_branch("t", "b", source="a")
        said = refused(InvalidState, lambda: backend.delete_branch("t", "a"))
        assert "'b'" in said
        refused(InvalidState, lambda: backend.delete_branch("t", "a", missing_ok=True))
        assert [b.name for b in backend.list_branches("t")] == ["a", "b"]
        backend.create_branch("t", "c", source="a")
        for name in ("c", "b", "a"):
            backend.delete_branch("t", name)
        assert backend.list_branches("t") == []

    def test_branches_below_branches(self, backend: StorageBackend) -> None:
        three_versions(backend)
        for name in ("a", "a/b", "a/b/c"):
            backend.create_branch("t", name)
        backend.delete_branch("t", "a")
        backend.delete_branch("t", "a/b")
        assert [b.name for b in backend.list_branches("t")] == ["a/b/c"]
        assert backend.create_branch("t", "a", version=1).parent_version == 1
        assert backend.create_branch("t", "a/b", source="a/b/c").parent == "a/b/c"

    def test_branches_of_a_table_that_is_not_there(self, backend: StorageBackend) -> None:
        backend.namespace.declare_table("declared")
        for table in ("nope", "declared"):
            refused(TableNotFound, lambda t=table: backend.list_branches(t))
            refused(TableNotFound, lambda t=table: backend.create_branch(t, "x"))
            refused(TableNotFound, lambda t=table: backend.delete_branch(t, "x"))

    def test_tags_are_made_moved_listed_and_deleted(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev", version=2)
        assert backend.list_tags("t") == []
        made = backend.create_tag("t", "v1.0", version=1)
        assert (made.name, made.branch, made.version) == ("v1.0", "main", 1)
        assert made.created_at.tzinfo is UTC
        assert made.updated_at >= made.created_at
        assert abs(datetime.now(UTC) - made.created_at) < timedelta(minutes=5)
        newest = backend.create_tag("t", "newest")
        assert newest.version == 3
        on_branch = backend.create_tag("t", "dev", branch="dev")
        assert (on_branch.branch, on_branch.version) == ("dev", 2)
        for other in (backend, self.reopen(backend)):
            assert other.list_tags("t") == [on_branch, newest, made]

        moved = backend.move_tag("t", "v1.0", branch="dev")
        assert (moved.name, moved.branch, moved.version) == ("v1.0", "dev", 2)
        assert moved.created_at == made.created_at
        assert moved.updated_at > made.updated_at
        assert backend.list_tags("t") == [on_branch, newest, moved]

        backend.delete_tag("t", "dev")
        assert self.reopen(backend).list_tags("t") == [newest, moved]
        refused(TagNotFound, lambda: backend.delete_tag("t", "dev"))
        backend.delete_tag("t", "dev", missing_ok=True)

    def test_a_branch_from_a_tag(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev", version=2)
        backend.create_tag("t", "a", version=1)
        backend.create_tag("t", "b", branch="dev")
        assert backend.create_branch("t", "from-a", tag="a").parent_version == 1
        made = backend.create_branch("t", "from-b", tag="b")
        assert (made.parent, made.parent_version) == ("dev", 2)

    def test_a_tag_that_is_taken_or_not_there(self, backend: StorageBackend) -> None:
        three_versions(backend)
        made = backend.create_tag("t", "a", version=1)
        refused(TagAlreadyExists, lambda: backend.create_tag("t", "a", version=1))
        refused(TagAlreadyExists, lambda: backend.create_tag("t", "a", version=2))
        refused(TagNotFound, lambda: backend.move_tag("t", "b", version=2))
        for call in (backend.create_tag, backend.move_tag):
            name = "a" if call == backend.move_tag else "b"
            refused(VersionNotFound, lambda c=call, n=name: c("t", n, version=9))
            refused(BranchNotFound, lambda c=call, n=name: c("t", n, branch="nope"))
            refused(BranchNotFound, lambda c=call, n=name: c("t", n, branch="nope", version=1))
            refused(InvalidName, lambda c=call: c("t", "a b"))
            refused(InvalidName, lambda c=call: c("t", "main"))
            refused(TableNotFound, lambda c=call: c("nope", "a"))
        refused(TableNotFound, lambda: backend.list_tags("nope"))
        refused(TableNotFound, lambda: backend.delete_tag("nope", "a"))
        assert backend.list_tags("t") == [made]

    def test_a_tag_keeps_its_branch(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev")
        backend.create_tag("t", "a", branch="dev")
        said = refused(InvalidState, lambda: backend.delete_branch("t", "dev"))
        assert "'a'" in said
        backend.move_tag("t", "a", version=1)
        backend.delete_branch("t", "dev")
        assert backend.list_branches("t") == []
