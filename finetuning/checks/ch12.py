"""Checks of chapter 12's exercises.

- `adapter_size`: how many numbers LoRA trains, from names and shapes alone
  (exercise 12.1)
- `bill`: memory, file and bits of a fine-tuning, counted beforehand (exercise 12.2)
- `two_in_one`: two adapters of one layer as a single one (exercise 12.3)
- `best_change`: the matrix of low rank that is nearest to a change (exercise 12.4)
- `with_a_minimum`: four bits with a scale and a minimum for each block (exercise 12.5)
- `mended_layer`: a LoRA layer without the three faults of the broken one
  (exercise 12.6)
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from finetuning.checks.cases import listed
from finetuning.checks.compare import Tolerance
from finetuning.checks.core import (
    as_numbers,
    call,
    check,
    describe,
    expect_close,
    expect_shape,
    fail,
    name_of,
    passed,
    random_tensor,
    written,
)
from finetuning.checks.predictions import Guess, numbers_by_name, predicted_numbers
from finetuning.checks.state import own_random_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "adapter_size",
    "best_change",
    "bill",
    "mended_layer",
    "two_in_one",
    "with_a_minimum",
]


# 12.1


def _ends(name: str, endings: list[str]) -> bool:
    return any(name == end or name.endswith(f".{end}") for end in endings)


_Numbers = Callable[[nn.Linear, int], int]


def _counted(
    model: nn.Module,
    endings: list[str],
    rank: int,
    numbers: _Numbers = lambda layer, r: r * (layer.in_features + layer.out_features),
    fits: Callable[[str, list[str]], bool] = _ends,
    kinds: tuple[type[nn.Module], ...] = (nn.Linear,),
) -> int:
    return sum(
        numbers(layer, rank)
        for name, layer in model.named_modules()
        if isinstance(layer, kinds) and fits(name, endings)
    )


def _layers(count: int, width: int, inner: int, bias: bool = True) -> nn.Module:
    """A stack with the names of a small Transformer; its embedding is no linear
    layer.
    """

    def layer() -> nn.Module:
        attention = nn.ModuleDict(
            {
                "query": nn.Linear(width, width, bias),
                "subquery": nn.Linear(width, inner, bias),
                "query_scale": nn.Linear(width, 2, bias),
                "value": nn.Linear(width, width // 2, bias),
            }
        )
        return nn.ModuleDict(
            {
                "attention": attention,
                "up": nn.Linear(width, inner, bias),
                "down": nn.Linear(inner, width, bias),
                "value": nn.LayerNorm(width),
            }
        )

    with own_random_numbers():
        return nn.ModuleDict(
            {
                "value": nn.Embedding(11, width),
                "layers": nn.ModuleList([layer() for _ in range(count)]),
                "query": nn.Linear(width, 3),
            }
        )


def _size_cases() -> list[Case]:
    table = (
        ("for queries and values of two layers", _layers(2, 6, 10), ["query", "value"]),
        ("for the upper half of a feed-forward", _layers(3, 8, 20), ["up"]),
        ("for endings of two names", _layers(1, 4, 6, False), ["attention.query"]),
        ("for all layers by name", _layers(12, 10, 14), ["up", "down", "value"]),
        ("for an ending that fits nothing", _layers(2, 4, 6), ["key"]),
        ("for a name given whole", _layers(2, 6, 8), ["layers.1.up"]),
    )
    return [
        Case(f"{what}, rank {rank}", (model, endings, rank))
        for place, (what, model, endings) in enumerate(table)
        for rank in (1, 3 + place)
    ]


_ADAPTER_SIZE = Task(
    _counted,
    _size_cases,
    [
        Mistake(
            "That is r for each weight of the layer. A has r rows of the inputs, B r "
            "columns of the outputs.",
            lambda model, endings, rank: _counted(
                model,
                endings,
                rank,
                lambda layer, r: r * layer.in_features * layer.out_features,
            ),
        ),
        Mistake(
            "That is A alone; B is trained, too.",
            lambda model, endings, rank: _counted(
                model, endings, rank, lambda layer, r: r * layer.in_features
            ),
        ),
        Mistake(
            "That is B alone; A is trained, too.",
            lambda model, endings, rank: _counted(
                model, endings, rank, lambda layer, r: r * layer.out_features
            ),
        ),
        Mistake(
            "That takes every layer for a square one, r · 2 · in. B has as many rows "
            "as the layer has outputs.",
            lambda model, endings, rank: _counted(
                model, endings, rank, lambda layer, r: 2 * r * layer.in_features
            ),
        ),
        Mistake(
            "That counts the frozen weights of the layers.",
            lambda model, endings, rank: _counted(
                model, endings, rank, lambda layer, r: layer.weight.numel()
            ),
        ),
        Mistake(
            "That counts the frozen weights of the layers as well.",
            lambda model, endings, rank: _counted(
                model,
                endings,
                rank,
                lambda layer, r: (
                    layer.weight.numel() + r * (layer.in_features + layer.out_features)
                ),
            ),
        ),
        Mistake(
            "A layer named “subquery” was counted for “query”: an ending is the whole "
            "name or begins after a dot.",
            lambda model, endings, rank: _counted(
                model,
                endings,
                rank,
                fits=lambda name, ends: any(name.endswith(end) for end in ends),
            ),
        ),
        Mistake(
            "A name was counted that only contains what is asked for: it must end "
            "with it.",
            lambda model, endings, rank: _counted(
                model,
                endings,
                rank,
                fits=lambda name, ends: any(end in name for end in ends),
            ),
        ),
        Mistake(
            "Only the last part of each name was compared; an ending may have several "
            "parts, such as “attention.query”.",
            lambda model, endings, rank: _counted(
                model,
                endings,
                rank,
                fits=lambda name, ends: name.rpartition(".")[2] in ends,
            ),
        ),
        Mistake(
            "Only layers of exactly that name were counted; every layer whose name "
            "ends so gets an adapter.",
            lambda model, endings, rank: _counted(
                model, endings, rank, fits=lambda name, ends: name in ends
            ),
        ),
    ],
    result="the number of trained numbers",
    tolerance=Tolerance(1e-9, 0.0),
    precise=False,
)


@check
def adapter_size(size: Callable) -> None:
    """`adapter_size(model, endings, rank)` -> how many numbers A and B have in all."""
    _ADAPTER_SIZE.check(size)
    passed("right for twelve models, endings and ranks")
    passed("only linear layers count, and an ending begins at a dot")


# 12.2

_BILL = {
    "trained": 30 * 8 * ((576 + 576) + (576 + 192)),
    "scale": 16 / 8,
    "full": 16 * 134_515_008 / 1e6,
    "lora": (4 * 134_515_008 + 16 * 460_800) / 1e6,
    "file": 4 * 460_800 / 1e6,
    "bits": 4 + 16 / 32,
}
_BILL_QUESTIONS = {
    "trained": "How many numbers have A and B of a query, how many those of a value, "
    "and how many layers are there?",
    "scale": "By what is α divided?",
    "full": "What does a trained weight need beside itself, and how many bytes is each "
    "of those numbers?",
    "lora": "Which numbers have a gradient and Adam's two means now, and which only "
    "lie there?",
    "file": "What is in an adapter's file, and how many bytes has each number?",
    "bits": "A weight has its code, and its share of the scale of its block. How many "
    "share a scale?",
}
_BILL_GUESSES = {
    "trained": [
        Guess(30 * 8 * 4 * 576, "The value's matrix is not square: 192 × 576."),
        Guess(8 * 1920, "That is one layer; there are thirty."),
        Guess(30 * 8 * (576 + 192), "That is the values alone."),
        Guess(30 * 8 * (576 + 576), "That is the queries alone."),
        Guess(
            30 * (576 * 576 + 192 * 576),
            "Those are the frozen weights of the two matrices.",
        ),
        Guess(30 * 1920, "That is for a rank of one."),
    ],
    "scale": [
        Guess(16.0, "α is divided by the rank."),
        Guess(16 / 8**0.5, "The root is rsLoRA's; LoRA divides by the rank itself."),
        Guess(0.5, "That is the rank divided by α."),
    ],
    "full": [
        Guess(4 * 134.515, "Those are the weights alone."),
        Guess(8 * 134.515, "Adam's two means are missing."),
        Guess(12 * 134.515, "Adam keeps two means for each weight, not one."),
        Guess(16 * 134_515_008.0, "Those are bytes; MB are asked for."),
        Guess(2.152, "Those are GB; MB are asked for."),
    ],
    "lora": [
        Guess(16 * 0.4608, "The frozen weights lie in memory, too."),
        Guess(4 * 134.515008, "Those are the frozen weights alone."),
        Guess(
            4 * 134.515008 + 12 * 0.4608,
            "A and B are weights themselves, beside their gradients and means.",
        ),
        Guess(
            8 * 134.515008 + 16 * 0.4608,
            "A frozen weight has no gradient.",
        ),
        Guess(16 * 134.975808, "Frozen weights have no gradient, and Adam no means."),
    ],
    "file": [
        Guess(0.4608, "Those are numbers; each has four bytes."),
        Guess(16 * 0.4608, "Gradients and means are not saved."),
        Guess(4 * 134.515, "That is the whole model; only A and B are saved."),
        Guess(2 * 0.4608, "Each number has 32 bits here."),
    ],
    "bits": [
        Guess(4.25, "That is for blocks of 64."),
        Guess(5.0, "That is for a scale of 32 bits."),
        Guess(4.0, "Each block has a scale, too."),
        Guess(20.0, "A scale is shared by all weights of a block."),
    ],
}


@check
def bill(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "trained", "scale", "full", "lora", "file", "bits"."""
    predicted_numbers(
        numbers_by_name(predicted, _BILL),
        _BILL,
        _BILL_QUESTIONS,
        relative=2e-4,
        absolute=6e-3,
        guesses=_BILL_GUESSES,
        sentence="“{name}” is not {said:g}.",
        at_least=0.0,
    )
    passed("all six predictions are right")


