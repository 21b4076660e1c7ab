"""Who writes: what a version says of the process that made it."""

from __future__ import annotations

import getpass
import os
import socket
from functools import lru_cache

__all__ = ["writer"]


def writer() -> str:
    """Return who this process is: user, machine and number, such as ``"ada@host:4711"``."""
    return f"{_person()}@{socket.gethostname()}:{os.getpid()}"


@lru_cache(maxsize=1)
def _person() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        # A container may run as a number without a name.
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
