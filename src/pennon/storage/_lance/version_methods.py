"""The versions of a table, on Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.errors import TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.storage._lance.diff import diff
from pennon.storage._lance.rebuilds import rebuild
from pennon.storage._lance.versions import list_versions, rollback
from pennon.storage._lance.write_methods import LanceWrites
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.abc.versions import VersionInfo, Versions, check_page
from pennon.storage.refs import MAIN, Ref, check_version

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceVersions"]


class LanceVersions(LanceWrites, Versions):
    """The versions of a table, on Lance."""

    def _newest(self, table: IdLike, branch: str) -> int:
        return self._read_place(table, Ref(branch=branch)).open().version

    def versions(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        limit: int | None = None,
        before: int | None = None,
    ) -> list[VersionInfo]:
        """Return what the commits did; see :meth:`Versions.versions`."""
        check_page(limit, before)
        place = self._place(table, Ref(branch=branch).branch)
        with self._unless_dropped([place], TableNotFound):
            return list_versions(place, limit, before)

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
        check_version("version", version)
        if expected is not None:
            check_version("expected", expected)
        old = Ref(branch=branch, version=version)
        asked = self._asked("rollback", write_id, deadline, commit_message, durability)
        return self._once(
            table,
            old.branch,
            asked,
            lambda at: rollback(at, version, expected, asked),
            lambda at, found: rebuild(at, found, asked),
        )

    def diff(
        self, table: IdLike, from_version: int, to_version: int, *, branch: str = MAIN
    ) -> pa.RecordBatchReader:
        """Stream the rows that differ; see :meth:`Versions.diff`."""
        check_version("from_version", from_version)
        check_version("to_version", to_version)
        place = self._place(table, Ref(branch=branch).branch)
        with self._unless_dropped([place], TableNotFound):
            return diff(place, from_version, to_version)
