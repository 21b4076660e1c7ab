"""A view on many tables that stand still."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from pennon.errors import InvalidState
from pennon.namespaces.abc import Id
from pennon.storage.abc import StorageBackend
from pennon.storage.abc.capabilities import operations

__all__ = ["READS", "SNAPSHOT_SECONDS", "Snapshot"]

SNAPSHOT_SECONDS = 30.0
"""How long a moment at which no table moves is looked for."""

READS = frozenset(
    {
        "analyze",
        "count_rows",
        "diff",
        "explain",
        "full_text_search",
        "get_table_schema",
        "get_table_version",
        "head",
        "hybrid_search",
        "index_stats",
        "list_branches",
        "list_indexes",
        "list_tags",
        "sample",
        "scan",
        "scan_stream",
        "sql",
        "table",
        "table_exists",
        "table_names",
        "table_properties",
        "table_stats",
        "take",
        "vector_search",
        "versions",
        "clear_cache",
        "invalidate_cache",
    }
)
"""The operations of a backend that a snapshot has too."""


class Snapshot(StorageBackend):
    """Tables at pinned versions: every read and search of a backend, and no write.

    Made by :meth:`StorageBackend.snapshot`, which says what is pinned and when. To be closed, by
    ``with`` or by :meth:`close`.

    What does not belong to a version is as it is at the moment: the names of tables, branches and
    tags, and what ``version=``, ``tag=`` and ``as_of=`` name.
    """

    _closed = False

    @property
    def pins(self) -> Mapping[Id, int]:
        """The pinned version of the main branch of each table, by id.

        Pass one as ``version=`` to read the same rows later, without the snapshot.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let the pinned versions go; later reads raise ``InvalidState``."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidState("The snapshot is closed; take a new one.")

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(self: Snapshot, *_: object, **__: object) -> Any:
        raise InvalidState(
            f"A snapshot is read-only: call {name} on the backend it was taken of.", operation=name
        )

    refuse.__name__ = name
    refuse.__qualname__ = f"Snapshot.{name}"
    refuse.__doc__ = f"Raise ``InvalidState``: :meth:`StorageBackend.{name}` is no read."
    return refuse


for _name in operations(StorageBackend).keys() - READS - {"close"}:
    setattr(Snapshot, _name, _refusal(_name))
