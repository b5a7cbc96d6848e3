"""An answer of a kind that nobody asked for gets a sentence, and never a stack."""

import importlib
import inspect

import numpy as np
import pytest
import torch
from notebooks import ROOT

from finetuning.checks import CheckFailed

ODD = {
    "None": None,
    "an empty dict": {},
    "a metric's dict": {"f1": 0.5},
    "an empty list": [],
    "a list": [1.0, 2.0],
    "a tuple": (1, 2),
    "an array": np.zeros(3),
    "a whole number": 3,
    "a complex number": 1j,
    "too large a number": 10**400,
    "text": "text",
    "a tensor": torch.zeros(2, 3),
    "a set": {1, 2},
    "an object": object(),
}


def checks_of_all_chapters():
    """Every check, in its chapter's share of the work (see test_checks.py)."""
    for path in sorted((ROOT / "solutions").glob("*.ipynb")):
        number = f"ch{path.stem[:2]}"
        module = importlib.import_module(f"finetuning.checks.{number}")
        share = pytest.mark.xdist_group(f"checks/{path.stem}")
        for name in module.__all__:
            yield pytest.param(
                getattr(module, name), marks=share, id=f"{number}-{name}"
            )


def outcome(check, answer):
    """The check's diagnosis of one answer, given for all that it asks for."""
    count = len(inspect.signature(check).parameters)
    with pytest.raises(CheckFailed) as failed:
        check(*[answer] * count)
    return str(failed.value)


@pytest.mark.parametrize("check", list(checks_of_all_chapters()))
def test_an_odd_answer_gets_a_diagnosis(check):
    before = torch.random.get_rng_state()
    for value in ODD.values():
        for answer in (value, lambda *_, value=value, **__: value):
            message = outcome(check, answer)
            assert message.startswith("Not yet: ")
            assert "0x" not in message
    assert torch.equal(before, torch.random.get_rng_state())
