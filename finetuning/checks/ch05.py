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

from finetuning.checks.cases import normal, scaled_rows, shifted_rows
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    as_number,
    call,
    check,
    fail,
    passed,
    random_tensor,
    written,
)
from finetuning.checks.costs import cost_of
from finetuning.checks.predictions import Guess, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task
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


# 5.1

_QUESTIONS = {  # for each prediction that is wrong, a question that leads on
    "linear_default": (
        "What is the variance of a number drawn evenly from −a to a? Each number of "
        "a query is a sum of 512 products of a weight and an input of variance 1."
    ),
    "queries_dropped": (
        "How many of the 64 products are left, and what is the variance of a sum "
        "of that many?"
    ),
    "two_heads_added": (
        "What is the variance of the sum of two independent numbers of variance "
        "1? And its root?"
    ),
    "mean_one": (
        "Var(xy) = E[x²] E[y²] − (E[x] E[y])² for independent x and y. What is E[x²] "
        "of a number with mean 1 and variance 1?"
    ),
    "normalised": (
        "A random vector of 64 such numbers is about 8 long. The score is the plain "
        "dot product divided by both lengths; what is the spread of the plain dot "
        "product?"
    ),
    "key_is_query": (
        "The score is a sum of 64 squares, divided by 8. What is the square of "
        "+1, and what is that of −1?"
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


def _guesses(true: dict[str, float]) -> dict[str, list[Guess]]:
    """What known thoughts lead to."""
    guesses = {}
    for name, value in true.items():
        unchanged = f"That is the spread without a change. {_QUESTIONS[name]}"
        variance = (
            "Is that the variance? The standard deviation, its root, is asked for."
        )
        guesses[name] = [Guess(1.0, unchanged), Guess(value**2, variance)]
        if name != "normalised":
            guesses[name].append(Guess(8 * value, "Did you divide by √64?"))
    for name in ("key_is_query", "mean_one"):
        mean = "8 is the mean of these scores. How far do they spread about it? "
        guesses[name].append(Guess(8.0, mean + _QUESTIONS[name]))
    for name, value, question in (
        (
            "linear_default",
            3**-0.5,
            "So far do the numbers of a query spread, and those of a key as well. And "
            "their product?",
        ),
        (
            "key_is_query",
            2**0.5,
            "So far would the numbers of a normal distribution spread. "
            + _QUESTIONS["key_is_query"],
        ),
        (
            "mean_one",
            2**0.5,
            "So far do they spread within one row. Over all pairs of a query and a "
            "key, it is more.",
        ),
    ):
        guesses[name].append(Guess(value, question))
    return guesses


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
    for name, said in zip(_QUESTIONS, answers, strict=True):
        as_number(said, f"`{name}`")  # before anything is measured
    measured = _spreads()
    predicted_numbers(
        dict(zip(_QUESTIONS, answers, strict=True)),
        measured,
        _QUESTIONS,
        relative=0.03,  # the measured values scatter by less than 1 %
        absolute=0.003,
        guesses=_guesses(measured),
        sentence="random scores do not spread by {said:.3g} with `{name}`.",
        at_least=0.0,
    )
    passed("all six predictions agree with the spread of 40,000 random scores")


# 5.2


def _tokens(scores: Tensor, temperature: Tensor) -> Tensor:
    """How many tokens each row of scores (…, S) looks at, at temperatures (…)."""
    weights = (scores.double() / temperature.double()[..., None]).softmax(dim=-1)
    return torch.special.entr(weights).sum(dim=-1).exp()


def _search(
    scores: Tensor, tokens: float, count: Callable[[Tensor, Tensor], Tensor] = _tokens
) -> Tensor:
    """The temperature at which a count of tokens is reached, by halving."""
    scores = scores - scores.amax(dim=-1, keepdim=True)
    spread = -scores.masked_fill(scores.isneginf(), 0.0).amin(dim=-1)
    low, high = torch.full_like(spread, -20.0), torch.full_like(spread, 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        too_few = count(scores, spread * middle.exp()) < tokens
        low = torch.where(too_few, middle, low)
        high = torch.where(too_few, high, middle)
    return spread * low.exp()


def _looks_at(found: Any, expected: Tensor, case: Case) -> str | None:
    """Whether each row looks at the wanted number of tokens at its temperature."""
    sentence = difference(found, expected, tolerance=Tolerance(1e30))
    if sentence:
        return sentence
    scores, tokens = case.arguments
    found = torch.as_tensor(found).detach()
    if (found <= 0).any():
        return f"a temperature is {found.min():.3g}; a temperature is above 0."
    counts = _tokens(scores, found)
    wrong = ((counts - tokens).abs() > 2e-3 * tokens).nonzero()
    if not len(wrong):
        return None
    place = tuple(wrong[0].tolist())
    count = float(counts[place])
    sentence = f"row {[*place] if len(place) > 1 else place[0]}" if place else "the row"
    sentence += (
        f" looks at {count:.4g} tokens at your temperature {found[place].item():.4g}, "
        f"and should at {tokens:g}."
    )
    finite = int(scores[place].isfinite().sum())
    if found.numel() > 1 and (found == found.flatten()[0]).all():
        sentence += " All rows have the same temperature; each needs its own."
    elif count < 1.001:
        sentence += " That is a single one."
    elif count > finite - 0.001 and tokens < finite - 0.01:
        sentence += " That is all of them."
    return sentence


def _temperature_cases() -> list[Case]:
    rows = normal(4, 16, seed=1) * torch.tensor([0.5, 1.0, 2.0, 4.0])[:, None]
    hidden = normal(3, 10, seed=2)
    apart = torch.tensor([3, 1, 6])[:, None]
    size = (
        "The right temperature grows in proportion to the scores, and lies far above "
        "or below those of the other cases here."
    )
    shift = "A softmax does not see what is added to a whole row."
    seen = (
        "A hidden column has a weight of exactly 0 and counts nothing: 0 · log 0 = 0. "
        "And the spread of a row is that of its finite scores."
    )
    table = [
        ("for four rows of 16 scores", rows, 2.5, ""),
        ("for a single row", rows[1], 5.0, ""),
        ("for scores of shape (2, 3, 12)", normal(2, 3, 12, seed=3), 4.0, ""),
        ("for scores of shape (1, 5, 7)", normal(1, 5, 7, seed=4), 3, ""),
        ("for rows of two scores", normal(3, 2, seed=5), 1.4, ""),
        ("for scores of float64", normal(3, 9, seed=6, dtype=torch.float64), 4.5, ""),
        ("for scores of ±10⁵", rows * 1e5, 5.0, size),
        ("for scores of ±10⁻⁵", rows * 1e-5, 5.0, size),
        ("for rows from ±10⁻⁵ to ±10⁵", scaled_rows(rows, 1e-5, 1e5), 5.0, size),
        ("for rows that all have 500 added", rows + 500.0, 5.0, shift),
        ("for rows that all lie near −800", rows - 800.0, 6.0, shift),
        ("for rows 500 apart from each other", shifted_rows(rows, 500.0), 5.0, shift),
        ("where 1.01 of 16 tokens are wanted", rows, 1.01, ""),
        ("where 15.9 of 16 tokens are wanted", rows, 15.9, ""),
        (
            "where 15.9 of 16 tokens are wanted for scores of ±10⁻²",
            rows * 1e-2,
            15.9,
            size,
        ),
        (
            "where the last four of ten scores are −inf",
            hidden.masked_fill(torch.arange(10) >= 6, -math.inf),
            3.0,
            seen,
        ),
        (
            "where each row has other columns of −inf",
            hidden.masked_fill((torch.arange(10) + apart) % 10 < 4, -math.inf),
            4.0,
            seen,
        ),
    ]
    return [
        Case(what, (z, n), facts=(fact,) if fact else ()) for what, z, n, fact in table
    ]


def _inverse_squares(scores: Tensor, temperature: Tensor) -> Tensor:
    return 1 / (scores / temperature[..., None]).softmax(-1).square().sum(-1)


_BASES = "The logarithm and the exponential have different bases."
_TEMPERATURE = Task(
    lambda scores, tokens: _search(scores, tokens),
    _temperature_cases,
    [
        Mistake(
            "This is what the scores must be multiplied by; a temperature divides "
            "them.",
            lambda z, n: 1 / _search(z, n),
        ),
        Mistake(
            lambda z, n: (
                f"It makes the entropy {n:g}; the number of tokens is the "
                "exponential of the entropy."
            ),
            lambda z, n: _search(z, n, lambda z, t: _tokens(z, t).log()),
        ),
        Mistake(
            lambda z, n: (
                f"It makes the entropy {n:g} bits; the number of tokens is "
                "the exponential of the entropy."
            ),
            lambda z, n: _search(z, n, lambda z, t: _tokens(z, t).log2()),
        ),
        Mistake(
            _BASES,
            lambda z, n: _search(z, n, lambda z, t: _tokens(z, t).log().exp2()),
        ),
        Mistake(
            _BASES,
            lambda z, n: _search(z, n, lambda z, t: _tokens(z, t).log2().exp()),
        ),
        Mistake(
            "It makes 1/Σp² so large, another count of tokens; the exponential of the "
            "entropy is asked for.",
            lambda z, n: _search(z, n, _inverse_squares),
        ),
        Mistake(
            "It makes the largest weight 1 over that; the exponential of the entropy "
            "is asked for.",
            lambda z, n: _search(
                z, n, lambda z, t: 1 / (z / t[..., None]).softmax(-1).amax(-1)
            ),
        ),
        Mistake(
            "The last axis should be gone.",
            lambda z, n: _search(z, n)[..., None],
        ),
    ],
    tolerance=Tolerance(2e-3, 0.0),
    compare=_looks_at,
)


@check
def temperature_for(temperature_for: Callable[[Tensor, float], Tensor]) -> None:
    """5.2: the wanted number of tokens, for rows, shapes, sizes and hidden columns."""
    _TEMPERATURE.check(temperature_for)
    passed(
        "the wanted number of tokens, from 1.01 to 15.9 of 16, a temperature for "
        "each row"
    )
    passed(
        "whatever the size of the scores, whatever is added to a row, and with "
        "columns hidden"
    )


# 5.3


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


def _merged(
    output: Tensor, log_sum: Tensor, other_output: Tensor, other_log_sum: Tensor
) -> tuple[Tensor, Tensor]:
    both = torch.logaddexp(log_sum, other_log_sum)
    finite = both.masked_fill(both.isneginf(), 0.0)
    share = (log_sum - finite).exp()[..., None]
    other_share = (other_log_sum - finite).exp()[..., None]
    return share * output + other_share * other_output, both


def _split(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    part: slice,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention over a part of the keys, in the dtype of the query."""
    mask = None if mask is None else mask[..., part]
    output, log_sum = _attention(query, key[..., part, :], value[..., part, :], mask)
    return output.to(query.dtype), log_sum.to(query.dtype)


def _merge_cases() -> list[Case]:
    cases = []
    for leading, target, width, dtype in (
        ((), 4, 4, torch.float32),  # T = D_v, where shares (…, T) fit by accident
        ((), 3, 5, torch.float32),
        ((1,), 5, 2, torch.float32),
        ((2, 2), 3, 6, torch.float32),
        ((2,), 6, 3, torch.float64),
    ):
        query, key, value = (
            normal(*leading, n, size, seed=seed, dtype=dtype)
            for seed, n, size in ((1, target, 8), (2, 11, 8), (3, 11, width))
        )
        # The second part has the larger scores.
        key = key * torch.linspace(0.5, 2.0, 11, dtype=dtype)[:, None]
        parts = (
            *_split(query, key, value, slice(4)),
            *_split(query, key, value, slice(4, 11)),
        )
        kind = " (float64)" if dtype == torch.float64 else ""
        what = f"for outputs of shape {(*leading, target, width)}{kind}"
        cases.append(Case(what, parts))
    output, log_sum, other, other_sum = cases[3].arguments
    apart = torch.tensor([0.0, 1000.0, -1000.0])
    large = "Exponentials of such numbers overflow, or become 0."
    rows = "The rows lie so far apart that none has the size of another."
    for what, shift, facts in (
        ("with log-sum-exps near 1,000", 1000.0, (large,)),
        ("with log-sum-exps near −1,000", -1000.0, (large,)),
        (
            "with log-sum-exps of 0, 1,000 and −1,000 in three rows",
            apart,
            (rows, large),
        ),
        (
            "with log-sum-exps of −300, 0 and 300 in three rows",
            apart.roll(1) * 0.3,
            (rows, large),
        ),
    ):
        arguments = (output, log_sum + shift, other, other_sum + shift)
        cases.append(Case(what, arguments, facts=facts))
    far = (output, log_sum + 40.0, other, other_sum - 40.0)
    cases.append(Case("where the first part has next to all of it", far))
    blind = (
        "A part that saw nothing has the log-sum-exp −inf and must count nothing. "
        "Where both have, −inf − (−inf) is NaN: such a row has the output 0 and the "
        "log-sum-exp −inf."
    )
    for what, leading, seed in (
        ("where rows see nothing in one part, or in both", (3,), 4),
        ("where some rows of one text see nothing", (), 7),
    ):
        query, key, value = (
            normal(*leading, n, 5, seed=seed + more) for more, n in enumerate((4, 6, 6))
        )
        sees = torch.ones(4, 6, dtype=torch.bool)
        sees[0, :3] = False
        sees[1, 3:] = False
        sees[2] = False
        parts = (
            *_split(query, key, value, slice(3), sees),
            *_split(query, key, value, slice(3, 6), sees),
        )
        cases.append(Case(what, parts, facts=(blind,)))
    return cases


def _merged_as(
    mix: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A mistake in the output alone, from outputs a and b, log-sum-exps x and y."""

    def merge(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mix(a, x, b, y), torch.logaddexp(x, y)

    return merge


def _total_as(
    total: Callable[[Tensor, Tensor], Tensor],
) -> Callable[..., tuple[Tensor, Tensor]]:
    """A mistake in the log-sum-exp alone."""

    def merge(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return _merged(a, x, b, y)[0], total(x, y)

    return merge


def _by_exponentials(
    a: Tensor, x: Tensor, b: Tensor, y: Tensor, shift: Tensor | float = 0.0
) -> tuple[Tensor, Tensor]:
    first, second = (x - shift).exp(), (y - shift).exp()
    total = first + second
    mixed = (first[..., None] * a + second[..., None] * b) / total[..., None]
    return mixed, total.log() + shift


def _by_one_maximum(
    a: Tensor, x: Tensor, b: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    return _by_exponentials(a, x, b, y, torch.maximum(x.max(), y.max()))


def _unguarded(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    both = torch.logaddexp(x, y)
    return (x - both).exp()[..., None] * a + (y - both).exp()[..., None] * b, both


def _logarithms_as_shares(a: Tensor, x: Tensor, b: Tensor, y: Tensor) -> Tensor:
    return (a * x[..., None] + b * y[..., None]) / (x + y)[..., None]


_LOGARITHMS = (
    "The log-sum-exps themselves were used as weights. They are logarithms of what the "
    "two softmaxes divided by."
)
_MERGE = Task(
    _merged,
    _merge_cases,
    [
        Mistake(
            "The softmax that makes the shares runs over the rows; the two parts of a "
            "row share one.",
            _merged_as(
                lambda a, x, b, y: (
                    a * x.softmax(-1)[..., None] + b * y.softmax(-1)[..., None]
                )
            ),
        ),
        Mistake("This is the first part alone.", _merged_as(lambda a, x, b, y: a)),
        Mistake(
            "Each row takes the one part with the larger log-sum-exp, whole; the other "
            "has a share, too.",
            _merged_as(lambda a, x, b, y: torch.where((x > y)[..., None], a, b)),
        ),
        Mistake(
            "This is the plain mean of the two outputs. A part that holds what the "
            "query looks for must count more: by how much did each softmax divide?",
            _merged_as(lambda a, x, b, y: (a + b) / 2),
        ),
        Mistake(
            "The two shares have changed places: the part with the larger log-sum-exp "
            "must count more.",
            lambda a, x, b, y: _merged(b, x, a, y),
        ),
        Mistake(
            "Each output was multiplied by the exponential of its log-sum-exp, and the "
            "sum was never divided by the new total.",
            _merged_as(
                lambda a, x, b, y: a * x.exp()[..., None] + b * y.exp()[..., None]
            ),
        ),
        Mistake(
            "The two outputs were added; each still needs its share of the new total.",
            _merged_as(lambda a, x, b, y: a + b),
        ),
        Mistake(
            "The shares (…, T) were lined up with the columns of the outputs (…, T, "
            "D_v), which fits by accident where T = D_v: they belong to the rows.",
            _merged_as(
                lambda a, x, b, y: a * torch.sigmoid(x - y) + b * torch.sigmoid(y - x)
            ),
        ),
        Mistake(_LOGARITHMS, _merged_as(_logarithms_as_shares)),
        Mistake(
            _LOGARITHMS,
            lambda a, x, b, y: (_logarithms_as_shares(a, x, b, y), x + y),
        ),
        Mistake(
            "The two log-sum-exps were added, which multiplies what they are "
            "logarithms of. Their sum is wanted, as a logarithm.",
            _total_as(lambda x, y: x + y),
        ),
        Mistake(
            "It is the larger of the two log-sum-exps, so the smaller part is lost.",
            _total_as(torch.maximum),
        ),
        Mistake(
            "It is the mean of the two log-sum-exps.",
            _total_as(lambda x, y: (x + y) / 2),
        ),
        Mistake(
            "This is the new total itself; its logarithm is asked for.",
            _total_as(lambda x, y: torch.logaddexp(x, y).exp()),
        ),
        Mistake(
            "An exponential overflows, or becomes 0: take the exponential of "
            "differences only.",
            _by_exponentials,
            exact=False,
        ),
        Mistake(
            "One maximum is subtracted from all rows, so those that lie far below "
            "vanish; each row needs its own.",
            _by_one_maximum,
            exact=False,
        ),
        Mistake(
            "Where both parts saw nothing, −inf − (−inf) is NaN: such a row has the "
            "output 0 and the log-sum-exp −inf.",
            _unguarded,
        ),
        Mistake(
            "Where both parts saw nothing, the sum is empty and its logarithm −inf, "
            "and not 0.",
            _total_as(lambda x, y: torch.logaddexp(x, y).nan_to_num(neginf=0.0)),
        ),
    ],
    result=("the merged output", "the merged log-sum-exp"),
    tolerance=Tolerance(2e-4, 2e-5),
)


@check
def merge(
    merge: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> None:
    """5.3: equality with attention over all keys, empty rows, and a third part."""
    _MERGE.check(merge)
    passed("equal to attention over all keys at once, for several shapes")
    passed("log-sum-exps near 1,000 and near −1,000 do not overflow")
    passed("a row that sees nothing in one part, or in both")
    query, key, value = (normal(n, 5, seed=n) for n in (3, 9, 10))
    value = value[:9]
    parts = [_split(query, key, value, slice(n, n + 3)) for n in (0, 3, 6)]
    for order in ((0, 1, 2), (2, 0, 1)):
        one, two, three = (parts[place] for place in order)
        found = call(merge, *call(merge, *one, *two), *three)
        sentence = difference(
            found, _attention(query, key, value), _MERGE.result, Tolerance(2e-4, 2e-5)
        )
        if sentence:
            fail(f"for three parts, merged one after the other, {sentence}")
    passed("three parts, in any order")


# 5.4


def _in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    block: int = 4,
    start: float = -math.inf,
    rescaled: bool = True,
    total_rescaled: bool = True,
    own_maximum: bool = False,
    guarded: bool = True,
) -> Tensor:
    """Attention in blocks, with a mistake in how sums or maxima are kept."""
    maximum = query.new_full((len(query), 1), start)
    total = query.new_zeros(len(query), 1)
    weighted = query.new_zeros(len(query), value.size(-1))
    for first in range(0, len(key), block):
        here = slice(first, first + block)
        scores = query @ key[here].mT / math.sqrt(query.size(-1))
        if mask is not None:
            scores = scores.masked_fill(~mask[:, here], -math.inf)
        highest = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        shift = highest.masked_fill(highest.isneginf(), 0.0) if guarded else highest
        shrink = (maximum - shift).exp()
        if own_maximum:
            shift = scores.amax(dim=-1, keepdim=True)
            shift = shift.masked_fill(shift.isneginf(), 0.0)
            shrink = torch.ones_like(shrink)
        weights = (scores - shift).exp()
        total = total * (shrink if total_rescaled else 1.0) + weights.sum(-1, True)
        weighted = weighted * (shrink if rescaled else 1.0) + weights @ value[here]
        maximum = highest
    return weighted / (total.masked_fill(total == 0, 1.0) if guarded else total)


def _blocks_cases() -> list[Case]:
    # Keys whose scores with every query rise from first to last: all queries point
    # along the first axis.
    query = torch.cat([normal(5, 1, seed=1).abs() + 1, normal(5, 3, seed=2) * 0.3], 1)
    key = torch.cat([torch.linspace(-4, 4, 10)[:, None], normal(10, 3, seed=3)], 1)
    value = normal(10, 3, seed=4)
    along = torch.tensor([400.0, 0.0, 0.0, 0.0])
    late = torch.ones(5, 10, dtype=torch.bool)
    late[:, :6] = False  # with blocks of 4 the first is hidden whole
    blind = late.clone()
    blind[2] = False
    left = torch.arange(10) >= torch.tensor([0, 3, 5, 8, 9])[:, None]
    between = (torch.arange(10) + torch.arange(5)[:, None]) % 4 < 2
    small = normal(6, 4, seed=5)
    wide = normal(7, 6, seed=8)
    level = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).expand(5, 4)
    lower = key.clone()
    # scores −12,000, −11,999.5, …, exact in float32
    lower[:, 0] = torch.arange(10.0) - 24_000.0
    double = [part.double() for part in (query, key, value)]
    below = "The exponentials of such scores are all 0."
    above = "The exponentials of such scores overflow."
    table = [
        ("for scores that fall", query, key.flip(0), value, None, 4, ""),
        ("for scores that rise", query, key, value, None, 4, ""),
        (
            "for random queries and keys of 6 numbers",
            wide,
            normal(11, 6, seed=6),
            normal(11, 2, seed=7),
            None,
            3,
            "",
        ),
        (
            "for queries from small to large",
            scaled_rows(wide, 1e-2, 50.0),
            normal(11, 6, seed=6),
            normal(11, 2, seed=7),
            None,
            5,
            "Every row has a maximum of its own.",
        ),
        ("in float64, with padding in front", *double, left, 3, ""),
        ("with scores far below 0", query, key - along, value, None, 4, below),
        ("with scores near −12,000", level, lower, value, None, 4, below),
        ("with scores far above 0", query, key + along, value, None, 4, above),
        ("with a causal mask", small, small, value[:6], causal_mask(6), 2, ""),
        ("with padding in front, rising", query, key, value, left, 2, ""),
        ("with padding in front, falling", query, key.flip(0), value, left, 4, ""),
        ("with holes in the mask", query, key, value, between, 3, ""),
        ("with the first block hidden whole", query, key, value, late, 4, ""),
        ("where row 2 alone sees nothing at all", query, key, value, blind, 4, ""),
        (
            "with scores far below 0, of which row 2 alone sees none",
            query,
            key - along,
            value,
            blind,
            3,
            below,
        ),
        ("with a block longer than the text", query, key, value, left, 64, ""),
        ("with blocks of a single key", query, key, value, blind, 1, ""),
    ]
    return [
        Case(
            what,
            tuple(arguments),
            facts=(*_unseen(*arguments[3:]), *([fact] if fact else [])),
            gradient="row 2 alone" in what,
        )
        for what, *arguments, fact in table
    ]


def _unseen(mask: Tensor | None, block: int) -> list[str]:
    """Which rows and blocks have nothing to do with each other."""
    if mask is None:
        return []
    blocks = [part.any(dim=1) for part in mask.split(block, dim=1)]
    found = {
        "A row sees nothing at all, and its output is 0.": ~mask.any(dim=1),
        "A row sees nothing in its first block.": ~blocks[0],
        "A row sees nothing in one of its blocks.": ~torch.stack(blocks).all(dim=0),
    }
    return [fact for fact, rows in found.items() if rows.any()]


def _reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    block: int = 4,
) -> Tensor:
    return _attention(query, key, value, mask)[0]


def _with_fill(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, block: int
) -> Tensor:
    """Hidden scores of −10⁴: a row that sees nothing looks at everything."""
    scores = query @ key.mT / math.sqrt(query.size(-1))
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    return scores.softmax(dim=-1) @ value


_BLOCKS = Task(
    _reference,
    _blocks_cases,
    [
        Mistake(
            "The weighted sum of the values is still measured against the old maximum "
            "when a later block raises it.",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, rescaled=False),
        ),
        Mistake(
            "The weighted sum is brought to the new maximum, and the total is not.",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, total_rescaled=False),
        ),
        Mistake(
            "Each block is measured against a maximum of its own, and the blocks are "
            "added as they are.",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, own_maximum=True),
        ),
        Mistake(
            "The maximum starts at 0, which is no score, and is too high for scores "
            "that lie far below: the exponentials become 0, all of them.",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, start=0.0, guarded=False),
            exact=False,
        ),
        Mistake(
            "The maximum starts at 0, which is no score, and is too high for scores "
            "that lie far below: the exponentials become 0, all of them.",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, start=0.0),
            exact=False,
        ),
        Mistake(
            "The maximum starts at 0, which is no score, and the weighted sum of the "
            "values is still measured against the old maximum when a later block "
            "raises it.",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, start=0.0, rescaled=False),
            exact=False,
        ),
        Mistake(
            "While a row has seen nothing, its maximum is −inf, and −inf − (−inf) is "
            "NaN. What may be subtracted instead, where every score is −inf anyway?",
            lambda q, k, v, m, b: _in_blocks(q, k, v, m, b, guarded=False),
        ),
        Mistake(
            "The scores are not divided by √D.",
            lambda q, k, v, m, b: _attention(q * math.sqrt(q.size(-1)), k, v, m)[0],
        ),
        Mistake(
            "The mask has no effect.",
            lambda q, k, v, m, b: _attention(q, k, v)[0],
        ),
        Mistake(
            "In a row that sees nothing, hidden values are mixed. What is hidden must "
            "have a weight of exactly 0; a very low score in place of −inf gives it "
            "that only beside higher ones.",
            _with_fill,
        ),
    ],
    result="the output",
    tolerance=Tolerance(1e-3, 3e-4),
)


