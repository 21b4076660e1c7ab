"""The contract of one bucket: the few operations everything above is built on.

Keys are relative to the root of the store, separated by ``/``, and never start or end with one.
"""

from __future__ import annotations

import abc
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Literal

from pennon.errors import InvalidName, InvalidOption
from pennon.retry import Deadline
from pennon.uri import Uri

__all__ = [
    "HIDDEN",
    "Durability",
    "ObjectMeta",
    "ObjectStore",
    "StoredObject",
    "check_condition",
    "check_key",
    "check_range",
]

Durability = Literal["os", "disk"]


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What a listing or a head says of one object."""

    key: str
    size: int
    """Bytes."""
    etag: str
    """Opaque, to be compared and passed to ``if_match``. It changes whenever the bytes change.

    Local disk, memory, GCS and Azure also change it when equal bytes are written again. S3 may not:
    there it is usually a digest of the bytes, so A-B-A is invisible and a swap of A for A can
    succeed twice. Where that matters, put something unique into every body. An etag from a listing
    is to be compared with listings; pass to ``if_match`` one from ``get``, ``head`` or ``put``.
    """
    modified: datetime
    """UTC, by the clock of the store; from ``put`` on a bucket, by the clock of the writer."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object with its bytes."""

    meta: ObjectMeta
    data: bytes


class ObjectStore(abc.ABC):
    """One root in one bucket.

    Every method takes ``deadline`` (seconds, or a shared :class:`~pennon.retry.Deadline`; default
    ``default_deadline``) and retries what is safe to repeat until then, with jittered back-off.

    Safe to use from many threads. After a fork the child either works or gets ``Unsupported``
    that says so.

    Raises, besides what each method names: ``RootNotFound`` (no such bucket), ``Unauthenticated``,
    ``PermissionDenied``, ``Unavailable``, ``Throttled``, ``DeadlineExceeded``.
    """

    uri: Uri
    principal: str = ""
    """Distinguishes stores of one URI that reach other data: endpoint and credentials, hashed."""
    default_deadline: float = 30.0
    """Seconds a call may take when it names no deadline."""

    @property
    def place(self) -> str:
        """The root as the store knows it, never with a credential."""
        return str(self.uri)

    @abc.abstractmethod
    def get(
        self,
        key: str,
        *,
        range: tuple[int, int] | None = None,
        deadline: float | Deadline | None = None,
    ) -> StoredObject:
        """Read one object.

        Args:
            key: Which.
            range: ``(start, end)`` in bytes, end exclusive, cut at the end of the object.
            deadline: Seconds.

        Raises:
            ObjectNotFound: There is no such object.
            Corrupt: The store delivered fewer bytes than it announced, again and again.
        """

    @abc.abstractmethod
    def head(self, key: str, *, deadline: float | Deadline | None = None) -> ObjectMeta | None:
        """Return what is known of an object, or None if there is none."""

    @abc.abstractmethod
    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        """Iterate over all objects below a directory, in no promised order.

        Args:
            prefix: A directory (``"a/b"`` lists ``a/b/c``, never ``a/bc``); empty for the root.
            start_after: Skip keys up to and including this one in the order of their UTF-8 bytes.
            deadline: Seconds for the whole listing.
        """

    @abc.abstractmethod
    def list_directories(
        self, prefix: str = "", *, deadline: float | Deadline | None = None
    ) -> tuple[str, ...]:
        """Return the names of the directories directly below ``prefix``, sorted.

        One request per thousand entries on a bucket. An empty directory of a local disk counts
        like none, since a bucket has no empty directories.
        """

    @abc.abstractmethod
    def delete(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        """Delete objects; those that do not exist are deleted already."""

    @abc.abstractmethod
    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        write_id: str | None = None,
        durability: Durability = "os",
        deadline: float | Deadline | None = None,
    ) -> ObjectMeta:
        """Write one object whole; a reader sees the old bytes or the new, never a part.

        With ``if_absent`` or ``if_match`` exactly one of all racing writers succeeds (for
        ``if_match`` see :attr:`ObjectMeta.etag`). A response lost on the wire is settled by reading
        back the write id the object carries, so a retried put that had succeeded reports success,
        not a lost race, as long as nobody has overwritten the object since.

        Args:
            key: Where.
            data: What.
            if_absent: Only if there is no such object.
            if_match: Only if the object still has this etag.
            write_id: Identity of this write across retries, also by another process that
                repeats it. Random if None.
            durability: ``"disk"`` returns after file and directory are synced (local disk);
                a bucket's answer means it is durable either way.
            deadline: Seconds.

        Raises:
            ObjectAlreadyExists: ``if_absent``, and another write was first.
            PreconditionFailed: ``if_match``, and the object has another etag or is gone.
            OutcomeUnknown: A response was lost, and the deadline passed or a rival overwrote the
                object before the fate of the write was known.
            InvalidOption: Both ``if_absent`` and ``if_match``.
        """

    def sync(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        """Return once objects, by whomever they were written, survive a loss of power.

        On a local disk each file is synced, and each directory that leads to one, the root and
        those above it included. In a bucket every object is durable that can be read.

        Args:
            *keys: Which; none syncs the way to the root alone.
            deadline: Seconds.

        Raises:
            ObjectNotFound: There is no such object.
            StorageError: The disk failed; ``context["key"]`` says on what. Trying again proves
                nothing, because the system may have thrown away what it could not write.
        """

    def delete_directory(self, prefix: str, *, deadline: float | Deadline | None = None) -> int:
        """Delete everything below a directory and return how many objects that were.

        Not atomic. What is written there at the same time may stay. The deadline is for each
        batch of a thousand, so that a large directory goes bit by bit.
        """
        count = 0
        while True:
            batch = [m.key for m in islice(self.list(prefix, deadline=deadline), _BATCH)]
            if batch:
                self.delete(*batch, deadline=deadline)
            count += len(batch)
            if len(batch) < _BATCH:
                return count


_BATCH = 1000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
HIDDEN = ".pennon-"
"""Steps that begin so are temporary files of a store: no key has one, no listing shows one."""


def check_key(key: str, *, allow_empty: bool = False) -> str:
    """Return the key if it stays inside its root.

    Raises:
        InvalidName: Empty, absolute, with ``.``, ``..`` or empty steps, steps that begin with
            ``.pennon-``, control characters or lone surrogates.
    """
    if not key and allow_empty:
        return key
    steps = key.split("/")
    if _CONTROL.search(key) or any(s in {"", ".", ".."} or s.startswith(HIDDEN) for s in steps):
        raise InvalidName(
            f"{key!r} is no object key: use steps joined by '/', none empty, '.', '..' or "
            f"beginning with {HIDDEN!r}, without control characters."
        )
    return key


def check_condition(*, if_absent: bool, if_match: str | None, write_id: str | None) -> str:
    """Return the write id of a put, drawn at random if the caller gave none.

    Raises:
        InvalidOption: Two conditions at once, or an empty write id.
    """
    if if_absent and if_match is not None:
        raise InvalidOption("if_absent and if_match exclude each other; pass one of them.")
    if write_id == "":
        raise InvalidOption("write_id='' identifies nothing; pass a unique string or None.")
    return write_id or uuid.uuid4().hex


def check_range(span: tuple[int, int] | None) -> None:
    """Raise unless ``span`` is None or ``(start, end)`` with ``0 <= start <= end``.

    Raises:
        InvalidOption: It is not.
    """
    if span is not None and not 0 <= span[0] <= span[1]:
        raise InvalidOption(f"range={span!r} must be (start, end) with 0 <= start <= end.")
