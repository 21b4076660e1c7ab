"""Roots as fsspec filesystems and filesystems as roots, against real servers."""

from __future__ import annotations

import gc
import importlib
import json
import os
import subprocess
import sys
import uuid

import fsspec
import pytest
from fsspec.implementations.cached import SimpleCacheFileSystem
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from pennon.config import from_fsspec, parse_options
from pennon.errors import InvalidOption, InvalidURI, MissingExtra, Unsupported
from pennon.integrations.fsspec import filesystem, root_of
from pennon.uri import parse_uri

module = importlib.import_module("pennon.integrations.fsspec")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_filesystem_survives():
    """A session left open warns when it is collected, and a warning fails the test."""
    yield
    for kind in (fsspec.get_filesystem_class(n) for n in ("s3", "az", "gs")):
        kind.clear_instance_cache()
    gc.collect()


def bytes_of(uri, options):
    """What an object store of obstore holds below a root."""
    import obstore
    from obstore.store import AzureStore, S3Store

    config, client = parse_options(uri, options).for_obstore()
    kind = {"s3": S3Store, "az": AzureStore}[uri.scheme]
    store = kind(uri.bucket, config=config, client_options=client)
    found = [m["path"] for page in obstore.list(store, uri.path) for m in page]
    return {p.removeprefix(f"{uri.path}/"): bytes(obstore.get(store, p).bytes()) for p in found}


def exercise(fs):
    """Write, list and delete with the filesystem, below its root only."""
    assert isinstance(fs, DirFileSystem)
    fs.pipe_file("a b/é.bin", b"one")
    fs.pipe_file("c", b"two")
    assert fs.cat_file("a b/é.bin") == b"one"
    assert sorted(fs.find("")) == ["a b/é.bin", "c"]
    assert [e["name"] for e in fs.ls("a b")] == ["a b/é.bin"]
    fs.rm_file("c")
    assert not fs.exists("c")
    assert fs.find("") == ["a b/é.bin"]


@pytest.mark.parametrize("which", ["s3_root", "azure_root"])
def test_buckets(which, request):
    root = request.getfixturevalue(which)
    uri = parse_uri(root.uri).join("über lake")
    fs = filesystem(uri, storage_options=root.options)
    exercise(fs)
    assert bytes_of(uri, root.options) == {"a b/é.bin": b"one"}
    again, options = root_of(fs)
    assert again == uri
    assert bytes_of(again, options) == {"a b/é.bin": b"one"}
    before, after = parse_options(uri, root.options), parse_options(again, options)
    assert after.provider == before.provider
    assert after.for_lance() == before.for_lance()


def test_listings_are_not_stale(s3_root):
    import obstore
    from obstore.store import S3Store

    uri = parse_uri(s3_root.uri)
    fs = filesystem(uri, storage_options=s3_root.options)
    fs.pipe_file("a/1", b"")
    assert fs.ls("a", detail=False) == ["a/1"]
    config, client = parse_options(uri, s3_root.options).for_obstore()
    store = S3Store(uri.bucket, config=config, client_options=client)
    obstore.put(store, f"{uri.path}/a/2", b"")
    assert sorted(fs.ls("a", detail=False)) == ["a/1", "a/2"]


def test_a_filesystem_made_by_hand(s3_root):
    import lance
    import pyarrow as pa
    import s3fs

    provider = parse_options(parse_uri(s3_root.uri), s3_root.options).provider
    path = s3_root.uri.removeprefix("s3://")
    secret = provider.secret_access_key.plain
    made = [
        s3fs.S3FileSystem(
            key=provider.access_key_id,
            secret=secret,
            client_kwargs={"endpoint_url": provider.endpoint, "region_name": "us-east-1"},
            default_cache_type="none",
            use_listings_cache=False,
            config_kwargs={"s3": {"addressing_style": "path"}},
        ),
        s3fs.S3FileSystem(False, provider.endpoint, provider.access_key_id, secret),
        DirFileSystem(
            path.split("/")[0],
            s3fs.S3FileSystem(
                key=provider.access_key_id, secret=secret, endpoint_url=provider.endpoint
            ),
        ),
    ]
    for number, inner in enumerate(made):
        below = path if number < 2 else path.split("/", 1)[1]
        uri, options = root_of(DirFileSystem(f"{below}/t{number}.lance", inner))
        assert str(uri) == f"{s3_root.uri}/t{number}.lance"
        lance_options = parse_options(uri, options).for_lance()
        lance.write_dataset(pa.table({"a": [number]}), str(uri), storage_options=lance_options)
        assert inner.exists(f"{below}/t{number}.lance/_versions")


