"""The operations on namespaces."""

from __future__ import annotations

from typing import Any

import pytest

from pennon.errors import (
    InvalidInput,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    TableAlreadyExists,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces.abc import Namespace
from pennon.testing._suite_base import SuiteBase, tree

__all__ = ["PROPERTIES", "NamespaceCases"]

PROPERTIES = {
    "plain": "value",
    "empty": "",
    "": "no key",
    "quotes": """it's "quoted" `here` \\ there""",
    "lines": "one\ntwo\r\n\tthree",
    "日本": "\U0001f980 שלום cafe\u0301",
    "json": '{"a": [1, null]}',
    "sql": "'; DROP TABLE x; --",
    "null": "null",
    "dotted.key/with$signs": "$",
    "long": "x" * 5000,
}
"""Properties that break careless quoting and encoding."""


class NamespaceCases(SuiteBase):
    """Create, describe, update, drop."""

    def test_a_fresh_catalog_is_empty(self, namespace: Namespace) -> None:
        assert tree(namespace) == ([], [])
        assert len(namespace.list_namespaces()) == 0
        assert len(namespace.list_tables()) == 0

    def test_the_root_is_a_namespace(self, namespace: Namespace) -> None:
        assert namespace.namespace_exists(()) is True
        assert namespace.describe_namespace(()).id == ()

    def test_the_root_cannot_be_created(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        for mode in ("create", "exist_ok", "overwrite"):
            with self.refused(NamespaceAlreadyExists):
                namespace.create_namespace((), mode=mode)

    def test_the_root_cannot_be_dropped(self, namespace: Namespace) -> None:
        namespace.declare_table("t")
        for behavior in ("restrict", "cascade"):
            for missing_ok in (False, True):
                with self.refused(InvalidInput):
                    namespace.drop_namespace((), behavior=behavior, missing_ok=missing_ok)
        assert tree(namespace) == ([], [("t",)])

    def test_the_root_cannot_be_updated(self, namespace: Namespace) -> None:
        with self.refused(Unsupported):
            namespace.update_namespace((), set={"k": "v"})

    def test_create_and_describe(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        made = namespace.create_namespace("a")
        assert made.id == ("a",)
        assert dict(made.properties) == {}
        assert namespace.describe_namespace("a") == made
        assert namespace.describe_namespace(("a",)) == made
        assert namespace.describe_namespace(["a"]) == made
        assert namespace.namespace_exists("a") is True
        assert namespace.namespace_exists("b") is False
        assert namespace.table_exists("a") is False
        assert tree(namespace) == ([("a",)], [])

    def test_create_twice(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        namespace.create_namespace("a", properties={"k": "v"})
        with self.refused(NamespaceAlreadyExists, "a"):
            namespace.create_namespace("a", properties={"k": "w"})
        assert dict(namespace.describe_namespace("a").properties) == {"k": "v"}

    def test_namespaces_nest(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        ids = [tuple("abcde"[:n]) for n in range(1, 6)]
        for id in ids:
            assert namespace.create_namespace(id).id == id
        assert tree(namespace) == (ids, [])
        assert list(namespace.list_namespaces()) == [("a",)]
        assert list(namespace.list_namespaces(("a", "b"))) == [("a", "b", "c")]
        assert namespace.namespace_exists(("b",)) is False

    def test_the_parent_must_exist(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        for mode in ("create", "exist_ok", "overwrite"):
            with self.refused(NamespaceNotFound, ("no",)):
                namespace.create_namespace(("no", "a"), mode=mode)
        namespace.declare_table("t")
        with self.refused(NamespaceNotFound, ("t",)):
            namespace.create_namespace(("t", "a"))
        assert tree(namespace) == ([], [("t",)])

    def test_exist_ok_leaves_everything_as_it_was(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        first = namespace.create_namespace("a", mode="exist_ok", properties={"k": "v"})
        assert dict(first.properties) == {"k": "v"}
        namespace.declare_table(("a", "t"))
        again = namespace.create_namespace("a", mode="exist_ok", properties={"k": "w", "l": "x"})
        assert dict(again.properties) == {"k": "v"}
        assert dict(namespace.describe_namespace("a").properties) == {"k": "v"}
        assert tree(namespace) == ([("a",)], [("a", "t")])

    def test_overwrite_makes_an_empty_one(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        namespace.create_namespace("a", properties={"old": "1"})
        namespace.create_namespace(("a", "b"))
        namespace.declare_table(("a", "t"))
        namespace.declare_table(("a", "b", "u"))
        namespace.create_namespace("ab")
        namespace.declare_table(("ab", "t"))
        made = namespace.create_namespace("a", mode="overwrite", properties={"new": "2"})
        assert dict(made.properties) == {"new": "2"}
        assert dict(namespace.describe_namespace("a").properties) == {"new": "2"}
        assert tree(namespace) == ([("a",), ("ab",)], [("ab", "t")])
        assert namespace.create_namespace("c", mode="overwrite").id == ("c",)

    def test_unknown_modes_are_refused(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        bad: Any = "replace"
        with self.refused(InvalidInput):
            namespace.create_namespace("a", mode=bad)
        namespace.create_namespace("b")
        with self.refused(InvalidInput):
            namespace.drop_namespace("b", behavior=bad)
        assert tree(namespace) == ([("b",)], [])

    def test_ids_exclude_each_other(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        namespace.create_namespace("n")
        namespace.declare_table("t")
        for mode in ("create", "exist_ok", "overwrite"):
            with self.refused(TableAlreadyExists, "t"):
                namespace.create_namespace("t", mode=mode)
        with self.refused(NamespaceAlreadyExists, "n"):
            namespace.declare_table("n")
        with self.refused(NamespaceNotFound, "t"):
            namespace.describe_namespace("t")
        with self.refused(TableNotFound, "n"):
            namespace.describe_table("n")
        with self.refused(NamespaceNotFound, "t"):
            namespace.drop_namespace("t", behavior="cascade")
        with self.refused(TableNotFound, "n"):
            namespace.drop_table("n")
        namespace.drop_namespace("t", missing_ok=True)
        namespace.drop_table("n", missing_ok=True)
        assert namespace.namespace_exists("t") is False
        assert namespace.table_exists("n") is False
        assert tree(namespace) == ([("n",)], [("t",)])

    def test_missing_namespaces(self, namespace: Namespace) -> None:
        for id in (("no",), ("no", "deeper")):
            assert namespace.namespace_exists(id) is False
            with self.refused(NamespaceNotFound, id):
                namespace.describe_namespace(id)
            with self.refused(NamespaceNotFound, id):
                namespace.list_namespaces(id)
            with self.refused(NamespaceNotFound, id):
                namespace.list_tables(id)
            with self.refused(NamespaceNotFound, id):
                namespace.list_tables(id, recursive=True)
            for behavior in ("restrict", "cascade"):
                with self.refused(NamespaceNotFound, id):
                    namespace.drop_namespace(id, behavior=behavior)
            namespace.drop_namespace(id, missing_ok=True)
            if "update" in namespace.capabilities:
                with self.refused(NamespaceNotFound, id):
                    namespace.update_namespace(id, set={"k": "v"})
        with self.refused(NamespaceNotFound, ("no",)):
            next(namespace.iter_tables("no"))
        with self.refused(NamespaceNotFound, ("no",)):
            next(namespace.iter_namespaces("no"))

    def test_drop_restrict(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        namespace.create_namespace("a")
        namespace.create_namespace(("a", "b"))
        with self.refused(NamespaceNotEmpty, "a"):
            namespace.drop_namespace("a")
        namespace.declare_table(("a", "b", "t"))
        with self.refused(NamespaceNotEmpty, ("a", "b")):
            namespace.drop_namespace(("a", "b"), missing_ok=True)
        assert tree(namespace) == ([("a",), ("a", "b")], [("a", "b", "t")])
        namespace.drop_table(("a", "b", "t"))
        namespace.drop_namespace(("a", "b"))
        namespace.drop_namespace("a", behavior="restrict")
        assert tree(namespace) == ([], [])
        with self.refused(NamespaceNotFound, "a"):
            namespace.drop_namespace("a")

    def test_drop_cascade(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        # Neighbours that a comparison by prefix, pattern or sort order could mistake for content.
        for id in ("a", "ab", "a ", "A", "%", "a!"):
            namespace.create_namespace(id)
            namespace.declare_table((id, "t"))
        namespace.create_namespace(("a", "b"))
        namespace.create_namespace(("a", "b", "c"))
        namespace.declare_table(("a", "b", "c", "t"))
        namespace.drop_namespace("a", behavior="cascade")
        left = sorted([("ab",), ("a ",), ("A",), ("%",), ("a!",)])
        assert tree(namespace) == (left, [(*id, "t") for id in left])
        assert namespace.table_exists(("a", "t")) is False
        namespace.create_namespace("a")
        assert list(namespace.list_tables("a", recursive=True)) == []

    def test_drop_cascade_matches_no_patterns(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        for id in ("%", "a_b", "axb", "*", "'"):
            namespace.create_namespace(id)
            namespace.declare_table((id, "t"))
        for id in ("%", "*", "a_b", "'"):
            namespace.drop_namespace(id, behavior="cascade")
        assert tree(namespace) == ([("axb",)], [("axb", "t")])

    def test_properties_round_trip(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        made = namespace.create_namespace("a", properties=PROPERTIES)
        assert dict(made.properties) == PROPERTIES
        assert dict(namespace.describe_namespace("a").properties) == PROPERTIES
        assert dict(self.reopen(namespace).describe_namespace("a").properties) == PROPERTIES

    def test_properties_are_copied(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        given = {"k": "v"}
        namespace.create_namespace("a", properties=given)
        given["k"] = "changed"
        assert dict(namespace.describe_namespace("a").properties) == {"k": "v"}

    def test_properties_must_be_strings(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        for bad in ({"k": 1}, {"k": None}, {1: "v"}, {"k": "half\ud800"}):
            wrong: Any = bad
            with self.refused(InvalidInput):
                namespace.create_namespace("a", properties=wrong)
            with self.refused(InvalidInput):
                namespace.declare_table("t", properties=wrong)
        assert tree(namespace) == ([], [])

    def test_update(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties", "update"):
            return
        namespace.create_namespace("a", properties={"keep": "1", "change": "2", "drop": "3"})
        namespace.declare_table(("a", "t"))
        new = namespace.update_namespace("a", set={"change": "x", "add": ""}, unset=["drop", "no"])
        assert dict(new.properties) == {"keep": "1", "change": "x", "add": ""}
        assert dict(namespace.describe_namespace("a").properties) == dict(new.properties)
        assert tree(namespace) == ([("a",)], [("a", "t")])
        assert dict(namespace.update_namespace("a").properties) == dict(new.properties)
        all_of_them = namespace.update_namespace("a", set=PROPERTIES, unset=["keep", "change"])
        assert dict(all_of_them.properties) == {**PROPERTIES, "add": ""}
        gone = namespace.update_namespace("a", unset=list(all_of_them.properties))
        assert dict(gone.properties) == {}
        assert dict(self.reopen(namespace).describe_namespace("a").properties) == {}

    def test_update_needs_a_namespace(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties", "update"):
            return
        namespace.declare_table("t", properties={"k": "v"})
        with self.refused(NamespaceNotFound, "t"):
            namespace.update_namespace("t", set={"k": "w"})
        assert dict(namespace.describe_table("t").properties) == {"k": "v"}
        wrong: Any = {"k": 1}
        namespace.create_namespace("a")
        with self.refused(InvalidInput):
            namespace.update_namespace("a", set=wrong)
        with self.refused(InvalidInput):
            namespace.update_namespace("a", unset="k")

    def test_properties_cannot_be_changed_in_place(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        made: Any = namespace.create_namespace("a", properties={"k": "v"}).properties
        with pytest.raises(TypeError):
            made["k"] = "w"
