"""What all parts of the namespace suite share: fixtures, hooks, the shape of a right error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pennon.errors import PennonError, Unsupported
from pennon.namespaces.abc import Capability, Id, Namespace
from pennon.namespaces.names import show_id

if TYPE_CHECKING:
    from pennon.namespaces.abc import IdLike

__all__ = ["SuiteBase", "tree"]


def tree(namespace: Namespace) -> tuple[list[Id], list[Id]]:
    """Return all namespaces and all tables of a catalog, sorted."""
    return (
        sorted(namespace.iter_namespaces(recursive=True)),
        sorted(namespace.iter_tables(recursive=True)),
    )


_ATTEMPTS: dict[Capability, tuple[Callable[[Namespace], object], ...]] = {
    "nested": (lambda n: n.create_namespace("x"),),
    "properties": (lambda n: n.declare_table("x", properties={"k": "v"}),),
    "update": (lambda n: n.update_namespace("x", set={"k": "v"}),),
    "register": (lambda n: n.register_table("x", "y"), lambda n: n.deregister_table("x")),
    "rename": (lambda n: n.rename_table("x", "y"),),
}


class SuiteBase:
    """Fixtures and hooks; see :class:`pennon.testing.namespaces_suite.NamespaceSuite`."""

    secrets: tuple[str, ...] = ()
    """Credentials of the catalog under test, which must never be shown."""

    @pytest.fixture
    def namespace(self) -> Iterator[Namespace]:
        """Override: a connection to a fresh, empty catalog."""
        raise NotImplementedError("Override the fixture 'namespace' with a fresh, empty catalog.")

    def reopen(self, namespace: Namespace) -> Namespace:
        """Override: a second connection to the same catalog that shares no cache with the first."""
        raise NotImplementedError(f"Override reopen() to connect to {namespace!r} once more.")

    def write_table(self, namespace: Namespace, id: IdLike) -> None:
        """Write a row at the location of a declared table; override where Lance cannot."""
        import lance
        import pyarrow as pa

        info = namespace.describe_table(id)
        options: Any = dict(info.storage_options or {})
        lance.write_dataset(
            pa.table({"id": [1]}), info.location, storage_options=options or None, mode="create"
        )

    # -- helpers of the tests --------------------------------------------------------------------

    @contextlib.contextmanager
    def refused(self, error: type[PennonError], id: IdLike | None = None) -> Generator[None]:
        """Assert that the block raises this very error, about this id, in its full shape."""
        with pytest.raises(error) as caught:
            yield
        raised = caught.value
        assert raised.code == error.code, f"{raised!r} carries code {raised.code}"
        assert raised.kind, "an error needs a kind"
        assert not raised.retryable, f"{raised!r} says that trying again may help"
        self.check_clean(f"{raised!s} {raised!r} {raised.context}")
        if id is not None:
            parts: Id = (id,) if isinstance(id, str) else tuple(id)
            if parts:
                assert parts[-1] in str(raised), f"{raised!s} does not name {parts[-1]!r}"
            known = {parts, show_id(parts)}
            found = [tuple(v) if isinstance(v, list) else v for v in raised.context.values()]
            assert any(v in known for v in found), f"{raised.context} does not hold {parts!r}"

    def check_clean(self, text: str) -> None:
        """Assert that a text for people holds no credential."""
        for secret in self.secrets:
            assert secret not in text, "a credential is shown"

    def lacks(self, namespace: Namespace, *needed: Capability) -> bool:
        """Return whether a capability is missing, having asserted that it then is refused."""
        missing: list[Capability] = [c for c in needed if c not in namespace.capabilities]
        for capability in missing:
            before = tree(namespace)
            for attempt in _ATTEMPTS[capability]:
                with pytest.raises(Unsupported) as caught:
                    attempt(namespace)
                assert caught.value.code == 0
            assert tree(namespace) == before, f"a refused operation ({capability}) left traces"
        return bool(missing)
