"""Exclusive create.

1. Claim the name in the catalog: an atomic insert, which gives a fresh location. If the name is
   taken but nothing was written there (its claimer crashed, is slow, or only declared it), adopt
   that location.
2. Write the data files.
3. Commit version 1 strictly: an overwrite of version 0 without retries, which succeeds for exactly
   one of all who try, the claimer and every adopter included.
4. See the commit in the history, and the name still leading to it; only then there is a receipt.

A create that fails between 1 and 3 leaves the name declared and takes back its files. Giving the
name back as well would not be safe: an adopter may commit at any moment, and removing the name
after that would lose rows somebody was told are there. To keep this rare, the first rows are read
before the claim, so that data that are broken from the start claim nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    CommitConflict,
    OutcomeUnknown,
    PennonError,
    TableAlreadyExists,
    TableNotFound,
    VersionNotFound,
)
from pennon.namespaces.abc import Id, Namespace, TableInfo
from pennon.namespaces.names import show_id
from pennon.retry import Backoff, Deadline
from pennon.storage._lance.commit import Asked, done_elsewhere
from pennon.storage._lance.errors import is_lance_error, meaning, translate, translated
from pennon.storage._lance.fragments import discard, file_names, peek, write_files
from pennon.storage._lance.history import (
    Left,
    Write,
    data_files,
    is_reachable,
    read_receipt,
    transaction_file,
)
from pennon.storage._lance.manifests import versions_of
from pennon.storage._lance.notes import earlier
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import rebuild
from pennon.storage._lance.replace import put
from pennon.storage.abc import CommitReceipt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["check_mapping", "create", "create_or_overwrite"]

_LOST = frozenset({"exists", "no_version", "conflict", "incompatible"})
_MAYBE = frozenset({"unknown_fate", "panic", "unreachable", "throttled", "other"})


def create(
    namespace: Namespace,
    id: Id,
    reader: pa.RecordBatchReader,
    *,
    prove: Callable[[Place], None],
    properties: Mapping[str, str] | None,
    asked: Asked,
) -> CommitReceipt:
    """Create a table with these rows; see :meth:`StorageBackend.create_table`.

    Args:
        namespace: The catalog.
        id: The table.
        reader: The rows.
        prove: Refuses a place whose store is not safe to write to.
        properties: Strings the catalog keeps with the table.
        asked: What the caller says of the write.
    """
    reader, _ = peek(reader)
    place, first = _claim(namespace, id, properties, asked.identity())
    if first is not None:
        return first
    prove(place)
    try:
        fragments = write_files(place, reader, None)
    except TableAlreadyExists:
        # Somebody committed before our first file was begun.
        found = _first_commit(place, asked.identity())
        if found is None:
            raise taken(id) from None
        return found
    except BaseException as error:
        error.add_note(
            f"The table {place.name} stays declared without data: repeat create_table to fill it, "
            "or drop_table to give up the name."
        )
        raise
    write = asked.write(sum(f.physical_rows for f in fragments))
    deadline = Deadline.after(asked.seconds, asked.seconds)
    try:
        receipt = _commit(place, reader.schema, fragments, write, deadline)
    except OutcomeUnknown:
        raise
    except PennonError:
        discard(place, fragments)
        raise
    check_mapping(namespace, place, asked.write_id)
    return receipt


def create_or_overwrite(
    namespace: Namespace,
    id: Id,
    reader: pa.RecordBatchReader,
    *,
    prove: Callable[[Place], None],
    properties: Mapping[str, str] | None,
    asked: Asked,
) -> CommitReceipt:
    """Create a table with these rows, or let them replace what it has; one commit either way.

    The files of a create that comes second are those of an overwrite.

    Args:
        namespace: The catalog.
        id: The table.
        reader: The rows.
        prove: Refuses a place whose store is not safe to write to.
        properties: Strings the catalog keeps with the table, if it is made.
        asked: What the caller says of the write.
    """
    reader, any_rows = peek(reader)
    place, _ = _declared(namespace, id, properties)
    prove(place)
    creating = dataclasses.replace(asked, operation="create")
    handle = place.open_or_none()
    if handle is not None and asked.repeated:
        found = _first_commit(place, creating.identity()) or earlier(place, asked.identity())
        if found is not None:
            return rebuild(place, found, asked)
    fragments = write_files(place, reader, handle, mode="overwrite") if any_rows else []
    receipt: CommitReceipt | None = None
    if handle is None:
        first = creating.write(sum(f.physical_rows for f in fragments))
        deadline = Deadline.after(asked.seconds, asked.seconds)
        with contextlib.suppress(TableAlreadyExists):
            receipt = _commit(place, reader.schema, fragments, first, deadline)
    if receipt is None:
        try:
            receipt = put(place, reader.schema, fragments, asked)
        except PennonError as error:
            receipt = rebuild(place, done_elsewhere(place, asked, error), asked)
    check_mapping(namespace, place, asked.write_id)
    return receipt


def _declared(
    namespace: Namespace, id: Id, properties: Mapping[str, str] | None
) -> tuple[Place, bool]:
    """Return where the rows of a table are or are to be, and whether the name was free till now."""
    for _ in Backoff().tries(Deadline.after(None, 30)):
        try:
            return Place.of(namespace, namespace.declare_table(id, properties=properties)), True
        except TableAlreadyExists:
            pass
        with contextlib.suppress(TableNotFound):
            return Place.of(namespace, namespace.describe_table(id)), False
    raise CommitConflict(
        f"{show_id(id)} was dropped again whenever it was about to be created; retry.", table=id
    )


def _claim(
    namespace: Namespace, id: Id, properties: Mapping[str, str] | None, write: Write
) -> tuple[Place, CommitReceipt | None]:
    """Return where to write, or the receipt of the same write if it was done before."""
    place, claimed = _declared(namespace, id, properties)
    if claimed or place.open_or_none() is None:
        return place, None
    receipt = _first_commit(place, write)
    if receipt is None:
        raise taken(id)
    return place, receipt


def taken(id: Id) -> TableAlreadyExists:
    """Return the error of a create that came second."""
    return TableAlreadyExists(
        f"{show_id(id)} is a table already; write to it, choose another name, or drop it first.",
        table=id,
    )


def _first_commit(place: Place, write: Write) -> CommitReceipt | None:
    """Return the receipt of this write if it created the table."""
    handle = place.open_or_none()
    if handle is None:
        return None
    try:
        return read_receipt(place, handle, 1, write)
    except (VersionNotFound, TableNotFound):
        return None


def _commit(
    place: Place, schema: pa.Schema, fragments: list[Any], write: Write, deadline: Deadline
) -> CommitReceipt:
    """Commit version 1, or find that somebody else did.

    Trying again after an answer that was lost is safe: version 1 is put if absent, and says whose
    it is.
    """
    from lance import LanceDataset, LanceOperation, Transaction

    transaction = Transaction(
        read_version=0,
        operation=LanceOperation.Overwrite(schema, fragments),
        uuid=str(uuid.uuid4()),
        transaction_properties=write.properties(),
    )
    left = transaction_file(transaction)
    last: PennonError | None = None
    for _ in Backoff(base=0.1).tries(deadline):
        lost = made = False
        try:
            LanceDataset.commit(
                place.location,
                transaction,
                max_retries=0,
                enable_stable_row_ids=True,
                storage_options=place.storage_options,
            )
            made = True
        except BaseException as error:
            if not is_lance_error(error):
                raise
            what = meaning(error)
            if what not in _LOST | _MAYBE:
                discard(place, (), left)
                raise translate(error, place.name, place.secrets) from None
            lost, last = what in _LOST, translate(error, place.name, place.secrets)
        try:
            found = _seen(place, write, fragments, made=made)
        except PennonError as error:
            if not error.retryable:
                raise
            last = error
            continue
        if found is not None:
            return found
        if lost or place.open_or_none() is not None:
            discard(place, (), left)
            raise taken(place.info.id)
    raise OutcomeUnknown(
        f"The create of {place.name} could not be settled in time ({last}); repeat it with "
        f"write_id={write.write_id!r}.",
        table=place.info.id,
        write_id=write.write_id,
    )


def _seen(place: Place, write: Write, fragments: list[Any], *, made: bool) -> CommitReceipt | None:
    """Return the receipt of a create, if the history begins with it.

    Args:
        place: The table.
        write: The create.
        fragments: Its rows.
        made: Whether Lance reported version 1. It is the beginning of the history unless others had
            taken away a version 1 of their own before: then there are later ones.
    """
    if made and versions_of(place) == [1]:
        return write.receipt(place.info.id, place.branch, 1, write.properties())
    found = _first_commit(place, write)
    if found is None:
        return None
    if made and not is_reachable(place, 1, Left.of(None, file_names(fragments))):
        return None
    return _mine(place, fragments, found)


def _mine(place: Place, fragments: list[Any], found: CommitReceipt) -> CommitReceipt:
    """Take back our files if the same write was committed by another call with the same id."""
    handle = place.open_or_none(1)
    if handle is not None:
        with translated(place.name, place.secrets):
            named = data_files(f.metadata for f in handle.get_fragments())
        if not data_files(fragments) <= named:
            discard(place, fragments)
    return found


def check_mapping(namespace: Namespace, place: Place, write_id: str) -> TableInfo:
    """Make sure that the name still leads to where a write was committed.

    If not, the table was dropped, and its dropper or the sweeper deletes the files; or it was
    renamed, and the rows are there under the new name: so nothing is deleted here.

    Raises:
        CommitConflict: It does not.
    """
    try:
        info = namespace.describe_table(place.info.id)
    except TableNotFound:
        info = None
    if info is None or info.location != place.info.location:
        raise CommitConflict(
            f"{place.name} was dropped or renamed while being written; look for it, then retry.",
            table=place.info.id,
            write_id=write_id,
        )
    return info
