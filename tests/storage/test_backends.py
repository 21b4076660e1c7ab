"""Every backend passes the conformance suite."""

from __future__ import annotations

import pytest

import pennon
from pennon.storage.abc import StorageBackend
from pennon.testing._storage_branches import BranchCases
from pennon.testing._storage_writes import WriteCases
from pennon.testing.services import TestRoot
from pennon.testing.storage_suite import StorageBackendSuite


class _Opened:
    @pytest.fixture
    def backend(self, pennon_root: TestRoot) -> StorageBackend:
        self.options = pennon_root.options
        return pennon.open(pennon_root.uri, storage_options=pennon_root.options or None)

    def reopen(self, backend: StorageBackend) -> StorageBackend:
        return pennon.open(backend.namespace.root, storage_options=self.options or None)


class _OnARoot(_Opened, StorageBackendSuite):
    pass


@pytest.mark.parametrize("pennon_root", ["memory"], indirect=True)
class TestMemory(_OnARoot):
    pass


@pytest.mark.parametrize("pennon_root", ["local"], indirect=True)
class TestLocal(_OnARoot):
    pass


@pytest.mark.parametrize("pennon_root", ["s3"], indirect=True)
class TestS3(_OnARoot):
    pass


@pytest.mark.parametrize("pennon_root", ["azure", "gcs"], indirect=True)
class TestOtherBuckets(_Opened, WriteCases, BranchCases):
    """The parts that lean on the store: commits that race, names that are taken once."""