# 12.3

Adapter = tuple[Tensor, Tensor, float]


def _sum_of(first: Adapter, second: Adapter) -> Tensor:
    return sum(scale * B @ A for A, B, scale in (first, second))


def _change_of(answer: Callable, ranks: Callable[..., int]) -> Callable[..., Tensor]:
    """The learner's A and B as their product; `ranks`: the rank for the arguments."""

    def change(*arguments: Any) -> Tensor:
        result = answer(*arguments)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            fail(
                f"`{name_of(answer)}` should return A and B, and returned "
                f"{describe(result)}."
            )
        A, B = result
        shape, rank = _shape(*arguments), ranks(*arguments)
        expect_shape(A, (rank, shape[1]), "A")
        expect_shape(B, (shape[0], rank), "B")
        if not isinstance(A, Tensor) or not isinstance(B, Tensor):
            fail("A and B should be tensors.")
        return B @ A

    change.__name__ = name_of(answer)
    return change


def _shape(first: Any, *_: Any) -> tuple[int, int]:
    """(out, in) of an adapter, or of a change."""
    if isinstance(first, Tensor):
        return tuple(first.shape)
    return first[1].size(0), first[0].size(1)


def _pair(out: int, inputs: int, ranks: tuple[int, int], scales: tuple) -> tuple:
    adapters = []
    for place, (rank, scale) in enumerate(zip(ranks, scales, strict=True)):
        A = random_tensor(rank, inputs, seed=10 * rank + place)
        B = random_tensor(out, rank, seed=7 * rank + place + 3)
        adapters.append((A, B, scale))
    return tuple(adapters)


