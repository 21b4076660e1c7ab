"""Between a commit and its answer a process is disturbed: no row is lost, nor put twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.errors import EngineFailed, OutcomeUnknown, PermissionDenied
from pennon.objects.local import LocalStore
from pennon.storage._lance import commit
from pennon.storage.abc import StorageBackend

Call = Callable[..., Any]
WRITES: dict[str, Call] = {
    "append": lambda db, **o: db.write("t", [{"id": 7, "n": 7}], **o),
    "check keys": lambda db, **o: db.write("t", [{"id": 7, "n": 7}], check_keys=True, **o),
    "overwrite": lambda db, **o: db.write("t", [{"id": 7, "n": 7}], mode="overwrite", **o),
    "replace": lambda db, **o: db.replace_table_atomic("t", [{"id": 7, "n": 7}], **o),
    "truncate": lambda db, **o: db.truncate("t", **o),
    "delete": lambda db, **o: db.delete_rows("t", "id = 1", **o),
    "update": lambda db, **o: db.update("t", {"n": "n + 1"}, **o),
    "merge": lambda db, **o: db.merge_insert("t", [{"id": 1, "n": 9}, {"id": 7}], on="id", **o),
    "add columns": lambda db, **o: db.add_columns("t", {"m": "n + 1"}, **o),
    "alter columns": lambda db, **o: db.alter_columns(
        "t", {"n": pennon.ColumnChange(type=pa.float64())}, **o
    ),
    "rollback": lambda db, **o: db.rollback_table("t", 1, **o),
    "index": lambda db, **o: db.create_scalar_index("t", "n", **o),
}


def stocked(root: str) -> StorageBackend:
    db = pennon.open(root)
    db.create_table("t", [{"id": 0, "n": 0}, {"id": 1, "n": 1}], primary_key="id")
    db.write("t", [{"id": 2, "n": 2}])
    return db


def contents(root: str) -> list[dict[str, Any]]:
    return sorted(pennon.open(root).scan("t").read_all().to_pylist(), key=lambda row: row["id"])


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_exception_after_the_commit(
    local_root: str,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: type[BaseException],
) -> None:
    elsewhere = str(tmp_path_factory.mktemp("undisturbed"))
    WRITES[name](stocked(elsewhere))
    db = stocked(local_root)
    real = lance.LanceDataset.commit

    def late(*_: Any, **__: Any) -> Any:
        raise error

    def signalled(*args: Any, **kwargs: Any) -> Any:
        real(*args, **kwargs)
        raise error

    with monkeypatch.context() as patch:
        if error is MemoryError:
            patch.setattr(commit, "seen", late)
        else:
            patch.setattr(lance.LanceDataset, "commit", staticmethod(signalled))
        with pytest.raises(OutcomeUnknown if error is MemoryError else error):
            WRITES[name](db, write_id="w")
    assert contents(local_root) == contents(elsewhere)
    again = pennon.open(local_root)
    WRITES[name](again, write_id="w")
    assert again.get_table_version("t") == 3
    assert contents(local_root) == contents(elsewhere)


@pytest.mark.parametrize("name", ["append", "delete", "merge", "index", "overwrite"])
@pytest.mark.parametrize("committed", [True, False])
def test_lance_panics_as_it_commits(
    local_root: str, monkeypatch: pytest.MonkeyPatch, name: str, committed: bool
) -> None:
    """What has become of it is looked up; it is tried again by whoever wants that."""
    db = stocked(local_root)
    real = lance.LanceDataset.commit
    path = db.namespace.describe_table("t").location
    calls: list[int] = []

    def panics(*args: Any, **kwargs: Any) -> Any:
        if committed:
            real(*args, **kwargs)
        monkeypatch.undo()
        calls.append(1)
        lance.dataset(path).count_rows("array_repeat(n, 9223372036854775807)[1] = 1")

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(panics))
    if committed:
        WRITES[name](db, write_id="w")
    else:
        with pytest.raises(EngineFailed) as failed:
            WRITES[name](db, write_id="w")
        assert not failed.value.retryable
        assert not any("w" in v.write_ids for v in db.versions("t"))
        WRITES[name](db, write_id="w")
    assert calls == [1]
    assert sum("w" in v.write_ids for v in db.versions("t")) == 1


def test_a_disk_that_denies_after_the_commit(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = stocked(local_root)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionDenied("The file belongs to somebody else.")

    monkeypatch.setattr(LocalStore, "sync", denied)
    with pytest.raises(pennon.errors.NotDurable):
        db.write("t", [{"id": 7, "n": 7}], durability="disk")
    assert [row["id"] for row in contents(local_root)] == [0, 1, 2, 7]
