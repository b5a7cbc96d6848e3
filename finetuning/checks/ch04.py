"""Checks of chapter 04, self-attention.

- `matrices(W_query, W_key)`: 4.1, matrices that make *mouse* look at the verbs, in both
  sentences
- `predictions(queries_times_zero, …, source_shuffled)`: 4.2, six changes to queries,
  keys or values
- `sliding_window_mask(sliding_window_mask)`: 4.3, a causal mask with a window
- `mended_attention(mended_attention)`: 4.4, heads that read across tokens, mended
- `effective_tokens(effective_tokens)`: 4.5, the exponential of a row's entropy
- `multi_query_attention(MultiQueryAttention)`: 4.6, heads that share keys and values
- `model_weights(model_weights)`: 4.7, a model's attention weights of a padded batch
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.checks.cases import LEADING, normal, paddings, scaled_rows
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    as_numbers,
    call,
    check,
    expect_shape,
    fail,
    passed,
    random_tensor,
    told_as,
)
from finetuning.checks.predictions import predicted_words
from finetuning.checks.state import own_random_numbers
from finetuning.checks.task import Case, Mistake, Task
from finetuning.scratch.attention import (
    causal_mask,
    masked_softmax,
    merge_heads,
    scaled_dot_product_attention,
    split_heads,
)

__all__ = [
    "effective_tokens",
    "matrices",
    "mended_attention",
    "model_weights",
    "multi_query_attention",
    "predictions",
    "sliding_window_mask",
]

_CHANGES = {  # for each prediction that is wrong, a question that leads on
    "queries_times_zero": (
        "What is the dot product of a zero query with any key, and what does a softmax "
        "make of equal scores?"
    ),
    "queries_times_ten": (
        "What does a softmax do when all its scores become ten times as large? Take "
        "(0, 1) and (0, 10)."
    ),
    "added_to_keys": (
        "q · (k + c) is q · k + q · c. Which scores of a row does the second part "
        "change, and by how much? What does the softmax make of that?"
    ),
    "added_to_queries": (
        "(q + c) · k is q · k + c · k. Is the second part the same for every key of a "
        "row?"
    ),
    "added_to_values": (
        "Every value is v + c, and the weights of a row sum to one. What becomes of c?"
    ),
    "source_shuffled": (
        "Each value takes its key along to the new place. Which weight does it get "
        "there, and does a sum depend on the order of its parts?"
    ),
}


def _sentence(first: list[float], last: list[float]) -> Tensor:
    """(T=6, C=4): the chapter's vectors, with the animal and machine of two verbs."""
    return torch.tensor(
        [
            [0.0, 0.0, 0.0, 0.0],
            [1.0, 1.0, 1.0, 0.0],
            [*first, 0.0, 1.0],
            [0.0, 0.0, 0.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
            [*last, 0.0, 1.0],
        ]
    )


_SENTENCES = {
    "the mouse ate until it slept": _sentence([2.0, 0.0], [2.0, 0.0]),
    "the mouse worked until it broke": _sentence([0.0, 2.0], [0.0, 2.0]),
}


def _weights_of(W_query: Tensor, W_key: Tensor, x: Tensor) -> Tensor:
    return ((x @ W_query) @ (x @ W_key).mT / math.sqrt(2)).softmax(dim=-1)


def _finds(W_query: Tensor, W_key: Tensor) -> bool:
    """Whether 4.1 is solved by these matrices."""
    rows = [_weights_of(W_query, W_key, x) for x in _SENTENCES.values()]
    return all(
        row[1, [2, 5]].min() >= 0.45 and row[[2, 4, 5], 1].min() >= 0.9 for row in rows
    )


def _not_on_the_verbs(
    words: list[str], verb: int, query: Tensor, keys: Tensor, mouse: Tensor
) -> str:
    """Why *mouse* does not look at this verb, from its query (2,), the keys (T=6, 2)
    and its weights (T=6,).
    """
    scores = keys @ query
    asked = f"the query of *mouse* is {_row(query)}"
    if (query == 0).all():
        return f"{asked}, so that every score is 0. Which row of `W_query` makes it?"
    if scores[verb] < scores[0] - 0.1:
        return (
            f"its score is {scores[verb]:.1f}, below that of a word that says nothing: "
            f"{asked}, and the key of *{words[verb]}* {_row(keys[verb])}. Which number "
            "of the two has the wrong sign?"
        )
    if mouse[4] > 0.2:
        return (
            f"*it* still gets {mouse[4]:.2f}: the key by which the verbs are found "
            "must be small for *it*. What is in the vector of a verb, and not in "
            "that of *it*?"
        )
    if mouse[1] > 0.2:
        return (
            f"*mouse* looks at itself with {mouse[1]:.2f}: it is animal and machine "
            "as well. What is in its vector, and not in that of a verb, and could "
            "count negatively?"
        )
    if int(mouse.argmax()) in (2, 5) and mouse[2].isclose(mouse[5]):
        return "it points at the verbs, but softly. Larger numbers sharpen the softmax."
    return (
        f"its largest weight is {mouse.max():.2f}, on *{words[int(mouse.argmax())]}*: "
        f"{asked}, and the key of *{words[verb]}* {_row(keys[verb])}. Their product "
        "must be large for verbs of animals and of machines alike."
    )


def _row(numbers: Tensor) -> str:
    return "(" + ", ".join(f"{float(number):g}" for number in numbers) + ")"


@check
def matrices(W_query: Tensor, W_key: Tensor) -> None:
    """4.1: in both sentences *mouse* finds the verbs, not *it*, and is found itself."""
    for name, matrix in (("W_query", W_query), ("W_key", W_key)):
        expect_shape(matrix, (4, 2), name)
        if not torch.as_tensor(matrix).is_floating_point():
            fail(f"{name} should hold floating-point numbers; write 6.0 instead of 6.")
    W_query, W_key = (
        as_numbers(W_query, (4, 2), "W_query"),
        as_numbers(W_key, (4, 2), "W_key"),
    )
    if not _finds(W_query, W_key) and _finds(W_query.flip(1), W_key):
        fail(
            "the columns of the two matrices do not stand in the same order: "
            "question 0 of `W_query` is multiplied with answer 0 of `W_key`, and "
            "yours has there the answer to the other question."
        )
    for sentence, x in _SENTENCES.items():
        words = sentence.split()
        weights = _weights_of(W_query, W_key, x)
        if not weights.isfinite().all():
            fail(
                "the weights are not numbers (NaN): a matrix holds something that is "
                "no number, or so large a one that the scores overflow. Strengths of "
                "5 to 20 are sharp enough."
            )
        query, keys = x[1] @ W_query, x @ W_key
        for verb in (2, 5):
            if weights[1, verb] < 0.45:
                reason = _not_on_the_verbs(words, verb, query, keys, weights[1])
                fail(
                    f"in '{sentence}', *mouse* gives *{words[verb]}* "
                    f"{weights[1, verb]:.2f} and not 0.45; {reason}"
                )
        alone = _weights_of(W_query[:, :1], W_key[:, :1], x)
        for row in (2, 4, 5):
            if weights[row, 1] < 0.9:
                does = "finds it" if alone[row, 1] >= 0.9 else "does not either"
                fail(
                    f"in '{sentence}', *{words[row]}* gives *mouse* "
                    f"{weights[row, 1]:.2f} and not 0.9. Question 0 alone, column 0 of "
                    f"both matrices, {does}."
                )
    passed("mouse looks at both verbs, and not at it, in both sentences")
    passed("ate, it and slept still look at mouse")


@check
def predictions(
    queries_times_zero: str,
    queries_times_ten: str,
    added_to_keys: str,
    added_to_queries: str,
    added_to_values: str,
    source_shuffled: str,
) -> None:
    """4.2: each prediction against what the change does to random vectors."""
    answers = (
        queries_times_zero,
        queries_times_ten,
        added_to_keys,
        added_to_queries,
        added_to_values,
        source_shuffled,
    )
    said_of = dict(zip(_CHANGES, answers, strict=True))
    query, key, value = (random_tensor(5, 4, seed=seed) for seed in (1, 2, 3))
    vector, order = random_tensor(4, seed=4), torch.tensor([3, 0, 4, 1, 2])

    def output(
        query: Tensor = query, key: Tensor = key, value: Tensor = value
    ) -> Tensor:
        return F.scaled_dot_product_attention(query[None], key[None], value[None])[0]

    after = {
        "queries_times_zero": output(query=query * 0),
        "queries_times_ten": output(query=query * 10),
        "added_to_keys": output(key=key + vector),
        "added_to_queries": output(query=query + vector),
        "added_to_values": output(value=value + vector),
        "source_shuffled": output(key=key[order], value=value[order]),
    }
    before = output()
    words = {
        "same": before,
        "mean": value.mean(dim=0).expand(5, 4),
        "shifted": before + vector,
    }
    true = {
        change: next(
            (
                word
                for word, tensor in words.items()
                if torch.allclose(result, tensor, atol=1e-5)
            ),
            "different",
        )
        for change, result in after.items()
    }
    predicted_words(said_of, true, _CHANGES, (*words, "different"))
    passed(
        "all six predictions agree with what happens to random queries, keys and values"
    )


def _window(length: int, window: int) -> Tensor:
    back = _back(length)
    return (back >= 0) & (back < window)


def _back(length: int) -> Tensor:
    """(T, T): how far position s lies before position t."""
    return torch.arange(length)[:, None] - torch.arange(length)


def _seen(found: Tensor, expected: Tensor, case: Case) -> str | None:
    """How a mask differs from the right one, in words about positions."""
    sentence = difference(found, expected, "the mask")
    if not sentence or "differ)" not in sentence:
        return sentence
    row, column = (torch.as_tensor(found) != expected).nonzero()[0].tolist()
    if row == column:
        return f"position {row} cannot see itself."
    sees = "sees" if found[row, column] else "does not see"
    side = "before" if column < row else "after"
    return (
        f"position {row} {sees} position {column}, which lies "
        f"{abs(row - column)} {side} it."
    )


_WINDOW = Task(
    _window,
    lambda: [
        Case(f"with length {length} and window {window}", (length, window))
        for length, window in (
            (6, 3),
            (5, 1),
            (4, 9),
            (1, 1),
            (7, 2),
            (9, 4),
            (3, 3),
            (8, 7),
        )
    ],
    [
        Mistake(
            "True and False are the wrong way round: in this book True means that a "
            "position may be looked at.",
            lambda length, window: ~_window(length, window),
        ),
        Mistake(
            "A window on the past must be causal as well; yours looks to both sides.",
            lambda length, window: _back(length).abs() < window,
        ),
        Mistake(
            "Rows and columns have changed places: row t is the position that looks.",
            lambda length, window: _window(length, window).mT,
        ),
        Mistake(
            "This is the causal mask without a window: how far back a position may "
            "look has no limit.",
            lambda length, window: causal_mask(length),
        ),
        Mistake(
            "The window counts the position itself and the `window - 1` before it; "
            "yours is one too wide.",
            lambda length, window: _window(length, window + 1),
        ),
        Mistake(
            "The window counts the position itself and the `window - 1` before it; "
            "yours is one too narrow.",
            lambda length, window: _window(length, max(window - 1, 1)),
        ),
        Mistake(
            "The window counts the position itself and the `window - 1` before it; "
            "yours is one too narrow.",
            lambda length, window: _window(length, window - 1),
        ),
        Mistake(
            "The position itself belongs to its window.",
            lambda length, window: (_back(length) > 0) & (_back(length) <= window),
        ),
        Mistake(
            "The text is cut into pieces here, and each sees only its own; the window "
            "moves on with every position.",
            lambda length, window: (
                causal_mask(length)
                & (
                    torch.arange(length)[:, None] // window
                    == torch.arange(length) // window
                )
            ),
        ),
    ],
    dtype=torch.bool,
    compare=_seen,
)


@check
def sliding_window_mask(sliding_window_mask: Callable[[int, int], Tensor]) -> None:
    """4.3: the mask's shape, dtype, causality and width, for several sizes."""
    _WINDOW.check(sliding_window_mask)
    passed("causal, with the right width, for windows from 1 to longer than the text")


def _heads_attend(
    x: Tensor,
    heads: int,
    mask: Tensor | None = None,
    scale: float | None = None,
    cut: Callable = split_heads,
    join: Callable = merge_heads,
) -> Tensor:
    """Attention of x (B, T, C) to itself, with ways to cut and to join the heads."""
    parts = cut(x, heads)
    found = F.scaled_dot_product_attention(parts, parts, parts, mask, scale=scale)
    return join(found) if join is merge_heads else join(found, x)


def _causal(x: Tensor, heads: int, **ways: Any) -> Tensor:
    return _heads_attend(x, heads, causal_mask(x.size(1)), **ways)


def _pieces(x: Tensor, heads: int) -> Tensor:
    batch, length, width = x.shape
    return x.reshape(batch, heads, length, width // heads)


def _reshaped(found: Tensor, x: Tensor) -> Tensor:
    return found.reshape(x.shape)


def _combs(x: Tensor, heads: int) -> Tensor:
    batch, length, width = x.shape
    return x.reshape(batch, length, width // heads, heads).permute(0, 3, 1, 2)


def _not_transposed(x: Tensor, heads: int) -> Tensor:
    """Heads (B, T, H, D) taken as they are: the heads of a token look at each other."""
    batch, length, width = x.shape
    parts = x.reshape(batch, length, heads, width // heads)
    found, _ = scaled_dot_product_attention(parts, parts, parts, causal_mask(length))
    return found.reshape(x.shape)


_CUT = (
    "On the way in, cut (B, T, C) into (B, T, H, D) and then transpose; on the way "
    "back, transpose first and join then."
)
_MENDED = Task(
    _causal,
    lambda: [
        Case(
            f"for an input {shape} and {heads} heads{more}",
            (change(normal(*shape, seed=shape[1], dtype=dtype)), heads),
        )
        for shape, heads, dtype, more, change in (
            ((3, 6, 8), 2, torch.float32, "", torch.clone),
            ((1, 5, 12), 3, torch.float32, "", torch.clone),
            ((3, 4, 6), 1, torch.float32, "", torch.clone),
            ((2, 7, 20), 4, torch.float64, " (float64)", torch.clone),
            ((5, 3, 10), 5, torch.float32, "", torch.clone),
            ((2, 6, 14), 7, torch.float32, ", small and large", scaled_rows),
        )
    ],
    [
        Mistake(
            "`reshape(B, H, T, D)` gives each head a piece of the text; it should get "
            "a slice of every token's numbers. " + _CUT,
            lambda x, heads: _causal(x, heads, cut=_pieces, join=_reshaped),
        ),
        Mistake(
            "The heads are cut as they should be, and joined by a `reshape` alone, so "
            "that numbers of different tokens change places. " + _CUT,
            lambda x, heads: _causal(x, heads, join=_reshaped),
        ),
        Mistake(
            "The heads are joined as they should be, and cut by a `reshape` alone, so "
            "that each gets a piece of the text. " + _CUT,
            lambda x, heads: _causal(x, heads, cut=_pieces),
        ),
        Mistake(
            "Head 0 has the numbers 0, H, 2·H … of each token, and should have the "
            "first D: cut the last axis into (H, D), in this order, and not into (D, "
            "H).",
            lambda x, heads: _causal(
                x,
                heads,
                cut=_combs,
                join=lambda found, x: found.permute(0, 2, 3, 1).reshape(x.shape),
            ),
        ),
        Mistake(
            "Head 0 has the numbers 0, H, 2·H … of each token, and should have the "
            "first D: cut the last axis into (H, D), in this order, and not into (D, "
            "H).",
            lambda x, heads: _causal(x, heads, cut=_combs),
        ),
        Mistake(
            "The heads are in order, but the causal mask is gone: every token sees the "
            "whole text.",
            lambda x, heads: _heads_attend(x, heads),
        ),
        Mistake(
            "This is one head over the whole width: x was never cut into heads.",
            lambda x, heads: _causal(x, 1),
        ),
        Mistake(
            "The scale is of the whole width, and must be of a head's, √D.",
            lambda x, heads: _causal(x, heads, scale=x.size(-1) ** -0.5),
        ),
        Mistake(
            "The scores are not divided by √D, the root of a head's width.",
            lambda x, heads: _causal(x, heads, scale=1.0),
        ),
        Mistake(
            "The scores compare the heads of a token, and not the tokens of a head: "
            "(B, T, H, D) still needs a transpose, to (B, H, T, D).",
            _not_transposed,
        ),
        Mistake(
            "The scores compare the heads of a token, and not the tokens of a head: "
            "(B, T, H, D) still needs a transpose, to (B, H, T, D).",
            lambda x, heads: _causal(
                x,
                heads,
                cut=lambda x, heads: x.unflatten(-1, (heads, -1)),
                join=_reshaped,
            ),
        ),
    ],
    result="the output",
)


@check
def mended_attention(mended_attention: Callable[[Tensor, int], Tensor]) -> None:
    """4.4: shapes, causality, equality with attention in slices of numbers."""
    _MENDED.check(mended_attention)
    passed("changing a token changes nothing before it, and everything after it")
    passed(
        "equal to attention in each head's slice of every token, for 1, 2 and 3 heads"
    )


def _spread(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=-1).exp()


def _weights_cases() -> list[Case]:
    half = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.25, 0.75, 0.0]])
    hidden = normal(3, 6, seed=2).masked_fill(torch.arange(6) >= 4, -math.inf)
    blind = torch.tensor([[0.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    zero = ("A weight of exactly 0 counts nothing.",)
    return [
        Case("for 8 equal weights in each row", (torch.full((3, 8), 1 / 8),)),
        Case("for rows with all weight on one token", (torch.eye(5)[:4],), facts=zero),
        Case("for the rows (½, ½, 0, 0) and (0, ¼, ¾, 0)", (half,), facts=zero),
        Case("where two of six weights are 0", (hidden.softmax(-1),), facts=zero),
        Case("for the rows (0, 0, 0) and (0.2, 0.3, 0.5)", (blind,), facts=zero),
        Case(
            "for 5,000 equal weights",
            (torch.full((1, 5000), 1 / 5000),),
            facts=("Each of them is 0.0002, and counts.",),
        ),
        *(
            Case(
                f"for weights of shape {(*leading, 5, 7)}",
                (normal(*leading, 5, 7, seed=3).softmax(dim=-1),),
            )
            for leading in LEADING
        ),
        Case(
            "for rows from flat to sharp",
            (scaled_rows(normal(6, 9, seed=4), 1e-2, 1e2).softmax(dim=-1),),
        ),
        Case(
            "for weights of float64",
            (normal(2, 4, 6, seed=5, dtype=torch.float64).softmax(dim=-1),),
        ),
    ]


_AFTER_THE_SUM = (
    "Each weight of 0 counts nothing *in the sum*, 0 · log 0 = 0; is a NaN replaced "
    "after the sum?"
)
_EFFECTIVE = Task(
    _spread,
    _weights_cases,
    [
        Mistake(
            "This is the entropy; the exponential of it is still to be taken.",
            lambda weights: torch.special.entr(weights).sum(-1),
        ),
        Mistake(
            "This is the entropy in bits; the exponential of it is still to be taken, "
            "to the base of the logarithm.",
            lambda weights: torch.special.entr(weights).sum(-1) / math.log(2),
        ),
        Mistake(
            "The logarithm has base 2 and the exponential base e. Both must have the "
            "same base.",
            lambda weights: (torch.special.entr(weights).sum(-1) / math.log(2)).exp(),
        ),
        Mistake(
            "The logarithm has base e and the exponential base 2. Both must have the "
            "same base.",
            lambda weights: torch.special.entr(weights).sum(-1).exp2(),
        ),
        Mistake(
            "The minus before the sum is lost.",
            lambda weights: (-torch.special.entr(weights).sum(-1)).exp(),
        ),
        Mistake(
            "The sum runs over the rows; it must run over the last axis, the tokens "
            "that are looked at.",
            lambda weights: torch.special.entr(weights).sum(-2).exp(),
        ),
        Mistake(
            "This is 1/Σw², another count of the same kind; the exponential of the "
            "entropy is asked for.",
            lambda weights: 1 / weights.square().sum(-1),
        ),
        Mistake(
            "This counts the weights above 0, however small; the exponential of the "
            "entropy is asked for.",
            lambda weights: (weights > 0).sum(-1).double(),
        ),
        Mistake(
            "Weights of exactly 0 must count nothing; is there a 0 · log 0?",
            lambda weights: (-(weights * weights.log()).sum(-1)).exp(),
        ),
        Mistake(
            _AFTER_THE_SUM,
            lambda weights: (-(weights * weights.log()).sum(-1)).exp().nan_to_num(1.0),
        ),
        Mistake(
            _AFTER_THE_SUM,
            lambda weights: (-(weights * weights.log()).sum(-1)).exp().nan_to_num(0.0),
        ),
    ],
    tolerance=Tolerance(5e-4, 0.0),
)


@check
def effective_tokens(effective_tokens: Callable[[Tensor], Tensor]) -> None:
    """4.5: one-hot and uniform rows, zeros, the logarithm's base, all axes."""
    _EFFECTIVE.check(effective_tokens)
    passed(
        "1 for a single token, 2 for two of four, 8 and 5,000 for so many equal weights"
    )
    passed("weights of zero count nothing, and small ones count")
    passed("a result for each row, whatever axes come before")


_PROJECTIONS = ("query", "key", "value", "output")


def _built(MultiQueryAttention: type[nn.Module], width: int, heads: int) -> nn.Module:
    """The learner's module, with the four projections that it must have."""
    with own_random_numbers():
        module = call(MultiQueryAttention, width, heads)
    for name in _PROJECTIONS:
        if not isinstance(getattr(module, name, None), nn.Linear):
            fail(f"the module needs an nn.Linear called `{name}`.")
    head_width = width // heads
    sizes = {"query": width, "key": head_width, "value": head_width, "output": width}
    for name, size in sizes.items():
        projection = getattr(module, name)
        shape = tuple(projection.weight.shape)
        if shape != (size, width):
            shared = " All heads share one set, so it has the width of a single head."
            fail(
                f"for width {width} and {heads} heads, `{name}` maps {shape[1]} to "
                f"{shape[0]} numbers; it should map {width} to {size}."
                + (shared if size < width and shape == (width, width) else "")
            )
        if projection.bias is None:
            fail(f"`{name}` has no bias, and should have one.")
    return module


def _shared(
    module: nn.Module,
    x: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
    axis: int = 1,
    cut: Callable = split_heads,
    join: Callable = merge_heads,
    order: tuple[str, str] = ("key", "value"),
    output: bool = True,
) -> Tensor:
    """PyTorch's attention with keys and values copied for each head, or a mistake."""
    heads = x.size(-1) // module.key.out_features
    query = cut(module.query(x), heads)
    key, value = (
        getattr(module, name)(x).unsqueeze(axis).expand(len(x), heads, -1, -1)
        for name in order
    )
    found = F.scaled_dot_product_attention(query, key, value, mask, scale=scale)
    found = join(found) if join is merge_heads else join(found, x)
    return module.output(found) if output else found


def _multi_query_cases(modules: dict[tuple[int, int], nn.Module]) -> list[Case]:
    cases = []
    for batch, length, (width, heads) in (
        (2, 5, (8, 2)),  # B = H, where keys (B, S, D) fit by accident
        (4, 6, (12, 3)),
        (3, 4, (6, 1)),
        (1, 7, (20, 4)),
    ):
        x = normal(batch, length, width, seed=heads)
        padding = (torch.arange(length) < length - 2).expand(length, length)
        for mask, what in (
            (None, "without a mask"),
            (causal_mask(length), "with a causal mask"),
            (padding, "with a mask that hides the last two tokens"),
        ):
            arguments = (modules[width, heads], x) + (() if mask is None else (mask,))
            name = f"for an input {tuple(x.shape)}, {heads} heads, {what}"
            cases.append(Case(name, arguments))
    double = copy.deepcopy(modules[12, 3]).double()
    x = normal(2, 5, 12, seed=9, dtype=torch.float64)
    what = "for a module and an input (2, 5, 12) of float64, 3 heads, without a mask"
    return [*cases, Case(what, (double, x))]


_RESHAPED = (
    "swap the axes with `transpose`: a `reshape` alone makes numbers of different "
    "tokens change places."
)


def _multi_query_mistakes() -> list[Mistake]:
    return [
        Mistake(
            lambda module, x, mask=None: (
                f"The scale is of the model's width, √{x.size(-1)}; it must be of a "
                f"head's, √{module.key.out_features}."
            ),
            lambda module, x, mask=None: _shared(
                module, x, mask, scale=x.size(-1) ** -0.5
            ),
        ),
        Mistake(
            lambda module, x, mask=None: (
                f"The scores are not divided by √{module.key.out_features}, the root "
                "of a head's width."
            ),
            lambda module, x, mask=None: _shared(module, x, mask, scale=1.0),
        ),
        Mistake(
            "The last projection, `output`, is missing.",
            lambda module, x, mask=None: _shared(module, x, mask, output=False),
        ),
        Mistake(
            "Keys and values have changed places.",
            lambda module, x, mask=None: _shared(
                module, x, mask, order=("value", "key")
            ),
        ),
        Mistake(
            f"When you cut the queries into heads, {_RESHAPED}",
            lambda module, x, mask=None: _shared(module, x, mask, cut=_pieces),
        ),
        Mistake(
            f"When you join the heads, {_RESHAPED}",
            lambda module, x, mask=None: _shared(module, x, mask, join=_reshaped),
        ),
        Mistake(
            f"When you cut the queries and when you join the heads, {_RESHAPED}",
            lambda module, x, mask=None: _shared(
                module, x, mask, cut=_pieces, join=_reshaped
            ),
        ),
        Mistake(
            "The mask has no effect: is it passed on?",
            lambda module, x, mask=None: _shared(module, x),
        ),
        Mistake(
            "The mask is upside down: True means may be looked at.",
            lambda module, x, mask=None: _shared(
                module, x, None if mask is None else ~mask
            ),
        ),
        Mistake(
            "It is causal whatever the mask says: pass the mask on as it is.",
            lambda module, x, mask=None: _shared(
                module, x, None if mask is None else causal_mask(x.size(1))
            ),
        ),
        Mistake(
            "It is causal also where no mask is given.",
            lambda module, x, mask=None: _shared(
                module, x, causal_mask(x.size(1)) if mask is None else mask
            ),
        ),
        Mistake(
            "Keys of shape (B, S, D) line up sentences with heads, which fits by "
            "accident where B = H: they need an axis of their own for the heads, (B, "
            "1, S, D).",
            lambda module, x, mask=None: _shared(module, x, mask, axis=0),
        ),
    ]


@check
def multi_query_attention(MultiQueryAttention: type[nn.Module]) -> None:
    """4.6: sizes, parity with copied keys and values, masks and gradients."""
    # All are built before any is used: nothing may be shared between them.
    modules = {
        sizes: _built(MultiQueryAttention, *sizes)
        for sizes in ((8, 2), (12, 3), (6, 1), (20, 4))
    }
    Task(
        _shared,
        lambda: _multi_query_cases(modules),
        _multi_query_mistakes(),
        result="the output",
        precise=False,
    ).check(_forward)
    for (width, heads), module in modules.items():
        call(module, normal(2, 5, width, seed=heads)).square().sum().backward()
        for name in _PROJECTIONS:
            if getattr(module, name).weight.grad is None:
                fail(
                    f"no gradient reaches `{name}`: it is not used, or a result "
                    "was detached."
                )
    passed("one set of keys and values, as wide as one head")
    passed(
        "equal to multi-head attention in which every head has a copy of them, "
        "with and without a mask"
    )
    passed("gradients reach all four projections")


def _forward(module: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The learner's module, called as a function of itself."""
    given = (x,) if mask is None else (x, mask)
    with told_as(module.forward, *given):
        return module(*given)


_forward.__name__ = "MultiQueryAttention"  # what messages call it


def _scores(
    query: Tensor, key: Tensor, heads: int, scale: float | None = None
) -> Tensor:
    query, key = split_heads(query, heads), split_heads(key, heads)
    scale = query.size(-1) ** -0.5 if scale is None else scale
    return query @ key.mT * scale


def _model_weights(
    query: Tensor, key: Tensor, attention_mask: Tensor, heads: int
) -> Tensor:
    return masked_softmax(
        _scores(query, key, heads), attention_mask.bool()[:, None, None]
    )


def _filled(
    query: Tensor, key: Tensor, mask: Tensor, heads: int, dim: int = -1, by: float = 0.0
) -> Tensor:
    """A softmax of scores that have `by`, or −∞, where the mask is False."""
    return _scores(query, key, heads).masked_fill(~mask, by or -math.inf).softmax(dim)


_PADDED = ("There is padding, which may look, and nobody may look at it.",)


def _model_cases() -> list[Case]:
    cases = []
    for (batch, length, width), heads, dtype in (
        ((2, 5, 8), 2, torch.float32),  # B = H, where (B, 1, S) fits by accident
        ((3, 7, 12), 3, torch.float32),
        ((4, 6, 5), 1, torch.float32),
        ((2, 4, 20), 5, torch.float64),
        ((1, 3, 8), 4, torch.float32),
    ):
        query, key = (
            normal(batch, length, width, seed=seed, dtype=dtype) for seed in (1, 2)
        )
        for what, mask in paddings(batch, length):
            name = f"for queries {tuple(query.shape)} and {heads} heads, {what}"
            facts = _PADDED if (mask == 0).any() else ()
            cases.append(Case(name, (query, key, mask, heads), facts=facts))
    query, key = (scaled_rows(normal(2, 6, 12, seed=seed)) for seed in (3, 4))
    mask = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 1]])
    name = "for small and large queries and keys in one sentence"
    return [*cases, Case(name, (query, key, mask, 3), facts=_PADDED)]


_TURNED = (
    "True and False are the wrong way round: all the weight is on padding. 1 means a "
    "token, and True means may be looked at."
)
_QUERIES = (
    "Each column sums to one: the softmax runs over the queries; it must run over the "
    "keys, the last axis."
)
_ROWS = (
    "The mask hides rows. It belongs to the columns: padding may look, nobody may look "
    "at it."
)


def _turned(query: Tensor, key: Tensor, mask: Tensor, heads: int) -> Tensor:
    """The tokens hidden in place of the padding, but where nothing else is left."""
    seen = ~mask.bool()[:, None, None]
    return _filled(query, key, seen | ~seen.any(-1, keepdim=True), heads)


_MODEL = Task(
    _model_weights,
    _model_cases,
    [
        Mistake(
            "Padding gets a share: the mask has no effect.",
            lambda q, k, m, h: _scores(q, k, h).softmax(-1),
        ),
        Mistake(
            "Padding gets a share: the mask's own 0 and 1 are added to the scores. "
            "Only −∞ makes a weight 0.",
            lambda q, k, m, h: (_scores(q, k, h) + m[:, None, None]).softmax(-1),
        ),
        Mistake(
            "Padding gets a share: the scores are multiplied by the mask, and a score "
            "of 0 is not no attention.",
            lambda q, k, m, h: (_scores(q, k, h) * m[:, None, None]).softmax(-1),
        ),
        Mistake(
            "The rows do not sum to one: a mask acts on the scores, before the "
            "softmax.",
            lambda q, k, m, h: _scores(q, k, h).softmax(-1) * m[:, None, None],
        ),
        Mistake(_ROWS, lambda q, k, m, h: _filled(q, k, m.bool()[:, None, :, None], h)),
        Mistake(
            _ROWS,
            lambda q, k, m, h: masked_softmax(
                _scores(q, k, h), m.bool()[:, None, :, None]
            ),
        ),
        Mistake(_TURNED, _turned),
        Mistake(_TURNED, lambda q, k, m, h: _filled(q, k, ~m.bool()[:, None, None], h)),
        Mistake(
            _TURNED,
            lambda q, k, m, h: masked_softmax(
                _scores(q, k, h), ~m.bool()[:, None, None]
            ),
        ),
        Mistake(
            "The mask of sentence 1 acts on head 1 of every sentence: (B, 1, S) lines "
            "up sentences with heads. The mask needs an axis for the heads and one for "
            "the rows, (B, 1, 1, S).",
            lambda q, k, m, h: _filled(q, k, m.bool()[:, None], h),
        ),
        Mistake(
            "Your weights are causal as well. In this model every token may look to "
            "both sides.",
            lambda q, k, m, h: masked_softmax(
                _scores(q, k, h), m.bool()[:, None, None] & causal_mask(q.size(1))
            ),
        ),
        Mistake(
            _QUERIES, lambda q, k, m, h: _filled(q, k, m.bool()[:, None, None], h, -2)
        ),
        Mistake(
            _QUERIES,
            lambda q, k, m, h: _filled(q, k, m.bool()[:, None, None], h, -2, -1e9),
        ),
        Mistake(
            lambda q, k, m, h: (
                f"The scale is √{q.size(-1)}, of the whole width; it must be "
                f"√{q.size(-1) // h}, of a head."
            ),
            lambda q, k, m, h: masked_softmax(
                _scores(q, k, h, q.size(-1) ** -0.5), m.bool()[:, None, None]
            ),
        ),
        Mistake(
            "The scores are not divided by the root of the head's width.",
            lambda q, k, m, h: masked_softmax(
                _scores(q, k, h, 1.0), m.bool()[:, None, None]
            ),
        ),
        Mistake(
            "The heads are cut by a `reshape` alone, so that each gets a piece of the "
            "text: cut (B, T, C) into (B, T, H, D), then transpose.",
            lambda q, k, m, h: masked_softmax(
                _pieces(q, h) @ _pieces(k, h).mT / math.sqrt(q.size(-1) // h),
                m.bool()[:, None, None],
            ),
        ),
    ],
)


@check
def model_weights(
    model_weights: Callable[[Tensor, Tensor, Tensor, int], Tensor],
) -> None:
    """4.7: rows that sum to one, padding on every side, equality with a reference."""
    _MODEL.check(model_weights)
    passed(
        "rows sum to one over the real tokens, with padding on the right and on "
        "the left"
    )
    passed("equal to a model's weights, for 1, 2 and 3 heads")
