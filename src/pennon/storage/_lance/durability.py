"""Durability: what a version is made of, put on the disk before its receipt is given.

Lance never syncs a file. A version is there after a loss of power if its manifest is, and every
file that this names, whoever wrote it and whenever; so all of them are synced, except those this
process synced before: they never change. With them go the directories on the way, the object that
names a branch, and the catalog that names the table.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pennon.errors import (
    NotDurable,
    ObjectNotFound,
    PennonError,
    StorageError,
    VersionNotFound,
)
from pennon.namespaces.abc import Id, Namespace
from pennon.objects import ObjectStore, open_store
from pennon.storage._lance.branches import ref_of
from pennon.storage._lance.errors import translated
from pennon.storage._lance.places import Place
from pennon.storage.abc.types import CommitReceipt
from pennon.storage.refs import MAIN
from pennon.uri import Uri, parse_uri

if TYPE_CHECKING:
    import lance

__all__ = ["DurableCatalog", "keep", "keep_files", "keep_version"]

_TABLES = 256
_LAST = 2**64 - 1


@runtime_checkable
class DurableCatalog(Protocol):
    """A catalog on a disk, which can be told to keep what it says."""

    def sync(self) -> None:
        """Put the catalog as it is now on the disk."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What this process knows to be on the disk of one branch of a table."""

    manifests: dict[int, str]
    """The etags of manifests, by version: everything that they name is kept."""
    files: frozenset[str]


_kept: OrderedDict[str, _Kept] = OrderedDict()
_named: OrderedDict[tuple[str, Id], None] = OrderedDict()
"""The branches of tables, and the names they have in the catalog on the disk."""
_failed: dict[str, str] = {}
"""What the disk said when it failed, by branch: what it kept of that can never be known."""
_locks = [threading.Lock() for _ in range(64)]


def keep(namespace: Namespace, place: Place, receipt: CommitReceipt) -> None:
    """Put the version a receipt names on the disk, with its name; in a bucket, it is.

    Args:
        namespace: The catalog that names the table.
        place: The branch of the table.
        receipt: Of the commit.

    Raises:
        NotDurable: The disk failed.
    """
    try:
        keep_version(namespace, place, receipt.version)
    except PennonError as error:
        raise NotDurable(
            f"Version {receipt.version} of {place.name} is committed and can be read, but the disk "
            f"failed to keep it ({error.message}); check the disk, and write the rows elsewhere.",
            table=receipt.table,
            write_id=receipt.write_id,
            receipt=receipt,
        ) from None


def keep_version(namespace: Namespace, place: Place, version: int) -> None:
    """Put a version on the disk, with the name of the table; see :func:`keep`.

    Raises:
        StorageError: The disk failed, now or before.
    """
    if place.uri.scheme != "file":
        return
    keep_files(place, version)
    named = place.location, place.info.id
    if named not in _named and isinstance(namespace, DurableCatalog):
        namespace.sync()
        _named[named] = None
        while len(_named) > _TABLES:
            _named.popitem(last=False)


def keep_files(place: Place, version: int) -> None:
    """Put the files of a version on the disk, and those of the newest one with them.

    The newest, because one that the disk has torn hides those before it: a write may be followed by
    commits of its own, such as those of its indexes, and by those of rivals.

    Raises:
        StorageError: The disk failed, now or before.
    """
    if place.uri.scheme != "file":
        return
    # Writers of one table that wait here find the work of the one before them done.
    with _locks[hash(place.location) % len(_locks)]:
        if place.location in _failed:
            raise StorageError(_failed[place.location])
        for _ in range(5):
            try:
                _keep_files(place, version)
            except ObjectNotFound:
                continue
            except StorageError as error:
                _failed[place.location] = error.message
                raise
            return
    raise StorageError(f"Files of {place.name} are removed faster than they can be kept.")


def _keep_files(place: Place, version: int) -> None:
    before = _kept.get(place.location, _Kept({}, frozenset()))
    newest = place.open()
    handles = [newest]
    if newest.version != version:
        # One that was cleaned up left what it added to those after it.
        with contextlib.suppress(VersionNotFound):
            handles.append(place.open(version))
    store = place.store()
    manifests = {h.version: _manifest(store, h.version) for h in handles}
    handles = [h for h in handles if before.manifests.get(h.version) != manifests[h.version][1]]
    if not handles:
        return
    # A dict is a set that keeps the order.
    by_root: dict[str, dict[str, None]] = {str(place.uri): {}}
    names: list[str] = []
    for handle in handles:
        beside = _beside(store, handle, manifests[handle.version][0])
        by_root[str(place.uri)].update(dict.fromkeys(beside))
        for uri, key in _files_of(place, handle):
            names.append(f"{uri}/{key}")
            if names[-1] not in before.files:
                by_root.setdefault(str(uri), {})[key] = None
    if place.branch != MAIN:
        by_root.setdefault(str(place.on(MAIN).uri), {})[ref_of(place.branch)] = None
    for root, keys in by_root.items():
        open_store(parse_uri(root), place.options).sync(*keys, deadline=60 + len(keys) / 50)
    _kept[place.location] = _Kept({v: m[1] for v, m in manifests.items()}, frozenset(names))
    _kept.move_to_end(place.location)
    while len(_kept) > _TABLES:
        _kept.popitem(last=False)


def _manifest(store: ObjectStore, version: int) -> tuple[str, str]:
    """Return the key and the etag of the manifest of a version, in either scheme of naming."""
    for name in (f"{_LAST - version:020d}", str(version)):
        meta = store.head(f"_versions/{name}.manifest")
        if meta is not None:
            return meta.key, meta.etag
    raise ObjectNotFound(f"{store.uri} has no manifest of version {version}.")


def _beside(store: ObjectStore, handle: lance.LanceDataset, manifest: str) -> list[str]:
    """Return what a version has besides the files it names: manifest, hint and transaction."""
    found = [manifest]
    try:
        transaction: Any = handle.read_transaction(handle.version)
        found.append(f"_transactions/{transaction.read_version}-{transaction.uuid}.txn")
    except TypeError:
        # pylance cannot show a compaction that moved an index; the manifest holds a copy.
        pass
    found.append("_versions/latest_version_hint.json")
    return [found[0], *(key for key in found[1:] if store.head(key) is not None)]


def _files_of(place: Place, handle: lance.LanceDataset) -> Iterator[tuple[Uri, str]]:
    """Yield the root and the key of each file that a version names."""
    with translated(place.name, place.secrets):
        bases: dict[int, Any] = handle.base_paths()
        fragments = [f.metadata for f in handle.get_fragments()]
        indexes: list[Any] = handle.describe_indices()

    def root(base: int | None) -> Uri:
        return place.uri if base is None else parse_uri(bases[base].path)

    def data(base: int | None) -> str:
        return "data/" if base is None or bases[base].is_dataset_root else ""

    for fragment in fragments:
        for file in fragment.files:
            yield root(file.base_id), f"{data(file.base_id)}{file.path}"
        if fragment.deletion_file is not None:
            cut: Any = fragment.deletion_file
            yield root(cut.base_id), cut.path(fragment.id)
    for index in indexes:
        for segment in index.segments:
            uri = root(segment.base_id)
            for meta in open_store(uri, place.options).list(f"_indices/{segment.uuid}"):
                yield uri, meta.key


def _forget() -> None:
    """Start with free locks in a forked child: who held them is not in it."""
    for n in range(len(_locks)):
        _locks[n] = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
