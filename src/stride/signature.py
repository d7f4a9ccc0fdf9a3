"""The arguments of a `_target_`, read from its source and not by importing it.

Importing torch to learn that `torch.optim.AdamW` takes `betas` costs seconds; parsing the one file that
defines it costs milliseconds. What cannot be found in source (C extensions, `__new__` factories) is unknown,
which is not the same as wrong.
"""

import ast
import contextlib
import functools
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signature:
    """Names of the arguments, and whether any other keyword is taken as well."""

    arguments: tuple[str, ...]
    open: bool


Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class NoSuchTarget(LookupError):
    """The module was read and holds no such name; `names` are those that it does define."""

    def __init__(self, target: str, names: tuple[str, ...]) -> None:
        super().__init__(target)
        self.names = names


@functools.cache
def signature(target: str) -> Signature | None:
    """What the callable at the dotted path `target` accepts, or None where its source does not say.

    Raises NoSuchTarget if its module is there to read and does not define it.
    """
    module, _, name = target.rpartition(".")
    found = _find(module, name, depth=0)
    if found is None:
        names = _names(module)
        if names is not None and name not in names:
            raise NoSuchTarget(target, names)
        return None
    node, home = found
    return _of_class(node, home) if isinstance(node, ast.ClassDef) else _of_function(node, skip_self=False)


def is_subclass(target: str, name: str) -> bool:
    """Whether the class at `target`, or one that it inherits from as far as source tells, is called `name`."""
    module, _, called = target.rpartition(".")
    found = _find(module, called, depth=0)
    return found is not None and _inherits(found, name, depth=0)


def _inherits(found: tuple[Definition, str], name: str, depth: int) -> bool:
    node, module = found
    if node.name == name or not isinstance(node, ast.ClassDef) or depth > 8:
        return node.name == name
    parents = [(base, _find_expression(base, module)) for base in node.bases]
    return any(
        _inherits(parent, name, depth + 1) if parent else ast.unparse(base).rpartition(".")[2] == name
        for base, parent in parents
    )


def _of_function(node: ast.FunctionDef | ast.AsyncFunctionDef, skip_self: bool) -> Signature:
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    names = positional[1:] if skip_self else positional
    names += [argument.arg for argument in node.args.kwonlyargs]
    return Signature(tuple(names), open=node.args.kwarg is not None)


