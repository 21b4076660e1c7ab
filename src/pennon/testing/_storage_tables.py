"""Conformance of the life of tables: names, keys, columns, renames and drops."""

from __future__ import annotations

from typing import Any

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    DuplicateKey,
    InvalidInput,
    InvalidName,
    InvalidOption,
    NamespaceNotFound,
    SchemaMismatch,
    TableAlreadyExists,
    TableNotFound,
    TablePinned,
    Unsupported,
)
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.keys import primary_key
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_branches import refused

__all__ = ["TableCases"]


class TableCases(StorageCases):
    """Cases on the life of tables, mixed into the suite."""

    def test_table_names_are_those_with_data(self, backend: StorageBackend) -> None:
        backend.namespace.create_namespace("team")
        backend.namespace.declare_table("declared")
        backend.create_table("b", [{"id": 1}])
        backend.create_table("a", [{"id": 1}])
        backend.create_table(("team", "c"), [{"id": 1}])
        for other in (backend, self.reopen(backend)):
            assert other.table_names() == [("a",), ("b",)]
            assert other.table_names("team") == [("team", "c")]
            assert other.table_names(recursive=True) == [("a",), ("b",), ("team", "c")]
        refused(NamespaceNotFound, lambda: backend.table_names("none"))

    def test_table_exists_is_never_remembered(self, backend: StorageBackend) -> None:
        other = self.reopen(backend)
        backend.namespace.declare_table("declared")
        assert not backend.table_exists("declared")
        for _ in range(2):
            assert not other.table_exists("t")
            assert not other.table_exists(("none", "t"))
            backend.create_table("t", [{"id": 1}])
            assert other.table_exists("t")
            other.drop_table("t")
            assert not backend.table_exists("t")
        refused(InvalidName, lambda: backend.table_exists(""))

    def test_create_where_existing_is_fine(self, backend: StorageBackend) -> None:
        first = backend.create_table("t", [{"id": 1}], mode="exist_ok")
        assert (first.version, first.rows_inserted) == (1, 1)
        backend.write("t", [{"id": 2}])
        again = backend.create_table("t", [{"other": 3}], mode="exist_ok")
        assert (again.version, again.rows_inserted) == (2, 0)
        assert backend.count_rows("t") == 2
        mode: Any = "replace"
        refused(InvalidOption, lambda: backend.create_table("t", [{"id": 1}], mode=mode))

    def test_primary_key(self, backend: StorageBackend) -> None:
        rows = [{"id": n, "at": "x", "v": n * 10} for n in (3, 1, 2)]
        backend.create_table("t", rows, primary_key="id")
        schema = self.reopen(backend).get_table_schema("t")
        assert schema is not None
        assert primary_key(schema) == ("id",)
        assert not schema.field("id").nullable
        taken = backend.take("t", [2, 9, 3], columns=["v"])
        assert taken.to_pydict() == {"v": [20, 30]}
        assert backend.take("t", []).num_rows == 0
        backend.create_table("u", rows, primary_key=["at", "id"])
        found = backend.get_table_schema("u")
        assert found is not None
        assert primary_key(found) == ("at", "id")
        assert backend.take("u", [("x", 1), ("y", 1)])["v"].to_pylist() == [10]
        refused(InvalidInput, lambda: backend.take("u", [1]))
        refused(SchemaMismatch, lambda: backend.write("t", [{"id": None}]))

    def test_primary_key_that_cannot_be(self, backend: StorageBackend) -> None:
        rows: list[dict[str, Any]] = [{"id": 1, "x": 0.5, "l": [1]}, {"id": 2, "x": None, "l": []}]
        refused(ColumnNotFound, lambda: backend.create_table("t", rows, primary_key="nope"))
        for wrong in ("x", "l", [], ["id", "id"]):
            key: Any = wrong
            refused(InvalidOption, lambda k=key: backend.create_table("t", rows, primary_key=k))
        twice = [{"id": 1}, {"id": 2}, {"id": 1}]
        refused(DuplicateKey, lambda: backend.create_table("t", twice, primary_key="id"))
        null = [{"id": 1}, {"id": None}]
        refused(SchemaMismatch, lambda: backend.create_table("t", null, primary_key="id"))
        assert not backend.table_exists("t")
        backend.create_table("t", [{"id": 1}], primary_key="id")

    def test_columns_that_cannot_be_read_are_not_written(self, backend: StorageBackend) -> None:
        for name in ("a`b", "a.b", ""):
            refused(InvalidName, lambda n=name: backend.create_table("t", {n: [1]}))
        assert not backend.namespace.table_exists("t")

    def test_open_or_create(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        schema = pa.schema({"id": pa.int64(), "name": pa.string()})
        made = backend.open_or_create_table("t", schema, primary_key="id")
        assert primary_key(made) == ("id",)
        backend.write("t", [{"id": 1, "name": "a"}])
        turned = pa.schema([schema.field("name"), schema.field("id")])
        assert backend.open_or_create_table("t", turned, primary_key="id").equals(made)
        assert backend.count_rows("t") == 1
        for other in (
            schema,
            pa.schema({"id": pa.int64()}),
            pa.schema({"id": pa.int64(), "name": pa.int32()}),
            pa.schema({"id": pa.int64(), "name": pa.string(), "x": pa.int64()}),
        ):
            refused(SchemaMismatch, lambda o=other: backend.open_or_create_table("t", o))
        assert backend.create_empty_table("u", schema).rows_inserted == 0
        refused(TableAlreadyExists, lambda: backend.create_empty_table("u", schema))

    def test_columns_that_evolve(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        old = pa.schema([pa.field("id", pa.int64()), pa.field("n", pa.int32(), nullable=False)])
        new = pa.schema([("id", pa.int64()), ("n", pa.int32()), ("s", pa.string())])
        backend.open_or_create_table("t", old, primary_key="id", evolve=True)
        backend.write("t", [{"id": 1, "n": 1}])
        text = refused(
            SchemaMismatch,
            lambda: backend.open_or_create_table("t", new, primary_key="id"),
        )
        assert "evolve=True would add 's', let 'n' be NULL" in text
        found = backend.open_or_create_table("t", new, primary_key="id", evolve=True)
        assert found == backend.get_table_schema("t")
        assert found.names == ["id", "n", "s"]
        version = backend.get_table_version("t")
        assert backend.open_or_create_table("t", new, primary_key="id", evolve=True) == found
        assert backend.get_table_version("t") == version
        backend.write("t", [{"id": 2}])
        for other in (
            old,
            new.append(pa.field("x", pa.int8(), nullable=False)),
            new.set(1, pa.field("n", pa.int64())),
        ):
            refused(
                SchemaMismatch,
                lambda o=other: backend.open_or_create_table("t", o, primary_key="id", evolve=True),
            )
        refused(SchemaMismatch, lambda: backend.open_or_create_table("t", new, evolve=True))
        assert backend.get_table_version("t") == version + 1

    def test_create_that_overwrites(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        first = backend.create_table("t", [{"id": 1}], mode="overwrite", properties={"a": "b"})
        assert (first.version, first.rows_inserted) == (1, 1)
        backend.create_tag("t", "v1")
        backend.create_branch("t", "dev")
        receipt = backend.create_table(
            "t", [{"k": "x"}, {"k": "y"}], mode="overwrite", primary_key="k", write_id="w"
        )
        assert (receipt.version, receipt.rows_inserted, receipt.rows_deleted) == (2, 2, 1)
        assert backend.scan("t").read_all().to_pylist() == [{"k": "x"}, {"k": "y"}]
        assert backend.count_rows("t", tag="v1") == 1
        assert backend.scan(ScanRequest("t", branch="dev")).read_all().to_pylist() == [{"id": 1}]
        assert backend.table_properties("t") == {"a": "b"}
        again = backend.create_table(
            "t", [{"k": "x"}, {"k": "y"}], mode="overwrite", primary_key="k", write_id="w"
        )
        assert again == receipt
        refused(
            DuplicateKey,
            lambda: backend.create_table(
                "t", [{"k": "x"}, {"k": "x"}], mode="overwrite", primary_key="k"
            ),
        )
        assert backend.count_rows("t") == 2
        emptied = backend.create_table("t", schema=pa.schema({"k": pa.int8()}), mode="overwrite")
        assert (emptied.rows_inserted, emptied.rows_deleted) == (0, 2)
        assert backend.get_table_schema("t") == pa.schema({"k": pa.int8()})
        once = backend.create_table("u", [{"id": 1}], mode="overwrite", write_id="w")
        assert backend.create_table("u", [{"id": 1}], mode="overwrite", write_id="w") == once

    def test_version_of_what_is_not_there(self, backend: StorageBackend) -> None:
        assert backend.get_table_version("t", missing_ok=True) is None
        refused(TableNotFound, lambda: backend.get_table_version("t"))
        backend.create_table("t", [{"id": 1}])
        assert backend.get_table_version("t", missing_ok=True) == 1
        refused(BranchNotFound, lambda: backend.get_table_version("t", branch="b", missing_ok=True))

    def test_names_that_results_need(self, backend: StorageBackend) -> None:
        for name in ("_rowid", "_distance", "_score", "_relevance_score", "query_index", "_change"):
            refused(InvalidName, lambda n=name: backend.create_table("t", [{n: 1}]))
        assert not backend.table_exists("t")

    def test_schema_of_what_is_asked_for(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", [{"id": 1}])
        assert backend.get_table_schema("t") == pa.schema({"id": pa.int64()})
        assert backend.get_table_schema("t", version=1) == pa.schema({"id": pa.int64()})
        assert backend.get_table_schema("u", missing_ok=True) is None
        refused(TableNotFound, lambda: backend.get_table_schema("u"))

    def test_properties_of_a_table(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}], properties={"owner": "ada"})
        assert self.reopen(backend).table_properties("t") == {"owner": "ada"}
        refused(TableNotFound, lambda: backend.table_properties("u"))

    def test_rename(self, backend: StorageBackend) -> None:
        backend.namespace.create_namespace("team")
        backend.create_table("t", [{"id": 1}])
        backend.create_table("u", [{"id": 2}])
        if "rename" not in backend.namespace.capabilities:
            refused(Unsupported, lambda: backend.rename_table("t", ("team", "v")))
            assert backend.count_rows("t") == 1
            return
        refused(TableAlreadyExists, lambda: backend.rename_table("t", "u"))
        backend.rename_table("t", ("team", "v"))
        other = self.reopen(backend)
        assert other.table_names(recursive=True) == [("team", "v"), ("u",)]
        assert other.count_rows(("team", "v")) == 1
        refused(TableNotFound, lambda: backend.rename_table("t", "w"))

    def test_drop(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        self.reopen(backend).drop_table("t")
        refused(TableNotFound, lambda: backend.scan("t"))
        refused(TableNotFound, lambda: backend.drop_table("t"))
        backend.drop_table("t", missing_ok=True)
        backend.namespace.declare_table("t")
        backend.drop_table("t")
        assert not backend.namespace.table_exists("t")

    def test_what_is_pinned_is_not_dropped(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        backend.create_branch("t", "dev")
        assert "branch dev" in refused(TablePinned, lambda: backend.drop_table("t"))
        backend.delete_branch("t", "dev")
        backend.create_tag("t", "v1")
        assert "tag v1" in refused(TablePinned, lambda: backend.drop_table("t", missing_ok=True))
        assert backend.count_rows("t", tag="v1") == 1
        backend.drop_table("t", force=True)
        assert not backend.table_exists("t")

    def test_a_create_has_a_message_and_a_deadline(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}], commit_message="first load", deadline=30)
        backend.create_table("t", [{"id": 2}], mode="overwrite", commit_message="second load")
        assert [v.message for v in backend.versions("t")] == ["second load", "first load"]
        refused(InvalidOption, lambda: backend.create_table("u", [{"id": 1}], deadline=-1))
        refused(InvalidOption, lambda: backend.create_table("u", [{"id": 1}], deadline=0))
        assert not backend.table_exists("u")
