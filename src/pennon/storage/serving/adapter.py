"""The operations of the specification, by their names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lance_namespace.errors import UnsupportedOperationError

from pennon.errors import ColumnNotFound, InvalidFilter
from pennon.namespaces.interop import LanceNamespaceAdapter
from pennon.storage.abc import StorageBackend
from pennon.storage.open import open as open_backend
from pennon.storage.serving import columns, indexes, metadata, queries, refs, rows, tables, versions
from pennon.storage.serving.refusals import REFUSALS

__all__ = ["OPERATIONS", "BackendAdapter"]

OPERATIONS: dict[str, Callable[..., Any]] = {
    operation.__name__: operation
    for part in (tables, rows, queries, indexes, columns, versions, refs, metadata)
    for operation in part.OPERATIONS
}
"""What can be answered, by name. Each takes a backend and a request, and those that bring rows
also an Arrow IPC stream."""


class BackendAdapter(LanceNamespaceAdapter):
    """What ``Namespace.to_lance()`` returns: a catalog and its tables for other Lance tools.

    Operations on names are answered by the catalog, as :class:`LanceNamespaceAdapter` says, and
    operations on data by the storage backend over it, with all it promises: a write is acknowledged
    once it was seen in the history, and what names a branch stays on that branch.

    Args:
        namespace: The catalog.
    """

    @functools.cached_property
    def _backend(self) -> StorageBackend:
        return open_backend(self._namespace)

    def _answer(self, operation: str, request: Any, data: bytes | None = None) -> Any:
        answer = OPERATIONS.get(operation)
        if answer is None:
            raise UnsupportedOperationError(f"{operation} is not possible: {REFUSALS[operation]}")
        with_data = (data,) if operation in rows.WITH_DATA else ()
        try:
            return answer(self._backend, request, *with_data)
        except InvalidFilter as error:
            # For the specification that is another error than a filter that makes no sense.
            if "No field named" in error.message:
                raise ColumnNotFound(error.message) from error
            raise
