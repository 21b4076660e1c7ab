"""Stores over the roots that the plugin makes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from badproxy import BadProxy

from pennon.config import parse_options
from pennon.objects import ObjectStore, certify, open_store
from pennon.testing.services import TestRoot
from pennon.uri import parse_uri

EVERY_CALL: list[Callable[[ObjectStore], object]] = [
    lambda store: store.get("a"),
    lambda store: store.head("a"),
    lambda store: list(store.list()),
    lambda store: store.list_directories(),
    lambda store: store.put("a", b""),
    lambda store: store.put("a", b"", if_absent=True),
    lambda store: store.put("a", b"", if_match="1"),
    lambda store: store.delete("a"),
    certify,
]


def open_root(root: TestRoot, **options: str) -> ObjectStore:
    uri = parse_uri(root.uri)
    return open_store(uri, parse_options(uri, {**root.options, **options}))


def start_proxy(proxies: list[BadProxy], root: TestRoot) -> tuple[BadProxy, ObjectStore]:
    proxy = BadProxy(root.endpoint)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    proxies.append(proxy)
    return proxy, open_root(root.via(proxy.endpoint))
