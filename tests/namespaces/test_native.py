"""Lance's own directory namespace and pennon's read each other's catalogs and agree."""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import lance
import lance.namespace
import pyarrow as pa
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from lance_namespace import (
    CreateNamespaceRequest,
    CreateTableRequest,
    DeclareTableRequest,
    DeregisterTableRequest,
    DescribeNamespaceRequest,
    DescribeTableRequest,
    DropNamespaceRequest,
    DropTableRequest,
    ListNamespacesRequest,
    ListTablesRequest,
    NamespaceExistsRequest,
    RegisterTableRequest,
    TableExistsRequest,
)
from lance_namespace.errors import LanceNamespaceError

from pennon.namespaces.abc import Id, Namespace
from pennon.namespaces.directory import DirectoryNamespace
from pennon.testing.machine import NamespaceMachine, run_machine
from pennon.testing.names import ODD_NAMES
from pennon.testing.services import TestRoot
from pennon.testing.strategies import ids, properties

ROWS = pa.table({"id": [1]})
ODD = re.compile(r"[^A-Za-z0-9._$/-]")


class Table(NamedTuple):
    location: str
    properties: dict[str, str]
    declared_only: bool | None


class State(NamedTuple):
    namespaces: dict[Id, dict[str, str]]
    tables: dict[Id, Table]


def native_of(root: str, options: dict[str, str] | None = None, **more: str) -> Any:
    storage = {f"storage.{k}": v for k, v in (options or {}).items()}
    mode = more or {"dir_listing_enabled": "false"}
    return lance.namespace.DirectoryNamespace(root=root, **mode, **storage)


def plain(location: str) -> str:
    """Return a location without file scheme and escapes, of which the two write different ones."""
    return unquote(location.removeprefix("file://")) if "://" in location else location


def hidden(id: Id) -> bool:
    """Whether native listings are wrong about an id; see test_native_misreads_odd_parents."""
    return any("'" in name or not name.isascii() for name in id[:-1])


def visible(state: State) -> State:
    """Return what native listings can reach of a state."""
    namespaces = {i: x for i, x in state.namespaces.items() if not hidden(i)}
    return State(namespaces, {i: x for i, x in state.tables.items() if not hidden(i)})


def native_state(native: Any) -> State:
    state = State({}, {})
    todo: list[Id] = [()]
    while todo:
        above = todo.pop()
        if hidden((*above, "")):
            continue
        for name in native.list_namespaces(ListNamespacesRequest(id=list(above))).namespaces:
            id = (*above, name)
            found = native.describe_namespace(DescribeNamespaceRequest(id=list(id)))
            native.namespace_exists(NamespaceExistsRequest(id=list(id)))
            state.namespaces[id] = dict(found.properties or {})
            todo.append(id)
        written = native.list_tables(ListTablesRequest(id=list(above), include_declared=False))
        for name in native.list_tables(ListTablesRequest(id=list(above))).tables:
            id = (*above, name)
            native.table_exists(TableExistsRequest(id=list(id)))
            found = native.describe_table(DescribeTableRequest(id=list(id), check_declared=True))
            assert found.is_only_declared == (name not in written.tables)
            state.tables[id] = Table(
                plain(found.location), dict(found.properties or {}), found.is_only_declared
            )
    return state


def pennon_state(ns: Namespace) -> State:
    state = State({}, {})
    for id in ns.iter_namespaces(recursive=True):
        assert ns.namespace_exists(id)
        state.namespaces[id] = dict(ns.describe_namespace(id).properties)
    written = set(ns.list_tables(recursive=True, include_declared=False))
    for id in ns.list_tables(recursive=True):
        assert ns.table_exists(id)
        info = ns.describe_table(id, check_declared=True)
        assert info.declared_only == (id not in written)
        state.tables[id] = Table(plain(info.location), dict(info.properties), info.declared_only)
    return state


def assert_agree(native: State, ours: State) -> None:
    """Compare all but one thing: of a directory with odd letters that was written, the native
    answer is that it was not; see test_native_loses_sight_of_odd_directories."""
    ours = visible(ours)
    assert ours.namespaces == native.namespaces
    assert ours.tables.keys() == native.tables.keys()
    for id, table in ours.tables.items():
        known = native.tables[id]
        if known.declared_only and ODD.search(table.location):
            known = known._replace(declared_only=table.declared_only)
        assert table == known


def stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


# -- state machines --------------------------------------------------------------------------------


class ReadByNative(NamespaceMachine):
    """Whatever pennon does, a native connection that was there before sees the same."""

    native: Any = None

    def reopen(self, namespace: Namespace) -> Namespace:
        return DirectoryNamespace(namespace.root)

    def check_native(self) -> None:
        if self.native is None:
            self.native = native_of(self.subject.root)
        ours = pennon_state(self.subject)
        assert native_state(self.native) == visible(ours)

    def close(self) -> None:
        shutil.rmtree(Path(self.subject.root).parent)


def test_native_reads_every_state_pennon_makes() -> None:
    run_machine(
        lambda: DirectoryNamespace(f"{tempfile.mkdtemp()}/root"),
        settings(max_examples=8, stateful_step_count=25, deadline=None),
        machine=ReadByNative,
    )


def test_native_misreads_odd_parents(local_root: str) -> None:
    """Native pastes a parent's name into SQL as it is, and counts its bytes as letters.

    When this fails, the detour of ``hidden`` can go.
    """
    with DirectoryNamespace(local_root) as ns:
        for name in ("o'q", "€"):
            for id in ((name,), (name, "a"), (name, "a", "b")):
                ns.create_namespace(id)
            assert list(ns.list_namespaces(name)) == [(name, "a")]
    native = native_of(local_root)
    with pytest.raises(LanceNamespaceError):
        native.list_namespaces(ListNamespacesRequest(id=["o'q"]))
    assert native.list_namespaces(ListNamespacesRequest(id=["€"])).namespaces != ["a"]


class DrivenByNative(RuleBasedStateMachine):
    """Whatever native calls do, pennon connections old and new see the same."""

    def __init__(self) -> None:
        super().__init__()
        self.base = tempfile.mkdtemp()
        self.root = f"{self.base}/root"
        self.native = native_of(self.root)
        self.old = DirectoryNamespace(self.root)
        self.places: list[str] = []
        self.names: tuple[str, ...] = ("a", "b", "c")

    @initialize(odd=st.sampled_from([n for n in ODD_NAMES if len(n.encode()) < 100]))
    def choose(self, odd: str) -> None:
        self.names = ("a", "b", odd)

    def _id(self, id: Id) -> list[str]:
        return [self.names["abc".index(part)] for part in id]

    def _try(self, call: Callable[[], Any]) -> Any:
        """Native calls refuse much, and not always with an error class of their own."""
        with contextlib.suppress(LanceNamespaceError, OSError, RuntimeError):
            return call()
        return None

    @rule(id=ids(), wanted=properties())
    def create_namespace(self, id: Id, wanted: dict[str, str]) -> None:
        request = CreateNamespaceRequest(id=self._id(id), properties=wanted or None)
        self._try(lambda: self.native.create_namespace(request))

    @rule(id=ids())
    def drop_namespace(self, id: Id) -> None:
        self._try(lambda: self.native.drop_namespace(DropNamespaceRequest(id=self._id(id))))

    @rule(id=ids(depth=2), wanted=properties())
    def declare_table(self, id: Id, wanted: dict[str, str]) -> None:
        if len(id) > 1 and not self.old.namespace_exists(self._id(id)[:-1]):
            return
        request = DeclareTableRequest(id=self._id(id), properties=wanted or None)
        made = self._try(lambda: self.native.declare_table(request))
        if made is not None:
            self.places.append(plain(made.location))

    @rule(id=ids(depth=2), mode=st.sampled_from(["create", "overwrite", "exist_ok"]))
    def create_table(self, id: Id, mode: str) -> None:
        if len(id) > 1 and not self.old.namespace_exists(self._id(id)[:-1]):
            return
        request = CreateTableRequest(id=self._id(id), mode=mode)
        made = self._try(lambda: self.native.create_table(request, stream(ROWS)))
        if made is not None:
            self.places.append(plain(made.location))

    @rule(id=ids(depth=2))
    def drop_table(self, id: Id) -> None:
        self._try(lambda: self.native.drop_table(DropTableRequest(id=self._id(id))))

    @rule(id=ids(depth=2))
    def deregister_table(self, id: Id) -> None:
        self._try(lambda: self.native.deregister_table(DeregisterTableRequest(id=self._id(id))))

    @rule(id=ids(depth=1), which=st.integers(0, 99), wanted=properties())
    def register_table(self, id: Id, which: int, wanted: dict[str, str]) -> None:
        if not self.places:
            return
        place = self.places[which % len(self.places)].removeprefix(f"{self.root}/")
        request = RegisterTableRequest(id=self._id(id), location=place, properties=wanted or None)
        self._try(lambda: self.native.register_table(request))

    @rule(id=ids(depth=2), new=ids(depth=2))
    def rename_by_pennon(self, id: Id, new: Id) -> None:
        from pennon.errors import PennonError

        with contextlib.suppress(PennonError):
            self.old.rename_table(self._id(id), self._id(new))

    @rule(id=ids(depth=2))
    def drop_by_pennon(self, id: Id) -> None:
        self.old.drop_table(self._id(id), missing_ok=True)

    @invariant()
    def agree(self) -> None:
        expected = native_state(self.native)
        assert_agree(expected, pennon_state(self.old))
        assert_agree(expected, pennon_state(DirectoryNamespace(self.root)))

    def teardown(self) -> None:
        shutil.rmtree(self.base)


