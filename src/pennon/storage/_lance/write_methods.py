"""Changing rows, on Lance."""

from __future__ import annotations

from typing import Any, Literal

from pennon.errors import CommitConflict
from pennon.namespaces.abc import IdLike
from pennon.storage._arguments import check_mode, check_write_id
from pennon.storage._lance.append import append
from pennon.storage._lance.base import COMMIT_SECONDS, LanceBase
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.abc.writes import Writes

__all__ = ["LanceWrites"]


class LanceWrites(LanceBase, Writes):
    """Changing rows, on Lance."""

    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append"] = "append",
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Append rows; see :meth:`StorageBackend.write`."""
        check_mode(mode)
        place = self._place(table)
        self._prove(place)
        with self._unless_dropped([place], CommitConflict):
            return append(
                self._namespace,
                place,
                data,
                write_id=check_write_id(write_id),
                repeated=write_id is not None,
                seconds=COMMIT_SECONDS,
            )
