"""Real servers for tests: MinIO, Azurite, toxiproxy, installed once and started on free ports.

``python -m pennon.testing.services install`` fetches what is missing into a cache outside any
checkout, ``... status`` tells what tests would use. Each ``start_*`` function returns a running
server of its own with an empty data directory; it ends with ``stop()``, at the end of its ``with``
block, or with this process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TypeVar
from urllib.parse import urlsplit

from pennon.errors import PennonError, Unavailable, Unsupported
from pennon.testing._install import AZURITE, MINIO, TOOLS, TOXIPROXY, cache, find, install
from pennon.testing._processes import HOST, Service, answers, call, start
from pennon.testing._signing import change_bucket, create_container

__all__ = [
    "AzureServer",
    "S3Server",
    "TestRoot",
    "Toxics",
    "Toxiproxy",
    "describe",
    "start_azurite",
    "start_moto",
    "start_s3",
    "start_toxiproxy",
]

_REGION = "us-east-1"
_MOTO = Path(__file__).with_name("_moto.py")
_IMAGE = "minio/minio:RELEASE.2025-09-07T16-13-09Z"
# Published with the emulator, the same everywhere; it opens nothing but emulators.
_ACCOUNT = "devstoreaccount1"
_ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
_OK = 300
_FORBIDDEN = 403
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TestRoot:
    """An empty root of a test's own: where it is and what opens it."""

    __test__: ClassVar[bool] = False

    uri: str
    options: dict[str, str] = field(default_factory=dict[str, str], repr=False)
    """Storage options, in the spelling that pennon, obstore and Lance share."""

    @property
    def properties(self) -> dict[str, str]:
        """What ``pennon.connect`` takes for a catalog here."""
        return {"root": self.uri, **{f"storage.{k}": v for k, v in self.options.items()}}

    @property
    def endpoint(self) -> str:
        """``http://host:port`` of the server.

        Raises:
            Unsupported: The root has no server.
        """
        for name in ("endpoint", "azure_endpoint"):
            if name in self.options:
                parts = urlsplit(self.options[name])
                return f"{parts.scheme}://{parts.netloc}"
        if "service_account_key" in self.options:
            return str(json.loads(self.options["service_account_key"])["gcs_base_url"])
        raise Unsupported(f"{self.uri} has no server; use a root in a bucket.")

    def via(self, endpoint: str) -> TestRoot:
        """Return the same root reached through a proxy.

        Args:
            endpoint: ``http://host:port`` of something in front of this root's server.
        """
        before = self.endpoint
        options = {k: v.replace(before, endpoint.rstrip("/")) for k, v in self.options.items()}
        return replace(self, options=options)


class _Server:
    """Stops at the end of a ``with`` block."""

    what: str
    """What it is and why this one, for the header of a test run."""

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class S3Server(_Server):
    """A server that speaks S3, with one bucket for everything this object hands out."""

    def __init__(
        self,
        what: str,
        endpoint: str,
        key: str,
        secret: str,
        *,
        region: str = _REGION,
        service: Service | None = None,
    ) -> None:
        self.what = what
        self.endpoint = endpoint
        self.bucket = f"pennon-{uuid.uuid4().hex[:16]}"
        self.service = service
        self._bucket_args = (endpoint, self.bucket, key, secret, region)
        self._options = {
            "endpoint": endpoint,
            "access_key_id": key,
            "secret_access_key": secret,
            "region": region,
            "allow_http": "true",
        }
        change_bucket("PUT", *self._bucket_args)

    def root(self) -> TestRoot:
        """Return a root that nobody has used."""
        return TestRoot(f"s3://{self.bucket}/r{uuid.uuid4().hex[:16]}", dict(self._options))

    def stop(self) -> None:
        """Stop it, or empty and remove the bucket of a server that stays."""
        if self.service is not None:
            self.service.stop()
            return
        from pennon.config import parse_options
        from pennon.objects import open_store
        from pennon.uri import parse_uri

        uri = parse_uri(f"s3://{self.bucket}")
        open_store(uri, parse_options(uri, self._options)).delete_directory("")
        change_bucket("DELETE", *self._bucket_args)


