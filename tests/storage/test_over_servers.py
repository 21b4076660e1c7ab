"""Lance tables under the names of a catalog that is a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lance.namespace
import pytest

import pennon
from pennon.storage.abc import StorageBackend
from pennon.testing.storage_suite import StorageBackendSuite


class TestRest(StorageBackendSuite):
    """pylance's own server; the tables are on the disk it serves."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[StorageBackend]:
        properties = {"root": str(tmp_path), "dir_listing_enabled": "false"}
        with lance.namespace.RestAdapter("dir", properties, port=0) as server:
            yield pennon.open(f"http://127.0.0.1:{server.port}")

    def reopen(self, backend: StorageBackend) -> StorageBackend:
        return pennon.open(backend.namespace.root)

    def test_the_place_of_the_tables_is_proven(
        self, backend: StorageBackend, tmp_path: Path
    ) -> None:
        backend.create_table("t", [{"id": 1}])
        assert (tmp_path / "_pennon" / "certification.json").is_file()
