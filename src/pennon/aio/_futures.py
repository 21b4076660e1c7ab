"""Waiting in an event loop for what a thread does."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import TypeVar

from pennon.errors import InvalidState

__all__ = ["closed", "settled"]

T = TypeVar("T")


def closed() -> InvalidState:
    """Return the error of a call on what was closed."""
    return InvalidState("This async backend is closed; call pennon.aio.open again.")


async def settled(future: Future[T]) -> T:
    """Wait for a call in a thread; when this is cancelled, a call that has not begun is, too.

    Raises:
        InvalidState: The threads were ended before the call began.
    """
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if future.cancelled() and (task is None or not task.cancelling()):
            raise closed() from None
        raise
