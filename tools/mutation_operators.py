"""The operators of mutation testing: one small change of code at a time.

`changes` says which apply to a node of a syntax tree, each as a name and a function
that makes the changed node.
"""

import ast
from collections.abc import Callable, Iterator

Change = tuple[str, Callable[[ast.AST], ast.AST]]

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
WRITES = {ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_"}
TWINS = {
    "amax": "amin",
    "amin": "amax",
    "maximum": "minimum",
    "minimum": "maximum",
    "max": "min",
    "min": "max",
    "argmax": "argmin",
    "any": "all",
    "all": "any",
    "sum": "mean",
    "mean": "sum",
    "zeros": "ones",
    "ones": "zeros",
    "tril": "triu",
    "triu": "tril",
    "sin": "cos",
    "cos": "sin",
    "cumsum": "cumprod",
    "extend": "append",
}
IN_PLACE = {
    "abs",
    "add",
    "clamp",
    "div",
    "exp",
    "log",
    "masked_fill",
    "mul",
    "neg",
    "sqrt",
    "square",
    "squeeze",
    "sub",
    "transpose",
    "unsqueeze",
}
# What mutants call: a result in float32, and sizes as they were at the first call.
PRELUDE = """\
def _float32(value):
    import torch
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        _forced.append(value.dtype)
        return value.float()
    return tuple(map(_float32, value)) if type(value) is tuple else value
_forced = []
_written_in = {}
"""


class Replaced(ast.NodeTransformer):
    """One node of a tree replaced by another."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        """Replace the node, or look inside."""
        return self.new if node is self.old else self.generic_visit(node)


def parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def changes(node: ast.AST, tree: ast.Module) -> Iterator[tuple]:
    """The operators that apply to a node: a name, and a function that changes it."""

    def set_to(**values: object):
        def change(new: ast.AST) -> ast.AST:
            for name, value in values.items():
                setattr(new, name, value)
            return new

        return change

    if isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield "constant", set_to(value=not value)
        elif isinstance(value, (int, float)):
            yield "constant + 1", set_to(value=value + 1)
            yield "constant - 1", set_to(value=value - 1)
        elif isinstance(value, str):
            words = sorted(
                {
                    n.value
                    for n in ast.walk(tree)
                    if isinstance(n, ast.Constant) and isinstance(n.value, str)
                }
            )
            if len(words) > 1 and len(value) < 20:
                other = words[(words.index(value) + 1) % len(words)]
                yield "another word", set_to(value=other)
    elif isinstance(node, ast.Compare):
        for twin in [COMPARISONS.get(type(node.ops[0]))]:
            if twin and len(node.ops) == 1:
                yield "comparison", set_to(ops=[twin()])
    elif isinstance(node, ast.BinOp):
        if type(node.op) in OPERATORS:
            yield "operator", set_to(op=OPERATORS[type(node.op)]())
        yield "left side alone", lambda new: new.left
        yield "right side alone", lambda new: new.right
        if is_argument(node.left, tree) and type(node.op) in WRITES:
            written = ast.Attribute(node.left, WRITES[type(node.op)], ast.Load())
            yield "argument changed", lambda new: ast.Call(written, [new.right], [])
        if isinstance(node.op, (ast.Sub, ast.Div, ast.MatMult, ast.Pow)):
            yield "sides swapped", set_to(left=node.right, right=node.left)
    elif isinstance(node, ast.BoolOp):
        twin = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield "and for or", set_to(op=twin())
    elif isinstance(node, ast.UnaryOp):
        yield "sign or negation dropped", lambda new: new.operand
    elif isinstance(node, ast.Call):
        yield from call_changes(node)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
        if any(word in node.id for word in ("mask", "padding", "hidden", "seen")):
            yield "mask inverted", lambda new: ast.UnaryOp(ast.Invert(), new)
    elif isinstance(node, ast.Attribute) and node.attr in TWINS:
        yield "twin", set_to(attr=TWINS[node.attr])
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield "subscript dropped", lambda new: new.value
    elif isinstance(node, ast.Slice):
        for end in ("lower", "upper"):
            if getattr(node, end):
                yield "slice open", set_to(**{end: None})
    elif isinstance(node, ast.IfExp):
        yield "guard: always", lambda new: new.body
        yield "guard: never", lambda new: new.orelse
    elif isinstance(node, (ast.If, ast.While)):
        yield "guard: never", set_to(test=ast.Constant(False))
        if isinstance(node, ast.If):
            yield "guard: always", set_to(test=ast.Constant(True))
    elif isinstance(node, ast.Expr):
        yield "statement dropped", lambda new: ast.Pass()
    elif isinstance(node, ast.AugAssign):
        yield "statement dropped", lambda new: ast.Pass()
        if type(node.op) in OPERATORS:
            yield "operator", set_to(op=OPERATORS[type(node.op)]())
    elif isinstance(node, ast.Assign):
        yield from assignment_changes(node)
    elif isinstance(node, (ast.Break, ast.Continue)):
        yield "statement dropped", lambda new: ast.Pass()
    elif isinstance(node, ast.Return) and node.value is not None:
        yield (
            "float32 forced",
            lambda new: ast.Return(
                ast.Call(ast.Name("_float32", ast.Load()), [new.value], [])
            ),
        )
    if isinstance(node, ast.expr) and is_size(node):
        text = ast.unparse(node)
        kept = parsed(f"_written_in.setdefault({text!r}, {text})")
        yield "size written in", lambda new: kept


def is_argument(node: ast.expr, tree: ast.Module) -> bool:
    """Whether an expression is the name of an argument of a function."""
    names = {each.arg for each in ast.walk(tree) if isinstance(each, ast.arg)}
    return isinstance(node, ast.Name) and node.id in names


def is_size(node: ast.expr) -> bool:
    """Whether an expression asks a tensor or a list for its size."""
    text = ast.unparse(node)
    if isinstance(node, ast.Call):
        return text.startswith("len(") or ".size(" in text[-12:]
    shape = isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute)
    return shape and node.value.attr == "shape" and isinstance(node.ctx, ast.Load)


def call_changes(node: ast.Call) -> Iterator[tuple]:
    """Changes of a call: arguments swapped or dropped, the call itself, a twin."""

    def without(kind: str, place: int):
        def change(new: ast.Call) -> ast.Call:
            del getattr(new, kind)[place]
            return new

        return change

    def swapped(place: int):
        def change(new: ast.Call) -> ast.Call:
            new.args[place : place + 2] = new.args[place : place + 2][::-1]
            return new

        return change

    for place in range(len(node.args) - 1):
        if not any(isinstance(arg, ast.Starred) for arg in node.args):
            yield "arguments swapped", swapped(place)
    for place in range(len(node.keywords)):
        yield "keyword dropped", without("keywords", place)
    if len(node.args) > 1:
        yield "last argument dropped", without("args", len(node.args) - 1)
    if isinstance(node.func, ast.Attribute):
        name = node.func.attr
        module = isinstance(node.func.value, ast.Name) and node.func.value.id in (
            "torch",
            "F",
            "np",
            "math",
            "nn",
            "re",
        )
        if not module:
            yield "call dropped", lambda new: new.func.value
            if name in IN_PLACE and isinstance(node.func.value, ast.Name):

                def in_place(new: ast.Call) -> ast.Call:
                    new.func.attr += "_"
                    return new

                yield "in place", in_place
        elif node.args and name not in ("tensor", "arange", "full", "zeros", "ones"):
            yield "call dropped", lambda new: new.args[0]


def assignment_changes(node: ast.Assign) -> Iterator[tuple]:
    """Changes of an assignment: left out where the name has a value, or in place."""
    target = node.targets[0]
    if not isinstance(target, ast.Name):
        return
    reads = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
    if target.id in reads:
        yield "statement dropped", lambda new: ast.Pass()
    value = node.value
    if (
        isinstance(value, ast.BinOp)
        and isinstance(value.left, ast.Name)
        and value.left.id == target.id
    ):
        yield (
            "in place",
            lambda new: ast.AugAssign(
                ast.Name(target.id, ast.Store()), new.value.op, new.value.right
            ),
        )
