"""What maintenance of a directory found and did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pennon.namespaces.abc import Id

__all__ = ["MigrationReport", "SweepReport", "VacuumReport"]


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What :meth:`DirectoryNamespace.migrate` did, or would do."""

    dry_run: bool
    registered: tuple[Id, ...] = ()
    """Tables that got their name in the catalog table."""
    known: tuple[Id, ...] = ()
    """Tables that had it already."""
    skipped: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Directories that were left as they are, and why."""


@dataclass(frozen=True, slots=True)
class VacuumReport:
    """What :meth:`DirectoryNamespace.vacuum` removed, or would remove."""

    dry_run: bool
    versions: int = 0
    """Old versions of the catalog table."""
    size: int = 0
    """Bytes."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What :meth:`DirectoryNamespace.sweep` removed, or would remove."""

    dry_run: bool
    removed: tuple[str, ...] = ()
    """Directories without a name."""
    size: int = 0
    """Bytes in them."""
    young: tuple[str, ...] = ()
    """Directories without a name that changed within the grace period."""
    deregistered: tuple[str, ...] = ()
    """Directories kept because their name was taken away on purpose."""
    declared: tuple[Id, ...] = ()
    """Tables that are only declared."""
    dropped: tuple[Id, ...] = ()
    """Those of them that were dropped, because that was asked for."""
