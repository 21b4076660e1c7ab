"""What can be the root of a directory namespace."""

from __future__ import annotations

from pennon.config import from_fsspec
from pennon.errors import InvalidOption, InvalidURI
from pennon.uri import Uri, parse_uri

__all__ = ["root_of"]


def root_of(root: object) -> tuple[Uri, dict[str, object]]:
    """Return the URI of a root, and the storage options an fsspec filesystem brings along."""
    given: dict[str, object] = {}
    if isinstance(root, str | Uri) or hasattr(root, "__fspath__"):
        uri = parse_uri(root)  # pyright: ignore[reportArgumentType]
    else:
        uri, given = from_fsspec(root)
    if uri.namespace:
        raise InvalidOption(
            f"{uri}: '?ns=' is not understood by kind 'dir'; leave it out and put the namespace "
            "into the ids."
        )
    if uri.scheme == "memory":
        raise InvalidURI(f"{uri} holds no Lance tables; connect kind 'memory' to it instead.")
    if uri.is_server:
        raise InvalidURI(f"{uri} is a server; connect kind 'rest' to it instead.")
    return uri, given
