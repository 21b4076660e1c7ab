"""What the generated twins stand on: the sync object, and the bridge to its threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from pennon.errors import Unsupported

if TYPE_CHECKING:
    from pennon.aio._bridge import Bridge
    from pennon.namespaces.abc import Namespace
    from pennon.storage.abc import StorageBackend
    from pennon.storage.table import Table

__all__ = ["AsyncBackendBase", "AsyncNamespaceBase", "AsyncTableBase"]


class _WithThreads:
    """What cannot travel to another process."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise Unsupported(
            f"An {type(self).__name__} stays in its process, with its threads; call "
            "pennon.aio.open in the other one."
        )


class AsyncBackendBase(_WithThreads):
    """A backend and its threads."""

    __slots__ = ("_backend", "_bridge")

    def __init__(self, backend: StorageBackend, bridge: Bridge) -> None:
        self._backend = backend
        self._bridge = bridge


class AsyncTableBase(_WithThreads):
    """A table object and the threads of its backend."""

    __slots__ = ("_bridge", "_table")

    def __init__(self, table: Table, bridge: Bridge) -> None:
        self._table = table
        self._bridge = bridge


class AsyncNamespaceBase(_WithThreads):
    """A catalog and the threads of the backend over it."""

    __slots__ = ("_bridge", "_namespace")

    def __init__(self, namespace: Namespace, bridge: Bridge) -> None:
        self._namespace = namespace
        self._bridge = bridge
