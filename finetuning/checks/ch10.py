"""Checks of chapter 10, ELECTRA.

- `draw(draw)`: 10.1, a draw from the generator's softmax, with a temperature and
  without a forbidden id
- `ways_to_guess(drawn_share, …, best_accuracy)`: 10.2, what drawn, greedy and wrong
  guesses do to a language
- `auc(auc)`: 10.3, the area under the curve from ranks, with ties
- `mended_corrupt(mended_corrupt)`: 10.4, which tokens are hidden, guessed and labelled,
  mended
- `pretraining_flops(pretraining_flops)`: 10.5, what a sequence costs a masked LM, and
  an ELECTRA
- `mended_prepare(mended_prepare)`: 10.6, embeddings shared by two models and one
  optimiser, mended
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from finetuning.checks.cases import normal
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    Crash,
    as_number,
    call,
    check,
    describe,
    expect_shape,
    fail,
    name_of,
    outcome,
    passed,
)
from finetuning.checks.predictions import Guess, predicted_numbers
from finetuning.checks.randomness import (
    FALSE_ALARM,
    expect_binomial,
    expect_independent,
    expect_share,
)
from finetuning.checks.state import GlobalState, Snapshot, copied
from finetuning.checks.task import Case, Mistake, Task
from finetuning.scratch.bert import Bert, BertConfiguration, MaskedLanguageModel
from finetuning.scratch.layers import TransformerShape, forward_flops

__all__ = [
    "auc",
    "draw",
    "mended_corrupt",
    "mended_prepare",
    "pretraining_flops",
    "ways_to_guess",
]


def _called(function: Callable, given: dict[str, Any], **keywords: Any) -> Any:
    """`call` with copies; fail where it changes them, or anybody's random numbers.

    `given` are the arguments without a default, which go by their place. Generators
    are handed over as they are: an answer is to draw from them.
    """
    given, keywords = (
        {
            name: value if isinstance(value, torch.Generator) else copied(value)
            for name, value in arguments.items()
        }
        for arguments in (given, keywords)
    )
    snapshot, world = Snapshot(given | keywords), GlobalState()
    try:
        result = call(function, *given.values(), **keywords)
        changed = world.change()
    finally:
        world.restore()
    change = snapshot.change()
    if change:
        fail(
            f"{change} `{name_of(function)}` must leave what it is given as it was: "
            "others still need it. Make a copy."
        )
    if changed:
        fail(f"{changed} All chance is to come from `generator`.")
    return result


def _ids(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """The learner's ids, integers, as a tensor."""
    expect_shape(value, shape, what)
    try:
        value = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        fail(f"{what} should be a tensor of integers.")
    if value.is_floating_point() or value.dtype == torch.bool:
        fail(f"{what} should be integers, and the dtype is {value.dtype}.")
    return value.long()


# 10.1

_DRAWS = 30_000


class _Chances:
    """Many places with the same logits: which ids they should get, and how often."""

    def __init__(
        self,
        logits: list[float],
        temperature: float = 1.0,
        forbidden: int | None = None,
    ) -> None:
        self.logits = torch.tensor(logits)
        self.temperature = temperature
        self.forbidden = forbidden
        self.size = len(logits)

    @property
    def right(self) -> Tensor:
        return self.of(self.logits.double() / self.temperature)

    def of(self, scores: Tensor) -> Tensor:
        """The softmax of scores, in which the forbidden id has no chance."""
        scores = scores.double().clone()
        if self.forbidden is not None:
            scores[self.forbidden] = -math.inf
        return scores.softmax(dim=-1)

    def noisy(self, noise: Tensor, scores: Tensor | None = None) -> Tensor:
        """How often each is the largest with this noise (N, V) added."""
        scores = self.logits / self.temperature if scores is None else scores
        scores = scores.clone()
        if self.forbidden is not None:
            scores[self.forbidden] = -math.inf
        largest = (scores + noise[:, : self.size]).argmax(dim=-1)
        return torch.bincount(largest, minlength=self.size).double() / len(noise)

    @property
    def what(self) -> str:
        logits = [round(float(z), 1) for z in self.logits]
        forbidden = "" if self.forbidden is None else f", id {self.forbidden} forbidden"
        return f"from logits {logits} at temperature {self.temperature:g}{forbidden}"


_CASES = [
    _Chances([1.0, 0.4, -1.0, 1.5, -math.inf]),
    _Chances([1.0, 0.4, -1.0, 1.5, -math.inf], 0.5),
    _Chances([1.0, 0.4, -1.0, 1.5, -math.inf], 2.0),
    _Chances([-0.5, 1.2, 0.3], 0.7),
    _Chances([0.0, -1.5, 0.7, 0.2, -0.4, 1.1, -0.8], 1.5),
    # Nothing changes where the same is added to all logits of a place.
    _Chances([100.5, 99.5, 100.0, 101.0]),
    _Chances([-200.0, -201.0, -199.5], 1.3),
]
_FORBIDDEN = [
    _Chances([1.0, 0.0, -1.0, 2.0, 0.5], forbidden=3),
    _Chances([1.0, 0.0, -1.0, 2.0, 0.5], forbidden=1),
    _Chances([0.3, 1.0, -0.2, 0.1], 0.5, forbidden=0),
    _Chances([-30.0, -31.0, -29.5, -30.2], 2.0, forbidden=2),
]


def _fits(counts: Tensor, shares: Tensor) -> bool:
    """Whether counts may have come from these probabilities (a chi-squared test)."""
    possible = shares > 0
    if counts[~possible].any():
        return False
    expected = shares[possible] / shares[possible].sum() * counts.sum()
    test = stats.chisquare(counts[possible].double().numpy(), expected.numpy())
    return bool(test.pvalue > FALSE_ALARM)


def _alike(counts: Tensor, shares: Tensor) -> bool:
    """Whether counts look like those of a mistake, whose shares were drawn as well."""
    return bool((counts / counts.sum() - shares).abs().max() < 0.015)


def _known_shares(case: _Chances) -> Iterator[tuple[str, Tensor]]:
    """Mistakes that learners make, each with the shares it leads to."""
    scores = case.logits / case.temperature
    yield (
        "`temperature` has no effect: it is not used, or it divides the noise as well.",
        case.of(case.logits),
    )
    yield (
        "The temperature works the wrong way round: divide the logits by it.",
        case.of(case.logits * case.temperature),
    )
    finite = torch.where(case.logits.isfinite(), 0.0, -math.inf)
    yield "All words that are possible are equally frequent.", case.of(finite)
    yield "The logits are not used, and −∞ is no barrier.", case.of(0 * finite.exp())
    uniform = torch.rand(300_000, 8, generator=torch.Generator().manual_seed(9)).clamp(
        1e-9, 1 - 1e-7
    )
    gumbel = -(-uniform.log()).log()
    for what, noise, plain in (
        (
            "The noise looks normal. It has to be Gumbel's, −log(−log u).",
            normal(300_000, 8, seed=8),
            scores,
        ),
        (
            "The noise looks uniform. It has to be Gumbel's, −log(−log u).",
            uniform,
            scores,
        ),
        (
            "The noise has the wrong sign: it should be −log(−log u), added.",
            -gumbel,
            scores,
        ),
        (
            "The noise is added to probabilities. It belongs to the logits.",
            gumbel,
            scores.softmax(dim=-1),
        ),
        (
            "The noise looks like −log u. One logarithm is missing: −log(−log u).",
            -uniform.log(),
            scores,
        ),
    ):
        yield what, case.noisy(noise, plain)


