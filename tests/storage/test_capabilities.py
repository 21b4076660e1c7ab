"""Capabilities are found out from the backend and its catalog."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import pennon
from pennon.errors import Unsupported
from pennon.namespaces.memory import MemoryNamespace
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.abc.capabilities import operations


class ReadOnly(StorageBackend, partial=True):
    """Everything is a table of three numbers."""

    namespace = MemoryNamespace()  # type: ignore[assignment]

    def scan(self, request: Any) -> pa.RecordBatchReader:
        rows = pa.table({"n": [1, 2, 3]})
        return rows.slice(0, request.limit).to_reader()


class Plain(MemoryNamespace):
    capabilities = MemoryNamespace.capabilities - {"rename"}


def test_a_backend_may_leave_operations_out() -> None:
    backend: Any = ReadOnly()
    assert {"scan", "head", "rename_table"} <= backend.capabilities
    assert backend.head("t", 2).num_rows == 2
    assert backend.table("t").scan(limit=1).read_all().num_rows == 1
    left_out = {"write", "sql", "create_table", "create_empty_table", "vector_search", "recover"}
    assert not left_out & backend.capabilities
    calls: list[Any] = [
        lambda: backend.write("t", [{"n": 4}]),
        lambda: backend.create_table("t", [{"n": 4}]),
        lambda: backend.vector_search("t", "v", [1.0]),
        backend.recover,
        lambda: backend.fork_branch("t", "a", "b"),
    ]
    for call in calls:
        with pytest.raises(Unsupported, match="ReadOnly leaves"):
            call()


def test_a_backend_that_does_not_say_so_must_be_complete() -> None:
    class Forgetful(StorageBackend):
        def scan(self, request: ScanRequest | Any) -> pa.RecordBatchReader:
            raise NotImplementedError

    with pytest.raises(TypeError, match="abstract"):
        Forgetful()  # type: ignore[abstract]


def test_what_the_catalog_cannot_do_is_missing() -> None:
    able, unable = pennon.open(MemoryNamespace()), pennon.open(Plain())
    assert able.capabilities - unable.capabilities == {"rename_table"}


def test_ours_leave_nothing_out(memory_root: str, local_root: str) -> None:
    for root in (memory_root, local_root):
        assert pennon.open(root).capabilities == set(operations(StorageBackend))
