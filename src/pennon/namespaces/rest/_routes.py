"""The operations of the Lance Namespace REST specification, as data.

https://lance.org/format/namespace/rest/catalog-spec/ defines them. A field of an operation travels
in the path, in the query, or in the JSON body; ``delimiter`` goes into the query of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ROUTES", "Route"]


@dataclass(frozen=True, slots=True)
class Route:
    """How one operation travels over HTTP."""

    name: str
    path: str
    """Below the base URI; ``{id}`` stands for the encoded id, other braces for a field."""
    method: Literal["GET", "POST"] = "POST"
    body: tuple[str, ...] | None = None
    """Fields of the JSON body; None if the request has no JSON body."""
    query: tuple[str, ...] = ()
    """Fields of the query. One that is in ``body`` too is sent in both."""
    required: tuple[str, ...] = ()
    arrow: bool = False
    """Whether the request carries an Arrow IPC stream."""
    whole: str = ""
    """The field that is the whole JSON body, instead of one key of it."""
    result: str = ""
    """What a JSON answer that is no object is called; ``data`` is an Arrow IPC file."""
    returns: tuple[str, ...] = ()
    """Fields of the answer."""
    repeatable: bool = False
    """Whether a second try is harmless when the fate of the first is unknown: it only reads."""

    @property
    def in_path(self) -> tuple[str, ...]:
        """Fields that stand in the path, besides the id."""
        return ("index_name",) if "{index_name}" in self.path else ()

    @property
    def fields(self) -> frozenset[str]:
        """All fields a request can have."""
        whole = (self.whole,) if self.whole else ()
        return frozenset((*self.in_path, *self.query, *(self.body or ()), *whole))

    @property
    def has_id(self) -> bool:
        """Whether the operation is about one object."""
        return "{id}" in self.path


_PAGE = ("page_token", "limit")
_INDEX = (
    "branch",
    "column",
    "index_type",
    "name",
    "distance_type",
    "num_partitions",
    "num_sub_vectors",
    "num_bits",
    "sample_rate",
    "max_iterations",
    "target_partition_size",
    "m",
    "ef_construction",
    "with_position",
    "base_tokenizer",
    "language",
    "max_token_length",
    "lower_case",
    "stem",
    "remove_stop_words",
    "ascii_folding",
)
_QUERY = (
    "branch",
    "bypass_vector_index",
    "columns",
    "distance_type",
    "ef",
    "fast_search",
    "filter",
    "full_text_query",
    "k",
    "lower_bound",
    "maximum_nprobes",
    "minimum_nprobes",
    "nprobes",
    "offset",
    "prefilter",
    "refine_factor",
    "upper_bound",
    "vector",
    "vector_column",
    "version",
    "with_row_id",
)
_DETAILS = ("with_table_uri", "load_detailed_metadata", "check_declared")

_NAMESPACES = (
    Route(
        "create_namespace",
        "/v1/namespace/{id}/create",
        body=("mode", "properties"),
        returns=("transaction_id", "properties"),
    ),
    Route(
        "list_namespaces",
        "/v1/namespace/{id}/list",
        "GET",
        query=_PAGE,
        returns=("namespaces", "page_token"),
        repeatable=True,
    ),
    Route(
        "describe_namespace",
        "/v1/namespace/{id}/describe",
        body=(),
        returns=("properties",),
        repeatable=True,
    ),
    Route(
        "drop_namespace",
        "/v1/namespace/{id}/drop",
        body=("mode", "behavior"),
        returns=("properties", "transaction_id"),
    ),
    Route("namespace_exists", "/v1/namespace/{id}/exists", body=(), repeatable=True),
    Route(
        "list_tables",
        "/v1/namespace/{id}/table/list",
        "GET",
        query=(*_PAGE, "include_declared"),
        returns=("tables", "page_token"),
        repeatable=True,
    ),
    Route(
        "list_all_tables",
        "/v1/table",
        "GET",
        query=(*_PAGE, "include_declared"),
        returns=("tables", "page_token"),
        repeatable=True,
    ),
)

_TABLES = (
    Route(
        "register_table",
        "/v1/table/{id}/register",
        body=("location", "mode", "properties"),
        required=("location",),
        returns=("transaction_id", "location", "properties"),
    ),
    Route(
        "describe_table",
        "/v1/table/{id}/describe",
        body=("version", "tag", "branch", *_DETAILS, "vend_credentials"),
        query=_DETAILS,
        returns=(
            "table",
            "namespace",
            "version",
            "location",
            "table_uri",
            "schema",
            "storage_options",
            "stats",
            "metadata",
            "properties",
            "managed_versioning",
            "is_only_declared",
        ),
        repeatable=True,
    ),
    Route("table_exists", "/v1/table/{id}/exists", body=("version",), repeatable=True),
    Route(
        "drop_table",
        "/v1/table/{id}/drop",
        returns=("transaction_id", "id", "location", "properties"),
    ),
    Route(
        "deregister_table",
        "/v1/table/{id}/deregister",
        body=(),
        returns=("transaction_id", "id", "location", "properties"),
    ),
    Route(
        "declare_table",
        "/v1/table/{id}/declare",
        body=("location", "vend_credentials", "properties"),
        returns=(
            "transaction_id",
            "location",
            "storage_options",
            "properties",
            "managed_versioning",
        ),
    ),
    Route(
        "rename_table",
        "/v1/table/{id}/rename",
        body=("new_table_name", "new_namespace_id"),
        required=("new_table_name",),
        returns=("transaction_id",),
    ),
    Route(
        "create_table",
        "/v1/table/{id}/create",
        query=("mode", "properties", "storage_options"),
        arrow=True,
        returns=("transaction_id", "location", "version", "storage_options", "properties"),
    ),
)

_HISTORY = (
    Route(
        "restore_table",
        "/v1/table/{id}/restore",
        body=("version", "branch"),
        required=("version",),
        returns=("transaction_id",),
    ),
    Route(
        "list_table_versions",
        "/v1/table/{id}/version/list",
        query=("branch", *_PAGE, "descending"),
        returns=("versions", "page_token"),
        repeatable=True,
    ),
    Route(
        "create_table_version",
        "/v1/table/{id}/version/create",
        body=(
            "version",
            "branch",
            "manifest_path",
            "manifest_size",
            "e_tag",
            "metadata",
            "naming_scheme",
        ),
        required=("version", "manifest_path"),
        returns=("transaction_id", "version"),
    ),
    Route(
        "describe_table_version",
        "/v1/table/{id}/version/describe",
        body=("version", "branch"),
        returns=("version",),
        repeatable=True,
    ),
    Route(
        "batch_delete_table_versions",
        "/v1/table/{id}/version/delete",
        body=("branch", "ranges"),
        required=("ranges",),
        returns=("deleted_count", "transaction_id"),
    ),
    Route(
        "batch_create_table_versions",
        "/v1/table/version/batch-create",
        body=("entries",),
        required=("entries",),
        returns=("transaction_id", "versions"),
    ),
    Route(
        "batch_commit_tables",
        "/v1/table/batch-commit",
        body=("operations",),
        required=("operations",),
        returns=("transaction_id", "results"),
    ),
    Route(
        "list_table_tags",
        "/v1/table/{id}/tags/list",
        query=_PAGE,
        returns=("tags", "page_token"),
        repeatable=True,
    ),
    Route(
        "get_table_tag_version",
        "/v1/table/{id}/tags/version",
        body=("tag",),
        required=("tag",),
        returns=("version", "branch"),
        repeatable=True,
    ),
    Route(
        "create_table_tag",
        "/v1/table/{id}/tags/create",
        body=("tag", "version", "branch"),
        required=("tag", "version"),
        returns=("transaction_id",),
    ),
    Route(
        "update_table_tag",
        "/v1/table/{id}/tags/update",
        body=("tag", "version", "branch"),
        required=("tag", "version"),
        returns=("transaction_id",),
    ),
    Route(
        "delete_table_tag",
        "/v1/table/{id}/tags/delete",
        body=("tag",),
        required=("tag",),
        returns=("transaction_id",),
    ),
    Route(
        "list_table_branches",
        "/v1/table/{id}/branches/list",
        query=_PAGE,
        returns=("branches", "page_token"),
        repeatable=True,
    ),
    Route(
        "create_table_branch",
        "/v1/table/{id}/branches/create",
        body=("name", "from_branch", "from_version"),
        required=("name",),
        returns=("transaction_id",),
    ),
    Route(
        "delete_table_branch",
        "/v1/table/{id}/branches/delete",
        body=("name",),
        required=("name",),
        returns=("transaction_id",),
    ),
    Route(
        "describe_transaction",
        "/v1/transaction/{id}/describe",
        body=(),
        returns=("status", "properties"),
        repeatable=True,
    ),
    Route(
        "alter_transaction",
        "/v1/transaction/{id}/alter",
        body=("actions",),
        required=("actions",),
        returns=("status", "properties"),
    ),
)

_SCHEMA = (
    Route(
        "update_table_schema_metadata",
        "/v1/table/{id}/schema_metadata/update",
        query=("branch",),
        required=("metadata",),
        whole="metadata",
        result="metadata",
        returns=("metadata",),
    ),
    Route(
        "update_field_metadata",
        "/v1/table/{id}/update_field_metadata",
        body=("branch", "updates"),
        required=("updates",),
        returns=("version", "fields"),
    ),
    Route(
        "alter_table_add_columns",
        "/v1/table/{id}/add_columns",
        body=("branch", "new_columns"),
        required=("new_columns",),
        returns=("version",),
    ),
    Route(
        "alter_table_alter_columns",
        "/v1/table/{id}/alter_columns",
        body=("branch", "alterations"),
        required=("alterations",),
        returns=("version",),
    ),
    Route(
        "alter_table_drop_columns",
        "/v1/table/{id}/drop_columns",
        body=("branch", "columns"),
        required=("columns",),
        returns=("transaction_id", "version"),
    ),
    Route(
        "alter_table_backfill_columns",
        "/v1/table/{id}/backfill_column",
        body=(
            "branch",
            "column",
            "where",
            "concurrency",
            "intra_applier_concurrency",
            "min_checkpoint_size",
            "max_checkpoint_size",
            "batch_checkpoint_flush_interval_seconds",
            "read_version",
            "task_size",
            "num_frags",
            "checkpoint_size",
            "commit_granularity",
            "cluster",
            "manifest",
        ),
        required=("column",),
        returns=("job_id",),
    ),
)

_DATA = (
    Route(
        "get_table_stats",
        "/v1/table/{id}/stats",
        body=("branch",),
        returns=("total_bytes", "num_rows", "num_indices", "fragment_stats"),
        repeatable=True,
    ),
    Route(
        "insert_into_table",
        "/v1/table/{id}/insert",
        query=("branch", "mode"),
        arrow=True,
        returns=("transaction_id", "num_inserted_rows", "version"),
    ),
    Route(
        "merge_insert_into_table",
        "/v1/table/{id}/merge_insert",
        query=(
            "branch",
            "on",
            "when_matched_update_all",
            "when_matched_update_all_filt",
            "when_not_matched_insert_all",
            "when_not_matched_by_source_delete",
            "when_not_matched_by_source_delete_filt",
            "timeout",
            "use_index",
        ),
        required=("on",),
        arrow=True,
        returns=(
            "transaction_id",
            "num_updated_rows",
            "num_inserted_rows",
            "num_deleted_rows",
            "version",
        ),
    ),
    Route(
        "update_table",
        "/v1/table/{id}/update",
        body=("branch", "predicate", "updates", "properties"),
        required=("updates",),
        returns=("transaction_id", "updated_rows", "version", "properties"),
    ),
    Route(
        "delete_from_table",
        "/v1/table/{id}/delete",
        body=("branch", "predicate"),
        required=("predicate",),
        returns=("transaction_id", "version"),
    ),
    Route(
        "query_table",
        "/v1/table/{id}/query",
        body=_QUERY,
        required=("k", "vector"),
        result="data",
        repeatable=True,
    ),
    Route(
        "count_table_rows",
        "/v1/table/{id}/count_rows",
        body=("version", "branch", "predicate"),
        result="count",
        returns=("count",),
        repeatable=True,
    ),
    Route(
        "explain_table_query_plan",
        "/v1/table/{id}/explain_plan",
        body=("branch", "query", "verbose"),
        required=("query",),
        result="plan",
        returns=("plan",),
        repeatable=True,
    ),
    Route(
        "analyze_table_query_plan",
        "/v1/table/{id}/analyze_plan",
        body=_QUERY,
        required=("k", "vector"),
        result="analysis",
        returns=("analysis",),
        repeatable=True,
    ),
    Route(
        "refresh_materialized_view",
        "/v1/materialized_view/{id}/refresh",
        body=(
            "src_version",
            "max_rows_per_fragment",
            "concurrency",
            "intra_applier_concurrency",
            "source_task_size",
            "cluster",
            "output_limit",
            "manifest",
        ),
        returns=("job_id",),
    ),
    Route(
        "create_materialized_view",
        "/v1/materialized_view/{id}/create",
        body=(
            "kind",
            "source_query",
            "output_schema",
            "udtf_spec",
            "with_no_data",
            "auto_refresh",
        ),
        required=("kind", "source_query", "output_schema"),
        returns=("version", "job_id"),
    ),
)

_INDICES = (
    Route(
        "create_table_index",
        "/v1/table/{id}/create_index",
        body=_INDEX,
        required=("column", "index_type"),
        returns=("transaction_id",),
    ),
    Route(
        "create_table_scalar_index",
        "/v1/table/{id}/create_scalar_index",
        body=_INDEX,
        required=("column", "index_type"),
        returns=("transaction_id",),
    ),
    Route(
        "list_table_indices",
        "/v1/table/{id}/index/list",
        body=("version", "branch", *_PAGE),
        returns=("indexes", "page_token"),
        repeatable=True,
    ),
    Route(
        "describe_table_index_stats",
        "/v1/table/{id}/index/{index_name}/stats",
        body=("version", "branch", "index_name"),
        required=("index_name",),
        returns=(
            "distance_type",
            "index_type",
            "num_indexed_rows",
            "num_unindexed_rows",
            "num_indices",
        ),
        repeatable=True,
    ),
    Route(
        "drop_table_index",
        "/v1/table/{id}/index/{index_name}/drop",
        query=("branch",),
        required=("index_name",),
        returns=("transaction_id",),
    ),
)

ROUTES: dict[str, Route] = {
    r.name: r for r in (*_NAMESPACES, *_TABLES, *_HISTORY, *_SCHEMA, *_DATA, *_INDICES)
}
"""The operations by name."""
