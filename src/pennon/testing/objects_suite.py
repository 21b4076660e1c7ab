"""What every object store must do: a conformance suite and a state machine.

Subclass the suite and give it a store::

    class TestMyStore(ObjectStoreSuite):
        @pytest.fixture
        def store(self):
            return MyStore(...)      # an empty root
"""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pennon.errors import (
    DeadlineExceeded,
    InvalidName,
    InvalidOption,
    ObjectAlreadyExists,
    ObjectNotFound,
    PennonError,
    PreconditionFailed,
)
from pennon.objects.abc import ObjectMeta, ObjectStore
from pennon.objects.memory import MemoryStore
from pennon.retry import Deadline
from pennon.uri import parse_uri

__all__ = ["ObjectStoreSuite", "store_machine"]

ODD_KEYS = (
    "a b",
    "ä/ö/ü",
    "日本/語",
    "100%",
    "%41",
    "a+b",
    "$x",
    "q?a=b&c#d",
    "it's",
    'say "hi"',
    "~t",
    "x=1,y=2",
    "[a]",
    "{b}",
    "c:d",
    "_x",
    ".hidden",
    "e\u0301",
    "star*",
    "emoji-\U0001f6a9",
)
BAD_KEYS = ("", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\x00b", "a\nb", ".pennon-x/a")


class ObjectStoreSuite:
    """Every promise of :class:`~pennon.objects.abc.ObjectStore` that one process can test."""

    etag_per_write: bool = True
    """Whether writing equal bytes again changes the etag; S3 need not (see ``ObjectMeta.etag``)."""

    @pytest.fixture
    def store(self) -> ObjectStore:
        """Return a store with an empty root."""
        raise NotImplementedError

    def test_put_then_get(self, store: ObjectStore) -> None:
        before = datetime.now(UTC) - timedelta(minutes=1)
        put = store.put("a/b", b"hello")
        got = store.get("a/b")
        assert got.data == b"hello"
        assert got.meta.key == put.key == "a/b"
        assert got.meta.size == put.size == 5
        assert got.meta.etag == put.etag
        assert before < got.meta.modified < datetime.now(UTC) + timedelta(minutes=1)
        assert store.head("a/b") == got.meta

    def test_put_replaces(self, store: ObjectStore) -> None:
        first = store.put("a", b"one")
        second = store.put("a", b"two, longer")
        assert store.get("a").data == b"two, longer"
        assert first.etag != second.etag

    def test_equal_bytes_again(self, store: ObjectStore) -> None:
        first = store.put("a", b"same")
        second = store.put("a", b"same")
        store.delete("a")
        third = store.put("a", b"same", if_absent=True)
        if self.etag_per_write:
            assert len({first.etag, second.etag, third.etag}) == 3
            with pytest.raises(PreconditionFailed):
                store.put("a", b"other", if_match=first.etag)
        else:
            assert third.etag == first.etag

    def test_empty_and_large(self, store: ObjectStore) -> None:
        store.put("empty", b"")
        assert store.get("empty").data == b""
        large = bytes(range(256)) * 4096 * 9
        store.put("large", large)
        assert store.get("large").data == large

    def test_absent(self, store: ObjectStore) -> None:
        assert store.head("nope") is None
        assert store.head("nope/deeper") is None
        for key in ("nope", "nope/deeper"):
            with pytest.raises(ObjectNotFound, match="nope"):
                store.get(key)
        assert list(store.list()) == []
        assert list(store.list("nope")) == []
        assert store.list_directories() == ()
        assert store.list_directories("nope") == ()
        assert store.delete_directory("nope") == 0

    @pytest.mark.parametrize(
        ("span", "data"),
        [
            ((0, 4), b"0123"),
            ((3, 7), b"3456"),
            ((8, 99), b"89"),
            ((4, 4), b""),
            ((10, 12), b""),
            ((50, 60), b""),
            ((0, 0), b""),
        ],
    )
    def test_range(self, store: ObjectStore, span: tuple[int, int], data: bytes) -> None:
        store.put("a", b"0123456789")
        got = store.get("a", range=span)
        assert got.data == data
        assert got.meta.size == 10
        with pytest.raises(ObjectNotFound):
            store.get("b", range=span)

    def test_range_must_make_sense(self, store: ObjectStore) -> None:
        for span in ((-1, 2), (3, 2)):
            with pytest.raises(InvalidOption):
                store.get("a", range=span)

    def test_if_absent(self, store: ObjectStore) -> None:
        store.put("d/a", b"first", if_absent=True)
        with pytest.raises(ObjectAlreadyExists, match="d/a"):
            store.put("d/a", b"second", if_absent=True)
        assert store.get("d/a").data == b"first"
        store.delete("d/a")
        store.put("d/a", b"third", if_absent=True)
        assert store.get("d/a").data == b"third"

    def test_if_match(self, store: ObjectStore) -> None:
        first = store.put("a", b"one")
        second = store.put("a", b"two", if_match=first.etag)
        with pytest.raises(PreconditionFailed, match="'a'"):
            store.put("a", b"three", if_match=first.etag)
        assert store.get("a").data == b"two"
        head = store.head("a")
        assert head is not None
        assert head.etag == second.etag
        store.put("a", b"four", if_match=store.get("a").meta.etag)
        assert store.get("a").data == b"four"

    def test_if_match_needs_an_object(self, store: ObjectStore) -> None:
        etag = store.put("a", b"one").etag
        store.delete("a")
        for wrong in (etag, "made-up"):
            with pytest.raises(PreconditionFailed):
                store.put("a", b"two", if_match=wrong)
        assert store.head("a") is None

    def test_conditions_exclude_each_other(self, store: ObjectStore) -> None:
        with pytest.raises(InvalidOption):
            store.put("a", b"", if_absent=True, if_match="x")
        with pytest.raises(InvalidOption):
            store.put("a", b"", if_absent=True, write_id="")

    def test_write_id_repeats_if_absent(self, store: ObjectStore) -> None:
        own = f"writer é/{uuid.uuid4()}"
        first = store.put("a", b"one", if_absent=True, write_id=own)
        again = store.put("a", b"one", if_absent=True, write_id=own)
        assert again.etag == first.etag
        for other in (f"{own}x", own[:-1], None):
            with pytest.raises(ObjectAlreadyExists):
                store.put("a", b"one", if_absent=True, write_id=other)

    def test_write_id_repeats_if_match(self, store: ObjectStore) -> None:
        start = store.put("a", b"zero")
        first = store.put("a", b"one", if_match=start.etag, write_id="w1")
        again = store.put("a", b"one", if_match=start.etag, write_id="w1")
        assert again.etag == first.etag
        with pytest.raises(PreconditionFailed):
            store.put("a", b"one", if_match=start.etag, write_id="w2")
        store.put("a", b"two", if_match=first.etag)
        with pytest.raises(PreconditionFailed):
            store.put("a", b"one", if_match=start.etag, write_id="w1")
        assert store.get("a").data == b"two"

    def test_list(self, store: ObjectStore) -> None:
        keys = ("a", "b/c", "b/d/e", "b.x", "bc/f", "z/\U0001f6a9", "z/\uffee")
        for number, key in enumerate(keys):
            store.put(key, b"x" * number)
        assert {m.key: m.size for m in store.list()} == {k: n for n, k in enumerate(keys)}
        assert {m.key for m in store.list("b")} == {"b/c", "b/d/e"}
        assert {m.key for m in store.list("b/d")} == {"b/d/e"}
        assert list(store.list("a")) == []
        ordered = sorted(keys, key=str.encode)
        for number, key in enumerate(ordered):
            found = {m.key for m in store.list(start_after=key)}
            assert found == set(ordered[number + 1 :])
        assert {m.key for m in store.list("b", start_after="b/c")} == {"b/d/e"}
        assert {m.key for m in store.list("b", start_after="b/cc")} == {"b/d/e"}

    def test_listed_etags_compare(self, store: ObjectStore) -> None:
        store.put("a", b"one")
        (first,) = store.list()
        assert list(store.list()) == [first]
        store.put("a", b"two")
        (second,) = store.list()
        assert first.etag != second.etag

    def test_list_directories(self, store: ObjectStore) -> None:
        for key in ("a", "b/c", "b/d/e", "b/d/f/g", "é x/h"):
            store.put(key, b"")
        assert store.list_directories() == ("b", "é x")
        assert store.list_directories("b") == ("d",)
        assert store.list_directories("b/d") == ("f",)
        store.delete("b/d/f/g")
        assert store.list_directories("b/d") == ()

    def test_delete(self, store: ObjectStore) -> None:
        for key in ("a", "b/c", "b/d"):
            store.put(key, b"x")
        store.delete()
        store.delete("a", "nope", "b/c", "nope/either")
        assert {m.key for m in store.list()} == {"b/d"}
        store.delete("a")

    def test_delete_directory(self, store: ObjectStore) -> None:
        for key in ("a/b", "a/c/d", "ab/x", "b"):
            store.put(key, b"")
        assert store.delete_directory("a") == 2
        assert {m.key for m in store.list()} == {"ab/x", "b"}
        assert store.list_directories() == ("ab",)
        store.put("a", b"now an object")
        assert store.get("a").data == b"now an object"

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_odd_keys(self, store: ObjectStore, key: str) -> None:
        for full in (key, f"dir/{key}"):
            meta = store.put(full, key.encode(), if_absent=True)
            assert store.get(full).data == key.encode()
            assert store.get(full).meta.etag == meta.etag
            with pytest.raises(ObjectAlreadyExists):
                store.put(full, b"", if_absent=True)
        assert {m.key for m in store.list()} == {key, f"dir/{key}"}
        store.delete(key, f"dir/{key}")
        assert list(store.list()) == []

    def test_a_backslash_is_itself_or_refused(self, store: ObjectStore) -> None:
        try:
            store.put("back\\slash", b"x")
        except InvalidName:
            assert list(store.list()) == []
        else:
            assert {m.key for m in store.list()} == {"back\\slash"}
            assert store.head("back/slash") is None

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_bad_keys(self, store: ObjectStore, key: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.get(key),
            lambda: store.head(key),
            lambda: store.delete(key),
            lambda: store.put(key, b""),
        ]
        for call in calls:
            with pytest.raises(InvalidName):
                call()
        if key:
            with pytest.raises(InvalidName):
                list(store.list(key))
            with pytest.raises(InvalidName):
                store.list_directories(key)

    def test_deadlines(self, store: ObjectStore) -> None:
        passed = Deadline.after(1e-6, 1)
        store.put("a", b"x", deadline=10)
        while passed.remaining:
            pass
        calls: list[Callable[[], object]] = [
            lambda: store.get("a", deadline=passed),
            lambda: store.head("a", deadline=passed),
            lambda: store.put("b", b"", deadline=passed),
            lambda: list(store.list(deadline=passed)),
            lambda: store.delete("a", deadline=passed),
        ]
        for call in calls:
            with pytest.raises(DeadlineExceeded):
                call()
        assert store.head("b") is None
        with pytest.raises(InvalidOption):
            store.get("a", deadline=0)

    def test_threads_race_for_a_name(self, store: ObjectStore) -> None:
        rivals = 8
        with ThreadPoolExecutor(rivals) as pool:
            for number in range(10):
                barrier = threading.Barrier(rivals)

                def run(
                    rival: int, key: str = f"race/{number}", barrier: threading.Barrier = barrier
                ) -> bool:
                    barrier.wait(30)
                    try:
                        store.put(key, b"%d" % rival, if_absent=True)
                    except ObjectAlreadyExists:
                        return False
                    return True

                won = [rival for rival, win in enumerate(pool.map(run, range(rivals))) if win]
                assert len(won) == 1
                assert store.get(f"race/{number}").data == b"%d" % won[0]

    def test_threads_swap_a_counter(self, store: ObjectStore) -> None:
        rivals, steps = 4, 10
        store.put("counter", b"0")

        def run(_: int) -> None:
            for _step in range(steps):
                while True:
                    old = store.get("counter")
                    new = b"%d" % (int(old.data) + 1)
                    try:
                        store.put("counter", new, if_match=old.meta.etag)
                    except PreconditionFailed:
                        continue
                    break

        with ThreadPoolExecutor(rivals) as pool:
            list(pool.map(run, range(rivals)))
        assert store.get("counter").data == b"%d" % (rivals * steps)

    def test_readers_never_see_a_part(self, store: ObjectStore) -> None:
        size = 300_000
        store.put("a", b"\x00" * size)
        stop = threading.Event()

        def write() -> None:
            for number in itertools.cycle(range(256)):
                if stop.is_set():
                    return
                store.put("a", bytes([number]) * size)

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            try:
                for _ in range(60):
                    data = store.get("a").data
                    assert len(data) == size
                    assert len(set(data)) == 1
            finally:
                stop.set()
            writer.result()


_DIRECTORIES = st.sampled_from(["", "d", "d/e", "é f"])
_KEYS = st.tuples(_DIRECTORIES, st.sampled_from(["x", "y", "z z"])).map(
    lambda parts: "/".join(parts).lstrip("/")
)


class _StoreMachine(RuleBasedStateMachine):
    def fresh(self) -> ObjectStore:
        raise NotImplementedError

    @initialize()
    def start(self) -> None:
        self.real = self.fresh()
        self.model: ObjectStore = MemoryStore(parse_uri(f"memory://{uuid.uuid4().hex}"))
        self.bodies = itertools.count()
        self.etags: dict[str, list[tuple[str, str]]] = {}

    def both(self, call: Callable[[ObjectStore], object]) -> object:
        outcomes: list[object] = []
        for store in (self.model, self.real):
            try:
                outcomes.append(call(store))
            except PennonError as error:
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]
        return outcomes[0]

    def put(self, key: str, **how: object) -> None:
        body = b"%d" % next(self.bodies)
        metas: list[ObjectMeta] = []

        def run(store: ObjectStore) -> int:
            kwargs = {
                name: value[store is self.real] if isinstance(value, tuple) else value
                for name, value in how.items()
            }
            metas.append(store.put(key, body, **kwargs))  # type: ignore[arg-type]
            return metas[-1].size

        self.both(run)
        if metas:
            self.etags.setdefault(key, []).append((metas[0].etag, metas[1].etag))

    @rule(key=_KEYS)
    def overwrite(self, key: str) -> None:
        self.put(key)

    @rule(key=_KEYS, write_id=st.sampled_from([None, "w1", "w2"]))
    def create(self, key: str, write_id: str | None) -> None:
        self.put(key, if_absent=True, write_id=write_id)

    # One id is one write: a create and a swap never share one.
    @rule(key=_KEYS, back=st.integers(1, 3), write_id=st.sampled_from([None, "s1", "s2"]))
    def swap(self, key: str, back: int, write_id: str | None) -> None:
        known = self.etags.get(key, [])
        pair = known[-back] if len(known) >= back else ("none", "none")
        self.put(key, if_match=pair, write_id=write_id)

    @rule(key=_KEYS)
    def read(self, key: str) -> None:
        self.both(lambda store: store.get(key).data)

    @rule(key=_KEYS, start=st.integers(0, 4), length=st.integers(0, 4))
    def read_range(self, key: str, start: int, length: int) -> None:
        self.both(lambda store: store.get(key, range=(start, start + length)).data)

    @rule(keys=st.lists(_KEYS, max_size=3))
    def delete(self, keys: list[str]) -> None:
        self.both(lambda store: store.delete(*keys))

    @rule(directory=_DIRECTORIES)
    def delete_directory(self, directory: str) -> None:
        self.both(lambda store: store.delete_directory(directory))

    @rule(directory=_DIRECTORIES, after=st.one_of(st.just(""), _KEYS))
    def list_some(self, directory: str, after: str) -> None:
        self.both(lambda store: {(m.key, m.size) for m in store.list(directory, start_after=after)})

    @rule(directory=_DIRECTORIES)
    def list_directories(self, directory: str) -> None:
        self.both(lambda store: store.list_directories(directory))

    @rule(key=_KEYS)
    def look(self, key: str) -> None:
        def run(store: ObjectStore) -> int | None:
            found = store.head(key)
            return found.size if found else None

        self.both(run)

    @invariant()
    def same_objects(self) -> None:
        if hasattr(self, "model"):
            self.both(lambda store: {(m.key, m.size) for m in store.list()})


def store_machine(make: Callable[[], ObjectStore]) -> type[RuleBasedStateMachine]:
    """Return a hypothesis state machine that compares a store with the memory reference.

    Use it as ``TestStore = store_machine(make).TestCase``.

    Args:
        make: Returns a store with an empty root; called once per example.
    """

    class StoreMachine(_StoreMachine):
        def fresh(self) -> ObjectStore:
            return make()

    return StoreMachine
