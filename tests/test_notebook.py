"""The notebook runs from top to bottom, and shows what it says it shows."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "TMPDIR"):
            patch.setenv(name, str(tmp_path_factory.mktemp(name)))
        NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def results(cell: Any, kind: str) -> list[str]:
    return [o.data[kind] for o in cell.outputs if kind in o.get("data", {})]


def test_it_is_kept_without_results() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert all(
        c.outputs == [] and c.execution_count is None for c in notebook.cells if "outputs" in c
    )


def test_nothing_is_printed_on_stderr(cells: list[Any]) -> None:
    assert [o.text for cell in cells for o in cell.outputs if o.output_type == "stream"] == []


def test_the_table_shows_itself(cells: list[Any]) -> None:
    (html,) = [h for cell in cells for h in results(cell, "text/html") if "about_fts" in h]
    for expected in ("planets", "draft", "moons_btree", "fixed_size_list", "name"):
        assert expected in html


def test_the_searches_find(cells: list[Any]) -> None:
    texts = "".join(t for cell in cells for t in results(cell, "text/plain"))
    assert texts.index("Jupiter") < texts.index("a red spot")
    assert "'name': 'Earth', '_distance'" in texts
    assert "'moons': 97, '_change': 'updated'" in texts


def test_the_history_is_a_picture(cells: list[Any]) -> None:
    (picture,) = [p for cell in cells for p in results(cell, "image/png")]
    assert base64.b64decode(picture).startswith(b"\x89PNG")
