"""The catalog table ``__manifest`` of one root: read whole, replaced whole by compare-and-swap."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from pennon.errors import (
    CommitConflict,
    Corrupt,
    InvalidInput,
    InvalidState,
    NamespaceNotFound,
    NotFound,
    ObjectNotFound,
    OutcomeUnknown,
    PennonError,
    PermissionDenied,
    TableNotFound,
    Unavailable,
    Unsupported,
)
from pennon.namespaces.abc import Id
from pennon.namespaces.directory._lance import MANIFEST, Fate, LanceTable, is_conflict
from pennon.namespaces.model import Catalog, Change, Entry
from pennon.namespaces.names import DELIMITER, show_id
from pennon.namespaces.newest import GRACE_SECONDS, Look, Newest
from pennon.retry import Backoff, Deadline

if TYPE_CHECKING:
    from pennon.config import StoreOptions
    from pennon.namespaces.session import Session
    from pennon.uri import Uri

__all__ = ["Manifest", "Snapshot"]

_SECONDS = 30.0
_RACE = Backoff(base=0.001, cap=0.1, attempts=1_000_000)
"""Between two tries to read a version before it is cleaned."""
_FLAGS = "lance.namespace.manifest.{}_feature_flags"
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key:position": "0"}

_locks: dict[tuple[str, str], threading.Lock] = {}
_guard = threading.Lock()


def _start_afresh() -> None:
    global _guard  # noqa: PLW0603 - the lock may have been held by a thread the child lacks
    _guard = threading.Lock()
    _locks.clear()


os.register_at_fork(after_in_child=_start_afresh)


@dataclass(frozen=True)
class Snapshot:
    """The catalog at one version."""

    version: int = 0
    """0 if there is no ``__manifest`` yet."""
    catalog: Catalog = field(default_factory=Catalog)
    table: Any = None
    """The rows as stored, with what other writers keep in them."""
    faults: Mapping[Id, str] = field(default_factory=lambda: MappingProxyType({}))
    """What is wrong with a row, by id."""
    foreign: frozenset[Id] = frozenset()
    """Ids of rows that are neither namespaces nor tables."""

    def check(self, id: Id) -> None:
        """Refuse to answer from a broken row.

        Raises:
            Corrupt: The row of this id cannot be used.
        """
        if id in self.faults:
            raise Corrupt(
                f"The catalog entry of {show_id(id)} cannot be used: {self.faults[id]}; drop it "
                "and register its table again.",
                table=id,
            )


@dataclass(frozen=True)
class _Kept:
    """What was read last."""

    content: str
    """What identifies the rows."""
    snapshot: Snapshot
    newest: Newest | None = None
    """What tells cheaply whether it is current; None if it was written to a bucket, not read."""
    own: bool = False
    """Whether this process itself made it, on a disk."""


class Manifest:
    """Reads and changes the catalog of one root.

    Args:
        uri: The root.
        options: Its options.
        session: Clients and caches to share; what was read stays there, by version.
    """

    def __init__(self, uri: Uri, options: StoreOptions, session: Session) -> None:
        self._uri = uri
        self._key = (str(uri), options.principal)
        self._lance = LanceTable(uri, options, session)
        self._session = session

    # -- reading -----------------------------------------------------------------------------------

    def read(self) -> Snapshot:
        """Return the catalog as it is now: one request if it has not changed, else four."""
        known = self._kept.get("latest")
        if known is not None and known.newest is not None:
            store = self._lance.store
            if known.newest.holds(store, MANIFEST, against="kept"):
                return known.snapshot
            if known.own and known.newest.holds_by_names(store, MANIFEST):
                return known.snapshot
        return self._read()[1]

    def open(self) -> Any | None:
        """Return Lance's handle of the latest version, None if there is no catalog."""
        return self._lance.open()

    def sync(self) -> None:
        """Put the newest version on the disk."""
        for _ in _RACE.tries(Deadline.after(None, _SECONDS)):
            with contextlib.suppress(ObjectNotFound):
                return self._lance.sync(self._lance.open())
        raise Unavailable(
            f"{self._uri}/{MANIFEST} is cleaned faster than it can be kept; give the cleaner a "
            "grace period."
        )

    def clean(self, older_than: timedelta, *, dry_run: bool) -> tuple[int, int]:
        """Remove old versions; return how many, and how many bytes they took.

        On a bucket it waits until they are so old that no reader takes one of them for the newest.
        """
        handle = self._lance.open()
        if handle is None:
            return 0, 0
        found = self._lance.clean(handle, older_than, dry_run=True)
        if dry_run or not found[0]:
            return found
        wait = timedelta(seconds=GRACE_SECONDS) - older_than
        if wait > timedelta(0) and self._uri.scheme != "file":
            time.sleep(wait.total_seconds())
            older_than += wait
        return self._lance.clean(handle, older_than, dry_run=False)

    @property
    def _kept(self) -> dict[str, _Kept]:
        return self._session.shared(("manifest", *self._key), dict[str, _Kept])

    def _read(self) -> tuple[Any | None, Snapshot]:
        for _ in _RACE.tries(Deadline.after(None, _SECONDS)):
            look = Look.now(self._lance.store, MANIFEST)
            handle = self._lance.open()
            if handle is None:
                return None, Snapshot()
            _check_flags(handle, "reader", self._uri)
            content, newest = _content(handle), Newest.of(handle, look)
            known = self._kept.get("latest")
            if known is not None and known.content == content:
                if known.newest is not None and known.newest.same(newest):
                    newest.named = known.newest.named
                self._kept["latest"] = _Kept(content, known.snapshot, newest)
                return handle, known.snapshot
            table = self._lance.rows(handle)
            if table is not None:
                snapshot = _parse(handle.version, table, self._uri)
                self._kept["latest"] = _Kept(content, snapshot, newest)
                return handle, snapshot
        raise Unavailable(
            f"{self._uri}/{MANIFEST} is cleaned faster than it can be read; give the cleaner a "
            "grace period."
        )

    # -- changing ----------------------------------------------------------------------------------

    def apply(
        self,
        rule: Callable[[Snapshot], Change],
        before: Callable[[Snapshot, Change], None] | None = None,
    ) -> Change:
        """Change the catalog by a rule, in one commit.

        Args:
            rule: Makes the change out of what there is; called again when another one was faster.
            before: Called before each commit with what there is and what is to be committed.

        Raises:
            CommitConflict: Others were faster all the time until the deadline.
            OutcomeUnknown: Whether it was committed could not be settled until the deadline.
        """
        end = Deadline.after(None, _SECONDS)
        attempt = _Attempt(self._lance, self._uri)
        with self._alone(end):
            for _ in Backoff(base=0.01, cap=0.5, attempts=1_000_000).tries(end):
                try:
                    done = attempt.settle()
                    if done is not None:
                        return done
                    handle, snapshot = self._read()
                except PennonError as error:
                    if attempt.pending and error.retryable:
                        continue
                    raise
                if attempt.pending and snapshot.version >= attempt.pending[0]:
                    continue  # what has that version may be ours: settle first
                change = self._decide(rule, snapshot)
                if change.is_empty:
                    return change
                if handle is not None:
                    _check_flags(handle, "writer", self._uri)
                if before is not None:
                    before(snapshot, change)
                look = Look(time.monotonic(), None)
                new = attempt.commit(handle, snapshot, change, end)
                if new is not None:
                    self._remember(new, snapshot, change, attempt.table, look)
                    return change
        raise attempt.gave_up()

    def _decide(self, rule: Callable[[Snapshot], Change], snapshot: Snapshot) -> Change:
        try:
            change = rule(snapshot)
        except (TableNotFound, NamespaceNotFound) as error:
            raise self.explain(error, snapshot) from None
        touched = {e.id for e in change.upserts} | set(change.deletes)
        for id in snapshot.foreign:
            if any(id[: len(t)] == t for t in touched):
                raise InvalidState(
                    f"{show_id(id)} is neither a namespace nor a table and was made by a newer "
                    "writer; change it with that one."
                )
        return change

    def explain(self, error: NotFound, snapshot: Snapshot) -> NotFound:
        """Return an error that also says if there is no catalog at all."""
        if snapshot.version:
            return error
        said = f"{error.message[:-1]}; {self._uri} holds no catalog yet, the first change makes it."
        return type(error)(said, **error.context)

    def _remember(self, handle: Any, old: Snapshot, change: Change, table: Any, look: Look) -> None:
        """Keep what was just written, so that the next read need not read it."""
        gone = {e.id for e in change.upserts} | set(change.deletes)
        faults = {i: why for i, why in old.faults.items() if i not in gone}
        new = Snapshot(handle.version, change.catalog, table, MappingProxyType(faults), old.foreign)
        own = self._uri.scheme == "file"
        newest = Newest.of(handle, look) if own else None
        self._kept["latest"] = _Kept(_content(handle), new, newest, own)

    @contextmanager
    def _alone(self, end: Deadline) -> Generator[None]:
        """Let one thread of this process at a time change this catalog."""
        with _guard:
            lock = _locks.setdefault(self._key, threading.Lock())
        if not lock.acquire(timeout=end.remaining):
            raise CommitConflict(
                f"Other threads kept changing the catalog of {self._uri} until the deadline; "
                "try again."
            )
        try:
            yield
        finally:
            lock.release()


