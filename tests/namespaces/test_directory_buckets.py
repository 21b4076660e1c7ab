"""Directories in buckets: the conformance suite on MinIO, Azurite and the double of GCS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pennon.namespaces.abc import Namespace
from pennon.namespaces.directory import DirectoryNamespace
from pennon.testing.namespaces_suite import NamespaceSuite
from pennon.testing.services import TestRoot


class BucketSuite(NamespaceSuite):
    manifest_enabled: bool | None = None

    def open(self, root: TestRoot) -> Iterator[Namespace]:
        type(self).root = root
        type(self).secrets = tuple(
            v for k, v in root.options.items() if "secret" in k or k.endswith("_key")
        )
        with self.connect() as namespace:
            yield namespace

    def connect(self) -> DirectoryNamespace:
        return DirectoryNamespace(
            self.root.uri,
            storage_options=self.root.options,
            manifest_enabled=self.manifest_enabled,
        )

    root: TestRoot

    def reopen(self, namespace: Namespace) -> Namespace:
        return self.connect()


class TestS3(BucketSuite):
    @pytest.fixture
    def namespace(self, s3_root: TestRoot) -> Iterator[Namespace]:
        yield from self.open(s3_root)


class TestS3V1(BucketSuite):
    manifest_enabled = False

    @pytest.fixture
    def namespace(self, s3_root: TestRoot) -> Iterator[Namespace]:
        yield from self.open(s3_root)


class TestAzure(BucketSuite):
    @pytest.fixture
    def namespace(self, azure_root: TestRoot) -> Iterator[Namespace]:
        yield from self.open(azure_root)


class TestGCS(BucketSuite):
    @pytest.fixture
    def namespace(self, gcs_root: TestRoot) -> Iterator[Namespace]:
        yield from self.open(gcs_root)
