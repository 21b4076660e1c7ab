"""Catalogs: names of namespaces and tables, in a directory, on a server or in memory.

``pennon.connect`` makes the connection.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pennon.namespaces.abc import Capability as Capability
    from pennon.namespaces.abc import ContextProvider as ContextProvider
    from pennon.namespaces.abc import Id as Id
    from pennon.namespaces.abc import IdLike as IdLike
    from pennon.namespaces.abc import Namespace as Namespace
    from pennon.namespaces.abc import NamespaceInfo as NamespaceInfo
    from pennon.namespaces.abc import Page as Page
    from pennon.namespaces.abc import TableInfo as TableInfo
    from pennon.namespaces.connect import ConnectBuilder as ConnectBuilder
    from pennon.namespaces.directory import DirectoryNamespace as DirectoryNamespace
    from pennon.namespaces.external import ExternalNamespace as ExternalNamespace
    from pennon.namespaces.memory import MemoryNamespace as MemoryNamespace
    from pennon.namespaces.rest import RestNamespace as RestNamespace
    from pennon.namespaces.session import Session as Session

__all__ = [
    "Capability",
    "ConnectBuilder",
    "ContextProvider",
    "DirectoryNamespace",
    "ExternalNamespace",
    "Id",
    "IdLike",
    "MemoryNamespace",
    "Namespace",
    "NamespaceInfo",
    "Page",
    "RestNamespace",
    "Session",
    "TableInfo",
]

_HOME = {
    "ConnectBuilder": "connect",
    "DirectoryNamespace": "directory",
    "ExternalNamespace": "external",
    "MemoryNamespace": "memory",
    "RestNamespace": "rest",
    "Session": "session",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'pennon.namespaces' has no attribute {name!r}")
    home = importlib.import_module(f"pennon.namespaces.{_HOME.get(name, 'abc')}")
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
