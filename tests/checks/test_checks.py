"""The checks are checked: each is used, and fails on blanks and wrong answers."""

import ast
import functools
import importlib
import inspect
import re
import subprocess
import symtable
import sys

import pytest
from derivation.blanks import BEGIN, answers, blank
from execute import run_cells
from nbformat.v4 import new_code_cell
from notebooks import ROOT, Place, read, tags
from samples import notebook, text
from syntax import without_magics

from finetuning import checks
from finetuning.checks import CheckFailed

CHAPTERS = [path.stem for path in sorted((ROOT / "solutions").glob("*.ipynb"))]
SHORTEST_LEAK = 12


def number_of(chapter):
    return f"ch{chapter[:2]}"


def checks_of(chapter):
    return importlib.import_module(f"finetuning.checks.{number_of(chapter)}")


def wrong_answers_of(chapter):
    return importlib.import_module(f"wrong_answers.{number_of(chapter)}").WRONG


def right_answers_of(chapter):
    if not (ROOT / f"tests/checks/right_answers/{number_of(chapter)}.py").exists():
        return {}
    return importlib.import_module(f"right_answers.{number_of(chapter)}").RIGHT


def called(source, number):
    """The names of the checks of a chapter that code calls."""
    tree = ast.parse(without_magics(source))
    return [
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) in (f"checks.{number}", number)
    ]


def code_of(content):
    return [cell for cell in content.cells if cell.cell_type == "code"]


def master_of(chapter):
    return read(ROOT / f"solutions/{chapter}.ipynb")


def leaks(master, blanked):
    """The answers' lines that the blank shows, and that the master has nowhere else."""
    lines, elsewhere = [], []
    for cell in master.cells:
        source = cell.source.split("\n")
        if cell.cell_type == "code":
            for answer in reversed(answers(cell.source, Place("solutions", cell.id))):
                lines += source[answer.begin + 1 : answer.end]
                del source[answer.begin : answer.end + 1]
        if "solution-only" not in tags(cell):
            elsewhere += source
    rest = "\n".join(elsewhere)
    shown = "\n".join(cell.source for cell in blanked.cells)
    stripped = {line.strip() for line in lines}
    return [
        line
        for line in sorted(stripped)
        if len(line) >= SHORTEST_LEAK
        and not line.startswith("#")
        and line not in rest
        and line in shown
    ]


def names_in(source):
    """The names that a cell binds at top level, and those that it reads there."""
    table = symtable.symtable(without_magics(source), "cell", "exec")
    bound = {
        symbol.get_name()
        for symbol in table.get_symbols()
        if symbol.is_assigned() or symbol.is_imported()
    }
    read_names, waiting = set(), [table]
    while waiting:
        scope = waiting.pop()
        waiting += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is table or symbol.is_global()):
                read_names.add(symbol.get_name())
    return bound, read_names


def needed_cells(content, number, answered):
    """The code cells that call checks or hold answers, and those that bind a name which
    these need: the others, most of the work of a notebook, tell nothing about checks.
    """
    needed, kept = set(), []
    for cell in reversed(code_of(content)):
        bound, read_names = names_in(cell.source)
        calls = called(cell.source, number)
        if calls or cell.id in answered or bound & needed:
            kept.append(cell)
            needed = needed - bound | read_names
    return kept[::-1]


def run(cells, number):
    """What the statements of cells raise: a list of (cell id, statement, exception).

    A cell that calls a check goes on after it: else the first check of a cell would
    hide whether the second fails. Any other cell ends there, as in a notebook.
    """
    namespace = {"__name__": "exercise"}
    raised = []
    for cell in cells:
        for node in ast.parse(without_magics(cell.source)).body:
            statement = ast.unparse(node)
            try:
                exec(compile(statement, cell.id, "exec"), namespace)
            except Exception as error:
                raised.append((cell.id, statement, error))
                if not called(cell.source, number):
                    break
    return raised


def answer_cells(chapter):
    return {cell.id for cell in code_of(master_of(chapter)) if BEGIN in cell.source}


@functools.cache
def run_blank(chapter):
    content = read(ROOT / f"exercises/{chapter}.ipynb")
    number = number_of(chapter)
    return run(needed_cells(content, number, answer_cells(chapter)), number)