def _sums(
    first: Callable[[float], float], second: Callable[[float], float]
) -> Callable[..., Tensor]:
    """The sum with other scales."""

    def wrong(one: Adapter, other: Adapter) -> Tensor:
        (A, B, s), (C, D, t) = one, other
        return first(s) * B @ A + second(t) * D @ C

    return wrong


_TWO = Task(
    _sum_of,
    lambda: [
        Case("for ranks 2 and 3", _pair(5, 4, (2, 3), (2.0, 0.5))),
        Case("for equal ranks", _pair(6, 7, (3, 3), (0.25, 4.0))),
        Case("for a wide layer", _pair(3, 11, (1, 2), (1.5, 3.0))),
        Case("for one column of outputs", _pair(1, 6, (2, 1), (3.0, -2.0))),
        Case("for scales of one", _pair(8, 5, (4, 1), (1.0, 1.0))),
        Case("for ranks above the width", _pair(3, 4, (5, 6), (0.5, 0.2))),
        Case(
            "in double precision",
            tuple(
                (A.double(), B.double(), scale)
                for A, B, scale in _pair(4, 5, (2, 2), (0.5, 1.5))
            ),
        ),
    ],
    [
        Mistake(
            "The scales are missing: each adapter's change is its scale times BA.",
            _sums(lambda s: 1.0, lambda t: 1.0),
        ),
        Mistake(
            "Each scale counts twice: put it into A or into B, not into both.",
            _sums(lambda s: s * s, lambda t: t * t),
        ),
        Mistake(
            "The second adapter's scale is missing.",
            _sums(lambda s: s, lambda t: 1.0),
        ),
        Mistake(
            "The first adapter's scale is missing.",
            _sums(lambda s: 1.0, lambda t: t),
        ),
        Mistake(
            "The scale is that of the first adapter for both.",
            lambda one, other: one[2] * (one[1] @ one[0] + other[1] @ other[0]),
        ),
        Mistake(
            "That is the mean of the two changes; their sum is asked for.",
            _sums(lambda s: s / 2, lambda t: t / 2),
        ),
    ],
    result="the product of your B and A",
)


