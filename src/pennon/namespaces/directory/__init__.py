"""Directories of Lance tables, on a disk or in a bucket, as a catalog."""

from pennon.namespaces.directory.namespace import DirectoryNamespace
from pennon.namespaces.directory.reports import MigrationReport, SweepReport, VacuumReport

__all__ = ["DirectoryNamespace", "MigrationReport", "SweepReport", "VacuumReport"]
