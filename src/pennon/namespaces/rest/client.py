"""A client for every operation of the Lance Namespace REST specification."""

from __future__ import annotations

import email.utils
import json
import random
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from pennon.errors import (
    DeadlineExceeded,
    InvalidInput,
    InvalidName,
    InvalidOption,
    InvalidURI,
    MissingExtra,
    OutcomeUnknown,
    PennonError,
    StorageError,
    Unauthenticated,
    Unavailable,
    did_you_mean,
    redact,
)
from pennon.namespaces.abc import ContextProvider, Id, IdLike
from pennon.namespaces.names import parse_id, show_id
from pennon.namespaces.rest._failures import Failure, to_error
from pennon.namespaces.rest._routes import ROUTES, Route
from pennon.namespaces.rest._settings import Settings, check_headers
from pennon.namespaces.session import Session
from pennon.retry import Backoff, Deadline

__all__ = ["RestClient", "encode_id"]

_CONNECT_SECONDS = 4.0
_REFUSED_SECONDS = 5.0
_BACKOFF = Backoff(base=0.1, cap=5.0, attempts=6)
_BUSY = frozenset({429, 502, 503, 504})
_NOT_PROCESSED = 429
_OK = range(200, 300)
_PLAIN_HEADERS = frozenset({"Accept", "Connection", "Content-Type"})
_SHORTEST_SECRET = 6


def encode_id(id: Id, delimiter: str) -> str:
    """Return an id as one step of a URL path; the root is the delimiter alone.

    Raises:
        InvalidName: A part holds the delimiter, so that the id could be read as another one.
    """
    for part in id:
        if delimiter in part:
            raise InvalidName(
                f"{part!r} holds {delimiter!r}, which joins the parts of an id on this server; "
                "connect with another delimiter."
            )
    return quote(delimiter.join(id) or delimiter, safe="")


