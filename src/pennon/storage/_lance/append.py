"""Append: data files first, then one commit that carries the write id, seen before acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pennon.arrow import to_reader
from pennon.errors import CommitConflict, OutcomeUnknown
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard, file_names, peek, write_files
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import lance

__all__ = ["append"]

_FOLLOWS = 20
"""How many rivals in a row an append follows by itself, before it is tried again."""


def append(place: Place, data: Any, asked: Asked) -> CommitReceipt:
    """Append rows; see :meth:`Writes.write`."""
    from lance import LanceOperation

    handle = place.open()
    with translated(place.name, place.secrets):
        schema = handle.schema
    reader, any_rows = peek(to_reader(data, schema))
    fragments = write_files(place, reader, handle) if any_rows else []
    known = repr(handle.lance_schema)
    rows = sum(f.physical_rows for f in fragments)

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        if not fragments:
            return None
        if repr(head.lance_schema) != known:
            raise CommitConflict(
                f"The schema of {place.name} changed while rows were being written; read it, then "
                "write them again.",
                table=place.info.id,
            )
        return Attempt(
            LanceOperation.Append(fragments),
            asked.write(rows),
            file_names(fragments),
            kept=True,
            retries=_FOLLOWS,
        )

    deadline = Deadline.after(asked.seconds, asked.seconds)
    try:
        with lane_of(place) as lane, lane.passing(deadline):
            return commit(place, asked, prepare, deadline, handle)
    except OutcomeUnknown:
        raise
    except Exception:
        discard(place, fragments)
        raise
