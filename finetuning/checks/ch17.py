"""Checks of chapter 17's exercises.

- `best_length`: the number of words that suits a lead best (exercise 17.1)
- `by_hand`: scores and lengths worked out beforehand (exercise 17.2)
- `copied`: how much of a summary is copied (exercise 17.3)
- `greedy_oracle`: near the ceiling of quoting (exercise 17.4)
- `lexrank`: sentences that vote for each other (exercise 17.5)
- `fitting_prompt`: a prompt that fits, without its three faults (exercise 17.6)
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import check, expect_refusal, passed
from finetuning.checks.predictions import Guess, numbers_by_name, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "best_length",
    "by_hand",
    "copied",
    "fitting_prompt",
    "greedy_oracle",
    "lexrank",
]

_EXACT = Tolerance(1e-6, 1e-9)

# 17.1


def _shared(line: str, reference: str) -> int:
    return len(set(line.split()) & set(reference.split()))


def _f1(line: str, reference: str) -> float:
    words = len(line.split()) + len(reference.split())
    return 2 * _shared(line, reference) / max(words, 1)


def _precision(line: str, reference: str) -> float:
    return _shared(line, reference) / max(len(line.split()), 1)


def _recall(line: str, reference: str) -> float:
    return _shared(line, reference) / len(reference.split())


def _minus_words(line: str, reference: str) -> float:
    return -float(abs(len(line.split()) - len(reference.split())))


def _spaces_count(line: str, reference: str) -> float:
    return float(line == " ".join(reference.split()))


def _mean(
    texts: Sequence[str], references: Sequence[str], score: Callable, k: int
) -> float:
    lines = [" ".join(text.split()[:k]) for text in texts]
    pairs = zip(lines, references, strict=True)
    return float(np.mean([score(*pair) for pair in pairs]))


def _best(
    texts: Sequence[str], references: Sequence[str], score: Callable, lengths: range
) -> int:
    return max(lengths, key=lambda k: round(_mean(texts, references, score, k), 9))


def _best_length(texts, references, score, longest: int) -> int:
    return _best(texts, references, score, range(1, longest + 1))


def _best_length_cases() -> list[Case]:
    leads = [
        "the harbour bridge was closed on monday after cracks were found",
        "two cats were seen on the roof of the town hall in the night",
        "prices of bread and milk fell again",
    ]
    lines = ["cracks close harbour bridge", "cats on town hall roof", "bread prices"]
    spaced = ["one  two\nthree four five", " six seven\teight nine ten"]
    wanted = ["one two three", "six seven eight"]
    unequal = ["a b c d e f g h", "x y", "x y", "x y z"]
    return [
        Case("for F1", (leads, lines, _f1, 12)),
        Case("for recall", (leads, lines, _recall, 15)),
        Case("for precision", (leads, lines, _precision, 8)),
        Case("for scores below zero", (leads, lines, _minus_words, 9)),
        Case("for texts with several spaces", (spaced, wanted, _spaces_count, 5)),
        Case("for one text", (["a b c d"], ["c d"], _f1, 4)),
        Case("where the longest length is best", (["a b c d e"], ["e d c"], _f1, 5)),
        Case("where only one word is allowed", (leads, lines, _f1, 1)),
        Case(
            "for texts of very different lengths",
            (unequal, ["a h", "x", "y x", "x"], _f1, 8),
        ),
        Case("where nothing is shared", (["a b c"], ["d e"], _f1, 3)),
        Case(
            "for a longer search than there are words",
            (["a b", "c d e"], ["b a", "e d"], _f1, 20),
        ),
    ]


_BEST_LENGTH = Task(
    _best_length,
    _best_length_cases,
    [
        Mistake(
            "Lengths begin at 1, and this counts them from 0: it is one too small.",
            lambda texts, references, score, longest: (
                _best_length(texts, references, score, longest) - 1
            ),
        ),
        Mistake(
            "`longest` itself was not tried: `range` leaves out its end.",
            lambda texts, references, score, longest: _best(
                texts, references, score, range(1, longest)
            ),
        ),
        Mistake(
            "Of several lengths that are equally good this takes the largest.",
            lambda texts, references, score, longest: _best(
                texts, references, score, range(longest, 0, -1)
            ),
        ),
        Mistake(
            "Characters were cut off, and not words.",
            lambda texts, references, score, longest: max(
                range(1, longest + 1),
                key=lambda k: np.mean(
                    [score(t[:k], r) for t, r in zip(texts, references, strict=True)]
                ).round(9),
            ),
        ),
        Mistake(
            "This is the length that is best for the first text alone.",
            lambda texts, references, score, longest: _best_length(
                texts[:1], references[:1], score, longest
            ),
        ),
    ],
    result="the length",
)


@check
def best_length(answer: Callable) -> None:
    """`best_length(texts, references, score, longest)` -> the best k."""
    _BEST_LENGTH.check(answer)
    passed("right for four scores, for short and long texts, and for ties")


# 17.2

_QUESTIONS = {
    "ROUGE-1 precision": "Which words of the line stand in the reference, and of how "
    "many words of the line are they a part?",
    "ROUGE-2 F1": "Write down both texts' pairs of neighbours. Which stand in both?",
    "first four F1": "How many of these four words stand in the reference, and how "
    "many words has the reference?",
    "end probability": "What are the odds of 0.2, and what are they times four?",
    "mean words": "What is one divided by the new probability?",
}
_TRUE = {
    "ROUGE-1 precision": 3 / 8,
    "ROUGE-2 F1": 1 / 5,
    "first four F1": 3 / 4,
    "end probability": 1 / 2,
    "mean words": 2.0,
}
_GUESSES = {
    "ROUGE-1 precision": [
        Guess(3 / 4, "That is the recall. Precision is a part of the line's words."),
        Guess(3 / 7, "How many words does ROUGE make of 9,000?"),
        Guess(1 / 2, "That is F1. And precision alone?"),
    ],
    "ROUGE-2 F1": [
        Guess(1 / 3, "That is the recall. And the precision?"),
        Guess(1 / 7, "That is the precision. And the recall?"),
        Guess(2 / 9, "How many words does ROUGE make of 9,000?"),
        Guess(1 / 2, "That is F1 of single words. Which neighbours are shared?"),
        Guess(0.0, "Is there no pair of neighbours that stands in both texts?"),
    ],
    "first four F1": [
        Guess(1.0, "Is *shut* the same word as *close*?"),
        Guess(1 / 2, "That is the whole line's. And after four words?"),
    ],
    "end probability": [
        Guess(0.8, "Four times the odds is not four times the probability."),
        Guess(1.0, "Is 1 : 1 a certainty?"),
        Guess(0.25, "Those are the odds before. What are they times four?"),
        Guess(0.2, "That is before anything was added."),
    ],
    "mean words": [
        Guess(5.0, "That is before anything was added."),
        Guess(1.25, "That is 1/0.8. Is the new probability 0.8?"),
        Guess(1.0, "A line has at least one word, and every second one goes on."),
    ],
}


@check
def by_hand(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "ROUGE-1 precision", "ROUGE-2 F1", "first four F1",
    "end probability", "mean words".
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
    passed("all five are right")


# 17.3


def _run_at(summary: Sequence, text: Sequence, place: int, start: int) -> int:
    length = 0
    for one, other in zip(summary[place:], text[start:], strict=False):
        if one != other:
            break
        length += 1
    return length


def _fragments(
    summary: Sequence,
    text: Sequence,
    choose: Callable = max,
    step: Callable[[int], int] = lambda longest: max(longest, 1),
) -> list[int]:
    lengths = []
    place = 0
    while place < len(summary):
        runs = [_run_at(summary, text, place, start) for start in range(len(text))]
        found = [run for run in runs if run]
        longest = choose(found) if found else 0
        if longest:
            lengths.append(longest)
        place += step(longest)
    return lengths


def _of(lengths: Sequence[int], words: int) -> tuple[float, float]:
    return sum(lengths) / words, sum(length**2 for length in lengths) / words


def _copied(summary: Sequence, text: Sequence) -> tuple[float, float]:
    return _of(_fragments(summary, text), len(summary))


def _copied_cases() -> list[Case]:
    def words(text: str) -> list[str]:
        return text.split()

    def drawn(seed: int, short: int, long: int, vocabulary: int) -> tuple:
        generator = np.random.default_rng(seed)
        names = [f"w{number}" for number in range(vocabulary)]
        return tuple(
            [names[number] for number in generator.integers(vocabulary, size=size)]
            for size in (short, long)
        )

    bridge = words("the harbour bridge was closed after cracks were found")
    return [
        Case("for a headline", (words("cracks close harbour bridge"), bridge)),
        Case("for a quoted sentence", (bridge, [*words("on monday"), *bridge])),
        Case("where nothing is copied", (words("ferry runs"), bridge)),
        Case(
            "where a longer run comes later in the text",
            (words("a b c d"), words("a b x a b c y a z")),
        ),
        Case("for a word said twice", (words("no no no"), words("no means no"))),
        Case("for one word", (["bridge"], bridge)),
        Case("for words in another order", (words("d c b a"), words("a b c d"))),
        Case("for a text of one word", (words("a b a"), ["a"])),
        Case("for an empty text", (words("a b"), [])),
        Case("for two fragments side by side", (words("a b c d"), words("c d a b"))),
        Case("for drawn words", drawn(1, 12, 40, 5)),
        Case("for many drawn words", drawn(2, 25, 60, 4)),
        Case("for words of a larger vocabulary", drawn(3, 18, 80, 25)),
    ]


def _with(lengths: Callable[[Sequence, Sequence], list[int]]) -> Callable:
    return lambda summary, text: _of(lengths(summary, text), len(summary))


_COPIED = Task(
    _copied,
    _copied_cases,
    [
        Mistake(
            "The walk went on one word at a time after a fragment, too: fragments "
            "overlap. It goes on behind the fragment.",
            _with(lambda s, t: _fragments(s, t, step=lambda longest: 1)),
        ),
        Mistake(
            "At each place the first run in the text was taken. It is the longest one "
            "that counts.",
            _with(lambda s, t: _fragments(s, t, choose=lambda runs: runs[0])),
        ),
        Mistake(
            "The numbers were divided by the words of the text, and not of the "
            "summary.",
            lambda s, t: _of(_fragments(s, t), len(t)),
        ),
        Mistake(
            "Density was divided by the number of fragments, and not of words.",
            lambda s, t: (
                _copied(s, t)[0],
                sum(n**2 for n in _fragments(s, t)) / max(len(_fragments(s, t)), 1),
            ),
        ),
        Mistake(
            "Density adds the lengths as they are; it adds their squares.",
            lambda s, t: (_copied(s, t)[0],) * 2,
        ),
        Mistake(
            "Density is a square of a sum here, and should be a sum of squares.",
            lambda s, t: (_copied(s, t)[0], sum(_fragments(s, t)) ** 2 / len(s)),
        ),
        Mistake(
            "The two come in the wrong order: coverage first.",
            lambda s, t: _copied(s, t)[::-1],
        ),
    ],
    compare=lambda found, expected, case: difference(
        tuple(found) if isinstance(found, (list, np.ndarray)) else found,
        expected,
        ("coverage", "density"),
        _EXACT,
    ),
    tolerance=_EXACT,
)


@check
def copied(answer: Callable) -> None:
    """`copied(summary, text)`, lists of words -> coverage and density."""
    _COPIED.check(answer)
    passed("coverage and density are right for thirteen summaries")
    passed("the longest run counts, wherever it stands in the text")


# 17.4


def _oracle(
    sentences: Sequence[Sequence[str]],
    wanted: set[str],
    limit: int,
    anew: bool = True,
    skip: bool = True,
    ordered: bool = True,
    per_word: bool = False,
    stop: bool = True,
) -> list[int]:
    missing, room, chosen = set(wanted), limit, []
    while True:
        fitting = [
            place
            for place, words in enumerate(sentences)
            if place not in chosen and (not skip or len(words) <= room)
        ]
        if not fitting:
            break

        gains = {}
        for place in fitting:
            words = sentences[place]
            gains[place] = len(missing & set(words))
            if per_word:
                gains[place] /= max(len(words), 1)
        best = max(gains, key=gains.get)
        if stop and not gains[best]:
            break
        if len(sentences[best]) > room:
            break
        chosen.append(best)
        room -= len(sentences[best])
        if anew:
            missing -= set(sentences[best])
    return sorted(chosen) if ordered else chosen


def _oracle_cases() -> list[Case]:
    def cut(text: str) -> list[list[str]]:
        return [sentence.split() for sentence in text.split(". ")]

    def drawn(seed: int, count: int, limit: int) -> tuple:
        generator = np.random.default_rng(seed)
        sentences = [
            [f"w{number}" for number in generator.integers(14, size=size)]
            for size in generator.integers(2, 12, size=count)
        ]
        return sentences, {f"w{number}" for number in range(6)}, limit

    bridge = cut(
        "the bridge was closed. it has cracks in two pillars. about nine thousand cars "
        "cross the bridge. a ferry runs until then. engineers found cracks"
    )
    return [
        Case("for a short text", (bridge, {"cracks", "close", "bridge"}, 20)),
        Case("where only a short one fits", (bridge, {"cracks", "ferry"}, 4)),
        Case(
            "where two have the same words",
            (cut("a b c. a b. c d. a b d"), {"a", "b", "d"}, 10),
        ),
        Case(
            "where a later one comes first",
            (cut("x a. b y. a b c z"), {"a", "b", "c", "x"}, 10),
        ),
        Case(
            "where the best one is too long",
            (cut("a b c d e f. a b. c"), set("abc"), 3),
        ),
        Case("where nothing is wanted", (bridge, set(), 30)),
        Case("where nothing is found", (bridge, {"piano"}, 30)),
        Case("where nothing fits", (bridge, {"cracks"}, 2)),
        Case("where a sentence just fits", (cut("a b c. d e"), {"a", "d"}, 5)),
        Case("for drawn sentences", drawn(1, 9, 20)),
        Case("for a small limit", drawn(2, 12, 9)),
        Case("for a large limit", drawn(3, 8, 90)),
        Case("for many sentences", drawn(4, 30, 25)),
    ]


_ORACLE = Task(
    _oracle,
    _oracle_cases,
    [
        Mistake(
            "A word that a chosen sentence has already was counted again. Only words "
            "that are still missing count.",
            lambda s, w, limit: _oracle(s, w, limit, anew=False),
        ),
        Mistake(
            "The search ended where the best sentence did not fit. A shorter one may "
            "still fit.",
            lambda s, w, limit: _oracle(s, w, limit, skip=False),
        ),
        Mistake(
            "The places come in the order in which they were chosen, and should come "
            "in the order of the text.",
            lambda s, w, limit: _oracle(s, w, limit, ordered=False),
        ),
        Mistake(
            "The gain was divided by the sentence's length. It is the number of words "
            "gained that counts.",
            lambda s, w, limit: _oracle(s, w, limit, per_word=True),
        ),
        Mistake(
            "Sentences that add nothing were chosen as well.",
            lambda s, w, limit: _oracle(s, w, limit, stop=False),
        ),
        Mistake(
            "The limit was not kept: the chosen sentences together have more words.",
            lambda s, w, limit: _oracle(s, w, 10**9),
        ),
    ],
    compare=lambda found, expected, case: difference(
        found.tolist() if isinstance(found, np.ndarray) else found,
        expected,
        "the list of places",
    ),
)


@check
def greedy_oracle(answer: Callable) -> None:
    """`greedy_oracle(split_up, wanted, limit)` -> places, in the order of the text."""
    _ORACLE.check(answer)
    passed("the places are right for thirteen texts and limits")


# 17.5


def _steps(cosines: np.ndarray, damping: float, zero: bool = True) -> np.ndarray:
    count = len(cosines)
    sums = cosines.sum(axis=1, keepdims=True)
    walk = np.divide(cosines, sums, out=np.zeros(cosines.shape), where=sums > 0)
    if zero:
        walk = np.where(sums > 0, walk, 1 / count)
    return damping * walk + (1 - damping) / count


def _stationary(steps: np.ndarray) -> np.ndarray:
    """The ranks that a step leaves as they are."""
    count = len(steps)
    equations = np.vstack([steps.T - np.eye(count), np.ones(count)])
    return np.linalg.lstsq(equations, np.eye(count + 1)[count], rcond=None)[0]


def _lexrank(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    return _stationary(_steps(np.asarray(cosines, dtype=float), damping))


def _columns(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    ranks = np.full(len(cosines), 1 / len(cosines))
    steps = _steps(np.asarray(cosines, dtype=float), damping)
    for _ in range(500):
        ranks = steps @ ranks
    return ranks


def _degree(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # where no sentence resembles another
        return cosines.sum(axis=1) / cosines.sum()


def _one_step(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    return _steps(np.asarray(cosines, dtype=float), damping).mean(axis=0)


def _turned(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    return _lexrank(cosines, 1 - damping)


def _undamped(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    return _lexrank(cosines, 0.85)


def _times_count(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    return _lexrank(cosines, damping) * len(cosines)


def _stays(cosines: np.ndarray, damping: float = 0.85) -> np.ndarray:
    ranks = np.full(len(cosines), 1 / len(cosines))
    steps = _steps(np.asarray(cosines, dtype=float), damping, zero=False)
    for _ in range(500):
        ranks = ranks @ steps
    return ranks / ranks.sum()


def _lexrank_cases() -> list[Case]:
    def drawn(seed: int, count: int, sparse: float) -> np.ndarray:
        generator = np.random.default_rng(seed)
        half = np.triu(generator.random((count, count)), 1)
        half *= np.triu(generator.random((count, count)) > sparse, 1)
        return half + half.T

    alone = drawn(5, 6, 0.2)
    alone[2] = alone[:, 2] = 0
    pair = ("A sentence resembles none here: its row is all zero.",)
    return [
        Case("for five sentences", (drawn(1, 5, 0.2),)),
        Case("for twelve sentences", (drawn(2, 12, 0.5),)),
        Case("for another damping", (drawn(3, 7, 0.3), 0.5)),
        Case("for a damping of 0.3", (drawn(7, 9, 0.4), 0.3)),
        Case("for two sentences", (np.array([[0.0, 0.4], [0.4, 0.0]]),)),
        Case("for one sentence", (np.array([[0.7]]),)),
        Case("with cosines of 1 on the diagonal", (drawn(4, 8, 0.6) + np.eye(8),)),
        Case("where a sentence resembles none", (alone,), facts=pair),
        Case("where no sentence resembles another", (np.zeros((4, 4)),), facts=pair),
        Case("for very small cosines", (drawn(6, 6, 0.3) * 1e-4,)),
    ]


_LEXRANK = Task(
    _lexrank,
    _lexrank_cases,
    [
        Mistake(
            "This is each row's share of all cosines: every vote counts the same.",
            _degree,
        ),
        Mistake(
            "These are the ranks after one step; go on until they no longer change.",
            _one_step,
        ),
        Mistake(
            "`damping` is the probability of a step along the cosines, not of one to "
            "anywhere.",
            _turned,
        ),
        Mistake("`damping` is not used: it is not always 0.85.", _undamped),
        Mistake("The ranks should sum to 1, and sum to N.", _times_count),
        Mistake(
            "The matrix was multiplied from the wrong side, `steps @ ranks`: equal "
            "ranks stay equal then.",
            _columns,
        ),
        Mistake(
            "From a sentence whose row is all zero no step leads on, so that ranks are "
            "lost there. From it you go anywhere.",
            _stays,
        ),
    ],
    tolerance=Tolerance(1e-4, 1e-6),
    result="the ranks",
)


@check
def lexrank(answer: Callable) -> None:
    """`lexrank(cosines, damping=0.85)`, (N, N) -> the ranks, (N,)."""
    _LEXRANK.check(answer)
    passed("the ranks are right for one to twelve sentences and three dampings")
    passed("they sum to 1, sentences that resemble none included")


# 17.6


def _prompt(before: list, text: list, after: list, limit: int) -> list:
    return before + text[: limit - len(before) - len(after)] + after


def _last_ids(before: list, text: list, after: list, limit: int) -> list:
    room = limit - len(before) - len(after)
    return before + (text[-room:] if len(text) > room else text) + after


def _cut_at_the_end(before: list, text: list, after: list, limit: int) -> list:
    return (before + text + after)[:limit]


def _without_after(before: list, text: list, after: list, limit: int) -> list:
    return before + text[: limit - len(before)] + after


def _all_faults(before: list, text: list, after: list, limit: int) -> list:
    room = limit - len(before)
    return (before + (text[-room:] if len(text) > room else text) + after)[:limit]


def _one_short(before: list, text: list, after: list, limit: int) -> list:
    return before + text[: limit - len(before) - len(after) - 1] + after


def _prompt_cases() -> list[Case]:
    long = list(range(100, 140))
    return [
        Case("where all fits", ([1, 2], [10, 11, 12], [3, 4, 5], 20)),
        Case("where it just fits", ([1, 2], [10, 11, 12], [3], 6)),
        Case("where one id too many", ([1, 2], [10, 11, 12, 13], [3], 6)),
        Case("for a long text", ([1, 2, 3], long, [7, 8], 24)),
        Case("where one id of the text fits", ([1, 2, 3], long, [7, 8], 6)),
        Case("where nothing comes before", ([], long, [9, 9, 9], 11)),
        Case("where nothing comes after", ([5, 6], long, [], 13)),
        Case("for words in the place of ids", (["<"], list("abcdefg"), [">", "="], 7)),
        Case("for a long request", (list(range(30)), long, [99] * 4, 37)),
        Case("for a text that repeats itself", ([1], [4, 4, 5] * 5, [2, 2], 10)),
    ]


_PROMPT = Task(
    _prompt,
    _prompt_cases,
    [
        Mistake(
            "The whole prompt is cut at its end, so that what comes after the text is "
            "lost: the model never learns that it is to answer.",
            _cut_at_the_end,
        ),
        Mistake(
            "The end of the text is kept, and its beginning should be.",
            _last_ids,
        ),
        Mistake(
            "This is longer than the limit: `after` needs room as well.",
            _without_after,
        ),
        Mistake("All faults are still there.", _all_faults),
        Mistake("One more id of the text would fit.", _one_short),
    ],
    compare=lambda found, expected, case: difference(found, expected, "the prompt"),
)


@check
def fitting_prompt(answer: Callable) -> None:
    """`mended_prompt(before, text, after, limit)`, lists -> at most `limit` ids."""
    _PROMPT.check(answer)
    for limit, when in (
        (5, "where `before` and `after` fill the limit"),
        (3, "where `before` and `after` do not fit"),
        (0, "for a limit of 0"),
    ):
        expect_refusal(answer, [1, 2, 3], [7, 8, 9], [4, 5], limit, when=when)
    passed("the request and the model's cue stay whole, and the text keeps its start")
    passed("a limit without room for the text is refused")
