"""Lance's own directory namespace, driven as a catalog of another maker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import pennon
from pennon.errors import StorageError, Unsupported
from pennon.namespaces import Namespace
from pennon.namespaces.external import ExternalNamespace
from pennon.testing import _suite_names
from pennon.testing._suite_base import tree
from pennon.testing._suite_tables import relative
from pennon.testing.names import ODD_NAMES
from pennon.testing.namespaces_suite import NamespaceSuite

KIND = "lance.namespace.DirectoryNamespace"


class TestNativeDirectory(NamespaceSuite):
    @pytest.fixture(autouse=True)
    def names_lance_can_stage(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # Lance percent-encodes the name of the directory it makes, and joins all parts of the id
        # in it: 120 x "é" become 720 bytes.
        fit = tuple(n for n in ODD_NAMES if len(quote(n)) <= 120)
        assert len(fit) == len(ODD_NAMES) - 2
        monkeypatch.setattr(_suite_names, "ODD_NAMES", fit)

    @pytest.fixture
    def namespace(self, tmp_path: Path) -> Iterator[Namespace]:
        import lance.namespace  # noqa: F401 - the class path must be loadable

        properties = {"root": str(tmp_path), "dir_listing_enabled": "false"}
        with pennon.connect(KIND, properties) as namespace:
            assert isinstance(namespace, ExternalNamespace)
            yield namespace

    def reopen(self, namespace: Namespace) -> Namespace:
        assert isinstance(namespace, ExternalNamespace)
        return pennon.connect(namespace.kind, dict(namespace._client.properties or {})).connect()

    # Lance's register_table forgets properties, and with them so would a rename made of it.

    def _refuses_properties(self, namespace: Namespace) -> None:
        namespace.declare_table("t", properties={"k": "v"})
        with pytest.raises(Unsupported, match="forgets"):
            namespace.rename_table("t", "u")
        assert tree(namespace) == ([], [("t",)])
        assert dict(namespace.describe_table("t").properties) == {"k": "v"}

    def test_rename(self, namespace: Namespace) -> None:
        self._refuses_properties(namespace)
        place = namespace.declare_table("plain").location
        assert namespace.rename_table("plain", "u").location == place

    def test_odd_names_are_renamed(self, namespace: Namespace) -> None:
        place = namespace.declare_table("start").location
        current = "start"
        for name in _suite_names.ODD_NAMES:
            assert namespace.rename_table(current, name).location == place
            current = name
        assert tree(namespace) == ([], [(current,)])

    def test_deregister_keeps_the_data(self, namespace: Namespace) -> None:
        place = self._written(namespace, "t")
        assert namespace.deregister_table("t").location == place
        with pytest.raises(Unsupported, match="forgets"):
            namespace.register_table("u", relative(namespace, place), properties={"k": "v"})
        assert tree(namespace) == ([], [])
        namespace.register_table("u", relative(namespace, place))
        assert namespace.describe_table("u", check_declared=True).declared_only is False

    def test_register_overwrite(self, namespace: Namespace) -> None:
        first, second = self._written(namespace, "t"), self._written(namespace, "u")
        namespace.deregister_table("u")
        place = relative(namespace, second)
        with pytest.raises(Unsupported, match="forgets"):
            namespace.register_table("t", place, mode="overwrite", properties={"k": "v"})
        assert namespace.describe_table("t").location == first
        assert namespace.register_table("t", place, mode="overwrite").location == second

    # Lance does not escape quotes in its listings.

    def test_odd_names_of_namespaces(
        self, namespace: Namespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (n for n in ODD_NAMES if "'" in n):
            namespace.create_namespace(name)
            with pytest.raises(StorageError):
                namespace.list_tables(name)
            with pytest.raises(StorageError):
                namespace.list_namespaces(name)
        for name in (n for n in ODD_NAMES if "'" in n):
            namespace._client.call("drop_namespace", (name,))  # type: ignore[attr-defined]
        fit = tuple(n for n in _suite_names.ODD_NAMES if "'" not in n)
        monkeypatch.setattr(_suite_names, "ODD_NAMES", fit)
        super().test_odd_names_of_namespaces(namespace)

    def test_drop_cascade_matches_no_patterns(self, namespace: Namespace) -> None:
        for id in ("%", "a_b", "axb", "*"):
            namespace.create_namespace(id)
            namespace.declare_table((id, "t"))
        for id in ("%", "*", "a_b"):
            namespace.drop_namespace(id, behavior="cascade")
        assert tree(namespace) == ([("axb",)], [("axb", "t")])
