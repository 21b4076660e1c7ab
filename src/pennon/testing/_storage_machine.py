"""What the state machine of storage backends is made of: rows, conditions, both sides."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from pennon.errors import OutcomeUnknown, PennonError
from pennon.expr import Expr, col
from pennon.storage.abc import CommitReceipt, StorageBackend
from pennon.storage.memory import MemoryBackend

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COLUMNS",
    "Known",
    "MachineBase",
    "Row",
    "counts",
    "filters",
    "outcome",
    "rows_of",
    "sorted_rows",
]

Row = dict[str, Any]

COLUMNS = ("id", "n", "s")


def rows_of(*, at_most: int = 5) -> st.SearchStrategy[list[Row]]:
    """Few rows, whose ids often meet."""
    row = st.fixed_dictionaries(
        {
            "id": st.integers(0, 6),
            "n": st.none() | st.integers(-2, 3),
            "s": st.sampled_from((None, "", "x", "é'`\"%")),
        }
    )
    return st.lists(row, max_size=at_most)


def filters() -> st.SearchStrategy[Expr]:
    """Conditions over such rows, with every kind of NULL in them."""
    leaf = st.one_of(
        st.builds(lambda v: col("id") < v, st.integers(0, 7)),
        st.builds(lambda v: col("n") == v, st.integers(-2, 3)),
        st.builds(lambda v: col("n") >= v, st.integers(-2, 3)),
        st.builds(lambda v: col("s") != v, st.sampled_from(("", "x", "é'`\"%"))),
        st.builds(lambda vs: col("id").is_in(vs), st.lists(st.integers(0, 6), max_size=3)),
        st.just(col("n").is_null()),
        st.just(col("s").is_not_null()),
    )
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.builds(lambda a, b: a & b, inner, inner),
            st.builds(lambda a, b: a | b, inner, inner),
            st.builds(lambda a: ~a, inner),
        ),
        max_leaves=4,
    )


@dataclass
class Known:
    """What the machine knows of a branch: its versions on both sides, by those of the model."""

    versions: dict[int, int] = field(default_factory=dict[int, int])

    def pick(self, which: int) -> tuple[int, int]:
        """Return one of the versions, on both sides; one that does not exist if there is none."""
        if not self.versions:
            return 999, 999
        both = sorted(self.versions.items())
        return both[which % len(both)]


def outcome(call: Callable[[], Any]) -> tuple[Any, PennonError | None]:
    try:
        return call(), None
    except PennonError as error:
        return None, error


def sorted_rows(table: pa.Table) -> list[Row]:
    return sorted(table.to_pylist(), key=repr)


def counts(of: Any) -> tuple[int | None, int | None, int | None]:
    return of.rows_inserted, of.rows_updated, of.rows_deleted


def shown(options: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        rows = getattr(value, "to_pylist", None)
        return repr(rows()) if rows is not None else "..." if callable(value) else repr(value)

    return ", ".join(f"{k}={text(v)}" for k, v in options.items())


class MachineBase(RuleBasedStateMachine):
    """Two backends on the same tables, the reference, and how they are compared."""

    subject: StorageBackend
    """The first backend under test."""

    # -- hooks -------------------------------------------------------------------------------------

    def make_backend(self) -> StorageBackend:
        """Override: a fresh backend without tables."""
        raise NotImplementedError("Override make_backend() to open a fresh backend.")

    def reopen(self, backend: StorageBackend) -> StorageBackend:
        """Return a second backend on the same tables; by default the same one."""
        return backend

    def close(self) -> None:
        """Called at the end of every run: remove what :meth:`make_backend` made."""

    # -- both sides --------------------------------------------------------------------------------

    def __init__(self) -> None:
        super().__init__()
        self.model = MemoryBackend()
        self.subject = self.make_backend()
        self._backends = (self.subject, self.reopen(self.subject))
        self._known: dict[tuple[str, str], Known] = {}
        self._named: tuple[tuple[str, str, str], dict[str, Any]] | None = None
        """The last write that had an id."""

    def _branch(self, table: str, branch: str) -> Known:
        return self._known.setdefault((table, branch), Known())

    def _newest(self, table: str, branch: str) -> tuple[int, int]:
        """Return the newest version on both sides; upkeep may have made one on one side only."""
        both = (self.model, self.subject)
        found, error = outcome(lambda: [b.get_table_version(table, branch=branch) for b in both])
        return (999, 999) if error is not None else (found[0], found[1])

    def _both(
        self,
        via: int,
        call: Callable[[StorageBackend, bool], Any],
        what: str,
    ) -> tuple[Any, Any]:
        """Do it on both sides, and return what came back; (None, None) for an error.

        The call is told whether it is made on the model.
        """
        note(f"{what} through backend {via}")
        expected, error = outcome(lambda: call(self.model, True))  # noqa: FBT003
        actual, found = outcome(lambda: call(self._backends[via], False))  # noqa: FBT003
        assert type(found) is type(error), (
            f"{what}: the reference answers {error or expected!r}, the backend {found or actual!r}"
        )
        assert not isinstance(found, OutcomeUnknown)
        return expected, actual

    def _write(self, via: int, table: str, branch: str, what: str, /, **call: Any) -> None:
        """Call a writing method on both sides, and compare the receipts."""
        given = dict(call)

        def do(backend: StorageBackend, is_model: bool) -> Any:  # noqa: FBT001
            options = {k: v(is_model) if callable(v) else v for k, v in given.items()}
            return getattr(backend, what)(table, **options)

        expected, actual = self._both(via, do, f"{what}({table!r}, {shown(call)})")
        if expected is not None:
            self._same_receipt(table, branch, expected, actual)
            if call.get("write_id") is not None:
                self._named = (table, branch, what), call

    def _same_receipt(
        self, table: str, branch: str, expected: CommitReceipt, actual: CommitReceipt
    ) -> None:
        assert counts(actual) == counts(expected)
        assert (actual.table, actual.branch) == ((table,), branch)
        known = self._branch(table, branch).versions
        assert known.setdefault(expected.version, actual.version) == actual.version
        assert sorted(known.values()) == [v for _, v in sorted(known.items())]

    def _rows(self, rows: list[Row], *, nullable: bool = True) -> pa.Table:
        import pyarrow as pa

        fields = [
            pa.field("id", pa.int64(), nullable=nullable),
            pa.field("n", pa.int64()),
            pa.field("s", pa.string()),
        ]
        return pa.Table.from_pylist(rows, schema=pa.schema(fields))
