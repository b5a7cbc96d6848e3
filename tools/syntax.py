"""What the tools read off a cell's code: the names that it defines and uses."""

import ast
import re


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