def test_adlfs_made_by_hand(azure_root):
    import adlfs

    provider = parse_options(parse_uri(azure_root.uri), azure_root.options).provider
    key = provider.account_key.plain
    text = f"AccountName={provider.account_name};AccountKey={key};BlobEndpoint={provider.endpoint}"
    inner = adlfs.AzureBlobFileSystem(connection_string=text, max_concurrency=2)
    path = azure_root.uri.removeprefix("az://")
    inner.pipe_file(f"{path}/x", b"1")
    uri, options = root_of(DirFileSystem(path, inner))
    assert str(uri) == azure_root.uri
    assert bytes_of(uri, options) == {"x": b"1"}


def test_local(tmp_path):
    fs = filesystem(tmp_path / "not yet")
    exercise(fs)
    assert (tmp_path / "not yet" / "a b" / "é.bin").read_bytes() == b"one"
    assert root_of(fs) == (parse_uri(tmp_path / "not yet"), {})
    odd = tmp_path / "100% #1?ns=x"
    assert root_of(filesystem(odd))[0].path == str(odd)
    assert root_of(DirFileSystem(str(tmp_path), LocalFileSystem()))[0].path == str(tmp_path)
    nested = DirFileSystem("b", DirFileSystem(str(tmp_path), LocalFileSystem()))
    assert root_of(nested)[0].path == str(tmp_path / "b")
    assert root_of(DirFileSystem("/", LocalFileSystem()))[0].path == "/"


def test_memory():
    name = uuid.uuid4().hex
    fs = filesystem(f"memory://{name}/x")
    exercise(fs)
    assert root_of(fs) == (parse_uri(f"memory://{name}/x"), {})


def test_gcs_arguments():
    """Constructed only: gcsfs speaks the JSON API, which the double does not."""
    key = '{"gcs_base_url": "http://127.0.0.1:9", "disable_oauth": true, "private_key": ""}'
    arguments = parse_options(parse_uri("gs://b/x"), {"service_account_key": key}).for_fsspec()
    assert arguments == {"token": "anon", "endpoint_url": "http://127.0.0.1:9"}
    given = {"token": "anon", "project": "p", "endpoint_url": "http://127.0.0.1:9"}
    fs = filesystem("gs://b/x", storage_options=given)
    assert "GCSFileSystem" in [c.__name__ for c in type(fs.fs).__mro__]
    assert fs.path == "b/x"
    uri, options = root_of(fs)
    assert str(uri) == "gs://b/x"
    assert options == given
    bearer = parse_options(uri, {"bearer_token": "ya29.x"}).for_fsspec()["token"]
    assert bearer.token == "ya29.x"
    path = parse_options(uri, {"google_application_credentials": "/adc.json"}).for_fsspec()
    assert path == {"token": "/adc.json"}


@pytest.mark.parametrize(
    ("root", "given", "expected"),
    [
        ("s3://b", {}, {}),
        (
            "s3://b",
            {"key": "k", "secret": "s", "token": "t", "region": "r"},
            {"key": "k", "secret": "s", "token": "t", "client_kwargs": {"region_name": "r"}},
        ),
        ("s3://b", {"anon": True, "profile": None}, {"anon": True}),
        (
            "s3://b",
            {"virtual_hosted_style_request": True, "allow_invalid_certificates": True},
            {
                "config_kwargs": {"s3": {"addressing_style": "virtual"}},
                "client_kwargs": {"verify": False},
            },
        ),
        (
            "s3://b",
            {"timeout": 3, "connect_timeout": 2, "proxy_url": "http://p:1"},
            {
                "config_kwargs": {
                    "connect_timeout": 2.0,
                    "read_timeout": 3.0,
                    "proxies": {"http": "http://p:1", "https": "http://p:1"},
                }
            },
        ),
        (
            "s3://b",
            {"server_side_encryption": "aws:kms", "sse_kms_key_id": "id"},
            {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "id"}},
        ),
        ("s3://b", {"request_payer": "requester"}, {"requester_pays": True}),
        (
            "az://c",
            {"account_name": "a", "account_key": "k"},
            {"account_name": "a", "account_key": "k"},
        ),
        (
            "az://c",
            {"account_name": "a", "tenant_id": "t", "client_id": "i", "client_secret": "s"},
            {"account_name": "a", "tenant_id": "t", "client_id": "i", "client_secret": "s"},
        ),
        (
            "az://c",
            {"account_name": "a", "sas_token": "sig=x", "endpoint": "https://h"},
            {
                "account_name": "a",
                "connection_string": "AccountName=a;SharedAccessSignature=sig=x;"
                "BlobEndpoint=https://h",
            },
        ),
        (
            "az://c",
            {"account_name": "a", "endpoint": "https://a.h"},
            {"account_name": "a", "account_host": "a.h"},
        ),
        ("az://c", {"account_name": "a", "anon": True}, {"account_name": "a", "anon": True}),
    ],
)
def test_arguments(root, given, expected):
    arguments = parse_options(parse_uri(root), given).for_fsspec()
    assert arguments == expected
    assert "***" not in repr(arguments), "fsspec tells filesystems apart by repr"


