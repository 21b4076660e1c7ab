"""Merge: rows matched by a key, in one commit of pennon's own, and keys stay unique.

Lance's own commit of a merge cannot carry the identity of a write, and when the merge is committed
by hand, Lance does not see that two of them insert one key. So every merge that inserts also names
the lowest-numbered fragment of the table as changed, unchanged as it is: two merges that began on
one version then conflict, whoever made them, and the second is made anew on the result of the
first. A table without fragments is overwritten strictly instead, and its indexes are built anew.
Small upserts of a process that wait for one table are made together; see :mod:`.upserts`.

Rows that others insert without looking (an append, a merge of another tool) do not conflict with
that. If any version came between the one a merge was made on and its own, the merge looks for keys
that both inserted, and repairs what it finds before it is acknowledged; see :mod:`.repair`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pennon.arrow import to_reader
from pennon.retry import Deadline
from pennon.storage._lance.commit import Asked, Attempt, commit
from pennon.storage._lance.errors import translated
from pennon.storage._lance.fragments import discard, file_names, write_files
from pennon.storage._lance.jobs import is_small, passed
from pennon.storage._lance.lanes import lane_of
from pennon.storage._lance.places import Place
from pennon.storage._lance.rebuilds import mark, planned, rebuild
from pennon.storage._lance.repair import intent, repaired
from pennon.storage._lance.rows import Rows
from pennon.storage._lance.upserts import Upsert, upsert_all
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.merging import MergeRules, key_of, source_of

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["merge"]


def merge(
    place: Place,
    data: Any,
    on: str | Sequence[str] | None,
    rules: MergeRules,
    asked: Asked,
    found: CommitReceipt | None = None,
) -> CommitReceipt:
    """Merge rows by a key; see :meth:`Writes.merge_insert`.

    Args:
        place: The table.
        data: The rows.
        on: The key; the primary one if None.
        rules: What to do with them.
        asked: What the caller says of the write.
        found: The receipt of the same write, if it was committed before: what is left to do then
            is to repair what it may have left behind.
    """
    deadline = Deadline.after(asked.seconds, asked.seconds)
    if found is None and rules.plain and is_small(data):

        def ready(head: lance.LanceDataset, rows: pa.Table, job: Upsert) -> Attempt | None:
            return _prepare(place, head, rows, job.key, rules, job.asked)

        mine = Upsert(asked=asked, place=place, data=data, on=on)
        return passed(mine, deadline, lambda js: upsert_all(place, js, ready, deadline))
    # The data fitted the table when they were merged, whatever it is by now.
    handle = (place.open_or_none(found.version) if found else None) or place.open(to_write=True)
    with translated(place.name, place.secrets):
        schema = handle.schema
    key = key_of(on, schema, place.name)
    rules = rules.fitted(schema)
    source = source_of(data, schema, key, rules, place.name)
    base: int | None = None

    def prepare(head: lance.LanceDataset) -> Attempt | None:
        nonlocal base
        base = head.version
        return _prepare(place, head, source, key, rules, asked)

    with lane_of(place) as lane, lane.passing(deadline):
        receipt = rebuild(place, found or commit(place, asked, prepare, deadline), asked)
        if not rules.inserts or (base is not None and receipt.version <= base + 1):
            return receipt
        return repaired(place, receipt, source, key, rules, asked, deadline, base)


def _prepare(
    place: Place,
    head: lance.LanceDataset,
    source: pa.Table,
    key: Sequence[str],
    rules: MergeRules,
    asked: Asked,
) -> Attempt | None:
    fragments = head.get_fragments()
    if not fragments:
        return _fill(place, head, source, asked) if rules.inserts and source.num_rows else None
    # What fails on a row is a condition: the data were made to fit before.
    with Rows(head, place.info.id, place.name, place.secrets).reading():
        builder = _builder(head, key, rules)
        if rules.when_matched == "delete" and rules.deletes_others and not rules.inserts:
            # Lance cannot plan that; of rows that all match, none has to be ignored.
            source = _matching(head, source, key)
            builder = builder.when_not_matched_insert_all()
        transaction, counts = builder.execute_uncommitted(source)
    operation: Any = transaction.operation
    inserted, updated, deleted = (
        int(counts[f"num_{what}_rows"]) for what in ("inserted", "updated", "deleted")
    )
    known = {name for f in fragments for name in file_names((), [f.metadata])}
    cut = [n for n in file_names((), operation.updated_fragments) if n not in known]
    files = (*file_names(operation.new_fragments), *cut)
    if not inserted + updated + deleted:
        discard(place, (), *files)
        return None
    if inserted:
        _add_sentinel(operation, fragments)
    # So that whoever finds a merge that died can do what it had left to do.
    said = intent(key, rules, source.schema.names, head.version) if inserted else {}
    write = asked.write(inserted, updated=updated, deleted=deleted)
    return Attempt(operation, write, files, said=said)


def _builder(head: lance.LanceDataset, key: Sequence[str], rules: MergeRules) -> Any:
    builder: Any = head.merge_insert(list(key))
    match rules.when_matched:
        case "update":
            builder = builder.when_matched_update_all(rules.update_condition)
        case "delete":
            builder = builder.when_matched_delete()
        case "fail":
            builder = builder.when_matched_fail()
        case "ignore":
            pass
    if rules.inserts:
        builder = builder.when_not_matched_insert_all()
    if rules.deletes_others:
        builder = builder.when_not_matched_by_source_delete(rules.delete_condition)
    # With an index on the key Lance would look for rivals in fewer places.
    return builder.use_index(use_index=False)


def _matching(head: lance.LanceDataset, source: pa.Table, key: Sequence[str]) -> pa.Table:
    """Return the rows whose key the table has."""
    import pyarrow as pa

    number = f"{max(key)}_"
    rows = source.select(list(key)).append_column(number, pa.array(range(source.num_rows)))
    there = head.scanner(columns=list(key)).to_table()
    return source.take(rows.join(there, list(key), join_type="left semi")[number])


def _add_sentinel(operation: Any, fragments: Sequence[lance.LanceFragment]) -> None:
    """Name the first fragment as changed, so that merges made on one version conflict."""
    first = min(fragments, key=lambda f: f.fragment_id)
    touched = {f.id for f in operation.updated_fragments} | set(operation.removed_fragment_ids)
    if first.fragment_id not in touched:
        operation.updated_fragments = [*operation.updated_fragments, first.metadata]


def _fill(place: Place, head: lance.LanceDataset, source: pa.Table, asked: Asked) -> Attempt:
    """Put rows into a table that has none, by an overwrite that excludes rivals."""
    from lance import LanceOperation

    with translated(place.name, place.secrets):
        schema = head.schema
    reader = to_reader(source, schema)
    fragments = write_files(place, reader, head, mode="overwrite")
    write = asked.write(source.num_rows)
    indexes = planned(place, head, schema)
    if indexes.kept:
        mark(place, write, head.version + 1, asked.durability)
    return Attempt(
        LanceOperation.Overwrite(schema, fragments),
        write,
        file_names(fragments),
        said=indexes.properties(),
    )
