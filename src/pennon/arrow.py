"""Data in: one Arrow stream from whatever holds rows.

Streams stay streams: nothing is read before the reader is, except the rows of Python dicts, and the
first batch of an iterable that does not say its schema.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput, InvalidOption, PennonError, SchemaMismatch

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ACCEPTED", "fitting", "storable", "to_reader"]

ACCEPTED = (
    "anything with __arrow_c_stream__ or __arrow_c_array__ (pyarrow, polars, pandas, duckdb), an "
    "iterable of record batches, a list of dicts, or a dict of lists"
)
_ROWS = 8192
"""Rows converted at a time: bounds memory, and 32-bit offsets then hold 256 KiB per value."""
_DECIMAL = 16
"""Bytes of the smallest decimal that is stored."""


def to_reader(
    data: Any, schema: pa.Schema | None = None, *, partial: bool = False
) -> pa.RecordBatchReader:
    """Return the rows as one Arrow stream.

    View layouts, which many Arrow tools cannot read, become the plain ones. With a schema the
    stream has exactly that one: columns are matched by name, a missing nullable column becomes
    NULL, and another layout of the same values (``large_string`` for ``string``, dictionary
    encoding) is converted; a type that holds other values is refused, never cast. The rows of
    Python dicts take the types of the schema.

    Args:
        data: See :data:`ACCEPTED`.
        schema: What the stream must be; that of the data if None.
        partial: Whether columns that the data lack are left out, instead of being NULL.

    Raises:
        InvalidInput: No stream can be made of the data.
        InvalidOption: ``schema`` is no schema.
        SchemaMismatch: The data do not fit ``schema``; for single values (a NULL where none is
            allowed) only when the stream is read.
    """
    import pyarrow as pa

    if schema is not None and not isinstance(schema, pa.Schema):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"schema= is a {type(schema).__name__}; pass a pyarrow.Schema.")
    reader = _open(data, schema)
    names = reader.schema.names
    if len(set(names)) != len(names):
        twice = sorted({n for n in names if names.count(n) > 1})
        raise InvalidInput(f"The data have more than one column {twice[0]!r}; rename one.")
    target = _plain_schema(reader.schema) if schema is None else schema
    if partial:
        target = pa.schema([f for f in target if f.name in names], metadata=target.metadata)
    if not target.names:
        raise InvalidInput("The data have no columns; a table needs at least one.")
    if reader.schema.equals(target, check_metadata=True):
        return pa.RecordBatchReader.from_batches(target, _checked(reader, target))
    convert = _converter(reader.schema, target)
    return pa.RecordBatchReader.from_batches(target, _converted(reader, target, convert))


def fitting(data: Any, schema: pa.Schema) -> pa.Table | None:
    """Return the data if they are an Arrow table that :func:`to_reader` would not change.

    Metadata aside: they are those of the data still. None if they have to be read to know.
    """
    import pyarrow as pa

    if not isinstance(data, pa.Table) or not data.schema.equals(schema):
        return None
    filled = (n for n, field in enumerate(schema) if not field.nullable)
    return None if any(data.column(n).null_count for n in filled) else data


def _foreign(reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    """Tell what a foreign stream says went wrong from what stores and tables say.

    A batch that is not what its stream announced is refused: Lance goes by position, not by name.
    """
    import pyarrow as pa

    try:
        for batch in reader:
            if not batch.schema.equals(reader.schema):
                raise SchemaMismatch(
                    "A batch of the stream has other columns than the stream, or has them in "
                    "another order; make them alike."
                )
            yield batch
    except PennonError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise InvalidInput(f"The data stream failed: {error}.") from error


def _checked(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Refuse a NULL where none is allowed."""
    filled = [field.name for field in schema if not field.nullable]
    for batch in _foreign(reader):
        for name in filled:
            _check_filled(name, batch.column(name))
        yield batch


def _check_filled(name: str, array: pa.Array) -> None:
    """Refuse a NULL."""
    if array.null_count:
        raise SchemaMismatch(
            f"The column {name!r} holds a NULL, which the schema does not allow.", columns=(name,)
        )


# -- from anything to a reader -------------------------------------------------------------------


