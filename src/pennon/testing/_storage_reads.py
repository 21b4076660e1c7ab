"""Conformance of reads: what a scan delivers, and of which state of the table."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    TableNotFound,
    TagNotFound,
    VersionNotFound,
)
from pennon.expr import col, lit
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.testing._storage_base import StorageCases
from pennon.testing._storage_branches import refused, three_versions

__all__ = ["ReadCases"]

NAN = float("nan")
MIXED: list[dict[str, Any]] = [
    {"id": 3, "name": "c", "x": 1.5},
    {"id": 1, "name": None, "x": NAN},
    {"id": 2, "name": "b", "x": None},
    {"id": None, "name": "a", "x": float("-inf")},
    {"id": 5, "name": "e", "x": -2.0},
]


class ReadCases(StorageCases):
    """Cases on reading, mixed into the suite."""

    def scanned(self, backend: StorageBackend, name: str, **options: Any) -> list[Any]:
        """Return one column of what a scan of ``t`` delivers."""
        return backend.scan(ScanRequest("t", **options)).read_all()[name].to_pylist()

    def test_order(self, backend: StorageBackend) -> None:
        backend.create_table("t", MIXED)
        assert self.scanned(backend, "id", order_by="id") == [1, 2, 3, 5, None]
        assert self.scanned(backend, "id", order_by=[("id", "desc")]) == [5, 3, 2, 1, None]
        assert self.scanned(backend, "name", order_by=["name"]) == ["a", "b", "c", "e", None]
        assert self.scanned(backend, "id", order_by=["x"]) == [None, 5, 3, 1, 2]
        assert self.scanned(backend, "id", order_by=[("x", "desc")]) == [1, 3, 5, None, 2]
        both: Any = [{"a": a, "b": b} for a, b in itertools.product([2, 1], [1, 2])]
        backend.create_table("u", both)
        request = ScanRequest("u", order_by=["a", ("b", "desc")])
        found = backend.scan(request).read_all().to_pylist()
        assert [(r["a"], r["b"]) for r in found] == [(1, 2), (1, 1), (2, 2), (2, 1)]

    def test_order_by_what_is_not_returned(self, backend: StorageBackend) -> None:
        backend.create_table("t", MIXED)
        for columns in (["name"], {"name": "name"}):
            request = ScanRequest("t", columns=columns, order_by="id", filter="id > 1", limit=2)
            found = backend.scan(request).read_all()
            assert found.schema.names == ["name"]
            assert found["name"].to_pylist() == ["b", "c"]

    def test_order_that_cannot_be(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1, "l": [1], "s": {"u": 1}}])
        for name in ("nothere", "ID", "s.u"):
            refused(ColumnNotFound, lambda n=name: self.scanned(backend, "id", order_by=n))
        for name in ("l", "s"):
            refused(InvalidOption, lambda n=name: self.scanned(backend, "id", order_by=n))

    def test_offset_and_limit(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": n} for n in range(5)])
        backend.write("t", [{"id": n} for n in range(5, 9)])
        huge = 2**63 - 1
        for offset, limit, wanted in (
            (0, 3, [0, 1, 2]),
            (4, 2, [4, 5]),
            (7, None, [7, 8]),
            (9, None, []),
            (huge, huge, []),
            (0, 0, []),
            (2, 0, []),
            (8, huge, [8]),
        ):
            assert self.scanned(backend, "id", offset=offset, limit=limit) == wanted
            ordered = self.scanned(backend, "id", offset=offset, limit=limit, order_by="id")
            assert ordered == wanted
        filtered = self.scanned(backend, "id", filter=col("id") % 2 == 1, offset=1, limit=2)
        assert filtered == [3, 5]

    def test_requests_out_of_range(self, backend: StorageBackend) -> None:
        backend.create_table("t", MIXED)
        wrong: list[Any] = [
            *({"limit": n} for n in (-1, 2**63, 1.5, "1", True)),
            *({"offset": n} for n in (-1, 2**63, None, "0", False)),
            *({"batch_size": n} for n in (0, -1, 2**63, 1.0)),
            {"columns": "id"},
            {"columns": []},
            {"columns": [""]},
            {"columns": [1]},
            {"columns": ["id", "id"]},
            {"columns": ["_rowid"]},
            {"columns": {"x": " "}},
            {"columns": {"x": None}},
            {"order_by": [("id", "down")]},
            {"order_by": [("id",)]},
            {"order_by": ["id", ("id", "desc")]},
            {"version": 0},
            {"version": 1, "tag": "v1"},
            {"as_of": datetime(2026, 1, 1)},  # noqa: DTZ001 - the point of the case
        ]
        for given in wrong:
            options: Any = given
            refused(InvalidOption, lambda o=options: backend.scan(ScanRequest("t", **o)))

    def test_batches_are_not_larger_than_asked(self, backend: StorageBackend) -> None:
        backend.create_table("t", {"id": list(range(2500))})
        kinds: list[dict[str, Any]] = [{}, {"order_by": "id"}, {"filter": "id >= 0"}]
        for options in kinds:
            batches = list(backend.scan(ScanRequest("t", batch_size=1000, **options)))
            assert max(b.num_rows for b in batches) <= 1000
            assert sum(b.num_rows for b in batches) == 2500

    def test_computed_columns(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", [{"id": 1, "name": "a"}, {"id": 2, "name": None}])
        columns = {"up": "upper(name)", "id": col("id") * 10, "one": "1", "ö `x`": lit("k")}
        found = backend.scan(ScanRequest("t", columns=columns, filter="id > 0")).read_all()
        assert found.schema.names == list(columns)
        assert found.to_pylist() == [
            {"up": "A", "id": 10, "one": 1, "ö `x`": "k"},
            {"up": None, "id": 20, "one": 1, "ö `x`": "k"},
        ]
        assert found.schema.field("id").type == pa.int64()
        constant = ScanRequest("t", columns={"one": "1"}, order_by=[("id", "desc")])
        assert backend.scan(constant).read_all().to_pylist() == [{"one": 1}] * 2

    def test_computed_columns_that_cannot_be(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1, "name": "a"}])
        for text in (
            "id +",
            "nothere",
            "f(id)",
            "sum(id)",
            "(SELECT 1)",
            "id; x",
            "id FROM t",
            "id, id",
        ):
            request = ScanRequest("t", columns={"x": text})
            with pytest.raises((InvalidInput, ColumnNotFound)) as caught:
                backend.scan(request).read_all()
            assert type(caught.value) in (InvalidInput, ColumnNotFound), text
        for text in ("CAST(name AS INT)", "1 / (id - 1)"):
            request = ScanRequest("t", columns={"x": text})
            refused(InvalidInput, lambda r=request: backend.scan(r).read_all())

    def test_expressions_filter(self, backend: StorageBackend) -> None:
        backend.create_table("t", MIXED)
        for filter, ids in (
            (col("id") > 2, [3, 5]),
            (col("name").is_in(["b", "it's"]), [2]),
            (~(col("id").is_in([None]) & col("id").is_in([0])), [3, 1, 2, 5]),
            (col("x").is_null() | (col("name") == "a"), [2, None]),
        ):
            assert self.scanned(backend, "id", filter=filter) == ids
            assert backend.count_rows("t", filter) == len(ids)
        refused(InvalidFilter, lambda: self.scanned(backend, "id", filter=col("a`b") > 1))
        for text in ("id > 1; x", "id > 1)", "id > 1 LIMIT 1", "id > 1, id"):
            refused(InvalidFilter, lambda t=text: backend.count_rows("t", t))
            refused(InvalidFilter, lambda t=text: self.scanned(backend, "id", filter=t))
        assert backend.count_rows("t", "id > 1 -- and more") == 3
        assert backend.count_rows("t", "name IS NULL OR name = ')'") == 1
        refused(InvalidFilter, lambda: backend.count_rows("t", "true) OR (id = 1"))
        refused(InvalidFilter, lambda: backend.count_rows("t", "CAST(name AS INT) = 1"))

    def test_row_ids(self, backend: StorageBackend) -> None:
        import pyarrow as pa

        backend.create_table("t", [{"id": n} for n in range(4)])
        backend.write("t", [{"id": 4}])
        found = backend.scan(ScanRequest("t", columns=["id"], with_row_id=True)).read_all()
        assert found.schema.names == ["id", "_rowid"]
        assert found.schema.field("_rowid").type == pa.uint64()
        ids = dict(zip(found["id"].to_pylist(), found["_rowid"].to_pylist(), strict=True))
        assert len(set(ids.values())) == 5
        only = backend.scan(ScanRequest("t", columns=[], filter="id > 2", with_row_id=True))
        assert only.read_all().to_pydict() == {"_rowid": [ids[3], ids[4]]}
        taken = backend.take("t", row_ids=[ids[4], ids[0], 10**9, ids[4]])
        assert taken.to_pydict() == {"id": [4, 0, 4]}
        assert backend.take("t", row_ids=[]).schema == taken.schema
        assert backend.take("t", row_ids=[ids[2]], columns={"x": "id * 2"}).to_pydict() == {
            "x": [4]
        }

    def test_take_that_cannot_be(self, backend: StorageBackend) -> None:
        backend.create_table("t", [{"id": 1}])
        refused(InvalidInput, lambda: backend.take("t", [1]))
        refused(InvalidOption, lambda: backend.take("t"))
        refused(InvalidOption, lambda: backend.take("t", [1], row_ids=[1]))
        for wrong in (["1"], [-1], [1.0], [True], [2**64], "12"):
            ids: Any = wrong
            refused(InvalidOption, lambda i=ids: backend.take("t", row_ids=i))
        refused(ColumnNotFound, lambda: backend.take("t", row_ids=[0], columns=["x"]))

    def test_head_and_sample(self, backend: StorageBackend) -> None:
        backend.create_table("t", {"id": list(range(50)), "x": ["y"] * 50})
        assert backend.head("t").to_pydict()["id"] == [0, 1, 2, 3, 4]
        assert backend.head("t", 2, columns=["id"]).to_pydict() == {"id": [0, 1]}
        assert backend.head("t", 0).num_rows == 0
        once = backend.sample("t", 10, seed=7)
        assert once.schema.names == ["id", "x"]
        assert len(set(once["id"].to_pylist())) == 10
        assert backend.sample("t", 10, seed=7).equals(once)
        assert not backend.sample("t", 10, seed=8).equals(once)
        assert sorted(backend.sample("t", 99)["id"].to_pylist()) == list(range(50))
        draws = [backend.sample("t", 10, columns=["id"])["id"].to_pylist() for _ in range(40)]
        seen = set(itertools.chain.from_iterable(draws))
        assert len(seen) > 45
        for n in (-1, 1.5, True, None):
            wrong: Any = n
            refused(InvalidOption, lambda w=wrong: backend.sample("t", w))

    def test_sql(self, backend: StorageBackend) -> None:
        backend.create_table("t", MIXED)
        query = 'SELECT count(*) AS n, max("id") AS top FROM dataset WHERE x IS NOT NULL'
        assert backend.sql("t", query).read_all().to_pylist() == [{"n": 4, "top": 5}]
        joined = "WITH a AS (SELECT id FROM dataset) SELECT id FROM a JOIN dataset USING (id)"
        assert backend.sql("t", f"{joined} ORDER BY id").read_all()["id"].to_pylist() == [
            1,
            2,
            3,
            5,
        ]
        assert backend.sql("t", "(VALUES (1), (2))").read_all().num_rows == 2

    def test_sql_only_asks(self, backend: StorageBackend, tmp_path: Any) -> None:
        backend.create_table("t", [{"id": 1, "name": "a"}])
        secret, out = tmp_path / "secret.csv", tmp_path / "out.csv"
        secret.write_text("a\n1\n", "utf-8")
        for query in (
            "",
            " ",
            "SELECT",
            "SELECT nothere FROM dataset",
            "SELECT * FROM other",
            f"COPY (SELECT * FROM dataset) TO '{out}'",  # noqa: S608
            f"/* /* */ SELECT */ COPY (SELECT 1) TO '{out}'",
            f"-- SELECT\nCOPY (SELECT 1) TO '{out}'",
            f"SELECT 1; COPY (SELECT 1) TO '{out}'",
            f"SELECT * FROM '{secret}'",  # noqa: S608
            f'SELECT * FROM "{secret}"',  # noqa: S608
            f"SELECT * FROM read_csv('{secret}')",  # noqa: S608
            f"CREATE EXTERNAL TABLE q STORED AS CSV LOCATION '{secret}'",
            "WITH a AS (SELECT 1) INSERT INTO dataset SELECT 2, 'b'",
            "WITH a AS (SELECT 1) DELETE FROM dataset",
            "DELETE FROM dataset",
            "DROP TABLE dataset",
            "SET datafusion.execution.batch_size = 1",
            "SELECT CAST(name AS INT) FROM dataset",
        ):
            refused(InvalidInput, lambda q=query: backend.sql("t", q).read_all())
        assert not out.exists()
        assert backend.count_rows("t") == 1

    def test_reads_of_an_older_version(self, backend: StorageBackend) -> None:
        three_versions(backend)
        for version in (1, 2, 3):
            wanted = list(range(1, version + 1))
            assert self.scanned(backend, "id", version=version) == wanted
            assert backend.count_rows("t", version=version) == version
            assert backend.count_rows("t", "id > 1", version=version) == version - 1
            assert backend.head("t", version=version).to_pydict() == {"id": wanted}
            assert backend.sample("t", 9, version=version).to_pydict() == {"id": wanted}
            counted = backend.sql("t", "SELECT count(*) AS n FROM dataset", version=version)
            assert counted.read_all().to_pydict() == {"n": [version]}
            last = backend.scan(ScanRequest("t", version=version, with_row_id=True)).read_all()
            ids = last["_rowid"].to_pylist()[-1:]
            assert backend.take("t", row_ids=ids, version=version).to_pydict() == {
                "id": wanted[-1:]
            }
        for version in (4, 10**12):
            error = refused(VersionNotFound, lambda v=version: backend.count_rows("t", version=v))
            assert "t" in error

    def test_reads_of_an_earlier_time(self, backend: StorageBackend) -> None:
        before = datetime.now(UTC) - timedelta(seconds=5)
        receipts = [backend.create_table("t", [{"id": 0}])]
        between: list[datetime] = []
        for n in range(1, 6):
            between.append(datetime.now(UTC))
            receipts.append(backend.write("t", [{"id": n}]))
        for n, time in enumerate(between):
            assert backend.count_rows("t", as_of=time) == n + 1
            zone = timedelta(hours=5, minutes=30)
            there = time.astimezone(timezone(zone))
            assert self.scanned(backend, "id", as_of=there) == list(range(n + 1))
        assert backend.count_rows("t", as_of=datetime.now(UTC) + timedelta(days=1)) == 6
        refused(VersionNotFound, lambda: backend.count_rows("t", as_of=before))

    def test_reads_of_branches(self, backend: StorageBackend) -> None:
        three_versions(backend)
        backend.create_branch("t", "dev", version=2)
        backend.write("t", [{"id": 4}])
        assert self.scanned(backend, "id", branch="dev") == [1, 2]
        assert backend.count_rows("t", branch="dev") == 2
        assert self.scanned(backend, "id", branch="dev", version=2) == [1, 2]
        refused(VersionNotFound, lambda: backend.count_rows("t", branch="dev", version=4))
        refused(BranchNotFound, lambda: backend.count_rows("t", branch="nope"))
        refused(BranchNotFound, lambda: backend.count_rows("t", branch="nope", version=1))
        refused(TagNotFound, lambda: backend.count_rows("t", tag="nope"))
        refused(InvalidOption, lambda: backend.count_rows("t", branch="dev", tag="x"))
        refused(TableNotFound, lambda: backend.count_rows("u", branch="dev"))
        refused(TableNotFound, lambda: backend.count_rows("u", tag="x"))
        refused(TableNotFound, lambda: backend.count_rows("u", version=3))
