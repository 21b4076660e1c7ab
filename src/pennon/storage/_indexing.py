"""What a caller says of an index, understood and checked in the same words by every backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pennon.errors import ColumnNotFound, IndexNotFound, InvalidOption, did_you_mean
from pennon.storage.indexing import (
    FEW_ROWS,
    MANY_ROWS,
    Bitmap,
    BloomFilter,
    BTree,
    FullText,
    Index,
    IvfFlat,
    IvfHnswFlat,
    IvfHnswPq,
    IvfHnswSq,
    IvfPq,
    IvfRq,
    IvfSq,
    LabelList,
    MinHash,
    NGram,
    RTree,
    ScalarIndex,
    VectorIndex,
    ZoneMap,
)

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "SYSTEM",
    "chosen_names",
    "field_of",
    "from_parameters",
    "full_text",
    "index_name",
    "known_index",
    "scalar_index",
    "vector_index",
    "vector_index_for",
]

_LONGEST = 200
SYSTEM = "__lance_"
"""What the names of Lance's own indexes begin with."""
_T = TypeVar("_T")
_I = TypeVar("_I", bound=Index)

_SCALAR: dict[str, type[ScalarIndex]] = {
    cls.kind: cls for cls in (BTree, Bitmap, LabelList, NGram, ZoneMap, BloomFilter, RTree, MinHash)
}
_VECTOR: dict[str, type[VectorIndex]] = {
    cls.kind: cls for cls in (IvfFlat, IvfPq, IvfSq, IvfRq, IvfHnswFlat, IvfHnswPq, IvfHnswSq)
}
_ALL: dict[str, type[Index]] = {**_SCALAR, **_VECTOR, FullText.kind: FullText}


def scalar_index(kind: ScalarIndex | str) -> ScalarIndex:
    """Return the parameters of an index for filters.

    Raises:
        InvalidOption: It is neither an object with parameters nor the name of a kind.
    """
    return kind if type(kind) in _SCALAR.values() else _named(kind, _SCALAR, "kind")  # pyright: ignore[reportReturnType]


def full_text(config: FullText | None) -> FullText:
    """Return the parameters of an index for full-text search.

    Raises:
        InvalidOption: It is something else.
    """
    if config is None:
        return FullText()
    if not isinstance(config, FullText):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"config={config!r} must be a FullText(...), or None.")
    return config


def vector_index(config: VectorIndex | str | None) -> VectorIndex | None:
    """Return the parameters of an index for vectors; None if the table is to decide.

    Raises:
        InvalidOption: It is neither an object with parameters nor the name of a kind.
    """
    if config is None or type(config) in _VECTOR.values():
        return config  # pyright: ignore[reportReturnType]
    return _named(config, _VECTOR, "config")


def vector_index_for(field: pa.Field, rows: int) -> VectorIndex:
    """Return what suits a column of so many vectors: exact if they are few."""
    if rows < FEW_ROWS or IvfFlat().metric_for(field) == "hamming":
        return IvfFlat()
    return IvfSq() if rows < MANY_ROWS else IvfPq()


def _named(kind: object, known: Mapping[str, type[_I]], option: str) -> _I:
    found = known.get(kind.lower()) if isinstance(kind, str) else None
    if found is None:
        hint = did_you_mean(kind if isinstance(kind, str) else "", known)
        raise InvalidOption(f"{option}={kind!r} is no kind of index here; {hint}")
    return found()


def from_parameters(kind: str, parameters: Mapping[str, Any]) -> Index:
    """Return the index of a kind with parameters as :meth:`Index.parameters` returns them.

    Raises:
        InvalidOption: There is no such kind or parameter.
    """
    if kind not in _ALL:
        raise InvalidOption(f"{kind!r} is no kind of index; {did_you_mean(kind, _ALL)}")
    names = {f.name for f in fields(_ALL[kind])}  # pyright: ignore[reportArgumentType]
    unknown = next((name for name in parameters if name not in names), None)
    if unknown is not None:
        raise InvalidOption(
            f"A {kind} index has no parameter {unknown!r}; {did_you_mean(unknown, names)}"
        )
    return _ALL[kind](**parameters)


def index_name(name: str | None, column: str, suffix: str) -> str:
    """Return the name of an index, made of its column if none is given.

    Raises:
        InvalidOption: It is empty, too long, no text, or as Lance calls its own.
    """
    if name is None:
        name = f"{column}_{suffix}"
    elif not isinstance(name, str) or not name.strip() or len(name) > _LONGEST:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"name={name!r} must be a text of 1 to {_LONGEST} characters, or None.")
    if name.startswith(SYSTEM):
        raise InvalidOption(f"name={name!r} must not begin with {SYSTEM!r}, as Lance's own do.")
    return name


def known_index(known: Mapping[str, _T], name: str, table: str) -> _T:
    """Return what is known of an index.

    Raises:
        IndexNotFound: There is none of this name.
    """
    if not isinstance(name, str) or name not in known:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise IndexNotFound(
            f"{table} has no index {name!r}; {did_you_mean(str(name), known)}", index=name
        )
    return known[name]


def chosen_names(names: Sequence[str] | None, known: Iterable[str], table: str) -> list[str]:
    """Return the names of indexes that are meant: all if None are given.

    Raises:
        IndexNotFound: There is none of such a name.
        InvalidOption: It is no list of names.
    """
    if names is None:
        return list(known)
    given: Any = names
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise InvalidOption(f"names={names!r} must be a list of names, or None.")
    there = {name: name for name in known}
    return list(dict.fromkeys(known_index(there, name, table) for name in names))


def field_of(schema: pa.Schema, column: str, table: str) -> pa.Field:
    """Return a column, or a field of a struct by its path, as in ``"a.b"``.

    Raises:
        ColumnNotFound: There is none.
    """
    if column in schema.names:
        return schema.field(column)
    import pyarrow.types as t

    first, *others = column.split(".") if isinstance(column, str) else [""]  # pyright: ignore[reportUnnecessaryIsInstance]
    found: Any = schema.field(first) if first in schema.names else None
    for name in others:
        if found is None or not t.is_struct(found.type):
            found = None
            break
        at = found.type.get_field_index(name)
        found = found.type.field(at) if at >= 0 else None
    if found is None:
        raise ColumnNotFound(
            f"{table} has no column {column!r}; {did_you_mean(str(column), schema.names)}",
            columns=(column,),
        )
    return found
