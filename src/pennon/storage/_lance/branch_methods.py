"""Branches and tags of a table, on Lance."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from pennon.errors import TableNotFound
from pennon.namespaces.abc import IdLike
from pennon.storage._lance.base import LanceBase
from pennon.storage._lance.branches import create_branch, delete_branch, list_branches
from pennon.storage._lance.named import named
from pennon.storage._lance.places import Place
from pennon.storage._lance.tags import create_tag, delete_tag, list_tags, move_tag
from pennon.storage.abc.branches import Branches, BranchInfo, TagInfo
from pennon.storage.refs import MAIN, Ref, check_branch, check_tag

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
        with self._kept(table) as place:
            self._prove(place)
            return create_branch(place, name, ref)

    def list_branches(self, table: IdLike) -> list[BranchInfo]:
        """List the branches; see :meth:`StorageBackend.list_branches`."""
        with self._kept(table) as place:
            return list_branches(place)

    def delete_branch(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a branch; see :meth:`StorageBackend.delete_branch`."""
        check_branch(name, new=True)
        with self._kept(table) as place:
            self._prove(place)
            delete_branch(place, name, missing_ok=missing_ok)

    def create_tag(
        self, table: IdLike, name: str, *, branch: str = MAIN, version: int | None = None
    ) -> TagInfo:
        """Name a version; see :meth:`StorageBackend.create_tag`."""
        check_tag(name)
        with self._kept(table) as place:
            self._prove(place)
            return create_tag(place, name, Ref(branch=branch, version=version))

    def move_tag(
        self, table: IdLike, name: str, *, branch: str = MAIN, version: int | None = None
    ) -> TagInfo:
        """Let a tag name another version; see :meth:`StorageBackend.move_tag`."""
        check_tag(name)
        with self._kept(table) as place:
            self._prove(place)
            return move_tag(place, name, Ref(branch=branch, version=version))

    def delete_tag(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a tag; see :meth:`StorageBackend.delete_tag`."""
        check_tag(name)
        with self._kept(table) as place:
            delete_tag(place, name, missing_ok=missing_ok)

    def list_tags(self, table: IdLike) -> list[TagInfo]:
        """List the tags; see :meth:`StorageBackend.list_tags`."""
        with self._kept(table) as place:
            return list_tags(place)

    def _pinned_by(self, table: IdLike) -> list[str]:
        return named(self._place(table))

    @contextlib.contextmanager
    def _kept(self, table: IdLike) -> Generator[Place]:
        """A table; not found if it is dropped before the block ends."""
        place = self._place(table)
        with self._unless_dropped([place], TableNotFound):
            yield place
