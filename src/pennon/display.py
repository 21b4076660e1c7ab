"""For eyes: a catalog as a tree, in a terminal and in a notebook; a table as a card."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Card", "Tree", "catalog_tree"]

_Id = tuple[str, ...]
_LIMIT = 200


class _Catalog(Protocol):
    @property
    def root(self) -> str: ...

    def iter_namespaces(self, parent: _Id = (), *, recursive: bool = False) -> Iterator[_Id]: ...

    def iter_tables(self, namespace: _Id = (), *, recursive: bool = False) -> Iterator[_Id]: ...


@dataclass(slots=True)
class _Node:
    is_namespace: bool = False
    note: str = ""
    below: dict[str, _Node] = field(default_factory=dict[str, "_Node"])


class Tree:
    """Names below a root. ``str()`` draws it in Unicode; a notebook shows it too.

    Args:
        root: What stands at the top.
        namespaces: Ids of the namespaces.
        tables: Ids of the tables, each with a note to stand beside it.
        limit: Lines to draw at most.
    """

    def __init__(
        self,
        root: str,
        namespaces: Iterator[_Id] | list[_Id],
        tables: Mapping[_Id, str],
        *,
        limit: int = _LIMIT,
    ) -> None:
        self._root = root
        self._limit = limit
        self._top = _Node(is_namespace=True)
        for id in namespaces:
            self._node(id).is_namespace = True
        for id, note in tables.items():
            self._node(id).note = note

    def _node(self, id: _Id) -> _Node:
        node = self._top
        for part in id:
            node = node.below.setdefault(part, _Node())
        return node

    def __str__(self) -> str:
        lines = [(self._root, ""), *_lines(self._top, "")]
        width = max(len(name) for name, _ in lines)
        drawn = [f"{name:<{width}}  {note}".rstrip() for name, note in lines[: self._limit]]
        if len(lines) > self._limit:
            drawn.append(f"... and {len(lines) - self._limit} more")
        return "\n".join(drawn)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _lines(node: _Node, indent: str) -> Iterator[tuple[str, str]]:
    ordered = sorted(node.below.items(), key=lambda item: (not item[1].is_namespace, item[0]))
    for number, (name, below) in enumerate(ordered, start=1):
        last = number == len(ordered)
        shown = f"{_printable(name)}/" if below.is_namespace or below.below else _printable(name)
        yield f"{indent}{'└─' if last else '├─'} {shown}", below.note
        yield from _lines(below, indent + ("   " if last else "│  "))


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)


def catalog_tree(
    catalog: _Catalog, within: _Id = (), *, note: Callable[[_Id], str] | None = None
) -> Tree:
    """Return the names of a catalog as a tree.

    >>> from pennon.namespaces.memory import MemoryNamespace
    >>> ns = MemoryNamespace("memory://shown")
    >>> _ = ns.create_namespace("team"), ns.declare_table(("team", "docs"))
    >>> print(catalog_tree(ns))
    memory://shown
    └─ team/
       └─ docs

    Args:
        catalog: A namespace.
        within: The id of the namespace to show; the root by default.
        note: What to say beside a table, given its id.
    """
    depth = len(within)
    namespaces = [i[depth:] for i in catalog.iter_namespaces(within, recursive=True)]
    tables = {
        i[depth:]: note(i) if note is not None else ""
        for i in catalog.iter_tables(within, recursive=True)
    }
    return Tree(" / ".join((catalog.root, *within)), namespaces, tables)


@dataclass(frozen=True, slots=True)
class Card:
    """One thing with what is known of it: facts by name, and small grids."""

    title: str
    facts: Mapping[str, str]
    grids: Mapping[str, list[tuple[str, ...]]]
    """Rows by title; the first row of each names the columns. Empty ones are left out."""
    trouble: str | None = None
    """Why not everything is known."""

    def html(self) -> str:
        """Return it as HTML, with everything escaped."""
        facts = "".join(
            f'<tr><th style="text-align:left">{html.escape(name)}</th>'
            f'<td style="text-align:left">{html.escape(value)}</td></tr>'
            for name, value in self.facts.items()
        )
        grids = "".join(_grid(title, rows) for title, rows in self.grids.items() if len(rows) > 1)
        trouble = "" if self.trouble is None else f"<p>⚠ {html.escape(self.trouble)}</p>"
        return (
            f"<div><strong>{html.escape(self.title)}</strong><table>{facts}</table>"
            f"{grids}{trouble}</div>"
        )


def _grid(title: str, rows: list[tuple[str, ...]]) -> str:
    lines: list[str] = []
    for number, row in enumerate(rows[: _LIMIT + 1]):
        tag = "td" if number else "th"
        cells = "".join(
            f'<{tag} style="text-align:left">{html.escape(cell)}</{tag}>' for cell in row
        )
        lines.append(f"<tr>{cells}</tr>")
    more = f"<p>... and {len(rows) - 1 - _LIMIT} more</p>" if len(rows) - 1 > _LIMIT else ""
    return (
        f"<details open><summary>{html.escape(title)}</summary>"
        f"<table>{''.join(lines)}</table>{more}</details>"
    )
