"""The state machine on directories: both layouts, on a local disk and in buckets."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pennon.namespaces.abc import Namespace
from pennon.namespaces.directory import DirectoryNamespace
from pennon.testing.machine import NamespaceMachine, run_machine
from pennon.testing.services import TestRoot


def steps(runs: int, count: int) -> settings:
    return settings(
        max_examples=runs,
        stateful_step_count=count,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )


class LocalMachine(NamespaceMachine):
    def reopen(self, namespace: Namespace) -> Namespace:
        return DirectoryNamespace(namespace.root, manifest_enabled=self.layout(namespace))

    def layout(self, namespace: Namespace) -> bool | None:
        assert isinstance(namespace, DirectoryNamespace)
        return namespace._manifest_enabled

    def close(self) -> None:
        shutil.rmtree(Path(self.subject.root).parent)


@pytest.mark.parametrize("layout", [True, False, None], ids=["v2", "v1", "found-out"])
def test_local_disk(layout: bool | None) -> None:
    run_machine(
        lambda: DirectoryNamespace(f"{tempfile.mkdtemp()}/root", manifest_enabled=layout),
        steps(30, 30),
        machine=LocalMachine,
    )


@pytest.mark.parametrize("pennon_root", ["s3", "azure", "gcs"], indirect=True)
@pytest.mark.parametrize("layout", [True, False], ids=["v2", "v1"])
def test_buckets(pennon_root: TestRoot, layout: bool) -> None:
    def connect(uri: str) -> DirectoryNamespace:
        return DirectoryNamespace(uri, storage_options=pennon_root.options, manifest_enabled=layout)

    class BucketMachine(NamespaceMachine):
        def reopen(self, namespace: Namespace) -> Namespace:
            return connect(namespace.root)

    run_machine(
        lambda: connect(f"{pennon_root.uri}/{uuid.uuid4().hex}"),
        steps(3, 25),
        machine=BucketMachine,
    )
