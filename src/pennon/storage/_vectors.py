"""What both backends work out before they search: the kinds of columns, and query vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput, InvalidOption
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id
from pennon.storage._indexing import field_of
from pennon.storage.abc.search_types import VectorSearch
from pennon.storage.searching import DISTANCE, QUERY_INDEX, RELEVANCE, SCORE

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

__all__ = [
    "check_free",
    "check_texts",
    "is_multivector",
    "numbered",
    "query_vectors",
    "vector_field",
]


def check_free(schema: pa.Schema, columns: object, id: Id) -> None:
    """Refuse a table that has columns named as a search names its own.

    Raises:
        InvalidInput: It does: scores, which Lance cannot tell apart, or others that would be
            returned.
    """
    ours = (DISTANCE, SCORE) if columns is not None else (DISTANCE, SCORE, RELEVANCE, QUERY_INDEX)
    for name in ours:
        if name in schema.names:
            raise InvalidInput(
                f"{show_id(id)} has a column {name!r}, and so has the result of a search; rename "
                "it with alter_columns.",
                table=id,
            )


def vector_field(schema: pa.Schema, column: str, id: Id) -> pa.Field:
    """Return the column of vectors.

    Raises:
        ColumnNotFound: There is no such column.
        InvalidInput: It holds no vectors that can be searched.
    """
    import pyarrow as pa

    types = pa.types
    field = field_of(schema, column, show_id(id))
    kind = field.type.value_type if is_multivector(field) else field.type
    value = kind.value_type if types.is_fixed_size_list(kind) else kind
    if not types.is_fixed_size_list(kind) or not (
        types.is_floating(value) or types.is_uint8(value)
    ):
        raise InvalidInput(
            f"The column {column!r} of {show_id(id)} is {field.type}, which holds no vectors; a "
            "vector is a fixed-size list of float16, float32, float64 or uint8.",
            table=id,
        )
    return field


def is_multivector(field: pa.Field) -> bool:
    """Whether each row has several vectors."""
    import pyarrow as pa

    kind = field.type
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and (
        pa.types.is_fixed_size_list(kind.value_type)
    )


def numbered(found: pa.Table, query: int) -> pa.Table:
    """Return the rows of one of several queries, with its number as the first column."""
    import pyarrow as pa

    field = pa.field(QUERY_INDEX, pa.int32(), nullable=False)
    return found.add_column(0, field, pa.array([query] * len(found), pa.int32()))


def check_texts(schema: pa.Schema, column: str, id: Id) -> None:
    """Refuse a column without texts.

    Raises:
        ColumnNotFound: There is no such column.
        InvalidInput: It holds no texts.
    """
    import pyarrow as pa

    types = pa.types
    kind = field_of(schema, column, show_id(id)).type
    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    if not (types.is_string(kind) or types.is_large_string(kind)):
        raise InvalidInput(
            f"The column {column!r} of {show_id(id)} is {kind}, which holds no texts to search.",
            table=id,
        )


def query_vectors(search: VectorSearch, field: pa.Field, id: Id) -> np.ndarray[Any, Any]:
    """Return the query as rows of the type of the vectors of a column.

    Raises:
        InvalidInput: It does not fit: another length, or numbers the type cannot hold.
        InvalidOption: A metric that is none for this type.
    """
    import numpy as np

    kind = field.type.value_type if is_multivector(field) else field.type
    value = kind.value_type.to_pandas_dtype()
    if search.metric is not None and (search.metric == "hamming") != (value is np.uint8):
        raise InvalidOption(
            f"metric={search.metric!r} is none for the column {search.column!r}, which holds "
            f"{kind.value_type}: 'hamming' is for uint8, the others are for floating point.",
            table=id,
        )
    given = np.atleast_2d(search.query)
    if given.shape[1] != kind.list_size:
        raise InvalidInput(
            f"The query has {given.shape[1]} numbers, and the vectors in {search.column!r} of "
            f"{show_id(id)} have {kind.list_size}.",
            table=id,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        cast = given.astype(value)
    exact = value is not np.uint8 or np.array_equal(cast, given)
    if not exact or not np.isfinite(cast).all():
        raise InvalidInput(
            f"The query has numbers that {kind.value_type} cannot hold, which the vectors in "
            f"{search.column!r} of {show_id(id)} are made of.",
            table=id,
        )
    return cast
