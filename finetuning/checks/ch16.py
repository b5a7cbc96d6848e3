"""Checks of chapter 16's exercises.

- `kappa`: the agreement of two judges beyond chance (exercise 16.1)
- `by_hand`: six scores of one pair of texts, worked out beforehand (exercise 16.2)
- `wilson`: an interval for a share that holds with few items (exercise 16.3)
- `judge_report`: what answers in both orders say of a judge (exercise 16.4)
- `sign_flip`: an exact paired test (exercise 16.5)
- `corpus_bleu`: BLEU of a corpus without the three faults (exercise 16.6)
"""

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import check, passed
from finetuning.checks.predictions import Guess, numbers_by_name, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "by_hand",
    "corpus_bleu",
    "judge_report",
    "kappa",
    "sign_flip",
    "wilson",
]

_EXACT = Tolerance(1e-6, 1e-9)


def _pair(
    found: Any, expected: tuple, case: Case, names: tuple[str, str]
) -> str | None:
    """How a pair of numbers differs; a list or an array will do as well."""
    if isinstance(found, (list, np.ndarray)):
        found = tuple(found)
    return difference(found, expected, names, _EXACT)


# 16.1


def _agreement(first: Sequence, second: Sequence) -> float:
    return float(np.mean([a == b for a, b in zip(first, second, strict=True)]))


def _kappa(first: Sequence, second: Sequence) -> float:
    if len({*first, *second}) == 1:
        return 1.0
    return float(cohen_kappa_score(list(first), list(second)))


def _chance(first: Sequence, second: Sequence) -> float:
    one, other = Counter(first), Counter(second)
    return sum(one[label] * other[label] for label in one) / len(first) ** 2


def _with_chance(chance: Callable[[Sequence, Sequence], float]) -> Callable:
    def answer(first: Sequence, second: Sequence) -> float:
        expected = chance(first, second)
        if expected == 1:
            return 1.0
        return (_agreement(first, second) - expected) / (1 - expected)

    return answer


def _pooled(first: Sequence, second: Sequence) -> float:
    both = Counter([*first, *second])
    return sum((count / both.total()) ** 2 for count in both.values())


def _kappa_cases() -> list[Case]:
    def drawn(seed: int, n: int, labels: Sequence, same: float) -> tuple[list, list]:
        generator = np.random.default_rng(seed)
        first = [labels[k] for k in generator.integers(len(labels), size=n)]
        other = [labels[k] for k in generator.integers(len(labels), size=n)]
        keep = generator.random(n) < same
        return first, [
            a if k else b for a, b, k in zip(first, other, keep, strict=True)
        ]

    one_label = ("Both judges say one and the same label throughout.",)
    return [
        Case("for ten answers A and B", (list("AABABBBAAA"), list("ABABBBBAAB"))),
        Case(
            "for a judge that nearly always says A",
            (list("AAAAAAAB"), list("ABABAAAB")),
        ),
        Case("for three labels", drawn(1, 40, ("yes", "no", "unsure"), 0.6)),
        Case("for five labels that are numbers", drawn(2, 75, range(5), 0.3)),
        Case("for judges that always agree", (list("ABBA"), list("ABBA"))),
        Case("for judges that never agree", (list("ABABB"), list("BABAA"))),
        Case("where one judge says A throughout", (list("AAAAAA"), list("ABAABA"))),
        Case(
            "where both say A throughout", (list("AAAA"), list("AAAA")), facts=one_label
        ),
        Case("where both say 7 throughout", ([7, 7], [7, 7]), facts=one_label),
        Case("where a label occurs with one judge only", (list("AABC"), list("AABB"))),
    ]


_KAPPA = Task(
    _kappa,
    _kappa_cases,
    [
        Mistake(
            "This is the plain agreement. Judges who answer at random agree as well: "
            "take what chance gives away, and divide by what it leaves.",
            _agreement,
        ),
        Mistake(
            "Chance was taken away, and what remains not divided by what chance "
            "leaves, 1 − chance: judges who always agree should get 1.",
            lambda first, second: _agreement(first, second) - _chance(first, second),
        ),
        Mistake(
            "Chance was taken to be one in so many labels, as if each judge used all "
            "labels equally often. Use how often each really says each.",
            _with_chance(lambda first, second: 1 / len({*first, *second})),
        ),
        Mistake(
            "Both judges' answers were thrown together to find the shares of the "
            "labels. Each judge has its own shares: multiply one's with the other's.",
            _with_chance(_pooled),
        ),
        Mistake(
            "Chance was worked out from the first judge's shares alone.",
            _with_chance(lambda first, second: _chance(first, first)),
        ),
        Mistake(
            "Chance was worked out from the second judge's shares alone.",
            _with_chance(lambda first, second: _chance(second, second)),
        ),
    ],
    tolerance=_EXACT,
    result="kappa",
)


