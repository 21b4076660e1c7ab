"""The state machine finds what is wrong: each of these backends has one bug."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

import pennon
from pennon import ScanRequest
from pennon.errors import PennonError
from pennon.storage.abc import CommitReceipt, StorageBackend
from pennon.storage.memory import MemoryBackend
from pennon.testing.storage_machine import run_storage_machine

SEARCH = settings(
    max_examples=2000,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    report_multiple_bugs=False,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)


class WritesToMain(MemoryBackend):
    def write(self, table: Any, data: Any, **options: Any) -> CommitReceipt:
        return super().write(table, data, **{**options, "branch": "main"})


class ForgetsWriteIds(MemoryBackend):
    def write(self, table: Any, data: Any, **options: Any) -> CommitReceipt:
        return super().write(table, data, **{**options, "write_id": None})


class DeletesNulls(MemoryBackend):
    def delete_rows(self, table: Any, where: Any, **options: Any) -> CommitReceipt:
        return super().delete_rows(table, f"({where.to_sql()}) IS NOT FALSE", **options)


class ForgetsDeletes(MemoryBackend):
    def merge_insert(self, table: Any, data: Any, on: Any = None, **options: Any) -> Any:
        options["when_not_matched_by_source"] = "keep"
        options["not_matched_by_source_if"] = None
        return super().merge_insert(table, data, on, **options)


class RollsBackTooFar(MemoryBackend):
    def rollback_table(self, table: Any, version: int, **options: Any) -> CommitReceipt:
        return super().rollback_table(table, max(1, version - 1), **options)


class IgnoresExpected(MemoryBackend):
    def replace_table_atomic(self, table: Any, data: Any, *args: Any, **options: Any) -> Any:
        return super().replace_table_atomic(
            table, data, *args, **{**options, "expected_version": None}
        )


class CountsWrong(MemoryBackend):
    def count_rows(self, table: Any, filter: Any = None, **options: Any) -> int:
        return super().count_rows(table, None, **options)


class MovesTagsByCreating(MemoryBackend):
    def create_tag(self, table: Any, name: str, **options: Any) -> Any:
        try:
            return super().create_tag(table, name, **options)
        except PennonError:
            return super().move_tag(table, name, **options)


class ReadsTheNewest(MemoryBackend):
    def scan(self, request: Any) -> Any:
        if isinstance(request, ScanRequest) and request.version is not None:
            request = ScanRequest(request.table, filter=request.filter, branch=request.branch)
        return super().scan(request)


@pytest.mark.parametrize(
    "wrong",
    [
        WritesToMain,
        ForgetsWriteIds,
        DeletesNulls,
        ForgetsDeletes,
        RollsBackTooFar,
        IgnoresExpected,
        CountsWrong,
        MovesTagsByCreating,
        ReadsTheNewest,
    ],
)
def test_it_is_found(wrong: type[MemoryBackend]) -> None:
    def make() -> StorageBackend:
        namespace: Any = pennon.open(f"memory://{uuid.uuid4()}").namespace
        return wrong(namespace)

    with pytest.raises(AssertionError):
        run_storage_machine(make, SEARCH)
