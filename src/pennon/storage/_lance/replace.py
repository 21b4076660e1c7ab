"""Overwrite: all rows, and the schema if so wanted, replaced by one commit that excludes rivals.

Only an overwrite that names the version it replaces, and is not allowed to follow rivals, is a
compare-and-swap in Lance. It drops the indexes, whose rows are all gone; they are built anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.arrow import to_reader
from pennon.errors import CommitConflict, OutcomeUnknown
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard, file_names, peek, write_files
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import mark, planned, rebuild
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.keys import checked_rows

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["overwrite", "put", "replace_at"]


def overwrite(place: Place, data: Any, schema: pa.Schema | None, asked: Asked) -> CommitReceipt:
    """Replace all rows of the newest version; see :meth:`Writes.write`."""
    return _replace(place, data, schema, asked, place.open(), only=None)


def replace_at(
    place: Place,
    data: Any,
    schema: pa.Schema | None,
    expected: int | None,
    asked: Asked,
    like: lance.LanceDataset | None = None,
) -> CommitReceipt:
    """Replace all rows of one version; see :meth:`Writes.replace_table_atomic`.

    Args:
        place: The table.
        data: The rows.
        schema: Their columns; those of the table if None.
        expected: The version; the newest if None.
        asked: What the caller says of the write.
        like: The version whose indexes the new one is to have; the one replaced if None.
    """
    handle = place.open()
    only = handle.version if expected is None else expected
    if handle.version != only:
        raise _moved(place, only, handle.version)
    return _replace(place, data, schema, asked, handle, only, like)


def _replace(
    place: Place,
    data: Any,
    schema: pa.Schema | None,
    asked: Asked,
    handle: lance.LanceDataset,
    only: int | None,
    like: lance.LanceDataset | None = None,
) -> CommitReceipt:
    with translated(place.name, place.secrets):
        target = handle.schema if schema is None else schema
    known = handle.lance_schema if schema is None else None
    checked = checked_rows(to_reader(data, target), None)
    reader, any_rows = peek(checked)
    fragments = write_files(place, reader, handle, mode="overwrite") if any_rows else []
    new = _New(checked.schema, fragments, known, only, like)
    return _put(place, new, asked, handle if only is not None else None)


def put(place: Place, schema: pa.Schema, fragments: list[Any], asked: Asked) -> CommitReceipt:
    """Put rows that are written in the place of all a table has."""
    return _put(place, _New(schema, fragments), asked)


@dataclass(frozen=True, slots=True)
class _New:
    """What is to be all of a table."""

    schema: pa.Schema
    fragments: list[Any]
    known: Any = None
    """The columns that it replaces; None for any."""
    only: int | None = None
    """The version that it replaces; None for the newest."""
    like: lance.LanceDataset | None = None
    """The version whose indexes it is to have; the one replaced if None."""


def _put(
    place: Place, new: _New, asked: Asked, handle: lance.LanceDataset | None = None
) -> CommitReceipt:
    from lance import LanceOperation

    rows = sum(f.physical_rows for f in new.fragments)

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        if new.only is not None and head.version != new.only:
            raise _moved(place, new.only, head.version)
        if new.known is not None and head.lance_schema != new.known:
            raise CommitConflict(
                f"The schema of {place.name} changed while rows were being written; read it, then "
                "write them again.",
                table=place.info.id,
            )
        with translated(place.name, place.secrets):
            gone = int(head.count_rows())
        write = asked.write(rows, deleted=gone)
        indexes = planned(place, new.like or head, new.schema)
        if indexes.kept:
            mark(place, write, head.version + 1, asked.durability)
        return Attempt(
            LanceOperation.Overwrite(new.schema, new.fragments),
            write,
            file_names(new.fragments),
            said=indexes.properties(),
            kept=True,
        )

    deadline = Deadline.after(asked.seconds, asked.seconds)
    try:
        with lane_of(place) as lane, lane.passing(deadline):
            made = commit(place, asked, prepare, deadline, handle)
    except OutcomeUnknown:
        raise
    except Exception:
        discard(place, new.fragments)
        raise
    return rebuild(place, made, asked)


def _moved(place: Place, expected: int, found: int) -> CommitConflict:
    return CommitConflict(
        f"{place.name} is at version {found}, not {expected}: somebody wrote to it; read it again, "
        "then retry.",
        table=place.info.id,
        expected=expected,
        found=found,
    )
