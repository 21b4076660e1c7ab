"""What Lance's errors mean: the one place where they become pennon's.

Lance raises ``ValueError``, ``OSError`` and ``RuntimeError`` without codes, the same situation as
different types from different methods, so the text decides. It also panics, with an exception that
is no ``Exception``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pennon.errors import (
    BranchAlreadyExists,
    BranchNotFound,
    CommitConflict,
    Corrupt,
    DuplicateKey,
    EngineFailed,
    InvalidFilter,
    InvalidName,
    InvalidOption,
    InvalidState,
    PennonError,
    PermissionDenied,
    RootNotFound,
    SchemaMismatch,
    StorageError,
    TableAlreadyExists,
    TableNotFound,
    TagAlreadyExists,
    TagNotFound,
    Throttled,
    Unauthenticated,
    Unavailable,
    VersionNotFound,
    redact,
)

__all__ = [
    "Meaning",
    "excerpt",
    "is_lance_error",
    "meaning",
    "missing_manifest",
    "translate",
    "translated",
]

Meaning = Literal[
    "absent",
    "no_version",
    "no_tag",
    "no_branch",
    "branch_exists",
    "tag_exists",
    "in_use",
    "bad_ref",
    "ref_gone",
    "exists",
    "conflict",
    "incompatible",
    "data_gone",
    "corrupt",
    "schema",
    "null",
    "duplicate",
    "filter",
    "twice",
    "no_bucket",
    "unauthenticated",
    "denied",
    "throttled",
    "unreachable",
    "unknown_fate",
    "panic",
    "other",
]

_UNAUTHENTICATED = (
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|AuthenticationFailed|"
    r"NoAuthenticationInformation|status code: 401|169\.254\.169\.254"
)
_FILTER = (
    r"No field named|Error parsing|Error tokenizing|does not return a boolean|"
    r"Error resolving filter|could not convert to literal|Invalid function|"
    r"Error optimizing sql filter|Error applying filter|not found in struct|"
    r"is not supported SQL in lance|Filter is not valid|Physical plan does not support logical|"
    r"Unsupported data type: Custom|Ambiguous reference to|Cannot infer common argument type"
)
_UNREACHABLE = (
    r"error sending request|operation timed out|Generic \S+ error|status code: 5\d\d|"
    r"connection (?:closed|reset|refused)"
)
_CORRUPT = (
    r"file size is too small|Invalid range|magic number|failed to decode|have sufficient data"
)
# A bucket that is missing or says no hides behind "was not found" too, so it comes first.
_TABLE: tuple[tuple[Meaning, re.Pattern[str]], ...] = (
    ("no_bucket", re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")),
    ("unauthenticated", re.compile(_UNAUTHENTICATED)),
    ("denied", re.compile(r"AccessDenied|status code: 403|os error 13\b|os error 30\b")),
    ("throttled", re.compile(r"SlowDown|ServerBusy|status code: 429")),
    ("unknown_fate", re.compile(r"Commit result .*unknown")),
    # What a panic in a thread of Lance leaves for those who wait for it.
    ("panic", re.compile(r"producer terminated before end|JoinError::Panic|\bpanicked\b")),
    (
        "conflict",
        re.compile(r"Retryable commit conflict|Too many concurrent writers|Commit conflict for"),
    ),
    ("incompatible", re.compile(r"Incompatible transaction")),
    ("exists", re.compile(r"Dataset already exists|/_versions/0\.manifest was not found")),
    (
        "no_version",
        re.compile(
            r"_versions/\S*\.manifest was not found|Not found: .*_versions/\S*\.manifest|"
            r"Version not found error"
        ),
    ),
    ("no_tag", re.compile(r"Ref not found error: tag")),
    (
        "no_branch",
        re.compile(r"Ref not found error: Branch"),
    ),
    (
        "branch_exists",
        re.compile(r"Ref conflict error: branch|Clone operation should not enter build_manifest"),
    ),
    ("tag_exists", re.compile(r"Ref conflict error: tag")),
    ("in_use", re.compile(r"Ref conflict error: Branch \S+ is referenced")),
    ("bad_ref", re.compile(r"Ref is invalid")),
    ("ref_gone", re.compile(r"[Nn]ot found: \S*_refs/(?:branches|tags)/")),
    ("absent", re.compile(r"Dataset at path .* was not found: Not found: .*/_versions\b(?!/)")),
    ("data_gone", re.compile(r"[Nn]ot found: .*/data/[^/\s]+\.lance")),
    ("schema", re.compile(r"Append with different schema")),
    ("duplicate", re.compile(r"found matching row with key|Ambiguous merge inserts")),
    ("null", re.compile(r"contained null values even though")),
    ("filter", re.compile(_FILTER)),
    ("twice", re.compile(r"Duplicate column name")),
    ("corrupt", re.compile(_CORRUPT)),
    ("unreachable", re.compile(_UNREACHABLE)),
)
_MANIFEST = re.compile(r"_versions/\S+?\.manifest")
_KEYS = re.compile(r".*with key values: ")
_PREFIX = re.compile(
    r"^(?:External error: |Invalid user input: |LanceError\(\w+\): |C Data interface error: )+"
)
_INSIDES = re.compile(r"\((?:\w+Function|\w+\(\[\w+\(\w+) \{ ")
"""Where a message begins to print the insides of a plan."""


def is_lance_error(error: BaseException) -> bool:
    """Whether Lance or Arrow raised this, rather than a defect of pennon or a signal."""
    if isinstance(error, PennonError):
        return False
    return _is_panic(error) or isinstance(error, (ValueError, OSError, RuntimeError))


def _is_panic(error: BaseException) -> bool:
    return type(error).__name__ == "PanicException"


def meaning(error: BaseException) -> Meaning:
    """Return what an error of Lance says happened."""
    if _is_panic(error):
        # Whatever it says: how far the call had come, nobody knows.
        return "panic"
    text = str(error)
    for what, pattern in _TABLE:
        if pattern.search(text):
            return what
    return "other"


def missing_manifest(error: BaseException) -> str | None:
    """Return the file of the version whose absence an error of Lance tells of."""
    found = _MANIFEST.search(str(error)) if meaning(error) == "no_version" else None
    return found and found[0]


def translate(error: BaseException, table: str, secrets: Iterable[str] = ()) -> PennonError:
    """Return pennon's error for one of Lance's.

    Args:
        error: What Lance raised.
        table: The table, as shown to people.
        secrets: Values to mask.
    """
    what = meaning(error)
    said = excerpt(error, secrets)
    match what:
        case "absent":
            return TableNotFound(
                f"The table {table} is declared but nothing was written to it yet; "
                "create_table fills it.",
                table=table,
            )
        case "no_version":
            return VersionNotFound(
                f"A version of {table} that is needed was cleaned up or never existed ({said}).",
                table=table,
            )
        case "no_tag" | "no_branch" | "branch_exists" | "tag_exists" | "in_use" | "bad_ref":
            return _reference_failed(what, table, said)
        case "exists":
            return TableAlreadyExists(
                f"{table} exists already; write to it, or choose another name.", table=table
            )
        case "conflict" | "incompatible" | "ref_gone":
            return CommitConflict(
                f"A rival changed {table} in a way this write cannot follow; read it again, then "
                "retry.",
                table=table,
            )
        case "schema" | "null" | "duplicate":
            return _rows_failed(what, table, said)
        case "filter":
            return InvalidFilter(f"The filter on {table} cannot be used: {said}.", table=table)
        case "twice":
            return InvalidOption(f"columns= of {table} names a column twice.", table=table)
        case "data_gone" | "corrupt":
            return Corrupt(
                f"A file of {table} is gone or damaged ({said}); roll back to an older version, "
                "or read again if the table was dropped or cleaned up meanwhile.",
                table=table,
            )
        case _:
            return _store_failed(what, table, said)


def _rows_failed(what: Meaning, table: str, said: str) -> PennonError:
    if what == "duplicate":
        return DuplicateKey(
            f"A row with a key of the data is in {table} already ({_KEYS.sub('', said)}); update "
            "it instead, or leave it out.",
            table=table,
        )
    return SchemaMismatch(f"The rows do not fit {table}: {said}.", table=table)


def _reference_failed(what: Meaning, table: str, said: str) -> PennonError:
    match what:
        case "no_tag":
            return TagNotFound(
                f"{table} has no such tag ({said}); list_tags shows those it has.", table=table
            )
        case "no_branch":
            return BranchNotFound(
                f"{table} has no such branch ({said}); list_branches shows those it has.",
                table=table,
            )
        case "branch_exists":
            return BranchAlreadyExists(
                f"{table} has a branch of this name already; choose another name, or delete it "
                "first.",
                table=table,
            )
        case "tag_exists":
            return TagAlreadyExists(
                f"{table} has a tag of this name already ({said}); move_tag moves it.", table=table
            )
        case "in_use":
            return InvalidState(
                f"A branch of {table} is needed by others ({said}); delete those first.",
                table=table,
            )
        case _:
            return InvalidName(f"No branch or tag of {table} can have this name ({said}).")


def _store_failed(what: Meaning, table: str, said: str) -> PennonError:
    match what:
        case "no_bucket":
            return RootNotFound(
                f"The bucket of {table} does not exist; create it or correct its name.",
                table=table,
            )
        case "unauthenticated":
            return Unauthenticated(
                f"The store refused the credentials for {table} ({said}); correct or renew them.",
                table=table,
            )
        case "denied":
            return PermissionDenied(
                f"The store denies access to {table} ({said}); check what the credentials allow.",
                table=table,
            )
        case "throttled":
            return Throttled(
                f"The store of {table} asks for fewer requests; slow down and retry.", table=table
            )
        case "unreachable" | "unknown_fate":
            return Unavailable(
                f"The store of {table} gives no usable answer ({said}); check the endpoint and "
                "the network, then retry.",
                table=table,
            )
        case "panic":
            return EngineFailed(
                f"Lance broke off on {table} ({said}); ask for less at once, and report it if that "
                "does not help.",
                table=table,
            )
        case _:
            return StorageError(f"Lance failed on {table}: {said}.", table=table)


def excerpt(error: BaseException, secrets: Iterable[str]) -> str:
    """Return the first sentence of what Lance said, without credentials and foreign paths."""
    said = str(error).replace("\n)", ")")  # as SQL text is closed
    first = redact(_PREFIX.sub("", said), secrets).split("\n", maxsplit=1)[0]
    first = _INSIDES.split(first, maxsplit=1)[0]
    return first[:300].rstrip(". ,") or type(error).__name__


class translated:  # noqa: N801 - reads as a verb, and a generator would cost more than most blocks
    """Turn every error of Lance inside the block into pennon's."""

    __slots__ = ("_secrets", "_table")

    def __init__(self, table: str, secrets: Iterable[str] = ()) -> None:
        self._table = table
        self._secrets = secrets

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and is_lance_error(error):
            raise translate(error, self._table, self._secrets) from None
