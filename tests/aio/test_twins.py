"""Whatever there is without ``await`` is there with it, under the same name and options."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import pennon
import pennon.aio
from pennon.aio import AsyncNamespace, AsyncStorageBackend, AsyncTable, BatchStream
from pennon.namespaces import Namespace
from pennon.storage.abc import StorageBackend
from pennon.storage.table import Table

PAIRS = [
    (StorageBackend, AsyncStorageBackend, {"close"}),
    (Table, AsyncTable, {"backend", "ref"}),
    (Namespace, AsyncNamespace, {"close", "from_properties", "session", "to_lance"}),
]


def public(cls: type) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "twin", "without"), PAIRS)
def test_nothing_is_missing(sync: type, twin: type, without: set[str]) -> None:
    annotated = {n for c in sync.__mro__ for n in inspect.get_annotations(c) if n[0] != "_"}
    assert (public(sync) | annotated) - public(twin) == without
    assert public(twin) - public(sync) - annotated <= {"aclose", "scan_stream"}


@pytest.mark.parametrize(("sync", "twin", "without"), PAIRS)
def test_every_method_takes_the_same_and_is_awaited(
    sync: type, twin: type, without: set[str]
) -> None:
    compared = 0
    for name in public(sync) & public(twin):
        ours, theirs = getattr(twin, name), getattr(sync, name)
        if not inspect.isfunction(theirs):
            continue
        mine, given = inspect.signature(ours), inspect.signature(theirs)
        assert list(mine.parameters.values()) == list(given.parameters.values()), name
        if name in {"on", "at", "table"}:
            continue
        shown = str(mine.return_annotation)
        awaited = inspect.iscoroutinefunction(ours) or shown.startswith(
            (BatchStream.__name__, AsyncIterator.__name__, AbstractAsyncContextManager.__name__)
        )
        assert awaited, name
        assert inspect.getdoc(ours), name
        compared += 1
    assert compared > 15


def test_both_are_opened_by_the_same_options() -> None:
    def options(opener: Any) -> list[inspect.Parameter]:
        return list(inspect.signature(opener).parameters.values())

    *same, last = options(pennon.aio.open)
    assert same == options(pennon.open)
    assert last.name == "max_concurrency"
    assert pennon.aio is not None
    assert set(pennon.aio.__all__) <= set(dir(pennon.aio))
