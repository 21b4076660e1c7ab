"""Conformance of overwriting, replacing, deleting and updating."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    CommitConflict,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    PennonError,
    SchemaMismatch,
    TableNotFound,
)
from pennon.expr import col, lit
from pennon.storage.abc import CommitReceipt, ScanRequest, StorageBackend
from pennon.testing._storage_base import StorageCases

__all__ = ["WriteCases"]

PEOPLE = [
    {"id": 1, "name": "ada", "score": 1.5},
    {"id": 2, "name": None, "score": None},
    {"id": 3, "name": "Grace 🚀", "score": 3.0},
]


def refused(error: type[PennonError], call: Any) -> str:
    """Assert that a call raises this very error; return what it says."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert len(str(caught.value)) > 30
    assert ".rs:" not in str(caught.value)
    return str(caught.value)


def ids(backend: StorageBackend, filter: str | None = None) -> list[int]:
    """Return the sorted ids of the rows of ``t``."""
    found = backend.scan(ScanRequest("t", columns=["id"], filter=filter)).read_all()
    return sorted(found["id"].to_pylist())


def people(backend: StorageBackend) -> list[Any]:
    """Return the rows of ``t`` in the order of their ids."""
    return sorted(backend.scan("t").read_all().to_pylist(), key=lambda r: r["id"])


def did(receipt: CommitReceipt, version: int, *counts: int) -> None:
    """Assert what a receipt says: version, rows inserted, updated, deleted."""
    assert receipt.version == version
    assert (receipt.rows_inserted, receipt.rows_updated, receipt.rows_deleted) == counts


def keyed() -> Any:
    """Return a schema with a primary key and a column that allows no NULL."""
    import pyarrow as pa

    key = {"lance-schema:unenforced-primary-key": "true"}
    return pa.schema(
        [
            pa.field("id", pa.int64(), nullable=False, metadata=key),
            pa.field("name", pa.string()),
            pa.field("score", pa.float64()),
        ]
    )