class AzureServer(_Server):
    """An Azurite, with one container for everything this object hands out."""

    def __init__(self, what: str, service: Service) -> None:
        self.what = what
        self.endpoint = service.endpoint
        self.service = service
        self.container = f"pennon-{uuid.uuid4().hex[:16]}"
        self._account = f"{service.endpoint}/{_ACCOUNT}"
        create_container(self._account, _ACCOUNT, _ACCOUNT_KEY, self.container)

    def root(self) -> TestRoot:
        """Return a root that nobody has used."""
        options = {
            "account_name": _ACCOUNT,
            "account_key": _ACCOUNT_KEY,
            "azure_endpoint": self._account,
            "allow_http": "true",
        }
        return TestRoot(f"az://{self.container}/r{uuid.uuid4().hex[:16]}", options)

    def stop(self) -> None:
        """Stop it."""
        self.service.stop()


class Toxics:
    """One proxied connection to a server, healthy until a toxic is added."""

    def __init__(self, api: Callable[..., object], name: str, endpoint: str) -> None:
        self._api = api
        self._name = name
        self.endpoint = endpoint
        """``http://127.0.0.1:port``; give it to a client instead of the server's own."""

    def add_toxic(
        self,
        kind: str,
        *,
        stream: str = "downstream",
        toxicity: float = 1.0,
        **attributes: int,
    ) -> str:
        """Add a fault to every connection, also to open ones; returns the name of the toxic.

        Args:
            kind: ``latency``, ``bandwidth``, ``slow_close``, ``timeout``, ``reset_peer``,
                ``slicer`` or ``limit_data``.
            stream: ``"downstream"`` is what the server answers, ``"upstream"`` what is asked.
            toxicity: Share of the connections that have it.
            attributes: As the kind has them: ``latency`` and ``jitter`` in milliseconds, ``rate``
                in KB/s, ``timeout`` in milliseconds (0 is forever), ``bytes``.
        """
        name = f"{kind}-{uuid.uuid4().hex[:8]}"
        toxic = {
            "name": name,
            "type": kind,
            "stream": stream,
            "toxicity": toxicity,
            "attributes": attributes,
        }
        self._api("POST", f"/proxies/{self._name}/toxics", toxic)
        return name

    def remove_toxic(self, name: str) -> None:
        """Remove one fault."""
        self._api("DELETE", f"/proxies/{self._name}/toxics/{name}")

    def set_enabled(self, enabled: bool) -> None:  # noqa: FBT001
        """Refuse all connections and cut the open ones, or accept them again."""
        self._api("POST", f"/proxies/{self._name}", {"enabled": enabled})

    def clear(self) -> None:
        """Make it healthy: no toxics, and enabled."""
        found = self._api("GET", f"/proxies/{self._name}/toxics")
        for toxic in found if isinstance(found, list) else []:
            self.remove_toxic(str(toxic["name"]))
        self.set_enabled(True)

    def close(self) -> None:
        """Remove the proxy."""
        self._api("DELETE", f"/proxies/{self._name}")


class Toxiproxy(_Server):
    """A running toxiproxy: TCP proxies with latency, cuts and limits."""

    def __init__(self, what: str, service: Service) -> None:
        self.what = what
        self.service = service

    def proxy(self, upstream: str) -> Toxics:
        """Return a new proxy in front of a server.

        Args:
            upstream: ``http://host:port`` or ``host:port``.
        """
        name = f"p{uuid.uuid4().hex}"
        target = urlsplit(upstream).netloc or upstream
        asked = {"name": name, "listen": f"{HOST}:0", "upstream": target, "enabled": True}
        made = self._api("POST", "/proxies", asked)
        listen = made["listen"] if isinstance(made, dict) else ""
        return Toxics(self._api, name, f"http://{listen}")

    def stop(self) -> None:
        """Stop it with all its proxies."""
        self.service.stop()

    def _api(self, method: str, path: str, body: object = None) -> object:
        data = b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        status, answer = call(method, f"{self.service.endpoint}{path}", data, headers)
        if status >= _OK:
            raise Unavailable(f"toxiproxy: {method} {path} answered {status}: {answer[:300]!r}.")
        return json.loads(answer) if answer.strip() else None


