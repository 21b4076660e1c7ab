"""Proof that a store's conditional puts hold, before the first write to a root."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec

from pennon.errors import (
    ObjectAlreadyExists,
    ObjectNotFound,
    OutcomeUnknown,
    PennonError,
    PreconditionFailed,
    Unavailable,
    UnsafeStore,
    Unsupported,
)
from pennon.objects.abc import ObjectStore
from pennon.retry import Deadline

__all__ = ["CERTIFICATE_KEY", "Certificate", "certify"]

CERTIFICATE_KEY = "_pennon/certification.json"
_PROBES = "_pennon/probes"
_ROUNDS = 3
_RIVALS = 3

_known: dict[tuple[str, str], Certificate] = {}


class Certificate(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """What was found out about a store, as kept in the root."""

    place: str
    """The root and endpoint that were tested; a copy of the root elsewhere is tested again."""
    safe: bool
    """Whether every check passed."""
    checks: tuple[str, ...]
    """What was tested."""
    failures: tuple[str, ...]
    """What did not hold; empty if safe."""
    tested_at: datetime
    """UTC, by the clock of the tester."""
    pennon: str
    """Version of pennon that tested."""
    store: str
    """Scheme of the root: ``file``, ``memory``, ``s3``, ``gs`` or ``az``."""
    allowed_unsafe: bool = False
    """Whether a caller insisted on using the store although it is not safe."""


def certify(
    store: ObjectStore,
    *,
    allow_unsafe: bool = False,
    deadline: float | Deadline | None = None,
) -> Certificate:
    """Prove that of all racing writers of a root exactly one succeeds, or refuse the store.

    Three threads put one probe name if absent, three times over; then a put-if-absent on a taken
    name, a put-if-match with a stale etag, a repeated write id, and reading and listing what was
    written are tried. The probes are deleted and the verdict is kept in the root under
    ``_pennon/certification.json``, so that the next process needs one request and this one none.
    About 25 requests the first time. A verdict against a store is never kept as one for it.

    Args:
        store: The root.
        allow_unsafe: Return the certificate of a store that failed instead of refusing it. Right
            only if one process at a time ever writes.
        deadline: Seconds for the whole proof.

    Raises:
        UnsafeStore: A check failed; the message names it and what to do.
        Unavailable: The store answered too unreliably for a verdict.
    """
    known = _known.get((store.place, store.principal))
    if known is not None and (known.safe or allow_unsafe):
        return known
    end = Deadline.after(deadline, store.default_deadline)
    kept = _read(store, end)
    if kept is None or not (kept.safe or (allow_unsafe and kept.allowed_unsafe)):
        kept = _examine(store, end, allow_unsafe=allow_unsafe)
    _known[store.place, store.principal] = kept
    return kept


def _read(store: ObjectStore, end: Deadline) -> Certificate | None:
    try:
        text = store.get(CERTIFICATE_KEY, deadline=end).data
        kept = msgspec.json.decode(text, type=Certificate)
    except (ObjectNotFound, msgspec.MsgspecError):
        return None
    return kept if kept.place == store.place else None


def _examine(store: ObjectStore, end: Deadline, *, allow_unsafe: bool) -> Certificate:
    probe = _Probe(store, f"{_PROBES}/{uuid.uuid4().hex}", end)
    try:
        failures = tuple(probe.failures())
    except OutcomeUnknown as error:
        raise Unavailable(
            f"{store.uri} answers too unreliably to prove it safe; try again later."
        ) from error
    finally:
        probe.clean_up()
    if failures and not allow_unsafe:
        raise UnsafeStore(
            f"{store.uri} failed the proof that concurrent writers cannot overwrite each other "
            f"({'; '.join(failures)}); use a store with atomic conditional puts, such as AWS S3, "
            "MinIO, Google Cloud Storage, Azure or a local disk, or pass allow_unsafe=True if only "
            "one process at a time ever writes.",
            failures=failures,
        )
    verdict = Certificate(
        place=store.place,
        safe=not failures,
        checks=tuple(probe.checks),
        failures=failures,
        tested_at=datetime.now(UTC),
        pennon=version("pennon"),
        store=store.uri.scheme,
        allowed_unsafe=bool(failures),
    )
    _keep(store, verdict, end)
    return verdict


def _keep(store: ObjectStore, verdict: Certificate, end: Deadline) -> None:
    text = msgspec.json.format(msgspec.json.encode(verdict), indent=2)
    try:
        store.put(CERTIFICATE_KEY, text, if_absent=True, deadline=end)
    except ObjectAlreadyExists:
        kept = _read(store, end)
        if kept is None or (verdict.safe and not kept.safe):
            store.put(CERTIFICATE_KEY, text, deadline=end)


class _Probe:
    """The checks, each a generator of what did not hold."""

    def __init__(self, store: ObjectStore, base: str, end: Deadline) -> None:
        self.store = store
        self.base = base
        self.end = end
        self.checks: list[str] = []
        self.written: list[str] = []

    def failures(self) -> Iterator[str]:
        """Run every check; one failed race ends the proof, since the rest builds on it."""
        try:
            for check in (self.race, self.repeat, self.swap, self.listing):
                yield from check()
        except Unsupported as error:
            yield f"a conditional put is not supported: {error.message}"

    def put(
        self,
        name: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        write_id: str | None = None,
    ) -> str | None:
        """Put a probe and return its etag, or None if the condition did not hold."""
        key = f"{self.base}/{name}"
        if key not in self.written:
            self.written.append(key)
        try:
            return self.store.put(
                key,
                data,
                if_absent=if_absent,
                if_match=if_match,
                write_id=write_id,
                deadline=self.end,
            ).etag
        except (ObjectAlreadyExists, PreconditionFailed):
            return None
        except OutcomeUnknown:
            # A refusal whose answer was lost; nobody else swaps this probe, so reading settles it.
            if if_match is None or self.holds(name, data):
                raise
            return None

    def holds(self, name: str, data: bytes) -> bool:
        try:
            return self.store.get(f"{self.base}/{name}", deadline=self.end).data == data
        except ObjectNotFound:
            return False

    def race(self) -> Iterator[str]:
        self.checks.append(f"{_ROUNDS} races of {_RIVALS} puts-if-absent have one winner each")
        self.checks.append("the winner's bytes are read back")
        with ThreadPoolExecutor(_RIVALS) as pool:
            for round_ in range(_ROUNDS):
                barrier = threading.Barrier(_RIVALS)
                name = f"race-{round_}"
                self.written.append(f"{self.base}/{name}")

                def run(rival: int, name: str = name, barrier: threading.Barrier = barrier) -> bool:
                    barrier.wait(self.end.remaining)
                    return self.put(name, b"rival %d" % rival, if_absent=True) is not None

                won = [rival for rival, win in enumerate(pool.map(run, range(_RIVALS))) if win]
                if len(won) != 1:
                    yield f"{len(won)} of {_RIVALS} racing puts-if-absent of one name succeeded"
                    return
                if not self.holds(name, b"rival %d" % won[0]):
                    yield "after a race of puts-if-absent the winner's bytes were not there"
                    return

    def repeat(self) -> Iterator[str]:
        self.checks.append("a repeated put with the same write id succeeds, with another it fails")
        own = uuid.uuid4().hex
        self.put("repeat", b"first", if_absent=True, write_id=own)
        if self.put("repeat", b"first", if_absent=True, write_id=own) is None:
            yield "a put repeated with its write id was not recognised"
        if self.put("repeat", b"second", if_absent=True) is not None:
            yield "a put-if-absent on an existing name succeeded"

    def swap(self) -> Iterator[str]:
        self.checks.append("a put-if-match succeeds with the current etag, with a stale one fails")
        self.checks.append("a put is read back at once")
        stale = self.put("swap", b"first")
        if stale is None or self.put("swap", b"second", if_match=stale) is None:
            yield "a put-if-match with the current etag failed"
        elif self.put("swap", b"third", if_match=stale) is not None:
            yield "a put-if-match with a stale etag succeeded"
        elif not self.holds("swap", b"second"):
            yield "a put was not read back at once"

    def listing(self) -> Iterator[str]:
        self.checks.append("what was written is listed at once")
        listed = {meta.key for meta in self.store.list(self.base, deadline=self.end)}
        missing = set(self.written) - listed
        if missing:
            yield f"{len(missing)} of {len(self.written)} objects were missing in a listing"

    def clean_up(self) -> None:
        """Delete the probes; what cannot be deleted now is garbage nobody reads."""
        with contextlib.suppress(PennonError):
            self.store.delete(*self.written, deadline=self.end)
