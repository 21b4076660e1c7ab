"""Conformance of merges and of keys."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    DuplicateKey,
    InvalidFilter,
    InvalidOption,
    PennonError,
    SchemaMismatch,
    TableNotFound,
)
from pennon.expr import col
from pennon.storage.abc import CommitReceipt, StorageBackend
from pennon.testing._storage_base import StorageCases

__all__ = ["MergeCases"]

STOCK = [
    {"id": 1, "name": "nut", "n": 10},
    {"id": 2, "name": None, "n": 20},
    {"id": 3, "name": "cog", "n": None},
]


def refused(error: type[PennonError], call: Any) -> str:
    """Assert that a call raises this very error; return what it says."""
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert len(str(caught.value)) > 30
    assert ".rs:" not in str(caught.value)
    return str(caught.value)


def stock(backend: StorageBackend) -> list[tuple[Any, ...]]:
    """Return the rows of ``t`` as tuples, in the order of their ids."""
    rows = backend.scan("t").read_all().to_pylist()
    return sorted((tuple(r.values()) for r in rows), key=lambda r: r[0])


def did(receipt: CommitReceipt, version: int, *counts: int) -> None:
    """Assert what a receipt says: version, rows inserted, updated, deleted."""
    assert receipt.version == version
    assert (receipt.rows_inserted, receipt.rows_updated, receipt.rows_deleted) == counts


def keyed(*keys: str) -> Any:
    """Return the schema of the stock with a primary key."""
    import pyarrow as pa

    from pennon.storage.keys import with_primary_key

    schema = pa.schema({"id": pa.int64(), "name": pa.string(), "n": pa.int32()})
    return with_primary_key(schema, list(keys or ("id",)))


class MergeCases(StorageCases):
    """Cases on merges, mixed into the suite."""

    def test_upsert(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        new = [{"id": 2, "name": "b", "n": 21}, {"id": 4, "name": "d", "n": 40}]
        did(backend.merge_insert("t", new), 2, 1, 1, 0)
        assert stock(self.reopen(backend)) == [
            (1, "nut", 10), (2, "b", 21), (3, "cog", None), (4, "d", 40),
        ]  # fmt: skip
        did(backend.merge_insert("t", new, on="id"), 3, 0, 2, 0)
        did(backend.merge_insert("t", [], on=["id"]), 3, 0, 0, 0)
        assert backend.scan("t").schema.equals(keyed(), check_metadata=True)

    def test_upsert_of_some_columns(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        did(backend.merge_insert("t", [{"n": 11, "id": 1}, {"n": 50, "id": 5}]), 2, 1, 1, 0)
        did(backend.merge_insert("t", [{"id": 6}, {"id": 3}]), 3, 1, 1, 0)
        assert stock(backend) == [
            (1, "nut", 11), (2, None, 20), (3, "cog", None), (5, None, 50), (6, None, None),
        ]  # fmt: skip

    def test_upsert_into_an_empty_table(self, backend: StorageBackend) -> None:
        backend.create_table("t", schema=keyed())
        did(backend.merge_insert("t", [{"id": 1, "n": 1}]), 2, 1, 0, 0)
        backend.truncate("t")
        did(backend.merge_insert("t", STOCK, when_not_matched="ignore"), 3, 0, 0, 0)
        did(backend.merge_insert("t", STOCK), 4, 3, 0, 0)
        did(backend.merge_insert("t", [{"id": 1, "n": 2}]), 5, 0, 1, 0)
        assert stock(backend)[0] == (1, "nut", 2)

    def test_keys_of_several_columns(self, backend: StorageBackend) -> None:
        backend.create_table("t", schema=keyed("name", "id"))
        rows = [{"id": 1, "name": "a", "n": 1}, {"id": 1, "name": "b", "n": 1}]
        did(backend.merge_insert("t", rows), 2, 2, 0, 0)
        rows = [{"id": 1, "name": "b", "n": 2}, {"id": 2, "name": "a", "n": 2}]
        did(backend.merge_insert("t", rows), 3, 1, 1, 0)
        assert stock(backend) == [(1, "a", 1), (1, "b", 2), (2, "a", 2)]

    def test_update_if(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        new = [{"id": n, "name": "new", "n": 15} for n in (1, 2, 3, 4)]
        receipt = backend.merge_insert("t", new, matched_if="source.n > target.n")
        did(receipt, 2, 1, 1, 0)
        assert stock(backend) == [
            (1, "new", 15), (2, None, 20), (3, "cog", None), (4, "new", 15),
        ]  # fmt: skip
        condition = col("target", "n") < col("source", "n")
        new = [{"id": 2, "n": 30}, {"id": 4, "n": 1}]
        receipt = backend.merge_insert("t", new, matched_if=condition, when_not_matched="ignore")
        did(receipt, 3, 0, 1, 0)
        assert stock(backend)[1] == (2, None, 30)

    def test_insert_only(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        new = [{"id": 3, "name": "z"}, {"id": 4, "name": "d"}]
        did(backend.merge_insert("t", new, when_matched="ignore"), 2, 1, 0, 0)
        did(backend.merge_insert("t", new, when_matched="ignore"), 2, 0, 0, 0)
        text = refused(DuplicateKey, lambda: backend.merge_insert("t", new, when_matched="fail"))
        assert "already" in text
        did(backend.merge_insert("t", [{"id": 5}], when_matched="fail"), 3, 1, 0, 0)
        assert [r[:2] for r in stock(backend)] == [
            (1, "nut"), (2, None), (3, "cog"), (4, "d"), (5, None),
        ]  # fmt: skip

    def test_update_only(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        new = [{"id": 3, "n": 33}, {"id": 4, "n": 44}]
        did(backend.merge_insert("t", new, when_not_matched="ignore"), 2, 0, 1, 0)
        assert stock(backend)[2:] == [(3, "cog", 33)]

    def test_delete_by_key(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        rules: Any = {"when_matched": "delete", "when_not_matched": "ignore"}
        did(backend.merge_insert("t", [{"id": 1}, {"id": 9}], **rules), 2, 0, 0, 1)
        assert [r[0] for r in stock(backend)] == [2, 3]

    def test_delete_by_source(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        rules: Any = {"when_not_matched_by_source": "delete"}
        new = [{"id": 3, "n": 33}, {"id": 4, "n": 44}]
        receipt = backend.merge_insert("t", new, **rules, not_matched_by_source_if="n > 15")
        did(receipt, 2, 1, 1, 1)
        assert stock(backend) == [(1, "nut", 10), (3, "cog", 33), (4, None, 44)]
        did(backend.merge_insert("t", [{"id": 4, "n": 45}], **rules), 3, 0, 1, 2)
        assert stock(backend) == [(4, None, 45)]

    def test_delete_by_key_and_by_source(self, backend: StorageBackend) -> None:
        rules: Any = {"when_matched": "delete", "when_not_matched": "ignore"}
        rules["when_not_matched_by_source"] = "delete"
        backend.create_table("t", STOCK, schema=keyed("id"))
        some = [{"id": 1, "n": 0}, {"id": 9, "n": 0}]
        receipt = backend.merge_insert("t", some, **rules, not_matched_by_source_if="n = 20")
        did(receipt, 2, 0, 0, 2)
        assert stock(backend) == [(3, "cog", None)]
        did(backend.merge_insert("t", [{"id": 9}], **rules), 3, 0, 0, 1)
        assert stock(backend) == []

    def test_nulls_match_nothing(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK)
        new = [{"id": 5, "name": None}, {"id": 6, "name": "cog"}, {"id": 7, "name": None}]
        did(backend.merge_insert("t", new, on="name"), 2, 2, 1, 0)
        assert [r[:2] for r in stock(backend)] == [
            (1, "nut"), (2, None), (5, None), (6, "cog"), (7, None),
        ]  # fmt: skip

    def test_merge_twice_with_one_write_id(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        first = backend.merge_insert("t", [{"id": 4, "n": 1}], write_id="w")
        backend.merge_insert("t", [{"id": 4, "n": 2}])
        assert self.reopen(backend).merge_insert("t", [{"id": 4, "n": 1}], write_id="w") == first
        assert stock(backend)[3] == (4, None, 2)

    def test_merges_that_are_refused(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        backend.create_table("free", STOCK)

        def upsert(rows: Any, table: str = "t", **options: Any) -> Any:
            return lambda: backend.merge_insert(table, rows, **options)

        text = refused(DuplicateKey, upsert([{"id": 8}, {"id": 9}, {"id": 8}]))
        assert "8" in text
        refused(DuplicateKey, upsert([{"id": 1}, {"id": 1}]))
        refused(InvalidOption, upsert(STOCK, "free"))
        refused(ColumnNotFound, upsert(STOCK, on="nam"))
        refused(InvalidOption, upsert(STOCK, on=[]))
        refused(InvalidOption, upsert(STOCK, on=["id", "id"]))
        refused(SchemaMismatch, upsert([{"n": 1}]))
        refused(SchemaMismatch, upsert([{"id": 1, "x": 1}]))
        refused(SchemaMismatch, upsert([{"id": None}]))
        refused(SchemaMismatch, upsert([{"id": 1, "n": "x"}]))
        refused(InvalidOption, upsert(STOCK, when_matched="upsert"))
        refused(InvalidOption, upsert(STOCK, when_matched="ignore", matched_if="true"))
        refused(InvalidOption, upsert(STOCK, not_matched_by_source_if="n = 1"))
        refused(InvalidOption, upsert(STOCK, when_matched="ignore", when_not_matched="ignore"))
        refused(InvalidFilter, upsert(STOCK, matched_if="source.zz = 1"))
        refused(InvalidFilter, upsert(STOCK, matched_if=" "))
        refused(TableNotFound, upsert(STOCK, "none"))
        refused(BranchNotFound, upsert(STOCK, branch="dev"))
        assert stock(backend) == [tuple(r.values()) for r in STOCK]
        assert backend.write("t", []).version == 1

    def test_append_that_checks_keys(self, backend: StorageBackend) -> None:
        backend.create_table("t", STOCK, schema=keyed())
        first = backend.write("t", [{"id": 4}, {"id": 5}], check_keys=True, write_id="w")
        did(first, 2, 2, 0, 0)
        assert backend.write("t", [{"id": 4}, {"id": 5}], check_keys=True, write_id="w") == first
        refused(DuplicateKey, lambda: backend.write("t", [{"id": 6}, {"id": 4}], check_keys=True))
        refused(DuplicateKey, lambda: backend.write("t", [{"id": 6}, {"id": 6}], check_keys=True))
        refused(InvalidOption, lambda: backend.write("t", STOCK, mode="overwrite", check_keys=True))
        assert [r[0] for r in stock(backend)] == [1, 2, 3, 4, 5]
        did(backend.write("t", [{"id": 4}]), 3, 1, 0, 0)
        backend.create_table("free", STOCK)
        refused(InvalidOption, lambda: backend.write("free", STOCK, check_keys=True))

    def test_one_new_key_in_many_threads(self, backend: StorageBackend) -> None:
        backend.create_table("t", schema=keyed())
        other = self.reopen(backend)
        receipts: list[CommitReceipt] = []
        failed: list[BaseException] = []

        def work(number: int) -> None:
            try:
                for n in range(4):
                    rows = [{"id": n, "n": number}]
                    receipts.append((backend, other)[number % 2].merge_insert("t", rows))
            except BaseException as error:  # noqa: BLE001 - compared below
                failed.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert [r[0] for r in stock(backend)] == [0, 1, 2, 3]
        assert sum(r.rows_inserted for r in receipts) == 4
        assert sum(r.rows_updated for r in receipts) == 12
