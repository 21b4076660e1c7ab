"""Write lanes: one per table and branch in a process, so that its writers do not race each other.

A lane exists only while somebody is in it or waits for it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from pennon.errors import CommitConflict
from pennon.retry import Deadline
from pennon.storage._lance.places import Place

__all__ = ["Lane", "lane_of", "one_at_a_time"]


@dataclass(slots=True)
class Lane:
    """Where the writers of one table pass one after the other."""

    place: Place
    lock: threading.RLock = field(default_factory=threading.RLock)
    users: int = 0
    depth: int = 0
    """How often the thread that is in it has entered."""
    gate: threading.Lock = field(default_factory=threading.Lock)
    """Guards ``waiting``; held for no longer than it takes to look."""
    waiting: list[Any] = field(default_factory=list[Any])
    """Appends whose rows are written and that the next one to pass commits for all."""

    @contextlib.contextmanager
    def passing(self, deadline: Deadline) -> Generator[None]:
        """Wait for everybody before, and keep everybody after waiting; re-entrant in a thread.

        Raises:
            CommitConflict: The deadline came first.
        """
        if not self.lock.acquire(timeout=min(deadline.remaining, threading.TIMEOUT_MAX)):
            raise CommitConflict(
                f"Other writers of this process kept {self.place.name} busy until the deadline; "
                "raise deadline=, or retry.",
                table=self.place.info.id,
            )
        self.depth += 1
        try:
            yield
        finally:
            self.depth -= 1
            self.lock.release()


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
