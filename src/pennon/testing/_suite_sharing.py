"""Several connections, threads and processes; how a connection shows and copies itself."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pennon.errors import (
    NamespaceAlreadyExists,
    PennonError,
    TableAlreadyExists,
    TableNotFound,
    Unsupported,
)
from pennon.namespaces.abc import Namespace
from pennon.testing._suite_base import SuiteBase, tree
from pennon.testing._suite_tables import relative

__all__ = ["SharingCases"]

_THREADS = 8


def _race(work: Callable[[int], object]) -> list[object]:
    """Run ``work(0..7)`` at one moment; return what each returned or the pennon error it raised."""
    barrier = threading.Barrier(_THREADS)

    def run(number: int) -> object:
        barrier.wait(timeout=30)
        try:
            return work(number)
        except PennonError as error:
            return error

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(run, range(_THREADS)))


def _check_one_winner(outcomes: list[object], loss: type[PennonError]) -> None:
    lost = [o for o in outcomes if isinstance(o, PennonError)]
    assert len(lost) == _THREADS - 1, f"{_THREADS - len(lost)} of {_THREADS} won: {outcomes}"
    for error in lost:
        assert isinstance(error, loss), f"a loser got {error!r}"


class SharingCases(SuiteBase):
    """Nothing is remembered that another one may have changed."""

    def test_two_connections_agree(self, namespace: Namespace) -> None:
        other = self.reopen(namespace)
        assert other is not namespace
        assert (other.kind, other.root) == (namespace.kind, namespace.root)
        for first, second in ((namespace, other), (other, namespace)):
            assert second.table_exists("t") is False
            place = first.declare_table("t").location
            assert second.table_exists("t") is True
            assert second.describe_table("t").location == place
            assert list(second.list_tables()) == [("t",)]
            with self.refused(TableAlreadyExists, "t"):
                second.declare_table("t")
            second.drop_table("t")
            assert first.table_exists("t") is False
            assert list(first.list_tables()) == []
            with self.refused(TableNotFound, "t"):
                first.describe_table("t")

    def test_two_connections_agree_on_namespaces(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested", "properties", "update"):
            return
        other = self.reopen(namespace)
        for first, second in ((namespace, other), (other, namespace)):
            assert second.namespace_exists("n") is False
            first.create_namespace("n", properties={"k": "1"})
            assert second.namespace_exists("n") is True
            assert dict(second.describe_namespace("n").properties) == {"k": "1"}
            second.update_namespace("n", set={"k": "2"})
            assert dict(first.describe_namespace("n").properties) == {"k": "2"}
            second.declare_table(("n", "t"))
            assert list(first.list_tables(recursive=True)) == [("n", "t")]
            first.create_namespace("n", mode="overwrite")
            assert second.table_exists(("n", "t")) is False
            assert dict(second.describe_namespace("n").properties) == {}
            second.drop_namespace("n")
            assert first.namespace_exists("n") is False
            with self.refused(NamespaceAlreadyExists, "m"):
                second.create_namespace("m")
                first.create_namespace("m")
            second.drop_namespace("m")

    def test_two_connections_agree_on_moves(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename", "register"):
            return
        other = self.reopen(namespace)
        place = namespace.declare_table("t").location
        self.write_table(namespace, "t")
        assert other.describe_table("t").location == place
        namespace.rename_table("t", "u")
        assert other.table_exists("t") is False
        assert other.describe_table("u").location == place
        other.deregister_table("u")
        assert namespace.table_exists("u") is False
        other.register_table("v", relative(other, place))
        assert namespace.describe_table("v").location == place

    def test_threads_declare_one_table(self, namespace: Namespace) -> None:
        for turn in range(3):
            name = f"t{turn}"
            outcomes = _race(lambda _, name=name: namespace.declare_table(name))
            _check_one_winner(outcomes, TableAlreadyExists)
        assert tree(namespace) == ([], [("t0",), ("t1",), ("t2",)])

    def test_threads_create_one_namespace(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "nested"):
            return
        outcomes = _race(lambda _: namespace.create_namespace("n"))
        _check_one_winner(outcomes, NamespaceAlreadyExists)
        shared = _race(lambda _: namespace.create_namespace("n", mode="exist_ok"))
        assert not [o for o in shared if isinstance(o, PennonError)], shared
        assert tree(namespace) == ([("n",)], [])

    def test_threads_declare_many_tables(self, namespace: Namespace) -> None:
        outcomes = _race(lambda i: namespace.declare_table(f"t{i}"))
        assert not [o for o in outcomes if isinstance(o, PennonError)], outcomes
        assert list(namespace.list_tables()) == [(f"t{i}",) for i in range(_THREADS)]

    def test_threads_drop_one_table(self, namespace: Namespace) -> None:
        namespace.declare_table("t")
        _check_one_winner(_race(lambda _: namespace.drop_table("t")), TableNotFound)
        assert tree(namespace) == ([], [])

    def test_threads_rename_one_table(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename"):
            return
        place = namespace.declare_table("t").location
        _check_one_winner(_race(lambda i: namespace.rename_table("t", f"u{i}")), TableNotFound)
        (left,) = namespace.list_tables()
        assert namespace.describe_table(left).location == place

    def test_threads_rename_to_one_name(self, namespace: Namespace) -> None:
        if self.lacks(namespace, "rename"):
            return
        for i in range(_THREADS):
            namespace.declare_table(f"t{i}")
        _check_one_winner(_race(lambda i: namespace.rename_table(f"t{i}", "u")), TableAlreadyExists)
        assert len(namespace.list_tables()) == _THREADS
        assert namespace.table_exists("u")

    def test_it_shows_itself(self, namespace: Namespace) -> None:
        shown = repr(namespace)
        assert namespace.kind in shown
        assert namespace.root in shown
        self.check_clean(f"{shown} {namespace.root} {namespace}")
        info = namespace.declare_table("t")
        self.check_clean(f"{info!r} {info} {namespace.describe_table('t')!r}")

    def test_capabilities_are_known_words(self, namespace: Namespace) -> None:
        assert namespace.capabilities <= {"nested", "properties", "update", "register", "rename"}
        self.lacks(namespace, "nested", "properties", "update", "register", "rename")

    def test_it_is_a_context_manager(self, namespace: Namespace) -> None:
        with self.reopen(namespace) as other:
            other.declare_table("t")
        assert namespace.table_exists("t") is True
        other.close()

    def test_pickle(self, namespace: Namespace) -> None:
        refusal = None
        data = b""
        try:
            data = pickle.dumps(namespace)
        except Unsupported as error:
            refusal = error
        if refusal is not None:
            # Right for credentials given in clear and for what only this instance can reach.
            self.check_clean(str(refusal))
            assert self.secrets or namespace.kind == "memory", f"{refusal} is no reason"
            return
        for secret in self.secrets:
            assert secret.encode() not in data, "a credential was pickled"
        copy = pickle.loads(data)  # noqa: S301 - our own bytes
        assert isinstance(copy, Namespace)
        assert (copy.kind, copy.root) == (namespace.kind, namespace.root)
        namespace.declare_table("t")
        assert copy.table_exists("t") is True
        copy.drop_table("t")
        assert namespace.table_exists("t") is False

    def test_errors_are_pickled(self, namespace: Namespace) -> None:
        with pytest.raises(TableNotFound) as caught:
            namespace.describe_table("no")
        copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
        assert (type(copy), str(copy)) == (type(caught.value), str(caught.value))
        assert copy.context == caught.value.context
