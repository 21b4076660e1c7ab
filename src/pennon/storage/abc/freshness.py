"""Contract: how fresh reads are, and reads of many tables at one instant."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pennon.namespaces.abc import IdLike
from pennon.storage.consistency import Consistency, Strong

if TYPE_CHECKING:
    from pennon.storage.snapshot import Snapshot

__all__ = ["Freshness"]


class Freshness(abc.ABC):
    """How fresh reads are.

    Every read sees what was acknowledged before it began, unless the backend was opened with
    ``consistency=Eventual(seconds)``. Writes always begin with the newest state. An answer that
    something does not exist is never taken from a cache.
    """

    _consistency: Consistency = Strong()

    @property
    def consistency(self) -> Consistency:
        """How old an answer may be."""
        return self._consistency

    @abc.abstractmethod
    def snapshot(
        self, tables: Iterable[IdLike] | None = None, *, deadline: float | None = None
    ) -> Snapshot:
        """Return a read-only view on the newest versions of many tables.

        With ``tables``, all of them are pinned before it is returned, and there was one moment
        during this call at which each pinned version was the newest of its table: they are looked
        at again after the last one was pinned, and pinned anew if one had moved. That is so
        whatever ``consistency`` is. Without ``tables``, a table is pinned when it is first touched,
        so that two tables may show different moments; that also holds for every table, and every
        branch other than the main one, that is not named.

        A pinned table is the same until the view is closed, also when it is written to, renamed or
        dropped meanwhile; no request is sent to find out. It holds no lease: if a clean-up removes
        the version, or a drop the files, reads of what is gone fail with a typed error.

        Args:
            tables: Ids of the tables to pin at one moment.
            deadline: Seconds to find such a moment; 30 if None.

        Raises:
            TableNotFound: A table that is named does not exist, or is only declared.
            InvalidOption: ``tables`` is no list of ids.
            CommitConflict: Writers were so busy that no such moment was found in time.
        """

    @abc.abstractmethod
    def invalidate_cache(self, table: IdLike | None = None) -> None:
        """Forget what is known of a table and its branches, so that the next read asks the store.

        Of all tables if no id is given. Only of use with ``Eventual``: other reads ask anyway.
        """

    @abc.abstractmethod
    def clear_cache(self) -> None:
        """Forget all tables, and give back the memory of metadata and indexes that were read.

        What is held by the session of the namespace is let go too, for everybody who shares it.
        """
