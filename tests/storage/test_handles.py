"""The handle cache: never stale whatever other processes do, few requests, no panics."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import freshness_workers as workers
import lance
import pyarrow as pa
import pytest

import pennon
from pennon import Eventual, ScanRequest
from pennon.errors import (
    CommitConflict,
    InvalidOption,
    OutcomeUnknown,
    PennonError,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces import newest
from pennon.storage._lance.handles import Handles
from pennon.storage._lance.places import Place
from pennon.storage.abc import StorageBackend
from pennon.storage.snapshot import at_one_moment
from pennon.testing.proxy import RecordingProxy
from pennon.testing.races import Racers
from pennon.testing.services import TestRoot


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Racers]:
    """One other process."""
    with Racers(1) as one:
        yield one


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return TestRoot(found) if isinstance(found, str) else found


def opened(root: TestRoot, **options: Any) -> StorageBackend:
    return pennon.open(root.uri, storage_options=root.options or None, **options)


def place_of(db: StorageBackend, table: str = "t") -> Place:
    return Place.of(db.namespace, db.namespace.describe_table(table))


def ids(db: StorageBackend, **where: Any) -> list[int]:
    found = db.scan(ScanRequest("t", columns=["id"], **where)).read_all()
    return sorted(found["id"].to_pylist())


def ask(elsewhere: Racers, work: Callable[..., Any], *args: Any) -> Any:
    """Let the other process do something, and return what it tells once it is done."""
    (outcome,) = elsewhere.run(work, *args)
    assert outcome.won, outcome.text
    return outcome.value


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings are trusted for so long that a slow machine does not change what is counted."""
    monkeypatch.setattr(newest, "TRUST_SECONDS", 600.0)


# -- never stale -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("trusting")
def test_what_pylance_does_elsewhere_is_read_at_once(root: TestRoot, elsewhere: Racers) -> None:
    db = opened(root)
    db.create_table("t", [{"id": 0}])
    place = place_of(db)
    for step, work in enumerate([*workers.STEPS, *workers.STEPS[:-1]]):
        for _ in range(3):
            ids(db), db.get_table_version("t")
        told = ask(
            elsewhere, workers.do, work.__name__, place.location, place.storage_options, 10 * step
        )
        schema = db.get_table_schema("t")
        assert schema is not None
        assert (db.get_table_version("t"), ids(db), len(schema)) == told, work.__name__
        assert db.count_rows("t") == len(told[1])


@pytest.mark.usefixtures("trusting")
def test_a_branch_made_anew_elsewhere(root: TestRoot, elsewhere: Racers) -> None:
    db = opened(root)
    db.create_table("t", [{"id": 0}])
    place = place_of(db)
    lance.dataset(place.location, storage_options=place.storage_options).create_branch("b")
    for step in (1, 2, 3):
        for _ in range(3):
            ids(db, branch="b")
        told = ask(elsewhere, workers.branch_anew, place.location, place.storage_options, step)
        assert (db.get_table_version("t", branch="b"), ids(db, branch="b")) == told
    assert ids(db) == [0]


@pytest.mark.usefixtures("trusting")
def test_what_pennon_does_elsewhere(root: TestRoot, elsewhere: Racers) -> None:
    db = opened(root)
    db.create_table("t", [{"id": 0}])
    assert (ids(db), db.table_exists("u")) == ([0], False)
    ask(elsewhere, workers.through_pennon, root.uri, root.options, "drop and create")
    assert ids(db) == [50]
    ask(elsewhere, workers.through_pennon, root.uri, root.options, "write")
    assert ids(db) == [50, 60]
    db.create_table("u", [{"id": 7}])
    ask(elsewhere, workers.through_pennon, root.uri, root.options, "swap")
    assert (ids(db), db.count_rows("x")) == ([7], 2)
    ask(elsewhere, workers.through_pennon, root.uri, root.options, "rename")
    with pytest.raises(TableNotFound):
        ids(db)
    assert db.table_exists("u")
    assert not db.table_exists("t")


