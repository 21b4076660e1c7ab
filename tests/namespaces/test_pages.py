"""Pages: one cut that every kind shares."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennon.errors import InvalidOption
from pennon.namespaces.abc import Id, Page, check_limit, page_of
from pennon.namespaces.memory import MemoryNamespace
from pennon.testing.strategies import ids, names

Ids = st.sets(st.lists(names(), min_size=1, max_size=3).map(tuple) | ids(), max_size=12)


@given(Ids, st.integers(1, 14))
def test_pages_make_the_whole(found: set[Id], limit: int) -> None:
    pages: list[Page] = []
    token: str | None = None
    while True:
        pages.append(page_of(found, limit, token))
        token = pages[-1].next_page_token
        if token is None:
            break
    assert [id for page in pages for id in page] == sorted(found)
    assert all(len(page) == limit for page in pages[:-1])
    assert all(len(page) >= 1 for page in pages) or not found


@given(Ids, Ids, st.integers(1, 5))
def test_a_token_stays_right_when_names_come_and_go(
    before: set[Id], after: set[Id], limit: int
) -> None:
    first = page_of(before, limit, None)
    if first.next_page_token is None:
        return
    second = page_of(after, None, first.next_page_token)
    assert list(second) == sorted(i for i in after if i > first[-1])


@pytest.mark.parametrize("limit", [0, -1, "1", 1.5, True])
def test_bad_limits(limit: Any) -> None:
    with pytest.raises(InvalidOption):
        page_of([], limit, None)
    with pytest.raises(InvalidOption):
        check_limit(limit)


def test_bad_tokens() -> None:
    check_limit(1, "x")
    wrong: Any = b"x"
    with pytest.raises(InvalidOption, match="next_page_token"):
        page_of([], None, wrong)


def test_without_a_limit_there_is_one_page() -> None:
    page = page_of([("b",), ("a",)], None, None)
    assert page.items == (("a",), ("b",))
    assert page.next_page_token is None


def test_a_page_is_a_sequence() -> None:
    page = page_of([("b",), ("a",), ("c",)], 2, None)
    assert len(page) == 2
    assert page[0] == ("a",)
    assert page[:1] == (("a",),)
    assert list(reversed(page)) == [("b",), ("a",)]
    assert ("a",) in page
    assert ("c",) not in page
    assert page.index(("b",)) == 1


def test_iteration_sees_later_changes_after_a_page() -> None:
    namespace = MemoryNamespace()
    for name in "abc":
        namespace.declare_table(name)
    found = namespace.iter_tables(page_size=1)
    assert next(found) == ("a",)
    namespace.drop_table("b")
    namespace.declare_table("bb")
    assert list(found) == [("bb",), ("c",)]


def test_iteration_refuses_a_bad_page_size() -> None:
    with pytest.raises(InvalidOption):
        next(MemoryNamespace().iter_tables(page_size=0))
    with pytest.raises(InvalidOption):
        next(MemoryNamespace().iter_namespaces(page_size=0))
