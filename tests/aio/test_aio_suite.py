"""The async backend passes the conformance suite of the sync one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sync_over_async import Loops, Sync

import pennon.aio
from pennon.testing.services import TestRoot
from pennon.testing.storage_suite import StorageBackendSuite


@pytest.mark.parametrize("pennon_root", ["local"], indirect=True)
class TestLocal(StorageBackendSuite):
    @pytest.fixture
    def backend(self, pennon_root: TestRoot) -> Iterator[Any]:
        self.opened: list[Sync] = []
        self.loops = Loops()
        self.options = pennon_root.options
        yield self._open(pennon_root.uri)
        for each in self.opened:
            each.aclose()
        self.loops.close()

    def _open(self, root: str) -> Any:
        made = Sync(pennon.aio.open(root, storage_options=self.options or None), self.loops)
        self.opened.append(made)
        return made

    def reopen(self, backend: Any) -> Any:
        return self._open(backend.namespace.root)
