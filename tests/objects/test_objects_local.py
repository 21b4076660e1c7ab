"""Local disk: links out of the root, crashes, forks, file-system errors."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pennon.errors import (
    DeadlineExceeded,
    InvalidName,
    InvalidURI,
    ObjectAlreadyExists,
    ObjectNotFound,
    PennonError,
    PermissionDenied,
    PreconditionFailed,
    StorageError,
    Unavailable,
    Unsupported,
)
from pennon.objects import ObjectStore, _files, certify
from pennon.objects.local import LocalStore
from pennon.uri import parse_uri


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(parse_uri(root))


class TestLinks:
    def test_links_are_never_followed(self, store: LocalStore, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        (root / "dir").symlink_to(outside)
        (root / "file").symlink_to(outside / "secret")
        (root / "dangling").symlink_to(outside / "new")
        calls = [
            lambda: store.get("dir/secret"),
            lambda: store.head("dir/secret"),
            lambda: store.put("dir/new", b""),
            lambda: store.put("dir/new", b"", if_absent=True),
            lambda: store.delete("dir/secret"),
            lambda: list(store.list("dir")),
            lambda: store.list_directories("dir"),
            lambda: store.get("file"),
            lambda: store.head("file"),
            lambda: store.put("file", b"", if_absent=True),
            lambda: store.put("file", b"x"),
            lambda: store.delete("file"),
            lambda: store.put("dangling", b"", if_absent=True),
        ]
        for call in calls:
            with pytest.raises(PermissionDenied, match="symbolic link"):
                call()
        assert list(store.list()) == []
        assert store.list_directories() == ()
        assert {p.name for p in outside.iterdir()} == {"secret"}
        assert (outside / "secret").read_bytes() == b"secret"

    def test_the_root_itself_may_be_a_link(self, tmp_path: Path, root: Path) -> None:
        (tmp_path / "link").symlink_to(root)
        LocalStore(parse_uri(tmp_path / "link")).put("a", b"x")
        assert (root / "a").read_bytes() == b"x"

    def test_a_dangling_root_is_an_error_soon(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "gone")
        start = time.monotonic()
        with pytest.raises(PennonError):
            LocalStore(parse_uri(tmp_path / "link")).put("a", b"x")
        assert time.monotonic() - start < 10

    def test_other_things_are_no_objects(self, store: LocalStore, root: Path) -> None:
        os.mkfifo(root / "pipe")
        assert store.head("pipe") is None
        with pytest.raises(ObjectNotFound):
            store.get("pipe")
        assert list(store.list()) == []


class TestNames:
    def test_an_object_is_no_directory(self, store: LocalStore) -> None:
        store.put("a", b"x")
        assert store.head("a/b") is None
        for how in ({}, {"if_absent": True}):
            with pytest.raises(InvalidName, match="a file stands"):
                store.put("a/b", b"", **how)
        store.put("d/e", b"x")
        assert store.head("d") is None
        for how in ({}, {"if_absent": True}):
            with pytest.raises(InvalidName):
                store.put("d", b"", **how)
        store.delete("d")
        assert store.get("d/e").data == b"x"

    def test_an_empty_directory_is_none(self, store: LocalStore, root: Path) -> None:
        (root / "a").mkdir()
        (root / "b").mkdir()
        store.put("a", b"x", if_absent=True)
        store.put("b", b"y")
        assert {m.key for m in store.list()} == {"a", "b"}

    def test_a_step_too_long(self, store: LocalStore) -> None:
        with pytest.raises(InvalidName, match="too long"):
            store.put("x" * 300, b"")

    def test_a_file_as_root(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(InvalidURI, match="no directory"):
            LocalStore(parse_uri(tmp_path / "file")).put("a", b"")

    def test_deleting_the_last_object_deletes_its_directories(
        self, store: LocalStore, root: Path
    ) -> None:
        store.put("a/b/c", b"")
        store.put("a/d", b"")
        store.delete("a/b/c")
        assert sorted(p.name for p in (root / "a").iterdir()) == ["d"]
        store.delete("a/d")
        assert root.exists()
        assert list(root.iterdir()) == []


class TestLeftovers:
    def test_old_leftovers_are_swept_and_young_ones_kept(
        self, store: LocalStore, root: Path
    ) -> None:
        store.put("a/b", b"x")
        old = root / "a" / ".pennon-tmp-1-old"
        young = root / "a" / ".pennon-tmp-1-young"
        for path in (old, young):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 7200,) * 2)
        assert {m.key for m in store.list()} == {"a/b"}
        assert store.list_directories() == ("a",)
        assert not old.exists()
        assert young.exists()

    def test_a_put_leaves_nothing(self, store: LocalStore, root: Path) -> None:
        store.put("a", b"x", if_absent=True, write_id="w")
        with pytest.raises(ObjectAlreadyExists):
            store.put("a", b"x", if_absent=True)
        with pytest.raises(PreconditionFailed):
            store.put("a", b"x", if_match="stale")
        store.put("a", b"y", durability="disk")
        assert [p.name for p in root.iterdir()] == ["a"]


class TestPoorFileSystems:
    def test_without_hard_links(
        self, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def link(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", link)
        store.put("a", b"x", if_absent=True, write_id="w")
        assert store.put("a", b"x", if_absent=True, write_id="w").size == 1
        with pytest.raises(ObjectAlreadyExists):
            store.put("a", b"y", if_absent=True)
        assert certify(store).safe
        assert sorted(p.name for p in root.iterdir()) == ["_pennon", "a"]

    def test_without_attributes(
        self, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "setxattr", raising=False)
        monkeypatch.delattr(os, "getxattr", raising=False)
        first = store.put("a", b"x", if_absent=True, write_id="w")
        assert store.put("a", b"x", if_absent=True, write_id="w").etag == first.etag
        for other in ("v", None):
            with pytest.raises(ObjectAlreadyExists):
                store.put("a", b"y", if_absent=True, write_id=other)
        swapped = store.put("a", b"z", if_match=first.etag, write_id="v")
        assert store.put("a", b"z", if_match=first.etag, write_id="v").etag == swapped.etag
        assert {m.key for m in store.list()} == {"a"}
        assert certify(store).safe
        long_ago = time.time() - 7200
        for path in root.iterdir():
            os.utime(path, (long_ago, long_ago), follow_symlinks=False)
        list(store.list())
        kept = [p for p in root.iterdir() if p.name.startswith(".pennon-id-")]
        assert len(kept) == 1
        assert kept[0].samefile(root / "a")

    def test_without_links_and_attributes_a_write_id_is_refused(
        self, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def link(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no links here")

        monkeypatch.setattr(os, "link", link)
        monkeypatch.delattr(os, "setxattr", raising=False)
        store.put("a", b"x", if_absent=True)
        with pytest.raises(Unsupported, match="write id"):
            store.put("b", b"x", if_absent=True, write_id="w")
        assert [p.name for p in root.iterdir()] == ["a"]

    def test_without_locks_on_directories(
        self, store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = fcntl.flock

        def flock(fd: int, how: int) -> None:
            if Path(f"/proc/self/fd/{fd}").is_dir():
                raise OSError(errno.EBADF, "no locks on directories")
            real(fd, how)

        if not Path("/proc/self/fd").exists():
            pytest.fail("this test needs /proc")
        monkeypatch.setattr(fcntl, "flock", flock)
        etag = store.put("a", b"x").etag
        store.put("a", b"y", if_match=etag)
        assert {m.key for m in store.list()} == {"a"}
        assert (root / ".pennon-lock").exists()
        assert certify(store).safe

    def test_without_any_locks(self, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def flock(fd: int, how: int) -> None:
            raise OSError(errno.ENOLCK, "no locks")

        monkeypatch.setattr(fcntl, "flock", flock)
        with pytest.raises(Unsupported, match="no locks"):
            store.put("a", b"x")


class TestErrors:
    def test_a_full_disk(self, tmp_path: Path) -> None:
        """A file-size limit makes write(2) fail as a full disk does, half-way through."""
        code = """