def _of_class(node: ast.ClassDef, module: str, depth: int = 0) -> Signature | None:
    methods = {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
    if "__init__" in methods:
        return _of_function(methods["__init__"], skip_self=True)
    if "__new__" in methods:  # such a class may build anything; its own arguments say nothing certain
        return None
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [
            item.target.id
            for item in node.body
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
        ]
        return Signature(tuple(fields), open=False)
    for base in node.bases:
        found = _find_expression(base, module)
        if found is not None and isinstance(found[0], ast.ClassDef) and depth < 8:
            return _of_class(found[0], found[1], depth + 1)
    return None


def _find_expression(expression: ast.expr, module: str) -> tuple[Definition, str] | None:
    """The definition that a base class's expression (`Optimizer`, `nn.Module`) refers to, seen from `module`."""
    if isinstance(expression, ast.Subscript):
        expression = expression.value
    if isinstance(expression, ast.Name):
        return _find(module, expression.id, depth=0)
    if isinstance(expression, ast.Attribute) and isinstance(expression.value, ast.Name):
        path = _source(module)
        for node in _imports(path) if path else ():
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if (alias.asname or alias.name) == expression.value.id:
                        return _find(alias.name, expression.attr, depth=0)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if (alias.asname or alias.name) == expression.value.id:
                        return _find(f"{_absolute(node, module)}.{alias.name}", expression.attr, depth=0)
    return None


@functools.cache
def _find(module: str, name: str, depth: int) -> tuple[Definition, str] | None:
    """The class or function `name` of `module` and the module that really defines it."""
    path = _source(module)
    if path is None or depth > 8:
        return None
    if definition := _definition(path, name):
        return definition, module
    stars = []
    for node in _imports(path):
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = _absolute(node, module)
        for alias in node.names:
            if alias.name == "*":
                stars.append(origin)
            elif (alias.asname or alias.name) == name:
                return _find(origin, alias.name, depth + 1)
    for origin in stars:
        found = _find(origin, name, depth + 1)
        if found is not None:
            return found
    return None


def _definition(path: Path, name: str) -> Definition | None:
    """The statement at the top level of a file that defines `name`; of a class only as far as its `__init__`."""
    text = _text(path)
    found = re.search(rf"^(?:@.*\n)*(?:class|(?:async )?def) {name}\b", text, flags=re.MULTILINE)
    if not found:
        return None
    # The bodies that follow are most of a file, and parsing them most of the time.
    rest = text[found.start() :]
    after = re.search(r"^(?:class|def|async def|@)\b", rest[len(found[0]) :], flags=re.MULTILINE)
    own = rest[: len(found[0]) + after.start()] if after else rest
    if end := _end_of_init(own):
        with contextlib.suppress(SyntaxError):
            (node,) = ast.parse(own[:end] + " ...").body
            if isinstance(node, ast.ClassDef) and node.name == name:
                return node
    nodes = (node for node in _tree(path).body if isinstance(node, Definition) and node.name == name)
    return next(nodes, None)


def _end_of_init(text: str) -> int | None:
    """Where the line that begins a class's `def __init__(...):` ends."""
    begin = re.search(r"^    def __init__\(", text, flags=re.MULTILINE)
    if not begin:
        return None
    depth = 1
    for bracket in re.finditer(r"[()\[\]{}]", text[begin.end() :]):
        depth += 1 if bracket[0] in "([{" else -1
        if depth == 0:
            return text.find(":", begin.end() + bracket.end()) + 1 or None
    return None


def _absolute(node: ast.ImportFrom, module: str) -> str:
    if node.level == 0:
        return node.module or ""
    path = _source(module)
    is_package = path is not None and path.name == "__init__.py"
    parts = module.split(".")
    parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
    return ".".join([*parts, *([node.module] if node.module else [])])


@functools.cache
def _package_folders(top: str) -> tuple[Path, ...] | None:
    # find_spec imports parents, so it is only ever asked for the top package, which it does not import.
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        return tuple(Path(folder) for folder in spec.submodule_search_locations)
    return (Path(spec.origin),) if spec.origin and spec.origin.endswith(".py") else ()


@functools.cache
def _source(module: str) -> Path | None:
    """The file that holds the source of `module`, or None."""
    top, *rest = module.split(".")
    for folder in _package_folders(top) or ():
        if folder.is_file():
            return folder if not rest else None
        stem = folder.joinpath(*rest)
        for path in (stem.with_name(stem.name + ".py"), stem / "__init__.py"):
            if path.is_file():
                return path
    return None


def _is_compiled(module: str) -> bool:
    top, *rest = module.split(".")
    folders = _package_folders(top) or ()
    return any(any(folder.joinpath(*rest[:-1]).glob(f"{rest[-1] if rest else top}.*")) for folder in folders)


@functools.cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(_text(path))


@functools.cache
def _imports(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """Imports at the top of a module, also those inside its `if` and `try` blocks."""
    found: list[ast.Import | ast.ImportFrom] = []
    waiting: list[ast.stmt] = list(_tree(path).body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif isinstance(node, ast.If | ast.Try):
            waiting += [*node.body, *node.orelse]
            if isinstance(node, ast.Try):
                waiting += [statement for handler in node.handlers for statement in handler.body]
    return tuple(found)


def _names(module: str, depth: int = 0) -> tuple[str, ...] | None:
    """Every public name of a module, or None where its source cannot tell all of them."""
    path = _source(module)
    if path is None:
        return None if _is_compiled(module) else ()
    names: list[str] = []
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.name == "__getattr__" and node in _tree(path).body:
                return None
            names.append(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.append(node.id)
    for node in _imports(path):
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            starred = _names(_absolute(node, module), depth + 1) if depth < 8 else None
            if starred is None:
                return None
            names += starred
        else:
            names += [alias.asname or alias.name for alias in node.names]
    return tuple(dict.fromkeys(name for name in names if not name.startswith("_")))
