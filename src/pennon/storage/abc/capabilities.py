"""Contract: which operations a backend performs. Found out from what it is, never declared."""

from __future__ import annotations

import abc
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from pennon.errors import Unsupported
from pennon.namespaces.abc import Capability, Namespace

__all__ = ["Capable", "needs", "operations"]

F = TypeVar("F", bound=Callable[..., Any])

_HERE = f"{__name__.rpartition('.')[0]}."


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
    """Tells what it can do.

    A backend that performs only some of the operations says so, and leaves the others out::

        class Mine(StorageBackend, partial=True): ...
    """

    def __init_subclass__(cls, *, partial: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        while partial and (missing := _without_a_body(cls)):
            for method in missing:
                setattr(cls, method.__name__, _refusing(method))

    @property
    @abc.abstractmethod
    def namespace(self) -> Namespace:
        """The catalog whose names this backend stores tables under."""

    @property
    def capabilities(self) -> frozenset[str]:
        """The operations that work here; the others of the contract raise ``Unsupported``.

        >>> "rename_table" in db.capabilities

        An operation is missing if this backend leaves it out, or another one that the contract
        builds it on, or if its catalog cannot do what it takes. Finding out what the catalog can
        may ask the store.
        """
        catalog, backend = self.namespace.capabilities, type(self)
        return frozenset(
            name
            for name, method in operations(backend).items()
            if not hasattr(method, "left_out") and _needed(backend, name) <= catalog
        )


def _refusing(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def refuse(self: object, *_: object, **__: object) -> Any:
        raise Unsupported(
            f"{type(self).__name__} leaves {method.__name__} out; use another backend: "
            "`capabilities` names what one performs.",
            operation=method.__name__,
        )

    vars(refuse).update(left_out=True, __isabstractmethod__=False)
    return refuse


def _without_a_body(backend: type) -> list[Callable[..., Any]]:
    """Return the methods that are abstract, and those of the contract that call one left out."""
    found: list[Callable[..., Any]] = []
    for _, method in inspect.getmembers(backend, inspect.isfunction):
        called = method.__code__.co_names if method.__module__.startswith(_HERE) else ()
        if getattr(method, "__isabstractmethod__", False) or (
            not hasattr(method, "left_out")
            and any(hasattr(getattr(backend, name, None), "left_out") for name in called)
        ):
            found.append(method)
    return found


def _needed(backend: type, name: str) -> frozenset[Capability]:
    """Return what the contract says an operation needs, however the backend performs it."""
    found = (getattr(vars(c).get(name), "needs", None) for c in backend.__mro__)
    return frozenset(capability for capability in found if capability is not None)
