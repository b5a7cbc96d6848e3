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
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor, nn

from finetuning.checks.core import (
    as_number,
    call,
    check,
    describe,
    expect_shape,
    fail,
    passed,
    random_tensor,
    written,
)
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


def _unchanged(function: Callable, *arguments: Any, **keywords: Any) -> Any:
    """`call` with copies of the tensors, and fail where the answer writes into one."""

    def copy(value: Any) -> Any:
        return value.detach().clone() if isinstance(value, Tensor) else value

    copies, named = (
        [copy(value) for value in arguments],
        {key: copy(keywords[key]) for key in keywords},
    )
    result = call(function, *copies, **named)
    for before, after in zip(
        (*arguments, *keywords.values()), (*copies, *named.values()), strict=True
    ):
        if isinstance(before, Tensor) and not torch.equal(before, after):
            fail(
                "your function writes into the tensor that it was given. Others "
                "still need it: make a copy."
            )
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

_LOGITS = torch.tensor([1.0, 0.4, -1.0, 1.5, -torch.inf])
_DRAWS = 30_000


@check
def draw(draw: Callable[..., Tensor]) -> None:
    """10.1: the softmax's frequencies place by place; all chance from the generator."""
    for shape in ((), (7,), (2, 3)):
        logits = random_tensor(*shape, 6, seed=len(shape))
        drawn = _draw(draw, logits, 0)
        if ((drawn < 0) | (drawn >= 6)).any():
            fail(
                "an id lies outside the vocabulary: 0 to V − 1, counted along "
                "the last dimension."
            )
    rows = _LOGITS.expand(_DRAWS, -1)
    for temperature in (1.0, 0.5, 2.0):
        drawn = _draw(draw, rows, 1, temperature=temperature)
        if len(drawn.unique()) == 1:
            _all_the_same(draw, rows, temperature)
        _compare_frequencies(drawn, temperature)
    passed(
        "ids are drawn as often as softmax(logits / temperature) says, each "
        "place by itself"
    )
    _compare_forbidden(draw)
    passed("a forbidden id is never drawn, and the others keep their proportions")
    _compare_low_precision(draw)
    passed("rare ids are drawn from logits in bfloat16 too")
    logits = random_tensor(200, 30, seed=3)
    if not torch.equal(_draw(draw, logits, 5), _draw(draw, logits, 5)):
        fail(
            "two calls with a generator of the same seed differ. Draw all chance "
            "from `generator`."
        )
    generator = torch.Generator().manual_seed(5)
    first, second = (
        _ids(call(draw, logits.clone(), generator), (200,), "what is drawn")
        for _ in range(2)
    )
    if torch.equal(first, second):
        fail(
            "two calls in a row draw the same ids. Draw from `generator`, and do "
            "not seed it anew."
        )
    passed("all chance comes from the generator")


def _draw(function: Callable, logits: Tensor, seed: int, **keywords: Any) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    result = _unchanged(function, logits, generator, **keywords)
    if getattr(result, "shape", None) == logits.shape and logits.dim():
        fail(
            f"for logits of shape {tuple(logits.shape)} a result of the same shape "
            "came back. One id for each place is needed, not a number for each word."
        )
    return _ids(result, tuple(logits.shape[:-1]), "what is drawn")


def _all_the_same(function: Callable, rows: Tensor, temperature: float) -> None:
    """Name the reason why every place has the same id."""
    seeds = {
        int(_draw(function, rows, seed, temperature=temperature)[0])
        for seed in range(10, 40)
    }
    if seeds == {3}:
        fail(
            "the most probable id is drawn every time. That is the argmax of the "
            "logits: without noise, or with one noise for all words of a place."
        )
    if len(seeds) == 1:
        fail(
            f"id {seeds.pop()} is drawn every time, whatever the logits and the "
            "generator."
        )
    fail(
        "places with the same logits all get the same id in one call. Each place "
        "needs noise of its own: one number for every logit, not one row for all."
    )


