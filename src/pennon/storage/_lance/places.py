"""One table on its store: where it is, and handles on it."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pennon.config import StoreOptions, parse_options
from pennon.errors import (
    BranchNotFound,
    InvalidName,
    TableNotFound,
    TagNotFound,
    VersionNotFound,
)
from pennon.namespaces.abc import Namespace, TableInfo
from pennon.namespaces.names import show_id
from pennon.objects import ObjectStore, open_store
from pennon.storage._lance.errors import missing_manifest, translated
from pennon.storage._lance.handles import Handles, Kept
from pennon.storage.refs import MAIN, Ref
from pennon.uri import Uri, parse_uri

if TYPE_CHECKING:
    import lance

__all__ = ["Place", "committed_at"]


@dataclass(frozen=True, slots=True)
class Place:
    """One branch of a table that the catalog knows, written or only declared.

    Lance keeps a branch as a table of its own below the main one, so everything that works on a
    place works on a branch, and nothing aimed at one can reach another.
    """

    info: TableInfo
    uri: Uri
    options: StoreOptions = field(repr=False)
    session: Any = field(repr=False)
    """The ``lance.Session`` all handles of these credentials share."""
    secrets: tuple[str, ...] = field(repr=False)
    """Values no message may show."""
    handles: Kept = field(repr=False)
    """What keeps those that are open at what was the newest version."""
    above: ObjectStore = field(repr=False)
    """The objects of the directory that the table is in, by a client that lives on."""
    branch: str = MAIN
    since: float | None = None
    """The moment that "the latest" means, or a later one, by the monotonic clock; now if None."""

    @classmethod
    def of(cls, namespace: Namespace, info: TableInfo, branch: str = MAIN) -> Place:
        """Return the place of a branch of a table of a namespace."""
        given = info.storage_options
        uri, options, secrets = _parsed(info.location, tuple(given.items()) if given else None)
        session = namespace.session
        directory = replace(uri, path=uri.path.rpartition("/")[0])
        handles = session.shared(("handles", options.principal), Handles)
        above = session.store(directory, options)
        lance = session.lance(options)
        return cls(info, uri, options, lance, secrets, handles, above).on(branch)

    def lasts(self, namespace: Namespace) -> bool:
        """Whether what the session of a namespace held is what this place still holds of it."""
        kept = namespace.session.shared(("handles", self.options.principal), Handles)
        return kept is self.handles

    def on(self, branch: str) -> Place:
        """Return the place of another branch of the same table."""
        if branch == self.branch:
            return self
        base = parse_uri(self.info.location)
        uri = base if branch == MAIN else base.join("tree", branch)
        return replace(self, uri=uri, branch=branch)

    @property
    def name(self) -> str:
        """The table for people: ``team.docs``, with its branch unless that is the main one."""
        shown = show_id(self.info.id)
        return shown if self.branch == MAIN else f"{shown} (branch {self.branch})"

    @property
    def location(self) -> str:
        """What Lance opens."""
        base = self.info.location
        return base if self.branch == MAIN else f"{base.rstrip('/')}/tree/{self.branch}"

    @property
    def storage_options(self) -> dict[str, str]:
        """What Lance needs to open it: credentials, never to be logged."""
        return self.options.for_lance()

    def store(self) -> ObjectStore:
        """Return the objects below the location: for single files of Lance, by name."""
        return open_store(self.uri, self.options)

    def open(self, version: int | None = None, *, to_write: bool = False) -> lance.LanceDataset:
        """Return a new handle on the latest version, or on a given one.

        A handle belongs to one thread: Lance panics when a mutated one is shared.

        Args:
            version: Which; the latest if None.
            to_write: Whether a commit will follow: it asks for as few requests as there can be.

        Raises:
            TableNotFound: Nothing was ever written here.
            BranchNotFound: The table has no such branch.
            VersionNotFound: There is no such version, or not any more.
        """
        try:
            with translated(self.name, self.secrets):
                if version is not None:
                    return self._open(version)
                return self.handles.newest(
                    self.location, self.above, self.base, self._open, self.since, listed=to_write
                )
        except TableNotFound:
            if self.branch == MAIN:
                raise
        except VersionNotFound:
            # Lance says the same where there is no table, or no branch, at all.
            if version is not None and (self.branch == MAIN or self.open_or_none() is not None):
                newest = self.open().version
                raise VersionNotFound(
                    f"{self.name} has no version {version}, or not any more; its newest is "
                    f"{newest}.",
                    table=self.info.id,
                    version=version,
                ) from None
            if self.branch == MAIN:
                raise
        self.on(MAIN).open()
        raise BranchNotFound(
            f"{show_id(self.info.id)} has no branch {self.branch!r}; create_branch makes one.",
            table=self.info.id,
            branch=self.branch,
        )

    def look(self) -> None:
        """Find out whether what is known is the newest version; a failure is for who opens it."""
        with contextlib.suppress(Exception):
            self.handles.look(self.location, self.above, self.base)

    @property
    def is_written(self) -> bool:
        """Whether anything was ever written here: one request on a bucket if it was seen before."""
        return (
            self.handles.is_written(self.location, self.above, self.base, self.since)
            or self.open_or_none() is not None
        )

    def is_newest(self, made: lance.LanceDataset, transaction: str) -> bool:
        """Whether a commit of this process surely is the newest version; False in doubt.

        Args:
            made: The version Lance reports.
            transaction: The name of its transaction.
        """
        with translated(self.name, self.secrets):
            return self.handles.committed(self.location, self.above, self.base, made, transaction)

    def outlived(self, version: int) -> bool:
        """Whether it surely was not dropped before a commit of this process was seen.

        Args:
            version: What the commit made.
        """
        return self.handles.outlived(self.location, version)

    @property
    def base(self) -> str:
        """Its place in ``above``."""
        return self.uri.path[len(self.above.uri.path) :].strip("/")

    def _open(self, version: int | None = None) -> lance.LanceDataset:
        import lance

        missed = ""
        while True:
            try:
                return lance.dataset(
                    self.location,
                    version=version,
                    storage_options=self.storage_options,
                    session=self.session,
                )
            except Exception as error:
                # The newest version of a listing may be an old one, and removed, when it is read.
                found = version is None and missing_manifest(error)
                if not found or found == missed:
                    raise
                missed = found

    def open_at(self, ref: Ref) -> lance.LanceDataset:
        """Return a new handle on a state of this branch, or on the one a tag names.

        Args:
            ref: Which; its branch must be that of this place.

        Raises:
            TableNotFound: Nothing was ever written here.
            BranchNotFound: The table has no such branch.
            VersionNotFound: There is no such version, not any more, or not yet at that time.
            TagNotFound: The table has no such tag.
        """
        if ref.tag is not None:
            main = self.on(MAIN).open()
            try:
                with translated(self.name, self.secrets):
                    return main.checkout_version(ref.tag)
            except (TagNotFound, InvalidName):
                raise TagNotFound(
                    f"{self.name} has no tag {ref.tag!r}; list_tags shows those it has.",
                    table=self.info.id,
                    tag=ref.tag,
                ) from None
        if ref.as_of is not None:
            return self._open_as_of(ref.as_of)
        return self.open(ref.version)

    def _open_as_of(self, time: datetime) -> lance.LanceDataset:
        """Open the newest version that is not younger."""
        head = self.open()
        if committed_at(head) <= time:
            return head
        known = self.versions_until(time, head)
        if not known:
            oldest = min(ref["version"] for ref in head.version_refs())
            raise VersionNotFound(
                f"{self.name} has no version as old as {time.isoformat()}; the oldest that is kept "
                f"is {oldest}.",
                table=self.info.id,
                as_of=time,
            )
        return self.open(known[-1])

    def versions_until(self, time: datetime, head: lance.LanceDataset) -> list[int]:
        """Return the versions that are not younger, reading the times of log2(versions).

        Args:
            time: The moment.
            head: A handle on the newest version.
        """

        def made(version: int) -> datetime:
            handle = self.open_or_none(version)
            # The oldest are those that are removed, meanwhile too.
            return datetime.min.replace(tzinfo=UTC) if handle is None else committed_at(handle)

        with translated(self.name, self.secrets):
            versions = sorted(ref["version"] for ref in head.version_refs())
        return versions[: bisect_right(versions, time, key=made)]

    def open_or_none(self, version: int | None = None) -> lance.LanceDataset | None:
        """Return a new handle, or None if the version, or any version, does not exist."""
        try:
            return self.open(version)
        except (TableNotFound, BranchNotFound, VersionNotFound):
            return None


_Parsed = tuple[Uri, StoreOptions, tuple[str, ...]]


def _parsed(location: str, options: tuple[tuple[str, str], ...] | None) -> _Parsed:
    """Return where a table is, how it is reached, and what of that is secret.

    Parsed once for each that comes again, unless the environment is asked, which may change.
    """
    if options is None and "://" in location:
        uri = parse_uri(location)
        found = parse_options(uri)
        return uri, found, found.secrets
    return _parsed_before(location, options)


@lru_cache(maxsize=256)
def _parsed_before(location: str, options: tuple[tuple[str, str], ...] | None) -> _Parsed:
    uri = parse_uri(location)
    found = parse_options(uri, dict(options) if options else None)
    return uri, found, found.secrets


def committed_at(handle: lance.LanceDataset) -> datetime:
    """Return when the version of a handle was made, by the clock of its writer: UTC."""
    local: Any = handle.get_version()["timestamp"]
    return local.astimezone(UTC)
