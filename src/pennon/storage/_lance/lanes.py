"""Write lanes: one per table and branch in a process, so that its writers do not race each other.

A lane exists only while somebody is in it or waits for it. Whoever waits sleeps until it is handed
the lane, or its job is done by another: threads that wake for nothing would keep the one that
commits from running.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any

from pennon.errors import CommitConflict
from pennon.retry import Deadline
from pennon.storage._lance.places import Place

__all__ = ["Lane", "lane_of", "one_at_a_time"]


def _closed() -> threading.Lock:
    gate = threading.Lock()
    gate.acquire()
    return gate


class _Turn:
    """Somebody who wants to pass; in the lane while the block lasts."""

    __slots__ = ("_deadline", "_lane", "entered", "gate", "job", "over", "thread")

    def __init__(self, lane: Lane, deadline: Deadline, job: Any) -> None:
        self._lane = lane
        self._deadline = deadline
        self.job = job
        self.thread = threading.get_ident()
        self.gate = _closed()
        """Opened once, when there is nothing left to wait for."""
        self.entered = False
        self.over = False
        """Whether another one did the job."""

    def __enter__(self) -> bool:
        try:
            self._lane.enter(self, self._deadline)
        except BaseException:
            self._lane.leave(self)
            raise
        return self.entered

    def __exit__(self, *_: object) -> None:
        if not self.over:
            self._lane.leave(self)


class Lane:
    """Where the writers of one table pass one after the other, in the order in which they came.

    Attributes:
        waiting: Jobs that the next one to pass does for all.
        users: How many are in it or wait for it.
        depth: How often the thread that is in it has entered.
    """

    def __init__(self, place: Place) -> None:
        self.waiting: list[Any] = []
        self.users = 0
        self.depth = 0
        self._place = place
        self._owner: int | None = None
        self._lock = threading.Lock()
        self._turns: list[_Turn] = []
        self._together = 1, 1
        self._took = 0.0
        self._awaited: tuple[int, threading.Lock] | None = None

    def passing(self, deadline: Deadline, job: Any = None) -> AbstractContextManager[bool]:
        """Wait for everybody before, and keep everybody after waiting; re-entrant in a thread.

        Args:
            deadline: When to give up.
            job: What whoever passes before may do as well, and then says to be ``done``.

        Returns:
            What waits when it is entered, and says whether the caller is in: not if the job is
            done.

        Raises:
            CommitConflict: The deadline came first.
        """
        return _Turn(self, deadline, job)

    @property
    def is_mine(self) -> bool:
        """Whether this thread is in it."""
        return self._owner == threading.get_ident()

    def enter(self, turn: _Turn, deadline: Deadline) -> None:
        """Wait until the lane is handed to somebody, or the job done."""
        with self._lock:
            if turn.job is not None:
                self.waiting.append(turn.job)
                if self._awaited is not None and len(self.waiting) >= self._awaited[0]:
                    self._awaited[1].release()
                    self._awaited = None
            if not self.depth or self._owner == turn.thread:
                self._let(turn)
                return
            self._turns.append(turn)
        if turn.gate.acquire(timeout=min(deadline.remaining, threading.TIMEOUT_MAX)):
            return
        with self._lock:
            if not turn.entered and not turn.over:
                raise CommitConflict(
                    f"Other writers of this process kept {self._place.name} busy until the "
                    "deadline; raise deadline=, or retry.",
                    table=self._place.info.id,
                )

    def _let(self, turn: _Turn) -> None:
        self._owner = turn.thread
        self.depth += 1
        turn.entered = True

    def leave(self, turn: _Turn) -> None:
        """Hand the lane to the next, or stop waiting for it."""
        with self._lock:
            if not turn.entered:
                if turn in self._turns:
                    self._turns.remove(turn)
                return
            self.depth -= 1
            if not self.depth:
                self._owner = None
                if self._turns:
                    after = self._turns.pop(0)
                    self._let(after)
                    after.gate.release()

    def take(self, job: Any) -> bool:
        """Take a job back; False if somebody does it already."""
        with self._lock:
            waits = job in self.waiting
            if waits:
                self.waiting.remove(job)
        return waits

    @contextlib.contextmanager
    def together(self, chosen: Callable[[Any], bool]) -> Generator[list[Any]]:
        """Take the jobs that are chosen, to be done while the block lasts.

        Those who were served together come back together. So if there were several the last two
        times, they are waited for: for each half as long as the last took, as long as that for all.
        """
        self._gather(chosen)
        with self._lock:
            taken = [job for job in self.waiting if chosen(job)]
            gone = set(taken)
            self.waiting = [job for job in self.waiting if job not in gone]
        begin = time.monotonic()
        try:
            yield taken
        finally:
            self._took = time.monotonic() - begin
            self._together = self._together[1], len(taken)
            self._wake()

    def _gather(self, chosen: Callable[[Any], bool]) -> None:
        """Wait for those who were served together, while they come one soon after the other."""
        # Nobody's job may be done along with what is done in a locked table.
        most, came = max(self._together) if self.depth == 1 else 1, 0
        pause = min(self._took / 2, _PATIENCE)
        end = time.monotonic() + 2 * pause
        while True:
            with self._lock:
                there = sum(map(chosen, self.waiting))
                if there >= most or there == came or time.monotonic() >= end:
                    self._awaited = None
                    return
                came, gate = there, _closed()
                self._awaited = len(self.waiting) + most - there, gate
            gate.acquire(timeout=pause)

    def _wake(self) -> None:
        """Let those go whose jobs are done."""
        with self._lock:
            left: list[_Turn] = []
            for turn in self._turns:
                if turn.job is None or not turn.job.done:
                    left.append(turn)
                    continue
                turn.over = True
                turn.gate.release()
            self._turns = left


_PATIENCE = 0.05
"""Seconds to wait at most for those who may come."""
_lanes: dict[tuple[str, str], Lane] = {}
_busy: dict[tuple[str, str], tuple[threading.Lock, int]] = {}
_guard = threading.Lock()


@contextlib.contextmanager
def lane_of(place: Place) -> Generator[Lane]:
    """The lane of a branch of a table, for as long as it is used."""
    key = place.location, place.options.principal
    with _guard:
        lane = _lanes.setdefault(key, Lane(place))
        lane.users += 1
    try:
        yield lane
    finally:
        with _guard:
            lane.users -= 1
            if not lane.users:
                _lanes.pop(key, None)


@contextlib.contextmanager
def one_at_a_time(place: Place, write_id: str, deadline: Deadline) -> Generator[None]:
    """Let callers of this process with one write id pass one after the other.

    Whoever is in the lane waits for none: who came first may be waiting for the lane. Which of the
    two was faster, they will find in the history.

    Raises:
        CommitConflict: The deadline came first.
    """
    key = place.location, write_id
    with _guard:
        lane = _lanes.get((place.location, place.options.principal))
    if lane is not None and lane.is_mine:
        yield
        return
    with _guard:
        lock, waiting = _busy.get(key, (threading.Lock(), 0))
        _busy[key] = lock, waiting + 1
    try:
        if not lock.acquire(timeout=min(deadline.remaining, threading.TIMEOUT_MAX)):
            raise CommitConflict(
                f"Another call writes {write_id!r} to {place.name} since before the deadline; "
                "repeat this one to learn what came of it.",
                table=place.info.id,
                write_id=write_id,
            )
        try:
            yield
        finally:
            lock.release()
    finally:
        with _guard:
            lock, waiting = _busy.pop(key)
            if waiting > 1:
                _busy[key] = lock, waiting - 1


def _forget() -> None:
    """Start anew in a forked child: the threads that held these locks are not in it."""
    global _guard  # noqa: PLW0603
    _guard = threading.Lock()
    _lanes.clear()
    _busy.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
