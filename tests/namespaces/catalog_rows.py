"""The catalog table of a directory as others see and write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

Row = dict[str, Any]


def manifest(root: str | Path) -> Any:
    return lance.dataset(f"{root}/__manifest")


def names_in(*path: str) -> set[str]:
    return {entry.name for entry in Path(*path).iterdir()}


def rows(root: str | Path) -> dict[str, Row]:
    return {row["object_id"]: row for row in manifest(root).to_table().to_pylist()}


def append(root: str | Path, *new: Row) -> None:
    """Write rows as another writer may."""
    schema = manifest(root).schema
    full = [dict.fromkeys(schema.names) | row for row in new]
    lance.write_dataset(
        pa.Table.from_pylist(full, schema=schema), f"{root}/__manifest", mode="append"
    )