def _version(tool: str, path: Path) -> str:
    known = {t.name: t for t in TOOLS}[tool]
    if path == known.executable:
        return f"{tool} {known.version}"
    flag = "-version" if tool == "toxiproxy" else "--version"
    done = subprocess.run([path, flag], capture_output=True, text=True, check=False, timeout=30)
    return f"{tool} on PATH, {(done.stdout.strip() or 'unknown version').splitlines()[0]}"


def _engine() -> str | None:
    for name in ("docker", "podman"):
        if shutil.which(name):
            try:
                done = subprocess.run([name, "info"], capture_output=True, check=False, timeout=10)
            except subprocess.TimeoutExpired:
                continue
            if done.returncode == 0:
                return name
    return None


def start_s3() -> S3Server:
    """Return a server that speaks S3: the best that can be had here.

    In this order: the one at ``PENNON_TEST_S3_ENDPOINT``, with ``PENNON_TEST_S3_ACCESS_KEY_ID``,
    ``PENNON_TEST_S3_SECRET_ACCESS_KEY`` and ``PENNON_TEST_S3_REGION``; ``minio`` on PATH; ``minio``
    in the cache; a container; moto.

    Raises:
        Unavailable: The one at ``PENNON_TEST_S3_ENDPOINT`` does not work.
        Unsupported: Not even moto is installed.
    """
    given = os.environ.get("PENNON_TEST_S3_ENDPOINT")
    if given:
        return S3Server(
            f"PENNON_TEST_S3_ENDPOINT={given}",
            given.rstrip("/"),
            os.environ.get("PENNON_TEST_S3_ACCESS_KEY_ID", ""),
            os.environ.get("PENNON_TEST_S3_SECRET_ACCESS_KEY", ""),
            region=os.environ.get("PENNON_TEST_S3_REGION", _REGION),
        )
    found = find(MINIO)
    if found:
        return _start_minio(_version("minio", found), lambda port, data: _minio(found, port, data))
    engine = _engine()
    why = "no minio on PATH or in the cache, no container engine runs"
    if engine:
        try:
            return _start_minio(
                f"{_IMAGE} in {engine}",
                lambda port, _: _container(engine, port),
                seconds=300,
            )
        except Unavailable as error:
            why = f"no minio on PATH or in the cache, {engine} failed: {error}"
    return start_moto(why)


def _minio(executable: Path, port: int, data: Path) -> list[str]:
    return [str(executable), "server", "--address", f"{HOST}:{port}", str(data)]


def _container(engine: str, port: int) -> list[str]:
    names = ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_BROWSER", "MINIO_UPDATE")
    settings = [word for name in names for word in ("-e", name)]
    publish = ["-p", f"{HOST}:{port}:9000"]
    return [engine, "run", "--rm", *publish, *settings, _IMAGE, "server", "/data"]


def _start_minio(
    what: str, command: Callable[[int, Path], Sequence[str]], seconds: float = 60
) -> S3Server:
    secret = uuid.uuid4().hex
    env = {
        "MINIO_ROOT_USER": "pennon",
        "MINIO_ROOT_PASSWORD": secret,
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
    }
    service = start(
        "MinIO",
        command,
        _speaks_s3,
        env=env,
        seconds=seconds,
    )
    return _stopping(
        service, lambda: S3Server(what, service.endpoint, "pennon", secret, service=service)
    )


