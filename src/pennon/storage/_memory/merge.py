"""Merge, in memory: the reference for what the rules mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pennon.errors import DuplicateKey
from pennon.storage.merging import MergeRules

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["merged", "set_rows"]


def merged(
    rows: pa.Table, source: pa.Table, key: Sequence[str], rules: MergeRules, table: str
) -> tuple[pa.Table, int, int, int, list[int], list[int]]:
    """Return the rows after a merge, and what was done to which.

    That is how many were inserted, updated and deleted, the positions of those that stay, which
    come before the new ones, and of those that change.

    Raises:
        DuplicateKey: The rules say to fail on a key that is there.
    """
    rules = rules.fitted(rows.schema)
    wanted = {k: n for n, k in enumerate(_keys(source, key)) if None not in k}
    pairs = [(n, wanted[k]) for n, k in enumerate(_keys(rows, key)) if k in wanted]
    if pairs and rules.when_matched == "fail":
        raise DuplicateKey(
            f"A row with the key {_keys(rows, key)[pairs[0][0]]!r} is in {table} already; update "
            "it instead, or leave it out.",
            table=table,
        )
    matched = {n for n, _ in pairs}
    gone = matched if rules.when_matched == "delete" else set[int]()
    gone = gone | _others(rows, matched, rules, table)
    changed = _updated(rows, source, pairs, rules, table)
    met = {n for _, n in pairs}
    new = [n for n in range(source.num_rows) if n not in met] if rules.inserts else []
    after = rows
    if changed:
        columns = [n for n in source.schema.names if n not in key]
        values = _take(source, [n for _, n in changed]).select(columns)
        after = set_rows(rows, [n for n, _ in changed], values)
    stay = [n for n in range(rows.num_rows) if n not in gone]
    made = _with(_take(after, stay), _take(source, new))
    return made, len(new), len(changed), len(gone), stay, [n for n, _ in changed]


def set_rows(rows: pa.Table, found: Sequence[int], new: pa.Table) -> pa.Table:
    """Return rows with some columns of some of them replaced.

    Args:
        rows: All rows.
        found: The positions of those that change.
        new: The columns that change, of these rows in this order.
    """
    import pyarrow as pa

    order = list(range(rows.num_rows))
    for place, number in enumerate(found):
        order[number] = rows.num_rows + place
    for name in new.schema.names:
        index = rows.schema.get_field_index(name)
        both = pa.chunked_array([*rows[name].chunks, *new[name].chunks], rows[name].type)
        changed = both.take(pa.array(order, pa.int64()))
        rows = rows.set_column(index, rows.schema.field(index), changed)
    return rows


def _others(rows: pa.Table, matched: set[int], rules: MergeRules, table: str) -> set[int]:
    """Which rows the data do not mention and the rules delete."""
    from pennon.storage._lance.conditions import satisfying

    if not rules.deletes_others:
        return set()
    condition = rules.delete_condition
    which = range(rows.num_rows) if condition is None else satisfying(rows, condition, table)[0]
    return set(which) - matched


def _updated(
    rows: pa.Table,
    source: pa.Table,
    pairs: list[tuple[int, int]],
    rules: MergeRules,
    table: str,
) -> list[tuple[int, int]]:
    """Which pairs of a row and a new row are an update."""
    from pennon.storage._lance.conditions import paired, satisfying

    if rules.when_matched != "update":
        return []
    if rules.update_condition is None:
        return pairs
    both = paired(_take(source, [n for _, n in pairs]), _take(rows, [n for n, _ in pairs]))
    return [pairs[n] for n in satisfying(both, rules.update_condition, table)[0]]


def _with(rows: pa.Table, new: pa.Table) -> pa.Table:
    import pyarrow as pa

    columns = [
        new[f.name] if f.name in new.schema.names else pa.nulls(new.num_rows, f.type)
        for f in rows.schema
    ]
    return pa.concat_tables([rows, pa.table(columns, schema=rows.schema)])


def _take(rows: pa.Table, which: Sequence[int]) -> pa.Table:
    import pyarrow as pa

    return rows.take(pa.array(which, pa.int64()))


def _keys(rows: pa.Table, key: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in key), strict=True))
