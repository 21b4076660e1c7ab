"""Races between processes: persistent workers that start one call at the same moment.

    with Racers(4) as racers:
        tally = Tally("declare")
        for number in range(rounds):
            outcomes = racers.run(declare, root, f"t{number}")
            tally.add(outcomes)
        print(tally)

What is raced must be importable by name, since workers are spawned.
"""

from __future__ import annotations

import multiprocessing
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from threading import BrokenBarrierError
from types import TracebackType
from typing import Any, Self

from pennon.errors import DeadlineExceeded

__all__ = ["Outcome", "Racers", "Tally"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a call came to in one process."""

    worker: int
    """Number of the process, from 0."""
    value: Any = None
    """What the call returned."""
    error: str = ""
    """Class name of what it raised; empty if it returned."""
    text: str = ""
    """What the error said, with its traceback."""

    @property
    def won(self) -> bool:
        """Whether the call returned."""
        return not self.error


class Racers:
    """Processes that make one call at the same moment, again and again.

    Args:
        count: How many processes.
        seconds: How long a round may take.
    """

    def __init__(self, count: int = 4, *, seconds: float = 120.0) -> None:
        context = multiprocessing.get_context("spawn")
        self._seconds = seconds
        # Kept alive here: a worker that starts late looks it up by name.
        barrier = self._barrier = context.Barrier(count)
        self._pipes: list[Connection] = []
        self._processes: list[Any] = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_work, args=(number, theirs, barrier, seconds), daemon=True
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, call: Callable[..., Any], *args: Any) -> list[Outcome]:
        """Make ``call(worker, *args)`` in every process at one moment; return what came of each.

        Raises:
            DeadlineExceeded: A process did not answer in time, or has died.
        """
        return self.run_each([(call, *args)] * len(self._pipes))

    def run_each(self, calls: Sequence[tuple[Any, ...]]) -> list[Outcome]:
        """Make a call of its own in each process: ``(call, *args)`` for every one."""
        for pipe, call in zip(self._pipes, calls, strict=True):
            pipe.send(call)
        return [self._answer(number) for number in range(len(self._pipes))]

    def _answer(self, number: int) -> Outcome:
        try:
            if self._pipes[number].poll(self._seconds):
                return self._pipes[number].recv()
        except (EOFError, OSError):
            pass
        raise DeadlineExceeded(
            f"Process {number} of a race gave no answer within {self._seconds} s, or died; "
            "see what it printed."
        )

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _work(number: int, pipe: Connection, barrier: Any, seconds: float) -> None:
    while True:
        try:
            call, *args = pipe.recv()
        except EOFError:
            return
        try:
            barrier.wait(seconds)
            outcome = Outcome(number, call(number, *args))
        except BrokenBarrierError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the outcome
            text = "".join(traceback.format_exception(error))
            outcome = Outcome(number, None, type(error).__name__, text)
        pipe.send(outcome)


@dataclass
class Tally:
    """Counts of many rounds, for people."""

    what: str
    rounds: int = 0
    winners: Counter[int] = field(default_factory=Counter[int])
    """Rounds by number of calls that returned."""
    losers: Counter[str] = field(default_factory=Counter[str])
    """Calls by class of the error they raised."""

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Count one round."""
        self.rounds += 1
        self.winners[sum(o.won for o in outcomes)] += 1
        self.losers.update(o.error for o in outcomes if not o.won)

    def __str__(self) -> str:
        winners = ", ".join(f"{w} won in {n} rounds" for w, n in sorted(self.winners.items()))
        losers = ", ".join(f"{n} {name}" for name, n in self.losers.most_common())
        return f"{self.what}: {self.rounds} rounds, {winners}; losers: {losers or 'none'}"
