"""Write lanes: one per table and branch in a process, so that its writers do not race each other.

A lane exists only while somebody is in it or waits for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from pennon.errors import CommitConflict
from pennon.retry import Deadline
from pennon.storage._lance.places import Place

__all__ = ["Lane", "lane_of", "one_at_a_time"]


class Lane:
    """Where the writers of one table pass one after the other.

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
        self._left = threading.Condition(self._lock)
        self._came = threading.Condition(self._lock)
        self._together = 1, 1
        self._enough = 1
        self._took = 0.0

    @contextlib.contextmanager
    def passing(
        self, deadline: Deadline, done: Callable[[], bool] = lambda: False
    ) -> Generator[bool]:
        """Wait for everybody before, and keep everybody after waiting; re-entrant in a thread.

        Args:
            deadline: When to give up.
            done: Whether there is nothing left to wait for, because another one did it.

        Yields:
            Whether the caller is in: not if it is done.

        Raises:
            CommitConflict: The deadline came first.
        """
        me = threading.get_ident()

        def may() -> bool:
            return not self.depth or self._owner == me or done()

        with self._lock:
            if not self._left.wait_for(may, min(deadline.remaining, threading.TIMEOUT_MAX)):
                raise CommitConflict(
                    f"Other writers of this process kept {self._place.name} busy until the "
                    "deadline; raise deadline=, or retry.",
                    table=self._place.info.id,
                )
            entered = not done()
            if entered:
                self._owner = me
                self.depth += 1
        try:
            yield entered
        finally:
            if entered:
                with self._lock:
                    self.depth -= 1
                    if not self.depth:
                        self._owner = None
                        self._left.notify_all()

    def put(self, job: Any) -> None:
        """Leave a job for the next one to pass."""
        with self._lock:
            self.waiting.append(job)
            if len(self.waiting) >= self._enough:
                self._came.notify()

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
        times, they are waited for, half as long as the last took at most.
        """
        with self._lock:
            self._enough = max(self._together)
            self._came.wait_for(
                lambda: sum(map(chosen, self.waiting)) >= self._enough,
                min(self._took / 2, _PATIENCE),
            )
            taken = [job for job in self.waiting if chosen(job)]
            self.waiting = [job for job in self.waiting if job not in taken]
        begin = time.monotonic()
        yield taken
        self._together = self._together[1], len(taken)
        self._took = time.monotonic() - begin


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

    Raises:
        CommitConflict: The deadline came first.
    """
    key = place.location, write_id
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
