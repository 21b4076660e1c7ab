"""The grammar of roots."""

from __future__ import annotations

import pickle
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pennon.errors import InvalidURI
from pennon.uri import Uri, parse_uri

TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("%+&=?#$;:@ ~é®/\\"),
    max_size=20,
)
STEPS = st.lists(
    TEXT.map(lambda t: t.replace("/", "")).filter(lambda t: t not in {"", ".", ".."}), max_size=4
)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}", fullmatch=True)
OPTIONS = st.dictionaries(TEXT.filter(lambda t: t != "ns" and not t.startswith("amp;")), TEXT)
NAMESPACES = st.lists(TEXT.map(lambda t: t.replace("$", "")).filter(bool), max_size=3).map(tuple)
REMOTE = st.builds(
    lambda scheme, bucket, steps, ns, options: Uri(scheme, bucket, "/".join(steps), ns, options),
    st.sampled_from(["s3", "gs", "az", "memory", "db", "http", "https"]),
    NAMES,
    STEPS,
    NAMESPACES,
    OPTIONS,
)
LOCAL = st.builds(
    lambda steps, ns, options: Uri("file", "", "/" + "/".join(steps), ns, options),
    STEPS,
    NAMESPACES,
    OPTIONS,
)


@given(REMOTE | LOCAL)
def test_text_and_back(uri):
    text = uri.with_query()
    assert parse_uri(text) == uri
    assert parse_uri(text).with_query() == text
    bare = parse_uri(str(uri))
    assert (bare.scheme, bare.bucket, bare.path) == (uri.scheme, uri.bucket, uri.path)
    assert (bare.namespace, dict(bare.options)) == ((), {})
    assert pickle.loads(pickle.dumps(uri)) == uri
    assert {uri: 1}[parse_uri(text)] == 1


@given(REMOTE | LOCAL)
def test_neither_text_nor_repr_shows_options(uri):
    secret = "Hush0123456789"
    uri = Uri(uri.scheme, uri.bucket, uri.path, uri.namespace, {"secret": secret})
    assert secret not in str(uri) + repr(uri)
    assert secret in uri.with_query()


@given(
    st.sampled_from(["s3://b", "memory://m", "/root/x", "https://h"]), st.lists(TEXT, max_size=4)
)
def test_join_stays_below(root, parts):
    base = parse_uri(root)
    steps = [s for p in parts for s in p.split("/") if s]
    if {".", ".."} & set(steps):
        with pytest.raises(InvalidURI):
            base.join(*parts)
        return
    below = base.join(*parts)
    tail = "/".join(steps)
    assert below.path == (
        f"{base.path}/{tail}".strip("/")
        if base.scheme != "file"
        else f"/root/x/{tail}".rstrip("/")
        if tail
        else "/root/x"
    )
    assert parse_uri(str(below)) == below


@given(TEXT | st.builds("{}://{}".format, st.sampled_from(["s3", "file", "gs", "http"]), TEXT))
def test_any_text_parses_or_is_refused(text):
    refused = ""
    try:
        uri = parse_uri(text)
    except InvalidURI as error:
        refused = str(error)
    if refused:
        assert refused.endswith((".", "?")), "a sentence"
        return
    assert parse_uri(str(uri)).path == uri.path
    assert ".." not in uri.path.split("/")
    if uri.scheme == "file":
        assert uri.path.startswith("/")


@pytest.mark.parametrize(
    ("text", "scheme", "bucket", "path"),
    [
        ("/data/x", "file", "", "/data/x"),
        ("/data/x/", "file", "", "/data/x"),
        ("/data/../x", "file", "", "/x"),
        ("/x%20y?z#w", "file", "", "/x%20y?z#w"),
        ("file:///data/x%20y", "file", "", "/data/x y"),
        ("file://localhost/x", "file", "", "/x"),
        ("FILE:///x", "file", "", "/x"),
        ("/a::b", "file", "", "/a::b"),
        ("memory://m", "memory", "m", ""),
        ("memory://", "memory", "", ""),
        ("s3://b", "s3", "b", ""),
        ("S3://b/a//c/", "s3", "b", "a/c"),
        ("s3a://b/a+c", "s3", "b", "a+c"),
        ("s3://b/%C3%A9 x%25", "s3", "b", "é x%"),
        ("s3://b/é", "s3", "b", "é"),
        ("gs://b_1/x", "gs", "b_1", "x"),
        ("gcs://b/x", "gs", "b", "x"),
        ("az://c/x", "az", "c", "x"),
        ("azure://c/x", "az", "c", "x"),
        ("abfs://c/x", "az", "c", "x"),
        ("az://$root/x", "az", "$root", "x"),
        ("db://name", "db", "name", ""),
        ("http://[::1]:80/x", "http", "[::1]:80", "x"),
        ("https://h:8/x", "https", "h:8", "x"),
        ("rest+https://h/x", "https", "h", "x"),
        ("rest+http://h", "http", "h", ""),
    ],
)
def test_grammar(text, scheme, bucket, path):
    uri = parse_uri(text)
    assert (uri.scheme, uri.bucket, uri.path) == (scheme, bucket, path)
    assert uri.is_bucket == (scheme in {"s3", "gs", "az"})
    assert uri.is_server == (scheme in {"http", "https", "db"})