def start_moto(why: str = "") -> S3Server:
    """Return moto's S3: one Python process, in memory, one request at a time.

    Raises:
        Unsupported: It is not installed.
    """
    if not all(importlib.util.find_spec(name) for name in ("moto", "flask")):
        raise Unsupported(
            f"No S3 server: {why or 'moto was asked for'}, and moto is not installed; run "
            "pip install 'moto[server]' or python -m pennon.testing.services install."
        )
    service = start(
        "moto",
        lambda port, _: [sys.executable, str(_MOTO), HOST, str(port)],
        lambda port: answers(f"http://{HOST}:{port}/moto-api/"),
        env={"PYTHONWARNINGS": "ignore"},
    )
    what = f"moto fallback ({why})" if why else "moto"
    return _stopping(
        service, lambda: S3Server(what, service.endpoint, "any", "any", service=service)
    )


def start_azurite() -> AzureServer:
    """Return a running Azurite.

    Raises:
        Unsupported: It is neither on PATH nor in the cache.
    """
    found = _need("azurite")
    flags = ["--silent", "--disableTelemetry", "--skipApiVersionCheck", "--loose", "--blobHost"]
    service = start(
        "Azurite",
        lambda port, data: [
            str(found),
            *flags,
            HOST,
            "--blobPort",
            str(port),
            "--location",
            str(data),
        ],
        _listens,
    )
    return _stopping(service, lambda: AzureServer(_version("azurite", found), service))


def start_toxiproxy() -> Toxiproxy:
    """Return a running toxiproxy without proxies.

    Raises:
        Unsupported: It is neither on PATH nor in the cache.
    """
    found = _need("toxiproxy")
    service = start(
        "toxiproxy",
        lambda port, _: [str(found), "-host", HOST, "-port", str(port)],
        lambda port: answers(f"http://{HOST}:{port}/version"),
    )
    return Toxiproxy(_version("toxiproxy", found), service)


def _listens(port: int) -> bool:
    return _status(port) is not None


def _speaks_s3(port: int) -> bool:
    # Its health check is content before it serves; only then does it ask who is calling.
    return _status(port) == _FORBIDDEN


def _status(port: int) -> int | None:
    try:
        return call("GET", f"http://{HOST}:{port}/", seconds=2)[0]
    except OSError:
        return None


def _stopping(service: Service, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except BaseException:
        service.stop()
        raise


def _need(name: str) -> Path:
    tool = {t.name: t for t in (AZURITE, TOXIPROXY)}[name]
    found = find(tool)
    if found is None:
        raise Unsupported(
            f"{name} is neither on PATH nor in the cache, so {tool.instead}; run "
            "python -m pennon.testing.services install."
        )
    return found


def describe() -> Mapping[str, str]:
    """Return what tests would use for S3, Azure and bad networks, starting nothing."""
    found = {tool.name: find(tool) for tool in TOOLS}
    lines = {
        name: _version(name, path) if path else f"none: {instead}"
        for name, path, instead in ((t.name, found[t.name], t.instead) for t in TOOLS)
    }
    given = os.environ.get("PENNON_TEST_S3_ENDPOINT")
    if given:
        s3 = f"PENNON_TEST_S3_ENDPOINT={given}"
    elif found["minio"]:
        s3 = lines["minio"]
    else:
        engine = _engine()
        s3 = f"{_IMAGE} in {engine}, else moto" if engine else "moto fallback, as no minio is there"
    return {"S3": s3, "toxiproxy": lines["toxiproxy"], "Azure": lines["azurite"]}


def _install_all() -> int:
    failed = 0
    for tool in TOOLS:
        try:
            there = find(tool)
            if there is None:
                _say(f"{tool.name} {tool.version}: installing, {tool.cost}")
                there = install(tool)
            _say(f"{tool.name}: {there}")
        except PennonError as error:
            failed += 1
            _say(f"{tool.name}: {error}")
    return min(failed, 1)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; ``install`` returns 1 if something could not be had."""
    parser = argparse.ArgumentParser(
        prog="python -m pennon.testing.services",
        description=f"Servers for tests, kept in {cache()}.",
    )
    parser.add_argument("action", choices=["install", "status"])
    if parser.parse_args(arguments).action == "install":
        return _install_all()
    for name, what in describe().items():
        _say(f"{name}: {what}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