def test_every_chapter_with_checks_has_its_exercises():
    assert CHAPTERS
    modules = {path.stem for path in (ROOT / "finetuning/checks").glob("ch*.py")}
    assert modules == {number_of(chapter) for chapter in CHAPTERS}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_check_is_listed_described_and_called_in_both_notebooks(chapter):
    module = checks_of(chapter)
    public = {
        name
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if value.__module__ == module.__name__ and not name.startswith("_")
    }
    assert set(module.__all__) == public
    assert [
        name for name in module.__all__ if not inspect.getdoc(getattr(module, name))
    ] == []
    for folder in ("solutions", "exercises"):
        content = read(ROOT / f"{folder}/{chapter}.ipynb")
        names = {
            name
            for cell in code_of(content)
            for name in called(cell.source, number_of(chapter))
        }
        assert names == set(module.__all__), folder


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_check_passes_on_the_solution(chapter):
    """Solutions raise where a check fails; here: each said what it verified."""
    for cell in code_of(master_of(chapter)):
        if called(cell.source, number_of(chapter)):
            printed = "".join(output.get("text", "") for output in cell.outputs)
            assert "✓" in printed, cell.id
            assert "✗" not in printed, cell.id


def passes_on_blank(content, number, raised):
    """What checks of a run blank say, where it is not "not written yet" alone."""
    errors = {(cell, statement): error for cell, statement, error in raised}
    problems = []
    for cell in code_of(content):
        for node in ast.parse(without_magics(cell.source)).body:
            statement = ast.unparse(node)
            if not called(statement, number):
                continue
            error = errors.get((cell.id, statement))
            if error is None:
                problems.append(f"{statement} passes")
            elif not isinstance(error, CheckFailed) or "not written yet" not in str(
                error
            ):
                problems.append(f"{statement}: {type(error).__name__}: {error}")
    return problems


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_on_the_blank_every_check_fails_by_the_stub(chapter):
    content = read(ROOT / f"exercises/{chapter}.ipynb")
    assert passes_on_blank(content, number_of(chapter), run_blank(chapter)) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_blank_answer_says_at_most_that_it_is_not_written(chapter):
    """And no other cell that a check needs fails."""
    checking = {
        cell.id
        for cell in code_of(master_of(chapter))
        if called(cell.source, number_of(chapter))
    }
    others = [each for each in run_blank(chapter) if each[0] not in checking]
    assert {
        (cell, type(error).__name__)
        for cell, _, error in others
        if cell not in answer_cells(chapter)
        or not isinstance(error, NotImplementedError)
    } == set()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_answer_can_be_read_in_the_blank(chapter):
    assert leaks(master_of(chapter), read(ROOT / f"exercises/{chapter}.ipynb")) == []


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_check_has_wrong_answers(chapter):
    wrong = wrong_answers_of(chapter)
    assert set(wrong) == set(checks_of(chapter).__all__)
    for name, cases in wrong.items():
        assert len(cases) >= 3, f"{name} has fewer than three wrong answers"
        fragments = [fragment for _, fragment in cases]
        assert all(len(fragment) >= 8 for fragment in fragments), (
            f"{name}: a fragment that says too little"
        )
        assert len(set(fragments)) > 1, f"{name} gives one diagnosis for every mistake"


WRONG = [
    pytest.param(chapter, name, place, id=f"{number_of(chapter)}-{name}-{place}")
    for chapter in CHAPTERS
    for name, cases in wrong_answers_of(chapter).items()
    for place in range(len(cases))
]


@pytest.mark.parametrize(("chapter", "name", "place"), WRONG)
def test_a_wrong_answer_gets_its_diagnosis(chapter, name, place):
    answer, fragment = wrong_answers_of(chapter)[name][place]
    arguments = answer if isinstance(answer, tuple) else (answer,)
    with pytest.raises(CheckFailed) as failed:
        getattr(checks_of(chapter), name)(*arguments)
    message = str(failed.value)
    assert fragment in message
    assert "not written yet" not in message
    # What the learner sees is the message alone, so it must not be a stack or an object
    # in memory.
    assert not re.search(r"Traceback|0x[0-9a-f]{6,}", message)


RIGHT = [
    pytest.param(chapter, name, place, id=f"{number_of(chapter)}-{name}-{place}")
    for chapter in CHAPTERS
    for name, cases in right_answers_of(chapter).items()
    for place in range(len(cases))
]


@pytest.mark.parametrize(("chapter", "name", "place"), RIGHT)
def test_a_right_but_unusual_answer_passes(chapter, name, place):
    answer = right_answers_of(chapter)[name][place]
    arguments = answer if isinstance(answer, tuple) else (answer,)
    getattr(checks_of(chapter), name)(*arguments)


# A module of checks is imported when it is asked for


def test_the_checks_are_found_by_their_files():
    assert set(checks.__all__) == {"CheckFailed", *map(number_of, CHAPTERS)}
    assert set(checks.__all__) <= set(dir(checks))


