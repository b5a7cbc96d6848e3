"""The code of ours that other code uses, directly or not, by definition.

A function that nobody calls, and a statement that only it needs, do not count: a new
plot makes no chapter's outputs stale. What runs when a module is imported does count.
Where code is more dynamic than can be read off it (a module handed on as an object, a
definition under one of our decorators), more counts rather than less.
"""

import ast
import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from notebooks import ROOT

PACKAGE = "finetuning"
# In place of a name: everything that a module defines.
ALL = "*"


@functools.cache
def parse(source: str) -> ast.Module:
    return ast.parse(source)


def dotted(node: ast.expr) -> str | None:
    """`a.b` for such an expression, None for any other."""
    if isinstance(node, ast.Attribute):
        value = dotted(node.value)
        return f"{value}.{node.attr}" if value else None
    return node.id if isinstance(node, ast.Name) else None


@dataclass
class Read:
    """What stands in a piece of code: what it imports, and how it uses it."""

    imports: set[str]
    # How deep it stands, the name, and the full name that it stands for.
    bound: list[tuple[int, str, str]]
    dotted: set[str]  # `a.b.c` of such an expression
    names: set[str]
    alone: set[str]  # names that stand alone
    strings: set[str]
    calls: list[ast.Call]


def _read(tree: ast.AST, depth: int) -> Read:
    """In functions too. The same order as that of ast.walk."""
    found = Read(set(), [], set(), set(), set(), set(), [])
    beginnings = set()  # `a` of `a.b`, which comes after it
    level: list[ast.AST] = [tree]
    while level:
        for node in level:
            if isinstance(node, ast.Name):
                found.names.add(node.id)
                if node not in beginnings:
                    found.alone.add(node.id)
            elif isinstance(node, ast.Attribute):
                beginnings.add(node.value)
                found.dotted.add(dotted(node) or "")
            elif isinstance(node, ast.Constant):
                if isinstance(node.value, str):
                    found.strings.add(node.value)
            elif isinstance(node, ast.Call):
                found.calls.append(node)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    found.imports.add(alias.name)
                    first = alias.name.partition(".")[0]
                    full_name = alias.name if alias.asname else first
                    found.bound.append((depth, alias.asname or first, full_name))
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.imports.add(node.module)
                for alias in node.names:
                    full_name = f"{node.module}.{alias.name}"
                    found.imports.add(full_name)
                    found.bound.append((depth, alias.asname or alias.name, full_name))
        level = [child for node in level for child in _children(node)]
        depth += 1
    return found


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """As ast.iter_child_nodes, and faster."""
    for name in node._fields:
        value = getattr(node, name, None)
        if isinstance(value, list):
            for each in value:
                if isinstance(each, ast.AST):
                    yield each
        elif isinstance(value, ast.AST) and not isinstance(value, ast.expr_context):
            yield value


def _together(parts: Iterable[Read]) -> set[str]:
    """The full names of what several pieces of one code import and use."""
    parts = list(parts)
    names = set().union(*(part.imports for part in parts))
    pairs = [pair for part in parts for pair in part.bound]
    bound = {name: full_name for _, name, full_name in sorted(pairs, key=_depth)}
    for part in parts:
        for expression in part.dotted:
            first, _, rest = expression.partition(".")
            if first in bound:
                names.add(f"{bound[first]}.{rest}")
        names |= {f"{bound[name]}.{ALL}" for name in part.alone & bound.keys()}
    return names


def _depth(pair: tuple[int, str, str]) -> int:
    return pair[0]


def imports(source: str) -> set[str]:
    """The full names of all that code imports, in functions too: modules, and what it
    takes from them. `checks.ch04` counts as an import where `checks` is one. Where the
    name of an import stands alone, `.*` follows: anything in it may be used.
    """
    return _together(statements_read(source))


@functools.cache
def statements_read(source: str) -> list[Read]:
    """For each statement at the top level of code, what stands in it."""
    return [_read(statement, depth=1) for statement in parse(source).body]


@functools.cache
def definitions(source: str) -> tuple[dict[str, set[int]], set[int]]:
    """For each name the places of the statements that define it, and the places of
    those that run when the module is imported.
    """
    places: dict[str, set[int]] = {}
    own_names = _bound_to_ours(source)
    for place, statement in enumerate(parse(source).body):
        for name in _defines(statement) or ():
            places.setdefault(name, set()).add(place)
            own_names.add(name)
    runs = {
        place
        for place, statement in enumerate(parse(source).body)
        if _runs_on_import(statement, own_names)
    }
    return places, runs


