"""Files below one directory, reached step by step so that no symbolic link leads out of it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

from pennon.errors import (
    InvalidName,
    InvalidURI,
    PennonError,
    PermissionDenied,
    StorageError,
    Unavailable,
    Unsupported,
)
from pennon.objects.abc import HIDDEN
from pennon.retry import Deadline

__all__ = ["Draft", "Tree", "error_of", "translated"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_INSIDE = _DIRECTORY | os.O_NOFOLLOW
_TEMPORARY = HIDDEN + "tmp-"
_IDENTITY = HIDDEN + "id-"
_LOCK = HIDDEN + "lock"
_OLD = 3600.0
_ATTRIBUTE = "user.pennon.write"
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
_NO_ATTRIBUTES = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODATA, errno.E2BIG}
_ABSENT = {errno.ENOENT, errno.ENOTDIR}


@contextmanager
def translated(root: str, key: str) -> Generator[None]:
    """Turn every ``OSError`` of the body into one of pennon's errors."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PennonError):
            raise
        raise error_of(error, root, key) from error


def error_of(error: OSError, root: str, key: str) -> PennonError:
    """Return what an operating-system error means for an object."""
    what = f"{key!r} in {root}" if key else root
    number = error.errno or 0
    said = os.strerror(number) if number else str(error)
    if number == errno.ELOOP:
        return PermissionDenied(
            f"A symbolic link on the way to {what} could lead outside the root and is not "
            "followed; replace it by what it points to."
        )
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return PermissionDenied(f"The system denies access to {what} ({said}); check its mode.")
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return StorageError(f"No space is left to write {what} ({said}); free some, then retry.")
    if number == errno.ENAMETOOLONG:
        return InvalidName(f"{what} has a step that is too long for the file system; shorten it.")
    if number in {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY}:
        return InvalidName(
            f"{what} cannot be an object: a file stands where a directory is needed, or a "
            "directory where the object should be; choose another name."
        )
    if number in {errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.ENOMEM}:
        return Unavailable(f"The system is out of resources for {what} ({said}); try later.")
    return StorageError(f"The file system failed on {what}: {said}; check the disk.")


