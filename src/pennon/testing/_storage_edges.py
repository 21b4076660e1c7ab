"""Conformance at the edges: times, keys of every type, names, failing streams, repeated merges."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from pennon import ColumnChange, col
from pennon.errors import (
    DuplicateKey,
    InvalidFilter,
    InvalidInput,
    InvalidName,
    InvalidOption,
    SchemaMismatch,
    TagNotFound,
    VersionNotFound,
)
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.testing._storage_base import StorageCases

__all__ = ["EdgeCases"]

UTC = dt.UTC


class EdgeCases(StorageCases):
    """Cases that were wrong once on some backend."""

    def test_times_finer_than_their_column(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        zones = {"a": None, "z": "Asia/Kolkata"}
        schema = pa.schema(
            [("id", pa.int64()), *((n, pa.timestamp("s", z)) for n, z in zones.items())]
        )
        seconds = [dt.datetime(2020, 1, 1, 0, 0, s, tzinfo=UTC) for s in range(4)]
        rows = [{"id": n, "a": t.replace(tzinfo=None), "z": t} for n, t in enumerate(seconds)]
        backend.create_table("t", rows, schema=schema)
        half = seconds[1] + dt.timedelta(milliseconds=500)
        assert backend.count_rows("t", col("z") >= half) == 2
        assert backend.count_rows("t", col("z") == half) == 0
        assert backend.count_rows("t", col("z") == seconds[1]) == 1
        assert backend.delete_rows("t", col("a") < half.replace(tzinfo=None)).rows_deleted == 2
        assert backend.count_rows("t", col("id") >= 2) == 2

    def test_keys_of_every_type(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        kept: list[tuple[Any, Any, Any]] = [
            (pa.bool_(), True, False),
            (pa.uint64(), 1, 2**64 - 1),
            (pa.large_string(), "a", "it's"),
            (pa.binary(2), b"ab", b"\0\0"),
            (pa.date32(), dt.date(2020, 1, 1), dt.date(1960, 1, 1)),
            (pa.timestamp("us"), dt.datetime(2020, 1, 1, 0, 0, 0, 5), dt.datetime(1960, 1, 1)),  # noqa: DTZ001
            (
                pa.timestamp("ms", "Asia/Kolkata"),
                dt.datetime(2020, 1, 1, tzinfo=UTC),
                dt.datetime(1960, 1, 1, 0, 0, 0, 7000, tzinfo=UTC),
            ),
            (pa.decimal128(10, 2), Decimal("1.00"), Decimal("-2.50")),
        ]
        for number, (kind, one, two) in enumerate(kept):
            name, schema = f"t{number}", pa.schema([("k", kind), ("v", pa.int8())])

            def rows(*pairs: tuple[Any, int], schema: Any = schema) -> Any:
                return pa.table([list(c) for c in zip(*pairs, strict=True)], schema=schema)

            backend.create_table(name, rows((one, 1)), primary_key="k")
            backend.merge_insert(name, rows((one, 10), (two, 2)))
            assert backend.take(name, [two, one])["v"].to_pylist() == [2, 10]
            with pytest.raises(DuplicateKey):
                backend.write(name, rows((two, 3)), check_keys=True)
        for kind in (
            pa.float32(),
            pa.null(),
            pa.time64("us"),
            pa.duration("s"),
            pa.timestamp("ns"),
            pa.list_(pa.int8()),
            pa.uuid(),
        ):
            schema = pa.schema([("k", kind), ("v", pa.int8())])
            with pytest.raises(InvalidOption, match="cannot be part of a key"):
                backend.create_empty_table("u", schema, primary_key="k")
            backend.create_table("w", schema=schema, mode="overwrite")
            for merge in ({"on": "k"}, {"on": ["v", "k"], "when_matched": "delete"}):
                with pytest.raises(InvalidOption, match="cannot be part of a key"):
                    backend.merge_insert("w", schema.empty_table(), **merge)  # type: ignore[arg-type]
        assert not backend.table_exists("u")

    def test_names_no_tag_can_have(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        for name in ("a/b", "a..b", ".a", "a.", "...", "", "a b", "main"):
            for call in (backend.create_tag, backend.move_tag, backend.delete_tag):
                with pytest.raises(InvalidName):
                    call("t", name)
        for name in ("a..b", "...", "a/../b"):
            with pytest.raises(InvalidName):
                backend.create_branch("t", name)
        assert backend.create_tag("t", "v1.0-rc_1").version == 1
        assert backend.create_branch("t", ".a/b.").name == ".a/b."

    def test_streams_that_fail(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        schema = pa.schema({"id": pa.int64()})
        backend.create_table("t", [{"id": 0}], schema=schema, primary_key="id")

        def batches() -> Iterator[pa.RecordBatch]:
            yield pa.RecordBatch.from_pylist([{"id": 1}], schema=schema)
            raise pa.ArrowInvalid("the wire broke")

        for call in (
            lambda s: backend.write("t", s),
            lambda s: backend.write("t", s, mode="overwrite"),
            lambda s: backend.write("t", s, check_keys=True),
            lambda s: backend.merge_insert("t", s),
            lambda s: backend.replace_table_atomic("t", s),
            lambda s: backend.create_table("u", s, mode="overwrite"),
        ):
            with pytest.raises(InvalidInput, match="the wire broke"):
                call(pa.RecordBatchReader.from_batches(schema, batches()))
        for other in ({"x": [1]}, {"id": ["1"]}, {"id": [1], "x": [1]}):
            for given in (schema, pa.schema({"id": pa.int64()}).with_metadata({"k": "v"})):
                some = [
                    pa.record_batch({"id": [1]}, schema=schema),
                    pa.record_batch(other),
                ]
                for call in (backend.write, backend.merge_insert):
                    with pytest.raises(SchemaMismatch, match="other columns than the stream"):
                        call("t", pa.RecordBatchReader.from_batches(given, iter(some)))
        assert backend.get_table_version("t") == 1

    def test_a_function_that_writes_to_its_table(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", [{"id": 1}])

        def twice(batch: pa.RecordBatch) -> Any:
            if backend.count_rows("t") == 1:
                backend.write("t", [{"id": 2}])
            return {"twice": [2 * n for n in batch["id"].to_pylist()]}

        backend.add_columns("t", twice, schema=pa.schema({"twice": pa.int64()}))
        rows = backend.scan("t").read_all().sort_by("id").to_pylist()
        assert rows == [{"id": 1, "twice": 2}, {"id": 2, "twice": 4}]

    def test_updates_and_deletes_that_fail_on_a_row(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 0, "s": "x"}, {"id": 1, "s": "2"}])
        for values in ({"id": "1 / id"}, {"id": "cast(s as bigint)"}):
            with pytest.raises(InvalidInput, match="fails on a row"):
                backend.update("t", values)
        with pytest.raises(InvalidFilter):
            backend.delete_rows("t", "1 / id = 1")
        assert backend.get_table_version("t") == 1

    def test_a_merge_repeated_after_the_columns_changed(self, backend: StorageBackend) -> None:
        rows = [{"id": 1, "v": 1}, {"id": 2, "v": 2}]
        backend.create_table("t", rows[:1], primary_key="id")
        receipt = backend.merge_insert("t", rows, write_id="w")
        backend.alter_columns("t", {"v": ColumnChange(name="u")})
        assert backend.merge_insert("t", rows, write_id="w") == receipt
        backend.drop_columns("t", "u")
        assert backend.merge_insert("t", rows, write_id="w") == receipt
        assert backend.scan("t").read_all().to_pylist() == [{"id": 1}, {"id": 2}]

    def test_conditions_that_mean_nothing(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1, "n": 1}, {"id": 2, "n": 2}], primary_key="id")
        rows = [{"id": 1, "n": 5}]
        for condition in ("sum(id) > 1", "row_number() over () > 1"):
            with pytest.raises(InvalidFilter):
                backend.count_rows("t", condition)
        for condition in ("n > 1", "source.n", "1 / (source.n - 5) > 1", "source.zz > 1"):
            with pytest.raises(InvalidFilter):
                backend.merge_insert("t", rows, matched_if=condition)
        for condition in ("ID2 = 1", col("ID2") == 1):
            for call in (
                lambda c=condition: backend.count_rows("t", c),
                lambda c=condition: backend.delete_rows("t", c),
                lambda c=condition: backend.update("t", {"n": "1"}, c),
            ):
                with pytest.raises(
                    InvalidFilter, match=r"No field named 'ID2'; did you mean 'id'\?$"
                ):
                    call()
        wrong: Any = 5
        for make in (lambda: col("id").is_in(wrong), lambda: col("id").cast(wrong)):
            with pytest.raises(InvalidFilter):
                make()
        assert backend.get_table_version("t") == 1

    def test_what_no_column_holds(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table(
            "t", [{"id": 1, "f": 1.5}], schema=pa.schema({"id": pa.int64(), "f": pa.float32()})
        )
        with pytest.raises(SchemaMismatch, match="too large"):
            backend.update("t", {"f": "1e300"})
        assert backend.update("t", {"f": "cast('inf' as double)"}).rows_updated == 1
        none = pa.schema([])
        for call in (
            lambda: backend.write("t", [], mode="overwrite", schema=none),
            lambda: backend.replace_table_atomic("t", [], none),
            lambda: backend.create_empty_table("u", none),
        ):
            with pytest.raises(InvalidInput, match="at least one"):
                call()
        for name in ("a\0b", "*"):
            with pytest.raises(InvalidName):
                backend.create_table("u", [{name: 1}])
        with pytest.raises(InvalidName, match="double quote"):
            backend.create_table("u", [{'a"b': 1}], primary_key='a"b')
        backend.create_table("u", [{'a"b': 1}])
        with pytest.raises(InvalidName, match="double quote"):
            backend.merge_insert("u", [{'a"b': 1}], on='a"b')
        with pytest.raises(InvalidOption):
            backend.take("t", row_ids=[0], columns=[])

    def test_order_of_floats_of_every_length(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        numbers = [1.5, None, math.nan, -math.inf, -0.5, math.inf]
        for name, kind in (("h", pa.float16()), ("f", pa.float32()), ("d", pa.float64())):
            backend.create_table(name, {"n": range(6), "v": pa.array(numbers, kind)})
            for way, order in (("asc", [3, 4, 0, 5, 2, 1]), ("desc", [2, 5, 0, 4, 3, 1])):
                asked = ScanRequest(name, columns=["n"], order_by=[("v", way)])  # type: ignore[list-item]
                assert backend.scan(asked).read_all()["n"].to_pylist() == order

    def test_states_that_are_not_there(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        backend.create_branch("t", "b")
        for branch in ("main", "b"):
            with pytest.raises(VersionNotFound, match=r"t.* has no .*version.* 9"):
                backend.count_rows("t", branch=branch, version=9)
        for tag in ("none", "", "a/b", "a b"):
            with pytest.raises(TagNotFound, match=f"no tag '{tag}'"):
                backend.count_rows("t", tag=tag)

    def test_layouts_come_out_plain(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        views = [[1], None, [], [2, 3]]
        deep = [[["a"], None], None, [], [[]]]
        ordered = pa.array(["x", "y", None, "x"]).dictionary_encode()
        data = pa.table(
            {
                "view": pa.array(views, pa.list_view(pa.int64())),
                "deep": pa.array(deep, pa.large_list_view(pa.list_view(pa.string()))),
                "kind": ordered.cast(pa.dictionary(pa.int32(), pa.string(), ordered=True)),
            }
        )
        backend.create_table("t", data)
        backend.write("t", data.slice(1, 2))
        found = backend.scan("t").read_all()
        assert found["view"].to_pylist() == [*views, *views[1:3]]
        assert found["deep"].to_pylist() == [*deep, *deep[1:3]]
        assert found["kind"].to_pylist() == ["x", "y", None, "x", "y", None]
        assert found.schema.types == [
            pa.list_(pa.int64()),
            pa.large_list(pa.list_(pa.string())),
            pa.dictionary(pa.int32(), pa.string()),
        ]