def test_a_check_that_does_not_exist_is_told_what_there_is():
    with pytest.raises(AttributeError, match=r"no attribute 'ch99'; it has .*ch04"):
        _ = checks.ch99


def test_only_the_chapter_that_is_asked_for_is_imported():
    """In a fresh process, as the checks' libraries take seconds to import."""
    program = (
        "import sys\n"
        "from finetuning import checks\n"
        "before = set(sys.modules)\n"
        "checks.ch04\n"
        "print('torch' in before)\n"
        "print([name for name in sys.modules if 'finetuning.checks.ch' in name])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["False", "['finetuning.checks.ch04']"]


# The tests above can fail


def test_an_answer_that_leaks_is_found():
    answer = (
        "def f(x):\n    ### BEGIN SOLUTION\n    return x.softmax(dim=-1)\n    ### "
        "END SOLUTION"
    )
    master = notebook(
        text("title", "# 04 · X"),
        new_code_cell(answer, id="answer"),
        text("hint", "Think."),
    )
    assert leaks(master, blank(master, "solutions/04-x.ipynb")) == []
    blanked = blank(master, "solutions/04-x.ipynb")
    blanked.cells[2].source = "Write `return x.softmax(dim=-1)`."
    assert leaks(master, blanked) == ["return x.softmax(dim=-1)"]
    master.cells[2].source = blanked.cells[
        2
    ].source  # said in the exercise itself: no leak
    assert leaks(master, blank(master, "solutions/04-x.ipynb")) == []


CHECKS = """\
from types import SimpleNamespace
from finetuning.checks import core

checks = SimpleNamespace(ch99=SimpleNamespace(
    sound=lambda f: core.call(f, 1),
    easy=lambda f: None,
    deaf=lambda f: core.fail("something else."),
    loud=lambda f: f(1),
))
def answer(x):
    raise NotImplementedError"""


def test_a_check_that_does_not_see_the_blank_is_found():
    calls = [
        f"checks.ch99.{name}(answer)" for name in ("sound", "easy", "deaf", "loud")
    ]
    content = notebook(
        new_code_cell(CHECKS, id="checks"),
        new_code_cell("raise SystemExit('not needed')", id="other"),
        new_code_cell("\n".join(calls), id="first"),
        new_code_cell("checks.ch99.sound(missing)", id="second"),
        new_code_cell("value = ...\nchecks.ch99.sound(value)", id="third"),
    )
    raised = run(needed_cells(content, "ch99", set()), "ch99")
    assert passes_on_blank(content, "ch99", raised) == [
        "checks.ch99.easy(answer) passes",
        "checks.ch99.deaf(answer): CheckFailed: Not yet: something else.",
        "checks.ch99.loud(answer): NotImplementedError: ",
        "checks.ch99.sound(missing): NameError: name 'missing' is not defined",
    ]


def test_in_a_notebook_a_diagnosis_comes_without_a_stack(tmp_path):
    content = notebook(
        new_code_cell(CHECKS, id="checks"),
        new_code_cell("checks.ch99.sound(answer)", id="check"),
    )
    run_cells(content, tmp_path, allow_errors=True)
    (output,) = content.cells[1].outputs
    assert output.traceback == [f"✗ {output.evalue}"]
    assert "not written yet" in output.evalue


def test_what_a_check_needs_is_found():
    content = notebook(
        new_code_cell("import math\nfrom os import path as where", id="imports"),
        new_code_cell("width = math.pi", id="early"),
        new_code_cell("width = where\nother = 1", id="width"),
        new_code_cell("def unused():\n    return width", id="unused"),
        new_code_cell("def f(other):\n    return [width for _ in other]", id="f"),
        new_code_cell("other = 2\nf(other)", id="use"),
        new_code_cell("checks.ch04.a(f)", id="check"),
    )
    needed = [cell.id for cell in needed_cells(content, "ch04", {"unused"})]
    assert needed == ["imports", "width", "unused", "f", "check"]


def test_calls_of_checks_are_found():
    source = (
        "%matplotlib inline\nchecks.ch04.a(f)\nfor x in y:\n    "
        "checks.ch04.b(x)\nx.a(f)"
    )
    assert called(source, "ch04") == ["a", "b"]


def test_a_line_that_begins_with_an_operator_is_no_magic():
    source = "%time f()\n!ls\ng(\n    1\n    % 2\n    != 3\n)"
    assert without_magics(source) == "pass\npass\ng(\n    1\n    % 2\n    != 3\n)"
