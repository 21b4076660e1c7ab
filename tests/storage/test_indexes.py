"""Indexes on Lance: every kind, rivals in the middle of a build, indexes of other tools."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from lance_files import segments_left

import pennon
from pennon.errors import (
    ColumnNotFound,
    CommitConflict,
    IndexAlreadyExists,
    IndexNotFound,
    InvalidInput,
    InvalidOption,
    PennonError,
)
from pennon.storage._indexing import from_parameters, vector_index_for
from pennon.storage.abc import IndexProgress, ScanRequest, StorageBackend
from pennon.storage.indexing import (
    BloomFilter,
    FullText,
    Index,
    IvfFlat,
    IvfHnswSq,
    IvfPq,
    IvfRq,
    MinHash,
    ZoneMap,
)
from pennon.testing._storage_indexes import rows

SCALAR = {
    "btree": "id",
    "bitmap": "lang",
    "label_list": "tags",
    "ngram": "body",
    "zonemap": "id",
    "bloomfilter": "id",
    "minhash": "body",
}
VECTOR = [
    "ivf_flat",
    "ivf_pq",
    "ivf_sq",
    "ivf_rq",
    "ivf_hnsw_flat",
    "ivf_hnsw_pq",
    "ivf_hnsw_sq",
]


@pytest.fixture
def db(tmp_path: Path) -> StorageBackend:
    return pennon.open(tmp_path / "root")


def raw(db: StorageBackend, table: str = "t") -> lance.LanceDataset:
    """The table as any other tool sees it."""
    return lance.dataset(db.namespace.describe_table(table).location)


def nearest(db: StorageBackend, n: int) -> int:
    """The id of the row that is nearest to the vector of row ``n``."""
    handle = raw(db)
    vector = handle.to_table(columns=["vec"], filter=f"id = {n}")["vec"][0].values.to_numpy()
    found = handle.to_table(
        nearest={"column": "vec", "q": vector, "k": 1, "nprobes": 50, "refine_factor": 20},
        columns=["id"],
    )
    return found["id"][0].as_py()


# -- kinds -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*SCALAR, "fts", *VECTOR])
def test_every_kind_grows_from_nothing(db: StorageBackend, kind: str) -> None:
    db.create_table("t", rows(0, 0))
    if kind == "fts":
        made = db.create_fts_index("t", "body")
    elif kind in SCALAR:
        made = db.create_scalar_index("t", SCALAR[kind], kind)
    else:
        made = db.create_vector_index("t", "vec", kind)
    assert (made.kind, made.rows_indexed, made.rows_not_indexed) == (kind, 0, 0)
    for first, count in ((0, 400), (400, 300), (700, 30)):
        db.write("t", rows(first, count))
        assert db.list_indexes("t")[0].rows_not_indexed == count
        [now] = db.update_indexes("t")
        assert (now.kind, now.rows_indexed, now.rows_not_indexed) == (kind, first + count, 0)
        if kind in VECTOR:
            assert [nearest(db, n) for n in (3, first + 1)] == [3, first + 1]
    assert db.count_rows("t", "id = 705 AND contains(body, 'text 5')") == 1
    if kind == "fts":
        found = raw(db).to_table(full_text_query="29", columns=["id"])
        assert sorted(found["id"].to_pylist()) == [29, 429, 729]


def test_an_index_stays_in_few_segments(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 16))
    db.create_scalar_index("t", "id")
    seen = []
    for n in range(1, 25):
        db.write("t", rows(16 * n, 16))
        seen += [i.segments for i in db.update_indexes("t")]
    assert len(seen) == 24
    assert max(seen) <= 5
    assert [db.count_rows("t", f"id = {n}") for n in (0, 17, 399)] == [1, 1, 1]
    db.delete_rows("t", "id < 390")
    db.write("t", rows(500, 16))
    [last] = db.update_indexes("t")
    assert (last.rows_indexed, last.rows_not_indexed) == (26, 0)


def test_geometries_bits_and_lists_of_vectors(db: StorageBackend) -> None:
    point = pa.struct([pa.field(n, pa.float64(), nullable=False) for n in "xy"])
    geo = {"ARROW:extension:name": "geoarrow.point", "ARROW:extension:metadata": "{}"}
    bits = pa.list_(pa.uint8(), 4)
    several = pa.list_(pa.list_(pa.float32(), 2))
    schema = pa.schema(
        [
            ("id", pa.int64()),
            pa.field("at", point, metadata=geo),
            ("bits", bits),
            ("several", several),
            ("half", pa.list_(pa.float16(), 2)),
        ]
    )
    db.create_table(
        "t",
        pa.table(
            [
                range(40),
                [{"x": float(n), "y": 1.0} for n in range(40)],
                pa.array([[n, 1, 2, 3] for n in range(40)], bits),
                pa.array([[[n, 1.0], [2.0, n]] for n in range(40)], several),
                pa.array([[np.float16(n), np.float16(1)] for n in range(40)], schema[4].type),
            ],
            schema=schema,
        ),
    )
    assert db.create_scalar_index("t", "at", "rtree").kind == "rtree"
    for column, metric in (("bits", "hamming"), ("several", "cosine"), ("half", "l2")):
        made = db.create_vector_index("t", column)
        assert (made.kind, made.rows_indexed) == ("ivf_flat", 40)
        assert db.index_stats("t", f"{column}_vector").parameters["metric"] == metric
    for column, config in (("bits", "ivf_pq"), ("bits", IvfFlat(metric="l2"))):
        with pytest.raises(InvalidInput):
            db.create_vector_index("t", column, config, name="x")
    with pytest.raises(InvalidInput, match="cosine"):
        db.create_vector_index("t", "several", IvfFlat(metric="l2"), name="x")
    done = db.replace_table_atomic("t", db.scan("t").read_all())
    assert done.indexes_rebuilt == ("at_rtree", "bits_vector", "half_vector", "several_vector")
    assert {i.rows_indexed for i in db.list_indexes("t")} == {40}


@pytest.mark.parametrize("kind", VECTOR)
@pytest.mark.parametrize("value", [None, float("nan")])
def test_vectors_of_nothing(db: StorageBackend, kind: str, value: float | None) -> None:
    def vectors(first: int, count: int) -> pa.Table:
        found = rows(first, count)
        of = found.schema.field("vec").type
        nothing = None if value is None else [value] * 8
        return found.set_column(4, "vec", pa.array([nothing] * count, of))

    db.create_table("t", vectors(0, 300))
    db.create_vector_index("t", "vec", kind)
    db.write("t", vectors(300, 300))
    db.update_indexes("t")
    db.write("t", rows(600, 300))
    [now] = db.update_indexes("t")
    assert (now.kind, now.rows_not_indexed) == (kind, 0)
    assert nearest(db, 700) == 700
    assert db.write("t", vectors(0, 5), mode="overwrite").indexes_rebuilt == ("vec_vector",)
    assert segments_left(raw(db)) == set()


@pytest.mark.parametrize("kind", ["ivf_sq", "ivf_hnsw_sq"])
@pytest.mark.parametrize(("first", "then"), [(0, 4000), (4000, 0), (0, 100)])
def test_vectors_of_other_numbers(db: StorageBackend, kind: str, first: int, then: int) -> None:
    """A segment takes what is beyond its numbers for the last of them: near, however far."""

    def vectors(start: int, count: int) -> pa.Table:
        numbers = [[float(n), *[0.0] * 7] for n in range(start, start + count)]
        values = pa.array(numbers, pa.list_(pa.float32(), 8))
        return pa.table({"id": range(start, start + count), "vec": values})

    db.create_table("t", vectors(first, 400))
    db.create_vector_index("t", "vec", kind)
    db.write("t", vectors(then, 300))
    [made] = db.update_indexes("t")
    assert (made.rows_indexed, made.segments) == (700, 2 if then == 100 else 1)
    for near in (first + 200, then + 200):
        found = db.vector_search("t", "vec", [near, *[0] * 7], k=5)["id"].to_pylist()
        assert all(abs(n - near) < 40 for n in found), found


def test_what_suits_the_number_of_rows() -> None:
    field = pa.field("vec", pa.list_(pa.float32(), 32))
    assert [vector_index_for(field, n).kind for n in (0, 9_999, 10_000, 2_000_000)] == [
        "ivf_flat",
        "ivf_flat",
        "ivf_sq",
        "ivf_pq",
    ]
    assert [IvfFlat().partitions_for(n) for n in (0, 500, 10_000, 1_000_000)] == [1, 1, 100, 1000]
    assert [IvfHnswSq().partitions_for(n) for n in (0, 500_000, 3_000_000)] == [1, 1, 3]
    assert IvfFlat(partitions=64).partitions_for(10) == 10
    assert IvfPq().sub_vectors_for(field) == 4
    assert IvfPq().sub_vectors_for(pa.field("v", pa.list_(pa.float32(), 6))) == 3


@pytest.mark.parametrize(
    "make",
    [
        lambda: ZoneMap(rows_per_zone=0),
        lambda: BloomFilter(probability=1.0),
        lambda: BloomFilter(number_of_items=True),
        lambda: MinHash(num_hashes=10, num_bands=3),
        lambda: FullText(tokenizer="simpel"),  # pyright: ignore[reportArgumentType]
        lambda: FullText(language="Klingon"),  # pyright: ignore[reportArgumentType]
        lambda: FullText(stop_words="the"),  # pyright: ignore[reportArgumentType]
        lambda: FullText(positions=1),  # pyright: ignore[reportArgumentType]
        lambda: FullText(min_ngram=4, max_ngram=3),
        lambda: IvfFlat(metric="manhattan"),  # pyright: ignore[reportArgumentType]
        lambda: IvfFlat(partitions=0),
        lambda: FullText(stop_words=5),  # pyright: ignore[reportArgumentType]
        lambda: IvfPq(bits=5),
        lambda: IvfPq(bits=8.0),  # pyright: ignore[reportArgumentType]
        lambda: IvfRq(bits=10),
        lambda: IvfHnswSq(m=30, ef_construction=20),
        lambda: from_parameters("btree", {"pages": 3}),
        lambda: from_parameters("b-tree", {}),
    ],
)
def test_parameters_are_checked_at_the_door(make: Callable[[], Index]) -> None:
    with pytest.raises(InvalidOption):
        make()


@pytest.mark.parametrize("tokenizer", ["whitespace", "raw", "ngram", "icu", "icu/split", "code"])
def test_tokenizers(db: StorageBackend, tokenizer: Any) -> None:
    db.create_table("t", rows(0, 30))
    db.create_fts_index("t", "body", FullText(tokenizer=tokenizer, stem=False))
    assert db.index_stats("t", "body_fts").parameters["tokenizer"] == tokenizer
    assert db.write("t", rows(0, 5), mode="overwrite").indexes_rebuilt == ("body_fts",)
    assert db.index_stats("t", "body_fts").parameters["tokenizer"] == tokenizer


# -- rivals in the middle of a build ---------------------------------------------------------------


def test_parts_of_identifiers(db: StorageBackend) -> None:
    table = pa.table({"id": range(3), "body": ["getUserName", "cats", "get_user_name"]})
    db.create_table("t", table)
    db.create_fts_index("t", "body", FullText(tokenizer="code"))
    for _ in range(2):
        found = db.full_text_search("t", "body", "user")
        assert sorted(found["id"].to_pylist()) == [0, 2]
        db.write("t", table, mode="overwrite")


def during(act: Callable[[], object]) -> Callable[[IndexProgress], None]:
    """Return a callback that acts once, when the rows are read and the index is not committed."""
    todo = [act]

    def progress(said: IndexProgress) -> None:
        if said.done and todo:
            todo.pop()()

    return progress


def agrees(db: StorageBackend, *filters: str) -> None:
    """An index finds what a scan of all rows finds."""
    handle = raw(db)
    for where in filters:
        found = handle.to_table(columns=["id"], filter=where)["id"].to_pylist()
        there = handle.to_table(columns=["id"], filter=where, use_scalar_index=False)
        assert sorted(found) == sorted(there["id"].to_pylist()), where


@pytest.mark.parametrize(
    ("act", "covered"),
    [
        (lambda db: db.write("t", rows(900, 10)), 400),
        (lambda db: db.update("t", {"lang": "'xx'"}, "id < 300"), 400),
        (lambda db: db.update("t", {"lang": "'xx'"}, "id < 50"), 200),
        (lambda db: db.delete_rows("t", "id < 350"), 50),
        (lambda db: db.truncate("t"), 0),
        (lambda db: db.merge_insert("t", rows(50, 400), on="id"), None),
        (lambda db: raw(db).optimize.compact_files(), 400),
        (lambda db: db.write("t", rows(0, 20), mode="overwrite"), 20),
        (lambda db: db.rollback_table("t", 1), 200),
        (lambda db: db.create_scalar_index("t", "id"), 400),
    ],
)
def test_a_rival_in_the_middle(
    db: StorageBackend, act: Callable[[StorageBackend], object], covered: int | None
) -> None:
    db.create_table("t", rows(0, 200))
    db.write("t", rows(200, 200))
    made = db.create_scalar_index("t", "lang", progress=during(lambda: act(db)))
    agrees(db, "lang = 'xx'", "lang = 'fr'", "lang IS NULL")
    if covered is not None:
        assert made.rows_indexed == covered
    db.update_indexes("t")
    agrees(db, "lang = 'xx'", "lang = 'fr'", "lang IS NULL")
    assert db.list_indexes("t")[-1].rows_not_indexed == 0
    assert segments_left(raw(db)) == set()


def test_a_column_rewritten_in_place_in_the_middle(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 200))

    def rewrite() -> None:
        new = rows(0, 150).select(["id"]).append_column("lang", pa.array(["xx"] * 150))
        merge = raw(db).merge_insert("id").when_matched_update_all()
        merge.write_mode("rewrite_columns").execute(new)

    made = db.create_scalar_index("t", "lang", progress=during(rewrite))
    assert made.rows_indexed + made.rows_not_indexed == 200
    agrees(db, "lang = 'xx'", "lang = 'fr'", "lang IS NULL")
    assert db.count_rows("t", "lang = 'xx'") == 150


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda db: db.drop_table("t"), CommitConflict),
        (lambda db: db.drop_columns("t", "lang"), ColumnNotFound),
        (lambda db: db.create_scalar_index("t", "id", name="mine"), IndexAlreadyExists),
        (lambda db: db.drop_table("t") or db.create_table("t", rows(0, 5)), CommitConflict),
    ],
)
def test_a_rival_that_ends_a_build(
    db: StorageBackend, act: Callable[[StorageBackend], object], error: type[PennonError]
) -> None:
    db.create_table("t", rows(0, 200))
    with pytest.raises(error):
        db.create_scalar_index("t", "lang", name="mine", progress=during(lambda: act(db)))
    if db.table_exists("t"):
        assert segments_left(raw(db)) == set()
        assert [i.columns for i in db.list_indexes("t")] in ([], [("id",)])


@pytest.mark.parametrize(
    "act",
    [
        lambda db: db.drop_index("t", "mine"),
        lambda db: db.create_scalar_index("t", "lang", name="mine", replace=True),
        lambda db: db.update_indexes("t"),
        lambda db: raw(db).optimize.compact_files(),
    ],
)
def test_a_rival_of_an_update(db: StorageBackend, act: Callable[[StorageBackend], object]) -> None:
    db.create_table("t", rows(0, 200))
    db.create_scalar_index("t", "id", name="mine")
    db.write("t", rows(200, 20))
    try:
        db.update_indexes("t", progress=during(lambda: act(db)))
    except IndexNotFound:
        assert db.list_indexes("t") == []
    agrees(db, "id = 7", "id = 210", "lang = 'fr'")
    for index in db.list_indexes("t"):
        assert (index.rows_indexed, index.rows_not_indexed) == (220, 0)


def test_writers_go_on_while_an_index_is_built(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 200))

    def write_elsewhere() -> None:
        writer = threading.Thread(target=lambda: db.write("t", rows(200, 5), deadline=20))
        writer.start()
        writer.join(20)
        assert not writer.is_alive()

    db.create_vector_index("t", "vec", progress=during(write_elsewhere))
    assert db.count_rows("t") == 205


def test_a_cancelled_build_leaves_no_file(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 3000))

    def stop(said: IndexProgress) -> None:
        if said.done:
            raise KeyboardInterrupt

    for build in (
        lambda: db.create_fts_index("t", "body", progress=stop),
        lambda: db.create_vector_index("t", "vec", "ivf_hnsw_pq", progress=stop),
        lambda: db.create_scalar_index("t", "id", "zonemap", progress=stop),
        lambda: db.create_scalar_index("t", "id", "btree", progress=stop),
    ):
        with pytest.raises(KeyboardInterrupt):
            build()
    assert db.list_indexes("t") == []
    assert segments_left(raw(db)) == set()


# -- indexes of other tools ------------------------------------------------------------------------


def test_indexes_that_lance_made_itself(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 600))
    handle = raw(db)
    handle.create_scalar_index("id", "BTREE")
    handle.create_scalar_index("body", "INVERTED", with_position=True, language="German")
    handle.create_index("vec", "IVF_PQ", num_partitions=2, num_sub_vectors=4, metric="cosine")
    assert [(i.name, i.kind, i.rows_indexed) for i in db.list_indexes("t")] == [
        ("body_idx", "fts", 600),
        ("id_idx", "btree", 600),
        ("vec_idx", "ivf_pq", 600),
    ]
    db.write("t", rows(600, 300))
    assert len(db.update_indexes("t")) == 3
    done = db.write("t", rows(5000, 700), mode="overwrite")
    assert done.indexes_rebuilt == ("body_idx", "id_idx", "vec_idx")
    assert db.index_stats("t", "body_idx").parameters["language"] == "German"
    vector = db.index_stats("t", "vec_idx").parameters
    assert (vector["metric"], vector["partitions"], vector["sub_vectors"]) == ("cosine", 2, 4)
    raw(db).optimize.optimize_indices()
    db.drop_index("t", "id_idx")
    assert [i.name for i in db.list_indexes("t")] == ["body_idx", "vec_idx"]


def test_a_branch_index_lies_with_the_branch(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 200))
    db.create_scalar_index("t", "id")
    root = Path(db.namespace.describe_table("t").location)
    before = sorted(p.name for p in (root / "_indices").iterdir())
    versions = sorted(p.name for p in (root / "_versions").iterdir())
    db.create_branch("t", "dev")
    db.write("t", rows(200, 100), branch="dev")
    db.update_indexes("t", branch="dev")
    db.create_scalar_index("t", "lang", branch="dev")
    db.write("t", rows(0, 9), mode="overwrite", branch="dev")
    db.drop_index("t", "id_btree", branch="dev")
    assert sorted(p.name for p in (root / "_indices").iterdir()) == before
    assert sorted(p.name for p in (root / "_versions").iterdir()) == versions
    assert len(list((root / "tree" / "dev" / "_indices").iterdir())) >= 3
    assert [i.name for i in db.list_indexes("t")] == ["id_btree"]
    assert db.scan(ScanRequest("t", filter="id = 199")).read_all().num_rows == 1


def test_the_indexes_of_two_overwrites_at_once(db: StorageBackend) -> None:
    db.create_table("t", rows(0, 200))
    db.create_scalar_index("t", "id")
    db.create_fts_index("t", "body")
    failed: list[BaseException] = []

    def overwrite(n: int) -> None:
        try:
            db.write("t", rows(1000 * n, 50), mode="overwrite")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=overwrite, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    found = db.list_indexes("t")
    assert [(i.name, i.rows_indexed, i.rows_not_indexed) for i in found] == [
        ("body_fts", 50, 0),
        ("id_btree", 50, 0),
    ]
