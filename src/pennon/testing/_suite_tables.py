"""The operations on tables."""

from __future__ import annotations

from typing import Any

from pennon.errors import (
    InvalidInput,
    NamespaceAlreadyExists,
    NamespaceNotFound,
    TableAlreadyExists,
    TableNotFound,
)
from pennon.namespaces.abc import IdLike, Namespace
from pennon.testing._suite_base import SuiteBase, tree
from pennon.testing._suite_namespaces import PROPERTIES

__all__ = ["TableCases", "relative"]


def relative(namespace: Namespace, location: str) -> str:
    """Return a location as a path relative to the root, as ``register_table`` takes it."""
    steps = location.rstrip("/").split("/")
    return (
        steps[-1]
        if not location.startswith(namespace.root)
        else (location[len(namespace.root) :].strip("/"))
    )


class TableCases(SuiteBase):
    """Declare, describe, register, rename, deregister, drop."""

    def test_declare_and_describe(self, namespace: Namespace) -> None:
        made = namespace.declare_table("t")
        assert made.id == ("t",)
        assert made.location
        assert dict(made.properties) == {}
        known = namespace.describe_table(("t",))
        assert (known.id, known.location) == (made.id, made.location)
        assert dict(known.properties) == {}
        assert namespace.describe_table(["t"]).location == made.location
        assert namespace.table_exists("t") is True
        assert namespace.table_exists("u") is False
        assert namespace.namespace_exists("t") is False
        assert tree(namespace) == ([], [("t",)])

    def test_declare_twice(self, namespace: Namespace) -> None:
        first = namespace.declare_table("t")
        with self.refused(TableAlreadyExists, "t"):
            namespace.declare_table("t")
        assert namespace.describe_table("t").location == first.location

    def test_tables_in_namespaces(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        namespace.create_namespace("a")
        namespace.create_namespace(("a", "b"))
        ids = [("a", "b", "t"), ("a", "t"), ("t",)]
        locations = {namespace.declare_table(id).location for id in ids}
        assert len(locations) == len(ids)
        assert tree(namespace)[1] == ids
        assert list(namespace.list_tables("a")) == [("a", "t")]
        assert list(namespace.list_tables(("a", "b"))) == [("a", "b", "t")]
        assert {namespace.describe_table(id).location for id in ids} == locations

    def test_the_namespace_must_exist(self, namespace: Namespace) -> None:
        with self.refused(NamespaceNotFound, ("no",)):
            namespace.declare_table(("no", "t"))
        namespace.declare_table("t")
        with self.refused(NamespaceNotFound, ("t",)):
            namespace.declare_table(("t", "u"))
        assert tree(namespace) == ([], [("t",)])

    def test_locations_are_never_used_again(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        seen: set[str] = set()
        namespace.create_namespace("a")
        for _ in range(4):
            for id in ("t", ("a", "t")):
                location = namespace.declare_table(id).location
                assert location not in seen, f"{location} was handed out twice"
                seen.add(location)
                namespace.drop_table(id)

    def test_locations_do_not_lie_within_each_other(self, namespace: Namespace) -> None:
        places = [namespace.declare_table(name).location.rstrip("/") for name in ("t", "tt", "u")]
        for place in places:
            assert not any(other.startswith(f"{place}/") for other in places)

    def test_table_properties_round_trip(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "properties"):
            return
        made = namespace.declare_table("t", properties=PROPERTIES)
        assert dict(made.properties) == PROPERTIES
        assert dict(namespace.describe_table("t").properties) == PROPERTIES
        assert dict(self.reopen(namespace).describe_table("t").properties) == PROPERTIES
        namespace.declare_table("u", properties={})
        assert dict(namespace.describe_table("u").properties) == {}

    def test_declared_only(self, namespace: Namespace) -> None:
        namespace.declare_table("t")
        namespace.declare_table("u")
        self.write_table(namespace, "t")
        assert namespace.describe_table("t", check_declared=True).declared_only is False
        assert namespace.describe_table("u", check_declared=True).declared_only is True
        assert list(namespace.list_tables()) == [("t",), ("u",)]
        assert list(namespace.list_tables(include_declared=False)) == [("t",)]
        assert list(namespace.list_tables(include_declared=False, recursive=True)) == [("t",)]
        with self.refused(TableAlreadyExists, "t"):
            namespace.declare_table("t")

    def test_missing_tables(self, namespace: Namespace) -> None:
        for id in (("no",), ("no", "deeper")):
            assert namespace.table_exists(id) is False
            with self.refused(TableNotFound, id):
                namespace.describe_table(id)
            with self.refused(TableNotFound, id):
                namespace.describe_table(id, check_declared=True)
            with self.refused(TableNotFound, id):
                namespace.drop_table(id)
            namespace.drop_table(id, missing_ok=True)
            if "rename" in namespace.capabilities:
                with self.refused(TableNotFound, id):
                    namespace.rename_table(id, "new")
            if "register" in namespace.capabilities:
                with self.refused(TableNotFound, id):
                    namespace.deregister_table(id)
        assert tree(namespace) == ([], [])

    def test_drop(self, namespace: Namespace) -> None:
        namespace.declare_table("t")
        namespace.declare_table("u")
        self.write_table(namespace, "u")
        for name in ("t", "u"):
            namespace.drop_table(name)
            assert namespace.table_exists(name) is False
            with self.refused(TableNotFound, name):
                namespace.drop_table(name)
            namespace.drop_table(name, missing_ok=True)
        assert tree(namespace) == ([], [])
        namespace.declare_table("u")
        assert namespace.describe_table("u", check_declared=True).declared_only is True

    # -- rename ------------------------------------------------------------------------------------

    def test_rename(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename", "properties"):
            return
        made = namespace.declare_table("t", properties={"k": "v"})
        new = namespace.rename_table("t", "u")
        assert (new.id, new.location, dict(new.properties)) == (
            ("u",),
            made.location,
            {"k": "v"},
        )
        known = namespace.describe_table("u")
        assert (known.location, dict(known.properties)) == (made.location, {"k": "v"})
        assert namespace.table_exists("t") is False
        assert tree(namespace) == ([], [("u",)])
        assert namespace.declare_table("t").location != made.location

    def test_renamed_data_stay(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename"):
            return
        namespace.declare_table("t")
        self.write_table(namespace, "t")
        namespace.rename_table("t", "u")
        assert namespace.describe_table("u", check_declared=True).declared_only is False
        namespace.declare_table("t")
        namespace.drop_table("t")
        assert namespace.describe_table("u", check_declared=True).declared_only is False

    def test_move(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename", "nested"):
            return
        namespace.create_namespace("a")
        namespace.create_namespace(("a", "b"))
        place = namespace.declare_table("t").location
        for old, new in (("t", ("a", "t")), (("a", "t"), ("a", "b", "u")), (("a", "b", "u"), "t")):
            assert namespace.rename_table(old, new).location == place
            assert namespace.table_exists(old) is False
            assert namespace.describe_table(new).location == place
        assert tree(namespace) == ([("a",), ("a", "b")], [("t",)])

    def test_rename_never_replaces(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename", "nested"):
            return
        namespace.create_namespace("n")
        first, second = namespace.declare_table("t"), namespace.declare_table("u")
        with self.refused(TableAlreadyExists, "u"):
            namespace.rename_table("t", "u")
        with self.refused(TableAlreadyExists, "t"):
            namespace.rename_table("t", "t")
        with self.refused(NamespaceAlreadyExists, "n"):
            namespace.rename_table("t", "n")
        with self.refused(NamespaceNotFound, ("no",)):
            namespace.rename_table("t", ("no", "t"))
        with self.refused(NamespaceNotFound, ("u",)):
            namespace.rename_table("t", ("u", "t"))
        with self.refused(TableNotFound, "n"):
            namespace.rename_table("n", "m")
        assert namespace.describe_table("t").location == first.location
        assert namespace.describe_table("u").location == second.location
        assert tree(namespace) == ([("n",)], [("t",), ("u",)])

    # -- register ----------------------------------------------------------------------------------

    def _written(self, namespace: Namespace, id: IdLike) -> str:
        location = namespace.declare_table(id).location
        self.write_table(namespace, id)
        return location

    def test_deregister_keeps_the_data(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register", "properties"):
            return
        place = self._written(namespace, "t")
        gone = namespace.deregister_table("t")
        assert (gone.id, gone.location) == (("t",), place)
        assert namespace.table_exists("t") is False
        assert tree(namespace) == ([], [])
        with self.refused(TableNotFound, "t"):
            namespace.deregister_table("t")
        back = namespace.register_table("u", relative(namespace, place), properties={"k": "v"})
        assert (back.id, back.location, dict(back.properties)) == (("u",), place, {"k": "v"})
        known = namespace.describe_table("u", check_declared=True)
        assert (known.location, dict(known.properties)) == (place, {"k": "v"})
        assert known.declared_only is False

    def test_a_deregistered_name_is_free(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register"):
            return
        place = self._written(namespace, "t")
        namespace.deregister_table("t")
        assert namespace.declare_table("t").location != place
        namespace.drop_table("t")
        namespace.register_table("t", relative(namespace, place))
        assert namespace.describe_table("t", check_declared=True).declared_only is False

    def test_register_needs_a_dataset(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register"):
            return
        place = namespace.declare_table("t").location
        namespace.deregister_table("t")
        for nowhere in ("nowhere", "no/where", relative(namespace, place)):
            with self.refused(TableNotFound):
                namespace.register_table("u", nowhere)
        assert tree(namespace) == ([], [])

    def test_register_gives_one_name(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register"):
            return
        place = relative(namespace, self._written(namespace, "t"))
        for id in ("t", "u"):
            with self.refused(TableAlreadyExists):
                namespace.register_table(id, place)
        with self.refused(TableAlreadyExists):
            namespace.register_table("u", place, mode="overwrite")
        assert tree(namespace) == ([], [("t",)])

    def test_register_conflicts(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register", "nested"):
            return
        place = relative(namespace, self._written(namespace, "t"))
        namespace.deregister_table("t")
        namespace.create_namespace("n")
        for mode in ("create", "overwrite"):
            with self.refused(NamespaceAlreadyExists, "n"):
                namespace.register_table("n", place, mode=mode)
            with self.refused(NamespaceNotFound, ("no",)):
                namespace.register_table(("no", "t"), place, mode=mode)
        assert tree(namespace) == ([("n",)], [])
        namespace.register_table(("n", "t"), place)
        assert tree(namespace) == ([("n",)], [("n", "t")])

    def test_register_overwrite(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register", "properties"):
            return
        first = self._written(namespace, "t")
        second = self._written(namespace, "u")
        namespace.deregister_table("u")
        with self.refused(TableAlreadyExists, "t"):
            namespace.register_table("t", relative(namespace, second))
        new = namespace.register_table(
            "t", relative(namespace, second), mode="overwrite", properties={"k": "v"}
        )
        assert (new.location, dict(new.properties)) == (second, {"k": "v"})
        assert namespace.describe_table("t").location == second
        namespace.register_table("u", relative(namespace, first), mode="overwrite")
        assert namespace.describe_table("u", check_declared=True).declared_only is False
        assert namespace.describe_table("u").location == first

    def test_register_stays_below_the_root(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register"):
            return
        inside = relative(namespace, self._written(namespace, "t"))
        bad = ("", ".", "..", "/", "/tmp/x", "../x", "a/../x", "a/../../x", "./x", "__manifest")  # noqa: S108
        worse = ("_pennon", "_pennon/x", "__manifest/data", "file:///x", "s3://b/x", "a\0b", "a\\b")
        for location in (*bad, *worse, f"{inside}/data", f"{inside}/_versions"):
            with self.refused(InvalidInput):
                namespace.register_table("u", location)
        mode: Any = "exist_ok"
        with self.refused(InvalidInput):
            namespace.register_table("u", inside, mode=mode)
        assert tree(namespace) == ([], [("t",)])

    def test_dropped_data_cannot_be_registered(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register", "nested"):
            return
        place = relative(namespace, self._written(namespace, "t"))
        namespace.drop_table("t")
        with self.refused(TableNotFound):
            namespace.register_table("t", place)
        namespace.create_namespace("n")
        place = relative(namespace, self._written(namespace, ("n", "t")))
        namespace.drop_namespace("n", behavior="cascade")
        with self.refused(TableNotFound):
            namespace.register_table("t", place)
