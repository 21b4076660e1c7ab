"""The same options open the same place through obstore and through Lance, in every spelling."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
import uuid

import pytest

from pennon.config import parse_options
from pennon.uri import parse_uri


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


def through_both(uri, given):
    """Write a table through Lance and see it through obstore, then the other way round."""
    import lance
    import obstore
    import pyarrow as pa
    from obstore.store import AzureStore, GCSStore, S3Store

    root = parse_uri(uri).join(uuid.uuid4().hex)
    options = parse_options(root, given)
    config, client = options.for_obstore()
    kind = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[root.scheme]
    store = kind(root.bucket, config=config, client_options=client)
    lance.write_dataset(
        pa.table({"a": [1, 2]}), f"{root}/t.lance", storage_options=options.for_lance()
    )
    lance.write_dataset(
        pa.table({"a": [3]}),
        f"{root}/t.lance",
        storage_options=options.for_lance(),
        mode="append",
    )
    keys = [m["path"] for page in obstore.list(store, f"{root.path}/t.lance") for m in page]
    assert sum(k.endswith(".lance") for k in keys) == 2
    assert sum(k.endswith(".manifest") for k in keys) == 2
    for key in keys:
        copy = key.replace("/t.lance/", "/u.lance/")
        obstore.put(store, copy, obstore.get(store, key).bytes(), mode="create")
    read = lance.dataset(f"{root}/u.lance", storage_options=options.for_lance())
    assert read.to_table()["a"].to_pylist() == [1, 2, 3]


def s3_spellings(o):
    url, key, secret = o["endpoint"], o["access_key_id"], o["secret_access_key"]
    plain = {"aws_access_key_id": key, "aws_secret_access_key": secret}
    return [
        plain | {"aws_endpoint": url},
        plain | {"aws_endpoint_url": url + "/", "aws_region": "us-east-1"},
        {"ACCESS_KEY_ID": key, "SECRET_ACCESS_KEY": secret, "ENDPOINT_URL": url},
        {"key": key, "secret": secret, "endpoint_url": url},
        {"key": key, "secret": secret, "client_kwargs": {"endpoint_url": url}, "anon": False},
        plain | {"endpoint": url, "aws_virtual_hosted_style_request": "false"},
        {"key": key, "secret": secret, "use_ssl": False, "endpoint_url": url, "token": None},
    ]


@pytest.fixture
def s3_facts(s3_root):
    provider = parse_options(parse_uri(s3_root.uri), s3_root.options).provider
    return {
        "endpoint": provider.endpoint,
        "access_key_id": provider.access_key_id,
        "secret_access_key": provider.secret_access_key.plain,
    }


@pytest.mark.parametrize("which", range(7))
def test_s3(s3_root, s3_facts, which):
    through_both(s3_root.uri, s3_spellings(s3_facts)[which])


def test_s3_from_a_query(s3_root, s3_facts):
    uri = parse_uri(f"{s3_root.uri}?endpoint={s3_facts['endpoint']}&region=us-east-1")
    rest = {"key": s3_facts["access_key_id"], "secret": s3_facts["secret_access_key"]}
    options = parse_options(uri, rest)
    through_both(s3_root.uri, options.for_lance())


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT"])
def test_s3_from_the_environment(s3_root, s3_facts, variable, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_facts["access_key_id"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_facts["secret_access_key"])
    monkeypatch.setenv(variable, s3_facts["endpoint"])
    options = parse_options(parse_uri(s3_root.uri))
    assert not options.has_secrets
    assert s3_facts["secret_access_key"] not in pickle.dumps(options).decode("latin1")
    through_both(s3_root.uri, None)


def test_an_endpoint_given_wins_over_the_environment(s3_root, s3_facts, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    through_both(s3_root.uri, s3_spellings(s3_facts)[0])


def test_s3_by_profile(s3_root, s3_facts, monkeypatch, tmp_path):
    (tmp_path / "credentials").write_text(
        f"[mine]\naws_access_key_id = {s3_facts['access_key_id']}\n"
        f"aws_secret_access_key = {s3_facts['secret_access_key']}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    through_both(s3_root.uri, {"profile": "mine", "endpoint": s3_facts["endpoint"]})


@pytest.mark.parametrize("which", range(4))
def test_azure(azure_root, which):
    provider = parse_options(parse_uri(azure_root.uri), azure_root.options).provider
    name, key, url = provider.account_name, provider.account_key.plain, provider.endpoint
    given = [
        {"account_name": name, "account_key": key, "endpoint": url},
        {"azure_storage_account_name": name, "azure_storage_account_key": key}
        | {"azure_storage_endpoint": url},
        {"connection_string": f"AccountName={name};AccountKey={key};BlobEndpoint={url};"},
        {"account_name": name, "credential": key, "endpoint": url},
    ][which]
    through_both(azure_root.uri, given)


@pytest.mark.parametrize("which", range(4))
def test_gcs(gcs_server, which, tmp_path, monkeypatch):
    bucket = f"spelling-{uuid.uuid4().hex[:8]}"
    key = gcs_server.options(bucket)["service_account_key"]
    (tmp_path / "key.json").write_text(key)
    given = [
        {"service_account_key": key},
        {"google_service_account": str(tmp_path / "key.json"), "allow_http": True},
        {"token": json.loads(key)},
        {"endpoint_url": gcs_server.endpoint, "token": "ya29.raw"},
    ][which]
    through_both(f"gs://{bucket}/lake", given)


def test_gcs_reads_anonymously(gcs_server):
    import lance
    import obstore
    import pyarrow as pa
    from obstore.store import GCSStore

    bucket = f"public-{uuid.uuid4().hex[:8]}"
    root = parse_uri(f"gs://{bucket}/t.lance")
    owner = parse_options(root, gcs_server.options(bucket))
    lance.write_dataset(pa.table({"a": [1]}), str(root), storage_options=owner.for_lance())
    anyone = parse_options(root, {"endpoint_url": gcs_server.endpoint, "token": "anon"})
    config, client = anyone.for_obstore()
    store = GCSStore(bucket, config=config, client_options=client)
    assert [m["path"] for page in obstore.list(store, "t.lance/data") for m in page]
    assert lance.dataset(str(root), storage_options=anyone.for_lance()).count_rows() == 1


def test_gcs_from_the_environment(gcs_server, monkeypatch):
    bucket = f"spelling-{uuid.uuid4().hex[:8]}"
    key = gcs_server.options(bucket)["service_account_key"]
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", key)
    monkeypatch.setenv("GOOGLE_BASE_URL", gcs_server.endpoint)
    through_both(f"gs://{bucket}/lake", None)


REFUSED = """
import sys, time
import lance
from pennon.config import parse_options
from pennon.uri import parse_uri
given = {"s3": {"key": "a", "secret": "b", "endpoint": sys.argv[2]},
         "gs": {"token": "anon", "endpoint_url": sys.argv[2]},
         "az": {"account_name": "a", "account_key": "aw==", "endpoint": sys.argv[2] + "/a"}}
uri = parse_uri(sys.argv[1] + "://bucket/x")
try:
    lance.dataset(str(uri), storage_options=parse_options(uri, given[uri.scheme]).for_lance())
except ValueError as error:
    print("refused", type(error).__name__)
"""


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_lance_gives_up_on_a_closed_port(scheme):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", REFUSED, scheme, f"http://127.0.0.1:{closed.getsockname()[1]}"],
            check=True,
            timeout=60,
            capture_output=True,
            text=True,
        )
    assert done.stdout.startswith("refused")
    assert time.monotonic() - start < 20, "10 seconds, and the start of a process"
