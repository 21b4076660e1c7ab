"""Reading within a memory budget: one range of rows after the other, sized by what came before.

A scan of Lance reads ahead by pages of each column, whatever the size of its batches, and holds all
that a batch needs; no option of it bounds that. A scan of a few rows of one fragment, however,
reads no more than these rows need. It costs a fraction of a millisecond, so that many of them are
as fast as one stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidOption

if TYPE_CHECKING:
    import lance
    import pyarrow as pa

__all__ = ["Ranges"]

_PARTS = 16
"""What part of a budget the rows of a range may be: Lance holds them several times, as they are on
disk, decoded and as batches, and the allocator keeps some of what it is given back."""
_GROWTH = 4
"""How many times more rows than the one before a range may have."""
_PACKED = 4
"""How many times larger than on disk a row is taken to be, where it was not seen."""
_BATCHES = 4
"""Batches of a range at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """The rows of a table, in its order, read within a budget.

    Args:
        handle: The state to read.
        budget: Bytes.
        name: The table for people.
        columns: What of a row to return, as ``LanceDataset.scanner`` takes it.
        with_row_id: Whether to return its id as well.
        filter: SQL; None for all rows.
        batch_size: Rows of a batch at most; None for what is fast.
    """

    handle: lance.LanceDataset
    budget: int
    name: str
    columns: Any
    with_row_id: bool
    filter: str | None
    batch_size: int | None

    @property
    def _share(self) -> int:
        """Bytes of a range."""
        return self.budget // _PARTS

    def read(self, limit: int | None, offset: int) -> Iterator[pa.RecordBatch]:
        """Read all rows but the first ``offset``, and ``limit`` of them at most.

        Raises:
            InvalidOption: A row is too large for the budget.
        """
        left, rows = limit, 1
        for fragment in self.handle.get_fragments():
            total, start = int(fragment.count_rows()), 0
            if self.filter is None:
                start, offset = min(offset, total), max(0, offset - total)
            most = total if self.filter is None else self._unseen(fragment.metadata)
            while start < total and left != 0:
                many = min(rows, most, total - start)
                seen = size = 0
                for batch in self._range(fragment, start, many):
                    seen, size = seen + batch.num_rows, size + batch.nbytes
                    kept = batch.slice(offset, left)
                    offset = max(0, offset - batch.num_rows)
                    left = None if left is None else left - kept.num_rows
                    if kept.num_rows:
                        yield kept
                start += many
                fit = self._share * seen // size if size else rows * _GROWTH
                rows = max(1, min(rows * _GROWTH, fit))

    def _range(
        self, fragment: lance.LanceFragment, start: int, many: int
    ) -> Iterator[pa.RecordBatch]:
        from lance.dataset import serialize_row_addrs

        common: dict[str, Any] = {
            "fragments": [fragment],
            "batch_readahead": 1,
            "fragment_readahead": 1,
        }
        where: dict[str, Any] = {"offset": start or None, "limit": many}
        if self.filter is not None:
            # With a filter the offset and the limit of Lance are those of rows that satisfy it.
            found = self.handle.scanner(columns=[], with_row_id=True, **where, **common).to_table()
            allowed = serialize_row_addrs(found["_rowid"].to_pylist())
            where = {"filter": self.filter, "row_addr_allowlist": allowed}
        size = max(1, many // _BATCHES)
        batches = self.handle.scanner(
            columns=self.columns,
            with_row_id=self.with_row_id,
            batch_size=size if self.batch_size is None else min(size, self.batch_size),
            **where,
            **common,
        ).to_reader()
        for batch in batches:
            if batch.num_rows == 1 and batch.nbytes > self._share:
                raise InvalidOption(
                    f"A row of {self.name} has {batch.nbytes:,} bytes, too much for "
                    f"memory_budget={self.budget}; make it {batch.nbytes * _PARTS}, or leave out "
                    "columns."
                )
            yield batch

    def _unseen(self, fragment: Any) -> int:
        """Return how many rows of a fragment a filter may look at, whatever columns it reads."""
        sizes = [f.file_size_bytes for f in fragment.files]
        if None in sizes or not fragment.physical_rows:
            return 1
        width = max(1, sum(sizes) // fragment.physical_rows)
        return max(1, self._share // (_PACKED * width))
