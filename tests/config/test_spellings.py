"""Every spelling of every option arrives in the right field, and in the right form below."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest

from pennon.config import NoOptions, parse_options
from pennon.config.options import ClientOptions, Secret, kinds
from pennon.config.spellings import LANCE_NAMES, STRUCTS, spellings
from pennon.config.unfold import NESTED
from pennon.errors import InvalidOption
from pennon.uri import parse_uri

ROOTS = {"s3": "s3://b/x", "gs": "gs://b/x", "az": "az://c/x"}
KEY_JSON = json.dumps({"client_email": "a@b", "private_key": "hushhush", "private_key_id": "id"})
TOGETHER = {"access_key_id": "secret_access_key", "secret_access_key": "access_key_id"}
EVERY = [
    (scheme, key, field) for scheme in ROOTS for key, field in sorted(spellings(scheme).items())
]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


def example(field, kind):
    """A value as text, and what it becomes."""
    if kind is bool:
        return "true", True
    if kind is int:
        return "7", 7
    if kind is float:
        return "1m 30s", 90.0
    if field in {"endpoint", "base_url"}:
        return "https://host.example:9", "https://host.example:9"
    return (KEY_JSON, KEY_JSON) if field == "service_account_key" else (f"a {field}", f"a {field}")


def chosen(options, field):
    return getattr(options.client if hasattr(options.client, field) else options.provider, field)


@pytest.mark.parametrize(("scheme", "key", "field"), EVERY)
@pytest.mark.parametrize("change", [str, str.upper])
def test_spelling(scheme, key, field, change, monkeypatch):
    monkeypatch.setattr("pennon.config.store.resolve_profile", lambda _: {})
    monkeypatch.setattr("pennon.config.parse.find_profile", lambda _: None)
    kind = (kinds(STRUCTS[scheme]) | kinds(ClientOptions))[field]
    text, value = example(field, kind)
    given = {change(key): text}
    if field in TOGETHER:
        given[TOGETHER[field]] = "other"
    options = parse_options(parse_uri(ROOTS[scheme]), given)
    assert chosen(options, field) == value
    assert isinstance(chosen(options, field), kind)
    below, client = options.for_obstore()
    if field in LANCE_NAMES[scheme]:
        assert options.for_lance()[LANCE_NAMES[scheme][field]] == text
        assert below[LANCE_NAMES[scheme][field]] == text
    elif hasattr(options.client, field):
        assert field in options.for_lance()
        assert (field in client) is (not field.startswith(("client_", "download_")))


def test_every_field_has_a_name_below():
    for scheme, struct in STRUCTS.items():
        missing = set(struct.__struct_fields__) - set(LANCE_NAMES[scheme])
        assert missing == {"s3": {"profile"}, "gs": {"project"}, "az": set()}[scheme]


def test_obstore_knows_every_name():
    """A name obstore does not know is refused as such, before any value is looked at."""
    from obstore.exceptions import BaseError, UnknownConfigurationKeyError
    from obstore.store import AzureStore, GCSStore, S3Store

    for scheme, kind in (("s3", S3Store), ("gs", GCSStore), ("az", AzureStore)):
        with pytest.raises(UnknownConfigurationKeyError):
            kind("b", config={"no_such_name": "x"})
        unknown = []
        for name in LANCE_NAMES[scheme].values():
            with suppress(BaseError):  # a wrong value; the name is known
                try:
                    kind("b", config={name: "x"})
                except UnknownConfigurationKeyError:
                    unknown.append(name)
        assert unknown == []


def test_obstore_takes_every_client_option():
    from obstore.store import S3Store

    given = {f: example(f, k)[0] for f, k in kinds(ClientOptions).items()}
    given |= {"proxy_url": "http://127.0.0.1:9", "http1_only": "false", "timeout": "5s"}
    given.pop("proxy_ca_certificate")
    options = parse_options(parse_uri("s3://b"), {**given, "region": "x"})
    config, client = options.for_obstore()
    S3Store("b", config=config, client_options=client)


@pytest.mark.parametrize(
    ("given", "provider", "client"),
    [
        (
            {"client_kwargs": {"endpoint_url": "http://h:1", "region_name": "r"}},
            {"endpoint": "http://h:1", "region": "r", "virtual_hosted_style_request": False},
            {"allow_http": True},
        ),
        (
            {
                "client_kwargs": {
                    "aws_access_key_id": "k",
                    "aws_secret_access_key": "s",
                    "aws_session_token": "t",
                }
            },
            {"access_key_id": "k", "secret_access_key": "s", "session_token": "t"},
            {},
        ),
        ({"client_kwargs": {"verify": False}}, {}, {"allow_invalid_certificates": True}),
        ({"client_kwargs": {"verify": True, "use_ssl": True}}, {}, {}),
        ({"use_ssl": False}, {}, {"allow_http": True}),
        (
            {"config_kwargs": {"s3": {"addressing_style": "virtual"}}},
            {"virtual_hosted_style_request": True},
            {},
        ),
        (
            {"config_kwargs": {"s3": {"addressing_style": "path"}, "signature_version": "s3v4"}},
            {"virtual_hosted_style_request": False},
            {},
        ),
        (
            {"config_kwargs": {"read_timeout": 3, "connect_timeout": 2}},
            {},
            {"read_timeout": 3.0, "connect_timeout": 2.0},
        ),
        (
            {"s3_additional_kwargs": {"ServerSideEncryption": "AES256"}},
            {"server_side_encryption": "AES256"},
            {},
        ),
        (
            {"anon": True, "requester_pays": True},
            {"skip_signature": True, "request_payer": True},
            {},
        ),
        ({"aws_request_payer": "requester"}, {"request_payer": True}, {}),
        ({"key": None, "token": None, "anon": False}, {"skip_signature": False}, {}),
    ],
)
def test_s3fs(given, provider, client):
    options = parse_options(parse_uri("s3://b"), given)
    assert stated(options.provider) == provider
    assert stated(options.client) == client


@pytest.mark.parametrize(
    ("given", "provider"),
    [
        ({"token": "anon"}, {"skip_signature": True}),
        ({"token": "google_default", "project": "p"}, {"project": "p"}),
        ({"token": "cloud"}, {}),
        ({"token": "ya29.raw"}, {"bearer_token": "ya29.raw"}),
        (
            {"token": {"client_email": "e", "private_key": "k"}},
            {"service_account_key": '{"client_email": "e", "private_key": "k"}'},
        ),
        ({"endpoint_url": "https://h"}, {"base_url": "https://h"}),
    ],
)
def test_gcsfs(given, provider):
    assert stated(parse_options(parse_uri("gs://b"), given).provider) == provider


def test_gcsfs_token_is_a_file(tmp_path):
    path = tmp_path / "adc.json"
    path.write_text("{}")
    options = parse_options(parse_uri("gs://b"), {"token": str(path)})
    assert stated(options.provider) == {"application_credentials": str(path)}
    with pytest.raises(InvalidOption, match="does not exist"):
        parse_options(parse_uri("gs://b"), {"token": str(tmp_path / "no.json")})


@pytest.mark.parametrize(
    ("given", "provider"),
    [
        ({"credential": "a2V5"}, {"account_key": "a2V5"}),
        ({"credential": "?sv=1&sig=abc"}, {"sas_token": "?sv=1&sig=abc"}),
        ({"account_host": "h.example"}, {"endpoint": "https://h.example"}),
        (
            {"connection_string": "AccountName=a;AccountKey=aw==;BlobEndpoint=http://h:1/a;"},
            {"account_name": "a", "account_key": "aw==", "endpoint": "http://h:1/a"},
        ),
        (
            {
                "connection_string": "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=k;"
                "EndpointSuffix=core.chinacloudapi.cn"
            },
            {
                "account_name": "a",
                "account_key": "k",
                "endpoint": "https://a.blob.core.chinacloudapi.cn",
            },
        ),
        ({"connection_string": "UseDevelopmentStorage=true"}, {"use_emulator": True}),
        ({"anon": True}, {"skip_signature": True}),
    ],
)
def test_adlfs(given, provider):
    assert stated(parse_options(parse_uri("az://c"), given).provider) == provider


def stated(struct):
    return {k: v for k, v in msgspec.structs.asdict(struct).items() if v is not None}


def test_uri_and_options_merge():
    uri = parse_uri("s3://b/x?region=eu-west-1&ns=a$b")
    assert parse_options(uri, {"key": "k", "secret": "s"}).provider.region == "eu-west-1"
    assert parse_options(uri, {"aws_region": "eu-west-1"}).provider.region == "eu-west-1"
    with pytest.raises(InvalidOption, match="'region' and 'aws_region' are the same option"):
        parse_options(uri, {"aws_region": "eu-west-2"})


@pytest.mark.parametrize("value", [30, 30.0, "30", "30s", "30000ms", timedelta(seconds=30)])
def test_times(value):
    options = parse_options(parse_uri("s3://b"), {"timeout": value})
    assert options.client.timeout == 30.0
    assert options.for_lance()["timeout"] == options.for_obstore()[1]["timeout"] == "30000ms"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"timeout": 0}, "time above zero"),
        ({"timeout": "-1s"}, "time above zero"),
        ({"timeout": "soon"}, "time above zero"),
        ({"timeout": True}, "time above zero"),
        ({"timeout": float("nan")}, "time above zero"),
        ({"timeout": "1 2"}, "time above zero"),
        ({"allow_http": "bogus"}, "'allow_http' must be true or false, not 'bogus'"),
        ({"allow_http": 2}, "must be true or false"),
        ({"pool_max_idle_per_host": "-1"}, "whole number"),
        ({"pool_max_idle_per_host": 1.5}, "whole number"),
        ({"region": 3}, "'region' must be text, not int"),
        ({"region": ""}, "not empty text"),
        ({"endpoint": "127.0.0.1:9000"}, "must begin with http"),
        ({"endpoint": "http://me:pass@h"}, "holds credentials"),
        ({"endpoint": "http://h", "allow_http": False}, "'allow_http' is false"),
        ({"access_key_id": "k"}, "go together"),
        ({"profile": "p", "key": "k", "secret": "s"}, "exclude each other"),
        (
            {"key": "k", "aws_access_key_id": "other", "secret": "s"},
            "the same option with two values",
        ),
        ({"client_kwargs": {"regoin_name": "x"}}, "did you mean 'region_name'"),
        ({"client_kwargs": "x"}, "must be a mapping"),
        ({"client_kwargs": {"verify": "/ca.pem"}}, "those of the system"),
        ({"config_kwargs": {"s3": {"addressing_style": "odd"}}}, "addressing_style"),
        ({"config_kwargs": {"signature_version": "s3"}}, "UNSIGNED"),
        ({"session": object()}, "'session' is an object"),
        ({"use_ssl": "no"}, "'use_ssl' must be"),
        ({3: "x"}, "text as its name"),
        ({"regoin": "x"}, "did you mean 'region'?"),
        ({"AWS_REGOIN": "x"}, "did you mean 'aws_region'?"),
        ({"client_kwarg": {}}, "did you mean 'client_kwargs'?"),
        ({"end_point_url": "x"}, "did you mean 'endpoint_url'?"),
        ({"account_key": "x"}, "an option of Azure (az://), not of S3"),
        ({"connection_string": "x"}, "an option of Azure (az://), not of S3"),
        ({"google_service_account": "x"}, "an option of Google Cloud Storage (gs://), not of S3"),
        ({"qqqqqqqq": "x"}, "known: 'access_key_id'"),
    ],
)
def test_refused(given, said):
    with pytest.raises(InvalidOption) as caught:
        parse_options(parse_uri("s3://b"), given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("root", "given", "said"),
    [
        ("gs://b", {"token": "browser"}, "'token' must be"),
        ("gs://b", {"token": object()}, "'token' must be"),
        ("gs://b", {"token": {"type": "authorized_user"}}, "'application_credentials'"),
        ("gs://b", {"service_account_key": "/path/key.json"}, "for a path use 'service_account'"),
        ("gs://b", {"region": "x"}, "an option of S3 (s3://), not of Google Cloud Storage"),
        ("az://c", {"credential": object()}, "'credential' is an object"),
        ("az://c", {"connection_string": "nonsense"}, "AccountName="),
        ("az://c", {"account_host": "https://h"}, "use 'endpoint'"),
        ("az://c", {"acount_name": "x"}, "did you mean 'account_name'?"),
        ("/tmp/x", {"region": "x"}, "takes no storage options"),
        ("memory://x", {"region": "x"}, "takes no storage options"),
        ("https://h/x", {"region": "x"}, "takes no storage options"),
    ],
)
def test_refused_elsewhere(root, given, said):
    with pytest.raises(InvalidOption) as caught:
        parse_options(parse_uri(root), given)
    assert said in str(caught.value)


def test_every_misspelling_by_one_letter_finds_its_word():
    """A word with one letter dropped is either another word or leads back to a close one."""
    for scheme, root in ROOTS.items():
        words = {*spellings(scheme), *NESTED[scheme]}
        for word in words:
            wrong = word[: len(word) // 2] + word[len(word) // 2 + 1 :]
            if len(word) < 5 or wrong in words:
                continue
            with pytest.raises(InvalidOption, match=r"did you mean|is an option of"):
                parse_options(parse_uri(root), {wrong: "x"})


def test_no_options_for_places_without():
    for root in ("/tmp/x", "memory://x", "https://h"):
        options = parse_options(parse_uri(root), {"region": None})
        assert options.provider == NoOptions()
        assert options.for_lance() == {}
        assert options.for_obstore() == ({}, {})
        assert not options.has_secrets


def test_secret_fields_are_those_that_hold_secrets():
    names = {(s, f) for s, st in STRUCTS.items() for f, k in kinds(st).items() if k is Secret}
    assert names == {
        ("s3", "secret_access_key"),
        ("s3", "session_token"),
        ("s3", "sse_customer_key_base64"),
        ("gs", "service_account_key"),
        ("gs", "bearer_token"),
        ("az", "account_key"),
        ("az", "sas_token"),
        ("az", "bearer_token"),
        ("az", "client_secret"),
        ("az", "encryption_key"),
        ("az", "fabric_session_token"),
    }