def test_the_limit_a_tagged_version_whose_follower_was_removed_at_once(
    s3_root: TestRoot, elsewhere: Racers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the docs say is not seen at once is seen when the listing is too old to be trusted."""
    db = opened(s3_root)
    db.create_table("t", [{"id": 0}])
    assert [db.get_table_version("t") for _ in range(2)] == [1, 1]
    place = place_of(db)
    latest = ask(elsewhere, workers.tag_and_clean, place.location, place.storage_options)
    assert latest == 3
    assert db.get_table_version("t") in {1, 3}
    monkeypatch.setattr(newest, "TRUST_SECONDS", 0.0)
    assert db.get_table_version("t") == 3


# -- requests --------------------------------------------------------------------------------------


@pytest.fixture
def proxy(s3_root: TestRoot, recording_proxy: Callable[[str], RecordingProxy]) -> RecordingProxy:
    return recording_proxy(s3_root.endpoint)


def requests(proxy: RecordingProxy, call: Callable[[], object]) -> dict[str, int]:
    proxy.clear()
    call()
    return dict(Counter("LIST" if "list-type" in r.path else r.method for r in proxy.requests))


@pytest.mark.usefixtures("trusting")
def test_a_warm_read_lists_nothing(s3_root: TestRoot, proxy: RecordingProxy) -> None:
    db = opened(s3_root.via(proxy.endpoint))
    db.create_table("t", [{"id": 0}])
    db.create_branch("t", "b")
    for branch in ("main", "b"):
        for _ in range(3):
            db.count_rows("t", branch=branch)
        one = {"HEAD": 3}
        assert requests(proxy, lambda: db.count_rows("t", branch=branch)) == one  # noqa: B023
        assert requests(proxy, lambda: db.get_table_version("t", branch=branch)) == one  # noqa: B023
        assert requests(proxy, lambda: db.get_table_schema("t", branch=branch)) == one  # noqa: B023
        found = requests(proxy, lambda: ids(db, branch=branch))  # noqa: B023
        assert found == {"HEAD": 3, "GET": 1}


@pytest.mark.usefixtures("trusting")
def test_existence_lists_nothing_however_many_tables(
    s3_root: TestRoot, proxy: RecordingProxy
) -> None:
    db = opened(s3_root.via(proxy.endpoint))
    db.create_table("t", [{"id": 0}])
    for number in range(3):
        db.namespace.declare_table(f"u{number}")
    for _ in range(3):
        db.table_exists("t")
    assert requests(proxy, lambda: db.table_exists("t")) == {"HEAD": 2}
    assert requests(proxy, lambda: db.table_exists("nope")) == {"HEAD": 1}
    assert not db.table_exists("u1")


def test_within_the_bound_nothing_is_asked(s3_root: TestRoot, proxy: RecordingProxy) -> None:
    strong = opened(s3_root)
    strong.create_table("t", [{"id": 0}])
    db = opened(s3_root.via(proxy.endpoint), consistency=Eventual(600))
    assert ids(db) == [0]
    strong.write("t", [{"id": 1}])
    for call in (
        lambda: db.count_rows("t"),
        lambda: db.get_table_version("t"),
        lambda: db.get_table_schema("t"),
        lambda: db.table_exists("t"),
    ):
        assert requests(proxy, call) == {}
    assert ids(db) == [0], "that is what was asked for"
    db.write("t", [{"id": 2}])
    assert ids(db) == [0, 1, 2], "own writes are seen"
    assert requests(proxy, lambda: db.count_rows("t")) == {}
    strong.write("t", [{"id": 3}])
    assert db.count_rows("t") == 3
    db.invalidate_cache("t")
    assert db.count_rows("t") == 4
    strong.write("t", [{"id": 4}])
    assert db.count_rows("t") == 4
    db.clear_cache()
    found = requests(proxy, lambda: db.count_rows("t"))
    assert found["LIST"] >= 2, "the catalog and the table are read again"
    assert db.count_rows("t") == 5


def test_the_bound_ends(local_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    strong, db = pennon.open(local_root), pennon.open(local_root, consistency=Eventual(100.0))
    strong.create_table("t", [{"id": 0}])
    assert db.count_rows("t") == 1
    strong.write("t", [{"id": 1}])
    assert db.count_rows("t") == 1
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 101.0)
    assert db.count_rows("t") == 2


def test_own_changes_of_names_and_branches_are_seen_within_the_bound(local_root: str) -> None:
    db = pennon.open(local_root, consistency=Eventual(600))
    assert repr(Eventual(600)) in repr(db)
    assert db.consistency == Eventual(600)
    db.create_table("t", [{"id": 0}])
    assert db.count_rows("t") == 1
    db.rename_table("t", "u")
    with pytest.raises(TableNotFound):
        db.count_rows("t")
    assert db.count_rows("u") == 1
    db.drop_table("u")
    db.create_table("u", [{"id": 1}, {"id": 2}])
    assert db.count_rows("u") == 2
    db.create_branch("u", "b")
    db.delete_rows("u", "id = 1", branch="b")
    assert (db.count_rows("u"), db.count_rows("u", branch="b")) == (2, 1)
    db.delete_branch("u", "b")
    with pytest.raises(PennonError):
        db.count_rows("u", branch="b")


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf"), "5", True, None])
def test_a_bound_that_is_none(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="seconds"):
        Eventual(wrong)


def test_a_consistency_that_is_none(local_root: str) -> None:
    with pytest.raises(InvalidOption, match="Eventual"):
        pennon.open(local_root, consistency=5)  # type: ignore[arg-type]


def test_a_snapshot_asks_nothing_to_be_fresh(s3_root: TestRoot, proxy: RecordingProxy) -> None:
    db = opened(s3_root.via(proxy.endpoint))
    db.create_table("t", [{"id": 0}])
    with db.snapshot(["t"]) as still:
        assert requests(proxy, lambda: still.count_rows("t")) == {}
        assert requests(proxy, lambda: still.get_table_version("t")) == {}
        assert set(requests(proxy, lambda: ids(still))) <= {"GET"}
        db.write("t", [{"id": 1}])
        assert requests(proxy, lambda: still.count_rows("t")) == {}
        assert (still.count_rows("t"), db.count_rows("t")) == (1, 2)


def test_a_snapshot_shows_one_moment(root: TestRoot, elsewhere: Racers) -> None:
    """A process writes to one table, then to another: no snapshot may show the second ahead."""
    db = opened(root)
    for table in ("t", "u"):
        db.create_table(table, [{"id": -1}])
    turns, told = 12, []
    writer = threading.Thread(
        target=lambda: told.append(ask(elsewhere, workers.in_step, root.uri, root.options, turns))
    )
    writer.start()
    seen: set[tuple[int, int]] = set()
    while writer.is_alive() or not seen:
        with db.snapshot(["u", "t"]) as still:
            counts = still.count_rows("t"), still.count_rows("u")
            assert (still.pins["t",], still.pins["u",]) == counts
        assert counts[0] - counts[1] in {0, 1}, counts
        seen.add(counts)
    writer.join()
    assert told == [None]
    assert db.count_rows("t") == db.count_rows("u") == turns + 1


def test_tables_that_never_rest() -> None:
    states = itertools.count()
    ids = [("t",), ("u",)]
    with pytest.raises(CommitConflict, match="2 tables"):
        at_one_moment(ids, lambda _: (next(states), None), 0.05)
    assert at_one_moment(ids[:1], lambda _: (next(states), "kept"), 0.05) == {("t",): "kept"}


# -- many at once ----------------------------------------------------------------------------------


def test_sixteen_threads_that_read_and_write(local_root: str) -> None:
    """No handle is borrowed twice, no panic comes through, and nobody reads into the past."""
    db = pennon.open(local_root)
    db.create_table("t", [{"id": n, "n": 0} for n in range(16)], primary_key="id")
    failures: list[BaseException] = []
    barrier = threading.Barrier(16)

    def read(number: int) -> None:
        seen = 0
        for turn in range(12):
            match (number + turn) % 4:
                case 0:
                    version = db.get_table_version("t")
                    assert version is not None
                    assert version >= seen
                    seen = version
                case 1:
                    assert db.count_rows("t") >= 16
                case 2:
                    assert db.scan(ScanRequest("t", limit=3)).read_all().num_rows == 3
                case _:
                    assert db.take("t", [3]).num_rows == 1

    def write(number: int) -> None:
        for turn in range(4):
            receipt = db.write("t", [{"id": 1000 * (number + 1) + turn, "n": 0}])
            version = db.get_table_version("t")
            assert version is not None
            assert version >= receipt.version
            db.merge_insert("t", [{"id": number, "n": turn}], on="id")

    def run(number: int) -> None:
        barrier.wait()
        try:
            (write if number % 4 == 0 else read)(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert db.count_rows("t") == 16 + 4 * 4


@pytest.mark.usefixtures("trusting")
def test_a_read_asks_the_catalog_and_the_table_at_the_same_time(
    s3_root: TestRoot, proxy: RecordingProxy
) -> None:
    db = opened(s3_root.via(proxy.endpoint))
    db.create_table("t", [{"id": 0}])
    assert ids(db) == ids(db) == [0]
    asked = [proxy.stall(method="HEAD", path=f"*{p}/_versions/*") for p in ("__manifest", "_t")]
    found: list[list[int]] = []
    reader = threading.Thread(target=lambda: found.append(ids(db)))
    reader.start()
    for rule in asked:
        rule.wait()
    opened(s3_root).write("t", [{"id": 1}])
    for rule in asked:
        rule.release()
    reader.join()
    assert found == [[0, 1]]


@pytest.mark.usefixtures("trusting")
def test_a_write_sends_no_more_than_it_must(s3_root: TestRoot, proxy: RecordingProxy) -> None:
    """The catalog, the versions before, in and after the commit, and three PUT."""
    db = opened(s3_root.via(proxy.endpoint))
    db.create_table("t", [{"id": 0}], primary_key="id")
    for number in range(2):
        db.write("t", [{"id": number + 1}])
    assert requests(proxy, lambda: db.write("t", [{"id": 9}])) == {"HEAD": 1, "LIST": 3, "PUT": 3}


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("rival", ["append", "clean", "none"])
def test_a_commit_on_a_disk_is_the_newest_version_or_in_doubt(
    local_root: str, monkeypatch: pytest.MonkeyPatch, rival: str
) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 0}])
    db.write("t", [{"id": 1}])
    place = place_of(db)
    base = place.location.rpartition("/")[2]
    before = newest.Newest.of(place.open(), newest.Look.now(place.above, base))
    commit = lance.LanceDataset.commit
    found: list[newest.Newest | None] = []

    def late(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(commit))
        made = commit(*args, **options)
        name = newest.transaction_of(made)
        assert name is not None
        assert before.followed_by(3, name.replace("2-", "1-"), place.above, base) is None
        rivals = lance.dataset(place.location)
        for number in range(0 if rival == "none" else 3):
            rivals.insert(pa.table({"id": [100 + number]}))
        if rival == "clean":
            rivals.cleanup_old_versions(older_than=timedelta(0))
        found.append(before.followed_by(3, name, place.above, base))
        return made

    monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(late))
    if rival == "clean":
        with pytest.raises(OutcomeUnknown):
            db.write("t", [{"id": 2}])
    else:
        assert db.write("t", [{"id": 2}]).version == 3
    assert [new is not None for new in found] == [rival == "none"]
    assert set(ids(db)) == {0, 1, 2} | (set() if rival == "none" else {100, 101, 102})
    if rival == "none":
        monkeypatch.setattr(newest, "TRUST_SECONDS", 0.0)
        assert (
            before.followed_by(3, str(found[0] and found[0].transaction), place.above, base) is None
        )


def test_what_pylance_does_elsewhere_after_an_own_write_is_read_at_once(
    local_root: str, elsewhere: Racers
) -> None:
    """An own version is looked at by names while the times of its directory are young."""
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 0}])
    place = place_of(db)
    for step, work in enumerate([*workers.STEPS, *workers.STEPS[:-1]]):
        receipt = db.write("t", pa.table({"id": [1000 + step]}))
        assert db.get_table_version("t") == receipt.version
        told = ask(
            elsewhere, workers.do, work.__name__, place.location, place.storage_options, 10 * step
        )
        assert (db.get_table_version("t"), ids(db)) == told[:2], work.__name__


# -- the cache itself ------------------------------------------------------------------------------


def test_it_is_bounded_and_forgets(local_root: str) -> None:
    db = pennon.open(local_root)
    for number in range(4):
        db.create_table(f"t{number}", [{"id": number}])
    places = [place_of(db, f"t{number}") for number in range(4)]
    cache = Handles(most=3)
    opens: list[str] = []

    def get(place: Place) -> int:
        base = place.location.rpartition("/")[2]

        def open() -> Any:
            opens.append(base)
            return lance.dataset(place.location)

        return cache.newest(place.location, place.above, base, open, since=0.0).version

    for place in [*places[:3], *places[:3]]:
        get(place)
    assert (len(cache), len(opens)) == (3, 3)
    get(places[3])
    assert len(cache) == 3
    get(places[1])
    assert len(opens) == 4, "what was used last is kept"
    get(places[0])
    assert len(opens) == 5, "what was not used for longest was let go"


def test_a_no_is_not_remembered(local_root: str) -> None:
    db, other = pennon.open(local_root), pennon.open(local_root, consistency=Eventual(600))
    assert not other.table_exists("t")
    db.create_table("t", [{"id": 0}])
    assert other.table_exists("t")
    assert other.count_rows("t") == 1


def test_times_that_may_hide_a_change_are_not_trusted(
    local_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 0}])
    place = place_of(db)
    base = place.location.rpartition("/")[2]

    def looked(tick: int) -> newest.Newest:
        monkeypatch.setattr(newest, "_TICK", tick)
        return newest.Newest.of(place.open(), newest.Look.now(place.above, base))

    young, old = looked(10**15), looked(-(10**15))
    assert not young.holds(place.above, base), "the clock may not have ticked since the change"
    assert old.holds(place.above, base)


def test_every_version_has_a_transaction_of_its_own(local_root: str) -> None:
    db = pennon.open(local_root)
    db.create_table("t", [{"id": 0}])
    for number in range(3):
        db.write("t", [{"id": number}])
    place = place_of(db)
    names = {newest.transaction_of(place.open(v)) for v in range(1, 5)}
    assert len(names) == 4
    assert None not in names


def test_credentials_do_not_share_handles(s3_root: TestRoot) -> None:
    session = pennon.Session()
    one = pennon.open(s3_root.uri, storage_options=s3_root.options, session=session)
    one.create_table("t", [{"id": 0}])
    assert one.count_rows("t") == 1
    wrong = {**s3_root.options, "secret_access_key": "wrong"}
    two = pennon.open(s3_root.uri, storage_options=wrong, session=session, consistency=Eventual(9))
    with pytest.raises(PennonError):
        two.count_rows("t")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_forked_child_waits_for_no_thread_of_its_parent(local_root: str) -> None:
    db = pennon.open(local_root, consistency=Eventual(600))
    db.create_table("t", [{"id": 0}])
    assert db.count_rows("t") == 1
    with db._lock:  # type: ignore[attr-defined]
        child = os.fork()
        if not child:
            signal.alarm(20)
            code = 1
            try:
                db.drop_table("t")
            except Unsupported:
                code = 0
            finally:
                os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert db.count_rows("t") == 1
