"""What every backend works out before it changes columns, in the same words."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pennon.arrow import storable, to_reader
from pennon.errors import (
    ColumnAlreadyExists,
    ColumnNotFound,
    InvalidInput,
    InvalidOption,
    SchemaMismatch,
    did_you_mean,
)
from pennon.expr import Expr, closed, value_sql
from pennon.storage._arguments import check_callable
from pennon.storage.abc.columns import ColumnChange, Compute, NewColumns, Progress
from pennon.storage.keys import check_names, names_of, primary_key, without_key

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Function",
    "Wanted",
    "altered",
    "cast_column",
    "check_changes",
    "check_dropped",
    "wanted",
]

_ROWS = 8192
"""Rows of a batch for a function."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """New columns: their names in order, and where each comes from."""

    names: tuple[str, ...]
    computed: dict[str, str] = field(default_factory=dict[str, str])
    """SQL by name."""
    nulls: dict[str, pa.Field] = field(default_factory=dict[str, "pa.Field"])
    """Columns without a value."""
    function: Function | None = None
    """Makes all of them."""

    def check(self, schema: pa.Schema, table: str) -> None:
        """Refuse names that are taken, and input that is not there.

        Raises:
            ColumnAlreadyExists: One is.
            ColumnNotFound: The function is to be given a column the table lacks.
        """
        _check_free(self.names, schema.names, table)
        if self.function is not None and self.function.reads is not None:
            _check_there(self.function.reads, schema, table)

    def schema(self, computed: pa.Schema) -> pa.Schema:
        """Return the new columns; each allows NULL, and none belongs to the primary key.

        Args:
            computed: Those that are computed by SQL, as far as their types are known.
        """
        import pyarrow as pa

        made = computed if self.function is None else self.function.schema
        fields = [self.nulls[n] if n in self.nulls else made.field(n) for n in self.names]
        return storable(pa.schema([without_key(f).with_nullable(nullable=True) for f in fields]))


def wanted(
    columns: NewColumns,
    *,
    schema: pa.Schema | None,
    read_columns: Sequence[str] | None,
    batch_size: int | None,
    checkpoint: str | os.PathLike[str] | None,
    progress: Progress | None,
) -> Wanted:
    """Return the new columns that are asked for.

    Raises:
        InvalidOption: There are none, or options that are for a function only.
        InvalidName: A name that no column can have.
        InvalidInput: A type that cannot be stored.
    """
    import pyarrow as pa

    if callable(columns) and not isinstance(columns, Mapping):
        reads = None if read_columns is None else names_of("read_columns", read_columns)
        if schema is None or not isinstance(schema, pa.Schema) or not schema.names:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption("A function needs schema=, the columns that it returns.")
        if batch_size is not None and not (isinstance(batch_size, int) and 0 < batch_size < 2**31):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"batch_size={batch_size!r} must be a number of rows from 1.")
        check_callable("progress", progress)
        if checkpoint is not None and not isinstance(checkpoint, (str, os.PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"checkpoint={checkpoint!r} must be the path of a directory.")
        made = storable(schema)
        check_names(made.names)
        function = Function(columns, made, reads, batch_size or _ROWS, checkpoint, progress)
        return Wanted(tuple(made.names), function=function)
    for option, given in (
        ("schema", schema),
        ("read_columns", read_columns),
        ("batch_size", batch_size),
        ("checkpoint", checkpoint),
        ("progress", progress),
    ):
        if given is not None:
            raise InvalidOption(f"{option}= is for a function that computes the columns.")
    return _from_names(columns)


def _from_names(columns: Any) -> Wanted:
    import pyarrow as pa

    if isinstance(columns, pa.Schema) and columns.names:
        check_names(columns.names)
        return Wanted(tuple(columns.names), nulls={f.name: f for f in storable(columns)})
    if not isinstance(columns, Mapping) or not columns:
        raise InvalidOption(
            "columns= maps names to expressions or types, such as {'twice': col('n') * 2}, or is a "
            "schema, or a function over batches."
        )
    check_names(columns)
    found = Wanted(tuple(columns))
    for name, value in columns.items():
        if isinstance(value, pa.Field):
            found.nulls[name] = _storable(value.with_name(name))
        elif isinstance(value, pa.DataType):
            found.nulls[name] = _storable(pa.field(name, value))
        else:
            found.computed[name] = _sql(name, value)
    return found


def _storable(field: pa.Field) -> pa.Field:
    import pyarrow as pa

    return storable(pa.schema([field])).field(0)


def _sql(name: str, value: Any) -> str:
    if isinstance(value, Expr):
        return value_sql(value)
    if not isinstance(value, str):
        raise InvalidOption(
            f"columns={{{name!r}: ...}} is a {type(value).__name__}; a literal is written as "
            "pennon.lit(...), a string is SQL, and a type makes a column of NULLs."
        )
    if not value.strip():
        raise InvalidOption(f"columns={{{name!r}: ''}} is no SQL; the empty text is lit('').")
    return closed(value)


def _check_free(names: Iterable[str], taken: Iterable[str], table: str) -> None:
    there = set(taken)
    for name in names:
        if name in there:
            raise ColumnAlreadyExists(
                f"{table} has a column {name!r} already; update sets its values, or choose another "
                "name.",
                columns=(name,),
            )


def _check_there(names: Iterable[str], schema: pa.Schema, table: str) -> None:
    for name in names:
        if name not in schema.names:
            raise ColumnNotFound(
                f"{table} has no column {name!r}; {did_you_mean(name, schema.names)}",
                columns=(name,),
            )


@dataclass(slots=True)
class Function:
    """A function over batches, with its results checked, counted and kept."""

    compute: Compute
    schema: pa.Schema
    reads: list[str] | None
    batch_size: int
    checkpoint: str | os.PathLike[str] | None = None
    progress: Progress | None = None
    total: int = 0
    """Rows there are."""
    done: int = 0
    """Rows that were computed."""

    def __post_init__(self) -> None:
        import pyarrow as pa

        fields = [without_key(f).with_nullable(nullable=True) for f in self.schema]
        self.schema = pa.schema(fields)

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the new columns of a batch.

        Raises:
            SchemaMismatch: The function returned something else.
        """
        import pyarrow as pa

        if not batch.num_rows:
            # All of its rows were deleted.
            return pa.RecordBatch.from_pylist([], schema=self.schema)
        kept = None if self.checkpoint is None else _Kept(Path(self.checkpoint), batch)
        found = None if kept is None else kept.load(self.schema)
        if found is None:
            rows = to_reader(self.compute(batch), self.schema).read_all().combine_chunks()
            if rows.num_rows != batch.num_rows:
                raise SchemaMismatch(
                    f"The function returned {rows.num_rows} rows for a batch of {batch.num_rows}; "
                    "each row needs one value."
                )
            columns = [c.chunk(0) if c.num_chunks else pa.nulls(0, c.type) for c in rows.columns]
            found = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            if kept is not None:
                kept.store(found)
        self.done += batch.num_rows
        if self.progress is not None:
            self.progress(self.done, max(self.total, self.done))
        return found

    def forget(self) -> None:
        """Delete what was kept: the columns are committed."""
        if self.checkpoint is not None:
            for file in Path(self.checkpoint).glob(f"*{_Kept.END}"):
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                Path(self.checkpoint).rmdir()


