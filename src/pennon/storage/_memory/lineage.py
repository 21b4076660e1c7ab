"""Which row of a version is which row of another: ids that stay with rows, as Lance keeps them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Lineage", "compared"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """For each row of a version: its id, the version that made it, and the last to change it."""

    ids: tuple[int, ...]
    made: tuple[int, ...]
    changed: tuple[int, ...]

    @classmethod
    def fresh(cls, rows: int, version: int, first: int) -> Lineage:
        """Return that of rows a version makes, with ids from ``first`` on."""
        return cls(tuple(range(first, first + rows)), (version,) * rows, (version,) * rows)

    def then(
        self,
        rows: int,
        version: int,
        first: int,
        kept: Sequence[int] | None,
        touched: Collection[int],
    ) -> Lineage:
        """Return that of the next version.

        Args:
            rows: How many it has: the kept ones, then new ones.
            version: Its number.
            first: The id of the first new row.
            kept: The positions of the rows that stay; None for all.
            touched: The positions of those that change.
        """
        stay = range(len(self.ids)) if kept is None else kept
        changes = set(touched)
        new = Lineage.fresh(rows - len(stay), version, first)
        return Lineage(
            (*(self.ids[n] for n in stay), *new.ids),
            (*(self.made[n] for n in stay), *new.made),
            (*(version if n in changes else self.changed[n] for n in stay), *new.changed),
        )


def compared(
    old: tuple[pa.Table, Lineage], new: tuple[pa.Table, Lineage]
) -> list[tuple[str, pa.Table]]:
    """Return the rows that differ between two versions, by what happened to them."""
    import pyarrow as pa

    def taken(rows: pa.Table, which: list[int]) -> pa.Table:
        return rows.take(pa.array(which, pa.int64()))

    was, now = (_changes(lineage) for _, lineage in (old, new))
    inserted = [n for n, (row, _) in enumerate(now.items()) if row not in was]
    updated = [n for n, (row, at) in enumerate(now.items()) if was.get(row, at) != at]
    deleted = [n for n, row in enumerate(was) if row not in now]
    return [
        ("inserted", taken(new[0], inserted)),
        ("updated", taken(new[0], updated)),
        ("deleted", taken(old[0], deleted)),
    ]


def _changes(lineage: Lineage) -> dict[tuple[int, int], int]:
    """Return when each row changed last. After a rollback another row may have the same id."""
    return dict(zip(zip(lineage.ids, lineage.made, strict=True), lineage.changed, strict=True))
