"""The memory catalog: the reference model itself."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pennon.errors import InvalidOption, InvalidURI, TableAlreadyExists, TableNotFound, Unsupported
from pennon.namespaces.abc import IdLike, Namespace
from pennon.namespaces.memory import MemoryNamespace
from pennon.namespaces.session import Session
from pennon.testing.namespaces_suite import NamespaceSuite

_numbers = itertools.count()


def fresh_root() -> str:
    return f"memory://test-{os.getpid()}-{next(_numbers)}"


class TestMemory(NamespaceSuite):
    @pytest.fixture
    def namespace(self) -> Iterator[Namespace]:
        with MemoryNamespace(fresh_root()) as namespace:
            yield namespace

    def reopen(self, namespace: Namespace) -> Namespace:
        return MemoryNamespace(namespace.root)

    def write_table(self, namespace: Namespace, id: IdLike) -> None:
        assert isinstance(namespace, MemoryNamespace)
        namespace.mark_written(id)


def test_one_name_is_one_catalog() -> None:
    root = fresh_root()
    MemoryNamespace(root).declare_table("t")
    assert MemoryNamespace(root).table_exists("t")
    assert MemoryNamespace(root + "/").table_exists("t")
    assert not MemoryNamespace(root + "/deeper").table_exists("t")


def test_without_a_name_it_is_alone() -> None:
    one, two = MemoryNamespace(), MemoryNamespace()
    one.declare_table("t")
    assert not two.table_exists("t")
    assert one.root != two.root
    assert not MemoryNamespace(one.root).table_exists("t")
    with pytest.raises(Unsupported, match="without a name"):
        pickle.dumps(one)


def test_a_pickle_is_good_in_this_process_only() -> None:
    namespace = MemoryNamespace(fresh_root())
    namespace.declare_table("t")
    data = pickle.dumps(namespace)
    assert pickle.loads(data).table_exists("t")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        message = pool.apply(_load_elsewhere, (data,))
    assert "lives in the memory of process" in message


def _load_elsewhere(data: bytes) -> str:
    try:
        pickle.loads(data)
    except Unsupported as error:
        return str(error)
    return "loaded"


FORK = """
import os
from pennon.errors import Unsupported
from pennon.namespaces.memory import MemoryNamespace
namespace = MemoryNamespace("memory://forked")
namespace.declare_table("t")
child = os.fork()
if child == 0:
    try:
        namespace.table_exists("t")
    except Unsupported as error:
        print(error, flush=True)
    print("fresh", not MemoryNamespace("memory://forked").table_exists("t"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print("parent", namespace.table_exists("t"))
"""


def test_a_forked_child_is_told() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, check=True, timeout=60
    )
    first, *rest = run.stdout.splitlines()
    assert "forked child" in first
    assert rest == ["fresh True", "parent True"]


def test_locations_are_below_the_root() -> None:
    namespace = MemoryNamespace(fresh_root())
    for name in ("docs", "日本", "..x", "a b"):
        location = namespace.declare_table(name).location
        assert location.startswith(f"{namespace.root}/")
        assert location.isascii()


@pytest.mark.parametrize("root", ["s3://bucket/x", "./here", "file:///x", "http://host"])
def test_other_roots_are_refused(root: str) -> None:
    with pytest.raises(InvalidURI, match="not in memory"):
        MemoryNamespace(root)


def test_a_query_is_refused() -> None:
    with pytest.raises(InvalidURI, match="query"):
        MemoryNamespace("memory://x?region=y")
    with pytest.raises(InvalidURI, match="query"):
        MemoryNamespace("memory://x?ns=team")


def test_properties_are_checked() -> None:
    session = Session()
    with pytest.raises(InvalidOption, match="did you mean 'root'"):
        MemoryNamespace.from_properties("memory", {"rot": "x"}, session=session, context=None)
    with pytest.raises(InvalidOption, match="context"):
        MemoryNamespace.from_properties("memory", {}, session=session, context=lambda *_: {})


def test_writing_needs_a_table() -> None:
    with pytest.raises(TableNotFound):
        MemoryNamespace().mark_written("t")


def test_dropping_one_name_keeps_the_data_of_another() -> None:
    namespace = MemoryNamespace()
    namespace.declare_table("t")
    namespace.mark_written("t")
    namespace.rename_table("t", "u")
    with pytest.raises(TableAlreadyExists):
        namespace.declare_table("u")
    namespace.declare_table("t")
    namespace.drop_table("t")
    assert namespace.describe_table("u", check_declared=True).declared_only is False
