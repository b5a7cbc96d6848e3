"""Checks of chapter 23's exercises.

- `majority_right`: how often a majority is right (exercise 23.1)
- `by_hand`: six numbers worked out beforehand (exercise 23.2)
- `any_right`: how often one of k answers is right, estimated from n (exercise 23.3)
- `route`: the weights of the k best experts (exercise 23.4)
- `shuffled_p`: an exact test of two groups of names (exercise 23.5)
- `haystack`: a text that keeps its needle (exercise 23.6)
"""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from finetuning.checks.compare import Tolerance
from finetuning.checks.core import check, passed, random_tensor
from finetuning.checks.predictions import Guess, numbers_by_name, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "any_right",
    "by_hand",
    "haystack",
    "majority_right",
    "route",
    "shuffled_p",
]

_EXACT = Tolerance(1e-6, 1e-9)


# 23.1


def _chances(p: float, k: int) -> list[float]:
    """The probability of each number of right answers, from 0 to k."""
    return [math.comb(k, n) * p**n * (1 - p) ** (k - n) for n in range(k + 1)]


def _majority_right(p: float, k: int) -> float:
    chances = _chances(p, k)
    more = sum(chances[n] for n in range(k + 1) if 2 * n > k)
    return more + (chances[k // 2] / 2 if k % 2 == 0 else 0.0)


def _ties(weight: float) -> Callable[[float, int], float]:
    """As `_majority_right`, with another weight for a tie."""

    def answer(p: float, k: int) -> float:
        tie = _chances(p, k)[k // 2] if k % 2 == 0 else 0.0
        return _majority_right(p, k) + (weight - 0.5) * tie

    return answer


def _without_orders(p: float, k: int) -> float:
    more = sum(p**n * (1 - p) ** (k - n) for n in range(k + 1) if 2 * n > k)
    tie = p ** (k // 2) * (1 - p) ** (k // 2) / 2 if k % 2 == 0 else 0.0
    return more + tie


def _one_right(p: float, k: int) -> float:
    return 1 - (1 - p) ** k


def _majority_cases() -> list[Case]:
    even = ("The number of answers is even here: a tie counts as half.",)
    return [
        Case(
            f"for {k} answers that are right with {p}",
            (p, k),
            facts=even if k % 2 == 0 else (),
        )
        for p, k in (
            (0.6, 3),
            (0.4, 3),
            (0.7, 1),
            (0.55, 15),
            (0.3, 9),
            (0.6, 2),
            (0.45, 4),
            (0.8, 10),
            (0.5, 7),
            (0.9, 5),
        )
    ]


_MAJORITY = Task(
    _majority_right,
    _majority_cases,
    [
        Mistake(
            "This is the probability that *at least one* answer is right. A majority "
            "needs more than half.",
            _one_right,
        ),
        Mistake(
            "This is the probability that *all* answers are right.",
            lambda p, k: p**k,
        ),
        Mistake(
            "Only one order of right and wrong answers was counted. With two of three "
            "right, the wrong one may be the first, the second or the third: "
            "`math.comb(k, n)` orders.",
            _without_orders,
        ),
        Mistake(
            "A tie was counted as a right majority. It counts as half.",
            _ties(1.0),
        ),
        Mistake(
            "A tie was counted as a wrong majority. It counts as half.",
            _ties(0.0),
        ),
        Mistake(
            "This is the probability that the majority is *wrong*.",
            lambda p, k: 1 - _majority_right(p, k),
        ),
        Mistake(
            "This is the probability of exactly the smallest majority. Larger ones "
            "count as well.",
            lambda p, k: _chances(p, k)[k // 2 + 1],
        ),
    ],
    tolerance=_EXACT,
    result="the probability",
)


@check
def majority_right(answer: Callable) -> None:
    """`majority_right(p, k)` -> the probability that more than half of k independent
    answers are right, each with p; a tie counts as half.
    """
    _MAJORITY.check(answer)
    passed("right for one to fifteen answers, odd and even")
    small, large = answer(0.6, 15), answer(0.4, 15)
    passed(f"fifteen answers: 0.6 becomes {small:.2f}, 0.4 becomes {large:.2f}")


# 23.2

_TRUE = {
    "majority of 3": 0.784,
    "any of 4": 1 - 0.7**4,
    "exposure": math.log2(1000 / 8),
    "active share": 1.8 / 7.4,
    "days": 6 * 2e9 * 40e9 / (0.4 * 312e12) / 86400,
    "kilowatt-hours": 6 * 2e9 * 40e9 / (0.4 * 312e12) / 3600 * 0.4,
}
_QUESTIONS = {
    "majority of 3": "How probable is it that all three are right, and how many ways "
    "are there for exactly two to be?",
    "any of 4": "How probable is it that all four are wrong?",
    "exposure": "How many bits has the whole list, and how many the rank?",
    "active share": "Which parameters does every token use, and how many experts are "
    "added to them? And how many are there in all?",
    "days": "How many operations are 6ND, and how many does the card do in a second? A "
    "day has 86,400 of these.",
    "kilowatt-hours": "How many hours does the run take, and how many kilowatts are "
    "400 watts?",
}
_GUESSES = {
    "majority of 3": [
        Guess(0.343, "That is all three. And exactly two?"),
        Guess(0.441, "That is exactly two. And all three?"),
        Guess(0.49, "Two of two. In how many ways may one of three be wrong?"),
        Guess(0.973, "That is at least one of three. How many make a majority?"),
        Guess(0.7, "That is one answer. What do three of them do?"),
    ],
    "any of 4": [
        Guess(0.7**4, "That is none of four. And at least one?"),
        Guess(0.3**4, "That is all four. When is none right?"),
        Guess(
            1.2,
            "Probabilities that add up to more than one: do right answers rule "
            "each other out?",
        ),
        Guess(4 * 0.3 * 0.7**3, "That is exactly one. And more?"),
    ],
    "exposure": [
        Guess(3.0, "That are the bits of the rank. What is left of the list's?"),
        Guess(
            math.log2(1000),
            "That are the bits of the whole list, given away by rank 1. And by rank 8?",
        ),
        Guess(math.log(125), "That is the natural logarithm. In bits?"),
        Guess(125.0, "How many bits is a factor of 125?"),
    ],
    "active share": [
        Guess(8 / 64, "That is the share of the experts. And the other parameters?"),
        Guess(0.8 / 7.4, "Does a token use no others than the experts'?"),
        Guess(1.8, "That is how many are used, in billions. Of how many?"),
    ],
    "days": [
        Guess(
            6 * 2e9 * 40e9 / 312e12 / 86400,
            "That is at the full peak. What does 40 % of it make?",
        ),
        Guess(
            2 * 2e9 * 40e9 / (0.4 * 312e12) / 86400,
            "That is the forward pass, 2ND. And the backward pass?",
        ),
        Guess(6 * 2e9 * 40e9 / (0.4 * 312e12) / 3600, "That are hours. How many days?"),
        Guess(6 * 2e9 * 40e9 / (0.4 * 312e12), "That are seconds. How many days?"),
    ],
    "kilowatt-hours": [
        Guess(
            6 * 2e9 * 40e9 / (0.4 * 312e12) / 3600 * 400,
            "That are watt-hours. How many kilowatt-hours?",
        ),
        Guess(
            6 * 2e9 * 40e9 / (0.4 * 312e12) / 86400 * 0.4,
            "That are kilowatts times days. How many hours has the run?",
        ),
        Guess(
            6 * 2e9 * 40e9 / (0.4 * 312e12) / 3600 * 0.4 * 1.1,
            "Is the building to be counted here?",
        ),
    ],
}


@check
def by_hand(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "majority of 3", "any of 4", "exposure", "active share",
    "days", "kilowatt-hours".
    """
    predicted_numbers(
        numbers_by_name(predicted, _TRUE),
        _TRUE,
        _QUESTIONS,
        relative=0.01,
        guesses=_GUESSES,
        sentence="“{name}” is not {said:g}.",
        at_least=0.0,
    )
    passed("all six are right")


# 23.3


def _any_right(n: int, c: int, k: int) -> float:
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def _any_cases() -> list[Case]:
    few = ("Fewer than k answers are wrong here, so any k of them hold a right one.",)
    return [
        Case(
            f"for {c} right of {n} answers, and k = {k}",
            (n, c, k),
            facts=few if n - c < k else (),
        )
        for n, c, k in (
            (15, 6, 1),
            (15, 6, 4),
            (10, 3, 2),
            (20, 1, 5),
            (8, 0, 3),
            (8, 8, 3),
            (9, 7, 3),
            (15, 12, 4),
            (200, 9, 50),
            (5, 2, 5),
            (4, 0, 4),
        )
    ]


_ANY = Task(
    _any_right,
    _any_cases,
    [
        Mistake(
            "This draws with replacement: each of the k answers is taken to be right "
            "with c / n, as if one answer could be drawn twice. Count the ways to draw "
            "k *different* ones.",
            lambda n, c, k: 1 - (1 - c / n) ** k,
        ),
        Mistake(
            "This is the share of right answers: the probability for k = 1.",
            lambda n, c, k: c / n,
        ),
        Mistake(
            "This adds up k shares. Right answers do not rule each other out, so the "
            "probabilities do not add.",
            lambda n, c, k: min(1.0, k * c / n),
        ),
        Mistake(
            "This is the probability that *all* k are right.",
            lambda n, c, k: math.comb(c, k) / math.comb(n, k),
        ),
        Mistake(
            "This is the probability that *none* of the k is right.",
            lambda n, c, k: math.comb(n - c, k) / math.comb(n, k),
        ),
        Mistake(
            "Only whether there is a right one among all n was asked, whatever k is.",
            lambda n, c, k: float(c > 0),
        ),
    ],
    tolerance=_EXACT,
    result="the probability",
)


@check
def any_right(answer: Callable) -> None:
    """`any_right(n, c, k)` -> the probability that k answers, drawn from n of which c
    are right, hold a right one.
    """
    _ANY.check(answer)
    passed("right from none to all of up to 200 answers")


# 23.4


def _route(scores: Tensor, k: int) -> Tensor:
    best = scores.topk(k, dim=-1)
    shares = best.values.softmax(dim=-1)
    return torch.zeros_like(scores).scatter(-1, best.indices, shares)


def _chosen(scores: Tensor, k: int) -> Tensor:
    places = scores.topk(k, dim=-1).indices
    return torch.zeros_like(scores).scatter(-1, places, 1.0)


def _not_renewed(scores: Tensor, k: int) -> Tensor:
    return scores.softmax(dim=-1) * _chosen(scores, k)


def _zeros_in_softmax(scores: Tensor, k: int) -> Tensor:
    return (scores * _chosen(scores, k)).softmax(dim=-1)


def _across_tokens(scores: Tensor, k: int) -> Tensor:
    if scores.dim() < 2:
        return _route(scores, k)
    kept = scores.masked_fill(_chosen(scores, k) == 0, -math.inf)
    return kept.softmax(dim=-2).nan_to_num(0.0)


def _route_cases() -> list[Case]:
    alone = ("There is one token here, without an axis for tokens.",)
    return [
        Case(
            "for four scores and two experts",
            (torch.tensor([2.0, 1.0, 0.0, -1.0]), 2),
            facts=alone,
        ),
        Case(
            "for 3 tokens and the 2 best of 5 experts",
            (random_tensor(3, 5, seed=1), 2),
            gradient=True,
        ),
        Case(
            "for 6 tokens and the best of 4 experts",
            (random_tensor(6, 4, seed=2), 1),
        ),
        Case(
            "where all 3 experts are used",
            (random_tensor(4, 3, seed=3), 3),
        ),
        Case(
            "for 2 texts of 5 tokens and the 3 best of 7",
            (random_tensor(2, 5, 7, seed=4), 3),
            gradient=True,
        ),
        Case(
            "for scores below zero",
            (random_tensor(4, 6, seed=5) - 9.0, 2),
        ),
        Case(
            "for scores far apart",
            (40 * random_tensor(5, 6, seed=6), 2),
        ),
    ]


_ROUTE = Task(
    _route,
    _route_cases,
    [
        Mistake(
            "The weights of a token do not sum to one: the softmax ran over all "
            "experts, and the others were thrown away afterwards. Take it over the "
            "best k alone.",
            _not_renewed,
        ),
        Mistake(
            "The other experts' scores were set to 0 before the softmax, and e⁰ is not "
            "0: they still get weight. −∞ is the score that gets none.",
            _zeros_in_softmax,
        ),
        Mistake(
            "All experts have weight. Keep the k best, and give the others 0.",
            lambda scores, k: scores.softmax(dim=-1),
        ),
        Mistake(
            "The k best share equally here. Their scores say how much each counts.",
            lambda scores, k: _chosen(scores, k) / k,
        ),
        Mistake(
            "The k *worst* experts were kept.",
            lambda scores, k: torch.zeros_like(scores).scatter(
                -1,
                (-scores).topk(k, dim=-1).indices,
                scores.gather(-1, (-scores).topk(k, dim=-1).indices).softmax(dim=-1),
            ),
        ),
        Mistake(
            "The softmax ran over the tokens. Each token divides its own weight of one "
            "among its experts: the last axis.",
            _across_tokens,
        ),
    ],
    result="the weights",
)


@check
def route(answer: Callable) -> None:
    """`route(scores, k)`, scores (…, E) -> weights (…, E): the softmax of the k best
    scores of each token, 0 for the other experts.
    """
    _ROUTE.check(answer)
    passed("the k best get weights that sum to one, for any leading axes")
    passed("gradients reach the scores of the chosen experts, as by autograd")


# 23.5


def _splits(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    """The difference of means under each way to choose the first group."""
    both = np.array([*first, *second], dtype=float)
    rows = list(itertools.combinations(range(len(both)), len(first)))
    chosen = np.array([both[list(row)].sum() for row in rows])
    return chosen / len(first) - (both.sum() - chosen) / len(second)


def _difference(first: Sequence[float], second: Sequence[float]) -> float:
    return float(np.mean(first) - np.mean(second))


def _shuffled(first: Sequence[float], second: Sequence[float]) -> float:
    found = _difference(first, second)
    return float((abs(_splits(first, second)) >= abs(found) - 1e-9).mean())


def _one_sided(first: Sequence[float], second: Sequence[float]) -> float:
    found = _difference(first, second)
    return float((_splits(first, second) >= found - 1e-9).mean())


def _strict(first: Sequence[float], second: Sequence[float]) -> float:
    found = _difference(first, second)
    return float((abs(_splits(first, second)) > abs(found) + 1e-9).mean())


def _by_sums(first: Sequence[float], second: Sequence[float]) -> float:
    both = np.array([*first, *second], dtype=float)
    rows = itertools.combinations(range(len(both)), len(first))
    sums = np.array([2 * both[list(row)].sum() - both.sum() for row in rows])
    found = abs(np.sum(first) - np.sum(second))
    return float((abs(sums) >= found - 1e-9).mean())


def _t_test(first: Sequence[float], second: Sequence[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of equal scores
        return float(stats.ttest_ind(first, second).pvalue)


def _sign_flips(first: Sequence[float], second: Sequence[float]) -> float:
    gaps = np.subtract(first, second)  # raises where the groups differ in size
    signs = np.array(list(itertools.product((1, -1), repeat=len(gaps))))
    return float((abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).mean())


def _shuffle_cases() -> list[Case]:
    def drawn(seed: int, n: int, m: int, gap: float) -> tuple[list, list]:
        generator = np.random.default_rng(seed)
        return (
            generator.normal(gap, 1.0, n).round(2).tolist(),
            generator.normal(0.0, 1.0, m).round(2).tolist(),
        )

    return [
        Case("for three names against three", ([0.5, 0.9, 0.7], [0.4, 0.6, 0.1])),
        Case("for groups that do not overlap", ([3.0, 4.0, 5.0], [0.0, 1.0, 2.0])),
        Case("where the second group is higher", drawn(1, 5, 5, -1.2)),
        Case("for two against six", drawn(2, 2, 6, 0.8)),
        Case("for six against three", drawn(3, 6, 3, 0.4)),
        Case("for groups that are alike", drawn(4, 5, 4, 0.0)),
        Case("where all scores are equal", ([0.25, 0.25], [0.25, 0.25, 0.25])),
        Case("for one name against four", ([1.5], [0.5, 1.0, 0.75, 1.25])),
        Case("for six against six", drawn(5, 6, 6, 1.0)),
        Case(
            "where one name stands out",
            ([0.1, 0.2, 4.0, 0.15], [0.2, 0.1, 0.3, 0.25]),
        ),
    ]


_SHUFFLE = Task(
    _shuffled,
    _shuffle_cases,
    [
        Mistake(
            "Only differences as large as the measured one were counted, and not those "
            "as far below zero: the test asks for a difference in either direction.",
            _one_sided,
        ),
        Mistake(
            "Differences *as* large as the measured one count as well, and the "
            "measured one itself is among them; up to rounding, so compare with 1e-9 "
            "to spare.",
            _strict,
        ),
        Mistake(
            "The *sums* of the groups were compared. With groups of different sizes "
            "the larger one is ahead by its size: compare the means.",
            _by_sums,
        ),
        Mistake(
            "This is Student's t-test, which assumes normal scores. Count the splits.",
            _t_test,
        ),
        Mistake(
            "The groups were paired, and the signs of the pairs' differences flipped. "
            "No name of the one group belongs to a name of the other: deal the names "
            "out anew.",
            _sign_flips,
        ),
    ],
    tolerance=_EXACT,
    result="p",
)


@check
def shuffled_p(answer: Callable) -> None:
    """`shuffled_p(first, second)`, at most six scores each -> p, exactly."""
    _SHUFFLE.check(answer)
    passed("p is exact for ten pairs of groups, of equal and of different sizes")


# 23.6


def _words(text: str) -> int:
    return len(text.split())


def _fitting(sentences: Sequence[str], room: int) -> list[str]:
    """The first sentences that have no more than so many words together."""
    kept: list[str] = []
    for text in sentences:
        if sum(map(_words, kept)) + _words(text) > room:
            break
        kept.append(text)
    return kept


def _place(kept: Sequence[str], depth: float) -> int:
    """Before which sentence a needle of this depth stands."""
    target, before = depth * sum(map(_words, kept)), 0
    for place, text in enumerate(kept):
        if before >= target:
            return place
        before += _words(text)
    return len(kept)


def _haystack(sentences: Sequence[str], needle: str, depth: float, words: int) -> str:
    kept = _fitting(sentences, words - _words(needle))
    place = _place(kept, depth)
    return " ".join([*kept[:place], needle, *kept[place:]])


def _by_number(sentences: Sequence[str], needle: str, depth: float, words: int) -> str:
    kept = _fitting(sentences, words - _words(needle))
    place = math.ceil(depth * len(kept))
    return " ".join([*kept[:place], needle, *kept[place:]])


def _not_counted(
    sentences: Sequence[str], needle: str, depth: float, words: int
) -> str:
    kept = _fitting(sentences, words)
    place = _place(kept, depth)
    return " ".join([*kept[:place], needle, *kept[place:]])


def _cut_off(sentences: Sequence[str], needle: str, depth: float, words: int) -> str:
    return " ".join(_not_counted(sentences, needle, depth, words).split()[:words])


def _one_too_many(
    sentences: Sequence[str], needle: str, depth: float, words: int
) -> str:
    kept = _fitting(sentences, words - _words(needle))
    kept = list(sentences[: len(kept) + 1])
    place = _place(kept, depth)
    return " ".join([*kept[:place], needle, *kept[place:]])


def _never_last(sentences: Sequence[str], needle: str, depth: float, words: int) -> str:
    kept = _fitting(sentences, words - _words(needle))
    place = min(_place(kept, depth), max(len(kept) - 1, 0))
    return " ".join([*kept[:place], needle, *kept[place:]])


def _as_it_was(sentences: Sequence[str], needle: str, depth: float, words: int) -> str:
    kept: list[str] = []
    for text in sentences:
        kept.append(text)
        if sum(map(_words, kept)) >= words:
            break
    kept.insert(round(depth * (len(kept) - 1)), needle)
    return " ".join(" ".join(kept).split()[:words])


def _hay_cases() -> list[Case]:
    hay = [
        "The river rose all night.",
        "Nobody in the village of the two mills slept well that week.",
        "Rain.",
        "At noon the ferry left, half empty, for the other side.",
        "Three men waited.",
        "They had been told to wait for a letter that never came.",
        "It was cold.",
        "The bell of the chapel rang, and rang again.",
    ]
    needle = "The code of the mill is 427."
    even = [f"Word number {k} here." for k in range(12)]
    last = ("The needle stands at the very end here.",)
    return [
        Case("in the middle of thirty words", (hay, needle, 0.5, 30)),
        Case("at the beginning", (hay, needle, 0.0, 40)),
        Case("at the end", (hay, needle, 1.0, 40), facts=last),
        Case("at depth 0.25 of sixty words", (hay, needle, 0.25, 60)),
        Case("at depth 0.75 of sixty words", (hay, needle, 0.75, 60)),
        Case("where all sentences are equally long", (even, needle, 0.5, 31)),
        Case(
            "where a sentence just fits",
            (even, "A needle of five words.", 1.0, 25),
            facts=last,
        ),
        Case("for a short needle", (hay, "Look: 61.", 0.5, 45)),
        Case("where nothing but the needle fits", (hay, needle, 0.5, 9)),
        Case("for the first half of a long text", (hay * 3, needle, 0.5, 100)),
    ]


_HAY = Task(
    _haystack,
    _hay_cases,
    [
        Mistake(
            "All three faults are still there: the words of the needle are not "
            "counted, so the end is cut off and perhaps the needle with it; the depth "
            "goes by the number of sentences; and the needle never comes last.",
            _as_it_was,
        ),
        Mistake(
            "The depth goes by the number of sentences. It is a share of the *words* "
            "of the sentences that are kept.",
            _by_number,
        ),
        Mistake(
            "The words of the needle are not counted: the whole text may have as many "
            "words as asked for, and has more.",
            _not_counted,
        ),
        Mistake(
            "The text is cut in the middle of a sentence, or of the needle. Leave out "
            "whole sentences until the needle fits as well.",
            _cut_off,
        ),
        Mistake(
            "One sentence too many is kept: the one that no longer fits.",
            _one_too_many,
        ),
        Mistake(
            "The needle never comes last: at depth 1 it stands after all sentences.",
            _never_last,
        ),
    ],
    result="the text",
)


@check
def haystack(answer: Callable) -> None:
    """`mended_haystack(sentences, needle, depth, words)` -> a text with it."""
    _HAY.check(answer)
    passed("whole sentences and the whole needle, within the words asked for")
    passed("at the beginning, at the end and between, by the share of words")
