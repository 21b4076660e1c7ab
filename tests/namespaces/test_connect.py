"""connect(): kinds, plugins, builders, strict properties."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any, Self

import pytest

import pennon
from pennon.errors import InvalidOption, InvalidState, InvalidURI, MissingExtra, PennonError
from pennon.namespaces import plugins
from pennon.namespaces.abc import ContextProvider, Namespace
from pennon.namespaces.connect import ConnectBuilder, connect
from pennon.namespaces.memory import MemoryNamespace
from pennon.namespaces.properties import check_keys, get_bool, get_number, get_str, show_properties
from pennon.namespaces.session import Session


class Recorder(MemoryNamespace):
    """A kind by class path that keeps what it was connected with."""

    given: tuple[str, Mapping[str, Any], Session, ContextProvider | None]
    closed = False

    @classmethod
    def from_properties(
        cls,
        kind: str,
        properties: Mapping[str, Any],
        *,
        session: Session,
        context: ContextProvider | None,
    ) -> Self:
        made = cls(session=session)
        made.given = (kind, properties, session, context)
        return made

    def close(self) -> None:
        self.closed = True


PATH = f"{__name__}.Recorder"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Recorder.__module__])


# -- kinds -----------------------------------------------------------------------------------------


def test_memory() -> None:
    namespace = connect("memory", {"root": "memory://connect-test"}).connect()
    assert isinstance(namespace, MemoryNamespace)
    assert namespace.root == "memory://connect-test"
    assert connect("memory").connect().root != connect("memory").connect().root


def test_it_is_public() -> None:
    assert pennon.connect is connect


@pytest.mark.parametrize(
    ("kind", "meant"), [("dirr", "dir"), ("DIR", "dir"), ("memroy", "memory"), ("REST", "rest")]
)
def test_a_mistyped_kind_is_corrected(kind: str, meant: str) -> None:
    with pytest.raises(InvalidOption, match=f"did you mean '{meant}'"):
        connect(kind)


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(InvalidOption, match=r"known: 'dir', 'glue', .*'unity'"):
        connect("qqqqqq")


@pytest.mark.parametrize("kind", ["", None, 3, b"dir"])
def test_a_kind_is_a_string(kind: Any) -> None:
    with pytest.raises(InvalidOption):
        connect(kind)


def test_a_class_path() -> None:
    namespace = connect(PATH, {"anything": "goes"}).connect()
    assert isinstance(namespace, Recorder)
    kind, properties, _, context = namespace.given
    assert (kind, dict(properties), context) == (PATH, {"anything": "goes"}, None)


@pytest.mark.parametrize(
    "path", ["no_such_module.Thing", "os.no_such_name", "os.path.Nothing", ".relative", "os."]
)
def test_a_class_path_that_does_not_exist(path: str) -> None:
    with pytest.raises(InvalidOption, match="There is no class"):
        connect(path)


@pytest.mark.parametrize("path", ["os.path.join", "collections.OrderedDict", "os.sep"])
def test_a_class_path_of_something_else(path: str) -> None:
    with pytest.raises(InvalidOption, match="no namespace"):
        connect(path)


def test_a_class_whose_module_lacks_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kind_lacking_a_package.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra, match="not_installed_anywhere"):
        connect("kind_lacking_a_package.Mine")


def _entry_points(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    def entry_points(**params: Any) -> EntryPoints:
        return EntryPoints(points).select(**params)

    monkeypatch.setattr(plugins.importlib.metadata, "entry_points", entry_points)


def _point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, plugins.GROUP)


def test_an_installed_package_adds_a_kind(tmp_path: Path) -> None:
    # A real distribution on the path of a real interpreter: nothing here is simulated.
    (tmp_path / "flagpole.py").write_text(
        "from pennon.namespaces import MemoryNamespace\n"
        "class Pole(MemoryNamespace):\n    kind = 'flagpole'\n"
    )
    info = tmp_path / "flagpole-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: flagpole\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pennon.namespaces]\nflagpole = flagpole:Pole\n")
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pennon\n"
        "from pennon.namespaces import plugins\n"
        "n = pennon.connect('flagpole').connect(); n.declare_table('t')\n"
        "print(n.kind, list(n.list_tables()), 'flagpole' in plugins.kinds())\n"
        "try: pennon.connect('flagpolle')\n"
        "except pennon.errors.InvalidOption as e: print(e)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert "flagpole [('t',)] True" in run.stdout
    assert "did you mean 'flagpole'?" in run.stdout


def test_a_plugin_does_not_replace_a_built_in_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    _entry_points(monkeypatch, _point("memory", f"{__name__}:Recorder"))
    assert type(connect("memory").connect()) is MemoryNamespace


def test_two_plugins_of_one_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _entry_points(monkeypatch, _point("mine", f"{__name__}:Recorder"), _point("mine", "os:sep"))
    with pytest.raises(InvalidOption, match="Several packages"):
        connect("mine")
    _entry_points(monkeypatch, *[_point("mine", f"{__name__}:Recorder")] * 2)
    assert isinstance(connect("mine").connect(), Recorder)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("not_installed_anywhere:Thing", MissingExtra),
        ("os:no_such_name", InvalidOption),
        ("os:sep", InvalidOption),
    ],
)
def test_broken_plugins(
    monkeypatch: pytest.MonkeyPatch, value: str, error: type[PennonError]
) -> None:
    _entry_points(monkeypatch, _point("mine", value))
    with pytest.raises(error, match="mine"):
        connect("mine")


# -- builders --------------------------------------------------------------------------------------


def test_a_session_is_passed_on() -> None:
    session = Session()
    builder = connect(PATH)
    shared = builder.with_session(session)
    assert builder.session is None
    assert shared is not builder
    one, two = shared.connect(), shared.connect()
    assert one is not two
    assert one.session is two.session is session
    assert builder.connect().session is not builder.connect().session


def test_only_a_session_is_a_session() -> None:
    wrong: Any = object()
    with pytest.raises(InvalidOption, match=r"no pennon\.Session"):
        connect("memory").with_session(wrong)


def test_a_context_is_passed_on() -> None:
    def provider(operation: str, object_id: str) -> Mapping[str, str]:
        return {"x": f"{operation}{object_id}"}

    namespace = connect(PATH).with_context(provider).connect()
    assert isinstance(namespace, Recorder)
    assert namespace.given[3] is provider
    wrong: Any = {"header": "x"}
    with pytest.raises(InvalidOption, match="cannot be"):
        connect(PATH).with_context(wrong)


def test_as_a_context_manager() -> None:
    with connect(PATH) as namespace:
        assert isinstance(namespace, Recorder)
        assert not namespace.closed
        kept = namespace.session.shared("thing", object)
        assert namespace.session.shared("thing", object) is kept
    assert namespace.closed
    assert namespace.session.shared("thing", object) is not kept, "the own session stayed open"


def test_a_given_session_stays_open() -> None:
    session = Session()
    kept = session.shared("thing", object)
    with pytest.raises(ZeroDivisionError), connect(PATH).with_session(session) as namespace:
        raise ZeroDivisionError
    assert isinstance(namespace, Recorder)
    assert namespace.closed
    assert session.shared("thing", object) is kept


def test_one_builder_holds_one_connection_open() -> None:
    builder = connect(PATH)
    for _ in range(2):
        with builder as namespace:
            assert isinstance(namespace, Recorder)
            with pytest.raises(InvalidState, match="already"), builder:
                pass
            assert not namespace.closed
            assert builder.connect() is not namespace
        assert namespace.closed


def test_a_failed_connection_leaves_the_builder_free() -> None:
    builder = connect("memory", {"root": "./x"})
    for _ in range(2):
        with pytest.raises(InvalidURI), builder:
            pass


def test_a_builder_cannot_be_changed() -> None:
    properties = {"root": "memory://frozen"}
    builder: Any = connect("memory", properties)
    properties["root"] = "memory://other"
    assert builder.connect().root == "memory://frozen"
    with pytest.raises(TypeError):
        builder.properties["root"] = "memory://other"
    with pytest.raises(AttributeError):
        builder.kind = "dir"


SECRETS = {
    "storage.secret_access_key": "S3CR3T-1",
    "storage.access_key_id": "S3CR3T-2",
    "storage.session_token": "S3CR3T-3",
    "storage.account_key": "S3CR3T-4",
    "storage.sas_token": "S3CR3T-5",
    "storage.password": "S3CR3T-6",
    "storage.google_service_account_key": "S3CR3T-7",
    "storage.aws_secret_access_key": "S3CR3T-8",
    "storage.key": "S3CR3T-9",
    "header.Authorization": "Bearer S3CR3T-10",
    "headers.x-api-key": "S3CR3T-11",
    "uri": "http://user:S3CR3T-12@host/x?api_key=S3CR3T-13&x=1",
    "api_key": "S3CR3T-14",
    "polaris.auth_token": "S3CR3T-15",
    "credential": "S3CR3T-16",
    "secret_key": "S3CR3T-17",
    "storage.sas": "S3CR3T-18",
}


def test_credentials_are_not_shown() -> None:
    builder = connect(PATH, {"root": "./lake", **SECRETS, "storage.region": "eu-west-1"})
    for shown in (repr(builder), str(builder), f"{builder}", repr([builder])):
        assert "S3CR3T" not in shown
        assert "eu-west-1" in shown
        assert "./lake" in shown
        assert "storage.secret_access_key" in shown


def test_credentials_inside_objects_are_not_shown() -> None:
    class Filesystem:
        def __repr__(self) -> str:
            return "Filesystem(secret=S3CR3T)"

    assert show_properties({"root": Filesystem()}) == "{'root': <Filesystem>}"


def test_shown() -> None:
    session = Session()
    builder = connect("memory", {"root": "memory://x"})
    assert repr(builder) == "connect('memory', {'root': 'memory://x'})"
    assert repr(builder.with_session(session)).endswith(f".with_session({session!r})")
    assert repr(builder.with_context(lambda *_: {})).endswith(".with_context(...)")


# -- properties ------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["root=x", ["root"], 3])
def test_properties_are_a_mapping(wrong: Any) -> None:
    with pytest.raises(InvalidOption, match="mapping"):
        connect("memory", wrong)


def test_property_keys_are_strings() -> None:
    wrong: Any = {1: "x"}
    with pytest.raises(InvalidOption, match="not a string"):
        connect("memory", wrong)


def test_unknown_properties_are_refused() -> None:
    with pytest.raises(
        InvalidOption, match=r"'memory' has no property 'roots'.*did you mean 'root'"
    ):
        connect("memory", {"roots": "memory://x"}).connect()
    with pytest.raises(InvalidURI):
        connect("memory", {"root": "./x"}).connect()


def test_check_keys() -> None:
    check_keys("k", {"root": "x", "storage.region": "y"}, ["root"], prefixes=["storage."])
    with pytest.raises(InvalidOption, match="needs the property 'root'"):
        check_keys("k", {}, ["root"], required=["root"])
    with pytest.raises(InvalidOption, match="needs the property 'root'"):
        check_keys("k", {"root": None}, ["root"], required=["root"])
    with pytest.raises(InvalidOption) as caught:
        check_keys("k", {"storge.region": "SECRET"}, ["root"], prefixes=["storage."])
    assert "SECRET" not in str(caught.value)
    assert caught.value.context == {"option": "storge.region"}


@pytest.mark.parametrize("text", ["true", "TRUE", "1", "yes", "on", " On ", True, 1])
def test_true(text: Any) -> None:
    assert get_bool({"k": text}, "k", default=False) is True


@pytest.mark.parametrize("text", ["false", "False", "0", "no", "off", False, 0])
def test_false(text: Any) -> None:
    assert get_bool({"k": text}, "k", default=True) is False


@pytest.mark.parametrize("text", ["", "bogus", "2", "tru", "y", "t", 2, [], b"true"])
def test_anything_else_is_no_boolean(text: Any) -> None:
    with pytest.raises(InvalidOption, match="boolean"):
        get_bool({"k": text}, "k", default=True)


def test_a_boolean_that_is_not_given() -> None:
    assert get_bool({}, "k", default=True) is True
    assert get_bool({"k": None}, "k", default=False) is False


def test_strings() -> None:
    assert get_str({"k": "v"}, "k") == "v"
    assert get_str({}, "k") is None
    assert get_str({}, "k", "d") == "d"
    with pytest.raises(InvalidOption, match="int"):
        get_str({"k": 3}, "k")


def test_numbers() -> None:
    assert get_number({"k": "3"}, "k", 1, least=0) == 3
    assert get_number({"k": 3}, "k", 1, least=0) == 3
    assert get_number({"k": "0.5"}, "k", 1.0, least=0.0) == 0.5
    assert get_number({"k": 2}, "k", 1.0, least=0.0) == 2.0
    assert get_number({}, "k", 7, least=0) == 7
    for wrong in ("", "x", "1.5", 1.5, True, [], "nan", "inf"):
        with pytest.raises(InvalidOption, match="whole number"):
            get_number({"k": wrong}, "k", 1, least=0)
    for wrong in ("nan", "inf", "-1", "x"):
        with pytest.raises(InvalidOption, match="number"):
            get_number({"k": wrong}, "k", 1.0, least=0.0)


def test_the_room_is_lazy() -> None:
    script = (
        "import sys, threading, pennon.namespaces\n"
        "from pennon.namespaces import Namespace, ConnectBuilder\n"
        "heavy = {'lance', 'pyarrow', 'numpy', 'httpx', 'fsspec', 'lance_namespace', 'obstore'}\n"
        "print(sorted(heavy & set(sys.modules)), threading.active_count())"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert run.stdout.strip() == "[] 1"


def test_every_public_name_exists() -> None:
    import pennon.namespaces as room

    assert room.__all__ == sorted(room.__all__)
    assert dir(room) == room.__all__
    for name in room.__all__:
        assert getattr(room, name) is not None
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = room.nothing_here
    assert issubclass(room.MemoryNamespace, Namespace)
    assert isinstance(connect("memory"), ConnectBuilder)
