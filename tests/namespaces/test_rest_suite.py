"""The REST kind against pylance's own server: the conformance suite and the state machine."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from rest_servers import native_server

import pennon.testing._suite_names as suite_names
import pennon.testing.machine as machine_module
from pennon.errors import StorageError, TableAlreadyExists, TableNotFound, Unsupported
from pennon.namespaces.abc import IdLike, Namespace
from pennon.namespaces.connect import connect
from pennon.testing._suite_base import tree
from pennon.testing._suite_tables import relative
from pennon.testing.machine import NamespaceMachine, run_machine
from pennon.testing.names import ODD_NAMES
from pennon.testing.namespaces_suite import NamespaceSuite


def fits(*id: str) -> bool:
    """Whether the server can make a file name of the id: eight digits and its encoded parts."""
    return len(quote("$".join(id))) + len("12345678_") <= 255


LONE_NAMES = tuple(n for n in ODD_NAMES if fits(n))
PAIRED_NAMES = tuple(n for n in ODD_NAMES if fits(n, n))
QUOTED_NAMES = tuple(n for n in PAIRED_NAMES if "'" in n)
"""The server writes the id of a namespace into SQL as it is, so a listing in one of these fails."""
PROPERTIES_OF_REGISTERED = "the server does not keep them"


class TestRest(NamespaceSuite):
    @pytest.fixture
    def namespace(self, tmp_path: Path) -> Iterator[Namespace]:
        with native_server(tmp_path) as uri, connect("rest", {"uri": uri}) as namespace:
            yield namespace

    def reopen(self, namespace: Namespace) -> Namespace:
        return connect("rest", {"uri": namespace.root}).connect()

    @pytest.fixture(autouse=True)
    def names_the_server_can_store(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(suite_names, "ODD_NAMES", LONE_NAMES)

    def test_odd_names_of_namespaces(
        self, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = tuple(n for n in PAIRED_NAMES if n not in QUOTED_NAMES)
        monkeypatch.setattr(suite_names, "ODD_NAMES", plain)
        super().test_odd_names_of_namespaces(namespace)

    def test_namespaces_the_server_cannot_list(self, namespace: Namespace) -> None:
        assert QUOTED_NAMES
        for name in QUOTED_NAMES:
            made = namespace.create_namespace(name, properties={"name": name})
            assert namespace.describe_namespace(name) == made
            place = namespace.declare_table((name, name)).location
            assert namespace.describe_table((name, name)).location == place
            for listing in (namespace.list_tables, namespace.list_namespaces):
                with pytest.raises(StorageError, match="Failed to create stream"):
                    listing(name)
            namespace.drop_table((name, name))
            namespace.drop_namespace(name)
            assert not namespace.namespace_exists(name)

    def test_drop_cascade_matches_no_patterns(self, namespace: Namespace) -> None:
        for id in ("%", "a_b", "axb", "*"):
            namespace.create_namespace(id)
            namespace.declare_table((id, "t"))
        for id in ("%", "*", "a_b"):
            namespace.drop_namespace(id, behavior="cascade")
        assert list(namespace.list_namespaces()) == [("axb",)]
        assert list(namespace.list_tables(recursive=True)) == [("axb", "t")]

    def _written(self, namespace: Namespace, id: IdLike) -> str:
        place = namespace.declare_table(id).location
        self.write_table(namespace, id)
        return place

    def _refuses_properties(self, namespace: Namespace, id: str, place: str, mode: Any) -> None:
        before = tree(namespace)
        with pytest.raises(Unsupported, match=PROPERTIES_OF_REGISTERED):
            namespace.register_table(id, place, mode=mode, properties={"k": "v"})
        assert tree(namespace) == before

    def test_deregister_keeps_the_data(self, namespace: Namespace) -> None:
        place = self._written(namespace, "t")
        gone = namespace.deregister_table("t")
        assert (gone.id, gone.location) == (("t",), place)
        assert tree(namespace) == ([], [])
        with self.refused(TableNotFound, "t"):
            namespace.deregister_table("t")
        self._refuses_properties(namespace, "u", relative(namespace, place), "create")
        back = namespace.register_table("u", relative(namespace, place))
        assert (back.id, back.location, dict(back.properties)) == (("u",), place, {})
        assert namespace.describe_table("u", check_declared=True).declared_only is False

    def test_register_overwrite(self, namespace: Namespace) -> None:
        first, second = self._written(namespace, "t"), self._written(namespace, "u")
        namespace.deregister_table("u")
        with self.refused(TableAlreadyExists, "t"):
            namespace.register_table("t", relative(namespace, second))
        self._refuses_properties(namespace, "t", relative(namespace, second), "overwrite")
        assert namespace.describe_table("t").location == first
        new = namespace.register_table("t", relative(namespace, second), mode="overwrite")
        assert new.location == second
        assert namespace.describe_table("t").location == second
        namespace.register_table("u", relative(namespace, first), mode="overwrite")
        assert namespace.describe_table("u", check_declared=True).declared_only is False
        assert namespace.describe_table("u").location == first

    def test_names_the_server_cannot_store(self, namespace: Namespace) -> None:
        too_long = [n for n in ODD_NAMES if n not in PAIRED_NAMES]
        assert too_long
        for name in too_long:
            namespace.create_namespace(name)
            with pytest.raises(StorageError):
                namespace.declare_table((name, name))
            assert not namespace.table_exists((name, name))
            assert list(namespace.list_tables(recursive=True)) == []
            namespace.drop_namespace(name)


_BEGIN: Any = NamespaceMachine.begin
_REGISTER: Any = NamespaceMachine.register_table
_PLAIN = re.compile(r"[\w +;,&=@.!-]{1,40}", re.ASCII)
_STORED = tuple(n for n in ODD_NAMES if _PLAIN.fullmatch(n))
"""Of tables with most other names the server leaves the data behind when it drops them, and a
location with a colon cannot be registered."""


def decoded(namespace: Namespace, location: str) -> str:
    """Return the path of a location, which the server sends percent-encoded."""
    return unquote(relative(namespace, location))


class _RestMachine(NamespaceMachine):
    @initialize(
        **{
            **_BEGIN.hypothesis_stateful_initialize_rule.arguments,
            "odd": st.sampled_from(_STORED),
        }
    )
    def begin(self, **drawn: Any) -> None:
        super().begin(**drawn)

    # The server keeps no properties of registered tables; the suite above checks the refusal.
    @rule(**{**_REGISTER.hypothesis_stateful_rule.arguments, "wanted": st.just({})})
    def register_table(self, **drawn: Any) -> None:
        super().register_table(**drawn)

    def reopen(self, namespace: Namespace) -> Namespace:
        return connect("rest", {"uri": namespace.root}).connect()

    def close(self) -> None:
        _open.close()


_open = contextlib.ExitStack()


def test_rest_behaves_like_the_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "relative", decoded)

    def make_namespace() -> Namespace:
        uri = _open.enter_context(native_server(tmp_path))
        return _open.enter_context(connect("rest", {"uri": uri}))

    run_machine(
        make_namespace,
        settings(
            max_examples=8,
            stateful_step_count=20,
            deadline=None,
            print_blob=True,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
        machine=_RestMachine,
    )
