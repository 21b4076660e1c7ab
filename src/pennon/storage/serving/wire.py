"""What all operations share: rows in and out as Arrow IPC, states of tables, pages, field paths."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import lance_namespace_urllib3_client.models

from pennon.errors import InvalidInput
from pennon.namespaces.abc import Id
from pennon.storage.abc import CommitReceipt
from pennon.storage.refs import MAIN

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "branch_of",
    "column_of",
    "file_of",
    "id_of",
    "metric_of",
    "models",
    "page_of",
    "path_of",
    "rows_of",
    "state_of",
    "transaction_of",
]

models: Any = lance_namespace_urllib3_client.models
"""Requests and answers of the specification; ``lance_namespace`` itself exports only some."""
_METRICS = {"l2": "l2", "euclidean": "l2", "cosine": "cosine", "dot": "dot", "hamming": "hamming"}


def id_of(request: Any) -> Id:
    """Return the id of the table a request is about."""
    return tuple(request.id or ())


def branch_of(request: Any) -> str:
    """Return the branch a request is about."""
    return MAIN if request.branch is None else request.branch


def state_of(request: Any) -> dict[str, Any]:
    """Return the state of the table a request is about, as options of a read."""
    return {"branch": branch_of(request), "version": request.version}


def rows_of(data: Any) -> pa.Table:
    """Return the rows of an Arrow IPC stream.

    Raises:
        InvalidInput: It is none.
    """
    import pyarrow as pa

    if not data:
        raise InvalidInput("The request has no rows; send them as an Arrow IPC stream.")
    try:
        with pa.ipc.open_stream(pa.py_buffer(data)) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError, TypeError) as error:
        text = str(error).split("\n", maxsplit=1)[0]
        raise InvalidInput(f"The rows are no Arrow IPC stream: {text}.") from error


def file_of(rows: pa.Table) -> bytes:
    """Return rows as an Arrow IPC file."""
    import pyarrow as pa

    sink = io.BytesIO()
    with pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    return sink.getvalue()


def metric_of(distance_type: str) -> str:
    """Return the metric that a request names in any case.

    Raises:
        InvalidInput: There is none of this name.
    """
    found = _METRICS.get(distance_type.lower())
    if found is None:
        raise InvalidInput(f"distance_type={distance_type!r} is none of {', '.join(_METRICS)}.")
    return found


def transaction_of(receipt: CommitReceipt) -> str | None:
    """Return the id of the transaction that changed rows; None if there were none to change."""
    changed = receipt.rows_inserted or receipt.rows_updated or receipt.rows_deleted
    return receipt.write_id if changed else None


def page_of(
    names: Iterable[str], request: Any, order: Callable[[str], Any] = str
) -> tuple[list[str], str | None]:
    """Return the names of the page that is asked for, and the token of the next.

    A token is the last name of the page before, so nothing that stays is left out or comes twice
    when others come or go meanwhile.

    Args:
        names: All of them.
        request: Says the token and the limit.
        order: What they are ordered by.

    Raises:
        InvalidInput: A limit below 1, or a token that no page gave.
    """
    if request.limit is not None and request.limit < 1:
        raise InvalidInput(f"limit={request.limit} must be 1 or more; leave it out for all.")
    found = sorted(names, key=order)
    if request.page_token:
        try:
            last = order(request.page_token)
        except ValueError:
            raise InvalidInput(f"page_token={request.page_token!r} is of no page.") from None
        found = [name for name in found if order(name) > last]
    page = found if request.limit is None else found[: request.limit]
    return page, page[-1] if len(page) < len(found) else None


def path_of(path: str) -> list[str]:
    """Return the steps of a field path: ``a.b`` has two, `` `a.b` `` has one.

    Raises:
        InvalidInput: A quote without its partner, or an empty step.
    """
    steps, quoted, at = [""], False, 0
    while at < len(path):
        letter, twice = path[at], path[at : at + 2] == "``"
        if quoted and twice:
            steps[-1] += "`"
            at += 1
        elif letter == "`" and (quoted or not steps[-1]):
            quoted = not quoted
        elif letter == "." and not quoted:
            steps.append("")
        else:
            steps[-1] += letter
        at += 1
    if quoted or not all(steps):
        raise InvalidInput(f"{path!r} is no field path; write a.b, or `a.b` for a name with a dot.")
    return steps


def column_of(path: str) -> str:
    """Return the column a field path names.

    Raises:
        InvalidInput: It names a field within a column.
    """
    steps = path_of(path)
    if len(steps) > 1:
        raise InvalidInput(
            f"{path!r} is a field within the column {steps[0]!r}; name a whole column."
        )
    return steps[0]
