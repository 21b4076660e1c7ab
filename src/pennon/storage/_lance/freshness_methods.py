"""How fresh reads are, and reads of many tables at one moment, on Lance."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from pennon.errors import InvalidName
from pennon.namespaces.abc import IdLike
from pennon.storage._arguments import check_ids
from pennon.storage._lance.base import LanceBase
from pennon.storage.abc.capabilities import operations
from pennon.storage.abc.freshness import Freshness
from pennon.storage.snapshot import READS, Snapshot

__all__ = ["LanceFreshness", "sees_own_writes"]

C = TypeVar("C", bound=type[LanceBase])


class LanceFreshness(LanceBase, Freshness):
    """How fresh reads are, on Lance."""

    def snapshot(
        self, tables: Iterable[IdLike] | None = None, *, deadline: float | None = None
    ) -> Snapshot:
        """Pin tables; see :meth:`StorageBackend.snapshot`."""
        from pennon.storage._lance.snapshot import LanceSnapshot

        taken = LanceSnapshot(self._namespace, within=self._within)
        if tables is not None:
            taken.pin([self._id(table) for table in check_ids(tables)], deadline)
        return taken

    def invalidate_cache(self, table: IdLike | None = None) -> None:
        """Forget a table; see :meth:`StorageBackend.invalidate_cache`."""
        self._touch(table)

    def clear_cache(self) -> None:
        """Forget everything; see :meth:`StorageBackend.clear_cache`."""
        self._touch(None)
        with self._lock:
            self._found.clear()
            self._written.clear()
        self._namespace.session.forget()


def sees_own_writes(backend: C) -> C:
    """Make a read that follows an operation of the same backend as new as that, if it is no read.

    Also if it failed: what it did before is there.
    """
    for name, method in operations(backend).items():
        if name not in READS:
            setattr(backend, name, _seen(method))
    return backend


def _seen(method: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(method).parameters)[1:]
    named = {n: parameters.index(n) for n in ("table", "new") if n in parameters}

    @functools.wraps(method)
    def call(self: LanceBase, *args: object, **options: object) -> Any:
        try:
            return method(self, *args, **options)
        finally:
            for name, at in (named or {"": len(args)}).items():
                table = args[at] if at < len(args) else options.get(name)
                # What is no id of a table was refused, and names none.
                with contextlib.suppress(InvalidName):
                    self._touch(cast("IdLike | None", table))  # pyright: ignore[reportPrivateUsage]

    return call
