"""Each error Lance gives to the methods there are, provoked for real, becomes the right one."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from lance import LanceDataset, LanceOperation, Transaction
from lance.fragment import write_fragments

import pennon
from pennon import ScanRequest
from pennon.errors import (
    BranchAlreadyExists,
    BranchNotFound,
    CommitConflict,
    Corrupt,
    EngineFailed,
    InvalidFilter,
    InvalidName,
    InvalidOption,
    InvalidState,
    PennonError,
    PermissionDenied,
    RootNotFound,
    SchemaMismatch,
    StorageError,
    TableAlreadyExists,
    TableNotFound,
    TagAlreadyExists,
    TagNotFound,
    Throttled,
    Unauthenticated,
    Unavailable,
    VersionNotFound,
)
from pennon.storage._lance.errors import is_lance_error, meaning, translate, translated
from pennon.storage.abc import StorageBackend
from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot

ROWS = pa.table({"id": [1, 2], "s": ["a", None]})


@pytest.fixture
def path(tmp_path: Path) -> str:
    where = tmp_path / "with a space" / "t.lance"
    where.parent.mkdir()
    lance.write_dataset(ROWS, str(where), mode="create")
    return str(where)


def provoked(call: Callable[[], Any]) -> BaseException:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - any type: the text decides
        call()
    assert is_lance_error(caught.value), repr(caught.value)
    return caught.value


def check(error: BaseException, what: str, becomes: type[PennonError]) -> PennonError:
    assert meaning(error) == what, str(error)
    ours = translate(error, "team.docs")
    assert type(ours) is becomes
    assert "team.docs" in str(ours)
    assert ".rs:" not in str(ours)
    return ours


def test_a_table_that_is_absent(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty", "né e"):
        error = provoked(lambda n=name: lance.dataset(str(tmp_path / n)))
        check(error, "absent", TableNotFound)


def test_a_version_that_is_absent(path: str) -> None:
    check(provoked(lambda: lance.dataset(path, version=99)), "no_version", VersionNotFound)
    handle = lance.dataset(path)
    check(provoked(lambda: handle.read_transaction(99)), "no_version", VersionNotFound)


def strict_create(path: str, transaction_id: str) -> LanceDataset:
    fragments = write_fragments(ROWS, path, mode="overwrite")
    transaction = Transaction(0, LanceOperation.Overwrite(ROWS.schema, fragments), transaction_id)
    return LanceDataset.commit(path, transaction, max_retries=0)


def test_a_create_that_lost(path: str) -> None:
    check(provoked(lambda: strict_create(path, "x")), "exists", TableAlreadyExists)
    error = provoked(lambda: lance.write_dataset(ROWS, path, mode="create"))
    check(error, "exists", TableAlreadyExists)


def test_a_commit_that_conflicts(path: str) -> None:
    stale = lance.dataset(path)
    fragments = write_fragments(ROWS, stale, mode="append")
    lance.write_dataset(ROWS, path, mode="overwrite")
    append = Transaction(1, LanceOperation.Append(fragments))
    error = provoked(lambda: LanceDataset.commit(stale, append))
    check(error, "incompatible", CommitConflict)
    overwrite = Transaction(1, LanceOperation.Overwrite(ROWS.schema, fragments))
    error = provoked(lambda: LanceDataset.commit(path, overwrite, max_retries=0))
    assert check(error, "conflict", CommitConflict).retryable


def test_rows_that_do_not_fit(path: str) -> None:
    handle = lance.dataset(path)
    for rows in (pa.table({"id": ["x"]}), pa.table({"id": [1], "z": [1]})):
        error = provoked(lambda r=rows: write_fragments(r, handle, mode="append"))
        check(error, "schema", SchemaMismatch)


def test_null_where_none_is_allowed(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("id", pa.int64(), nullable=False)])
    table = pa.table({"id": pa.array([None], pa.int64())}).cast(
        pa.schema([pa.field("id", pa.int64())])
    )
    where = str(tmp_path / "n")
    lance.write_dataset(schema.empty_table(), where)
    error = provoked(lambda: lance.write_dataset(table, where, mode="append"))
    check(error, "null", SchemaMismatch)


@pytest.mark.parametrize(
    "text",
    [
        "id >",
        "zz = 1",
        "zz IS NULL",
        "id",
        "id = 'x'",
        "nofunc(id) = 1",
        "CAST(s AS INT) = 1",
        "id = 'x",
    ],
)
def test_filters(path: str, text: str) -> None:
    handle = lance.dataset(path)
    error = provoked(lambda: handle.scanner(filter=text).to_reader().read_all())
    check(error, "filter", InvalidFilter)
    check(provoked(lambda: handle.count_rows(text)), "filter", InvalidFilter)


def test_a_column_named_twice(path: str) -> None:
    handle = lance.dataset(path)
    error = provoked(lambda: handle.scanner(columns=["id", "id"]).to_reader())
    check(error, "twice", InvalidOption)


def test_a_data_file_that_is_gone_or_damaged(path: str) -> None:
    handle = lance.dataset(path)
    (file,) = (Path(path) / "data").iterdir()
    file.write_bytes(file.read_bytes()[:20])
    check(provoked(handle.to_table), "corrupt", Corrupt)
    file.unlink()
    check(provoked(lambda: lance.dataset(path).to_table()), "data_gone", Corrupt)


def test_a_manifest_that_is_damaged(path: str) -> None:
    (manifest,) = (Path(path) / "_versions").glob("*.manifest")
    for content in (b"", b"nonsense"):
        manifest.write_bytes(content)
        check(provoked(lambda: lance.dataset(path)), "corrupt", Corrupt)


def test_a_bucket_that_does_not_exist(s3_root: TestRoot) -> None:
    uri = "s3://pennon-no-such-bucket/t.lance"
    error = provoked(lambda: lance.dataset(uri, storage_options=s3_root.options))
    check(error, "no_bucket", RootNotFound)
    error = provoked(
        lambda: lance.write_dataset(ROWS, uri, storage_options=s3_root.options, mode="create")
    )
    check(error, "no_bucket", RootNotFound)


def test_credentials_that_are_wrong(s3_root: TestRoot) -> None:
    uri = f"{s3_root.uri}/t.lance"
    for name in ("access_key_id", "secret_access_key"):
        (key,) = [k for k in s3_root.options if k.endswith(name)]
        wrong = {**s3_root.options, key: "wrongwrongwrong"}
        error = provoked(lambda o=wrong: lance.dataset(uri, storage_options=o))
        assert "wrongwrongwrong" not in str(check(error, "unauthenticated", Unauthenticated))


@pytest.mark.parametrize(
    ("status", "what", "becomes"),
    [
        (403, "denied", PermissionDenied),
        (401, "unauthenticated", Unauthenticated),
        (500, "unreachable", Unavailable),
        (0, "unreachable", Unavailable),
    ],
)
def test_a_store_that_refuses(
    s3_root: TestRoot,
    recording_proxy: Callable[[str], RecordingProxy],
    status: int,
    what: str,
    becomes: type[PennonError],
) -> None:
    proxy = recording_proxy(s3_root.endpoint)
    options = {**s3_root.via(proxy.endpoint).options, "client_max_retries": "0"}
    proxy.refuse(status, times=None)
    error = provoked(lambda: lance.dataset(f"{s3_root.uri}/t.lance", storage_options=options))
    check(error, what, becomes)
    proxy.heal()


def test_an_endpoint_where_nobody_is(s3_root: TestRoot) -> None:
    options = {**s3_root.via("http://127.0.0.1:9").options, "client_max_retries": "0"}
    error = provoked(lambda: lance.dataset(f"{s3_root.uri}/t.lance", storage_options=options))
    check(error, "unreachable", Unavailable)


def test_a_directory_that_cannot_be_written(path: str) -> None:
    # A file where a directory should be: it refuses root too.
    shutil.rmtree(Path(path) / "data")
    (Path(path) / "data").write_text("in the way")
    error = provoked(lambda: write_fragments(ROWS, lance.dataset(path), mode="append"))
    check(error, "other", StorageError)


def test_texts_that_cannot_be_provoked_here() -> None:
    """Text of Lance's own source and of stores that are not at hand."""
    for text, what, becomes in (
        ("Commit result for version 3 is unknown: timed out", "unknown_fate", Unavailable),
        ("Generic S3 error: ... <Code>SlowDown</Code>", "throttled", Throttled),
        ("IO error: Permission denied (os error 13)", "denied", PermissionDenied),
        ("Too many concurrent writers. Attempted 20 retries.", "conflict", CommitConflict),
        ("Not found: lake/t.lance/_refs/tags/a.json", "ref_gone", CommitConflict),
    ):
        check(OSError(text), what, becomes)


