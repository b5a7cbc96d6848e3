"""Checks of chapter 19's exercises.

- `top_spans`: the best spans, and not the best alone (exercise 19.1)
- `by_hand`: scores worked out beforehand (exercise 19.2)
- `windows`: a passage that is too long, in overlapping windows (exercise 19.3)
- `cheapest_threshold`: what a wrong answer costs decides (exercise 19.4)
- `longest_quote`: how much of an answer is copied at one stroke (exercise 19.5)
- `search`: a search without its four faults (exercise 19.6)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from finetuning.checks.cases import listed
from finetuning.checks.compare import difference
from finetuning.checks.core import as_number, check, fail, passed, written
from finetuning.checks.predictions import Guess, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "by_hand",
    "cheapest_threshold",
    "longest_quote",
    "search",
    "top_spans",
    "windows",
]

# 19.1


def _spans(
    begins: np.ndarray,
    ends: np.ndarray,
    count: int,
    longest: int,
    first: int = 1,
    ordered: bool = True,
    best: bool = True,
    singly: bool = False,
) -> list[tuple[int, int]]:
    begins, ends = np.asarray(begins), np.asarray(ends)
    pairs = [
        (begin, end)
        for begin in range(first, len(begins))
        for end in range(begin if ordered else first, len(ends))
        if end - begin < longest
    ]
    sign = -1 if best else 1
    pairs.sort(key=lambda pair: sign * float(begins[pair[0]] + ends[pair[1]]))
    if singly:  # no token begins two spans
        seen: set[int] = set()
        pairs = [pair for pair in pairs if not (pair[0] in seen or seen.add(pair[0]))]
    return pairs[:count]


def _top_spans(begins, ends, count: int, longest: int) -> list[tuple[int, int]]:
    return _spans(begins, ends, count, longest)


def _pairs(found: Any) -> Any:
    """Pairs as tuples of whole numbers, in whatever they came."""
    if isinstance(found, np.ndarray):
        found = found.tolist()
    try:
        return [tuple(int(each) for each in pair) for pair in found]
    except (TypeError, ValueError):
        return found


def _span_cases() -> list[Case]:
    def drawn(seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        return generator.normal(size=size), generator.normal(size=size)

    # No two spans of these have the same score.
    sure = np.array([9.0, 0.13, 0.27, 0.31, 0.48])
    ends = np.array([0.5, 0.353, 0.222, 0.171, 9.0])
    late = np.array([0.0, 0.1, 0.2, 5.0, 0.3])
    early = np.array([0.0, 4.0, 0.5, 0.0, 1.0])
    return [
        Case("for the three best of eight tokens", (*drawn(1, 8), 3, 4)),
        Case("for the best alone", (*drawn(2, 9), 1, 3)),
        Case("where `[CLS]` scores highest", (sure, ends, 2, 3)),
        Case("where `[CLS]` begins and ends best", (sure, sure.copy(), 4, 3)),
        Case("where the best end is before the best beginning", (late, early, 3, 4)),
        Case("for spans of one token only", (*drawn(3, 7), 4, 1)),
        Case("for long spans", (*drawn(4, 12), 6, 11)),
        Case("for twenty of thirty tokens", (*drawn(5, 30), 20, 5)),
        Case("where fewer spans are there than wanted", (*drawn(6, 4), 50, 2)),
        Case(
            "for all scores below zero", (drawn(7, 6)[0] - 9, drawn(8, 6)[1] - 9, 5, 3)
        ),
        Case("for a limit that nothing reaches", (*drawn(9, 6), 4, 100)),
    ]


_SPANS = Task(
    _top_spans,
    _span_cases,
    [
        Mistake(
            "`[CLS]` is not of the passage, and no span may touch token 0.",
            lambda b, e, count, longest: _spans(b, e, count, longest, first=0),
        ),
        Mistake(
            "Some of these spans end before they begin.",
            lambda b, e, count, longest: _spans(b, e, count, longest, ordered=False),
        ),
        Mistake(
            "These spans may have one token more than `longest`: first and last both "
            "belong to the span.",
            lambda b, e, count, longest: _spans(b, e, count, longest + 1),
        ),
        Mistake(
            "These spans have one token less than they may: where first and last are "
            "one token, the length is 1.",
            lambda b, e, count, longest: _spans(b, e, count, longest - 1),
        ),
        Mistake(
            "The worst spans come first.",
            lambda b, e, count, longest: _spans(b, e, count, longest, best=False),
        ),
        Mistake(
            "The best spans are there, in the reverse order: the best comes first.",
            lambda b, e, count, longest: _spans(b, e, count, longest)[::-1],
        ),
        Mistake(
            "Of each beginning only the best span is kept. Two of the best may begin "
            "at the same token.",
            lambda b, e, count, longest: _spans(b, e, count, longest, singly=True),
        ),
    ],
    compare=lambda found, expected, case: difference(
        _pairs(found), expected, "the list of spans"
    ),
)


@check
def top_spans(answer: Callable) -> None:
    """`top_spans(begins, ends, count, longest)`, (T,) each -> pairs of tokens."""
    _SPANS.check(answer)
    passed("the spans are right for four to thirty tokens, the best first")
    passed("none touches `[CLS]`, ends before it begins, or is too long")


# 19.2

_QUESTIONS = {
    "F1": "Take the article away. How many words have the two, and how many do they "
    "share?",
    "MRR": "What does a question add whose answer is found nowhere, and by how many "
    "questions is divided?",
    "weight": "N is 4 and n is 1. What stands inside of the logarithm?",
    "risk": "Which two are the surest, and how many of these two are wrong?",
    "threshold": "What is the risk if all four are answered?",
}
_TRUE = {
    "F1": 8 / 9,
    "MRR": 7 / 16,
    "weight": math.log(10 / 3),
    "risk": 1 / 2,
    "threshold": 0.3,
}
_GUESSES = {
    "F1": [
        Guess(1.0, "That is the precision. And the recall?"),
        Guess(4 / 5, "The reference has an article: does it count?"),
        Guess(0.0, "Words in another order are shared words all the same."),
    ],
    "MRR": [
        Guess(7 / 12, "The fourth question was asked as well."),
        Guess(1.75, "That is a sum; a mean is divided by something."),
        Guess(7 / 3, "That is the mean of the ranks."),
    ],
    "weight": [
        Guess(math.log(4), "That leaves the halves out."),
        Guess(math.log(7 / 3), "Is there no 1 in front of the fraction?"),
        Guess(10 / 3, "That is what the logarithm is taken of."),
    ],
    "risk": [
        Guess(1 / 4, "That is the risk if all four are answered."),
        Guess(0.0, "The second is answered, too, and it is wrong."),
        Guess(1 / 3, "Coverage ½ of four is how many?"),
    ],
    "threshold": [
        Guess(0.9, "That one answers the surest alone. Is there a lower one?"),
        Guess(0.6, "With three of four the risk is ⅓. And with four?"),
        Guess(0.8, "At 0.8 two are answered, and one of them is wrong."),
    ],
}


@check
def by_hand(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "F1", "MRR", "weight", "risk", "threshold"."""
    written(predicted, "the prediction")
    if not isinstance(predicted, Mapping) or set(predicted) != set(_QUESTIONS):
        names = listed(f"“{name}”" for name in _QUESTIONS)
        fail(f"the prediction should be a dictionary with the keys {names}.")
    for name in _QUESTIONS:
        as_number(predicted[name], f"“{name}”")
    predicted_numbers(
        {name: predicted[name] for name in _TRUE},
        _TRUE,
        _QUESTIONS,
        relative=0.0,
        absolute=0.002,
        guesses=_GUESSES,
        sentence="“{name}” is not {said:g}.",
    )
    passed("all five are right")


