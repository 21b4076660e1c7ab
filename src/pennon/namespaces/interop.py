"""A catalog of pennon as a ``lance_namespace.LanceNamespace``, for pylance and lancedb.

This is the half about names. What is in the tables is answered one room higher, by the subclass in
:mod:`pennon.storage.serving`, which is what ``Namespace.to_lance`` returns.

Import this only when it is used: ``lance_namespace`` takes a second to load.
"""

from __future__ import annotations

import abc
import functools
import inspect
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import lance_namespace as spec
from lance_namespace import LanceNamespace
from lance_namespace.errors import InvalidInputError, UnsupportedOperationError, from_error_code
from pydantic import BaseModel, ValidationError

from pennon.errors import PennonError, StorageError
from pennon.namespaces.abc import Id, Namespace, TableInfo
from pennon.namespaces.names import DELIMITER, show_id

if TYPE_CHECKING:
    from pennon.namespaces.rest import RestNamespace

__all__ = ["LanceNamespaceAdapter", "choice", "vended"]

_MODES = {"create": "create", "existok": "exist_ok", "overwrite": "overwrite"}
_DROP_MODES = {"fail": False, "skip": True}
_BEHAVIORS = {"restrict": "restrict", "cascade": "cascade"}

Method = Callable[["LanceNamespaceAdapter", Any], Any]


def _operation(request: type[BaseModel]) -> Callable[[Method], Any]:
    """Make a method take a model or a dict, and raise errors of the specification."""

    def decorate(method: Method) -> Any:
        @functools.wraps(method)
        def run(self: LanceNamespaceAdapter, given: Any) -> Any:
            asked = _read(request, given)
            try:
                return method(self, asked)
            except PennonError as error:
                raise from_error_code(error.code, error.message) from error

        return run

    return decorate


def _read(model: type[BaseModel], given: Any) -> Any:
    """Return a request as its model: lancedb and the Rust side of pylance send dicts."""
    if isinstance(given, model):
        return given
    dump = getattr(given, "model_dump", None)
    fields: Any = given if isinstance(given, Mapping) else dump() if dump else None
    if fields is None:
        raise InvalidInputError(
            f"A request is a {model.__name__} or a dict, not a {type(given).__name__}."
        )
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        # Without the input: a request may hold credentials.
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidInputError(f"{model.__name__}.{where}: {first['msg']}.") from None


def choice(name: str, value: str | None, known: Mapping[str, Any], default: str) -> Any:
    """Return what a word stands for, in any spelling and case.

    Raises:
        InvalidInputError: It is none of the known ones, which are lower case without ``_``.
    """
    word = (value or default).lower().replace("_", "").replace("-", "")
    if word not in known:
        raise InvalidInputError(f"{name}={value!r} is not one of {', '.join(map(repr, known))}.")
    return known[word]


def _dump(request: BaseModel) -> dict[str, Any]:
    return {k: v for k, v in request.model_dump(by_alias=True).items() if v is not None}