import resource, signal, sys
from pennon.objects.local import LocalStore
from pennon.uri import parse_uri
from pennon.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LocalStore(parse_uri(sys.argv[1]))
store.put("small", b"x")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for how in ({}, {"if_absent": True}):
    try:
        store.put("large", b"x" * 5000, **how)
    except StorageError as error:
        print(type(error).__name__, error)
print(sorted(m.key for m in store.list()))
"""
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "r")],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = run.stdout.splitlines()
        assert lines[0].startswith("StorageError")
        assert lines[1].startswith("StorageError")
        assert lines[2] == "['small']"
        assert [p.name for p in (tmp_path / "r").iterdir()] == ["small"]

    @pytest.mark.parametrize(
        ("number", "kind", "text"),
        [
            (errno.ENOSPC, StorageError, "No space"),
            (errno.EDQUOT, StorageError, "No space"),
            (errno.EACCES, PermissionDenied, "denies"),
            (errno.EPERM, PermissionDenied, "denies"),
            (errno.EROFS, PermissionDenied, "denies"),
            (errno.EIO, StorageError, "check the disk"),
            (errno.EMFILE, Unavailable, "out of resources"),
        ],
    )
    def test_every_kind_is_translated(
        self,
        store: LocalStore,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        kind: type[PennonError],
        text: str,
    ) -> None:
        def write(*args: object) -> int:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "write", write)
        with pytest.raises(kind, match=text) as caught:
            store.put("dir/a", b"x")
        assert "'dir/a'" in str(caught.value)
        monkeypatch.undo()
        assert list(store.list()) == []

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore:lance is not fork-safe")
    def test_a_directory_without_permission(self, store: LocalStore, root: Path) -> None:
        root.chmod(0o500)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                if os.geteuid() == 0:  # root may do everything: try as somebody else
                    root.chmod(0o555)
                    os.setuid(65534)
                store.put("a", b"x")
            except PermissionDenied as error:
                code = 0 if "denies access" in str(error) else 1
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        root.chmod(0o700)
        assert list(store.list()) == []

    def test_a_held_lock_ends_at_the_deadline(self, store: LocalStore, root: Path) -> None:
        store.put("a", b"x")
        fd = os.open(root, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            start = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                store.put("a", b"y", deadline=0.3)
            assert 0.2 < time.monotonic() - start < store.default_deadline
            store.put("b", b"z", if_absent=True)
        finally:
            os.close(fd)
        store.put("a", b"y")
        assert {p.name for p in root.iterdir()} == {"a", "b"}


class TestDurability:
    def test_file_then_directories_are_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[str] = []
        real = os.fsync

        def fsync(fd: int) -> None:
            synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
            real(fd)

        monkeypatch.setattr(os, "fsync", fsync)
        root = tmp_path / "new" / "root"
        store = LocalStore(parse_uri(root))
        store.put("a/b/c", b"x", durability="os")
        assert synced == []
        store.put("a/b/d", b"x", if_absent=True, durability="disk")
        names = [s for s in synced if ".pennon-tmp-" not in s]
        for directory in (tmp_path, tmp_path / "new", root, root / "a", root / "a" / "b"):
            assert str(directory) in names
        assert [".pennon-tmp-" in s for s in synced].count(True) == 1
        assert synced[-1] == str(root / "a" / "b")
        synced.clear()
        store.put("a/b/d", b"y", durability="disk")
        assert synced[-1] == str(root / "a" / "b")
        assert any(".pennon-tmp-" in s for s in synced)

    def test_a_repeated_write_is_synced_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever wrote first may have been killed before it synced."""
        store = LocalStore(parse_uri(tmp_path))
        store.put("a/b", b"x", if_absent=True, write_id="w", durability="os")
        synced: list[str] = []
        real = os.fsync

        def fsync(fd: int) -> None:
            synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
            real(fd)

        monkeypatch.setattr(os, "fsync", fsync)
        store.put("a/b", b"x", if_absent=True, write_id="w", durability="disk")
        assert synced[-2:] == [str(tmp_path / "a" / "b"), str(tmp_path / "a")]


