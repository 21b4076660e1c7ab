"""Tables that stand still, in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.memory import MemoryNamespace
from pennon.storage._memory.base import MemoryTable, branch_of
from pennon.storage._memory.freshness import frozen
from pennon.storage.memory import MemoryBackend
from pennon.storage.refs import MAIN, check_branch
from pennon.storage.snapshot import Snapshot, at_one_moment

__all__ = ["MemorySnapshot"]


class MemorySnapshot(Snapshot, MemoryBackend):
    """A snapshot of tables in memory. A table is pinned with its branches.

    Args:
        namespace: The catalog.
        within: The namespace that ids are relative to.
    """

    def __init__(self, namespace: MemoryNamespace, *, within: Id = ()) -> None:
        super().__init__(namespace, within=within)
        self._guard = threading.Lock()
        self._pins: dict[Id, MemoryTable] = {}

    def pin(self, ids: Sequence[Id], deadline: float | None) -> None:
        """Pin tables at one moment."""

        def state(id: Id) -> tuple[object, MemoryTable]:
            _, held = super(MemorySnapshot, self)._held(id[len(self._within) :])
            copy = frozen(held)
            return (held.created_at, copy.latest), copy

        found = at_one_moment(ids, state, deadline)
        with self._guard:
            self._pins.update(found)

    @property
    def pins(self) -> Mapping[Id, int]:
        """The pinned versions of main branches; see :class:`Snapshot`."""
        with self._guard:
            pinned = dict(self._pins)
        return MappingProxyType({id[len(self._within) :]: t.latest for id, t in pinned.items()})

    def _held(self, table: IdLike, branch: str = MAIN) -> tuple[Id, MemoryTable]:
        self._check_open()
        check_branch(branch)
        id = self._id(table)
        with self._guard:
            pin = self._pins.get(id)
        if pin is None:
            new = frozen(super()._held(table)[1])
            with self._guard:
                pin = self._pins.setdefault(id, new)
        return id, branch_of(id, pin, branch)

    def close(self) -> None:
        """Let the pinned versions go; see :meth:`Snapshot.close`."""
        super().close()
        with self._guard:
            self._pins.clear()
