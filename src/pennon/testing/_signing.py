"""Making and removing buckets with nothing but the standard library."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
from email.utils import formatdate
from urllib.parse import urlsplit

from pennon.errors import Unavailable
from pennon.testing._processes import call

__all__ = ["change_bucket", "create_container"]


def change_bucket(
    method: str, endpoint: str, bucket: str, key: str, secret: str, region: str
) -> None:
    """Send ``PUT`` (create) or ``DELETE`` for an S3 bucket, with an AWS signature, version 4.

    Raises:
        Unavailable: The server says no.
    """
    place = f"{endpoint.rstrip('/')}/{bucket}"
    body = b""
    if method == "PUT" and region != "us-east-1":
        body = (
            "<CreateBucketConfiguration><LocationConstraint>"
            f"{region}</LocationConstraint></CreateBucketConfiguration>"
        ).encode()
    now = dt.datetime.now(dt.UTC)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    digest = hashlib.sha256(body).hexdigest()
    headers = {
        "host": urlsplit(place).netloc,
        "x-amz-content-sha256": digest,
        "x-amz-date": stamp,
    }
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{urlsplit(place).path}\n\n{lines}\n{names}\n{digest}"
    scope = f"{day}/{region}/s3/aws4_request"
    told = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{told}"
    seal = f"AWS4{secret}".encode()
    for step in (day, region, "s3", "aws4_request"):
        seal = hmac.new(seal, step.encode(), hashlib.sha256).digest()
    signature = hmac.new(seal, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    _expect(method, place, body, headers)


def create_container(endpoint: str, account: str, key: str, container: str) -> None:
    """Create an Azure container, with a shared key.

    Args:
        endpoint: With the account as its path, as emulators have it.
        account: Its name.
        key: Base64, as Azure shows it.
        container: The name of the new container.

    Raises:
        Unavailable: The server says no.
    """
    place = f"{endpoint.rstrip('/')}/{container}"
    date = formatdate(usegmt=True)
    lines = f"x-ms-date:{date}\nx-ms-version:2021-08-06\n"
    resource = f"/{account}{urlsplit(place).path}\nrestype:container"
    text = f"PUT{chr(10) * 12}{lines}{resource}"
    seal = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    headers = {
        "x-ms-date": date,
        "x-ms-version": "2021-08-06",
        "content-length": "0",
        "authorization": f"SharedKey {account}:{base64.b64encode(seal).decode()}",
    }
    _expect("PUT", f"{place}?restype=container", b"", headers)


def _expect(method: str, url: str, body: bytes, headers: dict[str, str]) -> None:
    try:
        status, answer = call(method, url, body, headers)
    except OSError as error:
        raise Unavailable(f"{method} {url}: {error}.") from None
    if status not in {200, 201, 204}:
        raise Unavailable(f"{method} {url} answered {status}: {answer[:300]!r}.")
