"""Object stores that fail on purpose.

:class:`FaultyStore` is a sound store in bad weather: it keeps the contract and fails when its plan
says so. :class:`BrokenStore` breaks one promise of the contract, for tests of what must notice.
"""

from __future__ import annotations

import fnmatch
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pennon.errors import Corrupt, ObjectAlreadyExists, OutcomeUnknown, PennonError, Unavailable
from pennon.objects.abc import Durability, ObjectMeta, ObjectStore, StoredObject
from pennon.retry import Deadline

__all__ = ["BrokenStore", "Defect", "Fault", "FaultyStore", "Operation"]

Operation = Literal["get", "head", "list", "list_directories", "delete", "put"]
Defect = Literal[
    "check_then_put",
    "ignores_if_absent",
    "ignores_if_match",
    "forgets_write_ids",
    "lists_late",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    ``"before"`` raises without doing anything, ``"after"`` does the work and then raises as if the
    answer were lost (``OutcomeUnknown`` with the write id from a put, else ``Unavailable``),
    ``"delay"`` waits first, ``"truncated"`` raises ``Corrupt`` from a get, ``"stale"`` makes a
    listing miss everything that was put through this store.
    """

    on: Operation
    kind: Literal["before", "after", "delay", "truncated", "stale"]
    key: str = "*"
    """Which keys or prefixes, as a shell pattern."""
    skip: int = 0
    """How many matching calls go well first."""
    times: int = 1
    """How many matching calls fail after that."""
    seconds: float = 0.05
    """Length of a delay."""
    error: PennonError | None = None
    """What to raise instead of the usual error."""


class _Wrapper(ObjectStore):
    def __init__(self, inner: ObjectStore) -> None:
        self.inner = inner
        self.uri = inner.uri
        self.default_deadline = inner.default_deadline
        # What is proven of the inner store says nothing about this one.
        self.principal = f"{inner.principal}+{uuid.uuid4().hex}"

    @property
    def place(self) -> str:
        return self.inner.place

    def get(
        self,
        key: str,
        *,
        range: tuple[int, int] | None = None,
        deadline: float | Deadline | None = None,
    ) -> StoredObject:
        return self.inner.get(key, range=range, deadline=deadline)

    def head(self, key: str, *, deadline: float | Deadline | None = None) -> ObjectMeta | None:
        return self.inner.head(key, deadline=deadline)

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        return self.inner.list(prefix, start_after=start_after, deadline=deadline)

    def list_directories(
        self, prefix: str = "", *, deadline: float | Deadline | None = None
    ) -> tuple[str, ...]:
        return self.inner.list_directories(prefix, deadline=deadline)

    def delete(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        self.inner.delete(*keys, deadline=deadline)

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
        return self.inner.put(
            key,
            data,
            if_absent=if_absent,
            if_match=if_match,
            write_id=write_id,
            durability=durability,
            deadline=deadline,
        )

    def sync(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        self.inner.sync(*keys, deadline=deadline)


class FaultyStore(_Wrapper):
    """A store that keeps the contract and fails by plan.

    Each fault counts the calls that match it, in this store, over all threads. Several faults may
    hit one call; delays come first. ``hits`` tells how often each fault of the plan struck, so
    that a test can assert that its weather really was bad.

    Args:
        inner: The store that does the work.
        plan: What goes wrong.
    """

    def __init__(self, inner: ObjectStore, plan: Sequence[Fault]) -> None:
        super().__init__(inner)
        self.plan = tuple(plan)
        self.hits = [0] * len(self.plan)
        self._seen = [0] * len(self.plan)
        self._lock = threading.Lock()
        self._put: set[str] = set()

    def __repr__(self) -> str:
        return f"FaultyStore({self.inner!r}, {list(self.plan)!r})"

    def _due(self, on: Operation, key: str) -> list[Fault]:
        due: list[Fault] = []
        with self._lock:
            for number, fault in enumerate(self.plan):
                if fault.on == on and fnmatch.fnmatchcase(key, fault.key):
                    self._seen[number] += 1
                    if fault.skip < self._seen[number] <= fault.skip + fault.times:
                        self.hits[number] += 1
                        due.append(fault)
        for fault in due:
            if fault.kind == "delay":
                time.sleep(fault.seconds)
        for fault in due:
            if fault.kind == "before":
                raise fault.error or Unavailable(f"Planned fault before {on} of {key!r}.")
        return due

    def get(
        self,
        key: str,
        *,
        range: tuple[int, int] | None = None,
        deadline: float | Deadline | None = None,
    ) -> StoredObject:
        due = self._due("get", key)
        found = super().get(key, range=range, deadline=deadline)
        for fault in due:
            if fault.kind == "truncated":
                raise fault.error or Corrupt(f"Planned fault: {key!r} was delivered in part.")
        _lose(due, "get", key)
        return found

    def head(self, key: str, *, deadline: float | Deadline | None = None) -> ObjectMeta | None:
        due = self._due("head", key)
        found = super().head(key, deadline=deadline)
        _lose(due, "head", key)
        return found

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        due = self._due("list", prefix)
        found = super().list(prefix, start_after=start_after, deadline=deadline)
        stale = any(fault.kind == "stale" for fault in due)
        for meta in found:
            if not (stale and meta.key in self._put):
                yield meta
        _lose(due, "list", prefix)

    def list_directories(
        self, prefix: str = "", *, deadline: float | Deadline | None = None
    ) -> tuple[str, ...]:
        due = self._due("list_directories", prefix)
        found = super().list_directories(prefix, deadline=deadline)
        _lose(due, "list_directories", prefix)
        return found

    def delete(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        due = [fault for key in keys for fault in self._due("delete", key)]
        super().delete(*keys, deadline=deadline)
        _lose(due, "delete", ", ".join(keys))

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
        due = self._due("put", key)
        own = uuid.uuid4().hex if write_id is None else write_id
        done = super().put(
            key,
            data,
            if_absent=if_absent,
            if_match=if_match,
            write_id=own,
            durability=durability,
            deadline=deadline,
        )
        with self._lock:
            self._put.add(key)
        for fault in due:
            if fault.kind == "after":
                raise fault.error or OutcomeUnknown(
                    f"Planned fault: the answer to the put of {key!r} was lost.",
                    key=key,
                    write_id=own,
                )
        return done


def _lose(due: Sequence[Fault], on: Operation, key: str) -> None:
    for fault in due:
        if fault.kind == "after":
            raise fault.error or Unavailable(f"Planned fault after {on} of {key!r}.")


class BrokenStore(_Wrapper):
    """A store that breaks one promise, as real ones do; never use it for data.

    ``"check_then_put"`` looks whether the name is free and then writes, ``"ignores_if_absent"``
    and ``"ignores_if_match"`` write whatever the condition, ``"forgets_write_ids"`` drops them, and
    ``"lists_late"`` leaves what was just written out of listings.

    Args:
        inner: The store that does the work.
        defect: Which promise is broken.
    """

    def __init__(self, inner: ObjectStore, defect: Defect) -> None:
        super().__init__(inner)
        self.defect = defect
        self._put: set[str] = set()

    def __repr__(self) -> str:
        return f"BrokenStore({self.inner!r}, {self.defect!r})"

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        for meta in super().list(prefix, start_after=start_after, deadline=deadline):
            if not (self.defect == "lists_late" and meta.key in self._put):
                yield meta

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
        if self.defect == "check_then_put" and if_absent:
            if self.inner.head(key, deadline=deadline) is not None:
                raise ObjectAlreadyExists(f"{key!r} exists already.", key=key)
            time.sleep(0.01)
            if_absent = False
        if self.defect == "ignores_if_absent":
            if_absent = False
        if self.defect == "ignores_if_match":
            if_match = None
        if self.defect == "forgets_write_ids":
            write_id = None
        self._put.add(key)
        return super().put(
            key,
            data,
            if_absent=if_absent,
            if_match=if_match,
            write_id=write_id,
            durability=durability,
            deadline=deadline,
        )
