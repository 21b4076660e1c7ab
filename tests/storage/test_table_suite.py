"""A backend that is only used through its table objects passes the conformance suite."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import pennon
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.table import Table
from pennon.testing.services import TestRoot
from pennon.testing.storage_suite import StorageBackendSuite

STATE = ("branch", "version", "tag", "as_of")


class ThroughTables:
    """Has each call done by ``backend.table(...)``, where a table object can do it."""

    def __init__(self, backend: StorageBackend) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.backend, name)
        if not hasattr(Table, name) or not callable(found):
            return found

        def call(first: Any = None, *args: Any, **options: Any) -> Any:
            first = options.pop("table", first)
            if isinstance(first, ScanRequest) and name == "scan":
                options = {f: getattr(first, f) for f in ScanRequest.__slots__ if f != "table"}
                first = first.table
            elif not isinstance(first, str | tuple | list):
                return found(first, *args, **options)
            bound = {n: options.pop(n) for n in STATE if n in options and not takes(name, n)}
            if "source" in options and name == "create_branch":
                bound["branch"] = options.pop("source")
            return getattr(self.backend.table(first, **bound), name)(*args, **options)

        made = self.__dict__[name] = call
        return made


def takes(method: str, option: str) -> bool:
    """Return whether the method of a table object has this parameter itself."""
    return option in inspect.signature(getattr(Table, method)).parameters


@pytest.mark.parametrize("pennon_root", ["memory"], indirect=True)
class TestThroughTables(StorageBackendSuite):
    @pytest.fixture
    def backend(self, pennon_root: TestRoot) -> Any:
        return ThroughTables(pennon.open(pennon_root.uri))

    def reopen(self, backend: Any) -> Any:
        return ThroughTables(pennon.open(backend.namespace.root))
