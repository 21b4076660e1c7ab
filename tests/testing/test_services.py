"""Installing, starting and stopping servers, also when things go wrong."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pennon.config import parse_options
from pennon.errors import ObjectAlreadyExists, Unavailable, Unsupported
from pennon.objects import open_store
from pennon.testing import _install, _processes, services
from pennon.testing._install import Tool, cache, install
from pennon.testing.services import S3Server, TestRoot, Toxiproxy, start_moto, start_s3
from pennon.uri import parse_uri

TOOL = Tool(
    name="thing",
    version="v1",
    source="example.org/thing",
    maker="go",
    command="pennon-thing",
    built="thing",
    cost="nothing",
    instead="tests do without",
)


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a `go` that builds shell scripts before the real one, and an empty cache."""
    place = tmp_path / "bin"
    place.mkdir()
    script = place / "go"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        f"[ -e {tmp_path}/broken ] && echo 'no such module' && exit 3\n"
        f"[ -e {tmp_path}/slow ] && touch $GOBIN/thing && exec sleep 60\n"
        "sleep 0.3\n"
        "echo '#!/bin/sh' > $GOBIN/thing && chmod +x $GOBIN/thing\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PENNON_CACHE", str(tmp_path / "cache"))
    return tmp_path


def calls(place: Path) -> list[str]:
    return (place / "calls").read_text().splitlines()


