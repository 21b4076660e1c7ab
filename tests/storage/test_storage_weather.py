"""Answers that are lost, late or wrong: a write is there once, or its error says that it is not."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import workers

import pennon
from pennon.errors import (
    OutcomeUnknown,
    PennonError,
    TableAlreadyExists,
    Unavailable,
    UnsafeStore,
)
from pennon.storage._lance import commit, table_methods, write_methods
from pennon.storage.abc import StorageBackend
from pennon.testing.proxy import RecordingProxy
from pennon.testing.services import TestRoot

SECOND = "*_versions/18446744073709551613.manifest*"
THIRD = "*_versions/18446744073709551612.manifest*"
FIRST = "*_versions/18446744073709551614.manifest*"
ROWS = [{"n": 1}, {"n": 2}]


@pytest.fixture
def proxy(s3_root: TestRoot, recording_proxy: Callable[[str], RecordingProxy]) -> RecordingProxy:
    return recording_proxy(s3_root.endpoint)


@pytest.fixture
def through(s3_root: TestRoot, proxy: RecordingProxy) -> TestRoot:
    return s3_root.via(proxy.endpoint)


def opened(root: TestRoot) -> StorageBackend:
    return pennon.open(root.uri, storage_options=root.options)


def table_path(db: StorageBackend, pattern: str) -> str:
    """A pattern for objects of the table t alone, not of the catalog."""
    return f"*{db.namespace.describe_table('t').location.rpartition('/')[2]}*{pattern}"


@pytest.mark.parametrize("status", [500, 503, 0])
def test_the_answer_to_an_append_is_lost(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy, status: int
) -> None:
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.phantom(status, method="PUT", path=table_path(direct, SECOND))
    receipt = opened(through).write("t", ROWS)
    assert rule.hits >= 1
    assert (receipt.version, receipt.rows_inserted) == (2, 2)
    assert direct.count_rows("t") == 3


@pytest.mark.parametrize("status", [500, 503, 0])
def test_the_answer_to_a_create_is_lost(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy, status: int
) -> None:
    direct = opened(s3_root)
    direct.namespace.declare_table("t")
    rule = proxy.phantom(status, method="PUT", path=table_path(direct, FIRST))
    receipt = opened(through).create_table("t", ROWS)
    assert rule.hits >= 1
    assert (receipt.version, receipt.rows_inserted) == (1, 2)
    assert direct.count_rows("t") == 2


@pytest.mark.parametrize("operation", ["create", "append"])
def test_a_store_that_never_takes_the_commit(
    s3_root: TestRoot,
    through: TestRoot,
    proxy: RecordingProxy,
    operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (table_methods, write_methods):
        monkeypatch.setattr(module, "COMMIT_SECONDS", 2.0)
    direct, db = opened(s3_root), opened(through)
    if operation == "append":
        direct.create_table("t", [{"n": 0}])
        path = table_path(direct, SECOND)
    else:
        direct.namespace.declare_table("t")
        path = table_path(direct, FIRST)
    proxy.refuse(500, method="PUT", path=path, times=None)
    write = db.write if operation == "append" else db.create_table
    with pytest.raises((OutcomeUnknown, Unavailable)) as caught:
        write("t", ROWS, write_id="w")
    assert "t" in str(caught.value)
    proxy.heal()
    receipt = write("t", ROWS, write_id="w")
    assert receipt.rows_inserted == 2
    assert direct.count_rows("t") == (3 if operation == "append" else 2)
    assert write("t", ROWS, write_id="w") == receipt


def clean(root: TestRoot, db: StorageBackend) -> None:
    import lance

    info = db.namespace.describe_table("t")
    handle = lance.dataset(info.location, storage_options=dict(info.storage_options or {}))
    handle.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)


def test_a_writer_that_stalls_until_its_version_was_taken_and_cleaned_up(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy
) -> None:
    """Lance then reports success for a version that no later one was built upon."""
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="PUT", path=table_path(direct, SECOND))
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=workers.append_once, args=(through, "t", "w"))
    process.start()
    rule.wait(60)
    for n in range(10, 14):
        direct.write("t", [{"n": n}])
    clean(s3_root, direct)
    rule.release()
    process.join(60)
    assert process.exitcode == 0
    found = sorted(r["n"] for r in direct.scan("t").read_all().to_pylist())
    assert found == [0, 1, 2, 10, 11, 12, 13]
    receipt = direct.write("t", ROWS, write_id="w")
    assert receipt.version > 5
    assert direct.count_rows("t") == 7


def test_a_create_that_stalls_until_its_version_was_taken_and_cleaned_up(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy
) -> None:
    direct = opened(s3_root)
    direct.namespace.declare_table("t")
    rule = proxy.stall(method="PUT", path=table_path(direct, FIRST))
    answers: list[Any] = []

    def create() -> None:
        try:
            answers.append(opened(through).create_table("t", ROWS))
        except PennonError as error:
            answers.append(error)

    creator = threading.Thread(target=create)
    creator.start()
    rule.wait()
    direct.create_table("t", [{"n": 10}])
    for n in range(11, 14):
        direct.write("t", [{"n": n}])
    clean(s3_root, direct)
    rule.release()
    creator.join(60)
    assert [type(answer) for answer in answers] == [TableAlreadyExists]
    found = direct.scan("t").read_all().to_pylist()
    assert sorted(r["n"] for r in found) == [10, 11, 12, 13]


STALLED: dict[str, tuple[Callable[[StorageBackend], object], list[int]]] = {
    "delete_rows": (lambda db: db.delete_rows("t", "n = 1"), [0, 2, 10, 11, 12, 13]),
    "update": (lambda db: db.update("t", {"n": "n + 20"}, "n = 1"), [0, 2, 10, 11, 12, 13, 21]),
    "truncate": (lambda db: db.truncate("t"), []),
    "rollback_table": (lambda db: db.rollback_table("t", 1), [0, 1, 2]),
}


@pytest.mark.parametrize("operation", STALLED)
def test_a_change_that_stalls_until_its_version_was_taken_and_cleaned_up(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy, operation: str
) -> None:
    """It is done to the rows that are there then; never acknowledged, and nowhere.

    A rollback leaves nothing to see it by: if the clock of the store, in seconds, does not tell
    what came first, its fate is unknown.
    """
    direct = opened(s3_root)
    direct.create_table("t", [{"n": n} for n in range(3)])
    direct.create_tag("t", "first", version=1)
    direct.write("t", [{"n": 10}])
    rule = proxy.stall(method="PUT", path=table_path(direct, THIRD))
    change, expected = STALLED[operation]
    answers: list[Any] = []

    def write() -> None:
        try:
            answers.append(change(opened(through)))
        except OutcomeUnknown as error:
            answers.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    rule.wait()
    for n in range(11, 14):
        direct.write("t", [{"n": n}])
    clean(s3_root, direct)
    rule.release()
    writer.join(60)
    (answer,) = answers
    if isinstance(answer, OutcomeUnknown):
        assert operation == "rollback_table"
        return
    assert answer.version > 3
    assert sorted(r["n"] for r in direct.scan("t").read_all().to_pylist()) == expected


def test_a_commit_of_a_dead_process_arrives_after_the_retry(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy
) -> None:
    """It must not be there twice, although nobody could know that it was still on its way."""
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="PUT", path=table_path(direct, SECOND))
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=workers.append_once, args=(through, "t", "w"))
    process.start()
    rule.wait(60)
    process.kill()
    process.join()
    receipt = direct.write("t", ROWS, write_id="w")
    rule.arrive()
    assert direct.write("t", ROWS, write_id="w") == receipt
    assert direct.count_rows("t") == 3


def test_a_commit_of_a_dead_process_arrives_before_the_retry(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy
) -> None:
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="PUT", path=table_path(direct, SECOND))
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=workers.append_once, args=(through, "t", "w"))
    process.start()
    rule.wait(60)
    process.kill()
    process.join()
    rule.arrive()
    receipt = direct.write("t", ROWS, write_id="w")
    assert receipt.version == 2
    assert direct.count_rows("t") == 3


@pytest.mark.parametrize("arrives", ["before it is settled", "after", "after the next try"])
@pytest.mark.parametrize("write_id", ["w", None])
def test_a_commit_that_timed_out_and_arrives_later(
    s3_root: TestRoot,
    through: TestRoot,
    proxy: RecordingProxy,
    arrives: str,
    write_id: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Lance has deleted what it noted of the commit by then, and the writer has moved on."""
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="PUT", path=table_path(direct, SECOND), times=1)
    impatient = TestRoot(
        through.uri, {**through.options, "timeout": "1s", "client_max_retries": "0"}
    )
    settle = commit.find
    settled: list[int] = []

    def late(*args: Any) -> Any:
        """Let the commit arrive where the test wants it."""
        if arrives == "before it is settled":
            rule.arrive()
        found = settle(*args)
        settled.append(len(settled))
        if arrives == "after":
            rule.arrive()
        return found

    monkeypatch.setattr(commit, "find", late)
    receipt = opened(impatient).write("t", ROWS, write_id=write_id)
    rule.arrive()
    assert settled
    assert receipt.rows_inserted == 2
    assert direct.count_rows("t") == 3
    assert direct.write("t", ROWS, write_id=receipt.write_id) == receipt
    assert direct.count_rows("t") == 3