def test_paths_are_fixed_when_parsed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("./lake", "lake", Path("lake"), PurePosixPath("lake")):
        uri = parse_uri(text)
        assert uri.path == str(tmp_path / "lake")
        assert parse_uri(uri) is uri
    assert parse_uri(Path("/a?ns=b%20c")).path == "/a?ns=b%20c"
    with pytest.raises(InvalidURI, match="two slashes"):
        parse_uri(Path("s3://b/x"))
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_uri("~/lake").path == "/home/me/lake"
    (tmp_path / "link").symlink_to(tmp_path / "away")
    assert parse_uri("link").path == str(tmp_path / "link"), "a link may be moved later"


@pytest.mark.parametrize(
    ("text", "namespace", "options"),
    [
        ("s3://b/x?", (), {}),
        ("s3://b/x?ns=a", ("a",), {}),
        ("s3://b/x?ns=a$b", ("a", "b"), {}),
        ("s3://b/x?ns=a%24b&region=r", ("a", "b"), {"region": "r"}),
        ("file:///x?ns=a", ("a",), {}),
        ("s3://b/x?secret=a+b/c%2Bd", (), {"secret": "a+b/c+d"}),
        ("s3://b/x?region=", (), {"region": ""}),
        ("abfss://c@acct.dfs.core.windows.net/x", (), {"account_name": "acct"}),
        ("abfss://c@acct/x", (), {"account_name": "acct"}),
        ("abfss://c@a.dfs.core.windows.net/x?account_name=a", (), {"account_name": "a"}),
        (
            "abfss://c@acct.dfs.core.chinacloudapi.cn/x",
            (),
            {"account_name": "acct", "endpoint": "https://acct.blob.core.chinacloudapi.cn"},
        ),
    ],
)
def test_queries(text, namespace, options):
    uri = parse_uri(text)
    assert uri.namespace == namespace
    assert uri.options == options


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty string"),
        ("  ", "empty string"),
        (3, "int is no URI"),
        (None, "NoneType is no URI"),
        (b"/x", "bytes is no URI"),
        ("s3:/b/x", "two slashes"),
        ("file:x", "two slashes"),
        ("s3:///x", "lacks a name"),
        ("https:///x", "lacks a host"),
        ("ftp://h/x", "Unknown scheme 'ftp'"),
        ("azur://b", "did you mean 'azure'?"),
        ("file://host/x", "names a host"),
        (" s3://b/x", "before the scheme"),
        ("s3://b/x ", "ends in a space"),
        ("./lake?ns=a", "A path has no query"),
        ("s3://b/../x", "'.' or '..'"),
        ("s3://b/%2e%2e/x", "'.' or '..'"),
        ("s3://b/a%2f..%2f..%2fx", "'.' or '..'"),
        ("https://h/a/../b", "'.' or '..'"),
        ("s3://b/a%00b", "control character"),
        ("s3://b/a\nb", "control character"),
        ("s3://b/x?a=%0d", "control character"),
        ("/a\x00b", "control character"),
        ("s3://b/\ud800", "half a character"),
        ("s3://b/%ff", "not UTF-8"),
        ("s3://b/x?a=%ff", "not UTF-8"),
        ("s3://b/100%", "'%25'"),
        ("s3://b/x?a=%zz", "'%25'"),
        ("s3://b/x#y", "'%23'"),
        ("s3://b/x?a", "scheme://name/path?key=value"),
        ("http://h:99999/x", "scheme://name/path?key=value"),
        ("s3://b/x?a=1&a=1", "gives 'a' twice"),
        ("s3://b/x?ns=a&ns=b", "gives 'ns' twice"),
        ("s3://b/x?ns=", "must name a namespace"),
        ("s3://b/x?ns=a$$b", "must name a namespace"),
        ("s3://b/x?a=1&amp;b=2", "'&amp;'"),
        ("s3://b/x?endpoint=e®ion=r", "'&reg' mangled"),
        ("s3://b/x?a=1¬_b=2", "'&not' mangled"),
        ("s3://key:secret@b/x", "Credentials do not belong"),
        ("https://me:secret@h/x", "Credentials do not belong"),
        ("s3://b:80/x", "name of a bucket"),
        ("s3://b c/x", "name of a bucket"),
        ("abfss://c@/x", "container@account"),
        ("abfss://@a.dfs.core.windows.net/x", "container@account"),
        ("abfss://c@a.dfs.core.windows.net/x?account_name=b", "two Azure accounts"),
        ("filecache::s3://b/x", "Chained URLs"),
        ("simplecache::memory://x", "Chained URLs"),
        ("zip://x.zip::s3://b/y.zip", "Chained URLs"),
        ("dir::file:///x", "Chained URLs"),
        ("~no-such-user-here/x", "unknown user"),
    ],
)
def test_refused(text, said):
    with pytest.raises(InvalidURI) as caught:
        parse_uri(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3://me:Hush123@b/x",
        "s3://b/x?secret=Hush123&secret=Hush123",
        "s3://b/x?secret=Hush123\n",
        "s3://b/x?Hush123",
        "s3://b/x?secret=Hush123%zz",
        "s3://b/../x?secret=Hush123",
        "s3:/b/x?secret=Hush123",
        "dir::s3://b?secret=Hush123",
    ],
)
def test_a_refusal_shows_no_credential(text):
    import traceback

    with pytest.raises(InvalidURI) as caught:
        parse_uri(text)
    assert "Hush123" not in "".join(traceback.format_exception_only(caught.value)) + repr(
        caught.value.__cause__
    )
