"""The operations that a storage backend does not answer, and why."""

from __future__ import annotations

__all__ = ["REFUSALS"]

_COMMITS = (
    "versions are committed by their writers, with Lance's own put-if-absent, and never through "
    "the catalog (managed_versioning is false); "
)
_JOBS = "no compute service stands behind a storage backend; "

REFUSALS = {
    "create_table_version": f"{_COMMITS}write with insert_into_table, or with Lance itself.",
    "batch_create_table_versions": f"{_COMMITS}write to one table after the other.",
    "batch_commit_tables": f"{_COMMITS}write to one table after the other.",
    "batch_delete_table_versions": (
        "a version is only removed together with the files no other one needs; use "
        "optimize_table of the storage backend, which does that by age."
    ),
    "alter_transaction": (
        "a transaction is a commit, which is final when it is acknowledged; restore_table goes "
        "back to an earlier version."
    ),
    "alter_table_backfill_columns": (
        f"{_JOBS}add columns with an expression, or with a function by add_columns of the storage "
        "backend."
    ),
    "create_materialized_view": f"{_JOBS}create a table from the rows of a query.",
    "refresh_materialized_view": f"{_JOBS}there are no materialized views.",
}
"""By name: what a caller is told."""
