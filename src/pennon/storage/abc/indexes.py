"""Contract: indexes of a table."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt, Durability
from pennon.storage.indexing import FullText, IndexKind, ScalarIndex, VectorIndex
from pennon.storage.refs import MAIN

__all__ = ["IndexInfo", "IndexProgress", "IndexStats", "Indexes", "Progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexInfo:
    """An index and how much of the table it covers."""

    name: str
    columns: tuple[str, ...]
    kind: IndexKind | str
    """``"btree"``, ``"fts"``, ``"ivf_pq"`` and so on; the name that Lance gives it, in lower case,
    if another tool built one of a kind that pennon does not know."""
    rows_indexed: int
    rows_not_indexed: int
    """Rows that were written since and are searched without the index: found, but slower;
    ``update_indexes`` covers them."""
    size_bytes: int | None
    """Of its files; None if Lance does not know."""
    segments: int
    """Parts that are searched one after the other."""
    ids: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """What Lance calls the segments: other names whenever it is built anew. None in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStats:
    """An index in detail."""

    index: IndexInfo
    parameters: Mapping[str, Any]
    """What it was built with, by the names of the parameters of its kind."""
    built_at: datetime | None
    """When its newest segment was built, by the clock of its builder: UTC."""
    version: int
    """The newest version of the table that a segment was built on."""
    segments: tuple[Mapping[str, Any], ...]
    """What Lance tells of each: for an inverted file, the sizes of its partitions, the loss of the
    training and so on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexProgress:
    """How far a build is."""

    index: str
    stage: str
    """Such as ``"load_data"``, ``"train_ivf"``, ``"merge_partitions"``; differs by kind."""
    completed: int | None
    total: int | None
    unit: str
    """What is counted, such as ``"rows"``."""
    done: bool
    """Whether the stage is over."""


Progress = Callable[[IndexProgress], object]


class Indexes(abc.ABC):
    """Indexes of one table.

    An index makes filters and searches faster and never changes what they find: rows that it does
    not cover yet are searched without it, and deleted ones are left out. Appends, updates, deletes
    and compactions go on while one is built; its commit comes last and names every row version it
    was made from, so an index that is listed is whole.

    An index belongs to its branch: a new branch begins with those of its source, and what is built
    or dropped on one branch changes no other.

    An overwrite builds every index of the table anew whose columns are still there and fit; see
    :meth:`Writes.write`.

    The methods that write take ``branch``, ``write_id``, ``deadline``, ``durability`` and
    ``commit_message`` as in :class:`Writes`, and those that build also:

    * ``replace``: whether an index of the same name may be replaced. The old one serves until the
      new one takes its place in one commit.
    * ``progress``: called with an :class:`IndexProgress` now and then. What it
      raises ends the build and is raised to the caller; nothing of the index remains.

    Every method raises ``TableNotFound`` if no table has the id or it is only declared, and
    ``BranchNotFound`` if it has no such branch; those that write, ``CommitConflict`` if rivals won
    again and again or the table was dropped meanwhile, and ``OutcomeUnknown`` if the fate of the
    write could not be settled.
    """

    @abc.abstractmethod
    def create_scalar_index(
        self,
        table: IdLike,
        column: str,
        kind: ScalarIndex | str = "btree",
        *,
        name: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> IndexInfo:
        """Build an index for filters.

        >>> db.create_scalar_index("docs", "id")
        >>> db.create_scalar_index("docs", "lang", "bitmap")
        >>> db.create_scalar_index("docs", "at", ZoneMap(rows_per_zone=1024))

        Args:
            table: Its id.
            column: The column; ``"a.b"`` for a field of a struct.
            kind: ``"btree"``, ``"bitmap"``, ``"label_list"``, ``"ngram"``, ``"zonemap"``,
                ``"bloomfilter"``, ``"rtree"`` or ``"minhash"``, or an object such as
                :class:`~pennon.storage.indexing.BTree` with its parameters.
            name: Its name; the column and the kind, as in ``"id_btree"``, if None.
            replace: See :class:`Indexes`, as for the rest.
            progress: Called now and then.
            branch: The branch.
            write_id: Identity of this write.
            durability: What a receipt means.
            deadline: Seconds to try to commit, once the index is built.
            commit_message: A text kept with the version.

        Raises:
            IndexAlreadyExists: The name is taken, unless ``replace``.
            ColumnNotFound: There is no such column.
            InvalidInput: No index of this kind can be built on a column of this type.
            InvalidOption: A kind, name or parameter that cannot be.
        """

    @abc.abstractmethod
    def create_fts_index(
        self,
        table: IdLike,
        column: str,
        config: FullText | None = None,
        *,
        name: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> IndexInfo:
        """Build an index for full-text search on one column; a search may span several of them.

        Args:
            table: Its id.
            column: A column of text, of lists of text, or of JSON.
            config: How text becomes words; English with stemming and without stop words if None.
            name: Its name; the column and ``_fts`` if None.
            replace: See :class:`Indexes`, as for the rest.
            progress: Called now and then.
            branch: The branch.
            write_id: Identity of this write.
            durability: What a receipt means.
            deadline: Seconds to try to commit, once the index is built.
            commit_message: A text kept with the version.

        Raises:
            IndexAlreadyExists: The name is taken, unless ``replace``.
            ColumnNotFound: There is no such column.
            InvalidInput: It holds no text.
            InvalidOption: A name or parameter that cannot be.
        """

    @abc.abstractmethod
    def create_vector_index(
        self,
        table: IdLike,
        column: str,
        config: VectorIndex | str | None = None,
        *,
        name: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> IndexInfo:
        """Build an index for nearest-neighbour search.

        Args:
            table: Its id.
            column: A column of vectors (fixed-size lists of floats, or of uint8), or of lists of
                vectors.
            config: An object such as :class:`~pennon.storage.indexing.IvfPq`, or its kind, such as
                ``"ivf_pq"``. None for what suits the number of rows: one exact partition for few,
                partitions of compressed vectors for many.
            name: Its name; the column and ``_vector`` if None.
            replace: See :class:`Indexes`, as for the rest.
            progress: Called now and then.
            branch: The branch.
            write_id: Identity of this write.
            durability: What a receipt means.
            deadline: Seconds to try to commit, once the index is built.
            commit_message: A text kept with the version.

        Raises:
            IndexAlreadyExists: The name is taken, unless ``replace``.
            ColumnNotFound: There is no such column.
            InvalidInput: It holds no vectors, or ones that the kind or the metric is not for.
            InvalidOption: A name or parameter that cannot be.
        """

    @abc.abstractmethod
    def drop_index(
        self,
        table: IdLike,
        name: str,
        *,
        missing_ok: bool = False,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> CommitReceipt:
        """Drop an index; older versions keep it.

        Raises:
            IndexNotFound: There is none of this name, unless ``missing_ok``.
        """

    @abc.abstractmethod
    def update_indexes(
        self,
        table: IdLike,
        names: Sequence[str] | None = None,
        *,
        progress: Progress | None = None,
        branch: str = MAIN,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | None = None,
        commit_message: str | None = None,
    ) -> list[IndexInfo]:
        """Let indexes cover the rows that were written since.

        Reads the rows that are new, and now and then those of earlier updates again to keep an
        index in few segments: each row about log2(updates) times altogether. All rows, if they are
        too few to learn from, or if ``ivf_sq`` or ``ivf_hnsw_sq`` is to keep numbers far from those
        it knows. One commit for each index; one that covers everything is left alone.

        Args:
            table: Its id.
            names: Which indexes; all if None.
            progress: See :class:`Indexes`, as for the rest.
            branch: The branch.
            write_id: Identity of this write.
            durability: What a receipt means.
            deadline: Seconds to try to commit each, once it is built.
            commit_message: A text kept with the versions.

        Returns:
            Those that were updated, as they are now.

        Raises:
            IndexNotFound: There is none of such a name.
        """

    @abc.abstractmethod
    def list_indexes(
        self,
        table: IdLike,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> list[IndexInfo]:
        """Return the indexes of a state of the table, by name."""

    @abc.abstractmethod
    def index_stats(
        self,
        table: IdLike,
        name: str,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> IndexStats:
        """Return what is known of an index.

        Raises:
            IndexNotFound: There is none of this name.
        """