# 19.3


def _label(start: int, span: tuple, size: int, length: int, clip: bool, inner: int):
    first, last = span
    end = min(start + size, length)
    if clip:
        low, high = max(first, start), min(last, end - 1)
        return (low - start, high - start) if low <= high else None
    if start <= first and last < end - inner:
        return first - start, last - start
    return None


def _windows(
    length: int,
    span: tuple[int, int] | None,
    size: int,
    stride: int,
    clip: bool = False,
    inner: int = 0,
    relative: bool = True,
    on: bool = False,
    once: bool = False,
) -> list[tuple[int, tuple[int, int] | None]]:
    found: list[tuple[int, Any]] = []
    start = 0
    while True:
        label = None
        if span is not None:
            label = _label(start, span, size, length, clip, inner)
        if label and not relative:
            label = tuple(span)
        if label and once and any(own for _, own in found):
            label = None
        found.append((start, label))
        if start + size >= length and not on:
            return found
        start += stride
        if start >= length:
            return found


def _right_windows(length: int, span, size: int, stride: int) -> list:
    return _windows(length, span, size, stride)


def _window_cases() -> list[Case]:
    return [
        Case("for a passage that fits", (8, (2, 4), 10, 5)),
        Case("for a passage that just fits", (10, (3, 9), 10, 5)),
        Case("for two windows that both hold the answer", (14, (6, 8), 10, 5)),
        Case("for an answer at the end of a window", (23, (7, 9), 10, 5)),
        Case("for an answer at the beginning of a window", (23, (10, 12), 10, 5)),
        Case("for an answer that a border cuts", (30, (8, 11), 10, 10)),
        Case("for an answer longer than a window", (30, (4, 19), 10, 5)),
        Case("for an answer of one token", (31, (20, 20), 8, 6)),
        Case("for no answer", (26, None, 10, 7)),
        Case("for the last token of all", (21, (20, 20), 6, 4)),
        Case("for many windows", (100, (50, 55), 24, 3)),
        Case("for windows that do not overlap", (17, (12, 16), 6, 6)),
    ]