def _known_forbidden(case: _Chances) -> Iterator[tuple[str, Tensor]]:
    """The same for a forbidden id."""
    plain = _Chances(case.logits.tolist(), case.temperature).right
    forbidden = case.forbidden
    yield "Is the argument `forbidden` used?", plain
    again = plain.clone()
    again[forbidden] = 0
    again = again + plain[forbidden] * plain
    yield "A second draw may hit it again. Take it out before the draw.", again
    for step in (1, -1):
        moved = plain.clone()
        moved[(forbidden + step) % case.size] += plain[forbidden]
        moved[forbidden] = 0
        yield (
            "Whenever the forbidden id came, a fixed neighbour was taken. Draw among "
            "all others.",
            moved,
        )
    best = plain.clone()
    best[forbidden] = 0
    best[best.argmax()] += plain[forbidden]
    yield (
        "Whenever the forbidden id came, the most probable other one was taken. Draw "
        "among all others.",
        best,
    )
    evenly = plain + plain[forbidden] / (case.size - 1)
    evenly[forbidden] = 0
    yield (
        "Whenever the forbidden id came, any other was taken, all with the same "
        "chance; they are to keep their proportions.",
        evenly,
    )
    zero = case.logits.double() / case.temperature
    zero[forbidden] = 0.0
    yield (
        "The logit of the forbidden id was set to 0, which is an ordinary logit: which "
        "one has no chance at all?",
        zero.softmax(dim=-1),
    )
    yield (
        "The temperature has no effect where an id is forbidden.",
        case.of(case.logits),
    )


def _compare_shares(
    cases: list[_Chances],
    counts: list[Tensor],
    known: Callable[[_Chances], Iterator[tuple[str, Tensor]]],
) -> None:
    """Fail if ids are not drawn as often as they should; name what explains all."""
    wrong = [n for n, case in enumerate(cases) if not _fits(counts[n], case.right)]
    if not wrong:
        return
    first = cases[wrong[0]]
    found = counts[wrong[0]] / counts[wrong[0]].sum()
    sentence = (
        f"{first.what} the shares of the ids are {_shown(found)}, and should be "
        f"{_shown(first.right)}."
    )
    table = [list(known(case)) for case in cases]
    explained = set()
    for kind in range(len(table[0])):
        shares = [row[kind][1] for row in table]
        telling = sum(
            not _fits((share * _DRAWS).round(), case.right)
            for share, case in zip(shares, cases, strict=True)
        )
        if telling >= 2 and all(map(_alike, counts, shares)):
            explained.add(table[0][kind][0])
    if len(explained) == 1:
        fail(f"{sentence} {explained.pop()}")
    impossible = ((first.right == 0) & (found > 0)).nonzero().flatten().tolist()
    if impossible:
        sentence += f" The id {impossible[0]} has the probability 0."
    fail(sentence)


def _shown(shares: Tensor) -> str:
    return "[" + ", ".join(f"{float(share):.2f}" for share in shares) + "]"


def _how_many(chosen: Tensor) -> str:
    return f"{int(chosen.sum()):,} of {chosen.numel():,}"


@check
def draw(draw: Callable[..., Tensor]) -> None:
    """10.1: the softmax's frequencies place by place; all chance from the generator."""
    for shape in ((), (7,), (2, 3), (1, 4), (3, 1, 2)):
        logits = normal(*shape, 6, seed=len(shape))
        drawn = _draw(draw, logits, 0)
        if ((drawn < 0) | (drawn >= 6)).any():
            fail(
                "an id lies outside the vocabulary: 0 to V − 1, counted along "
                "the last dimension."
            )
    _compare_places_of_their_own(draw)
    counts = [
        _counts(
            _draw(
                draw, case.logits.expand(_DRAWS, -1), n, temperature=case.temperature
            ),
            case.size,
        )
        for n, case in enumerate(_CASES, 1)
    ]
    _compare_shares(_CASES, counts, _known_shares)
    _compare_two_axes(draw)
    passed(
        "ids are drawn as often as softmax(logits / temperature) says, each "
        "place by itself"
    )
    _compare_forbidden(draw)
    passed("a forbidden id is never drawn, and the others keep their proportions")
    _compare_low_precision(draw)
    passed("rare ids are drawn from logits in bfloat16 too")
    _compare_generator(
        lambda generator: _ids(
            _called(draw, {"logits": normal(200, 30, seed=3), "generator": generator}),
            (200,),
            "what is drawn",
        )
    )
    passed("all chance comes from the generator")


def _draw(function: Callable, logits: Tensor, seed: int, **keywords: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    keywords = {name: value for name, value in keywords.items() if value is not None}
    if keywords.get("temperature") == 1.0:
        del keywords["temperature"]  # its default
    given = {"logits": logits, "generator": generator}
    result = _called(function, given, **keywords)
    if getattr(result, "shape", None) == logits.shape and logits.dim():
        fail(
            f"for logits of shape {tuple(logits.shape)} a result of the same shape "
            "came back. One id for each place is needed, not a number for each word."
        )
    return _ids(result, tuple(logits.shape[:-1]), "what is drawn")


def _counts(drawn: Tensor, size: int) -> Tensor:
    return torch.bincount(drawn.flatten(), minlength=size)


def _frequencies(drawn: Tensor, size: int) -> Tensor:
    return _counts(drawn, size).double() / drawn.numel()


def _compare_places_of_their_own(function: Callable) -> None:
    """Fail where many places with the same logits all get the same id."""
    rows = _CASES[0].logits.expand(2_000, -1)
    seen = {int(i) for i in _draw(function, rows, 9).unique()}
    if len(seen) > 1:
        return
    for seed in range(10, 40):
        seen |= {int(i) for i in _draw(function, rows, seed).unique()}
    if len(seen) > 1:
        fail(
            "places with the same logits all get the same id in one call. Each place "
            "needs noise of its own: one number for every logit, not one row for all."
        )
    turned = _CASES[0].logits.roll(1).expand(2_000, -1)
    other = {int(i) for i in _draw(function, turned, 9).unique()}
    if seen == {3} and other == {4}:
        fail(
            "the most probable id is drawn every time. That is the argmax of the "
            "logits, as without noise, or with one noise for all words of a place."
        )
    if seen == other:
        fail(
            f"id {seen.pop()} is drawn every time, whatever the logits and the "
            "generator."
        )
    (always,) = seen
    fail(
        f"{_CASES[0].what} id {always} is drawn every time, at 2,000 places and with "
        f"31 generators; it should be in {float(_CASES[0].right[always]):.0%} of the "
        "draws."
    )


def _compare_two_axes(function: Callable) -> None:
    """Places along two axes: independent of each other, each by its own logits."""
    one, other = (
        _draw(function, _CASES[0].logits.expand(*shape, -1), 3)
        for shape in ((2, 6_000), (6_000, 2))
    )
    hint = "Each place needs noise of its own."
    for name, first, second in (
        ("the ids of two rows", one[0], one[1]),
        ("the ids of two columns", other[:, 0], other[:, 1]),
        ("the ids of neighbours", one[0, :-1], one[0, 1:]),
    ):
        expect_independent(first, second, name, hint)
    rows = torch.stack([_CASES[1].logits, _CASES[1].logits.roll(2) - 50.0])
    drawn = _draw(function, rows[:, None].expand(-1, _DRAWS, -1), 4, temperature=0.5)
    right = _CASES[1].right
    for row, shares in enumerate((right, right.roll(2))):
        if not _fits(_counts(drawn[row], 5), shares):
            found = _frequencies(drawn[row], 5)
            fail(
                f"of two rows with logits of their own, row {row} has the shares "
                f"{_shown(found)}, and should have {_shown(shares)}. Each place has "
                "the softmax of its own logits."
            )


def _compare_forbidden(function: Callable) -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5]).expand(2, _DRAWS, -1)
    forbidden = torch.stack([torch.full((_DRAWS,), 3), torch.full((_DRAWS,), 1)])
    both = _draw(function, logits, 2, forbidden=forbidden)
    counts = [_counts(row, 5) for row in both]
    neither = torch.tensor([1.0, -math.inf, -1.0, -math.inf, 0.5]).softmax(dim=-1)
    if all(_fits(count, neither.double()) for count in counts):
        fail(
            "each place has its own forbidden id, and here the ids forbidden at other "
            "places are never drawn either."
        )
    for n, case in enumerate(_FORBIDDEN[2:]):
        drawn = _draw(
            function,
            case.logits.expand(_DRAWS, -1),
            n,
            temperature=case.temperature,
            forbidden=torch.full((_DRAWS,), case.forbidden),
        )
        counts.append(_counts(drawn, case.size))
    _compare_shares(_FORBIDDEN, counts, _known_forbidden)
    for shape in ((), (5,), (2, 3), (1, 1)):
        forbidden = torch.arange(math.prod(shape)).reshape(shape) % 3
        drawn = _draw(function, normal(*shape, 3, seed=6), 1, forbidden=forbidden)
        if (drawn == forbidden).any():
            fail(f"for logits of shape {(*shape, 3)}, a forbidden id was drawn.")