class Tree:
    """The files below a root.

    Args:
        root: Absolute path; may itself be reached through symbolic links.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._root_synced = False

    @contextmanager
    def directory(self, steps: list[str], *, make: bool, sync: bool) -> Generator[int]:
        """Open a directory below the root.

        Raises:
            OSError: ``ENOENT`` if it is missing and not to be made, ``ELOOP`` for a symbolic link.
        """
        fd = self._open_root(make=make, sync=sync)
        try:
            for step in steps:
                below = _open_step(fd, step, make=make, sync=sync)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def parent(
        self, key: str, *, make: bool = False, sync: bool = False
    ) -> Generator[tuple[int, str]]:
        """Open the directory of an object; yield it with the name of the object in it."""
        *steps, name = key.split("/")
        with self.directory(steps, make=make, sync=sync) as fd:
            yield fd, name

    def _open_root(self, *, make: bool, sync: bool) -> int:
        try:
            fd = os.open(self.root, _DIRECTORY)
        except FileNotFoundError:
            if not make:
                raise
            os.makedirs(self.root, exist_ok=True)  # noqa: PTH103
            fd = os.open(self.root, _DIRECTORY)
        except NotADirectoryError:
            raise InvalidURI(f"{self.root} is no directory; a root is one.") from None
        if sync and not self._root_synced:
            _sync_above(self.root)
            self._root_synced = True
        return fd

    def stat(self, key: str) -> os.stat_result | None:
        """Return the status of a file, or None if there is none."""
        with _absent_is_none(), self.parent(key) as (fd, name):
            return _regular(os.stat(name, dir_fd=fd, follow_symlinks=False))
        return None

    def read(self, key: str, span: tuple[int, int] | None) -> tuple[os.stat_result, bytes] | None:
        """Return status and bytes of a file, or None if there is none."""
        with _absent_is_none(), self.parent(key) as (fd, name):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            with open(os.open(name, flags, dir_fd=fd), "rb", buffering=0) as file:  # noqa: PTH123
                found = _regular(os.fstat(file.fileno()))
                if found is None:
                    return None
                start, end = span or (0, found.st_size)
                file.seek(start)
                return found, _read(file.fileno(), max(0, min(end, found.st_size) - start))
        return None

    def sync(self, key: str, *, directory: bool) -> bool:
        """Sync a file or a directory, by whomever it was written; False if there is none."""
        with _absent_is_none(), self.parent(key) as (fd, name):
            flags = _INSIDE if directory else os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            found = os.open(name, flags | os.O_NONBLOCK, dir_fd=fd)
            try:
                _sync(found)
            finally:
                os.close(found)
            return True
        return False

    def sync_root(self) -> None:
        """Sync the root and all entries that lead to it, as far up as this user may."""
        fd = self._open_root(make=False, sync=False)
        try:
            _sync(fd)
        finally:
            os.close(fd)
        _sync_above(self.root)

    def walk(self, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
        """Iterate over all regular files below a directory; sweep old temporary files."""
        with _absent_is_none(), self.directory(_steps(prefix), make=False, sync=False) as fd:
            yield from _walk(fd, f"{prefix}/" if prefix else "")

    def directories(self, prefix: str) -> Iterator[str]:
        """Iterate over the names of the directories in a directory that hold a file somewhere."""
        with (
            _absent_is_none(),
            self.directory(_steps(prefix), make=False, sync=False) as fd,
            os.scandir(fd) as entries,
        ):
            for entry in entries:
                inside = entry.is_dir(follow_symlinks=False) and not _hidden(entry)
                if inside and _holds_file(fd, entry.name):
                    yield entry.name

    def remove(self, key: str, end: Deadline) -> None:
        """Delete a file if it is there, and directories that become empty."""
        with _absent_is_none(), self.parent(key) as (fd, name), locked(fd, end):
            if _regular(os.stat(name, dir_fd=fd, follow_symlinks=False)) is None:
                return
            os.unlink(name, dir_fd=fd)
        self._prune(key.split("/")[:-1])

    def _prune(self, steps: list[str]) -> None:
        for depth in range(len(steps), 0, -1):
            try:
                with self.directory(steps[: depth - 1], make=False, sync=False) as fd:
                    os.rmdir(steps[depth - 1], dir_fd=fd)
            except OSError:
                return


def _steps(prefix: str) -> list[str]:
    return prefix.split("/") if prefix else []


@contextmanager
def _absent_is_none() -> Generator[None]:
    """Leave the body when something on the way does not exist."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ABSENT:
            raise


def _regular(found: os.stat_result) -> os.stat_result | None:
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return found if stat.S_ISREG(found.st_mode) else None


def _open_step(fd: int, step: str, *, make: bool, sync: bool) -> int:
    try:
        below = _open_inside(fd, step)
    except FileNotFoundError:
        if not make:
            raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(step, dir_fd=fd)
        below = _open_inside(fd, step)
    if sync:  # also when it existed: who made it may not have synced its entry
        _sync(fd)
    return below


def _open_inside(fd: int, step: str) -> int:
    try:
        return os.open(step, _INSIDE, dir_fd=fd)
    except NotADirectoryError:
        # Linux answers ENOTDIR for a symbolic link opened as a directory.
        _regular(os.stat(step, dir_fd=fd, follow_symlinks=False))
        raise


def _sync_above(path: str) -> None:
    """Sync the entries that lead to a directory, as far up as this user may."""
    while path != os.path.dirname(path):  # noqa: PTH120
        path = os.path.dirname(path)  # noqa: PTH120
        with contextlib.suppress(PermissionError):
            fd = os.open(path, _DIRECTORY)
            try:
                _sync(fd)
            finally:
                os.close(fd)


