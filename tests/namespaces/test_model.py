"""The rules of a catalog, as properties of pure functions."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennon.errors import (
    InvalidInput,
    NamespaceNotEmpty,
    NamespaceNotFound,
    PennonError,
    TableAlreadyExists,
)
from pennon.namespaces import model
from pennon.namespaces.abc import Id
from pennon.namespaces.model import Catalog, Change, Entry
from pennon.testing.strategies import ids, names, properties

POOL = ("a", "b", "ab", "a!")


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """Catalogs in which every parent exists."""
    catalog = Catalog()
    for number, id in enumerate(draw(st.lists(ids(POOL), max_size=25))):
        kept = MappingProxyType(draw(properties()))
        try:
            if draw(st.booleans()):
                catalog = model.create_namespace(catalog, id, "create", kept).catalog
            else:
                catalog = model.declare_table(catalog, id, f"place{number}", kept).catalog
        except PennonError:
            continue
    return catalog


def rules() -> st.SearchStrategy[Callable[[Catalog], Change]]:
    """Any change, with any arguments."""
    mode = st.sampled_from(("create", "exist_ok", "overwrite"))
    some = st.sampled_from(("create", "overwrite"))
    how = st.sampled_from(("restrict", "cascade"))
    place = st.sampled_from(("place0", "place1", "place1/x", "new"))
    table = ids(POOL)
    return st.one_of(
        st.builds(lambda i, m: lambda c: model.create_namespace(c, i, m), table, mode),
        st.builds(lambda i, p: lambda c: model.update_namespace(c, i, p), table, properties()),
        st.builds(
            lambda i, b, m: lambda c: model.drop_namespace(c, i, b, missing_ok=m),
            table,
            how,
            st.booleans(),
        ),
        st.builds(lambda i: lambda c: model.declare_table(c, i, "fresh"), table),
        st.builds(lambda i, p, m: lambda c: model.register_table(c, i, p, m), table, place, some),
        st.builds(lambda i, n: lambda c: model.rename_table(c, i, n), table, table),
        st.builds(lambda i: lambda c: model.deregister_table(c, i), table),
        st.builds(lambda i: lambda c: model.drop_table(c, i), table),
    )


def _well_formed(catalog: Catalog) -> None:
    for id, entry in catalog.items():
        assert entry.id == id
        model.get_namespace(catalog, id[:-1])
        assert (entry.location is None) == (entry.kind == "namespace")
    places = [e.location for e in catalog.values() if e.location is not None]
    assert len(places) == len(set(places)), "one place has two names"


@given(catalogs(), rules())
def test_every_change_is_exact(catalog: Catalog, rule: Callable[[Catalog], Change]) -> None:
    before = dict(catalog)
    try:
        change = rule(catalog)
    except PennonError:
        assert dict(catalog) == before
        return
    assert dict(catalog) == before, "the old state was changed"
    _well_formed(change.catalog)
    replayed = {i: e for i, e in before.items() if i not in change.deletes}
    replayed |= {e.id: e for e in change.upserts}
    assert dict(change.catalog) == replayed
    assert set(change.deletes) <= set(before)
    assert change.is_empty == (dict(change.catalog) == before)
    left = {e.location for e in change.catalog.values()}
    for entry in change.dropped:
        assert entry in before.values()
        assert entry.location not in left


@given(catalogs(), rules())
def test_a_change_can_be_repeated_or_is_refused(
    catalog: Catalog, rule: Callable[[Catalog], Change]
) -> None:
    # A lost answer makes a caller try again: that never changes anything a second time, except
    # where each call stands for itself.
    try:
        once = rule(catalog).catalog
        twice = rule(once).catalog
    except PennonError:
        return
    assert dict(twice) == dict(once)


@given(catalogs(), ids(POOL), ids(POOL))
def test_renaming_back_changes_nothing(catalog: Catalog, old: Id, new: Id) -> None:
    try:
        there = model.rename_table(catalog, old, new)
    except PennonError:
        return
    assert not there.dropped
    back = model.rename_table(there.catalog, new, old)
    assert dict(back.catalog) == dict(catalog)


@given(catalogs(), ids(POOL))
def test_declaring_and_dropping_changes_nothing(catalog: Catalog, id: Id) -> None:
    try:
        made = model.declare_table(catalog, id, "fresh")
    except PennonError:
        return
    dropped = model.drop_table(made.catalog, id)
    assert dict(dropped.catalog) == dict(catalog)
    assert dropped.dropped == (made.entry,)


@given(catalogs(), ids(POOL))
def test_deregistering_and_registering_changes_nothing(catalog: Catalog, id: Id) -> None:
    try:
        gone = model.deregister_table(catalog, id)
    except PennonError:
        return
    assert not gone.dropped
    assert gone.entry is not None
    assert gone.entry.location is not None
    back = model.register_table(
        gone.catalog, id, gone.entry.location, "create", gone.entry.properties
    )
    assert dict(back.catalog) == dict(catalog)


@given(catalogs(), ids(POOL, depth=2))
def test_cascade_removes_exactly_what_is_below(catalog: Catalog, id: Id) -> None:
    try:
        change = model.drop_namespace(catalog, id, "cascade")
    except PennonError:
        assert id not in catalog or catalog[id].kind == "table"
        return
    below = {i for i in catalog if i[: len(id)] == id}
    assert set(catalog) - set(change.catalog) == below
    assert {e.id for e in change.dropped} == {i for i in below if catalog[i].kind == "table"}


@given(catalogs(), ids(POOL, depth=2))
def test_restrict_drops_what_is_empty(catalog: Catalog, id: Id) -> None:
    held = [i for i in catalog if i[: len(id)] == id and i != id]
    if id not in catalog or catalog[id].kind == "table":
        with pytest.raises(NamespaceNotFound):
            model.drop_namespace(catalog, id)
    elif held:
        with pytest.raises(NamespaceNotEmpty) as caught:
            model.drop_namespace(catalog, id)
        assert caught.value.context["count"] == len(held)
    else:
        assert set(catalog) - set(model.drop_namespace(catalog, id).catalog) == {id}


@given(catalogs())
def test_recursion_finds_what_the_levels_hold(catalog: Catalog) -> None:
    def collect(id: Id) -> list[Id]:
        found = model.list_tables(catalog, id)
        for below in model.list_namespaces(catalog, id):
            found += collect(below)
        return found

    everything = model.list_tables(catalog, (), recursive=True)
    assert sorted(collect(())) == sorted(everything)
    assert sorted(e.id for e in catalog.below(())) == sorted(catalog)


@given(names(), names())
def test_any_two_names_are_two_names(one: str, two: str) -> None:
    catalog = model.declare_table(Catalog(), (one,), "x").catalog
    if one == two:
        with pytest.raises(TableAlreadyExists):
            model.declare_table(catalog, (two,), "y")
    else:
        assert len(model.declare_table(catalog, (two,), "y").catalog) == 2


# -- catalogs others wrote -------------------------------------------------------------------------


def _table(id: Id, location: str) -> Entry:
    return Entry(id, "table", location)


def test_a_shared_location_is_dropped_with_its_last_name() -> None:
    catalog = Catalog([_table(("t",), "x"), _table(("u",), "x")])
    first = model.drop_table(catalog, ("t",))
    assert first.dropped == ()
    last = model.drop_table(first.catalog, ("u",))
    assert [e.location for e in last.dropped] == ["x"]


def test_tables_without_a_namespace_are_adopted_and_cascade() -> None:
    catalog = Catalog([_table(("n", "t"), "x")])
    assert model.list_tables(catalog, (), recursive=True) == [("n", "t")]
    made = model.create_namespace(catalog, ("n",))
    assert not made.dropped
    assert model.list_tables(made.catalog, ("n",)) == [("n", "t")]
    with pytest.raises(NamespaceNotEmpty):
        model.drop_namespace(made.catalog, ("n",))
    gone = model.drop_namespace(made.catalog, ("n",), "cascade")
    assert len(gone.catalog) == 0
    assert [e.location for e in gone.dropped] == ["x"]


@pytest.mark.parametrize("place", ["x", "x/y", "x/y/z"])
def test_locations_do_not_nest(place: str) -> None:
    catalog = Catalog([_table(("t",), "x/y")])
    with pytest.raises(TableAlreadyExists if place == "x/y" else InvalidInput):
        model.register_table(catalog, ("u",), place)
    for free in ("x2", "x/y2", "x/yy/z", "y"):
        assert model.register_table(catalog, ("u",), free).entry is not None


# -- arguments -------------------------------------------------------------------------------------


@given(st.text())
def test_a_location_stays_below_the_root(location: str) -> None:
    try:
        assert model.check_location(location) == location
    except InvalidInput:
        return
    steps = location.split("/")
    assert all(steps)
    assert not {".", ".."} & set(steps)
    assert not location.startswith(("_", "/"))


def test_properties_are_copied_and_cannot_be_changed() -> None:
    given = {"k": "v"}
    kept = model.check_properties(given)
    given["k"] = "w"
    assert dict(kept) == {"k": "v"}
    with pytest.raises(TypeError):
        kept["k"] = "x"  # type: ignore[index]


# -- cost ------------------------------------------------------------------------------------------


def test_ten_thousand_entries_are_no_burden() -> None:
    entries = [Entry((f"n{i}",), "namespace") for i in range(100)]
    entries += [_table((f"n{i % 100}", f"t{i}"), f"p{i}") for i in range(10_000)]
    catalog = Catalog(entries)
    started = time.process_time()
    for i in range(20):
        catalog = model.declare_table(catalog, ("n1", f"new{i}"), f"q{i}").catalog
        assert len(model.list_tables(catalog, ("n1",))) == 101 + i
        catalog = model.register_table(catalog, ("n1", f"reg{i}"), f"r{i}").catalog
        catalog = model.drop_table(catalog, ("n1", f"reg{i}")).catalog
    spent = (time.process_time() - started) / 80
    assert spent < 0.1, f"{spent * 1000:.1f} ms for one change among 10,000 entries"