class _Kept:
    """The result of one batch in a file that is named after the content of the batch.

    So it is found again wherever the rows are by then, and never taken for that of other values.
    """

    END = ".batch.arrow"

    def __init__(self, directory: Path, batch: pa.RecordBatch) -> None:
        name = hashlib.blake2b(repr(batch.schema.names).encode(), digest_size=20)
        for column in batch.columns:
            _feed(name, column)
        self._file = directory / f"{name.hexdigest()}{self.END}"

    def load(self, schema: pa.Schema) -> pa.RecordBatch | None:
        """Return what was kept, or None."""
        import pyarrow as pa

        if not self._file.exists():
            return None
        with pa.ipc.open_file(self._file) as file:
            found = file.get_batch(0)
        if not found.schema.equals(schema):
            raise InvalidOption(
                f"checkpoint={str(self._file.parent)!r} holds the results of another function; "
                "choose another directory."
            )
        return found

    def store(self, batch: pa.RecordBatch) -> None:
        """Keep a result; a crash leaves all of it or nothing."""
        import pyarrow as pa

        directory = self._file.parent
        try:
            directory.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=directory, suffix=self.END)
            with os.fdopen(handle, "wb") as out, pa.ipc.new_file(out, batch.schema) as file:
                file.write_batch(batch)
            Path(name).replace(self._file)
        except OSError as error:
            raise InvalidOption(
                f"checkpoint={str(directory)!r} keeps no files: {error}; choose another directory."
            ) from error


def _feed(name: hashlib.blake2b, values: Any) -> None:
    """Let a name depend on values, and not on what the buffers of an array hold besides."""
    import pyarrow as pa
    import pyarrow.compute

    types, compute = pa.types, pyarrow.compute
    kind: pa.DataType = values.type
    name.update(f"{kind} {len(values)} {values.null_count}".encode())
    if values.null_count:
        name.update(values.is_valid().to_numpy(zero_copy_only=False).tobytes())
        values = values.drop_null()
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        name.update(compute.list_value_length(values).to_numpy().tobytes())
        _feed(name, values.flatten())
    elif types.is_struct(kind):
        for part in values.flatten():
            _feed(name, part)
    elif types.is_integer(kind) or types.is_floating(kind):
        name.update(values.to_numpy().tobytes())
    elif types.is_temporal(kind):
        # Python has no nanoseconds.
        name.update(values.view(f"int{kind.bit_width}").to_numpy().tobytes())
    else:
        name.update(repr(values.to_pylist()).encode())