def test_an_install_is_pinned_and_done_once_by_many(compiler: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(install, [TOOL] * 3)
    assert set(found) == {compiler / "cache" / "services" / "thing-v1" / "thing"}
    assert calls(compiler) == ["install example.org/thing@v1"]
    assert install(TOOL).exists()
    assert len(calls(compiler)) == 1


def test_a_failed_install_says_why_and_leaves_nothing(compiler: Path) -> None:
    (compiler / "broken").touch()
    with pytest.raises(Unavailable, match=r"thing failed.*tests do without.*no such module"):
        install(TOOL)
    assert [p.name for p in cache().iterdir()] == ["thing.lock"]
    (compiler / "broken").unlink()
    assert install(TOOL).exists()


def test_an_interrupted_install_is_none(compiler: Path) -> None:
    (compiler / "slow").touch()
    child = subprocess.Popen(
        [sys.executable, "-c", "from test_services import *; install(TOOL)"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        start_new_session=True,
    )
    try:
        eventually(lambda: list(cache().glob(".thing-*/thing")), 30)
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    assert not TOOL.executable.exists()
    (compiler / "slow").unlink()
    assert install(TOOL).exists()


def eventually(what: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.mark.parametrize("tool", _install.TOOLS, ids=lambda t: t.name)
def test_without_a_compiler_the_message_says_what_to_do(
    tool: Tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENNON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unsupported) as caught:
        install(tool)
    assert "https://" in str(caught.value)
    assert tool.instead in str(caught.value)
    assert services.main(["install"]) == 1


def test_the_cache_is_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENNON_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / "pennon" / "services"
    monkeypatch.setenv("PENNON_CACHE", str(tmp_path / "own"))
    assert cache() == tmp_path / "own" / "services"


def test_status_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert services.main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["S3", "toxiproxy", "Azure"]


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_service_that_ends_at_once_is_reported_with_its_words() -> None:
    with pytest.raises(Unavailable, match=r"grumpy did not start.*I will not"):
        _processes.start(
            "grumpy", lambda *_: python("print('I will not'); raise SystemExit(1)"), lambda _: False
        )


def test_a_service_that_never_answers_is_stopped(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    code = f"import os,time; open({str(mark)!r},'w').write(str(os.getpid())); time.sleep(60)"

    def ready(_: int) -> bool:
        eventually(lambda: mark.exists() and mark.read_text(), 60)
        return False

    with pytest.raises(Unavailable, match="within 1 s"):
        _processes.start("mute", lambda *_: python(code), ready, seconds=1)
    assert not alive(int(mark.read_text()))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_port_taken_meanwhile_is_given_up(s3_server: S3Server) -> None:
    assert s3_server.service is not None or pytest.skip("the S3 server is not ours")
    taken = s3_server.service.port
    tried: list[int] = []

    def command(port: int, data: Path) -> list[str]:
        tried.append(port)
        at = taken if len(tried) == 1 else port
        return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(at)]

    service = _processes.start(
        "web", command, lambda port: _processes.answers(f"http://127.0.0.1:{port}/")
    )
    try:
        assert len(tried) == 2
        assert service.alive
        assert service.port == tried[1]
    finally:
        service.stop()
    assert not service.directory.exists()


_OWNER = """
import sys, time
from pennon.testing.services import start_moto
server = start_moto()
print(server.service.port, server.service.directory, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_service_dies_with_its_owner(how: signal.Signals) -> None:
    owner = subprocess.Popen(
        python(_OWNER), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    port, directory = owner.stdout.readline().split()
    assert _processes.answers(f"http://127.0.0.1:{port}/moto-api/")
    owner.send_signal(how)
    owner.wait(20)
    owner.stdout.close()
    eventually(lambda: not Path(directory).exists(), 20)
    assert not _processes.answers(f"http://127.0.0.1:{port}/moto-api/")


def test_moto_decides_a_race_for_one(moto_root: TestRoot) -> None:
    uri = parse_uri(moto_root.uri)
    store = open_store(uri, parse_options(uri, moto_root.options))

    def put(key: str) -> bool:
        try:
            store.put(key, uuid.uuid4().bytes, if_absent=True)
        except ObjectAlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            assert sum(pool.map(put, [f"k{number}"] * 8)) == 1


def put_and_get(root: TestRoot) -> bytes:
    uri = parse_uri(root.uri)
    store = open_store(uri, parse_options(uri, root.options))
    store.put("a/b", b"hello", if_absent=True)
    return store.get("a/b").data


def test_without_minio_moto_stands_in_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENNON_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PENNON_TEST_S3_ENDPOINT", raising=False)
    assert services.describe()["S3"].startswith("moto fallback")
    with start_s3() as server:
        assert server.what.startswith("moto fallback (no minio")
        assert put_and_get(server.root()) == b"hello"


def test_a_server_from_outside_is_used_and_left_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_moto() as outside:
        monkeypatch.setenv("PENNON_TEST_S3_ENDPOINT", outside.endpoint)
        monkeypatch.setenv("PENNON_TEST_S3_ACCESS_KEY_ID", "a")
        monkeypatch.setenv("PENNON_TEST_S3_SECRET_ACCESS_KEY", "b")
        monkeypatch.setenv("PENNON_TEST_S3_REGION", "eu-west-1")
        with start_s3() as server:
            assert server.endpoint == outside.endpoint
            assert put_and_get(server.root()) == b"hello"
            assert server.bucket in listed(outside)
        assert server.bucket not in listed(outside)
        assert outside.bucket in listed(outside)


def listed(server: S3Server) -> str:
    return _processes.call("GET", f"{server.endpoint}/")[1].decode()


def test_a_wrong_secret_is_refused(s3_server: S3Server) -> None:
    if "moto" in s3_server.what:
        pytest.skip("moto checks no signatures")
    with pytest.raises(Unavailable, match="403"):
        S3Server("wrong", s3_server.endpoint, "pennon", "wrong")


@pytest.mark.parametrize("pennon_root", ["s3", "moto", "azure", "gcs"], indirect=True)
def test_a_root_through_a_proxy_is_the_same_root(
    pennon_root: TestRoot, toxiproxy: Toxiproxy
) -> None:
    toxics = toxiproxy.proxy(pennon_root.endpoint)
    behind = pennon_root.via(toxics.endpoint)
    assert behind.endpoint == toxics.endpoint
    assert put_and_get(behind) == b"hello"
    uri = parse_uri(pennon_root.uri)
    assert open_store(uri, parse_options(uri, pennon_root.options)).get("a/b").data == b"hello"
    secret = {"secret_access_key", "account_key", "service_account_key"}
    assert all(
        len(v) < 5 or v not in repr(pennon_root)
        for k, v in pennon_root.options.items()
        if k in secret
    )
    toxics.close()


def test_toxics_strike_and_clear(moto_root: TestRoot, toxiproxy: Toxiproxy) -> None:
    toxics = toxiproxy.proxy(moto_root.endpoint)
    url = f"{toxics.endpoint}/moto-api/"

    def seconds() -> float:
        before = time.monotonic()
        assert _processes.answers(url)
        return time.monotonic() - before

    toxics.add_toxic("latency", latency=400)
    assert seconds() >= 0.4
    toxics.clear()
    assert min(seconds() for _ in range(5)) < 0.4
    toxics.set_enabled(False)
    assert not _processes.answers(url)
    toxics.clear()
    assert _processes.answers(url)
    toxics.close()
    assert not _processes.answers(url)


def test_a_root_without_a_server_has_no_endpoint(local_root: str) -> None:
    with pytest.raises(Unsupported, match="no server"):
        _ = TestRoot(local_root).endpoint
