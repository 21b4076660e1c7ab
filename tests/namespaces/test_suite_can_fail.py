"""The suite and the state machine find catalogs that are wrong, and only those."""

from __future__ import annotations

import inspect
import time
import unicodedata
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from pennon.errors import NamespaceNotFound, TableAlreadyExists, TableNotFound, Unsupported
from pennon.namespaces import model
from pennon.namespaces.abc import Id, IdLike, Namespace, NamespaceInfo, Page, TableInfo
from pennon.namespaces.memory import MemoryNamespace
from pennon.namespaces.model import Catalog, Change
from pennon.testing.machine import NamespaceMachine, run_machine
from pennon.testing.namespaces_suite import NamespaceSuite

SECRET = "hunter2"


class Suite(NamespaceSuite):
    """The suite over any subclass of the memory kind."""

    secrets = (SECRET,)

    def reopen(self, namespace: Namespace) -> Namespace:
        assert isinstance(namespace, MemoryNamespace)
        return type(namespace)(namespace.root)

    def write_table(self, namespace: Namespace, id: IdLike) -> None:
        assert isinstance(namespace, MemoryNamespace)
        namespace.mark_written(id)


TESTS = [name for name, _ in inspect.getmembers(Suite, inspect.isfunction) if name[:5] == "test_"]


def failing(kind: type[MemoryNamespace], tests: list[str] = TESTS) -> list[str]:
    """Return the names of the tests of the suite that a kind fails."""
    failed: list[str] = []
    for name in tests:
        namespace = kind(f"memory://{uuid.uuid4().hex}")
        try:
            getattr(Suite(), name)(namespace)
        except (Exception, pytest.fail.Exception):
            failed.append(name)
    return failed


def machine_fails(kind: type[MemoryNamespace], runs: int = 300) -> bool:
    """Return whether the state machine tells a kind from the reference."""

    class Machine(NamespaceMachine):
        def reopen(self, namespace: Namespace) -> Namespace:
            return kind(namespace.root)

        def write_table(self, namespace: Namespace, id: Id) -> None:
            assert isinstance(namespace, MemoryNamespace)
            namespace.mark_written(id)

    wanted = settings(
        max_examples=runs,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=[HealthCheck.too_slow],
    )
    try:
        run_machine(lambda: kind(f"memory://{uuid.uuid4().hex}"), wanted, machine=Machine)
    except Exception:
        return True
    return False


# -- right ones ------------------------------------------------------------------------------------


class Right(MemoryNamespace):
    """Nothing is changed."""


class Flat(MemoryNamespace):
    """A right catalog of root tables alone."""

    capabilities = frozenset()

    def _no(self, operation: str) -> Unsupported:
        return self._unsupported(operation, "use another kind.")

    def create_namespace(self, id: IdLike, **options: Any) -> NamespaceInfo:
        raise self._no("create_namespace")

    def update_namespace(self, id: IdLike, **options: Any) -> NamespaceInfo:
        raise self._no("update_namespace")

    def register_table(self, id: IdLike, location: str, **options: Any) -> TableInfo:
        raise self._no("register_table")

    def deregister_table(self, id: IdLike) -> TableInfo:
        raise self._no("deregister_table")

    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        raise self._no("rename_table")

    def declare_table(self, id: IdLike, *, properties: Any = None) -> TableInfo:
        if properties:
            raise self._no("declare_table with properties")
        return super().declare_table(id)


@pytest.mark.parametrize("kind", [Right, Flat])
def test_the_suite_passes_what_is_right(kind: type[MemoryNamespace]) -> None:
    assert failing(kind) == []
    assert not machine_fails(kind, runs=50)


# -- wrong ones ------------------------------------------------------------------------------------


class ExistOkReplacesProperties(MemoryNamespace):
    def create_namespace(
        self, id: IdLike, *, mode: Any = "create", properties: Any = None
    ) -> NamespaceInfo:
        made = super().create_namespace(id, mode=mode, properties=properties)
        if mode == "exist_ok" and properties:
            return self.update_namespace(id, set=properties)
        return made


class OverwriteKeepsTheContent(MemoryNamespace):
    def create_namespace(
        self, id: IdLike, *, mode: Any = "create", properties: Any = None
    ) -> NamespaceInfo:
        if mode == "overwrite" and self.namespace_exists(id):
            return self.describe_namespace(id)
        return super().create_namespace(id, mode=mode, properties=properties)


class ParentsAreMadeUp(MemoryNamespace):
    def create_namespace(
        self, id: IdLike, *, mode: Any = "create", properties: Any = None
    ) -> NamespaceInfo:
        parts = (id,) if isinstance(id, str) else tuple(id)
        if len(parts) > 1:
            super().create_namespace(parts[:-1], mode="exist_ok")
        return super().create_namespace(id, mode=mode, properties=properties)


