"""Rows into data files that no version names yet, and such files out again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput, PennonError
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import data_files
from pennon.storage._lance.places import Place

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["STORAGE_VERSION", "discard", "peek", "write_files"]

STORAGE_VERSION = "2.2"
"""Of the Lance file format: the newest that the lancedb of the day reads too."""


def peek(reader: pa.RecordBatchReader) -> tuple[pa.RecordBatchReader, bool]:
    """Return the same stream, and whether it has any rows; reads up to the first of them."""
    import pyarrow as pa

    batches = (batch for batch in _own_errors(reader) if batch.num_rows)
    first = next(batches, None)
    if first is None:
        return reader.schema.empty_table().to_reader(), False
    stream = itertools.chain([first], batches)
    return pa.RecordBatchReader.from_batches(reader.schema, stream), True


def _own_errors(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Tell what a foreign stream says went wrong from what Lance says."""
    import pyarrow as pa

    try:
        yield from reader
    except PennonError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"The data stream failed: {error}.") from error


def write_files(
    place: Place, reader: pa.RecordBatchReader, handle: lance.LanceDataset | None
) -> list[Any]:
    """Stream rows into new data files and return the fragments that name them.

    An error of the source ends the stream instead of passing through Lance, which would turn it
    into text: so its own type reaches the caller, and every file is known and deleted.

    Args:
        place: Where.
        reader: The rows.
        handle: The table they are for; None for a new one.
    """
    import pyarrow as pa
    from lance.fragment import write_fragments

    failed: list[BaseException] = []

    def source() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    stream = pa.RecordBatchReader.from_batches(reader.schema, source())
    fragments: list[Any] = []
    try:
        with translated(place.name, place.secrets):
            fragments = list(
                write_fragments(
                    stream,
                    handle if handle is not None else place.location,
                    mode="append" if handle is not None else "create",
                    data_storage_version=None if handle is not None else STORAGE_VERSION,
                    enable_stable_row_ids=handle is None,
                    storage_options=place.storage_options,
                    session=None if handle is not None else place.session,
                )
            )
    except PennonError as error:
        raise (failed[0] if failed else error) from None
    if failed:
        discard(place, fragments)
        raise failed[0]
    return fragments


def discard(place: Place, fragments: list[Any], *others: str) -> None:
    """Delete the data files of fragments that no version names, and other objects by name.

    What cannot be deleted now is garbage that no reader sees; the sweeper of the catalog and
    Lance's cleanup take it.
    """
    keys = [f"data/{path}" for path in data_files(fragments)]
    with contextlib.suppress(PennonError):
        place.store().delete(*keys, *others)