def _read(fd: int, size: int) -> bytes:
    parts: list[bytes] = []
    while size > 0:
        part = os.read(fd, size)
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(HIDDEN)


def _holds_file(above: int, name: str) -> bool:
    with _absent_is_none():
        fd = os.open(name, _INSIDE, dir_fd=above)
        try:
            below: list[str] = []
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_file(follow_symlinks=False) and not _hidden(entry):
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        below.append(entry.name)
            return any(_holds_file(fd, inner) for inner in below)
        finally:
            os.close(fd)
    return False


def _walk(fd: int, base: str) -> Iterator[tuple[str, os.stat_result]]:
    below: list[str] = []
    files: list[tuple[str, os.stat_result]] = []
    with os.scandir(fd) as entries:
        for entry in entries:
            if _hidden(entry):
                _sweep(fd, entry.name)
            elif entry.is_dir(follow_symlinks=False):
                below.append(entry.name)
            elif entry.is_file(follow_symlinks=False):
                with _absent_is_none():
                    files.append((base + entry.name, os.stat(entry.name, dir_fd=fd)))
    yield from files
    for name in below:
        with _absent_is_none():
            inner = os.open(name, _INSIDE, dir_fd=fd)
            try:
                yield from _walk(inner, f"{base}{name}/")
            finally:
                os.close(inner)


def _sweep(fd: int, name: str) -> None:
    """Delete what a crashed writer left, if it is old and nobody needs it."""
    with contextlib.suppress(OSError):
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        needed = name == _LOCK or (name.startswith(_IDENTITY) and found.st_nlink > 1)
        if not needed and abs(time.time() - found.st_mtime) > _OLD:
            os.unlink(name, dir_fd=fd)


@contextmanager
def locked(directory: int, end: Deadline) -> Generator[None]:
    """Hold the lock of a directory against all threads and processes.

    The lock is on the directory itself; where the file system cannot do that (NFS), on a hidden
    file in it.

    Raises:
        DeadlineExceeded: Others held it until then.
        Unsupported: The file system has no locks.
    """
    fd = os.open(".", _DIRECTORY, dir_fd=directory)
    _held.add(fd)
    try:
        try:
            _flock(fd, end)
        except OSError as error:
            if error.errno not in {errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}:
                raise
            other = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666, dir_fd=directory)
            os.dup2(other, fd, inheritable=False)
            os.close(other)
            _flock(fd, end)
        yield
    finally:
        _held.discard(fd)
        with contextlib.suppress(OSError):
            # A child forked meanwhile has the descriptor too: closing alone would not unlock.
            fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)


_held: set[int] = set()


def _drop_locks() -> None:
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_drop_locks)


def _flock(fd: int, end: Deadline) -> None:
    pause = 0.0002
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            end.check("waiting for the lock of a directory")
            time.sleep(min(pause, end.remaining))
            pause = min(pause * 1.5, 0.01)
        except OSError as error:
            if error.errno in {errno.ENOSYS, errno.ENOLCK}:
                raise Unsupported(
                    "The file system has no locks; use a local disk or a bucket."
                ) from error
            raise
        else:
            return


