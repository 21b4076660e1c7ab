"""A small Google Cloud Storage on the loopback interface, for tests.

It answers the requests of the XML API that object_store makes, for pennon and for Lance, and keeps
generations: puts under ``x-goog-if-generation-match`` are atomic, so races are decided as they
should be. It was written from the public description of the API, and nothing here was ever
compared with the real service: what passes against it is not proven for real GCS.

>>> with GcsServer() as server:
...     options = server.options("lake")     # also creates the bucket
...     store = pennon.open("gs://lake/root", storage_options=options)
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NoReturn, cast
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

__all__ = ["GcsServer"]

_PAGE = 1000
_NO_CONTENT = 204


class _Refused(Exception):
    """An answer other than success."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class _Object:
    data: bytes
    etag: str
    generation: int
    modified: float
    headers: Mapping[str, str]


@dataclass(slots=True)
class _Upload:
    bucket: str
    key: str
    headers: Mapping[str, str]
    parts: dict[int, bytes] = field(default_factory=dict[int, bytes])


@dataclass(frozen=True, slots=True)
class _Page:
    objects: list[tuple[str, _Object]]
    prefixes: list[str]
    more_after: str | None


class _Buckets:
    """All objects, behind one lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[str, dict[str, _Object]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._generation = time.time_ns() // 1000

    def create(self, bucket: str) -> None:
        with self._lock:
            self._buckets.setdefault(bucket, {})

    def _of(self, bucket: str) -> dict[str, _Object]:
        if bucket not in self._buckets:
            raise _Refused(404, "NoSuchBucket")
        return self._buckets[bucket]

    def get(self, bucket: str, key: str) -> _Object:
        with self._lock:
            found = self._of(bucket).get(key)
        if found is None:
            raise _Refused(404, "NoSuchKey")
        return found

    def put(
        self,
        bucket: str,
        key: str,
        data: bytes,
        headers: Mapping[str, str],
        *,
        expected: int | None,
        etag: str | None = None,
    ) -> _Object:
        """Write one object; ``expected`` is its generation until now, 0 for none."""
        etag = etag or hashlib.md5(data, usedforsecurity=False).hexdigest()
        with self._lock:
            objects = self._of(bucket)
            self._expect(objects.get(key), expected)
            self._generation += 1
            objects[key] = _Object(data, f'"{etag}"', self._generation, time.time(), headers)
            return objects[key]

    def delete(self, bucket: str, key: str, *, expected: int | None) -> None:
        with self._lock:
            objects = self._of(bucket)
            if key not in objects:
                raise _Refused(404, "NoSuchKey")
            self._expect(objects[key], expected)
            del objects[key]

    @staticmethod
    def _expect(found: _Object | None, expected: int | None) -> None:
        if expected is not None and expected != (found.generation if found else 0):
            raise _Refused(412, "PreconditionFailed")

    def list(self, bucket: str, prefix: str, delimiter: str, after: str, limit: int) -> _Page:
        """Return one page; keys are ordered by code point, which is the order of UTF-8."""
        with self._lock:
            everything = dict(self._of(bucket))
        keys = sorted(k for k in everything if k.startswith(prefix))
        objects: list[tuple[str, _Object]] = []
        prefixes: list[str] = []
        last = after
        for key in keys[bisect_right(keys, after) :]:
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            group = key[: cut + len(delimiter)] if cut >= 0 else ""
            if group and (after.startswith(group) or (prefixes and prefixes[-1] == group)):
                last = key
                continue
            if len(objects) + len(prefixes) == limit:
                return _Page(objects, prefixes, last)
            if group:
                prefixes.append(group)
            else:
                objects.append((key, everything[key]))
            last = key
        return _Page(objects, prefixes, None)

    def begin(self, bucket: str, key: str, headers: Mapping[str, str]) -> str:
        upload = uuid.uuid4().hex
        with self._lock:
            self._of(bucket)
            self._uploads[upload] = _Upload(bucket, key, headers)
        return upload

    def part(self, upload: str, number: int, data: bytes) -> str:
        with self._lock:
            self._upload(upload).parts[number] = data
        return _quoted_md5(data)

    def finish(self, upload: str, parts: list[tuple[int, str]], expected: int | None) -> _Object:
        with self._lock:
            found = self._upload(upload)
            pieces = dict(found.parts)
        have = {n: _quoted_md5(d) for n, d in pieces.items()}
        if not parts or parts != sorted(parts) or any(have.get(n) != e for n, e in parts):
            raise _Refused(400, "InvalidPart")
        data = b"".join(pieces[n] for n, _ in parts)
        etag = f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}-{len(parts)}"
        made = self.put(found.bucket, found.key, data, found.headers, expected=expected, etag=etag)
        with self._lock:
            self._uploads.pop(upload, None)
        return made

    def abort(self, upload: str) -> None:
        with self._lock:
            self._upload(upload)
            del self._uploads[upload]

    def _upload(self, upload: str) -> _Upload:
        if upload not in self._uploads:
            raise _Refused(404, "NoSuchUpload")
        return self._uploads[upload]


def _quoted_md5(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def _buckets(self) -> _Buckets:
        return cast("_Server", self.server).buckets

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: tests read their own output."""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_HEAD(self) -> None:
        self._answer(self._get)

    def do_PUT(self) -> None:
        self._answer(self._put)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, action: Any) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = parts.path.lstrip("/").partition("/")
        self._query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
        self._body = self._read()
        try:
            action(unquote(bucket), unquote(key))
        except _Refused as refused:
            body = f"<Error><Code>{refused.code}</Code><Message>{refused.code}</Message></Error>"
            self._send(refused.status, body.encode())

    def _read(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        out: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(out)

    def _send(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != _NO_CONTENT:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _xml(self, root: str, inner: str) -> None:
        text = f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'
        self._send(200, text.encode(), {"content-type": "application/xml"})

    def _expected(self) -> int | None:
        value = self.headers.get("x-goog-if-generation-match")
        return None if value is None else int(value)

    def _kept(self) -> dict[str, str]:
        names = ("content-type", "content-encoding", "content-disposition", "cache-control")
        return {
            k.lower(): v
            for k, v in self.headers.items()
            if k.lower().startswith("x-goog-meta-") or k.lower() in names
        }

    def _get(self, bucket: str, key: str) -> None:
        if not key:
            return self._list(bucket)
        found = self._buckets.get(bucket, key)
        if self._query.get("generation", str(found.generation)) != str(found.generation):
            raise _Refused(404, "NoSuchKey")
        headers = {
            **found.headers,
            "etag": found.etag,
            "last-modified": formatdate(found.modified, usegmt=True),
            "x-goog-generation": str(found.generation),
            "x-goog-stored-content-length": str(len(found.data)),
        }
        self._conditions(found)
        span = self.headers.get("range")
        if span is None:
            return self._send(200, found.data, headers)
        start, end = _range(span, len(found.data))
        headers["content-range"] = f"bytes {start}-{end - 1}/{len(found.data)}"
        return self._send(206, found.data[start:end], headers)

    def _conditions(self, found: _Object) -> None:
        wanted = self.headers.get("if-match")
        if wanted and wanted != "*" and found.etag not in re.split(r"\s*,\s*", wanted):
            raise _Refused(412, "PreconditionFailed")
        unwanted = self.headers.get("if-none-match")
        if unwanted and (unwanted == "*" or found.etag in re.split(r"\s*,\s*", unwanted)):
            raise _Refused(304, "NotModified")
        expected = self._expected()
        if expected is not None and expected != found.generation:
            raise _Refused(412, "PreconditionFailed")

    def _list(self, bucket: str) -> None:
        query = self._query
        after = max(query.get("continuation-token", ""), query.get("start-after", ""))
        limit = min(int(query.get("max-keys", _PAGE)), _PAGE)
        page = self._buckets.list(
            bucket, query.get("prefix", ""), query.get("delimiter", ""), after, limit
        )
        self._xml("ListBucketResult", "".join(_listing(bucket, page)))

    def _put(self, bucket: str, key: str) -> None:
        if "uploadId" in self._query:
            number = int(self._query["partNumber"])
            etag = self._buckets.part(self._query["uploadId"], number, self._body)
            return self._send(200, headers={"etag": etag})
        source = self.headers.get("x-goog-copy-source")
        data, kept = self._body, self._kept()
        if source:
            from_bucket, _, from_key = unquote(source).lstrip("/").partition("/")
            origin = self._buckets.get(from_bucket, from_key)
            data, kept = origin.data, dict(origin.headers)
        made = self._buckets.put(bucket, key, data, kept, expected=self._expected())
        if source:
            modified = _timestamp(made.modified)
            return self._xml(
                "CopyObjectResult",
                f"<ETag>{escape(made.etag)}</ETag><LastModified>{modified}</LastModified>",
            )
        return self._send(
            200, headers={"etag": made.etag, "x-goog-generation": str(made.generation)}
        )

    def _post(self, bucket: str, key: str) -> None:
        if "uploads" in self._query:
            upload = self._buckets.begin(bucket, key, self._kept())
            names = f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
            return self._xml(
                "InitiateMultipartUploadResult", f"{names}<UploadId>{upload}</UploadId>"
            )
        if "uploadId" not in self._query:
            raise _Refused(400, "InvalidArgument")
        made = self._buckets.finish(self._query["uploadId"], _parts(self._body), self._expected())
        names = f"<Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
        return self._xml(
            "CompleteMultipartUploadResult", f"{names}<ETag>{escape(made.etag)}</ETag>"
        )

    def _delete(self, bucket: str, key: str) -> None:
        if "uploadId" in self._query:
            self._buckets.abort(self._query["uploadId"])
        else:
            self._buckets.delete(bucket, key, expected=self._expected())
        self._send(_NO_CONTENT)


def _listing(bucket: str, page: _Page) -> Iterator[str]:
    truncated = "true" if page.more_after is not None else "false"
    yield f"<Name>{escape(bucket)}</Name><IsTruncated>{truncated}</IsTruncated>"
    for key, found in page.objects:
        yield (
            f"<Contents><Key>{escape(key)}</Key><Generation>{found.generation}</Generation>"
            f"<LastModified>{_timestamp(found.modified)}</LastModified>"
            f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.data)}</Size></Contents>"
        )
    for prefix in page.prefixes:
        yield f"<CommonPrefixes><Prefix>{escape(prefix)}</Prefix></CommonPrefixes>"
    if page.more_after is not None:
        yield f"<NextContinuationToken>{escape(page.more_after)}</NextContinuationToken>"


