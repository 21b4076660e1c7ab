"""Branches of a table.

Lance makes a branch in two steps: the first version of it, put if absent under the *number* of the
version it starts from, then a small object that names the branch. Two creators that start from
different versions both succeed in the first step, and the branch of the winner would show the rows
of the loser. So a creator first claims the name with an object of pennon's, put if absent, that
says where the branch starts; nobody makes it start elsewhere. The claim stays for the life of the
branch. Deleting replaces it, and removes it last.

A claim is also a flag: whoever makes something that needs a branch (a branch from it, a tag on it)
does that first and looks for a deletion then, while the deleter raises its flag first and looks for
such things then. So at least one of two that race sees the other.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

from pennon.errors import (
    BranchAlreadyExists,
    BranchNotFound,
    InvalidState,
    NotFound,
    ObjectAlreadyExists,
    ObjectNotFound,
    PennonError,
    PreconditionFailed,
)
from pennon.storage._lance.errors import is_lance_error, meaning, translate, translated
from pennon.storage._lance.named import on_names
from pennon.storage._lance.places import Place
from pennon.storage._lance.removal import check_left
from pennon.storage.abc.branches import BranchInfo
from pennon.storage.refs import MAIN, Ref

if TYPE_CHECKING:
    from pennon.objects.abc import ObjectMeta

__all__ = [
    "PATIENCE",
    "abandoned",
    "check_kept",
    "create_branch",
    "delete_branch",
    "list_branches",
    "ref_of",
    "settle_abandoned",
    "source_of",
]

_CLAIMS = "_pennon/branches"
PATIENCE = timedelta(seconds=30)
"""How long a claim is left to the process that made it."""
_TAKEN = frozenset({"branch_exists", "exists", "no_version", "conflict"})


@dataclass(frozen=True, slots=True)
class _Claim:
    """Who holds the name of a branch, and where the branch starts."""

    state: Literal["made", "deleting"]
    parent: str = MAIN
    version: int = 0

    def encoded(self) -> bytes:
        # Unique, so that no two have one etag.
        return json.dumps([self.state, self.parent, self.version, uuid.uuid4().hex]).encode()


def source_of(place: Place, ref: Ref) -> tuple[str, int]:
    """Return the branch and version that are meant, which exist.

    Raises:
        BranchNotFound: There is no such branch.
        VersionNotFound: The branch has no such version, or not any more.
        TagNotFound: There is no such tag.
    """
    if ref.tag is None:
        return ref.branch, place.on(ref.branch).open_at(ref).version
    main = place.on(MAIN).open()
    with translated(place.name, place.secrets):
        tag: Any = main.tags.list().get(ref.tag)
        if tag is None:
            # So that the error is the one every reader of the tag gets.
            tag = {"branch": None, "version": main.checkout_version(ref.tag).version}
    return tag["branch"] or MAIN, tag["version"]


def list_branches(place: Place) -> list[BranchInfo]:
    """Return the branches of a table; see :meth:`StorageBackend.list_branches`."""
    listed: dict[str, Any] = on_names(place, lambda handle: handle.branches.list())
    return [_info(name, listed[name]) for name in sorted(listed)]


def _info(name: str, found: Any) -> BranchInfo:
    return BranchInfo(
        name=name,
        parent=found["parent_branch"] or MAIN,
        parent_version=found["parent_version"],
        created_at=datetime.fromtimestamp(found["create_at"], UTC),
    )


def create_branch(place: Place, name: str, ref: Ref) -> BranchInfo:
    """Create a branch; see :meth:`StorageBackend.create_branch`."""
    main = place.on(MAIN)
    parent, version = source_of(main, ref)
    check_left(main.on(parent), version)
    if _find(main, name) is not None:
        raise _taken(main, name)
    claim = _Claim("made", parent, version)
    try:
        main.store().put(_key(name), claim.encoded(), if_absent=True)
    except ObjectAlreadyExists:
        _settle(main, name)
        raise _taken(main, name) from None
    try:
        check_kept(main, parent)
        _remove(main, name)
        return _make(main, name, claim)
    except (NotFound, BranchAlreadyExists):
        main.store().delete(_key(name))
        raise


def _make(main: Place, name: str, claim: _Claim) -> BranchInfo:
    """Make the branch that was claimed, or find it made by somebody who settled the claim."""
    handle = main.on(claim.parent).open(claim.version)
    source = (None if claim.parent == MAIN else claim.parent, claim.version)
    try:
        handle.create_branch(name, source, storage_options=main.storage_options)
    except BaseException as error:
        if not is_lance_error(error):
            raise
        if meaning(error) not in _TAKEN:
            raise translate(error, main.name, main.secrets) from None
        _name(main, name, claim)
    found = _find(main, name)
    if found is None or (found.parent, found.parent_version) != (claim.parent, claim.version):
        raise _taken(main, name)
    try:
        check_left(main.on(claim.parent), claim.version)
    except PennonError:
        delete_branch(main, name, missing_ok=True)
        raise
    return found


def _name(main: Place, name: str, claim: _Claim) -> None:
    """Name a branch whose first version is there, but whose creator was killed before it did."""
    manifests = [m for m in main.on(name).store().list("_versions") if m.size]
    if not manifests:
        return
    others: dict[str, Any] = on_names(main, lambda handle: handle.branches.list())
    ancestry = others[claim.parent]["branch_identifier"] if claim.parent != MAIN else []
    content = {
        "parentBranch": None if claim.parent == MAIN else claim.parent,
        "identifier": {"version_mapping": [*ancestry, [claim.version, uuid.uuid4().hex]]},
        "parentVersion": claim.version,
        "createAt": int(datetime.now(UTC).timestamp()),
        "manifestSize": max(m.size for m in manifests),
        "metadata": {},
    }
    with contextlib.suppress(ObjectAlreadyExists):
        main.store().put(ref_of(name), json.dumps(content).encode(), if_absent=True)


def _settle(main: Place, name: str) -> None:
    """Finish the creation of a branch that somebody claimed and, it seems, left alone.

    Raises:
        InvalidState: The branch is being deleted.
    """
    claim, meta = _claim_on(main, name)
    if claim is None or meta is None or _find(main, name) is not None:
        return
    if claim.state == "deleting":
        raise InvalidState(
            f"The branch {name!r} of {main.name} is being deleted; retry, or call delete_branch if "
            "whoever did so is gone.",
            table=main.info.id,
            branch=name,
        )
    if _is_old(meta):
        with contextlib.suppress(NotFound, BranchAlreadyExists):
            # What is older than the claim was left by others, and is no part of this branch.
            _remove(main, name, before=meta.modified)
            _make(main, name, claim)


def delete_branch(place: Place, name: str, *, missing_ok: bool) -> None:
    """Delete a branch; see :meth:`StorageBackend.delete_branch`."""
    main = place.on(MAIN)
    found = _find(main, name)
    claim, meta = _claim_on(main, name)
    abandoned = claim is not None and meta is not None and _is_old(meta)
    if found is None and not abandoned:
        if missing_ok:
            return
        raise BranchNotFound(
            f"{main.name} has no branch {name!r}; list_branches shows those it has.",
            table=main.info.id,
            branch=name,
        )
    _delete(main, name, claim, _raise_flag(main, name, claim, meta))


def _delete(main: Place, name: str, claim: _Claim | None, marker: str) -> None:
    """Delete a branch, or what is left of it, below a flag that was raised."""
    try:
        _check_unused(main, name)
        if _find(main, name) is not None:
            on_names(main, lambda handle: handle.branches.delete(name))
    except BaseException:
        _lower_flag(main, name, claim, marker)
        raise
    _remove(main, name)
    main.store().delete(_key(name))


def abandoned(place: Place, before: datetime) -> dict[str, str]:
    """Return the branches that killed processes left half made or half deleted, and how.

    Args:
        place: The table.
        before: What changed after this is left to whoever does it.
    """
    main = place.on(MAIN)
    known = {b.name for b in list_branches(main)}
    found: dict[str, str] = {}
    claimed: set[str] = set()
    for meta in main.store().list(_CLAIMS):
        name = unquote(meta.key.rpartition("/")[2])
        claimed.add(name)
        claim, _ = _claim_on(main, name)
        if claim is None or meta.modified > before:
            continue
        if claim.state == "deleting":
            found[name] = "a delete of it did not come to its end"
        elif name not in known:
            found[name] = "it was claimed and not made"
    for name in _kept_below(main, "tree"):
        if name not in known | claimed:
            files = main.on(name).store().list("_versions")
            if all(meta.modified <= before for meta in files):
                found[name] = "its files are there and no branch has this name"
    return found


def settle_abandoned(place: Place, name: str) -> None:
    """Finish what was begun with a branch: :func:`abandoned` found it.

    Raises:
        InvalidState: It was to be deleted, and something needs it; or somebody is at it.
    """
    main = place.on(MAIN)
    claim, meta = _claim_on(main, name)
    if claim is not None and meta is not None and claim.state == "made":
        if _find(main, name) is None:
            try:
                _remove(main, name, before=meta.modified)
                _make(main, name, claim)
            except (NotFound, BranchAlreadyExists):
                # The version it was to start from is gone.
                main.store().delete(_key(name))
        return
    marker = _raise_flag(main, name, claim, meta, patience=timedelta(0))
    _delete(main, name, None, marker)


def _kept_below(main: Place, directory: str) -> Iterator[str]:
    """Yield what has versions among the directories of branches."""
    for step in main.store().list_directories(directory):
        if step.startswith("_") or step == "data":
            continue
        below = f"{directory}/{step}"
        if "_versions" in main.store().list_directories(below):
            yield below.removeprefix("tree/")
        yield from _kept_below(main, below)


def _raise_flag(
    main: Place,
    name: str,
    claim: _Claim | None,
    meta: ObjectMeta | None,
    patience: timedelta = PATIENCE,
) -> str:
    """Show everybody that the branch is being deleted; return the etag of the flag."""
    busy = InvalidState(
        f"The branch {name!r} of {main.name} is being deleted by somebody else; nothing to do.",
        table=main.info.id,
        branch=name,
    )
    deleting = claim is not None and claim.state == "deleting"
    if deleting and meta is not None and datetime.now(UTC) - meta.modified <= patience:
        raise busy
    flag = _Claim("deleting").encoded()
    try:
        if meta is None:
            return main.store().put(_key(name), flag, if_absent=True).etag
        return main.store().put(_key(name), flag, if_match=meta.etag).etag
    except (ObjectAlreadyExists, PreconditionFailed):
        raise busy from None


def _lower_flag(main: Place, name: str, claim: _Claim | None, etag: str) -> None:
    with contextlib.suppress(PreconditionFailed):
        kept = claim if claim is not None else _Claim("made")
        main.store().put(_key(name), kept.encoded(), if_match=etag)


def _check_unused(main: Place, name: str) -> None:
    """Refuse to delete a branch that others need.

    Raises:
        InvalidState: They do.
    """
    tags: dict[str, Any] = on_names(main, lambda handle: handle.tags.list())
    using = [f"the branch {b.name!r}" for b in list_branches(main) if b.parent == name]
    using += [f"the tag {t!r}" for t in sorted(tags) if tags[t]["branch"] == name]
    for meta in main.store().list(_CLAIMS):
        with contextlib.suppress(ObjectNotFound):
            claim = _decoded(main.store().get(meta.key).data)
            if claim.state == "made" and claim.parent == name:
                using.append(f"the branch {unquote(meta.key.rpartition('/')[2])!r}")
    if using:
        raise in_use(main, name, using[0])


def in_use(main: Place, name: str, user: str) -> InvalidState:
    """Return the error of deleting a branch that something needs."""
    return InvalidState(
        f"The branch {name!r} of {main.name} cannot be deleted, because {user} needs it; delete "
        "that first.",
        table=main.info.id,
        branch=name,
    )


def check_kept(main: Place, branch: str) -> None:
    """Make sure that nobody is deleting a branch that something new needs.

    Raises:
        BranchNotFound: Somebody is.
    """
    if branch == MAIN:
        return
    claim, _ = _claim_on(main, branch)
    if claim is None or claim.state != "deleting":
        return
    raise BranchNotFound(
        f"The branch {branch!r} of {main.name} is being deleted; choose another one.",
        table=main.info.id,
        branch=branch,
    )


def _remove(main: Place, name: str, before: datetime | None = None) -> None:
    """Remove what lies where a branch is kept and belongs to none.

    Lance leaves it there when it deletes a branch ``a`` beside a branch ``a/b``, and when it is
    killed.
    """
    store = main.on(name).store()
    inside = tuple(
        b.name[len(name) + 1 :] + "/" for b in list_branches(main) if b.name.startswith(f"{name}/")
    )
    found = [m for m in store.list() if not m.key.startswith(inside)]
    if before is not None and all(m.modified >= before for m in found):
        return
    # The versions first: without them nobody opens what is left, should this be killed.
    found.sort(key=lambda m: not m.key.startswith("_versions/"))
    store.delete(*(m.key for m in found))


def _find(main: Place, name: str) -> BranchInfo | None:
    return next((b for b in list_branches(main) if b.name == name), None)


def _claim_on(main: Place, name: str) -> tuple[_Claim | None, ObjectMeta | None]:
    try:
        found = main.store().get(_key(name))
    except ObjectNotFound:
        return None, None
    return _decoded(found.data), found.meta


def _decoded(data: bytes) -> _Claim:
    state, parent, version, _ = json.loads(data)
    return _Claim(state, parent, version)


def _is_old(meta: ObjectMeta) -> bool:
    return datetime.now(UTC) - meta.modified > PATIENCE


def _key(name: str) -> str:
    return f"{_CLAIMS}/{quote(name, safe='')}"


def ref_of(name: str) -> str:
    """Return the object of a table by which Lance knows a branch."""
    return f"_refs/branches/{quote(name, safe='')}.json"


def _taken(main: Place, name: str) -> BranchAlreadyExists:
    return BranchAlreadyExists(
        f"{main.name} has a branch {name!r} already; choose another name, or delete it first.",
        table=main.info.id,
        branch=name,
    )
