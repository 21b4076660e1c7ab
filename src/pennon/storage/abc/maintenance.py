"""Contract: keeping tables small and fast, and putting right what a crash left behind."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from pennon.errors import InvalidOption
from pennon.namespaces.abc import Id, IdLike
from pennon.storage._arguments import check_flags
from pennon.storage.refs import MAIN

__all__ = ["WEEK", "Finding", "Maintenance", "OptimizeReport", "RecoveryReport", "check_retain"]

WEEK = timedelta(days=7)
_FLOOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeReport:
    """What :meth:`Maintenance.optimize_table` did, or would do."""

    table: Id
    branch: str
    dry_run: bool
    version: int
    """The newest version afterwards."""
    fragments_removed: int = 0
    """Fragments that were rewritten."""
    fragments_added: int = 0
    """Fragments that took their place."""
    rows_rewritten: int = 0
    conflicts: int = 0
    """Rewrites that were thrown away because a writer changed the same rows meanwhile."""
    indexes_updated: tuple[str, ...] = ()
    """Names of the indexes that took up rows."""
    indexes_rebuilt: tuple[str, ...] = ()
    """Names of the indexes whose build had been interrupted and was finished."""
    versions_removed: int = 0
    files_removed: int = 0
    bytes_removed: int = 0
    notes_removed: int = 0
    """Attempts of writes with an id that nobody can tell of any more, and that are forgotten."""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a process left when it was killed."""

    kind: Literal["branch", "create", "directory", "index", "key", "note", "table", "version"]
    """``branch``: half made or half deleted. ``create``: a name that was claimed for a table that
    was never written. ``directory``: files of a table that has no name any more. ``index``: one
    that an overwrite was to build anew. ``key``: rows with one key, left by a merge that did not
    come to its end. ``note``: a write id that was tried and never committed. ``table``: one that
    cannot be read. ``version``: newest versions that the disk did not keep whole."""
    table: Id | None
    """None for what belongs to no table."""
    branch: str
    what: str
    """What was found."""
    resolved: bool
    """Whether it was put right; False in a dry run, and where it could not be: ``what`` says why.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryReport:
    """What :meth:`Maintenance.recover` found and did, or would do."""

    dry_run: bool
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0


class Maintenance(abc.ABC):
    """Keeping tables small and fast, and putting right what a crash left behind."""

    @abc.abstractmethod
    def optimize_table(
        self,
        table: IdLike,
        *,
        compaction: bool = True,
        indexes: bool = True,
        retain: timedelta | None = WEEK,
        alone: bool = False,
        branch: str = MAIN,
        deadline: float | None = None,
        dry_run: bool = False,
    ) -> OptimizeReport:
        """Rewrite small fragments as large ones, update the indexes, and remove old versions.

        Readers and writers go on meanwhile. No row changes, nor does its id. A fragment that a
        writer changes while it is rewritten is left for another try; the writer always wins. Each
        rewrite is a commit of its own, of about 128 MiB or a million rows, so that memory and what
        a lost race costs are bounded. All of it is on the disk before anything is removed.

        Removed are versions that another one followed longer than ``retain`` ago and that neither a
        tag nor a branch needs, with the files that only they name, and files older than 7 days that
        no version names. Reading a version, and repeating a write by its id, work for as long as it
        is kept. Whoever makes a tag or a branch of an old version meanwhile waits until the removal
        is over, up to a minute, and is told if it took the version.

        Args:
            table: Its id.
            compaction: Whether to rewrite small fragments, and those with many deleted rows.
            indexes: Whether to take new rows into the indexes, and to finish interrupted builds.
            retain: How long ago another version must have followed one that is removed; None to
                remove nothing. A writer or reader that takes longer than this may fail; less than
                an hour is refused.
            alone: The caller knows that nobody else uses the table: any ``retain`` is good, but in
                a bucket nothing is removed that was the newest version ten seconds ago.
            branch: The branch; no other one is changed.
            deadline: Seconds after which nothing more is begun, and an index that is being built is
                given up; no limit if None. What was done by then stays done.
            dry_run: Change nothing, only say what would be done. What a rewrite or a removal would
                come to is an estimate.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            BranchNotFound: It has no such branch.
            InvalidOption: ``retain`` is too short, or no time.
        """

    @abc.abstractmethod
    def recover(
        self, id: IdLike = (), *, alone: bool = False, dry_run: bool = False
    ) -> RecoveryReport:
        """Find what killed processes left, and put it right; no acknowledged row is ever lost.

        Nothing needs to be recovered before tables can be used again when a process was killed:
        what is left over costs space, or keeps a name busy. The exception is a row that a merge
        inserted beside one that another tool had inserted with the same key: killed before it could
        repair that, it leaves both, until this is called or the merge is repeated with its write
        id. A loss of power may tear the newest versions of a table, or of the catalog on a disk, or
        cut the files they name, unless they were written with ``durability="disk"``: then this puts
        them aside, below ``_pennon/torn``, back to the newest one that is whole. Their rows are not
        in the table any more, and the finding says how many it has left.

        Repeating it is harmless, also at the same time elsewhere. What is younger than an hour is
        left alone, because whoever makes it may still be alive; names that were claimed and never
        written, and directories of tables that were dropped, a week. A torn version is nobody's
        work in progress, and put aside at once.

        Args:
            id: A table; or a namespace, for all tables in it and below. Names without a table, and
                directories without a name, are looked for if it is the root of a directory.
            alone: The caller knows that nobody else is writing: nothing is too young.
            dry_run: Change nothing, only say what was found.

        Raises:
            TableNotFound: There is neither a table nor a namespace with this id.
        """


def check_retain(retain: timedelta | None, *, alone: bool) -> None:
    """Refuse to remove what a slow writer or reader may need.

    Raises:
        InvalidOption: It is no time, or too short.
    """
    check_flags(alone=alone)
    if retain is None:
        return
    if not isinstance(retain, timedelta) or retain < timedelta(0):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            f"retain={retain!r} must be a datetime.timedelta of 0 or more, or None."
        )
    if retain < _FLOOR and not alone:
        raise InvalidOption(
            f"retain={retain!r} could take a version away from under a slow reader, or the commit "
            "of a slow writer; make it an hour or more, or pass alone=True if nobody else uses the "
            "table."
        )
