"""A state machine that compares any catalog with the memory reference, step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from hypothesis import HealthCheck, note, settings
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


_Pick = tuple[Id, int, bool]
"""An id spelled out, for a negative number; else the number of one that exists; and whether to add
a name to that one."""
_VIA = st.integers(0, 1)
_WHICH = st.integers(0, 30)
_MOSTLY = st.sampled_from((True, True, True, False))
_OLD: st.SearchStrategy[_Pick] = st.tuples(ids(), st.integers(-6, 30), st.just(False))  # noqa: FBT003
_NEW: st.SearchStrategy[_Pick] = st.tuples(ids(), st.integers(-6, 30), _MOSTLY)


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
        self._written: set[str] = set()
        """Locations of the model that ever held data."""
        self._names: tuple[str, ...] = ("a", "b", "c")
        self._sound = True
        """Whether the last comparison was made to its end."""

    @initialize(
        odd=st.sampled_from(ODD_NAMES),
        start=st.lists(
            st.tuples(_NEW, st.sampled_from(("nest", "declare", "write"))), min_size=4, max_size=10
        ),
    )
    def begin(self, odd: str, start: list[tuple[_Pick, str]]) -> None:
        """Fill the catalog a little; one of the three names that ids are made of is an odd one."""
        self._names = ("a", "b", odd)
        for pick, what in start:
            id = self._find(pick, "namespace")
            if what == "nest" and "nested" in self.subject.capabilities:
                self._both(0, "create_namespace", id)
            elif self._both(0, "declare_table", id) is not None and what == "write":
                self._write(0, id)

    def _find(self, pick: _Pick, kind: Literal["namespace", "table"]) -> Id:
        """Return the id a rule drew: spelled out, or one of those that exist, or a new child."""
        parts, which, extend = pick
        if which >= 0:
            existing = tree(self.model)[kind == "table"]
            if existing:
                found = existing[which % len(existing)]
                return (*found, self._names["abc".index(parts[0])]) if extend else found
        return tuple(self._names["abc".index(part)] for part in parts)

    def _target(self, pick: _Pick, inside: bool) -> Id:  # noqa: FBT001
        """Return an id for a table to be made: in a namespace that exists, or one that is taken."""
        parts, which, extend = pick
        return self._find(
            pick if inside else (parts, which, extend and which < 0),
            ("namespace" if inside else "table"),
        )

    def _both(self, via: int, operation: str, *args: Any, **options: Any) -> Any:
        """Do it on both sides, compare, and return what the model returned, None for an error."""
        note(f"{operation}{args} {options} through connection {via}")
        return self._compare_calls(via, lambda n: getattr(n, operation)(*args, **options))

    def _compare_calls(self, via: int, call: Callable[[Namespace], Any]) -> Any:
        self._sound = False
        expected, error = _outcome(call, self.model)
        actual, found = _outcome(call, self._connections[via])
        assert type(found) is type(error), (
            f"the reference answers {error or expected!r}, the catalog {found or actual!r}"
        )
        if error is not None and found is not None:
            assert found.code == error.code
        else:
            self._compare(expected, actual)
        self._sound = True
        return expected

    def _compare(self, expected: Any, actual: Any) -> None:
        if isinstance(expected, TableInfo | NamespaceInfo):
            assert isinstance(actual, TableInfo | NamespaceInfo)
            assert (actual.id, dict(actual.properties)) == (expected.id, dict(expected.properties))
        elif isinstance(expected, Page):
            assert isinstance(actual, Page)
            assert list(actual) == list(expected)
            assert (actual.next_page_token is None) == (expected.next_page_token is None)
        else:
            assert actual == expected
        if isinstance(expected, TableInfo) and isinstance(actual, TableInfo):
            place = self._places.setdefault(expected.location, actual.location)
            assert actual.location == place, "the table has moved"
            if expected.declared_only is not None:
                assert actual.declared_only == expected.declared_only

    def _given(self, wanted: Mapping[str, str]) -> Mapping[str, str] | None:
        return wanted if "properties" in self.subject.capabilities else None

    # -- namespaces --------------------------------------------------------------------------------

    @_if("nested")
    @rule(
        via=_VIA,
        new=_NEW,
        mode=st.sampled_from(("create", "create", "exist_ok", "overwrite")),
        wanted=properties(),
    )
    def create_namespace(
        self,
        via: int,
        new: _Pick,
        mode: Literal["create", "exist_ok", "overwrite"],
        wanted: dict[str, str],
    ) -> None:
        """Create a namespace in some mode."""
        id, kept = self._find(new, "namespace"), self._given(wanted)
        self._both(via, "create_namespace", id, mode=mode, properties=kept)

    @_if("update")
    @rule(via=_VIA, old=_OLD, new=properties(), gone=st.lists(st.sampled_from("kl"), max_size=2))
    def update_namespace(self, via: int, old: _Pick, new: dict[str, str], gone: list[str]) -> None:
        """Update properties."""
        unset = [k for k in gone if k not in new]
        self._both(via, "update_namespace", self._find(old, "namespace"), set=new, unset=unset)

    @rule(
        via=_VIA,
        pick=st.none() | _OLD,
        limit=st.none() | st.integers(1, 3),
        recursive=st.booleans(),
        include_declared=st.booleans(),
    )
    def list_both(
        self,
        via: int,
        pick: _Pick | None,
        limit: int | None,
        recursive: bool,  # noqa: FBT001
        include_declared: bool,  # noqa: FBT001
    ) -> None:
        """List pages of namespaces and tables."""
        id = self._find(pick, "namespace") if pick else ()
        options: dict[str, Any] = {
            "limit": limit,
            "recursive": recursive,
            "include_declared": include_declared,
        }
        page = self._both(via, "list_tables", id, **options)
        if page is not None and page.next_page_token is not None:
            # A token belongs to who gave it: each side goes on from its own.
            def next_page(n: Namespace) -> Page:
                token = n.list_tables(id, **options).next_page_token
                return n.list_tables(id, **options, page_token=token)

            self._compare_calls(via, next_page)
        self._both(via, "list_namespaces", id, limit=limit)

    # -- tables ------------------------------------------------------------------------------------

    @rule(via=_VIA, new=_NEW, inside=_MOSTLY, wanted=properties())
    def declare_table(
        self,
        via: int,
        new: _Pick,
        inside: bool,  # noqa: FBT001
        wanted: dict[str, str],
    ) -> None:
        """Declare a table; its location is a new one."""
        id, kept = self._target(new, inside), self._given(wanted)
        used = set(self._places.values())
        made = self._both(via, "declare_table", id, properties=kept)
        if made is not None and "nested" in self.subject.capabilities:
            assert self._places[made.location] not in used, "a location was handed out twice"

    @rule(via=_VIA, pick=_OLD, check=st.booleans())
    def describe(self, via: int, pick: _Pick, check: bool) -> None:  # noqa: FBT001
        """Describe what has an id, and ask what exists."""
        for id in dict.fromkeys((self._find(pick, "table"), self._find(pick, "namespace"))):
            self._both(via, "table_exists", id)
            self._both(via, "describe_table", id, check_declared=check)
            self._both(via, "namespace_exists", id)
            self._both(via, "describe_namespace", id)

    @precondition(lambda machine: bool(cast("NamespaceMachine", machine).declared()))
    @rule(via=_VIA, which=_WHICH)
    def write_a_table(self, via: int, which: int) -> None:
        """Write data to some table that is only declared."""
        declared = self.declared()
        self._write(via, declared[which % len(declared)])

    def _write(self, via: int, id: Id) -> None:
        note(f"data are written to {id}")
        self.write_table(self._connections[via], id)
        self.model.mark_written(id)
        self._written.add(self.model.describe_table(id).location)

    def declared(self) -> list[Id]:
        """Return the tables that hold no data yet."""
        written = set(self.model.list_tables(recursive=True, include_declared=False))
        return [i for i in self.model.list_tables(recursive=True) if i not in written]

    @_if("rename")
    @precondition(
        lambda machine: (
            len(cast("NamespaceMachine", machine).model.list_tables(recursive=True, limit=1)) > 0
        )
    )
    @rule(via=_VIA, old=_OLD, new=_NEW, inside=_MOSTLY)
    def rename_table(self, via: int, old: _Pick, new: _Pick, inside: bool) -> None:  # noqa: FBT001
        """Rename or move a table."""
        self._both(via, "rename_table", self._find(old, "table"), self._target(new, inside))

    @_if("register")
    @rule(
        via=_VIA,
        new=_NEW,
        inside=_MOSTLY,
        which=_WHICH,
        mode=st.sampled_from(("create", "overwrite")),
        wanted=properties(),
    )
    def register_table(
        self,
        via: int,
        new: _Pick,
        inside: bool,  # noqa: FBT001
        which: int,
        mode: Literal["create", "overwrite"],
        wanted: dict[str, str],
    ) -> None:
        """Register a location that is or was in use, or none at all."""
        id, kept = self._target(new, inside), self._given(wanted)
        taken = {self.model.describe_table(t).location for t in tree(self.model)[1]}
        known = [*self._places, f"{self.model.root}/nowhere"]
        if likely := [p for p in known if p in self._written and p not in taken]:
            known = [*likely * 2, *known]
        place = known[which % len(known)]

        def register(namespace: Namespace) -> TableInfo:
            own = place if namespace is self.model else self._places.get(place, "nowhere")
            return namespace.register_table(
                id, relative(namespace, own), mode=mode, properties=kept
            )

        note(f"register_table({id}, {place!r}, mode={mode!r}, properties={kept})")
        self._compare_calls(via, register)

    @rule(
        via=_VIA,
        old=_OLD,
        how=st.sampled_from(("drop", "drop", "deregister", "deregister", "restrict", "cascade")),
        which=_WHICH,
        missing_ok=st.booleans(),
    )
    def remove(
        self,
        via: int,
        old: _Pick,
        how: str,
        which: int,
        missing_ok: bool,  # noqa: FBT001
    ) -> None:
        """Drop or deregister a table, more often than not one with data, or drop a namespace."""
        if how in {"restrict", "cascade"}:
            id = self._find(old, "namespace")
            self._both(via, "drop_namespace", id, behavior=how, missing_ok=missing_ok)
            return
        written = list(self.model.list_tables(recursive=True, include_declared=False))
        id = written[which % len(written)] if written and which % 4 else self._find(old, "table")
        if how == "deregister" and "register" in self.subject.capabilities:
            self._both(via, "deregister_table", id)
        else:
            self._both(via, "drop_table", id, missing_ok=missing_ok)

    # -- always ------------------------------------------------------------------------------------

    @invariant()
    def same_names(self) -> None:
        """Both connections list what the reference lists, and others see it, too."""
        expected = tree(self.model)
        for connection in dict.fromkeys(self._connections):
            assert tree(connection) == expected
        self.check_native()
        self._sound = True

    def teardown(self) -> None:
        """Describe and compare everything, then clean up."""
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            for connection in dict.fromkeys(self._connections):
                stack.callback(connection.close)
            if not self._sound:
                return
            namespaces, tables = tree(self.model)
            for each in namespaces:
                self._both(1, "describe_namespace", each)
            for each in tables:
                self._both(1, "describe_table", each, check_declared=True)


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
