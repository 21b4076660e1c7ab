"""Tables that stand still, on Lance: their handles are kept, and nobody asks for newer ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pennon.namespaces.abc import Id, IdLike, Namespace, TableInfo
from pennon.namespaces.newest import transaction_of
from pennon.objects import ObjectStore
from pennon.storage._lance.backend import LanceBackend
from pennon.storage._lance.handles import Kept, clone
from pennon.storage._lance.places import Place
from pennon.storage.refs import MAIN, Ref
from pennon.storage.snapshot import Snapshot, at_one_moment

if TYPE_CHECKING:
    import lance

__all__ = ["LanceSnapshot"]


@dataclass(slots=True)
class _Pin:
    """A table of a snapshot."""

    info: TableInfo
    handles: dict[str, lance.LanceDataset] = field(default_factory=dict[str, Any])
    """By location: the table, and those of its branches that were touched."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Pinning:
    """Gives out pinned handles, and pins what is not pinned yet."""

    pin: _Pin
    behind: Kept

    def newest(
        self,
        location: str,
        store: ObjectStore,
        base: str,
        open: Callable[[], lance.LanceDataset],
        since: float | None = None,  # noqa: ARG002 - a pinned version may be of any age
        *,
        listed: bool = False,  # noqa: ARG002
    ) -> lance.LanceDataset:
        """Return a handle of the caller's own on the pinned version."""
        with self.pin.lock:
            found = self.pin.handles.get(location)
        if found is None:
            new = self.behind.newest(location, store, base, open)
            with self.pin.lock:
                found = self.pin.handles.setdefault(location, new)
        return clone(found)

    def is_written(
        self,
        location: str,
        store: ObjectStore,  # noqa: ARG002 - the same as above
        base: str,  # noqa: ARG002
        since: float | None = None,  # noqa: ARG002
    ) -> bool:
        """Whether it is pinned."""
        return location in self.pin.handles

    def look(self, location: str, store: ObjectStore, base: str) -> None:
        """Do nothing: what is pinned may be of any age."""

    def follow(self, location: str) -> None:
        """Do nothing: what is pinned is not written to."""

    def committed(self, *_: object) -> bool:
        """Return False: what is pinned is not written to."""
        return False

    def outlived(self, *_: object) -> bool:
        """Return False: what is pinned is not written to."""
        return False


class LanceSnapshot(Snapshot, LanceBackend):
    """A snapshot of tables on Lance.

    Args:
        namespace: The catalog.
        within: The namespace that ids are relative to.
    """

    def __init__(self, namespace: Namespace, *, within: Id = ()) -> None:
        super().__init__(namespace, within=within)
        self._pins: dict[Id, _Pin] = {}

    def pin(self, ids: Sequence[Id], deadline: float | None) -> None:
        """Pin tables at one moment."""

        def state(id: Id) -> tuple[object, _Pin]:
            place = Place.of(self._namespace, self._namespace.describe_table(id))
            handle = place.open()
            sign = place.location, handle.version, transaction_of(handle)
            return sign, _Pin(place.info, {place.location: handle})

        found = at_one_moment(ids, state, deadline)
        with self._lock:
            self._pins.update(found)

    @property
    def pins(self) -> Mapping[Id, int]:
        """The pinned versions of main branches; see :class:`Snapshot`."""
        with self._lock:
            pinned = dict(self._pins)
        handles = {id: pin.handles.get(pin.info.location) for id, pin in pinned.items()}
        return MappingProxyType(
            {id[len(self._within) :]: h.version for id, h in handles.items() if h is not None}
        )

    def _place(self, table: IdLike, branch: str = MAIN) -> Place:
        self._check_open()
        id = self._id(table)
        with self._lock:
            pin = self._pins.get(id)
        if pin is None:
            new = _Pin(self._namespace.describe_table(id))
            with self._lock:
                pin = self._pins.setdefault(id, new)
        place = Place.of(self._namespace, pin.info, branch)
        return replace(place, handles=_Pinning(pin, place.handles))

    def _read_place(self, table: IdLike, ref: Ref | None) -> Place:
        return self._place(table, MAIN if ref is None else ref.branch)

    def close(self) -> None:
        """Let the pinned versions go; see :meth:`Snapshot.close`."""
        super().close()
        with self._lock:
            self._pins.clear()
