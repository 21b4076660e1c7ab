"""Contract: reading rows."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.expr import Expr
from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import Columns, ScanRequest
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Reads"]


class Reads(abc.ABC):
    """Reading the rows of a table.

    Every method reads one version: the newest acknowledged commit of the branch, or the one that
    ``version``, ``tag`` or ``as_of`` names. An error never becomes an empty result.

    All raise ``TableNotFound`` if no table has the id or it is only declared, ``BranchNotFound``,
    ``VersionNotFound`` or ``TagNotFound`` if the state that is asked for does not exist,
    ``InvalidOption`` if more than one of ``version``, ``tag`` and ``as_of`` is given, and
    ``InvalidName`` for a branch name that no branch can have.
    """

    @abc.abstractmethod
    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream rows of one table.

        The stream keeps to its version, whatever is committed meanwhile. An error that only shows
        on the rows is raised by the stream.

        Raises:
            ColumnNotFound: A column to return or to order by does not exist.
            InvalidFilter: The filter cannot be understood, or fails on a row.
            InvalidInput: A computed column cannot be understood, or fails on a row.
            InvalidOption: A column to order by has a type without an order.
        """

    @abc.abstractmethod
    def count_rows(
        self,
        table: IdLike,
        filter: Expr | str | None = None,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> int:
        """Return the number of rows, or of those that satisfy ``filter``: what a scan delivers.

        Raises:
            InvalidFilter: The filter cannot be understood, or fails on a row.
        """

    def head(
        self,
        table: IdLike,
        n: int = 5,
        *,
        columns: Columns | None = None,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return the first ``n`` rows in the order of the table.

        Raises:
            ColumnNotFound: A column does not exist.
        """
        request = ScanRequest(
            table,
            columns=columns,
            limit=n,
            branch=branch,
            version=version,
            tag=tag,
            as_of=as_of,
        )
        return self.scan(request).read_all()

    @abc.abstractmethod
    def take(
        self,
        table: IdLike,
        keys: Sequence[Any] | None = None,
        *,
        row_ids: Sequence[int] | None = None,
        columns: Columns | None = None,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return single rows, in the order they are asked for.

        What does not exist is left out; what is asked for twice comes twice.

        Args:
            table: Its id.
            keys: Values of the primary key; tuples if it has several columns.
            row_ids: Row ids of this very version instead, as ``with_row_id`` gives them.
            columns: What to return; see :class:`ScanRequest`.
            branch: The branch to read.
            version: A version of it; the newest if None.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            InvalidInput: Keys of a table without a primary key, or of the wrong length or type.
            InvalidOption: Not exactly one of ``keys`` and ``row_ids``.
            ColumnNotFound: A column does not exist.
        """

    @abc.abstractmethod
    def sample(
        self,
        table: IdLike,
        n: int,
        *,
        seed: int | None = None,
        columns: Columns | None = None,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.Table:
        """Return ``n`` different rows drawn at random, all if there are no more.

        Every row is as likely as any other. Reads 8 bytes of memory for each row of the table.

        Args:
            table: Its id.
            n: How many.
            seed: The same seed draws the same rows of the same version; None for chance.
            columns: What to return; see :class:`ScanRequest`.
            branch: The branch to read.
            version: A version of it; the newest if None.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            ColumnNotFound: A column does not exist.
        """

    @abc.abstractmethod
    def sql(
        self,
        table: IdLike,
        query: str,
        *,
        branch: str = MAIN,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> pa.RecordBatchReader:
        """Stream the answer to a query over one table, in which it is called ``dataset``.

        Nothing can be changed or reached by it but the rows of the table.

        Args:
            table: Its id.
            query: One ``SELECT``, ``WITH`` or ``VALUES`` statement in the dialect of DataFusion,
                where double quotes, not back-ticks, quote names.
            branch: The branch to read.
            version: A version of it; the newest if None.
            tag: A tag instead.
            as_of: A time instead.

        Raises:
            InvalidInput: It is no such statement, cannot be understood, or fails on a row.
        """
