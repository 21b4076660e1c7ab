"""``pennon.aio.open``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pennon.aio._bridge import MAX_CONCURRENCY, Bridge
from pennon.aio.backend import AsyncStorageBackend
from pennon.namespaces.abc import Namespace
from pennon.storage.consistency import Consistency
from pennon.storage.open import open as open_backend
from pennon.uri import Uri

if TYPE_CHECKING:
    from pennon.namespaces.session import Session

__all__ = ["open"]


def open(
    target: Namespace | str | os.PathLike[str] | Uri | Any,
    *,
    storage_options: Mapping[str, object] | None = None,
    session: Session | None = None,
    consistency: Consistency | None = None,
    max_concurrency: int = MAX_CONCURRENCY,
) -> AsyncStorageBackend:
    """Return the async twin of what :func:`pennon.open` returns. Needs no event loop yet.

    >>> async with pennon.aio.open("./lake") as db:
    ...     await db.count_rows("docs")

    Args:
        target: See :func:`pennon.open`, as for the next three.
        storage_options: Credentials, endpoint and so on.
        session: Clients and caches to share.
        consistency: How old what is read may be.
        max_concurrency: Calls at a time, each in a thread of its own; more wait for their turn.

    Raises:
        InvalidURI: Nothing that tables can be kept in.
        InvalidOption: Options that do not fit the target, or less than one call at a time.
        Unsupported: ``db://``, a database of LanceDB Cloud.
        MissingExtra: A REST server needs ``pennon[rest]``.
    """
    bridge = Bridge(max_concurrency)
    backend = open_backend(
        target, storage_options=storage_options, session=session, consistency=consistency
    )
    return AsyncStorageBackend(backend, bridge)
