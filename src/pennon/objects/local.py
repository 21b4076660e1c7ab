"""Objects as files of a local disk, in plain system calls: safe across forks and crashes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from pennon.errors import (
    ObjectAlreadyExists,
    ObjectNotFound,
    PennonError,
    PreconditionFailed,
)
from pennon.objects import _files
from pennon.objects.abc import (
    Durability,
    ObjectMeta,
    ObjectStore,
    StoredObject,
    check_condition,
    check_key,
    check_range,
)
from pennon.retry import Backoff, Deadline
from pennon.uri import Uri

__all__ = ["LocalStore"]

_AT_ONCE = 8
"""Files synced at the same time: the disk then writes its journal once for several."""


class LocalStore(ObjectStore):
    """One directory of a disk; every object is a file.

    A put writes a hidden file beside the object and then gives it its name: by a hard link for
    ``if_absent``, which fails if the name exists, else by a rename under a lock of the directory
    that other processes respect and that ends with its process. So no crash leaves a torn object.
    Hidden files of crashed writers are swept by listings an hour later.

    The root may be reached through symbolic links; below it they are never followed: listings skip
    them and everything else raises ``PermissionDenied``. Other than in a bucket, ``a`` and ``a/b``
    cannot both be objects.

    Args:
        uri: The directory. It is made by the first put; until then the root is empty.
    """

    def __init__(self, uri: Uri) -> None:
        self.uri = uri
        self._files = _files.Tree(uri.path)

    def __repr__(self) -> str:
        return f"LocalStore({str(self.uri)!r})"

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
        Deadline.after(deadline, self.default_deadline).check(f"waiting for {self.uri}")
        with _files.translated(self.uri.path, key):
            found = self._files.read(key, range)
        if found is None:
            raise ObjectNotFound(f"{self.uri} holds no object {key!r}.", key=key)
        return StoredObject(_meta(key, found[0]), found[1])

    def head(self, key: str, *, deadline: float | Deadline | None = None) -> ObjectMeta | None:
        """Return what is known of an object; see :meth:`ObjectStore.head`."""
        check_key(key)
        Deadline.after(deadline, self.default_deadline).check(f"waiting for {self.uri}")
        with _files.translated(self.uri.path, key):
            found = self._files.stat(key)
        return _meta(key, found) if found else None

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        """Iterate over all files below a directory; see :meth:`ObjectStore.list`."""
        check_key(prefix, allow_empty=True)
        return self._list(prefix, start_after, Deadline.after(deadline, self.default_deadline))

    def _list(self, prefix: str, start_after: str, end: Deadline) -> Iterator[ObjectMeta]:
        after = start_after.encode()
        with _files.translated(self.uri.path, prefix):
            for key, found in self._files.walk(prefix):
                end.check(f"listing {self.uri}")
                if key.encode() > after:
                    yield _meta(key, found)

    def list_directories(
        self, prefix: str = "", *, deadline: float | Deadline | None = None
    ) -> tuple[str, ...]:
        """Return the names of directories; see :meth:`ObjectStore.list_directories`."""
        check_key(prefix, allow_empty=True)
        end = Deadline.after(deadline, self.default_deadline)
        found: list[str] = []
        with _files.translated(self.uri.path, prefix):
            for name in self._files.directories(prefix):
                end.check(f"listing {self.uri}")
                found.append(name)
        return tuple(sorted(found))

    def delete(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        """Delete objects and the directories that become empty; see :meth:`ObjectStore.delete`."""
        for key in keys:
            check_key(key)
        end = Deadline.after(deadline, self.default_deadline)
        for key in keys:
            end.check(f"deleting {key!r} in {self.uri}")
            with _files.translated(self.uri.path, key):
                self._files.remove(key, end)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | Deadline | None = None,
    ) -> ObjectMeta:
        """Write one object whole; see :meth:`ObjectStore.put`."""
        check_key(key)
        check_condition(if_absent=if_absent, if_match=if_match, write_id=write_id)
        end = Deadline.after(deadline, self.default_deadline)
        draft = _files.Draft(bytes(data), write_id, sync=durability == "disk")
        with _files.translated(self.uri.path, key):
            # The directory may be pruned between finding and using it: then make it again.
            for _ in Backoff(attempts=100, cap=0.02).tries(end):
                end.check(f"writing {key!r} in {self.uri}")
                with contextlib.suppress(FileNotFoundError):
                    return self._put(key, draft, if_absent, if_match, end)
            return self._put(key, draft, if_absent, if_match, end)

    def sync(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        """Sync files and the directories that lead to them; see :meth:`ObjectStore.sync`."""
        end = Deadline.after(deadline, self.default_deadline)
        names: set[str] = set()
        for key in keys:
            check_key(key)
            steps = key.split("/")[:-1]
            names |= {"/".join(steps[:n]) for n in range(1, len(steps) + 1)}

        def one(key: str, *, directory: bool = False) -> None:
            end.check(f"syncing {key!r} in {self.uri}")
            try:
                with _files.translated(self.uri.path, key):
                    if not self._files.sync(key, directory=directory):
                        raise ObjectNotFound(f"{self.uri} holds no object {key!r}.", key=key)
            except PennonError as error:
                error.context.setdefault("key", key)
                raise

        def way(key: str) -> None:
            one(key, directory=True)

        with (
            ThreadPoolExecutor(_AT_ONCE) if len(keys) > _AT_ONCE else contextlib.nullcontext() as p
        ):
            side_by_side = map if p is None else p.map
            for _ in side_by_side(one, keys):
                pass
            for _ in side_by_side(way, sorted(names)):
                pass
        with _files.translated(self.uri.path, ""):
            self._files.sync_root()

    def _put(
        self,
        key: str,
        draft: _files.Draft,
        if_absent: bool,  # noqa: FBT001
        if_match: str | None,
        end: Deadline,
    ) -> ObjectMeta:
        with self._files.parent(key, make=True, sync=draft.sync) as (directory, name):
            if if_absent:
                done = draft.create(directory, name, end)
            else:
                done = draft.replace(directory, name, end, lambda old: _fits(old, if_match))
            if done is not None:
                return _meta(key, done)
            own = draft.is_own(directory, name)
        if own is not None:
            return _meta(key, own)
        if if_absent:
            raise ObjectAlreadyExists(f"{key!r} exists in {self.uri} already.", key=key)
        raise PreconditionFailed(
            f"{key!r} in {self.uri} was changed or deleted meanwhile; read it again.", key=key
        )


def _fits(old: os.stat_result | None, if_match: str | None) -> bool:
    return if_match is None or (old is not None and _etag(old) == if_match)


def _etag(found: os.stat_result) -> str:
    return f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"


def _meta(key: str, found: os.stat_result) -> ObjectMeta:
    modified = datetime.fromtimestamp(found.st_mtime, UTC)
    return ObjectMeta(key, found.st_size, _etag(found), modified)
