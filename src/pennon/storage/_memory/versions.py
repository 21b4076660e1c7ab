"""The versions of a table, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.errors import CommitConflict, Unsupported
from pennon.namespaces.abc import IdLike
from pennon.namespaces.names import show_id
from pennon.retry import Deadline
from pennon.storage._arguments import check_durability, check_write_id
from pennon.storage._memory.base import MemoryBase, moved
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.abc.versions import VersionInfo, Versions, check_page
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MemoryVersions"]


class MemoryVersions(MemoryBase, Versions):
    """The versions of a table, in memory."""

    def _newest(self, table: IdLike, branch: str) -> int:
        return self._held(table, branch)[1].latest

    def versions(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[VersionInfo]:
        """Return what the commits did; see :meth:`Versions.versions`."""
        check_page(limit)
        _, held = self._held(table, branch)
        with held.lock:
            newest_first = sorted(held.history.values(), key=lambda v: -v.version)
        return [v for v in newest_first if before is None or v.version < before][:limit]

    def rollback_table(
        self,
        table: IdLike,
        version: int,
        *,
        expected: int | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Return to an old version; see :meth:`Versions.rollback_table`."""
        ref = Ref(branch=branch, version=version)
        named = check_write_id(write_id)
        check_durability(durability)
        Deadline.after(deadline, 60)
        id, held = self._held(table, branch)
        with held.lock:
            earlier = held.receipts.get(("rollback", named))
            if earlier is not None:
                return earlier
            _, old = self._at(table, ref)
            if expected is not None and held.latest != expected:
                raise CommitConflict(
                    f"{show_id(id)} is at version {held.latest}, not {expected}: somebody wrote to "
                    "it; read it again, then retry.",
                    table=id,
                )
            if not self._namespace.table_exists(id) or self._held(table, branch)[1] is not held:
                raise moved(id)
            gone = held.versions[-1].num_rows
            before = held.indexes_at(version)
            held.versions.append(old)
            made = held.receipt(
                id, "rollback", named, old.num_rows, deleted=gone, message=commit_message
            )
            if expected is not None and before:
                return held.rebuilt(id, made, before)
            held.indexes[held.latest] = before
            return made

    def diff(
        self, table: IdLike, from_version: int, to_version: int, *, branch: str = MAIN
    ) -> pa.RecordBatchReader:
        """Refused; see :meth:`Versions.diff`."""
        self._at(table, Ref(branch=branch, version=from_version))
        id, _ = self._at(table, Ref(branch=branch, version=to_version))
        raise Unsupported(
            f"{show_id(id)} is in memory, where rows have no stable ids, so what became of a row "
            "cannot be told; keep it on disk or in a bucket.",
            table=id,
        )
