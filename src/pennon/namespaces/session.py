"""The shared cache and connection pool of several namespaces and backends."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pennon.config import StoreOptions
from pennon.errors import InvalidOption, Unavailable, Unsupported
from pennon.objects import ObjectStore, open_store
from pennon.uri import Uri

__all__ = ["Session", "enter_lance"]

T = TypeVar("T")

_REACH_SECONDS = 3.0
_NO_WAY = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}
"""What a system says of a host that does not answer, often after just as many seconds."""
_lance_pid = 0
"""The process in which Lance's threads run; 0 before its first use."""


def enter_lance() -> None:
    """Note that Lance is used in this process; call before every use.

    Lance's threads do not survive a fork: a child that uses them crashes or hangs, not always but
    sooner or later.

    Raises:
        Unsupported: This is a forked child, and Lance was used before the fork.
    """
    global _lance_pid  # noqa: PLW0603 - one engine per process
    if _lance_pid not in {0, os.getpid()}:
        raise Unsupported(
            "Lance was used before this process was forked, and its threads stay in the parent; "
            "start processes with the 'spawn' or 'forkserver' method."
        )
    _lance_pid = os.getpid()


class Session:
    """Object-store clients and Lance's metadata and index caches, shared by who is given it.

    Namespaces connected without one get a session of their own. Caches are kept apart by
    credentials, so that one principal never reads what another one cached. A forked child starts
    with an empty session. Safe to use from many threads.

    Args:
        index_cache_bytes: Upper bound of Lance's index cache, per set of credentials.
        metadata_cache_bytes: Upper bound of Lance's metadata cache, per set of credentials.
    """

    def __init__(
        self, *, index_cache_bytes: int = 1 << 30, metadata_cache_bytes: int = 256 << 20
    ) -> None:
        if index_cache_bytes < 0 or metadata_cache_bytes < 0:
            raise InvalidOption("A cache size is a number of bytes, 0 or more.")
        self.index_cache_bytes = index_cache_bytes
        self.metadata_cache_bytes = metadata_cache_bytes
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._pool: dict[Hashable, Any] = {}
        self._reached: set[str] = set()

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the one object under ``key``, made by ``make`` on first use in this process."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            if key not in self._pool:
                self._pool[key] = make()
            return self._pool[key]

    def store(self, uri: Uri, options: StoreOptions) -> ObjectStore:
        """Return the shared client for a root."""
        return self.shared(("store", str(uri), options.principal), lambda: open_store(uri, options))

    def lance(self, options: StoreOptions) -> Any:
        """Return the shared ``lance.Session`` for these credentials; ask before every use.

        Raises:
            Unsupported: See :func:`enter_lance`.
            Unavailable: Nothing answers at the endpoint of the options.
        """
        enter_lance()
        self._reach(options)

        def make() -> Any:
            import lance

            return lance.Session(  # pyright: ignore[reportPrivateImportUsage]
                index_cache_size_bytes=self.index_cache_bytes,
                metadata_cache_size_bytes=self.metadata_cache_bytes,
            )

        return self.shared(("lance", options.principal), make)

    def _reach(self, options: StoreOptions) -> None:
        """Find out, once, whether the endpoint drops packets: Lance would wait 40 seconds.

        One that refuses connections is left to the layers below, which try again for a while.
        """
        from urllib.request import getproxies, proxy_bypass

        if self._pid != os.getpid():
            self._forget()
        given = getattr(options.provider, "endpoint", None) or getattr(
            options.provider, "base_url", None
        )
        if options.principal in self._reached or not given or options.client.proxy_url:
            return
        parts = urlsplit(given)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme in getproxies() and not proxy_bypass(host):
            return
        for last in (False, True):
            try:
                socket.create_connection((host, port), _REACH_SECONDS).close()
            except OSError as error:
                if not isinstance(error, TimeoutError) and error.errno not in _NO_WAY:
                    return
                if last:
                    raise Unavailable(
                        f"Nothing answers at {host}:{port}; check the endpoint and the network."
                    ) from None
                continue
            self._reached.add(options.principal)
            return

    def forget(self) -> None:
        """Drop what was read of catalogs, tables and indexes; the clients stay."""
        if self._pid != os.getpid():
            self._forget()
        with self._lock:
            self._pool = {
                key: kept
                for key, kept in self._pool.items()
                if isinstance(key, tuple) and key[0] == "store"
            }

    def close(self) -> None:
        """Drop all clients and caches; what still uses them keeps its own."""
        with self._lock:
            self._pool.clear()

    def __repr__(self) -> str:
        return (
            f"Session(index_cache_bytes={self.index_cache_bytes}, "
            f"metadata_cache_bytes={self.metadata_cache_bytes})"
        )