class LanceNamespaceAdapter(LanceNamespace, abc.ABC):
    """The operations on names, and the way to the others.

    Every operation on names works as on the catalog below, with the error codes of the
    specification. An operation on data is answered by ``_answer``; over a REST catalog its server
    is asked, except for what names a branch: servers are known to write that to main. Requests may
    be models or dicts, modes in any spelling and case.

    ``identity`` and ``context`` of a request are sent to a server, together with the operation as
    it is; other catalogs have nobody to send them to. ``vend_credentials=False`` leaves storage
    options out of the answer. Safe to use from many threads; pickles if the catalog does.

    Args:
        namespace: The catalog.
    """

    @abc.abstractmethod
    def _answer(self, operation: str, request: Any, data: bytes | None = None) -> Any:
        """Answer an operation on data, here.

        Raises:
            UnsupportedOperationError: That cannot be done.
        """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        # Lance keys cached clients by this: catalogs with other credentials must differ in it.
        self._token = secrets.token_hex(4)

    def namespace_id(self) -> str:
        """Return what tells this instance from others."""
        return f"pennon {self._namespace.kind} namespace {self._namespace.root} #{self._token}"

    def __repr__(self) -> str:
        return f"<LanceNamespace over {self._namespace!r}>"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._namespace,)

    # -- a server below --------------------------------------------------------------------------

    @property
    def _server(self) -> RestNamespace | None:
        if self._namespace.kind != "rest":
            return None
        from pennon.namespaces.rest import RestNamespace

        return self._namespace if isinstance(self._namespace, RestNamespace) else None

    def _ask(self, operation: str, request: Any, response: Any, data: bytes | None = None) -> Any:
        """Ask the server of a REST catalog for an operation as it is."""
        server = self._server
        assert server is not None
        fields = _dump(request)
        id: list[str] = fields.pop("id", None) or []
        answer = server.client.call(operation, id=id, data=data, **fields)
        if response is str:
            return next(iter(answer.values()), "")
        try:
            found = response.model_validate(answer)
        except ValidationError as error:
            # The error's own text quotes the answer, which may hold credentials.
            where = ".".join(
                map(str, error.errors(include_url=False, include_input=False)[0]["loc"])
            )
            raise StorageError(
                f"{server.root} answered {operation} in a shape that is not the specification's "
                f"({where}); ask who runs it."
            ) from None
        if getattr(request, "vend_credentials", None) is False:
            found.storage_options = None
        return found

    def _ask_as_is(self, operation: str, request: Any, response: Any) -> Any:
        """Return the answer of the server to a request with credentials of its own, else None."""
        if self._server is not None and (request.identity or request.context):
            return self._ask(operation, request, response)
        return None

    # -- namespaces ------------------------------------------------------------------------------

    @_operation(spec.CreateNamespaceRequest)
    def create_namespace(self, request: Any) -> Any:
        """Create a namespace; modes ``Create``, ``ExistOk``, ``Overwrite``."""
        mode = choice("mode", request.mode, _MODES, "create")
        response = spec.CreateNamespaceResponse
        if answer := self._ask_as_is("create_namespace", request, response):
            return answer
        info = self._namespace.create_namespace(
            tuple(request.id or ()), mode=mode, properties=request.properties
        )
        return response(properties=dict(info.properties))

    @_operation(spec.ListNamespacesRequest)
    def list_namespaces(self, request: Any) -> Any:
        """List the names directly below a namespace."""
        response = spec.ListNamespacesResponse
        if answer := self._ask_as_is("list_namespaces", request, response):
            return answer
        page = self._namespace.list_namespaces(
            tuple(request.id or ()), limit=request.limit, page_token=request.page_token or None
        )
        return response(namespaces=[i[-1] for i in page], page_token=page.next_page_token)

    @_operation(spec.DescribeNamespaceRequest)
    def describe_namespace(self, request: Any) -> Any:
        """Return the properties of a namespace."""
        response = spec.DescribeNamespaceResponse
        if answer := self._ask_as_is("describe_namespace", request, response):
            return answer
        info = self._namespace.describe_namespace(tuple(request.id or ()))
        return response(properties=dict(info.properties))

    @_operation(spec.DropNamespaceRequest)
    def drop_namespace(self, request: Any) -> Any:
        """Drop a namespace; modes ``Fail``, ``Skip``, behaviors ``Restrict``, ``Cascade``."""
        missing_ok = choice("mode", request.mode, _DROP_MODES, "fail")
        behavior = choice("behavior", request.behavior, _BEHAVIORS, "restrict")
        response = spec.DropNamespaceResponse
        if answer := self._ask_as_is("drop_namespace", request, response):
            return answer
        id = tuple(request.id or ())
        self._namespace.drop_namespace(id, behavior=behavior, missing_ok=missing_ok)
        return response()

    @_operation(spec.NamespaceExistsRequest)
    def namespace_exists(self, request: Any) -> Any:
        """Raise ``NamespaceNotFoundError`` unless a namespace exists."""
        response = spec.NamespaceExistsResponse
        if answer := self._ask_as_is("namespace_exists", request, response):
            return answer
        id = tuple(request.id or ())
        if not self._namespace.namespace_exists(id):
            raise from_error_code(1, f"There is no namespace {show_id(id)}.")
        return response()

    # -- tables ----------------------------------------------------------------------------------

    @_operation(spec.ListTablesRequest)
    def list_tables(self, request: Any) -> Any:
        """List the names of the tables in a namespace."""
        response = spec.ListTablesResponse
        if answer := self._ask_as_is("list_tables", request, response):
            return answer
        page = self._tables(request, recursive=False)
        return response(tables=[i[-1] for i in page], page_token=page.next_page_token)

    @_operation(spec.ListTablesRequest)
    def list_all_tables(self, request: Any) -> Any:
        """List the ids, joined by ``$``, of all tables at any depth."""
        response = spec.ListTablesResponse
        if answer := self._ask_as_is("list_all_tables", request, response):
            return answer
        page = self._tables(request, recursive=True)
        return response(tables=[DELIMITER.join(i) for i in page], page_token=page.next_page_token)

    def _tables(self, request: Any, *, recursive: bool) -> Any:
        return self._namespace.list_tables(
            tuple(request.id or ()),
            recursive=recursive,
            include_declared=request.include_declared is not False,
            limit=request.limit,
            page_token=request.page_token or None,
        )

    @_operation(spec.DescribeTableRequest)
    def describe_table(self, request: Any) -> Any:
        """Return where a table is, and what is in it if that is asked for."""
        response = spec.DescribeTableResponse
        id = tuple(request.id or ())
        if self._server is not None:
            return self._describe_on_server(self._server, id, request)
        inside = request.load_detailed_metadata or request.version is not None
        if inside or request.tag or request.branch:
            return self._answer("describe_table", request)
        info = self._namespace.describe_table(id, check_declared=bool(request.check_declared))
        return response(
            table=info.id[-1],
            namespace=list(info.id[:-1]),
            location=info.location,
            table_uri=info.location if request.with_table_uri else None,
            storage_options=vended(info, request.vend_credentials),
            properties=dict(info.properties),
            managed_versioning=False,
            is_only_declared=info.declared_only,
        )

    def _describe_on_server(self, server: RestNamespace, id: Id, request: Any) -> Any:
        # As it is, because the server may manage the versions of the table.
        if request.tag or _names_branch(request):
            _alone("describe_table", request, self)
            plain = spec.DescribeTableRequest(id=list(id))
            known = self._ask("describe_table", plain, spec.DescribeTableResponse)
            answer = self._answer("describe_table", request)
            answer.managed_versioning = known.managed_versioning
            return answer
        answer = self._ask("describe_table", request, spec.DescribeTableResponse)
        if not answer.storage_options and server.client.settings.storage:
            info = server.describe_table(id)
            answer.storage_options = vended(info, request.vend_credentials)
        return answer

    @_operation(spec.DeclareTableRequest)
    def declare_table(self, request: Any) -> Any:
        """Claim a name and return the location for its data."""
        response = spec.DeclareTableResponse
        if answer := self._ask_as_is("declare_table", request, response):
            return answer
        if request.location:
            raise UnsupportedOperationError(
                f"A location cannot be chosen in {self._namespace!r}; leave it out, or use "
                "register_table for a dataset that exists."
            )
        id = tuple(request.id or ())
        info = self._namespace.declare_table(id, properties=request.properties)
        managed: bool | None = False
        if self._server is not None:
            asked = spec.DescribeTableRequest(id=list(id))
            managed = self._describe_on_server(self._server, id, asked).managed_versioning
        return response(
            location=info.location,
            storage_options=vended(info, request.vend_credentials),
            properties=dict(info.properties),
            managed_versioning=managed,
        )

    @_operation(spec.RegisterTableRequest)
    def register_table(self, request: Any) -> Any:
        """Give a name to a dataset below the root; modes ``Create``, ``Overwrite``."""
        modes = {"create": "create", "overwrite": "overwrite"}
        mode = choice("mode", request.mode, modes, "create")
        response = spec.RegisterTableResponse
        if answer := self._ask_as_is("register_table", request, response):
            return answer
        info = self._namespace.register_table(
            tuple(request.id or ()), request.location, mode=mode, properties=request.properties
        )
        return response(location=info.location, properties=dict(info.properties))

    @_operation(spec.TableExistsRequest)
    def table_exists(self, request: Any) -> Any:
        """Raise ``TableNotFoundError`` unless a table exists."""
        response = spec.TableExistsResponse
        if self._server is not None and (request.identity or request.context or request.version):
            return self._ask("table_exists", request, response)
        if request.version is not None:
            return self._answer("table_exists", request)
        id = tuple(request.id or ())
        if not self._namespace.table_exists(id):
            raise from_error_code(4, f"There is no table {show_id(id)}.")
        return response()

    @_operation(spec.DropTableRequest)
    def drop_table(self, request: Any) -> Any:
        """Drop a table with its data."""
        response = spec.DropTableResponse
        if answer := self._ask_as_is("drop_table", request, response):
            return answer
        self._namespace.drop_table(tuple(request.id or ()))
        return response(id=request.id)

    @_operation(spec.DeregisterTableRequest)
    def deregister_table(self, request: Any) -> Any:
        """Forget a name and keep the data."""
        response = spec.DeregisterTableResponse
        if answer := self._ask_as_is("deregister_table", request, response):
            return answer
        info = self._namespace.deregister_table(tuple(request.id or ()))
        return response(id=request.id, location=info.location, properties=dict(info.properties))

    @_operation(spec.RenameTableRequest)
    def rename_table(self, request: Any) -> Any:
        """Rename a table, or move it to another namespace."""
        response = spec.RenameTableResponse
        if answer := self._ask_as_is("rename_table", request, response):
            return answer
        id = tuple(request.id or ())
        above = id[:-1] if request.new_namespace_id is None else tuple(request.new_namespace_id)
        self._namespace.rename_table(id, (*above, request.new_table_name))
        return response()

    def create_empty_table(self, request: Any) -> Any:  # noqa: ARG002
        """Raise: the specification has replaced it by ``declare_table``."""
        raise UnsupportedOperationError("create_empty_table is gone; call declare_table instead.")


