"""The catalog table: what is kept, what is refused, which layout it is, lost answers."""

from __future__ import annotations

import json
import os
import pickle
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from catalog_rows import Row, append, manifest, names_in, rows
from lance import LanceDataset, LanceOperation

import pennon.namespaces.directory._lance as lance_calls
from pennon.errors import (
    CommitConflict,
    Corrupt,
    InvalidOption,
    InvalidState,
    InvalidURI,
    NamespaceNotFound,
    PennonError,
    PermissionDenied,
    RootNotFound,
    StorageError,
    TableAlreadyExists,
    TableNotFound,
    Unavailable,
    UnsafeStore,
    Unsupported,
)
from pennon.namespaces.connect import connect
from pennon.namespaces.directory import DirectoryNamespace
from pennon.namespaces.session import Session
from pennon.testing.services import TestRoot


@pytest.fixture
def root(local_root: str) -> str:
    return local_root


@pytest.fixture
def ns(root: str) -> DirectoryNamespace:
    return DirectoryNamespace(root)


# -- format ----------------------------------------------------------------------------------------


def test_the_table_is_what_lance_expects(ns: DirectoryNamespace, root: str) -> None:
    ns.create_namespace("a", properties={"k": "é\n\"'"})
    info = ns.declare_table(("a", "t"))
    found = manifest(root)
    assert found.schema.names == [
        "object_id",
        "object_type",
        "location",
        "metadata",
        "base_objects",
    ]
    key = found.schema.field("object_id")
    assert not key.nullable
    assert key.metadata == {b"lance-schema:unenforced-primary-key:position": b"0"}
    assert found.data_storage_version == "2.2"
    assert len(found.get_fragments()) == 1
    assert rows(root) == {
        "a": {
            "object_id": "a",
            "object_type": "namespace",
            "location": None,
            "metadata": json.dumps({"k": "é\n\"'"}, ensure_ascii=False),
            "base_objects": None,
        },
        "a$t": {
            "object_id": "a$t",
            "object_type": "table",
            "location": os.path.relpath(info.location, root),
            "metadata": None,
            "base_objects": None,
        },
    }
    assert names_in(info.location) == {".lance-reserved"}


def test_each_change_is_one_version_and_one_file(ns: DirectoryNamespace, root: str) -> None:
    for number in range(4):
        ns.declare_table(f"t{number}")
        assert manifest(root).version == number + 1
    with pytest.raises(TableAlreadyExists):
        ns.declare_table("t0")
    ns.create_namespace("n")
    ns.create_namespace("n", mode="exist_ok")
    ns.update_namespace("n", set={})
    ns.drop_table("no", missing_ok=True)
    assert manifest(root).version == 5
    assert len(names_in(root, "__manifest", "data")) == 5


def test_nothing_is_written_by_looking(ns: DirectoryNamespace, tmp_path: Path) -> None:
    nowhere = DirectoryNamespace(tmp_path / "no" / "where")
    for namespace in (ns, nowhere):
        assert list(namespace.list_tables()) == []
        assert namespace.table_exists("t") is False
        assert namespace.capabilities
        for attempt in (
            lambda n: n.drop_table("t"),
            lambda n: n.declare_table(("a", "t")),
            lambda n: n.rename_table("t", "u"),
            lambda n: n.register_table("t", "x"),
            lambda n: n.drop_namespace("a"),
        ):
            with pytest.raises((TableNotFound, NamespaceNotFound), match="no catalog yet"):
                attempt(namespace)
    assert names_in(ns.root) == set()
    assert not (tmp_path / "no").exists()


# -- what others keep in the table -----------------------------------------------------------------


