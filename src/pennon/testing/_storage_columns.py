"""Conformance: columns that come, change and go."""

from __future__ import annotations

from typing import Any

import pytest

from pennon import ColumnChange, col, lit
from pennon.errors import (
    BranchNotFound,
    ColumnAlreadyExists,
    ColumnNotFound,
    InvalidInput,
    InvalidName,
    InvalidOption,
    SchemaMismatch,
    TableNotFound,
)
from pennon.storage.abc import StorageBackend
from pennon.testing._storage_base import StorageCases

__all__ = ["ColumnCases"]

ROWS = [{"id": 1, "n": 10}, {"id": 2, "n": None}, {"id": 3, "n": 30}]


class ColumnCases(StorageCases):
    """What every backend does with columns."""

    def made(self, backend: StorageBackend) -> Any:
        """Make a table with rows in two data files, one of them deleted again."""
        import pyarrow as pa

        schema = pa.schema({"id": pa.int64(), "n": pa.int32()})
        backend.create_table("t", [*ROWS[:1], {"id": 9, "n": 9}], schema=schema, primary_key="id")
        backend.write("t", ROWS[1:])
        backend.delete_rows("t", col("id") == 9)
        return schema

    def values(self, backend: StorageBackend, *names: str, **where: Any) -> list[Any]:
        """Return columns of the rows in the order of their ids."""
        from pennon.storage.abc import ScanRequest

        request = ScanRequest("t", columns=["id", *names], order_by="id", **where)
        found = backend.scan(request).read_all()
        return [tuple(row[n] for n in names) for row in found.to_pylist()]

    def test_columns_from_expressions(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        receipt = backend.add_columns(
            "t",
            {"twice": col("n") * 2, "note": pa.string(), "one": lit(1), "text": "concat('#', id)"},
            commit_message="more",
        )
        assert receipt.version == backend.get_table_version("t")
        assert (receipt.rows_inserted, receipt.rows_updated, receipt.rows_deleted) == (0, 0, 0)
        assert backend.versions("t", limit=1)[0].operation == "add_columns"
        assert backend.versions("t", limit=1)[0].message == "more"
        schema = backend.get_table_schema("t")
        assert schema is not None
        assert schema.names == ["id", "n", "twice", "note", "one", "text"]
        assert all(schema.field(n).nullable for n in schema.names[1:])
        assert self.values(backend, "twice", "note", "one", "text") == [
            (20, None, 1, "#1"),
            (None, None, 1, "#2"),
            (60, None, 1, "#3"),
        ]
        assert self.values(backend, "n", version=1) == [(10,), (9,)]

    def test_a_constant_is_no_duty(self, backend: StorageBackend) -> None:
        self.made(backend)
        backend.add_columns("t", {"lang": lit("en")})
        backend.write("t", [{"id": 4, "n": 1}])
        backend.merge_insert("t", [{"id": 1, "n": 11}, {"id": 5, "n": 5}])
        assert self.values(backend, "lang") == [("en",), ("en",), ("en",), (None,), (None,)]

    def test_columns_of_nulls_from_a_schema(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        new = pa.schema([pa.field("v", pa.list_(pa.float32(), 2)), pa.field("s", pa.utf8())])
        backend.add_columns("t", new)
        backend.write("t", [{"id": 4, "n": 1, "v": [1.0, 2.0], "s": "x"}])
        assert self.values(backend, "v", "s") == [(None, None)] * 3 + [([1.0, 2.0], "x")]
        backend.update("t", {"s": lit("y")}, where=col("id") == 1)
        assert self.values(backend, "s") == [("y",), (None,), (None,), ("x",)]

    def test_columns_of_an_empty_table(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_empty_table("t", pa.schema({"id": pa.int64()}))
        backend.add_columns("t", {"twice": col("id") * 2, "s": pa.string()})
        backend.add_columns("t", dict, schema=pa.schema({"f": pa.int8()}))
        found = backend.get_table_schema("t")
        assert found == pa.schema(
            {"id": pa.int64(), "twice": pa.int64(), "s": pa.string(), "f": pa.int8()}
        )
        backend.write("t", [{"id": 1, "twice": 2, "s": "a", "f": 3}])
        assert self.values(backend, "twice", "s", "f") == [(2, "a", 3)]

    def test_columns_from_a_function(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        seen: list[tuple[int, int]] = []
        given: list[list[str]] = []

        def compute(batch: pa.RecordBatch) -> dict[str, Any]:
            given.append(batch.schema.names)
            return {"sq": [i * i for i in batch["id"].to_pylist()], "z": ["z"] * batch.num_rows}

        backend.add_columns(
            "t",
            compute,
            schema=pa.schema([pa.field("sq", pa.int64(), nullable=False), ("z", pa.string())]),
            read_columns=["id"],
            batch_size=1,
            progress=lambda done, total: seen.append((done, total)),
        )
        assert self.values(backend, "sq", "z") == [(1, "z"), (4, "z"), (9, "z")]
        assert seen == [(1, 3), (2, 3), (3, 3)]
        assert given == [["id"]] * 3
        backend.write("t", [{"id": 4, "n": 4}])

    def test_what_a_function_does_wrong(self, backend: StorageBackend, tmp_path: Any) -> None:
        import pyarrow as pa

        self.made(backend)
        before = backend.get_table_version("t")
        schema = pa.schema({"z": pa.int64()})

        def fails(batch: Any) -> Any:
            raise ZeroDivisionError(batch.num_rows)

        with pytest.raises(ZeroDivisionError):
            backend.add_columns("t", fails, schema=schema)
        for wrong in (
            {"z": ["x", "y", "z"]},
            {"z": [1, 2, 3, 4]},
            {"y": [1]},
            {"z": [1], "y": [1]},
        ):
            with pytest.raises(SchemaMismatch):
                backend.add_columns("t", lambda _, w=wrong: w, schema=schema)
        with pytest.raises(InvalidInput):
            backend.add_columns("t", lambda _: 3, schema=schema)
        bad: list[dict[str, Any]] = [
            {"columns": fails},
            {"columns": fails, "schema": pa.schema([])},
            {"columns": fails, "schema": schema, "batch_size": 0},
            {"columns": fails, "schema": schema, "read_columns": []},
            {"columns": {"z": "id"}, "checkpoint": tmp_path},
            {"columns": {"z": "id"}, "schema": schema},
        ]
        for options in bad:
            with pytest.raises(InvalidOption):
                backend.add_columns("t", **options)
        with pytest.raises(ColumnNotFound):
            backend.add_columns("t", fails, schema=schema, read_columns=["nope"])
        assert backend.get_table_version("t") == before

    def test_a_function_goes_on_where_it_failed(
        self, backend: StorageBackend, tmp_path: Any
    ) -> None:
        import pyarrow as pa

        self.made(backend)
        schema, calls = pa.schema({"z": pa.int64()}), list[int]()

        def compute(batch: pa.RecordBatch) -> dict[str, Any]:
            (number,) = batch["id"].to_pylist()
            if number == 3 and 3 not in calls:
                calls.append(number)
                raise RuntimeError("out of luck")
            calls.append(number)
            return {"z": [number * 100]}

        options: dict[str, Any] = {
            "schema": schema,
            "read_columns": ["id"],
            "batch_size": 1,
            "checkpoint": tmp_path / "kept",
        }
        with pytest.raises(RuntimeError, match="out of luck"):
            backend.add_columns("t", compute, **options)
        assert len(list((tmp_path / "kept").iterdir())) == 2
        backend.update("t", {"n": "n + 1"}, where=col("id") == 1)
        backend.write("t", [{"id": 4, "n": 4}])
        backend.add_columns("t", compute, **options)
        assert calls == [1, 2, 3, 3, 4]
        assert self.values(backend, "z") == [(100,), (200,), (300,), (400,)]
        assert not (tmp_path / "kept").exists()

    def test_columns_that_cannot_be_added(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        before = backend.get_table_version("t")
        bad: list[tuple[Any, Any]] = [
            (ColumnAlreadyExists, {"n": pa.int32()}),
            (ColumnAlreadyExists, {"n": "id"}),
            (ColumnNotFound, {"z": "nope + 1"}),
            (InvalidInput, {"z": "id +"}),
            (InvalidInput, {"z": "no_function(id)"}),
            (InvalidInput, {"z": "id / 0"}),
            (InvalidName, {"": pa.int32()}),
            (InvalidName, {"a.b": pa.int32()}),
            (InvalidName, {"_rowid": pa.int32()}),
            (InvalidOption, {}),
            (InvalidOption, {"z": 3}),
            (InvalidOption, {"z": " "}),
            (InvalidOption, "z"),
        ]
        for error, columns in bad:
            with pytest.raises(error) as caught:
                backend.add_columns("t", columns)
            assert len(str(caught.value)) > 30
        with pytest.raises(TableNotFound):
            backend.add_columns("none", {"z": pa.int32()})
        with pytest.raises(BranchNotFound):
            backend.add_columns("t", {"z": pa.int32()}, branch="none")
        assert backend.get_table_version("t") == before

    def test_dropped_columns(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        backend.add_columns("t", {"a": lit("a"), "b": lit("b")})
        receipt = backend.drop_columns("t", "n")
        assert receipt.version == backend.get_table_version("t")
        backend.drop_columns("t", ["a", "b"])
        found = backend.get_table_schema("t")
        assert found is not None
        assert found.names == ["id"]
        backend.add_columns("t", {"b": pa.string(), "n": pa.int32()})
        assert self.values(backend, "b", "n") == [(None, None)] * 3
        backend.rollback_table("t", receipt.version - 1)
        assert self.values(backend, "n", "a") == [(10, "a"), (None, "a"), (30, "a")]

    def test_columns_that_cannot_be_dropped(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        backend.create_empty_table("u", pa.schema({"a": pa.int8(), "b": pa.int8()}))
        for error, table, names in (
            (ColumnNotFound, "t", "nope"),
            (InvalidInput, "t", "id"),
            (InvalidInput, "u", ["a", "b"]),
            (InvalidOption, "t", []),
            (InvalidOption, "t", ["n", "n"]),
            (TableNotFound, "none", "n"),
        ):
            with pytest.raises(error) as caught:
                backend.drop_columns(table, names)
            assert len(str(caught.value)) > 30
        assert backend.get_table_version("u") == 1

    def test_changed_columns(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        backend.add_columns("t", {"a": lit(5), "b": lit("b")})
        receipt = backend.alter_columns(
            "t",
            {
                "n": ColumnChange(name="b", type=pa.float64()),
                "a": ColumnChange(nullable=False),
                "b": ColumnChange(name="n"),
            },
        )
        assert receipt.version == backend.get_table_version("t")
        assert backend.get_table_schema("t") == pa.schema(
            [
                pa.field("id", pa.int64(), nullable=False),
                pa.field("b", pa.float64()),
                pa.field("a", pa.int64(), nullable=False),
                pa.field("n", pa.string()),
            ]
        )
        assert self.values(backend, "b", "a", "n") == [
            (10.0, 5, "b"),
            (None, 5, "b"),
            (30.0, 5, "b"),
        ]
        with pytest.raises(SchemaMismatch):
            backend.write("t", [{"id": 4}])
        backend.alter_columns("t", {"a": ColumnChange(nullable=True)})
        backend.write("t", [{"id": 4}])
        backend.alter_columns("t", {"a": ColumnChange(name="c"), "b": ColumnChange(name="a")})
        assert self.values(backend, "a", "c")[2:] == [(30.0, 5), (None, None)]
        backend.update("t", {"a": "a + 1"}, where="a = 30")
        assert self.values(backend, "a")[2] == (31.0,)

    def test_a_type_that_a_column_has_already(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        backend.create_scalar_index("t", "n")
        backend.alter_columns("t", {"n": ColumnChange(name="m", type=pa.int32())})
        assert self.values(backend, "m") == [(10,), (None,), (30,)]
        assert [i.columns for i in backend.list_indexes("t")] == [("m",)]

    def test_a_new_type_writes_every_row_again(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        before = backend.get_table_version("t")
        assert before is not None
        for kind in (pa.int64(), pa.int32()):
            backend.alter_columns("t", {"n": ColumnChange(type=kind)})
        changes = backend.diff("t", before, before + 2).read_all()["_change"].to_pylist()
        assert changes == ["updated"] * 3

    def test_columns_that_cannot_be_changed(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        backend.add_columns("t", {"s": lit("text"), "big": "id * 1000"})
        before = backend.get_table_version("t")
        bad: list[tuple[Any, Any]] = [
            (ColumnNotFound, {"nope": ColumnChange(name="x")}),
            (InvalidInput, {"id": ColumnChange(name="key")}),
            (InvalidInput, {"id": ColumnChange(type=pa.int32())}),
            (ColumnAlreadyExists, {"n": ColumnChange(name="s")}),
            (InvalidName, {"n": ColumnChange(name="a`b")}),
            (SchemaMismatch, {"n": ColumnChange(nullable=False)}),
            (SchemaMismatch, {"n": ColumnChange(nullable=False, type=pa.int64())}),
            (SchemaMismatch, {"s": ColumnChange(type=pa.int64())}),
            (SchemaMismatch, {"big": ColumnChange(type=pa.int8())}),
            (InvalidOption, {}),
            (InvalidOption, {"n": ColumnChange()}),
            (InvalidOption, {"n": {"name": "x"}}),
        ]
        for error, changes in bad:
            with pytest.raises(error) as caught:
                backend.alter_columns("t", changes)
            assert len(str(caught.value)) > 30
        assert backend.get_table_version("t") == before

    def test_columns_of_a_branch(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        self.made(backend)
        backend.create_branch("t", "b")
        before = backend.get_table_version("t")
        assert backend.add_columns("t", {"z": "id * 2"}, branch="b").branch == "b"
        backend.alter_columns("t", {"n": ColumnChange(name="m", type=pa.int64())}, branch="b")
        backend.drop_columns("t", "m", branch="b")
        assert self.values(backend, "z", branch="b") == [(2,), (4,), (6,)]
        assert self.values(backend, "n") == [(10,), (None,), (30,)]
        assert backend.get_table_version("t") == before

    def test_column_changes_are_repeatable(self, backend: StorageBackend) -> None:
        self.made(backend)
        first = [
            backend.add_columns("t", {"z": "id"}, write_id="w"),
            backend.alter_columns("t", {"z": ColumnChange(name="y")}, write_id="w"),
            backend.drop_columns("t", "y", write_id="w"),
        ]
        again = [
            backend.add_columns("t", {"z": "id"}, write_id="w"),
            backend.alter_columns("t", {"z": ColumnChange(name="y")}, write_id="w"),
            backend.drop_columns("t", "y", write_id="w"),
        ]
        assert first == again
        assert backend.get_table_version("t") == first[-1].version