class _Attempt:
    """One change on its way into the catalog, under one write id."""

    def __init__(self, lance: LanceTable, uri: Uri) -> None:
        self._lance = lance
        self._uri = uri
        self.write_id = uuid.uuid4().hex
        self.pending: tuple[int, Change] | None = None
        """The version at which a commit without an answer may still turn up, and its change."""
        self.table: Any = None

    def commit(
        self, handle: Any | None, snapshot: Snapshot, change: Change, end: Deadline
    ) -> Any | None:
        """Commit; return the new handle, or None if that has to be tried again."""
        version = snapshot.version + 1
        if self.pending is not None and self.pending[0] != version:
            # What had the version of the earlier try was cleaned away before it could be read.
            raise self.gave_up()
        self.table = _rows_after(snapshot, change)
        fragments = self._lance.write(handle, self.table)
        if fragments is None:
            return None
        before, self.pending = self.pending, (version, change)
        try:
            new = self._lance.commit(handle, self.table.schema, fragments, self.write_id, end)
        except Exception as error:  # noqa: BLE001 - Lance raises all sorts
            fate = self._ask(version)
            if fate == "other" or (fate == "absent" and is_conflict(error) and before is None):
                self.pending = None
                self._lance.discard(fragments)
            if is_conflict(error) or fate == "ours":
                return None
            known = self._lance.fail(error)
            if fate == "absent" and self._is_certain(known):
                raise known from None
            return None
        self.pending = None
        return new

    def _ask(self, version: int) -> Fate | None:
        try:
            return self._lance.fate(version, self.write_id)
        except PennonError:
            return None

    def _is_certain(self, error: PennonError) -> bool:
        """Whether a commit that failed so cannot turn up later."""
        refused = (PermissionDenied, NotFound, InvalidInput, Unsupported)
        return self._uri.scheme == "file" or isinstance(error, refused)

    def settle(self) -> Change | None:
        """Return the change if an earlier try turns out to have been committed."""
        if self.pending is None:
            return None
        version, change = self.pending
        fate = self._lance.fate(version, self.write_id)
        if fate == "ours":
            return change
        if fate == "other":
            self.pending = None
        return None

    def gave_up(self) -> PennonError:
        """Return the error for a change that was not seen committed until the deadline."""
        if self.pending is None:
            return CommitConflict(
                f"Others kept changing the catalog of {self._uri} until the deadline; try again."
            )
        return OutcomeUnknown(
            f"The store of {self._uri} gave no answer to a change of the catalog, which may or may "
            "not be there; look before you repeat it.",
            write_id=self.write_id,
        )