class LimitIsIgnored(MemoryNamespace):
    def list_tables(
        self, namespace: IdLike = (), *, limit: Any = None, page_token: Any = None, **options: Any
    ) -> Page:
        super().list_tables(namespace, limit=limit, page_token=page_token, **options)
        return super().list_tables(namespace, page_token=page_token, **options)


class TokensAreOffsets(MemoryNamespace):
    def list_tables(
        self, namespace: IdLike = (), *, limit: Any = None, page_token: Any = None, **options: Any
    ) -> Page:
        super().list_tables(namespace, limit=limit, **options)
        found = list(super().list_tables(namespace, **options))
        start = int(page_token or 0)
        end = len(found) if limit is None else start + limit
        return Page(tuple(found[start:end]), str(end) if end < len(found) else None)


class ListingsOfNothingAreEmpty(MemoryNamespace):
    def list_tables(self, namespace: IdLike = (), **options: Any) -> Page:
        try:
            return super().list_tables(namespace, **options)
        except NamespaceNotFound:
            return Page(())


class RecursionStopsEarly(MemoryNamespace):
    def list_tables(self, namespace: IdLike = (), **options: Any) -> Page:
        page = super().list_tables(namespace, **options)
        return Page(tuple(i for i in page.items if len(i) < 4), page.next_page_token)


class RestrictCascades(MemoryNamespace):
    def drop_namespace(
        self, id: IdLike, *, behavior: Any = "restrict", missing_ok: bool = False
    ) -> None:
        model.check_choice("behavior", behavior, ("restrict", "cascade"))
        super().drop_namespace(id, behavior="cascade", missing_ok=missing_ok)


class CascadeMatchesAPrefix(MemoryNamespace):
    def drop_namespace(
        self, id: IdLike, *, behavior: Any = "restrict", missing_ok: bool = False
    ) -> None:
        super().drop_namespace(id, behavior=behavior, missing_ok=missing_ok)
        start = id if isinstance(id, str) else ".".join(id)
        if behavior == "cascade":
            for table in list(self.list_tables(recursive=True)):
                if ".".join(table).startswith(start):
                    self.drop_table(table, missing_ok=True)


class MissingIsAlwaysOk(MemoryNamespace):
    def drop_table(self, id: IdLike, *, missing_ok: bool = False) -> None:
        super().drop_table(id, missing_ok=True)


class RenameReplaces(MemoryNamespace):
    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        try:
            return super().rename_table(id, new_id)
        except TableAlreadyExists:
            if id == new_id:
                raise
            super().drop_table(new_id)
            return super().rename_table(id, new_id)


class RenameMovesTheData(MemoryNamespace):
    def rename_table(self, id: IdLike, new_id: IdLike) -> TableInfo:
        old = super().rename_table(id, new_id)
        super().drop_table(new_id)
        return super().declare_table(new_id, properties=old.properties)


class DeregisterDropsTheData(MemoryNamespace):
    def deregister_table(self, id: IdLike) -> TableInfo:
        info = self.describe_table(id)
        super().drop_table(id)
        return info


class RegisterGivesTwoNames(MemoryNamespace):
    def register_table(
        self, id: IdLike, location: str, *, mode: Any = "create", properties: Any = None
    ) -> TableInfo:
        try:
            return super().register_table(id, location, mode=mode, properties=properties)
        except TableAlreadyExists:
            if mode == "create" and self.table_exists(id):
                raise
            place = f"{self.root}/{location}"
            return self._table_info(
                self._apply(lambda c: model.declare_table(c, (str(id),), place)).entry
            )


class LocationsAreNames(MemoryNamespace):
    def _apply(self, rule: Callable[[Catalog], Change]) -> Change:
        change = super()._apply(rule)
        entry = change.entry
        if entry and entry.kind == "table" and change.upserts and not change.deletes:
            named = model.Entry(
                entry.id, "table", f"{self.root}/{'-'.join(entry.id)}", entry.properties
            )
            return super()._apply(lambda c: Change(c.changed([named]), named, (named,)))
        return change


class DeclareIsNotAtomic(MemoryNamespace):
    def declare_table(self, id: IdLike, *, properties: Any = None) -> TableInfo:
        if super().table_exists(id):
            return super().declare_table(id)
        time.sleep(0.01)
        super().drop_table(id, missing_ok=True)
        return super().declare_table(id, properties=properties)


class EmptyPropertiesAreLost(MemoryNamespace):
    def declare_table(self, id: IdLike, *, properties: Any = None) -> TableInfo:
        kept = {k: v for k, v in model.check_properties(properties).items() if v}
        return super().declare_table(id, properties=kept)