def _plain_windows(found: Any) -> Any:
    try:
        return [
            (int(start), None if label is None else tuple(int(n) for n in label))
            for start, label in found
        ]
    except (TypeError, ValueError):
        return found


_WINDOWS = Task(
    _right_windows,
    _window_cases,
    [
        Mistake(
            "There are windows behind the one that reaches the end: all that they hold "
            "has been read.",
            lambda length, span, size, stride: _windows(
                length, span, size, stride, on=True
            ),
        ),
        Mistake(
            "Labels count from the beginning of the passage, and should count from "
            "that of their window.",
            lambda length, span, size, stride: _windows(
                length, span, size, stride, relative=False
            ),
        ),
        Mistake(
            "A window that holds only a part of the answer has a label here: it would "
            "teach to answer by halves.",
            lambda length, span, size, stride: _windows(
                length, span, size, stride, clip=True
            ),
        ),
        Mistake(
            "An answer that ends with the last token of a window is in it: `last` "
            "belongs to the answer.",
            lambda length, span, size, stride: _windows(
                length, span, size, stride, inner=1
            ),
        ),
        Mistake(
            "Only the first window that holds the answer has a label. The next one "
            "holds it as well, and is taught that it does not.",
            lambda length, span, size, stride: _windows(
                length, span, size, stride, once=True
            ),
        ),
        Mistake(
            "Each window begins `size` after the one before; it should begin `stride` "
            "after it.",
            lambda length, span, size, stride: _windows(length, span, size, size),
        ),
    ],
    compare=lambda found, expected, case: difference(
        _plain_windows(found), expected, "the list of windows"
    ),
)


@check
def windows(answer: Callable) -> None:
    """`labelled_windows(length, span, size, stride)` -> (start, label) of each."""
    _WINDOWS.check(answer)
    passed("starts and labels are right for twelve passages")
    passed(
        "a part of an answer is no answer, and each window that holds all is told so"
    )


# 19.4


