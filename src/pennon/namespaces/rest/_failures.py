"""What a server says when it fails, as the errors of pennon."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pennon.errors import (
    BranchNotFound,
    ColumnNotFound,
    CommitConflict,
    InvalidFilter,
    InvalidInput,
    InvalidOption,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    OutcomeUnknown,
    PennonError,
    PermissionDenied,
    RootNotFound,
    SchemaMismatch,
    StorageError,
    TableAlreadyExists,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unsupported,
    VersionNotFound,
    from_code,
    redact,
)
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id

__all__ = ["Failure", "name_taken", "not_empty", "to_error"]

_EXCERPT = 200

_BY_STATUS: dict[int, tuple[type[PennonError], str]] = {
    400: (InvalidInput, "the server does not understand the request"),
    401: (Unauthenticated, "credentials are missing, wrong or expired; check the headers"),
    403: (PermissionDenied, "these credentials may not do this"),
    404: (RootNotFound, "there is no Lance namespace server here; check the path of the uri"),
    405: (Unsupported, "the server has no such operation"),
    406: (Unsupported, "the server has no such operation"),
    407: (Unauthenticated, "a proxy in between wants credentials"),
    409: (CommitConflict, "somebody else changed the same thing"),
    413: (InvalidInput, "the request is too large for the server; send less at once"),
    415: (Unsupported, "the server does not take this kind of content"),
    422: (InvalidInput, "the server cannot use the values given"),
    429: (Throttled, "the server asks to be called less often"),
    501: (Unsupported, "the server has no such operation"),
    502: (Unavailable, "the server behind the gateway cannot be reached"),
    503: (Unavailable, "the server cannot serve now; try again later"),
    504: (Unavailable, "the server behind the gateway did not answer in time"),
}
_AMBIGUOUS = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class _Lie:
    """An answer whose code is not what the specification wants for what happened."""

    code: int
    text: re.Pattern[str]
    means: type[PennonError]
    operations: frozenset[str] = frozenset()
    """Empty for all."""


def _lie(code: int, text: str, means: type[PennonError], *operations: str) -> _Lie:
    return _Lie(code, re.compile(text, re.DOTALL), means, frozenset(operations))


_COLUMN = r"FieldNotFound|No field named|[Cc]olumn \S+ does not exist"
_WITH_FILTER = (
    "query_table",
    "count_table_rows",
    "explain_table_query_plan",
    "analyze_table_query_plan",
    "merge_insert_into_table",
    "update_table",
    "delete_from_table",
)
_WITH_COLUMNS = (*_WITH_FILTER, "alter_table_alter_columns", "alter_table_drop_columns")
_MAKES_TABLE = ("declare_table", "register_table", "create_table")
_LIES = (
    _lie(18, r"^(?:Internal error: )?(?:Not supported|Unsupported)", Unsupported),
    _lie(18, r"RetryableCommitConflict|Too many concurrent writers", CommitConflict),
    _lie(18, r"[Dd]ifferent schema|SchemaMismatch", SchemaMismatch),
    _lie(18, r"DatasetAlreadyExists", TableAlreadyExists),
    _lie(
        18,
        r"_versions/\d+\.manifest was not found",
        VersionNotFound,
        *("describe_table", "restore_table"),
    ),
    _lie(18, r"Error parsing statement", InvalidFilter, *_WITH_FILTER),
    _lie(13, r"Error parsing statement", InvalidFilter, *_WITH_FILTER),
    _lie(18, _COLUMN, ColumnNotFound, *_WITH_COLUMNS),
    _lie(13, _COLUMN, ColumnNotFound, *_WITH_COLUMNS),
    _lie(18, r"^(?:Internal error: )?Invalid user input", InvalidInput),
    _lie(18, r"No data provided for table creation", InvalidInput, "create_table"),
    _lie(14, r"Column \S+ already exists", InvalidInput, "alter_table_add_columns"),
    _lie(14, r"was concurrently created", NamespaceAlreadyExists, "create_namespace"),
    _lie(14, r"was concurrently created", TableAlreadyExists, *_MAKES_TABLE),
    _lie(4, r"^(?:Table not found: )?branch ", BranchNotFound),
)
"""Measured on the servers of pylance 14; what is not certain keeps the code it came with."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One answer that is no success."""

    operation: str
    id: Id
    uri: str
    status: int
    body: Any
    """The decoded JSON object, or the text."""
    secrets: tuple[str, ...] = ()
    reads: bool = False
    """Whether the operation only reads."""


def to_error(failure: Failure) -> PennonError:
    """Return the typed error for an answer of a server."""
    body = failure.body
    if isinstance(body, dict) and isinstance(body.get("code"), int):
        return _from_json(failure, body)
    return _from_status(failure)


def _from_json(failure: Failure, body: dict[str, Any]) -> PennonError:
    text, code = str(body.get("error") or ""), body["code"]
    means = _honest(failure.operation, code, text)
    said = _excerpt(text, failure.secrets)
    context = _context(failure)
    for key in ("detail", "instance"):
        if body.get(key):
            context[key] = _excerpt(str(body[key]), failure.secrets)
    return means(
        f"The server {failure.uri} refused {failure.operation} of {show_id(failure.id)}: "
        f"{said or means.__name__}.",
        **context,
        server_code=code,
    )


def _honest(operation: str, code: int, text: str) -> type[PennonError]:
    for lie in _LIES:
        asked = not lie.operations or operation in lie.operations
        if asked and lie.code == code and lie.text.search(text):
            return lie.means
    return from_code(code)


def _from_status(failure: Failure) -> PennonError:
    status = failure.status
    redirects = range(300, 400)
    if status in redirects:
        kind, why = InvalidOption, "it redirects elsewhere; connect to the address it redirects to"
    else:
        kind, why = _BY_STATUS.get(status, (StorageError, "the server failed"))
    if status in _AMBIGUOUS and not failure.reads:
        kind, why = OutcomeUnknown, f"{why}, and whether the change was made is not known"
    body = failure.body if isinstance(failure.body, str) else str(failure.body)
    said = _excerpt(body, failure.secrets)
    return kind(
        f"The server {failure.uri} answered {failure.operation} of {show_id(failure.id)} with "
        f"status {status}: {why}{f' ({said!r})' if said else ''}.",
        **_context(failure),
    )


def _context(failure: Failure) -> dict[str, object]:
    return {"operation": failure.operation, "id": failure.id, "status": failure.status}


def _excerpt(text: str, secrets: Iterable[str]) -> str:
    # Redact before cutting: half a credential would not be recognised.
    return " ".join(redact(text, secrets).split())[:_EXCERPT].rstrip(" .")


def name_taken(id: Id, *, by_table: bool) -> PennonError:
    """Return the error for a name that is in use."""
    if by_table:
        return TableAlreadyExists(
            f"{show_id(id)} is a table already; choose another name or drop it first.", table=id
        )
    return NamespaceAlreadyExists(
        f"{show_id(id)} is a namespace already; choose another name, or pass mode='exist_ok' "
        "to share it.",
        namespace=id,
    )


def not_empty(id: Id) -> NamespaceNotEmpty:
    """Return the error for a namespace that still holds something."""
    return NamespaceNotEmpty(
        f"{show_id(id)} still holds tables or namespaces; drop them first, or pass "
        "behavior='cascade'.",
        namespace=id,
    )
