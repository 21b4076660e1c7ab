"""What the environment and the AWS profiles add."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pennon.config import parse_options, split_storage
from pennon.errors import InvalidOption, MissingExtra, Unauthenticated
from pennon.uri import parse_uri

S3 = parse_uri("s3://b/x")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("AWS_", "GOOGLE_", "AZURE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


@pytest.mark.parametrize(
    ("root", "variable", "field"),
    [
        ("s3://b", "AWS_ENDPOINT_URL_S3", "endpoint"),
        ("s3://b", "AWS_ENDPOINT_URL", "endpoint"),
        ("s3://b", "AWS_ENDPOINT", "endpoint"),
        ("gs://b", "GOOGLE_BASE_URL", "base_url"),
        ("az://b", "AZURE_STORAGE_ENDPOINT", "endpoint"),
        ("az://b", "AZURE_ENDPOINT", "endpoint"),
    ],
)
def test_endpoint_of_the_environment(root, variable, field, monkeypatch):
    monkeypatch.setenv(variable, "http://127.0.0.1:9/")
    options = parse_options(parse_uri(root))
    assert getattr(options.provider, field) == "http://127.0.0.1:9"
    assert options.client.allow_http is True
    assert options.for_lance()["allow_http"] == "true"
    explicit = parse_options(parse_uri(root), {field: "https://mine"})
    assert getattr(explicit.provider, field) == "https://mine"
    assert explicit.client.allow_http is None


def test_the_s3_endpoint_wins_over_the_general_one(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://general")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "https://special")
    assert parse_options(S3).provider.endpoint == "https://special"


def test_allow_http_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ALLOW_HTTP", "TRUE")
    assert parse_options(S3).client.allow_http is True
    assert parse_options(S3, {"allow_http": False}).client.allow_http is False


def test_region_of_a_custom_endpoint(monkeypatch):
    assert parse_options(S3).provider.region is None
    assert parse_options(S3, {"endpoint": "https://h"}).provider.region == "us-east-1"
    assert parse_options(S3, {"endpoint": "https://h", "region": "r"}).provider.region == "r"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert parse_options(S3, {"endpoint": "https://h"}).provider.region is None


PROFILES = """
[profile work]
region = eu-west-3
aws_access_key_id = AKWORK
aws_secret_access_key = {secret}
[profile empty]
region = eu-west-3
[profile broken]
role_arn = arn:aws:iam::1:role/x
source_profile = nowhere
"""


def test_profile(bare_environment):
    (bare_environment / "config").write_text(PROFILES.format(secret="hush-work"))
    options = parse_options(S3, {"profile": "work"})
    expected = {
        "aws_access_key_id": "AKWORK",
        "aws_secret_access_key": "hush-work",
        "aws_region": "eu-west-3",
    }
    assert options.for_obstore()[0] == expected
    assert expected.items() <= options.for_lance().items()
    assert options.for_fsspec() == {"profile": "work"}
    assert options.secrets == ("hush-work",)
    assert "hush-work" not in repr(options) + repr(options.for_lance())
    assert not options.has_secrets
    near = parse_options(S3, {"profile": "work", "region": "here", "endpoint": "https://h"})
    assert near.for_obstore()[0]["aws_region"] == "here"
    assert parse_options(S3, {"profile": "work", "endpoint": "https://h"}).for_lance()[
        "aws_region"
    ] == ("eu-west-3")


def test_profile_of_the_environment(bare_environment, monkeypatch):
    (bare_environment / "config").write_text(PROFILES.format(secret="hush-env"))
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert parse_options(S3).for_obstore()[0]["aws_access_key_id"] == "AKWORK"
    assert parse_options(S3, {"key": "k", "secret": "s"}).provider.profile is None
    assert parse_options(S3, {"anon": True}).provider.profile is None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKENV")
    assert parse_options(S3).provider.profile is None


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("nobody", InvalidOption, "no AWS profile 'nobody'"),
        ("empty", Unauthenticated, "holds no credentials"),
        ("broken", InvalidOption, "cannot be read"),
    ],
)
def test_profiles_that_do_not_work(bare_environment, name, kind, said, monkeypatch):
    (bare_environment / "config").write_text(PROFILES.format(secret="x"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(kind, match=said):
        parse_options(S3, {"profile": name}).for_obstore()


def test_profile_without_botocore(bare_environment, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    with pytest.raises(MissingExtra, match=r"pip install 'pennon\[s3\]'"):
        parse_options(S3, {"profile": "another"})


def test_import_reads_no_environment_and_loads_nothing_heavy():
    code = (
        "import os, sys\n"
        "class Watched(dict):\n"
        "    def get(self, k, d=None):\n"
        "        assert not k.startswith(('AWS_', 'GOOGLE_', 'AZURE_')), k\n"
        "        return dict.get(self, k, d)\n"
        "    __getitem__ = lambda self, k: self.get(k)\n"
        "os.environ = Watched(os.environ)\n"
        "import pennon.config\n"
        "heavy = {'lance', 'pyarrow', 'obstore', 'fsspec', 'botocore', 'httpx', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_split_storage():
    rest, storage = split_storage({"root": "x", "storage.region": "r", "storagex": 1})
    assert rest == {"root": "x", "storagex": 1}
    assert storage == {"region": "r"}