def test_a_panic_is_an_error_and_other_things_pass() -> None:
    panic = type("PanicException", (BaseException,), {})
    with pytest.raises(EngineFailed, match="docs") as failed, translated("docs"):
        raise panic("Retryable commit conflict")
    assert not failed.value.retryable
    for passing in (KeyboardInterrupt(), KeyError("x"), TableNotFound("gone")):
        with pytest.raises(type(passing)) as caught, translated("docs"):
            raise passing
        assert caught.value is passing


TOO_MUCH = "array_repeat(id, 9223372036854775807)[1]"
"""What Lance panics on: it takes the room for so many numbers at once."""
PANICS: dict[str, Callable[[StorageBackend], object]] = {
    "count": lambda db: db.count_rows("t", f"{TOO_MUCH} = 1"),
    "scan": lambda db: db.scan(ScanRequest("t", filter=f"{TOO_MUCH} = 1")).read_all(),
    "delete": lambda db: db.delete_rows("t", f"{TOO_MUCH} = 1", write_id="w"),
    "update": lambda db: db.update("t", {"id": TOO_MUCH}, write_id="w"),
    "add columns": lambda db: db.add_columns("t", {"n": TOO_MUCH}, write_id="w"),
    "merge": lambda db: db.merge_insert(
        "t",
        [{"id": 99}],
        on="id",
        when_not_matched_by_source="delete",
        not_matched_by_source_if=f"{TOO_MUCH} = 1",
        write_id="w",
    ),
}


