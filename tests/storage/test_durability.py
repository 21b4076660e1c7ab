"""Promise 9: with ``durability="disk"`` a receipt survives the loss of everything not synced."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lance
import pytest
from durability_workers import work

import pennon
from pennon.errors import NotDurable
from pennon.objects import _files
from pennon.storage._lance import rebuilds


def rebuild(root: Path, there: dict[str, bytes | None]) -> None:
    """Put a directory into the state a loss of power leaves it in."""
    shutil.rmtree(root)
    root.mkdir()
    for key, data in there.items():
        if data is None:
            (root / key).mkdir()
        else:
            (root / key).write_bytes(data)


def steps_of(root: Path, durability: str) -> list[Any]:
    report = root.parent / f"{root.name}.steps"
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=work, args=(str(root), durability, str(report)))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    return pickle.loads(report.read_bytes())


def test_every_acknowledged_row_survives_a_loss_of_power(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    root.mkdir()
    steps = steps_of(root, "disk")
    assert len(steps) == 12
    for what, table, place, branch, rows, there in steps:
        rebuild(root, there)
        at = place if branch == "main" else f"{place}/tree/{branch}"
        found = lance.dataset(at).to_table().to_pylist()
        assert sorted(found, key=lambda r: r["id"]) == rows, what
        db = pennon.open(root / "lake")
        request = pennon.ScanRequest(table, branch=branch)
        assert db.scan(request).read_all().num_rows == len(rows), what
        if table == "t" and what != "create":
            # The note of a write id is there too, so a repeat is not a second write.
            version = db.get_table_version("t")
            again = db.write("t", [{"id": 3, "name": "p3"}], write_id="mine")
            assert (again.version, again.rows_inserted) == (2, 2), what
            assert db.get_table_version("t") == version, what


def test_without_it_nothing_does(tmp_path: Path) -> None:
    """The negative control: what the test above relies on really is lost."""
    root = tmp_path / "disk"
    root.mkdir()
    steps = steps_of(root, "os")
    for what, _, place, branch, _, there in steps:
        rebuild(root, there)
        at = place if branch == "main" else f"{place}/tree/{branch}"
        with pytest.raises(ValueError, match="was not found"):
            lance.dataset(at)
        assert pennon.open(root / "lake").table_names() == [], what


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """The paths that are synced while the block lasts, in that order."""
    synced: list[str] = []
    real = os.fsync

    def spy(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", spy)
        yield synced


def test_a_repeat_makes_durable_what_the_first_call_did_not(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    first = db.create_table("t", [{"id": 1}], write_id="a")
    second = db.write("t", [{"id": 2}], write_id="b")
    with watched() as synced:
        assert db.write("t", [{"id": 2}], write_id="b", durability="disk") == second
        files = {f.path for x in open_raw(db).get_fragments() for f in x.metadata.files}
        assert files <= {Path(p).name for p in synced}
        assert any("/__manifest/" in path for path in synced)
        synced.clear()
        assert db.create_table("t", [{"id": 1}], write_id="a", durability="disk") == first
        assert any("/_versions/" in path for path in synced)


def test_the_new_name_of_a_table_is_on_the_disk_too(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1}], durability="disk")
    db.rename_table("t", "u")
    with watched() as synced:
        db.write("u", [{"id": 2}], durability="disk")
        assert any("/__manifest/" in path for path in synced)
        synced.clear()
        db.write("u", [{"id": 3}], durability="disk")
        assert not any("/__manifest/" in path for path in synced)


@pytest.mark.parametrize("call", ["recover", "optimize"])
def test_indexes_that_a_killed_overwrite_left_to_be_built_are_on_the_disk(
    tmp_path: Path, call: str
) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1}], durability="disk")
    db.create_scalar_index("t", "id", durability="disk")
    with watched() as synced:

        def failing(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as killed:
            killed.setattr(rebuilds, "create", failing)
            with pytest.raises(KeyboardInterrupt):
                db.write("t", [{"id": 2}], mode="overwrite", durability="disk")
        # The note that leads to what is left is there too.
        assert any("/_pennon/rebuilds/" in path for path in synced)
        synced.clear()
        if call == "recover":
            assert [f.kind for f in db.recover(alone=True).findings] == ["index"]
        else:
            assert db.optimize_table("t", retain=None).indexes_rebuilt == ("id_btree",)
    table = open_raw(db)
    assert table.version == 4
    newest = min((Path(table.uri) / "_versions").glob("*.manifest"))
    (index,) = table.describe_indices()
    files = [*(Path(table.uri) / "_indices" / str(index.segments[0].uuid)).iterdir(), newest]
    assert files
    assert {str(f) for f in files} <= {*synced}


def open_raw(db: Any) -> lance.LanceDataset:
    return lance.dataset(db.namespace.describe_table("t").location)


def test_what_is_on_the_disk_is_not_synced_twice(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 0}], durability="disk")
    for number in range(1, 6):
        db.write("t", [{"id": number}], durability="disk")
    with watched() as synced:
        db.write("t", [{"id": 6}], durability="disk")
    assert sum("/data/" in path for path in synced) == 1
    assert len([p for p in synced if Path(p).is_file()]) == 4


def test_a_disk_that_fails_is_an_error_that_says_what_there_is(tmp_path: Path) -> None:
    db = pennon.open(tmp_path)
    db.create_table("t", [{"id": 1}], durability="disk")
    real = _files._sync  # pyright: ignore[reportPrivateUsage]

    def broken(fd: int) -> None:
        if str(Path(f"/proc/self/fd/{fd}").readlink()).endswith(".lance"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "_sync", broken)
        with pytest.raises(NotDurable, match=r"committed and can be read.*Input/output") as caught:
            db.write("t", [{"id": 2}], durability="disk", write_id="w")
    receipt = caught.value.context["receipt"]
    assert isinstance(receipt, pennon.CommitReceipt)
    assert (receipt.version, receipt.rows_inserted, receipt.write_id) == (2, 1, "w")
    assert db.count_rows("t") == 2
    # A system that failed to write may have forgotten what: a later success proves nothing.
    with pytest.raises(NotDurable):
        db.write("t", [{"id": 2}], durability="disk", write_id="w")
    assert db.write("t", [{"id": 2}], write_id="w") == receipt
    assert db.count_rows("t") == 2
