"""What a merge does with rows that match and rows that do not, checked in the same words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from pennon.arrow import storable, to_reader
from pennon.errors import (
    ColumnNotFound,
    DuplicateKey,
    InvalidInput,
    InvalidOption,
    SchemaMismatch,
    did_you_mean,
)
from pennon.expr import Expr, filter_sql
from pennon.storage._fitting import fitted
from pennon.storage.keys import check_key_column, names_of, primary_key

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "MERGE_BYTES",
    "NEW_KEYS",
    "BySource",
    "Matched",
    "MergeRules",
    "NotMatched",
    "key_of",
    "source_of",
]

Matched = Literal["update", "ignore", "fail", "delete"]
NotMatched = Literal["insert", "ignore"]
BySource = Literal["keep", "delete"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRules:
    """What a merge does.

    Args:
        when_matched: With a row whose key is in the data: ``"update"`` the columns the data have,
            ``"ignore"`` the new row, ``"fail"`` altogether, or ``"delete"`` it.
        matched_if: SQL over ``source.x`` and ``target.x``: only rows for which it is true are
            updated.
        when_not_matched: With new rows whose key the table lacks: ``"insert"`` or ``"ignore"``.
        when_not_matched_by_source: With rows of the table whose key the data lack: ``"keep"`` or
            ``"delete"``.
        not_matched_by_source_if: Condition on the row: only those are deleted.

    Raises:
        InvalidOption: A word that is none of these, a condition without what it is for, or rules
            that change nothing.
    """

    when_matched: Matched = "update"
    matched_if: Expr | str | None = None
    when_not_matched: NotMatched = "insert"
    when_not_matched_by_source: BySource = "keep"
    not_matched_by_source_if: Expr | str | None = None

    def __post_init__(self) -> None:
        for name, known in (
            ("when_matched", Matched),
            ("when_not_matched", NotMatched),
            ("when_not_matched_by_source", BySource),
        ):
            if getattr(self, name) not in get_args(known):
                words = ", ".join(map(repr, get_args(known)))
                raise InvalidOption(f"{name}={getattr(self, name)!r} must be one of {words}.")
        if self.matched_if is not None and self.when_matched != "update":
            raise InvalidOption("matched_if= is a condition of when_matched='update'.")
        if self.not_matched_by_source_if is not None and not self.deletes_others:
            raise InvalidOption(
                "not_matched_by_source_if= is a condition of when_not_matched_by_source='delete'."
            )
        idle = self.when_matched == "ignore" and not self.inserts and not self.deletes_others
        if idle:
            raise InvalidOption("These rules change nothing; let when_not_matched be 'insert'.")

    @property
    def plain(self) -> bool:
        """Whether they are those of an upsert without conditions."""
        updates = self.when_matched == "update" and self.matched_if is None
        return updates and self.inserts and not self.deletes_others

    @property
    def inserts(self) -> bool:
        """Whether rows may be inserted."""
        return self.when_not_matched == "insert"

    @property
    def deletes_others(self) -> bool:
        """Whether rows that the data do not mention may be deleted."""
        return self.when_not_matched_by_source == "delete"

    def fitted(self, schema: pa.Schema) -> MergeRules:
        """Return the same rules for a table with these columns."""
        import pyarrow as pa

        row = pa.struct(list(schema))
        both = pa.schema({"source": row, "target": row})
        return replace(
            self,
            matched_if=fitted(self.matched_if, both),
            not_matched_by_source_if=fitted(self.not_matched_by_source_if, schema),
        )

    @property
    def update_condition(self) -> str | None:
        """``matched_if`` as SQL."""
        return filter_sql(self.matched_if)

    @property
    def delete_condition(self) -> str | None:
        """``not_matched_by_source_if`` as SQL."""
        return filter_sql(self.not_matched_by_source_if)


MERGE_BYTES = 512 << 20
"""Size of the data of one merge at most: a merge takes up to four times as much memory."""
_ROW = 96
"""What a row adds to the size besides its bytes: narrow rows take much more than they have."""
_MANY = 100_000
NEW_KEYS = MergeRules(when_matched="fail")
"""The rules of an append that checks keys."""


def key_of(on: str | Sequence[str] | None, schema: pa.Schema, table: str) -> list[str]:
    """Return the columns that rows are matched by.

    Raises:
        ColumnNotFound: The table has no such column.
        InvalidName: Lance cannot match rows by the name of one.
        InvalidOption: None are given and the table declares no primary key, or rows cannot be
            matched by the type of one.
    """
    names = list(primary_key(schema)) if on is None else names_of("on", on)
    if not names:
        raise InvalidOption(
            f"{table} declares no primary key; merge_insert(on=...) says which columns tell rows "
            "apart."
        )
    missing = [n for n in names if n not in schema.names]
    if missing:
        raise ColumnNotFound(
            f"{table} has no column {missing[0]!r}; {did_you_mean(missing[0], schema.names)}",
            columns=tuple(missing),
        )
    for name in names:
        check_key_column(schema.field(name))
    return names


def source_of(
    data: Any, schema: pa.Schema, key: Sequence[str], rules: MergeRules, table: str
) -> pa.Table:
    """Return the rows to merge, with the columns they have, each key once.

    Raises:
        InvalidOption: They could bring a primary key twice, because another key is merged on.
        SchemaMismatch: They lack a column of the key, or one that an inserted row needs.
        DuplicateKey: Two of them have one key.
        InvalidInput: They are larger than :data:`MERGE_BYTES`.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    # Arrow counts what other rows have as well where the layout of a column is that of views.
    if isinstance(data, (pa.Table, pa.RecordBatch)) and storable(data.schema).equals(data.schema):
        _check_size(_size(data), table)
    reader = to_reader(data, schema, partial=True)
    given = reader.schema.names
    declared = primary_key(schema)
    writes_key = rules.inserts or (
        rules.when_matched == "update" and not set(declared).isdisjoint(given)
    )
    if declared and set(key) != set(declared) and writes_key:
        raise InvalidOption(
            f"{table} has the primary key {', '.join(declared)}; merge on it, because rows matched "
            f"by {', '.join(key)} could bring one key twice."
        )
    missing = [n for n in key if n not in given]
    if rules.inserts:
        missing += [f.name for f in schema if not f.nullable and f.name not in given]
    if missing:
        raise SchemaMismatch(
            f"The data for {table} lack the column {missing[0]!r}, which a merge needs.",
            columns=tuple(missing),
        )
    rows = _read(reader, table)
    # Threads cost more than they save where rows are few.
    groups = rows.group_by(list(key), use_threads=rows.num_rows > _MANY)
    counted = groups.aggregate([([], "count_all")])
    if counted.num_rows == rows.num_rows:
        return rows
    for row in counted.filter(pc.field("count_all") > 1).to_pylist():
        values = [row[name] for name in key]
        if None not in values:
            raise DuplicateKey(
                f"{row['count_all']} rows of the data for {table} have the key "
                f"{values[0] if len(values) == 1 else tuple(values)!r}; keep one of them.",
                columns=tuple(key),
            )
    return rows


def _read(reader: pa.RecordBatchReader, table: str) -> pa.Table:
    """Read rows into memory, unless they are too many for one merge."""
    import pyarrow as pa

    batches: list[pa.RecordBatch] = []
    size = 0
    for batch in reader:
        batches.append(batch)
        size += _size(batch)
        _check_size(size, table)
    return pa.Table.from_batches(batches, reader.schema)


def _size(rows: pa.RecordBatch | pa.Table) -> int:
    return rows.nbytes + _ROW * rows.num_rows


def _check_size(size: int, table: str) -> None:
    if size > MERGE_BYTES:
        raise InvalidInput(
            f"The data to merge into {table} are larger than {MERGE_BYTES >> 20} MiB, each row "
            f"counted with {_ROW} bytes besides its own, and a merge holds them in memory; merge "
            "them in parts. Nothing was written.",
        )
