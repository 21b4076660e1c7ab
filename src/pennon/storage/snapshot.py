"""A view on many tables that stand still."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from pennon.errors import CommitConflict, InvalidState, Unsupported
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id
from pennon.retry import Deadline
from pennon.storage.abc import StorageBackend
from pennon.storage.abc.capabilities import operations

__all__ = ["READS", "Snapshot", "at_one_moment"]

T = TypeVar("T")

_SECONDS = 30.0
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

    def __reduce__(self) -> tuple[object, ...]:
        raise Unsupported(
            "A snapshot stays in its process; pass the versions of its pins on, and read with "
            "version=."
        )

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


def at_one_moment(
    ids: Sequence[Id], state: Callable[[Id], tuple[object, T]], deadline: float | None
) -> dict[Id, T]:
    """Return states of tables that were all the newest at one moment.

    Each is looked at again after the last one was seen. If none has moved, each was the newest from
    its first look to its second, and the moment between the two rounds is in all these times.

    Args:
        ids: The tables.
        state: Returns what tells the newest state of a table from all others, and that state.
        deadline: Seconds to find such a moment; 30 if None.

    Raises:
        CommitConflict: There was none in time.
    """
    end = Deadline.after(deadline, _SECONDS)
    found: dict[Id, tuple[object, T]] = {}
    while True:
        moved: list[Id] = []
        for id in dict.fromkeys(ids):
            now = state(id)
            if id not in found or found[id][0] != now[0]:
                moved.append(id)
                found[id] = now
        if not moved or len(found) == 1:
            return {id: kept for id, (_, kept) in found.items()}
        if not end.remaining:
            raise CommitConflict(
                f"No moment was found at which {len(found)} tables stood still, "
                f"{show_id(moved[0])} among them; raise deadline=, or take fewer tables.",
                table=moved[0],
            )


def _refusal(name: str) -> Callable[..., Any]:
    def refuse(*_: object, **__: object) -> Any:
        raise Unsupported(
            f"A snapshot is read-only: call {name} on the backend it was taken of.", operation=name
        )

    vars(refuse)["left_out"] = True
    refuse.__name__ = name
    refuse.__qualname__ = f"Snapshot.{name}"
    refuse.__doc__ = f"Raise ``Unsupported``: :meth:`StorageBackend.{name}` is no read."
    return refuse


for _name in operations(StorageBackend).keys() - READS - {"close"}:
    setattr(Snapshot, _name, _refusal(_name))
