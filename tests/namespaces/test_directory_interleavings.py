"""Interleavings that races hit too rarely, forced one by one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.errors import Corrupt, TableNotFound
from pennon.namespaces.directory import DirectoryNamespace, _care, _manifest
from pennon.namespaces.directory._lance import MANIFEST


@pytest.mark.parametrize(
    ("call", "done"),
    [
        (lambda ns: ns.declare_table("new"), lambda ns: ns.table_exists("new")),
        (lambda ns: ns.create_namespace("n"), lambda ns: ns.namespace_exists("n")),
        (lambda ns: ns.drop_table("old"), lambda ns: not ns.table_exists("old")),
        (lambda ns: ns.rename_table("old", "new"), lambda ns: ns.table_exists("new")),
    ],
    ids=["declare", "create", "drop", "rename"],
)
def test_a_commit_that_lands_late_is_known_as_our_own(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[DirectoryNamespace], Any],
    done: Callable[[DirectoryNamespace], bool],
) -> None:
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("old")
    # On a bucket a request that timed out may still be on its way.
    monkeypatch.setattr(_manifest._Attempt, "_is_certain", lambda *_: False)
    below = ns._manifest._lance
    commit, read = below.commit, ns._manifest._read
    lost: list[Any] = []
    sent = 0

    def time_out(*args: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == 1:
            lost.append(args)
            raise OSError("error sending request for url")
        return commit(*args)

    def land_before_reading() -> Any:
        if lost:
            commit(*lost.pop())
        return read()

    monkeypatch.setattr(below, "commit", time_out)
    monkeypatch.setattr(ns._manifest, "_read", land_before_reading)
    call(ns)
    assert sent == 1
    assert done(DirectoryNamespace(tmp_path))


def test_the_sweeper_gives_a_name_back_to_a_creator_that_was_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("t", properties={"k": "v"})
    long_ago = time.time() - 30 * 86400
    os.utime(f"{ns.describe_table('t').location}/.lance-reserved", (long_ago, long_ago))
    forget = _care.model.deregister_table

    def be_slow(catalog: Any, id: Any) -> Any:
        # What a creator that adopts the name does, when it sees the name still there afterwards.
        lance.write_dataset(pa.table({"id": [1]}), f"{tmp_path}/{catalog[id].location}")
        return forget(catalog, id)

    monkeypatch.setattr(_care.model, "deregister_table", be_slow)
    report = ns.sweep(older_than=timedelta(days=7), drop_declared=True)
    assert report.dropped == ()
    assert pennon.open(ns).count_rows("t") == 1
    assert ns.describe_table("t").properties == {"k": "v"}


def _write(info: Any) -> None:
    lance.write_dataset(pa.table({"id": [1]}), info.location)


def test_a_sweep_without_grace_that_comes_before_the_name_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("first")
    below = ns._manifest._lance
    commit = below.commit
    swept: list[str] = []

    def sweep_first(*args: Any) -> Any:
        if not swept:
            # By another process: in this one changes of a catalog take turns.
            sweep = (
                "import datetime, pennon;"
                f"ns = pennon.connect('dir', {{'root': {str(tmp_path)!r}}}).connect();"
                "print(*ns.sweep(older_than=datetime.timedelta(0)).removed)"
            )
            command = [sys.executable, "-c", sweep]
            swept.extend(subprocess.check_output(command, text=True).split())
        return commit(*args)

    monkeypatch.setattr(below, "commit", sweep_first)
    info = ns.declare_table("newborn")
    assert len(swept) == 1
    assert swept[0] not in info.location
    _write(info)
    assert pennon.open(tmp_path).count_rows("newborn") == 1
    assert [str(d) for d in tmp_path.iterdir() if d.name.endswith("newborn")] == [info.location]


def test_a_sweep_without_grace_that_comes_after_the_name_leaves_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("first")
    before, read = ns._manifest.read(), ns._manifest.read
    info = ns.declare_table("newborn")
    _write(info)
    answers = iter([before])
    monkeypatch.setattr(ns._manifest, "read", lambda: next(answers, None) or read())
    assert ns.sweep(older_than=timedelta(0)).removed == ()
    assert pennon.open(tmp_path).count_rows("newborn") == 1
    assert sorted(d.name for d in Path(info.location).iterdir()) == [
        ".lance-reserved",
        "_transactions",
        "_versions",
        "data",
    ]


def test_what_a_sweeper_is_removing_cannot_be_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("first")
    info = ns.declare_table("t")
    _write(info)
    place = Path(info.location).name
    ns._changes._manifest.apply(lambda s: _care.model.deregister_table(s.catalog, ("t",)))
    other = DirectoryNamespace(tmp_path)
    settle = ns._changes.settle
    refused: list[str] = []

    def register_first() -> None:
        with pytest.raises(TableNotFound, match="no dataset"):
            other.register_table("again", place)
        refused.append(place)
        settle()

    monkeypatch.setattr(ns._changes, "settle", register_first)
    assert ns.sweep(older_than=timedelta(0)).removed == (place,) == tuple(refused)


def test_a_listing_that_is_out_of_date_when_it_is_used_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version that was listed as the latest is cleaned before it is read."""
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("t")
    below = ns._manifest._lance
    open_now = below._open
    gone = f"LanceError(IO): Generic N/A error: Not found: {tmp_path}/__manifest/_versions/"
    answers = iter([f"{gone}18446744073709551377.manifest", f"{gone}18446744073709551376.manifest"])

    def open_late(version: int | None) -> Any:
        text = next(answers, None)
        if text is not None:
            raise OSError(text)
        return open_now(version)

    monkeypatch.setattr(below, "_open", open_late)
    assert below.open() is not None
    answers = iter([f"{gone}1.manifest"] * 2)
    with pytest.raises(Corrupt, match=r"_versions/1\.manifest"):
        below.open()


def test_a_file_that_is_gone_with_its_version_still_there_is_no_damage(tmp_path: Path) -> None:
    ns = DirectoryNamespace(tmp_path)
    ns.declare_table("t")
    below = ns._manifest._lance
    old = below.open()
    assert old is not None
    [fragment] = old.get_fragments()
    (tmp_path / MANIFEST / "data" / fragment.metadata.files[0].path).unlink()
    ns.create_namespace("n")
    old = below.open(old.version)
    assert below.rows(old) is None
    assert DirectoryNamespace(tmp_path).table_exists("t")
