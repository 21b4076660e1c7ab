"""Namespaces travel by what they were connected with; credentials do not."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rest_servers import native_server

import pennon
from pennon.errors import PermissionDenied, Unsupported
from pennon.namespaces import Namespace
from pennon.testing.services import TestRoot

SECRET = "hush-" + "hush"

CHILD = """
import pickle, sys
namespace = pickle.load(sys.stdin.buffer)
print(namespace.kind, sorted(namespace.iter_tables(recursive=True)))
namespace.declare_table(("team", "made-there"))
"""


def _elsewhere(data: bytes, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Unpickle and use a namespace in a process that shares nothing with this one."""
    return subprocess.run(
        [sys.executable, "-c", CHILD],
        input=data,
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, **env},
    )


def _check(namespace: Namespace, **env: str) -> None:
    """Assert that a copy, here and in another process, is a connection to the same catalog."""
    namespace.create_namespace("team")
    namespace.declare_table("here")
    data = pickle.dumps(namespace)
    copy = pickle.loads(data)
    assert (type(copy), copy.kind, copy.root) == (type(namespace), namespace.kind, namespace.root)
    assert copy.capabilities == namespace.capabilities
    assert copy.session is not namespace.session
    assert copy.table_exists("here") is True
    copy.declare_table(("team", "copied"))
    assert namespace.table_exists(("team", "copied")) is True
    done = _elsewhere(data, **env)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().strip() == f"{namespace.kind} [('here',), ('team', 'copied')]"
    assert namespace.table_exists(("team", "made-there")) is True


def test_local_directory(tmp_path: Path) -> None:
    _check(pennon.connect("dir", {"root": str(tmp_path / "root")}).connect())


def test_a_relative_root_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = pennon.connect("dir", {"root": "lake"}).connect()
    namespace.declare_table("t")
    data = pickle.dumps(namespace)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert pickle.loads(data).table_exists("t") is True
    assert not (tmp_path / "other" / "lake").exists()


def test_settings_travel(tmp_path: Path) -> None:
    flat = {"root": str(tmp_path / "flat"), "manifest_enabled": "false"}
    namespace = pennon.connect("dir", flat).connect()
    namespace.declare_table("t")
    copy = pickle.loads(pickle.dumps(namespace))
    assert copy.capabilities == namespace.capabilities
    copy.declare_table("u")
    assert sorted(p.name for p in (tmp_path / "flat").glob("*.lance")) == ["t.lance", "u.lance"]


def test_lance_directory(tmp_path: Path) -> None:
    import lance.namespace  # noqa: F401 - the class path must be loadable

    kind = "lance.namespace.DirectoryNamespace"
    properties = {"root": str(tmp_path), "dir_listing_enabled": "false"}
    # Another process finds the class by its path as well.
    _check(pennon.connect(kind, properties).connect())


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with native_server(tmp_path) as uri:
        yield uri


def test_rest(server: str) -> None:
    _check(pennon.connect("rest", {"uri": server, "timeout": "20"}).connect())


def test_memory_stays_in_its_process(memory_root: str) -> None:
    namespace = pennon.connect("memory", {"root": memory_root}).connect()
    namespace.declare_table("t")
    data = pickle.dumps(namespace)
    assert pickle.loads(data).table_exists("t") is True
    done = _elsewhere(data)
    assert done.returncode != 0
    assert b"lives in the memory of process" in done.stderr
    with pytest.raises(Unsupported, match="memory://name"):
        pickle.dumps(pennon.connect("memory").connect())


# -- credentials ----------------------------------------------------------------------------------


def _environment(root: TestRoot) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": root.options["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": root.options["secret_access_key"],
        "AWS_REGION": root.options["region"],
        "AWS_ENDPOINT_URL": root.options["endpoint"],
    }


@pytest.fixture
def from_environment(s3_root: TestRoot, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    for name, value in _environment(s3_root).items():
        monkeypatch.setenv(name, value)
    return pennon.connect("dir", {"root": s3_root.uri}).connect()


def test_credentials_of_the_environment(from_environment: Namespace, s3_root: TestRoot) -> None:
    secret = s3_root.options["secret_access_key"].encode()
    assert secret not in pickle.dumps(from_environment)
    _check(from_environment, **_environment(s3_root))


def test_each_process_uses_its_own_credentials(
    from_environment: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_environment.declare_table("here")
    data = pickle.dumps(from_environment)
    done = _elsewhere(data, AWS_SECRET_ACCESS_KEY="another-principal")
    assert done.returncode != 0
    assert b"another-principal" not in done.stderr
    last = done.stderr.decode().strip().splitlines()[-1]
    assert last.startswith(("pennon.errors.Unauthenticated", "pennon.errors.PermissionDenied"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another-principal")
    with pytest.raises(PermissionDenied):
        pickle.loads(data).table_exists("here")


_WITH_SECRETS: dict[str, Callable[[str], Namespace]] = {
    "s3": lambda _: pennon.connect(
        "dir",
        {
            "root": "s3://lake",
            "storage.access_key_id": "me",
            "storage.secret_access_key": SECRET,
            "storage.region": "eu-west-1",
        },
    ).connect(),
    "azure": lambda _: pennon.connect(
        "dir",
        {"root": "az://lake", "storage.account_name": "me", "storage.account_key": "aHVzaC1odXNo"},
    ).connect(),
    "rest": lambda _: pennon.connect(
        "rest", {"uri": "http://127.0.0.1:9", "header.authorization": f"Bearer {SECRET}"}
    ).connect(),
    "rest storage": lambda _: pennon.connect(
        "rest",
        {
            "uri": "http://127.0.0.1:9",
            "storage.access_key_id": "me",
            "storage.secret_access_key": SECRET,
        },
    ).connect(),
    "iceberg": lambda _: pennon.connect(
        "iceberg", {"endpoint": "http://127.0.0.1:9", "auth_token": SECRET}
    ).connect(),
    "unity storage": lambda _: pennon.connect(
        "unity",
        {
            "unity.endpoint": "http://127.0.0.1:9",
            "storage.access_key_id": "me",
            "storage.secret_access_key": SECRET,
        },
    ).connect(),
    "a class": lambda at: pennon.connect(
        "lance.namespace.DirectoryNamespace", {"root": at, "storage.secret_access_key": SECRET}
    ).connect(),
}


@pytest.mark.parametrize("which", _WITH_SECRETS)
def test_given_credentials_are_refused(which: str, tmp_path: Path) -> None:
    import lance.namespace  # noqa: F401 - the class path must be loadable

    namespace = _WITH_SECRETS[which](str(tmp_path))
    for thing in (namespace, namespace.to_lance(), {"deep": [namespace]}):
        with pytest.raises(Unsupported) as caught:
            pickle.dumps(thing)
        text = str(caught.value)
        assert SECRET not in text
        assert "aHVzaC1odXNo" not in text
        assert "\n" not in text
        assert text.endswith(".")
        assert "process" in text or "there" in text
