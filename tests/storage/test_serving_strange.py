"""Whatever is asked of ``to_lance()``, what it raises is an error of the specification."""

from __future__ import annotations

import collections
import random
from typing import Any, get_type_hints

import lance_namespace as spec
import pytest
from lance_namespace.errors import LanceNamespaceError
from pydantic import BaseModel, ValidationError
from serving_cases import ROWS, connect, ipc

from pennon.storage.serving.adapter import OPERATIONS
from pennon.storage.serving.rows import WITH_DATA

ANYTHING = (None, "", "x", -1, 0, 1, 2**31, 2**64, 1.5, float("nan"), True, "\0", "é🚀", [], {})
REFS = ("dev", "v1", "no", "a b", "")
CONDITIONS = ("id > 1", "no = 1", "", "true", "1/0 > 1", "id", "source.id > target.id", "(((", "';")
COLUMNS = ("id", "name", "vector", "no", "a.b", "`id`", "``", "_rowid")
QUERY = (
    {"k": 1, "vector": {}},
    {"k": 0, "vector": {"single_vector": [1.0, 0.0]}, "offset": 2},
    {"k": 2, "vector": {}, "full_text_query": {"string_query": {"query": "ada"}}},
    {"k": 2, "vector": {"single_vector": [1.0]}, "filter": "no"},
)
DATA = (
    *(ipc(ROWS), ipc(ROWS.slice(0, 0)), b"", b"xx"),
    *(ipc([{"id": 7, "name": "q"}]), ipc([{"zz": 1}]), ipc([{"id": None, "name": "q"}])),
)
VALUES: dict[str, tuple[Any, ...]] = {
    "id": (["t"],) * 9 + (["no"], [], ["a", "t"], ["t", "1"], ["t", "x"], [""], ["$"]),
    **dict.fromkeys(("branch", "from_branch"), (None, None, "main", *REFS)),
    **dict.fromkeys(("version", "from_version"), (None, 1, 2, 0, 99, 2**63, 2**64)),
    **dict.fromkeys(("tag", "name"), REFS),
    **dict.fromkeys(("predicate", "filter"), CONDITIONS),
    "when_matched_update_all_filt": CONDITIONS,
    "when_not_matched_by_source_delete_filt": CONDITIONS,
    **dict.fromkeys(("column", "vector_column"), COLUMNS),
    "columns": (["id"], ["no"], [], {"column_names": ["id", "id"]}, {"column_aliases": {"": "id"}}),
    "on": (["id"], ["name"], ["no"], ["id", "name"], []),
    "mode": ("create", "append", "overwrite", "ExistOk", "x"),
    "index_type": ("BTREE", "FTS", "IVF_FLAT", "IVF_PQ", "LABEL_LIST", "RTREE", "x"),
    "index_name": ("id_btree", "name_fts", "no", ""),
    "distance_type": ("l2", "Cosine", "hamming", "x"),
    "updates": ([["id", "id + 1"]], [["no", "1"]], [["name", "(("]], [{"path": "id"}], []),
    "new_columns": ([{"name": "z", "expression": e}] for e in ("id + 1", "no", "((", "")),
    "alterations": ([{"path": "id", "rename": r}] for r in ("name", "key", "", "a.b")),
    "timeout": ("1s", "0s", "x"),
    "vector": tuple(q["vector"] for q in QUERY),
    "query": QUERY,
    "k": (0, 1, 2, 2**31, 2**64),
    "metadata": ({}, {"a": "b"}, {"a": None}),
    "page_token": ("x", "dev", "1", ""),
}
VALUES = {name: tuple(values) for name, values in VALUES.items()}


class Asker:
    """Makes requests that mostly fit their models, of values that mostly make no sense."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)

    def value(self, name: str) -> Any:
        if self.choose.random() < 0.03:
            return self.choose.choice(ANYTHING)
        return self.choose.choice(VALUES.get(name, (None, True, False, 1, "x", {"a": "b"})))

    def request(self, model: type[BaseModel]) -> dict[str, Any]:
        for _ in range(50):
            asked = {
                field.alias or name: self.value(name)
                for name, field in model.model_fields.items()
                if name == "id" or field.is_required() or self.choose.random() < 0.3
            }
            asked = {k: v for k, v in asked.items() if k not in {"identity", "context"}}
            try:
                model.model_validate(asked)
            except ValidationError:
                continue
            break
        return asked


@pytest.mark.parametrize(("root", "count"), [("memory", 3000), ("local", 1500)])
def test_strange_requests(request: pytest.FixtureRequest, root: str, count: int) -> None:
    n = connect(request.getfixturevalue(f"{root}_root")).to_lance()
    asker, codes = Asker(len(root)), collections.Counter[Any]()
    for number in range(count):
        if number % 100 == 0:
            n.create_table({"id": ["t"], "mode": "overwrite"}, ipc(ROWS))
            for make, asked in (
                (n.create_table_branch, {"id": ["t"], "name": "dev"}),
                (n.create_table_tag, {"id": ["t"], "tag": "v1", "version": 1}),
            ):
                try:
                    make(asked)
                except LanceNamespaceError as error:
                    codes[int(error.code)] += 1
        name = asker.choose.choice(sorted(OPERATIONS))
        model = get_type_hints(getattr(spec.LanceNamespace, name))["request"]
        data = (asker.choose.choice(DATA),) if name in WITH_DATA else ()
        asked = asker.request(model)
        try:
            getattr(n, name)(asked, *data)
        except LanceNamespaceError as error:
            assert error.code != 18, (name, asked, str(error))  # noqa: PT017
            codes[int(error.code)] += 1
        except BaseException as error:
            raise AssertionError((name, asked)) from error
        else:
            codes["ok"] += 1
    assert {"ok", 4, 11, 12, 13, 22} <= set(codes), codes
