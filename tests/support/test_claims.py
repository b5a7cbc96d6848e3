"""Claims, and printing where a terminal lacks signs."""

import io
import sys

import numpy as np
import pytest
import torch

from finetuning.claims import ClaimError, claim
from finetuning.printing import WIDTH, say


def test_a_claim_that_holds_is_printed(capsys):
    claim("two is more than one", torch.tensor(2) > 1)
    assert capsys.readouterr().out == "✓ two is more than one\n"


def test_a_claim_that_does_not_hold_raises_with_its_sentence():
    with pytest.raises(ClaimError, match="one is more than two"):
        claim("one is more than two", np.float64(1) > 2)


@pytest.mark.parametrize(
    "holds",
    [
        [False],
        "no",
        (x for x in ()),
        0.5,
        float("nan"),
        torch.tensor(0.5),
        np.array([True, True]),
        torch.ones(2) > 0,
        None,
    ],
)
def test_a_claim_refuses_what_would_always_be_true(holds):
    with pytest.raises(TypeError, match=r"one (truth )?value"):
        claim("anything", holds)


def test_a_claim_with_a_bound_shows_both(capsys):
    claim("ten points ahead", torch.tensor(0.1294), above=0.10)
    claim("most of them", np.int64(1950), at_least=1900, at_most=2000)
    claim("the same within rounding", 4.26e-07, below=1e-5)
    assert capsys.readouterr().out == (
        "✓ ten points ahead\n  0.129 > 0.1\n"
        "✓ most of them\n  1,950 ≥ 1,900 and ≤ 2,000\n"
        "✓ the same within rounding\n  4.26e-07 < 1e-05\n"
    )


@pytest.mark.parametrize(
    ("number", "bounds"),
    [
        (0.1, {"above": 0.1}),
        (0.1, {"below": 0.1}),
        (0.09, {"at_least": 0.1}),
        (0.11, {"at_most": 0.1}),
        (0.5, {"above": 0.1, "below": 0.4}),
        (float("nan"), {"above": 0.1}),
        (float("nan"), {"below": 0.1}),
        (torch.tensor(float("nan")), {"at_most": 0.1}),
    ],
)
def test_a_number_outside_its_bounds_raises(number, bounds, capsys):
    with pytest.raises(ClaimError, match=r"it is so.*measured"):
        claim("it is so", number, **bounds)
    assert capsys.readouterr().out == ""


def test_a_bound_of_zero_is_a_bound(capsys):
    claim("ahead", 0.2, above=0)
    with pytest.raises(ClaimError):
        claim("ahead", -0.2, above=0)


@pytest.mark.parametrize("number", [True, "0.5", None, torch.ones(2), [0.5]])
def test_a_bound_needs_one_number(number):
    with pytest.raises(TypeError, match=r"one (number|value)"):
        claim("anything", number, above=0.1)


def test_a_long_sentence_stays_on_the_page(capsys):
    claim("a sentence that goes on " * 8, 0.5, above=0.1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= WIDTH
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_a_terminal_without_utf8_shows_a_claim(monkeypatch, encoding):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    claim("3 × 3 is at least nine", 9, at_least=9)
    say("小 ✓")
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    assert text.startswith("ok: 3 ")
    assert text.endswith("? ok:\n")