def _compare_low_precision(function: Callable) -> None:
    size = 256
    common = torch.randperm(size, generator=torch.Generator().manual_seed(4))[:8]
    chances = torch.full((size,), 0.1 / (size - 8))
    chances[common] = 0.9 / 8
    logits = chances.log().bfloat16().expand(20_000, -1)
    wanted = logits[0].float().softmax(dim=-1)
    is_rare = torch.ones(size, dtype=torch.bool)
    is_rare[common] = False
    drawn = _draw(function, logits, 6)
    share, truth = float(is_rare[drawn].float().mean()), float(wanted[is_rare].sum())
    if abs(share - truth) > 0.015:
        precise = _draw(function, logits.float(), 6)
        right = abs(float(is_rare[precise].float().mean()) - truth) <= 0.015
        fail(
            "from logits in bfloat16, the 248 rare words of 256 are drawn in "
            f"{share:.1%} of the cases, and should be in {truth:.1%}."
            + (
                " From the same logits in float32 they are. In which dtype is your "
                "noise, and the sum with it?"
                if right
                else ""
            )
        )


def _compare_generator(drawn: Callable[[torch.Generator], Tensor]) -> None:
    """All chance from the generator: the same for a seed, and moved by every call."""
    again = [drawn(torch.Generator().manual_seed(5)) for _ in range(2)]
    if not torch.equal(*again):
        fail(
            "two calls with a generator of the same seed differ. Draw all chance from "
            "`generator`, and give it to every draw."
        )
    generator = torch.Generator().manual_seed(5)
    if torch.equal(drawn(generator), drawn(generator)):
        fail(
            "two calls in a row give the same. Draw from `generator`, and do not seed "
            "it anew."
        )


# 10.2

_HINTS = {
    "drawn_share": (
        "A word is replaced if it was hidden, and if another one was drawn for it. The "
        "draw is the original, for each word, with its chance of being there times its "
        "chance of being drawn."
    ),
    "drawn_calm": (
        "To be replaced and read calm, a word was hidden, was another one, and calm "
        "was drawn. Divide by how often calm is read at all, which drawing does not "
        "change."
    ),
    "drawn_gale": (
        "The same as for calm, with 1/4 in place of 1/2: how often was a hidden word "
        "another one?"
    ),
    "greedy_share": "Every hidden word becomes calm. How often was it calm already?",
    "greedy_calm": (
        "Every replaced word reads calm. And calm is read more often than it was: "
        "count both."
    ),
    "greedy_gale": "How could a word become gale, if the guess is always calm?",
    "wrong_share": "The guess is never the original.",
    "wrong_calm": (
        "Where mist or gale was hidden, calm is drawn with 1/2 out of the 3/4 that are "
        "left. Then divide by how often calm is read, which is not 1/2 any more."
    ),
    "wrong_gale": (
        "Where calm was hidden, gale is drawn with 1/4 out of 1/2; where mist was, "
        "with 1/4 out of 3/4. Then divide by how often gale is read, which is not 1/4 "
        "any more."
    ),
    "best_accuracy": (
        "For calm, mist and gale: is a word ever more probably replaced than not? What "
        "does the best detector say, then?"
    ),
}


def _truth() -> dict[str, float]:
    """The ten quantities of 10.2, summed over all that can happen."""
    chances, rate, found = (0.5, 0.25, 0.25), 0.2, {}
    ways = {
        "drawn": lambda word: chances,
        "greedy": lambda word: (1.0, 0.0, 0.0),
        "wrong": lambda word: [
            0.0 if other == word else chance / (1 - chances[word])
            for other, chance in enumerate(chances)
        ],
    }
    for name, guess in ways.items():
        original = [chance * (1 - rate) for chance in chances]
        replaced = [0.0, 0.0, 0.0]
        for word, shown in product(range(3), repeat=2):
            share = chances[word] * rate * guess(word)[shown]
            (original if word == shown else replaced)[shown] += share
        found[f"{name}_share"] = sum(replaced)
        for label, word in (("calm", 0), ("gale", 2)):
            found[f"{name}_{label}"] = replaced[word] / (
                replaced[word] + original[word]
            )
        if name == "drawn":
            found["best_accuracy"] = sum(
                max(pair) for pair in zip(original, replaced, strict=True)
            )
    return found


# Values that come of one particular mistake.
_THOUGHTS = {
    ("drawn_share", 0.2): (
        "That is the share that is hidden. Guesses that hit the original count as "
        "original."
    ),
    ("drawn_share", 0.075): (
        "That is where the guess hits, and the text is original. The others are "
        "replaced."
    ),
    ("drawn_share", 0.625): (
        "That is the share of the hidden words. Of all words is asked for."
    ),
    ("drawn_calm", 0.05): (
        "That is the share of all words. Divide by how often calm is read."
    ),
    ("drawn_calm", 0.2): (
        "Hidden, yes; but half of these were calm before, and count as original."
    ),
    ("drawn_calm", 0.5): (
        "That holds for hidden words. Most that read calm were never hidden."
    ),
    ("drawn_gale", 0.0375): (
        "That is the share of all words. Divide by how often gale is read."
    ),
    ("greedy_share", 0.2): (
        "That is the share that is hidden. Where calm was hidden, the guess is right."
    ),
    ("greedy_calm", 0.1): (
        "That is the share of all words, or divided by 1: calm is read in 6 of 10 "
        "places."
    ),
    ("greedy_calm", 0.2): (
        "Divided by 1/2. After the guessing calm is read more often than that."
    ),
    ("greedy_calm", 1.0): (
        "Every replaced word reads calm; it is asked the other way round: of the words "
        "that read calm."
    ),
    ("wrong_calm", 0.1): (
        "That is the draw that may hit. Here the original is taken out, and the others "
        "grow."
    ),
    ("wrong_gale", 0.15): (
        "That is the draw that may hit. Here the original is taken out, and the others "
        "grow."
    ),
    ("wrong_calm", 1 / 15): (
        "That is the share of all words. Divide by how often calm is read."
    ),
    ("wrong_gale", 1 / 15): (
        "That is the share of all words. Divide by how often gale is read."
    ),
    ("wrong_share", 0.125): "That is the draw that may hit the original.",
    ("best_accuracy", 1.0): (
        "The best detector there can be does not know the original."
    ),
    ("best_accuracy", 0.5): (
        "Half is what tossing a coin gets right. There is something better."
    ),
    ("best_accuracy", 0.8): (
        "That counts every hidden word as replaced; some guesses hit."
    ),
}
# Both show it: 4/15 has other ways to come about.
_AS_BEFORE = (
    "Both shares of all words are divided by how often the word was there before. "
    "After the guessing calm is read less often, and gale more often."
)
_GUESSES = {
    name: [Guess(value, why) for (of, value), why in _THOUGHTS.items() if of == name]
    for name in _HINTS
}
_GUESSES["wrong_calm"].append(Guess(2 / 15, _AS_BEFORE, alone=False))
_GUESSES["wrong_gale"].append(Guess(4 / 15, _AS_BEFORE, alone=False))


