"""Read the contracts as they are written: classes, methods, parameters, docstrings, imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "pennon"


@dataclass(frozen=True)
class Param:
    """One parameter as it is written in the source."""

    name: str
    annotation: str = ""
    default: str | None = None
    keyword: bool = False
    doc: str = ""

    def __str__(self) -> str:
        text = f"{self.name}: {self.annotation}" if self.annotation else self.name
        return text if self.default is None else f"{text} = {self.default}"


@dataclass(frozen=True)
class Method:
    """A method of a contract."""

    name: str
    params: tuple[Param, ...]
    returns: str
    doc: str

    @property
    def names(self) -> set[str]:
        """The names of the parameters."""
        return {p.name for p in self.params}


@dataclass(frozen=True)
class Part:
    """One class of a contract, with what its signatures need to be imported."""

    module: str
    name: str
    methods: tuple[Method, ...]
    imports: dict[str, str]
    """The import statement of every name that the module knows, by name."""
    typing_only: frozenset[str]


def read(module: str, classes: Sequence[str] | None = None) -> list[Part]:
    """Return the classes of a module that hold public methods."""
    path = SOURCE.joinpath(*module.split(".")[1:])
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text("utf-8")
    tree = ast.parse(text)
    imports, typing_only = known(tree, module)
    found: list[Part] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (classes is None or node.name in classes):
            methods = tuple(methods_of(node, text))
            found.append(Part(module, node.name, methods, imports, frozenset(typing_only)))
    return found


def known(tree: ast.Module, module: str) -> tuple[dict[str, str], set[str]]:
    """Return how each name of a module is imported, and which are for type checkers only."""
    imports: dict[str, str] = {}
    typing_only: set[str] = set()
    for node, guarded in statements(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            start = f"from {node.module} import" if isinstance(node, ast.ImportFrom) else "import"
            for alias in node.names:
                name = alias.asname or alias.name
                imports[name] = f"{start} {ast.unparse(alias)}"
                typing_only |= {name} if guarded else set()
        else:
            imports |= {name: f"from {module} import {name}" for name in defined(node)}
    return imports, typing_only


def defined(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines: classes and constants."""
    if isinstance(node, ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [t.id for t in targets if isinstance(t, ast.Name)]


def statements(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    """Yield the statements of a module, each with whether it is for type checkers only."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ((inner, True) for inner in node.body)
        else:
            yield node, False


def methods_of(node: ast.ClassDef, text: str) -> Iterator[Method]:
    """Yield the public methods, the last definition of each; properties are no methods."""
    kept: dict[str, ast.FunctionDef] = {}
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            marks = {ast.unparse(d).split("(")[0] for d in item.decorator_list}
            if not marks & {"property", "classmethod", "staticmethod", "overload"}:
                kept[item.name] = item
    for name, item in kept.items():
        yield Method(
            name,
            tuple(params_of(item, text)),
            segment(text, item.returns),
            ast.get_docstring(item) or "",
        )


def params_of(function: ast.FunctionDef, text: str) -> Iterator[Param]:
    """Yield the parameters of a method, ``self`` excluded."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args][1:]
    missing: list[ast.expr | None] = [None] * len(positional)
    defaults = [*missing, *arguments.defaults][len(arguments.defaults) :]
    defaults = defaults[len(defaults) - len(positional) :]
    for each, keyword, default in (
        *((a, False, d) for a, d in zip(positional, defaults, strict=True)),
        *((a, True, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)),
    ):
        yield Param(
            each.arg,
            segment(text, each.annotation),
            None if default is None else segment(text, default),
            keyword,
        )


def segment(text: str, node: ast.expr | None) -> str:
    """Return an expression as it is written, on one line."""
    found = "" if node is None else ast.get_source_segment(text, node) or ""
    return re.sub(r",(?=[\])])", "", re.sub(r"(?<=[\[(]) | (?=[\])])", "", " ".join(found.split())))


def request_fields() -> list[Param]:
    """Return the options of a ``ScanRequest``, its table excluded."""
    path = SOURCE / "storage" / "abc" / "types.py"
    text = path.read_text("utf-8")
    node = next(
        n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == "ScanRequest"
    )
    found: list[Param] = []
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            call = item.value
            default = (
                next((segment(text, k.value) for k in call.keywords if k.arg == "default"), None)
                if isinstance(call, ast.Call)
                else None
            )
            annotation = segment(text, item.annotation)
            found.append(Param(item.target.id, annotation, default, keyword=True))
        elif isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant) and found:
            found[-1] = replace(found[-1], doc=" ".join(str(item.value.value).split()))
    return found[1:]
