"""Searches, explain and analyze, on Lance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pennon.namespaces.abc import IdLike
from pennon.storage._lance.read_methods import LanceReads
from pennon.storage.abc.search_types import Search
from pennon.storage.abc.searches import Searches
from pennon.storage.abc.types import ScanRequest

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["LanceSearches"]


class LanceSearches(LanceReads, Searches):
    """Searches, explain and analyze, on Lance."""

    def explain(self, request: ScanRequest | Search | IdLike) -> str:
        """Tell how a request would be answered; see :meth:`StorageBackend.explain`."""
        return self._explained(request, run=False)

    def analyze(self, request: ScanRequest | Search | IdLike) -> str:
        """Run a request and tell how it was answered; see :meth:`StorageBackend.analyze`."""
        return self._explained(request, run=True)

    def _explained(self, request: ScanRequest | Search | IdLike, *, run: bool) -> str:
        from pennon.storage._lance.explain import explained
        from pennon.storage._lance.searches import Searcher

        asked = request if isinstance(request, (ScanRequest, Search)) else ScanRequest(request)
        rows = Searcher.over(self._rows(asked.table, asked.ref))
        return explained(rows, asked, run=run)

    def _search(self, request: Search) -> pa.Table:
        from pennon.storage._lance.searches import Searcher

        return Searcher.over(self._rows(request.table, request.ref)).search(request)
