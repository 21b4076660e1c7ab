"""Tags and branches of a table."""

from __future__ import annotations

from typing import Any

from pennon.errors import TagNotFound
from pennon.namespaces.abc import Id
from pennon.namespaces.names import show_id
from pennon.storage.abc import StorageBackend, TagInfo
from pennon.storage.refs import MAIN
from pennon.storage.serving.wire import branch_of, id_of, models, page_of

__all__ = ["OPERATIONS"]


def list_table_tags(backend: StorageBackend, request: Any) -> Any:
    """List the tags, of all branches, by name."""
    id = id_of(request)
    known = {tag.name: tag for tag in backend.list_tags(id)}
    names, token = page_of(known, request)
    branches = {known[name].branch for name in names}
    sizes = {branch: _sizes(backend, id, branch) for branch in branches}
    tags = {
        name: models.TagContents(
            branch=_named(known[name].branch),
            version=known[name].version,
            manifestSize=sizes[known[name].branch].get(known[name].version, 0),
        )
        for name in names
    }
    return models.ListTableTagsResponse(tags=tags, page_token=token)


def get_table_tag_version(backend: StorageBackend, request: Any) -> Any:
    """Return the version a tag names, and its branch unless that is main."""
    tag = _tag(backend, id_of(request), request.tag)
    return models.GetTableTagVersionResponse(version=tag.version, branch=_named(tag.branch))


def create_table_tag(backend: StorageBackend, request: Any) -> Any:
    """Name a version."""
    id, branch = id_of(request), branch_of(request)
    backend.create_tag(id, request.tag, branch=branch, version=request.version)
    return models.CreateTableTagResponse()


def update_table_tag(backend: StorageBackend, request: Any) -> Any:
    """Let a tag name another version."""
    id, branch = id_of(request), branch_of(request)
    backend.move_tag(id, request.tag, branch=branch, version=request.version)
    return models.UpdateTableTagResponse()


def delete_table_tag(backend: StorageBackend, request: Any) -> Any:
    """Delete a tag."""
    backend.delete_tag(id_of(request), request.tag)
    return models.DeleteTableTagResponse()


def list_table_branches(backend: StorageBackend, request: Any) -> Any:
    """List the branches, without the main one, by name. Costs a listing for each."""
    id = id_of(request)
    known = {branch.name: branch for branch in backend.list_branches(id)}
    names, token = page_of(known, request)
    branches = {
        name: models.BranchContents(
            parentBranch=_named(known[name].parent),
            parentVersion=known[name].parent_version,
            createAt=int(known[name].created_at.timestamp()),
            manifestSize=next(iter(_sizes(backend, id, name).values()), 0),
        )
        for name in names
    }
    return models.ListTableBranchesResponse(branches=branches, page_token=token)


def create_table_branch(backend: StorageBackend, request: Any) -> Any:
    """Create a branch, from the newest version of main unless told otherwise."""
    source = MAIN if request.from_branch is None else request.from_branch
    backend.create_branch(id_of(request), request.name, source=source, version=request.from_version)
    return models.CreateTableBranchResponse()


def delete_table_branch(backend: StorageBackend, request: Any) -> Any:
    """Delete a branch and every row that only it has."""
    backend.delete_branch(id_of(request), request.name)
    return models.DeleteTableBranchResponse()


def _named(branch: str) -> str | None:
    return None if branch == MAIN else branch


def _sizes(backend: StorageBackend, id: Id, branch: str) -> dict[int, int]:
    """Return the sizes of the manifests of a branch by version, the newest first."""
    return {f.version: f.size for f in backend.version_files(id, branch=branch)}


def _tag(backend: StorageBackend, id: Id, name: str) -> TagInfo:
    found = next((tag for tag in backend.list_tags(id) if tag.name == name), None)
    if found is None:
        raise TagNotFound(
            f"{show_id(id)} has no tag {name!r}; list_table_tags shows those it has.", table=id
        )
    return found


OPERATIONS = (
    list_table_tags,
    get_table_tag_version,
    create_table_tag,
    update_table_tag,
    delete_table_tag,
    list_table_branches,
    create_table_branch,
    delete_table_branch,
)
