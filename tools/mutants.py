"""Mutation testing of the checks: small faults put into solutions, each to be caught.

    python tools/mutants.py --chapter 04 [--exercise 4.5] [--list]

Every answer between the markers of `solutions/` is changed in one place at a time: a
constant, a comparison, a sign, an axis, a mask, a missing `clone`, a size written in.
Each mutant meets its check in a child process with a time limit. A mutant that passes
has escaped, unless `tests/checks/equivalent_mutants.yml` says why it is right.
"""

import argparse
import ast
import copy
import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
import yaml
from derivation.blanks import BEGIN, answers
from nbformat import NotebookNode
from notebooks import ENVIRONMENT, ROOT, Place, read
from syntax import global_names, without_magics

EQUIVALENT = ROOT / "tests/checks/equivalent_mutants.yml"
SECONDS = 20.0
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
FLOAT32 = """
def _float32(value):
    import torch
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if isinstance(value, tuple) and type(value) is tuple:
        return tuple(map(_float32, value))
    return value
_written_in = {}
"""


@dataclass(frozen=True)
class Mutant:
    """One change: the operator, the line in its cell, and the statement it becomes."""

    cell: str
    line: int
    operator: str
    before: str
    after: str
    source: str


@dataclass
class Exercise:
    """An exercise's cells, the code it needs from others, and its checks."""

    number: str
    answers: list[NotebookNode]
    checks: list[str]
    before: list[str]
    mutants: list[Mutant] = field(default_factory=list)