class Module:
    """A module's statements, and which of them are used."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.statements = parse(source).body
        self.used: set[int] = set()  # places in `statements`
        self.places, self.runs = definitions(source)

    def imported(self) -> set[str]:
        """The full names that its top level imports."""
        return _together(
            part
            for statement, part in zip(
                self.statements, statements_read(self.source), strict=True
            )
            if isinstance(statement, ast.Import | ast.ImportFrom)
        )

    def use(self, name: str) -> set[str]:
        """Count what defines this name, and all that this needs here. The full names
        that are imported for it.
        """
        if name == ALL:
            return self._count(range(len(self.statements)))
        return self._count(self.places.get(name, ()))

    def import_it(self) -> set[str]:
        """Count what runs when it is imported."""
        return self._count(self.runs)

    def _count(self, places: Iterable[int]) -> set[str]:
        waiting = set(places) - self.used
        if not waiting:
            return set()
        parts = statements_read(self.source)
        while waiting:
            place = waiting.pop()
            self.used.add(place)
            for name in parts[place].names & self.places.keys():
                waiting |= self.places[name] - self.used
        return self.needs()

    def needs(self) -> set[str]:
        """The full names of what the statements that count import and use."""
        return _together(self.parts())

    def parts(self) -> list[Read]:
        """What stands in the statements that count."""
        parts = statements_read(self.source)
        return [parts[place] for place in sorted(self.used)]

    def used_source(self) -> str:
        """The statements that count, in their order."""
        lines = self.source.splitlines()
        return "\n".join(self._text(place, lines) for place in sorted(self.used))

    def _text(self, place: int, lines: list[str]) -> str:
        statement = self.statements[place]
        decorators = getattr(statement, "decorator_list", [])
        first = min(node.lineno for node in [statement, *decorators])
        return "\n".join(lines[first - 1 : statement.end_lineno])


def _bound_to_ours(source: str) -> set[str]:
    """Names that the top level of a module has from modules of ours."""
    return {
        alias.asname or alias.name
        for node in parse(source).body
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").partition(".")[0] == PACKAGE
        for alias in node.names
    }


def _defines(statement: ast.stmt) -> list[str] | None:
    """The names that a statement does nothing but define; None if it does more."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Import():
            return [a.asname or a.name.partition(".")[0] for a in statement.names]
        case ast.ImportFrom():
            return [alias.asname or alias.name for alias in statement.names]
        case ast.Assign():
            targets = statement.targets
        case ast.AnnAssign():
            targets = [statement.target]
        case _:
            return None
    parts = [
        target
        for outer in targets
        for target in (outer.elts if isinstance(outer, ast.Tuple) else [outer])
    ]
    if all(isinstance(part, ast.Name) for part in parts):
        return [part.id for part in parts]
    return None


def _runs_on_import(statement: ast.stmt, own_names: set[str]) -> bool:
    """Whether a statement counts as soon as the module is imported."""
    match statement:
        case ast.FunctionDef(name="__getattr__"):
            return True
        case ast.FunctionDef() | ast.ClassDef():
            # One of our decorators may put the definition into a table.
            decorators = [
                name.id
                for decorator in statement.decorator_list
                for name in ast.walk(decorator)
                if isinstance(name, ast.Name)
            ]
            return not own_names.isdisjoint(decorators)
        case ast.Expr(value=ast.Constant()):
            return False
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return False
        case _:
            return _defines(statement) is None


def module_file(name: str, root: Path) -> Path | None:
    """The file of a module of ours; None where there is no such module."""
    path = root.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def scripts(file: Path) -> list[Path]:
    """Code that a package holds as data, as `finetuning.metrics` does."""
    if file.name != "__init__.py":
        return []
    folders = [path for path in file.parent.iterdir() if path.is_dir()]
    return [
        script
        for folder in sorted(folders)
        if not (folder / "__init__.py").exists()
        for script in sorted(folder.glob("*.py"))
    ]


def modules_of(source: str, root: Path = ROOT) -> dict[str, Module]:
    """Every module of ours that code imports, directly or not, by its path from the
    root, with what is used of it; with the scripts that such a package holds as data.
    """
    modules: dict[str, Module] = {}
    file_of = functools.cache(functools.partial(module_file, root=root))
    seen: set[str] = set()
    waiting = set(imports(source))
    while waiting:
        name = waiting.pop()
        if name in seen or name.partition(".")[0] != PACKAGE:
            continue
        seen.add(name)
        module_name, attribute = _split(name, file_of)
        file = file_of(module_name)
        if file is None:
            continue
        # Importing a module imports its packages.
        waiting.add(module_name.rpartition(".")[0] or module_name)
        path = file.relative_to(root).as_posix()
        if path not in modules:
            modules[path] = Module(file.read_text(encoding="utf-8"))
            waiting |= modules[path].import_it()
            waiting |= {_split(each, file_of)[0] for each in modules[path].imported()}
            for script in scripts(file):
                data = Module(script.read_text(encoding="utf-8"))
                modules[script.relative_to(root).as_posix()] = data
                waiting |= data.use(ALL)
        if attribute:
            waiting |= modules[path].use(attribute)
    return modules


def _split(name: str, file_of: Callable[[str], Path | None]) -> tuple[str, str]:
    """A full name as the module that it lies in and what it is there, "" for the
    module itself.
    """
    module_name, rest = name, ""
    while "." in module_name and file_of(module_name) is None:
        module_name, _, rest = module_name.rpartition(".")
    return module_name, rest


def closure(source: str, root: Path = ROOT) -> dict[str, str]:
    """The source of every module of ours that code imports, directly or not, by its
    path from the root.
    """
    return {path: module.source for path, module in modules_of(source, root).items()}


def used_code(source: str, root: Path = ROOT) -> dict[str, str]:
    """Of each of these modules the statements that code uses, directly or not."""
    return {
        path: module.used_source() for path, module in modules_of(source, root).items()
    }
