"""Files in the directory of a table."""

from __future__ import annotations

from typing import Any

import lance

from pennon.config import parse_options
from pennon.objects import open_store
from pennon.uri import parse_uri


def segments_left(handle: lance.LanceDataset, options: dict[str, str] | None = None) -> set[str]:
    """The directories with files of index segments that no version names."""
    named: set[str] = set()
    for ref in handle.version_refs():
        version: Any = lance.dataset(handle.uri, version=ref["version"], storage_options=options)
        named |= {str(s.uuid) for d in version.describe_indices() for s in d.segments}
    uri = parse_uri(handle.uri)
    store = open_store(uri, parse_options(uri, options))
    return {m.key.split("/")[1] for m in store.list("_indices")} - named
