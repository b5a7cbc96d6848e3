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
from mutation_operators import PRELUDE, Replaced, changes
from notebooks import ENVIRONMENT, ROOT, NotebookNode, Place, read
from syntax import global_names, without_magics

EQUIVALENT = ROOT / "tests/checks/equivalent_mutants.yml"
SECONDS = 15.0
NO_EFFECT = "without effect"  # float32 forced on what holds no such numbers


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


def tried(exercise: Exercise, seconds: float) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with what came of it: "caught …", "escaped", "out of time"."""
    namespace = {"__name__": "exercise"}
    for source in [PRELUDE, *exercise.before]:
        exec(compile(source, "before", "exec"), namespace)
    originals = {cell.id: without_magics(cell.source) for cell in exercise.answers}
    verdict = meets_checks(originals, exercise.checks, namespace, 4 * seconds)
    if verdict != "escaped":
        raise SystemExit(f"exercise {exercise.number}: its solution is {verdict}")
    for mutant in exercise.mutants:
        sources = originals | {mutant.cell: mutant.source}
        yield mutant, meets_checks(sources, exercise.checks, namespace, seconds)


def meets_checks(
    sources: dict[str, str], checks: list[str], namespace: dict, seconds: float
) -> str:
    """Run answers and their checks in a child process: what came of it."""
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
            if "_float32(" in str(sources) and not namespace.get("_forced"):
                verdict = NO_EFFECT
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
    return verdict or "caught: the process ended"


def equivalents(path: Path) -> dict[tuple[str, str], str]:
    """The mutants known to be right, by exercise and statement, with the reason."""
    if not path.exists():
        return {}
    entries = yaml.safe_load(path.read_text(encoding="utf-8")) or []
    return {(str(e["exercise"]), e["after"]): e["reason"] for e in entries}


def report(path: Path, known: dict, only: str | None, show: bool) -> tuple[int, int]:
    """Try a notebook's mutants and print the table. How many of those that are wrong
    were caught, and how many escaped.
    """
    caught_in_all = 0
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
            if verdict == NO_EFFECT:
                continue
            if verdict != "escaped":
                caught += 1
            elif (exercise.number, mutant.after) in known:
                equal += 1
            else:
                escaped.append(mutant)
            if show:
                print(f"  {mutant.operator}: {mutant.after}\n      {verdict}")
        made = caught + equal + len(escaped)
        caught_in_all += caught
        escaped_in_all += len(escaped)
        print(
            f"{exercise.number:10}{made:6}{caught:8}{equal:7}"
            f"{len(escaped):9}{time.monotonic() - start:7.0f}",
            flush=True,
        )
        for mutant in escaped:
            print(f"  {mutant.cell}, line {mutant.line}, {mutant.operator}:")
            print(f"    - {mutant.before}\n    + {mutant.after}", flush=True)
    return caught_in_all, escaped_in_all


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
    counts = [report(path, known, options.exercise, options.list) for path in paths]
    caught = sum(count for count, _ in counts)
    escaped = sum(count for _, count in counts)
    print(f"{caught} of {caught + escaped} mutants that are wrong were caught.")
    return int(escaped > 0)


if __name__ == "__main__":
    sys.exit(main())