@check
def mended_attention(mended_attention: Callable[..., Tensor]) -> None:
    """5.4: rising, falling, low and high scores, hidden blocks, gradients, memory."""
    _BLOCKS.check(mended_attention)
    passed(
        "equal to attention for scores that rise, fall, lie far above and far below 0"
    )
    passed("masks, a first block that is hidden whole, and a row that sees nothing")
    passed("gradients equal to those of attention, and no NaN in them")
    tensors = [normal(128, 4, seed=seed) for seed in (11, 12, 13)]
    small, large = (
        cost_of(mended_attention, *tensors, None, block) for block in (8, 64)
    )
    if small.largest >= 128 * 128:
        fail(
            "the output is right, and a tensor of T × S numbers is made on the way: "
            "it should never hold more than a block of the scores."
        )
    if small.operations == large.operations:
        fail(
            "the output is right, and with blocks of 8 it is computed as with blocks "
            "of 64: `block` says how many keys are taken at a time, and has no effect."
        )
    if small.largest > 4 * 128 * 8:
        fail(
            "the output is right, and with 128 queries and blocks of 8 a tensor of "
            f"{small.largest:,} numbers is made; a block of the scores has 1,024."
        )
    passed("never more than a block of the scores at a time")


# 5.5


def _with_sink(scores: Tensor, sink: Tensor) -> Tensor:
    both = torch.cat([scores, sink.expand(*scores.shape[:-1], 1)], dim=-1)
    return both.softmax(dim=-1)[..., :-1]