def test_unknown_columns_and_metadata_are_kept(ns: DirectoryNamespace, root: str) -> None:
    ns.create_namespace("n")
    ns.declare_table("t")
    ns.declare_table("u")
    table = manifest(root)
    table.add_columns(pa.field("extra", pa.int32(), metadata={"why": "newer"}))
    table = manifest(root)
    schema = table.schema
    changed = [
        {**row, "extra": number, "base_objects": [f"b{number}"]}
        for number, row in enumerate(table.to_table().to_pylist())
    ]
    before = {row["object_id"]: row for row in changed}
    fragments = lance.fragment.write_fragments(
        pa.Table.from_pylist(changed, schema=schema), table, mode="overwrite"
    )
    LanceDataset.commit(table, LanceOperation.Overwrite(schema, fragments), read_version=3 + 1)
    manifest(root).update_metadata({"theirs": "kept"})
    ns.declare_table("new")
    ns.update_namespace("n", set={"k": "v"})
    ns.rename_table("t", ("n", "moved"))
    after = manifest(root)
    assert after.metadata["theirs"] == "kept"
    assert after.schema.equals(schema, check_metadata=True)
    found = rows(root)
    assert found["u"] == before["u"]
    assert found["new"]["extra"] is None
    assert found["n"] == {**before["n"], "metadata": '{"k": "v"}'}
    assert found["n$moved"] == {**before["t"], "object_id": "n$moved"}


@pytest.mark.parametrize("side", ["reader", "writer"])
def test_unknown_features_are_refused(ns: DirectoryNamespace, root: str, side: str) -> None:
    ns.declare_table("t")
    manifest(root).update_metadata({f"lance.namespace.manifest.{side}_feature_flags": "4"})
    with pytest.raises(Unsupported, match=f"{side}_feature_flags=4.*upgrade pennon"):
        ns.declare_table("u")
    if side == "reader":
        with pytest.raises(Unsupported, match="upgrade pennon to read"):
            ns.list_tables()
    else:
        assert list(ns.list_tables()) == [("t",)]
    manifest(root).update_metadata({f"lance.namespace.manifest.{side}_feature_flags": "0"})
    ns.declare_table("u")


def test_rows_of_an_unknown_kind_are_left_alone(ns: DirectoryNamespace, root: str) -> None:
    ns.create_namespace("n")
    append(root, {"object_id": "n$v", "object_type": "view", "location": "x"})
    assert list(ns.list_tables(recursive=True)) == []
    assert not ns.table_exists(("n", "v"))
    for attempt in (
        lambda: ns.declare_table(("n", "v")),
        lambda: ns.create_namespace(("n", "v")),
        lambda: ns.drop_namespace("n", behavior="cascade"),
    ):
        with pytest.raises(InvalidState, match="neither a namespace nor a table"):
            attempt()
    ns.declare_table("t")
    assert rows(root)["n$v"]["object_type"] == "view"


def test_an_unusable_table_of_names(root: str) -> None:
    lance.write_dataset(pa.table({"a": [1]}), f"{root}/__manifest")
    with pytest.raises(Corrupt, match="no column 'object_id'"):
        DirectoryNamespace(root).list_tables()


# -- layouts ---------------------------------------------------------------------------------------


def test_a_fresh_root_becomes_v2(root: str) -> None:
    ns = DirectoryNamespace(root)
    assert "nested" in ns.capabilities
    ns.declare_table("t")
    assert Path(root, "__manifest").is_dir()


def test_the_layout_is_found_out(root: str) -> None:
    flat = DirectoryNamespace(root, manifest_enabled=False)
    flat.declare_table("t")
    found = DirectoryNamespace(root)
    assert found.capabilities == frozenset()
    assert list(found.list_tables()) == [("t",)]
    assert found.describe_table("t").location == f"{root}/t.lance"
    found.declare_table("u")
    assert names_in(root) == {"_pennon", "t.lance", "u.lance"}
    with pytest.raises(Unsupported, match=r"migrate\(\)"):
        found.create_namespace("n")
    assert DirectoryNamespace(root, manifest_enabled=True).list_tables().items == ()


