"""The async twins: ``pennon.aio.open`` is ``pennon.open`` for asyncio.

Every method of a backend, of a table object and of a catalog is here under its own name, to be
awaited; what returns a stream is an async iterator of record batches. Importing this starts no
thread: each backend starts its own, a bounded number, when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pennon.aio._open import open as open  # noqa: A004
    from pennon.aio._stream import BatchStream as BatchStream
    from pennon.aio.backend import AsyncSnapshot as AsyncSnapshot
    from pennon.aio.backend import AsyncStorageBackend as AsyncStorageBackend
    from pennon.aio.namespace import AsyncNamespace as AsyncNamespace
    from pennon.aio.table import AsyncTable as AsyncTable

__all__ = [
    "AsyncNamespace",
    "AsyncSnapshot",
    "AsyncStorageBackend",
    "AsyncTable",
    "BatchStream",
    "open",
]

_HOME = {
    "AsyncNamespace": "pennon.aio.namespace",
    "AsyncSnapshot": "pennon.aio.backend",
    "AsyncStorageBackend": "pennon.aio.backend",
    "AsyncTable": "pennon.aio.table",
    "BatchStream": "pennon.aio._stream",
    "open": "pennon.aio._open",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pennon.aio' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