@check
def two_in_one(combine: Callable) -> None:
    """`two_in_one(first, second)`, each (A, B, scale) -> A, B with BA the sum of both
    changes.
    """
    written(combine, "the answer")
    if not callable(combine):
        call(combine)
    _TWO.check(
        _change_of(combine, lambda first, second: len(first[0]) + len(second[0]))
    )
    passed("one adapter, whose change is the sum of both, for seven pairs")
    passed("its rank is the sum of the ranks")


# 12.4


def _nearest(
    change: Tensor,
    rank: int,
    power: Callable[[Tensor], Tensor] = lambda values: values,
    last: bool = False,
) -> Tensor:
    U, values, V = torch.linalg.svd(change, full_matrices=False)
    kept = slice(len(values) - rank, None) if last else slice(rank)
    return (U[:, kept] * power(values[kept])) @ V[kept]


_BEST = Task(
    _nearest,
    lambda: (
        [
            Case(
                f"for {out} × {inputs}, rank {rank}", (random_tensor(out, inputs), rank)
            )
            for out, inputs, rank in (
                (4, 3, 1),
                (6, 9, 2),
                (12, 5, 4),
                (8, 8, 3),
                (1, 7, 1),
                (7, 6, 6),
            )
        ]
        + [Case("in double precision", (random_tensor(5, 8, seed=9).double(), 2))]
    ),
    [
        Mistake(
            "The singular values are missing: U and V have columns of length one.",
            lambda change, rank: _nearest(change, rank, torch.ones_like),
        ),
        Mistake(
            "The singular values count twice: put them into A or into B, or their "
            "root into both.",
            lambda change, rank: _nearest(change, rank, torch.square),
        ),
        Mistake(
            "That keeps the smallest singular values; the largest say most.",
            lambda change, rank: _nearest(change, rank, last=True),
        ),
        Mistake(
            "Only the root of the singular values is in there: it stands in A and in "
            "B, or the value itself in one of them.",
            lambda change, rank: _nearest(change, rank, torch.sqrt),
        ),
    ],
    result="the product of your B and A",
    tolerance=Tolerance(1e-3),
)


@check
def best_change(nearest: Callable) -> None:
    """`best_change(change, rank)` -> A (rank, in), B (out, rank) with BA nearest to
    `change` (out, in).
    """
    written(nearest, "the answer")
    if not callable(nearest):
        call(nearest)
    _BEST.check(_change_of(nearest, lambda change, rank: rank))
    passed("the nearest matrix of that rank, for seven shapes")


# 12.5


