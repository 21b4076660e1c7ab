"""After a merge: keys that a rival inserted unseen, between its version and the one it came from.

Of the two rows that have one key, the one of the rival came first and stays; what the merge wanted
of it is done to it, and the row the merge inserted is deleted. The commits that do so carry the id
of the merge, so that a merge that died half way is completed when it is repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pennon.errors import CommitConflict, DuplicateKey
from pennon.retry import Deadline
from pennon.storage._lance.change import delete_found, update_found
from pennon.storage._lance.commit import Asked, Attempt, commit, done_elsewhere
from pennon.storage._lance.conditions import paired, satisfying
from pennon.storage._lance.errors import translated
from pennon.storage._lance.notes import earlier, noted
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.merging import MergeRules

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Intent", "has_twins", "intent", "intent_of", "repaired"]

_INTENT = "pennon.merge-intent"
_CREATED = "_row_created_at_version"
_UPDATED = "_row_last_updated_at_version"


@dataclass(frozen=True, slots=True)
class _Twins:
    """Rows of a version that have a key in common: those of the merge, and those of rivals."""

    ours: pa.Table
    theirs: pa.Table


@dataclass(frozen=True, slots=True)
class Intent:
    """What a merge that inserted rows was to do, as its commit tells."""

    key: tuple[str, ...]
    rules: MergeRules
    columns: tuple[str, ...]
    """Of its data."""
    base: int
    """The version it was made on; the transaction names the one before its own instead."""


def intent(
    key: Sequence[str], rules: MergeRules, columns: Sequence[str], base: int
) -> dict[str, str]:
    """Return what the commit of a merge carries for those who have to finish it."""
    said = [list(key), rules.when_matched, rules.update_condition, list(columns), base]
    return {_INTENT: json.dumps(said)}


def intent_of(properties: Mapping[str, str]) -> Intent | None:
    """Return what a merge was to do; None if this is no commit of one that inserted rows."""
    text = properties.get(_INTENT)
    if text is None:
        return None
    key, matched, condition, columns, base = json.loads(text)
    rules = MergeRules(when_matched=matched, matched_if=condition)
    return Intent(tuple(key), rules, tuple(columns), base)


def has_twins(place: Place, key: Sequence[str], base: int, version: int) -> bool:
    """Whether rows that a merge inserted share a key with rows inserted since its version."""
    return _twins(place.open(), place, key, base, version) is not None


def repaired(
    place: Place,
    receipt: CommitReceipt,
    source: pa.Table,
    key: Sequence[str],
    rules: MergeRules,
    asked: Asked,
    deadline: Deadline,
    base: int | None,
) -> CommitReceipt:
    """Return the receipt of a merge after which no key it inserted is there twice.

    Args:
        place: The table.
        receipt: What the commit of the merge did.
        source: The rows that were merged.
        key: The columns they were matched by.
        rules: What was done with them.
        asked: What the caller says of the write.
        deadline: When to give up.
        base: The version the merge was made on, or an older one; looked up if None.

    Raises:
        DuplicateKey: The merge was to fail then; it is undone.
    """
    since = min(noted(place, asked.identity()), default=0) if base is None else base
    head = place.open()
    if since + 1 >= receipt.version or not head.has_stable_row_ids:
        return receipt
    done = replace(asked, operation="repair")
    before = earlier(place, done.identity())
    twins = _twins(head, place, key, since, receipt.version, source) if before is None else None
    if twins is None:
        if before is not None and rules.when_matched == "fail":
            raise _refused(place)
        return receipt if before is None else _amended(receipt, before)
    if rules.when_matched == "update":
        align = replace(asked, operation="align")
        _commit_once(
            place,
            align,
            lambda head: _align(head, place, source, key, rules, align, since, receipt),
            deadline,
        )
    fixed = _commit_once(
        place,
        done,
        lambda head: _remove(head, place, source, key, rules, done, since, receipt),
        deadline,
    )
    if rules.when_matched == "fail":
        raise _refused(place)
    return _amended(receipt, fixed)


def _commit_once(place: Place, asked: Asked, prepare: Any, deadline: Deadline) -> CommitReceipt:
    """Commit a change that whoever repeats the merge may be making too."""
    try:
        return commit(place, asked, prepare, deadline)
    except CommitConflict as error:
        return done_elsewhere(place, asked, error)


def _refused(place: Place) -> DuplicateKey:
    return DuplicateKey(
        f"A rival inserted a key of the data into {place.name} at the same time; the rows of this "
        "write were taken back.",
        table=place.info.id,
    )


def _amended(receipt: CommitReceipt, fixed: CommitReceipt) -> CommitReceipt:
    return replace(
        receipt,
        version=fixed.version,
        rows_inserted=fixed.rows_inserted,
        rows_updated=fixed.rows_updated,
        rows_deleted=fixed.rows_deleted,
    )


def _twins(
    head: lance.LanceDataset,
    place: Place,
    key: Sequence[str],
    base: int,
    version: int,
    source: pa.Table | None = None,
) -> _Twins | None:
    """Return the rows inserted after ``base`` that share a key with one inserted by ``version``.

    With a source, only of its keys: the version may have been made by several merges.
    """
    import pyarrow as pa

    with translated(place.name, place.secrets):
        rows = head.scanner(
            columns=[*key, _CREATED, _UPDATED],
            filter=f"{_CREATED} > {base} AND {_CREATED} <= {version}",
            with_row_id=True,
            with_row_address=True,
        ).to_table()
    keys = list(zip(*(rows[name].to_pylist() for name in key), strict=True))
    created = rows[_CREATED].to_pylist()
    ours = {k for k, c in zip(keys, created, strict=True) if c == version and None not in k}
    theirs = {k for k, c in zip(keys, created, strict=True) if c != version}
    both = ours & theirs
    if both and source is not None:
        both &= set(_keys(source, key))
    if not both:
        return None

    def chosen(mine: bool) -> pa.Table:  # noqa: FBT001 - of two
        picked = [k in both and (c == version) is mine for k, c in zip(keys, created, strict=True)]
        return rows.filter(pa.array(picked))

    return _Twins(chosen(True), chosen(False))  # noqa: FBT003


def _align(
    head: lance.LanceDataset,
    place: Place,
    source: pa.Table,
    key: Sequence[str],
    rules: MergeRules,
    asked: Asked,
    base: int,
    receipt: CommitReceipt,
) -> Attempt | None:
    """Update the rows of rivals as the merge would have, unless they were updated since."""
    import pyarrow as pa

    twins = _twins(head, place, key, base, receipt.version, source)
    with translated(place.name, place.secrets):
        there: pa.Schema = head.schema
    names = [f.name for f in source.schema if f.name not in key and f in list(there)]
    if twins is None or not names:
        return None
    rows = twins.theirs
    rows = rows.filter(pa.array([v <= receipt.version for v in rows[_UPDATED].to_pylist()]))
    where = {k: n for n, k in enumerate(_keys(source, key))}
    wanted = source.take(pa.array([where[k] for k in _keys(rows, key)], pa.int64()))
    if rules.update_condition is not None:
        with translated(place.name, place.secrets):
            target = _whole(head, rows["_rowid"])
        pairs = paired(wanted, target)
        kept = pa.array(satisfying(pairs, rules.update_condition, place.name)[0], pa.int64())
        rows, wanted = rows.take(kept), wanted.take(kept)
    if not rows.num_rows:
        return None
    changed: Any = rows.select(["_rowid", "_rowaddr"])
    for name in names:
        changed = changed.append_column(wanted.schema.field(name), wanted[name])
    with translated(place.name, place.secrets):
        return update_found(head, changed, asked)


def _remove(
    head: lance.LanceDataset,
    place: Place,
    source: pa.Table,
    key: Sequence[str],
    rules: MergeRules,
    asked: Asked,
    base: int,
    receipt: CommitReceipt,
) -> Attempt | None:
    """Delete the rows of the merge whose keys rivals inserted."""
    import pyarrow as pa

    twins = _twins(head, place, key, base, receipt.version, source)
    if twins is None:
        return None
    number = twins.ours.num_rows
    gone = twins.ours
    write = asked.write(
        receipt.rows_inserted - number,
        updated=receipt.rows_updated + (number if rules.when_matched == "update" else 0),
        deleted=receipt.rows_deleted + (number if rules.when_matched == "delete" else 0),
    )
    with translated(place.name, place.secrets):
        if rules.when_matched == "fail":
            filter = f"{_CREATED} = {receipt.version}"
            gone = head.scanner(columns=[], filter=filter, with_row_address=True).to_table()
        if rules.when_matched == "delete":
            gone = pa.concat_tables([twins.ours, twins.theirs])
        return delete_found(head, "repair", gone, write)


def _whole(head: lance.LanceDataset, ids: pa.ChunkedArray) -> pa.Table:
    """Return all columns of rows, in the order of their ids given."""
    import pyarrow as pa

    wanted: list[int] = ids.to_pylist()
    filter = f"_rowid IN ({', '.join(map(str, wanted))})"
    found = head.scanner(filter=filter, with_row_id=True).to_table()
    place = {n: i for i, n in enumerate(found["_rowid"].to_pylist())}
    order = pa.array([place[n] for n in wanted], pa.int64())
    return found.drop_columns(["_rowid"]).take(order)


def _keys(rows: pa.Table, key: Sequence[str]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].to_pylist() for name in key), strict=True))
