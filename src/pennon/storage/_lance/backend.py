"""The storage backend over Lance datasets, under the names of any catalog."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from pennon.namespaces.abc import Id, IdLike, Namespace
from pennon.namespaces.names import check_new, parse_id
from pennon.objects import certify
from pennon.storage._arguments import check_mode, check_write_id, rows_of
from pennon.storage._lance.append import append
from pennon.storage._lance.create import create
from pennon.storage._lance.places import Place
from pennon.storage._lance.scan import count, scan
from pennon.storage.abc import CommitReceipt, ScanRequest, StorageBackend

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceBackend"]

_SECONDS = 60.0
"""How long a write tries to commit, once its data files are written."""


class LanceBackend(StorageBackend):
    """Tables as plain Lance datasets that every Lance tool reads.

    New tables have stable row ids: they cannot be switched on later, and what changed between two
    versions can only be told with them. Nothing is cached but what the session shares, so every
    call sees what was acknowledged before it. Two *live* callers in different processes must not
    use one write id at the same time; one after the other, after a crash too, they may.

    Args:
        namespace: The catalog.
        within: The namespace that ids are relative to.
    """

    def __init__(self, namespace: Namespace, *, within: Id = ()) -> None:
        self._namespace = namespace
        self._within = within
        self._proven: set[tuple[str, str]] = set()

    @property
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""
        return self._namespace

    def create_table(
        self,
        table: IdLike,
        data: Any = None,
        *,
        schema: pa.Schema | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Create a table; see :meth:`StorageBackend.create_table`.

        The properties of a declaration that is adopted stay as they were declared. A create whose
        data fail in mid-stream leaves the name declared without data.
        """
        return create(
            self._namespace,
            self._within + check_new(parse_id(table, what="table"), what="table"),
            rows_of(data, schema),
            prove=self._prove,
            properties=properties,
            write_id=check_write_id(write_id),
            seconds=_SECONDS,
        )

    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append"] = "append",
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Append rows; see :meth:`StorageBackend.write`."""
        check_mode(mode)
        place = self._place(table)
        self._prove(place)
        return append(
            self._namespace,
            place,
            data,
            write_id=check_write_id(write_id),
            repeated=write_id is not None,
            seconds=_SECONDS,
        )

    def scan(self, request: ScanRequest | IdLike) -> pa.RecordBatchReader:
        """Stream the rows of one table; see :meth:`StorageBackend.scan`."""
        asked = request if isinstance(request, ScanRequest) else ScanRequest(request)
        return scan(self._place(asked.table), asked)

    def count_rows(self, table: IdLike, filter: str | None = None) -> int:
        """Count rows; see :meth:`StorageBackend.count_rows`."""
        return count(self._place(table), filter)

    def _place(self, table: IdLike) -> Place:
        info = self._namespace.describe_table(self._within + parse_id(table, what="table"))
        return Place.of(self._namespace, info)

    def _prove(self, place: Place) -> None:
        """Refuse to write to a store whose put-if-absent is not atomic.

        A directory catalog proves its own root, and knows if the user insists on an unsafe one.
        Where the catalog is a server, the directory that holds the table is proven.

        Raises:
            UnsafeStore: It is not.
        """
        if isinstance(self._namespace, SelfProven):
            self._namespace.certify()
            return
        above = replace(place.uri, path=place.uri.path.rpartition("/")[0] or "/")
        key = str(above), place.options.principal
        if key not in self._proven:
            certify(self._namespace.session.store(above, place.options))
            self._proven.add(key)


@runtime_checkable
class SelfProven(Protocol):
    """A catalog that proves the root of its tables safe for concurrent writers."""

    def certify(self) -> None:
        """Raise ``UnsafeStore`` unless it is; costs nothing once it was proven."""