@check
def kappa(answer: Callable) -> None:
    """`kappa(first, second)`, lists of labels -> Cohen's kappa; 1 where both say one
    and the same label throughout.
    """
    _KAPPA.check(answer)
    passed("equal to scikit-learn's for two, three and five labels")
    passed("judges who say one label throughout get 1")


# 16.2

_QUESTIONS = {
    "token F1": "How many words has each text, and how many do they share?",
    "ROUGE-2 F1": "Write down both texts' pairs of neighbours. Which stand in both?",
    "ROUGE-L recall": "What is the longest row of words that both have in order, and "
    "how long is the reference?",
    "brevity factor": "Which text is shorter, and what does the exponent 1 − r/p give "
    "for r words of the reference and p of the prediction?",
    "trigram precision": "How many trigrams has the prediction, and what does "
    "smoothing put in the place of no match?",
    "perplexity": "What is the mean of ln 2 and ln 8?",
}
_TRUE = {
    "token F1": 2 / 3,
    "ROUGE-2 F1": 2 / 7,
    "ROUGE-L recall": 3 / 5,
    "brevity factor": math.exp(1 - 5 / 4),
    "trigram precision": 0.25,
    "perplexity": 4.0,
}
_GUESSES = {
    "token F1": [
        Guess(3 / 4, "That is the precision. What is recall, and their harmonic mean?"),
        Guess(
            3 / 5, "Is that recall, perhaps? What is precision, and the harmonic mean?"
        ),
        Guess(
            27 / 40,
            "That is the plain mean of precision and recall; F1 is the "
            "harmonic one. What is that?",
        ),
    ],
    "ROUGE-2 F1": [
        Guess(1 / 3, "That is the precision. And the recall?"),
        Guess(1 / 4, "That is the recall. And the precision?"),
        Guess(
            2 / 3, "That is F1 of single words. Which pairs of neighbours are shared?"
        ),
        Guess(0.0, "Is there no pair of neighbours that stands in both texts?"),
    ],
    "ROUGE-L recall": [
        Guess(3 / 4, "That is the precision: of whose words is recall a part?"),
        Guess(2 / 3, "That is F1. And recall alone?"),
        Guess(2 / 5, "Need the words stand side by side?"),
    ],
    "brevity factor": [
        Guess(1.0, "Is the prediction as long as the reference?"),
        Guess(4 / 5, "That is the ratio of lengths. What is it in the exponent?"),
        Guess(
            math.exp(1 - 4 / 5), "A penalty is at most 1. Which length stands on top?"
        ),
        Guess(math.exp(-5 / 4), "And the 1 in the exponent?"),
    ],
    "trigram precision": [
        Guess(0.0, "Without smoothing, yes. What stands in the place of no match?"),
        Guess(
            0.5,
            "That is what stands in the place of the matches. And how many "
            "trigrams has the prediction?",
        ),
        Guess(1 / 8, "Is it the first length without a match, or the second?"),
        Guess(1 / 6, "Of whose trigrams is precision a part?"),
    ],
    "perplexity": [
        Guess(5.0, "That is the mean of 2 and 8. What is the mean of the logarithms?"),
        Guess(
            3.2,
            "That comes of the mean of the probabilities. What is the mean of "
            "the logarithms?",
        ),
        Guess(math.log(4), "That is the mean logarithm. And e to its power?"),
        Guess(0.25, "Perplexity is at least 1. Which sign has the exponent?"),
        Guess(16.0, "That is the product. The mean logarithm has two terms."),
    ],
}


