"""Conformance of what a backend says it can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pennon.errors import NotFound, Unsupported
from pennon.storage.abc import ColumnChange, ScanRequest, StorageBackend
from pennon.storage.abc.capabilities import operations
from pennon.testing._storage_base import StorageCases

__all__ = ["CapabilityCases"]

_ROWS = [{"id": n, "text": f"word{n} pennon", "vec": [float(n), 1.0]} for n in range(300)]


def _schema() -> Any:
    import pyarrow as pa

    vector = pa.list_(pa.float32(), 2)
    return pa.schema({"id": pa.int64(), "text": pa.string(), "vec": vector})


def _snapshot(backend: StorageBackend) -> None:
    with backend.snapshot(["t"]) as pinned:
        pinned.count_rows("t")


def _lock(backend: StorageBackend) -> None:
    with backend.lock_table_for_write("t"):
        pass


_CALLS: dict[str, Callable[[StorageBackend], object]] = {
    "create_table": lambda b: b.create_table("t", _ROWS, schema=_schema(), primary_key="id"),
    "write": lambda b: b.write("t", [{"id": 300}]),
    "create_empty_table": lambda b: b.create_empty_table("u", _schema()),
    "open_or_create_table": lambda b: b.open_or_create_table("u", _schema()),
    # Reads.
    "analyze": lambda b: b.analyze("t"),
    "count_rows": lambda b: b.count_rows("t"),
    "diff": lambda b: b.diff("t", 1, 2).read_all(),
    "explain": lambda b: b.explain("t"),
    "get_table_schema": lambda b: b.get_table_schema("t"),
    "get_table_version": lambda b: b.get_table_version("t"),
    "head": lambda b: b.head("t"),
    "sample": lambda b: b.sample("t", 1),
    "scan": lambda b: b.scan(ScanRequest("t", limit=1)).read_all(),
    "sql": lambda b: b.sql("t", "SELECT 1").read_all(),
    "table_exists": lambda b: b.table_exists("t"),
    "table_names": lambda b: b.table_names(),
    "table_properties": lambda b: b.table_properties("t"),
    "table_stats": lambda b: b.table_stats("t"),
    "take": lambda b: b.take("t", [1]),
    "version_files": lambda b: b.version_files("t"),
    "versions": lambda b: b.versions("t"),
    # Indexes and searches.
    "create_scalar_index": lambda b: b.create_scalar_index("t", "id", name="by_id"),
    "create_fts_index": lambda b: b.create_fts_index("t", "text"),
    "create_vector_index": lambda b: b.create_vector_index("t", "vec"),
    "list_indexes": lambda b: b.list_indexes("t"),
    "index_stats": lambda b: b.index_stats("t", "by_id"),
    "update_indexes": lambda b: b.update_indexes("t"),
    "full_text_search": lambda b: b.full_text_search("t", "text", "pennon"),
    "vector_search": lambda b: b.vector_search("t", "vec", [1.0, 1.0]),
    "hybrid_search": lambda b: b.hybrid_search("t", "vec", [1.0, 1.0], "text", "pennon"),
    "drop_index": lambda b: b.drop_index("t", "by_id"),
    # Branches and tags.
    "create_branch": lambda b: b.create_branch("t", "b"),
    "fork_branch": lambda b: b.fork_branch("t", "b", "c"),
    "list_branches": lambda b: b.list_branches("t"),
    "create_tag": lambda b: b.create_tag("t", "g"),
    "move_tag": lambda b: b.move_tag("t", "g", version=1),
    "list_tags": lambda b: b.list_tags("t"),
    "delete_tag": lambda b: b.delete_tag("t", "g"),
    "delete_branch": lambda b: b.delete_branch("t", "c"),
    # Writes.
    "merge_insert": lambda b: b.merge_insert("t", [{"id": 1, "text": "new"}]),
    "update": lambda b: b.update("t", {"text": "'x'"}, "id = 2"),
    "update_metadata": lambda b: b.update_metadata("t", {"k": "v"}),
    "add_columns": lambda b: b.add_columns("t", {"twice": "id * 2"}),
    "alter_columns": lambda b: b.alter_columns("t", {"twice": ColumnChange(name="double")}),
    "drop_columns": lambda b: b.drop_columns("t", ["double"]),
    "lock_table_for_write": _lock,
    "delete_rows": lambda b: b.delete_rows("t", "id = 3"),
    "optimize_table": lambda b: b.optimize_table("t"),
    "truncate": lambda b: b.truncate("t"),
    "rollback_table": lambda b: b.rollback_table("t", 1),
    "replace_table_atomic": lambda b: b.replace_table_atomic("t", _ROWS),
    # The rest.
    "snapshot": _snapshot,
    "invalidate_cache": lambda b: b.invalidate_cache("t"),
    "clear_cache": lambda b: b.clear_cache(),
    "recover": lambda b: b.recover(),
    "rename_table": lambda b: b.rename_table("u", "v"),
    "drop_table": lambda b: b.drop_table("t", force=True),
}
"""A call of every operation, in an order in which all of them can succeed."""


class CapabilityCases(StorageCases):
    """What a backend says it can do, it does; what it leaves out, it refuses."""

    def test_what_is_left_out_is_refused_and_the_rest_works(self, backend: StorageBackend) -> None:
        known = set(operations(StorageBackend))
        assert known == set(_CALLS), "every operation of the contract is called here"
        there = backend.capabilities
        assert there <= known
        for name, call in _CALLS.items():
            if name not in there:
                with pytest.raises(Unsupported):
                    call(backend)
                continue
            try:
                call(backend)
            except NotFound:
                # What it works on could not be made here.
                assert there < known, name