def _frequencies(drawn: Tensor, size: int) -> Tensor:
    return torch.bincount(drawn, minlength=size).double() / drawn.numel()


def _known_frequencies(temperature: float) -> Iterator[tuple[str, Tensor]]:
    """Mistakes that learners make, each with the frequencies it leads to."""
    if temperature != 1:
        yield (
            "`temperature` has no effect. Does it divide the noise as well?",
            _LOGITS.softmax(dim=-1),
        )
        yield (
            "the temperature works the wrong way round: divide the logits by it.",
            (_LOGITS * temperature).softmax(dim=-1),
        )
    finite = _LOGITS.isfinite().double()
    yield "all words are equally frequent: are the logits used?", finite / finite.sum()
    yield "the logits are not used, and −∞ is no barrier.", torch.full((5,), 0.2)
    uniform = torch.rand(200_000, 5, generator=torch.Generator().manual_seed(9)).clamp(
        1e-9, 1 - 1e-7
    )
    gumbel = -(-uniform.log()).log()
    scores = _LOGITS / temperature
    normal = random_tensor(200_000, 5, seed=8)
    for what, noisy in (
        (
            "the noise looks normal. It has to be Gumbel's, −log(−log u).",
            scores + normal,
        ),
        (
            "the noise looks uniform. It has to be Gumbel's, −log(−log u).",
            scores + uniform,
        ),
        (
            "the noise has the wrong sign: it should be −log(−log u), added.",
            scores - gumbel,
        ),
        (
            "the noise is added to probabilities. It belongs to the logits.",
            scores.softmax(dim=-1) + gumbel,
        ),
        (
            "the noise looks like −log u. One logarithm is missing: −log(−log u).",
            scores - uniform.log(),
        ),
    ):
        yield what, _frequencies(noisy.argmax(dim=-1), 5)


def _compare_frequencies(drawn: Tensor, temperature: float) -> None:
    wanted, found = (
        (_LOGITS / temperature).softmax(dim=-1).double(),
        _frequencies(drawn, 5),
    )
    if (found - wanted).abs().max() < 0.015:
        return
    what = (
        f"from logits {[round(float(z), 1) for z in _LOGITS]} at temperature "
        f"{temperature:g} the shares are {_shown(found)}, and should be "
        f"{_shown(wanted)}"
    )
    known = [
        (float((found - wrong.double()).abs().max()), diagnosis)
        for diagnosis, wrong in _known_frequencies(temperature)
    ]
    distance, diagnosis = min(known)
    if distance < 0.015:
        fail(f"{what}: {diagnosis}")
    if found[4] > 0:
        fail(
            f"{what}. The word with the logit −∞ can be drawn, and its "
            "probability is 0."
        )
    fail(f"{what}.")


def _shown(shares: Tensor) -> str:
    return "[" + ", ".join(f"{float(share):.2f}" for share in shares) + "]"


def _compare_forbidden(function: Callable) -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5]).expand(2, _DRAWS, -1)
    forbidden = torch.stack([torch.full((_DRAWS,), 3), torch.full((_DRAWS,), 1)])
    drawn = _draw(function, logits, 2, forbidden=forbidden)
    hits = (drawn == forbidden).double().mean(dim=1)
    plain = logits[0, 0].softmax(dim=-1).double()
    if (hits > 0).any():
        share = float(hits[0])
        hint = "Take it out before the draw: which logit has no chance at all?"
        if abs(share - float(plain[3])) < 0.015:
            hint = "Is the argument `forbidden` used?"
        elif abs(share - float(plain[3] ** 2)) < 0.015:
            hint = "A second draw may hit it again. Take it out before the draw."
        fail(f"of all draws the forbidden id has a share of {share:.2g}. {hint}")
    for row, place in enumerate((3, 1)):
        wanted = plain.clone()
        wanted[place] = 0
        wanted = wanted / wanted.sum()
        found = _frequencies(drawn[row], 5)
        if (found - wanted).abs().max() < 0.015:
            continue
        what = (
            f"with id {place} forbidden the shares are {_shown(found)}, and should be "
            f"{_shown(wanted)}: the others in the proportions that they had"
        )
        if found[4 - place] == 0:
            fail(
                f"{what}. Each place has its own forbidden id, and here that of "
                "other places is missing too."
            )
        for other in range(5):
            moved = plain.clone()
            moved[other] += moved[place]
            moved[place] = 0
            if other != place and (found - moved).abs().max() < 0.015:
                fail(
                    f"{what}. Whenever the forbidden id came, id {other} was "
                    "taken. Draw among all others."
                )
        fail(f"{what}.")


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
        fail(
            "from logits in bfloat16, the 248 rare words of 256 are drawn in "
            f"{share:.1%} of the cases, and should be in {truth:.1%}. In which dtype "
            "is your noise, and the sum with it?"
        )