@check
def by_hand(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "token F1", "ROUGE-2 F1", "ROUGE-L recall", "brevity factor",
    "trigram precision", "perplexity".
    """
    predicted_numbers(
        numbers_by_name(predicted, _TRUE),
        _TRUE,
        _QUESTIONS,
        relative=0.0,
        absolute=0.002,
        guesses=_GUESSES,
        sentence="“{name}” is not {said:g}.",
    )
    passed("all six are right")


# 16.3

_Z = 1.96


def _wilson(right: int, items: int) -> tuple[float, float]:
    share, extra = right / items, _Z**2 / items
    centre = (share + extra / 2) / (1 + extra)
    half = _Z * math.sqrt(share * (1 - share) / items + extra / (4 * items))
    return centre - half / (1 + extra), centre + half / (1 + extra)


def _wald(right: int, items: int) -> tuple[float, float]:
    share = right / items
    half = _Z * math.sqrt(share * (1 - share) / items)
    return share - half, share + half


def _wald_clipped(right: int, items: int) -> tuple[float, float]:
    low, high = _wald(right, items)
    return max(0.0, low), min(1.0, high)


def _around_the_share(right: int, items: int) -> tuple[float, float]:
    low, high = _wilson(right, items)
    half = (high - low) / 2
    return right / items - half, right / items + half


def _not_divided(right: int, items: int) -> tuple[float, float]:
    low, high = _wilson(right, items)
    factor = 1 + _Z**2 / items
    return low * factor, high * factor


def _wilson_cases() -> list[Case]:
    none = ("No item, or every one, is right here: the interval still has a width.",)
    return [
        Case(
            f"for {right} of {items} right",
            (right, items),
            facts=none if right in (0, items) else (),
        )
        for right, items in (
            (19, 20),
            (20, 20),
            (0, 7),
            (3, 5),
            (45, 60),
            (110, 200),
            (1, 1),
            (8, 11),
            (930, 1000),
        )
    ]


_WILSON = Task(
    _wilson,
    _wilson_cases,
    [
        Mistake(
            "This is the share ± 1.96 of its own standard errors, which is nothing "
            "where all are right. The standard error is that of the *true* share p: "
            "solve for the p at the edge.",
            _wald,
        ),
        Mistake(
            "This is the share ± 1.96 of its own standard errors, cut off at 0 and 1. "
            "The standard error is that of the *true* share p: solve for the p at the "
            "edge.",
            _wald_clipped,
        ),
        Mistake(
            "The width is right, and the middle is not: it lies nearer to one half "
            "than the measured share.",
            _around_the_share,
        ),
        Mistake(
            "What is missing is the division by 1 + z²/n, the factor of p² in the "
            "equation.",
            _not_divided,
        ),
        Mistake(
            "The ends come in the wrong order: the lower one first.",
            lambda right, items: _wilson(right, items)[::-1],
        ),
    ],
    compare=lambda found, expected, case: _pair(
        found, expected, case, ("the lower end", "the upper end")
    ),
    tolerance=_EXACT,
)


@check
def wilson(answer: Callable) -> None:
    """`wilson(right, items)` -> the lower and the upper end, for z = 1.96."""
    _WILSON.check(answer)
    passed("both ends are right for nine counts, none right and all right among them")
    interval = stats.binomtest(19, 20).proportion_ci(method="wilson")
    found = answer(19, 20)
    gap = max(abs(found[0] - interval.low), abs(found[1] - interval.high))
    if gap < 1e-4:  # SciPy's z has more digits
        passed("and scipy.stats says the same, up to the digits of 1.96")


# 16.4


def _report(first: np.ndarray) -> dict[str, float]:
    first = np.asarray(first, dtype=float)
    chosen = first > 0.5
    own = np.stack([chosen[:, 0], ~chosen[:, 1]], axis=1)
    return {
        "first": float(chosen.mean()),
        "consistent": float((own[:, 0] == own[:, 1]).mean()),
        "right": float(own.mean()),
        "right together": float((first[:, 0] + 1 - first[:, 1] > 1).mean()),
    }


def _replaced(**others: Callable[[np.ndarray], float]) -> Callable:
    def answer(first: np.ndarray) -> dict[str, float]:
        first = np.asarray(first, dtype=float)
        names = {name.replace("_", " "): value for name, value in others.items()}
        return _report(first) | {n: float(value(first)) for n, value in names.items()}

    return answer


def _report_cases() -> list[Case]:
    def drawn(seed: int, n: int, bias: float, skill: float) -> np.ndarray:
        generator = np.random.default_rng(seed)
        noise = generator.normal(size=(n, 2))
        scores = bias + skill * np.array([1.0, -1.0]) + noise
        return 1 / (1 + np.exp(-scores))

    return [
        Case("for three pairs", (np.array([[0.9, 0.2], [0.7, 0.6], [0.4, 0.1]]),)),
        Case("for a judge that takes the first", (drawn(1, 50, 2.5, 0.2),)),
        Case("for a judge that takes the second", (drawn(2, 41, -1.5, 0.4),)),
        Case("for a good judge", (drawn(3, 64, 0.0, 1.5),)),
        Case("for a judge that is mostly wrong", (drawn(4, 30, 0.3, -1.0),)),
        Case("for one pair", (np.array([[0.6, 0.8]]),)),
        Case(
            "where both answers get equally much in two pairs of three",
            (np.array([[0.75, 0.75], [0.25, 0.25], [0.875, 0.375]]),),
        ),
        Case(
            "where both answers get equally much in one pair of four",
            (np.array([[0.75, 0.75], [0.875, 0.125], [0.25, 0.625], [0.625, 0.375]]),),
        ),
        Case("for a hundred pairs", (drawn(5, 100, 0.8, 0.5),)),
    ]


def _same_report(found: Any, expected: dict, case: Case) -> str | None:
    return difference(found, expected, "the report", _EXACT)


_REPORT = Task(
    _report,
    _report_cases,
    [
        Mistake(
            "“consistent” counts the pairs in which the same *letter* was said twice. "
            "The sides were swapped: the same letter is another headline.",
            _replaced(consistent=lambda f: ((f[:, 0] > 0.5) == (f[:, 1] > 0.5)).mean()),
        ),
        Mistake(
            "“right” takes the first for right in both columns. In the second one the "
            "right headline stands second.",
            _replaced(right=lambda f: (f > 0.5).mean()),
        ),
        Mistake(
            "“right” looks at the first column alone.",
            _replaced(right=lambda f: (f[:, 0] > 0.5).mean()),
        ),
        Mistake(
            "“right” counts the pairs that are right in both orders; it is a share of "
            "all answers.",
            _replaced(right=lambda f: ((f[:, 0] > 0.5) & (f[:, 1] < 0.5)).mean()),
        ),
        Mistake(
            "“first” looks at the first column alone; every question counts, and there "
            "are two a pair.",
            _replaced(first=lambda f: (f[:, 0] > 0.5).mean()),
        ),
        Mistake(
            "“first” is the mean probability; it is the share of questions in which "
            "the first is chosen, which is where the probability is above one half.",
            _replaced(first=lambda f: f.mean()),
        ),
        Mistake(
            "“right together” adds the two columns as they are. The second one is the "
            "probability of the *wrong* headline.",
            _replaced(right_together=lambda f: (f.sum(axis=1) > 1).mean()),
        ),
        Mistake(
            "“right together” counts the pairs in which both answers get equally much. "
            "The right one must have more.",
            _replaced(right_together=lambda f: (f[:, 0] + 1 - f[:, 1] >= 1).mean()),
        ),
    ],
    compare=_same_report,
    tolerance=_EXACT,
)


@check
def judge_report(answer: Callable) -> None:
    """`judge_report(first)`, an array (N, 2) -> "first", "consistent", "right",
    "right together".
    """
    _REPORT.check(answer)
    passed("all four figures are right, for judges of every bias and skill")


# 16.5


def _differences(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    return np.asarray(first, dtype=float) - np.asarray(second, dtype=float)


def _flipped(gaps: np.ndarray) -> np.ndarray:
    """The sum of the differences under each of the 2ⁿ choices of signs."""
    signs = np.array(list(itertools.product((1, -1), repeat=len(gaps))))
    return signs @ gaps


def _sign_flip(first: Sequence[float], second: Sequence[float]) -> float:
    gaps = _differences(first, second)
    return float((abs(_flipped(gaps)) >= abs(gaps.sum()) - 1e-9).mean())


def _one_sided(first: Sequence[float], second: Sequence[float]) -> float:
    gaps = _differences(first, second)
    return float((_flipped(gaps) >= gaps.sum() - 1e-9).mean())


def _strict(first: Sequence[float], second: Sequence[float]) -> float:
    gaps = _differences(first, second)
    return float((abs(_flipped(gaps)) > abs(gaps.sum()) + 1e-9).mean())


def _unpaired(first: Sequence[float], second: Sequence[float]) -> float:
    both = np.array([*first, *second], dtype=float)
    size, whole = len(first), abs(np.mean(first) - np.mean(second))
    hits = [
        abs(2 * both[list(rows)].sum() - both.sum()) / size >= whole - 1e-9
        for rows in itertools.combinations(range(2 * size), size)
    ]
    return float(np.mean(hits))


def _t_test(first: Sequence[float], second: Sequence[float]) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a single item, say
        return float(stats.ttest_rel(first, second).pvalue)


def _sign_test(first: Sequence[float], second: Sequence[float]) -> float:
    return _sign_flip(*np.sign([_differences(first, second), np.zeros(len(first))]))


def _flip_cases() -> list[Case]:
    def scores(seed: int, n: int, gap: float) -> tuple[list[float], list[float]]:
        generator = np.random.default_rng(seed)
        second = generator.random(n).round(2)
        return (second + generator.normal(gap, 0.2, n)).round(
            2
        ).tolist(), second.tolist()

    return [
        Case("for three items", ([0.9, 0.5, 0.7], [0.4, 0.6, 0.5])),
        Case("for right and wrong, 1 and 0", ([1, 1, 1, 0, 1, 1], [0, 1, 0, 1, 0, 0])),
        Case("where the second is better", scores(1, 6, -0.3)),
        Case("where both are alike", scores(2, 7, 0.0)),
        Case("where the first is much better", scores(3, 7, 0.6)),
        Case(
            "where one large gap stands against small ones",
            ([0.9, 0.2, 0.3, 0.1, 0.6], [0.1, 0.3, 0.4, 0.3, 0.65]),
        ),
        Case(
            "where many small gaps make a large one",
            ([0.4, 0.5, 0.35, 0.75, 0.2], [0.3, 0.3, 0.3, 0.6, 0.9]),
        ),
        Case("for scores that are equal", ([0.3, 0.8, 0.1], [0.3, 0.8, 0.1])),
        Case("for a single item", ([0.75], [0.25])),
        Case(
            "where most differences are alike",
            ([0.3, 0.4, 0.6, 0.9], [0.2, 0.3, 0.5, 0.8]),
        ),
    ]


_FLIP = Task(
    _sign_flip,
    _flip_cases,
    [
        Mistake(
            "Only sums as large as the measured one were counted, and not those as far "
            "below zero: the test asks for a difference in either direction.",
            _one_sided,
        ),
        Mistake(
            "Sums *as* large as the measured one count as well, and that one itself is "
            "among them; up to rounding, so compare with 1e-9 to spare.",
            _strict,
        ),
        Mistake(
            "The scores were dealt out anew to both systems, as if they were of "
            "different items. Each item has one score of each: only the sign of their "
            "difference may change.",
            _unpaired,
        ),
        Mistake(
            "This is Student's paired t-test, which assumes normal differences.",
            _t_test,
        ),
        Mistake(
            "Only the signs of the differences were used, and not their sizes.",
            _sign_test,
        ),
    ],
    tolerance=_EXACT,
    result="p",
)


@check
def sign_flip(answer: Callable) -> None:
    """`sign_flip_p(first, second)`, at most twelve scores each -> p, exactly."""
    _FLIP.check(answer)
    passed("p is exact for ten pairs of systems")
    passed("equal systems have p = 1")


# 16.6


def _runs(words: Sequence[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _bleu(
    predictions: Sequence[str],
    references: Sequence[str],
    clipped: bool = True,
    summed: bool = True,
    penalty: Callable[[int, int], float] = lambda ours, theirs: min(
        1.0, math.exp(1 - theirs / ours)
    ),
) -> float:
    pairs = [
        (ours.split(), theirs.split())
        for ours, theirs in zip(predictions, references, strict=True)
    ]
    precisions = []
    for n in range(1, 5):
        matches, totals = [], []
        for ours, theirs in pairs:
            found, wanted = _runs(ours, n), _runs(theirs, n)
            matches.append(
                sum(
                    min(count, wanted[run]) if clipped else count * (run in wanted)
                    for run, count in found.items()
                )
            )
            totals.append(found.total())
        if summed:
            precisions.append(sum(matches) / max(sum(totals), 1))
        else:
            shares = [m / max(t, 1) for m, t in zip(matches, totals, strict=True)]
            precisions.append(sum(shares) / len(shares))
    if not all(precisions):
        return 0.0
    lengths = (
        sum(len(ours) for ours, _ in pairs),
        sum(len(theirs) for _, theirs in pairs),
    )
    product = math.prod(precisions) ** 0.25
    return 100 * penalty(*lengths) * product


def _upside_down(ours: int, theirs: int) -> float:
    return min(1.0, math.exp(1 - ours / theirs))


def _bleu_cases() -> list[Case]:
    long = (
        "the gate is open until nine and it is closed on every other day",
        "the gate is open until ten and it is closed on every day",
    )
    return [
        Case("for one equal sentence", (["a b c d e"], ["a b c d e"])),
        Case("for four equal words", (["a b c d"], ["a b c d"])),
        Case(
            "for a short and a long sentence",
            (["save all changes", long[0]], ["save the changes now", long[1]]),
        ),
        Case(
            "for a prediction that repeats itself",
            (
                ["very very very very good and very very very good"],
                ["it is very very very very good and quite cheap"],
            ),
        ),
        Case(
            "for predictions that are too short",
            (
                ["the gate is open", "it is closed on sundays"],
                ["the gate is open until nine", "it is closed on sundays and mondays"],
            ),
        ),
        Case(
            "for predictions that are too long",
            (
                ["the gate is open until nine in the evening", "yes it is closed now"],
                ["the gate is open until nine", "it is closed now"],
            ),
        ),
        Case(
            "for three sentences",
            (
                [
                    long[0],
                    "one two three four one two three four",
                    "please try it again",
                ],
                [long[1], "one two three four five six", "please try it again later"],
            ),
        ),
        Case("where no four words in a row match", (["a b c x d e"], ["a b c y d e"])),
        Case(
            "for a sentence that lacks its end",
            (["press the key to go on"], ["press the key to go on or wait"]),
        ),
        Case("where nothing matches", (["x y z"], ["a b c"])),
        Case(
            "for sentences of fewer than four words",
            (["a b", "a b c"], ["a b", "a b c d"]),
        ),
    ]


_BLEU = Task(
    _bleu,
    _bleu_cases,
    [
        Mistake(
            "The precisions of the sentences are averaged. BLEU adds matches and "
            "totals over all sentences first, and divides once.",
            lambda predictions, references: _bleu(
                predictions, references, summed=False
            ),
        ),
        Mistake(
            "A run that the prediction repeats counts each time. It counts at most as "
            "often as it stands in the reference.",
            lambda predictions, references: _bleu(
                predictions, references, clipped=False
            ),
        ),
        Mistake(
            "Long predictions pay, and short ones do not: the brevity penalty has the "
            "lengths the wrong way round.",
            lambda predictions, references: _bleu(
                predictions, references, penalty=_upside_down
            ),
        ),
        Mistake(
            "There is no brevity penalty.",
            lambda predictions, references: _bleu(
                predictions, references, penalty=lambda ours, theirs: 1.0
            ),
        ),
        Mistake(
            "The brevity penalty is a factor above 1 where the predictions are longer; "
            "it is at most 1.",
            lambda predictions, references: _bleu(
                predictions,
                references,
                penalty=lambda ours, theirs: math.exp(1 - theirs / ours),
            ),
        ),
        Mistake(
            "All three faults are still there.",
            lambda predictions, references: _bleu(
                predictions, references, False, False, _upside_down
            ),
        ),
        Mistake(
            "Repetitions still count in full, and the penalty is still the wrong way "
            "round.",
            lambda predictions, references: _bleu(
                predictions, references, False, True, _upside_down
            ),
        ),
        Mistake(
            "The sentences are still averaged, and the penalty is still the wrong way "
            "round.",
            lambda predictions, references: _bleu(
                predictions, references, True, False, _upside_down
            ),
        ),
        Mistake(
            "Repetitions still count in full, and the sentences are still averaged.",
            lambda predictions, references: _bleu(
                predictions, references, False, False
            ),
        ),
        Mistake(
            "This lies between 0 and 1; BLEU goes to 100.",
            lambda predictions, references: _bleu(predictions, references) / 100,
        ),
    ],
    tolerance=_EXACT,
    result="BLEU",
)


@check
def corpus_bleu(answer: Callable) -> None:
    """`mended_bleu(predictions, references)`, texts of words between spaces -> BLEU
    without smoothing, from 0 to 100.
    """
    _BLEU.check(answer)
    passed("right for repetitions, for short and long predictions, and for a corpus")
    passed("0 where a length has no match")
