"""The state machine on every store: the memory backend says what each step must come to."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import pennon
from pennon.storage.abc import StorageBackend
from pennon.testing.services import TestRoot
from pennon.testing.storage_machine import StorageMachine, run_storage_machine

SOAK = 20 if os.environ.get("HYPOTHESIS_PROFILE") == "soak" else 1


def steps(runs: int, count: int) -> settings:
    return settings(
        max_examples=runs * SOAK,
        stateful_step_count=count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


class LocalMachine(StorageMachine):
    def reopen(self, backend: StorageBackend) -> StorageBackend:
        return pennon.open(backend.namespace.root)

    def close(self) -> None:
        shutil.rmtree(Path(self.subject.namespace.root).parent)


def test_memory() -> None:
    run_storage_machine(lambda: pennon.open(f"memory://{uuid.uuid4()}"), steps(20, 30))


@pytest.mark.timeout(3600)
def test_local_disk() -> None:
    run_storage_machine(
        lambda: pennon.open(f"{tempfile.mkdtemp()}/root"), steps(25, 25), machine=LocalMachine
    )


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("pennon_root", ["s3", "azure", "gcs"], indirect=True)
def test_buckets(pennon_root: TestRoot) -> None:
    def connect(uri: str) -> StorageBackend:
        return pennon.open(uri, storage_options=pennon_root.options)

    class BucketMachine(StorageMachine):
        def reopen(self, backend: StorageBackend) -> StorageBackend:
            return connect(backend.namespace.root)

    run_storage_machine(
        lambda: connect(f"{pennon_root.uri}/{uuid.uuid4().hex}"),
        steps(4, 20),
        machine=BucketMachine,
    )