def _raised(scores: Tensor, sink: Tensor, shift: Tensor, sink_shift: Any) -> Tensor:
    """The formula with one thing subtracted from scores and another from the sink."""
    raised = (scores - shift).exp()
    return raised / ((sink - sink_shift).exp() + raised.sum(dim=-1, keepdim=True))


def _sink_cases() -> list[Case]:
    scores = normal(3, 5, seed=3)
    hidden = normal(3, 6, seed=4).masked_fill(
        (torch.arange(6) + torch.arange(3)[:, None]) % 6 < 2, -math.inf
    )
    blind = hidden.clone()
    blind[1] = -math.inf
    large = "Exponentials of such numbers overflow, or become 0."
    alone = (
        "In a row of −inf the sink has all of it, and every weight is 0. The maximum "
        "of its scores is −inf."
    )
    table = [
        ("for a sink of 1.5", scores, 1.5, ""),
        ("for a sink of 0", scores, 0.0, ""),
        ("for a sink of −2", normal(4, 7, seed=6), -2.0, ""),
        (
            "for a sink of −60",
            scores,
            -60.0,
            "Such a sink gets nothing, and this is an ordinary softmax.",
        ),
        ("for scores near 200", scores + 200.0, 1.0, large),
        (
            "for scores near −200",
            scores - 200.0,
            0.5,
            large,
        ),
        (
            "where one score of a row is 200 above the others",
            scores + 200.0 * (torch.arange(5) == torch.arange(3)[:, None]),
            0.4,
            large,
        ),
        ("for a sink of 300", scores, 300.0, large),
        ("for scores and a sink near −300", scores - 300.0, -299.0, large),
        ("for rows near 0, 150 and −150", shifted_rows(scores, 150.0), 0.7, large),
        (
            "for rows near 0, 150 and −150, and a sink of −150",
            shifted_rows(scores, 150.0),
            -150.0,
            large,
        ),
        ("with columns of −inf", hidden, 0.5, ""),
        ("with columns of −inf, and one row of nothing else", blind, 0.5, alone),
        ("where one row is −inf, for a sink of −3", blind, -3.0, alone),
        ("for scores of shape (1, 2, 4)", normal(1, 2, 4, seed=5), -0.5, ""),
        ("for scores of shape (2, 3, 4)", normal(2, 3, 4, seed=7), 0.9, ""),
        ("for a single row", normal(6, seed=8), 0.4, ""),
        ("in float64", normal(3, 4, seed=9, dtype=torch.float64), 0.3, ""),
    ]
    return [
        Case(what, (z, torch.tensor(b, dtype=z.dtype)), facts=(fact,) if fact else ())
        for what, z, b, fact in table
    ]


