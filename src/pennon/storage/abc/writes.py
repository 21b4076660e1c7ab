"""Contract: changing rows."""

from __future__ import annotations

import abc
from typing import Any, Literal

from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt

__all__ = ["Writes"]


class Writes(abc.ABC):
    """Changing the rows of a table; each call is one commit."""

    @abc.abstractmethod
    def write(
        self,
        table: IdLike,
        data: Any,
        *,
        mode: Literal["append"] = "append",
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Append rows to a table. Appending nothing commits nothing.

        Args:
            table: Its id.
            data: The rows.
            mode: ``"append"``.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt and writes nothing.

        Raises:
            TableNotFound: No table has the id, or it is only declared.
            SchemaMismatch: The rows do not fit the table.
            CommitConflict: Rivals won again and again; nothing was written.
            OutcomeUnknown: The fate of the write could not be settled; repeat with its write id.
        """
