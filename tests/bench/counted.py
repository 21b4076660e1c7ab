"""Operations whose requests are counted besides those that are also timed, for each library."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from data import LanceDB, Pennon, Pylance

TABLE, SMALL, VECTORS = "counted", "small", "vectors"
QUERY = np.ones(8, dtype=np.float32)
Works = dict[str, Callable[[int], object]]
"""By what is done: does it, told how often it was done before."""


def vectors(data: pa.Table) -> pa.Table:
    """Return rows with a column of vectors besides."""
    flat = np.random.default_rng(1).random(data.num_rows * 8, dtype=np.float32)
    return data.append_column("v", pa.FixedSizeListArray.from_arrays(pa.array(flat), 8))


def of_pennon(own: Pennon, data: pa.Table) -> Works:
    """What pennon does."""
    db = own.db
    return {
        "count_rows": lambda _: db.count_rows(TABLE),
        "first rows": lambda _: db.head(TABLE, 5),
        "rows by row id": lambda _: db.take(TABLE, row_ids=[1, 2, 3]),
        "schema": lambda _: db.get_table_schema(TABLE),
        "vector search": lambda _: db.vector_search(VECTORS, "v", QUERY, k=5),
        "versions, all 2": lambda _: db.versions(SMALL),
        "update": lambda n: db.update(TABLE, {"n": "n + 1"}, where=f"id = {n}"),
        "overwrite": lambda _: db.write(SMALL, data, mode="overwrite"),
        "restore": lambda _: db.rollback_table(SMALL, 2),
        "add a column": lambda n: db.add_columns(TABLE, {f"c{n}": "n + 1"}),
        "drop a column": lambda n: db.drop_columns(TABLE, [f"c{n}"]),
        "build an index": lambda _: db.create_scalar_index(TABLE, "n", "btree", replace=True),
        "create a tag": lambda n: db.create_tag(TABLE, f"g{n}", version=1),
        "list 3 tags": lambda _: db.list_tags(TABLE),
        "create a table": lambda n: db.create_table(f"t{n}", data),
        "drop a table": lambda n: db.drop_table(f"t{n}"),
        "optimize 2 fragments": lambda _: db.optimize_table(SMALL),
    }


def of_pylance(own: Pylance, data: pa.Table) -> Works:
    """What pylance does."""
    import lance

    def drop(n: int) -> None:
        options = own.root.options or None
        lance.LanceDataset.drop(own.at(f"t{n}"), storage_options=options)

    def optimize(_: int) -> None:
        small = own.open(SMALL)
        small.optimize.compact_files()
        small.optimize.optimize_indices()
        small.cleanup_old_versions(datetime.timedelta(days=7))

    return {
        "count_rows": lambda _: own.open(TABLE).count_rows(),
        "first rows": lambda _: own.open(TABLE).head(5),
        "rows by row id": lambda _: own.open(TABLE).take([1, 2, 3]),
        "schema": lambda _: own.open(TABLE).schema,
        "vector search": lambda _: own.open(VECTORS).to_table(
            nearest={"column": "v", "q": QUERY, "k": 5}
        ),
        "versions, all 2": lambda _: own.open(SMALL).versions(),
        "update": lambda n: own.open(TABLE).update({"n": "n + 1"}, where=f"id = {n}"),
        "overwrite": lambda _: lance.write_dataset(data, own.open(SMALL), mode="overwrite"),
        "restore": lambda _: own.open(SMALL).checkout_version(2).restore(),
        "add a column": lambda n: own.open(TABLE).add_columns({f"c{n}": "n + 1"}),
        "drop a column": lambda n: own.open(TABLE).drop_columns([f"c{n}"]),
        "build an index": lambda _: own.open(TABLE).create_scalar_index("n", "BTREE"),
        "create a tag": lambda n: own.open(TABLE).tags.create(f"g{n}", 1),
        "list 3 tags": lambda _: own.open(TABLE).tags.list(),
        "create a table": lambda n: own.create(f"t{n}", data),
        "drop a table": drop,
        "optimize 2 fragments": optimize,
    }


def of_lancedb(own: LanceDB, data: pa.Table) -> Works:
    """What lancedb does."""
    from lancedb.index import BTree

    def drop(n: int) -> None:
        own.db.drop_table(f"t{n}")

    return {
        "count_rows": lambda _: own.table(TABLE).count_rows(),
        "first rows": lambda _: own.table(TABLE).head(5),
        "rows by row id": lambda _: own.table(TABLE).take_row_ids([1, 2, 3]).to_arrow(),
        "schema": lambda _: own.table(TABLE).schema,
        "vector search": lambda _: own.table(VECTORS).search(QUERY).limit(5).to_arrow(),
        "versions, all 2": lambda _: own.table(SMALL).list_versions(),
        "update": lambda n: own.table(TABLE).update(f"id = {n}", values_sql={"n": "n + 1"}),
        "overwrite": lambda _: own.table(SMALL).add(data, mode="overwrite"),
        "restore": lambda _: own.table(SMALL).restore(2),
        "add a column": lambda n: own.table(TABLE).add_columns({f"c{n}": "n + 1"}),
        "drop a column": lambda n: own.table(TABLE).drop_columns([f"c{n}"]),
        "build an index": lambda _: own.table(TABLE).create_index("n", config=BTree()),
        "create a tag": lambda n: own.table(TABLE).tags.create(f"g{n}", 1),
        "list 3 tags": lambda _: own.table(TABLE).tags.list(),
        "create a table": lambda n: own.create(f"t{n}", data),
        "drop a table": drop,
        "optimize 2 fragments": lambda _: own.table(SMALL).optimize(),
    }


WORKS: dict[str, Callable[[Any, pa.Table], Works]] = {
    "pennon": of_pennon,
    "pylance": of_pylance,
    "lancedb": of_lancedb,
}
