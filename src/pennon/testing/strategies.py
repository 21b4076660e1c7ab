"""Hypothesis strategies for what a catalog is made of."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from pennon.namespaces.abc import Id
from pennon.testing.names import ODD_NAMES

__all__ = ["ids", "names", "properties"]


def names() -> st.SearchStrategy[str]:
    """Any name something new may be given."""
    text = st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\$"),
        min_size=1,
        max_size=60,
    )
    free = text.filter(lambda n: n not in {".", ".."} and not n.startswith("_"))
    return st.sampled_from(ODD_NAMES) | free


def ids(pool: Sequence[str] = ("a", "b", "c"), *, depth: int = 3) -> st.SearchStrategy[Id]:
    """Ids whose parts come from a small pool, so that they meet each other; most are short."""
    parts = st.sampled_from(pool)
    return st.one_of(
        [st.tuples(*[parts] * n) for n in range(1, depth + 1) for _ in range(depth + 1 - n)]
    )


def properties() -> st.SearchStrategy[dict[str, str]]:
    """Small sets of properties, any text in keys and values."""
    text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
    return st.dictionaries(st.sampled_from(("k", "l")) | text, text, max_size=3)