@pytest.mark.parametrize("write_id", ["w", None])
def test_a_write_that_was_given_up_arrives_later(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy, write_id: str | None
) -> None:
    """What is repeated by the id in the error is there once."""
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="PUT", path=table_path(direct, SECOND), times=1)
    impatient = TestRoot(
        through.uri, {**through.options, "timeout": "1s", "client_max_retries": "0"}
    )
    caught: list[Any] = []

    def write() -> None:
        try:
            opened(impatient).write("t", ROWS, write_id=write_id, deadline=8)
        except OutcomeUnknown as error:
            caught.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    rule.wait()
    proxy.refuse(503, times=None)
    thread.join(60)
    (error,) = caught
    proxy.heal()
    rule.arrive()
    receipt = direct.write("t", ROWS, write_id=str(error.context["write_id"]))
    assert receipt.version == 2
    assert direct.count_rows("t") == 3


def test_a_drop_under_an_append(
    s3_root: TestRoot, through: TestRoot, proxy: RecordingProxy
) -> None:
    """A write into a table that is dropped meanwhile is no success."""
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="PUT", path=table_path(direct, SECOND))
    failed: list[Any] = []

    def write() -> None:
        try:
            failed.append(opened(through).write("t", ROWS))
        except PennonError as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    rule.wait()
    direct.namespace.drop_table("t")
    direct.create_table("t", [{"other": 1}])
    rule.release()
    thread.join(60)
    (error,) = failed
    assert isinstance(error, PennonError), error
    assert direct.scan("t").read_all().to_pylist() == [{"other": 1}]


