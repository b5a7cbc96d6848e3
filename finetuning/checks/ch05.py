"""Checks of chapter 05, the mathematics of attention.

- `predictions(linear_default, …, key_is_query)`: 5.1, how far scores spread after six
  changes
- `temperature_for(temperature_for)`: 5.2, the temperature at which a row looks at so
  many tokens
- `merge(merge)`: 5.3, two attentions over different keys made one
- `mended_attention(mended_attention)`: 5.4, attention in blocks, mended
- `sink_softmax(sink_softmax, sink_softmax_backward)`: 5.5, a softmax with a sink, and
  its gradient
- `linear_attention(linear_attention, crossing)`: 5.6, attention whose work grows with T
- `sliding_window_attention(sliding_window_attention)`: 5.7, a window that computes no
  more than it shows
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from finetuning.checks.core import (
    as_number,
    as_numbers,
    call,
    check,
    expect_close,
    fail,
    passed,
    random_tensor,
    written,
)
from finetuning.scratch.attention import causal_mask

__all__ = [
    "linear_attention",
    "mended_attention",
    "merge",
    "predictions",
    "sink_softmax",
    "sliding_window_attention",
    "temperature_for",
]


def _numbers(value: object, shape: tuple[int, ...], what: str) -> Tensor:
    """The learner's result as a float64 tensor, whatever its dtype and library."""
    if isinstance(value, (int, float)) and shape == ():
        value = torch.tensor(float(value))
    return as_numbers(value, shape, what, torch.float64).cpu()


def _two(result: Any, names: str, function: str) -> tuple[Any, Any]:
    """The two parts of a result, or a diagnosis."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        kind = (
            f"{len(result)} things"
            if isinstance(result, (tuple, list))
            else f"one {type(result).__name__}"
        )
        fail(f"`{function}` should return two things, {names}, and returned {kind}.")
    return result[0], result[1]


def _close(value: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    return value.shape == expected.shape and torch.allclose(
        value.double(), expected.double(), rtol=tolerance, atol=tolerance
    )


def _named(value: Tensor, wrong: dict[str, Tensor], otherwise: str) -> str:
    """The diagnosis whose wrong result this is, as far as it consists of numbers."""
    for diagnosis, tensor in wrong.items():
        known = tensor.isfinite()
        if known.double().mean() > 0.5 and _close(value[known], tensor[known]):
            return diagnosis
    return otherwise


def _attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The reference in float64: output, log-sum-exp; 0, -inf for unseeing rows."""
    query, key, value = query.double(), key.double(), value.double()
    scores = query @ key.mT / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    blind = scores.isneginf().all(dim=-1, keepdim=True)
    weights = scores.masked_fill(blind, 0.0).softmax(dim=-1).masked_fill(blind, 0.0)
    return weights @ value, scores.logsumexp(dim=-1)


