"""The tool for mutation testing, on a tiny notebook."""

import mutants
import pytest
from nbformat.v4 import new_code_cell
from notebooks import dumps
from samples import notebook, text

CHECKS = """\
from types import SimpleNamespace
import time

def double(answer):
    assert [answer([n]) for n in (1, 2)] == [[2], [4]]

def blind(answer):
    answer([1])

checks = SimpleNamespace(ch99=SimpleNamespace(double=double, blind=blind))"""
ANSWER = """\
def {name}(numbers):
    ### BEGIN SOLUTION
    factor = TWO
    return [factor * number for number in numbers if number > 0]
    ### END SOLUTION"""


@pytest.fixture
def path(tmp_path):
    content = notebook(
        text("title", "# 99 · X: solutions"),
        new_code_cell(CHECKS, id="checks"),
        new_code_cell("TWO = 2", id="two"),
        new_code_cell("raise SystemExit('measured')", id="measured"),
        text("exercise-double", "## Exercise 99.1 · Double"),
        new_code_cell(ANSWER.format(name="double"), id="answer-double"),
        new_code_cell("checks.ch99.double(double)", id="check-double"),
        text("exercise-blind", "## Exercise 99.2 · Double, and hardly tested"),
        new_code_cell(ANSWER.format(name="second"), id="answer-blind"),
        new_code_cell("checks.ch99.blind(second)", id="check-blind"),
    )
    file = tmp_path / "99-x.ipynb"
    file.write_text(dumps(content))
    return file


def test_exercises_have_what_they_need_and_no_more(path):
    first, second = mutants.exercises(mutants.read(path, path.parent))
    assert (first.number, second.number) == ("99.1", "99.2")
    assert first.checks == ["checks.ch99.double(double)"]
    assert first.before == [CHECKS, "TWO = 2"]
    assert [cell.id for cell in second.answers] == ["answer-blind"]


def test_answers_alone_are_changed(path):
    first, _ = mutants.exercises(mutants.read(path, path.parent))
    made = list(mutants.mutants(first.answers[0], "99-x.ipynb"))
    lines = {mutant.after for mutant in made}
    assert "return [factor * number for number in numbers if number >= 0]" in lines
    assert "return [factor / number for number in numbers if number > 0]" in lines
    assert all(mutant.line in (3, 4) for mutant in made)
    assert len({mutant.source for mutant in made}) == len(made)


def test_what_a_check_does_not_see_is_listed(path, capsys):
    caught, escaped = mutants.report(path, {}, "99.1", False)
    assert caught > 3 and escaped == 2
    caught, escaped = mutants.report(path, {}, "99.2", False)
    assert escaped > 3
    printed = capsys.readouterr().out
    assert "answer-double, line 4, comparison:" in printed
    assert "+ return [factor / number for number in numbers if number > 0]" in printed


def test_an_equivalent_mutant_is_no_escape(path, tmp_path):
    listed = tmp_path / "equivalent.yml"
    listed.write_text(
        "- exercise: '99.1'\n"
        "  after: return [factor * number for number in numbers if number >= 0]\n"
        "  reason: twice nothing is nothing\n"
        "- exercise: '99.1'\n"
        "  after: return [factor * number for number in numbers if number > -1]\n"
        "  reason: whole numbers above -1 are those from 0 on\n"
    )
    known = mutants.equivalents(listed)
    caught, escaped = mutants.report(path, known, "99.1", False)
    assert caught > 3 and escaped == 0


def test_an_endless_mutant_ends():
    source = {"answer": "while True:\n    pass"}
    assert mutants.meets_checks(source, [], {}, 0.5) == "out of time"
    assert mutants.meets_checks({"answer": "x = 1"}, ["x"], {}, 5) == "escaped"
    assert mutants.meets_checks({}, ["1 / 0"], {}, 5).startswith("caught ZeroDiv")
