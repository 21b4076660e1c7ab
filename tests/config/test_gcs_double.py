"""The loopback Google Cloud Storage decides conditional writes as the real one must."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import uuid

import pytest

from pennon.config import parse_options
from pennon.testing.gcs import GcsServer
from pennon.uri import parse_uri


def store_of(bucket, given):
    from obstore.store import GCSStore

    config, client = parse_options(parse_uri(f"gs://{bucket}"), given).for_obstore()
    return GCSStore(bucket, config=config, client_options=client)


@pytest.fixture
def bucket(gcs_server):
    name = f"double-{uuid.uuid4().hex[:8]}"
    return name, gcs_server.options(name)


def raw(server, method, path, headers=None, body=b""):
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"), timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_generations(gcs_server, bucket):
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    store = store_of(*bucket)
    first = obstore.put(store, "a b/é%25", b"one", mode="create", attributes={"who": "me"})
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "a b/é%25", b"two", mode="create")
    got = obstore.get(store, "a b/é%25")
    assert bytes(got.bytes()) == b"one"
    assert got.attributes["who"] == "me"
    assert got.meta["version"] == first["version"]
    same = obstore.put(store, "a b/é%25", b"one", mode=dict(first))
    assert same["version"] != first["version"]
    with pytest.raises(PreconditionError):
        obstore.put(store, "a b/é%25", b"three", mode=dict(first))
    assert bytes(obstore.get(store, "a b/é%25").bytes()) == b"one"
    with pytest.raises(PreconditionError):
        obstore.put(store, "absent", b"", mode=dict(first))


def test_ranges(bucket):
    import obstore

    store = store_of(*bucket)
    obstore.put(store, "x", bytes(range(100)))
    assert bytes(obstore.get_range(store, "x", start=10, end=20)) == bytes(range(10, 20))
    assert bytes(obstore.get_range(store, "x", start=90, end=200)) == bytes(range(90, 100))
    tail = obstore.get(store, "x", options={"range": {"suffix": 5}})
    assert bytes(tail.bytes()) == bytes(range(95, 100))
    rest = obstore.get(store, "x", options={"range": {"offset": 98}})
    assert bytes(rest.bytes()) == bytes(range(98, 100))
    with pytest.raises(obstore.exceptions.BaseError):
        obstore.get_range(store, "x", start=100, end=101)
    assert obstore.head(store, "x")["size"] == 100


def test_conditional_reads(bucket):
    import obstore
    from obstore.exceptions import NotModifiedError, PreconditionError

    store = store_of(*bucket)
    etag = obstore.put(store, "x", b"1")["e_tag"]
    assert obstore.get(store, "x", options={"if_match": etag}).meta["size"] == 1
    with pytest.raises(PreconditionError):
        obstore.get(store, "x", options={"if_match": '"other"'})
    with pytest.raises(NotModifiedError):
        obstore.get(store, "x", options={"if_none_match": etag})


@pytest.mark.parametrize("count", [0, 1, 1000, 1001, 2345])
def test_listings_go_over_pages(gcs_server, count):
    import obstore

    name = f"pages-{uuid.uuid4().hex[:8]}"
    store = store_of(name, gcs_server.options(name))
    for number in range(count):
        raw(gcs_server, "PUT", f"/{name}/d/{number:05}/x", {}, b"1")
    raw(gcs_server, "PUT", f"/{name}/da", {}, b"1")
    expected = [f"d/{n:05}/x" for n in range(count)]
    assert [m["path"] for page in obstore.list(store, "d") for m in page] == expected
    found = obstore.list_with_delimiter(store, "d")
    assert list(found["common_prefixes"]) == [e.removesuffix("/x") for e in expected]
    top = obstore.list_with_delimiter(store)
    assert [o["path"] for o in top["objects"]] == ["da"]
    if count > 5:
        after = [m["path"] for page in obstore.list(store, "d", offset=expected[4]) for m in page]
        assert after == expected[5:]


def test_errors_are_named(gcs_server, bucket):
    name, _ = bucket
    assert raw(gcs_server, "GET", "/nobody/x")[0] == 404
    assert b"NoSuchBucket" in raw(gcs_server, "GET", "/nobody?list-type=2")[2]
    assert b"NoSuchBucket" in raw(gcs_server, "PUT", "/nobody/x", {}, b"1")[2]
    assert b"NoSuchKey" in raw(gcs_server, "GET", f"/{name}/x")[2]
    assert raw(gcs_server, "DELETE", f"/{name}/x")[0] == 404
    zero = {"x-goog-if-generation-match": "0"}
    assert raw(gcs_server, "PUT", f"/{name}/x", zero, b"1")[0] == 200
    assert raw(gcs_server, "PUT", f"/{name}/x", zero, b"1")[0] == 412
    wrong = {"x-goog-if-generation-match": "1"}
    assert raw(gcs_server, "DELETE", f"/{name}/x", wrong)[0] == 412
    assert raw(gcs_server, "DELETE", f"/{name}/x")[0] == 204
    assert raw(gcs_server, "PUT", f"/{name}/x?uploadId=no&partNumber=1", {}, b"1")[0] == 404


def test_chunked_bodies(gcs_server, bucket):
    name, _ = bucket
    connection = http.client.HTTPConnection(gcs_server.endpoint.removeprefix("http://"))
    connection.request("PUT", f"/{name}/x", iter([b"ab", b"c"]), encode_chunked=True)
    assert connection.getresponse().read() == b""
    connection.close()
    assert raw(gcs_server, "GET", f"/{name}/x")[2] == b"abc"


def test_multipart(bucket):
    import obstore

    store = store_of(*bucket)
    data = bytes(range(256)) * 50_000
    obstore.put(store, "big", data, use_multipart=True, chunk_size=5 << 20)
    assert bytes(obstore.get(store, "big").bytes()) == data
    assert obstore.head(store, "big")["e_tag"].endswith('-3"')


def test_lance_writes_big_files(bucket):
    import os

    import lance
    import pyarrow as pa

    name, given = bucket
    options = parse_options(parse_uri(f"gs://{name}"), given).for_lance()
    table = pa.table({"a": [os.urandom(1 << 20) for _ in range(12)]})
    lance.write_dataset(table, f"gs://{name}/t.lance", storage_options=options)
    assert lance.dataset(f"gs://{name}/t.lance", storage_options=options).to_table() == table


def create_in_turns(bucket, given, rounds, barrier, out):
    import obstore
    from obstore.exceptions import AlreadyExistsError

    store = store_of(bucket, given)
    won = []
    for number in range(rounds):
        barrier.wait(60)
        try:
            obstore.put(store, f"r/{number}", b"x", mode="create")
            won.append(number)
        except AlreadyExistsError:
            pass
    out.put(won)


def swap(bucket, given, rounds, barrier, out):
    import obstore
    from obstore.exceptions import PreconditionError

    store = store_of(bucket, given)
    barrier.wait(60)
    done = 0
    while done < rounds:
        got = obstore.get(store, "count")
        mode = {"e_tag": got.meta["e_tag"], "version": got.meta["version"]}
        value = json.loads(bytes(got.bytes())) + 1
        try:
            obstore.put(store, "count", json.dumps(value).encode(), mode=mode)
            done += 1
        except PreconditionError:
            pass
    out.put([done])


def race(target, bucket, rounds, workers=4):
    spawn = multiprocessing.get_context("spawn")
    barrier, out = spawn.Barrier(workers), spawn.Queue()
    group = [
        spawn.Process(target=target, args=(*bucket, rounds, barrier, out)) for _ in range(workers)
    ]
    for process in group:
        process.start()
    results = [out.get(timeout=120) for _ in group]
    for process in group:
        process.join(60)
        assert process.exitcode == 0
    return results


def test_one_creator_wins(bucket):
    won = sorted(n for one in race(create_in_turns, bucket, 50) for n in one)
    assert won == list(range(50))


def test_no_update_is_lost(bucket):
    import obstore

    store = store_of(*bucket)
    obstore.put(store, "count", b"0")
    race(swap, bucket, 25)
    assert json.loads(bytes(obstore.get(store, "count").bytes())) == 100


def test_start_and_stop():
    server = GcsServer()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.endpoint
    with server as same:
        assert same is server
        options = server.options("lake", endpoint="http://127.0.0.1:9")
        assert "http://127.0.0.1:9" in options["service_account_key"]
        assert raw(server, "GET", "/lake?list-type=2")[0] == 200
        endpoint = server.endpoint
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(endpoint.removeprefix("http://")).request("GET", "/")
    with server:
        assert raw(server, "GET", "/lake?list-type=2")[0] == 404, "all objects are forgotten"
