"""Objects in S3, Google Cloud Storage and Azure Blob Storage, over obstore.

obstore retries nothing here: one loop in this module decides what is repeated and when a response
that never came is settled. A client's time-out is fixed when it is made, so a store keeps one
client per time-out, each twice the one before, and every request takes the longest that fits into
what is left of its deadline.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from pennon.errors import (
    Corrupt,
    DeadlineExceeded,
    InvalidName,
    InvalidOption,
    ObjectAlreadyExists,
    ObjectNotFound,
    OutcomeUnknown,
    PennonError,
    PermissionDenied,
    PreconditionFailed,
    RootNotFound,
    StorageError,
    Unsupported,
    redact,
)
from pennon.objects._failures import Failure
from pennon.objects.abc import (
    Durability,
    ObjectMeta,
    ObjectStore,
    StoredObject,
    check_condition,
    check_key,
    check_range,
)
from pennon.retry import Backoff, Deadline
from pennon.uri import Uri

if TYPE_CHECKING:
    from pennon.config import StoreOptions

__all__ = ["BucketStore"]

T = TypeVar("T")

_ID = "pennonwrite"
"""User metadata that carries the write id. Azure allows only letters, proxies drop underscores."""
_ENDPOINTS = ("aws_endpoint", "azure_storage_endpoint", "google_base_url")
_CREATED = "c-"
_REPLACED = "r-"
_SHORTEST = 0.05
_CONNECT = 2.5
_FIRST_CONTACT = 2.5
_FIRST_TRIES = 3
_SMALL = 256 * 1024
_PAGE = 1000

_runtime_pid = 0


class BucketStore(ObjectStore):
    """One root in a bucket.

    Until the store has answered once, a request is given 2.5 seconds and made three times at
    most, so that a wrong endpoint shows within 10 seconds.

    The threads behind obstore do not survive a fork and would hang: a forked child of a process
    that used a bucket gets ``Unsupported``.

    Args:
        uri: The root.
        options: Credentials, endpoint and client settings.

    Raises:
        InvalidOption: The options do not make a client.
    """

    def __init__(self, uri: Uri, options: StoreOptions) -> None:
        self.uri = uri
        self._options = options
        self.principal = options.principal
        self._root = f"{uri.path}/" if uri.path else ""
        self._clients: dict[float, Any] = {}
        self._lock = threading.Lock()
        self._answered = False
        self._bucket_seen = False
        self._proven = False
        self._backoff = Backoff()
        self._longest = options.client.timeout or float("inf")
        self._client(_FIRST_CONTACT)

    def __repr__(self) -> str:
        return f"BucketStore({str(self.uri)!r})"

    def get(
        self,
        key: str,
        *,
        range: tuple[int, int] | None = None,
        deadline: float | Deadline | None = None,
    ) -> StoredObject:
        """Read one object; see :meth:`ObjectStore.get`."""
        self._check(key)
        check_range(range)
        end = Deadline.after(deadline, self.default_deadline)
        if range is not None and range[0] == range[1]:
            return self._nothing(key, end)
        return self._retry(lambda client: self._get(client, key, range, end), key, end, "reading")

    def head(self, key: str, *, deadline: float | Deadline | None = None) -> ObjectMeta | None:
        """Return what is known of an object; see :meth:`ObjectStore.head`."""
        self._check(key)
        found = self._peek(key, Deadline.after(deadline, self.default_deadline))
        return found[0] if found else None

    def list(
        self,
        prefix: str = "",
        *,
        start_after: str = "",
        deadline: float | Deadline | None = None,
    ) -> Iterator[ObjectMeta]:
        """Iterate over objects, a thousand per request; see :meth:`ObjectStore.list`."""
        self._check(prefix, allow_empty=True)
        end = Deadline.after(deadline, self.default_deadline)
        self._refuse_fork()
        return self._list(prefix, start_after, end)

    def list_directories(
        self, prefix: str = "", *, deadline: float | Deadline | None = None
    ) -> tuple[str, ...]:
        """Return the names of directories; see :meth:`ObjectStore.list_directories`."""
        import obstore

        self._check(prefix, allow_empty=True)
        end = Deadline.after(deadline, self.default_deadline)
        where = self._path(prefix)
        answer = self._retry(
            lambda client: obstore.list_with_delimiter(client, where), "", end, "listing"
        )
        found = {str(path).rsplit("/", 1)[-1] for path in answer["common_prefixes"]}
        if not found:
            self._prove_store(end)
        return tuple(sorted(found))

    def delete(self, *keys: str, deadline: float | Deadline | None = None) -> None:
        """Delete objects, a thousand per request on S3; see :meth:`ObjectStore.delete`."""
        for key in keys:
            self._check(key)
        paths = [self._root + key for key in dict.fromkeys(keys)]
        end = Deadline.after(deadline, self.default_deadline)
        for first in range(0, len(paths), _PAGE):
            self._delete(paths[first : first + _PAGE], end)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        write_id: str | None = None,
        durability: Durability = "os",  # noqa: ARG002 - a bucket's answer means durable
        deadline: float | Deadline | None = None,
    ) -> ObjectMeta:
        """Write one object whole; see :meth:`ObjectStore.put`."""
        self._check(key)
        own = check_condition(if_absent=if_absent, if_match=if_match, write_id=write_id)
        end = Deadline.after(deadline, self.default_deadline)
        if not self._answered and len(data) > _SMALL:
            self._peek(key, end)
        if if_match is not None and self.uri.scheme == "gs" and not if_match.isdigit():
            raise _changed(self, key)
        job = _Put(self, key, bytes(data), if_absent, if_match, own, end)
        job.repeats = write_id is not None
        return job.run()

    @property
    def place(self) -> str:
        """The root and the endpoint it is at."""
        config = self._options.for_obstore()[0]
        at = [str(config[key]) for key in _ENDPOINTS if config.get(key)]
        return redact(f"{self.uri} at {at[0]}") if at else str(self.uri)

    # -- clients -------------------------------------------------------------------------------

    def _refuse_fork(self) -> None:
        global _runtime_pid  # noqa: PLW0603 - the runtime of obstore is one per process
        if _runtime_pid not in {0, os.getpid()}:
            raise Unsupported(
                f"{self.uri} cannot be used in a forked child, because the client's threads stay "
                "in the parent; start processes with the 'spawn' or 'forkserver' method."
            )
        _runtime_pid = os.getpid()

    def _client(self, seconds: float) -> Any:
        """Return the client with the longest time-out within ``seconds``."""
        step = _SHORTEST
        while step * 2 <= seconds:
            step *= 2
        with self._lock:
            if step not in self._clients:
                self._clients[step] = self._make(step)
            return self._clients[step]

    def _make(self, seconds: float) -> Any:
        from obstore.store import AzureStore, GCSStore, S3Store

        kind: Any = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[self.uri.scheme]
        config, client = self._options.for_obstore()
        client = {
            "connect_timeout": timedelta(seconds=min(0.8 * seconds, _CONNECT)),
            **client,
            "timeout": timedelta(seconds=min(seconds, self._longest)),
        }
        try:
            return kind(
                self.uri.bucket,
                config=config,
                client_options=client,
                retry_config={"max_retries": 0},
            )
        except Exception as error:  # noqa: BLE001 - obstore has no common base for these
            said = redact(str(error).split("\n")[0], self._options.secrets)
            raise InvalidOption(
                f"The options for {self.uri} make no client: {said}; correct them."
            ) from None

    def _check(self, key: str, *, allow_empty: bool = False) -> None:
        check_key(key, allow_empty=allow_empty)
        if self.uri.scheme == "az" and "\\" in key:
            raise InvalidName(f"{key!r} is no name in Azure, which takes a backslash for a slash.")

    def path_of(self, key: str) -> str:
        """Return the full name of an object in the bucket."""
        return self._root + key

    def _path(self, prefix: str) -> str | None:
        return (self._root + prefix).rstrip("/") or None

    def fail(self, failure: Failure, key: str) -> PennonError:
        """Return the error that a failed request on ``key`` means."""
        return failure.translate(str(self.uri), key, self._options.secrets)

    def saw(self, failure: Failure) -> None:
        """Note what even a failure proves: that somebody answers."""
        if failure.status and not failure.no_credentials:
            self._answered = True

    def clients(self, end: Deadline) -> Iterator[Any]:
        """Yield a client per try, with pauses in between, until tries or time run out."""
        for attempt in self._backoff.tries(end):
            self._refuse_fork()
            if end.remaining < _SHORTEST or (not self._answered and attempt >= _FIRST_TRIES):
                return
            limit = end.remaining if self._answered else min(end.remaining, _FIRST_CONTACT)
            yield self._client(limit)

    def _retry(self, call: Callable[[Any], T], key: str, end: Deadline, doing: str) -> T:
        """Make a request that changes nothing until it succeeds or cannot."""
        last: PennonError | None = None
        for client in self.clients(end):
            try:
                result = call(client)
            except PennonError as error:
                if not isinstance(error, Corrupt):
                    raise
                last = error
            except Exception as error:  # noqa: BLE001 - obstore's errors share no base
                failure = Failure.of(error)
                self.saw(failure)
                last = self.fail(failure, key)
                if not failure.repeatable:
                    raise last from None
            else:
                self._answered = self._bucket_seen = True
                return result
        raise self.out_of_time(last, end, f"{doing} {key!r} in {self.uri}") from None

    def out_of_time(self, last: PennonError | None, end: Deadline, doing: str) -> PennonError:
        """Return the last error, or ``DeadlineExceeded`` if it was time that ran out."""
        if last is not None and end.remaining >= _SHORTEST:
            return last
        said = f" ({last.message})" if last else ""
        return DeadlineExceeded(f"The deadline passed while {doing}{said}; raise deadline=.")

    # -- requests ------------------------------------------------------------------------------

    def _etag(self, meta: Any) -> str:
        # GCS compares generations, not etags; Azure quotes its etags in answers but not in lists.
        if self.uri.scheme == "gs" and meta.get("version"):
            return str(meta["version"])
        if not meta["e_tag"]:
            raise StorageError(
                f"What answers for {self.uri} is no object store, since it sends no ETag; check "
                "the endpoint."
            )
        return str(meta["e_tag"]).removeprefix("W/").strip('"')

    def condition(self, if_match: str) -> dict[str, str]:
        """Return obstore's update condition for an etag of :meth:`_etag`."""
        if self.uri.scheme == "gs":
            return {"version": if_match}
        return {"e_tag": f'"{if_match}"'}

    def meta(self, key: str, meta: Any) -> ObjectMeta:
        """Make our description of an object out of obstore's."""
        return ObjectMeta(
            key, int(meta["size"]), self._etag(meta), meta["last_modified"].astimezone(UTC)
        )

    def written(self, key: str, size: int, answer: Any) -> ObjectMeta:
        """Make the description of an object just written."""
        self._answered = self._bucket_seen = self._proven = True
        return ObjectMeta(key, size, self._etag(answer), datetime.now(UTC))

    def _get(
        self, client: Any, key: str, span: tuple[int, int] | None, end: Deadline
    ) -> StoredObject:
        import obstore

        try:
            answer = obstore.get(
                client, self._root + key, options={"range": span} if span else None
            )
        except Exception as error:
            if Failure.of(error).beyond_end:
                return self._nothing(key, end)
            raise
        self._answered = True
        meta = self.meta(key, answer.meta)
        start, stop = span or (0, meta.size)
        wanted = max(0, min(stop, meta.size) - start)
        try:
            data = bytes(answer.bytes())
        except Exception as error:
            failure = Failure.of(error)
            if failure.kind == "Timeout":
                raise
            raise self._short(key, wanted, failure.kind or "the connection broke") from None
        if len(data) != wanted:
            raise self._short(key, wanted, f"{len(data)} came")
        return StoredObject(meta, data)

    def _short(self, key: str, wanted: int, what: str) -> Corrupt:
        return Corrupt(
            f"The store of {self.uri} announced {wanted} bytes for {key!r} and delivered fewer "
            f"({what}); check the network or a proxy in between.",
            key=key,
        )

    def _nothing(self, key: str, end: Deadline) -> StoredObject:
        meta = self.head(key, deadline=end)
        if meta is None:
            raise ObjectNotFound(f"{self.uri} holds no object {key!r}.", key=key)
        return StoredObject(meta, b"")

    def _peek(self, key: str, end: Deadline) -> tuple[ObjectMeta, str] | None:
        """Return the description and the write id of an object."""
        import obstore

        def ask(client: Any) -> tuple[ObjectMeta, str]:
            answer = obstore.get(client, self._root + key, options={"head": True})
            return self.meta(key, answer.meta), str(answer.attributes.get(_ID, ""))

        try:
            return self._retry(ask, key, end, "looking up")
        except (ObjectNotFound, PermissionDenied) as error:
            # The answer to a HEAD has no body: a listing says whether it was the bucket that is
            # missing, or what is wrong with the credentials.
            if not self._bucket_seen:
                next(self._list("_pennon/none", "", end), None)
            if isinstance(error, PermissionDenied):
                raise
            return None

    peek = _peek

    def _list(self, prefix: str, start_after: str, end: Deadline) -> Iterator[ObjectMeta]:
        after = start_after
        ordered = True
        empty = True
        last: PennonError | None = None
        for client in self.clients(end):
            try:
                for meta in self._pages(client, prefix, after, end):
                    ordered = ordered and meta.key.encode() > after.encode()
                    after = meta.key if ordered else after
                    empty = False
                    yield meta
            except PennonError:
                raise
            except Exception as error:  # noqa: BLE001 - obstore's errors share no base
                failure = Failure.of(error)
                self.saw(failure)
                last = self.fail(failure, "")
                if not failure.repeatable or not ordered:
                    raise last from None
            else:
                self._answered = True
                if empty:
                    self._prove_store(end)
                self._bucket_seen = True
                return
        raise self.out_of_time(last, end, f"listing {self.uri}")

    def _prove_store(self, end: Deadline) -> None:
        """Before believing a first empty listing: any website's answer reads like one."""
        if not self._proven:
            self._proven = self._bucket_seen = True
            try:
                self._peek("_pennon/none", end)
            except PennonError:
                self._proven = self._bucket_seen = False
                raise

    def _pages(self, client: Any, prefix: str, after: str, end: Deadline) -> Iterator[ObjectMeta]:
        import obstore

        where = self._path(prefix)
        offset = self._root + after if after else None
        mark = after.encode()
        inside = f"{where}/" if where else ""
        for page in obstore.list(client, where, offset=offset, chunk_size=_PAGE):
            end.check(f"listing {self.uri}")
            for found in page:
                path = str(found["path"])
                key = path[len(self._root) :]
                if path.startswith(inside) and key.encode() > mark:
                    yield self.meta(key, found)

    def _delete(self, paths: list[str], end: Deadline) -> None:
        import obstore

        try:
            self._retry(lambda client: obstore.delete(client, paths), "", end, "deleting from")
        except ObjectNotFound:
            if len(paths) > 1:
                for path in paths:
                    self._delete([path], end)
            elif not self._bucket_seen:
                next(self._list("_pennon/none", "", end), None)