def test_v2_is_seen_over_v1_directories(root: str) -> None:
    early = DirectoryNamespace(root)
    assert list(early.list_tables()) == []
    DirectoryNamespace(root, manifest_enabled=False).declare_table("old")
    DirectoryNamespace(root, manifest_enabled=True).declare_table("new")
    assert list(DirectoryNamespace(root).list_tables()) == [("new",)]
    assert list(early.list_tables()) == [("new",)]


def test_v1_connections_change_nothing_beside_a_catalog_table(root: str) -> None:
    flat = DirectoryNamespace(root, manifest_enabled=False)
    flat.declare_table("t")
    DirectoryNamespace(root).migrate()
    assert list(flat.list_tables()) == [("t",)]
    with pytest.raises(InvalidState, match="manifest_enabled=false"):
        flat.declare_table("u")
    with pytest.raises(InvalidState, match="manifest_enabled=false"):
        flat.drop_table("t")


# -- properties ------------------------------------------------------------------------------------


def test_properties_are_checked(root: str) -> None:
    def refused(properties: Row, match: str, error: type[Exception] = InvalidOption) -> None:
        with pytest.raises(error, match=match):
            connect("dir", properties).connect()

    refused({}, "needs the property 'root'")
    refused({"root": root, "manifest_enable": "true"}, "did you mean 'manifest_enabled'")
    refused({"root": root, "manifest_enabled": "bogus"}, "not a boolean")
    refused({"root": root, "allow_unsafe": "perhaps"}, "not a boolean")
    refused({"root": root, "storage.region": "x"}, "takes no storage options")
    refused({"root": "s3://b/x", "storage.regoin": "x"}, "did you mean")
    refused({"root": f"file://{root}?ns=a"}, r"\?ns=")
    refused({"root": "memory://x"}, "kind 'memory'", InvalidURI)
    refused({"root": "http://host"}, "kind 'rest'", InvalidURI)
    refused({"root": 7}, "int", InvalidURI)
    with pytest.raises(InvalidOption, match="context"):
        connect("dir", {"root": root}).with_context(lambda *_: {}).connect()


@pytest.mark.parametrize(
    ("given", "flat"), [("false", True), ("OFF", True), ("true", False), ("1", False)]
)
def test_manifest_enabled(root: str, given: str, flat: bool) -> None:
    with connect("dir", {"root": root, "manifest_enabled": given}) as ns:
        assert (ns.capabilities == frozenset()) is flat


def test_roots_of_all_spellings(root: str) -> None:
    from fsspec.implementations.dirfs import DirFileSystem
    from fsspec.implementations.local import LocalFileSystem

    DirectoryNamespace(root).declare_table("t")
    filesystem = DirFileSystem(root, LocalFileSystem())
    for spelling in (root, Path(root), f"file://{root}", f"{root}/", filesystem):
        ns = DirectoryNamespace(spelling)
        assert ns.root == root
        assert ns.table_exists("t")


def test_a_relative_root_does_not_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ns = DirectoryNamespace("lake")
    ns.declare_table("t")
    monkeypatch.chdir("/")
    assert ns.table_exists("t")
    assert (tmp_path / "lake" / "__manifest").is_dir()


def test_a_bucket_from_fsspec(s3_root: TestRoot) -> None:
    s3fs = pytest.importorskip("s3fs")
    from fsspec.implementations.dirfs import DirFileSystem

    inner = s3fs.S3FileSystem(
        key=s3_root.options["access_key_id"],
        secret=s3_root.options["secret_access_key"],
        endpoint_url=s3_root.endpoint,
    )
    ns = DirectoryNamespace(DirFileSystem(s3_root.uri.removeprefix("s3://"), inner))
    ns.declare_table("t")
    other = DirectoryNamespace(s3_root.uri, storage_options=s3_root.options)
    assert other.table_exists("t")