@pytest.mark.parametrize(
    ("call", "answer"),
    [(lambda db: db.count_rows("t"), 3), (lambda db: db.table_exists("t"), True)],
    ids=["count", "exists"],
)
def test_a_version_is_removed_between_its_listing_and_its_reading(
    s3_root: TestRoot,
    through: TestRoot,
    proxy: RecordingProxy,
    call: Callable[[StorageBackend], Any],
    answer: Any,
) -> None:
    """By another tool, as soon as it is not the newest any more."""
    direct = opened(s3_root)
    direct.create_table("t", [{"n": 0}])
    rule = proxy.stall(method="GET", path=table_path(direct, FIRST))
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(call(opened(through)))
        except PennonError as error:
            found.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    rule.wait()
    direct.write("t", ROWS)
    clean(s3_root, direct)
    rule.release()
    thread.join(60)
    assert found == [answer]


@pytest.fixture(autouse=True)
def _healed(proxy: RecordingProxy) -> Iterator[None]:
    yield
    proxy.heal()


@pytest.mark.parametrize("operation", ["create", "append"])
def test_a_store_whose_put_if_absent_is_not_atomic_is_refused(
    moto_root: TestRoot, recording_proxy: Callable[[str], RecordingProxy], operation: str
) -> None:
    direct = opened(moto_root)
    direct.create_table("t", [{"n": 0}])
    proxy = recording_proxy(moto_root.endpoint)
    through = moto_root.via(proxy.endpoint)
    proxy.drop_header("if-none-match")
    write, table = {
        "create": (opened(through).create_table, "u"),
        "append": (opened(through).write, "t"),
    }[operation]
    with pytest.raises(UnsafeStore):
        write(table, ROWS)
    assert direct.count_rows("t") == 1
    assert list(direct.namespace.iter_tables()) == [("t",)]

    properties = {**through.properties, "allow_unsafe": True}
    unsafe = pennon.open(pennon.connect("dir", properties).connect())
    assert unsafe.write("t", ROWS).rows_inserted == 2
    proxy.heal()