class WriteCases(StorageCases):
    """Cases on changing rows, mixed into the suite."""

    # -- overwrite ---------------------------------------------------------------------------------

    def test_overwrite_keeps_the_columns(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE, schema=keyed())
        did(backend.write("t", [{"id": 7}, {"id": 8}], mode="overwrite"), 2, 2, 0, 3)
        found = self.reopen(backend).scan("t").read_all()
        assert found.schema.equals(keyed(), check_metadata=True)
        assert found.to_pylist() == [{"id": n, "name": None, "score": None} for n in (7, 8)]
        refused(SchemaMismatch, lambda: backend.write("t", [{"x": 1}], mode="overwrite"))
        refused(SchemaMismatch, lambda: backend.write("t", [{"id": None}], mode="overwrite"))
        assert ids(backend) == [7, 8]

    def test_overwrite_with_nothing_truncates(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE, schema=keyed())
        did(backend.write("t", [], mode="overwrite"), 2, 0, 0, 3)
        assert backend.scan("t").schema.equals(keyed(), check_metadata=True)
        assert backend.count_rows("t") == 0
        did(backend.write("t", [{"id": 1}]), 3, 1, 0, 0)

    def test_overwrite_with_other_columns(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", PEOPLE, schema=keyed())
        other = pa.schema({"id": pa.string(), "size": pa.int32()})
        rows = [{"id": "a", "size": 1}]
        did(backend.write("t", rows, mode="overwrite", schema=other), 2, 1, 0, 3)
        found = self.reopen(backend).scan("t").read_all()
        assert found.schema.equals(other, check_metadata=True)
        assert found.to_pylist() == rows
        did(backend.write("t", [{"id": "b"}]), 3, 1, 0, 0)
        refused(InvalidOption, lambda: backend.write("t", rows, schema=other))

    def test_overwrite_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE)
        first = backend.write("t", [{"id": 7}], mode="overwrite", write_id="w")
        backend.write("t", [{"id": 8}])
        again = self.reopen(backend).write("t", [{"id": 7}], mode="overwrite", write_id="w")
        assert again == first
        assert ids(backend) == [7, 8]

    def test_replace_is_a_compare_and_swap(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE)
        did(backend.replace_table_atomic("t", [{"id": 4}], expected_version=1), 2, 1, 0, 3)
        backend.write("t", [{"id": 5}])
        for stale in (1, 2, 9):
            refused(
                CommitConflict,
                lambda v=stale: backend.replace_table_atomic("t", [], expected_version=v),
            )
        assert ids(backend) == [4, 5]
        did(backend.replace_table_atomic("t", [{"id": 6}], write_id="w"), 4, 1, 0, 2)
        did(backend.replace_table_atomic("t", [{"id": 6}], write_id="w"), 4, 1, 0, 2)
        refused(TableNotFound, lambda: backend.replace_table_atomic("none", PEOPLE))
        assert not backend.namespace.table_exists("none")

    def test_replace_counts_in_many_threads(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 0}])
        done: list[bool] = []
        failed: list[BaseException] = []

        def work() -> None:
            for _ in range(4):
                try:
                    seen = backend.write("t", []).version
                    value = ids(backend)[0]
                    backend.replace_table_atomic("t", [{"id": value + 1}], expected_version=seen)
                    done.append(True)
                except CommitConflict:
                    pass
                except BaseException as error:  # noqa: BLE001 - compared below
                    failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert ids(backend) == [len(done)]
        assert done

    # -- delete ------------------------------------------------------------------------------------

    def test_delete(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE)
        backend.write("t", [{"id": 4, "score": 4.0}, {"id": 5, "score": 0.0}])
        did(backend.delete_rows("t", "score > 2"), 3, 0, 0, 2)
        assert ids(self.reopen(backend)) == [1, 2, 5]
        did(backend.delete_rows("t", col("name").is_null()), 4, 0, 0, 2)
        assert ids(backend) == [1]
        did(backend.delete_rows("t", "id = 77"), 4, 0, 0, 0)
        did(backend.delete_rows("t", lit(value=None) == 1), 4, 0, 0, 0)
        did(backend.write("t", [{"id": 6}]), 5, 1, 0, 0)
        assert ids(backend) == [1, 6]

    def test_delete_of_all_rows_is_said(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE, schema=keyed())
        for where in (
            "true",
            "1 = 1",
            "id > 1 OR true",
            lit(value=True),
            "id IS NOT NULL",
            "name IS NULL OR `name` IS NOT NULL",
            col("name").is_null() | (col("name") == col("name")),
            "(name IS NULL OR NOT (Name IS NULL)) AND (score = score OR score IS NULL)",
        ):
            text = refused(InvalidFilter, lambda w=where: backend.delete_rows("t", w))
            assert "all_rows=True" in text
        none: Any = None
        refused(InvalidFilter, lambda: backend.delete_rows("t", none))
        refused(InvalidFilter, lambda: backend.delete_rows("t", " "))
        assert backend.count_rows("t") == 3
        did(backend.delete_rows("t", "true", all_rows=True), 2, 0, 0, 3)
        assert backend.count_rows("t") == 0
        refused(InvalidFilter, lambda: backend.delete_rows("t", "true"))
        did(backend.delete_rows("t", "id < 9", all_rows=True), 2, 0, 0, 0)

    def test_delete_of_all_rows_that_happen_to_be_there(self, backend: StorageBackend) -> None:
        rows = [{"id": 1, "n": 5, "m": None, "b": True}, {"id": 2, "n": 6, "m": None, "b": True}]
        for where in ("n = n", "b OR NOT b", "n IS NOT NULL OR m IS NULL", "n < 9 OR n IS NULL"):
            backend.create_table("t", rows, mode="overwrite")
            did(backend.delete_rows("t", where), backend.get_table_version("t"), 0, 0, 2)

    def test_delete_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE)
        first = backend.delete_rows("t", "id < 3", write_id="w")
        backend.write("t", [{"id": 2}])
        assert self.reopen(backend).delete_rows("t", "id < 3", write_id="w") == first
        assert ids(backend) == [2, 3]
        did(backend.delete_rows("t", "id < 3"), 4, 0, 0, 1)

    def test_delete_by_what_cannot_be_understood(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE)
        for where in ("id >", "nothere = 1", "id = 'x'", "f(id)"):
            refused(InvalidFilter, lambda w=where: backend.delete_rows("t", w))
        assert ids(backend) == [1, 2, 3]

    def test_truncate(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE, schema=keyed())
        first = backend.truncate("t", write_id="w")
        did(first, 2, 0, 0, 3)
        assert backend.scan("t").read_all().schema.equals(keyed(), check_metadata=True)
        did(backend.truncate("t"), 2, 0, 0, 0)
        backend.write("t", [{"id": 9}])
        assert backend.truncate("t", write_id="w") == first
        assert ids(backend) == [9]

    # -- update ------------------------------------------------------------------------------------

    def test_update(self, backend: StorageBackend) -> None:
        backend.create_table("t", PEOPLE, schema=keyed())
        backend.write("t", [{"id": 4, "name": "é'"}])
        values = {"score": "score + 1", "name": lit("it's")}
        did(backend.update("t", values, "id >= 2 AND id < 4"), 3, 0, 2, 0)
        assert people(self.reopen(backend)) == [
            {"id": 1, "name": "ada", "score": 1.5},
            {"id": 2, "name": "it's", "score": None},
            {"id": 3, "name": "it's", "score": 4.0},
            {"id": 4, "name": "é'", "score": None},
        ]
        did(backend.update("t", {"score": col("id") * 2}), 4, 0, 4, 0)
        assert [r["score"] for r in people(backend)] == [2.0, 4.0, 6.0, 8.0]
        did(backend.update("t", {"name": lit(None)}, col("id") == 1), 5, 0, 1, 0)
        did(backend.update("t", {"name": lit(None)}, col("id") == 99), 5, 0, 0, 0)
        assert people(backend)[0] == {"id": 1, "name": None, "score": 2.0}

    def test_update_after_delete_and_update(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": n, "v": 0} for n in range(10)])
        backend.delete_rows("t", "id % 3 = 1")
        backend.update("t", {"v": "v + id"}, "id > 2")
        did(backend.update("t", {"v": "v + 100"}, "v > 4"), 4, 0, 4, 0)
        backend.delete_rows("t", "v > 106")
        assert [(r["id"], r["v"]) for r in people(backend)] == [
            (0, 0), (2, 0), (3, 3), (5, 105), (6, 106),
        ]  # fmt: skip

    def test_update_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1, "v": 0}])
        first = backend.update("t", {"v": "v + 1"}, write_id="w")
        backend.update("t", {"v": "v + 10"})
        assert self.reopen(backend).update("t", {"v": "v + 1"}, write_id="w") == first
        assert people(backend) == [{"id": 1, "v": 11}]

    def test_update_with_what_does_not_fit(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        columns = pa.schema([pa.field("must", pa.int32(), nullable=False), ("may", pa.int32())])
        rows = [{"id": 1, "name": "x", "score": 1.5, "must": 1, "may": 1}]
        backend.create_table("t", rows, schema=pa.schema([*keyed(), *columns]))
        text = refused(ColumnNotFound, lambda: backend.update("t", {"scor": "1"}))
        assert "'score'" in text
        refused(InvalidInput, lambda: backend.update("t", {"id": "2"}))
        refused(SchemaMismatch, lambda: backend.update("t", {"must": lit(None)}))
        refused(SchemaMismatch, lambda: backend.update("t", {"may": lit("x")}))
        refused(SchemaMismatch, lambda: backend.update("t", {"may": "score"}))
        refused(SchemaMismatch, lambda: backend.update("t", {"may": lit(2**40)}))
        text = refused(ColumnNotFound, lambda: backend.update("t", {"may": "musst + 1"}))
        assert "'must'" in text
        refused(InvalidInput, lambda: backend.update("t", {"may": "sum(may)"}))
        refused(InvalidFilter, lambda: backend.update("t", {"may": "1"}, "nothere = 1"))
        literal: Any = 7
        for values in ({}, {"may": literal}, {"may": " "}):
            refused(InvalidOption, lambda v=values: backend.update("t", v))
        assert people(backend) == rows

    def test_updates_of_many_threads_add_up(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1, "v": 0}, {"id": 2, "v": 0}])
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for _ in range(4):
                    backend.update("t", {"v": "v + 1"}, f"id = {number}")
                    backend.update("t", {"v": "v + 1"})
            except BaseException as error:  # noqa: BLE001 - compared below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert people(backend) == [{"id": 1, "v": 16}, {"id": 2, "v": 20}]

    # -- all of them -------------------------------------------------------------------------------

    def test_no_write_makes_a_table_or_a_branch(self, backend: StorageBackend) -> None:
        calls: list[Any] = [
            lambda t, **o: backend.write(t, PEOPLE, **o),
            lambda t, **o: backend.write(t, PEOPLE, mode="overwrite", **o),
            lambda t, **o: backend.replace_table_atomic(t, PEOPLE, **o),
            backend.truncate,
            lambda t, **o: backend.delete_rows(t, "id = 1", **o),
            lambda t, **o: backend.update(t, {"score": "1"}, **o),
        ]
        backend.namespace.declare_table("declared")
        backend.create_table("t", PEOPLE)
        for call in calls:
            for table in ("none", "declared"):
                refused(TableNotFound, lambda c=call, t=table: c(t))
                refused(TableNotFound, lambda c=call, t=table: c(t, write_id="w"))
            refused(BranchNotFound, lambda c=call: c("t", branch="dev"))
            refused(BranchNotFound, lambda c=call: c("t", branch="dev", write_id="w"))
            for wrong in (0, float("nan"), "1", True, []):
                refused(InvalidOption, lambda c=call, w=wrong: c("t", deadline=w))
            for wrong in ("", 5, "\ud800"):
                refused(InvalidOption, lambda c=call, w=wrong: c("t", write_id=w))
            for wrong in (5, b"x", "\ud800"):
                refused(InvalidOption, lambda c=call, w=wrong: c("t", commit_message=w))
        assert backend.namespace.describe_table("declared", check_declared=True).declared_only
        assert people(backend) == PEOPLE
        assert backend.write("t", []).version == 1

    def test_a_lock_keeps_others_out(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 0}])
        failed: list[BaseException] = []

        def work() -> None:
            try:
                for _ in range(4):
                    with backend.lock_table_for_write("t"), backend.lock_table_for_write("t"):
                        backend.write("t", [{"id": max(ids(backend)) + 1}])
            except BaseException as error:  # noqa: BLE001 - compared below
                failed.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert ids(backend) == list(range(13))
        refused(TableNotFound, backend.lock_table_for_write("none").__enter__)
        refused(BranchNotFound, backend.lock_table_for_write("t", branch="dev").__enter__)

    def test_a_lock_is_waited_for_until_the_deadline(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 0}])
        soon: dict[str, Any] = {"deadline": 0.05}
        writes: list[Callable[[], object]] = [
            lambda: backend.lock_table_for_write("t", **soon).__enter__(),
            lambda: backend.write("t", [{"id": 1}], **soon),
            lambda: backend.merge_insert("t", [{"id": 1}], on="id", **soon),
            lambda: backend.delete_rows("t", "id = 0", **soon),
            lambda: backend.rollback_table("t", 1, **soon),
            lambda: backend.update_metadata("t", {"k": "v"}, **soon),
        ]
        late: list[CommitConflict] = []

        def work() -> None:
            for write in writes:
                try:
                    write()
                except CommitConflict as error:
                    late.append(error)
            # Who only reads does not wait.
            backend.versions("t")
            backend.list_branches("t")
            with backend.snapshot(["t"]) as still:
                assert ids(still) == [0]
            late.append(CommitConflict("the end was reached"))

        with backend.lock_table_for_write("t"):
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            thread.join(30)
        assert len(late) == len(writes) + 1
        assert backend.get_table_version("t") == 1
        backend.write("t", [{"id": 1}])
        assert ids(backend) == [0, 1]
