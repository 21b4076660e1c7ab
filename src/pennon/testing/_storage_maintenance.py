"""Conformance of durability, optimizing and recovering."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from pennon.errors import BranchNotFound, InvalidOption, TableNotFound
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_writes import ids, keyed, refused

__all__ = ["MaintenanceCases"]


def many_fragments(backend: StorageBackend) -> None:
    """Create ``t`` with the ids 0 to 11 in six writes, the first two deleted."""
    backend.create_table("t", [{"id": 0}, {"id": 1}], schema=keyed(), write_id="first")
    for n in range(1, 6):
        backend.write("t", [{"id": 2 * n}, {"id": 2 * n + 1}])
    backend.delete_rows("t", "id < 2")


class MaintenanceCases(StorageCases):
    """Cases on durability and maintenance, mixed into the suite."""

    # -- durability --------------------------------------------------------------------------------

    def test_every_write_takes_a_durability(self, backend: StorageBackend) -> None:
        disk: Any = {"durability": "disk"}
        backend.create_table("t", [{"id": 1}], schema=keyed(), **disk)
        backend.write("t", [{"id": 2}], **disk, write_id="a")
        backend.write("t", [{"id": 3}], check_keys=True, **disk)
        backend.merge_insert("t", [{"id": 3, "name": "x"}, {"id": 4}], **disk)
        backend.update("t", {"name": "'y'"}, "id = 4", **disk)
        backend.delete_rows("t", "id = 1", **disk)
        backend.create_branch("t", "b")
        backend.write("t", [{"id": 9}], branch="b", **disk)
        assert backend.write("t", [{"id": 2}], **disk, write_id="a").version == 2
        again = self.reopen(backend)
        assert ids(again) == [2, 3, 4]
        assert again.scan(ScanRequest("t", branch="b")).read_all().num_rows == 4
        backend.rollback_table("t", 2, **disk)
        backend.replace_table_atomic("t", [{"id": 7}], **disk)
        backend.write("t", [{"id": 8}], mode="overwrite", **disk)
        backend.truncate("t", **disk)
        assert ids(backend) == []

    def test_a_durability_that_is_none(self, backend: StorageBackend) -> None:
        wrong: Any = {"durability": "hope"}
        refused(InvalidOption, lambda: backend.create_table("t", [{"id": 1}], **wrong))
        assert not backend.table_exists("t")
        backend.create_table("t", [{"id": 1}])
        refused(InvalidOption, lambda: backend.write("t", [{"id": 2}], **wrong))
        refused(InvalidOption, lambda: backend.rollback_table("t", 1, **wrong))
        assert backend.get_table_version("t") == 1

    # -- optimizing --------------------------------------------------------------------------------

    def test_optimizing_changes_no_row(self, backend: StorageBackend) -> None:
        many_fragments(backend)
        request = ScanRequest("t", with_row_id=True, order_by="id")
        before = backend.scan(request).read_all()
        plan = backend.optimize_table("t", dry_run=True)
        assert plan.dry_run
        assert backend.get_table_version("t") == plan.version == 7
        report = backend.optimize_table("t")
        assert (report.table, report.branch, report.dry_run) == (("t",), "main", False)
        assert report.version == backend.get_table_version("t") >= 7
        assert report.fragments_removed == plan.fragments_removed
        assert report.fragments_added <= report.fragments_removed
        assert report.rows_rewritten in (0, 10)
        assert report.conflicts == report.versions_removed == report.bytes_removed == 0
        assert self.reopen(backend).scan(request).read_all().equals(before)
        again = backend.optimize_table("t")
        assert again.fragments_removed == again.fragments_added == 0
        assert again.version == report.version
        # What was committed before is still known, and so are the versions.
        assert backend.create_table("t", [{"id": 0}], write_id="first").version == 1
        assert backend.scan(ScanRequest("t", version=2)).read_all().num_rows == 4
        assert backend.merge_insert("t", [{"id": 11, "name": "x"}]).rows_updated == 1

    def test_optimizing_a_branch_changes_no_other(self, backend: StorageBackend) -> None:
        many_fragments(backend)
        backend.create_branch("t", "b")
        for n in (20, 21, 22):
            backend.write("t", [{"id": n}], branch="b")
        before = [(v.version, v.operation) for v in backend.versions("t")]
        report = backend.optimize_table("t", branch="b", retain=timedelta(0), alone=True)
        assert report.branch == "b"
        assert [(v.version, v.operation) for v in backend.versions("t")] == before
        assert ids(backend) == list(range(2, 12))
        rows = backend.scan(ScanRequest("t", branch="b", columns=["id"])).read_all()
        assert sorted(rows["id"].to_pylist()) == [*range(2, 12), 20, 21, 22]

    def test_what_tags_and_branches_need_is_kept(self, backend: StorageBackend) -> None:
        many_fragments(backend)
        backend.create_branch("t", "b", version=2)
        backend.create_tag("t", "v3", version=3)
        backend.optimize_table("t", retain=timedelta(0), alone=True)
        again = self.reopen(backend)
        assert ids(again) == list(range(2, 12))
        assert again.scan(ScanRequest("t", branch="b")).read_all().num_rows == 4
        assert again.scan(ScanRequest("t", tag="v3")).read_all().num_rows == 6

    def test_removing_what_others_may_need_is_refused(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        too_short = timedelta(minutes=59)
        said = refused(InvalidOption, lambda: backend.optimize_table("t", retain=too_short))
        assert "alone=True" in said
        for wrong in (timedelta(days=-1), 7):
            option: Any = wrong
            call = lambda o=option: backend.optimize_table("t", retain=o, alone=True)  # noqa: E731
            refused(InvalidOption, call)
        assert backend.optimize_table("t", retain=None).versions_removed == 0
        refused(InvalidOption, lambda: backend.optimize_table("t", deadline=0))
        refused(TableNotFound, lambda: backend.optimize_table("nope"))
        refused(BranchNotFound, lambda: backend.optimize_table("t", branch="nope"))

    # -- recovering --------------------------------------------------------------------------------

    def test_nothing_is_to_be_recovered_where_nobody_died(self, backend: StorageBackend) -> None:
        many_fragments(backend)
        backend.write("t", [{"id": 50}], write_id="named")
        backend.merge_insert("t", [{"id": 50}, {"id": 51}])
        backend.create_branch("t", "b")
        backend.write("t", [{"id": 60}], branch="b", write_id="named")
        backend.create_branch("t", "gone")
        backend.delete_branch("t", "gone")
        backend.namespace.create_namespace("n")
        backend.create_table(("n", "u"), [{"id": 1}])
        version = backend.get_table_version("t")
        for report in (
            backend.recover(dry_run=True),
            backend.recover("t"),
            backend.recover("n", alone=True),
            backend.recover(alone=True),
        ):
            assert report.findings == ()
        assert backend.recover(dry_run=True).dry_run
        assert backend.get_table_version("t") == version
        refused(TableNotFound, lambda: backend.recover("nope"))
        with pytest.raises(TableNotFound):
            backend.recover(("n", "nope"))
