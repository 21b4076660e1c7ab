"""The conformance suite of a storage backend."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pennon.errors import (
    ColumnNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    InvalidOption,
    NamespaceNotFound,
    PennonError,
    SchemaMismatch,
    TableAlreadyExists,
    TableNotFound,
)
from pennon.storage.abc import CommitReceipt, ScanRequest, StorageBackend
from pennon.testing._storage_branches import BranchCases
from pennon.testing._storage_capabilities import CapabilityCases
from pennon.testing._storage_columns import ColumnCases
from pennon.testing._storage_edges import EdgeCases
from pennon.testing._storage_freshness import FreshnessCases
from pennon.testing._storage_indexes import IndexCases
from pennon.testing._storage_maintenance import MaintenanceCases
from pennon.testing._storage_merge import MergeCases
from pennon.testing._storage_metadata import MetadataCases
from pennon.testing._storage_reads import ReadCases
from pennon.testing._storage_searches import SearchCases
from pennon.testing._storage_tables import TableCases
from pennon.testing._storage_versions import VersionCases
from pennon.testing._storage_writes import WriteCases

__all__ = ["StorageBackendSuite"]

ROWS = [{"id": 1, "name": "ada"}, {"id": 2, "name": None}, {"id": 3, "name": "Grace 🚀"}]


class StorageBackendSuite(
    TableCases,
    ReadCases,
    BranchCases,
    VersionCases,
    MetadataCases,
    WriteCases,
    ColumnCases,
    EdgeCases,
    MergeCases,
    MaintenanceCases,
    IndexCases,
    SearchCases,
    CapabilityCases,
    FreshnessCases,
):
    """Tests that every :class:`~pennon.storage.abc.StorageBackend` passes.

    Subclass it in a test module and say where an empty backend comes from::

        class TestMine(StorageBackendSuite):
            @pytest.fixture
            def backend(self, tmp_path):
                return pennon.open(tmp_path)

            def reopen(self, backend):
                return pennon.open(backend.namespace.root)
    """

    def rows(self, backend: StorageBackend, request: Any, by: str | None = "id") -> list[Any]:
        """Return what a scan delivers, sorted."""
        found = backend.scan(request).read_all().to_pylist()
        return sorted(found, key=lambda r: r[by]) if by else found

    def check_receipt(self, receipt: CommitReceipt, table: Any, version: int, rows: int) -> None:
        """Assert that a receipt says what was done just now."""
        assert receipt.table == ((table,) if isinstance(table, str) else tuple(table))
        assert receipt.branch == "main"
        assert receipt.version == version
        assert (receipt.rows_inserted, receipt.rows_updated, receipt.rows_deleted) == (rows, 0, 0)
        assert receipt.write_id
        assert receipt.committed_at.tzinfo is UTC
        assert abs(datetime.now(UTC) - receipt.committed_at) < timedelta(minutes=5)

    def refused(self, error: type[PennonError], call: Any) -> PennonError:
        """Assert that a call raises this very error, with a message that says enough."""
        with pytest.raises(error) as caught:
            call()
        assert type(caught.value) is error
        assert len(str(caught.value)) > 30
        assert ".rs:" not in str(caught.value)
        return caught.value

    # -- create ------------------------------------------------------------------------------------

    def test_create_holds_the_rows(self, backend: StorageBackend) -> None:
        receipt = backend.create_table("t", ROWS)
        self.check_receipt(receipt, "t", 1, 3)
        assert self.rows(backend, "t") == ROWS
        assert self.rows(self.reopen(backend), "t") == ROWS
        assert backend.namespace.describe_table("t", check_declared=True).declared_only is False

    def test_create_in_a_namespace(self, backend: StorageBackend) -> None:
        backend.namespace.create_namespace("team")
        backend.namespace.create_namespace(("team", "ünïcode"))
        receipt = backend.create_table(("team", "ünïcode", "a b'c`d%41"), ROWS)
        self.check_receipt(receipt, ("team", "ünïcode", "a b'c`d%41"), 1, 3)
        assert self.rows(backend, ("team", "ünïcode", "a b'c`d%41")) == ROWS

    def test_create_without_rows(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
        self.check_receipt(backend.create_table("t", schema=schema), "t", 1, 0)
        assert backend.scan("t").schema == schema
        assert backend.count_rows("t") == 0
        self.check_receipt(backend.create_table("u", [], schema=schema), "u", 1, 0)

    def test_create_again_is_refused_and_changes_nothing(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        for other in (backend, self.reopen(backend)):
            error = self.refused(
                TableAlreadyExists, lambda b=other: b.create_table("t", [{"x": 1}])
            )
            assert "t" in str(error)
        assert self.rows(backend, "t") == ROWS

    def test_create_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        first = backend.create_table("t", ROWS, write_id="load")
        assert first.write_id == "load"
        assert backend.create_table("t", ROWS, write_id="load") == first
        assert self.reopen(backend).create_table("t", ROWS, write_id="load") == first
        backend.write("t", [{"id": 4}])
        assert backend.create_table("t", ROWS, write_id="load") == first
        assert backend.count_rows("t") == 4
        self.refused(TableAlreadyExists, lambda: backend.create_table("t", ROWS, write_id="other"))

    def test_create_adopts_a_declared_table(self, backend: StorageBackend) -> None:
        info = backend.namespace.declare_table("t", properties={"owner": "ada"})
        self.check_receipt(backend.create_table("t", ROWS), "t", 1, 3)
        after = backend.namespace.describe_table("t", check_declared=True)
        assert after.location == info.location
        assert dict(after.properties) == {"owner": "ada"}
        assert after.declared_only is False
        self.refused(TableAlreadyExists, lambda: backend.create_table("t", ROWS))

    def test_properties_are_kept(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS, properties={"owner": "ada", "ключ": "значение"})
        found = backend.namespace.describe_table("t").properties
        assert dict(found) == {"owner": "ada", "ключ": "значение"}

    def test_create_after_drop_is_a_new_table(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS, write_id="load")
        backend.namespace.drop_table("t")
        self.refused(TableNotFound, lambda: backend.scan("t"))
        self.check_receipt(backend.create_table("t", [{"x": 1.5}], write_id="load"), "t", 1, 1)
        assert self.rows(backend, "t", by=None) == [{"x": 1.5}]
        assert self.rows(self.reopen(backend), "t", by=None) == [{"x": 1.5}]

    def test_create_where_it_cannot_be(self, backend: StorageBackend) -> None:
        self.refused(NamespaceNotFound, lambda: backend.create_table(("none", "t"), ROWS))
        for name in ("", "..", "a/b", "a$b", "_t", ()):
            self.refused(InvalidName, lambda n=name: backend.create_table(n, ROWS))
        assert list(backend.namespace.iter_tables(recursive=True)) == []

    def test_create_needs_columns(self, backend: StorageBackend) -> None:
        self.refused(InvalidInput, lambda: backend.create_table("t"))
        for data in (7, "text", object(), [1, 2], [], iter([]), {}):
            self.refused(InvalidInput, lambda d=data: backend.create_table("t", d))
        assert not backend.namespace.table_exists("t")

    def test_data_must_fit_the_schema(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        schema = pa.schema({"id": pa.int64()})
        for data in ([{"id": "x"}], [{"other": 1}], pa.table({"id": [1.5]})):
            self.refused(SchemaMismatch, lambda d=data: backend.create_table("t", d, schema=schema))
        assert not backend.namespace.table_exists("t")

    def test_a_source_that_fails_at_once_claims_nothing(self, backend: StorageBackend) -> None:
        def broken() -> Iterator[Any]:
            raise KeyError("no such file")
            yield

        import pyarrow as pa

        reader = pa.RecordBatchReader.from_batches(pa.schema({"id": pa.int64()}), broken())
        with pytest.raises(KeyError, match="no such file"):
            backend.create_table("t", reader)
        assert not backend.namespace.table_exists("t")

    def test_a_source_that_fails_later_leaves_no_rows(self, backend: StorageBackend) -> None:
        with pytest.raises(KeyError, match="in the middle"):
            backend.create_table("t", self.failing())
        if backend.namespace.table_exists("t"):
            self.refused(TableNotFound, lambda: backend.scan("t"))
        self.check_receipt(backend.create_table("t", ROWS), "t", 1, 3)
        assert self.rows(backend, "t") == ROWS

    def failing(self) -> Iterator[Any]:
        """Yield a batch of rows, then fail."""
        import pyarrow as pa

        yield pa.RecordBatch.from_pylist(ROWS)
        raise KeyError("in the middle")

    # -- write -------------------------------------------------------------------------------------

    def test_append(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        self.check_receipt(backend.write("t", [{"id": 4, "name": "x"}]), "t", 2, 1)
        self.check_receipt(backend.write("t", [{"id": 5}, {"id": 6}]), "t", 3, 2)
        assert [r["id"] for r in self.rows(self.reopen(backend), "t")] == [1, 2, 3, 4, 5, 6]

    def test_append_nothing_commits_nothing(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        first = backend.create_table("t", ROWS)
        schema = pa.schema({"id": pa.int64(), "name": pa.string()})
        for nothing in ([], schema.empty_table(), iter([])):
            receipt = backend.write("t", nothing)
            self.check_receipt(receipt, "t", first.version, 0)
        assert backend.write("t", [{"id": 4}]).version == first.version + 1

    def test_append_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS, write_id="load")
        first = backend.write("t", [{"id": 4}], write_id="load")
        self.check_receipt(first, "t", 2, 1)
        assert backend.write("t", [{"id": 4}], write_id="load") == first
        for n in range(5, 8):
            backend.write("t", [{"id": n}])
        assert self.reopen(backend).write("t", [{"id": 4}], write_id="load") == first
        assert [r["id"] for r in self.rows(backend, "t")] == [1, 2, 3, 4, 5, 6, 7]

    def test_one_write_id_in_many_threads(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        receipts: list[Any] = []

        def work() -> None:
            receipts.append(backend.write("t", [{"id": 4}], write_id="same"))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(receipts) == 4
        assert all(r == receipts[0] for r in receipts)
        assert backend.count_rows("t") == 4

    def test_appends_of_many_threads_are_all_there(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": -1}])
        done: list[Any] = []

        def work(number: int) -> None:
            for n in range(5):
                try:
                    done.append(backend.write("t", [{"id": number * 10 + n}]))
                except BaseException as error:  # noqa: BLE001 - compared below
                    done.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(isinstance(r, CommitReceipt) for r in done), done
        assert sum(r.rows_inserted for r in done) == 20
        assert len({r.write_id for r in done}) == 20
        assert {r.version for r in done} == set(range(2, 2 + len({r.version for r in done})))
        ids = [r["id"] for r in self.rows(backend, "t")]
        assert ids == [-1, *(n * 10 + m for n in range(4) for m in range(5))]

    def test_append_must_fit(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), ("name", pa.string())])
        backend.create_table("t", schema=schema)
        wrong: list[Any] = [
            [{"id": "x"}],
            [{"id": 1, "extra": 2}],
            [{"name": "no id"}],
            [{"id": None}],
            pa.table({"id": pa.array([1], pa.int32())}),
            pa.table({"id": pa.array([1]), "name": pa.array([1])}),
        ]
        for data in wrong:
            self.refused(SchemaMismatch, lambda d=data: backend.write("t", d))
        assert backend.count_rows("t") == 0
        assert backend.write("t", [{"id": 1}]).version == 2

    def test_append_matches_columns_by_name(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", ROWS)
        backend.write("t", pa.table({"name": pa.array(["z"], pa.large_string()), "id": [9]}))
        backend.write("t", pa.table({"name": pa.array(["y"], pa.string_view()), "id": [10]}))
        backend.write("t", pa.table({"name": pa.array(["w"]).dictionary_encode(), "id": [11]}))
        found = self.rows(backend, ScanRequest("t", filter="id > 8"))
        assert found == [
            {"id": 9, "name": "z"},
            {"id": 10, "name": "y"},
            {"id": 11, "name": "w"},
        ]

    def test_append_where_nothing_is(self, backend: StorageBackend) -> None:
        self.refused(TableNotFound, lambda: backend.write("t", ROWS))
        assert not backend.namespace.table_exists("t")
        backend.namespace.declare_table("t")
        self.refused(TableNotFound, lambda: backend.write("t", ROWS))
        assert backend.namespace.describe_table("t", check_declared=True).declared_only is True

    def test_append_that_fails_leaves_nothing(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        with pytest.raises(KeyError, match="in the middle"):
            backend.write("t", self.failing())
        assert self.rows(backend, "t") == ROWS
        assert backend.write("t", [{"id": 4}]).version == 2

    def test_options_of_a_write_are_checked(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        mode: Any = "merge"
        self.refused(InvalidOption, lambda: backend.write("t", ROWS, mode=mode))
        self.refused(InvalidOption, lambda: backend.write("t", ROWS, write_id=""))
        self.refused(InvalidInput, lambda: backend.write("t", 7))
        assert backend.count_rows("t") == 3

    # -- scan and count ----------------------------------------------------------------------------

    def test_projection(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        found = backend.scan(ScanRequest("t", columns=["name", "id"])).read_all()
        assert found.schema.names == ["name", "id"]
        assert found.num_rows == 3
        error = self.refused(
            ColumnNotFound, lambda: backend.scan(ScanRequest("t", columns=["id", "nam"]))
        )
        assert "'name'" in str(error)
        self.refused(ColumnNotFound, lambda: backend.scan(ScanRequest("t", columns=["ID"])))
        self.refused(InvalidOption, lambda: backend.scan(ScanRequest("t", columns=["id", "id"])))

    def test_filter(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        for text, ids in (
            ("id > 1", [2, 3]),
            ("id = 1 OR name IS NULL", [1, 2]),
            ("name = 'ada'", [1]),
            ("NOT (name = 'ada')", [3]),
            ("name LIKE '%🚀'", [3]),
            ("false", []),
        ):
            found = self.rows(backend, ScanRequest("t", columns=["id"], filter=text))
            assert [r["id"] for r in found] == ids, text
            assert backend.count_rows("t", text) == len(ids)

    def test_filters_that_cannot_be_understood(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        wrong = ["", " ", "id >", "nothere = 1", "id", "id = 'x'", "f(id) = 1"]
        for text in wrong:
            self.refused(
                InvalidFilter, lambda f=text: backend.scan(ScanRequest("t", filter=f)).read_all()
            )
            self.refused(InvalidFilter, lambda f=text: backend.count_rows("t", f))

    def test_errors_inside_the_stream_are_typed(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        request = ScanRequest("t", filter="CAST(name AS INT) = 1")
        self.refused(InvalidFilter, lambda: backend.scan(request).read_all())

    def test_limit(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        for limit, rows in ((0, 0), (2, 2), (9, 3), (None, 3)):
            found = backend.scan(ScanRequest("t", limit=limit)).read_all()
            assert found.num_rows == rows
        found = backend.scan(ScanRequest("t", filter="id > 1", limit=1)).read_all()
        assert found["id"].to_pylist() == [2]

    def test_reading_where_nothing_is(self, backend: StorageBackend) -> None:
        backend.namespace.create_namespace("team")
        backend.namespace.declare_table(("team", "declared"))
        for table in ("t", ("team", "t"), ("none", "t"), ("team", "declared")):
            self.refused(TableNotFound, lambda t=table: backend.scan(t))
            self.refused(TableNotFound, lambda t=table: backend.count_rows(t))

    def test_reads_are_fresh(self, backend: StorageBackend) -> None:
        other = self.reopen(backend)
        backend.create_table("t", [{"id": 0}])
        for n in range(1, 5):
            assert other.count_rows("t") == n
            backend.write("t", [{"id": n}])
            assert [r["id"] for r in self.rows(other, "t")] == list(range(n + 1))

    def test_a_stream_keeps_its_version(self, backend: StorageBackend) -> None:
        backend.create_table("t", ROWS)
        stream = backend.scan("t")
        backend.write("t", [{"id": 4}])
        assert stream.read_all().num_rows == 3

    def test_types_come_back_as_they_went(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        table = pa.table(
            {
                "i": pa.array([1, None], pa.int32()),
                "f": pa.array([1.5, float("inf")]),
                "b": pa.array([True, None]),
                "s": pa.array(["ü", ""], pa.large_string()),
                "y": pa.array([b"\x00\xff", None]),
                "t": pa.array([0, 1], pa.timestamp("us", "UTC")),
                "d": pa.array([1, None], pa.date32()),
                "v": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
                "l": pa.array([[1, 2], []]),
                "r": pa.array([{"x": 1, "y": "a"}, {"x": None, "y": None}]),
            }
        )
        backend.create_table("t", table)
        backend.write("t", table)
        found = backend.scan("t").read_all()
        assert found.schema == table.schema
        assert found.to_pylist() == table.to_pylist() * 2
