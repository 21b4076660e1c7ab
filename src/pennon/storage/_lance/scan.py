"""Reading: one fresh handle per call, one stream out, every error typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from pennon.errors import ColumnNotFound, did_you_mean
from pennon.storage._arguments import check_filter
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage.abc import ScanRequest

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["count", "scan"]

_UNKNOWN = re.compile(r"No field named (.+?)\.(?: |$|,)")


def scan(
    place: Place,
    request: ScanRequest,
    guard: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> pa.RecordBatchReader:
    """Stream the rows of a table; see :meth:`StorageBackend.scan`.

    Args:
        place: The table.
        request: What of it.
        guard: Entered around whatever reads, the stream included: says what else an error may mean.
    """
    import pyarrow as pa

    check_filter(request.filter, place.name)
    columns = None if request.columns is None else list(request.columns)
    with guard():
        handle = place.open()
        if columns is not None:
            _check_columns(place, handle, columns)
        with translated(place.name, place.secrets):
            reader = handle.scanner(
                columns=columns, filter=request.filter, limit=request.limit
            ).to_reader()

    def typed() -> Iterator[pa.RecordBatch]:
        with guard(), translated(place.name, place.secrets):
            yield from reader

    return pa.RecordBatchReader.from_batches(reader.schema, typed())


def count(place: Place, filter: str | None) -> int:
    """Count rows; see :meth:`StorageBackend.count_rows`."""
    handle = place.open()
    check_filter(filter, place.name)
    with translated(place.name, place.secrets):
        return int(handle.count_rows(filter))


def _check_columns(place: Place, handle: lance.LanceDataset, columns: list[str]) -> None:
    """Tell a column that is missing from everything else Lance may say of a projection."""
    with translated(place.name, place.secrets):
        schema: pa.Schema = handle.schema
        missing = [c for c in columns if c not in schema.names]
        if not missing:
            return
        try:
            handle.scanner(columns=missing).to_reader()
        except ValueError as error:
            if not _UNKNOWN.search(str(error)):
                raise
        else:
            return
    raise ColumnNotFound(
        f"{place.name} has no column {missing[0]!r}; {did_you_mean(missing[0], schema.names)}",
        table=place.info.id,
        columns=tuple(missing),
    )