@check
def ways_to_guess(
    drawn_share: float,
    drawn_calm: float,
    drawn_gale: float,
    greedy_share: float,
    greedy_calm: float,
    greedy_gale: float,
    wrong_share: float,
    wrong_calm: float,
    wrong_gale: float,
    best_accuracy: float,
) -> None:
    """10.2: each prediction is compared with the sum over all that can happen."""
    answers = (
        drawn_share,
        drawn_calm,
        drawn_gale,
        greedy_share,
        greedy_calm,
        greedy_gale,
        wrong_share,
        wrong_calm,
        wrong_gale,
        best_accuracy,
    )
    said_of = dict(zip(_HINTS, answers, strict=True))
    for name, said in said_of.items():
        number = as_number(said, f"`{name}`")
        if isinstance(said, bool) or math.isnan(number):
            fail(
                f"`{name}` is {describe(said)}, and should be a number between 0 and 1."
            )
        if number > 1.0015:
            fail(f"`{name}` is {number:g}. No share is above 1, which is 100 %.")
    predicted_numbers(
        said_of,
        _truth(),
        _HINTS,
        relative=0.0,
        absolute=6e-4,  # three decimals are enough
        guesses=_GUESSES,
        sentence="`{name}` is not {said:.3g}.",
        at_least=0.0,
    )
    passed("all ten predictions agree with the sum over all that can happen")


# 10.3


def _kept(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (N,) in float64, finite, and labels (N,) of what counts."""
    counted = labels != -100
    return scores[counted].double().clamp(-1e300, 1e300), labels[counted].long()


def _library_auc(scores: Tensor, labels: Tensor) -> float:
    right, truth = _kept(scores, labels)
    return float(roc_auc_score(truth, right))


def _auc_cases() -> list[Case]:
    ties = "All scores that tie take the mean of their ranks."
    left_out = "A token with the label −100 is no token at all."

    def drawn(*shape: int, share: float, seed: int, levels: int = 0) -> tuple:
        generator = torch.Generator().manual_seed(seed)
        labels = (torch.rand(*shape, generator=generator) < share).long()
        scores = torch.randn(*shape, generator=generator) + 0.8 * labels
        return (scores * levels / 4).round() if levels else scores, labels

    def without(scores: Tensor, labels: Tensor, share: float, seed: int) -> tuple:
        """Some tokens do not count, and have lower scores than the others."""
        generator = torch.Generator().manual_seed(seed)
        out = torch.rand(scores.shape, generator=generator) < share
        return torch.where(out, scores - 3.0, scores), labels.masked_fill(out, -100)

    def written_down(scores: list, labels: list) -> tuple:
        return torch.tensor(scores), torch.tensor(labels)

    fine = 1.0 + 1e-12 * torch.arange(40, dtype=torch.float64)
    many, few = (
        drawn(n, share=0.1, seed=n, levels=levels)
        for n, levels in ((300, 0), (3000, 7))
    )
    third = drawn(2_000, share=0.5, seed=2, levels=2)
    inf = math.inf
    table = [
        (
            "without ties",
            written_down([0.1, 0.4, 0.35, 0.8, 0.2], [0, 0, 1, 1, 0]),
            "",
        ),
        (
            "where every replaced token scores lower",
            written_down([3.0, 1.0, 2.0], [0, 1, 1]),
            "",
        ),
        ("for two tokens", written_down([-4.0, -7.0], [1, 0]), ""),
        ("for 300 tokens", many, ""),
        ("for 300 tokens and labels as booleans", (many[0], many[1].bool()), ""),
        ("for 3,000 tokens with ties", few, ties),
        (
            "for 3,000 tokens with ties, in float64",
            (few[0].double(), few[1].bool()),
            ties,
        ),
        ("for 2,000 tokens, half of them replaced, with ties", third, ties),
        ("with one tie", written_down([1.0, 2.0, 2.0, 3.0], [0, 1, 0, 1]), ties),
        ("with nothing but ties", written_down([0.5] * 5, [1, 0, 0, 1, 0]), ties),
        (
            "with infinite scores",
            written_down([-inf, 0.0, inf, inf, -inf, 2.0], [0, 0, 1, 0, 1, 1]),
            "",
        ),
        (
            "for scores in float64 that are nearly alike",
            (
                fine[torch.randperm(40, generator=torch.Generator().manual_seed(1))],
                torch.arange(40) % 3 // 2,
            ),
            "The order of the scores is in their last digits.",
        ),
        (
            "for scores from ±10⁻³⁰ to ±10³⁰",
            (many[0] * 10.0 ** (torch.arange(300) % 61 - 30), many[1]),
            "",
        ),
        (
            "for shape (40, 50), where 40 % do not count",
            without(*drawn(40, 50, share=0.15, seed=3), 0.4, seed=4),
            left_out,
        ),
        (
            "for shape (2, 3, 40), where half do not count, with ties",
            without(*drawn(2, 3, 40, share=0.4, seed=5, levels=6), 0.5, seed=6),
            left_out,
        ),
        ("for shape (1, 30)", drawn(1, 30, share=0.3, seed=7), ""),
    ]
    return [
        Case(what, arguments, facts=(fact,) if fact else ())
        for what, arguments, fact in table
    ]


def _one_float(found: Any, expected: float, case: Case) -> str | None:
    """How an AUC is wrong; it has to be a plain number, as the signature says."""
    sentence = difference(found, expected, "the AUC", Tolerance(1e-6, 1e-9))
    if not sentence and isinstance(found, Tensor):
        return "the AUC is right, and a tensor; a `float` is asked for: `.item()`."
    return sentence


def _all_but(scores: Tensor, labels: Tensor, as_label: Callable) -> float:
    """−100 counts as something."""
    scores = scores.double().flatten().clamp(-1e300, 1e300)
    return float(roc_auc_score(as_label(labels.flatten()).long(), scores))


def _pairs(scores: Tensor, labels: Tensor, tie: float) -> float:
    scores, labels = _kept(scores, labels)
    ones, zeros = scores[labels == 1][:, None], scores[labels == 0]
    return float(((ones > zeros) + tie * (ones == zeros)).double().mean())


def _by_ranks(
    scores: Tensor,
    labels: Tensor,
    method: str = "average",
    first: int = 1,
    subtract: Callable[[int, int], float] = lambda ones, zeros: ones * (ones + 1) / 2,
    divide: Callable[[int, int], float] = lambda ones, zeros: ones * zeros,
) -> float:
    scores, labels = _kept(scores, labels)
    ranks = (
        torch.from_numpy(stats.rankdata(scores.numpy(), method)).double() + first - 1
    )
    ones, zeros = int(labels.sum()), int((labels == 0).sum())
    total = float(ranks[labels == 1].sum()) - subtract(ones, zeros)
    return total / divide(ones, zeros)


def _by_places(scores: Tensor, labels: Tensor, descending: bool) -> float:
    """Ties have the ranks in which they happen to stand."""
    scores, labels = _kept(scores, labels)
    ranks = scores.argsort(stable=True, descending=descending).argsort().double()
    ranks = len(ranks) - ranks if descending else ranks + 1
    ones, zeros = int(labels.sum()), int((labels == 0).sum())
    return float((ranks[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _cut(scores: Tensor, labels: Tensor, threshold: float) -> float:
    scores, labels = _kept(scores, labels)
    return float(roc_auc_score(labels, (scores > threshold).double()))


def _accuracy(scores: Tensor, labels: Tensor, threshold: float) -> float:
    scores, labels = _kept(scores, labels)
    return float(((scores > threshold).long() == labels).double().mean())


def _precision(scores: Tensor, labels: Tensor) -> float:
    scores, labels = _kept(scores, labels)
    return float(average_precision_score(labels, scores))


_MEAN = "They should get their mean."
_AUC = Task(
    _library_auc,
    _auc_cases,
    [
        Mistake(
            "It is the wrong way round: replaced tokens should score higher.",
            lambda scores, labels: 1 - _library_auc(scores, labels),
        ),
        Mistake(
            "That counts the tokens with −100 as originals. They do not count at all.",
            lambda scores, labels: _all_but(scores, labels, lambda y: y == 1),
        ),
        Mistake(
            "That counts the tokens with −100 as replaced. They do not count at all.",
            lambda scores, labels: _all_but(scores, labels, lambda y: y != 0),
        ),
        Mistake(
            "Ties count nothing. They should count half.",
            lambda scores, labels: _pairs(scores, labels, 0.0),
        ),
        Mistake(
            "Ties count as won. They should count half.",
            lambda scores, labels: _pairs(scores, labels, 1.0),
        ),
        *(
            Mistake(
                f"Ties get the ranks in which they happen to stand. {_MEAN}",
                partial(_by_places, descending=descending),
            )
            for descending in (False, True)
        ),
        *(
            Mistake(f"{which}. {_MEAN}", partial(_by_ranks, method=method))
            for method, which in (
                ("min", "Ties all get the lowest of their ranks"),
                ("max", "Ties all get the highest of their ranks"),
                ("dense", "Ties take one rank together, and the next score the next"),
            )
        ),
        Mistake(
            "The replaced tokens' own ranks, n₁(n₁ + 1)/2, are not subtracted.",
            partial(_by_ranks, subtract=lambda ones, zeros: 0.0),
        ),
        Mistake(
            "n₁ is the number of replaced tokens. Subtracted was n₀(n₀ + 1)/2, of the "
            "original ones.",
            partial(_by_ranks, subtract=lambda ones, zeros: zeros * (zeros + 1) / 2),
        ),
        Mistake(
            "Ranks count from 1. Yours seem to count from 0.",
            partial(_by_ranks, first=0),
        ),
        Mistake(
            "It is divided by the number of all pairs of tokens, not by that of pairs "
            "of a replaced and an original one.",
            partial(
                _by_ranks,
                divide=lambda ones, zeros: (ones + zeros) * (ones + zeros - 1) / 2,
            ),
        ),
        Mistake(
            "That is in percent. A share is asked for.",
            lambda scores, labels: 100 * _library_auc(scores, labels),
        ),
        Mistake(
            "That is 2 · AUC − 1, the Gini coefficient.",
            lambda scores, labels: 2 * _library_auc(scores, labels) - 1,
        ),
        *(
            Mistake(
                "The scores are cut in two before they are compared. Keep them as they "
                "are.",
                partial(_cut, threshold=threshold),
            )
            for threshold in (0.0, 0.5)
        ),
        *(
            Mistake("That is the accuracy.", partial(_accuracy, threshold=threshold))
            for threshold in (0.0, 0.5)
        ),
        Mistake("That is the average precision, another area.", _precision),
    ],
    result="the AUC",
    tolerance=Tolerance(1e-6, 1e-9),
    compare=_one_float,
)


@check
def auc(auc: Callable[..., float]) -> None:
    """10.3: equal to scikit-learn's, with ties, infinities and tokens left out."""
    _AUC.check(auc)
    passed(
        "the AUC is scikit-learn's, with ties and infinite scores, for labels as "
        "numbers and as booleans"
    )
    passed("tokens with the label −100 do not count, whatever the shape")
    for labels, what in (
        ([0, 0, -100], "nothing is replaced"),
        ([1, 1, -100], "everything is replaced"),
        ([[0, 0], [0, 0]], "nothing is replaced"),
        ([True, True], "everything is replaced"),
        ([False], "nothing is replaced"),
        ([-100, -100], "no token counts"),
    ):
        labels = torch.tensor(labels)
        scores = torch.linspace(0.1, 0.3, labels.numel()).reshape(labels.shape)
        with warnings.catch_warnings(action="ignore"):
            result = outcome(auc, scores, labels)
        if not isinstance(result, Crash):
            fail(
                f"where {what}, there are no pairs and so no AUC, and your "
                f"function returned {describe(result)}. Raise a ValueError."
            )
        if not isinstance(result.error, ValueError):
            fail(
                f"where {what}, a ValueError is needed, and "
                f"{type(result.error).__name__} was raised."
            )
    passed("labels of one kind only are refused")


# 10.4


@dataclass(frozen=True)
class _Game:
    """Ids of one kind of text: special ones, the mask's, and ordinary ones."""

    special: tuple[int, ...]  # [PAD], [CLS], [SEP], [MASK]
    first: int  # of five ordinary ids
    vocabulary: int

    @property
    def mask_id(self) -> int:
        return self.special[3]

    @property
    def chances(self) -> Tensor:
        """With which probabilities ids are guessed, (V,)."""
        chances = torch.zeros(self.vocabulary)
        ordinary = torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1])
        chances[self.first : self.first + 5] = ordinary
        return chances

    def is_special(self, ids: Tensor) -> Tensor:
        return torch.isin(ids, torch.tensor(self.special))


