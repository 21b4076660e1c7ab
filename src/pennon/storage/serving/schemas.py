"""Schemas in the JSON of the specification, as pylance writes it.

It says less than Arrow: no time zone or unit of a timestamp. Where a type is *given*, one may be
added: ``timestamp:us`` or ``timestamp:us:UTC``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput, did_you_mean
from pennon.storage.serving.wire import models

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["json_of", "texts_of", "type_of"]

_NAMES = {
    "null": "null",
    "bool": "bool",
    **{f"{u}int{bits}": f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)},
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
    "string": "utf8",
    "large_string": "large_utf8",
    "binary": "binary",
    "large_binary": "large_binary",
    "date32[day]": "date32",
    "date64[ms]": "date64",
}
"""The names of types without parameters, by those that pyarrow shows."""
_WITH_UNIT = ("timestamp", "time32", "time64", "duration")
_DECIMALS = ("decimal128", "decimal256")
_SCALE = 1000
"""A decimal has its precision times this plus its scale for a length."""


def texts_of(metadata: Mapping[bytes, bytes] | None) -> dict[str, str]:
    """Return metadata of Arrow as texts."""
    return {
        k.decode(errors="replace"): v.decode(errors="replace") for k, v in (metadata or {}).items()
    }


def json_of(schema: pa.Schema) -> Any:
    """Return a schema as the specification writes it."""
    return models.JsonArrowSchema(
        fields=[_field(f) for f in schema], metadata=texts_of(schema.metadata) or None
    )


def _field(field: pa.Field) -> Any:
    return models.JsonArrowField(
        name=field.name,
        nullable=field.nullable,
        type=_type(field.type),
        metadata=texts_of(field.metadata) or None,
    )


def _type(kind: Any) -> Any:
    import pyarrow.types as t

    kind = getattr(kind, "storage_type", kind)
    if t.is_dictionary(kind):
        return _type(kind.value_type)
    if t.is_decimal(kind):
        name = next(n for n in _DECIMALS if str(kind).startswith(n))
        return models.JsonArrowDataType(type=name, length=kind.precision * _SCALE + kind.scale)
    if t.is_fixed_size_list(kind):
        inner = [_field(kind.value_field)]
        return models.JsonArrowDataType(type="fixed_size_list", length=kind.list_size, fields=inner)
    if t.is_fixed_size_binary(kind):
        return models.JsonArrowDataType(type="fixed_size_binary", length=kind.byte_width)
    if t.is_struct(kind):
        inner = [_field(kind.field(n)) for n in range(kind.num_fields)]
        return models.JsonArrowDataType(type="struct", fields=inner)
    if t.is_map(kind):
        inner = [_field(kind.key_field), _field(kind.item_field)]
        return models.JsonArrowDataType(type="map", fields=inner)
    if t.is_list(kind) or t.is_large_list(kind):
        name = "list" if t.is_list(kind) else "large_list"
        return models.JsonArrowDataType(type=name, fields=[_field(kind.value_field)])
    name = str(kind)
    return models.JsonArrowDataType(type=_NAMES.get(name) or name.partition("[")[0])


def type_of(given: Mapping[str, Any]) -> pa.DataType:
    """Return the type that JSON names.

    Raises:
        InvalidInput: There is no such type.
    """
    import pyarrow as pa

    try:
        named = models.JsonArrowDataType.model_validate(dict(given))
    except ValueError:
        raise InvalidInput(
            f"data_type={dict(given)!r} is no type; write it as {{'type': 'int64'}}."
        ) from None
    try:
        return _parsed(named)
    except (pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        known = {*_NAMES.values(), *_WITH_UNIT, *_DECIMALS, "struct", "list", "fixed_size_list"}
        raise InvalidInput(
            f"data_type={dict(given)!r} is no type; {did_you_mean(named.type.lower(), known)}"
        ) from error


def _parsed(named: Any) -> pa.DataType:
    import pyarrow as pa

    name, *more = named.type.lower().split(":", maxsplit=2)
    fields = [pa.field(f.name, _parsed(f.type), f.nullable) for f in named.fields or ()]
    plain = {theirs: ours for ours, theirs in _NAMES.items()}
    if name in plain and not more:
        return pa.type_for_alias(plain[name])
    if name in _WITH_UNIT:
        zone = named.type.split(":", maxsplit=2)[2:]
        return getattr(pa, name)(more[0], *zone)
    if name in _DECIMALS:
        return getattr(pa, name)(*divmod(named.length, _SCALE))
    match name:
        case "struct":
            return pa.struct(fields)
        case "list":
            return pa.list_(fields[0])
        case "large_list":
            return pa.large_list(fields[0])
        case "fixed_size_list":
            return pa.list_(fields[0], named.length)
        case "fixed_size_binary":
            return pa.binary(named.length)
        case _:
            raise KeyError(name)
