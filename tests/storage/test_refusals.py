"""What must be refused, or stay refused, on the disk and in memory."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

import pennon
from pennon import col
from pennon.errors import (
    DuplicateKey,
    InvalidFilter,
    InvalidOption,
    PennonError,
    SchemaMismatch,
)
from pennon.storage.abc import StorageBackend

SCHEMA = pa.schema({"a": pa.int64(), "b": pa.int64()})
SWAPPED = pa.record_batch({"b": [200], "a": [2]})


@pytest.fixture(params=["local", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> StorageBackend:
    return pennon.open(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4()}")


@pytest.mark.parametrize(
    "stream",
    [
        lambda: iter([pa.record_batch({"a": [1], "b": [100]}), SWAPPED]),
        lambda: pa.RecordBatchReader.from_batches(SCHEMA, iter([SWAPPED])),
    ],
    ids=["iterable", "reader"],
)
def test_batches_in_another_order_are_not_taken_by_position(
    db: StorageBackend, stream: Callable[[], Any]
) -> None:
    db.create_table("t", schema=SCHEMA)
    with pytest.raises(SchemaMismatch, match="another order"):
        db.write("t", stream())
    assert db.count_rows("t") == 0


def test_no_write_brings_a_primary_key_twice(db: StorageBackend) -> None:
    rows = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    twice = [{"id": 5, "name": "x"}, {"id": 5, "name": "y"}]
    db.create_table("t", rows, primary_key="id")
    with pytest.raises(InvalidOption, match="primary key id"):
        db.merge_insert("t", [{"id": 1, "name": "new"}], on="name")
    with pytest.raises(InvalidOption, match="primary key id"):
        db.merge_insert("t", [{"id": 1, "name": "b"}], on="name", when_not_matched="ignore")
    with pytest.raises(DuplicateKey):
        db.write("t", twice, mode="overwrite")
    with pytest.raises(DuplicateKey):
        db.replace_table_atomic("t", twice)
    assert db.scan("t").read_all().to_pylist() == rows


@pytest.mark.parametrize("value", ["5 ; x", "a + 1, b", "7 ORDER BY a", "1 2 3", "a) + 1"])
def test_an_update_takes_one_whole_expression(db: StorageBackend, value: str) -> None:
    db.create_table("t", [{"a": 1, "b": 2}])
    with pytest.raises(InvalidFilter):
        db.update("t", {"a": value})
    assert db.scan("t").read_all().to_pylist() == [{"a": 1, "b": 2}]


def test_values_of_other_libraries(db: StorageBackend) -> None:
    db.create_table("t", [{"a": 1, "v": 1.5}])
    assert db.count_rows("t", col("v") == np.float64(1.5)) == 1
    with pytest.raises(InvalidFilter, match="no literal"):
        col("a").is_in([np.int64(1)])  # type: ignore[list-item]
    with pytest.raises(PennonError):
        db.count_rows("t", version=2**64)
    assert db.write("t", [{"a": 2, "v": 0.5}], deadline=math.inf).rows_inserted == 1


def test_a_refused_append_stays_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1, "v": 1}], primary_key="id")
    commit = lance.LanceDataset.commit
    rivals = iter([{"id": 7, "v": 70}])

    def late(base: Any, *args: Any, **kwargs: Any) -> Any:
        for row in rivals:
            there = lance.dataset(db.namespace.describe_table("t").location)
            new = pa.Table.from_pylist([row], schema=there.schema)
            lance.write_dataset(new, there.uri, mode="append")
        return commit(base, *args, **kwargs)

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(late))
    rows = [{"id": 7, "v": 0}, {"id": 8, "v": 0}]
    for _ in range(2):
        with pytest.raises(DuplicateKey):
            db.write("t", rows, check_keys=True, write_id="w")
    assert sorted(db.scan("t").read_all()["id"].to_pylist()) == [1, 7]
