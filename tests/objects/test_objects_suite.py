"""The conformance suite and the state machine on every kind of store."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from pennon.config import parse_options
from pennon.objects import ObjectStore, open_store
from pennon.testing.faults import FaultyStore
from pennon.testing.objects_suite import ObjectStoreSuite, store_machine
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri


class TestMemory(ObjectStoreSuite):
    @pytest.fixture
    def store(self, memory_store: ObjectStore) -> ObjectStore:
        return memory_store


class TestLocal(ObjectStoreSuite):
    @pytest.fixture
    def store(self, local_store: ObjectStore) -> ObjectStore:
        return local_store


class TestS3(ObjectStoreSuite):
    etag_per_write = False

    @pytest.fixture
    def store(self, s3_store: ObjectStore) -> ObjectStore:
        return s3_store


class TestMoto(ObjectStoreSuite):
    etag_per_write = False

    @pytest.fixture
    def store(self, moto_store: ObjectStore) -> ObjectStore:
        return moto_store


class TestAzure(ObjectStoreSuite):
    @pytest.fixture
    def store(self, azure_store: ObjectStore) -> ObjectStore:
        return azure_store


class TestGcs(ObjectStoreSuite):
    @pytest.fixture
    def store(self, gcs_store: ObjectStore) -> ObjectStore:
        return gcs_store


class TestFaultyWithoutFaults(ObjectStoreSuite):
    @pytest.fixture
    def store(self, memory_store: ObjectStore) -> ObjectStore:
        return FaultyStore(memory_store, [])


def test_local_machine(tmp_path: Path) -> None:
    def make() -> ObjectStore:
        uri = parse_uri(tmp_path / uuid.uuid4().hex)
        return open_store(uri, parse_options(uri))

    run_state_machine_as_test(
        store_machine(make),
        settings=settings(max_examples=60, stateful_step_count=40, deadline=None),
    )


@pytest.mark.parametrize("kind", ["s3_root", "azure_root", "gcs_root"])
def test_bucket_machine(kind: str, request: pytest.FixtureRequest) -> None:
    root: TestRoot = request.getfixturevalue(kind)

    def make() -> ObjectStore:
        uri = parse_uri(root.uri).join(uuid.uuid4().hex)
        return open_store(uri, parse_options(uri, root.options))

    run_state_machine_as_test(
        store_machine(make),
        settings=settings(
            max_examples=8,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
