"""Segments of vectors kept as small numbers, and what they know of numbers they never saw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pennon.expr import col
from pennon.storage._lance.building import stats_of
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place

if TYPE_CHECKING:
    import lance

__all__ = ["far_apart"]

_LEAST = 0.5
"""What part of all the numbers there are each segment has to span."""


def far_apart(
    place: Place,
    handle: lance.LanceDataset,
    name: str,
    column: str,
    kept: Iterable[str],
    fragments: Iterable[int],
) -> bool:
    """Whether a new segment and the others know too different numbers to be searched together.

    A segment takes a number of a query beyond those it was built on for the last of them. So it
    finds its own vectors near whatever lies far away, and they would hide the near ones of others.

    Args:
        place: The table.
        handle: The version.
        name: The index.
        column: Its column.
        kept: The segments that there will be beside the new one.
        fragments: Those that the new one is to cover.
    """
    stay, cosine = set(kept), False
    known: list[tuple[float, float]] = []
    for segment in stats_of(handle, name):
        cosine = segment.get("metric_type") == "cosine"
        bounds = segment.get("sub_index", {}).get("bounds")
        if bounds and segment.get("uuid") in stay:
            known.append((bounds["start"], bounds["end"]))
    new = _extent(place, handle, column, fragments, cosine=cosine) if known else None
    if new is None:
        return False
    known.append(new)
    whole = max(end for _, end in known) - min(start for start, _ in known)
    return any(end - start < whole * _LEAST for start, end in known)


def _extent(
    place: Place,
    handle: lance.LanceDataset,
    column: str,
    fragments: Iterable[int],
    *,
    cosine: bool,
) -> tuple[float, float] | None:
    """Return the least and the greatest number of the vectors of some fragments, if any."""
    import numpy as np

    some, least, most = set(fragments), np.inf, -np.inf
    with translated(place.name, place.secrets):
        batches = handle.scanner(
            columns={"v": col(*column.split(".")).to_sql()},
            fragments=[f for f in handle.get_fragments() if f.fragment_id in some],
        ).to_batches()
        for batch in batches:
            numbers = _numbers(batch.column(0), cosine=cosine)
            numbers = numbers[np.isfinite(numbers)]
            if numbers.size:
                least, most = min(least, numbers.min()), max(most, numbers.max())
    return (float(least), float(most)) if least <= most else None


def _numbers(vectors: Any, *, cosine: bool) -> Any:
    import numpy as np
    import pyarrow as pa

    while not pa.types.is_fixed_size_list(vectors.type):
        vectors = vectors.flatten()
    numbers = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if cosine:
        rows = numbers.reshape(-1, vectors.type.list_size)
        with np.errstate(divide="ignore", invalid="ignore"):
            numbers = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return numbers
