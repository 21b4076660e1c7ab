"""Which state of a table is meant: a branch, and there the newest, a version, a tag or a time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from pennon.errors import InvalidName, InvalidOption

__all__ = ["MAIN", "Ref", "check_branch", "check_tag", "check_version"]

MAIN = "main"
_BRANCH = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")
_LONGEST = 200
_NEWEST = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A state of a table.

    Args:
        branch: The branch; ``"main"`` is the table itself.
        version: A version of that branch; None for its newest.
        tag: A tag instead, which names a branch and a version of its own.
        as_of: The newest version of the branch at that time; needs a time zone.

    Raises:
        InvalidOption: More than one of ``version``, ``tag`` and ``as_of``, a tag with a branch, a
            version below 1, a time without a zone, or what is none of these.
        InvalidName: A branch name that Lance does not allow.
    """

    branch: str = MAIN
    version: int | None = None
    tag: str | None = None
    as_of: datetime | None = None

    def __post_init__(self) -> None:
        check_branch(self.branch)
        given = [n for n in ("version", "tag", "as_of") if getattr(self, n) is not None]
        if len(given) > 1:
            raise InvalidOption(f"{given[0]}= and {given[1]}= exclude each other; pass one.")
        if self.tag is not None and self.branch != MAIN:
            raise InvalidOption("A tag names its own branch; leave branch= out.")
        if self.version is not None:
            check_version("version", self.version)
        # Lance takes a number for a version, and a pair for a branch with a version.
        if self.tag is not None and not isinstance(self.tag, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"tag={self.tag!r} must be the name of a tag.")
        if self.as_of is not None and not _is_moment(self.as_of):
            raise InvalidOption(
                f"as_of={self.as_of!r} must be a datetime with a time zone, such as "
                "datetime.now(timezone.utc)."
            )

    @property
    def is_head(self) -> bool:
        """Whether this is the newest version of a branch, which moves."""
        return self.version is None and self.tag is None and self.as_of is None

    def __str__(self) -> str:
        if self.tag is not None:
            return f"tag {self.tag}"
        if self.version is not None:
            return f"{self.branch} at version {self.version}"
        return f"{self.branch} as of {self.as_of.isoformat()}" if self.as_of else self.branch


def check_version(option: str, version: object) -> None:
    """Refuse what no version is numbered.

    Raises:
        InvalidOption: It is not a whole number from 1.
    """
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version < _NEWEST:
        raise InvalidOption(f"{option}={version!r} must be a whole number of 1 or more.")


def _is_moment(time: object) -> bool:
    return isinstance(time, datetime) and time.utcoffset() is not None


def check_branch(name: str, *, new: bool = False) -> str:
    """Return a branch or tag name if Lance allows it.

    Args:
        name: The name.
        new: Whether something is to be given this name; ``main`` is taken.

    Raises:
        InvalidName: It does not.
    """
    if not isinstance(name, str) or not _BRANCH.fullmatch(name) or len(name) > _LONGEST:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidName(
            f"{name!r} is no branch or tag name: use letters, digits, '.', '-' and '_', in steps "
            f"joined by '/', {_LONGEST} characters at most."
        )
    if ".." in name or any(s == "." or s.endswith(".lock") for s in name.split("/")):
        raise InvalidName(
            f"{name!r} is no branch or tag name: it has '..', or a step '.' or '*.lock'."
        )
    if new and any(step in {"data", "tree"} or step[0] == "_" for step in name.split("/")[1:]):
        raise InvalidName(
            f"{name!r} would lie among the files of another branch: no step after the first may be "
            "'data' or 'tree', or begin with '_'."
        )
    if new and name == MAIN:
        raise InvalidName("'main' is the table itself; choose another name.")
    return name


def check_tag(name: str) -> str:
    """Return a name for a tag if Lance allows it.

    Raises:
        InvalidName: It does not.
    """
    if "/" in check_branch(name, new=True) or name.startswith(".") or name.endswith("."):
        raise InvalidName(f"{name!r} is no tag name: it has a '/', or begins or ends with '.'.")
    return name
