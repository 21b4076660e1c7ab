"""Branches and tags of a table, on Lance."""

from __future__ import annotations

from pennon.namespaces.abc import IdLike
from pennon.storage._lance.base import LanceBase
from pennon.storage._lance.branches import create_branch, delete_branch, list_branches
from pennon.storage.abc.branches import Branches, BranchInfo
from pennon.storage.refs import MAIN, Ref, check_branch

__all__ = ["LanceBranches"]


class LanceBranches(LanceBase, Branches):
    """Branches and tags of a table, on Lance."""

    def create_branch(
        self,
        table: IdLike,
        name: str,
        *,
        source: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
    ) -> BranchInfo:
        """Create a branch; see :meth:`StorageBackend.create_branch`."""
        check_branch(name, new=True)
        ref = Ref(branch=source, version=version, tag=tag)
        place = self._place(table)
        self._prove(place)
        return create_branch(place, name, ref)

    def list_branches(self, table: IdLike) -> list[BranchInfo]:
        """List the branches; see :meth:`StorageBackend.list_branches`."""
        return list_branches(self._place(table))

    def delete_branch(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a branch; see :meth:`StorageBackend.delete_branch`."""
        check_branch(name, new=True)
        place = self._place(table)
        self._prove(place)
        delete_branch(place, name, missing_ok=missing_ok)
