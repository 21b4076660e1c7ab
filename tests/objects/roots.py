"""Stores over the roots that the plugin makes."""

from __future__ import annotations

import threading

from badproxy import BadProxy

from pennon.config import parse_options
from pennon.objects import ObjectStore, open_store
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri


def open_root(root: TestRoot, **options: str) -> ObjectStore:
    uri = parse_uri(root.uri)
    return open_store(uri, parse_options(uri, {**root.options, **options}))


def start_proxy(proxies: list[BadProxy], root: TestRoot) -> tuple[BadProxy, ObjectStore]:
    proxy = BadProxy(root.endpoint)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    proxies.append(proxy)
    return proxy, open_root(root.via(proxy.endpoint))
