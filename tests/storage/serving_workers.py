"""What processes do that race over ``to_lance()``: importable, since they are spawned."""

from __future__ import annotations

from typing import Any

from serving_cases import ipc
from workers import kept

from pennon.testing.services import TestRoot


def client(root: TestRoot) -> Any:
    return kept(root).namespace.to_lance()


def create(worker: int, root: TestRoot, table: str, mode: str) -> int:
    rows = [{"owner": worker}] * (worker + 1)
    return client(root).create_table({"id": [table], "mode": mode}, ipc(rows)).version


def insert(worker: int, root: TestRoot, table: str) -> str:
    answer = client(root).insert_into_table({"id": [table]}, ipc([{"owner": worker}]))
    assert answer.num_inserted_rows == 1
    return answer.transaction_id


def describe(worker: int, root: TestRoot, table: str) -> int:
    n = client(root)
    key = f"k{worker}"
    n.update_table_schema_metadata({"id": [table], "metadata": {key: "1"}})
    entry = {"path": "owner", "metadata": {key: "2"}}
    return n.update_field_metadata({"id": [table], "updates": [entry]}).version


def upsert(worker: int, root: TestRoot, table: str) -> tuple[int, int]:
    rules = {"when_matched_update_all": True, "when_not_matched_insert_all": True}
    rows = ipc([{"id": n, "owner": worker} for n in range(4)])
    made = client(root).merge_insert_into_table({"id": [table], "on": ["id"], **rules}, rows)
    return made.num_inserted_rows, made.num_updated_rows