def _child_puts(path: str, ready: Any, count: Any) -> None:
    store = LocalStore(parse_uri(path))
    etags: dict[str, str] = {}
    ready.set()
    for number in range(10**9):
        body = (b"%09d" % number) * 7000
        store.put(f"new/{number}", body, if_absent=True, write_id=f"w{number}")
        key = f"same/{number % 3}"
        if key in etags:
            etags[key] = store.put(key, body, if_match=etags[key]).etag
        else:
            etags[key] = store.put(key, body).etag
        count.value = number + 1


class TestCrashes:
    def test_killed_writers_leave_no_torn_object(self, tmp_path: Path) -> None:
        seed = random.randrange(2**32)
        print("seed", seed)  # noqa: T201
        rng = random.Random(seed)
        context = multiprocessing.get_context("spawn")
        for life in range(6):
            root = tmp_path / str(life)
            # Without a lock, which a child killed while it counts would keep for ever.
            ready, count = context.Event(), context.Value("q", 0, lock=False)
            child = context.Process(target=_child_puts, args=(str(root), ready, count))
            child.start()
            assert ready.wait(30)
            time.sleep(rng.uniform(0.05, 0.3))
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            store = LocalStore(parse_uri(root))
            done = count.value
            keys = {m.key for m in store.list()}
            assert {f"new/{n}" for n in range(done)} <= keys
            assert len([k for k in keys if k.startswith("new/")]) <= done + 1
            for key in keys:
                data = store.get(key).data
                assert len(data) == 63000
                assert len({data[i : i + 9] for i in range(0, len(data), 9)}) == 1
            # The lock of the dead writer is gone, and its last write can be repeated.
            store.put("same/0", b"after", deadline=5)
            store.put(f"new/{done}", b"again", if_absent=True, write_id=f"w{done}")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
# Whether Lance, which warns of forks, was imported depends on what ran before in this process.
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
class TestForks:
    def test_a_forked_child_reads_and_writes(self, store: LocalStore) -> None:
        store.put("a", b"parent")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                assert store.get("a").data == b"parent"
                store.put("b", b"child", if_absent=True)
                store.put("a", b"child", if_match=store.get("a").meta.etag)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert store.get("a").data == store.get("b").data == b"child"

    def test_a_fork_takes_no_lock_along(self, store: LocalStore, root: Path) -> None:
        held, go = threading.Event(), threading.Event()

        def hold() -> None:
            fd = os.open(root, os.O_RDONLY)
            with _files.locked(fd, _files.Deadline.after(10, 10)):
                held.set()
                go.wait(10)
            os.close(fd)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(10)
        pid = os.fork()
        if pid == 0:
            time.sleep(120)
            os._exit(0)
        go.set()
        thread.join()
        store.put("a", b"x")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def test_memory_says_no_in_a_forked_child(self, memory_store: ObjectStore) -> None:
        memory_store.put("a", b"x")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                memory_store.get("a")
            except Unsupported:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0
        assert memory_store.get("a").data == b"x"