class Draft:
    """Bytes on their way to a name.

    Args:
        data: What.
        write_id: Kept with the file if given, to know the write again.
        sync: Whether to sync file and directory.
    """

    def __init__(self, data: bytes, write_id: str | None, *, sync: bool) -> None:
        self.data = data
        self.sync = sync
        self.tag = write_id.encode() if write_id else b""

    def create(self, directory: int, name: str, end: Deadline) -> os.stat_result | None:
        """Give the bytes a name nobody has; None if somebody has it."""
        with self._temporary(directory) as temporary:
            found = self._fill(directory, temporary)
            try:
                os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
            except FileExistsError:
                if not _remove_empty(directory, name):
                    return None
                return self.create(directory, name, end)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_locked(directory, temporary, name, found, end)
        self._settle(directory)
        return found

    def _create_locked(
        self, directory: int, temporary: str, name: str, found: os.stat_result, end: Deadline
    ) -> os.stat_result | None:
        """Do the same where the file system has no hard links."""
        with locked(directory, end):
            if _status(directory, name) is not None:
                return None
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        self._settle(directory)
        return found

    def replace(
        self,
        directory: int,
        name: str,
        end: Deadline,
        fits: Callable[[os.stat_result | None], bool],
    ) -> os.stat_result | None:
        """Give the bytes a name if what has it ``fits``; None if it does not."""
        with self._temporary(directory) as temporary:
            found = self._fill(directory, temporary)
            with locked(directory, end):
                old = _status(directory, name)
                if not fits(old):
                    return None
                if old is not None and found.st_mtime_ns <= old.st_mtime_ns:
                    found = _stamp(directory, temporary, old.st_mtime_ns + 1)
                try:
                    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
                except IsADirectoryError:
                    if not _remove_empty(directory, name):
                        raise
                    os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        self._settle(directory)
        return found

    def is_own(self, directory: int, name: str) -> os.stat_result | None:
        """Return the status of the object if an earlier call with this write id wrote it."""
        found = _status(directory, name)
        if found is None or not self.tag:
            return None
        if not _signed(directory, name, found, self.tag):
            return None
        if self.sync:  # the earlier call may have died before it synced
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                _sync(fd)
            finally:
                os.close(fd)
            _sync(directory)
        return found

    @contextmanager
    def _temporary(self, directory: int) -> Generator[str]:
        name = f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield name
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)

    def _fill(self, directory: int, temporary: str) -> os.stat_result:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o666, dir_fd=directory)
        try:
            rest = memoryview(self.data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if self.tag:
                _sign(directory, temporary, fd, self.tag)
            # The kernel's own stamps are some milliseconds coarse; etags need the full clock.
            now = time.time_ns()
            os.utime(fd, ns=(now, now))
            if self.sync:
                _sync(fd)
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _settle(self, directory: int) -> None:
        if self.sync:
            _sync(directory)


def _stamp(directory: int, name: str, at: int) -> os.stat_result:
    os.utime(name, ns=(at, at), dir_fd=directory)
    return os.stat(name, dir_fd=directory)


def _status(directory: int, name: str) -> os.stat_result | None:
    try:
        return _regular(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return None


def _sign(directory: int, temporary: str, fd: int, tag: bytes) -> None:
    """Keep a write id with a file: as an attribute, or where there are none as a second name."""
    try:
        return _set_attribute(fd, tag)
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
    try:
        second = _second_name(os.fstat(fd), tag)
        os.link(temporary, second, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        raise Unsupported(
            "The file system keeps neither attributes nor hard links and so no write id; "
            "use a local disk or a bucket."
        ) from error


def _signed(directory: int, name: str, found: os.stat_result, tag: bytes) -> bool:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return _get_attribute(fd) == tag
    except OSError as error:
        if error.errno not in _NO_ATTRIBUTES:
            raise
    finally:
        os.close(fd)
    second = _status(directory, _second_name(found, tag))
    return second is not None and second.st_ino == found.st_ino


def _second_name(found: os.stat_result, tag: bytes) -> str:
    return f"{_IDENTITY}{hashlib.sha256(tag).hexdigest()[:32]}-{found.st_ino:x}"


def _set_attribute(fd: int, tag: bytes) -> None:
    if not hasattr(os, "setxattr"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    os.setxattr(fd, _ATTRIBUTE, tag)


def _get_attribute(fd: int) -> bytes:
    if not hasattr(os, "getxattr"):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    return os.getxattr(fd, _ATTRIBUTE)


def _sync(fd: int) -> None:
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is None:
        os.fsync(fd)
    else:  # macOS: fsync alone leaves the bytes in the cache of the drive
        fcntl.fcntl(fd, full)


def _remove_empty(directory: int, name: str) -> bool:
    """Remove a directory if it is empty: it counts like none."""
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        return False
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR)) from None
        raise
    return True