@pytest.mark.parametrize(
    ("root", "given", "name"),
    [
        ("s3://b", {"role_arn": "arn"}, "role_arn"),
        ("s3://b", {"sse_customer_key_base64": "x"}, "sse_customer_key_base64"),
        ("az://c", {"token": "x"}, "bearer_token"),
    ],
)
def test_options_a_filesystem_cannot_be_told(root, given, name):
    with pytest.raises(Unsupported, match=name):
        filesystem(root, storage_options=given)


def test_credentials_keep_filesystems_apart():
    one = filesystem("s3://b", storage_options={"key": "k", "secret": "s1"})
    two = filesystem("s3://b", storage_options={"key": "k", "secret": "s2"})
    assert one.fs is not two.fs


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: fsspec.filesystem("s3", anon=True), r"pass DirFileSystem\(path, fs\)"),
        (LocalFileSystem, r"pass DirFileSystem\(path, fs\)"),
        (MemoryFileSystem, r"pass DirFileSystem\(path, fs\)"),
        (lambda: DirFileSystem("x", HTTPFileSystem()), "HTTPFileSystem cannot hold tables"),
        (
            lambda: DirFileSystem("/x", SimpleCacheFileSystem(fs=LocalFileSystem())),
            "SimpleCacheFileSystem cannot hold tables",
        ),
        (lambda: "s3://b", "str is no fsspec filesystem"),
        (object, "object is no fsspec filesystem"),
    ],
)
def test_no_roots(make, said):
    with pytest.raises(InvalidURI, match=said):
        root_of(make())


def test_objects_that_cannot_be_passed_on():
    import s3fs

    fs = DirFileSystem("b/x", s3fs.S3FileSystem(session=object()))
    uri, options = root_of(fs)
    with pytest.raises(InvalidOption, match="'session' is an object"):
        parse_options(uri, options)


def test_servers_are_no_filesystems():
    for root in ("https://h/x", "db://name"):
        with pytest.raises(InvalidURI, match="is a server"):
            filesystem(root)


@pytest.mark.parametrize(
    ("root", "missing", "extra"),
    [
        ("s3://b", "s3fs", "s3"),
        ("gs://b", "gcsfs", "gcs"),
        ("az://b", "adlfs", "azure"),
        ("memory://x", "fsspec", "fsspec"),
    ],
)
def test_missing_packages(root, missing, extra):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from pennon.errors import MissingExtra\n"
        "from pennon.integrations.fsspec import filesystem\n"
        "try:\n"
        f"    filesystem({root!r})\n"
        "except MissingExtra as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert f"pip install 'pennon[{extra}]'" in done.stdout
    assert MissingExtra.__name__ not in done.stderr


def test_a_program_that_leaves_its_filesystems_open(s3_root):
    """Nothing is written to standard error at exit, also with all warnings shown."""
    code = (
        "import sys, json\n"
        "from pennon.integrations.fsspec import filesystem\n"
        "fs = filesystem(sys.argv[1], storage_options=json.loads(sys.argv[2]))\n"
        "fs.pipe_file('a', b'1')\n"
        "assert fs.find('') == ['a']\n"
    )
    options = json.dumps(s3_root.options)
    done = subprocess.run(
        [sys.executable, "-Walways::ResourceWarning", "-c", code, s3_root.uri, options],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


def test_translation_does_not_import_fsspec():
    code = (
        "import sys\n"
        "from pennon.config import from_fsspec\n"
        "from pennon.errors import InvalidURI\n"
        "try:\n"
        "    from_fsspec(object())\n"
        "except InvalidURI:\n"
        "    assert 'fsspec' not in sys.modules\n"
        "else:\n"
        "    raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert from_fsspec is not None
    assert module.root_of is root_of
