"""What the tools read off a cell's code: the names that it defines and uses."""

import ast
import io
import re
import symtable
import tokenize
from collections.abc import Iterator


def without_magics(source: str) -> str:
    """Python with IPython's `%magic` and `!command` lines made harmless, line numbers
    kept.
    """
    return re.sub(r"(?m)^(\s*)(?:%{1,2}[A-Za-z]|!(?!=)).*$", r"\1pass", source)


def defined_names(tree: ast.Module) -> list[str]:
    """The names that statements at top level bind by assignment, `def` or `class`, in
    their order.
    """
    names: dict[str, None] = {}
    for statement in tree.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        elif isinstance(
            statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ):
            names[statement.name] = None
        for target in targets:
            for node in ast.walk(target):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    names[node.id] = None
    return list(names)


def used_names(source: str) -> set[str]:
    """The names that code reads; none where it does not parse."""
    try:
        tree = ast.parse(without_magics(source))
    except SyntaxError:
        return set()
    return {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }


def scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    """A table of symbols and all tables inside it."""
    yield table
    for child in table.get_children():
        yield from scopes(child)


def global_names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell binds for later cells, and those that it takes from earlier
    ones or from itself; none where it does not parse.
    """
    try:
        table = symtable.symtable(without_magics(source), "cell", "exec")
    except SyntaxError:
        return set(), set()
    bound = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    used = {
        symbol.get_name()
        for scope in scopes(table)
        for symbol in scope.get_symbols()
        if symbol.is_referenced() and (scope is table or symbol.is_global())
    }
    return bound, used


def statements(tree: ast.Module) -> int:
    """How many statements code has, with those inside others, without docstrings."""
    with_docstring = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    docstrings = 0
    count = 0
    for node in ast.walk(tree):
        count += isinstance(node, ast.stmt)
        if isinstance(node, with_docstring) and ast.get_docstring(node) is not None:
            docstrings += 1
    return count - docstrings


def packed_assignments(tree: ast.Module) -> list[int]:
    """The lines of assignments like `a, b = 1, 2`, two statements on one line.

    `a, b = b, a` and `a, b = b, a + b` are not: one after the other they would do
    something else. Nor is `a, b = f()`, which unpacks one value.
    """
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple)
        for target in node.targets
        if isinstance(target, ast.Tuple) and not _is_swap(target, node.value)
    ]


def _is_swap(targets: ast.Tuple, values: ast.Tuple) -> bool:
    """Whether a value reads what the assignment binds before it."""
    bound: set[str] = set()
    for target, value in zip(targets.elts, values.elts, strict=False):
        if bound & {ast.unparse(part) for part in ast.walk(value)}:
            return True
        bound.add(ast.unparse(target))
    return False


def inner_semicolons(source: str) -> list[int]:
    """The lines with a `;` that does not end the code."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    except (tokenize.TokenError, SyntaxError):
        return []
    meaning = [
        token
        for token in tokens
        if token.type in (tokenize.OP, tokenize.NAME, tokenize.NUMBER, tokenize.STRING)
    ]
    return [token.start[0] for token in meaning[:-1] if token.string == ";"]
