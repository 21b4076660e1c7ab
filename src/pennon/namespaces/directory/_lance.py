"""Lance below the catalog: the few calls on ``__manifest``, and what their errors mean."""

from __future__ import annotations

import contextlib
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from pennon.errors import (
    Corrupt,
    PennonError,
    PermissionDenied,
    StorageError,
    Unavailable,
    redact,
)

# The text of a failed request is the same in Lance and in obstore: both carry object_store.
from pennon.objects._failures import Failure

if TYPE_CHECKING:
    from pennon.config import StoreOptions
    from pennon.namespaces.session import Session
    from pennon.objects import ObjectStore
    from pennon.retry import Deadline
    from pennon.uri import Uri

__all__ = ["MANIFEST", "Fate", "LanceTable", "is_conflict", "translate"]

MANIFEST = "__manifest"
_WRITE_ID = "pennon.write_id"
# One request reads the rows of some thousand tables, where Lance's own guess makes five.
_BLOCK = 1 << 20
# Manifests are named so that the newest comes first in a listing, or by their plain number.
_LAST = 2**64 - 1
_ABSENT = re.compile(r"Dataset at path .+ was not found: Not found: \S+/_versions")
_NO_VERSION = re.compile(r"/_versions/\d+\.manifest was not found|Version not found")
_MANIFEST_FILE = re.compile(r"/_versions/\d+\.manifest")
_LOST = re.compile(
    r"Dataset already exists|/_versions/\d+\.manifest was not found|[Cc]ommit conflict for version"
)
_GONE = re.compile(r"Not found: |NotFound|No such file or directory|status code: 404")
_UNREACHABLE = re.compile(
    r"error sending request|[Tt]imed? ?out|client error \(Connect\)|connection (closed|reset)|"
    r"Commit result for version \d+ is unknown"
)
_DENIED = re.compile(r"Permission denied \(os error 13\)|Read-only file system")
_BROKEN = re.compile(r"file size is too small|Invalid range|sufficient data|magic|corrupt", re.I)

Fate = Literal["ours", "other", "absent"]


def is_conflict(error: BaseException) -> bool:
    """Whether a commit failed because another one was first."""
    return _LOST.search(str(error)) is not None


def translate(error: Exception, store: ObjectStore, options: StoreOptions) -> PennonError:
    """Return the error that a failed call of Lance means.

    Args:
        error: What Lance raised.
        store: The root.
        options: Its options, whose secrets are masked.
    """
    if isinstance(error, PennonError):
        return error
    text = str(error)
    place = str(store.uri)
    failure = Failure.of(error)
    if failure.no_bucket or failure.no_credentials or failure.status not in {0, 404}:
        return failure.translate(place, MANIFEST, options.secrets)
    if _UNREACHABLE.search(text):
        return Unavailable(
            f"The store of {place} cannot be reached; check the endpoint and the network."
        )
    if store.uri.scheme == "file":
        # Nobody knows better than the local store why a directory cannot be used.
        try:
            store.list_directories()
        except PennonError as known:
            return known
    if _DENIED.search(text):
        return PermissionDenied(f"The catalog {place}/{MANIFEST} may not be read or changed here.")
    if failure.status and not _GONE.search(text.split("status code", maxsplit=1)[0]):
        return Unavailable(
            f"The store of {place} answers {failure.status} where a listing is due; "
            "check the endpoint."
        )
    said = redact(text.split("\n", maxsplit=1)[0], options.secrets)[:300]
    if _GONE.search(text) or _BROKEN.search(text):
        return Corrupt(
            f"The catalog {place}/{MANIFEST} cannot be read ({said}); restore the missing object "
            "or an older copy."
        )
    return StorageError(f"The catalog {place}/{MANIFEST} failed: {said}.")


