"""Stores of every kind, each with an empty root."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from badproxy import BadProxy, behind, endpoint_of

from pennon.config import parse_options
from pennon.objects import ObjectStore, open_store
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri


def open_root(root: TestRoot, **options: str) -> ObjectStore:
    uri = parse_uri(root.uri)
    return open_store(uri, parse_options(uri, {**root.options, **options}))


@pytest.fixture
def memory_store() -> ObjectStore:
    return open_root(TestRoot(f"memory://{uuid.uuid4().hex}/some/path", {}))


@pytest.fixture
def local_store(tmp_path: Any) -> ObjectStore:
    return open_root(TestRoot(str(tmp_path / "not yet there" / "root"), {}))


@pytest.fixture
def s3_store(s3_root: TestRoot) -> ObjectStore:
    return open_root(s3_root)


@pytest.fixture
def azure_store(azure_root: TestRoot) -> ObjectStore:
    return open_root(azure_root)


@pytest.fixture
def gcs_store(gcs_root: TestRoot) -> ObjectStore:
    return open_root(gcs_root)


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def moto_root(moto_endpoint: str) -> TestRoot:
    bucket = f"b{uuid.uuid4().hex[:20]}"
    client = boto3.client(
        "s3",
        endpoint_url=moto_endpoint,
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    client.create_bucket(Bucket=bucket)
    client.close()
    return TestRoot(
        f"s3://{bucket}/root",
        {
            "endpoint": moto_endpoint,
            "access_key_id": "any",
            "secret_access_key": "any",
            "region": "us-east-1",
        },
    )


@pytest.fixture
def moto_store(moto_root: TestRoot) -> ObjectStore:
    return open_root(moto_root)


@pytest.fixture
def bad_proxies() -> Iterator[list[BadProxy]]:
    """Proxies a test starts; they end with it."""
    proxies: list[BadProxy] = []
    yield proxies
    for proxy in proxies:
        proxy.closing.set()
        proxy.shutdown()
        proxy.server_close()


def start_proxy(proxies: list[BadProxy], root: TestRoot) -> tuple[BadProxy, ObjectStore]:
    proxy = BadProxy(endpoint_of(root))
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    proxies.append(proxy)
    return proxy, open_root(behind(root, proxy.endpoint))