def _back(
    weight: Tensor,
    block_size: int,
    steps: int = 15,
    rounded: Callable[[Tensor], Tensor] = torch.round,
    low: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    blocks = weight.reshape(-1, block_size)
    smallest = blocks.amin(1, True) if low is None else low(blocks)
    scale = (blocks.amax(1, True) - smallest) / steps
    codes = rounded((blocks - smallest) / scale.clamp_min(1e-30)).clamp(0, steps)
    return (codes * scale + smallest).view_as(weight)


def _unguarded(weight: Tensor, block_size: int) -> Tensor:
    blocks = weight.reshape(-1, block_size)
    low = blocks.amin(1, True)
    scale = (blocks.amax(1, True) - low) / 15
    return (((blocks - low) / scale).round() * scale + low).view_as(weight)


def _symmetric(weight: Tensor, block_size: int) -> Tensor:
    blocks = weight.reshape(-1, block_size)
    scale = blocks.abs().amax(1, True).clamp_min(1e-30) / 7
    return ((blocks / scale).round() * scale).view_as(weight)


def _minimum_cases() -> list[Case]:
    flat = random_tensor(4, 8, seed=5)
    flat[1] = 0.3
    flat[2, :4] = 0.0
    equal = ("All numbers of a block are equal there: they come back as they are.",)
    return [
        Case("for blocks of 8", (random_tensor(6, 16, seed=1), 8)),
        Case("for blocks of 32", (random_tensor(4, 64, seed=2), 32)),
        Case("for one block", (random_tensor(2, 9, seed=3), 18)),
        Case("for positive numbers", (random_tensor(5, 12, seed=4).abs() + 3, 6)),
        Case("for negative numbers", (-random_tensor(5, 12, seed=6).abs() - 3, 4)),
        Case("for small numbers", (1e-4 * random_tensor(3, 10, seed=7), 5)),
        Case("for a block of one number, repeated", (flat, 4), facts=equal),
        Case("for blocks of one", (random_tensor(3, 4, seed=8), 1), facts=equal),
        Case("in double precision", (random_tensor(4, 6, seed=9).double(), 3)),
    ]


_MINIMUM = Task(
    _back,
    _minimum_cases,
    [
        Mistake(
            "Sixteen codes have fifteen steps between them.",
            lambda weight, block_size: _back(weight, block_size, steps=16),
        ),
        Mistake(
            "The codes are rounded down; take the nearest.",
            lambda weight, block_size: _back(weight, block_size, rounded=torch.floor),
            exact=False,  # the largest lies on a step, or just below
        ),
        Mistake(
            "That is absmax, with a scale alone. The codes 0 to 15 reach from the "
            "block's smallest number to its largest.",
            _symmetric,
        ),
        Mistake(
            "One scale and one minimum serve the whole matrix; each block has its own.",
            lambda weight, block_size: _back(weight, weight.numel()),
        ),
        Mistake(
            "The codes begin at zero; they begin at the block's smallest number.",
            lambda weight, block_size: _back(
                weight, block_size, low=lambda blocks: 0 * blocks[:, :1]
            ),
        ),
        Mistake(
            "Where all numbers of a block are equal, the scale is 0, and 0 / 0 is NaN. "
            "They come back as they are.",
            _unguarded,
        ),
    ],
    result="the weights",
    tolerance=Tolerance(1e-4),
)


@check
def with_a_minimum(back: Callable) -> None:
    """`with_a_minimum(weight, block_size)` -> the weights that come back from four
    bits, of the same shape.
    """
    _MINIMUM.check(back)
    passed("right for nine matrices and blocks")
    passed("a block of equal numbers comes back as it is")


# 12.6


@check
def mended_layer(layer_class: Callable) -> None:
    """`MendedLoRA(base, rank, alpha)`: `base`, `lora_A`, `lora_B`, a call, `merge()`.

    A and B are set here, so how they begin is not compared, but that BA does at zero.
    """
    written(layer_class, "the answer")
    for inputs, outputs, rank, alpha, bias in (
        (6, 4, 3, 6.0, True),
        (5, 9, 1, 0.5, False),
        (8, 8, 4, 2.0, True),
    ):
        with own_random_numbers():
            base = nn.Linear(inputs, outputs, bias)
            before = base.weight.detach().clone()
            layer = call(layer_class, base, rank, alpha)
        _check_layer(layer, before, inputs, outputs, rank, alpha)
    passed("the layer starts as the one that it wraps, which is frozen")
    passed("with A and B set, it gives Wx + b + α/r · BAx")
    passed("merged once or twice, it gives the same")


def _check_layer(
    layer: Any, weight: Tensor, inputs: int, outputs: int, rank: int, alpha: float
) -> None:
    """One layer, at first and after a merge."""
    what = f"for {inputs} inputs, {outputs} outputs, rank {rank}, α = {alpha:g}"
    if not isinstance(layer, nn.Module):
        fail(f"the answer should make a module, and made {describe(layer)}.")
    for name, shape in (("lora_A", (rank, inputs)), ("lora_B", (outputs, rank))):
        if not isinstance(getattr(layer, name, None), nn.Parameter):
            fail(f"{what}, the layer has no parameter `{name}`.")
        expect_shape(getattr(layer, name), shape, f"`{name}`")
    if not isinstance(getattr(layer, "base", None), nn.Linear):
        fail(f"{what}, the layer has no linear layer `base`.")
    learning = [name for name, p in layer.named_parameters() if p.requires_grad]
    if any(name.startswith("base.") for name in learning):
        fail(
            f"{what}, {listed(f'`{name}`' for name in learning)} are trained. The "
            "layer below is not frozen: its weight has a gradient, and Adam's two "
            "means, as if there were no adapter."
        )
    if sorted(learning) != ["lora_A", "lora_B"]:
        fail(
            f"{what}, {listed(f'`{name}`' for name in learning) or 'nothing'} is "
            "trained; it should be `lora_A` and `lora_B`."
        )
    x = random_tensor(2, 5, inputs, seed=2)  # (B=2, T=5, in)
    bias = 0.0 if layer.base.bias is None else layer.base.bias.detach()
    plain = x @ weight.T + bias
    expect_close(
        _output(layer, x),
        plain,
        f"{what}, the output of a new layer",
        "BA should be zero at the start.",
        1e-4,
    )
    if not layer.lora_A.detach().any():
        fail(
            f"{what}, A and B are both zero at the start: neither will ever get a "
            "gradient. A begins at random."
        )
    with torch.no_grad():
        layer.lora_A.copy_(random_tensor(rank, inputs, seed=3))
        layer.lora_B.copy_(random_tensor(outputs, rank, seed=4))
        product = x @ (layer.lora_B @ layer.lora_A).T
    right = plain + alpha / rank * product
    found = _output(layer, x)
    if rank > 1 and _close(found, plain + alpha * product):
        fail(f"{what}, the change is {rank} times too large: α is divided by the rank.")
    if rank > 1 and _close(found, plain + alpha / rank**0.5 * product):
        fail(f"{what}, α is divided by the root of the rank; that is rsLoRA's scale.")
    expect_close(found, right, f"{what}, the output", "", 1e-4)
    if not callable(getattr(layer, "merge", None)):
        fail(f"{what}, the layer has no method `merge`.")
    for times in ("once", "twice"):
        _merge(layer.merge)
        found = _output(layer, x)
        twice = right + alpha / rank * product
        if _close(found, twice):
            reason = (
                "The change is in the weight, and the call adds it again."
                if times == "once"
                else "The second merge has added it again."
            )
            fail(f"{what}, merged {times}, the change counts twice. {reason}")
        expect_close(found, right, f"{what}, merged {times}, the output", "", 1e-4)
        if times == "once" and _close(layer.base.weight, weight):
            fail(
                f"{what}, `merge` has not changed `base.weight`: the change is to be "
                "added to it."
            )


def _merge(method: Callable) -> None:
    """Call `merge`, which need not return anything."""

    def merge() -> bool:
        method()
        return True

    call(merge)


def _output(layer: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        result = call(layer, x.clone())
    return as_numbers(result, (2, 5, layer.lora_B.size(0)), "the output")


def _close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
