"""No credential is ever shown, hashed readably or pickled by accident."""

from __future__ import annotations

import copy
import pickle
import traceback

import pytest

from pennon.config import Secret, StoreOptions, parse_options
from pennon.errors import InvalidOption, Unsupported
from pennon.uri import parse_uri

HUSH = "Hush+/key=1234567890"
GIVEN = [
    ("s3://b/x", {"access_key_id": "AKID", "secret_access_key": HUSH}),
    ("s3://b/x", {"key": "AKID", "secret": "other", "token": HUSH}),
    ("s3://b/x", {"aws_sse_customer_key_base64": HUSH}),
    ("s3://b/x", {"proxy_url": f"http://me:{HUSH}@proxy"}),
    ("gs://b/x", {"bearer_token": HUSH}),
    ("gs://b/x", {"service_account_key": f'{{"private_key": "{HUSH}"}}'}),
    ("gs://b/x", {"token": {"private_key": HUSH}}),
    ("az://c/x", {"account_name": "a", "account_key": HUSH}),
    ("az://c/x", {"account_name": "a", "sas_token": HUSH}),
    ("az://c/x", {"account_name": "a", "client_secret": HUSH}),
    ("az://c/x", {"connection_string": f"AccountName=a;AccountKey={HUSH}"}),
    ("az://c/x", {"credential": HUSH}),
]


@pytest.mark.parametrize(("root", "given"), GIVEN)
def test_masked_wherever_it_is_shown(root, given):
    options = parse_options(parse_uri(root), given)
    shown = [
        repr(options),
        str(options),
        f"{options}",
        repr(options.provider),
        repr(options.client),
        repr(options.for_obstore()),
        repr(options.for_lance()),
        options.principal,
        repr(vars(StoreOptions)),
    ]
    assert not [s for s in shown if HUSH in s]
    assert options.has_secrets
    assert any(HUSH in s for s in options.secrets)
    assert all(type(s) is str for s in options.secrets)


@pytest.mark.parametrize(("root", "given"), GIVEN)
def test_masked_in_the_locals_of_a_traceback(root, given):
    options = parse_options(parse_uri(root), given)

    def deep(options):
        below, client = options.for_obstore()
        lance = options.for_lance()
        found = list(below.values())
        raise RuntimeError(len(found) + len(client) + len(lance))

    with pytest.raises(RuntimeError) as caught:
        deep(options)
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert "for_lance" not in frames[-1].name
    assert frames[-1].locals
    assert HUSH not in repr(frames[-1].locals)


@pytest.mark.parametrize(("root", "given"), GIVEN)
def test_pickle_refuses(root, given):
    options = parse_options(parse_uri(root), given)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(Unsupported, match="hold credentials and are not pickled") as caught:
            pickle.dumps(options, protocol)
        assert HUSH not in str(caught.value)


def test_pickle_without_secrets():
    given = {"region": "eu-west-1", "timeout": 3, "anon": True}
    options = parse_options(parse_uri("s3://b/x"), given)
    assert not options.has_secrets
    assert options.secrets == ()
    again = pickle.loads(pickle.dumps(options))
    assert again == options
    assert again.principal == options.principal


def test_messages_show_no_value_of_an_option():
    for given in (
        {"secret_access_key": HUSH, "secret": HUSH + "2", "key": "a"},
        {"secret_key": HUSH},
        {"secret_access_key": HUSH},
        {"endpoint": f"http://me:{HUSH}@host"},
        {"client_kwargs": {"aws_secret_key": HUSH}},
        {"account_key": HUSH},
    ):
        with pytest.raises(InvalidOption) as caught:
            parse_options(parse_uri("s3://b/x"), given)
        assert HUSH not in str(caught.value)
        assert HUSH not in "".join(traceback.format_exception(caught.value))


def test_the_parts_of_a_service_account_are_secrets_too():
    key = '{"private_key": "line1\\nline2", "private_key_id": "abc"}'
    options = parse_options(parse_uri("gs://b"), {"service_account_key": key})
    assert {"line1\nline2", "abc", key} == set(options.secrets)


def test_principal_tells_apart_who_sees_what(monkeypatch):
    def of(root="s3://b/x", **given):
        return parse_options(parse_uri(root), given).principal

    one = of(key="a", secret="s")
    assert one == of(access_key_id="a", aws_secret_access_key="s")
    assert one == of("s3://other/y", key="a", secret="s")
    others = [
        of(key="a", secret="t"),
        of(key="b", secret="s"),
        of(key="a", secret="s", token="t"),
        of(key="a", secret="s", endpoint="https://h"),
        of(key="a", secret="s", proxy_url="http://p"),
        of(),
        of("gs://b"),
        of("az://b"),
    ]
    assert len({one, *others}) == len(others) + 1
    before = of()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
    assert of() != before


def test_a_secret_is_text_in_every_other_way():
    secret = Secret(HUSH)
    assert (str(secret), f"{secret}", secret.encode(), secret + "") == (
        HUSH,
        HUSH,
        HUSH.encode(),
        HUSH,
    )
    assert repr(secret) == repr(Secret("")) == "'***'"
    assert HUSH not in repr({"a": [secret]})
    assert type(secret.plain) is str
    assert copy.deepcopy(secret) == HUSH
