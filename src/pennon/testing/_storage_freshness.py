"""Cases of the conformance suite: reads are fresh, snapshots stand still."""

from __future__ import annotations

from typing import Any

import pytest

from pennon.errors import BranchNotFound, InvalidState, TableNotFound, Unsupported
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.testing._storage_base import StorageCases

__all__ = ["FreshnessCases"]


def _ids(backend: StorageBackend, table: str = "t", **where: Any) -> list[int]:
    return sorted(
        backend.scan(ScanRequest(table, columns=["id"], **where)).read_all()["id"].to_pylist()
    )


class FreshnessCases(StorageCases):
    """Reads are fresh, and snapshots stand still."""

    # -- fresh -------------------------------------------------------------------------------------

    def test_what_another_connection_wrote_is_read(self, backend: StorageBackend) -> None:
        other = self.reopen(backend)
        backend.create_table("t", [{"id": 1}])
        assert _ids(other) == [1]
        first = backend.write("t", [{"id": 2}]).version
        assert (_ids(other), other.get_table_version("t")) == ([1, 2], first)
        backend.delete_rows("t", "id = 1")
        assert (_ids(other), other.count_rows("t")) == ([2], 1)
        backend.write("t", [{"id": 7}, {"id": 8}], mode="overwrite")
        assert _ids(other) == [7, 8]
        backend.rollback_table("t", first)
        assert _ids(other) == [1, 2]

    def test_a_table_that_was_made_anew_is_another_one(self, backend: StorageBackend) -> None:
        other = self.reopen(backend)
        for number in range(3):
            backend.create_table("t", [{"id": number}])
            assert (_ids(other), other.get_table_version("t")) == ([number], 1)
            assert other.table_exists("t")
            backend.drop_table("t")
            assert not other.table_exists("t")
            with pytest.raises(TableNotFound):
                other.count_rows("t")

    def test_a_branch_that_was_made_anew_is_another_one(self, backend: StorageBackend) -> None:
        other = self.reopen(backend)
        backend.create_table("t", [{"id": 1}])
        for number in (2, 3):
            backend.create_branch("t", "b")
            backend.write("t", [{"id": number}], branch="b")
            assert _ids(other, branch="b") == [1, number]
            backend.delete_branch("t", "b")
            with pytest.raises(BranchNotFound):
                other.count_rows("t", branch="b")

    def test_caches_can_be_cleared(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        assert backend.count_rows("t") == 1
        backend.invalidate_cache("t")
        backend.invalidate_cache("no such table")
        backend.invalidate_cache()
        assert backend.count_rows("t") == 1
        backend.clear_cache()
        assert backend.count_rows("t") == 1

    # -- snapshots ---------------------------------------------------------------------------------

    def test_a_snapshot_stands_still(self, backend: StorageBackend) -> None:
        for table in ("t", "u"):
            backend.create_table(table, [{"id": 1}, {"id": 2}], primary_key="id")
        backend.create_branch("t", "b")
        with backend.snapshot(["t", "u"]) as still:
            assert dict(still.pins) == {("t",): 1, ("u",): 1}
            assert _ids(still, branch="b") == [1, 2]
            backend.write("t", [{"id": 3}])
            backend.write("t", [{"id": 3}], branch="b")
            backend.write("u", [{"id": 9}], mode="overwrite")
            assert (_ids(still), _ids(still, "u"), _ids(still, branch="b")) == (
                [1, 2],
                [1, 2],
                [1, 2],
            )
            assert (still.get_table_version("t"), backend.get_table_version("t")) == (1, 2)
            assert still.take("t", [2]).to_pylist() == [{"id": 2}]
            assert still.head("t", 1).num_rows == still.sample("t", 1).num_rows == 1
            assert (
                still.sql("t", "select count(*) as n from dataset").read_all()["n"][0].as_py() == 2
            )
            assert still.table_exists("t")
            pins = dict(still.pins)
        assert _ids(backend, version=pins["t",]) == [1, 2]
        assert _ids(backend) == [1, 2, 3]

    def test_a_snapshot_without_names_pins_what_is_touched(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        backend.create_table("u", [{"id": 1}])
        with backend.snapshot() as still:
            assert dict(still.pins) == {}
            assert still.count_rows("t") == 1
            backend.write("t", [{"id": 2}])
            backend.write("u", [{"id": 2}])
            assert (still.count_rows("t"), still.count_rows("u")) == (1, 2)
            backend.write("u", [{"id": 3}])
            assert (still.count_rows("t"), still.count_rows("u")) == (1, 2)
            assert dict(still.pins) == {("t",): 1, ("u",): 2}

    def test_a_snapshot_is_read_only(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        with backend.snapshot(["t"]) as still:
            assert not {"write", "create_table", "rename_table"} & still.capabilities
            assert {"scan", "count_rows", "versions"} <= still.capabilities
            for call in (
                lambda: still.write("t", [{"id": 2}]),
                lambda: still.create_table("v", [{"id": 2}]),
                lambda: still.drop_table("t"),
                lambda: still.update("t", {"id": "2"}),
                lambda: still.create_branch("t", "b"),
                lambda: still.rename_table("t", "v"),
            ):
                with pytest.raises(Unsupported, match="read-only"):
                    call()
        assert backend.table_names() == [("t",)]
        assert _ids(backend) == [1]

    def test_a_closed_snapshot_reads_nothing(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        still = backend.snapshot(["t"])
        still.close()
        with pytest.raises(InvalidState, match="closed"):
            still.count_rows("t")

    def test_a_snapshot_of_a_table_that_is_missing(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        backend.namespace.declare_table("declared")
        for missing in ("nope", "declared"):
            with pytest.raises(TableNotFound):
                backend.snapshot(["t", missing])
        with backend.snapshot() as still:
            with pytest.raises(TableNotFound):
                still.count_rows("nope")
            backend.create_table("nope", [{"id": 1}])
            assert still.count_rows("nope") == 1, "a no is not remembered"
