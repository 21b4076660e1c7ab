"""Trees of names."""

from __future__ import annotations

import pennon
from pennon.display import Tree, catalog_tree


def test_a_catalog_as_a_tree() -> None:
    db = pennon.open("memory://shown")
    ns = db.namespace
    ns.create_namespace("team", mode="overwrite")
    ns.create_namespace(("team", "empty"))
    db.create_table("top", [{"x": 1}, {"x": 2}])
    db.create_table(("team", "docs"), [{"x": 1}])
    shown = catalog_tree(ns, note=lambda table: f"{db.count_rows(table)} rows")
    assert str(shown).splitlines() == [
        "memory://shown",
        "├─ team/",
        "│  ├─ empty/",
        "│  └─ docs      1 rows",
        "└─ top          2 rows",
    ]
    assert repr(shown) == str(shown)


def test_a_part_of_a_catalog(memory_root: str) -> None:
    ns = pennon.open(memory_root).namespace
    for id in (("a",), ("a", "b"), ("c",)):
        ns.create_namespace(id)
    ns.declare_table(("a", "t"))
    assert str(catalog_tree(ns, ("a",))) == f"{memory_root} / a\n├─ b/\n└─ t"


def test_namespaces_come_first_and_odd_names_are_shown_whole() -> None:
    tree = Tree("root", [("z",)], {("a",): "", ("\u200bb",): "", ("<i>",): ""})
    assert str(tree).splitlines() == ["root", "├─ z/", "├─ <i>", "├─ a", "└─ '\\u200bb'"]
    html = tree._repr_html_()
    assert "&lt;i&gt;" in html
    assert "<i>" not in html


def test_a_large_catalog_is_cut() -> None:
    tree = Tree("root", [], {(f"t{n:04}",): "" for n in range(1000)}, limit=10)
    lines = str(tree).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "... and 991 more"
