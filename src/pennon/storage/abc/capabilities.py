"""Contract: which operations a backend performs. Found out from what it is, never declared."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from pennon.errors import Unsupported
from pennon.namespaces.abc import Capability, Namespace

__all__ = ["Capable", "needs", "operations", "optional"]

F = TypeVar("F", bound=Callable[..., Any])

_HERE = f"{__name__.rpartition('.')[0]}."


def optional(method: F) -> F:
    """Let a backend leave an operation out: it then raises ``Unsupported``."""

    @functools.wraps(method)
    def refuse(self: object, *_: object, **__: object) -> Any:
        raise Unsupported(
            f"{type(self).__name__} does not perform {method.__name__}; another backend does: "
            "`capabilities` names what this one performs.",
            operation=method.__name__,
        )

    vars(refuse)["left_out"] = True
    return refuse  # type: ignore[return-value]


def needs(capability: Capability) -> Callable[[F], F]:
    """Say what an operation needs of the catalog, which refuses it otherwise."""

    def mark(method: F) -> F:
        vars(method)["needs"] = capability
        return method

    return mark


def operations(backend: type) -> dict[str, Any]:
    """Return the methods of a backend that belong to the contract, by name."""
    contract = [c for c in backend.__mro__ if c.__module__.startswith(_HERE)]
    names = {
        name
        for c in contract
        for name, value in vars(c).items()
        if not name.startswith("_") and inspect.isfunction(value)
    }
    return {name: getattr(backend, name) for name in sorted(names)}


class Capable(abc.ABC):
    """Tells what it can do."""

    @property
    @abc.abstractmethod
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""

    @property
    def capabilities(self) -> frozenset[str]:
        """The operations that work here; the others of the contract raise ``Unsupported``.

        >>> "rename_table" in db.capabilities

        An operation is missing if this backend leaves it out, or if its catalog cannot do what it
        takes. Finding out what the catalog can may ask the store.
        """
        catalog = self.namespace.capabilities
        return frozenset(
            name
            for name, method in operations(type(self)).items()
            if not hasattr(method, "left_out") and _needed(type(self), name) <= catalog
        )


def _needed(backend: type, name: str) -> frozenset[Capability]:
    """Return what the contract says an operation needs, however the backend performs it."""
    found = (getattr(vars(c).get(name), "needs", None) for c in backend.__mro__)
    return frozenset(capability for capability in found if capability is not None)
