"""The versions of a table, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.errors import CommitConflict, SchemaMismatch
from pennon.namespaces.abc import IdLike
from pennon.namespaces.names import show_id
from pennon.storage._arguments import check_durability, check_message, check_write_id
from pennon.storage._memory.base import MemoryBase, moved
from pennon.storage._memory.lineage import compared
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.abc.versions import CHANGE, VersionInfo, Versions, check_page
from pennon.storage.refs import MAIN, Ref, check_version

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
        check_page(limit, before)
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
        check_version("version", version)
        if expected is not None:
            check_version("expected", expected)
        ref = Ref(branch=branch, version=version)
        named = check_write_id(write_id)
        check_durability(durability)
        check_message(commit_message)
        id, held = self._held(table, branch)
        with held.writing(id, deadline), held.lock:
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
            if expected is None:
                held.add(old, like=version)
            else:
                held.add(old, kept=())
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
        """Stream the rows that differ; see :meth:`Versions.diff`."""
        import pyarrow as pa

        check_version("from_version", from_version)
        check_version("to_version", to_version)
        states = [Ref(branch=branch, version=v) for v in (from_version, to_version)]
        (id, held, _), _ = (self._state(table, ref) for ref in states)
        old, new = (
            (held.versions[v - held.first], held.lineages[v - held.first])
            for v in (from_version, to_version)
        )
        schema = new[0].schema
        if not old[0].schema.equals(schema):
            raise SchemaMismatch(
                f"The columns of {show_id(id)} differ between versions {from_version} and "
                f"{to_version}; compare two scans instead.",
                table=id,
            )
        shown = schema.append(pa.field(CHANGE, pa.string(), nullable=False))
        found = [
            pa.table([*rows.columns, pa.array([what] * rows.num_rows, pa.string())], schema=shown)
            for what, rows in compared(old, new)
        ]
        return pa.concat_tables(found).to_reader()
