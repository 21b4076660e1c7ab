"""Delete and update by condition, at the level of fragments, so that the commit is pennon's own.

Lance's own delete and update cannot carry the identity of a write. Here the rows are found by one
scan, which uses indexes, and each fragment that holds some gets a deletion file, or a new file for
the changed columns. Rows keep their ids, and rivals that touch the same fragment are conflicts,
after which the condition is evaluated anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pennon.expr import Expr, filter_sql
from pennon.retry import Deadline
from pennon.storage._changes import (
    cast_values,
    check_all_rows,
    check_columns,
    check_values,
    check_where,
)
from pennon.storage._fitting import fitted
from pennon.storage._lance.building import field_ids
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.conditions import is_always_true, is_trivial
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import file_names
from pennon.storage._lance.history import Write
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage._lance.rows import Rows
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["delete", "delete_found", "truncate", "update", "update_found"]

_OFFSET = 32
"""Bits of a row address below the number of its fragment."""


def delete(place: Place, condition: Expr | str, asked: Asked, *, all_rows: bool) -> CommitReceipt:
    """Delete the rows that satisfy a condition; see :meth:`Writes.delete_rows`."""

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        rows = Rows(head, place.info.id, place.name, place.secrets)
        with rows.reading():
            where = check_where(fitted(condition, head.schema))
            trivial = is_trivial(head, where)
        check_all_rows(where, place.name, trivial=trivial, all_rows=all_rows)
        with rows.reading():
            found = head.scanner(columns=[], filter=where, with_row_address=True).to_table()
        if not found.num_rows:
            return None
        with translated(place.name, place.secrets):
            trivial = found.num_rows == head.count_rows() and is_always_true(head.schema, where)
        check_all_rows(where, place.name, trivial=trivial, all_rows=all_rows)
        with translated(place.name, place.secrets):
            return delete_found(head, where, found, asked.write(deleted=found.num_rows))

    return _pass(place, asked, prepare)


def truncate(place: Place, asked: Asked) -> CommitReceipt:
    """Delete all rows; see :meth:`Writes.truncate`."""
    return _pass(place, asked, lambda head: _delete_all(place, head, asked))


def update(
    place: Place, given: Mapping[str, Expr | str], where: Expr | str | None, asked: Asked
) -> CommitReceipt:
    """Compute columns anew; see :meth:`Writes.update`."""

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        with translated(place.name, place.secrets):
            schema = head.schema
        values = check_values({n: fitted(v, schema) for n, v in given.items()})
        condition = filter_sql(fitted(where, schema))
        check_columns(values, schema, place.name)
        with Rows(head, place.info.id, place.name, place.secrets).computing(values):
            found = head.scanner(
                columns=values, filter=condition, with_row_id=True, with_row_address=True
            ).to_table()
        if not found.num_rows:
            return None
        changed = cast_values(found, values, schema, place.name)
        with translated(place.name, place.secrets):
            return update_found(head, changed, asked)

    return _pass(place, asked, prepare)


def _pass(place: Place, asked: Asked, prepare: Any) -> CommitReceipt:
    deadline = Deadline.after(asked.seconds, asked.seconds)
    with lane_of(place) as lane, lane.passing(deadline):
        return commit(place, asked, prepare, deadline)


def _delete_all(place: Place, head: lance.LanceDataset, asked: Asked) -> Attempt | None:
    from lance import LanceOperation

    with translated(place.name, place.secrets):
        ids = [f.fragment_id for f in head.get_fragments()]
        rows = int(head.count_rows())
    if not rows:
        return None
    return Attempt(LanceOperation.Delete([], ids, "true"), asked.write(deleted=rows))


def delete_found(head: lance.LanceDataset, where: str, found: pa.Table, write: Write) -> Attempt:
    """Return the change that deletes rows.

    Args:
        head: The version they are in.
        where: What Lance's history shows as the condition.
        found: They, told by the column ``_rowaddr``.
        write: What the commit carries.
    """
    from lance import LanceOperation

    kept: list[Any] = []
    gone: list[int] = []
    for number, rows in _by_fragment(found):
        addresses = rows["_rowaddr"].to_pylist()
        offsets = [a & ((1 << _OFFSET) - 1) for a in addresses]
        left = _fragment_of(head, number).delete_rows(offsets)
        if left is None:
            gone.append(number)
        else:
            kept.append(left)
    return Attempt(
        LanceOperation.Delete(kept, gone, where),
        write,
        file_names((), kept),
    )


def update_found(head: lance.LanceDataset, changed: pa.Table, asked: Asked) -> Attempt:
    """Return the change that sets columns of rows.

    Args:
        head: The version they are in.
        changed: They, told by the columns ``_rowid`` and ``_rowaddr``, with the columns to set.
        asked: What the caller says of the write.
    """
    from lance import LanceOperation

    updated: list[Any] = []
    offsets: dict[int, bytes] = {}
    for number, rows in _by_fragment(changed):
        fragment = _fragment_of(head, number)
        new, _, where = fragment.update_columns(
            rows.drop_columns(["_rowaddr"]), left_on="_rowid", with_offsets=True
        )
        updated.append(new)
        offsets[number] = where
    before = {f.path for x in head.get_fragments() for f in x.metadata.files}
    names = [f.path for x in updated for f in x.files if f.path not in before]
    # Lance names the values within lists only, and an index of the list would stay in force.
    fields = set[int]().union(
        *(field_ids(f) for f in head.lance_schema.fields() if f.name() in changed.column_names)
    )
    operation = LanceOperation.Update(
        updated_fragments=updated,
        fields_modified=sorted(fields),
        update_mode="rewrite_columns",
        updated_fragment_offsets=offsets,
    )
    return Attempt(
        operation,
        asked.write(updated=changed.num_rows),
        tuple(f"data/{name}" for name in names),
    )


def _fragment_of(head: lance.LanceDataset, number: int) -> lance.LanceFragment:
    """Return a fragment that a row address named."""
    found = head.get_fragment(number)
    assert found is not None
    return found


def _by_fragment(found: pa.Table) -> list[tuple[int, pa.Table]]:
    """Return the rows of each fragment, told by the column ``_rowaddr``."""
    import pyarrow as pa

    numbers = found["_rowaddr"].to_numpy() >> _OFFSET
    return [
        (number, found.filter(pa.array(numbers == number)))
        for number in sorted({int(n) for n in numbers})
    ]