@pytest.mark.parametrize("name", PANICS)
def test_a_real_panic_is_an_error_of_its_own_kind(local_root: str, name: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 1}, {"id": 2}])
    with pytest.raises(EngineFailed, match="Lance broke off on t") as failed:
        PANICS[name](db)
    assert not failed.value.retryable
    assert db.get_table_version("t") == 1
    table = Path(db.namespace.describe_table("t").location)
    assert len(list((table / "data").iterdir())) == 1
    assert db.delete_rows("t", "id = 1", write_id="w").rows_deleted == 1


def test_a_file_that_is_gone_is_typed_inside_the_stream(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", ROWS)
    for file in Path(db.namespace.describe_table("t").location, "data").iterdir():
        file.unlink()
    stream = db.scan("t")
    with pytest.raises(Corrupt, match="of t is gone"):
        stream.read_all()


def test_branches_and_tags(path: str) -> None:
    handle = lance.dataset(path)
    handle.create_branch("b")
    for version in (None, 1):
        error = provoked(lambda v=version: handle.create_branch("b", v))
        check(error, "branch_exists", BranchAlreadyExists)
    error = provoked(lambda: handle.branches.delete("nope"))
    check(error, "no_branch", BranchNotFound)
    check(provoked(lambda: handle.create_branch("a b")), "bad_ref", InvalidName)
    handle.tags.create("t", ("b", 1))
    check(provoked(lambda: handle.branches.delete("b")), "in_use", InvalidState)
    handle.create_branch("c", ("b", 1))
    handle.tags.delete("t")
    check(provoked(lambda: handle.branches.delete("b")), "in_use", InvalidState)
    handle.tags.create("t", 1)
    check(provoked(lambda: handle.tags.create("t", 1)), "tag_exists", TagAlreadyExists)
    check(provoked(lambda: handle.tags.create("u", 99)), "no_version", VersionNotFound)
    check(provoked(lambda: handle.tags.update("t", 99)), "no_version", VersionNotFound)
    for call in (
        lambda: handle.tags.update("nope", 1),
        lambda: handle.tags.delete("nope"),
        lambda: handle.checkout_version("nope"),
    ):
        check(provoked(call), "no_tag", TagNotFound)