def _changed(store: BucketStore, key: str) -> PreconditionFailed:
    return PreconditionFailed(
        f"{key!r} in {store.uri} was changed or deleted meanwhile; read it again.", key=key
    )


class _Put:
    """One put with its retries."""

    def __init__(
        self,
        store: BucketStore,
        key: str,
        data: bytes,
        if_absent: bool,  # noqa: FBT001
        if_match: str | None,
        own: str,
        end: Deadline,
    ) -> None:
        self.store = store
        self.key = key
        self.data = data
        self.if_absent = if_absent
        self.if_match = if_match
        self.own = own
        self.end = end
        self.tag = (_CREATED if if_absent else _REPLACED) + quote(own, safe="")
        self.repeats = False
        self.uncertain = False
        self.last: PennonError | None = None

    def run(self) -> ObjectMeta:
        for client in self.store.clients(self.end):
            try:
                return self.send(client)
            except PennonError:
                raise
            except Exception as error:  # noqa: BLE001 - obstore's errors share no base
                done = self.learn(Failure.of(error))
                if done is not None:
                    return done
        if self.uncertain:
            raise self.unknown()
        doing = f"writing {self.key!r} in {self.store.uri}"
        raise self.store.out_of_time(self.last, self.end, doing)

    def send(self, client: Any) -> ObjectMeta:
        import obstore

        mode: Any = "overwrite"
        if self.if_absent:
            mode = "create"
        elif self.if_match is not None:
            mode = self.store.condition(self.if_match)
        answer = obstore.put(
            client,
            self.store.path_of(self.key),
            self.data,
            attributes={_ID: self.tag},
            mode=mode,
            use_multipart=False,
        )
        return self.store.written(self.key, len(self.data), answer)

    def learn(self, failure: Failure) -> ObjectMeta | None:
        """Return what was written, None to try again, or raise."""
        self.store.saw(failure)
        conditional = self.if_absent or self.if_match is not None
        if conditional and failure.lost_race and not failure.no_bucket:
            if failure.surely_lost and not self.uncertain and not self.repeats:
                raise self.lost() from None
            return self.settle()
        self.last = self.store.fail(failure, self.key)
        if not failure.repeatable:
            raise self.last from None
        self.uncertain = self.uncertain or failure.maybe_applied
        return None

    def settle(self) -> ObjectMeta | None:
        """Tell a lost race from a response that was lost before, and from a rival under way."""
        try:
            found = self.store.peek(self.key, self.end)
        except RootNotFound:
            raise
        except PennonError as error:
            if self.uncertain or self.repeats:
                raise self.unknown() from error
            raise
        self.last = self.lost()
        if found is None:
            # A rival's put is under way (409), or it was deleted since.
            if self.if_absent:
                return None
            raise self.unknown() if self.uncertain else self.last
        meta, tag = found
        if tag == self.tag:
            return meta
        if self.if_match is not None and meta.etag == self.if_match:
            return None
        first = self.if_absent and tag.startswith(_CREATED)
        raise self.last if first or not self.uncertain else self.unknown()

    def lost(self) -> PennonError:
        if self.if_absent:
            return ObjectAlreadyExists(
                f"{self.key!r} exists in {self.store.uri} already.", key=self.key
            )
        return _changed(self.store, self.key)

    def unknown(self) -> OutcomeUnknown:
        said = f" ({self.last.message})" if self.last else ""
        return OutcomeUnknown(
            f"Whether {self.key!r} was written in {self.store.uri} could not be settled{said}; "
            "read it, or repeat the call with the same write id.",
            key=self.key,
            write_id=self.own,
        )
