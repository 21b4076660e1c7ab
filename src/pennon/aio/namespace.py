"""The async twin of a catalog."""

from __future__ import annotations

from pennon.aio._namespace_methods import AsyncNamespaceMethods

__all__ = ["AsyncNamespace"]


class AsyncNamespace(AsyncNamespaceMethods):
    """A catalog for asyncio: the ``namespace`` of an async backend, whose threads it shares.

    Every method of :class:`~pennon.namespaces.abc.Namespace` is here to be awaited.
    """

    __slots__ = ()

    @property
    def kind(self) -> str:
        """``"dir"``, ``"rest"``, ``"memory"`` or the name of a plugin."""
        return self._namespace.kind

    @property
    def root(self) -> str:
        """Where the catalog is, without credentials."""
        return self._namespace.root

    async def capabilities(self) -> frozenset[str]:
        """Return what goes beyond naming root tables; may ask the store."""
        return await self._bridge.run(lambda: self._namespace.capabilities)

    def __repr__(self) -> str:
        return f"<async {self._namespace!r}>"
