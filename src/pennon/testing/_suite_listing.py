"""Listings: order, pages, recursion, iteration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from pennon.errors import InvalidInput
from pennon.namespaces.abc import Id, Namespace, Page
from pennon.testing._suite_base import SuiteBase

__all__ = ["ListingCases"]

_NAMES = ("b", "B", "a", "aa", "a b", "z", "Z", "é", "10", "9")


def _walk(fetch: Callable[..., Page], limit: int) -> list[list[Id]]:
    pages: list[list[Id]] = []
    token: str | None = None
    while True:
        page = fetch(limit=limit, page_token=token)
        pages.append(list(page))
        token = page.next_page_token
        if token is None:
            return pages
        assert len(page) == limit, "only the last page may be short"
        assert len(pages) < 100, "the pages have no end"


class ListingCases(SuiteBase):
    """Sorted, complete, and stable while names come and go."""

    def _tables(self, namespace: Namespace) -> list[Id]:
        for name in _NAMES:
            namespace.declare_table(name)
        return sorted((n,) for n in _NAMES)

    def test_tables_are_sorted(self, namespace: Namespace) -> None:
        expected = self._tables(namespace)
        page = namespace.list_tables()
        assert list(page) == expected
        assert page.next_page_token is None
        assert (len(page), page[0], page[-1]) == (len(expected), expected[0], expected[-1])
        assert expected[0] in page

    def test_namespaces_are_sorted(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        for name in _NAMES:
            namespace.create_namespace(name)
        namespace.declare_table("t")
        assert list(namespace.list_namespaces()) == sorted((n,) for n in _NAMES)

    def test_pages_of_tables(self, namespace: Namespace) -> None:
        expected = self._tables(namespace)
        for limit in (1, 3, len(expected) - 1, len(expected), len(expected) + 1, 10_000):
            pages = _walk(namespace.list_tables, limit)
            assert [id for page in pages for id in page] == expected, f"limit={limit}"
            assert len(pages) == max(1, -(-len(expected) // limit)), f"limit={limit}"

    def test_pages_of_namespaces(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        namespace.create_namespace("p")
        for name in _NAMES:
            namespace.create_namespace(("p", name))
        expected = sorted(("p", n) for n in _NAMES)
        for limit in (1, 4, len(expected), 10_000):
            pages = _walk(partial(namespace.list_namespaces, "p"), limit)
            assert [id for page in pages for id in page] == expected, f"limit={limit}"

    def test_pages_of_a_tree(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        expected = self._tree(namespace)
        for limit in (1, 2, 5, 100):
            pages = _walk(partial(namespace.list_tables, recursive=True), limit)
            assert [id for page in pages for id in page] == expected, f"limit={limit}"

    def test_an_empty_page(self, namespace: Namespace) -> None:
        for page in (namespace.list_tables(limit=1), namespace.list_namespaces(limit=1)):
            assert list(page) == []
            assert page.next_page_token is None

    def test_a_full_last_page_has_no_token(self, namespace: Namespace) -> None:
        namespace.declare_table("a")
        namespace.declare_table("b")
        assert namespace.list_tables(limit=2).next_page_token is None
        first = namespace.list_tables(limit=1)
        assert first.next_page_token is not None
        assert namespace.list_tables(limit=1, page_token=first.next_page_token).items == (("b",),)

    def test_pages_survive_changes_between_them(self, namespace: Namespace) -> None:
        for name in "bdfh":
            namespace.declare_table(name)
        first = namespace.list_tables(limit=2)
        assert list(first) == [("b",), ("d",)]
        namespace.drop_table("b")
        for name in "ace":
            namespace.declare_table(name)
        second = namespace.list_tables(limit=2, page_token=first.next_page_token)
        assert list(second) == [("e",), ("f",)]
        namespace.drop_table("h")
        last = namespace.list_tables(limit=2, page_token=second.next_page_token)
        assert list(last) == []
        assert last.next_page_token is None

    def test_bad_limits(self, namespace: Namespace) -> None:
        namespace.declare_table("t")
        for limit in (0, -1, -1000):
            with self.refused(InvalidInput):
                namespace.list_tables(limit=limit)
            with self.refused(InvalidInput):
                namespace.list_namespaces(limit=limit)
        for wrong in ("10", 1.5):
            bad: Any = wrong
            with self.refused(InvalidInput):
                namespace.list_tables(limit=bad)
            with self.refused(InvalidInput):
                namespace.list_namespaces(limit=bad)

    def _tree(self, namespace: Namespace) -> list[Id]:
        for id in (("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("d",)):
            namespace.create_namespace(id)
        tables: list[Id] = [("a", "b", "c", "t"), ("a", "b", "u"), ("a", "t"), ("ab", "t"), ("t",)]
        for id in reversed(tables):
            namespace.declare_table(id)
        return tables

    def test_recursion(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        tables = self._tree(namespace)
        assert list(namespace.list_tables(recursive=True)) == tables
        assert list(namespace.list_tables("a", recursive=True)) == tables[:3]
        assert list(namespace.list_tables(("a", "b"), recursive=True)) == tables[:2]
        assert list(namespace.list_tables("d", recursive=True)) == []
        assert list(namespace.list_tables()) == [("t",)]
        assert list(namespace.list_tables(("a", "b"))) == [("a", "b", "u")]

    def test_iteration(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        tables = self._tree(namespace)
        below = [("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("d",)]
        for size in (1, 2, 1000):
            assert list(namespace.iter_tables(recursive=True, page_size=size)) == tables
            assert list(namespace.iter_tables("a", page_size=size)) == [("a", "t")]
            assert list(namespace.iter_namespaces(recursive=True, page_size=size)) == below
            assert list(namespace.iter_namespaces(page_size=size)) == [("a",), ("ab",), ("d",)]
            assert list(namespace.iter_namespaces("a", page_size=size)) == [("a", "b")]

    def test_names_that_sort_around_the_separators(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        # "$" and "." sort between these characters: a joined id sorts unlike its parts.
        for name in ("a", "a!", "a#", "a%", "a-", "a0"):
            namespace.create_namespace(name)
            namespace.declare_table((name, "t"))
        expected = sorted((n, "t") for n in ("a", "a!", "a#", "a%", "a-", "a0"))
        for limit in (1, 2, 100):
            pages = _walk(partial(namespace.list_tables, recursive=True), limit)
            assert [id for page in pages for id in page] == expected, f"limit={limit}"
