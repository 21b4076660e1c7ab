"""Directories on a local disk: the conformance suite in both layouts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pennon.namespaces.abc import Namespace
from pennon.namespaces.directory import DirectoryNamespace
from pennon.testing.namespaces_suite import NamespaceSuite


class TestLocalV2(NamespaceSuite):
    @pytest.fixture
    def namespace(self, tmp_path: Path) -> Iterator[Namespace]:
        with DirectoryNamespace(tmp_path / "root") as namespace:
            yield namespace

    def reopen(self, namespace: Namespace) -> Namespace:
        return DirectoryNamespace(namespace.root)


class TestLocalV1(NamespaceSuite):
    @pytest.fixture
    def namespace(self, tmp_path: Path) -> Iterator[Namespace]:
        with DirectoryNamespace(tmp_path / "root", manifest_enabled=False) as namespace:
            yield namespace

    def reopen(self, namespace: Namespace) -> Namespace:
        return DirectoryNamespace(namespace.root, manifest_enabled=False)