def test_an_unsafe_store_is_refused(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from pennon.objects import certification

    monkeypatch.setattr(certification._Probe, "race", lambda self: iter(["two of 3 won"]))
    ns = DirectoryNamespace(root)
    for attempt in (
        lambda: ns.declare_table("t"),
        lambda: DirectoryNamespace(root, manifest_enabled=False).declare_table("t"),
    ):
        with pytest.raises(UnsafeStore, match="two of 3 won"):
            attempt()
    assert not [d for d in names_in(root) if d != "_pennon"]
    assert list(ns.list_tables()) == []
    allowed = DirectoryNamespace(root, allow_unsafe=True)
    allowed.declare_table("t")
    assert list(ns.list_tables()) == [("t",)]


def test_a_pickle_connects_again(root: str) -> None:
    ns = DirectoryNamespace(root, manifest_enabled=False)
    copy = pickle.loads(pickle.dumps(ns))
    ns.declare_table("t")
    assert copy.capabilities == frozenset()
    assert copy.table_exists("t")
    assert copy.session is not ns.session


def test_credentials_are_not_pickled(s3_root: TestRoot) -> None:
    ns = DirectoryNamespace(s3_root.uri, storage_options=s3_root.options)
    with pytest.raises(Unsupported, match="credentials") as caught:
        pickle.dumps(ns)
    assert s3_root.options["secret_access_key"] not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_child_is_told_that_lance_is_gone(ns: DirectoryNamespace) -> None:
    ns.declare_table("t")
    read, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ns.table_exists("t")
            os.write(send, b"no error")
        except Unsupported as error:
            os.write(send, str(error).encode())
        except BaseException as error:
            os.write(send, repr(error).encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    assert "'spawn'" in answer
    ns.declare_table("u")
    assert list(ns.list_tables()) == [("t",), ("u",)]


# -- rivals and lost answers -----------------------------------------------------------------------


def test_another_writer_between_read_and_commit(
    ns: DirectoryNamespace, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ns.declare_table("first")
    other = DirectoryNamespace(root, session=Session())
    real = lance_calls.LanceTable.write
    rivals = iter(("rival-1", "t"))

    def write(self: Any, handle: Any, table: Any) -> Any:
        monkeypatch.setattr(lance_calls.LanceTable, "write", real)
        name = next(rivals, None)
        if name is not None:
            done = threading.Thread(target=lambda: _declare_beside(other, name))
            done.start()
            done.join()
            monkeypatch.setattr(lance_calls.LanceTable, "write", write)
        return real(self, handle, table)

    monkeypatch.setattr(lance_calls.LanceTable, "write", write)
    with pytest.raises(TableAlreadyExists):
        ns.declare_table("t")
    assert list(ns.list_tables()) == [("first",), ("rival-1",), ("t",)]
    used = {f.metadata.files[0].path for f in manifest(root).get_fragments()}
    files = names_in(root, "__manifest", "data")
    assert used < files
    assert len(files) == manifest(root).version, "a loser left its file"
    directories = {d for d in names_in(root) if not d.startswith("_")}
    assert len(directories) == 3, "a loser left its directory"


def _declare_beside(other: DirectoryNamespace, name: str) -> None:
    """Declare as another process would: without the lock that threads of this one share."""
    import pennon.namespaces.directory._manifest as module

    kept = dict(module._locks)
    module._locks.clear()
    try:
        other.declare_table(name)
    finally:
        module._locks.clear()
        module._locks.update(kept)


def test_rivals_without_end_are_a_conflict(
    ns: DirectoryNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pennon.namespaces.directory._manifest as module

    ns.declare_table("first")
    monkeypatch.setattr(module, "_SECONDS", 0.5)

    def commit(self: Any, *args: Any) -> Any:
        raise OSError("Commit conflict for version 2: Failed to commit the transaction")

    monkeypatch.setattr(lance_calls.LanceTable, "commit", commit)
    with pytest.raises(CommitConflict, match="until the deadline"):
        ns.declare_table("t")
    monkeypatch.undo()
    assert list(ns.list_tables()) == [("first",)]


# -- wrong paths -----------------------------------------------------------------------------------


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        ns = DirectoryNamespace(path)
        with pytest.raises(PennonError, match=r"is no directory|a file stands") as caught:
            ns.declare_table("t")
        assert str(tmp_path / "file") in str(caught.value)
    with pytest.raises(PennonError, match="file"):
        DirectoryNamespace(tmp_path / "file").list_tables()


def test_a_root_that_cannot_be_made() -> None:
    ns = DirectoryNamespace("/proc/nowhere/lake")
    assert list(ns.list_tables()) == []
    with pytest.raises(PennonError) as caught:
        ns.declare_table("t")
    assert "/proc/nowhere/lake" in str(caught.value)
    assert ".rs" not in str(caught.value)


def test_a_root_that_is_not_there_yet(tmp_path: Path) -> None:
    with pytest.raises(TableNotFound, match=f"{tmp_path}/lake holds no catalog yet"):
        DirectoryNamespace(tmp_path / "lake").describe_table("t")


# -- what Lance says -------------------------------------------------------------------------------


def test_a_damaged_catalog(ns: DirectoryNamespace, root: str) -> None:
    ns.declare_table("t")
    data = next(Path(root, "__manifest", "data").iterdir())
    whole = data.read_bytes()
    for damage in (b"", whole[:40], whole[:-8] + b"garbage!"):
        data.write_bytes(damage)
        fresh = DirectoryNamespace(root)
        for call in (lambda n: n.list_tables(), lambda n: n.declare_table("u")):
            with pytest.raises(Corrupt, match="cannot be read") as caught:
                call(fresh)
            assert ".rs" not in str(caught.value)
    data.unlink()
    with pytest.raises(Corrupt, match="restore the missing object"):
        DirectoryNamespace(root).list_tables()
    data.write_bytes(whole)
    assert list(DirectoryNamespace(root).list_tables()) == [("t",)]
    version = next(Path(root, "__manifest", "_versions").glob("*.manifest"))
    version.write_bytes(b"")
    with pytest.raises(Corrupt, match="cannot be read"):
        DirectoryNamespace(root).list_tables()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("LanceError(IO): Generic S3 error: HTTP error: error sending request", Unavailable),
        ("Commit result for version 2 is unknown: the commit may or may not", Unavailable),
        ("Error performing GET - Server returned non-2xx status code: 503 Service", Unavailable),
        ("Server returned non-2xx status code: 403 Forbidden: <Code>X</Code>", PermissionDenied),
        ("Server returned non-2xx status code: 404 <Code>NoSuchBucket</Code>", RootNotFound),
        ("LanceError(IO): something new, /build/rust/x.rs:1:2", StorageError),
    ],
)
def test_what_lance_says_is_translated(s3_root: TestRoot, said: str, error: type) -> None:
    ns = DirectoryNamespace(s3_root.uri, storage_options=s3_root.options)
    text = f"{said} {s3_root.options['secret_access_key']}"
    found = lance_calls.translate(OSError(text), ns._store, ns._options)
    assert type(found) is error
    assert s3_root.options["secret_access_key"] not in str(found)
    assert ".rs" not in str(found)


@pytest.mark.parametrize("vacuum", [False, True])
def test_what_this_process_wrote_is_not_read_again_until_another_one_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, vacuum: bool
) -> None:
    mine, other = DirectoryNamespace(tmp_path / "lake"), DirectoryNamespace(tmp_path / "lake")
    mine.declare_table("a")
    mine.declare_table("t")
    with monkeypatch.context() as patch:
        patch.delattr(lance_calls.LanceTable, "open")
        mine.describe_table("t")
    other.drop_table("t")
    if vacuum:
        other.declare_table("b")
        other.vacuum(older_than=timedelta(0))
    with pytest.raises(TableNotFound):
        mine.describe_table("t")
