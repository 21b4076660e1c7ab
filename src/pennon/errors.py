"""The one error tree of pennon.

Catch by what you would do next, not by who failed::

    PennonError
    ├─ NotFound          NamespaceNotFound TableNotFound VersionNotFound BranchNotFound
    │                    TagNotFound IndexNotFound ColumnNotFound TransactionNotFound
    │                    ObjectNotFound RootNotFound
    ├─ AlreadyExists     NamespaceAlreadyExists TableAlreadyExists BranchAlreadyExists
    │                    TagAlreadyExists IndexAlreadyExists ColumnAlreadyExists
    │                    ObjectAlreadyExists
    ├─ Conflict          CommitConflict PreconditionFailed NamespaceNotEmpty InvalidState
    │                    TablePinned
    ├─ InvalidInput      InvalidName InvalidURI InvalidOption InvalidFilter SchemaMismatch
    │                    DuplicateKey
    ├─ PermissionDenied  Unauthenticated
    ├─ Unsupported       MissingExtra UnsafeStore
    ├─ StorageError      Unavailable Throttled DeadlineExceeded Corrupt NotDurable EngineFailed
    └─ OutcomeUnknown

Every error carries ``kind`` (a stable machine code), ``retryable``, ``context`` (names and numbers
for handlers and logs, never a credential) and ``code``, the error code of the Lance Namespace
specification (https://lance.org/format/namespace/operations/errors/).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import ClassVar

__all__ = [
    "AlreadyExists",
    "BranchAlreadyExists",
    "BranchNotFound",
    "ColumnAlreadyExists",
    "ColumnNotFound",
    "CommitConflict",
    "Conflict",
    "Corrupt",
    "DeadlineExceeded",
    "DuplicateKey",
    "EngineFailed",
    "IndexAlreadyExists",
    "IndexNotFound",
    "InvalidFilter",
    "InvalidInput",
    "InvalidName",
    "InvalidOption",
    "InvalidState",
    "InvalidURI",
    "MissingExtra",
    "NamespaceAlreadyExists",
    "NamespaceNotEmpty",
    "NamespaceNotFound",
    "NotDurable",
    "NotFound",
    "ObjectAlreadyExists",
    "ObjectNotFound",
    "OutcomeUnknown",
    "PennonError",
    "PermissionDenied",
    "PreconditionFailed",
    "RootNotFound",
    "SchemaMismatch",
    "StorageError",
    "TableAlreadyExists",
    "TableNotFound",
    "TablePinned",
    "TagAlreadyExists",
    "TagNotFound",
    "Throttled",
    "TransactionNotFound",
    "Unauthenticated",
    "Unavailable",
    "UnsafeStore",
    "Unsupported",
    "VersionNotFound",
    "did_you_mean",
    "from_code",
    "redact",
]


class PennonError(Exception):
    """Root of every error pennon raises.

    Args:
        message: One sentence that names the object, the cause and the next step.
        context: Names and numbers for handlers and logs. Never a credential.
    """

    code: ClassVar[int] = 18
    """Error code of the Lance Namespace specification; 18 is "internal"."""
    retryable: bool = False
    """Whether the same call may succeed later without any other change."""

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context: dict[str, object] = context

    @property
    def kind(self) -> str:
        """Stable machine code: the class name in snake case, such as ``table_not_found``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(self).__name__).lower()

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message,), {"context": self.context})


class NotFound(PennonError, LookupError):
    """Something that was named does not exist."""

    code = 4


class NamespaceNotFound(NotFound):
    """No namespace has this id."""

    code = 1


class TableNotFound(NotFound):
    """No table has this id."""

    code = 4


class IndexNotFound(NotFound):
    """The table has no index of this name."""

    code = 6


class TagNotFound(NotFound):
    """The table has no tag of this name."""

    code = 8


class TransactionNotFound(NotFound):
    """No transaction has this id."""

    code = 10


class VersionNotFound(NotFound):
    """The table has no such version, or it was cleaned up."""

    code = 11


class ColumnNotFound(NotFound):
    """The table has no such column."""

    code = 12


class BranchNotFound(NotFound):
    """The table has no branch of this name."""

    code = 22


class ObjectNotFound(NotFound):
    """The bucket holds no object of this name."""


class RootNotFound(NotFound):
    """The bucket or container that should hold the root does not exist."""

    code = 1


class AlreadyExists(PennonError):
    """The name is taken."""

    code = 5


class NamespaceAlreadyExists(AlreadyExists):
    """A namespace has this id already."""

    code = 2


class TableAlreadyExists(AlreadyExists):
    """A table has this id already; nothing was written."""

    code = 5


class IndexAlreadyExists(AlreadyExists):
    """The table has an index of this name already."""

    code = 7


class TagAlreadyExists(AlreadyExists):
    """The table has a tag of this name already."""

    code = 9


class BranchAlreadyExists(AlreadyExists):
    """The table has a branch of this name already."""

    code = 23


class ColumnAlreadyExists(AlreadyExists):
    """The table has a column of this name already."""

    code = 13


class ObjectAlreadyExists(AlreadyExists):
    """A put-if-absent found the name taken by another writer."""


class Conflict(PennonError):
    """Somebody else changed the same thing first; nothing of this call was applied."""

    code = 14
    retryable = True


class CommitConflict(Conflict):
    """A commit lost to a rival and the retry budget is spent. Read again, then retry."""


