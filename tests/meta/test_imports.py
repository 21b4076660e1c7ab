"""``import pennon`` costs next to nothing and touches nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

import pennon

_PROBE = """
import importlib, json, os, sys, sysconfig, threading

opened, started, environment = [], [], []

def hook(event, arguments):
    if event == "open":
        path = str(arguments[0])
        if not path.endswith((".py", ".pyc")):
            opened.append(path)
    elif event in {"_thread.start_new_thread", "subprocess.Popen", "os.fork", "socket.connect"}:
        started.append(event)

class Spy(type(os.environ)):
    def __getitem__(self, key):
        environment.append(key)
        return super().__getitem__(key)
    def __contains__(self, key):
        environment.append(key)
        return super().__contains__(key)

before = {name.split(".")[0] for name in sys.modules}
sys.addaudithook(hook)
os.environ.__class__ = Spy
importlib.import_module(sys.argv[1])
found = {
    "foreign": sorted(
        {name.split(".")[0] for name in sys.modules}
        - before - set(sys.stdlib_module_names) - {"pennon"}
    ),
    "opened": list(opened),
    "started": list(started),
    "environment": list(environment),
    "threads": threading.active_count(),
}
sys.stdout.write(json.dumps(found))
"""


def probe(module: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, module], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_importing_pennon_loads_nothing_foreign_and_touches_nothing() -> None:
    assert probe("pennon") == {
        "foreign": [],
        "opened": [],
        "started": [],
        "environment": [],
        "threads": 1,
    }


@pytest.mark.parametrize(
    "module",
    [
        "pennon.errors",
        "pennon.uri",
        "pennon.expr",
        "pennon.namespaces",
        "pennon.storage",
        "pennon.aio",
    ],
)
def test_the_light_modules_load_nothing_foreign(module: str) -> None:
    assert probe(module)["foreign"] == []


def test_the_pytest_plugin_loads_nothing_of_the_data_world() -> None:
    heavy = {"lance", "pyarrow", "numpy", "obstore", "msgspec", "hypothesis", "httpx", "fsspec"}
    assert heavy.isdisjoint(probe("pennon.testing.plugin")["foreign"])


def test_the_probe_notices() -> None:
    assert "pyarrow" in probe("pyarrow")["foreign"]
    assert probe("lancedb")["threads"] > 1


def test_import_time(record_property: Any) -> None:
    times: list[int] = []
    for _ in range(7):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", "import pennon"],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
        line = next(x for x in done.stderr.splitlines() if x.split("|")[-1].strip() == "pennon")
        times.append(int(line.split("|")[1]))
    least, median = min(times) / 1000, sorted(times)[len(times) // 2] / 1000
    record_property("note", f"import pennon takes {least:.1f} ms (median {median:.1f}), budget 60")
    assert times


def test_the_public_names_are_sorted_and_there() -> None:
    assert pennon.__all__ == sorted(set(pennon.__all__))
    for name in pennon.__all__:
        assert getattr(pennon, name) is not None
    assert set(pennon.__all__) <= set(dir(pennon))
    with pytest.raises(AttributeError, match="no_such_name"):
        pennon.no_such_name  # noqa: B018


def test_every_module_lists_its_public_names() -> None:
    import importlib
    import pkgutil

    wrong: list[str] = []
    for found in pkgutil.walk_packages(pennon.__path__, "pennon."):
        if found.name.rsplit(".", 1)[-1].startswith("_"):
            continue
        module = importlib.import_module(found.name)
        names = getattr(module, "__all__", None)
        if names is None:
            continue
        if len(set(names)) != len(names):
            wrong.append(f"{found.name}: __all__ has a name twice")
        wrong += [f"{found.name}.{n} is missing" for n in names if not hasattr(module, n)]
    assert wrong == []
