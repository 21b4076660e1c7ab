"""Names at the door: what a namespace or table may be called."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from pennon.errors import InvalidName
from pennon.namespaces.abc import Id, IdLike

__all__ = ["DELIMITER", "check_new", "parse_id", "show_id"]

DELIMITER = "$"
"""Joins the parts of an id in Lance's catalog table and in REST routes."""
_MAX_BYTES = 240


def parse_id(id: IdLike, *, what: str = "name", allow_root: bool = False) -> Id:
    """Return an id as a tuple of valid names.

    Args:
        id: A string (one part) or a sequence of strings.
        what: What the id names, for the message.
        allow_root: Whether the empty id is one.

    Raises:
        InvalidName: It is neither a string nor a sequence, or a part is empty, ``.``, ``..``,
            over 240 bytes of UTF-8, or holds a separator, a control character, ``$`` or something
            that is not Unicode text.
    """
    if not isinstance(id, str | Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidName(
            f"A {type(id).__name__} is no {what}; pass a string or a tuple of strings."
        )
    parts = (id,) if isinstance(id, str) else tuple(id)
    if not parts and not allow_root:
        raise InvalidName(f"An empty id is no {what}; pass a string or a tuple of strings.")
    for part in parts:
        problem = _problem(part)
        if problem:
            raise InvalidName(f"{part!r} in {parts!r} is no {what}: it {problem}.")
    return parts


def check_new(id: Id, *, what: str = "name") -> Id:
    """Return the id if something new may be given it.

    Raises:
        InvalidName: A part starts with ``_``, which Lance and pennon keep for themselves.
    """
    for part in id:
        if part.startswith("_"):
            raise InvalidName(
                f"{part!r} is no {what}: names that start with '_' are reserved; choose another."
            )
    return id


def show_id(id: Id) -> str:
    """Return an id for people: ``team.docs``, or ``the root``."""
    return ".".join(id) if id else "the root"


def _problem(part: object) -> str:
    return _fault(part) if isinstance(part, str) else f"is a {type(part).__name__}, not a string"


@lru_cache(maxsize=1024)
def _fault(part: str) -> str:
    if not part:
        return "is empty"
    if part in {".", ".."}:
        return "is a step of a path"
    for char in part:
        if char in "/\\":
            return f"holds the separator {char!r}"
        if char == DELIMITER:
            return f"holds {DELIMITER!r}, which joins the parts of an id"
        if unicodedata.category(char) == "Cc":
            return f"holds the control character {char!r}"
        if unicodedata.category(char) == "Cs":
            return "holds half a character (an unpaired surrogate)"
    if len(part.encode()) > _MAX_BYTES:
        return f"is longer than {_MAX_BYTES} bytes"
    return ""
