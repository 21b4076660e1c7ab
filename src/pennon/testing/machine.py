"""A state machine that compares any catalog with the memory reference, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pennon.errors import PennonError
from pennon.namespaces.abc import Capability, Id, Namespace, NamespaceInfo, Page, TableInfo
from pennon.namespaces.memory import MemoryNamespace
from pennon.testing._suite_base import SuiteBase, tree
from pennon.testing._suite_tables import relative
from pennon.testing.names import ODD_NAMES
from pennon.testing.strategies import ids, properties

__all__ = ["NamespaceMachine", "run_machine"]


def _if(*needed: Capability) -> Any:
    return precondition(
        lambda machine: set(needed) <= cast("NamespaceMachine", machine).subject.capabilities
    )


class NamespaceMachine(RuleBasedStateMachine):
    """Does the same to a catalog and to the reference, and compares what comes back.

    Every step goes through one of two connections to the catalog. After each step both sides
    must list the same names, recursively; at the end everything is described and compared.

    Override :meth:`make_namespace`, and where the default does not fit the other hooks.
    """

    subject: Namespace
    """The first connection to the catalog under test."""

    # -- hooks -------------------------------------------------------------------------------------

    def make_namespace(self) -> Namespace:
        """Override: connect to a fresh, empty catalog."""
        raise NotImplementedError("Override make_namespace() to connect to a fresh catalog.")

    def reopen(self, namespace: Namespace) -> Namespace:
        """Return a second connection without a common cache; by default the same one."""
        return namespace

    def write_table(self, namespace: Namespace, id: Id) -> None:
        """Write a row at the location of a declared table; override where Lance cannot."""
        SuiteBase().write_table(namespace, id)

    def check_native(self) -> None:
        """Called after every step: compare with what another implementation sees."""

    def close(self) -> None:
        """Called at the end of every run: remove what :meth:`make_namespace` made."""

    # -- both sides --------------------------------------------------------------------------------

    def __init__(self) -> None:
        super().__init__()
        self.model = MemoryNamespace()
        self.subject = self.make_namespace()
        self._connections = (self.subject, self.reopen(self.subject))
        self._places: dict[str, str] = {}
        """Locations of the subject by locations of the model: every one ever handed out."""
        self._names: tuple[str, ...] = ("a", "b", "c")

    @initialize(odd=st.sampled_from(ODD_NAMES))
    def _choose(self, odd: str) -> None:
        # Rules draw places in a pool; one of them is an odd name, another one in every run.
        self._names = ("a", "b", odd)

    def _id(self, id: Id) -> Id:
        return tuple(self._names["abc".index(part)] for part in id)

    def _both(self, via: int, call: Callable[[Namespace], Any]) -> Any:
        """Do it on both sides, compare, and return what the model returned, None for an error."""
        expected, error = _outcome(call, self.model)
        actual, found = _outcome(call, self._connections[via])
        assert type(found) is type(error), (
            f"the reference answers {error or expected!r}, the catalog {found or actual!r}"
        )
        if error is not None and found is not None:
            assert found.code == error.code
            return None
        self._compare(expected, actual)
        return expected

    def _compare(self, expected: Any, actual: Any) -> None:
        if isinstance(expected, TableInfo):
            assert isinstance(actual, TableInfo)
            assert (actual.id, dict(actual.properties)) == (
                expected.id,
                dict(expected.properties),
            )
            place = self._places.setdefault(expected.location, actual.location)
            assert actual.location == place, "the table has moved"
            if expected.declared_only is not None:
                assert actual.declared_only == expected.declared_only
        elif isinstance(expected, NamespaceInfo):
            assert isinstance(actual, NamespaceInfo)
            assert (actual.id, dict(actual.properties)) == (
                expected.id,
                dict(expected.properties),
            )
        elif isinstance(expected, Page):
            assert isinstance(actual, Page)
            assert list(actual) == list(expected)
            assert (actual.next_page_token is None) == (expected.next_page_token is None)
        else:
            assert actual == expected

    def _given(self, wanted: Mapping[str, str]) -> Mapping[str, str] | None:
        return wanted if "properties" in self.subject.capabilities else None

    # -- namespaces --------------------------------------------------------------------------------

    @_if("nested")
    @rule(
        via=st.integers(0, 1),
        id=ids(),
        mode=st.sampled_from(("create", "create", "exist_ok", "overwrite")),
        wanted=properties(),
    )
    def create_namespace(
        self,
        via: int,
        id: Id,
        mode: Literal["create", "exist_ok", "overwrite"],
        wanted: dict[str, str],
    ) -> None:
        """Create a namespace in some mode."""
        new, kept = self._id(id), self._given(wanted)
        self._both(via, lambda n: n.create_namespace(new, mode=mode, properties=kept))

    @_if("update")
    @rule(via=st.integers(0, 1), id=ids(), set=properties(), unset=st.lists(st.just("k")))
    def update_namespace(
        self,
        via: int,
        id: Id,
        set: dict[str, str],
        unset: list[str],
    ) -> None:
        """Update properties."""
        gone = [k for k in unset if k not in set]
        self._both(via, lambda n: n.update_namespace(self._id(id), set=set, unset=gone))

    @rule(
        via=st.integers(0, 1),
        id=ids(),
        behavior=st.sampled_from(("restrict", "cascade")),
        missing_ok=st.booleans(),
    )
    def drop_namespace(
        self,
        via: int,
        id: Id,
        behavior: Literal["restrict", "cascade"],
        missing_ok: bool,  # noqa: FBT001
    ) -> None:
        """Drop a namespace."""
        gone = self._id(id)
        self._both(via, lambda n: n.drop_namespace(gone, behavior=behavior, missing_ok=missing_ok))

    @rule(via=st.integers(0, 1), id=ids() | st.just(()))
    def describe_namespace(self, via: int, id: Id) -> None:
        """Describe a namespace and ask whether it exists."""
        self._both(via, lambda n: n.namespace_exists(self._id(id)))
        if id:
            self._both(via, lambda n: n.describe_namespace(self._id(id)))

    @rule(
        via=st.integers(0, 1),
        id=st.just(()) | ids(depth=2),
        limit=st.none() | st.integers(1, 3),
        recursive=st.booleans(),
        declared=st.booleans(),
    )
    def list_both(
        self,
        via: int,
        id: Id,
        limit: int | None,
        recursive: bool,  # noqa: FBT001
        declared: bool,  # noqa: FBT001
    ) -> None:
        """List pages of namespaces and tables."""
        above = self._id(id)
        options: dict[str, Any] = {"recursive": recursive, "include_declared": declared}
        expected = self._both(via, lambda n: n.list_tables(above, limit=limit, **options))
        if expected is not None and expected.next_page_token is not None:
            # A token belongs to who gave it: each side goes on from its own.
            def next_page(n: Namespace) -> Page:
                own = n.list_tables(above, limit=limit, **options).next_page_token
                return n.list_tables(above, limit=limit, page_token=own, **options)

            self._both(via, next_page)
        self._both(via, lambda n: n.list_namespaces(above, limit=limit))

    # -- tables ------------------------------------------------------------------------------------

    @rule(via=st.integers(0, 1), id=ids(), wanted=properties())
    def declare_table(
        self,
        via: int,
        id: Id,
        wanted: dict[str, str],
    ) -> None:
        """Declare a table; its location is a new one."""
        kept = self._given(wanted)
        used = set(self._places.values())
        made = self._both(via, lambda n: n.declare_table(self._id(id), properties=kept))
        if made is not None and "nested" in self.subject.capabilities:
            assert self._places[made.location] not in used, "a location was handed out twice"

    @rule(via=st.integers(0, 1), id=ids(), check=st.booleans())
    def describe_table(self, via: int, id: Id, check: bool) -> None:  # noqa: FBT001
        """Describe a table and ask whether it exists."""
        self._both(via, lambda n: n.table_exists(self._id(id)))
        self._both(via, lambda n: n.describe_table(self._id(id), check_declared=check))

    @precondition(lambda machine: bool(cast("NamespaceMachine", machine).declared()))
    @rule(via=st.integers(0, 1), which=st.integers(0, 99))
    def write_a_table(self, via: int, which: int) -> None:
        """Write data to some table that is only declared."""
        declared = self.declared()
        id = declared[which % len(declared)]
        self.write_table(self._connections[via], id)
        self.model.mark_written(id)

    def declared(self) -> list[Id]:
        """Return the tables that hold no data yet."""
        written = set(self.model.list_tables(recursive=True, include_declared=False))
        return [i for i in self.model.list_tables(recursive=True) if i not in written]

    @_if("rename")
    @rule(via=st.integers(0, 1), id=ids(), new=ids())
    def rename_table(self, via: int, id: Id, new: Id) -> None:
        """Rename or move a table."""
        self._both(via, lambda n: n.rename_table(self._id(id), self._id(new)))

    @_if("register")
    @rule(via=st.integers(0, 1), id=ids())
    def deregister_table(self, via: int, id: Id) -> None:
        """Forget the name of a table."""
        self._both(via, lambda n: n.deregister_table(self._id(id)))

    @_if("register")
    @rule(
        via=st.integers(0, 1),
        id=ids(),
        which=st.integers(0, 99),
        mode=st.sampled_from(("create", "overwrite")),
        wanted=properties(),
    )
    def register_table(
        self,
        via: int,
        id: Id,
        which: int,
        mode: Literal["create", "overwrite"],
        wanted: dict[str, str],
    ) -> None:
        """Register a location that is or was in use, or none at all."""
        known = [*self._places, f"{self.model.root}/nowhere"]
        place = known[which % len(known)]
        kept = self._given(wanted)

        def register(namespace: Namespace) -> TableInfo:
            own = place if namespace is self.model else self._places.get(place, "nowhere")
            return namespace.register_table(
                self._id(id), relative(namespace, own), mode=mode, properties=kept
            )

        self._both(via, register)

    @rule(via=st.integers(0, 1), id=ids(), missing_ok=st.booleans())
    def drop_table(self, via: int, id: Id, missing_ok: bool) -> None:  # noqa: FBT001
        """Drop a table."""
        self._both(via, lambda n: n.drop_table(self._id(id), missing_ok=missing_ok))

    # -- always ------------------------------------------------------------------------------------

    @invariant()
    def same_names(self) -> None:
        """Both connections list what the reference lists, and others see it, too."""
        expected = tree(self.model)
        for connection in dict.fromkeys(self._connections):
            assert tree(connection) == expected
        self.check_native()

    def teardown(self) -> None:
        """Describe and compare everything, then clean up."""
        try:
            namespaces, tables = tree(self.model)
            for each in namespaces:
                self._both(1, partial(_describe_namespace, each))
            for each in tables:
                self._both(1, partial(_describe_table, each))
        finally:
            with contextlib.ExitStack() as stack:
                stack.callback(self.close)
                for connection in dict.fromkeys(self._connections):
                    stack.callback(connection.close)


def _describe_namespace(id: Id, namespace: Namespace) -> NamespaceInfo:
    return namespace.describe_namespace(id)


def _describe_table(id: Id, namespace: Namespace) -> TableInfo:
    return namespace.describe_table(id, check_declared=True)


def _outcome(
    call: Callable[[Namespace], Any], namespace: Namespace
) -> tuple[Any, PennonError | None]:
    try:
        return call(namespace), None
    except PennonError as error:
        return None, error


def run_machine(
    factory: Callable[[], Namespace],
    settings: settings | None = None,
    *,
    machine: type[NamespaceMachine] = NamespaceMachine,
) -> None:
    """Run the state machine.

    Args:
        factory: Connects to a fresh, empty catalog at every call.
        settings: How many runs of how many steps; by default 25 of 30, without a deadline.
        machine: A subclass with hooks of your own; the factory replaces its ``make_namespace``.

    Raises:
        AssertionError: The catalog and the reference differ; the message ends with the shortest
            program found that shows it.
    """

    class Machine(machine):
        def make_namespace(self) -> Namespace:
            return factory()

    Machine.__qualname__ = Machine.__name__ = machine.__name__
    run_state_machine_as_test(Machine, settings=settings or _default_settings())


def _default_settings() -> settings:
    return settings(
        max_examples=25,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
