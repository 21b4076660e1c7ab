"""Branches and tags of a table, in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from pennon.errors import (
    BranchAlreadyExists,
    BranchNotFound,
    InvalidState,
    TagAlreadyExists,
    TagNotFound,
    VersionNotFound,
)
from pennon.namespaces.abc import Id, IdLike
from pennon.namespaces.names import show_id
from pennon.storage._memory.base import MemoryBase, MemoryTable, branch_of
from pennon.storage.abc.branches import Branches, BranchInfo, TagInfo
from pennon.storage.abc.versions import VersionInfo
from pennon.storage.refs import MAIN, Ref, check_branch, check_tag

__all__ = ["MemoryBranches"]


class MemoryBranches(MemoryBase, Branches):
    """Branches and tags of a table, in memory."""

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
        id, main = self._held(table)
        with main.lock:
            parent, number = _source_of(id, main, ref)
            if name in main.branches:
                raise BranchAlreadyExists(
                    f"{show_id(id)} has a branch {name!r} already; choose another name, or delete "
                    "it first.",
                    table=id,
                    branch=name,
                )
            rows = parent.at(number)
            assert rows is not None
            made = MemoryTable(
                [rows],
                branch=name,
                first=number,
                parent=parent.branch,
                lineages=[parent.lineages[number - parent.first]],
                rows_made=parent.rows_made,
            )
            made.times.append(made.created_at)
            made.indexes[number] = parent.indexes_at(number)
            made.history[number] = VersionInfo(
                version=number, committed_at=made.created_at, operation="branch"
            )
            main.branches[name] = made
            return _info(made)

    def list_branches(self, table: IdLike) -> list[BranchInfo]:
        """List the branches; see :meth:`StorageBackend.list_branches`."""
        _, main = self._held(table)
        with main.lock:
            return [_info(main.branches[name]) for name in sorted(main.branches)]

    def delete_branch(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a branch; see :meth:`StorageBackend.delete_branch`."""
        check_branch(name, new=True)
        id, main = self._held(table)
        with main.lock:
            if name not in main.branches:
                if missing_ok:
                    return
                raise BranchNotFound(
                    f"{show_id(id)} has no branch {name!r}; list_branches shows those it has.",
                    table=id,
                    branch=name,
                )
            using = [f"the branch {b.branch!r}" for b in main.branches.values() if b.parent == name]
            using += [f"the tag {t.name!r}" for t in main.tags.values() if t.branch == name]
            if using:
                raise InvalidState(
                    f"The branch {name!r} of {show_id(id)} cannot be deleted, because {using[0]} "
                    "needs it; delete that first.",
                    table=id,
                    branch=name,
                )
            del main.branches[name]

    def create_tag(
        self, table: IdLike, name: str, *, branch: str = MAIN, version: int | None = None
    ) -> TagInfo:
        """Name a version; see :meth:`StorageBackend.create_tag`."""
        check_tag(name)
        id, main = self._held(table)
        with main.lock:
            there, number = _source_of(id, main, Ref(branch=branch, version=version))
            if name in main.tags:
                raise TagAlreadyExists(
                    f"{show_id(id)} has a tag {name!r} already; move_tag moves it.",
                    table=id,
                    tag=name,
                )
            now = datetime.now(UTC)
            made = TagInfo(
                name=name, branch=there.branch, version=number, created_at=now, updated_at=now
            )
            main.tags[name] = made
            return made

    def move_tag(
        self, table: IdLike, name: str, *, branch: str = MAIN, version: int | None = None
    ) -> TagInfo:
        """Let a tag name another version; see :meth:`StorageBackend.move_tag`."""
        check_tag(name)
        id, main = self._held(table)
        with main.lock:
            before = _tag(id, main, name)
            there, number = _source_of(id, main, Ref(branch=branch, version=version))
            moved = replace(
                before, branch=there.branch, version=number, updated_at=datetime.now(UTC)
            )
            main.tags[name] = moved
            return moved

    def delete_tag(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a tag; see :meth:`StorageBackend.delete_tag`."""
        check_tag(name)
        id, main = self._held(table)
        with main.lock:
            if name in main.tags or not missing_ok:
                _tag(id, main, name)
                del main.tags[name]

    def list_tags(self, table: IdLike) -> list[TagInfo]:
        """List the tags; see :meth:`StorageBackend.list_tags`."""
        _, main = self._held(table)
        with main.lock:
            return [main.tags[name] for name in sorted(main.tags)]


def _tag(id: Id, main: MemoryTable, name: str) -> TagInfo:
    found = main.tags.get(name)
    if found is None:
        raise TagNotFound(
            f"{show_id(id)} has no tag {name!r}; list_tags shows those it has.", table=id, tag=name
        )
    return found


def _info(branch: MemoryTable) -> BranchInfo:
    return BranchInfo(
        name=branch.branch,
        parent=branch.parent or MAIN,
        parent_version=branch.first,
        created_at=branch.created_at,
    )


def _source_of(id: Id, main: MemoryTable, ref: Ref) -> tuple[MemoryTable, int]:
    if ref.tag is not None:
        tag = _tag(id, main, ref.tag)
        return branch_of(id, main, tag.branch), tag.version
    found = branch_of(id, main, ref.branch)
    if ref.version is not None and found.at(ref.version) is None:
        raise VersionNotFound(
            f"{show_id(id)} has no version {ref.version} on {ref.branch}; its newest is "
            f"{found.latest}.",
            table=id,
            version=ref.version,
        )
    return found, ref.version or found.latest
