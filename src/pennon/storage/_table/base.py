"""What a table object binds, and what may be done with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pennon.errors import InvalidInput, InvalidState
from pennon.namespaces.abc import Id
from pennon.namespaces.names import parse_id, show_id
from pennon.storage.abc.types import ScanRequest
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    from pennon.storage.abc import StorageBackend
    from pennon.storage.abc.search_types import Search

__all__ = ["TableBase"]


class TableBase:
    """A table of a backend, at a branch that moves or at one fixed state. Never changes.

    Args:
        backend: Where it is.
        id: Its id, relative to the backend.
        ref: Which state is meant.
    """

    __slots__ = ("backend", "id", "ref")

    backend: StorageBackend
    id: Id
    ref: Ref

    def __init__(self, backend: StorageBackend, id: Id, ref: Ref) -> None:
        for name, value in (("backend", backend), ("id", id), ("ref", ref)):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} never changes; on() and at() return another one.")

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.backend, self.id, self.ref)

    @property
    def branch(self) -> str:
        """The branch; meaningless for a tag, which names its own."""
        return self.ref.branch

    @property
    def version(self) -> int | None:
        """The version it is fixed to, if it was fixed by one."""
        return self.ref.version

    @property
    def tag(self) -> str | None:
        """The tag it is fixed to, if it was fixed by one."""
        return self.ref.tag

    @property
    def as_of(self) -> datetime | None:
        """The time it is fixed to, if it was fixed by one."""
        return self.ref.as_of

    def __str__(self) -> str:
        return show_id(self.id) if self.ref == Ref() else f"{show_id(self.id)} ({self.ref})"

    def _fixed(self) -> str | None:
        """Return by which option this is fixed to one state."""
        return next((n for n in ("version", "tag", "as_of") if getattr(self, n) is not None), None)

    def _on(self, operation: str, *also: str) -> str:
        """Return the branch to work on.

        Args:
            operation: What is to be done.
            *also: The options by which it may be fixed all the same.

        Raises:
            InvalidState: This is fixed to a state, and the operation is not about one.
        """
        fixed = self._fixed()
        if fixed is None or fixed in also:
            return self.branch
        others = "".join(f", or .at({option}=...)" for option in also)
        raise InvalidState(
            f"{self} is one state of the table, which stays as it is: {operation} needs "
            f"{' or '.join(['a branch', *also])}. Call it on .on({self.branch!r}){others}.",
            table=self.id,
            **{fixed: getattr(self, fixed)},
        )

    def _whole(self, operation: str) -> Id:
        """Return the id, for what concerns the table with all its branches.

        Raises:
            InvalidState: This is a branch or a state of the table.
        """
        if self.ref != Ref():
            raise InvalidState(
                f"{operation} concerns the table with all its branches, but this is {self}. Call "
                f"it on .on({MAIN!r}).",
                table=self.id,
                branch=self.branch,
            )
        return self.id

    def _asked(self, request: ScanRequest | Search | None) -> ScanRequest | Search:
        """Return a request for this state of this table.

        Raises:
            InvalidInput: It is for another one.
        """
        state = {n: getattr(self.ref, n) for n in ("branch", "version", "tag", "as_of")}
        if request is None:
            return ScanRequest(self.id, **state)
        if parse_id(request.table, what="table") != self.id or request.ref not in (Ref(), self.ref):
            raise InvalidInput(
                f"The request is for {show_id(parse_id(request.table))} ({request.ref}), but this "
                f"is {self}; ask the backend.",
                table=self.id,
            )
        return replace(request, **state)

    def _identity(self) -> tuple[Any, ...]:
        catalog = self.backend.namespace
        full = self.backend._full(self.id)  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        return type(self.backend), catalog.kind, catalog.root, full, self.ref

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TableBase):
            return NotImplemented
        return type(self) is type(other) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())
