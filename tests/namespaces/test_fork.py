"""A forked child works or is told why not; it never hangs, and its parent never notices."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rest_servers import native_server

from pennon.testing.services import S3Server, TestRoot

SECONDS = 40
RUNS = """
import faulthandler, json, os, select, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")
import pennon
from pennon.errors import PennonError, Unsupported

kind, properties, data = json.loads(sys.argv[1])
if kind.startswith("lance."):
    import lance.namespace
namespace = pennon.connect(kind, properties).connect()
namespace.declare_table("before")
database = pennon.open(namespace) if data else None
if database is not None:
    database.create_table("rows", [{"id": 1}, {"id": 2}])
    assert database.count_rows("rows") == 2

stop = threading.Event()
failures = []

def use():
    while not stop.is_set():
        try:
            assert namespace.table_exists("before")
            assert ("before",) in list(namespace.list_tables())
            assert database is None or database.count_rows("rows") >= 2
        except BaseException as error:
            failures.append(repr(error))
            return

threads = [threading.Thread(target=use) for _ in range(3)]
for thread in threads:
    thread.start()
time.sleep(0.3)

def child(number):
    answers = {}
    calls = {
        "exists": lambda: namespace.table_exists("before"),
        "list": lambda: ["before"] in [list(i) for i in namespace.list_tables()],
        "declare": lambda: namespace.declare_table(f"child{number}").id == (f"child{number}",),
    }
    if database is not None:
        calls["count"] = lambda: database.count_rows("rows") >= 2
        calls["write"] = lambda: database.write("rows", [{"id": number + 3}]).rows_inserted == 1
    for name, call in calls.items():
        try:
            answers[name] = "works" if call() else "wrong"
        except Unsupported as error:
            answers[name] = f"unsupported: {error}"
        except BaseException as error:
            answers[name] = f"failed: {error!r}"
    return answers

outcomes = []
for number in range(3):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        # Say where it hangs, if it does.
        faulthandler.dump_traceback_later(10)
        faulthandler.enable()
        os.write(writer, json.dumps(child(number)).encode())
        os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], 12)
    text = os.read(reader, 65536) if ready else b""
    if not ready:
        os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reader)
    outcomes.append(json.loads(text) if text else {"all": f"died: {status}" if ready else "hangs"})

stop.set()
for thread in threads:
    thread.join(20)
alive = [t for t in threads if t.is_alive()]
assert namespace.table_exists("before")
namespace.declare_table("after")
rows = database.count_rows("rows") if database is not None else None
names = sorted(i[0] for i in namespace.list_tables())
print(json.dumps([outcomes, failures, len(alive), names, rows]))
"""


def _fork(kind: str, properties: dict[str, str], *, data: bool = False) -> list[dict[str, str]]:
    """Fork three children of a process that is using a catalog; return what each could do."""
    done = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps([kind, properties, data])],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 20,
        env={**os.environ},
    )
    assert done.returncode == 0, done.stderr
    outcomes: list[dict[str, str]]
    outcomes, failures, alive, names, rows = json.loads(done.stdout.splitlines()[-1])
    assert failures == [], "the parent was disturbed"
    assert alive == 0, "a thread of the parent hangs"
    allowed = ("works", "unsupported: ")
    for outcome in outcomes:
        assert all(v.startswith(allowed) for v in outcome.values()), f"{outcomes}\n{done.stderr}"
    made = [f"child{n}" for n, o in enumerate(outcomes) if o["declare"] == "works"]
    assert names == sorted(["before", "after", *made, *(["rows"] if data else [])])
    if data:
        assert rows == 2 + sum(o["write"] == "works" for o in outcomes)
    return outcomes


def _refused(outcomes: list[dict[str, str]]) -> None:
    """Assert that every child was told what to do, every time: Lance crashes only at times."""
    for outcome in outcomes:
        for text in outcome.values():
            assert text.startswith("unsupported: "), outcomes
            assert "'spawn'" in text, text


@pytest.mark.parametrize("data", [False, True])
def test_local(tmp_path: Path, *, data: bool) -> None:
    _refused(_fork("dir", {"root": str(tmp_path / "root")}, data=data))


def test_local_without_manifest(tmp_path: Path) -> None:
    # Only its changes look for a manifest, by Lance.
    properties = {"root": str(tmp_path / "root"), "manifest_enabled": "false"}
    for outcome in _fork("dir", properties):
        assert (outcome["exists"], outcome["list"]) == ("works", "works"), outcome


@pytest.mark.parametrize("data", [False, True])
def test_bucket(s3_root: TestRoot, *, data: bool) -> None:
    storage = {f"storage.{k}": v for k, v in s3_root.options.items()}
    _refused(_fork("dir", {"root": s3_root.uri, **storage}, data=data))


def test_rest(tmp_path: Path) -> None:
    with native_server(tmp_path) as uri:
        outcomes = _fork("rest", {"uri": uri})
    assert all(set(o.values()) == {"works"} for o in outcomes), outcomes


def test_foreign_class(tmp_path: Path) -> None:
    properties = {"root": str(tmp_path), "dir_listing_enabled": "false"}
    _refused(_fork("lance.namespace.DirectoryNamespace", properties))


def test_a_client_of_another_maker_is_made_again(moto_server: S3Server) -> None:
    code = """
import json, os, sys
import pennon
namespace = pennon.connect("glue", json.loads(sys.argv[1])).connect()
assert namespace.namespace_exists("no") is False
before = namespace._client._get()
pid = os.fork()
if pid == 0:
    right = False
    try:
        right = namespace.namespace_exists("no") is False
        right = right and namespace._client._get() is not before
    finally:
        os._exit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert namespace._client._get() is before
"""
    properties = {
        "endpoint": moto_server.endpoint,
        "region": "us-east-1",
        "access_key_id": "any",
        "secret_access_key": "any",
    }
    command = [sys.executable, "-W", "ignore", "-c", code, json.dumps(properties)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
