"""Reading the properties of a kind strictly: a typing mistake is an error, never a default."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar, overload

from pennon.errors import InvalidOption, did_you_mean, redact

__all__ = ["check_keys", "get_bool", "get_number", "get_str", "show_properties"]

N = TypeVar("N", int, float)

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_SECRET = re.compile(
    r"(?i)secret|token|connection[_-]?string|password|passwd|credential|signature|authori[sz]ation|cookie|bearer|"
    r"(^|[._-])(api[_-]?key|account[_-]?key|access[_-]?key([_-]?id)?|private[_-]?key|sas|sig|key)"
    r"([._-]|$)|^headers?\."
)
_CLEAR = frozenset({"true", "false", "none", ""})


def check_keys(
    kind: str,
    properties: Mapping[str, Any],
    known: Iterable[str],
    *,
    prefixes: Iterable[str] = (),
    required: Iterable[str] = (),
) -> None:
    """Refuse properties that a kind does not know, or that it lacks.

    Args:
        kind: The kind, for the message.
        properties: What the user gave.
        known: Keys the kind reads.
        prefixes: Families of keys checked elsewhere, such as ``"storage."``.
        required: Those of ``known`` that must be there.

    Raises:
        InvalidOption: A key is unknown, or a required one is missing.
    """
    names = list(known)
    families = tuple(prefixes)
    for key in properties:
        if key not in names and not key.startswith(families):
            hint = did_you_mean(key, [*names, *(f"{p}*" for p in families)])
            raise InvalidOption(f"Kind {kind!r} has no property {key!r}; {hint}", option=key)
    for key in required:
        if properties.get(key) is None:
            raise InvalidOption(
                f"Kind {kind!r} needs the property {key!r}; pass it to connect().", option=key
            )


def get_bool(properties: Mapping[str, Any], key: str, default: bool) -> bool:  # noqa: FBT001
    """Return a boolean property: true/false, 1/0, yes/no or on/off in any case.

    Raises:
        InvalidOption: It is something else.
    """
    value = properties.get(key)
    if value is None:
        return default
    found = _BOOLEANS.get(str(value).strip().lower())
    if found is None:
        raise InvalidOption(f"{key}={value!r} is not a boolean; write true or false.", option=key)
    return found


@overload
def get_str(properties: Mapping[str, Any], key: str) -> str | None: ...
@overload
def get_str(properties: Mapping[str, Any], key: str, default: str) -> str: ...
def get_str(properties: Mapping[str, Any], key: str, default: str | None = None) -> str | None:
    """Return a text property.

    Raises:
        InvalidOption: It is not a string.
    """
    value = properties.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise InvalidOption(f"{key} is a {type(value).__name__}, not a string.", option=key)
    return value


def get_number(properties: Mapping[str, Any], key: str, default: N, *, least: N) -> N:
    """Return a number of the type of ``default``.

    Args:
        properties: What the user gave.
        key: Which property; its text or the number itself.
        default: The value without it.
        least: The smallest value that makes sense.

    Raises:
        InvalidOption: It is no such number, or too small.
    """
    value = properties.get(key)
    if value is None:
        return default
    word = "a whole number" if isinstance(default, int) else "a number"
    try:
        number = type(default)(value if isinstance(value, str) else str(value))
    except ValueError:
        raise InvalidOption(f"{key}={value!r} is not {word}.", option=key) from None
    # The comparison is false for NaN, too.
    if not least <= number < float("inf"):
        raise InvalidOption(f"{key}={value!r} must be {word} of at least {least}.", option=key)
    return number


def show_properties(properties: Mapping[str, Any]) -> str:
    """Return properties for people: credentials masked, foreign objects as their type."""
    return f"{{{', '.join(f'{k!r}: {_show(k, v)}' for k, v in properties.items())}}}"


def _show(key: str, value: object) -> str:
    if isinstance(value, str):
        if _SECRET.search(key) and value.lower() not in _CLEAR:
            return "'***'"
        return redact(repr(value))
    if value is None or isinstance(value, bool | int | float):
        return repr(value)
    return f"<{type(value).__name__}>"