class RestClient:
    """Calls a Lance namespace server.

    A call is tried again, with full-jitter back-off, when the server says 429, 502, 503 or 504 or
    the connection fails, but only if that cannot do a thing twice: the operation only reads, or
    the request was certainly not processed (429, no connection). Before each try the context
    provider is asked for headers; if it fails, nothing is sent.

    Safe to use from many threads, and after a fork. Clients of one session, server and principal
    share their connections.

    Args:
        settings: The checked properties of the server.
        session: Whose connections to share; None for own ones.
        context: Extra headers for every request, or None.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        session: Session | None = None,
        context: ContextProvider | None = None,
    ) -> None:
        httpx = _httpx()
        try:
            httpx.URL(settings.uri)
        except httpx.InvalidURL as error:
            raise InvalidURI(f"{settings.uri} is no address of a server: {error}.") from None
        self.settings = settings
        self.context = context
        self._own = Session() if session is None else None
        self._session: Session = session or self._own or Session()
        # Reads every file of tls.*, so that a bad one is reported by connect().
        settings.ssl_context()

    def __repr__(self) -> str:
        return f"<pennon REST client of {self.settings.uri}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, unless a session shares them."""
        if self._own is not None:
            self._own.close()

    def call(
        self,
        operation: str,
        *,
        id: IdLike = (),
        data: bytes | None = None,
        deadline: float | Deadline | None = None,
        **fields: Any,
    ) -> dict[str, Any]:
        """Call one of the 54 operations.

        Args:
            operation: Its name in the specification, such as ``"describe_table"``.
            id: The object it is about; the root by default.
            data: An Arrow IPC stream, for the operations that carry rows.
            deadline: Seconds for the call with all its tries; the property ``timeout`` by default.
            fields: The fields of the request. None means not given. ``identity`` (``api_key``,
                ``auth_token``) and the entries ``header.*`` of ``context`` become headers.

        Returns:
            The fields of the answer. ``query_table`` answers ``data``, an Arrow IPC file as bytes;
            ``count_table_rows`` ``count``; the query plans ``plan`` and ``analysis``;
            ``update_table_schema_metadata`` ``metadata``.

        Raises:
            InvalidOption: No such operation or field.
            InvalidInput: A required field is missing, or ``data`` is where it does not belong.
            Unauthenticated: The context provider failed; nothing was sent.
            DeadlineExceeded: There was no answer in time; the call only reads.
            OutcomeUnknown: There was no answer to a change; it may or may not have been made.
            PennonError: What the server answered, by its code.
        """
        route = ROUTES.get(operation)
        if route is None:
            raise InvalidOption(f"No operation {operation!r}; {did_you_mean(operation, ROUTES)}")
        parsed = parse_id(id, what="id", allow_root=True)
        until = Deadline.after(deadline, self.settings.timeout)
        request = self._prepare(route, parsed, data, fields)
        return self._settle(request, until)

    # -- the request -----------------------------------------------------------------------------

    def _prepare(
        self, route: Route, id: Id, data: bytes | None, fields: dict[str, Any]
    ) -> _Request:
        given = {k: v for k, v in fields.items() if v is not None}
        headers = _identity(given.pop("identity", None))
        context, more = _split_context(given.pop("context", None))
        headers |= more
        _check_fields(route, id, data, given)
        if context and route.body is None:
            raise InvalidInput(
                f"{route.name} has no JSON body for the context entries "
                f"{', '.join(map(repr, context))}; only 'header.*' entries can go with it."
            )
        step = encode_id(id, self.settings.delimiter)
        path = route.path.replace("{id}", step)
        for name in route.in_path:
            path = path.replace(f"{{{name}}}", quote(given[name], safe=""))
        params = [("delimiter", self.settings.delimiter)]
        for name in route.query:
            params += _params(name, given.get(name))
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in params)
        content, kind = data, "application/vnd.apache.arrow.stream"
        if not route.arrow and route.method == "POST":
            body = {k: given[k] for k in route.body or () if k in given}
            if context:
                body["context"] = context
            content = _json(route, given[route.whole] if route.whole else body)
            kind = "application/json"
        if content is not None:
            headers["Content-Type"] = kind
        if route.arrow:
            # A server that refuses rows unread (413) also drops the connection: not one that the
            # next request would be sent on.
            headers["Connection"] = "close"
        headers["Accept"] = (
            "application/vnd.apache.arrow.file, application/json"
            if route.result == "data"
            else "application/json"
        )
        return _Request(route, id, f"{self.settings.uri}{path}?{query}", headers, content)

    def _headers(self, request: _Request) -> dict[str, str]:
        """Return all headers of one try; fails closed."""
        headers = {**self.settings.headers, **request.headers}
        if self.context is None:
            return headers
        name = request.route.name
        object_id = self.settings.delimiter.join(request.id)
        try:
            given: Any = self.context(name, object_id)
            if not isinstance(given, Mapping):
                raise InvalidOption(  # noqa: TRY301 - one way out for all that goes wrong here
                    f"it returned a {type(given).__name__}, not a mapping of strings"
                )
            extra = check_headers(given)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing is sent
            # What a provider says may hold the credential it works with.
            why = str(error) if isinstance(error, InvalidOption) else type(error).__name__
            raise Unauthenticated(
                f"The context provider failed for {name} of {show_id(request.id)} "
                f"({why.rstrip('.')}), so nothing was sent to {self.settings.uri}.",
                operation=name,
                id=request.id,
            ) from None
        lowered = {k.lower() for k in extra}
        return {k: v for k, v in headers.items() if k.lower() not in lowered} | dict(extra)

    # -- the tries -------------------------------------------------------------------------------

    def _settle(self, request: _Request, deadline: Deadline) -> dict[str, Any]:
        started, attempt = time.monotonic(), 0
        while True:
            outcome = self._try(request, deadline)
            if not isinstance(outcome, _Failed):
                return outcome
            attempt += 1
            again = outcome.harmless or (outcome.temporary and request.route.repeatable)
            if outcome.unreachable and time.monotonic() - started > _REFUSED_SECONDS:
                again = False
            limit = min(_BACKOFF.cap, _BACKOFF.base * 2**attempt)
            pause = max(outcome.retry_after, random.uniform(0, limit))  # noqa: S311
            if not again or attempt >= _BACKOFF.attempts or pause >= deadline.remaining:
                raise outcome.error
            time.sleep(pause)

    def _try(self, request: _Request, deadline: Deadline) -> dict[str, Any] | _Failed:
        httpx = _httpx()
        headers = self._headers(request)
        secrets = _secrets(headers)
        if deadline.remaining <= 0:
            raise self._late(request, sent=False)
        try:
            status, reply, body = self._exchange(request, headers, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            unreachable = self._unreachable(request, error, secrets)
            return _Failed(unreachable, temporary=True, harmless=True, unreachable=True)
        except (httpx.TimeoutException, TimeoutError):
            return _Failed(self._late(request, sent=True))
        except httpx.RequestError as error:
            return _Failed(self._broken(request, error, secrets), temporary=True)
        if status in _OK:
            return self._decode(request, reply, body)
        failure = Failure(
            request.route.name,
            request.id,
            self.settings.uri,
            status,
            _loads(body),
            secrets,
            reads=request.route.repeatable,
        )
        return _Failed(
            to_error(failure),
            temporary=status in _BUSY,
            harmless=status == _NOT_PROCESSED,
            retry_after=_retry_after(reply.get("retry-after")),
        )

    def _exchange(
        self, request: _Request, headers: dict[str, str], deadline: Deadline
    ) -> tuple[int, Mapping[str, str], bytes]:
        httpx = _httpx()
        left = max(0.001, deadline.remaining)
        timeout = httpx.Timeout(left, connect=min(left, _CONNECT_SECONDS))
        pieces: list[bytes] = []
        # Held until the end: a session closed meanwhile must not close it under the request.
        pool = self._pool()
        with pool.client.stream(
            request.route.method,
            request.url,
            headers=headers,
            content=request.content,
            timeout=timeout,
        ) as reply:
            for piece in reply.iter_bytes():
                pieces.append(piece)
                if deadline.remaining <= 0:
                    raise TimeoutError
            return reply.status_code, reply.headers, b"".join(pieces)

    def _pool(self) -> _Pool:
        settings = self.settings
        key = ("rest", settings.uri, settings.principal)
        return self._session.shared(key, lambda: _Pool(settings))

    def _decode(self, request: _Request, reply: Mapping[str, str], body: bytes) -> dict[str, Any]:
        result = request.route.result
        kind = reply.get("content-type", "").split(";")[0].strip()
        if result == "data":
            if kind.startswith(("text/", "application/json")):
                raise self._no_answer(request, kind)
            return {"data": body}
        if not body.strip():
            return {}
        value = _loads(body)
        if isinstance(value, str) and result in {"plan", "analysis"}:
            return {result: value}
        if result and not isinstance(value, str):
            return {result: value}
        if not isinstance(value, dict):
            raise self._no_answer(request, kind)
        return value

    # -- errors ----------------------------------------------------------------------------------

    def _about(self, request: _Request) -> dict[str, object]:
        return {"operation": request.route.name, "id": request.id}

    def _no_answer(self, request: _Request, kind: str) -> StorageError:
        return StorageError(
            f"{self.settings.uri} answered {request.route.name} with {kind or 'something'} that "
            "is no answer of a Lance namespace server; check the uri.",
            **self._about(request),
        )

    def _unreachable(
        self, request: _Request, error: Exception, secrets: tuple[str, ...]
    ) -> Unavailable:
        why = redact(str(error), secrets) or "no answer"
        return Unavailable(
            f"The server {self.settings.uri} cannot be reached ({why}); check the uri and that "
            "the server runs.",
            **self._about(request),
        )

    def _late(self, request: _Request, *, sent: bool) -> PennonError:
        name = request.route.name
        if sent and not request.route.repeatable:
            return OutcomeUnknown(
                f"{self.settings.uri} did not answer {name} of {show_id(request.id)} in time; "
                "look whether the change was made before you repeat it.",
                **self._about(request),
            )
        return DeadlineExceeded(
            f"{self.settings.uri} did not answer {name} of {show_id(request.id)} in time; raise "
            "deadline= or the property 'timeout'.",
            **self._about(request),
        )

    def _broken(self, request: _Request, error: Exception, secrets: tuple[str, ...]) -> PennonError:
        why = redact(str(error), secrets) or type(error).__name__
        kind, then = (
            (Unavailable, "try again")
            if request.route.repeatable
            else (OutcomeUnknown, "look whether the change was made before you repeat it")
        )
        return kind(
            f"The connection to {self.settings.uri} broke during {request.route.name} of "
            f"{show_id(request.id)} ({why}); {then}.",
            **self._about(request),
        )


@dataclass(frozen=True, slots=True)
class _Request:
    route: Route
    id: Id
    url: str
    headers: dict[str, str]
    content: bytes | None


@dataclass(frozen=True, slots=True)
class _Failed:
    error: PennonError
    temporary: bool = False
    """Whether a second try may succeed."""
    harmless: bool = False
    """Whether the request was certainly not processed."""
    unreachable: bool = False
    retry_after: float = 0.0
    """Seconds the server wants to be left alone for."""


class _Pool:
    """The connections to one server as one principal; closed when nobody holds it any more."""

    def __init__(self, settings: Settings) -> None:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        # No jar: a cookie set for one caller must not go with the requests of another one.
        jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self.client = _httpx().Client(
            verify=settings.ssl_context(), cookies=jar, follow_redirects=False
        )
        weakref.finalize(self, self.client.close)


def _httpx() -> Any:
    try:
        import httpx
    except ImportError:
        raise MissingExtra(
            "A connection to a REST server needs httpx; run: pip install 'pennon[rest]'"
        ) from None
    return httpx


def _secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what no message may show: header values, whole and in words such as a bearer token.

    Very short ones are left: masking every "1" would make messages unreadable and hide nothing.
    """
    values = (v for k, v in headers.items() if k not in _PLAIN_HEADERS)
    words = {w for v in values for w in (v, *v.split())}
    return tuple(w for w in words if len(w) >= _SHORTEST_SECRET)


def _identity(identity: Any) -> dict[str, str]:
    known = {"api_key": "x-api-key", "auth_token": "Authorization"}
    if identity is None:
        return {}
    if not isinstance(identity, Mapping) or not set(identity) <= set(known):
        raise InvalidOption("identity must be a mapping of 'api_key' and 'auth_token'.")
    given = {known[k]: v for k, v in identity.items() if v is not None}
    checked = dict(check_headers(given))
    if "Authorization" in checked:
        checked["Authorization"] = f"Bearer {checked['Authorization']}"
    return checked


def _split_context(context: Any) -> tuple[dict[str, str], dict[str, str]]:
    if context is None:
        return {}, {}
    if not isinstance(context, Mapping) or not all(
        isinstance(k, str) and isinstance(v, str) for k, v in context.items()
    ):
        raise InvalidOption("context must be a mapping of strings to strings.")
    headers = {k: v for k, v in context.items() if k.startswith("header.")}
    return {k: v for k, v in context.items() if k not in headers}, dict(check_headers(headers))


def _check_fields(route: Route, id: Id, data: bytes | None, given: dict[str, Any]) -> None:
    for name in given:
        if name not in route.fields:
            raise InvalidOption(
                f"{route.name} has no field {name!r}; {did_you_mean(name, route.fields)}",
                option=name,
            )
    missing = [n for n in route.required if n not in given]
    if missing:
        raise InvalidInput(f"{route.name} needs {', '.join(missing)}.")
    if id and not route.has_id:
        raise InvalidInput(f"{route.name} is about the whole catalog; leave out the id.")
    if route.arrow and not isinstance(data, bytes | bytearray | memoryview):
        raise InvalidInput(f"{route.name} needs data: an Arrow IPC stream as bytes.")
    if data is not None and not route.arrow:
        raise InvalidInput(f"{route.name} carries no rows; leave out data.")
    for name in route.in_path:
        value = given[name]
        if not isinstance(value, str) or value in {"", ".", ".."}:
            raise InvalidName(f"{value!r} is no {name}.")


def _params(name: str, value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [(name, "true" if value else "false")]
    if isinstance(value, Mapping):
        return [(name, json.dumps(value, ensure_ascii=False))]
    if isinstance(value, list | tuple):
        return [(name, str(item)) for item in value]
    return [(name, str(value))]


def _json(route: Route, body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"A field of {route.name} is no JSON value: {error}.") from error


def _loads(body: bytes) -> Any:
    """Return the JSON value, or the text if it is none."""
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")


def _retry_after(value: str | None) -> float:
    if not value:
        return 0.0
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