class NamesAreNormalised(MemoryNamespace):
    def declare_table(self, id: IdLike, *, properties: Any = None) -> TableInfo:
        parts = (id,) if isinstance(id, str) else tuple(id)
        flat = [unicodedata.normalize("NFC", p) if isinstance(p, str) else p for p in parts]
        return super().declare_table(flat, properties=properties)


class AnyNameIsAsked(MemoryNamespace):
    def table_exists(self, id: IdLike) -> bool:
        parts = (id,) if isinstance(id, str) else tuple(id)
        return parts in self._read()


class TablesAreNamespaces(MemoryNamespace):
    def namespace_exists(self, id: IdLike) -> bool:
        return super().namespace_exists(id) or (bool(id) and self.table_exists(id))


class AnswersAreRemembered(MemoryNamespace):
    def table_exists(self, id: IdLike) -> bool:
        known: dict[Id, bool] = self.__dict__.setdefault("_known", {})
        parts = (id,) if isinstance(id, str) else tuple(id)
        if parts not in known:
            known[parts] = super().table_exists(id)
        return known[parts]


class ErrorsAreVague(MemoryNamespace):
    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        try:
            return super().describe_table(id, check_declared=check_declared)
        except TableNotFound:
            raise TableNotFound("Not found.") from None


class ErrorsShowCredentials(MemoryNamespace):
    def describe_table(self, id: IdLike, *, check_declared: bool = False) -> TableInfo:
        try:
            return super().describe_table(id, check_declared=check_declared)
        except TableNotFound as error:
            error.context["headers"] = f"Bearer {SECRET}"
            raise


class ErrorsAreOfTheWrongClass(MemoryNamespace):
    def describe_namespace(self, id: IdLike) -> NamespaceInfo:
        try:
            return super().describe_namespace(id)
        except NamespaceNotFound as error:
            raise TableNotFound(error.message, **error.context) from None

    def namespace_exists(self, id: IdLike) -> bool:
        return super().namespace_exists(id) if id == () else tuple(id) in self._read()


class CapabilitiesAreHidden(MemoryNamespace):
    capabilities = MemoryNamespace.capabilities - {"rename"}


# What each wrong kind does, the test of the suite that must find it, and whether the state machine
# must find it, too: it sees neither threads, messages nor names that nobody may be given.
WRONG: list[tuple[type[MemoryNamespace], str, bool]] = [
    (ExistOkReplacesProperties, "test_exist_ok_leaves_everything_as_it_was", True),
    (OverwriteKeepsTheContent, "test_overwrite_makes_an_empty_one", True),
    (ParentsAreMadeUp, "test_the_parent_must_exist", True),
    (LimitIsIgnored, "test_pages_of_tables", True),
    (TokensAreOffsets, "test_pages_survive_changes_between_them", False),
    (ListingsOfNothingAreEmpty, "test_missing_namespaces", True),
    (RecursionStopsEarly, "test_recursion", False),
    (RestrictCascades, "test_drop_restrict", True),
    (CascadeMatchesAPrefix, "test_drop_cascade", False),
    (MissingIsAlwaysOk, "test_drop", True),
    (RenameReplaces, "test_rename_never_replaces", True),
    (RenameMovesTheData, "test_renamed_data_stay", True),
    (DeregisterDropsTheData, "test_deregister_keeps_the_data", True),
    (RegisterGivesTwoNames, "test_register_gives_one_name", True),
    (LocationsAreNames, "test_locations_are_never_used_again", True),
    (DeclareIsNotAtomic, "test_threads_declare_one_table", False),
    (EmptyPropertiesAreLost, "test_table_properties_round_trip", True),
    (NamesAreNormalised, "test_odd_names_of_tables", False),
    (AnyNameIsAsked, "test_invalid_names_are_refused", False),
    (TablesAreNamespaces, "test_ids_exclude_each_other", True),
    (AnswersAreRemembered, "test_two_connections_agree", True),
    (ErrorsAreVague, "test_missing_tables", False),
    (ErrorsShowCredentials, "test_missing_tables", False),
    (ErrorsAreOfTheWrongClass, "test_missing_namespaces", True),
    (CapabilitiesAreHidden, "test_capabilities_are_known_words", False),
]


@pytest.mark.parametrize(("kind", "test"), [(k, t) for k, t, _ in WRONG])
def test_the_suite_finds(kind: type[MemoryNamespace], test: str) -> None:
    assert test in TESTS
    assert failing(kind, [test]) == [test]


@pytest.mark.parametrize("kind", [k for k, _, found in WRONG if found])
def test_the_machine_finds(kind: type[MemoryNamespace]) -> None:
    assert machine_fails(kind)