class LanceTable:
    """The Lance dataset that holds the catalog of one root.

    Args:
        uri: The root.
        options: Its options.
        session: Whose Lance caches to use.
    """

    def __init__(self, uri: Uri, options: StoreOptions, session: Session) -> None:
        self.location = str(uri.join(MANIFEST))
        self._options = options
        self._session = session
        self._uri = uri

    @property
    def store(self) -> ObjectStore:
        """The client of the root in this process."""
        return self._session.store(self._uri, self._options)

    def fail(self, error: Exception) -> PennonError:
        """Return the error that a failed call of Lance means."""
        return translate(error, self.store, self._options)

    def open(self, version: int | None = None) -> Any | None:
        """Return a handle of the latest or of one version, None if there is none."""
        missed = ""
        while True:
            try:
                return self._open(version)
            except Exception as error:  # noqa: BLE001 - Lance raises all sorts
                if _ABSENT.search(str(error)) or (version and _NO_VERSION.search(str(error))):
                    return None
                # The latest version of a listing may be an old one, and cleaned, when it is read.
                found = _MANIFEST_FILE.search(str(error)) if _GONE.search(str(error)) else None
                if found is None or found[0] == missed:
                    raise self.fail(error) from None
                missed = found[0]

    def _open(self, version: int | None) -> Any:
        import lance

        return lance.dataset(
            self.location,
            version=version,
            storage_options=self._options.for_lance() or None,
            session=self._session.lance(self._options),
            block_size=_BLOCK,
        )

    def rows(self, handle: Any) -> Any | None:
        """Return all rows of a handle as one table, None if a cleaner was faster."""
        try:
            return handle.to_table()
        except Exception as error:  # noqa: BLE001 - Lance raises all sorts
            if self._was_cleaned(handle, error):
                return None
            raise self.fail(error) from None

    def _was_cleaned(self, handle: Any, error: Exception) -> bool:
        """Whether a file is missing because its version is no longer the latest.

        Which of its files goes first is not said, so that the version itself may still be there.
        """
        if not _GONE.search(str(error)):
            return False
        latest = self.open()
        return latest is None or latest.version != handle.version

    def write(self, handle: Any | None, table: Any) -> list[Any] | None:
        """Write rows to one new file that no version names yet; None if a race is lost already."""
        from lance.fragment import write_fragments

        if not table.num_rows:
            return []
        target = self.location if handle is None else handle
        try:
            return list(
                write_fragments(
                    table,
                    target,
                    mode="create" if handle is None else "overwrite",
                    data_storage_version="2.2" if handle is None else handle.data_storage_version,
                    storage_options=self._options.for_lance() or None,
                    session=None if handle is not None else self._session.lance(self._options),
                )
            )
        except Exception as error:  # noqa: BLE001 - Lance raises all sorts
            if handle is None and is_conflict(error):
                return None
            raise self.fail(error) from None

    def commit(
        self, handle: Any | None, schema: Any, fragments: list[Any], write_id: str, end: Deadline
    ) -> Any:
        """Replace all rows if ``handle`` (None: nothing) is still the latest version.

        Returns a handle of the new version. Raises what Lance raises: whether it was committed all
        the same is to be asked of :meth:`fate`.
        """
        from lance import LanceDataset, LanceOperation, Transaction

        return LanceDataset.commit(
            self.location if handle is None else handle,
            Transaction(
                read_version=0 if handle is None else handle.version,
                operation=LanceOperation.Overwrite(schema, fragments),
                transaction_properties={_WRITE_ID: write_id},
            ),
            max_retries=0,
            storage_options=self._options.for_lance() or None,
            commit_timeout=timedelta(seconds=max(1.0, end.remaining)),
        )

    def fate(self, version: int, write_id: str) -> Fate:
        """Return whose commit a version is; it holds at most one for ever."""
        handle = self.open(version)
        if handle is None:
            return "absent"
        try:
            found = handle.read_transaction(version)
        except Exception as error:  # noqa: BLE001 - Lance raises all sorts
            if self._was_cleaned(handle, error):
                return "absent"
            raise self.fail(error) from None
        properties = dict(getattr(found, "transaction_properties", None) or {})
        return "ours" if properties.get(_WRITE_ID) == write_id else "other"

    def discard(self, fragments: list[Any]) -> None:
        """Delete files that no version names; what cannot be deleted now is vacuumed later."""
        keys = [f"{MANIFEST}/data/{file.path}" for f in fragments for file in f.files]
        if keys:
            with contextlib.suppress(PennonError):
                self.store.delete(*keys)

    def sync(self, handle: Any | None) -> None:
        """Put a version on the disk, with the way to it; without one only the way to the root.

        Raises:
            ObjectNotFound: It was cleaned up meanwhile.
        """
        if handle is None or self._uri.scheme != "file":
            self.store.sync()
            return
        data = [f"data/{f.path}" for x in handle.get_fragments() for f in x.metadata.files]
        manifests = [f"_versions/{n}.manifest" for n in (handle.version, _LAST - handle.version)]
        known = [*manifests, "_versions/latest_version_hint.json"]
        there = [key for key in known if self.store.head(f"{MANIFEST}/{key}") is not None]
        self.store.sync(*(f"{MANIFEST}/{key}" for key in (*data, *there)))

    def clean(self, handle: Any, older_than: timedelta, *, dry_run: bool) -> tuple[int, int]:
        """Remove old versions; return how many versions and how many bytes."""
        try:
            if dry_run:
                found = handle.explain_cleanup_old_versions(older_than=older_than)
                stats = getattr(found, "stats", found)
            else:
                stats = handle.cleanup_old_versions(older_than=older_than)
        except Exception as error:  # noqa: BLE001 - Lance raises all sorts
            raise self.fail(error) from None
        return int(stats.old_versions), int(stats.bytes_removed)
