"""Interleavings that races hit too rarely, forced one by one."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

import pennon
from pennon.namespaces.directory import DirectoryNamespace, _care, _manifest


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
