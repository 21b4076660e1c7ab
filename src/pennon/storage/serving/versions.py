"""Versions and transactions: the commits of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pennon.errors import TransactionNotFound, VersionNotFound
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id
from pennon.storage.abc import StorageBackend, VersionFile, VersionInfo
from pennon.storage.refs import MAIN
from pennon.storage.serving.wire import branch_of, id_of, models, page_of

__all__ = ["OPERATIONS"]

_PAGE = 100


def list_table_versions(backend: StorageBackend, request: Any) -> Any:
    """List the versions that are kept, by number."""
    files = backend.version_files(id_of(request), branch=branch_of(request))
    by_number = {str(f.version): f for f in files}

    def order(number: str) -> int:
        return -int(number) if request.descending else int(number)

    page, token = page_of(by_number, request, order)
    place = backend.namespace.describe_table(id_of(request)).location
    return models.ListTableVersionsResponse(
        versions=[_version(by_number[n], place) for n in page], page_token=token
    )


def describe_table_version(backend: StorageBackend, request: Any) -> Any:
    """Return what is known of a version, the newest if none is named."""
    id, branch = id_of(request), branch_of(request)
    files = backend.version_files(id, branch=branch)
    found = next((f for f in files if request.version in (None, f.version)), None)
    if found is None:
        raise VersionNotFound(
            f"{show_id(id)} has no version {request.version}; {files[-1].version} to "
            f"{files[0].version} are kept.",
            table=id,
        )
    place = backend.namespace.describe_table(id).location
    return models.DescribeTableVersionResponse(version=_version(found, place))


def _version(file: VersionFile, place: str) -> Any:
    return models.TableVersion(
        version=file.version,
        manifest_path=f"{place.rstrip('/')}/{file.path}" if file.path else place,
        manifest_size=file.size,
        e_tag=file.etag or None,
        timestamp_millis=int(file.stored_at.timestamp() * 1000),
    )


def restore_table(backend: StorageBackend, request: Any) -> Any:
    """Make a new version with the rows and columns of an old one."""
    made = backend.rollback_table(id_of(request), request.version, branch=branch_of(request))
    return models.RestoreTableResponse(transaction_id=made.write_id)


def describe_transaction(backend: StorageBackend, request: Any) -> Any:
    """Return what a commit did. The id is that of the table and one part more.

    That part is the ``transaction_id`` a write was answered with, on whatever branch, or a version
    of the main one. A commit is found by its version at once, and by its id in the whole history.
    """
    *table, wanted = request.id or [""]
    found = _commit_of(backend, tuple(table), wanted)
    properties = {
        "version": str(found.version),
        "operation": found.operation,
        "committed_at": found.committed_at.isoformat(),
    }
    for name in ("rows_inserted", "rows_updated", "rows_deleted", "message"):
        value = getattr(found, name)
        if value is not None:
            properties[name] = str(value)
    return models.DescribeTransactionResponse(status="Succeeded", properties=properties)


def _commit_of(backend: StorageBackend, id: Id, wanted: str) -> VersionInfo:
    if wanted.isdecimal():
        number = int(wanted)
        for info in backend.versions(id, before=number + 1, limit=1):
            if info.version == number:
                return info
    for branch in (MAIN, *(b.name for b in backend.list_branches(id))):
        for info in _history(backend, id, branch):
            if wanted in info.write_ids:
                return info
    raise TransactionNotFound(
        f"{show_id(id)} has no transaction {wanted!r}; list_table_versions shows its versions.",
        table=id,
    )


def _history(backend: StorageBackend, id: Id, branch: str) -> Iterator[VersionInfo]:
    before: int | None = None
    while page := backend.versions(id, branch=branch, limit=_PAGE, before=before):
        yield from page
        before = page[-1].version


OPERATIONS = (
    list_table_versions,
    describe_table_version,
    restore_table,
    describe_transaction,
)