def exercises(notebook: NotebookNode) -> Iterator[Exercise]:
    """The exercises of a solutions notebook that have an answer and a check."""
    number, groups = "", {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## Exercise "):
            number = cell.source.split()[2]
        if number and cell.cell_type == "code":
            groups.setdefault(number, []).append(cell)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for name, cells in groups.items():
        written = [cell for cell in cells if BEGIN in cell.source]
        checks = [text for cell in cells for text in calls_of_checks(cell.source)]
        if written and checks:
            yield Exercise(name, written, checks, needed(code, written, checks))


def calls_of_checks(source: str) -> list[str]:
    """The statements of a cell that call a check."""
    tree = ast.parse(without_magics(source))
    return [
        ast.unparse(node)
        for node in tree.body
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("checks.ch")
    ]


def needed(
    code: list[NotebookNode], written: list[NotebookNode], checks: list[str]
) -> list[str]:
    """What of the other cells answers and checks use: definitions, and no measuring."""
    ids = [cell.id for cell in code]
    last = max(ids.index(cell.id) for cell in written)
    kept, wanted = [], set().union(*(global_names(text)[1] for text in checks))
    for cell in reversed(code[: last + 1]):
        bound, used = global_names(cell.source)
        if cell in written:
            wanted |= used
        elif bound & wanted and not calls_of_checks(cell.source):
            kept.append(without_magics(cell.source))
            wanted |= used
    return kept[::-1]


def mutants(cell: NotebookNode, file: str) -> Iterator[Mutant]:
    """All mutants of a cell's answers."""
    source = without_magics(cell.source)
    tree = ast.parse(source)
    spans = [(a.begin + 2, a.end) for a in answers(cell.source, Place(file, cell.id))]
    seen = set()
    for place, node in enumerate(ast.walk(tree)):
        line = getattr(node, "lineno", 0)
        if not any(begin <= line <= end for begin, end in spans):
            continue
        for operator, change in changes(node, tree):
            changed = copy.deepcopy(tree)
            twin = next(n for i, n in enumerate(ast.walk(changed)) if i == place)
            new = change(copy.deepcopy(twin))
            replaced = Replaced(twin, new).visit(changed)
            text = ast.unparse(ast.fix_missing_locations(replaced))
            if text in seen or text == ast.unparse(tree):
                continue
            seen.add(text)
            old, now = different_lines(ast.unparse(tree), text)
            yield Mutant(cell.id, line, operator, old, now, text)


def different_lines(before: str, after: str) -> tuple[str, str]:
    """The first line of both texts that is different."""
    for one, other in zip(before.split("\n"), after.split("\n"), strict=False):
        if one != other:
            return one.strip(), other.strip()
    return before[-60:], after[-60:]


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


def tried(exercise: Exercise, seconds: float) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with what came of it: "caught …", "escaped", "out of time"."""
    namespace = {"__name__": "exercise"}
    for source in [FLOAT32, *exercise.before]:
        exec(compile(source, "before", "exec"), namespace)
    originals = {cell.id: without_magics(cell.source) for cell in exercise.answers}
    if not meets_checks(originals, exercise.checks, namespace, 60)[0].startswith("esc"):
        raise SystemExit(f"exercise {exercise.number}: its own solution fails.")
    for mutant in exercise.mutants:
        sources = originals | {mutant.cell: mutant.source}
        yield mutant, meets_checks(sources, exercise.checks, namespace, seconds)[0]


def meets_checks(
    sources: dict[str, str], checks: list[str], namespace: dict, seconds: float
) -> tuple[str]:
    """Run answers and their checks in a child process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        verdict = "escaped"
        try:
            for name, source in [*sources.items(), *(("check", c) for c in checks)]:
                exec(compile(source, name, "exec"), namespace)
        except BaseException as error:
            first = str(error).split("\n")[0]
            verdict = f"caught {type(error).__name__}: {first}"[:400]
        os.write(writing, verdict.encode())
        os._exit(0)
    os.close(writing)
    ready, _, _ = select.select([reading], [], [], seconds)
    verdict = os.read(reading, 4000).decode(errors="replace") if ready else ""
    os.close(reading)
    if not ready:
        os.kill(child, signal.SIGKILL)
        verdict = "out of time"
    os.waitpid(child, 0)
    return (verdict or "caught: the process ended",)


def equivalents(path: Path) -> dict[tuple[str, str], str]:
    """The mutants known to be right, by exercise and statement, with the reason."""
    if not path.exists():
        return {}
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return {(str(e["exercise"]), e["after"]): e["reason"] for e in entries}


def report(path: Path, known: dict, only: str | None, show: bool) -> int:
    """Try a notebook's mutants, print the table, return how many escaped."""
    escaped_in_all = 0
    print(f"{'exercise':10}{'made':>6}{'caught':>8}{'equal':>7}{'escaped':>9}{'s':>7}")
    for exercise in exercises(read(path, path.parent)):
        if only and exercise.number != only:
            continue
        start = time.monotonic()
        for cell in exercise.answers:
            exercise.mutants += mutants(cell, path.name)
        escaped, caught, equal = [], 0, 0
        for mutant, verdict in tried(exercise, SECONDS):
            if verdict != "escaped":
                caught += 1
            elif (exercise.number, mutant.after) in known:
                equal += 1
            else:
                escaped.append(mutant)
            if show:
                print(f"  {mutant.operator}: {mutant.after}\n      {verdict}")
        escaped_in_all += len(escaped)
        print(
            f"{exercise.number:10}{len(exercise.mutants):6}{caught:8}{equal:7}"
            f"{len(escaped):9}{time.monotonic() - start:7.0f}",
            flush=True,
        )
        for mutant in escaped:
            print(f"  {mutant.cell}, line {mutant.line}, {mutant.operator}:")
            print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    return escaped_in_all


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chapter", help="two digits; all chapters without it")
    parser.add_argument("--exercise", help="one exercise of the chapter: 4.5")
    parser.add_argument("--list", action="store_true", help="every mutant's verdict")
    options = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    torch.set_num_threads(1)
    known = equivalents(EQUIVALENT)
    chapter = options.chapter or (
        f"{int(options.exercise.split('.')[0]):02d}" if options.exercise else ""
    )
    paths = sorted((ROOT / "solutions").glob(f"{chapter}*.ipynb"))
    return int(
        sum(report(path, known, options.exercise, options.list) for path in paths) > 0
    )


if __name__ == "__main__":
    sys.exit(main())