_SINK = Task(
    _with_sink,
    _sink_cases,
    [
        Mistake(
            "The weight of the sink is still there, in a last column; only those of "
            "the tokens are asked for.",
            lambda z, b: torch.cat([z, b.expand(*z.shape[:-1], 1)], -1).softmax(-1),
        ),
        Mistake(
            "This is an ordinary softmax; the sink takes nothing.",
            lambda z, b: z.softmax(-1),
        ),
        Mistake(
            "The maximum was subtracted from the scores and not from the sink, so the "
            "sink grew by as much.",
            lambda z, b: _raised(z, b, z.amax(-1, keepdim=True), 0.0),
            exact=False,
        ),
        Mistake(
            "The sum has a 1 in it whatever the sink is: exp(sink) is meant, which is "
            "1 for a sink of 0 only.",
            lambda z, b: _with_sink(z, torch.zeros_like(b)),
        ),
        Mistake(
            "The sum has a 1 in it whatever the sink is: exp(sink) is meant, which is "
            "1 for a sink of 0 only.",
            lambda z, b: _raised(z, torch.zeros_like(b), z.amax(-1, keepdim=True), 0.0),
            exact=False,
        ),
        Mistake(
            "The sink itself was added to the sum, and not its exponential.",
            lambda z, b: z.exp() / (b + z.exp().sum(-1, keepdim=True)),
            exact=False,
        ),
        Mistake(
            "An exponential overflows, or all become 0. Subtract the largest score "
            "first, and then the sink must lose as much: its term in the sum is "
            "exp(sink − maximum).",
            lambda z, b: _raised(z, b, torch.zeros(()), 0.0),
            exact=False,
        ),
        Mistake(
            "One maximum is subtracted from all rows, so those that lie far below "
            "vanish; each row needs its own.",
            lambda z, b: _raised(z, b, *[torch.maximum(z.max(), b)] * 2),
            exact=False,
        ),
        Mistake(
            "In a row of −inf the sink has all of it: every weight is 0. The maximum "
            "of its scores is −inf; which maximum is finite?",
            lambda z, b: _raised(z, b, *[z.amax(-1, keepdim=True)] * 2),
            exact=False,
        ),
    ],
    result="the result",
)


