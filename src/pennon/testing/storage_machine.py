"""A state machine that compares any storage backend with the memory reference, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from pennon.expr import Expr
from pennon.storage.abc import ScanRequest, StorageBackend
from pennon.storage.merging import BySource, Matched, NotMatched
from pennon.testing._storage_machine import (
    COLUMNS,
    Known,
    MachineBase,
    Row,
    counts,
    filters,
    rows_of,
    sorted_rows,
)

__all__ = ["StorageMachine", "run_storage_machine"]

TABLES = ("a", "b")
BRANCHES = ("main", "main", "x", "y")
TAGS = ("t1", "t2")

_TABLE = st.sampled_from(TABLES)
_BRANCH = st.sampled_from(BRANCHES)
_VIA = st.integers(0, 1)
_WHICH = st.integers(0, 8)
_WRITE_ID = st.sampled_from((None, None, None, "w1", "w2"))


class StorageMachine(MachineBase):
    """Does the same to a backend and to the reference, and compares what comes back.

    Every step goes through one of two backends on the same tables, so that each sees what the
    other did. After each step all branches of all tables hold the same rows on both sides.

    Override :meth:`make_backend`, and where the default does not fit the other hooks.
    """

    # -- tables ------------------------------------------------------------------------------------

    @initialize(rows=rows_of(), key=st.booleans())
    def begin(self, rows: list[Row], key: bool) -> None:  # noqa: FBT001
        """Start with one table, so that the steps after it have something to do."""
        unique = list({row["id"]: row for row in rows}.values())
        self._create(0, "a", unique, key, "create", None)

    @rule(
        via=_VIA,
        table=_TABLE,
        rows=rows_of(),
        key=st.booleans(),
        mode=st.sampled_from(("create", "exist_ok")),
        write_id=_WRITE_ID,
    )
    def create_table(
        self,
        via: int,
        table: str,
        rows: list[Row],
        key: bool,  # noqa: FBT001
        mode: Literal["create", "exist_ok"],
        write_id: str | None,
    ) -> None:
        """Create a table, with a key or without."""
        self._create(via, table, rows, key, mode, write_id)

    def _create(
        self,
        via: int,
        table: str,
        rows: list[Row],
        key: bool,  # noqa: FBT001
        mode: str,
        write_id: str | None,
    ) -> None:
        self._write(
            via,
            table,
            "main",
            "create_table",
            data=self._rows(rows, nullable=not key),
            mode=mode,
            primary_key="id" if key else None,
            write_id=write_id,
        )

    @rule(via=_VIA, table=_TABLE, missing_ok=st.booleans(), force=st.booleans())
    def drop_table(
        self,
        via: int,
        table: str,
        missing_ok: bool,  # noqa: FBT001
        force: bool,  # noqa: FBT001
    ) -> None:
        """Drop a table; whoever creates it again starts anew."""
        self._both(
            via,
            lambda b, _: b.drop_table(table, missing_ok=missing_ok, force=force),
            f"drop_table({table!r}, missing_ok={missing_ok}, force={force})",
        )
        if not self.model.table_exists(table):
            self._known = {k: v for k, v in self._known.items() if k[0] != table}

    @rule(via=_VIA, old=_TABLE, new=_TABLE)
    def rename_table(self, via: int, old: str, new: str) -> None:
        """Rename a table; its branches, tags and versions go with it."""
        before = self.model.table_names()
        self._both(via, lambda b, _: b.rename_table(old, new), f"rename_table({old!r}, {new!r})")
        if before != self.model.table_names():
            self._known = {(new if t == old else t, b): v for (t, b), v in self._known.items()}

    # -- writes ------------------------------------------------------------------------------------

    @rule(
        via=_VIA,
        table=_TABLE,
        branch=_BRANCH,
        rows=rows_of(),
        check_keys=st.booleans(),
        write_id=_WRITE_ID,
    )
    def append(
        self,
        via: int,
        table: str,
        branch: str,
        rows: list[Row],
        check_keys: bool,  # noqa: FBT001
        write_id: str | None,
    ) -> None:
        """Append rows; with the keys of a keyed table checked or not."""
        self._write(
            via,
            table,
            branch,
            "write",
            data=self._rows(rows),
            check_keys=check_keys,
            branch=branch,
            write_id=write_id,
        )

    @rule(
        via=_VIA,
        table=_TABLE,
        branch=_BRANCH,
        rows=rows_of(),
        how=st.sampled_from(("overwrite", "replace", "stale", "truncate")),
        write_id=_WRITE_ID,
    )
    def replace(
        self, via: int, table: str, branch: str, rows: list[Row], how: str, write_id: str | None
    ) -> None:
        """Replace all rows, whatever the version, at the newest one, or at one before it."""
        common: dict[str, Any] = {"branch": branch, "write_id": write_id}
        if how == "overwrite":
            self._write(
                via, table, branch, "write", data=self._rows(rows), mode="overwrite", **common
            )
        elif how == "truncate":
            self._write(via, table, branch, "truncate", **common)
        else:
            # Which of two errors is raised is nobody's promise.
            rows = list({row["id"]: row for row in rows}.values()) if how == "stale" else rows
            versions = self._branch(table, branch).pick(0)
            newest = self._newest(table, branch)
            if how != "stale" or versions[0] == newest[0]:
                versions = newest
            self._write(
                via,
                table,
                branch,
                "replace_table_atomic",
                data=self._rows(rows),
                expected_version=lambda is_model: versions[not is_model],
                **common,
            )

    @rule(
        via=_VIA,
        table=_TABLE,
        branch=_BRANCH,
        rows=rows_of(),
        columns=st.sampled_from((COLUMNS, ("id", "n"), ("s", "id"))),
        rules=st.tuples(
            st.sampled_from(("update", "update", "update", "ignore", "fail", "delete")),
            st.sampled_from(("insert", "insert", "ignore")),
            st.sampled_from(("keep", "keep", "delete")),
        ),
        where=st.none() | filters(),
        write_id=_WRITE_ID,
    )
    def merge(
        self,
        via: int,
        table: str,
        branch: str,
        rows: list[Row],
        columns: tuple[str, ...],
        rules: tuple[Matched, NotMatched, BySource],
        where: Expr | None,
        write_id: str | None,
    ) -> None:
        """Merge rows by their id, all columns or some of them."""
        self._write(
            via,
            table,
            branch,
            "merge_insert",
            data=self._rows(rows).select(list(columns)),
            on="id",
            when_matched=rules[0],
            when_not_matched=rules[1],
            when_not_matched_by_source=rules[2],
            not_matched_by_source_if=where if rules[2] == "delete" else None,
            branch=branch,
            write_id=write_id,
        )

    @rule(
        via=_VIA,
        table=_TABLE,
        branch=_BRANCH,
        where=st.none() | filters(),
        value=st.sampled_from(("n + 1", "id", "CAST(NULL AS BIGINT)")),
        write_id=_WRITE_ID,
    )
    def update(
        self,
        via: int,
        table: str,
        branch: str,
        where: Expr | None,
        value: str,
        write_id: str | None,
    ) -> None:
        """Set a column of some rows."""
        self._write(
            via,
            table,
            branch,
            "update",
            values={"n": value},
            where=where,
            branch=branch,
            write_id=write_id,
        )

    @rule(via=_VIA, table=_TABLE, branch=_BRANCH, where=filters(), write_id=_WRITE_ID)
    def delete(self, via: int, table: str, branch: str, where: Expr, write_id: str | None) -> None:
        """Delete some rows."""
        self._write(
            via,
            table,
            branch,
            "delete_rows",
            where=where,
            all_rows=True,
            branch=branch,
            write_id=write_id,
        )

    @rule(via=_VIA, table=_TABLE, branch=_BRANCH, which=_WHICH, exact=st.booleans())
    def rollback(
        self,
        via: int,
        table: str,
        branch: str,
        which: int,
        exact: bool,  # noqa: FBT001
    ) -> None:
        """Return to an old version, of whatever it finds or of the newest one only."""
        there, newest = self._branch(table, branch).pick(which), self._newest(table, branch)
        self._write(
            via,
            table,
            branch,
            "rollback_table",
            version=lambda is_model: there[not is_model],
            expected=(lambda is_model: newest[not is_model]) if exact else None,
            branch=branch,
        )

    @rule(via=_VIA)
    def repeat(self, via: int) -> None:
        """Do the last write that had an id once more, from wherever."""
        if self._named is not None:
            where, call = self._named
            self._write(via, *where, **call)

    # -- indexes and upkeep ------------------------------------------------------------------------

    @rule(
        via=_VIA,
        table=_TABLE,
        branch=_BRANCH,
        column=st.sampled_from(COLUMNS),
        how=st.sampled_from(("btree", "bitmap", "replace", "drop", "update", "optimize")),
    )
    def upkeep(self, via: int, table: str, branch: str, column: str, how: str) -> None:
        """Build or drop an index, or tidy up: whatever is read must stay the same."""

        def do(backend: StorageBackend, _: bool) -> Any:  # noqa: FBT001
            if how == "drop":
                return backend.drop_index(table, f"{column}_btree", branch=branch).branch
            if how == "update":
                return sorted(i.name for i in backend.update_indexes(table, branch=branch))
            if how == "optimize":
                return backend.optimize_table(table, retain=None, branch=branch).branch
            made = backend.create_scalar_index(
                table,
                column,
                "btree" if how == "replace" else how,
                replace=how == "replace",
                branch=branch,
            )
            return made.name, made.columns, made.kind

        expected, actual = self._both(via, do, f"{how}({table!r}, {column!r}, branch={branch!r})")
        assert actual == expected

    @rule(via=_VIA, table=_TABLE, branch=_BRANCH, which=_WHICH)
    def indexes(self, via: int, table: str, branch: str, which: int) -> None:
        """List the indexes of a version: all of its rows are in them or known not to be."""
        versions = self._branch(table, branch).pick(which)

        def listed(backend: StorageBackend, is_model: bool) -> Any:  # noqa: FBT001
            options: dict[str, Any] = {"branch": branch, "version": versions[not is_model]}
            found = backend.list_indexes(table, **options)
            rows = backend.count_rows(table, **options)
            assert all(i.rows_indexed + i.rows_not_indexed == rows for i in found)
            return sorted((i.name, i.columns, i.kind) for i in found)

        expected, actual = self._both(via, listed, f"list_indexes({table!r}, {branch}, {versions})")
        assert actual == expected

    # -- branches and tags -------------------------------------------------------------------------

    @rule(via=_VIA, table=_TABLE, name=st.sampled_from("xy"), source=_BRANCH, which=_WHICH)
    def create_branch(self, via: int, table: str, name: str, source: str, which: int) -> None:
        """Make a branch of an old version or the newest one."""
        known = self._branch(table, source)
        start = known.pick(which)
        expected, actual = self._both(
            via,
            lambda b, is_model: b.create_branch(
                table, name, source=source, version=start[not is_model]
            ),
            f"create_branch({table!r}, {name!r}, source={source!r}, version={start})",
        )
        if expected is not None:
            assert (actual.name, actual.parent) == (expected.name, expected.parent)
            assert (expected.parent_version, actual.parent_version) == start
            self._known[table, name] = Known(dict([start]))

    @rule(via=_VIA, table=_TABLE, name=st.sampled_from("xy"), missing_ok=st.booleans())
    def delete_branch(self, via: int, table: str, name: str, missing_ok: bool) -> None:  # noqa: FBT001
        """Delete a branch; refused while something hangs on it."""
        self._both(
            via,
            lambda b, _: b.delete_branch(table, name, missing_ok=missing_ok),
            f"delete_branch({table!r}, {name!r}, missing_ok={missing_ok})",
        )
        if self.model.table_exists(table) and name not in {
            b.name for b in self.model.list_branches(table)
        }:
            self._known.pop((table, name), None)

    @rule(
        via=_VIA,
        table=_TABLE,
        tag=st.sampled_from(TAGS),
        branch=_BRANCH,
        which=_WHICH,
        how=st.sampled_from(("create_tag", "create_tag", "move_tag", "delete_tag")),
    )
    def tag(self, via: int, table: str, tag: str, branch: str, which: int, how: str) -> None:
        """Make, move or delete a tag."""
        versions = self._branch(table, branch).pick(which)

        def do(backend: StorageBackend, is_model: bool) -> Any:  # noqa: FBT001
            if how == "delete_tag":
                return backend.delete_tag(table, tag)
            return getattr(backend, how)(table, tag, branch=branch, version=versions[not is_model])

        self._both(via, do, f"{how}({table!r}, {tag!r}, branch={branch!r}, version={versions})")

    # -- reads -------------------------------------------------------------------------------------

    @rule(
        via=_VIA,
        table=_TABLE,
        branch=_BRANCH,
        which=_WHICH,
        old=st.booleans(),
        where=st.none() | filters(),
        columns=st.none() | st.sampled_from((["s", "id"], {"twice": "id * 2", "n": "n"})),
        page=st.none() | st.tuples(st.integers(0, 3), st.integers(0, 3)),
    )
    def read(
        self,
        via: int,
        table: str,
        branch: str,
        which: int,
        old: bool,  # noqa: FBT001
        where: Expr | None,
        columns: list[str] | dict[str, Expr | str] | None,
        page: tuple[int, int] | None,
    ) -> None:
        """Scan and count with everything that narrows, now or at an old version."""
        versions = self._branch(table, branch).pick(which) if old else (None, None)

        def scan(backend: StorageBackend, is_model: bool) -> Any:  # noqa: FBT001
            request = ScanRequest(
                table,
                columns=columns,
                filter=where,
                branch=branch,
                version=versions[not is_model],
                order_by=("id", "n", "s") if page else (),
                offset=page[0] if page else 0,
                limit=page[1] if page else None,
            )
            return sorted_rows(backend.scan(request).read_all()), backend.count_rows(
                table, where, branch=branch, version=versions[not is_model]
            )

        expected, actual = self._both(via, scan, f"scan({table!r}, {branch}, {versions}, {where})")
        assert actual == expected

    @rule(via=_VIA, table=_TABLE, tag=st.sampled_from(TAGS))
    def read_a_tag(self, via: int, table: str, tag: str) -> None:
        """Read what a tag names."""
        expected, actual = self._both(
            via,
            lambda b, _: sorted_rows(b.scan(ScanRequest(table, tag=tag)).read_all()),
            f"scan({table!r}, tag={tag!r})",
        )
        assert actual == expected

    @rule(via=_VIA, table=_TABLE, branch=_BRANCH, ids=st.lists(st.integers(0, 7), max_size=4))
    def take(self, via: int, table: str, branch: str, ids: list[int]) -> None:
        """Take rows by their key, in order."""
        expected, actual = self._both(
            via,
            lambda b, _: b.take(table, ids, branch=branch).to_pylist(),
            f"take({table!r}, {ids}, branch={branch!r})",
        )
        assert actual == expected

    @rule(via=_VIA, table=_TABLE, branch=_BRANCH)
    def history(self, via: int, table: str, branch: str) -> None:
        """Compare what the history says of every version the machine knows."""
        expected, actual = self._both(
            via, lambda b, _: b.versions(table, branch=branch), f"versions({table!r}, {branch!r})"
        )
        if expected is None:
            return
        known = self._branch(table, branch).versions
        by_number = {info.version: info for info in actual}
        for info in expected:
            if info.version in known:
                found = by_number[known[info.version]]
                assert (found.operation, found.write_ids != ()) == (
                    info.operation,
                    info.write_ids != (),
                )
                assert counts(found) == counts(info)

    # -- always ------------------------------------------------------------------------------------

    @invariant()
    def same_rows(self) -> None:
        """Both backends see the rows the reference has, on every branch of every table."""
        tables = self.model.table_names()
        for backend in dict.fromkeys(self._backends):
            assert backend.table_names() == tables
            for (table,) in tables:
                expected = sorted(b.name for b in self.model.list_branches(table))
                assert sorted(b.name for b in backend.list_branches(table)) == expected
                for branch in ("main", *expected):
                    request = ScanRequest(table, branch=branch)
                    assert sorted_rows(backend.scan(request).read_all()) == sorted_rows(
                        self.model.scan(request).read_all()
                    ), f"{table} on {branch}"

    def teardown(self) -> None:
        """Clean up."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            for backend in dict.fromkeys(self._backends):
                stack.callback(backend.close)


def run_storage_machine(
    factory: Callable[[], StorageBackend],
    settings: settings | None = None,
    *,
    machine: type[StorageMachine] = StorageMachine,
) -> None:
    """Run the state machine.

    Args:
        factory: Opens a fresh backend without tables at every call.
        settings: How many runs of how many steps; by default 25 of 30, without a deadline.
        machine: A subclass with hooks of your own; the factory replaces its ``make_backend``.

    Raises:
        AssertionError: The backend and the reference differ; the message ends with the shortest
            program found that shows it.
    """

    class Machine(machine):
        def make_backend(self) -> StorageBackend:
            return factory()

    Machine.__qualname__ = Machine.__name__ = machine.__name__
    run_state_machine_as_test(Machine, settings=settings or _default_settings())


def _default_settings() -> settings:
    return settings(
        max_examples=25,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
