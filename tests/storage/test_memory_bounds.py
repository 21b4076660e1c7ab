"""Promise 11: memory follows what is read at a time, not the size of the table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from lance.file import LanceFileReader

import pennon
from pennon import ScanRequest
from pennon.errors import InvalidInput, InvalidOption
from pennon.storage.abc import StorageBackend

MIB = 1 << 20
WORKER = Path(__file__).with_name("memory_worker.py")
BUDGET = 32 * MIB
INGEST = 128 * MIB
BATCHES = 220
"""Of 1.5 MB each: ten times the budget."""


def measured(what: str, root: Path, **options: Any) -> tuple[int, int]:
    """Return what a fresh process found, and by how many bytes its memory grew."""
    command = [sys.executable, str(WORKER), what, str(root), json.dumps(options)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{what} {options}: peak {found['peak'] / MIB:.0f} MiB")  # noqa: T201
    return found["result"], found["peak"]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("memory")
    measured("fill", root, batches=BATCHES)
    return root


@pytest.mark.parametrize(
    ("kind", "size", "times"),
    [("vectors", 128, 11), ("documents", 128, 2), ("columns", 4, 60)],
    ids=["ten times as much", "rows of any length", "many columns"],
)
def test_ingest_stays_within_its_bound(tmp_path: Path, kind: str, size: int, times: int) -> None:
    """Also where a batch is as large as the bound, or Lance by itself would hold all columns."""
    rows, peak = measured("ingest", tmp_path, kind=kind, size=size, times=times)
    assert pennon.open(str(tmp_path)).count_rows("t") == rows
    assert peak <= INGEST


@pytest.mark.parametrize(
    "options",
    [{}, {"filter": "text > 'f'", "columns": ["id"]}],
    ids=["all", "filter on what is not returned"],
)
def test_a_scan_stays_within_its_budget(large: Path, options: dict[str, Any]) -> None:
    rows, peak = measured("scan", large, memory_budget=BUDGET, **options)
    assert rows == pennon.open(str(large)).count_rows("t", options.get("filter"))
    assert peak <= BUDGET


def test_a_row_larger_than_the_budget_is_refused_at_once(tmp_path: Path) -> None:
    db = pennon.open(str(tmp_path))
    db.create_table("t", [{"id": 1, "text": "x" * 3 * MIB}])
    with pytest.raises(InvalidOption, match="memory_budget"):
        db.scan(ScanRequest("t", memory_budget=BUDGET))
    assert db.scan(ScanRequest("t", memory_budget=BUDGET, columns=["id"])).read_all().num_rows == 1


@pytest.fixture
def cut(tmp_path: Path) -> StorageBackend:
    """A table of several fragments, with rows deleted, updated and merged."""
    db = pennon.open(str(tmp_path))
    db.create_table("t", {"id": list(range(100)), "n": [n % 7 for n in range(100)]})
    for start in range(100, 500, 100):
        ids = list(range(start, start + 100))
        db.write("t", {"id": ids, "n": [n % 7 for n in ids]})
    db.delete_rows("t", "id >= 50 AND id < 120 OR id % 10 = 3")
    db.merge_insert("t", {"id": [0, 130, 450], "n": [10, 11, 12]}, on="id")
    db.update("t", {"n": "n + 100"}, "id > 480")
    return db


@pytest.mark.parametrize("filter", [None, "n > 3", "id > 1000"])
@pytest.mark.parametrize("columns", [None, ["n"], {"m": "id + n"}])
def test_the_budget_changes_no_answer(
    cut: StorageBackend, filter: str | None, columns: Any
) -> None:
    for limit, offset in [(None, 0), (7, 0), (0, 0), (100, 33), (None, 210), (5, 10_000)]:
        for with_row_id in (False, True):
            what: dict[str, Any] = {
                "columns": columns,
                "filter": filter,
                "limit": limit,
                "offset": offset,
                "with_row_id": with_row_id,
            }
            plain = cut.scan(ScanRequest("t", **what))
            bounded = cut.scan(ScanRequest("t", memory_budget=BUDGET, batch_size=8, **what))
            assert bounded.schema == plain.schema
            found = bounded.read_all()
            assert found == plain.read_all(), what
            assert all(b.num_rows <= 8 for b in found.to_batches())


def test_no_rows_have_columns_too(tmp_path: Path) -> None:
    db = pennon.open(str(tmp_path))
    schema = pa.schema([("id", pa.int64())])
    db.create_table("t", schema=schema)
    assert db.scan(ScanRequest("t", memory_budget=BUDGET)).read_all() == schema.empty_table()


@pytest.mark.parametrize("root", ["memory://", ""])
def test_data_too_large_for_one_merge_are_refused_before_all_are_read(
    tmp_path: Path, root: str
) -> None:
    db = pennon.open(root or str(tmp_path))
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    db.create_table("t", schema=schema, primary_key="id")
    text = pa.array(["x" * MIB]).take(pa.array([0] * 64))
    taken: list[int] = []

    def source() -> Iterator[pa.RecordBatch]:
        for number in range(1000):
            taken.append(number)
            ids = pa.array(range(number * 64, number * 64 + 64), pa.int64())
            yield pa.record_batch([ids, text], schema=schema)

    with pytest.raises(InvalidInput, match="in parts"):
        db.merge_insert("t", pa.RecordBatchReader.from_batches(schema, source()))
    assert len(taken) < 20
    with pytest.raises(InvalidInput, match="in parts"):
        db.write("t", pa.RecordBatchReader.from_batches(schema, source()), check_keys=True)
    assert db.get_table_version("t") == 1


@pytest.mark.parametrize("scheme", ["memory://", ""])
def test_a_table_too_large_for_one_merge_is_refused_at_once(tmp_path: Path, scheme: str) -> None:
    """By its rows too, however narrow; what a slice leaves out does not count."""
    db = pennon.open(f"{scheme}{tmp_path}")
    db.create_table("t", schema=pa.schema([("id", pa.int64())]), primary_key="id")
    many = pa.table({"id": pa.nulls(5_200_000, pa.int64())})
    with pytest.raises(InvalidInput, match="in parts"):
        db.merge_insert("t", many)
    texts = pa.array(["x" * MIB]).take(pa.array([0] * 600)).cast(pa.string_view())
    db.create_table("u", schema=pa.schema([("text", pa.string())]))
    assert db.merge_insert("u", pa.table({"text": texts})[:1], on="text").rows_inserted == 1


def test_a_merge_holds_its_data_a_few_times(large: Path) -> None:
    data = 40
    inserted, peak = measured("merge", large, batches=data, first=(BATCHES - data // 2) * 1000)
    assert inserted == data // 2 * 1000
    assert peak < 4 * data * 1.5 * MIB


def test_a_merge_of_narrow_rows_holds_them_a_few_times_too(tmp_path: Path) -> None:
    rows = 500_000
    ids = np.arange(rows)
    pennon.open(str(tmp_path)).create_table("t", {"id": ids, "n": ids})
    updated, peak = measured("merge narrow", tmp_path, rows=rows, first=0)
    assert updated == rows
    assert peak < 4 * rows * (16 + 96)


def test_slices_of_a_batch_make_no_pages_of_their_own(tmp_path: Path) -> None:
    """Each counts as the batch it is cut from; a scan of many small pages takes longer."""
    db = pennon.open(tmp_path)
    batch = pa.record_batch({"id": range(500_000), "n": [0.5] * 500_000})
    parts = (batch.slice(start, 8192) for start in range(0, batch.num_rows, 8192))
    db.create_table("t", pa.RecordBatchReader.from_batches(batch.schema, parts))
    place = db.namespace.describe_table("t").location
    [file] = Path(place, "data").iterdir()
    metadata = LanceFileReader(str(file)).metadata()
    assert [len(c.pages) for c in metadata.columns] == [1, 1]