def _cost(
    sure: np.ndarray, right: np.ndarray, wrong: float, threshold: float, strict: bool
) -> float:
    answered = sure > threshold if strict else sure >= threshold
    return wrong * float((1 - right[answered]).sum()) + float((~answered).sum())


def _cheapest(
    sure: Sequence[float],
    right: Sequence[float],
    wrong: float,
    silent: bool = True,
    strict: bool = False,
    lowest: bool = True,
) -> float:
    sure, right = np.asarray(sure, dtype=float), np.asarray(right, dtype=float)
    thresholds = [*sorted(set(sure.tolist())), *([math.inf] if silent else [])]
    if not lowest:
        thresholds = thresholds[::-1]
    return min(
        thresholds,
        key=lambda each: round(_cost(sure, right, wrong, each, strict), 9),
    )


def _right_threshold(sure, right, wrong: float) -> float:
    return _cheapest(sure, right, wrong)


def _threshold_cases() -> list[Case]:
    def drawn(seed: int, size: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        sure = generator.random(size).round(2)
        return sure, (generator.random(size) < share * (0.4 + sure)).astype(float)

    none = np.zeros(5)
    five = np.array([0.9, 0.5, 0.7, 0.2, 0.4])
    return [
        Case(
            "where a wrong answer costs as much as silence", (*drawn(1, 30, 0.7), 1.0)
        ),
        Case("where it costs three times as much", (*drawn(2, 30, 0.7), 3.0)),
        Case("where it costs ten times as much", (*drawn(3, 40, 0.8), 10.0)),
        Case("where it costs next to nothing", (*drawn(4, 25, 0.6), 0.1)),
        Case("where no answer is right", (five, none, 4.0)),
        Case("where all are right", (five, none + 1, 4.0)),
        Case("for one question that is right", (np.array([0.3]), np.array([1.0]), 2.0)),
        Case("for one that is wrong", (np.array([0.3]), np.array([0.0]), 2.0)),
        Case(
            "where several are equally sure",
            (np.array([0.5, 0.5, 0.8, 0.2]), np.array([1.0, 0.0, 1.0, 0.0]), 3.0),
        ),
        Case(
            "where two thresholds cost the same",
            (np.array([0.9, 0.6, 0.3]), np.array([1.0, 0.0, 1.0]), 2.0),
        ),
        Case(
            "for negative margins",
            (np.array([-3.0, 2.0, -1.0, 0.5]), np.array([0.0, 1.0, 1.0, 0.0]), 2.5),
        ),
        Case(
            "where answers are right by degrees",
            (five, np.array([0.9, 0.2, 0.8, 0.1, 0.7]), 2.0),
        ),
    ]


_THRESHOLD = Task(
    _right_threshold,
    _threshold_cases,
    [
        Mistake(
            "To refuse everything was not tried: that is a threshold of ∞.",
            lambda sure, right, wrong: _cheapest(sure, right, wrong, silent=False),
        ),
        Mistake(
            "What is exactly as sure as the threshold is refused here, and should be "
            "answered.",
            lambda sure, right, wrong: _cheapest(sure, right, wrong, strict=True),
        ),
        Mistake(
            "Of thresholds that cost the same this takes the highest.",
            lambda sure, right, wrong: _cheapest(sure, right, wrong, lowest=False),
        ),
        Mistake(
            "`wrong` is not used: a wrong answer costs as much as silence here.",
            lambda sure, right, wrong: _cheapest(sure, right, 1.0),
        ),
        Mistake(
            "Silence costs nothing here, so refusing everything is free.",
            lambda sure, right, wrong: _cheapest(sure, right, 1e9),
        ),
    ],
    result="the threshold",
)


@check
def cheapest_threshold(answer: Callable) -> None:
    """`cheapest_threshold(sure, right, wrong)`, (N,) each -> the threshold."""
    _THRESHOLD.check(answer)
    passed("right for twelve sets of questions and seven prices")
    passed("it refuses everything where that is cheapest")


# 19.5


def _runs(answer: Sequence[str], text: Sequence[str]) -> list[list[str]]:
    return [
        list(answer[start:end])
        for start in range(len(answer))
        for end in range(start + 1, len(answer) + 1)
        if any(
            list(text[at : at + end - start]) == list(answer[start:end])
            for at in range(len(text))
        )
    ]


def _longest_quote(answer: Sequence[str], text: Sequence[str]) -> list[str]:
    return max(_runs(answer, text), key=len, default=[])


def _subsequence(answer: Sequence[str], text: Sequence[str]) -> list[str]:
    table: list[list[list[str]]] = [[[]] * (len(text) + 1)]
    for word in answer:
        row: list[list[str]] = [[]]
        for column, other in enumerate(text, start=1):
            if word == other:
                row.append([*table[-1][column - 1], word])
            else:
                row.append(max(table[-1][column], row[-1], key=len))
        table.append(row)
    return table[-1][-1]


def _shared(answer: Sequence[str], text: Sequence[str]) -> list[str]:
    return [word for word in answer if word in text]


def _from_the_start(answer: Sequence[str], text: Sequence[str]) -> list[str]:
    runs = [run for run in _runs(answer, text) if run == list(answer[: len(run)])]
    return max(runs, key=len, default=[])


def _last_of_equals(answer: Sequence[str], text: Sequence[str]) -> list[str]:
    return max(_runs(answer, text)[::-1], key=len, default=[])


def _quote_cases() -> list[Case]:
    def words(sentence: str) -> list[str]:
        return sentence.split()

    def drawn(seed: int, short: int, long: int, vocabulary: int) -> tuple:
        generator = np.random.default_rng(seed)
        return tuple(
            [f"w{number}" for number in generator.integers(vocabulary, size=size)]
            for size in (short, long)
        )

    text = words("the score is divided by the root of the width")
    return [
        Case(
            "for a sentence that begins anew",
            (words("it is divided by the root"), text),
        ),
        Case("for a whole quotation", (words("divided by the root"), text)),
        Case("where nothing is quoted", (words("nobody knows"), text)),
        Case("for words in another order", (words("width the of root"), text)),
        Case("where words lie between", (words("score divided root width"), text)),
        Case(
            "for two quotations of one length", (words("the root so the score"), text)
        ),
        Case("for an empty answer", ([], text)),
        Case("for an empty text", (words("the root"), [])),
        Case("for one word", (["root"], text)),
        Case("where the text repeats itself", (list("abcabd"), list("abcababdab"))),
        Case("for drawn words", drawn(1, 12, 40, 4)),
        Case("for many drawn words", drawn(2, 20, 60, 6)),
        Case("where the answer is longer than the text", drawn(3, 30, 9, 3)),
    ]


_QUOTE = Task(
    _longest_quote,
    _quote_cases,
    [
        Mistake(
            "Words may lie between these in the text. A quotation is one run, without "
            "a gap.",
            _subsequence,
        ),
        Mistake(
            "These are all words that stand in the text, wherever. A quotation is one "
            "run, in the text's order.",
            _shared,
        ),
        Mistake(
            "Only runs from the answer's first word on were tried.",
            _from_the_start,
        ),
        Mistake(
            "Of runs of the same length this takes the last in the answer.",
            _last_of_equals,
        ),
        Mistake(
            "This is the number of words; the words themselves are wanted.",
            lambda answer, text: len(_longest_quote(answer, text)),
        ),
    ],
    compare=lambda found, expected, case: difference(
        list(found) if isinstance(found, (tuple, np.ndarray)) else found,
        expected,
        "the list of words",
    ),
)


@check
def longest_quote(answer: Callable) -> None:
    """`longest_quote(answer, text)`, lists of words -> a run of words."""
    _QUOTE.check(answer)
    passed("the longest run is right for thirteen answers")


# 19.6


def _search(
    query: np.ndarray,
    vectors: np.ndarray,
    texts: Sequence[str],
    count: int,
    cosine: bool = True,
    best_first: bool = True,
    once: bool = True,
    late: bool = False,
) -> list[str]:
    scores = np.asarray(vectors, dtype=float) @ np.asarray(query, dtype=float)
    if cosine:
        lengths = np.linalg.norm(np.asarray(vectors, dtype=float), axis=1)
        scores = scores / np.where(lengths > 0, lengths, 1)
    order = np.argsort(-scores.round(12), kind="stable")
    found = [texts[place] for place in order]
    if late:
        found = found[:count]
    if once:
        found = list(dict.fromkeys(found))
    found = found[:count]
    return found if best_first else found[::-1]


def _right_search(query, vectors, texts, count: int) -> list[str]:
    return _search(query, vectors, texts, count)


def _all_faults(query, vectors, texts, count: int) -> list[str]:
    order = (np.asarray(vectors) @ np.asarray(query)).argsort(kind="stable")[-count:]
    return [texts[place] for place in order]


def _search_cases() -> list[Case]:
    def drawn(seed: int, size: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(seed)
        vectors = generator.normal(size=(size, width))
        vectors *= generator.uniform(0.2, 5, size=(size, 1))
        return generator.normal(size=width), vectors

    def named(size: int) -> list[str]:
        return [f"passage {number}" for number in range(size)]

    query, vectors = drawn(1, 12, 6)
    equal = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    twice = np.concatenate([vectors[:5], vectors[:5], vectors[5:8]])
    zero = vectors[:6].copy()
    zero[2] = 0
    empty = ("No passage is wanted.",)
    return [
        Case("for vectors of unequal length", (query, vectors, named(12), 3)),
        Case("for vectors of length one", (query, equal, named(12), 4)),
        Case(
            "for texts that are there twice",
            (query, twice, [*named(5), *named(5), *named(13)[5:8]], 4),
        ),
        Case("for texts all the same", (query, vectors[:4], ["again"] * 4, 2)),
        Case("for a vector of zeros", (query, zero, named(6), 6)),
        Case("for no passage at all", (query, vectors, named(12), 0), facts=empty),
        Case("for more than there are", (query, vectors[:5], named(5), 9)),
        Case("for the best alone", (*drawn(2, 20, 4), named(20), 1)),
        Case("for a long query", (query * 50, vectors, named(12), 5)),
        Case("for many passages", (*drawn(3, 80, 8), named(80), 10)),
        Case(
            "for many that repeat themselves",
            (*drawn(4, 60, 8), [f"passage {n % 20}" for n in range(60)], 12),
        ),
    ]


_SEARCH = Task(
    _right_search,
    _search_cases,
    [
        Mistake("All faults are still there.", _all_faults),
        Mistake(
            "Long vectors win here: compare by the cosine, which knows no lengths.",
            lambda query, vectors, texts, count: _search(
                query, vectors, texts, count, cosine=False
            ),
        ),
        Mistake(
            "The right passages come, and the best comes last.",
            lambda query, vectors, texts, count: _search(
                query, vectors, texts, count, best_first=False
            ),
        ),
        Mistake(
            "A text that is there twice comes twice, and takes the place of another.",
            lambda query, vectors, texts, count: _search(
                query, vectors, texts, count, once=False
            ),
        ),
        Mistake(
            "Doubles are taken out after the best were chosen: too few are left.",
            lambda query, vectors, texts, count: _search(
                query, vectors, texts, count, late=True
            ),
        ),
    ],
    compare=lambda found, expected, case: difference(
        list(found) if isinstance(found, (tuple, np.ndarray)) else found,
        expected,
        "the list of passages",
    ),
)


@check
def search(answer: Callable) -> None:
    """`mended_search(query, vectors, texts, count)` -> at most `count` texts."""
    _SEARCH.check(answer)
    passed("the nearest texts come first, each once, whatever their vectors' lengths")
    passed("no text comes where none is wanted")
