"""Named profiles of the AWS configuration files, read by botocore."""

from __future__ import annotations

import os
import threading
from typing import Any

from pennon.config.options import S3Options, Secret
from pennon.errors import InvalidOption, MissingExtra, Unauthenticated

__all__ = ["find_profile", "resolve_profile"]

_lock = threading.Lock()
_sources: dict[tuple[str | None, ...], tuple[Any, str | None]] = {}


def resolve_profile(options: S3Options) -> dict[str, Any]:
    """Return the fields that a profile gives now; temporary credentials are refreshed when due.

    Raises:
        Unauthenticated: The profile yields no credentials, for example since a login expired.
    """
    name = options.profile
    assert name is not None
    credentials, region = find_profile(name)
    try:
        now = credentials.get_frozen_credentials()
    except Exception as error:  # noqa: BLE001 - botocore raises whatever its many sources do
        raise Unauthenticated(
            f"AWS profile {name!r} yields no credentials ({type(error).__name__}); log in again."
        ) from None
    out = {
        "access_key_id": now.access_key,
        "secret_access_key": Secret(now.secret_key),
        "session_token": Secret(now.token) if now.token else None,
        "region": region,
    }
    return {k: v for k, v in out.items() if v is not None}


def find_profile(name: str) -> tuple[Any, str | None]:
    """Return botocore's credentials and the region of a profile, found once per process.

    Raises:
        MissingExtra: botocore is not installed.
        InvalidOption: There is no such profile, or it contradicts itself.
        Unauthenticated: It holds no credentials.
    """
    where = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME")
    key = (name, *(os.environ.get(v) for v in where))
    with _lock:
        if key not in _sources:
            _sources[key] = _load(name)
        return _sources[key]


def _load(name: str) -> tuple[Any, str | None]:
    try:
        import botocore.session
        from botocore.exceptions import BotoCoreError, ProfileNotFound
    except ImportError as error:
        raise MissingExtra(
            f"AWS profile {name!r} is read by botocore, which is not installed; "
            "run: pip install 'pennon[s3]'"
        ) from error
    session = botocore.session.Session(profile=name)
    try:
        region = session.get_config_variable("region")
        found = session.get_credentials()
    except ProfileNotFound:
        raise InvalidOption(
            f"There is no AWS profile {name!r}; see the names in ~/.aws/config."
        ) from None
    except BotoCoreError as error:
        raise InvalidOption(
            f"AWS profile {name!r} cannot be read ({type(error).__name__}); correct it."
        ) from None
    if found is None:
        raise Unauthenticated(f"AWS profile {name!r} holds no credentials; add some to it.")
    return found, region