class PreconditionFailed(Conflict):
    """A put-if-match found another etag than the one it required."""


class NamespaceNotEmpty(Conflict):
    """The namespace still holds tables or namespaces; nothing was dropped."""

    code = 3
    retryable = False


class TablePinned(Conflict):
    """The table has branches or tags; nothing was dropped."""

    code = 19
    retryable = False


class InvalidState(Conflict):
    """The object is in a state that does not allow this operation."""

    code = 19
    retryable = False


class InvalidInput(PennonError, ValueError):
    """The caller passed something that cannot be right."""

    code = 13


class InvalidName(InvalidInput):
    """A name that no namespace, table, branch or tag can have."""


class InvalidURI(InvalidInput):
    """A URI or path that cannot be understood or used as a root."""


class InvalidOption(InvalidInput):
    """An unknown option, or a value of the wrong type or range."""


class DuplicateKey(InvalidInput):
    """Two rows would have one key; nothing was written."""


class InvalidFilter(InvalidInput):
    """A filter that cannot be understood."""


class SchemaMismatch(InvalidInput):
    """The data do not fit the schema of the table."""

    code = 20


class PermissionDenied(PennonError):
    """The store or server knows who is asking and says no."""

    code = 15


class Unauthenticated(PermissionDenied):
    """Credentials are missing, wrong or expired."""

    code = 16


class Unsupported(PennonError):
    """This backend cannot do this; another one can."""

    code = 0


class MissingExtra(Unsupported, ImportError):
    """An optional dependency is not installed; the message holds the pip line."""


class UnsafeStore(Unsupported):
    """The store failed the proof that its put-if-absent is atomic; nothing was written."""


class StorageError(PennonError):
    """The store below failed."""


class Unavailable(StorageError, ConnectionError):
    """The store or server could not be reached, or answered that it cannot serve now."""

    code = 17
    retryable = True


class Throttled(Unavailable):
    """The store or server asked to be called less often."""

    code = 21


class DeadlineExceeded(StorageError, TimeoutError):
    """The deadline passed; nothing of this call was applied."""

    code = 17
    retryable = True


class Corrupt(StorageError):
    """What is stored cannot be read back."""


class NotDurable(StorageError):
    """A write was committed, and the disk failed to keep it.

    Everybody sees it; it may be gone when the power fails. ``context["receipt"]`` is its receipt.
    Repeating the write does not help: what the system could not write it may have thrown away.
    """


class EngineFailed(StorageError):
    """Lance broke off in the middle of a call: a defect of it, or more than it has room for.

    A write that raises this was not committed. The same call most likely fails again.
    """


class OutcomeUnknown(PennonError):
    """A write whose fate could not be settled before the deadline.

    ``context["write_id"]`` identifies the write: repeat the call with the same write id.
    """


_BY_CODE: dict[int, type[PennonError]] = {
    0: Unsupported,
    1: NamespaceNotFound,
    2: NamespaceAlreadyExists,
    3: NamespaceNotEmpty,
    4: TableNotFound,
    5: TableAlreadyExists,
    6: IndexNotFound,
    7: IndexAlreadyExists,
    8: TagNotFound,
    9: TagAlreadyExists,
    10: TransactionNotFound,
    11: VersionNotFound,
    12: ColumnNotFound,
    13: InvalidInput,
    14: CommitConflict,
    15: PermissionDenied,
    16: Unauthenticated,
    17: Unavailable,
    18: StorageError,
    19: InvalidState,
    20: SchemaMismatch,
    21: Throttled,
    22: BranchNotFound,
    23: BranchAlreadyExists,
}


def from_code(code: int) -> type[PennonError]:
    """Return the class for an error code of the Lance Namespace specification.

    An unknown code is a :class:`StorageError`, as "internal" (18) is.
    """
    return _BY_CODE.get(code, StorageError)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a sentence: the closest known word, else the list of known words."""
    names = sorted(set(known))
    alike = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), alike, n=1, cutoff=0.6)
    if close:
        return f"did you mean {alike[close[0]]!r}?"
    if not names:
        return "none is known."
    shown = ", ".join(repr(n) for n in names[:20])
    return f"known: {shown}{', ...' if len(names) > 20 else ''}."  # noqa: PLR2004


_SOURCE_PATH = re.compile(r",?\s*/\S+\.rs:\d+(?::\d+)?")
_SECRETS = re.compile(
    r"(?i)((?:x-amz-)?(?:credential|signature|security-token)|sig|(?:api|account|access)[-_]?key|secret\w*|password|"
    r"token|authorization)(=|:\s*|%3D)(?:bearer\s+)?[^\s&,;'\"]+"
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def redact(text: str, secrets: Mapping[str, str] | Iterable[str] = ()) -> str:
    """Return text from below fit for a message: no credentials, no foreign source paths.

    Args:
        text: What a lower layer said.
        secrets: Exact values to mask (a mapping's values count), besides everything that looks
            like a signature, token, key or password in a URL or header.
    """
    values = secrets.values() if isinstance(secrets, Mapping) else secrets
    for value in sorted((v for v in values if v), key=len, reverse=True):
        text = text.replace(value, "***")
    text = _SOURCE_PATH.sub("", text)
    text = _USERINFO.sub("***@", text)
    return _SECRETS.sub(r"\1\2***", text)