_GAMES = (_Game((0, 1, 2, 17), 3, 40), _Game((14, 6, 30, 2), 7, 35))


def _batch(game: _Game, rows: int, length: int = 30) -> tuple[Tensor, Tensor]:
    """Rows [CLS] … [SEP] … [SEP], padded on the right, on the left, or in between.

    In every second row ordinary ids stand in the padding.
    """
    generator = torch.Generator().manual_seed(rows)
    pad, start_id, end_id, _ = game.special
    low, high = game.first, game.first + 5
    ids = torch.randint(low, high, (rows, length), generator=generator)
    mask = torch.zeros(rows, length, dtype=torch.long)
    for row in range(rows):
        real = 6 + row * 7 % (length - 5)
        start = length - real if row % 3 == 2 else 0
        mask[row, start : start + real] = 1
        ids[row, start], ids[row, start + real - 1] = start_id, end_id
        if row % 5 == 4:
            mask[row, start + 2] = 0
        if row % 4 == 3:
            ids[row, start + 3] = end_id
    ids[(mask == 0) & (torch.arange(rows)[:, None] % 2 == 0)] = pad
    return ids, mask


@check
def mended_corrupt(mended_corrupt: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """10.4: what is hidden, shown to the guess, drawn, and said by the labels."""
    for game, rate in zip(_GAMES, (None, 0.5), strict=True):
        ids, mask = _batch(game, 1500)
        seen, shown, labels = _corrupt(mended_corrupt, game, ids, mask, 1, rate)
        _compare_places(game, ids, mask, seen, 0.15 if rate is None else rate)
        _compare_shown(game, ids, seen, shown)
        _compare_labels(game, ids, mask, seen, shown, labels)
    _compare_each_by_itself(mended_corrupt)
    for game, rows, length, rate in (
        (_GAMES[0], 1, 9, 0.6),
        (_GAMES[1], 13, 12, 0.5),
        (_GAMES[0], 40, 17, 1.0),
    ):
        _compare_sure(mended_corrupt, game, *_batch(game, rows, length), rate)
    passed(
        "only ordinary real tokens are hidden, at the rate asked for, and "
        "nothing else changes"
    )
    passed(
        "the guess sees the text with its hidden places masked, and what is put "
        "there is drawn"
    )
    passed(
        "a token is replaced where it differs from the original, and padding "
        "does not count"
    )
    few = _batch(_GAMES[0], 60)
    _compare_generator(
        lambda generator: torch.stack(
            _corrupt(mended_corrupt, _GAMES[0], *few, generator, 0.3)[1:]
        )
    )
    passed("all chance comes from the generator")


def _corrupt(
    function: Callable,
    game: _Game,
    ids: Tensor,
    mask: Tensor,
    seed: int | torch.Generator,
    rate: float | None,
    sure: Tensor | None = None,
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """What the guess was given (shown, places), what came back, and the labels.

    The guess draws by the game's chances, or knows exactly one id for each place,
    those of `sure` (B, T).
    """
    given: list[tuple[Tensor, Tensor]] = []

    def guess(shown: Any, places: Any) -> Tensor:
        if not isinstance(shown, Tensor) or shown.shape != ids.shape:
            fail(
                "`guess` has to be given the masked text first, a tensor (B, T) of ids."
            )
        if (
            not isinstance(places, Tensor)
            or places.shape != ids.shape
            or places.dtype != torch.bool
        ):
            fail(
                "`guess` has to be given the hidden places second, a tensor (B, "
                "T) of booleans."
            )
        given.append((shown.clone(), places.clone()))
        if sure is None:
            return game.chances.log().expand(int(places.sum()), -1).clone()
        logits = torch.full((int(places.sum()), game.vocabulary), -math.inf)
        return logits.scatter(1, sure[places][:, None], 0.0)

    if isinstance(seed, int):
        seed = torch.Generator().manual_seed(seed)
    arguments = {
        "ids": ids,
        "mask": mask,
        "guess": guess,
        "special": list(game.special),
        "mask_id": game.mask_id,
        "generator": seed,
    }
    result = _called(function, arguments, **({} if rate is None else {"rate": rate}))
    if not isinstance(result, tuple | list) or len(result) != 2:
        kind = (
            f"{len(result)} things"
            if isinstance(result, tuple | list)
            else type(result).__name__
        )
        fail(
            "the text and the labels are needed, one behind the other, and what "
            f"came back is: {kind}."
        )
    if len(given) != 1:
        fail(
            f"`guess` was called {len(given)} times. Once for the whole batch is right."
        )
    shown, labels = _ids(result[0], tuple(ids.shape), "the text"), result[1]
    expect_shape(labels, ids.shape, "the labels")
    if (shown == -100).any():
        sentence = "the first of the two results, the text, has −100 in it."
        if (torch.as_tensor(labels) > 1).any():
            sentence += " The text comes first, then the labels."
        fail(sentence)
    labels = torch.as_tensor(labels).detach()
    if labels.dtype == torch.bool:
        fail("the labels are booleans, which have no room for −100. Make them numbers.")
    return given[0], shown, labels.double()


def _compare_each_by_itself(function: Callable) -> None:
    """Every token is hidden with the probability `rate`, whatever the others are."""
    game = _GAMES[0]
    ids = torch.randint(3, 8, (600, 40), generator=torch.Generator().manual_seed(2))
    mask = torch.ones_like(ids)
    (_, places), shown, _ = _corrupt(function, game, ids, mask, 3, 0.3)
    what = "the number of hidden tokens"
    expect_binomial(places.sum(dim=1), 40, 0.3, f"{what} in a row")
    expect_binomial(places.sum(dim=0), 600, 0.3, f"{what} in a column")
    alike = "Each token is hidden with the probability `rate`, by a draw of its own."
    first, second = places[:, :-1], places[:, 1:]
    expect_independent(first, second, "whether two neighbours are hidden", alike)
    expect_independent(places, ids, "whether a token is hidden, and its id,", alike)
    drawn = shown[places]
    hint = "Each guess is a draw of its own."
    expect_independent(drawn[:-1], drawn[1:], "two guesses in a row", hint)


def _compare_sure(
    function: Callable, game: _Game, ids: Tensor, mask: Tensor, rate: float
) -> None:
    """A guess that knows one id for each place: text and labels are then certain."""
    place = torch.arange(ids.numel()).reshape(ids.shape)
    sure = game.first + place * 3 % 5
    (text, places), shown, labels = _corrupt(function, game, ids, mask, 7, rate, sure)
    free = mask.bool() & ~game.is_special(ids)
    what = f"for a batch of shape {tuple(ids.shape)}"
    if (places & ~free).any() or (rate == 1.0 and (free & ~places).any()):
        fail(f"{what} at rate {rate:g}, other places are hidden than may be.")
    differ = difference(text, ids.masked_fill(places, game.mask_id), "the masked text")
    if differ:
        fail(f"{what}, {differ}")
    right = torch.where(places, sure, ids)
    differ = difference(shown, right, "the text with its guesses")
    if differ:
        fail(
            f"{what}, where the guess gives one id of each place all the probability, "
            f"{differ} Row n of the logits belongs to hidden place n, from left to "
            "right, row by row."
        )
    wanted = (right != ids).double().masked_fill(mask == 0, -100)
    differ = difference(labels, wanted, "the tensor of labels")
    if differ:
        fail(f"{what}, {differ}")


def _compare_places(
    game: _Game, ids: Tensor, mask: Tensor, seen: tuple[Tensor, Tensor], rate: float
) -> None:
    text, places = seen
    special, real = game.is_special(ids), mask.bool()
    if (places & special & real).any():
        fail(
            "a special token, [CLS] or [SEP], is hidden and guessed: "
            f"{_how_many(places[special & real])} of these, and "
            f"{_how_many(places[real & ~special])} of the other real tokens. "
            "`special` says which ids never are."
        )
    if (places & ~real).any():
        if (places & special).any():
            fail("padding is hidden and guessed. Which places may be chosen at all?")
        fail(
            "padding is hidden and guessed where it holds an ordinary id. Which "
            "tokens are padding is said by `mask`, not by their ids."
        )
    hidden = places[real & ~special]
    share = float(hidden.double().mean())
    hint = ""
    if rate != 0.15 and abs(share - 0.15) < 0.02:
        hint = "Is the argument `rate` used?"
    elif abs(share - (1 - rate)) < 0.02 and rate != 0.5:
        hint = "Those that should stay are hidden."
    what = f"ordinary real tokens hidden at rate {rate:g}"
    expect_share(int(hidden.sum()), len(hidden), rate, what, hint)
    if not torch.equal(text[~places], ids[~places]):
        fail(
            "the text that `guess` is shown differs from the original at a place "
            "that is not hidden."
        )
    if torch.equal(text, ids):
        fail(
            "`guess` is shown the original text. It reads the answer: show it "
            "the text with the mask's id."
        )
    if (text[places] != game.mask_id).any():
        strange = text[places][text[places] != game.mask_id]
        fail(
            "the text that `guess` is shown should have `mask_id`, "
            f"{game.mask_id}, at every hidden place, and has {int(strange[0])} at "
            f"{len(strange):,} of {int(places.sum()):,}."
        )


def _compare_shown(
    game: _Game, ids: Tensor, seen: tuple[Tensor, Tensor], shown: Tensor
) -> None:
    places, chances = seen[1], game.chances
    if (shown[places] == game.mask_id).any():
        fail(
            "the discriminator is shown the mask's id. Every hidden place gets "
            "the guess."
        )
    if not torch.equal(shown[~places], ids[~places]):
        fail("a token that was not hidden is shown as something else.")
    drawn = shown[places]
    ordinary = slice(game.first, game.first + 5)
    found = _frequencies(drawn, game.vocabulary)
    hits = int((drawn == ids[places]).sum())
    impossible = ~torch.isin(drawn, chances.nonzero())
    if impossible.any():
        fail(
            f"{_how_many(impossible)} hidden places are shown as an id that the guess "
            f"gives no probability, the first as {int(drawn[impossible][0])}."
        )
    if not hits and len(drawn.unique()) > 1:
        fail(
            f"of {len(drawn):,} guesses none hits the original, although it has a "
            "probability. A guess is to be drawn without a look at the original."
        )
    if _fits(_counts(drawn, game.vocabulary), chances.double()):
        wanted = float(chances[ids[places]].mean())
        expect_share(
            hits,
            len(drawn),
            wanted,
            "guesses that hit the original",
            "A guess is to be drawn without a look at the original.",
        )
        return
    if len(drawn.unique()) == 1 and int(drawn[0]) == int(chances.argmax()):
        fail(
            "all hidden places with the same logits get the same token, the most "
            "probable. The guess has to be drawn from the softmax of the logits."
        )
    if torch.equal(shown, ids):
        fail("nothing is replaced at all: the guesses have to be put into the text.")
    fail(
        "the tokens put in place of the hidden ones have the shares "
        f"{_shown(found[ordinary])}, and their probabilities are "
        f"{_shown(chances[ordinary])}. Draw each from the softmax of its logits."
    )


def _compare_labels(
    game: _Game,
    ids: Tensor,
    mask: Tensor,
    seen: tuple[Tensor, Tensor],
    shown: Tensor,
    labels: Tensor,
) -> None:
    places, real, differ = seen[1], mask.bool(), shown != ids
    wanted = differ.double().masked_fill(~real, -100)
    if torch.equal(labels, wanted):
        return
    strange = set(labels.unique().tolist()) - {0.0, 1.0, -100.0}
    if strange:
        fail(
            f"a label is {min(strange):g}. There are three: 1 replaced, 0 "
            "original, −100 does not count."
        )
    if not torch.equal(labels[~real], wanted[~real]):
        if (labels[~real] == 0).all():
            fail("padding has the label 0, original. It does not count: −100.")
        there = labels[~real]
        fail(
            f"{_how_many(there != -100)} places of padding have another label than "
            f"−100, the first {there[there != -100][0]:g}. Padding does not count."
        )
    if torch.equal(labels[real], 1 - wanted[real]):
        fail("the labels are the wrong way round: 1 is replaced, 0 original.")
    hits = places & ~differ
    if (labels[hits] == 1).all():
        if torch.equal(labels[real], places[real].double()):
            fail(
                "where the guess hits the original, the label says replaced. "
                "Nothing is replaced there."
            )
        fail("the labels say replaced where the token is the original.")
    if (labels[real & ~places] == -100).all():
        fail(
            "tokens that were not hidden do not count in your labels. The "
            "discriminator judges all of them."
        )
    if (labels[hits] == -100).all():
        fail(
            "where the guess hits the original, the label is −100. That token "
            "counts, as an original."
        )
    if (labels[real & game.is_special(ids)] == -100).all():
        fail(
            "[CLS] and [SEP] do not count in your labels. They are real tokens, "
            "and originals."
        )
    fail(
        "the labels of some real tokens are wrong: 1 where the text differs from "
        "the original, else 0."
    )


# 10.5


def _flops(
    shape: TransformerShape,
    embedding: int,
    length: int,
    predicted: int,
    generator: TransformerShape | None = None,
    passes: float = 3,
    project: str = "needed",
    everywhere: bool = False,
    transform: bool = True,
    lookups: bool = False,
    detection: str = "right",
    body_of_generator: bool = True,
    head_of_generator: bool = True,
    generator_passes: float | None = None,
    logits_from: str = "embedding",
    own_width: bool = False,
) -> float:
    """The right count, but for the mistakes that are asked for."""

    def width(part: TransformerShape) -> int:
        return part.width if own_width else embedding

    def body(part: TransformerShape) -> float:
        projects = project == "always" or (
            project == "needed" and part.width != width(part)
        )
        total = sum(forward_flops(part, length).values())
        total += length * 2 * embedding * part.width * projects
        return total + length * 2 * embedding * part.vocabulary * lookups

    def words(part: TransformerShape) -> float:
        inner = width(part) if logits_from == "embedding" else part.width
        matrix = part.width * width(part) * transform
        places = length if everywhere else predicted
        return places * 2 * (matrix + inner * part.vocabulary)

    if generator is None:
        return passes * (body(shape) + words(shape))
    square, line = shape.width**2, shape.width
    found = {
        "right": length * 2 * (square + line),
        "none": 0,
        "no transform": length * 2 * line,
        "no output": length * 2 * square,
        "predicted": predicted * 2 * (square + line),
        "words": words(shape),
        "words too": length * 2 * (square + line) + words(shape),
        "words everywhere": (
            length * 2 * (line * embedding + embedding * shape.vocabulary)
        ),
    }[detection]
    second = body(generator) * body_of_generator + words(generator) * head_of_generator
    own = passes if generator_passes is None else generator_passes
    return passes * (body(shape) + found) + own * second


def _flops_cases() -> list[Case]:
    large = TransformerShape(3, 64, 4, 256, 1000, head="none")
    small = TransformerShape(2, 32, 2, 128, 1000, head="none")
    odd = TransformerShape(4, 24, 3, 50, 70, key_value_heads=1, gated=True, head="none")
    least = TransformerShape(1, 8, 1, 20, 70, head="none")
    cases = []
    for shape, embedding, length, predicted, generator in (
        (large, 64, 128, 19, None),
        (large, 48, 128, 19, None),
        (least, 16, 10, 10, None),
        (odd, 24, 33, 5, None),
        (large, 64, 128, 19, small),
        (large, 48, 128, 19, small),
        (large, 32, 20, 3, small),
        (large, 64, 64, 9, large),
        (odd, 10, 33, 5, least),
        (least, 24, 21, 2, odd),
    ):
        beside = "no generator"
        if generator is not None:
            beside = f"a generator of width {generator.width}"
        what = (
            f"for width {shape.width}, {beside}, E = {embedding}, T = {length}, "
            f"{predicted} predicted"
        )
        arguments = (shape, embedding, length, predicted)
        if generator is not None:
            arguments = (*arguments, generator)
        cases.append(Case(what, arguments))
    return cases


_WORDS = "The discriminator predicts no words. Its head gives one number a token."
_FLOPS_MISTAKES = (
    ("That is one forward pass. Training takes three times that.", {"passes": 1}),
    (
        "That counts the backward pass like one forward pass. It takes two: 3 in all.",
        {"passes": 2},
    ),
    (
        "A multiplication with its addition is 2 FLOPs; yours seem to count 1.",
        {"passes": 1.5},
    ),
    (
        "The matrix between embeddings and encoder is missing where the widths differ.",
        {"project": "never"},
    ),
    (
        "Where the widths are equal there is no matrix between embeddings and encoder.",
        {"project": "always"},
    ),
    (
        "Logits are counted at all places. Only the hidden ones are predicted.",
        {"everywhere": True},
    ),
    (
        "In the head that predicts words, the matrix from C to E is missing.",
        {"transform": False},
    ),
    ("The logits come from word vectors of width E, not C.", {"logits_from": "width"}),
    ("Looking up a row of the table is no matrix product.", {"lookups": True}),
    (
        "Is the argument `embedding` used? It is the width of the embeddings.",
        {"own_width": True},
    ),
    ("The discriminator's head is missing.", {"detection": "none"}),
    (
        "Of the discriminator's head the matrix from C to C is missing.",
        {"detection": "no transform"},
    ),
    (
        "Of the discriminator's head the output, C to 1, is missing.",
        {"detection": "no output"},
    ),
    (
        "The discriminator judges every token, not the hidden ones only.",
        {"detection": "predicted"},
    ),
    (_WORDS, {"detection": "words"}),
    (_WORDS, {"detection": "words everywhere"}),
    (_WORDS, {"detection": "words too"}),
    (
        "The generator is missing.",
        {"body_of_generator": False, "head_of_generator": False},
    ),
    ("The generator's head is missing.", {"head_of_generator": False}),
    ("The generator's encoder is missing.", {"body_of_generator": False}),
    ("The generator learns too: its backward pass counts.", {"generator_passes": 1}),
)


def _four_wide(
    shape: TransformerShape,
    embedding: int,
    length: int,
    predicted: int,
    generator: TransformerShape | None = None,
) -> float:
    shape, generator = (
        part and replace(part, hidden=4 * part.width) for part in (shape, generator)
    )
    return _flops(shape, embedding, length, predicted, generator)


_FLOPS = Task(
    _flops,
    _flops_cases,
    [
        *(Mistake(said, partial(_flops, **wrong)) for said, wrong in _FLOPS_MISTAKES),
        Mistake(
            "The feed-forward is taken to be four times as wide as the encoder; how "
            "wide it is, the shape says.",
            _four_wide,
        ),
        Mistake(
            "That is the cost of one token. A sequence has T of them.",
            lambda shape, embedding, length, *rest: (
                _flops(shape, embedding, length, *rest) / length
            ),
        ),
        Mistake(
            "That is a masked language model's count. Is the argument `generator` "
            "used?",
            lambda shape, embedding, length, predicted, generator=None: _flops(
                shape, embedding, length, predicted
            ),
        ),
    ],
    result="the number of FLOPs",
    tolerance=Tolerance(1e-9, 0.0),
)


@check
def pretraining_flops(pretraining_flops: Callable[..., int]) -> None:
    """10.5: a masked LM and an ELECTRA, with embeddings of one width or of two."""
    _FLOPS.check(pretraining_flops)
    passed(
        "a masked language model's FLOPs, with embeddings as wide as the encoder "
        "and of another width"
    )
    passed(
        "an ELECTRA's, for four generators: both bodies, both heads, each where "
        "it is needed"
    )


# 10.6

_TABLES = {
    "words": "embeddings.words.weight",
    "segments": "embeddings.segments.weight",
    "positions": "embeddings.positions.table.weight",
}


@dataclass(frozen=True)
class _Sizes:
    """Of the two models, and how they come: the rate is never Adam's own default."""

    rate: float = 2e-3
    vocabulary: int = 20
    width: int = 8
    layers: tuple[int, int] = (1, 2)
    max_length: int = 6
    segments: int = 2
    training: bool = True


_PAIRS = (
    _Sizes(),
    _Sizes(5e-4, 33, 12, (2, 1), 9, 3, training=False),
    _Sizes(3e-2, 50, 16, (3, 3), 7, 1),
)


@check
def mended_prepare(mended_prepare: Callable[..., torch.optim.Optimizer]) -> None:
    """10.6: one parameter in both models, with both gradients; nothing else shared."""
    prepared = [_prepare(mended_prepare, sizes) for sizes in _PAIRS]
    passed(
        "both models hold the same three tables, with the numbers of one of "
        "them, and nothing else"
    )
    for sizes, (optimiser, models) in zip(_PAIRS, prepared, strict=True):
        _compare_optimiser(optimiser, models, sizes.rate)
    passed("every parameter of the three is in the optimiser, once")
    for sizes in _PAIRS:
        _compare_step(mended_prepare, sizes)
    passed(
        "a step moves the word vectors once, by the gradient of both losses together"
    )


_Models = tuple[MaskedLanguageModel, Bert, nn.Linear]


def _prepare(
    function: Callable, sizes: _Sizes
) -> tuple[torch.optim.Optimizer, _Models]:
    """Three models and what the answer makes of them, looked at but for the step."""
    models = _pair(sizes)
    before = [
        {name: value.clone() for name, value in model.state_dict().items()}
        for model in models
    ]
    world = GlobalState()
    with warnings.catch_warnings(action="ignore"):  # PyTorch's, about doubles
        try:
            optimiser = call(function, *models, sizes.rate)
            changed = world.change()
        finally:
            world.restore()
    if not isinstance(optimiser, torch.optim.Optimizer):
        fail(
            "an optimiser is needed, and what came back is of type "
            f"{type(optimiser).__name__}."
        )
    _compare_tables(*models[:2])
    _compare_values(models, before)
    for model, which in zip(models, _MODELS, strict=True):
        if any(part.training != sizes.training for part in model.modules()):
            fail(f"the {which} is in another mode, of training or not, than before.")
    if changed:
        fail(changed)
    return optimiser, models


_MODELS = ("generator", "discriminator", "head")


def _pair(sizes: _Sizes) -> _Models:
    with torch.random.fork_rng():  # the learner's random numbers are left alone
        torch.manual_seed(0)
        first, second = (
            BertConfiguration(
                sizes.vocabulary,
                width=sizes.width,
                layers=layers,
                heads=2,
                hidden=16,
                max_length=sizes.max_length,
                segments=sizes.segments,
                dropout=0.0,
            )
            for layers in sizes.layers
        )
        models = MaskedLanguageModel(first), Bert(second), nn.Linear(sizes.width, 1)
    for model in models:
        model.train(sizes.training)
    return models


def _compare_tables(generator: MaskedLanguageModel, discriminator: Bert) -> None:
    for what, name in _TABLES.items():
        try:
            theirs, ours = (
                generator.bert.get_parameter(name),
                discriminator.get_parameter(name),
            )
        except AttributeError:
            fail(
                f"the table of {what} is not a parameter any more, so nothing "
                "would train it."
            )
        if theirs is ours:
            if not ours.requires_grad:
                fail(
                    f"the table of {what} is shared, and frozen: it asks for no "
                    "gradient."
                )
            continue
        if theirs.data_ptr() == ours.data_ptr():
            fail(
                f"the tables of {what} lie at the same place in memory, and are two "
                "parameters all the same: each has a gradient of its own, and the "
                "optimiser moves the numbers twice. Hang the parameter itself into "
                "the other model."
            )
        if torch.equal(theirs, ours):
            fail(
                f"the tables of {what} are equal now, and two copies. After the first "
                "step they differ. Hang the parameter itself into the other model."
            )
        fail(f"the tables of {what} are not shared.")


def _compare_values(
    models: tuple[nn.Module, ...], before: list[dict[str, Tensor]]
) -> None:
    """Fail where numbers were changed, or more is shared than the embeddings."""
    generator, discriminator = models[:2]
    for what, name in _TABLES.items():
        now = discriminator.get_parameter(name)
        if not any(
            torch.equal(now, old)
            for old in (before[0][f"bert.{name}"], before[1][name])
        ):
            fail(
                f"the table of {what} has new numbers. It should keep those of "
                "one of the two models."
            )
    own = {id(value): name for name, value in generator.bert.named_parameters()}
    for name, value in discriminator.named_parameters():
        if id(value) in own and not name.startswith("embeddings."):
            fail(
                f"the models share `{name}` too. Only the embeddings are to be shared."
            )
    for model, old, which in zip(models, before, _MODELS, strict=True):
        for name, value in model.state_dict().items():
            if "embeddings." not in name and not torch.equal(value, old[name]):
                fail(f"`{name}` of the {which} has other numbers than before.")


def _compare_optimiser(
    optimiser: torch.optim.Optimizer, models: _Models, rate: float
) -> None:
    given = [
        id(parameter)
        for group in optimiser.param_groups
        for parameter in group["params"]
    ]
    used: dict[int, str] = {}
    for model, which in zip(models, _MODELS, strict=True):
        for name, value in model.named_parameters():
            used.setdefault(id(value), f"`{name}` of the {which}")
    for number, name in used.items():
        if given.count(number) > 1:
            fail(
                f"{name} is in the optimiser {given.count(number)} times, and is "
                "moved that often in every step. Give it each parameter once."
            )
        if number not in given:
            fail(f"{name} is not in the optimiser, so it is never trained.")
    if set(given) - used.keys():
        fail(
            "the optimiser holds a parameter that no model has any more: it should "
            "hold what the models hold in the end, and nothing else."
        )
    if type(optimiser) is not torch.optim.Adam:
        fail(f"Adam is asked for, and this is {type(optimiser).__name__}.")
    plain = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=rate).param_groups[0]
    for group in optimiser.param_groups:
        if not math.isclose(float(group["lr"]), rate, rel_tol=1e-6):
            fail(
                f"called with learning_rate={rate:g}, the optimiser has the rate "
                f"{float(group['lr']):g}."
            )
        for name in ("betas", "eps", "weight_decay", "amsgrad", "maximize"):
            if group[name] != plain[name]:
                fail(
                    f"the optimiser has {name} = {group[name]}, and the one that was "
                    f"to be mended {plain[name]}. What does yours do otherwise?"
                )


def _compare_step(function: Callable, sizes: _Sizes) -> None:
    """Fail unless the first step moves each number once, by the gradients' sum."""
    optimiser, (generator, discriminator, head) = _prepare(function, sizes)
    ids = torch.tensor([[1, 5, 6, 7, 8, 2], [1, 9, 10, 11, 5, 2]])
    labels = torch.full_like(ids, -100).index_fill(1, torch.tensor([2]), 6)
    states = discriminator(ids)
    loss = (
        generator.loss(ids.masked_fill(labels != -100, 3), labels)
        + 50 * head(states).square().mean()
    )
    table = discriminator.embeddings.words.weight
    (gradient,) = torch.autograd.grad(loss, table, retain_graph=True)
    before = table.detach().clone()
    loss.backward()
    optimiser.step()
    sure = gradient.abs() > 1e-3
    steps = (before - table.detach()) / sizes.rate * gradient.sign()
    furthest = (steps[sure] - 1).abs().argmax()
    moved = float(steps[sure][furthest])
    if abs(moved - 1) > 0.05:
        fail(
            "in the first step a number of a word vector moves by "
            f"{moved:.2f} learning rates against its gradient. Adam's first step moves "
            "all by one. What does your optimiser do otherwise?"
        )
