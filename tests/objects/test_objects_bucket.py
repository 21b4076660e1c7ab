"""Buckets in bad weather: lost answers, cut bodies, hanging servers, wrong settings, forks."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from badproxy import BadProxy
from roots import EVERY_CALL, open_root, start_proxy

from pennon.errors import (
    Corrupt,
    DeadlineExceeded,
    InvalidOption,
    ObjectAlreadyExists,
    ObjectNotFound,
    OutcomeUnknown,
    PennonError,
    PermissionDenied,
    PreconditionFailed,
    RootNotFound,
    StorageError,
    Throttled,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from pennon.objects import ObjectStore, certify
from pennon.testing.services import TestRoot, Toxiproxy

# Python 3.12 and later warn that threads and forks do not mix, which is what is tested here.
FORKS = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
KINDS = ["s3_root", "azure_root", "gcs_root"]


@pytest.fixture(params=KINDS)
def root(request: pytest.FixtureRequest) -> TestRoot:
    return request.getfixturevalue(request.param)


@pytest.fixture
def direct(root: TestRoot) -> ObjectStore:
    return open_root(root)


@pytest.fixture
def bad(root: TestRoot, bad_proxies: list[BadProxy]) -> tuple[BadProxy, ObjectStore]:
    return start_proxy(bad_proxies, root)


LOST = ["cut after", "500 after", "cut before", "503 before"]


class TestLostAnswers:
    @pytest.mark.parametrize("fault", LOST)
    def test_if_absent(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore, fault: str
    ) -> None:
        proxy, store = bad
        proxy.once("PUT", fault)
        meta = store.put("dir/a", b"mine", if_absent=True)
        assert proxy.count("PUT") == 2
        assert direct.get("dir/a").data == b"mine"
        assert direct.get("dir/a").meta.etag == meta.etag
        with pytest.raises(ObjectAlreadyExists):
            store.put("dir/a", b"other", if_absent=True)

    @pytest.mark.parametrize("fault", LOST)
    def test_if_match(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore, fault: str
    ) -> None:
        proxy, store = bad
        etag = direct.put("a", b"old").etag
        proxy.once("PUT", fault)
        meta = store.put("a", b"new", if_match=etag)
        assert proxy.count("PUT") == 2
        assert direct.get("a").data == b"new"
        assert store.put("a", b"newer", if_match=meta.etag).etag != etag
        with pytest.raises(PreconditionFailed):
            store.put("a", b"x", if_match=etag)

    def test_a_rival_came_first(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        """The answer that is lost is the refusal: the retry must not take the object for ours."""
        proxy, store = bad
        direct.put("a", b"rival", if_absent=True)
        proxy.once("PUT", "cut after")
        with pytest.raises(ObjectAlreadyExists):
            store.put("a", b"mine", if_absent=True)
        assert direct.get("a").data == b"rival"

    @pytest.mark.parametrize("condition", ["if_absent", "if_match"])
    def test_a_rival_wrote_over_it(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore, condition: str
    ) -> None:
        """Our write may have been there for a moment: neither success nor a lost race."""
        proxy, store = bad
        how = {"if_absent": True} if condition == "if_absent" else {}
        if condition == "if_match":
            how = {"if_match": direct.put("a", b"old").etag}

        def overwrite() -> None:
            direct.put("a", b"rival", if_match=direct.get("a").meta.etag)

        proxy.afterwards = overwrite
        proxy.once("PUT", "cut after")
        with pytest.raises(OutcomeUnknown, match="same write id") as caught:
            store.put("a", b"mine", write_id="my id", **how)
        assert caught.value.context["write_id"] == "my id"
        assert direct.get("a").data == b"rival"

    def test_no_answer_ever_then_repeated(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        proxy, store = bad
        proxy.weather = lambda method, path: "cut after"
        with pytest.raises(OutcomeUnknown) as caught:
            store.put("a", b"mine", if_absent=True, deadline=5)
        own = str(caught.value.context["write_id"])
        assert direct.get("a").data == b"mine"
        proxy.weather = lambda method, path: ""
        assert store.put("a", b"mine", if_absent=True, write_id=own).size == 4
        with pytest.raises(ObjectAlreadyExists):
            store.put("a", b"mine", if_absent=True)

    def test_refused_before_anything_is_no_unknown_outcome(
        self, bad: tuple[BadProxy, ObjectStore]
    ) -> None:
        proxy, store = bad
        proxy.weather = lambda method, path: "503 before"
        start = time.monotonic()
        with pytest.raises((Unavailable, OutcomeUnknown)):
            store.put("a", b"mine", if_absent=True)
        with pytest.raises(Unavailable):
            store.get("a")
        assert time.monotonic() - start < 20

    def test_deletes_and_reads_are_repeated(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        proxy, store = bad
        direct.put("d/a", b"x")
        calls: list[Callable[[], object]] = [
            lambda: store.get("d/a").data == b"x" or pytest.fail("other bytes"),
            lambda: store.head("d/a") or pytest.fail("not found"),
            lambda: [m.key for m in store.list()] == ["d/a"] or pytest.fail("other names"),
            lambda: store.list_directories() == ("d",) or pytest.fail("other directories"),
            lambda: store.delete("d/a"),
        ]
        for call in calls:
            for fault in ("cut before", "503 before", "cut after"):
                left = [fault]
                proxy.weather = lambda method, path, left=left: left.pop() if left else ""
                call()
                assert not left
        assert direct.head("d/a") is None


class TestBodies:
    def test_a_cut_body_is_read_again(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        proxy, store = bad
        data = os.urandom(100_000)
        direct.put("a", data)
        proxy.once("GET", "half")
        assert store.get("a").data == data
        assert proxy.count("GET") == 2
        proxy.once("GET", "half")
        assert store.get("a", range=(1000, 90_000)).data == data[1000:90_000]

    def test_a_body_cut_again_and_again_is_corrupt(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        proxy, store = bad
        direct.put("a", b"x" * 100_000)
        proxy.weather = lambda method, path: "half" if method == "GET" else ""
        with pytest.raises(Corrupt, match="100000 bytes"):
            store.get("a")


class TestDeadlines:
    def test_a_server_that_hangs_later(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        proxy, store = bad
        etag = store.put("a", b"x").etag
        proxy.weather = lambda method, path: "hang"
        calls: list[tuple[type[PennonError], Callable[[], object]]] = [
            (DeadlineExceeded, lambda: store.get("a", deadline=0.6)),
            (DeadlineExceeded, lambda: store.head("a", deadline=0.6)),
            (DeadlineExceeded, lambda: list(store.list(deadline=0.6))),
            (DeadlineExceeded, lambda: store.list_directories(deadline=0.6)),
            (DeadlineExceeded, lambda: store.delete("a", deadline=0.6)),
            (OutcomeUnknown, lambda: store.put("b", b"", if_absent=True, deadline=0.6)),
            (OutcomeUnknown, lambda: store.put("a", b"", if_match=etag, deadline=0.6)),
        ]
        for kind, call in calls:
            start = time.monotonic()
            with pytest.raises(kind):
                call()
            assert 0.4 < time.monotonic() - start < store.default_deadline

    def test_a_server_that_hangs_for_a_moment(
        self, bad: tuple[BadProxy, ObjectStore], direct: ObjectStore
    ) -> None:
        proxy, store = bad
        store.put("a", b"x")
        proxy.once("GET", "hang")
        assert store.get("a", deadline=5).data == b"x"

    def test_the_time_out_of_the_options_holds_for_each_request(
        self, s3_root: TestRoot, bad_proxies: list[BadProxy]
    ) -> None:
        proxy, _ = start_proxy(bad_proxies, s3_root)
        store = open_root(s3_root.via(proxy.endpoint), timeout="400ms")
        store.put("a", b"x")
        hangs = iter(["hang", "hang"])
        proxy.weather = lambda method, path: next(hangs, "")
        start = time.monotonic()
        assert store.get("a", deadline=20).data == b"x"
        assert time.monotonic() - start > 0.7
        assert next(hangs, "") == "", "both were given up for the third"

    def test_an_endpoint_that_never_answers(self, s3_root: TestRoot) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(64)
            store = open_root(s3_root.via(f"http://127.0.0.1:{listener.getsockname()[1]}"))
            for call in (
                lambda: store.head("a"),
                lambda: store.put("a", b"x" * 10_000_000, if_absent=True),
            ):
                start = time.monotonic()
                with pytest.raises((Unavailable, OutcomeUnknown), match="check the endpoint"):
                    call()
                assert time.monotonic() - start < 10


def _refused(store: ObjectStore, kind: type[PennonError] | tuple[type[PennonError], ...]) -> None:
    for call in EVERY_CALL:
        start = time.monotonic()
        with pytest.raises(kind) as caught:
            call(store)
        assert time.monotonic() - start < 10
        text = str(caught.value)
        assert store.uri.bucket in text
        assert text.endswith(".")
        assert "\n" not in text
        assert ".rs" not in text


class TestWrongSettings:
    def test_an_endpoint_that_is_closed(self, root: TestRoot) -> None:
        _refused(open_root(root.via("http://127.0.0.1:1")), Unavailable)

    def test_a_host_that_does_not_exist(self, root: TestRoot) -> None:
        _refused(open_root(root.via("http://no-such-host.invalid:80")), Unavailable)

    def test_a_host_that_drops_packets(self, s3_root: TestRoot) -> None:
        """Nothing was sent, so a put that fails so is no unknown outcome."""
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            for _ in range(4):  # fill the queue of the kernel: it drops what comes then
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                with suppress(BlockingIOError):
                    client.connect(listener.getsockname())
            store = open_root(s3_root.via(f"http://127.0.0.1:{listener.getsockname()[1]}"))
            start = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be reached"):
                store.put("a", b"", if_absent=True)
            assert time.monotonic() - start < 10

    def test_a_server_that_is_no_store(self, s3_root: TestRoot, tmp_path: object) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from threading import Thread

        class Website(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                self.send_response(200)
                self.send_header("Content-Length", "13")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(b"<html></html>")

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Website)
        Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            root = s3_root.via(f"http://127.0.0.1:{server.server_address[1]}")
            for call in EVERY_CALL:
                store = open_root(root)
                start = time.monotonic()
                with pytest.raises(PennonError):
                    call(store)
                assert time.monotonic() - start < 10
        finally:
            server.shutdown()
            server.server_close()

    def test_a_bucket_that_does_not_exist(self, root: TestRoot) -> None:
        scheme = root.uri.split("://")[0]
        for call in EVERY_CALL:
            store = open_root(TestRoot(f"{scheme}://no-such-bucket-here/x", root.options))
            with pytest.raises(RootNotFound, match="does not exist"):
                call(store)

    def test_a_wrong_secret(self, s3_root: TestRoot) -> None:
        secret = "wr0ng/secret+of+mine=="
        options = {k: secret if "secret" in k else v for k, v in s3_root.options.items()}
        store = open_root(TestRoot(s3_root.uri, options))
        _refused(store, Unauthenticated)
        for call in EVERY_CALL:
            try:
                call(store)
            except PennonError as error:
                shown = "".join(traceback.format_exception(error)) + repr(error.context)
                assert secret not in shown
                assert "Signature=" not in shown

    def test_a_wrong_azure_key(self, azure_root: TestRoot) -> None:
        options = {
            k: "d3Jvbmcga2V5" if k.endswith("account_key") else v
            for k, v in azure_root.options.items()
        }
        _refused(open_root(TestRoot(azure_root.uri, options)), PermissionDenied)

    def test_a_key_that_is_no_base64(self, azure_root: TestRoot) -> None:
        options = {
            k: "%%%" if k.endswith("account_key") else v for k, v in azure_root.options.items()
        }
        with pytest.raises(InvalidOption, match="az://"):
            open_root(TestRoot(azure_root.uri, options)).get("a")

    def test_no_credentials_at_all(
        self, s3_root: TestRoot, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            monkeypatch.delenv(name)
        options = {k: v for k, v in s3_root.options.items() if "key" not in k}
        store = open_root(TestRoot(s3_root.uri, options))
        start = time.monotonic()
        with pytest.raises((Unauthenticated, Unavailable), match="credentials"):
            store.get("a")
        assert time.monotonic() - start < 10


class TestAnswers:
    """What every answer of a store becomes."""

    @pytest.mark.parametrize(
        ("answer", "kind", "text"),
        [
            ("429 TooManyRequests", Throttled, "slow down"),
            ("503 SlowDown", Throttled, "slow down"),
            ("500 InternalError", Unavailable, "try later"),
            ("502 ", Unavailable, "try later"),
            ("401 ", Unauthenticated, "correct or renew"),
            ("403 ExpiredToken", Unauthenticated, "correct or renew"),
            ("403 InvalidAccessKeyId", Unauthenticated, "correct or renew"),
            ("403 AccessDenied", PermissionDenied, "allowed to do"),
            ("301 PermanentRedirect", InvalidOption, "'region'"),
            ("400 AuthorizationHeaderMalformed", InvalidOption, "'region'"),
            ("404 NoSuchBucket", RootNotFound, "does not exist"),
            ("404 NoSuchKey", ObjectNotFound, "no object 'a'"),
            ("501 NotImplemented", Unsupported, "another store"),
            ("400 InvalidRequest", StorageError, "refused the request"),
        ],
    )
    def test_reading(
        self,
        s3_root: TestRoot,
        bad_proxies: list[BadProxy],
        answer: str,
        kind: type[PennonError],
        text: str,
    ) -> None:
        proxy, store = start_proxy(bad_proxies, s3_root)
        proxy.weather = lambda method, path: answer
        with pytest.raises(kind, match=text) as caught:
            store.get("a")
        assert type(caught.value) is kind
        assert str(store.uri) in str(caught.value)
        again = proxy.count("GET") > 1
        assert again == issubclass(kind, Unavailable)

    @pytest.mark.parametrize(
        ("answer", "kind"),
        [
            ("503 SlowDown", Throttled),
            ("500 InternalError", OutcomeUnknown),
            ("403 AccessDenied", PermissionDenied),
            ("501 NotImplemented", Unsupported),
            ("404 NoSuchBucket", RootNotFound),
        ],
    )
    def test_writing(
        self,
        s3_root: TestRoot,
        bad_proxies: list[BadProxy],
        answer: str,
        kind: type[PennonError],
    ) -> None:
        proxy, store = start_proxy(bad_proxies, s3_root)
        proxy.weather = lambda method, path: answer if method == "PUT" else ""
        for how in ({}, {"if_absent": True}, {"if_match": "1"}):
            with pytest.raises(kind):
                store.put("a", b"x", **how)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "answer", ["409 ConditionalRequestConflict", "409 OperationAborted", "400 RequestTimeout"]
    )
    def test_writing_again(
        self, s3_root: TestRoot, bad_proxies: list[BadProxy], answer: str
    ) -> None:
        proxy, store = start_proxy(bad_proxies, s3_root)
        proxy.once("PUT", answer)
        etag = store.put("a", b"x", if_absent=True).etag
        proxy.once("PUT", answer)
        store.put("a", b"y", if_match=etag)
        proxy.once("PUT", answer)
        store.put("a", b"z")
        assert proxy.count("PUT") == 6


class TestRequests:
    def test_how_many_each_call_needs(self, s3_root: TestRoot, bad_proxies: list[BadProxy]) -> None:
        proxy, store = start_proxy(bad_proxies, s3_root)

        def cost(call: Callable[[], object]) -> int:
            before = len(proxy.requests)
            call()
            return len(proxy.requests) - before

        assert cost(lambda: store.put("d/a", b"x", if_absent=True)) == 1
        assert cost(lambda: store.get("d/a")) == 1
        assert cost(lambda: store.head("d/a")) == 1
        assert cost(lambda: store.head("nope")) == 1
        assert cost(lambda: list(store.list())) == 1
        assert cost(store.list_directories) == 1
        assert cost(lambda: store.put("d/b", b"x")) == 1
        assert cost(lambda: store.delete("d/a", "d/b", "d/c")) == 1

        def lose() -> None:
            with pytest.raises(ObjectAlreadyExists):
                store.put("e", b"x", if_absent=True)

        store.put("e", b"x")
        assert cost(lose) == 1
        assert cost(lambda: certify(store)) <= 25
        assert cost(lambda: certify(store)) == 0
        assert cost(lambda: certify(open_root(s3_root.via(proxy.endpoint)))) == 0

    def test_a_long_listing_goes_on_where_it_broke(
        self, s3_root: TestRoot, bad_proxies: list[BadProxy]
    ) -> None:
        proxy, store = start_proxy(bad_proxies, s3_root)
        direct = open_root(s3_root)
        keys = {f"many/{number:05}" for number in range(1100)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: direct.put(key, b""), keys))
        pages = iter(["", "cut before", "503 before"])
        proxy.weather = lambda method, path: next(pages, "")
        found = [m.key for m in store.list("many")]
        assert len(found) == 1100
        assert set(found) == keys
        assert proxy.count("GET") == 4
        assert store.delete_directory("many") == 1100
        assert list(direct.list()) == []


def _in_child(job: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(20)
        try:
            code = 0 if job() else 2
        finally:
            os._exit(code)
    return os.waitpid(pid, 0)[1]


class TestToxiproxy:
    """TCP connections that end while MinIO answers, over and over."""

    def test_no_answer_is_taken_for_a_lost_race(
        self, s3_root: TestRoot, toxiproxy: Toxiproxy
    ) -> None:
        toxics = toxiproxy.proxy(s3_root.endpoint)
        store, direct = open_root(s3_root.via(toxics.endpoint)), open_root(s3_root)
        store.put("first", b"")
        # A connection carries three answers or so, and the last one is lost or cut.
        toxics.add_toxic("limit_data", bytes=1500)
        etags: dict[str, str] = {}
        for number in range(40):
            key = f"log/{number}"
            etags[key] = store.put(key, b"%d" % number, if_absent=True).etag
        for key, etag in etags.items():
            with pytest.raises(ObjectAlreadyExists):
                store.put(key, b"", if_absent=True)
            found = direct.head(key)
            assert found is not None
            assert found.etag == etag
            store.put(key, direct.get(key).data + b"!", if_match=etag)
            assert store.get(key).data.endswith(b"!")
        assert len(list(direct.list("log"))) == 40

    def test_certification_behind_bad_connections(
        self, s3_root: TestRoot, toxiproxy: Toxiproxy
    ) -> None:
        toxics = toxiproxy.proxy(s3_root.endpoint)
        toxics.add_toxic("limit_data", bytes=2500)
        assert certify(open_root(s3_root.via(toxics.endpoint))).safe

    def test_reset_connections_and_slow_ones(self, s3_root: TestRoot, toxiproxy: Toxiproxy) -> None:
        toxics = toxiproxy.proxy(s3_root.endpoint)
        store = open_root(s3_root.via(toxics.endpoint))
        store.put("a", b"x")
        reset = toxics.add_toxic("reset_peer", timeout=1)
        with pytest.raises(OutcomeUnknown) as caught:
            store.put("b", b"mine", if_absent=True, deadline=3)
        with pytest.raises((Unavailable, DeadlineExceeded)):
            store.get("a", deadline=3)
        toxics.remove_toxic(reset)
        own = str(caught.value.context["write_id"])
        assert store.put("b", b"mine", if_absent=True, write_id=own).size == 4
        toxics.add_toxic("timeout", timeout=0)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            store.get("a", deadline=0.6)
        assert time.monotonic() - start < store.default_deadline
        toxics.clear()
        assert store.get("b").data == b"mine"


@FORKS
# Whether Lance, which warns of forks, was imported depends on what ran before in this process.
@pytest.mark.filterwarnings("ignore:lance is not fork-safe")
class TestForks:
    def test_a_forked_child_is_told(self, s3_root: TestRoot) -> None:
        store = open_root(s3_root)
        store.put("a", b"x")

        def says_no() -> bool:
            for one in (store, open_root(s3_root)):
                for call in EVERY_CALL:
                    try:
                        call(one)
                    except Unsupported as error:
                        if "spawn" not in str(error):
                            return False
                    else:
                        return False
            return True

        assert _in_child(says_no) == 0
        assert store.get("a").data == b"x"

    def test_a_fork_before_the_first_request_is_fine(self, s3_root: TestRoot) -> None:
        code = f"""
import os, signal
from pennon.config import parse_options
from pennon.objects import open_store
from pennon.uri import parse_uri
uri = parse_uri({s3_root.uri!r})
store = open_store(uri, parse_options(uri, {dict(s3_root.options)!r}))
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    store.put("from-a-child", b"x")
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
print(store.get("from-a-child").data.decode())
"""
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
        )
        assert run.stdout.strip() == "x"
