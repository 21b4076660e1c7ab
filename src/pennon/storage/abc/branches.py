"""Contract: branches and tags of a table."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from datetime import datetime

from pennon.namespaces.abc import IdLike
from pennon.storage.refs import MAIN

__all__ = ["BranchInfo", "Branches", "TagInfo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchInfo:
    """A branch and where it started."""

    name: str
    parent: str
    """The branch it was made from."""
    parent_version: int
    """The version of the parent that it started with; its own versions count on from there."""
    created_at: datetime
    """UTC, by the clock of the creator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagInfo:
    """A name for one version."""

    name: str
    branch: str
    version: int
    created_at: datetime
    """UTC, by the clock of the creator."""
    updated_at: datetime
    """When it was created or last moved."""


class Branches(abc.ABC):
    """Branches and tags of one table. ``"main"`` is the table itself.

    A branch shares the files of the version it was made from and keeps everything later to itself:
    nothing aimed at a branch ever changes another one, and a branch that does not exist is an
    error, never main.
    """

    @abc.abstractmethod
    def create_branch(
        self,
        table: IdLike,
        name: str,
        *,
        source: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
    ) -> BranchInfo:
        """Create a branch. Of N racing creators exactly one succeeds, whatever they start from.

        A creator that was killed leaves the name taken; whoever creates or deletes the branch
        half a minute later finishes that.

        Args:
            table: Its id.
            name: Letters, digits, ``.``, ``-`` and ``_`` in steps joined by ``/``.
            source: The branch to start from.
            version: A version of it; the newest if None.
            tag: A tag to start from instead, which names its own branch and version.

        Raises:
            BranchAlreadyExists: The name is taken; nothing of this call remains.
            BranchNotFound: There is no such source.
            VersionNotFound: The source has no such version, or not any more.
            TagNotFound: There is no such tag.
            TableNotFound: No table has the id, or it is only declared.
            InvalidName: A name no branch can have.
            InvalidOption: Both a version and a tag, or a tag and a source.
            InvalidState: The branch of this name is being deleted.
        """

    @abc.abstractmethod
    def list_branches(self, table: IdLike) -> list[BranchInfo]:
        """Return the branches of a table by name, without ``"main"``.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
        """

    @abc.abstractmethod
    def delete_branch(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a branch and every row that only it has.

        Finishes a creation or deletion of this name whose process was killed.

        Raises:
            BranchNotFound: There is none, unless ``missing_ok``.
            InvalidState: Another branch was made from it, or a tag names one of its versions.
            TableNotFound: No table has the id, or it is only declared.
            InvalidName: It is ``"main"``, or no branch can have that name.
        """

    def fork_branch(self, table: IdLike, src: str, dst: str) -> tuple[int, str]:
        """Create the branch ``dst`` from the newest version of ``src``.

        Returns:
            The version of ``src`` that it starts with, and ``dst``.

        Raises:
            BranchAlreadyExists: ``dst`` is taken.
            BranchNotFound: There is no ``src``.
        """
        made = self.create_branch(table, dst, source=src)
        return made.parent_version, made.name

    @abc.abstractmethod
    def create_tag(
        self, table: IdLike, name: str, *, branch: str = MAIN, version: int | None = None
    ) -> TagInfo:
        """Name a version. Of N racing creators exactly one succeeds.

        A version with a tag is kept when old ones are cleaned up.

        Args:
            table: Its id.
            name: Letters, digits, ``.``, ``-`` and ``_``, with no ``.`` at either end. A branch may
                have the same one.
            branch: The branch of the version.
            version: Its number; the newest of the branch if None.

        Raises:
            TagAlreadyExists: The name is taken; ``move_tag`` moves it.
            BranchNotFound: There is no such branch.
            VersionNotFound: The branch has no such version, or not any more.
            TableNotFound: No table has the id, or it is only declared.
            InvalidName: A name no tag can have.
        """

    @abc.abstractmethod
    def move_tag(
        self, table: IdLike, name: str, *, branch: str = MAIN, version: int | None = None
    ) -> TagInfo:
        """Let a tag name another version. Of racing movers the last one wins.

        Args:
            table: Its id.
            name: The tag.
            branch: The branch of the version.
            version: Its number; the newest of the branch if None.

        Raises:
            TagNotFound: There is no such tag.
            BranchNotFound: There is no such branch.
            VersionNotFound: The branch has no such version, or not any more.
            TableNotFound: No table has the id, or it is only declared.
        """

    @abc.abstractmethod
    def delete_tag(self, table: IdLike, name: str, *, missing_ok: bool = False) -> None:
        """Delete a tag; the version stays until it is cleaned up.

        Raises:
            TagNotFound: There is none, unless ``missing_ok``.
            TableNotFound: No table has the id, or it is only declared.
        """

    @abc.abstractmethod
    def list_tags(self, table: IdLike) -> list[TagInfo]:
        """Return the tags of a table, of all branches, by name.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
        """
