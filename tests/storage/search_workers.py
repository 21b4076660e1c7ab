"""What racing processes do in the tests of searches: importable, since they are spawned."""

from __future__ import annotations

import contextlib
from typing import Any

import index_workers
import numpy as np
import pyarrow as pa
from workers import kept

from pennon.errors import CommitConflict, TableNotFound
from pennon.storage.searching import Match
from pennon.testing.services import TestRoot

ROWS = 120


def rows(first: int, count: int) -> pa.Table:
    """Return rows with texts and vectors."""
    spots = np.random.default_rng(first).standard_normal(count * 4).astype(np.float32)
    return pa.table(
        {
            "id": range(first, first + count),
            "v": pa.FixedSizeListArray.from_arrays(pa.array(spots), 4),
            "body": [f"common word{n % 13}" for n in range(count)],
        }
    )


def write(worker: int, root: TestRoot, times: int) -> None:
    """Change rows and indexes."""
    db = kept(root)
    for n in range(times):
        first = 1000 * (worker + 1) + 100 * n
        calls: list[Any] = [
            lambda: db.update("t", {"body": "'something else'"}, f"id % 17 = {n}"),  # noqa: B023
            lambda: db.update_indexes("t"),
            lambda: db.write("t", rows(first, 20)),  # noqa: B023
            lambda: db.merge_insert("t", rows(5 * n, 10), on="id"),  # noqa: B023
            lambda: db.delete_rows("t", f"id % 29 = {n}"),  # noqa: B023
            lambda: db.create_fts_index("t", "body", name="words", replace=True),
            lambda: index_workers.compact(root),
        ]
        with contextlib.suppress(CommitConflict):
            calls[(2 * n + worker) % len(calls)]()


def search(_: int, root: TestRoot, times: int) -> list[str]:
    """Compare what searches of one version find with what its rows say; return what differs."""
    db = kept(root)
    wrong: list[str] = []
    for _n in range(times):
        version = db.get_table_version("t")
        for query in ("common", Match("comon", fuzziness=1)):
            found = db.full_text_search("t", "body", query, k=10_000, version=version)
            there = db.count_rows("t", "body LIKE 'common%'", version=version)
            if len(set(found["id"].to_pylist())) != found.num_rows or found.num_rows != there:
                wrong.append(f"{query}: {found.num_rows} of {there} at {version}")
        near = db.vector_search("t", "v", [0] * 4, k=10_000, version=version, columns=["id"])
        if near.num_rows != db.count_rows("t", version=version):
            wrong.append(f"{near.num_rows} vectors at {version}")
        both = db.hybrid_search("t", "v", [0] * 4, "body", "common", k=5)
        if both.num_rows != 5:
            wrong.append(f"{both.num_rows} rows of both")
    return wrong


def drop(_: int, root: TestRoot, times: int) -> None:
    """Drop the table and make it again."""
    db = kept(root)
    for _n in range(times):
        db.drop_table("t")
        db.create_table("t", rows(0, ROWS))


def search_what_is_dropped(_: int, root: TestRoot, times: int) -> int:
    """Search until so many searches answered; anything but an answer or an absence is raised."""
    db, answers = kept(root), 0
    while answers < times:
        with contextlib.suppress(TableNotFound):
            found = db.hybrid_search("t", "v", [0] * 4, "body", "common", k=ROWS)
            assert found.num_rows == ROWS
            answers += 1
    return answers
