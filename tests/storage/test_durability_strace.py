"""Promise 9 as the kernel sees it: which files were synced before the receipt was given."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import lance
import pytest

WRITER = """
import os, pathlib, sys, pennon

def say(*words):
    os.write(1, (" ".join(words) + "\\n").encode())

if sys.argv[3] == "told":
    sync = os.fsync

    def told(fd):
        sync(fd)
        say("synced", os.readlink(f"/proc/self/fd/{fd}"))

    os.fsync = told

db = pennon.open(sys.argv[1])
db.create_table("t", {"id": [1]}, primary_key="id", durability=sys.argv[2])
say("RECEIPT", "create")
db.write("t", {"id": [2]}, durability=sys.argv[2])
say("RECEIPT", "append")
db.merge_insert("t", {"id": [2, 3]}, durability=sys.argv[2])
say("RECEIPT", "upsert")
db.delete_rows("t", "id = 1", durability=sys.argv[2])
say("RECEIPT", "delete")
"""
_SYNC = re.compile(r"(?:fsync|fdatasync)\(\d+<(?P<path>[^>]+)>\) += 0|(?<=^synced )(?P<told>.+)$")
_RECEIPT = re.compile(r"RECEIPT (\w+)")


def can_trace() -> bool:
    """Whether strace is here and may be used."""
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-qq", "true"], capture_output=True, check=False).returncode == 0


def synced_before_receipts(root: Path, durability: str, *, traced: bool) -> dict[str, set[str]]:
    """Return the paths that were synced until each receipt, by what it was for."""
    command = [sys.executable, "-c", WRITER, str(root), durability, "" if traced else "told"]
    if traced:
        log = root.with_suffix(".strace")
        trace = "trace=fsync,fdatasync,write"
        subprocess.run(["strace", "-f", "-qq", "-y", "-e", trace, "-o", log, *command], check=True)
        lines = log.read_text(errors="replace").splitlines()
    else:
        lines = subprocess.check_output(command, text=True).splitlines()
    found: set[str] = set()
    until: dict[str, set[str]] = {}
    for line in lines:
        if sync := _SYNC.search(line):
            found.add(sync["path"] or sync["told"])
        elif receipt := _RECEIPT.search(line):
            until[receipt[1]] = set(found)
    return until


def named_by(place: Path, version: int) -> set[str]:
    """Return the files a version consists of, and the directories that name them."""
    table: Any = lance.dataset(str(place), version=version)
    files = [f"data/{f.path}" for x in table.get_fragments() for f in x.metadata.files]
    deletions = [x.deletion_file() for x in table.get_fragments()]
    files += [d for d in deletions if d]
    manifests = {f"{version}.manifest", f"{2**64 - 1 - version:020d}.manifest"}
    [manifest] = [p for p in (place / "_versions").iterdir() if p.name in manifests]
    paths = {place / f for f in files} | {manifest}
    return {str(p) for path in paths for p in (path, *path.parents) if p.is_relative_to(place)}


@pytest.mark.parametrize("durability", ["disk", "os"])
def test_every_file_of_a_commit_is_synced_before_its_receipt(
    tmp_path: Path, durability: str, record_property: Any
) -> None:
    root = tmp_path / "lake"
    traced = can_trace()
    record_property("note", f"fsync was watched by {'strace' if traced else 'a patched os.fsync'}")
    until = synced_before_receipts(root, durability, traced=traced)
    assert list(until) == ["create", "append", "upsert", "delete"]
    if durability == "os":
        assert not any(str(root) in path for path in until["delete"])
        return
    [place] = [d for d in root.iterdir() if d.name.endswith("_t")]
    for version, synced in enumerate(until.values(), start=1):
        assert named_by(place, version) <= synced
        catalog: Any = lance.dataset(str(root / "__manifest"))
        assert named_by(root / "__manifest", catalog.version) <= synced
        assert str(root) in synced
