"""A catalog on a Lance namespace server, and a client for every operation of such a server."""

from __future__ import annotations

from pennon.namespaces.rest.client import RestClient
from pennon.namespaces.rest.namespace import RestNamespace

__all__ = ["RestClient", "RestNamespace"]
