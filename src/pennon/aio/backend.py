"""The async twin of a storage backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pennon.aio._backend import AsyncMethods
from pennon.aio.namespace import AsyncNamespace
from pennon.aio.table import AsyncTable
from pennon.namespaces.abc import Id, IdLike
from pennon.storage.consistency import Consistency
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    from pennon.aio._bridge import Bridge
    from pennon.storage.snapshot import Snapshot

__all__ = ["AsyncSnapshot", "AsyncStorageBackend"]


class AsyncStorageBackend(AsyncMethods):
    """A storage backend for asyncio: what :func:`pennon.aio.open` returns.

    Every method of :class:`~pennon.storage.abc.StorageBackend` is here to be awaited and runs in a
    thread; at most ``max_concurrency`` at a time. It belongs to no event loop.

    When an ``await`` is cancelled it returns at once. A call that has not begun then never does; a
    write that is under way ends in its thread as if nobody had been waiting: repeat it with the
    same ``write_id`` to get its receipt. ``aclose()`` waits for such calls.
    """

    __slots__ = ()

    @property
    def namespace(self) -> AsyncNamespace:
        """The catalog whose names this backend stores tables under."""
        return AsyncNamespace(self._backend.namespace, self._bridge)

    async def capabilities(self) -> frozenset[str]:
        """Return the operations that work here; the others raise ``Unsupported``."""
        return await self._bridge.run(lambda: self._backend.capabilities)

    async def snapshot(
        self, tables: Iterable[IdLike] | None = None, *, deadline: float | None = None
    ) -> AsyncSnapshot:
        """Return a read-only view on the newest versions of many tables.

        See :meth:`~pennon.storage.abc.StorageBackend.snapshot`.
        """
        taken = await self._bridge.run(self._backend.snapshot, tables, deadline=deadline)
        return AsyncSnapshot(taken, self._bridge)

    @property
    def consistency(self) -> Consistency:
        """How old an answer may be."""
        return self._backend.consistency

    def table(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> AsyncTable:
        """Return a table to hold in the hand, with the methods of this backend that take its id.

        See :meth:`~pennon.storage.abc.StorageBackend.table`; nothing to await, as it asks nothing
        of the store.
        """
        bound = self._backend.table(table, branch=branch, version=version, tag=tag, as_of=as_of)
        return AsyncTable(bound, self._bridge)

    async def aclose(self) -> None:
        """Wait for the calls under way, drop those that have not begun, end all threads.

        Raises:
            InvalidState: From inside ``lock_table_for_write``, which would wait for itself.
        """
        await self._bridge.aclose(self._backend.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<async {self._backend!r}>"


class AsyncSnapshot(AsyncStorageBackend):
    """Tables at pinned versions, for asyncio: a :class:`~pennon.storage.snapshot.Snapshot`."""

    __slots__ = ("_taken",)

    def __init__(self, taken: Snapshot, bridge: Bridge) -> None:
        super().__init__(taken, bridge)
        self._taken = taken

    @property
    def pins(self) -> Mapping[Id, int]:
        """The pinned version of the main branch of each table, by id."""
        return self._taken.pins

    async def aclose(self) -> None:
        """Let the pinned versions go; later reads raise ``InvalidState``."""
        self._taken.close()