def vended(info: TableInfo, vend: Any) -> dict[str, str] | None:
    """Return the storage options of a table, unless the request does not want them."""
    return dict(info.storage_options) if info.storage_options and vend is not False else None


_NEVER_ON_MAIN = frozenset(
    {
        *("insert_into_table", "merge_insert_into_table", "update_table", "delete_from_table"),
        *("alter_table_add_columns", "alter_table_alter_columns", "alter_table_drop_columns"),
        *("create_table_index", "create_table_scalar_index", "drop_table_index"),
        *("list_table_indices", "describe_table_index_stats"),
        *("update_table_schema_metadata", "update_field_metadata"),
        *("create_table_tag", "update_table_tag"),
        *("explain_table_query_plan", "analyze_table_query_plan", "describe_table"),
    }
)
"""What pylance's server does on main, without a word, when a request names a branch."""


def _names_branch(request: Any) -> bool:
    inner = getattr(request, "query", None)
    return any(getattr(r, "branch", None) not in (None, "main") for r in (request, inner))


def _alone(operation: str, request: Any, server: object) -> None:
    """Refuse what can only be done here to a request that is for the server.

    Raises:
        UnsupportedOperationError: It has an identity or a context of its own.
    """
    if request.identity or request.context:
        raise UnsupportedOperationError(
            f"{operation} on a branch is done here, not by the server of {server!r}, which may do "
            "it on the main one; leave identity and context out."
        )


def _data_operation(name: str) -> Any:
    """Return the method of an operation on data."""
    original = getattr(LanceNamespace, name)
    shape = inspect.signature(original)
    request_type: Any = shape.parameters["request"].annotation
    response_type: Any = shape.return_annotation

    def run(self: Any, request: Any, request_data: bytes | None = None) -> Any:
        asked = _read(request_type, request)
        on_branch = name in _NEVER_ON_MAIN and _names_branch(asked)
        try:
            if self._server is None:
                return self._answer(name, asked, request_data)
            if not on_branch:
                return self._ask(name, asked, response_type, request_data)
            _alone(name, asked, self)
            return self._answer(name, asked, request_data)
        except PennonError as error:
            raise from_error_code(error.code, error.message) from error

    run.__name__ = name
    run.__qualname__ = f"{LanceNamespaceAdapter.__name__}.{name}"
    run.__doc__ = f"Answer the operation ``{name}`` of the specification."
    return run


for _name, _ in inspect.getmembers(LanceNamespace, inspect.isfunction):
    if not _name.startswith("_") and _name not in vars(LanceNamespaceAdapter):
        setattr(LanceNamespaceAdapter, _name, _data_operation(_name))
