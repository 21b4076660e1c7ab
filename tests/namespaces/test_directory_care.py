"""Migration, vacuum and sweeping of directories."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from pennon.errors import InvalidOption, TableAlreadyExists, TableNotFound
from pennon.namespaces.directory import DirectoryNamespace, _manifest
from pennon.namespaces.session import Session
from pennon.testing.names import ODD_NAMES
from pennon.testing.services import TestRoot

NOW = timedelta(0)
WEEK = timedelta(days=7)
ROWS = pa.table({"id": [1, 2]})


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


def connect(root: TestRoot, **options: Any) -> DirectoryNamespace:
    return DirectoryNamespace(root.uri, storage_options=root.options, **options)


def put(ns: DirectoryNamespace, id: Any) -> None:
    info = ns.describe_table(id)
    options: Any = dict(info.storage_options or {})
    lance.write_dataset(ROWS, info.location, storage_options=options or None, mode="create")


def count(ns: DirectoryNamespace, id: Any) -> int:
    info = ns.describe_table(id)
    options: Any = dict(info.storage_options or {})
    return lance.dataset(info.location, storage_options=options or None).count_rows()


def age(ns: DirectoryNamespace, directory: str) -> None:
    """Make everything in a directory of a local disk a month old."""
    then = time.time() - 30 * 86400
    for base, _, files in os.walk(f"{ns.root}/{directory}"):
        for name in files:
            os.utime(f"{base}/{name}", (then, then))


def leaf(location: str) -> str:
    return location.rsplit("/", 1)[1]


# -- migration -------------------------------------------------------------------------------------


def test_migration_keeps_every_table(root: TestRoot) -> None:
    flat = connect(root, manifest_enabled=False)
    for name in ODD_NAMES:
        flat.declare_table(name)
    for name in ODD_NAMES[::9]:
        put(flat, name)
    expected = tuple(sorted((n,) for n in ODD_NAMES))
    ns = connect(root)
    assert ns.capabilities == frozenset()
    plan = ns.migrate(dry_run=True)
    assert (plan.dry_run, plan.registered, plan.known, dict(plan.skipped)) == (
        True,
        expected,
        (),
        {},
    )
    assert connect(root).capabilities == frozenset(), "a dry run has changed something"
    done = ns.migrate()
    assert (done.dry_run, done.registered, done.known) == (False, expected, ())
    assert "nested" in ns.capabilities
    for other in (ns, connect(root), connect(root, manifest_enabled=True)):
        assert tuple(other.list_tables()) == expected
    for name in ODD_NAMES:
        assert ns.describe_table(name).location == flat.describe_table(name).location
    for name in ODD_NAMES[::9]:
        assert count(ns, name) == 2, name
    again = ns.migrate()
    assert (again.registered, again.known) == ((), expected)
    ns.create_namespace("n")
    ns.rename_table("a", ("n", "a"))
    assert ns.migrate().registered == ()
    ns.drop_table("A")
    assert ns.migrate().registered == ()
    assert not ns.table_exists("A")


def test_what_migration_leaves_alone(local_root: str) -> None:
    flat = DirectoryNamespace(local_root, manifest_enabled=False)
    for name in ("a", "gone", "n"):
        flat.declare_table(name)
    Path(local_root, "gone.lance", ".lance-deregistered").touch()
    ns = DirectoryNamespace(local_root, manifest_enabled=True)
    ns.create_namespace("n")
    report = ns.migrate()
    assert report.registered == (("a",),)
    assert dict(report.skipped) == {
        "gone.lance": "it is deregistered or being dropped",
        "n.lance": "n names something else",
    }
    ns.deregister_table("a")
    assert ns.migrate().registered == (), "what was deregistered comes back only by register_table"
    with pytest.raises(TableNotFound):
        ns.register_table("a", "a.lance")


def test_deregistered_and_registered_again(root: TestRoot) -> None:
    flat = connect(root, manifest_enabled=False)
    flat.declare_table("a")
    put(flat, "a")
    ns = connect(root)
    ns.migrate()
    ns.deregister_table("a")
    assert ns.migrate().registered == ()
    assert list(flat.list_tables()) == []
    ns.register_table("b", "a.lance")
    assert count(ns, "b") == 2
    assert list(flat.list_tables()) == [("a",)]


def test_a_v1_connection_follows_a_migration(root: TestRoot) -> None:
    connect(root, manifest_enabled=False).declare_table("old")
    early = connect(root)
    assert early.capabilities == frozenset()
    connect(root).migrate()
    made = early.declare_table("new")
    assert not made.location.endswith(".lance")
    assert list(connect(root).list_tables()) == [("new",), ("old",)]


@pytest.mark.parametrize("moment", ["before", "taken"])
def test_a_declare_while_the_directory_is_migrated(
    local_root: str, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """The migration ends between the claim of a V1 name and the look at the catalog."""
    from pennon.namespaces.directory._flat import FlatCatalog

    flat = DirectoryNamespace(local_root)
    DirectoryNamespace(local_root, manifest_enabled=False).declare_table("old")
    assert flat.capabilities == frozenset()
    real = FlatCatalog.declare

    def declare(self: FlatCatalog, id: Any) -> None:
        other = DirectoryNamespace(local_root, session=Session())
        if moment == "before":
            other.migrate()
        else:
            DirectoryNamespace(local_root, manifest_enabled=True).declare_table("t")
        real(self, id)

    monkeypatch.setattr(FlatCatalog, "declare", declare)
    if moment == "taken":
        with pytest.raises(TableAlreadyExists):
            flat.declare_table("t")
        assert not Path(local_root, "t.lance").exists()
        return
    flat.declare_table("t")
    assert list(DirectoryNamespace(local_root).list_tables()) == [("old",), ("t",)]
    monkeypatch.undo()
    late = DirectoryNamespace(local_root)
    late._seen = "flat"
    late._drop_flat(("old",))
    assert list(DirectoryNamespace(local_root).list_tables()) == [("t",)]


# -- V1 --------------------------------------------------------------------------------------------


def test_v1_is_byte_compatible(local_root: str) -> None:
    lance.write_dataset(ROWS, f"{local_root}/found.lance")
    Path(local_root, "empty.lance").mkdir()
    Path(local_root, "file.lance").touch()
    Path(local_root, "other").mkdir()
    ns = DirectoryNamespace(local_root)
    assert list(ns.list_tables()) == [("found",)]
    info = ns.describe_table("found", check_declared=True)
    assert (info.location, info.declared_only) == (f"{local_root}/found.lance", False)
    with pytest.raises(TableAlreadyExists):
        ns.declare_table("found")
    assert ns.declare_table("new").location == f"{local_root}/new.lance"
    assert [p.name for p in Path(local_root, "new.lance").iterdir()] == [".lance-reserved"]
    Path(local_root, "found.lance", ".lance-deregistered").touch()
    assert list(ns.list_tables()) == [("new",)]
    assert ns.table_exists("found") is False
    with pytest.raises(TableNotFound):
        ns.drop_table("found")
    with pytest.raises(TableAlreadyExists, match="deregistered or still being dropped"):
        ns.declare_table("found")
    assert lance.dataset(f"{local_root}/found.lance").count_rows() == 2


def test_an_interrupted_v1_drop(local_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pennon.errors import Unavailable
    from pennon.objects.local import LocalStore

    ns = DirectoryNamespace(local_root, manifest_enabled=False)
    ns.declare_table("t")
    put(ns, "t")

    def delete(self: Any, *keys: str, deadline: Any = None) -> None:
        raise Unavailable("The disk is gone.")

    monkeypatch.setattr(LocalStore, "delete", delete)
    ns.drop_table("t")
    monkeypatch.undo()
    assert list(ns.list_tables()) == []
    with pytest.raises(TableAlreadyExists, match=r"sweep\(\)"):
        ns.declare_table("t")
    assert ns.sweep(older_than=WEEK).young == ("t.lance",)
    age(ns, "t.lance")
    assert ns.sweep(older_than=WEEK, dry_run=True).removed == ("t.lance",)
    assert ns.sweep(older_than=WEEK).removed == ("t.lance",)
    ns.declare_table("t")
    assert ns.describe_table("t", check_declared=True).declared_only is True


def test_a_v1_drop_that_comes_too_late(local_root: str) -> None:
    """The table it meant was dropped and the name claimed anew: it must not touch that one."""
    ns = DirectoryNamespace(local_root, manifest_enabled=False)
    ns.declare_table("t")
    put(ns, "t")
    marker = Path(local_root, "t.lance", ".lance-deregistered")
    marker.write_bytes(b"dropped by pennon 0123456789abcdef")
    assert not ns.table_exists("t")
    assert ns.sweep(older_than=WEEK).removed == ()
    assert marker.exists()
    age(ns, "t.lance")
    assert ns.sweep(older_than=WEEK, dry_run=True).removed == ()
    assert marker.exists()
    assert ns.sweep(older_than=WEEK).removed == ()
    assert count(ns, "t") == 2


def test_a_v1_declare_waits_for_a_drop_under_way(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pennon.namespaces.directory import _flat

    ns = DirectoryNamespace(local_root, manifest_enabled=False)
    marker = Path(local_root, "t.lance", ".lance-deregistered")
    monkeypatch.setattr(_flat.FlatCatalog, "_holds_anything", lambda *_: False)
    marker.parent.mkdir()
    marker.write_bytes(b"dropped by pennon 0123456789abcdef")
    monkeypatch.setattr(_flat, "_PATIENCE", 0.2)
    with pytest.raises(TableAlreadyExists, match="still being dropped"):
        ns.declare_table("t")
    assert [p.name for p in marker.parent.iterdir()] == [marker.name]
    monkeypatch.setattr(_flat, "_PATIENCE", 10.0)
    ending = threading.Timer(0.3, marker.unlink)
    ending.start()
    ns.declare_table("t")
    ending.join()
    monkeypatch.undo()
    assert ns.table_exists("t")


# -- sweeping --------------------------------------------------------------------------------------


def test_the_sweeper_takes_garbage_and_nothing_else(root: TestRoot) -> None:
    ns = connect(root)
    store = ns._store
    ns.declare_table("kept")
    put(ns, "kept")
    ns.declare_table("claimed")
    ns.declare_table("parted")
    put(ns, "parted")
    parted = leaf(ns.deregister_table("parted").location)
    garbage = ["0123456789abcdef_x", "deadbeef_a$b$t"]
    for directory in garbage:
        store.put(f"{directory}/data/f.lance", b"12345")
        store.put(f"{directory}/_versions/1.manifest", b"12345")
    foreign = [
        "_pennon/x",
        "_other/x",
        "plain/x",
        "t.lance/_versions/1.manifest",
        "deadbeef_mine/notes.txt",
        "20240101_backup/_versions/1.manifest",
        "deadbee_short/data/x",
        "DEADBEEF_upper/data/x",
        "0123456789abcdefg_x/data/x",
    ]
    for key in foreign:
        store.put(key, b"1")
    plan = ns.sweep(older_than=NOW, dry_run=True)
    assert plan.removed == tuple(sorted(garbage))
    assert plan.size == 20
    assert plan.deregistered == (parted,)
    assert plan.declared == (("claimed",),)
    assert (plan.young, plan.dropped) == ((), ())
    assert ns.sweep(older_than=timedelta(days=1)).young == tuple(sorted(garbage))
    assert {d for d in store.list_directories() if d in garbage} == set(garbage)
    done = ns.sweep(older_than=NOW)
    assert (done.removed, done.size) == (plan.removed, plan.size)
    left = set(store.list_directories())
    assert not left & set(garbage)
    assert {key.split("/")[0] for key in foreign} <= left
    assert parted in left
    assert count(ns, "kept") == 2
    assert ns.table_exists("claimed")
    ns.register_table("back", parted)
    assert count(ns, "back") == 2
    assert ns.sweep(older_than=NOW).removed == ()


def test_without_a_catalog_nothing_is_garbage(root: TestRoot) -> None:
    ns = connect(root)
    ns._store.put("0123456789abcdef_x/data/f.lance", b"1")
    assert ns.sweep(older_than=NOW).removed == ()
    assert ns._store.list_directories() == ("0123456789abcdef_x",)


def test_declared_tables_are_dropped_only_on_demand(local_root: str) -> None:
    ns = DirectoryNamespace(local_root)
    for name in ("old", "new", "written"):
        ns.declare_table(name)
    put(ns, "written")
    for name in ("old", "written"):
        age(ns, leaf(ns.describe_table(name).location))
    plan = ns.sweep(older_than=WEEK, dry_run=True, drop_declared=True)
    assert (plan.declared, plan.dropped) == ((("new",), ("old",)), (("old",),))
    assert ns.table_exists("old")
    assert ns.sweep(older_than=WEEK).dropped == ()
    assert ns.sweep(older_than=WEEK, drop_declared=True).dropped == (("old",),)
    assert list(ns.list_tables()) == [("new",), ("written",)]


def test_what_gets_a_name_during_a_sweep_is_kept(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pennon.namespaces.directory._care import Sweeper

    ns = DirectoryNamespace(local_root)
    ns.declare_table("t")
    put(ns, "t")
    place = leaf(ns.deregister_table("t").location)
    Path(local_root, place, ".lance-deregistered").unlink()
    real = Sweeper._look

    def look(self: Any, directory: str, **options: Any) -> Any:
        found = real(self, directory, **options)
        if directory == place:
            DirectoryNamespace(local_root).register_table("back", place)
        return found

    monkeypatch.setattr(Sweeper, "_look", look)
    assert ns.sweep(older_than=NOW).removed == ()
    assert count(ns, "back") == 2


@pytest.mark.parametrize("wrong", [timedelta(seconds=-1), 7, None, "1 day"])
def test_grace_periods_are_checked(local_root: str, wrong: Any) -> None:
    ns = DirectoryNamespace(local_root)
    with pytest.raises(InvalidOption, match="timedelta"):
        ns.sweep(older_than=wrong)
    with pytest.raises(InvalidOption, match="timedelta"):
        ns.vacuum(older_than=wrong)


# -- vacuum ----------------------------------------------------------------------------------------


def test_vacuum_keeps_the_catalog(root: TestRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_manifest, "GRACE_SECONDS", 1.0)
    ns, other = connect(root), connect(root)
    assert ns.vacuum().versions == 0
    for number in range(12):
        ns.declare_table(f"t{number}")
    expected = sorted((f"t{number}",) for number in range(12))
    assert list(other.list_tables()) == expected
    assert ns.vacuum().versions == 0, "versions within the grace period are kept"
    plan = ns.vacuum(older_than=NOW, dry_run=True)
    assert (plan.dry_run, plan.versions) == (True, 11)
    assert ns.vacuum(older_than=NOW, dry_run=True) == plan
    began = time.monotonic()
    done = ns.vacuum(older_than=NOW)
    assert (time.monotonic() - began >= 1.0) is (ns._store.uri.scheme != "file")
    assert (done.dry_run, done.versions, done.size) == (False, plan.versions, plan.size)
    store = ns._store
    assert len(list(store.list("__manifest/data"))) == 1
    for reader in (ns, other, connect(root)):
        assert list(reader.list_tables()) == expected
        assert reader.table_exists("t3")
    other.drop_table("t3")
    assert not ns.table_exists("t3")
    with pytest.raises(TableAlreadyExists):
        connect(root).declare_table("t4")


def test_readers_work_while_it_is_vacuumed(local_root: str) -> None:
    ns = DirectoryNamespace(local_root)
    ns.declare_table("t")
    stop = threading.Event()
    failures: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                assert DirectoryNamespace(local_root).table_exists("t")
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        ns.declare_table(f"t{number}")
        ns.vacuum(older_than=NOW)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