class _Costs(TorchDispatchMode):
    """What was computed: numbers of the `largest` tensor, and all touched (`work`).

    A view makes nothing. Work is counted in numbers read and written, so that it shows
    a quadratic cost whether it comes as one large matrix product or as many small ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.work = 0, 0

    def __torch_dispatch__(
        self,
        function: Any,
        types: Any,
        arguments: tuple = (),
        keywords: dict | None = None,
    ) -> Any:
        result = function(*arguments, **(keywords or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        returns = function._schema.returns
        if not any(
            part.alias_info is not None and not part.alias_info.is_write
            for part in returns
        ):
            read = [
                leaf
                for leaf in tree_leaves((arguments, keywords))
                if isinstance(leaf, Tensor)
            ]
            self.work += sum(tensor.numel() for tensor in made + read)
            for tensor in made:
                numbers = tensor.untyped_storage().nbytes() // max(
                    tensor.element_size(), 1
                )
                self.largest = max(self.largest, numbers)
        return result


# 5.1

# for each prediction: its true value, a question that leads on, and what known mistakes
# give
_SPREAD = {
    "linear_default": (
        1 / 3,
        "What is the variance of a number drawn evenly from −a to a? Each number of "
        "a query is a sum of 512 products of a weight and an input of variance 1.",
    ),
    "queries_dropped": (
        1 / math.sqrt(2),
        "How many of the 64 products are left, and what is the variance of a sum "
        "of that many?",
    ),
    "two_heads_added": (
        math.sqrt(2),
        "What is the variance of the sum of two independent numbers of variance "
        "1? And its root?",
    ),
    "mean_one": (
        math.sqrt(3),
        "Var(xy) = E[x²] E[y²] − (E[x] E[y])² for independent x and y. What is E[x²] "
        "of a number with mean 1 and variance 1?",
    ),
    "normalised": (
        1 / 8,
        "A random vector of 64 such numbers is about 8 long. The score is the plain "
        "dot product divided by both lengths; what is the spread of the plain dot "
        "product?",
    ),
    "key_is_query": (
        0.0,
        "The score is a sum of 64 squares, divided by 8. What is the square of "
        "+1, and what is that of −1?",
    ),
}


def _spreads() -> dict[str, float]:
    """The standard deviations, measured on 40,000 pairs of queries and keys, D = 64."""
    query, key, more_query, more_key = (
        random_tensor(40_000, 64, seed=seed).double() for seed in (1, 2, 3, 4)
    )
    x, y = (
        random_tensor(20_000, 512, seed=5).double(),
        random_tensor(20_000, 512, seed=6).double(),
    )
    generator = torch.Generator().manual_seed(7)
    weights = (
        torch.rand(2, 512, 64, generator=generator).double() * 2 - 1
    ) / math.sqrt(512)
    scores = {
        "linear_default": ((x @ weights[0]) * (y @ weights[1])).sum(-1) / 8,
        "queries_dropped": (query[:, :32] * key[:, :32]).sum(-1) / 8,
        "two_heads_added": (
            ((query * key).sum(-1) + (more_query * more_key).sum(-1)) / 8
        ),
        "mean_one": ((query + 1) * (key + 1)).sum(-1) / 8,
        "normalised": F.cosine_similarity(query, key, dim=-1),
        "key_is_query": query.sign().square().sum(-1) / 8,
    }
    return {name: float(values.std()) for name, values in scores.items()}


@check
def predictions(
    linear_default: float,
    queries_dropped: float,
    two_heads_added: float,
    mean_one: float,
    normalised: float,
    key_is_query: float,
) -> None:
    """5.1: each prediction against the spread that 40,000 random scores have."""
    answers = (
        linear_default,
        queries_dropped,
        two_heads_added,
        mean_one,
        normalised,
        key_is_query,
    )
    said_of = dict(zip(_SPREAD, answers, strict=True))
    # All are looked at before anything is measured.
    spreads = {
        change: as_number(said, f"`{change}`") for change, said in said_of.items()
    }
    measured = _spreads()
    for change, said in spreads.items():
        true, question = measured[change], _SPREAD[change][1]
        if abs(said - true) <= max(
            0.03 * true, 0.003
        ):  # the measured values scatter by less than 1 %
            continue
        if not math.isfinite(said) or said < 0:
            fail(
                f"`{change}` is {said}; a standard deviation is a number, and "
                "never negative."
            )
        hint = question
        if abs(said - true**2) <= 0.03 * true**2:
            hint = (
                "Is that the variance? The standard deviation, its root, is asked for."
            )
        elif change != "normalised" and abs(said - 8 * true) <= 0.03 * 8 * true:
            hint = "Did you divide by √64?"
        elif change in ("key_is_query", "mean_one") and abs(said - 8) <= 0.24:
            hint = (
                "8 is the mean of these scores. How far do they spread about it? "
                f"{question}"
            )
        elif change == "linear_default" and abs(said - 1 / math.sqrt(3)) <= 0.02:
            hint = (
                "So far do the numbers of a query spread, and those of a key as "
                "well. And their product?"
            )
        elif change == "key_is_query" and abs(said - math.sqrt(2)) <= 0.03:
            hint = (
                f"So far would the numbers of a normal distribution spread. {question}"
            )
        elif change == "mean_one" and abs(said - math.sqrt(2)) <= 0.03:
            hint = (
                "So far do they spread within one row. Over all pairs of a query and "
                "a key, it is more."
            )
        elif abs(said - 1) <= 0.03:
            hint = f"So you say that nothing changes. {question}"
        fail(f"random scores do not spread by {said:.3g} with `{change}`. {hint}")
    passed("all six predictions agree with the spread of 40,000 random scores")


# 5.2


def _tokens(weights: Tensor) -> Tensor:
    return torch.special.entr(weights).sum(dim=-1).exp()


def _why_not(scores: Tensor, temperature: Tensor, tokens: float) -> str:
    """What the temperatures (…) do to the scores (…, S), if it is something known."""

    def reached(found: Tensor) -> bool:
        return bool(torch.allclose(found, torch.full_like(found, tokens), rtol=2e-3))

    weights = (scores / temperature[..., None]).softmax(dim=-1)
    entropy = torch.special.entr(weights).sum(dim=-1)
    if reached(_tokens((scores * temperature[..., None]).softmax(dim=-1))):
        return (
            "This is what the scores must be multiplied by; a temperature divides them."
        )
    if reached(entropy):
        return (
            f"It makes the entropy {tokens:g}; the number of tokens is the "
            "exponential of the entropy."
        )
    if reached(entropy / math.log(2)):
        return (
            f"It makes the entropy {tokens:g} bits; the number of tokens is the "
            "exponential of the entropy."
        )
    if reached((entropy * math.log(2)).exp()) or reached((entropy / math.log(2)).exp()):
        return "The logarithm and the exponential have different bases."
    if reached(1 / weights.square().sum(dim=-1)):
        return (
            "It makes 1/Σp² so large, another count of tokens; the exponential of "
            "the entropy is asked for."
        )
    if reached(1 / weights.amax(dim=-1)):
        return (
            "It makes the largest weight 1 over that; the exponential of the entropy "
            "is asked for."
        )
    found = _tokens(weights)
    alike = bool(torch.allclose(temperature, temperature.flatten()[0]))
    if alike and found.min() < tokens < found.max():
        return "All rows have the same temperature; each needs its own."
    return ""


@check
def temperature_for(temperature_for: Callable[[Tensor, float], Tensor]) -> None:
    """5.2: the wanted number of tokens, for rows, shapes, sizes and hidden columns."""
    rows = random_tensor(4, 16, seed=1) * torch.tensor([0.5, 1.0, 2.0, 4.0])[:, None]
    hidden = random_tensor(3, 10, seed=2).masked_fill(torch.arange(10) >= 6, -math.inf)
    range_hint = (
        "The temperature grows in proportion to the scores, so a search between two "
        "fixed temperatures ends at one of them. Let the range follow the spread of "
        "the row."
    )
    steps = "More steps of the search?"
    cases = [
        ("for four rows of 16 scores", rows, 2.5, steps),
        ("for a single row", rows[1], 5.0, ""),
        ("for scores of shape (2, 3, 12)", random_tensor(2, 3, 12, seed=3), 4.0, ""),
        ("for scores of ±10⁵", rows * 1e5, 5.0, range_hint),
        ("for scores of ±10⁻⁵", rows * 1e-5, 5.0, range_hint),
        (
            "for rows that all have 500 added",
            rows + 500.0,
            5.0,
            "A softmax does not see what is added to a whole row. Does your "
            "exponential overflow?",
        ),
        (
            "where only 1.01 of 16 tokens are wanted",
            rows,
            1.01,
            "Does the search reach so low?",
        ),
        (
            "where 15.9 of 16 tokens are wanted",
            rows,
            15.9,
            "Does the search reach so high?",
        ),
        (
            "where four of ten scores are −inf",
            hidden,
            3.0,
            "Those columns have a weight of exactly 0 and count nothing: 0 · log 0 = "
            "0. And the spread of a row is that of its finite scores.",
        ),
    ]
    for what, scores, tokens, hint in cases:
        result = call(temperature_for, scores.clone(), tokens)
        if getattr(result, "shape", None) == (*scores.shape[:-1], 1):
            fail(
                f"the result {what} has shape {tuple(result.shape)}: the last "
                "axis should be gone."
            )
        result = _numbers(result, tuple(scores.shape[:-1]), f"the result {what}")
        if not result.isfinite().all():
            fail(
                f"{what} the result contains "
                f"{'NaN' if result.isnan().any() else 'inf'}. {hint}".rstrip()
            )
        if (result <= 0).any():
            fail(
                f"{what} a temperature is {result.min():.3g}; a temperature is above 0."
            )
        found = _tokens((scores.double() / result[..., None]).softmax(dim=-1)).flatten()
        if torch.allclose(found, torch.full_like(found, tokens), rtol=2e-3):
            continue
        off = int((found - tokens).abs().argmax())
        reason = _why_not(scores.double(), result, tokens) or hint
        if reason == steps and found[off] < 1.001:
            reason = (
                "The search has run down to its lower end. Is the comparison the "
                "right way round, and is no number that it compares NaN (0 · log 0)?"
            )
        elif reason == steps and found[off] > scores.size(-1) - 0.01:
            reason = (
                "The search has run up to its upper end. Is the comparison the right "
                "way round?"
            )
        elif reason == steps and not tokens / 2 < found[off] < tokens * 2:
            reason = ""
        place = f"row {off} " if found.numel() > 1 else "the row "
        fail(
            f"{what}, {place}looks at {found[off]:.3f} tokens at your temperature "
            f"{result.flatten()[off]:.4g}, and should at {tokens:g}. {reason}".rstrip()
        )
    passed(
        "the wanted number of tokens, from 1.01 to 15.9 of 16, a temperature for "
        "each row"
    )
    passed(
        "whatever the size of the scores, whatever is added to a row, and with "
        "columns hidden"
    )


# 5.3


def _merge_wrongly(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """What known mistakes make of two outputs (…, T, Dv) and log-sum-exps (…, T)."""
    (a, b), (x, y) = zip(first, second, strict=True)
    share = torch.sigmoid(x - y)  # the first part's
    over_rows = torch.stack([x, y]).softmax(dim=-1)
    wrong = {
        "The softmax that makes the shares runs over the rows; the two parts of "
        "a row share one.": a * over_rows[0][..., None] + b * over_rows[1][..., None],
        "This is the first part alone.": a,
        "Each row takes the one part with the larger log-sum-exp, whole; the "
        "other has a share, too.": torch.where((x > y)[..., None], a, b),
        "This is the plain mean of the two outputs. A part that holds what the query "
        "looks for must count more: by how much did each softmax divide?": (
            (a + b) / 2
        ),
        "The two shares have changed places: the part with the larger "
        "log-sum-exp must count more.": (
            a * (1 - share)[..., None] + b * share[..., None]
        ),
        "Each output was multiplied by the exponential of its log-sum-exp, and the "
        "sum was never divided by the new total.": (
            a * x.exp()[..., None] + b * y.exp()[..., None]
        ),
        "The two outputs were added; each still needs its share of the new total.": (
            a + b
        ),
        "The log-sum-exps themselves were used as weights. They are logarithms of "
        "what the two softmaxes divided by.": (
            (a * x[..., None] + b * y[..., None]) / (x + y)[..., None]
        ),
    }
    if a.size(-1) == a.size(-2):
        wrong[
            "The shares (…, T) were lined up with the columns of the outputs (…, T, "
            "D_v), which fits by accident where T = D_v: they belong to the rows."
        ] = a * share[..., None, :] + b * (1 - share)[..., None, :]
    return wrong


@check
def merge(
    merge: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> None:
    """5.3: equality with attention over all keys, empty rows, and a third part."""

    def merged(
        first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], what: str
    ) -> tuple[Tensor, Tensor]:
        given = [part.clone() for part in (*first, *second)]
        output, log_sum = _two(
            call(merge, *given), "the output and its log-sum-exp", "merge"
        )
        shapes = getattr(output, "shape", None), getattr(log_sum, "shape", None)
        if shapes == (first[1].shape, first[0].shape):
            fail(
                "the two results come in the wrong order: the output first, then "
                "its log-sum-exp."
            )
        output = _numbers(output, tuple(first[0].shape), f"the merged output {what}")
        return output, _numbers(
            log_sum, tuple(first[1].shape), f"the merged log-sum-exp {what}"
        )

    def compare(
        found: tuple[Tensor, Tensor],
        expected: tuple[Tensor, Tensor],
        what: str,
        hint: str,
        wrong: dict[str, Tensor] | None = None,
        wrong_sums: dict[str, Tensor] | None = None,
    ) -> None:
        for name, ours, theirs, known in (
            ("output", found[0], expected[0], wrong or {}),
            ("log-sum-exp", found[1], expected[1], wrong_sums or {}),
        ):
            if ours.isnan().any():
                fail(f"{what}, the merged {name} contains NaN. {hint}")
            reason = _named(ours, known, hint)
            if not torch.equal(ours.isinf(), theirs.isinf()):
                fail(
                    f"{what}, the merged {name} is {_first_odd(ours, theirs)}. {reason}"
                )
            expect_close(
                ours, theirs, f"{what}, the merged {name}", reason, tolerance=2e-4
            )

    for shape, target, width in (((), 4, 4), ((), 3, 5), ((2, 2), 3, 6)):
        query, key, value = (
            random_tensor(*shape, n, size, seed=seed)
            for seed, n, size in ((1, target, 8), (2, 11, 8), (3, 11, width))
        )
        key = (
            key * torch.linspace(0.5, 2.0, 11)[:, None]
        )  # the second part has the larger scores
        first, second = (
            _split(query, key, value, (0, 4)),
            _split(query, key, value, (4, 11)),
        )
        what = f"for outputs of shape {(*shape, target, width)}"
        sums = {
            "The two log-sum-exps were added, which multiplies what they are "
            "logarithms of. Their sum is wanted, as a logarithm.": (
                first[1].double() + second[1].double()
            ),
            "It is the larger of the two, so the smaller part is lost.": (
                torch.maximum(first[1], second[1]).double()
            ),
            "It is the mean of the two.": (first[1] + second[1]).double() / 2,
            "This is the new total itself; its logarithm is asked for.": (
                first[1].double().exp() + second[1].double().exp()
            ),
        }
        compare(
            merged(first, second, what),
            _attention(query, key, value),
            what,
            "The outputs should be mixed in the ratio of what the two softmaxes "
            "divided by.",
            _merge_wrongly(first, second),
            sums,
        )
    passed("equal to attention over all keys at once, for several shapes")

    for offset in (1000.0, -1000.0):
        large = [(output, log_sum + offset) for output, log_sum in (first, second)]
        output, log_sum = _attention(query, key, value)
        compare(
            merged(*large, "there"),
            (output, log_sum + offset),
            f"with log-sum-exps near {offset:.0f}",
            "An exponential overflows, or becomes 0: take the exponential of "
            "differences only.",
        )
    passed("log-sum-exps near 1,000 and near −1,000 do not overflow")

    query, key, value = (
        random_tensor(3, n, 5, seed=seed) for seed, n in ((4, 4), (5, 6), (6, 6))
    )
    sees = torch.ones(4, 6, dtype=torch.bool)
    sees[0, :3], sees[1, 3:], sees[2] = (
        False,
        False,
        False,
    )  # blind in the first, the second, both parts
    first, second = (
        _split(query, key, value, (0, 3), sees),
        _split(query, key, value, (3, 6), sees),
    )
    compare(
        merged(first, second, "where a part sees nothing"),
        _attention(query, key, value, sees),
        "where a row sees nothing in one part, or in both",
        "A part that saw nothing has the log-sum-exp −inf and must count nothing. "
        "Where both have, −inf − (−inf) is NaN: such a row has the output 0 and the "
        "log-sum-exp −inf.",
    )
    passed("a row that sees nothing in one part, or in both")

    query, key, value = (
        random_tensor(n, 5, seed=seed) for seed, n in ((7, 3), (8, 9), (9, 9))
    )
    parts = [_split(query, key, value, (start, start + 3)) for start in (0, 3, 6)]
    for order in ((0, 1, 2), (2, 0, 1)):
        one, two, three = (parts[place] for place in order)
        found = merged(merged(one, two, "of two parts"), three, "of three parts")
        compare(
            found,
            _attention(query, key, value),
            "for three parts, merged one after the other",
            "",
        )
    passed("three parts, in any order")


def _split(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    part: tuple[int, int],
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    here = slice(*part)
    mask = None if mask is None else mask[..., here]
    output, log_sum = _attention(query, key[..., here, :], value[..., here, :], mask)
    return output.float(), log_sum.float()


def _first_odd(ours: Tensor, theirs: Tensor) -> str:
    place = (ours.isinf() != theirs.isinf()).nonzero()[0].tolist()
    at = f" at {place}" if place else ""
    return (
        f"{float(ours[tuple(place)]):.4g}{at}, and should be "
        f"{float(theirs[tuple(place)]):.4g}"
    )


# 5.4


def _in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    block: int,
    rescaled: bool = True,
    own_maximum: bool = False,
    total_rescaled: bool = True,
) -> Tensor:
    """Attention in blocks, float64, with a mistake in how sums or maxima are kept."""
    maximum = torch.full((len(query), 1), -1e30, dtype=torch.float64)
    total = torch.zeros(len(query), 1, dtype=torch.float64)
    weighted = torch.zeros(len(query), value.size(-1), dtype=torch.float64)
    for start in range(0, len(key), block):
        here = slice(start, start + block)
        scores = query.double() @ key[here].double().mT / math.sqrt(query.size(-1))
        scores = (
            scores if mask is None else scores.masked_fill(~mask[:, here], -math.inf)
        )
        highest = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        shrink = (maximum - highest).exp()
        if own_maximum:
            highest, shrink = scores.amax(dim=-1, keepdim=True), torch.ones_like(shrink)
        weights = (scores - highest).exp()
        total = total * (shrink if total_rescaled else 1.0) + weights.sum(
            dim=-1, keepdim=True
        )
        weighted = (
            weighted * (shrink if rescaled else 1.0) + weights @ value[here].double()
        )
        maximum = highest
    return weighted / total


@check
def mended_attention(mended_attention: Callable[..., Tensor]) -> None:
    """5.4: rising, falling, low and high scores, hidden blocks, gradients, memory."""
    # Keys whose scores with every query rise from first to last: all queries point
    # along the first axis.
    query = torch.cat(
        [random_tensor(5, 1, seed=1).abs() + 1, random_tensor(5, 3, seed=2) * 0.3],
        dim=1,
    )
    key = torch.cat(
        [torch.linspace(-4, 4, 10)[:, None], random_tensor(10, 3, seed=3)], dim=1
    )
    value = random_tensor(10, 3, seed=4)
    low, high = key.clone(), key.clone()
    low[:, 0] -= 400.0
    high[:, 0] += 400.0
    late = torch.ones(5, 10, dtype=torch.bool)
    late[:, :6] = False  # with blocks of 4 the first is hidden whole
    blind = late.clone()
    blind[2] = False
    small = random_tensor(6, 4, seed=5)
    rescale = (
        "When a later block raises the maximum, everything summed so far was "
        "measured against the old one. Is all of it brought to the new one?"
    )
    unseen = (
        "A block in which a row sees nothing must leave all that the row has so far, "
        "its maximum too, as it is."
    )
    first = (
        "Before the first block the maximum is −inf, or far below all scores, and "
        "nothing is summed yet: by how much is this nothing multiplied?"
    )
    far_below = (
        "The exponentials become 0, all of them, and nothing is left to divide: is "
        "the maximum that is subtracted really the largest score so far? What is it "
        "before the first block?"
    )
    level = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(5, 4)
    lower = key.clone()
    lower[:, 0] = (
        torch.arange(10.0) - 200_000.0
    )  # scores −100,000, −99,999.5, …, exact in float32
    cases = [
        (
            "for scores that fall from key to key",
            query,
            key.flip(0),
            value,
            None,
            4,
            first,
        ),
        ("for scores that rise from key to key", query, key, value, None, 4, rescale),
        (
            "for random queries and keys",
            random_tensor(5, 4, seed=6),
            random_tensor(10, 4, seed=7),
            value,
            None,
            3,
            rescale,
        ),
        (
            "where all scores are far below 0",
            query,
            low,
            value,
            None,
            4,
            far_below,
        ),
        ("where all scores are near −100,000", level, lower, value, None, 4, far_below),
        (
            "where all scores are far above 0",
            query,
            high,
            value,
            None,
            4,
            "An exponential overflows.",
        ),
        ("with a causal mask", small, small, value[:6], causal_mask(6), 2, unseen),
        (
            "where the mask hides the whole first block",
            query,
            key,
            value,
            late,
            4,
            "While a row has seen nothing, its maximum is −inf, and −inf − (−inf) is "
            "NaN. What may be subtracted instead, where every score is −inf anyway?",
        ),
        (
            "where a row sees nothing at all",
            query,
            key,
            value,
            blind,
            4,
            "Its total is 0, and so should its output be.",
        ),
        ("with a block longer than the text", query, key, value, None, 64, ""),
        ("with blocks of a single key", query, key, value, blind, 1, ""),
    ]
    for what, q, k, v, mask, block, hint in cases:
        given = [part.clone() for part in (q, k, v)]
        result = call(
            mended_attention, *given, None if mask is None else mask.clone(), block
        )
        result = _numbers(result, (len(q), v.size(-1)), f"the output {what}")
        if not result.isfinite().all():
            fail(
                f"{what}, the output contains "
                f"{'NaN' if result.isnan().any() else 'inf'}. {hint}".rstrip()
            )
        wrong = {
            "The weighted sum of the values is still measured against the old "
            "maximum when a later block raises it.": (
                _in_blocks(q, k, v, mask, block, rescaled=False)
            ),
            "The weighted sum is brought to the new maximum, and the total is not.": (
                _in_blocks(q, k, v, mask, block, total_rescaled=False)
            ),
            "Each block is measured against a maximum of its own, and the blocks "
            "are added as they are.": (
                _in_blocks(q, k, v, mask, block, own_maximum=True)
            ),
            "The scores are not divided by √D.": (
                _attention(q * math.sqrt(q.size(-1)), k, v, mask)[0]
            ),
            "The mask has no effect.": _attention(q, k, v)[0],
        }
        expected = _attention(q, k, v, mask)[0]
        if mask is None:
            del wrong["The mask has no effect."]
        elif not mask.any(dim=-1).all():
            wrong[
                "In a row that sees nothing, hidden values are mixed. What is hidden "
                "must have a weight of exactly 0; a very low score in place of −inf "
                "gives it that only beside higher ones."
            ] = torch.where(
                mask.any(dim=-1, keepdim=True), expected, v.double().mean(dim=0)
            )
        expect_close(
            result,
            expected,
            f"{what}, the output",
            _named(result, wrong, hint),
            tolerance=3e-4,
        )
    passed(
        "equal to attention for scores that rise, fall, lie far above and far below 0"
    )
    passed("masks, a first block that is hidden whole, and a row that sees nothing")

    leaves = [part.clone().requires_grad_() for part in (query, key, value)]
    output = call(mended_attention, *leaves, blind, 4)
    if not isinstance(output, Tensor) or not output.requires_grad:
        fail(
            "no gradient reaches queries, keys and values: a result was "
            "detached, or made without PyTorch."
        )
    upstream = random_tensor(5, 3, seed=8)
    found = torch.autograd.grad((output * upstream).sum(), leaves, allow_unused=True)
    doubles = [part.double().requires_grad_() for part in (query, key, value)]
    expected = torch.autograd.grad(
        (_attention(*doubles, blind)[0] * upstream).sum(), doubles
    )
    for name, ours, theirs in zip(
        ("queries", "keys", "values"), found, expected, strict=True
    ):
        if ours is None:
            fail(f"no gradient reaches the {name}: something was detached on the way.")
        if ours.isnan().any():
            fail(
                f"the output is right everywhere, and the gradient of the {name} is "
                "NaN where a row sees nothing: a NaN arises inside and is thrown "
                "away afterwards. See to it that it never arises."
            )
        expect_close(
            ours,
            theirs,
            f"the gradient of the {name}",
            "Was a part detached?",
            tolerance=1e-3,
        )
    passed("gradients equal to those of attention, and no NaN in them")

    long_query, long_key, long_value = (
        random_tensor(128, 4, seed=seed) for seed in (11, 12, 13)
    )
    with _Costs() as costs:
        call(mended_attention, long_query, long_key, long_value, None, 8)
    if costs.largest >= 128 * 128:
        fail(
            "the output is right, and a tensor of T × S numbers is made on the way: "
            "it should never hold more than a block of the scores."
        )
    passed("never more than a block of the scores at a time")


# 5.5


def _with_sink(scores: Tensor, sink: Tensor) -> Tensor:
    scores, sink = scores.double(), sink.double()
    both = torch.cat([scores, sink.expand(*scores.shape[:-1], 1)], dim=-1)
    return both.softmax(dim=-1)[..., :-1]


@check
def sink_softmax(
    sink_softmax: Callable[[Tensor, Tensor], Tensor],
    sink_softmax_backward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> None:
    """5.5: the weights for sinks and scores of any size, and both gradients."""
    written(sink_softmax, "`sink_softmax`")
    written(sink_softmax_backward, "`sink_softmax_backward`")
    _sink_forward(sink_softmax)
    for shape in ((4, 4), (3, 5), (2, 3, 6)):
        scores = (random_tensor(*shape, seed=1) * 2).double().requires_grad_()
        sink = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        upstream = random_tensor(*shape, seed=2).double()
        weights = _with_sink(scores, sink)
        expected = torch.autograd.grad((weights * upstream).sum(), (scores, sink))
        weights = weights.detach()
        result = call(sink_softmax_backward, weights.clone(), upstream.clone())
        names = "the gradients of the scores and of the sink"
        found_scores, found_sink = _two(result, names, "sink_softmax_backward")
        if (
            getattr(found_sink, "shape", None) == tuple(shape)
            and getattr(found_scores, "shape", None) == ()
        ):
            fail(
                "the two gradients come in the wrong order: the scores' first, "
                "then the sink's."
            )
        what = f"for weights of shape {tuple(shape)}, the gradient"
        found_scores = _numbers(found_scores, tuple(shape), f"{what} of the scores")
        mixed = (weights * upstream).sum(dim=-1, keepdim=True)
        shares = weights / weights.sum(dim=-1, keepdim=True)
        wrong = {
            "This is weights × upstream alone. Raising one score lowers all the "
            "other weights: a term that all columns of a row share is missing.": (
                weights * upstream
            ),
            "This is the upstream gradient, passed on as it is: how do the weights "
            "depend on the scores?": upstream,
            "The shared term is added; raising one score takes from the others.": (
                weights * (upstream + mixed)
            ),
            "This is the gradient of an ordinary softmax: the weights were made "
            "to sum to one first.": (
                shares * (upstream - (shares * upstream).sum(dim=-1, keepdim=True))
            ),
            "This is the formula for each weight by itself, p (1 − p): a score also "
            "moves the other weights.": weights * (1 - weights) * upstream,
            "The shared term is the plain sum of the upstream gradient; it must "
            "be weighted.": weights * (upstream - upstream.sum(dim=-1, keepdim=True)),
            "The shared term misses the weights' own factor: it is multiplied by "
            "the weight of its column.": weights * upstream - mixed,
        }
        if len(shape) == 2 and shape[0] == shape[1]:
            wrong[
                "Row t has the shared term of column t, which fits by accident where "
                "the matrix is square: keep the axis, with keepdim=True."
            ] = weights * (upstream - mixed.squeeze(-1))
            wrong[
                "The shared term sums over the rows; it belongs to a row, and "
                "sums over its columns."
            ] = weights * (upstream - (weights * upstream).sum(dim=0))
        expect_close(
            found_scores,
            expected[0],
            f"{what} of the scores",
            _named(
                found_scores,
                wrong,
                "Change one score: which weights change, and by how much?",
            ),
            tolerance=1e-5,
        )
        rows = -(1 - weights.sum(dim=-1)) * mixed.squeeze(-1)
        if getattr(found_sink, "shape", None) in (rows.shape, mixed.shape):
            fail(
                f"the gradient of the sink has shape {tuple(found_sink.shape)}, a "
                "number for each row. There is one sink, and all rows depend on it."
            )
        found_sink = _numbers(found_sink, (), f"{what} of the sink")
        wrong = {
            "Its sign is wrong: a larger sink makes every weight smaller.": (
                -expected[1]
            ),
            "It is the mean over the rows; a gradient adds up over all that the "
            "sink acts on.": rows.mean(),
            "The weight of the sink itself, one minus the sum of a row, is missing "
            "as a factor.": -mixed.sum(),
            "It does not depend on what the weights are used for: where is the "
            "upstream gradient?": -(1 - weights.sum(dim=-1)).sum(),
            "An ordinary softmax was assumed for the factor: how much of a row "
            "does the sink have?": (-weights.sum(dim=-1) * mixed.squeeze(-1)).sum(),
        }
        hint = (
            "Write a weight as exp(z − log of the sum): how does the sum depend on "
            "the sink?"
        )
        expect_close(
            found_sink,
            expected[1],
            f"{what} of the sink",
            _named(found_sink, wrong, hint),
            1e-5,
        )
    passed("the gradients of scores and sink equal autograd's, by the formula alone")


def _sink_forward(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    scores = random_tensor(3, 5, seed=3)
    hidden = random_tensor(3, 5, seed=4).masked_fill(torch.arange(5) >= 3, -math.inf)
    hidden[1] = -math.inf
    large = (
        "Subtract the largest score first, and then the sink must lose as much: its "
        "term in the sum is exp(sink − maximum)."
    )
    cases = [
        ("for a sink of 1.5", scores, 1.5, ""),
        ("for a sink of 0", scores, 0.0, ""),
        (
            "for a sink of −60",
            scores,
            -60.0,
            "Such a sink gets nothing, and this is an ordinary softmax.",
        ),
        ("for scores near 200", scores + 200.0, 0.0, large),
        (
            "for scores near −200",
            scores - 200.0,
            0.0,
            "The sink has all of it then, and every weight is 0; an ordinary "
            "softmax would share out one. " + large,
        ),
        ("for a sink of 300", scores, 300.0, large),
        (
            "with columns of −inf, and one row of nothing else",
            hidden,
            0.5,
            "In that row the sink has all of it: every weight is 0. The maximum of "
            "its scores is −inf; which maximum is finite?",
        ),
        ("for scores of shape (2, 2, 4)", random_tensor(2, 2, 4, seed=5), -0.5, ""),
    ]
    for what, z, b, hint in cases:
        sink = torch.tensor(b)
        result = call(function, z.clone(), sink.clone())
        if getattr(result, "shape", None) == (*z.shape[:-1], z.size(-1) + 1):
            fail(
                "the weight of the sink is still there, in a last column; only those "
                "of the tokens are asked for."
            )
        result = _numbers(result, tuple(z.shape), f"the result {what}")
        if not result.isfinite().all():
            fail(
                f"{what}, the result contains "
                f"{'NaN' if result.isnan().any() else 'inf'}. {hint}".rstrip()
            )
        shift = (z - z.amax(dim=-1, keepdim=True)).double().exp().nan_to_num()
        wrong = {
            "This is an ordinary softmax; the sink takes nothing.": (
                z.double().softmax(dim=-1)
            ),
            "The maximum was subtracted from the scores and not from the sink, so "
            "the sink grew by as much.": (
                shift / (sink.double().exp() + shift.sum(dim=-1, keepdim=True))
            ),
            "The sum has a 1 in it whatever the sink is: exp(sink) is meant, which "
            "is 1 for a sink of 0 only.": _with_sink(z, torch.tensor(0.0)),
            "The sink itself was added to the sum, and not its exponential.": (
                z.double().exp() / (b + z.double().exp().sum(dim=-1, keepdim=True))
            ),
        }
        if b == 0.0:
            del wrong[
                "The sum has a 1 in it whatever the sink is: exp(sink) is meant, "
                "which is 1 for a sink of 0 only."
            ]
        expect_close(
            result,
            _with_sink(z, sink),
            f"{what}, the result",
            _named(result, wrong, hint),
        )
    passed(
        "the weights, for sinks and scores of any size, with hidden columns and "
        "rows that see nothing"
    )


# 5.6


def _feature(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def _linear(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool,
    features: tuple[Callable, Callable] = (_feature, _feature),
    normal: str = "row",
    strict: bool = False,
) -> Tensor:
    """The reference, with the whole matrix of weights and, if asked for, a mistake."""
    query, key, value = query.double(), key.double(), value.double()
    weights = features[0](query) @ features[1](key).mT
    whole = weights.sum(dim=-1, keepdim=True)
    if causal:
        weights = weights.tril(-1 if strict else 0)
    if normal == "none":
        return weights @ value
    if normal == "softmax":
        return weights.masked_fill(weights == 0, -math.inf).softmax(dim=-1) @ value
    return (
        weights
        @ value
        / (whole if normal == "whole" else weights.sum(dim=-1, keepdim=True))
    )


@check
def linear_attention(
    linear_attention: Callable[[Tensor, Tensor, Tensor, bool], Tensor], crossing: float
) -> None:
    """5.6: equality with the weights φ(q)·φ(k), causal and not; cost and crossing."""

    def identity(x: Tensor) -> Tensor:
        return x

    def scaled(x: Tensor) -> Tensor:
        return _feature(x / x.size(-1) ** 0.25)

    written(linear_attention, "`linear_attention`")
    written(crossing, "`crossing`")
    for shape, target, source, causal in (
        ((), 5, 7, False),
        ((2, 3), 4, 4, False),
        ((), 6, 6, True),
        ((2, 3), 5, 5, True),
    ):
        query, key, value = (
            random_tensor(*shape, length, width, seed=seed)
            for seed, length, width in ((1, target, 3), (2, source, 3), (3, source, 4))
        )
        what = (
            f"the output for queries {(*shape, target, 3)}, keys "
            f"{(*shape, source, 3)}, causal={causal}"
        )
        result = call(
            linear_attention, query.clone(), key.clone(), value.clone(), causal
        )
        result = _numbers(result, (*shape, target, 4), what)
        wrong = {
            "Nothing divides the sums: the weights of a row must sum to one.": (
                _linear(query, key, value, causal, normal="none")
            ),
            "φ was not applied; plain dot products can be negative, and so can "
            "their sum.": _linear(query, key, value, causal, (identity, identity)),
            "φ was applied to the queries and not to the keys.": (
                _linear(query, key, value, causal, (_feature, identity))
            ),
            "φ was applied to the keys and not to the queries.": (
                _linear(query, key, value, causal, (identity, _feature))
            ),
            "The 1 of φ(x) = elu(x) + 1 is missing.": (
                _linear(query, key, value, causal, (F.elu, F.elu))
            ),
            "φ is relu here; it should be elu(x) + 1.": (
                _linear(query, key, value, causal, (F.relu, F.relu))
            ),
            "φ is exp here; it should be elu(x) + 1.": (
                _linear(query, key, value, causal, (torch.exp, torch.exp))
            ),
            "The queries or keys are divided by a root of D first. There is no "
            "softmax to protect here: use φ(q) · φ(k) as it is.": (
                _linear(query, key, value, causal, (scaled, scaled))
            ),
            "The queries are divided by √D first. There is no softmax to protect "
            "here: use φ(q) · φ(k) as it is.": (
                _linear(query / math.sqrt(3), key, value, causal)
            ),
            "There is a softmax over φ(q) · φ(k); the weights should be these "
            "numbers themselves, divided by their sum.": (
                _linear(query, key, value, causal, normal="softmax")
            ),
            "This is ordinary softmax attention.": (
                _attention(query, key, value, causal_mask(target) if causal else None)[
                    0
                ]
            ),
        }
        if causal:
            wrong |= {
                "It is causal the wrong way round: a position sees itself and "
                "what comes after it.": (
                    _linear(query.flip(-2), key.flip(-2), value.flip(-2), True).flip(-2)
                ),
                "It is not causal: every position gets the sum over all of the text.": (
                    _linear(query, key, value, False)
                ),
                "The sum of the values is causal, and what divides it is the sum "
                "over the whole text.": (
                    _linear(query, key, value, True, normal="whole")
                ),
                "A position does not see itself: its own key and value belong to "
                "its sum.": (
                    _linear(query, key, value, True, strict=True).nan_to_num()
                ),
            }
            without_first = _linear(query, key, value, True, strict=True)
            if result.isnan().any() or _close(
                result[..., 1:, :], without_first[..., 1:, :]
            ):
                wrong_first = (
                    "A position does not see itself: its own key and value belong to "
                    "its sum."
                )
                if _close(result[..., 1:, :], without_first[..., 1:, :]):
                    fail(wrong_first)
        else:
            wrong["It is causal although causal=False."] = (
                _linear(query, key, value, True)
                if (target == source)
                else torch.full_like(result, math.nan)
            )
        hint = "Compare with the weights φ(q) · φ(k), each row divided by its sum."
        if shape:
            hint = (
                "For a single text it was right. With axes in front the tokens are "
                "no longer axis 0: count axes from the back."
            )
        hint = _named(result, wrong, hint)
        expect_close(result, _linear(query, key, value, causal), what, hint)
    passed("equal to a weighted mean with the weights φ(q) · φ(k), causal and not")

    for causal in (False, True):
        costs = []
        for length in (192, 384):
            query, key, value = (
                random_tensor(length, 4, seed=seed) for seed in (4, 5, 6)
            )
            with _Costs() as cost:
                call(linear_attention, query, key, value, causal)
            costs.append(cost)
        if costs[1].largest > 3 * costs[0].largest:
            fail(
                f"with causal={causal} the output is right, and twice the text makes "
                f"a tensor {costs[1].largest / costs[0].largest:.0f} times as large: "
                "there is a T × T matrix. Multiply in another order: φ(K)ᵀV has only "
                "D × D_v numbers."
                + (
                    " A mask would need the matrix; a running sum does not."
                    if causal
                    else ""
                )
            )
        if costs[1].work > 3 * costs[0].work:
            fail(
                f"with causal={causal} the output is right, and twice the text takes "
                f"{costs[1].work / costs[0].work:.1f} times the work: for each "
                "position, all positions are gone through once more. What one "
                "position has summed, the next can go on with."
            )
    passed("twice the text is twice the work, and twice the memory")

    said = as_number(crossing, "`crossing`, a count of tokens,")
    if not 60 <= said <= 68:
        hint = (
            "Write down the multiplications of QKᵀ and AV, and of φ(K)ᵀV and its "
            "product with φ(Q)."
        )
        if 4000 <= said <= 4200:
            hint = (
                "That is D². Both have a factor T more than you think, or D less. "
                + hint
            )
        elif abs(said - 8) < 0.5:
            hint = "That is √D. " + hint
        elif 30 <= said <= 34 or 125 <= said <= 130:
            hint = "A factor of two: each has two products. " + hint
        fail(f"the two do not cross at {said:g} tokens. {hint}")
    passed("the two cost the same at about this many tokens")


# 5.7


def _band(length: int, window: int) -> Tensor:
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back >= 0) & (back < window)


def _rectangles(
    query: Tensor, key: Tensor, value: Tensor, window: int, block: int, mistake: str
) -> Tensor:
    """Attention by blocks of queries, in float64, with a mistake in the mask."""
    query, key, value, outputs = query.double(), key.double(), value.double(), []
    for start in range(0, query.size(-2), block):
        stop, first = min(start + block, query.size(-2)), max(start - window + 1, 0)
        scores = (
            query[..., start:stop, :]
            @ key[..., first:stop, :].mT
            / math.sqrt(query.size(-1))
        )
        shift = 0 if mistake == "relative" else start - first
        back = torch.arange(stop - start)[:, None] + shift - torch.arange(stop - first)
        hidden = (back < 0) | (back >= window)
        if mistake == "after":
            weights = scores.softmax(dim=-1).masked_fill(hidden, 0.0)
        else:
            weights = scores.masked_fill(
                hidden, 0.0 if mistake == "zero" else -math.inf
            ).softmax(dim=-1)
        outputs.append(weights @ value[..., first:stop, :])
    return torch.cat(outputs, dim=-2)


@check
def sliding_window_attention(sliding_window_attention: Callable[..., Tensor]) -> None:
    """5.7: equality with a masked attention; work and memory linear in T."""
    for shape, length, window, block in (
        ((), 12, 4, 4),
        ((), 13, 6, 4),
        ((2, 3), 10, 3, 4),
        ((), 7, 1, 3),
        ((), 9, 30, 4),
        ((), 6, 2, 50),
        ((), 11, 6, 1),
        ((), 12, 8, 3),
    ):
        query, key = (random_tensor(*shape, length, 4, seed=seed) for seed in (1, 2))
        value = random_tensor(*shape, length, 5, seed=3)
        what = (
            f"for T = {length}, a window of {window} and blocks of {block}, the output"
        )
        result = call(
            sliding_window_attention,
            query.clone(),
            key.clone(),
            value.clone(),
            window,
            block,
        )
        result = _numbers(result, (*shape, length, 5), what)
        band = _band(length, window)
        blocks = torch.arange(length) // block
        near = blocks[:, None] - blocks
        padded = torch.cat([torch.zeros(*shape, window, 4), key], dim=-2)
        padded_value = torch.cat([torch.zeros(*shape, window, 5), value], dim=-2)
        back = torch.arange(length)[:, None] + window - torch.arange(length + window)
        wrong = {
            "The window counts the position itself; yours is one too wide.": (
                _band(length, window + 1)
            ),
            "The window counts the position itself; yours is one too narrow.": (
                _band(length, max(window - 1, 1))
            ),
            "The window and the block have changed places.": _band(length, block),
            "There is no window: every position sees all before it.": (
                causal_mask(length)
            ),
            "A position sees what comes after it: the window is not causal "
            "inside a block.": band | ((near == 0) & ~causal_mask(length)),
            "A position sees only its own block. The window of the first position of "
            "a block lies in the blocks before it.": (near == 0) & band,
            "All positions of a block see back as far as its first one does: the "
            "keys were cut out, and not masked.": (
                causal_mask(length)
                & (torch.arange(length) > (blocks * block)[:, None] - window)
            ),
            "The window looks to both sides.": band | band.mT,
            "Only the block before is seen, and this window reaches further.": (
                (near <= 1) & band
            ),
        }
        results = {
            diagnosis: _attention(query, key, value, mask)[0]
            for diagnosis, mask in wrong.items()
            if not torch.equal(mask, band)
        }
        results |= {
            diagnosis: _rectangles(query, key, value, window, block, mistake)
            for mistake, diagnosis in (
                (
                    "zero",
                    "Scores outside of the window are set to 0, and a score of 0 "
                    "is not no attention.",
                ),
                (
                    "after",
                    "The mask acts after the softmax, so that the weights of a "
                    "row do not sum to one.",
                ),
                (
                    "relative",
                    "The mask was made from places inside the cut-out rectangle. Row "
                    "0 of a block and column 0 of its keys stand for different "
                    "positions of the text.",
                ),
            )
        }
        results["The scores are not divided by √D."] = _attention(
            query * 2, key, value, band
        )[0]
        results[
            "The first positions also look at the zeros put before the text: a score "
            "of 0 is not no attention."
        ] = _attention(query, padded, padded_value, (back >= 0) & (back < window))[0]
        if not result.isfinite().all():
            row = int(
                (~result.isfinite())
                .flatten(0, -2 if not shape else -3)
                .any(dim=-1)
                .nonzero()[0][-1]
            )
            fail(
                f"{what} contains NaN or inf, first in row {row}. Does each row "
                "see at least itself?"
            )
        hint = (
            "Which keys does the first position of a block need, and which does the "
            "last?"
        )
        expect_close(
            result,
            _attention(query, key, value, band)[0],
            what,
            _named(result, results, hint),
        )
    passed(
        "equal to attention with the mask of exercise 4.3, for windows and "
        "blocks of several sizes"
    )

    leaves = [random_tensor(13, 4, seed=seed).requires_grad_() for seed in (4, 5, 6)]
    output = call(sliding_window_attention, *leaves, 5, 4)
    if not isinstance(output, Tensor) or not output.requires_grad:
        fail(
            "no gradient reaches queries, keys and values: a result was "
            "detached, or made without PyTorch."
        )
    found = torch.autograd.grad(output.square().sum(), leaves, allow_unused=True)
    expected = torch.autograd.grad(
        _attention(*leaves, _band(13, 5))[0].square().sum(), leaves
    )
    for name, ours, theirs in zip(
        ("queries", "keys", "values"), found, expected, strict=True
    ):
        if ours is None:
            fail(f"no gradient reaches the {name}: something was detached on the way.")
        expect_close(
            ours,
            theirs,
            f"the gradient of the {name}",
            "Was a part detached?",
            tolerance=1e-3,
        )
    passed("and so are the gradients")

    costs = []
    for length in (256, 512):
        tensors = [random_tensor(length, 4, seed=seed) for seed in (7, 8, 9)]
        with _Costs() as cost:
            call(sliding_window_attention, *tensors, 8, 16)
        costs.append(cost)
    if costs[1].largest > 3 * costs[0].largest:
        fail(
            "the output is right, and twice the text makes a tensor "
            f"{costs[1].largest / costs[0].largest:.0f} times as large: all T × T "
            "scores, or a mask for them, are there. Compute only those that a block "
            "of queries can see."
        )
    if costs[1].work > 3 * costs[0].work:
        fail(
            "the output is right, and twice the text takes "
            f"{costs[1].work / costs[0].work:.1f} times the work: every block of "
            "queries goes through all the text. Which keys can it see at all?"
        )
    passed(
        "with the same window, twice the text is twice the work, and no tensor "
        "has T × T numbers"
    )
