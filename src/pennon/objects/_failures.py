"""What obstore's errors mean, in one place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pennon.errors import (
    InvalidOption,
    ObjectNotFound,
    PennonError,
    PermissionDenied,
    RootNotFound,
    StorageError,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unsupported,
    redact,
)

__all__ = ["Failure"]

_STATUS = re.compile(r"non-2xx status code: (\d{3})|status: (\d{3})|code: (\d{3})\)")
_CODE = re.compile(r"<Code>([^<]{1,80})</Code>")
_DETAIL = re.compile(r"<Message>([^<]{1,300})")
_KIND = re.compile(r"kind: (Connect|Timeout|Interrupted|Decode|Request)\b")
# A time-out while connecting is of the kind Timeout too, but then nothing was sent.
_CONNECTING = re.compile(r"client::legacy::Error\(\s*Connect\b")
_HOST = re.compile(r"Error performing \w+ https?://([^/\s?@]+)[/\s?]")
_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "bucket does not exist")
_WHO_ARE_YOU = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationFailure",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidToken",
        "NoAuthenticationInformation",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_WRONG_REGION = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect"})
_INSTANCE_ROLE = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")
_THROTTLED = frozenset({"SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded"})

_AGAIN = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout"})


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed request, read from the text of an obstore error."""

    status: int
    """HTTP status; 0 when there was no answer."""
    code: str
    """The store's own error code; empty if it gave none."""
    kind: str
    """What broke below HTTP: ``Connect``, ``Timeout``, ``Interrupted``, ... or empty."""
    text: str
    name: str
    """Class name of the obstore error."""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Read an error of obstore."""
        text = str(error)
        status = _STATUS.search(text)
        code = _CODE.search(text)
        kind = _KIND.search(text)
        connecting = _CONNECTING.search(text) is not None
        return cls(
            status=int(next(g for g in status.groups() if g)) if status else 0,
            code=code[1] if code else "",
            kind="Connect" if connecting else kind[1] if kind else "",
            text=text,
            name=type(error).__name__,
        )

    @property
    def no_bucket(self) -> bool:
        """Whether the bucket itself is missing."""
        return any(word in self.text for word in _NO_BUCKET)

    @property
    def not_found(self) -> bool:
        """Whether the answer was 404."""
        return self.status == 404 or self.name == "FileNotFoundError"  # noqa: PLR2004

    @property
    def beyond_end(self) -> bool:
        """Whether a range begins at or after the end of the object."""
        return self.status == 416 or "Wanted range starting at" in self.text  # noqa: PLR2004

    @property
    def lost_race(self) -> bool:
        """Whether a condition of a put did not hold, or a rival's put was under way."""
        return self.name in {"AlreadyExistsError", "PreconditionError"} or (
            self.status in {409, 412} and not self.no_bucket
        )

    @property
    def surely_lost(self) -> bool:
        """Whether a condition of a put surely did not hold when the store looked."""
        return self.status in {404, 412} or self.code == "BlobAlreadyExists"

    @property
    def unimplemented(self) -> bool:
        """Whether the store does not know this kind of request."""
        return self.status in {405, 501} or self.name == "NotSupportedError"

    @property
    def repeatable(self) -> bool:
        """Whether the same request may succeed a moment later."""
        if self.no_credentials:
            return True
        if self.unimplemented or self.wrong_region:
            return False
        if self.code in _AGAIN:
            return True
        if self.status:
            return self.status in {408, 429} or self.status >= 500  # noqa: PLR2004
        return bool(self.kind) or self.name in {"GenericError", "JoinError"}

    @property
    def no_credentials(self) -> bool:
        """Whether the client looked for the role of a cloud machine and found none."""
        return any(host in self.text for host in _INSTANCE_ROLE)

    @property
    def wrong_region(self) -> bool:
        """Whether the bucket is in another region than the client was told."""
        return self.code in _WRONG_REGION or "incorrectly configured region" in self.text

    @property
    def maybe_applied(self) -> bool:
        """Whether a write that ended so may have been applied all the same."""
        if self.no_credentials or self.kind == "Connect" or self.code in _THROTTLED:
            return False
        return self.status in {0, 408} or self.status >= 500  # noqa: PLR2004

    def translate(self, place: str, key: str, secrets: Iterable[str] = ()) -> PennonError:
        """Return the error to raise.

        Args:
            place: The root, as shown to the user.
            key: The object; empty for the bucket as a whole.
            secrets: Values to mask.
        """
        what = f"{key!r} in {place}" if key else place
        said = self._said(secrets)
        if self.no_credentials:
            return Unauthenticated(
                f"No credentials for {place}: none are in the options or the environment, and this "
                "machine has no instance role; pass credentials in the storage options."
            )
        if self.no_bucket:
            return RootNotFound(
                f"The bucket of {place} does not exist; create it or correct its name."
            )
        if self.not_found:
            return ObjectNotFound(f"{place} holds no object {key!r}.", key=key)
        if self.wrong_region:
            return InvalidOption(f"{place} is in another region ({said}); set the option 'region'.")
        if self.status == 401 or self.code in _WHO_ARE_YOU:  # noqa: PLR2004
            return Unauthenticated(
                f"The store refused the credentials for {place} ({said}); correct or renew them."
            )
        if self.status == 403 or self.name in {  # noqa: PLR2004
            "PermissionDeniedError",
            "UnauthenticatedError",
        }:
            return PermissionDenied(
                f"The store denies access to {what} ({said}); check the credentials and what "
                "they are allowed to do."
            )
        return self._unserved(place, what, said)

    def _unserved(self, place: str, what: str, said: str) -> PennonError:
        if self.status == 429 or self.code in _THROTTLED:  # noqa: PLR2004
            return Throttled(f"The store asks for fewer requests to {place} ({said}); slow down.")
        if self.kind == "Connect":
            host = _HOST.search(self.text)
            where = f" at {host[1]}" if host else ""
            return Unavailable(
                f"The store of {place} cannot be reached{where}; check the endpoint and the "
                "network."
            )
        if self.unimplemented:
            return Unsupported(
                f"The store does not implement the request for {what} ({said}); use another store."
            )
        if self.repeatable:
            return Unavailable(
                f"The store of {place} gives no usable answer for {what} ({said}); "
                "check the endpoint or try later."
            )
        return StorageError(f"The store refused the request for {what}: {said}.")

    def _said(self, secrets: Iterable[str]) -> str:
        text = redact(self.text, secrets)  # before anything is cut, or a part of a secret stays
        detail = _DETAIL.search(text)
        parts = [str(self.status) if self.status else "", self.code]
        parts.append(detail[1].split("\n")[0].rstrip(".") if detail else "")
        if not any(parts):
            parts = [self.kind or text.split("\n")[0][:300]]
        return " ".join(p for p in parts if p)