def check_changes(changes: Mapping[str, ColumnChange]) -> None:
    """Refuse changes that are none.

    Raises:
        InvalidOption: No column, or one that stays as it is.
        InvalidName: A name that no column can have.
    """
    import pyarrow as pa

    if not isinstance(changes, Mapping) or not changes:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(
            "changes= maps columns to what becomes of them, such as {'n': ColumnChange(name='m')}."
        )
    for name, change in changes.items():
        if not isinstance(change, ColumnChange):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"changes={{{name!r}: ...}} must be a pennon.ColumnChange.")
        if change.type is not None and not isinstance(change.type, pa.DataType):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"type={change.type!r} must be a type of pyarrow.")
        if change == ColumnChange():
            raise InvalidOption(f"changes={{{name!r}: ...}} changes nothing; give it a name=.")
    check_names(c.name for c in changes.values() if c.name is not None)


def altered(schema: pa.Schema, changes: Mapping[str, ColumnChange], table: str) -> pa.Schema:
    """Return a schema with columns changed, each in its place.

    Raises:
        ColumnNotFound: It has no such column.
        InvalidInput: A column belongs to the primary key, or a new type cannot be stored.
        ColumnAlreadyExists: Two columns would have one name.
    """
    import pyarrow as pa

    _check_there(changes, schema, table)
    _check_no_key(changes, schema, table)
    fields: list[pa.Field] = []
    for old in schema:
        change = changes.get(old.name, ColumnChange())
        new = old if change.type is None else _storable(old.with_type(change.type))
        if change.nullable is not None:
            new = new.with_nullable(nullable=change.nullable)
        new = new if change.name is None else new.with_name(change.name)
        _check_free([new.name], [f.name for f in fields], table)
        fields.append(new)
    return pa.schema(fields, metadata=schema.metadata)


def check_dropped(names: str | Sequence[str], schema: pa.Schema, table: str) -> list[str]:
    """Return the columns to drop.

    Raises:
        InvalidOption: None at all, or one twice.
        ColumnNotFound: The table has no such column.
        InvalidInput: One belongs to the primary key, or none would be left.
    """
    found = names_of("columns", names)
    _check_there(found, schema, table)
    _check_no_key(found, schema, table)
    if len(found) == len(schema.names):
        raise InvalidInput(f"{table} needs one column at least; drop_table drops all of it.")
    return found


def _check_no_key(names: Iterable[str], schema: pa.Schema, table: str) -> None:
    keys = [n for n in names if n in primary_key(schema)]
    if keys:
        raise InvalidInput(
            f"The column {keys[0]!r} belongs to the primary key of {table}, which never changes; "
            "copy the rows into a new table.",
            columns=tuple(keys),
        )


def cast_column(values: Any, field: pa.Field, name: str, table: str) -> Any:
    """Return the values of a column as another type; nothing is rounded or cut.

    Args:
        values: An array, or a chunked one.
        field: What they are to be.
        name: The column, as it is called now.
        table: The table.

    Raises:
        SchemaMismatch: One does not fit.
    """
    import pyarrow as pa

    try:
        found = values.cast(field.type)
        # Arrow checks whole numbers, but rounds others, cuts times, and drops parts by their names.
        is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        if not is_text and not _same(found.cast(values.type, safe=False), values):
            raise pa.ArrowInvalid("it would become another value")
    except pa.ArrowException as error:
        text = str(error).split("\n", maxsplit=1)[0]
        raise SchemaMismatch(
            f"A value of the column {name!r} of {table} does not fit {field.type}: {text}.",
            columns=(name,),
        ) from error
    if found.null_count and not field.nullable:
        raise SchemaMismatch(
            f"The column {name!r} of {table} holds a NULL, which it is to forbid; update it first.",
            columns=(name,),
        )
    return found


def _same(left: Any, right: Any) -> bool:
    """Whether two arrays of one type, with NULL at the same places, hold the same values."""
    import pyarrow as pa
    import pyarrow.compute

    types, compute = pa.types, pyarrow.compute
    kind: pa.DataType = left.type
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _same(compute.list_flatten(left), compute.list_flatten(right))
    if types.is_struct(kind):
        return all(map(_same, left.flatten(), right.flatten()))
    if types.is_floating(kind):
        # No NaN equals another.
        numbers = [compute.if_else(compute.is_nan(a), None, a) for a in (left, right)]
        nans = [compute.is_nan(a) for a in (left, right)]
        return numbers[0].equals(numbers[1]) and nans[0].equals(nans[1])
    return left.equals(right)
