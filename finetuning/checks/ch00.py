"""Checks of chapter 00, a network that learns.

- `on_paper(score, p_fault, loss_billing, loss_fault)`: 0.1, a message scored by hand
- `cross_entropy(cross_entropy)`: 0.2, the mean of −log p of the right answers
- `predictions(shifted, …, more_tests)`: 0.3, seven changes: larger, smaller or the same
- `step(step)`: 0.4, a step down without an optimiser
- `masked_mean(masked_mean)`: 0.5, the vector of a padded text
- `interval(interval)`: 0.6, a 95 % interval by drawing again
- `mended_train(mended_train)`: 0.7, a loop that forgets nothing any more
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from finetuning.checks.cases import normal, paddings, scaled_rows, shifted_rows
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import call, check, describe, fail, passed, written
from finetuning.checks.predictions import Guess, predicted_numbers, predicted_words
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "cross_entropy",
    "interval",
    "masked_mean",
    "mended_train",
    "on_paper",
    "predictions",
    "step",
]

# 0.1

_ASKED = {
    "score": "Multiply each count by its weight, add the products, then add the bias.",
    "p_fault": (
        "The two logits are 0 for billing and your score for fault. e to the power of "
        "each, and which of the two stands above the sum?"
    ),
    "loss_billing": (
        "The loss is −ln of the probability that the *right* pile was given. Which "
        "probability has billing?"
    ),
    "loss_fault": (
        "The loss is −ln of the probability that the *right* pile was given. Which "
        "probability has fault?"
    ),
}


@check
def on_paper(
    score: float, p_fault: float, loss_billing: float, loss_fault: float
) -> None:
    """0.1: app 1 · 1, charged 2 · (−1.5), bias 0.5."""
    logit = 1 - 3 + 0.5
    fault = 1 / (1 + math.exp(-logit))
    true = {
        "score": logit,
        "p_fault": fault,
        "loss_billing": -math.log(1 - fault),
        "loss_fault": -math.log(fault),
    }
    negative = "No loss is negative: the logarithm of a probability is, and a minus."
    other = "This is the loss if the other pile is right."
    bits = "This is in bits: the logarithm has base 2, and nats have base e."
    plain = "This is 1 − p. It is small for the right answer, too, but it is no −ln p."
    guesses = {
        "score": [
            Guess(-2.0, "The bias is missing."),
            Guess(0.0, "How often does *charged* stand in the message?"),
            Guess(4.5, "The weight of *charged* is negative."),
        ],
        "p_fault": [
            Guess(1 - fault, "This is the probability of billing."),
            Guess(math.exp(logit), "This is e to the score: divide it by the sum."),
        ],
        "loss_billing": [
            Guess(math.log(1 - fault), negative),
            Guess(-math.log(fault), other),
            Guess(-math.log2(1 - fault), bits),
            Guess(fault, plain),
        ],
        "loss_fault": [
            Guess(math.log(fault), negative),
            Guess(-math.log(1 - fault), other),
            Guess(-math.log2(fault), bits),
            Guess(1 - fault, plain),
        ],
    }
    said = {
        "score": score,
        "p_fault": p_fault,
        "loss_billing": loss_billing,
        "loss_fault": loss_fault,
    }
    predicted_numbers(said, true, _ASKED, relative=0.015, guesses=guesses)
    passed("score, probability and both losses, as on paper")


# 0.2


def _log_p(logits: Tensor, dim: int = -1) -> Tensor:
    return logits - logits.logsumexp(dim=dim, keepdim=True)


def _picked(values: Tensor, labels: Tensor) -> Tensor:
    return values[torch.arange(len(labels)), labels]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return -_picked(_log_p(logits), labels).mean()


def _labels(count: int, kinds: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(kinds, (count,), generator=generator)


LARGE = "Its logits are some hundreds or thousands."


def _loss_cases() -> Iterator[Case]:
    for number, (count, kinds) in enumerate(((5, 2), (7, 3), (4, 6), (12, 5), (1, 4))):
        yield Case(
            f"for {count} messages and {kinds} piles",
            (normal(count, kinds, seed=number, scale=2), _labels(count, kinds, number)),
        )
    yield Case(
        "in double precision",
        (normal(6, 3, seed=7, dtype=torch.float64), _labels(6, 3, 7)),
    )
    yield Case(
        "where rows of logits differ much in size",
        (scaled_rows(normal(6, 4, seed=8)), _labels(6, 4, 8)),
        facts=(LARGE,),
    )
    yield Case(
        "where a number is added to each row of logits",
        (shifted_rows(normal(6, 4, seed=9)), _labels(6, 4, 9)),
        facts=(LARGE,),
    )
    yield Case(
        "where the right answer is hopeless",
        (torch.tensor([[0.0, 500.0, 3.0], [800.0, 0.0, -800.0]]), torch.tensor([0, 2])),
        facts=(LARGE,),
    )


def _slopes(loss: Callable, logits: Tensor, labels: Tensor) -> Tensor | None:
    """The gradient of a loss with respect to the logits; None where none arrives."""
    logits = logits.clone().requires_grad_()
    result = call(loss, logits, labels.clone())
    if not isinstance(result, Tensor) or not result.requires_grad:
        return None
    (slopes,) = torch.autograd.grad(result, [logits], allow_unused=True)
    return slopes


_NAIVE = (
    "The softmax is computed first and its logarithm afterwards: a probability that "
    "is too small becomes 0, and log 0 is −∞. Take the logarithm on paper first."
)

_LOSS = Task(
    _cross_entropy,
    _loss_cases,
    [
        Mistake(
            "This is the sum over the messages; the loss is their mean.",
            lambda logits, labels: -_picked(_log_p(logits), labels).sum(),
        ),
        Mistake(
            "The sign is the wrong way round: log-probabilities are negative, and the "
            "loss is not.",
            lambda logits, labels: -_cross_entropy(logits, labels),
        ),
        Mistake(
            "The softmax runs down the columns, over the messages. Each row is one "
            "message: its piles must sum to one.",
            lambda logits, labels: -_picked(_log_p(logits, dim=0), labels).mean(),
        ),
        Mistake(
            "This is in bits: `log2` for `log`.",
            lambda logits, labels: _cross_entropy(logits, labels) / math.log(2),
        ),
        Mistake(
            "The logits are taken for log-probabilities: there is no softmax in it.",
            lambda logits, labels: -_picked(logits, labels).mean(),
        ),
        Mistake(
            "The softmax is taken twice: its probabilities went in as logits.",
            lambda logits, labels: _cross_entropy(logits.softmax(dim=-1), labels),
        ),
        Mistake(
            "This is the mean of 1 − p, and not of −log p.",
            lambda logits, labels: (1 - _picked(logits.softmax(dim=-1), labels)).mean(),
        ),
        Mistake(
            "The logarithm is taken of the mean probability; what is asked for is the "
            "mean of the logarithms.",
            lambda logits, labels: (
                -_picked(logits.softmax(dim=-1), labels).mean().log()
            ),
        ),
        Mistake(
            "All piles of a row are counted, and not the right one alone.",
            lambda logits, labels: -_log_p(logits).mean(),
        ),
        Mistake(
            "A loss for each message came back; their mean is asked for.",
            lambda logits, labels: -_picked(_log_p(logits), labels),
        ),
        Mistake(
            "The sum is divided by messages times piles; there is one right answer a "
            "message.",
            lambda logits, labels: _cross_entropy(logits, labels) / logits.size(-1),
        ),
        Mistake(
            _NAIVE,
            lambda logits, labels: (
                -_picked(logits.softmax(dim=-1).log(), labels).mean()
            ),
            exact=False,
        ),
        Mistake(
            "e to the power of a large logit is infinite, and ∞ / ∞ is no number. "
            "Subtract the largest logit of each row first, or let `logsumexp` do it.",
            lambda logits, labels: (
                -_picked(
                    logits - logits.exp().sum(dim=-1, keepdim=True).log(), labels
                ).mean()
            ),
            exact=False,
        ),
    ],
    result="the loss",
)


@check
def cross_entropy(cross_entropy: Callable[[Tensor, Tensor], Tensor]) -> None:
    """0.2: sizes, dtypes, large and small logits, and the gradient."""
    _LOSS.check(cross_entropy)
    for case in [*_loss_cases()][:3]:
        logits, labels = case.arguments
        found = _slopes(cross_entropy, logits, labels)
        if found is None:
            fail(
                f"{case.what}, no gradient reaches the logits: the result was detached "
                "on its way, or made without PyTorch. Nothing could learn from it."
            )
        right = _slopes(_cross_entropy, logits, labels)
        wrong = difference(found, right, "the gradient of `logits`", Tolerance(1e-3))
        if wrong:
            fail(f"{case.what}, the loss is right, and {wrong}")
    passed("the mean of −log p, for several sizes, and its gradient")
    passed("also where logits are so large that e to their power is infinite")


# 0.3

_CHOICES = ("larger", "smaller", "same")
_CHANGES = {
    "shifted": (
        "Multiply e⁵ into every e to the power of a logit. What happens in the "
        "division by the sum?"
    ),
    "doubled_right": (
        "Doubled logits lie further apart, so the model is surer. Of what is it sure "
        "here?"
    ),
    "doubled_wrong": (
        "Doubled logits lie further apart, so the model is surer. Of what is it sure "
        "here, and what does −ln p say to that?"
    ),
    "half_batch": "How many batches of 8 are cut from a hundred, and how many of 16?",
    "two_backwards": (
        "What does `backward` do with slopes that are there already? Which of the six "
        "lines takes them away?"
    ),
    "padded": "What is each padding token multiplied by, and what is divided by?",
    "more_tests": (
        "Think of coins: which varies less, the share of heads in 100 throws or in 400?"
    ),
}


def _word(before: float, after: float) -> str:
    if abs(after - before) <= 1e-6 * max(abs(before), 1e-6):
        return "same"
    return "larger" if after > before else "smaller"


def _slope_length(calls: int) -> float:
    weight = torch.zeros(4, 2, requires_grad=True)
    for _ in range(calls):
        F.cross_entropy(normal(6, 4) @ weight, _labels(6, 2)).backward()
    return float(weight.grad.norm())


def _padded_mean(extra: int) -> float:
    vectors = torch.cat([normal(4, 3, seed=1), torch.full((extra, 3), 9.0)])
    mask = torch.tensor([1.0] * 4 + [0.0] * extra)
    return float((_masked_mean(vectors[None], mask[None])[0]).norm())


def _width(count: int) -> float:
    scores = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(count // 4)
    low, high = _interval(scores, 4000, torch.Generator().manual_seed(0))
    return high - low


@check
def predictions(
    shifted: str,
    doubled_right: str,
    doubled_wrong: str,
    half_batch: str,
    two_backwards: str,
    padded: str,
    more_tests: str,
) -> None:
    """0.3: each change is made here, and what becomes of the number is measured."""
    said = dict(
        zip(
            _CHANGES,
            (
                shifted,
                doubled_right,
                doubled_wrong,
                half_batch,
                two_backwards,
                padded,
                more_tests,
            ),
            strict=True,
        )
    )
    logits = normal(8, 2, seed=3).double()
    right, wrong = logits.argmax(dim=-1), logits.argmin(dim=-1)
    after = {
        "shifted": (_cross_entropy(logits, right), _cross_entropy(logits + 5, right)),
        "doubled_right": (
            _cross_entropy(logits, right),
            _cross_entropy(2 * logits, right),
        ),
        "doubled_wrong": (
            _cross_entropy(logits, wrong),
            _cross_entropy(2 * logits, wrong),
        ),
        "half_batch": (len(range(0, 100, 16)), len(range(0, 100, 8))),
        "two_backwards": (_slope_length(1), _slope_length(2)),
        "padded": (_padded_mean(0), _padded_mean(3)),
        "more_tests": (_width(100), _width(400)),
    }
    true = {name: _word(float(one), float(two)) for name, (one, two) in after.items()}
    predicted_words(said, true, _CHANGES, _CHOICES, general="")
    passed("all seven predictions agree with what is measured here")


# 0.4


def _descend(
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    labels: Tensor,
    learning_rate: float,
    sign: float = -1.0,
    summed: bool = False,
    softmax: bool = True,
    moves: str = "both",
) -> tuple[Tensor, Tensor]:
    logits = x @ weight + bias
    p = logits.softmax(dim=-1) if softmax else logits
    error = p - F.one_hot(labels, weight.size(-1)).to(p.dtype)  # (N, K)
    if not summed:
        error = error / len(labels)
    slopes = x.mT @ error, error.sum(dim=0)
    rates = [
        sign * learning_rate * (moves in ("both", name)) for name in ("weight", "bias")
    ]
    return weight + rates[0] * slopes[0], bias + rates[1] * slopes[1]


def _step_cases() -> Iterator[Case]:
    for number, (count, words, kinds, rate) in enumerate(
        (
            (5, 4, 2, 0.1),
            (3, 7, 4, 1.0),
            (9, 2, 3, 0.03),
            (1, 5, 2, 2.0),
            (6, 6, 6, 0.5),
        )
    ):
        yield Case(
            f"for {count} messages, {words} words, {kinds} piles and a learning rate "
            f"of {rate}",
            (
                normal(words, kinds, seed=number),
                normal(kinds, seed=number + 10),
                normal(count, words, seed=number + 20),
                _labels(count, kinds, number),
                rate,
            ),
        )
    yield Case(
        "in double precision, from zeros",
        (
            torch.zeros(3, 2, dtype=torch.float64),
            torch.zeros(2, dtype=torch.float64),
            normal(8, 3, seed=40, dtype=torch.float64),
            _labels(8, 2, 40),
            0.3,
        ),
    )
    yield Case(
        "where texts differ much in length",
        (
            normal(4, 3, seed=50),
            normal(3, seed=51),
            scaled_rows(normal(5, 4, seed=52), 1e-2, 1e2),
            _labels(5, 3, 53),
            0.1,
        ),
    )


_STEP = Task(
    _descend,
    _step_cases,
    [
        Mistake("This goes up: subtract the slopes.", partial(_descend, sign=1.0)),
        Mistake(
            "The slopes are those of the sum of the losses; the loss is their mean.",
            partial(_descend, summed=True),
        ),
        Mistake(
            "The bias has not moved: it has slopes, too.",
            partial(_descend, moves="weight"),
        ),
        Mistake("Only the bias has moved.", partial(_descend, moves="bias")),
        Mistake(
            "Nothing has moved: what came back is what went in.",
            partial(_descend, sign=0.0),
        ),
        Mistake(
            "The learning rate is not in it.",
            lambda weight, bias, x, labels, learning_rate: _descend(
                weight, bias, x, labels, 1.0
            ),
        ),
        Mistake(
            "The step is divided by the learning rate; multiply.",
            lambda weight, bias, x, labels, learning_rate: _descend(
                weight, bias, x, labels, 1 / learning_rate
            ),
        ),
        Mistake(
            "The slope is made from the logits; it is made from the probabilities.",
            partial(_descend, softmax=False),
        ),
        Mistake(
            "Two steps were taken; one is asked for.",
            lambda weight, bias, x, labels, learning_rate: _descend(
                *_descend(weight, bias, x, labels, learning_rate),
                x,
                labels,
                learning_rate,
            ),
        ),
        Mistake(
            "The slopes came back; the new weights are asked for.",
            lambda weight, bias, x, labels, learning_rate: tuple(
                old - new
                for old, new in zip(
                    (weight, bias),
                    _descend(weight, bias, x, labels, 1.0),
                    strict=True,
                )
            ),
        ),
    ],
    result=("the weight", "the bias"),
)


@check
def step(step: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """0.4: sizes, learning rates and dtypes; what went in stays as it was."""
    _STEP.check(step)
    case = next(_step_cases())
    *numbers, rate = case.arguments
    results = call(step, *(each.clone() for each in numbers), rate)
    for name, result in zip(("weight", "bias"), results, strict=True):
        if getattr(result, "requires_grad", False):
            fail(
                f"{case.what}, the numbers are right, and the new {name} still carries "
                "the record of how it was computed: the next step would go back "
                "through this one. Compute it from `detach()`, or under "
                "`torch.no_grad()`."
            )
    passed("one step down for weight and bias, at every learning rate")
    passed("and the weights that went in are as they were")


# 0.5


def _masked_mean(vectors: Tensor, mask: Tensor) -> Tensor:
    weights = mask[:, :, None].to(vectors.dtype)
    return (vectors * weights).sum(dim=1) / weights.sum(dim=1)


def _mean_cases() -> Iterator[Case]:
    for number, (batch, length, width) in enumerate(((3, 5, 4), (2, 7, 3), (4, 6, 1))):
        for words, mask in paddings(batch, length):
            # What stands at a padding token is anything: no zero, and not small.
            vectors = normal(batch, length, width, seed=number)
            vectors = torch.where(mask[:, :, None] == 1, vectors, 50 + 9 * vectors)
            yield Case(
                f"for {batch} texts {words}", (vectors, mask), gradient=not number
            )
    words, mask = [*paddings(3, 6)][1]
    yield Case(
        f"in double precision, {words}",
        (normal(3, 6, 2, seed=7, dtype=torch.float64), mask),
    )
    yield Case(
        f"with a mask of truth values, {words}",
        (normal(3, 6, 2, seed=8), mask.bool()),
        facts=("Its mask holds True and False.",),
    )
    yield Case("for one text of one token", (normal(1, 1, 3), torch.ones(1, 1).long()))
    yield Case(
        "where texts differ much in size",
        (scaled_rows(normal(4, 5, 3, seed=9).mT).mT, [*paddings(4, 5)][2][1]),
    )


_MEAN = Task(
    _masked_mean,
    _mean_cases,
    [
        Mistake(
            "Padding counts: this is the mean over all places.",
            lambda vectors, mask: vectors.mean(dim=1),
        ),
        Mistake(
            "The padding is out of the sum, and still in what it is divided by: the "
            "length of the rectangle. Divide by the number of tokens of each text.",
            lambda vectors, mask: (
                (vectors * mask[:, :, None].to(vectors.dtype)).sum(dim=1)
                / vectors.size(1)
            ),
        ),
        Mistake(
            "The mask is the wrong way round: these are the means of the padding.",
            lambda vectors, mask: _masked_mean(vectors, 1 - mask.long()),
        ),
        Mistake(
            "This is the sum; divide by the number of tokens.",
            lambda vectors, mask: (vectors * mask[:, :, None].to(vectors.dtype)).sum(
                dim=1
            ),
        ),
        Mistake(
            "All texts are divided by the same number, the tokens of the whole batch.",
            lambda vectors, mask: (
                (vectors * mask[:, :, None].to(vectors.dtype)).sum(dim=1) / mask.sum()
            ),
        ),
        Mistake(
            "The padding is in the sum, although the division leaves it out.",
            lambda vectors, mask: (
                vectors.sum(dim=1) / mask.sum(dim=1, keepdim=True).to(vectors.dtype)
            ),
        ),
        Mistake(
            "The first vectors of each text are taken, as many as it has tokens. The "
            "mask says *which* are tokens; padding may stand anywhere.",
            lambda vectors, mask: _masked_mean(
                vectors,
                torch.arange(mask.size(1)) < mask.sum(dim=1, keepdim=True),
            ),
        ),
        Mistake(
            "This is the largest of each number, and not the mean.",
            lambda vectors, mask: vectors.masked_fill(
                mask[:, :, None] == 0, -math.inf
            ).amax(dim=1),
        ),
    ],
    result="the vector",
)


@check
def masked_mean(masked_mean: Callable[[Tensor, Tensor], Tensor]) -> None:
    """0.5: padding right, left and between, with anything in its vectors."""
    _MEAN.check(masked_mean)
    passed("each text's mean over its own tokens, wherever its padding stands")
    passed("the gradient of padding is zero")


# 0.6


def _means(scores: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    count = len(scores)
    drawn = torch.randint(count, (draws, count), generator=generator)
    return scores.double()[drawn].mean(dim=1)


def _interval(
    scores: Tensor, draws: int, generator: torch.Generator
) -> tuple[float, float]:
    low, high = np.quantile(_means(scores, draws, generator).numpy(), (0.025, 0.975))
    return float(low), float(high)


def _score_sets() -> dict[str, Tensor]:
    """Scores whose means are not all but normal: lopsided ones, and few."""
    return {
        "for 40 scores of which a few are large": normal(40, seed=1).mul(1.5).exp(),
        "for 12 scores": normal(12, seed=5).exp() + 3,
        "for 120 scores": normal(120, seed=3, scale=4),
        "for 90 right answers of 100": torch.tensor([1.0] * 90 + [0.0] * 10),
    }


_DRAWS = 20_000
_ALL_ALIKE = (
    "Both ends are the mean of all scores, as if every set held each score once: put "
    "each back before the next is drawn."
)


def _interval_mistakes(scores: Tensor) -> dict[str, tuple[float, float]]:
    """What known mistakes give."""
    means = _means(scores, 40_000, torch.Generator().manual_seed(1)).numpy()
    numbers = scores.double().numpy()
    middle, error = numbers.mean(), numbers.std() / math.sqrt(len(numbers))

    def quantiles(low: float, high: float) -> tuple[float, float]:
        return tuple(float(end) for end in np.quantile(means, (low, high)))

    return {
        "These are the ends of 90 % of the means: 5 % are cut off on each side, and "
        "2.5 % are asked for.": quantiles(0.05, 0.95),
        "These are the ends of 99 % of the means; the middle 95 % are asked for.": (
            quantiles(0.005, 0.995)
        ),
        "This is the middle half of the means; the middle 95 % are asked for.": (
            quantiles(0.25, 0.75)
        ),
        _ALL_ALIKE: (middle, middle),
        "These are quantiles of the scores, and not of the means of draws.": (
            tuple(float(end) for end in np.quantile(numbers, (0.025, 0.975)))
        ),
        "This is the mean and 1.96 standard deviations of the *scores* to both sides; "
        "what is asked for is how much the *mean* moves.": (
            middle - 1.96 * numbers.std(),
            middle + 1.96 * numbers.std(),
        ),
        "This is a formula, the same distance to both sides. Draw, and take quantiles "
        "of the means: these scores are lopsided.": (
            middle - 1.96 * error,
            middle + 1.96 * error,
        ),
    }


def _near(
    found: tuple[float, float], other: tuple[float, float], scores: Tensor
) -> bool:
    """Whether two intervals differ by no more than the luck of the draws."""
    low, high = _interval(scores, 4000, torch.Generator().manual_seed(2))
    slack = 0.04 * (high - low)
    if scores.unique().numel() == 2:  # means are whole numbers of right answers
        slack = 1.01 / len(scores)
    return all(abs(one - two) <= slack for one, two in zip(found, other, strict=True))


def _at_one_point(found: tuple[float, float], ends: tuple[float, float]) -> bool:
    """Whether two ends are one number, to the digits of float32."""
    pairs = zip(found, ends, strict=True)
    return all(math.isclose(*pair, rel_tol=1e-5) for pair in pairs)


def _pair(function: Callable, scores: Tensor, draws: int, seed: int) -> tuple:
    """What an answer gives, as two numbers."""
    before = scores.clone()
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(seed)
    result = call(function, scores, draws, generator)
    if not torch.equal(scores, before):
        fail("`interval` has changed the scores that it was given.")
    if not torch.equal(torch.get_rng_state(), state):
        torch.set_rng_state(state)
        fail(
            "`interval` draws from PyTorch's global random numbers. Give `generator=` "
            "to the function that draws, so that the same generator gives the same."
        )
    try:
        low, high = (float(end) for end in result)
    except (TypeError, ValueError, RuntimeError):
        fail(
            "`interval` should return two numbers, the low end and the high one, and "
            f"returned {describe(result)}."
        )
    if low > high:
        fail(f"the low end, {low:.3g}, lies above the high one, {high:.3g}.")
    return low, high


@check
def interval(
    interval: Callable[[Tensor, int, torch.Generator], tuple[float, float]],
) -> None:
    """0.6: the quantiles of many means, of lopsided scores, from the generator."""
    written(interval, "the answer")
    wrong: list[tuple[str, tuple, tuple]] = []
    explained: list[set[str]] = []
    for what, scores in _score_sets().items():
        found = _pair(interval, scores, _DRAWS, 0)
        right = _interval(scores, 40_000, torch.Generator().manual_seed(1))
        if not _near(found, right, scores):
            wrong.append((what, found, right))
            explained.append(
                {
                    sentence
                    for sentence, ends in _interval_mistakes(scores).items()
                    if _near(found, ends, scores)
                    and (sentence != _ALL_ALIKE or _at_one_point(found, ends))
                }
            )
    if wrong:
        what, found, right = wrong[0]
        known = set.intersection(*explained) if len(wrong) > 1 else set()
        reason = f" {known.pop()}" if len(known) == 1 else ""
        fail(
            f"{what}, the interval is [{found[0]:.3f}, {found[1]:.3f}], and should be "
            f"about [{right[0]:.3f}, {right[1]:.3f}].{reason}"
        )
    scores = _score_sets()["for 120 scores"]
    first, again, other = (_pair(interval, scores, 50, seed) for seed in (3, 3, 4))
    if first != again:
        fail(
            "the same scores and the same generator gave two intervals: draw from the "
            "generator alone."
        )
    if first == other:
        fail(
            "two generators gave the very same interval of 50 draws: does the drawing "
            "use the generator that is given?"
        )
    low, high = _pair(interval, scores, 1, 5)
    if low != high:
        fail(
            f"with one draw there is one mean, and the ends are {low:.3f} and "
            f"{high:.3f}: is `draws` how many means are made?"
        )
    passed("the middle 95 % of means of scores drawn with putting back")
    passed("from the generator that is given, as many draws as asked for")


# 0.7


def _train(
    weight: Tensor,
    x: Tensor,
    labels: Tensor,
    learning_rate: float,
    epochs: int,
    size: int,
    clear: str = "step",
    sign: float = -1.0,
    shrink: bool = False,
) -> Tensor:
    weight = weight.clone()
    kept = torch.zeros_like(weight)
    for _ in range(epochs):
        if clear == "epoch":
            kept = torch.zeros_like(weight)
        for number, start in enumerate(range(0, len(x), size), 1):
            rows = slice(start, start + size)
            error = (x[rows] @ weight).softmax(dim=-1)
            error = error - F.one_hot(labels[rows], weight.size(-1)).to(error.dtype)
            slopes = x[rows].mT @ error / len(labels[rows])
            kept = slopes if clear == "step" else kept + slopes
            weight = weight + sign * learning_rate * kept / (number if shrink else 1)
    return weight


def _train_cases() -> Iterator[Case]:
    for number, (count, words, kinds, rate, epochs, size) in enumerate(
        (
            (12, 4, 2, 0.3, 3, 4),
            (10, 3, 3, 0.1, 2, 4),
            (7, 5, 2, 0.5, 4, 2),
            (6, 2, 4, 0.2, 3, 6),
            (5, 3, 2, 0.3, 1, 8),
            (9, 4, 3, 0.2, 0, 3),
        )
    ):
        yield Case(
            f"for {count} messages in batches of {size} and {epochs} "
            f"{'epoch' if epochs == 1 else 'epochs'}",
            (
                normal(words, kinds, seed=number),
                normal(count, words, seed=number + 20),
                _labels(count, kinds, number),
                rate,
                epochs,
                size,
            ),
        )
    yield Case(
        "in double precision, for 20 messages in batches of 3",
        (
            normal(4, 3, seed=60, dtype=torch.float64),
            normal(20, 4, seed=61, dtype=torch.float64),
            _labels(20, 3, 62),
            0.1,
            2,
            3,
        ),
    )


_MEND = Task(
    _train,
    _train_cases,
    [
        Mistake(
            "This is the broken loop still: each batch's slopes are added to all that "
            "came before.",
            partial(_train, clear="never"),
        ),
        Mistake(
            "The slopes are taken away once an epoch. Each *step* has its own: take "
            "them away after every step.",
            partial(_train, clear="epoch"),
        ),
        Mistake(
            "The weights have not moved: no step has had an effect.",
            lambda weight, x, labels, learning_rate, epochs, size: weight,
        ),
        Mistake("This goes up: subtract the slopes.", partial(_train, sign=1.0)),
        Mistake(
            "The slopes still pile up, and a division hides it.",
            partial(_train, clear="epoch", shrink=True),
        ),
        Mistake(
            "One step an epoch on all messages at once: the batches are gone.",
            lambda weight, x, labels, learning_rate, epochs, size: _train(
                weight, x, labels, learning_rate, epochs, len(x)
            ),
        ),
        Mistake(
            "This is one epoch; `epochs` of them are asked for.",
            lambda weight, x, labels, learning_rate, epochs, size: _train(
                weight, x, labels, learning_rate, min(epochs, 1), size
            ),
        ),
    ],
    result="the weight",
)


@check
def mended_train(mended_train: Callable[..., Tensor]) -> None:
    """0.7: batches of several sizes, a small last one, one epoch and none."""
    _MEND.check(mended_train)
    passed("each step follows the slopes of its own batch, and of no other")
    passed("with a smaller last batch, one batch in all, and no epoch at all")
