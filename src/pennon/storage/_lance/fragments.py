"""Rows into data files that no version names yet, and such files out again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from pennon.errors import InvalidInput, PennonError
from pennon.storage._lance.errors import translated
from pennon.storage._lance.history import data_files
from pennon.storage._lance.places import Place

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["STORAGE_VERSION", "discard", "few", "file_names", "peek", "write_files"]

STORAGE_VERSION = "2.2"
"""Of the Lance file format: the newest that the lancedb of the day reads too."""
_PAGES = 16 << 20
"""Bytes of rows that wait to be pages, all columns together. By itself Lance holds 8 MiB of each
column, which is 800 MiB of a hundred."""
_BATCH = 4 << 20
"""Bytes of a batch that Lance encodes at once, and holds several times meanwhile."""
_FILE = 500 << 20
"""Bytes of a file, about. Lance sends ten parts of a file to a bucket at a time: parts of 5 MiB up
to here, and larger ones beyond."""


def peek(reader: pa.RecordBatchReader) -> tuple[pa.RecordBatchReader, bool]:
    """Return the same stream, and whether it has any rows; reads up to the first of them."""
    import pyarrow as pa

    batches = (batch for batch in _own_errors(reader) if batch.num_rows)
    first = next(batches, None)
    if first is None:
        return reader.schema.empty_table().to_reader(), False
    stream = itertools.chain([first], batches)
    return pa.RecordBatchReader.from_batches(reader.schema, stream), True


def few(
    reader: pa.RecordBatchReader, most: int
) -> tuple[list[pa.RecordBatch], pa.RecordBatchReader | None]:
    """Return all rows of a stream if they are few, and else none of them and the same stream.

    Args:
        reader: The rows.
        most: Bytes that are few.
    """
    import pyarrow as pa

    batches = (batch for batch in _own_errors(reader) if batch.num_rows)
    found: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        found.append(batch)
        size += batch.nbytes
        if size > most:
            stream = itertools.chain(found, batches)
            return [], pa.RecordBatchReader.from_batches(reader.schema, stream)
    return found, None


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
    place: Place,
    rows: pa.RecordBatchReader | pa.Table,
    handle: lance.LanceDataset | None,
    mode: Literal["append", "overwrite"] = "append",
) -> list[Any]:
    """Write rows into new data files and return the fragments that name them.

    That takes about 128 MiB of memory at most, besides what the source holds itself, whatever the
    number of the rows and columns; more only where single rows have more than some MiB, or in a
    bucket, for the parts of files that are on their way.

    An error of the source ends the stream instead of passing through Lance, which would turn it
    into text: so its own type reaches the caller, and every file is known and deleted.

    Args:
        place: Where.
        rows: They: those of a table reach Lance without a step through Python.
        handle: The table they are for; None for a new one.
        mode: Whether its columns stay as they are, or those of the rows take their place. A new
            one that exists by now is an error, unless it is to be overwritten.
    """
    import pyarrow as pa
    from lance.fragment import write_fragments

    failed: list[BaseException] = []

    def source(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        try:
            yield from _even(reader)
        except GeneratorExit:
            raise
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    stream = rows
    if isinstance(rows, pa.RecordBatchReader):
        stream = pa.RecordBatchReader.from_batches(rows.schema, source(rows))
    fragments: list[Any] = []
    try:
        with translated(place.name, place.secrets):
            fragments = list(
                write_fragments(
                    stream,
                    handle if handle is not None else place.location,
                    mode="create" if handle is None and mode == "append" else mode,
                    data_storage_version=_format(handle),
                    enable_stable_row_ids=handle is None or handle.has_stable_row_ids,
                    data_cache_bytes=_PAGES,
                    max_bytes_per_file=_FILE,
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


def _even(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches where they are large, and join them where they are small.

    Lance counts a slice as all it was cut from, and would make a page of every few.
    """
    found: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if found and size + batch.nbytes > _BATCH:
            yield _joined(found)
            found, size = [], 0
        if batch.nbytes > _BATCH:
            yield from _parts(batch)
            continue
        found.append(batch)
        size += batch.nbytes
    if found:
        yield _joined(found)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    import pyarrow as pa

    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _parts(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch where it is large: by halves, since its rows may differ in size."""
    if batch.nbytes <= _BATCH or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _parts(batch.slice(0, half))
    yield from _parts(batch.slice(half))


def _format(handle: lance.LanceDataset | None) -> str:
    return STORAGE_VERSION if handle is None else handle.data_storage_version


def file_names(fragments: Iterable[Any], cut: Iterable[Any] = ()) -> tuple[str, ...]:
    """Return the objects, below the table, of new fragments and of rows deleted from old ones.

    Args:
        fragments: New ones, with their data files.
        cut: Old ones, with their new deletion files.
    """
    data = [f"data/{path}" for path in data_files(fragments)]
    return (*data, *(f.deletion_file.path(f.id) for f in cut if f.deletion_file is not None))


def discard(place: Place, fragments: Iterable[Any], *others: str) -> None:
    """Delete the data files of fragments that no version names, and other objects by name.

    What cannot be deleted now is garbage that no reader sees; the sweeper of the catalog and
    Lance's cleanup take it.
    """
    names = (*file_names(fragments), *others)
    if names:
        with contextlib.suppress(PennonError):
            place.store().delete(*names)
