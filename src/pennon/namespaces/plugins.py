"""Classes that are found by name when they are needed.

Which class a kind of namespace is: built in, from an installed package, or by its path. And which
class shows a namespace to other Lance tools, because that one stands in a room above this one.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import Any

from pennon.errors import InvalidOption, MissingExtra, did_you_mean
from pennon.namespaces.abc import Namespace

__all__ = ["ADAPTER", "GROUP", "adapter", "find", "kinds"]

GROUP = "pennon.namespaces"
"""The entry point group: a package adds a kind by an entry point of this group that names a
subclass of :class:`~pennon.namespaces.abc.Namespace`."""

ADAPTER = "pennon.storage.serving:BackendAdapter"
"""What ``Namespace.to_lance`` returns. It answers operations on data through a storage backend, so
it lives above the namespaces and is named here, not imported: the one place where this room knows
of the one above."""

_EXTERNAL = "pennon.namespaces.external:ExternalNamespace"
_BUILTIN = {
    "dir": "pennon.namespaces.directory:DirectoryNamespace",
    "memory": "pennon.namespaces.memory:MemoryNamespace",
    "rest": "pennon.namespaces.rest:RestNamespace",
    **dict.fromkeys(("glue", "hive2", "hive3", "iceberg", "polaris", "unity"), _EXTERNAL),
}


def kinds() -> tuple[str, ...]:
    """Return the kinds that can be connected by name, sorted."""
    return tuple(sorted({*_BUILTIN, *importlib.metadata.entry_points(group=GROUP).names}))


def find(kind: str) -> type[Namespace]:
    """Return the class of a kind.

    Args:
        kind: A built-in kind, which no plugin can replace; else the name of an entry point of the
            group ``pennon.namespaces``; else ``package.module.Class``.

    Raises:
        InvalidOption: There is no such kind, or what it names is no namespace.
        MissingExtra: A package it needs is not installed.
    """
    if not isinstance(kind, str) or not kind:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"{kind!r} is no kind of namespace; pass a name such as 'dir'.")
    if kind in _BUILTIN:
        return _load(_BUILTIN[kind])
    plugins = importlib.metadata.entry_points(group=GROUP, name=kind)
    if plugins:
        (plugin, *others) = plugins
        if any(other.value != plugin.value for other in others):
            names = ", ".join(sorted({p.value for p in plugins}))
            raise InvalidOption(f"Several packages provide the kind {kind!r}: {names}; remove one.")
        return _namespace_class(kind, _import_plugin(kind, plugin))
    if "." in kind:
        return _namespace_class(kind, _import_path(kind))
    raise InvalidOption(f"There is no kind {kind!r}; {did_you_mean(kind.lower(), kinds())}")


def adapter() -> Any:
    """Return the class that makes a ``lance_namespace.LanceNamespace`` of a namespace."""
    return _load(ADAPTER)


def _load(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _import_plugin(kind: str, plugin: importlib.metadata.EntryPoint) -> Any:
    try:
        return plugin.load()
    except ImportError as error:
        raise MissingExtra(
            f"The plugin {plugin.value} for kind {kind!r} cannot be imported ({error}); "
            "install what it needs."
        ) from error
    except AttributeError as error:
        raise InvalidOption(
            f"The plugin for kind {kind!r} names {plugin.value}, which does not exist; "
            "update the package."
        ) from error


def _import_path(kind: str) -> Any:
    module, _, name = kind.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        missing = getattr(error, "name", None)
        ours = not isinstance(error, ImportError) or f"{module}.".startswith(f"{missing}.")
        if ours:
            raise InvalidOption(
                f"There is no class {kind!r} ({error}); write package.module.Class, or "
                f"one of {', '.join(kinds())}."
            ) from error
        raise MissingExtra(
            f"{kind!r} cannot be imported ({error}); install what it needs."
        ) from error


def _namespace_class(kind: str, found: Any) -> type[Namespace]:
    if isinstance(found, type):
        if issubclass(found, Namespace):
            return found
        # Whoever subclasses it has imported it: asking so costs nothing for everybody else.
        foreign = getattr(sys.modules.get("lance_namespace"), "LanceNamespace", None)
        if foreign is not None and issubclass(found, foreign):
            return _load(_EXTERNAL)
    raise InvalidOption(
        f"The kind {kind!r} names {found!r}, which is no namespace; it must be a subclass of "
        "pennon.namespaces.Namespace or lance_namespace.LanceNamespace."
    )
