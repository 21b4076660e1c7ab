"""Objects in this process: the reference model of :class:`~pennon.objects.abc.ObjectStore`."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pennon.errors import ObjectAlreadyExists, ObjectNotFound, PreconditionFailed, Unsupported
from pennon.objects.abc import (
    Durability,
    ObjectMeta,
    ObjectStore,
    StoredObject,
    check_condition,
    check_key,
    check_range,
)
from pennon.retry import Deadline
from pennon.uri import Uri

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Object:
    data: bytes
    etag: str
    modified: datetime
    write_id: str

    def meta(self, key: str) -> ObjectMeta:
        return ObjectMeta(key, len(self.data), self.etag, self.modified)


@dataclass(slots=True)
class _Bucket:
    lock: threading.Lock = field(default_factory=threading.Lock)
    objects: dict[str, _Object] = field(default_factory=dict[str, _Object])
    clock: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


_buckets: dict[str, _Bucket] = {}
_guard = threading.Lock()


def _start_afresh() -> None:
    global _guard  # noqa: PLW0603 - the lock may have been held by a thread the child lacks
    _guard = threading.Lock()
    _buckets.clear()


os.register_at_fork(after_in_child=_start_afresh)


class MemoryStore(ObjectStore):
    """Objects in a dictionary, gone when the process ends.

    ``memory://name`` is the same bucket everywhere in one process. A forked child starts with
    empty buckets, and a store opened before the fork raises ``Unsupported`` there: two processes
    share no memory, and writes that the other one never sees would be lost.

    Args:
        uri: ``memory://name/path``.
    """

    def __init__(self, uri: Uri) -> None:
        self.uri = uri
        self._pid = os.getpid()
        self._root = f"{uri.path}/" if uri.path else ""
        with _guard:
            self._bucket = _buckets.setdefault(uri.bucket, _Bucket())

    def _enter(self, deadline: float | Deadline | None) -> _Bucket:
        if self._pid != os.getpid():
            raise Unsupported(
                f"{self.uri} belongs to the process it was opened in and this is a forked child; "
                "open a directory or a bucket to share data between processes."
            )
        Deadline.after(deadline, self.default_deadline).check(f"waiting for {self.uri}")
        return self._bucket

    def get(
        self,
        key: str,
        *,
        range: tuple[int, int] | None = None,
        deadline: float | Deadline | None = None,
    ) -> StoredObject:
        """Read one object; see :meth:`ObjectStore.get`."""
        check_key(key)
        check_range(range)
        bucket = self._enter(deadline)
        with bucket.lock:
            found = bucket.objects.get(self._root + key)
            if found is None:
                raise ObjectNotFound(f"{self.uri} holds no object {key!r}.", key=key)
            data = found.data if range is None else found.data[range[0] : range[1]]
            return StoredObject(found.meta(key), data)

    def head(self, key: str, *, deadline: float | Deadline | None = None) -> ObjectMeta | None:
        """Return what is known of an object; see :meth:`ObjectStore.head`."""
        check_key(key)
        bucket = self._enter(deadline)
        with bucket.lock:
            found = bucket.objects.get(self._root + key)
            return found.meta(key) if found else None

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        """Iterate over what was there when the iteration began; see :meth:`ObjectStore.list`."""
        check_key(prefix, allow_empty=True)
        bucket = self._enter(deadline)
        start = self._root + (f"{prefix}/" if prefix else "")
        after = start_after.encode()
        with bucket.lock:
            found = [
                entry.meta(name[len(self._root) :])
                for name, entry in bucket.objects.items()
                if name.startswith(start)
            ]
        return iter([meta for meta in found if meta.key.encode() > after])

    def list_directories(
        self, prefix: str = "", *, deadline: float | Deadline | None = None
    ) -> tuple[str, ...]:
        """Return the names of directories; see :meth:`ObjectStore.list_directories`."""
        skip = len(prefix) + 1 if prefix else 0
        rest = (meta.key[skip:] for meta in self.list(prefix, deadline=deadline))
        return tuple(sorted({key.split("/", 1)[0] for key in rest if "/" in key}))

    def delete(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        """Delete objects; see :meth:`ObjectStore.delete`."""
        for key in keys:
            check_key(key)
        bucket = self._enter(deadline)
        with bucket.lock:
            for key in keys:
                bucket.objects.pop(self._root + key, None)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        write_id: str | None = None,
        durability: Durability = "os",  # noqa: ARG002 - memory has no disk
        deadline: float | Deadline | None = None,
    ) -> ObjectMeta:
        """Write one object whole; see :meth:`ObjectStore.put`."""
        check_key(key)
        own = check_condition(if_absent=if_absent, if_match=if_match, write_id=write_id)
        bucket = self._enter(deadline)
        with bucket.lock:
            old = bucket.objects.get(self._root + key)
            if if_absent and old:
                if old.write_id == own:
                    return old.meta(key)
                raise ObjectAlreadyExists(f"{key!r} exists in {self.uri} already.", key=key)
            if if_match is not None and (old is None or old.etag != if_match):
                if old and old.write_id == own:
                    return old.meta(key)
                raise PreconditionFailed(
                    f"{key!r} in {self.uri} was changed or deleted meanwhile; read it again.",
                    key=key,
                )
            etag = f"m{next(bucket.clock)}"
            new = _Object(bytes(data), etag, datetime.now(UTC), own)
            bucket.objects[self._root + key] = new
            return new.meta(key)

    def __repr__(self) -> str:
        return f"MemoryStore({str(self.uri)!r})"
