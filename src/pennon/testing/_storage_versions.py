"""Conformance of versions."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from pennon.errors import (
    BranchNotFound,
    CommitConflict,
    InvalidOption,
    SchemaMismatch,
    TableNotFound,
    VersionNotFound,
)
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_branches import refused, three_versions

__all__ = ["VersionCases"]


class VersionCases(StorageCases):
    """Cases on versions, mixed into the suite."""

    def test_rows_keep_their_ids(self, backend: StorageBackend) -> None:
        def ids(**where: Any) -> dict[int, int]:
            request = ScanRequest("t", columns=["id"], with_row_id=True, **where)
            found = backend.scan(request).read_all().to_pylist()
            return {row["id"]: row["_rowid"] for row in found}

        rows = [{"id": n, "v": n} for n in range(4)]
        backend.create_table("t", rows, primary_key="id")
        first = ids()
        backend.delete_rows("t", "id = 1")
        backend.update("t", {"v": "v + 10"}, where="id = 2")
        backend.merge_insert("t", [{"id": 3, "v": 30}, {"id": 4, "v": 4}])
        now = ids()
        assert {n: now[n] for n in (0, 2, 3)} == {n: first[n] for n in (0, 2, 3)}
        assert len(set(now.values())) == 4
        asked = [now[4], now[2], 10**6]
        assert backend.take("t", row_ids=asked)["id"].to_pylist() == [4, 2]
        assert ids(version=1) == first
        backend.create_branch("t", "b", version=1)
        backend.write("t", [{"id": 9, "v": 9}], branch="b")
        branched = ids(branch="b")
        assert {n: branched[n] for n in range(4)} == first

    def test_difference_of_two_versions(self, backend: StorageBackend) -> None:
        def told(a: int, b: int) -> set[tuple[str, int, int]]:
            found = backend.diff("t", a, b).read_all().to_pylist()
            return {(row["_change"], row["id"], row["v"]) for row in found}

        rows = [{"id": n, "v": n} for n in range(4)]
        backend.create_table("t", rows, primary_key="id")
        backend.delete_rows("t", "id = 1")
        backend.update("t", {"v": "v + 10"}, where="id = 2")
        backend.merge_insert("t", [{"id": 3, "v": 30}, {"id": 4, "v": 4}])
        assert told(1, 4) == {
            ("deleted", 1, 1),
            ("updated", 2, 12),
            ("updated", 3, 30),
            ("inserted", 4, 4),
        }
        assert told(2, 3) == {("updated", 2, 12)}
        assert told(4, 3) == {("updated", 3, 3), ("deleted", 4, 4)}
        back = backend.rollback_table("t", 1).version
        assert told(1, back) == set()
        backend.add_columns("t", {"w": "v"})
        refused(SchemaMismatch, lambda: backend.diff("t", 1, back + 1))
        refused(VersionNotFound, lambda: backend.diff("t", 1, back + 2))

    def test_versions_tell_what_was_done(self, backend: StorageBackend) -> None:
        before = datetime.now(UTC) - timedelta(minutes=5)
        backend.create_table("t", [{"id": 1}, {"id": 2}], write_id="load")
        said = backend.write("t", [{"id": 3}], write_id="more", commit_message="one more")
        backend.delete_rows("t", "id = 1")
        deleted, appended, created = self.reopen(backend).versions("t")
        assert [v.version for v in (deleted, appended, created)] == [3, 2, 1]
        assert [v.operation for v in (deleted, appended, created)] == ["delete", "append", "create"]
        assert all(str(v.writer).endswith(f":{os.getpid()}") for v in (deleted, appended, created))
        assert created.writer == appended.writer == deleted.writer
        assert created.write_ids == ("load",)
        assert appended.write_ids == ("more",)
        assert (appended.message, created.message) == ("one more", None)
        assert (created.rows_inserted, created.rows_deleted) == (2, 0)
        assert (deleted.rows_inserted, deleted.rows_deleted) == (0, 1)
        assert appended.committed_at == said.committed_at
        assert appended.committed_at.tzinfo is UTC
        assert before < created.committed_at <= appended.committed_at <= deleted.committed_at

    def test_versions_come_in_pages(self, backend: StorageBackend) -> None:
        three_versions(backend)
        for number in (4, 5):
            backend.write("t", [{"id": number}])
        whole = backend.versions("t")
        assert [v.version for v in whole] == [5, 4, 3, 2, 1]
        assert backend.versions("t", limit=2) == whole[:2]
        assert backend.versions("t", limit=2, before=4) == whole[2:4]
        assert backend.versions("t", limit=9, before=2) == whole[4:]
        assert backend.versions("t", before=1) == backend.versions("t", limit=0) == []
        refused(InvalidOption, lambda: backend.versions("t", limit=-1))
        refused(TableNotFound, lambda: backend.versions("nope"))
        refused(BranchNotFound, lambda: backend.versions("t", branch="nope"))

    def test_versions_of_a_branch_begin_where_it_does(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev", version=2)
        backend.write("t", [{"id": 8}], branch="dev")
        assert [(v.version, v.operation) for v in backend.versions("t", branch="dev")] == [
            (3, "append"),
            (2, "branch"),
        ]
        assert backend.get_table_version("t", branch="dev") == 3
        backend.write("t", [{"id": 9}])
        assert self.reopen(backend).get_table_version("t") == 4
        assert backend.get_table_version("t", branch="dev") == 3
        refused(BranchNotFound, lambda: backend.get_table_version("t", branch="nope"))
        refused(TableNotFound, lambda: backend.get_table_version("nope"))

    def test_rollback_makes_a_new_version_like_the_old(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.delete_rows("t", "id = 1")
        old = backend.scan("t").read_all()
        backend.write("t", [{"id": 9}], mode="overwrite")
        for expected in (None, 6):
            done = backend.rollback_table("t", 4, expected=expected, commit_message="back")
            assert done.version == (6 if expected is None else 7)
            assert (done.rows_inserted, done.rows_updated) == (2, 0)
            assert done.rows_deleted == (1 if expected is None else 2)
            rows = self.reopen(backend).scan("t").read_all()
            assert rows.schema.equals(old.schema, check_metadata=True)
            assert sorted(rows["id"].to_pylist()) == [2, 3]
            newest = backend.versions("t", limit=1)[0]
            assert newest.version == done.version
            assert newest.write_ids == (done.write_id,)
            assert newest.message == "back"
        assert backend.write("t", [{"id": 10}]).version == 8
        assert backend.count_rows("t") == 3

    def test_rollback_brings_the_old_columns_back(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        three_versions(backend)
        other = pa.table({"name": ["a"]})
        for expected in (None, 6):
            backend.write("t", other, mode="overwrite", schema=other.schema)
            backend.rollback_table("t", 2, expected=expected)
            assert sorted(backend.scan("t").read_all().to_pylist(), key=str) == [
                {"id": 1},
                {"id": 2},
            ]

    def test_rollback_compares_and_swaps(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.write("t", [{"id": 4}])
        refused(CommitConflict, lambda: backend.rollback_table("t", 1, expected=3))
        assert backend.get_table_version("t") == 4
        assert backend.rollback_table("t", 1, expected=4).version == 5
        assert backend.count_rows("t") == 1

    def test_rollback_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        three_versions(backend)
        for expected in (None, 5):
            name = f"undo {expected}"
            done = backend.rollback_table("t", 1, write_id=name, expected=expected)
            backend.write("t", [{"id": 7}])
            again = self.reopen(backend).rollback_table("t", 1, write_id=name, expected=expected)
            assert again == done
            assert backend.count_rows("t") == 2

    def test_rollback_to_what_is_not_there(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev")
        for expected in (None, 3):
            refused(VersionNotFound, lambda e=expected: backend.rollback_table("t", 9, expected=e))
        refused(VersionNotFound, lambda: backend.rollback_table("t", 1, branch="dev"))
        refused(BranchNotFound, lambda: backend.rollback_table("t", 1, branch="nope"))
        refused(TableNotFound, lambda: backend.rollback_table("nope", 1))
        refused(InvalidOption, lambda: backend.rollback_table("t", 0))
        assert backend.get_table_version("t") == backend.get_table_version("t", branch="dev") == 3

    def test_rollback_of_a_branch_leaves_main_alone(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev", version=2)
        backend.write("t", [{"id": 8}], branch="dev")
        for expected in (None, 4):
            done = backend.rollback_table("t", 2, branch="dev", expected=expected)
            assert (done.branch, done.rows_inserted) == ("dev", 2)
            assert backend.count_rows("t", branch="dev") == 2
        assert backend.get_table_version("t") == backend.count_rows("t") == 3