def _check_flags(handle: Any, side: str, uri: Uri) -> None:
    key = _FLAGS.format(side)
    flags = str(handle.metadata.get(key, "0"))
    if flags.strip() not in {"", "0"}:
        verb = "read" if side == "reader" else "change"
        raise Unsupported(
            f"The catalog of {uri} uses features ({key}={flags}) that this pennon does not know; "
            f"upgrade pennon to {verb} it."
        )


def _content(handle: Any) -> str:
    """Return what identifies the rows of a version: the files, whose names are unique."""
    parts = [json.dumps(f.metadata.to_json(), sort_keys=True) for f in handle.get_fragments()]
    return f"{handle.version} {' '.join(parts)}"


# -- rows ------------------------------------------------------------------------------------------


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("object_id", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
            pa.field("object_type", pa.string(), nullable=False),
            pa.field("location", pa.string()),
            pa.field("metadata", pa.string()),
            pa.field("base_objects", pa.list_(pa.field("object_id", pa.string()))),
        ]
    )


def _parse(version: int, table: Any, uri: Uri) -> Snapshot:
    names = ("object_id", "object_type", "location", "metadata")
    missing = [n for n in names if n not in table.schema.names]
    if missing:
        raise Corrupt(
            f"{uri}/{MANIFEST} has no column {missing[0]!r} and is no catalog; restore it or "
            "connect to another root."
        )
    entries: dict[Id, Entry] = {}
    faults: dict[Id, str] = {}
    foreign: set[Id] = set()
    for object_id, kind, location, metadata in zip(
        *(table.column(n).to_pylist() for n in names), strict=True
    ):
        id = tuple(str(object_id).split(DELIMITER))
        if kind not in {"namespace", "table"}:
            foreign.add(id)
            continue
        if id in entries:
            faults[id] = "there are two of them"
        properties = _properties(metadata)
        if properties is None:
            faults[id] = "its properties are not a JSON object of strings"
        place = str(location).rstrip("/") if kind == "table" and location else None
        if kind == "table" and not place:
            faults[id] = "it has no location"
        entries[id] = Entry(id, kind, place, properties or MappingProxyType({}))
    return Snapshot(
        version,
        Catalog(entries.values()),
        table,
        MappingProxyType(faults),
        frozenset(foreign),
    )


