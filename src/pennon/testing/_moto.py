"""moto's server, letting in one request at a time.

Started as a script with host and port. moto looks whether an object exists and then writes it, so
when requests overlap, several conditional puts of one name succeed; one at a time, one does.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable
from typing import Any

_Application = Callable[[dict[str, Any], Any], Any]


class _OneAtATime:
    def __init__(self, application: _Application) -> None:
        self._application = application
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        # Read before the lock is taken: a client that is slow to send holds up nobody else.
        stream, length = environ["wsgi.input"], environ.get("CONTENT_LENGTH")
        whole = environ.get("wsgi.input_terminated") and not length
        body = stream.read() if whole else stream.read(int(length or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with self._lock:
            return list(self._application(environ, start_response))


def _main(host: str, port: str) -> None:
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple

    application = _OneAtATime(DomainDispatcherApplication(create_backend_app))
    run_simple(host, int(port), application, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    _main(*sys.argv[1:])
