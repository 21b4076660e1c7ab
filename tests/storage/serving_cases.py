"""What the tests of ``to_lance()`` share: namespaces, rows on the wire, errors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from adapter_server import AdapterServer
from lance_namespace.errors import LanceNamespaceError

import pennon
from pennon.namespaces import Namespace
from pennon.testing.services import TestRoot

ROWS = pa.table(
    {
        "id": [1, 2, 3],
        "name": ["ada", "bob", None],
        "vector": pa.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], pa.list_(pa.float32(), 2)),
    }
)


PLACES = ["memory", "local", "s3", "served"]
"""Where tables are: the last is a local directory behind a REST server over its adapter."""


@contextlib.contextmanager
def place(request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """Yield the namespace of the place a fixture is parametrized with."""
    if request.param != "served":
        with connect(request.getfixturevalue(f"{request.param}_root")) as namespace:
            yield namespace
        return
    with (
        connect(request.getfixturevalue("local_root")) as below,
        AdapterServer(below.to_lance()) as server,
        pennon.connect("rest", {"uri": server.uri}) as namespace,
    ):
        yield namespace


def connect(root: TestRoot | str) -> Namespace:
    uri, options = (root, {}) if isinstance(root, str) else (root.uri, root.options)
    if uri.startswith("memory://"):
        return pennon.connect("memory", {"root": uri}).connect()
    storage = {f"storage.{k}": v for k, v in options.items()}
    return pennon.connect("dir", {"root": uri, **storage}).connect()


def ipc(rows: Any, schema: pa.Schema | None = None) -> bytes:
    """Return rows as an Arrow IPC stream."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def rows_of(answer: Any) -> list[Any]:
    """Return the rows of an answer to query_table."""
    data = getattr(answer, "data", answer)
    with pa.ipc.open_file(pa.BufferReader(data)) as reader:
        return reader.read_all().to_pylist()


def code(call: Any, *args: Any) -> int:
    """Return the code of the error of the specification that a call raises."""
    with pytest.raises(LanceNamespaceError) as caught:
        call(*args)
    assert str(caught.value).endswith(".")
    return int(caught.value.code)
