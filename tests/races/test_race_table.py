"""Every pair of writing operations, at one moment, on one table.

Whatever two writers do at once must be what they could have done one after the other: the rows and
indexes of all branches, the counts of each receipt, and the error of whoever is refused. Only who
lost a race may have done nothing. So no acknowledged row is lost and no key is there twice.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from race_ops import (
    LOST,
    PAIRS,
    TYPED,
    Done,
    native_ids,
    opened,
    perform,
    prepare,
    raced,
    serial,
    state,
)

from pennon.testing.races import Racers
from pennon.testing.services import TestRoot

SOAK = 100
"""From so many rounds on all pairs are tried in buckets, too; below, some at random."""


@pytest.fixture(scope="module")
def racers() -> Iterator[Racers]:
    with Racers(2) as made:
        yield made


def by_processes(racers: Racers, root: TestRoot, table: str, pair: Sequence[str]) -> list[Done]:
    outcomes = racers.run_each([(raced, root, table, operation) for operation in pair])
    assert all(o.won for o in outcomes), [o.text for o in outcomes]
    return [o.value for o in outcomes]


def by_threads(_racers: Racers, root: TestRoot, table: str, pair: Sequence[str]) -> list[Done]:
    db = opened(root.uri, tuple(root.options.items()))
    barrier, outcomes = threading.Barrier(2), {}

    def run(who: int) -> None:
        barrier.wait()
        try:
            outcomes[who] = perform(db, table, pair[who], who)
        except BaseException as error:
            outcomes[who] = error

    threads = [threading.Thread(target=run, args=(who,)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(isinstance(o, Done) for o in outcomes.values()), outcomes
    return [outcomes[0], outcomes[1]]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("how", [by_processes, by_threads], ids=["processes", "threads"])
@pytest.mark.parametrize("pennon_root", ["local", "s3"], indirect=True)
def test_every_pair(
    pennon_root: TestRoot,
    how: Callable[..., list[Done]],
    racers: Racers,
    race_rounds: int,
    record_property: Callable[[str, object], None],
) -> None:
    db = opened(pennon_root.uri, tuple(pennon_root.options.items()))
    lines, total, pairs = [], Counter[str](), PAIRS
    if race_rounds < SOAK and "://" in pennon_root.uri:
        seed = random.randrange(2**32)
        print(f"seed {seed}")  # noqa: T201
        pairs = random.Random(seed).sample(PAIRS, 30)
    for pair in pairs:
        counts = Counter[str]()
        for _ in range(max(1, race_rounds // 20)):
            table = f"t{uuid.uuid4().hex[:12]}"
            prepare(db, table, pair)
            outcomes = how(racers, pennon_root, table, pair)
            check(db, table, pair, outcomes)
            count(counts, outcomes)
        total += counts
        lines.append(f"{' + '.join(pair)}: {told(counts)}")
    where = "disk" if "://" not in pennon_root.uri else pennon_root.uri.split(":")[0]
    shown = lines if race_rounds >= SOAK else []
    record_property("note", "\n  ".join([f"race table, {where}, {how.__name__}", *shown]))
    record_property("note", f"  together: {told(total)}")


def check(db: Any, table: str, pair: Sequence[str], outcomes: Sequence[Done]) -> None:
    errors = {o.error for o in outcomes} - {""}
    assert errors <= TYPED - {"OutcomeUnknown", "StorageError", "PennonError"}, outcomes
    assert not all(o.error in LOST for o in outcomes), outcomes
    found, allowed = state(db, table), serial(pair, outcomes)
    assert found in allowed, (
        f"{pair}: {outcomes} left {found}, which no order explains; allowed: {allowed}"
    )
    if found is not None:
        ids = native_ids(db, table)
        assert len(ids) == len(set(ids)) == len(found["main"][0])


def count(counts: Counter[str], outcomes: Sequence[Done]) -> None:
    counts["rounds"] += 1
    for done in outcomes:
        counts[done.error or "acknowledged"] += 1
        counts["retries"] += max(0, done.attempts - 1)


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {what}" for what, n in sorted(counts.items()) if n)
