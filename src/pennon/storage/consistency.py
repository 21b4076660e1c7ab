"""How fresh reads are: of this very moment, or of a moment that is not long gone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pennon.errors import InvalidOption

__all__ = ["Consistency", "Eventual", "Strong", "check_consistency"]


@dataclass(frozen=True, slots=True)
class Strong:
    """A read sees every commit that was acknowledged before it began, by any process."""

    @property
    def seconds(self) -> float:
        """How old an answer may be: 0."""
        return 0.0


@dataclass(frozen=True, slots=True)
class Eventual:
    """A read sees every commit that was acknowledged ``seconds`` before it began, or earlier.

    What this backend itself wrote is seen at once. Within the bound a read of a table that was read
    before sends no request to find out whether it has changed.

    Args:
        seconds: The bound; above 0.

    Raises:
        InvalidOption: It is no such number.
    """

    seconds: float

    def __post_init__(self) -> None:
        given: object = self.seconds
        if (
            not isinstance(given, int | float)  # pyright: ignore[reportUnnecessaryIsInstance]
            or isinstance(given, bool)
            or not 0 < given < math.inf
        ):
            raise InvalidOption(
                f"Eventual({given!r}) must be a number of seconds above 0; Strong() is the "
                "consistency without a bound."
            )


Consistency = Strong | Eventual


def check_consistency(given: object) -> Consistency:
    """Return what was given if it is a consistency.

    Raises:
        InvalidOption: It is not.
    """
    if not isinstance(given, (Strong, Eventual)):
        raise InvalidOption(
            f"consistency={given!r} must be pennon.Strong() or pennon.Eventual(seconds)."
        )
    return given