def _properties(text: str | None) -> Mapping[str, str] | None:
    """Return the properties of a row, None if they cannot be read."""
    if not text:
        return MappingProxyType({})
    try:
        found: object = json.loads(text)
    except ValueError:
        return None
    if not isinstance(found, dict):
        return None
    pairs = cast("dict[str, object]", found)
    if not all(isinstance(v, str) for v in pairs.values()):
        return None
    return MappingProxyType(cast("dict[str, str]", pairs))


def _rows_after(snapshot: Snapshot, change: Change) -> Any:
    """Return the rows to write: those not touched exactly as they are, and the new ones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if snapshot.table is None:
        table: Any = _schema().empty_table()
    else:
        table = snapshot.table
    schema = table.schema
    gone = {DELIMITER.join(i) for i in (*change.deletes, *(e.id for e in change.upserts))}
    ids = table.column("object_id")
    touched: Any = pc.is_in(ids, value_set=pa.array(sorted(gone), pa.string()))  # pyright: ignore[reportAttributeAccessIssue]
    kept = table.filter(pc.invert(touched))  # pyright: ignore[reportAttributeAccessIssue]
    old = {row["object_id"]: row for row in table.filter(touched).to_pylist()}
    rows = [_row(entry, _origin(entry, old, change.deletes)) for entry in change.upserts]
    new = pa.Table.from_pylist(rows, schema=schema)
    return pa.concat_tables([kept, new]).combine_chunks()


def _origin(
    entry: Entry, old: Mapping[str, Mapping[str, Any]], deletes: Collection[Id]
) -> Mapping[str, Any]:
    """Return the row an entry continues: its own, or that of the table it was renamed from."""
    own = old.get(DELIMITER.join(entry.id))
    if own is not None and own["object_type"] == entry.kind:
        return own
    for id in deletes:
        row = old.get(DELIMITER.join(id), {})
        if entry.location is not None and str(row.get("location")).rstrip("/") == entry.location:
            return row
    return {}


def _row(entry: Entry, origin: Mapping[str, Any]) -> dict[str, Any]:
    properties = dict(entry.properties)
    row = {
        **origin,
        "object_id": DELIMITER.join(entry.id),
        "object_type": entry.kind,
        "metadata": json.dumps(properties, ensure_ascii=False) if properties else None,
    }
    if entry.kind == "table":
        row["location"] = entry.location
    return row
