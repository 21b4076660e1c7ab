"""A long work of Lance that tells how far it is, and that the caller may end."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from pennon.storage.abc.indexes import IndexProgress, Progress

__all__ = ["watched"]

T = TypeVar("T")
Report = Callable[[Any], None]


def watched(
    name: str,
    progress: Progress | None,
    work: Callable[[Report | None], T],
    undo: Callable[[T], object],
) -> T:
    """Work in another thread, and tell the caller in its own how far it is.

    A function that Lance calls must not call Lance again: the process would abort. So Lance only
    ever calls ours, in the other thread, which waits until the caller has heard.

    Args:
        name: Of the index.
        progress: What to tell it; None to work right here.
        work: The work, given what Lance is to call.
        undo: Takes back a result that came although the caller had ended the work.
    """
    if progress is None:
        return work(None)
    watch = _Watch(name, progress)
    with ThreadPoolExecutor(1, "pennon-index") as pool:
        done = pool.submit(work, watch.report)
        done.add_done_callback(lambda _: watch.said.put(None))
        while watch.hear():
            pass
    if watch.ended is None:
        return done.result()
    if done.exception() is None:
        undo(done.result())
    raise watch.ended


class _Watch:
    """What is said in one thread and heard in the other."""

    def __init__(self, name: str, progress: Progress) -> None:
        self._name = name
        self._progress = progress
        self.said: queue.SimpleQueue[tuple[Any, queue.SimpleQueue[bool]] | None] = (
            queue.SimpleQueue()
        )
        self.ended: BaseException | None = None
        """What ended the work: raised by the caller, or an interrupt."""

    def report(self, event: Any) -> None:
        """Say something, and wait until it was heard; called by Lance."""
        answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.said.put((event, answer))
        if not answer.get():
            raise _Ended

    def hear(self) -> bool:
        """Tell the caller the next thing; returns whether there may be more."""
        answer: queue.SimpleQueue[bool] | None = None
        try:
            item = self.said.get()
            if item is None:
                return False
            event, answer = item
            if self.ended is None:
                self._progress(_told(self._name, event))
        except BaseException as error:  # noqa: BLE001 - raised when the work has ended
            self.ended = self.ended or error
        if answer is not None:
            answer.put(self.ended is None)
        return True


def _told(name: str, event: Any) -> IndexProgress:
    return IndexProgress(
        index=name,
        stage=event.stage,
        completed=event.completed,
        total=event.total,
        unit=event.unit,
        done=event.event == "complete",
    )


class _Ended(Exception):
    """The caller ended the work."""
