"""Columns added, changed and dropped, by commits that exclude every other write.

Lance has two operations for that, and lets rivals of one that says it keeps what allows NULL pass:
an append without the values, an update of a column that is gone by then. So pennon never says it.
A merge (new columns, new types) then conflicts with every other write, and a projection (names,
NULL, drops) with all but a delete and a compaction, in both directions: each is made anew on the
result of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from pennon.errors import CommitConflict, OutcomeUnknown, PennonError, SchemaMismatch
from pennon.retry import Deadline
from pennon.storage._columns import Function, Wanted, altered, cast_column, check_dropped
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage._lance.rows import Rows
from pennon.storage._lance.schemas import Field, fields_of, new_fields, next_id, schema_of
from pennon.storage.abc.columns import ColumnChange
from pennon.storage.abc.types import ROW_ID, CommitReceipt

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["add_columns", "alter_columns", "drop_columns"]

_ROWS = 8192
"""Rows that are computed at a time."""
_New = "pennon new {}"
"""What a column that takes the place of another is called in its data files."""
_Numbers: TypeAlias = dict[tuple[str, int], int]
"""The number of each field, by its column and its place among the parts of that."""


def add_columns(place: Place, wanted: Wanted, asked: Asked) -> CommitReceipt:
    """Add columns; see :meth:`TableColumns.add_columns`."""
    values = _Values(place, wanted)

    def prepare(head: lance.LanceDataset) -> Attempt:
        with translated(place.name, place.secrets):
            there: pa.Schema = head.schema
        wanted.check(there, place.name)
        with translated(place.name, place.secrets):
            first = next_id(head)
            before = fields_of(head.lance_schema)
        added = new_fields(wanted.schema(values.computed_schema(head)), first)
        fragments, files = values.on(head, _numbers(added))
        return _merge(head, fragments, [*before, *added], asked, files)

    return values.committed(asked, prepare)


def alter_columns(place: Place, changes: Mapping[str, ColumnChange], asked: Asked) -> CommitReceipt:
    """Change columns; see :meth:`TableColumns.alter_columns`."""
    if any(change.type is not None for change in changes.values()):
        with translated(place.name, place.secrets):
            known: pa.Schema = place.open().schema
        target = altered(known, changes, place.name)
        if known.types != target.types:
            return _rewrite(place, known, target, asked)

    def prepare(head: lance.LanceDataset) -> Attempt:
        from lance import LanceOperation

        with translated(place.name, place.secrets):
            old: pa.Schema = head.schema
        new = altered(old, changes, place.name)
        if old.types != new.types:
            raise _changed(place)
        tighter = [o.name for o, n in zip(old, new, strict=True) if o.nullable and not n.nullable]
        for name in tighter:
            _check_no_null(place, head, name)
        now = {o.name: n for o, n in zip(old, new, strict=True)}
        with translated(place.name, place.secrets):
            fields = [_as(f, now) for f in fields_of(head.lance_schema)]
            schema = schema_of(head.lance_schema, fields)
        return Attempt(LanceOperation.Project(schema), asked.write())

    return _pass(place, asked, prepare)


def drop_columns(place: Place, names: str | Sequence[str], asked: Asked) -> CommitReceipt:
    """Drop columns; see :meth:`TableColumns.drop_columns`."""

    def prepare(head: lance.LanceDataset) -> Attempt:
        from lance import LanceOperation

        with translated(place.name, place.secrets):
            gone = check_dropped(names, head.schema, place.name)
            kept = [c for c in _by_column(fields_of(head.lance_schema)) if c[0].name not in gone]
            schema = schema_of(head.lance_schema, [f for column in kept for f in column])
        return Attempt(LanceOperation.Project(schema), asked.write())

    return _pass(place, asked, prepare)


def _rewrite(place: Place, known: pa.Schema, target: pa.Schema, asked: Asked) -> CommitReceipt:
    """Change columns, some by writing their values anew."""
    import pyarrow as pa

    # A merge may not change the name of a column either, unless it writes its values anew.
    again = {old.name: new for old, new in zip(known, target, strict=True) if old != new}
    hidden = pa.schema([f.with_name(_New.format(n)) for n, f in again.items()])

    def cast(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = [cast_column(batch[n], f, n, place.name) for n, f in again.items()]
        return pa.RecordBatch.from_arrays(columns, schema=hidden)

    function = Function(cast, hidden, list(again), _ROWS)
    values = _Values(place, Wanted(tuple(hidden.names), function=function))

    def prepare(head: lance.LanceDataset) -> Attempt:
        with translated(place.name, place.secrets):
            same = head.schema.equals(known)
        if not same:
            raise _changed(place)
        with translated(place.name, place.secrets):
            first = next_id(head)
            before = fields_of(head.lance_schema)
        added = new_fields(hidden, first)
        fragments, files = values.on(head, _numbers(added))
        fresh = {column[0].name: column for column in _by_column(added)}
        now = {o.name: n for o, n in zip(known, target, strict=True)}
        after: list[Field] = []
        for column in _by_column(before):
            name = column[0].name
            root, *parts = fresh.get(_New.format(name), column)
            after += [_as(root.named(name), now), *parts]
        return _merge(head, fragments, after, asked, files)

    return values.committed(asked, prepare)


def _changed(place: Place) -> CommitConflict:
    return CommitConflict(
        f"The columns of {place.name} changed while a new type was being written; read them, then "
        "change the column again.",
        table=place.info.id,
    )


def _as(found: Field, now: Mapping[str, pa.Field]) -> Field:
    """Return a field as its column is to be; the parts of columns stay as they are."""
    if not found.is_column:
        return found
    new = now[found.name]
    return found.named(new.name).allowing_null(new.nullable)


def _check_no_null(place: Place, head: lance.LanceDataset, name: str) -> None:
    with translated(place.name, place.secrets):
        nulls = head.count_rows(f"`{name}` IS NULL")
    if nulls:
        raise SchemaMismatch(
            f"The column {name!r} of {place.name} holds {nulls} NULLs, which it is to forbid; "
            "update it first.",
            columns=(name,),
        )


def _pass(place: Place, asked: Asked, prepare: Any) -> CommitReceipt:
    deadline = Deadline.after(asked.seconds, asked.seconds)
    with lane_of(place) as lane, lane.passing(deadline):
        return commit(place, asked, prepare, deadline)


def _merge(
    head: lance.LanceDataset,
    fragments: list[Any],
    fields: Iterable[Field],
    asked: Asked,
    files: Iterable[str],
) -> Attempt:
    from lance import LanceOperation

    return Attempt(
        LanceOperation.Merge(fragments, schema_of(head.lance_schema, fields)),
        asked.write(),
        tuple(f"data/{file}" for file in files),
        kept=True,
    )


def _by_column(fields: Iterable[Field]) -> list[list[Field]]:
    """Return the fields of each column: itself, then its parts."""
    found: list[list[Field]] = []
    for one in fields:
        if one.is_column:
            found.append([])
        found[-1].append(one)
    return found


def _numbers(fields: Iterable[Field]) -> _Numbers:
    return {
        (column[0].name, place): part.id
        for column in _by_column(fields)
        for place, part in enumerate(column)
    }


@dataclass(slots=True)
class _File:
    """A data file with the values of new columns for the rows of one fragment."""

    data: Any
    """A ``DataFile``."""
    parts: list[tuple[str, int]]
    """What its fields are, in their order."""

    def numbered(self, numbers: _Numbers) -> Any:
        """Return it for a version in which the fields have these numbers."""
        from lance.fragment import DataFile

        return DataFile(
            self.data.path,
            [numbers[part] for part in self.parts],
            self.data.column_indices,
            self.data.file_major_version,
            self.data.file_minor_version,
            self.data.file_size_bytes,
        )


@dataclass(slots=True)
class _Values:
    """The values of new columns, written next to the fragments and kept from try to try."""

    place: Place
    wanted: Wanted
    files: dict[object, _File] = field(default_factory=dict[object, _File])
    """By what tells that the rows of a fragment are those they were computed from."""

    def committed(self, asked: Asked, prepare: Any) -> CommitReceipt:
        """Compute the values of the newest version, then commit what has become of that."""
        used: set[str] = set()

        def tried(head: lance.LanceDataset) -> Attempt:
            nonlocal used
            attempt = prepare(head)
            used = set(attempt.files)
            return attempt

        try:
            if self.wanted.computed or self.wanted.function is not None:
                prepare(self.place.open())
            receipt = _pass(self.place, asked, tried)
        except OutcomeUnknown:
            raise
        except BaseException as error:
            # A signal does not tell whether the commit had been made.
            if isinstance(error, PennonError) or not used:
                self._discard(set())
            raise
        self._discard(used)
        if self.wanted.function is not None:
            self.wanted.function.forget()
        return receipt

    def _discard(self, used: set[str]) -> None:
        names = {f"data/{file.data.path}" for file in self.files.values()}
        discard(self.place, (), *(names - used))

    def computed_schema(self, head: lance.LanceDataset) -> pa.Schema:
        """Return the columns that are computed by SQL."""
        import pyarrow as pa

        if not self.wanted.computed:
            return pa.schema([])
        rows = Rows(head, self.place.info.id, self.place.name, self.place.secrets)
        rows.check_computed(self.wanted.computed)
        with translated(self.place.name, self.place.secrets):
            found = head.scanner(columns=self.wanted.computed, with_row_id=True).projected_schema
        return pa.schema([found.field(name) for name in self.wanted.computed])

    def on(self, head: lance.LanceDataset, numbers: _Numbers) -> tuple[list[Any], list[str]]:
        """Return the fragments of a version with the values, and the names of the new files.

        Args:
            head: The version.
            numbers: What the fields of the new columns are numbered in it.
        """
        with translated(self.place.name, self.place.secrets):
            fragments = [(f, f.metadata) for f in head.get_fragments()]
        if not self.wanted.computed and self.wanted.function is None:
            return [metadata for _, metadata in fragments], []
        if self.wanted.function is not None:
            self.wanted.function.total = int(head.count_rows())
        names: list[str] = []
        for fragment, metadata in fragments:
            found = self._kept(metadata) or self._write(head, fragment, metadata)
            metadata.files = [*metadata.files, found.numbered(numbers)]
            names.append(found.data.path)
        return [metadata for _, metadata in fragments], names

    def _kept(self, metadata: Any) -> _File | None:
        if metadata.overlays:
            return None
        key = tuple((f.path, tuple(f.fields)) for f in metadata.files)
        return self.files.get((key, None)) or self.files.get((key, _deleted(metadata)))

    def _write(
        self, head: lance.LanceDataset, fragment: lance.LanceFragment, metadata: Any
    ) -> _File:
        """Compute the values for a fragment.

        If all of its rows were there, they serve whatever is deleted later; a row that was deleted
        has none, and may come back by a rollback.
        """
        key = tuple((f.path, tuple(f.fields)) for f in metadata.files)
        made, schema = self._computed(head, fragment)
        parts = {number: part for part, number in _numbers(fields_of(schema)).items()}
        before = {f.path for f in metadata.files}
        data = next(f for f in made.files if f.path not in before)
        found = _File(data, [parts[number] for number in data.fields])
        self.files[key, _deleted(metadata)] = found
        return found

    def _computed(self, head: lance.LanceDataset, fragment: lance.LanceFragment) -> Any:
        """Return the fragment with the values, and the schema it has with them.

        Lance pulls them from a thread in which other calls of Lance work. A function that it calls
        itself may make none, and what it raises becomes text; here it reaches the caller.
        """
        import pyarrow as pa

        failed: list[BaseException] = []

        def source() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except GeneratorExit:
                raise
            except BaseException as error:
                failed.append(error)
                raise

        # A handle that writes cannot be read from.
        reads = head.checkout_version(head.version)
        schema, batches = self._source(reads, reads.get_fragment(fragment.fragment_id))
        try:
            with translated(self.place.name, self.place.secrets):
                stream = pa.RecordBatchReader.from_batches(schema, source())
                return fragment.merge_columns(stream)
        except BaseException as error:  # noqa: BLE001 - raised again
            raise (failed[0] if failed else error) from None

    def _source(
        self, head: lance.LanceDataset, fragment: Any
    ) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """Return the values for the rows of a fragment, in their order."""
        rows = Rows(head, self.place.info.id, self.place.name, self.place.secrets)
        function = self.wanted.function
        size = _ROWS if function is None else function.batch_size
        columns = self.wanted.computed if function is None else function.reads

        def batches() -> Iterator[pa.RecordBatch]:
            with rows.reading(computes=True):
                found = head.scanner(
                    columns=columns, fragments=[fragment], batch_size=size, with_row_id=True
                ).to_reader()
                yield from (batch.drop_columns([ROW_ID]) for batch in found)

        if function is None:
            return self.computed_schema(head), batches()
        return function.schema, map(function, batches())


def _deleted(metadata: Any) -> object:
    gone = metadata.deletion_file
    return None if gone is None else (gone.read_version, gone.id)
