"""pennon: a catalog, a storage backend and safe concurrent writing for Lance tables.

Everything public is here and loads on first use; importing pennon alone imports neither Lance nor
Arrow, starts no thread and reads no file or environment variable.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pennon import aio as aio
    from pennon import errors as errors
    from pennon.expr import Expr as Expr
    from pennon.expr import col as col
    from pennon.expr import lit as lit
    from pennon.integrations.fsspec import filesystem as filesystem
    from pennon.namespaces.abc import Namespace as Namespace
    from pennon.namespaces.abc import NamespaceInfo as NamespaceInfo
    from pennon.namespaces.abc import Page as Page
    from pennon.namespaces.abc import TableInfo as TableInfo
    from pennon.namespaces.connect import connect as connect
    from pennon.namespaces.session import Session as Session
    from pennon.storage.abc import ColumnChange as ColumnChange
    from pennon.storage.abc import CommitReceipt as CommitReceipt
    from pennon.storage.abc import ScanRequest as ScanRequest
    from pennon.storage.abc import StorageBackend as StorageBackend
    from pennon.storage.consistency import Eventual as Eventual
    from pennon.storage.consistency import Strong as Strong
    from pennon.storage.open import open as open  # noqa: A004
    from pennon.storage.table import Table as Table

__version__ = "0.1.0"

_HOME = {
    "ColumnChange": "pennon.storage.abc",
    "CommitReceipt": "pennon.storage.abc",
    "Eventual": "pennon.storage.consistency",
    "Expr": "pennon.expr",
    "Namespace": "pennon.namespaces.abc",
    "NamespaceInfo": "pennon.namespaces.abc",
    "Page": "pennon.namespaces.abc",
    "ScanRequest": "pennon.storage.abc",
    "Session": "pennon.namespaces.session",
    "StorageBackend": "pennon.storage.abc",
    "Strong": "pennon.storage.consistency",
    "Table": "pennon.storage.table",
    "TableInfo": "pennon.namespaces.abc",
    "col": "pennon.expr",
    "connect": "pennon.namespaces.connect",
    "filesystem": "pennon.integrations.fsspec",
    "lit": "pennon.expr",
    "open": "pennon.storage.open",
}

__all__ = [
    "ColumnChange",
    "CommitReceipt",
    "Eventual",
    "Expr",
    "Namespace",
    "NamespaceInfo",
    "Page",
    "ScanRequest",
    "Session",
    "StorageBackend",
    "Strong",
    "Table",
    "TableInfo",
    "aio",
    "col",
    "connect",
    "errors",
    "filesystem",
    "lit",
    "open",
]


def __getattr__(name: str) -> Any:
    if name in {"aio", "errors"}:
        value: Any = importlib.import_module(f"pennon.{name}")
    elif name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'pennon' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
