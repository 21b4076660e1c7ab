"""Deadlines and back-off: every loop over a store is bounded by these."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from numbers import Real

from pennon.errors import DeadlineExceeded, InvalidOption

__all__ = ["Backoff", "Deadline"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the monotonic clock by which a call must have ended."""

    at: float

    @classmethod
    def after(cls, seconds: float | Deadline | None, default: float) -> Deadline:
        """Return the deadline ``seconds`` from now.

        Args:
            seconds: Seconds, an existing deadline (returned as it is), or None for the default.
            default: Seconds used when ``seconds`` is None.

        Raises:
            InvalidOption: ``seconds`` is not a positive number.
        """
        if isinstance(seconds, Deadline):
            return seconds
        span = default if seconds is None else seconds
        if not isinstance(span, Real) or isinstance(span, bool) or not span > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"deadline={span!r} must be a number of seconds above 0.")
        return cls(time.monotonic() + float(min(span, sys.float_info.max)))

    @property
    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - time.monotonic())

    def check(self, doing: str) -> None:
        """Raise if the deadline has passed.

        Raises:
            DeadlineExceeded: No time is left.
        """
        if self.remaining <= 0:
            raise DeadlineExceeded(f"The deadline passed while {doing}; raise deadline=.")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off with full jitter.

    The scheme is "full jitter" of the AWS architecture blog: sleep a uniform random time between
    0 and ``base * 2**attempt``, capped.
    """

    base: float = 0.02
    """Seconds: the upper bound of the first pause."""
    cap: float = 2.0
    """Seconds: the upper bound of any pause."""
    attempts: int = 8
    """How often the call is made at most."""
    _sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def tries(self, deadline: Deadline) -> Iterator[int]:
        """Yield 0, 1, 2, ... with a pause in between, until attempts or time run out."""
        for attempt in range(self.attempts):
            yield attempt
            pause = random.uniform(0, min(self.cap, self.base * 2**attempt))  # noqa: S311
            if attempt + 1 == self.attempts or pause >= deadline.remaining:
                return
            self._sleep(pause)
