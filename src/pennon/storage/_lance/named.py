"""Calls of Lance that read the names of all branches or tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from pennon.errors import CommitConflict
from pennon.retry import Backoff, Deadline
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import lance

__all__ = ["named", "on_names"]

T = TypeVar("T")
_SECONDS = 30.0


def on_names(place: Place, call: Callable[[lance.LanceDataset], T]) -> T:
    """Call Lance with a new handle on the table, again if a name went away meanwhile.

    Lance lists the names, then reads them one by one, and gives up when one is gone by then.

    Raises:
        CommitConflict: That happened again and again.
    """
    main = place.on(MAIN)
    last: CommitConflict | None = None
    for _ in Backoff(base=0.01).tries(Deadline.after(_SECONDS, _SECONDS)):
        handle = main.open()
        try:
            with translated(main.name, main.secrets):
                return call(handle)
        except CommitConflict as error:
            last = error
    raise last or CommitConflict(
        f"There was no time to read the branches and tags of {main.name}; retry.",
        table=main.info.id,
    )


def named(place: Place) -> list[str]:
    """Return the names of all branches and tags of a table, for people: what Lance has for each."""
    refs = f"{place.on(MAIN).base}/_refs"
    return [
        f"{what} {unquote(meta.key.removeprefix(f'{refs}/{kind}/').removesuffix('.json'))}"
        for what, kind in (("branch", "branches"), ("tag", "tags"))
        for meta in sorted(place.above.list(f"{refs}/{kind}"), key=lambda meta: meta.key)
        if meta.key.endswith(".json")
    ]
