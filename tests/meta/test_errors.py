"""The error tree is what its drawing says, and its errors travel."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator

import pytest

from pennon import errors
from pennon.errors import PennonError, from_code


def subclasses(root: type[PennonError]) -> Iterator[type[PennonError]]:
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from subclasses(child)


CLASSES = [PennonError, *subclasses(PennonError)]


def drawn() -> dict[str, str]:
    """Return the parent of each class that the docstring draws, by name."""
    tree: dict[str, str] = {}
    branch = ""
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([├└│ ])[─ ]*((?:\w+ *)+)$", line)
        if not found:
            continue
        names = found[2].split()
        if found[1] in "├└":
            branch, *names = names
            tree[branch] = "PennonError"
        tree.update(dict.fromkeys(names, branch))
    return tree


def test_the_drawing_is_the_tree() -> None:
    branches = {c.__name__ for c in PennonError.__subclasses__()}
    real: dict[str, str] = {}
    for cls in CLASSES[1:]:
        ours = [b.__name__ for b in cls.__mro__[1:] if b.__name__ in branches]
        real[cls.__name__] = ours[-1] if ours else "PennonError"
    assert drawn() == real


def test_every_error_is_public_and_says_what_it_means() -> None:
    public = {n for n in errors.__all__ if isinstance(getattr(errors, n), type)}
    assert public == {c.__name__ for c in CLASSES}
    assert all(c.__doc__ and c.__doc__.strip() for c in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_an_error_survives_pickling_and_copying(cls: type[PennonError]) -> None:
    error = cls("The table 'x' is gone; create it.", table=("a", "x"), version=3)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is cls
        assert str(twin) == str(error) == error.message
        assert twin.context == {"table": ("a", "x"), "version": 3}
        assert (twin.kind, twin.code, twin.retryable) == (error.kind, error.code, error.retryable)


def test_kinds_are_unique_and_stable() -> None:
    kinds = [c("x").kind for c in CLASSES]
    assert len(set(kinds)) == len(kinds)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", kind) for kind in kinds)
    assert errors.TableNotFound("x").kind == "table_not_found"
    assert errors.InvalidURI("x").kind == "invalid_uri"


def test_codes_map_both_ways() -> None:
    for code in range(24):
        cls = from_code(code)
        assert cls.code == code or (code == 18 and cls is errors.StorageError)
    assert all(0 <= c.code <= 23 for c in CLASSES)
    assert from_code(999) is errors.StorageError


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.TableNotFound, LookupError),
        (errors.InvalidName, ValueError),
        (errors.Throttled, ConnectionError),
        (errors.DeadlineExceeded, TimeoutError),
        (errors.MissingExtra, ImportError),
    ],
)
def test_an_error_is_caught_by_the_usual_handler(cls: type, builtin: type) -> None:
    assert issubclass(cls, builtin)
