"""What checks are made of: comparisons and diagnoses."""

import io
import sys

import numpy as np
import pytest
import torch

from finetuning.checks import core
from finetuning.printing import WIDTH


def diagnosis(function, *arguments, **keywords) -> str:
    with pytest.raises(core.CheckFailed) as caught:
        function(*arguments, **keywords)
    return str(caught.value)


def unwritten(x):
    raise NotImplementedError


def test_call_returns_what_the_answer_returns():
    assert core.call(lambda x: x + 1, 2) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (..., "not written yet"),
        (unwritten, "`unwritten` is not written yet"),
        (3, "a function or class is needed"),
        (lambda: 1, "TypeError"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: None, "returned None"),
    ],
)
def test_call_turns_every_failure_into_a_diagnosis(answer, words):
    assert words in diagnosis(core.call, answer, torch.zeros(2))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (..., "not written yet"),
        (
            torch.tensor([1.0, 2.5]),
            "is 2.5000 at [1], and should be 2.0000. Look at the scale.",
        ),
        (torch.tensor([1.0, float("nan")]), "contains NaN"),
        (torch.zeros(3), "shape (3,); it should be (2,)"),
        ("two", "made of numbers"),
    ],
)
def test_expect_close_says_where_and_how_much(value, words):
    assert words in diagnosis(
        core.expect_close, value, [1.0, 2.0], "the output", "Look at the scale."
    )


def test_expect_close_lets_equal_values_pass():
    core.expect_close(
        torch.tensor([1.0, 2.0]), np.array([1.0, 2.0 + 1e-7]), "the output"
    )
    core.expect_close(2, 2.0, "the output")


@pytest.mark.parametrize(
    "value", [2, 2.0, np.float32(2), np.array([2]), torch.ones(1) * 2]
)
def test_a_number_may_come_from_any_library(value):
    assert core.as_number(value, "the mean") == 2.0


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (..., "not written yet"),
        ({"f1": 0.5}, "should be one number, and is of type dict. Take the number out"),
        ({"f1": 0.5}, "by its key 'f1'."),
        ("2", "the mean should be one number, and is of type str."),
        (None, "is of type NoneType"),
        ([2.0], "is of type list"),
        (torch.zeros(2), "is of type Tensor"),
        (1j, "is of type complex"),
        (10**400, "is of type int"),
    ],
)
def test_what_is_no_number_is_told_so(value, words):
    assert words in diagnosis(core.as_number, value, "the mean")


@core.check
def doubles(answer):
    """Doubled?"""
    assert core.call(answer, 1) + 1 > 2


def test_a_check_keeps_its_name_and_its_verdict():
    assert (doubles.__name__, doubles.__doc__) == ("doubles", "Doubled?")
    assert doubles(lambda x: 2 * x) is None
    assert "returned None" in diagnosis(doubles, lambda x: None)


def test_a_kind_of_answer_that_stops_a_check_is_named():
    def metric(x):
        return {"f1": 0.5}

    with pytest.raises(core.CheckFailed) as failed:
        doubles(metric)
    message = str(failed.value)
    assert message.startswith("Not yet: `metric` returned {'f1': 0.5}, and the check ")
    assert "TypeError" in message
    assert isinstance(failed.value.__cause__, TypeError)


def test_a_long_answer_is_described_and_not_printed():
    long = {"input_ids": torch.zeros(2, 3), "labels": list(range(99))}
    message = diagnosis(doubles, lambda x: long)
    assert "returned a dict with the keys 'input_ids', 'labels', and" in message
    assert "returned a list of 99, and" in diagnosis(doubles, lambda x: ["a b"] * 99)


@pytest.mark.parametrize("encoding", ["ascii", "cp437"])
def test_a_terminal_without_utf8_shows_what_a_check_says(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    core.passed("3 × 3 is 9, and ✓")
    with pytest.raises(core.CheckFailed) as failed:
        core.fail("小 is not √2.")
    (line,) = failed.value._render_traceback_()
    print(line)
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert shown.startswith("ok: 3 ")
    assert "\nwrong: Not yet: ? is not " in shown


def test_what_was_verified_fits_on_the_page(capsys):
    core.passed("a long sentence " * 9)
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("✓ a long")
    assert rest
    assert all(len(line) <= WIDTH for line in [first, *rest])


def test_expect_shape_wants_a_tensor():
    core.expect_shape(torch.zeros(2, 3), (2, 3), "the output")
    assert "type float" in diagnosis(core.expect_shape, 1.0, (2,), "the output")
