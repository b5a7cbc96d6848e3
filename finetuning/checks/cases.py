"""What cases are made of: sizes, magnitudes, padding, text of many kinds."""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from finetuning.checks.core import random_tensor

# Axes before those that a statement names: none, one of one, and two.
LEADING: tuple[tuple[int, ...], ...] = ((), (1,), (2, 3))

# Text of the kinds that a rule made for plain English gets wrong.
TEXTS: dict[str, str] = {
    "plain": "the mouse ate until it slept",
    "line breaks": "first line\nsecond line\r\n\nfourth\tand a tab",
    "spaces": "  two  before,   three between, one after ",
    "empty": "",
    "accents": "naïve café, Ångström, crème brûlée",
    "combining": "cafe\u0301 nai\u0308ve",
    "Chinese": "老鼠吃了，然后睡着了。",
    "Arabic": "أكل الفأر ثم نام",
    "Devanagari": "चूहे ने खाया",
    "emoji": "mice 🐭🐭 eat 👩‍🍳 cheese 🧀",
    "digits": "2024, ٢٠٢٤, २०२४, ２０２４ and ½",
    "marks": "don't — “quote” … (x_1 != y-2)",
}


def normal(
    *shape: int, seed: int = 0, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Normal random numbers, the same for a seed."""
    return random_tensor(*shape, seed=seed).to(dtype) * scale


def scaled_rows(tensor: Tensor, low: float = 1e-3, high: float = 1e3) -> Tensor:
    """Rows (…, T, S) of very different size: the first `low` times, the last `high`."""
    steps = torch.linspace(math.log(low), math.log(high), tensor.size(-2))
    return tensor * steps.exp().to(tensor.dtype)[:, None]


def shifted_rows(tensor: Tensor, step: float = 200.0) -> Tensor:
    """Rows (…, T, S) with 0, step, −step, 2 step, −2 step … added to the whole row."""
    number = torch.arange(tensor.size(-2))
    factor = (number + 1) // 2 * torch.where(number % 2 == 1, 1, -1)
    return tensor + (factor * step).to(tensor.dtype)[:, None]


def paddings(
    batch: int, length: int, between: bool = True
) -> Iterator[tuple[str, Tensor]]:
    """Attention masks (B, T) of ones and zeros, int64, with the words for each.

    No padding; on the right, on the left, of another length in each row, row 0 whole;
    and, where the statement allows it, holes between the tokens.
    """
    position = torch.arange(length)
    real = torch.tensor([length - row * 2 % (length - 1) for row in range(batch)])
    yield "without padding", torch.ones(batch, length, dtype=torch.int64)
    yield "with padding on the right", (position < real[:, None]).long()
    yield "with padding on the left", (position >= length - real[:, None]).long()
    if between:
        holes = (position + torch.arange(batch)[:, None]) % 3 != 1
        holes[0] = True
        yield "with padding between the tokens", holes.long()


def listed(names: Iterable[str]) -> str:
    """Words in a sentence: "a, b and c"."""
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)
