"""What catalogs of other makers raise, as the errors of pennon.

They raise errors of the specification, of hierarchies of their own, of boto3, of thrift, and bare
builtins whose text alone tells what happened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pennon.errors import (
    CommitConflict,
    InvalidInput,
    InvalidOption,
    NamespaceAlreadyExists,
    NamespaceNotEmpty,
    NamespaceNotFound,
    PennonError,
    PermissionDenied,
    StorageError,
    TableAlreadyExists,
    TableNotFound,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unsupported,
    from_code,
    redact,
)
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id

__all__ = ["name_taken", "not_empty", "translate"]

_INTERNAL = 18
_CONFLICT = 14
_EXCERPT = 200
_OTHER_FORMAT = "is not a Lance table"
_NAMESPACE_OPERATIONS = frozenset(
    {
        *("create_namespace", "list_namespaces", "describe_namespace", "drop_namespace"),
        *("namespace_exists", "list_tables"),
    }
)
_MAKING_TABLES = frozenset({"declare_table", "register_table", "create_table"})

_BY_NAME: dict[str, type[PennonError]] = {
    "NamespaceNotFoundException": NamespaceNotFound,
    "NamespaceAlreadyExistsException": NamespaceAlreadyExists,
    "TableNotFoundException": TableNotFound,
    "TableAlreadyExistsException": TableAlreadyExists,
    "InvalidInputException": InvalidInput,
    "InvalidOperationException": NamespaceNotEmpty,
    "AccessDeniedException": PermissionDenied,
    "UnrecognizedClientException": Unauthenticated,
    "InvalidSignatureException": Unauthenticated,
    "InvalidClientTokenId": Unauthenticated,
    "ExpiredTokenException": Unauthenticated,
    "MissingAuthenticationTokenException": Unauthenticated,
    "NoCredentialsError": Unauthenticated,
    "PartialCredentialsError": Unauthenticated,
    "NoRegionError": InvalidOption,
    "ProfileNotFound": InvalidOption,
    "ThrottlingException": Throttled,
    "ConcurrentModificationException": CommitConflict,
    "EndpointConnectionError": Unavailable,
    "ConnectTimeoutError": Unavailable,
    "ProxyConnectionError": Unavailable,
    "ReadTimeoutError": Unavailable,
    "MaxRetryError": Unavailable,
    "NewConnectionError": Unavailable,
    "TTransportException": Unavailable,
    "ValidationError": InvalidInput,
    "NotImplementedError": Unsupported,
}
_MISSING = frozenset({"EntityNotFoundException", "NoSuchObjectException"})
_TAKEN = frozenset({"AlreadyExistsException"})
_BY_STATUS: dict[int, type[PennonError]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: PermissionDenied,
    405: Unsupported,
    406: Unsupported,
    429: Throttled,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
_TEXTS: tuple[tuple[str, type[PennonError]], ...] = (
    (r"retryable ?commit ?conflict|too many concurrent writers", CommitConflict),
    (r"connection refused|failed to establish|max retries exceeded|timed out", Unavailable),
    (r"could not connect|name or service not known|name resolution", Unavailable),
    (r"unable to locate credentials|unauthori[sz]ed|expired ?token", Unauthenticated),
    (r"security token .* invalid|signature .* does not match", Unauthenticated),
    (r"access ?denied|forbidden|not authori[sz]ed", PermissionDenied),
    (r"throttl|rate exceeded|too many requests", Throttled),
    (r"must specify a region", InvalidOption),
    (r"not[ -]?empty|non-empty", NamespaceNotEmpty),
    (r"namespace .*already exists", NamespaceAlreadyExists),
    (r"table .*already exists", TableAlreadyExists),
    (r"namespace .*(does not exist|not found)", NamespaceNotFound),
    (r"table .*(does not exist|not found)", TableNotFound),
    (r"\b(not supported|unsupported|not implemented)\b", Unsupported),
)


def translate(
    error: Exception, operation: str, id: Id, *, where: str, secrets: Iterable[str] = ()
) -> PennonError:
    """Return the typed error for what another maker's catalog raised.

    Args:
        error: What it raised.
        operation: Which method was called.
        id: What it was about.
        where: The catalog, for the message.
        secrets: Values that no message may show.
    """
    if isinstance(error, PennonError):
        return error
    means = _means(error, operation)
    said = " ".join(redact(str(error), secrets).split())[:_EXCERPT].rstrip(" .")
    return means(
        f"The catalog {where} refused {operation} of {show_id(id)}: "
        f"{said or type(error).__name__}.",
        operation=operation,
        id=id,
    )


def _means(error: Exception, operation: str) -> type[PennonError]:
    code = getattr(error, "code", None)
    if isinstance(code, int) and code != _INTERNAL:
        return _honest(int(code), str(error), operation)
    text = str(error)
    if _OTHER_FORMAT in text:
        return TableNotFound
    # A wrapper says "failed to ..."; what it wraps says why.
    for cause in _chain(error):
        found = _from_type(cause, operation)
        if found is not None:
            return found
    for pattern, means in _TEXTS:
        if re.search(pattern, text, re.IGNORECASE | re.DOTALL):
            return means
    if isinstance(error, ConnectionError | TimeoutError):
        return Unavailable
    if isinstance(error, ValueError | TypeError):
        return InvalidInput
    return StorageError


def _honest(code: int, text: str, operation: str) -> type[PennonError]:
    if code == _CONFLICT and "was concurrently created" in text:
        return TableAlreadyExists if operation in _MAKING_TABLES else NamespaceAlreadyExists
    return from_code(code)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _from_type(error: BaseException, operation: str) -> type[PennonError] | None:
    names = {c.__name__ for c in type(error).__mro__}
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        names.add(str(answer.get("Error", {}).get("Code", "")))
    if names & _MISSING:
        about = operation in _NAMESPACE_OPERATIONS or operation in _MAKING_TABLES
        return NamespaceNotFound if about else TableNotFound
    if names & _TAKEN:
        return NamespaceAlreadyExists if operation == "create_namespace" else TableAlreadyExists
    for name in names:
        if name in _BY_NAME:
            return _BY_NAME[name]
    status = getattr(error, "status_code", None)
    if isinstance(status, int):
        return _from_status(status, operation)
    return None


def _from_status(status: int, operation: str) -> type[PennonError] | None:
    namespace = operation in _NAMESPACE_OPERATIONS
    if status == 404:  # noqa: PLR2004
        making = operation in _MAKING_TABLES
        return NamespaceNotFound if namespace or making else TableNotFound
    if status == 409:  # noqa: PLR2004
        if operation == "drop_namespace":
            return NamespaceNotEmpty
        return NamespaceAlreadyExists if namespace else TableAlreadyExists
    return _BY_STATUS.get(status)


def name_taken(id: Id, *, by_table: bool = True) -> PennonError:
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