def test_pennon_reads_every_state_native_makes() -> None:
    run_state_machine_as_test(
        DrivenByNative, settings=settings(max_examples=8, stateful_step_count=25, deadline=None)
    )


# -- cases -----------------------------------------------------------------------------------------


def fill(ns: Namespace) -> None:
    ns.create_namespace("team", properties={"owner": "é"})
    ns.create_namespace(("team", "sub"))
    for id in (("docs",), ("team", "pages"), ("team", "sub", "日本"), ("team", "%41")):
        info = ns.declare_table(id, properties={"k": "v"})
        if id != ("docs",):
            options: Any = dict(info.storage_options or {})
            lance.write_dataset(ROWS, info.location, storage_options=options or None)


def test_native_reads_a_bucket(s3_root: TestRoot) -> None:
    ns = DirectoryNamespace(s3_root.uri, storage_options=s3_root.options)
    fill(ns)
    native = native_of(s3_root.uri, s3_root.options)
    assert native_state(native) == pennon_state(ns)
    native.declare_table(DeclareTableRequest(id=["team", "native"]))
    native.drop_table(DropTableRequest(id=["team", "pages"]))
    native.drop_table(DropTableRequest(id=["docs"]))
    assert native_state(native) == pennon_state(ns)
    assert set(ns.list_tables("team")) == {("team", "%41"), ("team", "native")}
    ns.rename_table(("team", "native"), "native")
    ns.drop_namespace("team", behavior="cascade")
    assert native_state(native) == pennon_state(ns)
    assert list(ns.list_tables(recursive=True)) == [("native",)]


def test_native_loses_sight_of_odd_directories(local_root: str) -> None:
    """The native namespace names directories after tables and then looks for escaped ones."""
    native = native_of(local_root)
    for name in ("plain", "caf\u00e9", "%41"):
        native.create_table(CreateTableRequest(id=[name]), stream(ROWS))
    listed = native.list_tables(ListTablesRequest(id=[], include_declared=False))
    assert listed.tables == ["plain"]
    ns = DirectoryNamespace(local_root)
    assert len(ns.list_tables(include_declared=False)) == 3
    for id in ns.list_tables():
        assert lance.dataset(ns.describe_table(id).location).count_rows() == 1


def test_native_drops_what_pennon_declared(local_root: str) -> None:
    """On a local disk the native drop needs the directory to be there."""
    ns = DirectoryNamespace(local_root)
    place = ns.declare_table("t").location
    native_of(local_root).drop_table(DropTableRequest(id=["t"]))
    assert not ns.table_exists("t")
    assert not Path(place).exists()


