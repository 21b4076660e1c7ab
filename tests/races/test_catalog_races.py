"""Four processes race for names in a directory: exactly one wins, and nothing is left behind."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from pennon.errors import CommitConflict, PennonError, TableAlreadyExists, TableNotFound
from pennon.namespaces.directory import DirectoryNamespace
from pennon.testing.races import Outcome, Racers, Tally
from pennon.testing.services import TestRoot

PROCESSES = 4
NOW = timedelta(0)


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(PROCESSES) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def base(request: pytest.FixtureRequest) -> TestRoot:
    found = request.getfixturevalue(f"{request.param}_root")
    return found if isinstance(found, TestRoot) else TestRoot(found)


def fresh(base: TestRoot) -> TestRoot:
    return TestRoot(f"{base.uri}/{uuid.uuid4().hex[:12]}", base.options)


def connect(root: TestRoot, *, flat: bool = False) -> DirectoryNamespace:
    return DirectoryNamespace(
        root.uri, storage_options=root.options, manifest_enabled=False if flat else None
    )


# -- what the processes do -------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _kept(uri: str, options: tuple[tuple[str, str], ...], flat: bool) -> DirectoryNamespace:
    return connect(TestRoot(uri, dict(options)), flat=flat)


def kept(root: TestRoot, flat: bool = False) -> DirectoryNamespace:
    return _kept(root.uri, tuple(root.options.items()), flat)


def declare(worker: int, root: TestRoot, name: str, flat: bool = False) -> str:
    properties = None if flat else {"owner": str(worker)}
    return kept(root, flat).declare_table(name, properties=properties).location


def create(worker: int, root: TestRoot, name: str) -> dict[str, str]:
    made = kept(root).create_namespace(name, properties={"owner": str(worker)})
    return dict(made.properties)


def rename(worker: int, root: TestRoot, old: str, new: str) -> str:
    return kept(root).rename_table(old, f"{new}-{worker}").location


def drop(worker: int, root: TestRoot, name: str, flat: bool = False) -> None:
    kept(root, flat).drop_table(name)


def churn(worker: int, root: TestRoot, seed: int, flat: bool = False) -> dict[str, int]:
    """Create and drop a few names at random; return what came of it."""
    rng = random.Random(f"{seed}-{worker}")
    namespace = kept(root, flat)
    counts = {"created": 0, "dropped": 0, "lost": 0}
    for _ in range(8):
        name = rng.choice("abc")
        try:
            if rng.random() < 0.5:
                namespace.declare_table(name)
                counts["created"] += 1
            else:
                namespace.drop_table(name)
                counts["dropped"] += 1
        except (TableAlreadyExists, TableNotFound):
            counts["lost"] += 1
    return counts


def native_declare(worker: int, root: TestRoot, name: str) -> str:
    from lance_namespace import DeclareTableRequest

    return str(native(root).declare_table(DeclareTableRequest(id=[name])).location)


def native(root: TestRoot) -> Any:
    return _native(root.uri, tuple(root.options.items()))


@functools.lru_cache(maxsize=8)
def _native(uri: str, options: tuple[tuple[str, str], ...]) -> Any:
    import lance.namespace

    storage = {f"storage.{k}": v for k, v in options}
    return lance.namespace.DirectoryNamespace(root=uri, dir_listing_enabled="false", **storage)


# -- checks ----------------------------------------------------------------------------------------


def one_winner(outcomes: list[Outcome], loss: str) -> Outcome:
    won = [o for o in outcomes if o.won]
    assert len(won) == 1, f"{len(won)} of {len(outcomes)} won: {outcomes}"
    for lost in outcomes:
        assert lost.won or lost.error == loss, f"a loser got {lost.error}: {lost.text}"
    return won[0]


def directories(namespace: DirectoryNamespace) -> set[str]:
    return {d for d in namespace._store.list_directories() if not d.startswith("_")}


def check_disk(namespace: DirectoryNamespace) -> None:
    """After a sweep the directories are those of the catalog, no more and no fewer."""
    namespace.sweep(older_than=NOW)
    named = {namespace.describe_table(i).location for i in namespace.iter_tables(recursive=True)}
    found = {str(namespace._uri.join(d)) for d in directories(namespace)}
    assert found == named


def note(record_property: Callable[[str, object], None], tally: Tally, base: TestRoot) -> None:
    where = base.uri.split(":", maxsplit=1)[0] if ":" in base.uri else "local disk"
    record_property("note", f"{where}: {tally}")


# -- races -----------------------------------------------------------------------------------------


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
def test_declare_one_table(
    racers: Racers, base: TestRoot, warm: bool, race_rounds: int, record_property: Any
) -> None:
    tally = Tally(f"declare, {'warm' if warm else 'fresh'} root")
    root = fresh(base)
    if warm:
        connect(root).declare_table("first")
    for number in range(race_rounds):
        root = root if warm else fresh(base)
        outcomes = racers.run(declare, root, f"t{number}")
        tally.add(outcomes)
        winner = one_winner(outcomes, "TableAlreadyExists")
        known = connect(root).describe_table(f"t{number}")
        assert known.location == winner.value
        assert known.properties == {"owner": str(winner.worker)}
        if not warm:
            check_disk(connect(root))
    if warm:
        check_disk(connect(root))
    note(record_property, tally, base)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("warm", [False, True], ids=["fresh", "warm"])
def test_create_one_namespace(
    racers: Racers, base: TestRoot, warm: bool, race_rounds: int, record_property: Any
) -> None:
    tally = Tally(f"create_namespace, {'warm' if warm else 'fresh'} root")
    root = fresh(base)
    if warm:
        connect(root).declare_table("first")
    for number in range(race_rounds):
        root = root if warm else fresh(base)
        outcomes = racers.run(create, root, f"n{number}")
        tally.add(outcomes)
        winner = one_winner(outcomes, "NamespaceAlreadyExists")
        known = connect(root).describe_namespace(f"n{number}")
        assert known.properties == {"owner": str(winner.worker)} == winner.value
    note(record_property, tally, base)


@pytest.mark.timeout(1800)
def test_declare_one_table_in_v1(
    racers: Racers, base: TestRoot, race_rounds: int, record_property: Any
) -> None:
    tally = Tally("declare, V1")
    root = fresh(base)
    for number in range(race_rounds):
        outcomes = racers.run(declare, root, f"t{number}", True)
        tally.add(outcomes)
        one_winner(outcomes, "TableAlreadyExists")
    assert len(connect(root, flat=True).list_tables()) == race_rounds
    note(record_property, tally, base)


@pytest.mark.timeout(1800)
def test_drop_one_table(
    racers: Racers, base: TestRoot, race_rounds: int, record_property: Any
) -> None:
    for flat in (False, True):
        tally = Tally(f"drop, {'V1' if flat else 'V2'}")
        root = fresh(base)
        namespace = connect(root, flat=flat)
        for number in range(race_rounds):
            namespace.declare_table(f"t{number}")
            outcomes = racers.run(drop, root, f"t{number}", flat)
            tally.add(outcomes)
            one_winner(outcomes, "TableNotFound")
        assert list(namespace.list_tables()) == []
        assert directories(namespace) == set()
        note(record_property, tally, base)


@pytest.mark.timeout(1800)
def test_rename_one_table_to_many_names(
    racers: Racers, base: TestRoot, race_rounds: int, record_property: Any
) -> None:
    tally = Tally("rename one table to four names")
    root = fresh(base)
    namespace = connect(root)
    for number in range(race_rounds):
        place = namespace.declare_table(f"t{number}").location
        outcomes = racers.run(rename, root, f"t{number}", f"u{number}")
        tally.add(outcomes)
        winner = one_winner(outcomes, "TableNotFound")
        assert winner.value == place
        assert namespace.describe_table(f"u{number}-{winner.worker}").location == place
    assert len(namespace.list_tables()) == race_rounds
    note(record_property, tally, base)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flat", [False, True], ids=["v2", "v1"])
def test_churn_ends_in_agreement(
    racers: Racers, base: TestRoot, flat: bool, race_rounds: int, record_property: Any
) -> None:
    seed = random.randrange(1 << 30)
    totals = {"created": 0, "dropped": 0, "lost": 0}
    rounds = max(2, race_rounds // 10)
    for number in range(rounds):
        root = fresh(base)
        outcomes = racers.run(churn, root, seed + number, flat)
        for outcome in outcomes:
            assert outcome.won, f"seed {seed + number}: {outcome.text}"
            for key, count in outcome.value.items():
                totals[key] += count
        namespace = connect(root, flat=flat)
        created = sum(o.value["created"] for o in outcomes)
        dropped = sum(o.value["dropped"] for o in outcomes)
        assert created - dropped == len(namespace.list_tables()), f"seed {seed + number}"
        check_disk(namespace)
    record_property("note", f"churn of {rounds} roots, seed {seed}: {totals}")


@pytest.mark.timeout(1800)
def test_pennon_races_the_native_implementation(
    racers: Racers, base: TestRoot, race_rounds: int, record_property: Any
) -> None:
    tally = Tally("declare, two pennons against two natives")
    root = fresh(base)
    namespace = connect(root)
    namespace.declare_table("first")
    for number in range(race_rounds):
        name = f"t{number}"
        calls = [(declare, root, name), (native_declare, root, name)] * (PROCESSES // 2)
        outcomes = racers.run_each(calls)
        tally.add(outcomes)
        won = [o for o in outcomes if o.won]
        assert len(won) == 1, f"{len(won)} won: {outcomes}"
        for lost in outcomes:
            expected = ("TableAlreadyExists", "CommitConflict")
            if lost.worker % 2 == 0 and not lost.won:
                assert lost.error in expected, lost.text
        known = namespace.describe_table(name).location
        assert known == str(won[0].value).removeprefix("file://")
    assert len(namespace.list_tables()) == race_rounds + 1
    note(record_property, tally, base)


@pytest.mark.timeout(1800)
def test_migration_races_v1_declares(
    racers: Racers, base: TestRoot, race_rounds: int, record_property: Any
) -> None:
    """Whoever was told that a name is his finds it after the migration."""
    kept_names = 0
    for _ in range(max(2, race_rounds // 4)):
        root = fresh(base)
        connect(root, flat=True).declare_table("old")
        calls = [(migrate, root)] + [(declare_some, root)] * (PROCESSES - 1)
        outcomes = racers.run_each(calls)
        for outcome in outcomes:
            assert outcome.won, outcome.text
        namespace = connect(root)
        assert namespace.capabilities
        told = {name for outcome in outcomes[1:] for name in outcome.value}
        assert {("old",), *((name,) for name in told)} == set(namespace.list_tables())
        kept_names += len(told)
        check_disk(namespace)
    record_property("note", f"{kept_names} V1 declares during migrations, none lost")


def migrate(worker: int, root: TestRoot) -> None:
    kept(root).migrate()


def declare_some(worker: int, root: TestRoot) -> list[str]:
    """Declare over a connection that has found out for itself that the layout is V1."""
    namespace = connect(root)
    done: list[str] = []
    for number in range(4):
        name = f"w{worker}-{number}"
        namespace.declare_table(name)
        done.append(name)
    return done


@pytest.mark.timeout(1800)
def test_sweeping_while_tables_are_declared(racers: Racers, base: TestRoot) -> None:
    """A sweeper without any grace never takes the data of a table that is there."""
    root = fresh(base)
    connect(root).declare_table("first")
    outcomes = racers.run_each([(sweep_often, root)] + [(write_some, root)] * (PROCESSES - 1))
    for outcome in outcomes:
        assert outcome.won, outcome.text
    namespace = connect(root)
    assert len(namespace.list_tables(include_declared=False)) == 5 * (PROCESSES - 1)


def sweep_often(worker: int, root: TestRoot) -> None:
    for _ in range(10):
        kept(root).sweep(older_than=NOW)


def write_some(worker: int, root: TestRoot) -> None:
    import lance
    import pyarrow as pa

    namespace = kept(root)
    for number in range(5):
        info = namespace.declare_table(f"w{worker}-{number}")
        options: Any = dict(info.storage_options or {})
        lance.write_dataset(
            pa.table({"id": [1]}), info.location, storage_options=options or None, mode="create"
        )


def test_a_race_shows_what_went_wrong(racers: Racers) -> None:
    outcomes = racers.run_each([(fail, i == 2) for i in range(PROCESSES)])
    assert [o.error for o in outcomes] == ["", "", "CommitConflict", ""]
    assert "on purpose" in outcomes[2].text
    assert [o.value for o in outcomes] == [0, 1, None, 3]
    tally = Tally("x")
    tally.add(outcomes)
    assert str(tally) == "x: 1 rounds, 3 won in 1 rounds; losers: 1 CommitConflict"


def fail(worker: int, now: bool) -> int:
    if now:
        error: PennonError = CommitConflict("on purpose")
        raise error
    return worker