def _open(data: Any, schema: pa.Schema | None) -> pa.RecordBatchReader:
    import pyarrow as pa

    if isinstance(data, pa.RecordBatchReader):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.RecordBatchReader.from_batches(data.schema, iter([data]))
    if isinstance(data, Mapping):
        return _from_columns(data, schema)
    if hasattr(data, "__arrow_c_stream__"):
        return _imported(lambda: pa.RecordBatchReader.from_stream(data), data)
    if hasattr(data, "__arrow_c_array__"):
        return _imported(lambda: _open(pa.record_batch(data), None), data)
    if hasattr(data, "to_batches"):
        known = getattr(data, "projected_schema", None) or getattr(data, "schema", None)
        if isinstance(known, pa.Schema):
            return pa.RecordBatchReader.from_batches(known, _batches(data.to_batches()))
    if isinstance(data, (list, tuple)) and any(isinstance(row, Mapping) for row in data or ({},)):
        return _from_dicts(data, schema)
    if isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        return _from_batches(data, schema)
    raise _refused(data)


def _refused(data: object) -> InvalidInput:
    return InvalidInput(f"A {type(data).__name__} holds no rows; pass {ACCEPTED}.")


def _imported(make: Callable[[], pa.RecordBatchReader], data: object) -> pa.RecordBatchReader:
    import pyarrow as pa

    try:
        return make()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InvalidInput(
            f"The {type(data).__name__} exports no rows with columns ({error}); pass {ACCEPTED}."
        ) from error


def _chosen(schema: pa.Schema | None, names: Iterable[str]) -> pa.Schema | None:
    """The part of the schema that the rows have, so that what they lack is told from NULL."""
    import pyarrow as pa

    known = list(names)
    if schema is None or not set(known) <= set(schema.names):
        return None
    return pa.schema([schema.field(n) for n in known])


