"""Rows that an index may know by what they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import lance

__all__ = ["with_changed_rows"]

_REPLACED = -2
"""What stands in a data file for a column that another file of the fragment holds now."""


def with_changed_rows(handle: lance.LanceDataset) -> frozenset[int]:
    """Return the fragments with rows that kept their ids when their values changed.

    A segment of an index goes on knowing them by what they were. Lance asks it only for fragments
    that the index holds, but believes every segment about those that any of them holds: once a new
    segment holds such a fragment, old ones must not be left beside it. Only indexes of vectors
    tell their segments apart.
    """
    return frozenset(
        fragment.fragment_id
        for fragment in handle.get_fragments()
        # Versions are told only where ids are stable; without, rows keep them in their place alone.
        if (m := fragment.metadata).created_at_version_meta != m.last_updated_at_version_meta
        or any(_REPLACED in file.fields for file in m.files)
    )
