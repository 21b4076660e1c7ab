"""Changing rows, in memory."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from pennon.arrow import to_reader
from pennon.namespaces.abc import IdLike
from pennon.storage._arguments import check_mode, check_write_id
from pennon.storage._memory.base import MemoryBase, moved
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.abc.writes import Writes

__all__ = ["MemoryWrites"]


class MemoryWrites(MemoryBase, Writes):
    """Changing rows, in memory."""

    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append"] = "append",
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Append rows; see :meth:`StorageBackend.write`."""
        import pyarrow as pa

        check_mode(mode)
        named = check_write_id(write_id)
        id, held = self._held(table)
        earlier = held.receipts.get(("append", named))
        if earlier is not None:
            return earlier
        rows = to_reader(data, held.versions[0].schema).read_all()
        with held.lock:
            earlier = held.receipts.get(("append", named))
            if earlier is not None:
                return earlier
            if not rows.num_rows:
                return CommitReceipt(
                    id, "main", len(held.versions), 0, 0, 0, named, datetime.now(UTC)
                )
            if not self._namespace.table_exists(id) or self._namespace.data_of(id) is not held:
                raise moved(id)
            held.versions.append(pa.concat_tables([held.versions[-1], rows]))
            return held.receipt(id, "append", named, rows.num_rows)