def _array(name: str, values: Any, schema: pa.Schema | None) -> Any:
    """Return the values of one column as the schema has it, or as Arrow understands them."""
    import pyarrow as pa

    kind = None if schema is None else schema.field(name).type
    if kind is not None and isinstance(values, (list, tuple)):
        _check_whole(name, kind, values)
    try:
        if isinstance(values, (pa.Array, pa.ChunkedArray)):
            column: Any = values
            return column if kind is None else column.cast(kind)
        found = pa.array(values, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        text = str(error).split("\n", maxsplit=1)[0]
        what = "values of one type" if kind is None else f"values that are {kind}"
        raise SchemaMismatch(
            f"The column {name!r} does not hold {what}: {text}.", columns=(name,)
        ) from error
    if kind is not None and _too_large(found, values):
        raise SchemaMismatch(
            f"The column {name!r} is {kind}, which cannot hold numbers as large.", columns=(name,)
        )
    return found


def _too_large(found: Any, values: Any) -> bool:
    """Whether Arrow made infinity of a number that a short float has no room for."""
    import pyarrow as pa
    import pyarrow.compute

    compute: Any = pyarrow.compute
    while pa.types.is_list(found.type) or pa.types.is_fixed_size_list(found.type):
        found = found.flatten()
        values = itertools.chain.from_iterable(v for v in values if v is not None)
    if not pa.types.is_float16(found.type) and not pa.types.is_float32(found.type):
        return False
    infinite = compute.sum(compute.is_inf(found.cast(pa.float32()))).as_py()
    if not infinite:
        return False
    given = compute.is_inf(pa.array(list(values), pa.float64()))
    return compute.sum(given).as_py() != infinite


def _from_columns(data: Mapping[str, Any], schema: pa.Schema | None) -> pa.RecordBatchReader:
    import pyarrow as pa

    for name, values in data.items():
        if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
            raise InvalidInput(
                f"A dict maps columns to all their values, but {name!r} to a "
                f"{type(values).__name__}; put a single row into a list."
            )
    chosen = _chosen(schema, data)
    columns = [_array(name, values, chosen) for name, values in data.items()]
    try:
        return pa.table(columns, names=_names(data)).to_reader()
    except pa.ArrowException as error:
        raise InvalidInput(f"The dict holds no columns of one length ({error}).") from error


def _names(keys: Iterable[Any]) -> list[str]:
    names = list(dict.fromkeys(keys))
    if any(not isinstance(name, str) for name in names):
        raise InvalidInput("The keys of the dicts are names of columns; make them strings.")
    return names


def _from_dicts(rows: Any, schema: pa.Schema | None) -> pa.RecordBatchReader:
    import pyarrow as pa

    if not rows:
        if schema is None:
            raise InvalidInput("An empty list has no columns; pass schema= as well.")
        return schema.empty_table().to_reader()
    for row in rows:
        if not isinstance(row, Mapping):
            raise InvalidInput(
                f"A row is a {type(row).__name__}, and others are dicts; make it one."
            )
    names = _names(itertools.chain.from_iterable(rows))
    chosen = _chosen(schema, names)
    columns = [_array(name, [row.get(name) for row in rows], chosen) for name in names]
    return pa.table(columns, names=names).to_reader()


def _check_whole(name: str, kind: pa.DataType, values: Iterable[Any]) -> None:
    """Refuse what Arrow cuts off: fractions of Python's numbers, and fields a struct lacks."""
    import pyarrow as pa

    types = pa.types
    if types.is_integer(kind) or types.is_temporal(kind):
        for value in values:
            if isinstance(value, Real) and not isinstance(value, Integral) and value % 1 != 0:
                raise SchemaMismatch(
                    f"The column {name!r} is {kind}, which cannot hold {value!r}; round it first.",
                    columns=(name,),
                )
    elif types.is_struct(kind):
        _check_fields(name, kind, [v for v in values if isinstance(v, Mapping)])
    elif types.is_map(kind):
        maps = (v.items() if isinstance(v, Mapping) else v for v in values)
        pairs = [p for m in maps if isinstance(m, Iterable) for p in m if isinstance(p, tuple)]
        for place, part in enumerate((kind.key_type, kind.item_type)):
            _check_whole(name, part, [p[place] for p in pairs if len(p) == 2])  # noqa: PLR2004
    elif types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        lists = (v for v in values if isinstance(v, (list, tuple)))
        _check_whole(name, kind.value_type, itertools.chain.from_iterable(lists))


def _check_fields(name: str, kind: pa.DataType, values: list[Mapping[str, Any]]) -> None:
    known = {part.name for part in kind}
    for key in itertools.chain.from_iterable(values):
        if key not in known:
            raise SchemaMismatch(
                f"The column {name!r} is {kind}, which has no field {key!r}.", columns=(name,)
            )
    for part in kind:
        _check_whole(name, part.type, [v.get(part.name) for v in values])


def _from_batches(data: Iterable[Any], schema: pa.Schema | None) -> pa.RecordBatchReader:
    import pyarrow as pa

    known = getattr(data, "schema", None)
    batches = _batches(data)
    if not isinstance(known, pa.Schema):
        first = next(batches, None)
        if first is None and schema is None:
            raise InvalidInput("An empty iterable has no columns; pass schema= as well.")
        known = schema if first is None else first.schema
        batches = batches if first is None else itertools.chain([first], batches)
    return pa.RecordBatchReader.from_batches(known, batches)


def _batches(data: Iterable[Any]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for item in data:
        if isinstance(item, pa.Table):
            yield from item.to_batches()
        elif isinstance(item, pa.RecordBatch):
            yield item
        else:
            raise InvalidInput(
                f"The iterable yields a {type(item).__name__}, not record batches; pass {ACCEPTED}."
            )


# -- from one schema to another ------------------------------------------------------------------


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type with plain layouts in place of view layouts, at any depth."""
    import pyarrow as pa

    types = pa.types
    if types.is_string_view(kind):
        return pa.string()
    if types.is_binary_view(kind):
        return pa.binary()
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _plain(kind.value_type))  # Lance keeps no order
    if types.is_map(kind):
        return pa.map_(_plain(kind.key_type), kind.item_field.with_type(_plain(kind.item_type)))
    if types.is_fixed_size_list(kind):
        inner = kind.value_field.with_type(_plain(kind.value_type))
        return pa.list_(inner, kind.list_size)
    if types.is_struct(kind):
        return pa.struct([f.with_type(_plain(f.type)) for f in kind])
    if types.is_list(kind) or types.is_list_view(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    if types.is_large_list(kind) or types.is_large_list_view(kind):
        return pa.large_list(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    import pyarrow as pa

    return pa.schema([f.with_type(_plain(f.type)) for f in schema], metadata=schema.metadata)


def storable(schema: pa.Schema) -> pa.Schema:
    """Return columns as they are stored: view layouts become plain ones.

    Raises:
        InvalidInput: No schema at all, or a column of a type that cannot be stored.
    """
    import pyarrow as pa

    if not isinstance(schema, pa.Schema):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidInput(f"schema= is a {type(schema).__name__}; pass a pyarrow.Schema.")
    plain = _plain_schema(schema)
    for field in plain:
        if not _is_stored(field.type):
            raise InvalidInput(
                f"The column {field.name!r} is {field.type}, which Lance cannot store; use another "
                "type.",
                columns=(field.name,),
            )
    return plain


def _is_stored(kind: pa.DataType) -> bool:
    """Whether Lance stores a type, at any depth; it ruins a table with two parts of one name."""
    import pyarrow as pa

    types = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _is_stored(kind.storage_type)
    if types.is_dictionary(kind):
        return not types.is_nested(kind.value_type)
    parts = [kind.field(n) for n in range(kind.num_fields)]
    return not (
        types.is_interval(kind)
        or types.is_union(kind)
        or types.is_run_end_encoded(kind)
        or (types.is_decimal(kind) and kind.byte_width < _DECIMAL)
        or (types.is_fixed_size_list(kind) and (not kind.list_size or _varies(kind.value_type)))
        or len({p.name for p in parts}) < len(parts)
    ) and all(_is_stored(p.type) for p in parts)


def _varies(kind: pa.DataType) -> bool:
    """Whether values differ in length, for which Lance has no fixed-size list."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(kind) or types.is_fixed_size_list(kind):
        return False
    return types.is_nested(kind) or _values(kind) in ("string", "binary")


def _values(kind: pa.DataType) -> object:
    """What a type can hold, without how it is laid out: equal for types that cast losslessly."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return _values(kind.value_type)
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind):
        return "binary"
    if (
        types.is_list(kind)
        or types.is_large_list(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
    ):
        return "list", _values(kind.value_type)
    if types.is_fixed_size_list(kind):
        return "list", kind.list_size, _values(kind.value_type)
    if types.is_map(kind):
        return "map", _values(kind.key_type), _values(kind.item_type)
    if types.is_struct(kind):
        return "struct", tuple((f.name, _values(f.type)) for f in kind)
    return kind


def _converter(source: pa.Schema, target: pa.Schema) -> Callable[[pa.RecordBatch], list[pa.Array]]:
    import pyarrow as pa

    extra = [n for n in source.names if n not in target.names]
    if extra:
        raise SchemaMismatch(
            f"The data have a column {extra[0]!r} that the schema lacks; it has "
            f"{', '.join(map(repr, target.names)) or 'none'}.",
            columns=tuple(extra),
        )
    for field in target:
        if field.name not in source.names:
            if not field.nullable:
                raise SchemaMismatch(
                    f"The data lack the column {field.name!r}, which allows no NULL.",
                    columns=(field.name,),
                )
            continue
        given = source.field(field.name).type
        if not pa.types.is_null(given) and _values(given) != _values(field.type):
            raise SchemaMismatch(
                f"The column {field.name!r} is {given} and must be {field.type}; cast it first.",
                columns=(field.name,),
            )

    def convert(batch: pa.RecordBatch) -> list[pa.Array]:
        return [_column(batch, field) for field in target]

    return convert


def _column(batch: pa.RecordBatch, field: pa.Field) -> pa.Array:
    import pyarrow as pa

    if field.name not in batch.schema.names:
        return pa.nulls(batch.num_rows, field.type)
    array = batch.column(field.name)
    if not field.nullable:
        _check_filled(field.name, array)
    if array.type.equals(field.type):
        return array
    try:
        found = _without_views(array).cast(field.type)
        found.validate()  # what the cast made of list views in other types
    except pa.ArrowException as error:
        raise SchemaMismatch(
            f"The column {field.name!r} is {array.type} and cannot become {field.type}: {error}.",
            columns=(field.name,),
        ) from error
    return found


def _without_views(array: Any) -> Any:
    """Return a list view, and list views in it, as a list: Arrow's cast lacks the last offset."""
    import pyarrow as pa
    import pyarrow.compute

    compute: Any = pyarrow.compute
    if not (pa.types.is_list_view(array.type) or pa.types.is_large_list_view(array.type)):
        return array
    lengths = compute.fill_null(compute.list_value_length(array), 0)
    ends = pa.concat_arrays([pa.array([0], lengths.type), compute.cumulative_sum(lengths)])
    kind = pa.LargeListArray if pa.types.is_large_list_view(array.type) else pa.ListArray
    return kind.from_arrays(ends, _without_views(array.flatten()), mask=array.is_null())


def _converted(
    reader: pa.RecordBatchReader,
    target: pa.Schema,
    convert: Callable[[pa.RecordBatch], list[pa.Array]],
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    for batch in _foreign(reader):
        for start in range(0, batch.num_rows, _ROWS):
            columns = convert(batch.slice(start, _ROWS))
            yield pa.RecordBatch.from_arrays(columns, schema=target)
