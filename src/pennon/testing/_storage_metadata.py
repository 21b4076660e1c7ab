"""Conformance of what a table says of itself besides its rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    InvalidOption,
    TableNotFound,
    TagNotFound,
    VersionNotFound,
)
from pennon.storage.abc import StorageBackend
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_branches import refused, three_versions

__all__ = ["MetadataCases"]


class MetadataCases(StorageCases):
    """Cases on metadata, mixed into the suite."""

    def test_stats_follow_the_rows(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": n} for n in range(10)])
        backend.create_tag("t", "start")
        backend.write("t", [{"id": 10}])
        backend.create_branch("t", "dev")
        backend.delete_rows("t", "id < 4")
        now = self.reopen(backend).table_stats("t")
        assert (now.version, now.rows, sum(now.fragment_rows)) == (3, 7, 7)
        assert now.deleted_rows in {0, 4}
        assert now.bytes > 0
        start = backend.table_stats("t", tag="start")
        assert (start.version, start.rows, start.deleted_rows) == (1, 10, 0)
        assert start == backend.table_stats("t", version=1)
        assert backend.table_stats("t", branch="dev").rows == 11
        backend.rollback_table("t", 1)
        again = backend.table_stats("t")
        assert (again.version, again.rows, again.bytes) == (4, 10, start.bytes)
        assert backend.table_stats("t", version=1) == start
        backend.truncate("t")
        empty = backend.table_stats("t")
        assert (empty.rows, empty.bytes, empty.fragment_rows) == (0, 0, ())

    def test_stats_of_what_is_not_there(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        backend.namespace.declare_table("declared")
        refused(TableNotFound, lambda: backend.table_stats("nope"))
        refused(TableNotFound, lambda: backend.table_stats("declared"))
        refused(VersionNotFound, lambda: backend.table_stats("t", version=2))
        refused(BranchNotFound, lambda: backend.table_stats("t", branch="nope"))
        refused(TagNotFound, lambda: backend.table_stats("t", tag="nope"))
        refused(TableNotFound, lambda: backend.version_files("nope"))
        refused(TableNotFound, lambda: backend.version_files("declared"))
        refused(BranchNotFound, lambda: backend.version_files("t", branch="nope"))

    def test_each_version_has_a_file(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev", version=2)
        backend.write("t", [{"id": 8}], branch="dev")
        files = self.reopen(backend).version_files("t")
        assert [f.version for f in files] == [v.version for v in backend.versions("t")] == [3, 2, 1]
        now = datetime.now(UTC)
        assert all(abs(now - f.stored_at) < timedelta(minutes=5) for f in files)
        assert len({f.path for f in files}) in {1, 3}
        of_branch = backend.version_files("t", branch="dev")
        assert [f.version for f in of_branch] == [3, 2]
        assert all(not f.path or f.path.startswith("tree/dev/_versions/") for f in of_branch)

    def test_metadata_change_and_stay(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1, "x": 2}], primary_key="id")
        first = backend.update_metadata("t", {"owner": "ada", "old": "1"}, write_id="once")
        assert (first.version, first.rows_inserted, first.rows_updated) == (2, 0, 0)
        assert backend.update_metadata("t", {"owner": "bob"}, write_id="once") == first
        backend.update_metadata("t", {"old": None}, columns={"x": {"unit": "m"}}, durability="disk")
        backend.write("t", [{"id": 2, "x": 3}])
        schema = self.reopen(backend).get_table_schema("t")
        assert schema is not None
        assert (schema.metadata or {}).get(b"owner") == b"ada"
        assert b"old" not in (schema.metadata or {})
        assert (schema.field("x").metadata or {}).get(b"unit") == b"m"
        backend.update_metadata("t", columns={"x": {"unit": None}})
        schema = backend.get_table_schema("t")
        assert schema is not None
        assert b"unit" not in (schema.field("x").metadata or {})
        old = backend.get_table_schema("t", version=2)
        assert old is not None
        assert (old.metadata or {}).get(b"old") == b"1"
        assert backend.versions("t")[0].operation == "metadata"
        with pytest.raises(ValueError, match="key"):
            backend.write("t", [{"id": 2, "x": 3}], check_keys=True)

    def test_metadata_of_a_branch_stay_there(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev")
        receipt = backend.update_metadata("t", {"k": "v"}, branch="dev")
        assert (receipt.branch, receipt.version) == ("dev", 4)
        of_branch, of_main = (backend.get_table_schema("t", branch=b) for b in ("dev", "main"))
        assert of_branch is not None
        assert of_main is not None
        assert (of_branch.metadata or {}).get(b"k") == b"v"
        assert b"k" not in (of_main.metadata or {})
        assert backend.get_table_version("t") == 3

    def test_metadata_that_are_refused(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        refused(InvalidOption, lambda: backend.update_metadata("t"))
        refused(InvalidOption, lambda: backend.update_metadata("t", {}, columns={"id": {}}))
        refused(InvalidOption, lambda: backend.update_metadata("t", {"a": 1}))  # type: ignore[dict-item]
        wrong = {"durability": "tape"}
        refused(InvalidOption, lambda: backend.update_metadata("t", {"a": "b"}, **wrong))  # type: ignore[arg-type]
        key = "lance-schema:unenforced-primary-key:position"
        refused(InvalidOption, lambda: backend.update_metadata("t", columns={"id": {key: "1"}}))
        refused(ColumnNotFound, lambda: backend.update_metadata("t", columns={"no": {"a": "b"}}))
        refused(TableNotFound, lambda: backend.update_metadata("nope", {"a": "b"}))
        refused(BranchNotFound, lambda: backend.update_metadata("t", {"a": "b"}, branch="nope"))
        assert backend.get_table_version("t") == 1
