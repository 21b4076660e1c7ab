"""Contract: the life of tables."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any

from pennon.namespaces.abc import IdLike
from pennon.storage.abc.types import CommitReceipt

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TableLifecycle"]


class TableLifecycle(abc.ABC):
    """Making, finding, renaming and dropping tables."""

    @abc.abstractmethod
    def create_table(
        self,
        table: IdLike,
        data: Any = None,
        *,
        schema: pa.Schema | None = None,
        properties: dict[str, str] | None = None,
        write_id: str | None = None,
    ) -> CommitReceipt:
        """Create a table with these rows. Of N racing creators exactly one succeeds.

        A table that was declared but never written is adopted, by exactly one creator.

        Args:
            table: Its id; the namespace must exist.
            data: The rows; may be left out when ``schema`` is given.
            schema: The columns; those of the data if None.
            properties: Strings the catalog keeps with the table.
            write_id: Identity of this write: repeating the call with the same one returns the
                first receipt.

        Raises:
            TableAlreadyExists: The name is taken; nothing of this call remains.
            NamespaceNotFound: The namespace does not exist.
            InvalidInput: Neither data nor schema, or data no Arrow stream can be made of.
            SchemaMismatch: The data do not fit ``schema``.
        """
