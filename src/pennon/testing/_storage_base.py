"""What the cases of the storage suite have in common: where their backends come from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pennon.storage.abc import StorageBackend

__all__ = ["StorageCases"]


class StorageCases:
    """What a backend is held to, whatever the cases are about."""

    @pytest.fixture
    def backend(self) -> Iterator[StorageBackend]:
        """Override: a backend without tables."""
        raise NotImplementedError("Override the fixture 'backend' with one that has no tables.")

    def reopen(self, backend: StorageBackend) -> StorageBackend:
        """Override: another backend on the same tables that shares no cache with the first."""
        raise NotImplementedError(f"Override reopen() to open {backend!r} once more.")