def _timestamp(seconds: float) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def _range(text: str, size: int) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", text)
    if match is None or not (match[1] or match[2]):
        _unsatisfiable()
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start = int(match[1])
        end = min(int(match[2]) + 1, size) if match[2] else size
    if start >= end:
        _unsatisfiable()
    return start, end


def _unsatisfiable() -> NoReturn:
    raise _Refused(416, "InvalidRange")


def _parts(body: bytes) -> list[tuple[int, str]]:
    try:
        root = ET.fromstring(body)  # noqa: S314 - a test's own client on the loopback interface
    except ET.ParseError:
        raise _Refused(400, "MalformedXML") from None
    found: list[tuple[int, str]] = []
    for part in root:
        fields = {child.tag.rsplit("}", 1)[-1]: child.text or "" for child in part}
        found.append((int(fields["PartNumber"]), fields["ETag"]))
    return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        self.buckets = _Buckets()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is no failure of the server."""


class GcsServer:
    """Google Cloud Storage for tests, in this process, on a free port of the loopback interface.

    Everything is lost with :meth:`stop`. Other processes can use :attr:`endpoint`, as long as this
    one lives. Real GCS was never tried.
    """

    def __init__(self) -> None:
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> GcsServer:
        """Start to serve and return the server."""
        if self._server is None:
            self._server = _Server()
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(0.05,), name="gcs", daemon=True
            )
            self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and forget all objects."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    def __enter__(self) -> GcsServer:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The base URL, such as ``http://127.0.0.1:34567``."""
        return f"http://127.0.0.1:{self._running().server_address[1]}"

    def options(self, bucket: str, *, endpoint: str | None = None) -> dict[str, str]:
        """Create the bucket if need be and return the storage options that reach it.

        Args:
            bucket: Its name.
            endpoint: The base URL of a proxy in front, if there is one.
        """
        self._running().buckets.create(bucket)
        key = {
            "gcs_base_url": endpoint or self.endpoint,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        return {"service_account_key": json.dumps(key)}

    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError("The server is not running; call start().")
        return self._server
