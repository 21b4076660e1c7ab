"""Versions that a disk did not keep whole: the manifest, or files that a whole manifest names.

A loss of power takes what was written last and not synced, in any order: so it may leave versions
at the end of the history whose files are missing or cut short. They are put aside, as far back as
there are such files: with a version that was acknowledged with ``durability="disk"`` everything it
names was synced, so none of those is lost. Rows of the versions put aside are not in the table any
more, also where their own files are whole: a version is all or nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pennon.errors import Corrupt, NotFound, ObjectNotFound, VersionNotFound
from pennon.namespaces.newest import transaction_of
from pennon.objects import open_store
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.uri import parse_uri

if TYPE_CHECKING:
    import lance

    from pennon.objects.abc import ObjectMeta, ObjectStore

__all__ = ["cut", "torn"]

_LAST = 2**64 - 1
_NUMBERED = re.compile(r"/\d+\.manifest$")
_RECENT = timedelta(hours=1)
"""How long a system may keep what it is to write, with much to spare."""


def torn(place: Place, read: Callable[[int], object], *, dry_run: bool) -> Iterator[str]:
    """Put manifests at the end of the history aside that cannot be read; say which.

    However young: a writer gives a manifest its name when it is whole.
    """
    if place.uri.scheme != "file":
        return
    while manifests := _manifests(place):
        newest = manifests[-1]
        try:
            # By its number, since what this process remembers of the newest one may be whole.
            read(_version(newest))
        except VersionNotFound:
            return
        except Corrupt:
            if [m.key for m in _manifests(place)[-1:]] != [newest.key]:
                # It is not the newest one any more, and may have been removed while it was read.
                continue
            if len(manifests) == 1:
                raise
        else:
            return
        if dry_run or _put_aside(place.store(), newest):
            yield f"version {_version(newest)} was not kept whole by the disk; put aside"
        if dry_run:
            return


def _manifests(place: Place) -> list[ObjectMeta]:
    """Return the manifests of the history, the oldest first."""
    # Lance names versions apart from the history, which it calls detached, by other names.
    found = (m for m in place.store().list("_versions") if _NUMBERED.search(m.key))
    return sorted(found, key=_version)


def _put_aside(store: ObjectStore, manifest: ObjectMeta) -> bool:
    """Move a manifest out of the history, unless somebody else did."""
    aside = f"_pennon/torn/{manifest.key.rpartition('/')[2]}"
    with contextlib.suppress(ObjectNotFound):
        store.put(aside, store.get(manifest.key).data, durability="disk")
    now = store.head(manifest.key)
    if now is None or now.etag != manifest.etag:
        return False
    store.delete(manifest.key, "_versions/latest_version_hint.json")
    return True


def _version(manifest: ObjectMeta) -> int:
    """Return the version whose manifest has this name, in either scheme of naming."""
    number = int(manifest.key.rpartition("/")[2].removesuffix(".manifest"))
    return _LAST - number if number > _LAST // 2 else number


# -- files that are missing or cut short -------------------------------------------------------


def cut(place: Place, *, dry_run: bool) -> Iterator[tuple[str, bool]]:
    """Put versions at the end of the history aside that name files which are not whole.

    Only the sizes are looked at, which versions name. In a bucket, where nothing is half there, and
    where a file is missing that was there an hour before the newest version, it was no loss of
    power: then nothing is changed, since each version may be worth more than what it lacks.

    Args:
        place: The branch of a table.
        dry_run: Change nothing.

    Returns:
        What was found, for people, and whether it was put right.
    """
    broken, whole = _ended(place)
    if not broken or [m.key for m in _manifests(place)[-1:]] != [broken[0].manifest.key]:
        # Somebody wrote meanwhile, and may have removed what an older version names.
        return
    newest = broken[0]
    what = f"version {_version(newest.manifest)} was not kept whole by the disk: {newest.why}"
    if whole is None:
        yield f"{what}; no older version is whole either", False
        return
    what = f"{what}; version {whole.version} is whole"
    if (
        place.uri.scheme != "file"
        or broken[-1].manifest.modified < newest.manifest.modified - _RECENT
    ):
        yield f"{what}; put the file back, or call rollback_table", False
        return
    for version in [] if dry_run else broken:
        if not _put_aside(place.store(), version.manifest):
            return
        if version.handle is not None and (name := transaction_of(version.handle)) is not None:
            # By it other processes would tell that what they know is still there.
            place.store().delete(f"_transactions/{name}")
    had = "" if newest.handle is None else f" where there were {_rows(newest.handle)}"
    yield f"{what} and has {_rows(whole)} rows{had}; {len(broken)} put aside", not dry_run


@dataclass(frozen=True, slots=True)
class _Version:
    """A version that is not whole."""

    manifest: ObjectMeta
    why: str
    handle: lance.LanceDataset | None
    """None if the manifest is not either."""


def _ended(place: Place) -> tuple[list[_Version], lance.LanceDataset | None]:
    """Return the versions at the end of the history that are not whole, and the one before them."""
    broken: list[_Version] = []
    for manifest in reversed(_manifests(place)):
        handle: lance.LanceDataset | None = None
        try:
            handle = place.open(_version(manifest))
            why = _broken(place, handle)
        except Corrupt as error:
            why = error.message
        except NotFound:
            # Cleaned up meanwhile: it was not the newest one.
            continue
        if why is None:
            return broken, handle
        broken.append(_Version(manifest, why, handle))
    return broken, None


def _rows(handle: lance.LanceDataset) -> int:
    return sum(f.metadata.num_rows for f in handle.get_fragments())


def _broken(place: Place, handle: lance.LanceDataset) -> str | None:
    """Return which file of a version is missing or cut short, for people; None if none is."""
    with translated(place.name, place.secrets):
        bases: dict[int, Any] = handle.base_paths()
        fragments = [f.metadata for f in handle.get_fragments()]
    listed: dict[int | None, dict[str, int]] = {}

    def size(base: int | None, key: str) -> int | None:
        """Return the bytes of an object; None if there is none."""
        uri = place.uri if base is None else parse_uri(bases[base].path)
        store = place.store() if base is None else open_store(uri, place.options)
        if base is not None and not bases[base].is_dataset_root:
            found = store.head(key.removeprefix("data/"))
            return None if found is None else found.size
        if base not in listed:
            below = (m for name in ("data", "_deletions") for m in store.list(name))
            listed[base] = {m.key: m.size for m in below}
        return listed[base].get(key)

    for fragment in fragments:
        files = [(f.base_id, f"data/{f.path}", f.file_size_bytes or 1) for f in fragment.files]
        if fragment.deletion_file is not None:
            gone: Any = fragment.deletion_file
            files.append((gone.base_id, gone.path(fragment.id), 1))
        for base, key, wanted in files:
            there = size(base, key)
            if there is None:
                return f"{key} is missing"
            if there < wanted:
                return f"{key} has {there} of {wanted} bytes"
    return None