# 10.2

_HINTS = {
    "drawn_share": (
        "A hidden word stays as it is with the probability that the draw is the "
        "original: for each word, its chance of being there times its chance of being "
        "drawn."
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
_MISTAKES = {
    ("drawn_share", 0.1): (
        "That is the rule with the accuracy of the most probable word, 1/2. A draw "
        "hits the original less often."
    ),
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
    ("wrong_calm", 2 / 15): (
        "Divided by 1/2. After the guessing calm is read less often than that."
    ),
    ("wrong_gale", 4 / 15): (
        "Divided by 1/4. After the guessing gale is read more often than that."
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
        written(said, f"`{name}`")
    for name, true in _truth().items():
        said = said_of[name]
        said = as_number(said, f"`{name}`")
        if isinstance(said_of[name], bool) or math.isnan(said):
            fail(
                f"`{name}` is {describe(said_of[name])}, and should be a number "
                "between 0 and 1."
            )
        if abs(said - true) < 0.0015:
            continue
        if abs(said - 100 * true) < 0.15 and true:
            fail(
                f"`{name}` is {said:g}. Write shares as numbers between 0 and 1, "
                "not in percent."
            )
        for (which, value), diagnosis in _MISTAKES.items():
            if which == name and abs(said - value) < 0.0015:
                fail(f"`{name}` is not {said:.3g}. {diagnosis}")
        fail(f"`{name}` is not {said:.3g}. {_HINTS[name]}")
    passed("all ten predictions agree with the sum over all that can happen")


# 10.3


@check
def auc(auc: Callable[..., float]) -> None:
    """10.3: equal to scikit-learn's, with ties, infinities and tokens left out."""
    by_hand = (
        ([0.1, 0.4, 0.35, 0.8, 0.2], [0, 0, 1, 1, 0], "without ties"),
        ([3.0, 1.0, 2.0], [0, 1, 1], "where every replaced token scores lower"),
    )
    for scores, labels, what in by_hand:
        _compare_auc(auc, torch.tensor(scores), torch.tensor(labels), what)
    for seed, (size, share, levels) in enumerate(
        ((300, 0.1, 0), (3000, 0.1, 7), (2000, 0.5, 2))
    ):
        generator = torch.Generator().manual_seed(seed)
        labels = (torch.rand(size, generator=generator) < share).long()
        scores = torch.randn(size, generator=generator) + 0.8 * labels
        if levels:
            scores = (scores * levels / 4).round()
        what = f"for {size:,} tokens, {int(labels.sum())} of them replaced" + (
            ", with ties" if levels else ""
        )
        _compare_auc(auc, scores, labels, what)
        _compare_auc(auc, scores.double(), labels.bool(), what + ", labels as booleans")
    ties = (
        ([1.0, 2.0, 2.0, 3.0], [0, 1, 0, 1], "with one tie"),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 1], "with nothing but ties"),
        ([-math.inf, 0.0, math.inf, math.inf], [0, 0, 1, 0], "with infinite scores"),
    )
    for scores, labels, what in ties:
        _compare_auc(auc, torch.tensor(scores), torch.tensor(labels), what)
    passed(
        "the AUC is scikit-learn's, with ties and infinite scores, for labels as "
        "numbers and as booleans"
    )
    generator = torch.Generator().manual_seed(3)
    labels = (torch.rand(40, 50, generator=generator) < 0.15).long()
    scores = torch.randn(40, 50, generator=generator) + labels
    labels[torch.rand(40, 50, generator=generator) < 0.4] = -100
    scores[labels == -100] -= 3.0
    _compare_auc(
        auc, scores, labels, "for a batch of shape (40, 50) in which 40 % do not count"
    )
    passed("tokens with the label −100 do not count, whatever the shape")
    for label, what in ((0, "nothing is"), (1, "everything is")):
        labels = torch.tensor([label, label, -100])
        try:
            result = written(auc, "the answer")(torch.tensor([0.1, 0.2, 0.3]), labels)
        except ValueError:
            continue
        except Exception as error:
            fail(
                f"where {what} replaced, a ValueError is needed, and "
                f"{type(error).__name__} was raised."
            )
        fail(
            f"where {what} replaced, there are no pairs and so no AUC, and your "
            f"function returned {describe(result)}. Raise a ValueError."
        )
    passed("labels of one kind only are refused")


def _compare_auc(function: Callable, scores: Tensor, labels: Tensor, what: str) -> None:
    found = as_number(_unchanged(function, scores, labels), "the AUC")
    counted = labels != -100
    right, truth = scores[counted].double().clamp(-1e300, 1e300), labels[counted].long()
    if abs(found - (wanted := float(roc_auc_score(truth, right)))) < 1e-6:
        return
    for diagnosis, wrong in _known_aucs(scores, labels):
        if abs(found - wrong) < 1e-6:
            fail(
                f"{what}, the AUC is {found:.4f}, and should be {wanted:.4f}. "
                f"{diagnosis}"
            )
    hint = ""
    if len(right.unique()) < len(right):  # what has no ties was compared before
        hint = " Without ties it was right. All that tie get the mean of their ranks."
    fail(f"{what}, the AUC is {found:.4f}, and should be {wanted:.4f}.{hint}")


def _known_aucs(scores: Tensor, labels: Tensor) -> Iterator[tuple[str, float]]:
    """Mistakes that learners make, each with the number it leads to."""
    counted = labels != -100
    scores_all = scores.double().flatten().clamp(-1e300, 1e300)
    scores, truth = scores_all[counted.flatten()], labels[counted].long()
    wanted = float(roc_auc_score(truth, scores))
    yield "It is the wrong way round: replaced tokens should score higher.", 1 - wanted
    if not counted.all():
        all_labels = labels.flatten()
        yield (
            "That counts the tokens with −100 as originals. They do not count at all.",
            float(roc_auc_score((all_labels == 1).long(), scores_all)),
        )
        yield (
            "That counts the tokens with −100 as replaced. They do not count at all.",
            float(roc_auc_score((all_labels != 0).long(), scores_all)),
        )
    above = (scores[truth == 1][:, None] > scores[truth == 0]).double().mean()
    below = (scores[truth == 1][:, None] < scores[truth == 0]).double().mean()
    yield "Ties count nothing. They should count half.", float(above)
    yield "Ties count as won. They should count half.", float(1 - below)
    for descending in (False, True):
        for order in (truth, 1 - truth):
            places = order.argsort(stable=True)
            ranks = (
                scores[places]
                .argsort(stable=True, descending=descending)
                .argsort()
                .double()
            )
            ranks = len(ranks) - ranks if descending else ranks + 1
            positive = truth[places] == 1
            ones, zeros = int(positive.sum()), int((~positive).sum())
            value = float(
                (ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros)
            )
            yield (
                "Ties get the ranks in which they happen to stand. They should "
                "get their mean.",
                value,
            )
    ranks = scores.argsort(stable=True).argsort().double() + 1
    ones, zeros = int((truth == 1).sum()), int((truth == 0).sum())
    total = ranks[truth == 1].sum()
    yield (
        "Ties get the ranks in which they happen to stand. They should get their mean.",
        float((total - ones * (ones + 1) / 2) / (ones * zeros)),
    )
    _, place, count = scores.unique(return_inverse=True, return_counts=True)
    mean_rank = (count.cumsum(dim=0).double() - (count.double() - 1) / 2)[place][
        truth == 1
    ].sum()
    yield (
        "The replaced tokens' own ranks, n₁(n₁ + 1)/2, are not subtracted.",
        float(mean_rank / (ones * zeros)),
    )
    yield (
        "n₁ is the number of replaced tokens. Subtracted was n₀(n₀ + 1)/2, of "
        "the original ones.",
        float((mean_rank - zeros * (zeros + 1) / 2) / (ones * zeros)),
    )
    yield (
        "Ranks count from 1. Yours seem to count from 0.",
        float((mean_rank - ones - ones * (ones + 1) / 2) / (ones * zeros)),
    )
    yield "That is in percent. A share is asked for.", 100 * wanted
    for threshold in (0.0, 0.5):
        said = (scores > threshold).long()
        yield "That is the accuracy.", float((said == truth).double().mean())
        yield (
            f"The scores are cut at {threshold:g} before they are compared. Keep "
            "them as they are.",
            float(roc_auc_score(truth, said.double())),
        )
    yield (
        "That is the average precision, another area.",
        float(average_precision_score(truth, scores)),
    )


# 10.4

_SPECIAL, _MASK, _VOCABULARY = [0, 1, 2, 17], 17, 40


@check
def mended_corrupt(mended_corrupt: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """10.4: what is hidden, shown to the guess, drawn, and said by the labels."""
    for rate in (0.15, 0.5):
        ids, mask = _batch(1500)
        seen, shown, labels = _corrupt(mended_corrupt, ids, mask, 1, rate)
        _compare_places(ids, mask, seen, rate)
        _compare_shown(ids, seen, shown)
        _compare_labels(ids, mask, seen, shown, labels)
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
    few = [part[:60] for part in _batch(400)]
    again = [_corrupt(mended_corrupt, *few, 5, 0.15)[1:] for _ in range(2)]
    if not all(torch.equal(a, b) for a, b in zip(*again, strict=True)):
        fail(
            "two calls with a generator of the same seed differ. Give "
            "`generator` to every draw."
        )
    generator = torch.Generator().manual_seed(5)
    both = [_corrupt(mended_corrupt, *few, generator, 0.15)[1] for _ in range(2)]
    if torch.equal(*both):
        fail(
            "two calls in a row give the same text. Draw from `generator`, and "
            "do not seed it anew."
        )
    passed("all chance comes from the generator")


_CHANCES = torch.cat(
    [torch.zeros(3), torch.tensor([0.3, 0.3, 0.2, 0.1, 0.1])]
)  # of the ids 0 … 7, drawn


def _batch(rows: int) -> tuple[Tensor, Tensor]:
    """Rows [CLS] … [SEP], padded on either side, some with ordinary ids as padding."""
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(3, 8, (rows, 30), generator=generator)
    mask = torch.zeros(rows, 30, dtype=torch.long)
    for row in range(rows):
        length = 6 + row * 7 % 25
        start = 30 - length if row % 3 == 2 else 0
        mask[row, start : start + length] = 1
        ids[row, start], ids[row, start + length - 1] = 1, 2
    ids[(mask == 0) & (torch.arange(rows)[:, None] % 2 == 0)] = 0
    return ids, mask


def _corrupt(
    function: Callable,
    ids: Tensor,
    mask: Tensor,
    seed: int | torch.Generator,
    rate: float,
) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor]:
    """What the guess was given (shown, places), what came back, and the labels."""
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
        chances = torch.cat([_CHANCES, torch.zeros(_VOCABULARY - len(_CHANCES))])
        return chances.log().expand(int(places.sum()), -1).clone()

    generator = (
        seed
        if isinstance(seed, torch.Generator)
        else torch.Generator().manual_seed(seed)
    )
    result = _unchanged(function, ids, mask, guess, _SPECIAL, _MASK, generator, rate)
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
        fail(
            "the first of the two results has −100 in it. The text comes first, "
            "then the labels."
        )
    labels = torch.as_tensor(labels).detach()
    if labels.dtype == torch.bool:
        fail("the labels are booleans, which have no room for −100. Make them numbers.")
    return given[0], shown, labels.double()


def _compare_places(
    ids: Tensor, mask: Tensor, seen: tuple[Tensor, Tensor], rate: float
) -> None:
    text, places = seen
    special, real = torch.isin(ids, torch.tensor(_SPECIAL)), mask.bool()
    if (places & special & real).any():
        fail(
            "a special token, [CLS] or [SEP], is hidden and guessed. `special` "
            "says which ids never are."
        )
    if (places & ~real).any():
        if (places & special).any():
            fail("padding is hidden and guessed. Which places may be chosen at all?")
        fail(
            "padding is hidden and guessed where it holds an ordinary id. Which "
            "tokens are padding is said by `mask`, not by their ids."
        )
    share = float(places[real & ~special].double().mean())
    if abs(share - rate) > 0.03:
        hint = " Is the argument `rate` used?" if abs(share - 0.15) < 0.03 else ""
        if abs(share - (1 - rate)) < 0.03:
            hint = " Those that should stay are hidden."
        fail(
            f"at rate {rate:g}, {share:.2f} of the ordinary real tokens are "
            f"hidden.{hint}"
        )
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
    if (text[places] != _MASK).any():
        fail(
            "the text that `guess` is shown should have `mask_id` at every "
            "hidden place, and only there."
        )


def _compare_shown(ids: Tensor, seen: tuple[Tensor, Tensor], shown: Tensor) -> None:
    places = seen[1]
    if (shown[places] == _MASK).any():
        fail(
            "the discriminator is shown the mask's id. Every hidden place gets "
            "the guess."
        )
    if not torch.equal(shown[~places], ids[~places]):
        fail("a token that was not hidden is shown as something else.")
    found = _frequencies(shown[places], _VOCABULARY)[:8]
    if (found - _CHANCES.double()).abs().max() < 0.04:
        hits, wanted = (
            float((shown == ids)[places].double().mean()),
            float(_CHANCES[ids[places]].mean()),
        )
        if abs(hits - wanted) > 0.05:
            fail(
                f"of the guesses {hits:.2f} hit the original, and by their "
                f"probabilities it should be {wanted:.2f}. The guess is drawn without "
                "a look at the original."
            )
        return
    if len(shown[places].unique()) == 1:
        fail(
            "all hidden places with the same logits get the same token, the most "
            "probable. The guess has to be drawn from the softmax of the logits."
        )
    if torch.equal(shown, ids):
        fail("nothing is replaced at all: the guesses have to be put into the text.")
    fail(
        "the tokens put in place of the hidden ones have the shares "
        f"{_shown(found[3:])}, and their probabilities are {_shown(_CHANCES[3:])}. "
        "Draw each from the softmax of its logits."
    )


def _compare_labels(
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
        fail("a label at padding is not −100. Padding does not count.")
    if torch.equal(labels[real], 1 - wanted[real]):
        fail("the labels are the wrong way round: 1 is replaced, 0 original.")
    hits = places & ~differ
    if (labels[hits] == 1).all():
        if (labels[real & ~places] == 0).all():
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
    if (labels[real & torch.isin(ids, torch.tensor(_SPECIAL))] == -100).all():
        fail(
            "[CLS] and [SEP] do not count in your labels. They are real tokens, "
            "and originals."
        )
    fail(
        "the labels of some real tokens are wrong: 1 where the text differs from "
        "the original, else 0."
    )


# 10.5


@check
def pretraining_flops(pretraining_flops: Callable[..., int]) -> None:
    """10.5: a masked LM and an ELECTRA, with embeddings of one width or of two."""

    def shape(
        layers: int, width: int, heads: int, vocabulary: int = 1000
    ) -> TransformerShape:
        return TransformerShape(
            layers, width, heads, 4 * width, vocabulary, head="none"
        )

    large, small = shape(3, 64, 4), shape(2, 32, 2)
    alone = (
        (large, 64, 128, 19),
        (large, 48, 128, 19),
        (shape(1, 8, 1, 50), 16, 10, 10),
    )
    for case in alone:
        _compare_flops(pretraining_flops, *case, None)
    passed(
        "a masked language model's FLOPs, with embeddings as wide as the encoder "
        "and of another width"
    )
    pairs = (
        (64, 128, 19, small),
        (48, 128, 19, small),
        (32, 20, 3, small),
        (64, 64, 9, large),
    )
    for embedding, length, predicted, generator in pairs:
        _compare_flops(
            pretraining_flops, large, embedding, length, predicted, generator
        )
    passed(
        "an ELECTRA's, for four generators: both bodies, both heads, each where "
        "it is needed"
    )


def _flops(
    shape: TransformerShape,
    embedding: int,
    length: int,
    predicted: int,
    generator: TransformerShape | None,
    passes: float = 3,
    project: str = "needed",
    words_at: int | None = None,
    transform: bool = True,
    lookups: bool = False,
    detection: str = "right",
    body_of_generator: bool = True,
    head_of_generator: bool = True,
    generator_passes: float | None = None,
    logits_from: str = "embedding",
    fused: bool = False,
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
        places = predicted if words_at is None else words_at
        return (
            places
            * 2
            * (part.width * width(part) * transform + inner * part.vocabulary)
        )

    if generator is None:
        return passes * (body(shape) + words(shape)) / (2 if fused else 1)
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
    return (passes * (body(shape) + found) + own * second) / (2 if fused else 1)


_FLOPS_MISTAKES = (
    ("That is one forward pass. Training takes three times that.", {"passes": 1}),
    (
        "That counts the backward pass like one forward pass. It takes two: 3 in all.",
        {"passes": 2},
    ),
    (
        "A multiplication with its addition is 2 FLOPs; yours seem to count 1.",
        {"fused": True},
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
        {"words_at": "length"},
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
)
_PAIR_MISTAKES = (
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
    (
        "The discriminator predicts no words. Its head gives one number a token.",
        {"detection": "words"},
    ),
    (
        "The discriminator predicts no words. Its head gives one number a token.",
        {"detection": "words everywhere"},
    ),
    (
        "The discriminator predicts no words. Its head gives one number a token.",
        {"detection": "words too"},
    ),
    (
        "The generator is missing.",
        {"body_of_generator": False, "head_of_generator": False},
    ),
    ("The generator's head is missing.", {"head_of_generator": False}),
    ("The generator's encoder is missing.", {"body_of_generator": False}),
    ("The generator learns too: its backward pass counts.", {"generator_passes": 1}),
)


def _compare_flops(
    function: Callable,
    shape: TransformerShape,
    embedding: int,
    length: int,
    predicted: int,
    generator: TransformerShape | None,
) -> None:
    case = (shape, embedding, length, predicted, generator)
    arguments = case if generator is not None else case[:-1]
    found = as_number(call(function, *arguments), "the number of FLOPs")
    wanted = _flops(*case)
    if abs(found - wanted) < 0.5:
        return
    beside = f"a generator of width {generator.width}" if generator else "no generator"
    what = (
        f"width {shape.width}, {beside}, E = {embedding}, T = {length}, {predicted} "
        f"predicted: {found:,.0f} FLOPs, and it should be {wanted:,.0f}."
    )
    for diagnosis, mistake in _FLOPS_MISTAKES + (_PAIR_MISTAKES if generator else ()):
        mistake = {
            key: length if value == "length" else value
            for key, value in mistake.items()
        }
        wrong = _flops(*case, **mistake)
        if abs(found - wrong) < 0.5 and wrong != wanted:
            fail(f"{what} {diagnosis}")
    if abs(found * length - wanted) < length:
        fail(f"{what} That is the cost of one token. A sequence has T = {length}.")
    if generator and abs(found - _flops(*case[:-1], None)) < 0.5:
        fail(
            f"{what} That is a masked language model's count. Is the argument "
            "`generator` used?"
        )
    fail(f"{what} Of what was expected that is {found / wanted:.3f}.")


# 10.6

_TABLES = {
    "words": "embeddings.words.weight",
    "segments": "embeddings.segments.weight",
    "positions": "embeddings.positions.table.weight",
}


_RATE = 2e-3  # not Adam's own default, which an answer without the argument would have


@check
def mended_prepare(mended_prepare: Callable[..., torch.optim.Optimizer]) -> None:
    """10.6: one parameter in both models, with both gradients; nothing else shared."""
    models = _pair()
    before = [
        {name: value.clone() for name, value in model.state_dict().items()}
        for model in models
    ]
    optimiser = call(mended_prepare, *models, _RATE)
    if not isinstance(optimiser, torch.optim.Optimizer):
        fail(
            "an optimiser is needed, and what came back is of type "
            f"{type(optimiser).__name__}."
        )
    _compare_tables(*models[:2])
    _compare_values(models, before)
    passed(
        "both models hold the same three tables, with the numbers of one of "
        "them, and nothing else"
    )
    _compare_optimiser(optimiser, models)
    passed("every parameter of the three is in the optimiser, once")
    _compare_step(mended_prepare)
    passed(
        "a step moves the word vectors once, by the gradient of both losses together"
    )


def _pair() -> tuple[MaskedLanguageModel, Bert, nn.Linear]:
    with torch.random.fork_rng():  # the learner's random numbers are left alone
        torch.manual_seed(0)
        sizes = [
            BertConfiguration(
                20,
                width=8,
                layers=layers,
                heads=2,
                hidden=16,
                max_length=6,
                dropout=0.0,
            )
            for layers in (1, 2)
        ]
        return MaskedLanguageModel(sizes[0]), Bert(sizes[1]), nn.Linear(8, 1)


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
    for model, old, which in zip(
        models, before, ("generator", "discriminator", "head"), strict=True
    ):
        for name, value in model.state_dict().items():
            if "embeddings." not in name and not torch.equal(value, old[name]):
                fail(f"`{name}` of the {which} has other numbers than before.")


def _compare_optimiser(
    optimiser: torch.optim.Optimizer, models: tuple[nn.Module, ...]
) -> None:
    given = [
        id(parameter)
        for group in optimiser.param_groups
        for parameter in group["params"]
    ]
    used: dict[int, str] = {}
    for model, which in zip(
        models, ("generator", "discriminator", "head"), strict=True
    ):
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
            "the optimiser holds a parameter that no model has any more. Was it made "
            "before the tables were shared?"
        )
    if not isinstance(optimiser, torch.optim.Adam | torch.optim.AdamW):
        fail(f"Adam is asked for, and this is {type(optimiser).__name__}.")
    rates = {float(group["lr"]) for group in optimiser.param_groups}
    if rates != {_RATE}:
        fail(
            f"called with learning_rate={_RATE:g}, the optimiser has "
            f"{sorted(rates)}. Use the argument."
        )


def _compare_step(function: Callable) -> None:
    generator, discriminator, head = _pair()
    optimiser = call(function, generator, discriminator, head, _RATE)
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
    moved = ((table.detach() - before).abs() / _RATE)[sure]
    furthest = (moved - 1).abs().argmax()
    if abs(moved[furthest] - 1) > 0.05:
        fail(
            "in the first step a number of a word vector moves by "
            f"{float(moved[furthest]):.2f} learning rates. Adam's first step moves "
            "all by one, up or down. What does your optimiser do otherwise?"
        )
