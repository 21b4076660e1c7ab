"""A scan of Lance delivers what the pure Arrow model delivers, and a count counts it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pennon
from pennon.expr import Expr, col
from pennon.storage.abc import ScanRequest, StorageBackend

ROWS: list[dict[str, Any]] = [
    {"k": k, "a": a, "s": s, "x": x}
    for k, (a, s, x) in enumerate(
        zip(
            [0, 1, None, 2, -3, None, 1, 7],
            ["a'b", "x%y", "é", "a_b", None, "", '"q"', "é"],
            [1.5, None, float("nan"), -0.5, float("inf"), 2.0, None, 0.25],
            strict=True,
        )
    )
]
COLUMNS = ["k", "a", "s", "x"]
COMPUTED = {"d": col("a") * 2 + col("k"), "u": "upper(s)", "one": "1"}


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> list[StorageBackend]:
    both = [pennon.open(tmp_path_factory.mktemp("reads")), pennon.open("memory://reads-agree")]
    for backend in both:
        backend.create_table("t", ROWS[:3])
        backend.write("t", ROWS[3:])
    return both


def _leaf() -> st.SearchStrategy[Expr]:
    numbers = st.sampled_from([-3, 0, 1, 2, 9])
    texts = st.sampled_from(["", "a'b", "é", "%"])
    return st.one_of(
        st.builds(lambda n, v: col(n) > v, st.sampled_from("ka"), numbers),
        st.builds(lambda n, v: col(n) == v, st.sampled_from("ka"), numbers),
        st.builds(lambda v: col("s") != v, texts),
        st.builds(lambda v: col("s").contains(v), texts),
        st.builds(lambda n: col(n).is_null(), st.sampled_from("kasx")),
        st.builds(lambda v: col("a").is_in(v), st.lists(st.none() | numbers, max_size=3)),
        st.builds(lambda v: col("x") < v, st.sampled_from([0.0, 1.0])),
    )


FILTERS = st.none() | st.recursive(
    _leaf(),
    lambda f: st.one_of(
        st.builds(lambda a, b: a & b, f, f),
        st.builds(lambda a, b: a | b, f, f),
        f.map(lambda a: ~a),
    ),
    max_leaves=5,
)
ORDER = st.lists(
    st.tuples(st.sampled_from(COLUMNS), st.sampled_from(["asc", "desc"])),
    max_size=2,
    unique_by=lambda pair: pair[0],
).map(lambda order: [*order, *([] if "k" in dict(order) else [("k", "asc")])] if order else [])


@given(
    filter=FILTERS,
    columns=st.none()
    | st.lists(st.sampled_from(COLUMNS), min_size=1, unique=True)
    | st.just(COMPUTED),
    order=ORDER,
    limit=st.none() | st.integers(0, 9),
    offset=st.integers(0, 9),
    ids=st.booleans(),
    version=st.none() | st.integers(1, 2),
)
@settings(max_examples=250, deadline=None)
def test_a_scan_is_what_the_model_says(
    backends: list[StorageBackend],
    filter: Expr | None,
    columns: Any,
    order: Any,
    limit: int | None,
    offset: int,
    ids: bool,
    version: int | None,
) -> None:
    request = ScanRequest(
        "t",
        columns=columns,
        filter=filter,
        order_by=order,
        limit=limit,
        offset=offset,
        with_row_id=ids,
        version=version,
    )
    ours, model = (b.scan(request).read_all() for b in backends)
    assert ours.schema.equals(model.schema), filter
    assert repr(ours.to_pylist()) == repr(model.to_pylist()), filter
    everything = ScanRequest("t", filter=filter, version=version)
    for backend in backends:
        rows = backend.scan(everything).read_all().num_rows
        assert backend.count_rows("t", filter, version=version) == rows
