"""The pytest plugin: fresh roots on every kind of store, and real servers behind them.

It loads with pytest wherever pennon is installed, and imports nothing but pytest until a fixture is
used. Servers start when the first test needs them and stop with the run; see
:mod:`pennon.testing.services` for which ones.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pennon.objects import ObjectStore
    from pennon.testing.faults import Fault, FaultyStore
    from pennon.testing.gcs import GcsServer
    from pennon.testing.proxy import RecordingProxy
    from pennon.testing.services import AzureServer, S3Server, TestRoot, Toxiproxy

_ASSERT = re.compile(r"suite|machine|^_storage_")
_SUITES = sorted(p.stem for p in Path(__file__).parent.glob("*.py") if _ASSERT.search(p.stem))
pytest.register_assert_rewrite(*(f"pennon.testing.{name}" for name in _SUITES))

_used = pytest.StashKey[dict[str, str]]()


def _remember(request: pytest.FixtureRequest, name: str, what: str) -> None:
    request.config.stash.setdefault(_used, {})[name] = what


def _or_skip(start: Callable[[], Any]) -> Any:
    """Start a server; a test is skipped only where the server cannot be had at all."""
    from pennon.errors import Unsupported

    try:
        return start()
    except Unsupported as error:
        pytest.skip(str(error))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of a parallel run, pass on which servers were used."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["pennon"] = session.config.stash.get(_used, {})


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what a worker used."""
    used = getattr(node, "workeroutput", {}).get("pennon", {})
    node.config.stash.setdefault(_used, {}).update(used)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell which servers the tests really ran against."""
    for name, what in config.stash.get(_used, {}).items():
        terminalreporter.write_line(f"pennon: {name} was {what}")


@pytest.fixture(scope="session")
def s3_server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    """MinIO where it can be had, else moto."""
    from pennon.testing.services import start_s3

    server: S3Server = _or_skip(start_s3)
    _remember(request, "S3", server.what)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """moto, also where MinIO can be had."""
    from pennon.testing.services import start_moto

    server: S3Server = _or_skip(start_moto)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def azure_server(request: pytest.FixtureRequest) -> Iterator[AzureServer]:
    """Azurite; tests are skipped where it is not installed."""
    from pennon.testing.services import start_azurite

    server: AzureServer = _or_skip(start_azurite)
    _remember(request, "Azure", server.what)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[GcsServer]:
    """The loopback double of Google Cloud Storage, in this process."""
    from pennon.testing.gcs import GcsServer

    with GcsServer() as server:
        yield server


@pytest.fixture(scope="session")
def toxiproxy(request: pytest.FixtureRequest) -> Iterator[Toxiproxy]:
    """A toxiproxy; tests are skipped where it is not installed."""
    from pennon.testing.services import start_toxiproxy

    server: Toxiproxy = _or_skip(start_toxiproxy)
    _remember(request, "toxiproxy", server.what)
    yield server
    server.stop()


@pytest.fixture
def local_root(tmp_path: Path) -> str:
    """An empty directory."""
    root = tmp_path / "root"
    root.mkdir()
    return str(root)


@pytest.fixture
def memory_root() -> str:
    """A root in this process that nobody has used."""
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def s3_root(s3_server: S3Server) -> TestRoot:
    """An empty root on MinIO or what stands in for it."""
    return s3_server.root()


@pytest.fixture
def moto_root(moto_server: S3Server) -> TestRoot:
    """An empty root on moto."""
    return moto_server.root()


@pytest.fixture
def azure_root(azure_server: AzureServer) -> TestRoot:
    """An empty root on Azurite."""
    return azure_server.root()


@pytest.fixture
def gcs_root(gcs_server: GcsServer) -> TestRoot:
    """An empty root on the double of Google Cloud Storage."""
    from pennon.testing.services import TestRoot

    bucket = f"pennon-{uuid.uuid4().hex[:16]}"
    return TestRoot(f"gs://{bucket}/root", gcs_server.options(bucket))


@pytest.fixture
def pennon_root(request: pytest.FixtureRequest) -> TestRoot:
    """An empty root of the kind given by indirect parametrization; ``"local"`` by default.

    The kinds are ``local``, ``memory``, ``s3``, ``moto``, ``azure`` and ``gcs``.
    """
    from pennon.testing.services import TestRoot

    kind = getattr(request, "param", "local")
    found = request.getfixturevalue(f"{kind}_root")
    return TestRoot(found) if isinstance(found, str) else found


@pytest.fixture
def recording_proxy() -> Iterator[Callable[[str], RecordingProxy]]:
    """Makes recording proxies in front of an endpoint; they stop with the test."""
    from pennon.testing.proxy import RecordingProxy

    made: list[RecordingProxy] = []

    def make(upstream: str) -> RecordingProxy:
        made.append(RecordingProxy(upstream))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def faulty_store() -> Callable[..., FaultyStore]:
    """Makes a store that fails by plan: ``faulty_store(store, Fault("put", "after"), ...)``."""
    from pennon.testing.faults import FaultyStore

    def make(store: ObjectStore, *plan: Fault) -> FaultyStore:
        return FaultyStore(store, plan)

    return make


@pytest.fixture(scope="session")
def race_rounds() -> int:
    """How often a race is run: ``PENNON_RACE_ROUNDS``, 20 by default."""
    return int(os.environ.get("PENNON_RACE_ROUNDS", "20"))
