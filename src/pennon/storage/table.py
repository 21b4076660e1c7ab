"""A table to hold in the hand: its id, branch and version bound, every method of the contract."""

from __future__ import annotations

from datetime import datetime

from pennon.errors import InvalidOption
from pennon.storage._table import TableMethods
from pennon.storage.refs import Ref

__all__ = ["Table"]


class Table(TableMethods):
    """A table of a backend: ``backend.table("docs")``.

    Every method of the backend that takes a table is here without its id, its branch and its
    version. A small value: making one asks nothing of the store, and two are equal if they name
    the same state of the same table.

    >>> docs = db.table("docs")
    >>> docs.write([{"id": 1, "title": "first"}]).rows_inserted
    1
    >>> docs.on("draft")
    <pennon table docs (draft)>
    """

    __slots__ = ()

    def on(self, branch: str) -> Table:
        """Return the same table at a branch, at its newest version whenever it is asked.

        Raises:
            InvalidName: A name no branch can have.
        """
        return Table(self.backend, self.id, Ref(branch=branch))

    def at(
        self,
        *,
        version: int | None = None,
        tag: str | None = None,
        as_of: datetime | None = None,
    ) -> Table:
        """Return the same table fixed to one state, which can be read but not changed.

        Args:
            version: A version of the branch.
            tag: A tag, which names its own branch and version.
            as_of: The newest version of the branch at that time.

        Raises:
            InvalidOption: Not exactly one of them.
        """
        if (version, tag, as_of).count(None) != 2:  # noqa: PLR2004
            raise InvalidOption("at() takes one of version=, tag= and as_of=; on() the newest.")
        if tag is not None:
            return Table(self.backend, self.id, Ref(tag=tag))
        return Table(self.backend, self.id, Ref(branch=self.branch, version=version, as_of=as_of))

    def __len__(self) -> int:
        """Return the number of rows; asks the store."""
        return self.count_rows()

    def __bool__(self) -> bool:
        """A table is something, also without rows, and asking so costs nothing."""
        return True

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Hand the rows to any Arrow tool, as in ``polars.DataFrame(table)``: a scan of them all.

        Source: the Arrow PyCapsule interface.
        """
        return self.scan().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"<pennon table {self}>"

    def _repr_html_(self) -> str:
        from pennon.storage._table.html import table_card

        return table_card(self).html()
