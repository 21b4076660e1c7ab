"""What other processes do to tables that pennon reads, with pylance alone: importable by name."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from pennon.config import parse_options
from pennon.objects import open_store
from pennon.uri import parse_uri

AT_ONCE = timedelta(0)


def _rows(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64())})


def append(at: str, so: dict[str, str], step: int) -> None:
    lance.dataset(at, storage_options=so).insert(_rows(step))


def append_and_clean(at: str, so: dict[str, str], step: int) -> None:
    """Leave no trace of the version after the one that a reader knows."""
    handle = lance.dataset(at, storage_options=so)
    handle.insert(_rows(step))
    handle.insert(_rows(step + 1))
    handle.cleanup_old_versions(AT_ONCE, delete_unverified=True)


def compact_and_clean(at: str, so: dict[str, str], step: int) -> None:
    handle = lance.dataset(at, storage_options=so)
    handle.insert(_rows(step))
    handle.optimize.compact_files()
    handle.cleanup_old_versions(AT_ONCE, delete_unverified=True)
    handle.delete(f"id = {step}")
    handle.cleanup_old_versions(AT_ONCE, delete_unverified=True)


def overwrite(at: str, so: dict[str, str], step: int) -> None:
    lance.write_dataset(_rows(step, step + 1), at, mode="overwrite", storage_options=so)


def restore(at: str, so: dict[str, str], step: int) -> None:
    handle = lance.dataset(at, storage_options=so)
    before = handle.version
    handle.insert(_rows(step))
    handle.checkout_version(before).restore()


def add_column(at: str, so: dict[str, str], step: int) -> None:
    lance.dataset(at, storage_options=so).add_columns({f"c{step}": "id + 1"})


def make_anew(at: str, so: dict[str, str], step: int) -> None:
    """Drop the table and make one of as many versions at the same place."""
    versions = lance.dataset(at, storage_options=so).version
    _remove(at, so)
    _write(at, so, step, versions)


def make_anew_the_old_way(at: str, so: dict[str, str], step: int) -> None:
    """The same, with manifests named as Lance once did."""
    _remove(at, so)
    _write(at, so, step, 3, enable_v2_manifest_paths=False)


def _write(at: str, so: dict[str, str], step: int, versions: int, **options: Any) -> None:
    handle = lance.write_dataset(_rows(step), at, storage_options=so, **options)
    for number in range(1, versions):
        handle.insert(_rows(step + number))


def _remove(at: str, so: dict[str, str]) -> None:
    uri = parse_uri(at)
    if uri.scheme == "file":
        shutil.rmtree(uri.path)
        Path(uri.path).parent.mkdir(exist_ok=True)
    else:
        store = open_store(uri, parse_options(uri, so))
        store.delete(*(m.key for m in store.list()))


STEPS = [
    append,
    append_and_clean,
    compact_and_clean,
    overwrite,
    restore,
    add_column,
    make_anew,
    make_anew_the_old_way,
]


def do(_: int, name: str, at: str, so: dict[str, str], step: int) -> tuple[int, list[int], int]:
    """Do one thing, and tell what there is then: version, ids, number of columns."""
    globals()[name](at, so, step)
    handle = lance.dataset(at, storage_options=so)
    return handle.version, sorted(handle.to_table()["id"].to_pylist()), len(handle.schema)


def branch_anew(_: int, at: str, so: dict[str, str], step: int) -> tuple[int, list[int]]:
    """Delete a branch and make it again, with as many versions."""
    main = lance.dataset(at, storage_options=so)
    main.branches.delete("b")
    branch = main.create_branch("b", (None, 1))
    branch.insert(_rows(step))
    return branch.version, sorted(branch.to_table()["id"].to_pylist())


def tag_and_clean(_: int, at: str, so: dict[str, str]) -> int:
    """Remove the version after a tagged one, seconds after it was made."""
    handle = lance.dataset(at, storage_options=so)
    handle.tags.create("kept", handle.version)
    handle.insert(_rows(100))
    handle.insert(_rows(101))
    handle.cleanup_old_versions(AT_ONCE, error_if_tagged_old_versions=False)
    return handle.version


def through_pennon(_: int, uri: str, options: dict[str, str], what: str) -> None:
    """Change the table of a name by pennon itself."""
    import pennon

    db = pennon.open(uri, storage_options=options or None)
    if what == "drop and create":
        db.drop_table("t")
        db.create_table("t", [{"id": 50}])
    elif what == "rename":
        db.rename_table("t", "u")
    elif what == "swap":
        db.rename_table("t", "x")
        db.rename_table("u", "t")
    else:
        db.write("t", [{"id": 60}])


def in_step(_: int, uri: str, options: dict[str, str], turns: int) -> None:
    """Append to one table, then to the other, again and again."""
    import pennon

    db = pennon.open(uri, storage_options=options or None)
    for turn in range(turns):
        db.write("t", [{"id": turn}])
        db.write("u", [{"id": turn}])
