"""Stores of every kind, each with an empty root."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from badproxy import BadProxy
from roots import open_root

from pennon.objects import ObjectStore
from pennon.testing.services import TestRoot


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
