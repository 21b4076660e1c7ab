"""The door: parse_id, check_new."""

from __future__ import annotations

import pickle
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennon.errors import InvalidInput, InvalidName
from pennon.namespaces.names import check_new, parse_id, show_id
from pennon.testing.names import INVALID_NAMES, ODD_NAMES, RESERVED_NAMES
from pennon.testing.strategies import names


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(name: str) -> None:
    assert parse_id(name) == parse_id([name]) == (name,)
    assert check_new((name,)) == (name,)


@pytest.mark.parametrize("name", INVALID_NAMES)
def test_invalid_names_are_none(name: str) -> None:
    for id in (name, (name,), ("a", name), (name, "a")):
        with pytest.raises(InvalidName) as caught:
            parse_id(id, what="table")
        assert isinstance(caught.value, InvalidInput | ValueError)
        assert caught.value.code == 13
        assert "table" in str(caught.value)
        assert str(caught.value).isprintable()
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", RESERVED_NAMES)
def test_reserved_names_can_be_asked_for_and_not_given(name: str) -> None:
    assert parse_id(name) == (name,)
    with pytest.raises(InvalidName, match="reserved"):
        check_new(("a", name))


def test_the_lists_are_what_they_say() -> None:
    assert len(set(ODD_NAMES)) == len(ODD_NAMES)
    assert {"caf\u00e9", "cafe\u0301"} <= set(ODD_NAMES)
    folded = [unicodedata.normalize("NFC", n) for n in ODD_NAMES]
    assert len(set(folded)) < len(ODD_NAMES), "no two names differ by their Unicode form alone"
    assert max(len(n.encode()) for n in ODD_NAMES) == 240
    assert not set(ODD_NAMES) & {*INVALID_NAMES, *RESERVED_NAMES}


@given(st.lists(names(), min_size=1, max_size=4))
def test_ids_round_trip(parts: list[str]) -> None:
    assert parse_id(parts) == tuple(parts)
    assert parse_id(tuple(parts)) == tuple(parts)


@given(st.text())
def test_what_is_accepted_is_safe(name: str) -> None:
    try:
        parse_id(name)
    except InvalidName:
        return
    assert name not in {"", ".", ".."}
    assert not set(name) & set("/\\$\0\n\r\t\x7f")
    assert 0 < len(name.encode()) <= 240


@pytest.mark.parametrize("wrong", [(1,), (None,), (b"a",), (("a",),), (True,)])
def test_parts_are_strings(wrong: Any) -> None:
    with pytest.raises(InvalidName, match="not a string"):
        parse_id(wrong)


@pytest.mark.parametrize("wrong", [None, 3, 1.5, object()])
def test_an_id_is_a_string_or_a_sequence(wrong: Any) -> None:
    with pytest.raises(InvalidName):
        parse_id(wrong)


def test_bytes_are_no_id() -> None:
    wrong: Any = b"a"
    with pytest.raises(InvalidName):
        parse_id(wrong)


def test_the_root() -> None:
    assert parse_id((), allow_root=True) == ()
    assert parse_id([], allow_root=True) == ()
    with pytest.raises(InvalidName, match="empty id"):
        parse_id(())
    with pytest.raises(InvalidName):
        parse_id("", allow_root=True)
    assert show_id(()) == "the root"
    assert show_id(("a", "b")) == "a.b"
