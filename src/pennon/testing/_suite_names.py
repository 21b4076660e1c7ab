"""Names: what works in every operation, what is refused by every operation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pennon.errors import InvalidName, PennonError, Unsupported
from pennon.namespaces.abc import Id, Namespace
from pennon.testing._suite_base import SuiteBase, tree
from pennon.testing._suite_tables import relative
from pennon.testing.names import INVALID_NAMES, ODD_NAMES, RESERVED_NAMES

__all__ = ["NameCases"]

Operation = Callable[[Namespace, Id], object]

_NAMESPACE_OPERATIONS: dict[str, Operation] = {
    "create_namespace": lambda n, i: n.create_namespace(i),
    "create_namespace exist_ok": lambda n, i: n.create_namespace(i, mode="exist_ok"),
    "create_namespace overwrite": lambda n, i: n.create_namespace(i, mode="overwrite"),
    "list_namespaces": lambda n, i: n.list_namespaces(i),
    "describe_namespace": lambda n, i: n.describe_namespace(i),
    "update_namespace": lambda n, i: n.update_namespace(i, set={"k": "v"}),
    "drop_namespace": lambda n, i: n.drop_namespace(i, missing_ok=True),
    "drop_namespace cascade": lambda n, i: n.drop_namespace(i, behavior="cascade", missing_ok=True),
    "namespace_exists": lambda n, i: n.namespace_exists(i),
    "list_tables": lambda n, i: n.list_tables(i),
    "list_tables recursive": lambda n, i: n.list_tables(i, recursive=True),
    "iter_namespaces": lambda n, i: list(n.iter_namespaces(i)),
    "iter_tables": lambda n, i: list(n.iter_tables(i)),
}
_TABLE_OPERATIONS: dict[str, Operation] = {
    "declare_table": lambda n, i: n.declare_table(i),
    "register_table": lambda n, i: n.register_table(i, "somewhere"),
    "register_table overwrite": lambda n, i: n.register_table(i, "somewhere", mode="overwrite"),
    "describe_table": lambda n, i: n.describe_table(i),
    "table_exists": lambda n, i: n.table_exists(i),
    "rename_table from": lambda n, i: n.rename_table(i, "new"),
    "rename_table to": lambda n, i: n.rename_table("here", i),
    "deregister_table": lambda n, i: n.deregister_table(i),
    "drop_table": lambda n, i: n.drop_table(i, missing_ok=True),
}
_ALL = {**_NAMESPACE_OPERATIONS, **_TABLE_OPERATIONS}
_MAKING = (
    "create_namespace",
    "create_namespace exist_ok",
    "create_namespace overwrite",
    "declare_table",
    "register_table",
    "register_table overwrite",
    "rename_table to",
)
_CAPABILITY = {
    "create_namespace": "nested",
    "update_namespace": "update",
    "register_table": "register",
    "rename_table": "rename",
    "deregister_table": "register",
}


class NameCases(SuiteBase):
    """The door."""

    def _check_refused(self, namespace: Namespace, operation: str, id: Id) -> None:
        needed = _CAPABILITY.get(operation.split(maxsplit=1)[0])
        possible: tuple[type[PennonError], ...] = (InvalidName,)
        if needed is not None and needed not in namespace.capabilities:
            possible = (InvalidName, Unsupported)
        with pytest.raises(possible) as caught:
            _ALL[operation](namespace, id)
        assert caught.value.code in {13, 0}, f"{operation}({id!r}): {caught.value!r}"

    def test_invalid_names_are_refused(self, namespace: Namespace) -> None:
        namespace.declare_table("here")
        for name in INVALID_NAMES:
            for operation in _ALL:
                self._check_refused(namespace, operation, (name,))
        for name in ("", "..", "a/b", "a$b", "x" * 241):
            for operation in _ALL:
                self._check_refused(namespace, operation, ("here", name))
                self._check_refused(namespace, operation, (name, "here"))
        assert tree(namespace) == ([], [("here",)])

    def test_no_name_is_no_table(self, namespace: Namespace) -> None:
        namespace.declare_table("here")
        for operation in _TABLE_OPERATIONS:
            self._check_refused(namespace, operation, ())
        assert tree(namespace) == ([], [("here",)])

    def test_other_types_are_refused(self, namespace: Namespace) -> None:
        for wrong in ((1,), (None,), (b"t",), (("t",),)):
            bad: Id = wrong  # pyright: ignore[reportAssignmentType]
            for operation in _ALL:
                self._check_refused(namespace, operation, bad)

    def test_reserved_names_are_not_given(self, namespace: Namespace) -> None:
        namespace.declare_table("here")
        for name in RESERVED_NAMES:
            for operation in _MAKING:
                self._check_refused(namespace, operation, (name,))
                self._check_refused(namespace, operation, (name, "x"))
            assert namespace.table_exists(name) is False
            assert namespace.namespace_exists(name) is False
        assert tree(namespace) == ([], [("here",)])

    def test_odd_names_of_tables(self, namespace: Namespace) -> None:
        places: dict[str, str] = {}
        for name in ODD_NAMES:
            assert namespace.table_exists(name) is False, name
            made = namespace.declare_table(name)
            assert made.id == (name,), name
            places[name] = made.location
        assert len(set(places.values())) == len(ODD_NAMES), "two names share a location"
        expected = sorted((n,) for n in ODD_NAMES)
        assert list(namespace.list_tables()) == expected
        assert list(namespace.iter_tables(page_size=7)) == expected
        other = self.reopen(namespace)
        for name in ODD_NAMES:
            assert other.table_exists(name) is True, name
            known = other.describe_table(name)
            assert (known.id, known.location) == ((name,), places[name]), name
        for index, name in enumerate(ODD_NAMES):
            if index % 2:
                namespace.drop_table(name)
                assert namespace.table_exists(name) is False, name
        assert list(other.list_tables()) == sorted((n,) for n in ODD_NAMES[::2])

    def test_odd_names_hold_data(self, namespace: Namespace) -> None:
        for name in ODD_NAMES:
            namespace.declare_table(name)
            self.write_table(namespace, name)
            info = namespace.describe_table(name, check_declared=True)
            assert info.declared_only is False, name
        assert len(namespace.list_tables(include_declared=False)) == len(ODD_NAMES)

    def test_odd_names_of_namespaces(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties"):
            return
        for name in ODD_NAMES:
            made = namespace.create_namespace(name, properties={"name": name})
            assert (made.id, dict(made.properties)) == ((name,), {"name": name})
            namespace.declare_table((name, name))
        ids = sorted((n,) for n in ODD_NAMES)
        assert tree(namespace) == (ids, sorted((n, n) for n in ODD_NAMES))
        other = self.reopen(namespace)
        for name in ODD_NAMES:
            assert other.namespace_exists(name) is True, name
            assert dict(other.describe_namespace(name).properties) == {"name": name}, name
            assert list(other.list_tables(name)) == [(name, name)], name
            assert list(other.list_namespaces(name)) == [], name
            assert other.describe_table((name, name)).id == (name, name), name
        for name in ODD_NAMES[::2]:
            namespace.drop_namespace(name, behavior="cascade")
        left = sorted((n,) for n in ODD_NAMES[1::2])
        assert tree(other) == (left, sorted((*i, *i) for i in left))

    def test_odd_names_are_renamed(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename", "properties"):
            return
        place = namespace.declare_table("start", properties={"k": "v"}).location
        current = "start"
        for name in ODD_NAMES:
            new = namespace.rename_table(current, name)
            assert (new.id, new.location, dict(new.properties)) == ((name,), place, {"k": "v"})
            assert namespace.table_exists(current) is False, current
            current = name
        assert tree(namespace) == ([], [(current,)])

    def test_odd_names_are_registered(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "register"):
            return
        place = namespace.declare_table("start").location
        self.write_table(namespace, "start")
        namespace.deregister_table("start")
        for name in ODD_NAMES:
            made = namespace.register_table(name, relative(namespace, place))
            assert (made.id, made.location) == ((name,), place), name
            assert namespace.deregister_table(name).location == place, name
        assert tree(namespace) == ([], [])
