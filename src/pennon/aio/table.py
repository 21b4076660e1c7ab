"""The async twin of a table object."""

from __future__ import annotations

from datetime import datetime

from pennon.aio._table import AsyncTableMethods
from pennon.namespaces.abc import Id

__all__ = ["AsyncTable"]


class AsyncTable(AsyncTableMethods):
    """A table of an async backend: ``db.table("docs")``.

    Every method of :class:`~pennon.storage.table.Table` is here to be awaited.
    """

    __slots__ = ()

    @property
    def id(self) -> Id:
        """Relative to the backend."""
        return self._table.id

    @property
    def branch(self) -> str:
        """The branch; meaningless for a tag, which names its own."""
        return self._table.branch

    @property
    def version(self) -> int | None:
        """The version it is fixed to, if it was fixed by one."""
        return self._table.version

    @property
    def tag(self) -> str | None:
        """The tag it is fixed to, if it was fixed by one."""
        return self._table.tag

    @property
    def as_of(self) -> datetime | None:
        """The time it is fixed to, if it was fixed by one."""
        return self._table.as_of

    def on(self, branch: str) -> AsyncTable:
        """Return the same table at a branch; see :meth:`~pennon.storage.table.Table.on`."""
        return AsyncTable(self._table.on(branch), self._bridge)

    def at(
        self,
        *,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> AsyncTable:
        """Return the same table at a state; see :meth:`~pennon.storage.table.Table.at`."""
        fixed = self._table.at(version=version, tag=tag, as_of=as_of)
        return AsyncTable(fixed, self._bridge)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AsyncTable):
            return NotImplemented
        return self._table == other._table

    def __hash__(self) -> int:
        return hash(self._table)

    def __repr__(self) -> str:
        return f"<async {self._table!r}>"
