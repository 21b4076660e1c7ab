"""Tags of a table: names for versions, each a small object that Lance puts if absent."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from pennon.errors import (
    BranchNotFound,
    CommitConflict,
    Corrupt,
    ObjectNotFound,
    TagNotFound,
    VersionNotFound,
)
from pennon.objects import ObjectStore
from pennon.storage._lance.branches import check_kept, source_of
from pennon.storage._lance.named import on_names
from pennon.storage._lance.places import Place
from pennon.storage._lance.removal import check_left
from pennon.storage.abc.branches import TagInfo
from pennon.storage.refs import MAIN, Ref

__all__ = ["create_tag", "delete_tag", "list_tags", "move_tag"]

_TAGS, _END = "_refs/tags", ".json"
_AT_ONCE = 16
"""How many tags are read at the same time."""


def create_tag(place: Place, name: str, ref: Ref) -> TagInfo:
    """Name a version; see :meth:`StorageBackend.create_tag`."""
    branch, version = source_of(place, ref)
    try:
        on_names(place, lambda h: h.tags.create(name, (_lance_name(branch), version)))
    except VersionNotFound:
        place.on(branch).open(version)
        raise
    try:
        check_kept(place, branch)
        check_left(place.on(branch), version)
    except (BranchNotFound, VersionNotFound, CommitConflict):
        delete_tag(place, name, missing_ok=True)
        raise
    return _one(place, name)


def move_tag(place: Place, name: str, ref: Ref) -> TagInfo:
    """Let a tag name another version; see :meth:`StorageBackend.move_tag`."""
    before = _one(place, name)
    branch, version = source_of(place, ref)
    try:
        on_names(place, lambda h: h.tags.update(name, (_lance_name(branch), version)))
    except VersionNotFound:
        place.on(branch).open(version)
        raise
    try:
        check_kept(place, branch)
        check_left(place.on(branch), version)
    except (BranchNotFound, VersionNotFound, CommitConflict):
        old = _lance_name(before.branch), before.version
        on_names(place, lambda h: h.tags.update(name, old))
        raise
    return _one(place, name)


def delete_tag(place: Place, name: str, *, missing_ok: bool) -> None:
    """Delete a tag; see :meth:`StorageBackend.delete_tag`."""
    try:
        on_names(place, lambda h: h.tags.delete(name))
    except TagNotFound:
        if not missing_ok:
            raise


def list_tags(place: Place) -> list[TagInfo]:
    """Return the tags of a table; see :meth:`StorageBackend.list_tags`."""
    main = place.on(MAIN)
    store = main.store()
    keys = sorted(m.key for m in store.list(_TAGS) if m.key.endswith(_END))
    if not keys:
        main.open()  # Says so if nothing was ever written here.
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(keys))) as pool:
        found = list(pool.map(lambda key: _read(main, store, key), keys))
    return [tag for tag in found if tag is not None]


def _one(place: Place, name: str) -> TagInfo:
    main = place.on(MAIN)
    found = _read(main, main.store(), f"{_TAGS}/{name}{_END}")
    if found is None:
        main.open()
        raise TagNotFound(
            f"{place.name} has no tag {name!r}; list_tags shows those it has.",
            table=place.info.id,
            tag=name,
        )
    return found


def _read(main: Place, store: ObjectStore, key: str) -> TagInfo | None:
    """Return a tag as Lance keeps it; None if it is gone."""
    name = key.removeprefix(f"{_TAGS}/").removesuffix(_END)
    try:
        told = json.loads(store.get(key).data)
        created, updated = told.get("createdAt"), told.get("updatedAt")
        return TagInfo(
            name=name,
            branch=told.get("branch") or MAIN,
            version=int(told["version"]),
            created_at=created and datetime.fromisoformat(created),
            updated_at=updated and datetime.fromisoformat(updated),
        )
    except ObjectNotFound:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corrupt(
            f"The tag {name!r} of {main.name} cannot be read: {error}; delete it and make it anew.",
            table=main.info.id,
            tag=name,
        ) from None


def _lance_name(branch: str) -> str | None:
    return None if branch == MAIN else branch