def test_native_writes_into_what_pennon_declared(local_root: str) -> None:
    ns = DirectoryNamespace(local_root)
    place = ns.declare_table("t").location
    native = native_of(local_root)
    native.create_table(CreateTableRequest(id=["t"]), stream(ROWS))
    assert lance.dataset(place).count_rows() == 1
    assert ns.describe_table("t", check_declared=True).declared_only is False


def test_the_default_native_mode_sees_tables_in_namespaces_only(local_root: str) -> None:
    """Why the docs say dir_listing_enabled=false; if this changes, so can they."""
    ns = DirectoryNamespace(local_root)
    fill(ns)
    native = native_of(local_root, manifest_enabled="true")
    assert native.list_tables(ListTablesRequest(id=["team"])).tables == ["%41", "pages"]
    assert native.list_tables(ListTablesRequest(id=[])).tables == []


def test_v1_both_ways(local_root: str) -> None:
    names = ["a", "sp ace", "o'q", "a+b", "x.y", "dot."]
    ns = DirectoryNamespace(local_root, manifest_enabled=False)
    native = native_of(local_root, manifest_enabled="false")
    for name in names[::2]:
        ns.declare_table(name)
    for name in names[1::2]:
        native.declare_table(DeclareTableRequest(id=[name]))
    native.create_table(CreateTableRequest(id=["rows"]), stream(ROWS))
    lance.write_dataset(ROWS, ns.describe_table("a").location)
    listed = native.list_tables(ListTablesRequest(id=[])).tables
    assert sorted(listed) == sorted([*names, "rows"])
    assert list(ns.list_tables()) == sorted((n,) for n in listed)
    for name in listed:
        request = DescribeTableRequest(id=[name], check_declared=True)
        theirs = native.describe_table(request)
        ours = ns.describe_table(name, check_declared=True)
        assert ours.location == plain(theirs.location)
        assert ours.declared_only == theirs.is_only_declared == (name not in {"a", "rows"})
    ns.drop_table("rows")
    native.drop_table(DropTableRequest(id=["a"]))
    assert sorted(native.list_tables(ListTablesRequest(id=[])).tables) == sorted(names[1:])
    assert list(ns.list_tables()) == sorted((n,) for n in names[1:])
    native.deregister_table(DeregisterTableRequest(id=["o'q"]))
    assert not ns.table_exists("o'q")
    assert ("o'q",) not in ns.list_tables()


def test_native_reads_a_migrated_directory(local_root: str) -> None:
    v1 = native_of(local_root, manifest_enabled="false")
    for name in ("a", "b"):
        v1.create_table(CreateTableRequest(id=[name]), stream(ROWS))
    ns = DirectoryNamespace(local_root)
    ns.migrate()
    native = native_of(local_root)
    assert native_state(native) == pennon_state(ns)
    assert set(native_state(native).tables) == {("a",), ("b",)}


def test_native_after_a_vacuum(local_root: str) -> None:
    """A native connection that has read since the last change goes on; a new one always works."""
    from datetime import timedelta

    ns = DirectoryNamespace(local_root)
    native = native_of(local_root)
    for number in range(5):
        ns.declare_table(f"t{number}")
        native.table_exists(TableExistsRequest(id=[f"t{number}"]))
    assert ns.vacuum(older_than=timedelta(0)).versions == 4
    assert native_state(native) == pennon_state(ns)
    ns.declare_table("after")
    native.declare_table(DeclareTableRequest(id=["theirs"]))
    assert native_state(native) == native_state(native_of(local_root)) == pennon_state(ns)


def test_lancedb_sees_the_tables(local_root: str) -> None:
    lancedb = pytest.importorskip("lancedb")
    ns = DirectoryNamespace(local_root)
    fill(ns)
    db = lancedb.connect_namespace("dir", {"root": local_root, "dir_listing_enabled": "false"})
    assert db.list_tables(namespace_path=[]).tables == ["docs"]
    assert db.list_tables(namespace_path=["team"]).tables == ["%41", "pages"]
    table = db.open_table("日本", namespace_path=["team", "sub"])
    assert table.count_rows() == 1
    db.create_table("fresh", data=ROWS, namespace_path=["team"])
    assert lance.dataset(ns.describe_table(("team", "fresh")).location).count_rows() == 1
