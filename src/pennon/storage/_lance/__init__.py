"""Tables as Lance datasets. Nothing else in the storage room imports Lance."""

from __future__ import annotations

from pennon.storage._lance.backend import LanceBackend

__all__ = ["LanceBackend"]