def _backward(weights: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    mixed = (weights * upstream).sum(dim=-1, keepdim=True)
    lost = 1 - weights.sum(dim=-1, keepdim=True)
    return weights * (upstream - mixed), -(lost * mixed).sum()


def _backward_cases() -> list[Case]:
    cases = []
    for shape, dtype in (
        ((4, 4), torch.float32),  # square, where a lost axis fits by accident
        ((3, 5), torch.float32),
        ((2, 3, 6), torch.float64),
        ((1, 5, 2), torch.float32),
        ((7,), torch.float32),
        ((3, 3), torch.float64),
    ):
        scores = normal(*shape, seed=1, dtype=dtype) * 2
        weights = _with_sink(scores, torch.tensor(0.7, dtype=dtype))
        what = f"for weights of shape {shape}"
        cases.append(Case(what, (weights, normal(*shape, seed=2, dtype=dtype))))
    hidden = normal(4, 5, seed=3)
    hidden[:, 3:] = -math.inf
    hidden[2] = -math.inf
    weights = _with_sink(hidden, torch.tensor(-0.4))
    what = "for weights of which some are 0, in one row all"
    return [*cases, Case(what, (weights, normal(4, 5, seed=4)))]


def _scores_as(formula: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    """A mistake in the gradient of the scores, from weights, upstream and their sum."""

    def backward(weights: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
        mixed = (weights * upstream).sum(dim=-1, keepdim=True)
        return formula(weights, upstream, mixed), _backward(weights, upstream)[1]

    return backward


def _sink_as(formula: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """A mistake in the gradient of the sink, from sums of weights and of products."""

    def backward(weights: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
        mixed = (weights * upstream).sum(dim=-1)
        right = _backward(weights, upstream)[0]
        return right, formula(weights.sum(dim=-1), mixed)

    return backward


def _ordinary(weights: Tensor, upstream: Tensor, mixed: Tensor) -> Tensor:
    shares = weights / weights.sum(dim=-1, keepdim=True)
    return shares * (upstream - (shares * upstream).sum(dim=-1, keepdim=True))


_EACH_ROW = (
    "That is a number for each row. There is one sink, and all rows depend on it."
)
_BACKWARD = Task(
    _backward,
    _backward_cases,
    [
        Mistake(
            "This is weights × upstream alone. Raising one score lowers all the other "
            "weights: a term that all columns of a row share is missing.",
            _scores_as(lambda w, g, mixed: w * g),
        ),
        Mistake(
            "This is the upstream gradient, passed on as it is: how do the weights "
            "depend on the scores?",
            _scores_as(lambda w, g, mixed: g),
        ),
        Mistake(
            "The shared term is added; raising one score takes from the others.",
            _scores_as(lambda w, g, mixed: w * (g + mixed)),
        ),
        Mistake(
            "This is the gradient of an ordinary softmax: the weights were made to sum "
            "to one first.",
            _scores_as(_ordinary),
        ),
        Mistake(
            "This is the formula for each weight by itself, p (1 − p): a score also "
            "moves the other weights.",
            _scores_as(lambda w, g, mixed: w * (1 - w) * g),
        ),
        Mistake(
            "The shared term is the plain sum of the upstream gradient; it must be "
            "weighted.",
            _scores_as(lambda w, g, mixed: w * (g - g.sum(-1, keepdim=True))),
        ),
        Mistake(
            "The shared term misses the weights' own factor: it is multiplied by the "
            "weight of its column.",
            _scores_as(lambda w, g, mixed: w * g - mixed),
        ),
        Mistake(
            "Row t has the shared term of column t, which fits by accident where the "
            "matrix is square: keep the axis, with keepdim=True.",
            _scores_as(lambda w, g, mixed: w * (g - mixed.squeeze(-1))),
        ),
        Mistake(
            "The shared term sums over the rows; it belongs to a row, and sums over "
            "its columns.",
            _scores_as(lambda w, g, mixed: w * (g - (w * g).sum(0))),
        ),
        Mistake(
            "Its sign is wrong: a larger sink makes every weight smaller.",
            _sink_as(lambda total, mixed: ((1 - total) * mixed).sum()),
        ),
        Mistake(
            "It is the mean over the rows; a gradient adds up over all that the sink "
            "acts on.",
            _sink_as(lambda total, mixed: -((1 - total) * mixed).mean()),
        ),
        Mistake(
            "The weight of the sink itself, one minus the sum of a row, is missing as "
            "a factor.",
            _sink_as(lambda total, mixed: -mixed.sum()),
        ),
        Mistake(
            "It does not depend on what the weights are used for: where is the "
            "upstream gradient?",
            _sink_as(lambda total, mixed: -(1 - total).sum()),
        ),
        Mistake(
            "The factor is the sum of a row's weights; it should be the weight of the "
            "sink: how much of a row does that have?",
            _sink_as(lambda total, mixed: -(total * mixed).sum()),
        ),
        Mistake(_EACH_ROW, _sink_as(lambda total, mixed: -(1 - total) * mixed)),
        Mistake(
            _EACH_ROW, _sink_as(lambda total, mixed: (-(1 - total) * mixed)[..., None])
        ),
        Mistake(
            "The two gradients come in the wrong order: the scores' first, then the "
            "sink's.",
            lambda weights, upstream: _backward(weights, upstream)[::-1],
        ),
    ],
    result=("the gradient of the scores", "the gradient of the sink"),
)


@check
def sink_softmax(
    sink_softmax: Callable[[Tensor, Tensor], Tensor],
    sink_softmax_backward: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> None:
    """5.5: the weights for sinks and scores of any size, and both gradients."""
    written(sink_softmax, "`sink_softmax`")
    written(sink_softmax_backward, "`sink_softmax_backward`")
    _SINK.check(sink_softmax)
    passed(
        "the weights, for sinks and scores of any size, with hidden columns and "
        "rows that see nothing"
    )
    _BACKWARD.check(sink_softmax_backward)
    passed("the gradients of scores and sink equal autograd's, by the formula alone")


# 5.6


def _feature(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def _identity(x: Tensor) -> Tensor:
    return x


def _linear(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    causal: bool = False,
    features: tuple[Callable, Callable] = (_feature, _feature),
    total: Callable[[Tensor, Tensor], Tensor] = lambda weights, whole: weights,
    diagonal: int = 0,
) -> Tensor:
    """The reference, with the whole matrix of weights and, if asked for, a mistake.

    Parameters
    ----------
    total: what is summed to divide by, from the weights and those before the mask.
    """
    whole = features[0](query) @ features[1](key).mT
    weights = whole.tril(diagonal) if causal else whole
    return weights @ value / total(weights, whole).sum(dim=-1, keepdim=True)


def _softmax_of_weights(
    query: Tensor, key: Tensor, value: Tensor, causal: bool = False
) -> Tensor:
    weights = _feature(query) @ _feature(key).mT
    mask = torch.ones_like(weights, dtype=torch.bool).tril() if causal else weights > 0
    return weights.masked_fill(~mask, -math.inf).softmax(dim=-1) @ value


def _linear_cases() -> list[Case]:
    cases = []
    for leading, target, source, causal, dtype in (
        ((), 5, 7, False, torch.float32),
        ((2, 3), 4, 4, False, torch.float32),
        ((1,), 6, 3, False, torch.float32),
        ((), 6, 6, True, torch.float32),
        ((1,), 7, 7, True, torch.float32),
        ((2, 3), 5, 5, True, torch.float32),
        ((4,), 8, 8, True, torch.float64),
        ((2,), 9, 2, False, torch.float64),
        ((), 1, 1, True, torch.float32),
    ):
        query, key, value = (
            normal(*leading, length, width, seed=seed, dtype=dtype)
            for seed, length, width in ((1, target, 3), (2, source, 3), (3, source, 4))
        )
        what = (
            f"for queries {tuple(query.shape)}, keys {tuple(key.shape)}, "
            f"causal={causal}"
        )
        fact = "There are axes in front of that of the tokens."
        facts = (fact,) if leading else ()
        cases.append(Case(what, (query, key, value, causal), facts=facts))
    query, key, value = (normal(6, 5, seed=seed) for seed in (4, 5, 6))
    sizes = (scaled_rows(query, 0.01, 8.0), scaled_rows(key, 8.0, 0.01), value[:, :2])
    for causal in (False, True):
        what = f"for queries and keys from small to large, causal={causal}"
        cases.append(Case(what, (*sizes, causal)))
    return [*cases, Case("without a word about causal", sizes)]


_SQRT = (
    "There is no softmax to protect here: use φ(q) · φ(k) as it is, without a root of "
    "D."
)
_LINEAR = Task(
    _linear,
    _linear_cases,
    [
        Mistake(
            "Nothing divides the sums: the weights of a row must sum to one.",
            lambda q, k, v, c=False: _linear(
                q,
                k,
                v,
                c,
                total=lambda weights, whole: torch.ones_like(weights[..., :1]),
            ),
        ),
        Mistake(
            "φ was not applied; plain dot products can be negative, and so can their "
            "sum.",
            lambda q, k, v, c=False: _linear(q, k, v, c, (_identity, _identity)),
        ),
        Mistake(
            "φ was applied to the queries and not to the keys.",
            lambda q, k, v, c=False: _linear(q, k, v, c, (_feature, _identity)),
        ),
        Mistake(
            "φ was applied to the keys and not to the queries.",
            lambda q, k, v, c=False: _linear(q, k, v, c, (_identity, _feature)),
        ),
        Mistake(
            "The 1 of φ(x) = elu(x) + 1 is missing.",
            lambda q, k, v, c=False: _linear(q, k, v, c, (F.elu, F.elu)),
        ),
        Mistake(
            "φ is relu here; it should be elu(x) + 1.",
            lambda q, k, v, c=False: _linear(q, k, v, c, (F.relu, F.relu)),
        ),
        Mistake(
            "φ is relu here; it should be elu(x) + 1.",
            lambda q, k, v, c=False: _linear(
                q, k, v, c, (lambda x: F.relu(x) + 1e-6, lambda x: F.relu(x) + 1e-6)
            ),
        ),
        Mistake(
            "φ is exp here; it should be elu(x) + 1.",
            lambda q, k, v, c=False: _linear(q, k, v, c, (torch.exp, torch.exp)),
        ),
        Mistake(
            _SQRT,
            lambda q, k, v, c=False: _linear(q / q.size(-1) ** 0.5, k, v, c),
        ),
        Mistake(
            _SQRT,
            lambda q, k, v, c=False: _linear(
                q / q.size(-1) ** 0.25, k / q.size(-1) ** 0.25, v, c
            ),
        ),
        Mistake(
            "There is a softmax over φ(q) · φ(k); the weights should be these numbers "
            "themselves, divided by their sum.",
            _softmax_of_weights,
        ),
        Mistake(
            "This is ordinary softmax attention.",
            lambda q, k, v, c=False: _attention(
                q, k, v, causal_mask(q.size(-2)) if c else None
            )[0],
        ),
        Mistake(
            "It is causal the wrong way round: a position sees itself and what comes "
            "after it.",
            lambda q, k, v, c=False: _linear(
                q.flip(-2), k.flip(-2), v.flip(-2), c
            ).flip(-2),
        ),
        Mistake(
            "It is not causal: every position gets the sum over all of the text.",
            lambda q, k, v, c=False: _linear(q, k, v),
        ),
        Mistake(
            "It is causal although causal=False.",
            lambda q, k, v, c=False: _linear(q, k, v, True),
        ),
        Mistake(
            "The sum of the values is causal, and what divides it is the sum over the "
            "whole text.",
            lambda q, k, v, c=False: _linear(
                q, k, v, c, total=lambda weights, whole: whole
            ),
        ),
        Mistake(
            "A position does not see itself: its own key and value belong to its sum.",
            lambda q, k, v, c=False: _linear(q, k, v, c, diagonal=-1),
        ),
        Mistake(
            "A position does not see itself: its own key and value belong to its sum.",
            lambda q, k, v, c=False: _linear(q, k, v, c, diagonal=-1).nan_to_num(),
        ),
    ],
    result="the output",
)


@check
def linear_attention(
    linear_attention: Callable[[Tensor, Tensor, Tensor, bool], Tensor], crossing: float
) -> None:
    """5.6: equality with the weights φ(q)·φ(k), causal and not; cost and crossing."""
    written(linear_attention, "`linear_attention`")
    written(crossing, "`crossing`")
    _LINEAR.check(linear_attention)
    passed("equal to a weighted mean with the weights φ(q) · φ(k), causal and not")
    for causal in (False, True):
        short, long = (
            cost_of(
                linear_attention,
                *(normal(length, 4, seed=seed) for seed in (4, 5, 6)),
                causal,
            )
            for length in (192, 384)
        )
        if long.largest > 3 * short.largest:
            fail(
                f"with causal={causal} the output is right, and twice the text makes "
                f"a tensor {long.largest / short.largest:.0f} times as large: there is "
                "a T × T matrix. Multiply in another order: φ(K)ᵀV has only D × D_v "
                "numbers."
                + (
                    " A mask would need the matrix; a running sum does not."
                    if causal
                    else ""
                )
            )
        if long.work > 3 * short.work:
            fail(
                f"with causal={causal} the output is right, and twice the text takes "
                f"{long.work / short.work:.1f} times the work: for each position, all "
                "positions are gone through once more. What one position has summed, "
                "the next can go on with."
            )
    passed("twice the text is twice the work, and twice the memory")
    _crossing(crossing)
    passed("the two cost the same at about this many tokens")


def _crossing(crossing: float) -> None:
    said = as_number(crossing, "`crossing`, a count of tokens,")
    if 60 <= said <= 68:
        return
    hint = (
        "Write down the multiplications of QKᵀ and AV, and of φ(K)ᵀV and its product "
        "with φ(Q)."
    )
    if 4000 <= said <= 4200:
        hint = f"That is D². {hint}"
    elif abs(said - 8) < 0.5:
        hint = f"That is √D. {hint}"
    elif 30 <= said <= 34 or 125 <= said <= 130:
        hint = f"A factor of two is missing, or one too many. {hint}"
    fail(f"the two do not cross at {said:g} tokens. {hint}")


# 5.7


def _band(length: int, window: int) -> Tensor:
    back = torch.arange(length)[:, None] - torch.arange(length)
    return (back >= 0) & (back < window)


def _windowed(
    query: Tensor, key: Tensor, value: Tensor, window: int, block: int = 64
) -> Tensor:
    return _attention(query, key, value, _band(query.size(-2), window))[0]


def _masked_as(mask: Callable[[int, int, int], Tensor]) -> Callable[..., Tensor]:
    """A mistake in what is seen: a mask (T, T) from length, window and block."""

    def attention(
        query: Tensor, key: Tensor, value: Tensor, window: int, block: int = 64
    ) -> Tensor:
        seen = mask(query.size(-2), window, block)
        return _attention(query, key, value, seen)[0]

    return attention


def _blocks_back(length: int, block: int) -> Tensor:
    """(T, T): how many blocks the block of s lies before that of t."""
    number = torch.arange(length) // block
    return number[:, None] - number


def _cut_not_masked(length: int, window: int, block: int) -> Tensor:
    start = torch.arange(length) // block * block
    return causal_mask(length) & (torch.arange(length) > start[:, None] - window)


def _rectangles(mistake: str) -> Callable[..., Tensor]:
    """Attention by blocks of queries, with a mistake in the mask of a rectangle."""

    def attention(
        query: Tensor, key: Tensor, value: Tensor, window: int, block: int = 64
    ) -> Tensor:
        outputs = []
        for start in range(0, query.size(-2), block):
            stop = min(start + block, query.size(-2))
            first = max(start - window + 1, 0)
            scores = query[..., start:stop, :] @ key[..., first:stop, :].mT
            scores = scores / math.sqrt(query.size(-1))
            shift = 0 if mistake == "relative" else start - first
            rows = torch.arange(stop - start)[:, None] + shift
            back = rows - torch.arange(stop - first)
            hidden = (back < 0) | (back >= window)
            fill = 0.0 if mistake == "zero" else -math.inf
            if mistake == "after":
                weights = scores.softmax(dim=-1).masked_fill(hidden, 0.0)
            else:
                weights = scores.masked_fill(hidden, fill).softmax(dim=-1)
            outputs.append(weights @ value[..., first:stop, :])
        return torch.cat(outputs, dim=-2)

    return attention


def _zeros_in_front(
    query: Tensor, key: Tensor, value: Tensor, window: int, block: int = 64
) -> Tensor:
    length = query.size(-2)
    key, value = (F.pad(part, (0, 0, window, 0)) for part in (key, value))
    back = torch.arange(length)[:, None] + window - torch.arange(length + window)
    return _attention(query, key, value, (back >= 0) & (back < window))[0]


def _window_cases() -> list[Case]:
    cases = []
    for leading, length, window, block, dtype in (
        ((), 12, 4, 4, torch.float32),
        ((), 13, 6, 4, torch.float32),
        ((2, 3), 10, 3, 4, torch.float32),
        ((1,), 11, 5, 3, torch.float32),
        ((), 7, 1, 3, torch.float32),
        ((), 9, 30, 4, torch.float32),
        ((), 6, 2, 50, torch.float32),
        ((), 11, 6, 1, torch.float32),
        ((), 12, 8, 3, torch.float32),
        ((2,), 14, 5, 6, torch.float64),
        ((), 1, 3, 2, torch.float32),
    ):
        query, key = (
            normal(*leading, length, 4, seed=seed, dtype=dtype) for seed in (1, 2)
        )
        value = normal(*leading, length, 5, seed=3, dtype=dtype)
        what = f"for T = {length}, a window of {window} and blocks of {block}"
        what += f", with the axes {leading} in front" if leading else ""
        arguments = (query, key, value, window, block)
        cases.append(Case(what, arguments, gradient=length == 13))
    query, key, value = (normal(8, 6, seed=seed) for seed in (4, 5, 6))
    sizes = (scaled_rows(query, 0.05, 20.0), scaled_rows(key, 5.0, 0.2), value[:, :3])
    what = "for queries and keys from small to large"
    return [
        *cases,
        Case(what, (*sizes, 3, 2)),
        Case("without a word about the block", (*sizes, 4)),
    ]


_SLIDING = Task(
    _windowed,
    _window_cases,
    [
        Mistake(
            "The window counts the position itself; yours is one too wide.",
            _masked_as(lambda t, w, b: _band(t, w + 1)),
        ),
        Mistake(
            "The window counts the position itself; yours is one too narrow.",
            _masked_as(lambda t, w, b: _band(t, max(w - 1, 1))),
        ),
        Mistake(
            "The window and the block have changed places.",
            _masked_as(lambda t, w, b: _band(t, b)),
        ),
        Mistake(
            "There is no window: every position sees all before it.",
            _masked_as(lambda t, w, b: causal_mask(t)),
        ),
        Mistake(
            "A position sees what comes after it: the window is not causal inside a "
            "block.",
            _masked_as(
                lambda t, w, b: (
                    _band(t, w) | ((_blocks_back(t, b) == 0) & ~causal_mask(t))
                )
            ),
        ),
        Mistake(
            "A position sees only its own block. The window of the first position of a "
            "block lies in the blocks before it.",
            _masked_as(lambda t, w, b: (_blocks_back(t, b) == 0) & _band(t, w)),
        ),
        Mistake(
            "All positions of a block see back as far as its first one does: the keys "
            "were cut out, and not masked.",
            _masked_as(_cut_not_masked),
        ),
        Mistake(
            "The window looks to both sides.",
            _masked_as(lambda t, w, b: _band(t, w) | _band(t, w).mT),
        ),
        Mistake(
            "Only the block before is seen, and this window reaches further.",
            _masked_as(lambda t, w, b: (_blocks_back(t, b) <= 1) & _band(t, w)),
        ),
        Mistake(
            "Scores outside of the window are set to 0, and a score of 0 is not no "
            "attention.",
            _rectangles("zero"),
        ),
        Mistake(
            "The mask acts after the softmax, so that the weights of a row do not sum "
            "to one.",
            _rectangles("after"),
        ),
        Mistake(
            "The mask was made from places inside the cut-out rectangle. Row 0 of a "
            "block and column 0 of its keys stand for different positions of the text.",
            _rectangles("relative"),
        ),
        Mistake(
            "The scores are not divided by √D.",
            lambda q, k, v, w, b=64: _windowed(q * math.sqrt(q.size(-1)), k, v, w),
        ),
        Mistake(
            "The first positions also look at the zeros put before the text: a score "
            "of 0 is not no attention.",
            _zeros_in_front,
        ),
    ],
    result="the output",
)


@check
def sliding_window_attention(sliding_window_attention: Callable[..., Tensor]) -> None:
    """5.7: equality with a masked attention; work and memory linear in T."""
    _SLIDING.check(sliding_window_attention)
    passed(
        "equal to attention with the mask of exercise 4.3, for windows and "
        "blocks of several sizes"
    )
    passed("and so are the gradients")
    tensors = [normal(512, 4, seed=seed) for seed in (7, 8, 9)]
    short, long = (
        cost_of(sliding_window_attention, *(part[:length] for part in tensors), 8, 16)
        for length in (256, 512)
    )
    if long.largest > 3 * short.largest:
        fail(
            "the output is right, and twice the text makes a tensor "
            f"{long.largest / short.largest:.0f} times as large: all T × T scores, or "
            "a mask for them, are there. Compute only those that a block of queries "
            "can see."
        )
    if long.work > 3 * short.work:
        fail(
            "the output is right, and twice the text takes "
            f"{long.work / short.work:.1f} times the work: every block of queries goes "
            "through all the text. Which keys can it see at all?"
        )
    wider = cost_of(sliding_window_attention, *tensors, 8, 128)
    if wider.operations == long.operations:
        fail(
            "the output is right, and with blocks of 128 it is computed as with blocks "
            "of 16: `block` says how many queries are taken at a time, and has no "
            "effect."
        )
    passed(
        "with the same window, twice the text is twice the work, and no tensor "
        "has T × T numbers"
    )
