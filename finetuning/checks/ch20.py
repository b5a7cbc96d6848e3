"""Checks of chapter 20's exercises.

- `exercise_1` to `exercise_5`: TODO: a line for each, with what it verifies and the
  number of its exercise; give each check the name of what it checks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from finetuning.checks.core import (
    call,
    check,
    expect_close,
    expect_shape,
    fail,
    passed,
)
from finetuning.scratch.serving import running_mean

__all__ = ["exercise_1", "exercise_2", "exercise_3", "exercise_4", "exercise_5"]

# Several sizes, none of them the example's.
_LENGTHS = (2, 4, 7)


@check
def exercise_1(answer: Callable[[Tensor], Tensor]) -> None:
    """20.1: TODO."""
    _plus(answer, 1)


@check
def exercise_2(answer: Callable[[Tensor], Tensor]) -> None:
    """20.2: TODO."""
    _plus(answer, 2)


@check
def exercise_3(answer: Callable[[Tensor], Tensor]) -> None:
    """20.3: TODO."""
    _plus(answer, 3)


@check
def exercise_4(answer: Callable[[Tensor], Tensor]) -> None:
    """20.4: TODO."""
    _plus(answer, 4)


@check
def exercise_5(answer: Callable[[Tensor], Tensor]) -> None:
    """20.5: TODO."""
    _plus(answer, 5)


def _plus(answer: Callable[[Tensor], Tensor], number: int) -> None:
    """TODO: what all five answers of the skeleton have in common; goes."""
    for length in _LENGTHS:
        x = torch.linspace(-2.0, 3.0, length)  # (T,)
        result = call(answer, x)
        expect_shape(result, (length,), "the result")
        # A diagnosis is earned: this value is that mistake's and no other's.
        if torch.allclose(result, running_mean(x)):
            fail(f"this is the running mean alone: {number} is missing.")
        expect_close(result, running_mean(x) + number, "the result")
    passed(f"{len(_LENGTHS)} lengths: the running mean and {number}")
