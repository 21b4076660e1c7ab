"""Reading one state of a table: one handle, streams out, every error typed."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.errors import (
    ColumnNotFound,
    InvalidFilter,
    InvalidInput,
    PennonError,
    StorageError,
    did_you_mean,
)
from pennon.expr import Expr, closed, filter_sql
from pennon.namespaces.abc import Id
from pennon.storage._fitting import fitted
from pennon.storage._lance.errors import excerpt, is_lance_error, translate, translated
from pennon.storage._lance.ranges import Ranges
from pennon.storage._select import (
    check_columns,
    check_order,
    check_query,
    drawn,
    key_filter,
    picked,
)
from pennon.storage.abc.types import ROW_ID, ScanRequest

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Rows"]

_UNKNOWN = re.compile(r"No field named [\"'`]?(.+?)[\"'`]?\.(?: |$|,)")
_NO_TABLE = re.compile(r"table '[^']*' not found")
_FAILS = re.compile(r"Cast error|Divide by zero|overflow|Compute error|Query Execution error")
_MANY = 10_000
"""Row ids of one filter at most: its text is parsed."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one state of a table.

    Args:
        handle: It belongs to this alone.
        id: The table.
        name: The table for people.
        secrets: Values no message may show.
        guard: Entered around whatever reads, streams included: says what else an error may mean.
    """

    handle: lance.LanceDataset
    id: Id
    name: str
    secrets: tuple[str, ...] = ()
    guard: Callable[[], AbstractContextManager[None]] = nullcontext

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        with translated(self.name, self.secrets):
            return self.handle.schema

    def scan(self, request: ScanRequest) -> pa.RecordBatchReader:
        """Stream rows; see :meth:`StorageBackend.scan`."""
        options, computes = self.options(request), request.computed is not None
        with self.reading(computes=computes):
            if request.memory_budget is None:
                reader = self.handle.scanner(**options).to_reader()
            else:
                reader = self._in_ranges(request.memory_budget, request, options)
        hidden = options["with_row_id"] and not request.with_row_id
        return self._stream(reader, ROW_ID if hidden else None, computes=computes)

    def options(self, request: ScanRequest) -> dict[str, Any]:
        """Return a scan as Lance takes it, once its columns are known to exist."""
        from lance.dataset import ColumnOrdering

        schema, computed, names = self.schema, request.computed, request.names
        if computed is None:
            check_columns(names or (), schema, self.id)
        else:
            self.check_computed(computed)
        order = [name for name, _ in request.ordering]
        check_order(order, schema, self.id)
        # Lance panics when it is to put no rows in order.
        ordering = [] if request.limit == 0 else request.ordering
        # Without row ids Lance can neither order by what is not returned nor return only constants.
        hidden = computed is not None or (names is not None and not set(order) <= set(names))
        return {
            "columns": names if computed is None else _closed(computed),
            "filter": filter_sql(fitted(request.filter, schema)),
            "with_row_id": request.with_row_id or hidden,
            "batch_size": request.batch_size,
            "limit": request.limit,
            "offset": request.offset or None,
            "order_by": [
                ColumnOrdering(name, ascending=up, nulls_first=False) for name, up in ordering
            ]
            or None,
        }

    def _in_ranges(
        self, budget: int, request: ScanRequest, options: Mapping[str, Any]
    ) -> pa.RecordBatchReader:
        """Read up to the first batch, so that a budget too small for a row is refused at once."""
        import pyarrow as pa

        what = {k: v for k, v in options.items() if k not in ("limit", "offset", "order_by")}
        schema = self.handle.scanner(**what).projected_schema
        ranges = Ranges(handle=self.handle, budget=budget, name=self.name, **what)
        batches = ranges.read(request.limit, request.offset)
        first = list(itertools.islice(batches, 1))
        return pa.RecordBatchReader.from_batches(schema, itertools.chain(first, batches))

    def count(self, filter: Expr | str | None) -> int:
        """Count rows; see :meth:`StorageBackend.count_rows`."""
        with self.reading():
            return int(self.handle.count_rows(filter_sql(fitted(filter, self.schema))))

    def ids(self, filter: Expr | str | None = None) -> pa.ChunkedArray:
        """Return the row ids of those that satisfy a filter, in the order of the table."""
        request = ScanRequest(self.id, columns=[], filter=filter, with_row_id=True)
        return self.scan(request).read_all()[ROW_ID]

    def take_keys(self, keys: Sequence[Any], columns: Any) -> pa.Table:
        """Return the rows with these primary keys, in this order."""
        names, wanted, filter = key_filter(keys, self.schema, self.id)
        request = ScanRequest(self.id, columns=names, filter=filter, with_row_id=True)
        found = picked(self.scan(request).read_all(), names, wanted)
        return self.take_ids(found[ROW_ID].to_pylist(), columns)

    def take_ids(self, row_ids: Sequence[int], columns: Any) -> pa.Table:
        """Return the rows with these ids, in this order."""
        import pyarrow as pa

        found: list[pa.Table] = []
        ScanRequest(self.id, columns=columns)  # refuses what no scan returns
        for start in range(0, max(len(row_ids), 1), _MANY):
            some = ", ".join(str(i) for i in dict.fromkeys(row_ids[start : start + _MANY]))
            filter = f"{ROW_ID} IN ({some})" if some else "false"
            request = ScanRequest(self.id, columns=columns, filter=filter, with_row_id=True)
            found.append(self.scan(request).read_all())
        rows = picked(pa.concat_tables(found), [ROW_ID], [(i,) for i in row_ids])
        return rows.drop_columns([ROW_ID])

    def sample(self, n: int, seed: int | None, columns: Any) -> pa.Table:
        """Return rows at random; see :meth:`StorageBackend.sample`."""
        import pyarrow as pa

        ids = self.ids()
        chosen = ids.take(pa.array(drawn(n, len(ids), seed), pa.int64()))
        return self.take_ids(chosen.to_pylist(), columns)

    def sql(self, query: str) -> pa.RecordBatchReader:
        """Stream the answer to a query; see :meth:`StorageBackend.sql`."""
        check_query(query, self.id)
        with self._asking():
            reader = self.handle.sql(query).build().to_stream_reader()
        if not reader.schema.names:
            # SELECT INTO fills a table that only this query ever sees.
            raise InvalidInput(
                f"The query over {self.name} returns no columns; leave INTO out.", table=self.id
            )
        return self._stream(reader, None, asks=True)

    def _stream(
        self,
        reader: pa.RecordBatchReader,
        without: str | None,
        *,
        computes: bool = False,
        asks: bool = False,
    ) -> pa.RecordBatchReader:
        """Return the same stream with typed errors, and without one column."""
        import pyarrow as pa

        schema = reader.schema
        if without is not None:
            schema = schema.remove(schema.get_field_index(without))

        def batches() -> Iterator[pa.RecordBatch]:
            with self._asking() if asks else self.reading(computes=computes):
                for batch in reader:
                    yield batch if without is None else batch.drop_columns([without])

        return pa.RecordBatchReader.from_batches(schema, batches())

    def check_computed(self, computed: Mapping[str, str]) -> None:
        """Tell which of the computed columns cannot be understood, and why."""
        for name, text in computed.items():
            with self.guard():
                try:
                    _ = self.handle.scanner(
                        columns=_closed({name: text}), with_row_id=True
                    ).projected_schema
                except BaseException as error:
                    if not is_lance_error(error):
                        raise
                    ours = translate(error, self.name, self.secrets)
                    unknown = _UNKNOWN.search(str(error))
                    if unknown:
                        check_columns([unknown[1]], self.schema, self.id)
                    if unknown or isinstance(ours, InvalidFilter) or type(ours) is StorageError:
                        shown = text[1:-2] if text.endswith("\n)") else text  # as it was given
                        raise InvalidInput(
                            f"The column {name!r} cannot be computed from {shown!r} on "
                            f"{self.name}: {excerpt(error, self.secrets)}.",
                            table=self.id,
                        ) from None
                    raise ours from None

    @contextlib.contextmanager
    def reading(self, *, computes: bool = False) -> Generator[None]:
        """Type the errors of the block; what fails on a row is the filter, or a computed column."""
        with self.guard():
            try:
                yield
            except BaseException as error:
                if not is_lance_error(error):
                    raise
                ours = translate(error, self.name, self.secrets)
                unknown = _UNKNOWN.search(str(error))
                if unknown and isinstance(ours, InvalidFilter):
                    raise InvalidFilter(
                        f"The filter on {self.name} cannot be used: No field named {unknown[1]!r}; "
                        f"{did_you_mean(unknown[1], self.handle.schema.names)}",
                        table=self.id,
                    ) from None
                if type(ours) is not StorageError or not _FAILS.search(str(error)):
                    raise ours from None
                text = excerpt(error, self.secrets)
                if computes:
                    raise InvalidInput(
                        f"A computed column or the filter on {self.name} fails on a row: {text}.",
                        table=self.id,
                    ) from None
                raise InvalidFilter(
                    f"The filter on {self.name} fails on a row: {text}.", table=self.id
                ) from None

    @contextlib.contextmanager
    def computing(self, computed: Mapping[str, str]) -> Generator[None]:
        """Type the errors of a block that computes columns, and tell those from the filter's."""
        try:
            with self.reading(computes=True):
                yield
        except InvalidFilter:
            self.check_computed(computed)
            raise

    @contextlib.contextmanager
    def _asking(self) -> Generator[None]:
        """Type the errors of a block that runs a query."""
        with self.guard():
            try:
                yield
            except BaseException as error:
                if not is_lance_error(error):
                    raise
                ours: PennonError = translate(error, self.name, self.secrets)
                if isinstance(ours, (InvalidFilter, ColumnNotFound)) or type(ours) is StorageError:
                    hint = "; the table is called dataset" if _NO_TABLE.search(str(error)) else ""
                    raise InvalidInput(
                        f"The query over {self.name} cannot be answered: "
                        f"{excerpt(error, self.secrets)}{hint}.",
                        table=self.id,
                    ) from None
                raise ours from None


def _closed(computed: Mapping[str, str]) -> dict[str, str]:
    return {name: closed(text) for name, text in computed.items()}
