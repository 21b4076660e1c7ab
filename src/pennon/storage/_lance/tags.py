"""Tags of a table: names for versions, each a small object that Lance puts if absent."""

from __future__ import annotations

from typing import Any

from pennon.errors import BranchNotFound, CommitConflict, TagNotFound, VersionNotFound
from pennon.storage._lance.branches import check_kept, source_of
from pennon.storage._lance.named import on_names
from pennon.storage._lance.places import Place
from pennon.storage._lance.removal import check_left
from pennon.storage.abc.branches import TagInfo
from pennon.storage.refs import MAIN, Ref

__all__ = ["create_tag", "delete_tag", "list_tags", "move_tag"]


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
    listed: dict[str, Any] = on_names(place, lambda h: h.tags.list())
    return [
        TagInfo(
            name=name,
            branch=listed[name]["branch"] or MAIN,
            version=listed[name]["version"],
            created_at=listed[name]["created_at"],
            updated_at=listed[name]["updated_at"],
        )
        for name in sorted(listed)
    ]


def _one(place: Place, name: str) -> TagInfo:
    found = next((t for t in list_tags(place) if t.name == name), None)
    if found is None:
        raise TagNotFound(
            f"{place.name} has no tag {name!r}; list_tags shows those it has.",
            table=place.info.id,
            tag=name,
        )
    return found


def _lance_name(branch: str) -> str | None:
    return None if branch == MAIN else branch
