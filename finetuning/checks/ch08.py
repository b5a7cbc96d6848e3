"""Checks of chapter 08, BERT.

- `encode_pair(encode_pair)`: 8.1, two texts in one row that may not be longer than a
  limit
- `gradients(river_vector, …, key_bias)`: 8.2, what one hidden word sends a gradient to
- `mended_mask_exactly(mended_mask_exactly)`: 8.3, so many tokens of each text hidden,
  mended
- `choose_words(choose_words)`: 8.4, whole words chosen to be guessed
- `mended_embed(mended_embed)`: 8.5, vectors of texts that do not depend on their
  neighbours, mended
- `token_scores(token_scores)`: 8.6, pseudo-log-likelihood, token by token
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetuning.checks.cases import paddings
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    CheckFailed,
    call,
    check,
    describe,
    expect_refusal,
    fail,
    passed,
    written,
)
from finetuning.checks.randomness import (
    expect_binomial,
    expect_even,
    expect_independent,
    expect_share,
)
from finetuning.checks.state import own_random_numbers
from finetuning.checks.task import Case, Mistake, Task
from finetuning.scratch.bert import (
    Bert,
    BertConfiguration,
    MaskedLanguageModel,
    initialise,
)

__all__ = [
    "choose_words",
    "encode_pair",
    "gradients",
    "mended_embed",
    "mended_mask_exactly",
    "token_scores",
]

# 8.1

_Texts = tuple[list[int], list[int]]


def _longest_first(
    first: list[int], second: list[int], room: int, second_keeps: bool = True
) -> _Texts:
    """Both texts, cut to `room` tokens; who keeps an odd one is free."""
    first, second = list(first), list(second)
    while len(first) + len(second) > max(room, 0):
        more = len(first) - len(second)
        (first if more > 0 or (more == 0 and second_keeps) else second).pop()
    return first, second


_first_keeps = functools.partial(_longest_first, second_keeps=False)


def _joined(first: list[int], second: list[int], cls: int, end: int) -> list[int]:
    return [cls, *first, end, *second, end]


def _segments(first: int, second: int) -> list[int]:
    return [0] * (first + 2) + [1] * (second + 1)


def _pair_with(
    marks: int = 3,
    cut: Callable[..., _Texts] = _longest_first,
    join: Callable[..., list[int]] = _joined,
    segments: Callable[[int, int], list[int]] = _segments,
) -> Callable[..., _Texts]:
    """`encode_pair`, with another way to cut, to join, or to number the segments."""

    def encode_pair(
        first: list[int],
        second: list[int],
        max_length: int,
        cls: int = 101,
        separator: int = 102,
    ) -> _Texts:
        first, second = cut(first, second, max_length - marks)
        ids = join(first, second, cls, separator)
        return ids, segments(len(first), len(second))

    return encode_pair


_pair = _pair_with()


def _pair_cut_at_last(
    first: list[int],
    second: list[int],
    max_length: int,
    cls: int = 101,
    separator: int = 102,
) -> _Texts:
    ids, segments = _pair(first, second, 10**6, cls, separator)
    return ids[:max_length], segments[:max_length]


def _half_each(first: list[int], second: list[int], room: int) -> _Texts:
    return first[: room // 2], second[: room // 2]


def _only_second(first: list[int], second: list[int], room: int) -> _Texts:
    return first[:room], second[: room - len(first[:room])]


def _only_first(first: list[int], second: list[int], room: int) -> _Texts:
    return first[: room - len(second[:room])], second[:room]


def _at_the_start(first: list[int], second: list[int], room: int) -> _Texts:
    one, two = _longest_first(first[::-1], second[::-1], room)
    return one[::-1], two[::-1]


def _pair_case(
    sizes: tuple[int, int], limit: int, marks: tuple = (7, 8), words: str = ""
) -> Case:
    first, second = (
        [start + number for number in range(size)]
        for start, size in zip((1000, 3000), sizes, strict=True)
    )
    what = f"for texts of {sizes[0]} and {sizes[1]} tokens and max_length={limit}"
    what += words or (", with cls=7 and separator=8" if marks else "")
    return Case(what, (first, second, limit, *marks))


def _pair_cases() -> list[Case]:
    fitting = (((3, 2), 20), ((1, 4), 8), ((0, 2), 9), ((3, 0), 6), ((4, 4), 11))
    cut = (
        ((2, 9), 8),
        ((9, 2), 8),
        ((9, 9), 13),
        ((30, 5), 16),
        ((6, 9), 13),
        ((9, 7), 13),
        ((0, 9), 6),
        ((9, 0), 6),
        ((8, 8), 3),
        ((1, 40), 5),
        ((4, 5), 11),
        ((700, 600), 513),
    )
    marks_inside = Case(
        "where the texts hold 101 and 102 themselves",
        ([102, 5, 101, 6], [101, 102, 102], 9, 101, 102),
    )
    same = Case(
        "where both texts are the same", ([5, 6, 7, 8, 9], [5, 6, 7, 8, 9], 9, 1, 2)
    )
    return [
        *(_pair_case(sizes, limit) for sizes, limit in (*fitting, *cut)),
        _pair_case((3, 6), 10, (), " and no word about the marks"),
        marks_inside,
        same,
    ]


_LONGER = "The longer one should lose tokens until both are equally long."
_PAIR = Task(
    _pair,
    _pair_cases,
    [
        Mistake(
            "A mark was cut off: cut the texts, and put the marks around what is left "
            "of them.",
            _pair_cut_at_last,
        ),
        Mistake(
            "Each text gets half of the room, and a short one leaves some of its half "
            "empty.",
            _pair_with(cut=_half_each),
        ),
        Mistake(
            f"The second text is cut for the first one's sake. {_LONGER}",
            _pair_with(cut=_only_second),
        ),
        Mistake(
            f"The first text is cut for the second one's sake. {_LONGER}",
            _pair_with(cut=_only_first),
        ),
        *(
            Mistake(sentence, _pair_with(marks, cut))
            for marks, sentence in (
                (0, "Do the three marks count?"),
                (2, "Not all of the three marks are counted."),
                (4, "One token more has room."),
            )
            for cut in (_longest_first, _first_keeps)
        ),
        Mistake(
            "A text lost its first tokens. It should lose those at its end.",
            _pair_with(cut=_at_the_start),
        ),
        *(
            Mistake(
                "There is a [CLS] before the second text. The row has only one, at its "
                "beginning.",
                _pair_with(
                    marks,
                    cut,
                    join=lambda a, b, cls, end: [cls, *a, end, cls, *b, end],
                    segments=lambda a, b: [0] * (a + 2) + [1] * (b + 2),
                ),
            )
            for marks in (3, 4)
            for cut in (_longest_first, _first_keeps)
        ),
        *(
            Mistake(
                "The last [SEP] is missing: each text ends with one.",
                _pair_with(
                    marks,
                    cut,
                    join=lambda a, b, cls, end: [cls, *a, end, *b],
                    segments=lambda a, b: [0] * (a + 2) + [1] * b,
                ),
            )
            for marks in (2, 3)
            for cut in (_longest_first, _first_keeps)
        ),
        *(
            Mistake(
                "Nothing stands between the two texts. A [SEP] belongs there.",
                _pair_with(
                    marks,
                    cut,
                    join=lambda a, b, cls, end: [cls, *a, *b, end],
                    segments=lambda a, b: [0] * (a + 1) + [1] * (b + 1),
                ),
            )
            for marks in (2, 3)
            for cut in (_longest_first, _first_keeps)
        ),
        *(
            Mistake(
                "The [CLS] at the beginning is missing.",
                _pair_with(
                    marks,
                    cut,
                    join=lambda a, b, cls, end: [*a, end, *b, end],
                    segments=lambda a, b: [0] * (a + 1) + [1] * (b + 1),
                ),
            )
            for marks in (2, 3)
            for cut in (_longest_first, _first_keeps)
        ),
        Mistake(
            "The second text comes first.",
            _pair_with(
                join=lambda a, b, cls, end: [cls, *b, end, *a, end],
                segments=lambda a, b: _segments(b, a),
            ),
        ),
        Mistake(
            "The marks are those of BERT, whatever the arguments say: use `cls` and "
            "`separator`.",
            _pair_with(join=lambda a, b, cls, end: _joined(a, b, 101, 102)),
        ),
        Mistake(
            "The [SEP] behind the first text has the segment 1. It closes the first "
            "text and belongs to it.",
            _pair_with(segments=lambda a, b: [0] * (a + 1) + [1] * (b + 2)),
        ),
        Mistake(
            "The last [SEP] has the segment 0. It belongs to the second text.",
            _pair_with(segments=lambda a, b: [0] * (a + 2) + [1] * b + [0]),
        ),
        Mistake(
            "The segments are 1 and 2. They choose rows of a table with two rows, 0 "
            "and 1.",
            _pair_with(segments=lambda a, b: [1] * (a + 2) + [2] * (b + 1)),
        ),
        Mistake(
            "The segments of the first text are 1 and those of the second 0.",
            _pair_with(segments=lambda a, b: [1] * (a + 2) + [0] * (b + 1)),
        ),
        Mistake(
            "All segments are 0.", _pair_with(segments=lambda a, b: [0] * (a + b + 3))
        ),
        Mistake(
            "Marks have segments too.",
            _pair_with(segments=lambda a, b: [0] * a + [1] * b),
        ),
    ],
    result=("the ids", "the segments"),
)


def _either(found: Any, expected: _Texts, case: Case) -> str | None:
    """Where a token is left over, either text may keep it."""
    other = _pair_with(cut=_first_keeps)
    what = ("the ids", "the segments")
    if difference(found, other(*case.arguments), what) is None:
        return None
    return difference(found, expected, what)


_PAIR_ODD = Task(
    _pair,
    lambda: [
        _pair_case(sizes, limit)
        for sizes, limit in (
            ((9, 9), 12),
            ((6, 9), 12),
            ((9, 6), 12),
            ((5, 5), 10),
            ((1, 40), 4),
            ((40, 1), 4),
            ((70, 60), 32),
        )
    ],
    compare=_either,
)


@check
def encode_pair(encode_pair: Callable[..., _Texts]) -> None:
    """8.1: marks and segments in their places, the longer text cut until all fits."""
    _PAIR.check(encode_pair)
    _PAIR_ODD.check(encode_pair)
    passed(
        "a pair that fits keeps all its tokens, with three marks, and segments 0 and 1"
    )
    passed(
        "a pair that does not fit is cut to the limit, at the ends, the longer "
        "text first"
    )
    for texts in (([5, 6, 7], [8, 9]), ([], [])):
        for limit in (2, 1, 0, -4):
            expect_refusal(
                encode_pair,
                *map(list, texts),
                limit,
                when=f"with max_length={limit} the three marks have no room; there",
            )
    passed("a limit without room for the marks is refused")


# 8.2

_QUESTIONS = {  # for each prediction that is wrong, a question that leads on
    "river_vector": (
        "Place 3 reads all real places through attention. Is *river* at one of them?"
    ),
    "boat_vector": (
        "The logits are products of the state with the word vectors, and the softmax "
        "divides by a sum over all of them. Is *boat* in that sum?"
    ),
    "boat_vector_untied": (
        "With a table of its own at the end, where would the word vector of a word be "
        "used that is not in the text?"
    ),
    "boat_bias": (
        "Every logit has a bias, and the softmax divides by a sum over all logits. Is "
        "*boat* in it?"
    ),
    "padding_vector": (
        "Padding cannot be seen at the entrance. But where else are the word vectors "
        "used, and for which words?"
    ),
    "padding_position": (
        "Which real place could have read something of place 9, with this mask?"
    ),
    "second_segment": "*it* and *fell* belong to segment 1. Does place 3 read them?",
    "river_first_state": "Does place 3 read place 2 in the first layer?",
    "river_last_state": (
        "After the last layer, what still reads the state at place 2? Is a label there?"
    ),
    "key_bias": (
        "A bias of the keys adds q · c to every score of a row. Does the softmax "
        "notice?"
    ),
}


@check
def gradients(
    river_vector: bool,
    boat_vector: bool,
    boat_vector_untied: bool,
    boat_bias: bool,
    padding_vector: bool,
    padding_position: bool,
    second_segment: bool,
    river_first_state: bool,
    river_last_state: bool,
    key_bias: bool,
) -> None:
    """8.2: each prediction against the gradients in a small random BERT."""
    answers = (
        river_vector,
        boat_vector,
        boat_vector_untied,
        boat_bias,
        padding_vector,
        padding_position,
        second_segment,
        river_first_state,
        river_last_state,
        key_bias,
    )
    said_of = dict(zip(_QUESTIONS, answers, strict=True))
    for name, said in said_of.items():
        written(said, f"`{name}`")
    for name, said in said_of.items():
        if not isinstance(said, bool | np.bool_):
            fail(
                f"`{name}` is {describe(said)}, and there are two answers: True and "
                "False, without quotes."
            )
    for name, largest in _gradients().items():
        if said_of[name] != (largest > 1e-10):
            fail(f"`{name}` is not {said_of[name]}. {_QUESTIONS[name]}")
    passed(
        "all ten predictions agree with the gradients in a small BERT with "
        "random weights"
    )


def _gradients() -> dict[str, float]:
    """The largest gradient of each thing in 8.2, in float64."""
    the, river, rose, it, fell, boat = range(4, 10)
    ids = torch.tensor([[1, the, river, 3, 2, it, fell, 2, 0, 0]])
    segments = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 1, 0, 0]])
    mask = torch.tensor([[1] * 8 + [0] * 2])
    labels = torch.full_like(ids, -100)
    labels[0, 3] = rose
    model = _random_model(12, 10).double()
    bert = model.bert
    first = bert.embeddings(ids, segments)
    first.retain_grad()
    states = bert.encoder(first, mask)
    states[-1].retain_grad()

    def loss(logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())

    loss(model.logits(states[-1])).backward()
    words, positions = (
        bert.embeddings.words.weight,
        bert.embeddings.positions.table.weight,
    )
    found = {
        "river_vector": words.grad[river],
        "boat_vector": words.grad[boat],
        "boat_bias": model.bias.grad[boat],
        "padding_vector": words.grad[0],
        "padding_position": positions.grad[9],
        "second_segment": bert.embeddings.segments.weight.grad[1],
        "river_first_state": first.grad[0, 2],
        "river_last_state": states[-1].grad[0, 2],
        "key_bias": bert.encoder.layers[-1].attention.key.bias.grad,
    }
    largest = {name: float(gradient.abs().max()) for name, gradient in found.items()}
    words.grad = None
    table = words.detach().clone()
    hidden = model.norm(F.gelu(model.transform(bert(ids, mask, segments))))
    loss(hidden @ table.T + model.bias).backward()
    return largest | {"boat_vector_untied": float(words.grad[boat].abs().max())}


def _random_model(
    vocabulary: int, length: int, seed: int = 0, layers: int = 2, width: int = 16
) -> MaskedLanguageModel:
    """A small model, evaluating, with weights large enough for its parts to matter."""
    sizes = BertConfiguration(
        vocabulary,
        width=width,
        layers=layers,
        heads=2,
        hidden=32,
        max_length=length,
        dropout=0.0,
    )
    with own_random_numbers(seed):
        model = MaskedLanguageModel(sizes)
        initialise(model, std=0.4)
    return model.eval()


# 8.3

_ROWS = (7, 12, 21, 27, 3, 1, 0, 16)  # ordinary tokens of each text


def _mask_exactly(
    ids: Tensor,
    vocabulary: int,
    special: Sequence[int],
    mask: int,
    generator: torch.Generator,
    rate: float = 0.15,
) -> tuple[Tensor, Tensor]:
    """A right answer: what is shown, and the labels."""
    ordinary = ~torch.isin(ids, torch.tensor(special))
    draws, fate = (torch.rand(ids.shape, generator=generator) for _ in range(2))
    rank = draws.masked_fill(~ordinary, 2.0).argsort(dim=1).argsort(dim=1)
    chosen = rank < _how_many(ids, vocabulary, special, mask, None, rate)[:, None]
    words = _ordinary_words(vocabulary, special)
    picks = words[torch.randint(len(words), ids.shape, generator=generator)]
    shown = torch.where(chosen & (fate < 0.8), mask, ids)
    shown = torch.where(chosen & (fate > 0.9), picks, shown)
    return shown, torch.where(chosen, ids, -100)


def _ordinary_words(vocabulary: int, special: Sequence[int]) -> Tensor:
    return torch.tensor([n for n in range(vocabulary) if n not in special])


def _count_by(
    count: Callable[[float, int, Tensor], float],
) -> Callable[..., Tensor]:
    """How many of each text are to be guessed, by rate, available tokens and row."""

    def counts(
        ids: Tensor,
        vocabulary: int,
        special: Sequence[int],
        mask: int,
        generator: Any,
        rate: float = 0.15,
    ) -> Tensor:
        found = []
        for row in ids.tolist():
            available = sum(number not in special for number in row)
            padding = sum(number == special[0] for number in row)
            wanted = count(rate, available, (len(row), len(row) - padding))
            found.append(min(available, int(wanted)))
        return torch.tensor(found)

    return counts


_how_many = _count_by(lambda rate, available, sizes: max(1, round(rate * available)))
_HIDDEN_COUNTS = Task(
    _how_many,
    lambda: [
        _hiding_case(rate, seed)
        for rate, seed in ((0.15, 1), (0.15, 2), (0.4, 3), (0.97, 4), (0.04, 5))
    ],
    [
        Mistake(
            "Is that counted from the length of the row? Count what may be chosen.",
            _count_by(lambda rate, available, sizes: max(1, round(rate * sizes[0]))),
        ),
        Mistake(
            "The special tokens of a text are counted as well; `rate` is a share of "
            "the ordinary ones.",
            _count_by(lambda rate, available, sizes: max(1, round(rate * sizes[1]))),
        ),
        Mistake(
            "It is rounded down. Round to the nearest number.",
            _count_by(lambda rate, available, sizes: max(1, int(rate * available))),
        ),
        Mistake(
            "It is rounded up. Round to the nearest number.",
            _count_by(lambda rate, available, sizes: math.ceil(rate * available)),
        ),
        Mistake(
            "There should be at least one, where there is an ordinary token.",
            _count_by(lambda rate, available, sizes: round(rate * available)),
        ),
        Mistake(
            "It is rounded down, and there should be at least one.",
            _count_by(lambda rate, available, sizes: int(rate * available)),
        ),
        Mistake(
            "Is the argument `rate` used?",
            _count_by(lambda rate, available, sizes: max(1, round(0.15 * available))),
        ),
        Mistake(
            "One token more than that is taken.",
            _count_by(
                lambda rate, available, sizes: max(1, round(rate * available)) + 1
            ),
        ),
    ],
    result="the number of tokens to be guessed, text by text,",
)


def _ragged(
    ordinary: Sequence[int], special: Sequence[int], counts: Sequence[int], length: int
) -> Tensor:
    """Rows of so many ordinary ids between two special ones, padded either side."""
    generator = torch.Generator().manual_seed(len(counts))
    rows = []
    for number, count in enumerate(counts):
        picks = torch.randint(len(ordinary), (count,), generator=generator)
        words = torch.tensor(ordinary)[picks].tolist()
        if number % 4 == 1:  # a special token in the middle of a text
            words.insert(count // 2, special[1])
        text = [special[-1], *words, special[1]]
        padding = [special[0]] * (length - len(text))
        rows.append(padding + text if number % 3 == 2 else text + padding)
    return torch.tensor(rows)


def _hiding_case(rate: float, seed: int, counts: Sequence[int] = _ROWS) -> Case:
    vocabulary, special, mask = (
        (50, [0, 1, 2, 3, 17], 3) if seed % 2 else (40, [5, 38, 39], 38)
    )
    ordinary = _ordinary_words(vocabulary, special).tolist()
    ids = _ragged(ordinary, special, counts, max(counts) + 4)
    generator = torch.Generator().manual_seed(seed)
    return Case(
        f"for texts of {', '.join(map(str, counts))} ordinary tokens in rows of "
        f"{ids.size(1)}, special={special}, rate={rate} and a generator seeded {seed}",
        (ids, vocabulary, special, mask, generator, rate),
    )


def _hidden_wrong(found: Any, expected: Any, case: Case) -> str | None:
    """What is wrong in a pair of what is shown and the labels, whatever was drawn."""
    ids, vocabulary, special, mask, *_ = case.arguments
    names = ("what is shown", "the labels")
    if not isinstance(found, tuple | list) or len(found) != 2:
        return difference(found, expected, names)
    for part, name in zip(found, names, strict=True):
        sized = isinstance(part, Tensor) and part.shape == ids.shape
        if not sized or part.is_floating_point() or part.dtype == torch.bool:
            return difference(part, torch.full_like(ids, -7), name)
    shown, labels = found
    chosen, apart = labels != -100, torch.isin(ids, torch.tensor(special))
    for wrong, sentence in (
        (
            chosen & (labels != ids),
            "the label is {label}, where the original id is {id}. A label is the "
            "original id, or −100.",
        ),
        (
            chosen & apart,
            "the id {id} has a label and is one of `special`, which are never chosen. "
            "In this text {words_labelled} ordinary tokens have a label too; it should "
            "be {right} of its {ordinary}, and no other.",
        ),
        (
            ~chosen & (shown != ids),
            "the id {id} is shown as {shown}, though it is not to be guessed: the "
            "loss never looks there, and the text is spoilt.",
        ),
        (
            chosen & (shown != mask) & torch.isin(shown, torch.tensor(special)),
            "the special id {shown} is put in the place of a word. What is put there "
            "is an ordinary id or `mask`.",
        ),
        (
            (shown < 0) | (shown >= vocabulary),
            "{shown} is shown, which is no id of this vocabulary.",
        ),
    ):
        if wrong.any():
            row, place = wrong.nonzero()[0].tolist()
            words = sentence.format(
                id=int(ids[row, place]),
                words_labelled=int((chosen & ~apart)[row].sum()),
                ordinary=int((~apart)[row].sum()),
                right=int(_how_many(*case.arguments)[row]),
                shown=int(shown[row, place]),
                label=int(labels[row, place]),
            )
            return f"at place {place} of text {row} {words}"
    return None


_HIDDEN = Task(
    _mask_exactly,
    lambda: [
        *(
            _hiding_case(rate, seed)
            for rate, seed in ((0.15, 1), (0.15, 2), (0.5, 3), (0.9, 4), (0.04, 5))
        ),
        _hiding_case(0.3, 6, (9,)),
        _hiding_case(0.3, 7, (0, 0)),
        _hiding_case(0.9, 8, (60, 50, 40, 60, 60, 60, 30)),
        _hiding_case(0.9, 9, (60, 50, 40, 60, 60, 60, 30)),
    ],
    compare=_hidden_wrong,
    draws=True,  # that only the generator is used is looked at by itself
)


def _counting(function: Callable) -> Callable[..., Tensor]:
    """The learner's function, of whose result only the counts are left."""

    @functools.wraps(function)
    def counts(*arguments: Any) -> Tensor:
        return (function(*arguments)[1] != -100).sum(dim=1)

    return counts


@check
def mended_mask_exactly(
    mended_mask_exactly: Callable[..., tuple[Tensor, Tensor]],
) -> None:
    """8.3: how many of each text, never special tokens, labels, three shares."""
    _HIDDEN.check(mended_mask_exactly)
    _expect_own_draws(mended_mask_exactly, _hiding_case(0.15, 9, (20,) * 60).arguments)
    counting = _counting(mended_mask_exactly)
    first, *others = (
        call(counting, *_hiding_case(0.15, seed).arguments) for seed in (1, 3, 5, 7, 9)
    )
    if not all(torch.equal(first, other) for other in others):
        fail(
            "another generator, another number of tokens to be guessed in the same "
            "text. The number is fixed by the text; only which tokens they are is left "
            "to chance."
        )
    _HIDDEN_COUNTS.check(counting)
    passed(
        "of each text the right number of tokens is to be guessed, at least one, "
        "and nothing special"
    )
    passed(
        "labels are the original ids there and −100 elsewhere; all other tokens "
        "are shown as they are"
    )
    _expect_shares(mended_mask_exactly)
    _expect_even_chances(mended_mask_exactly)
    passed(
        "80 of 100 are shown as [MASK], 10 as another ordinary word, 10 as they "
        "are; every place has its turn"
    )
    passed("all chance comes from the generator")


_Hidden = tuple[Tensor, Tensor, Tensor]  # the texts, what is shown, what is chosen


def _much_hidden(
    function: Callable, vocabulary: int, special: list[int], rows: int, rate: float
) -> _Hidden:
    """Many texts of 40 ordinary tokens, without the marks: (B, 40) each."""
    ordinary = _ordinary_words(vocabulary, special).tolist()
    picks = torch.randint(
        len(ordinary), (rows, 40), generator=torch.Generator().manual_seed(rows)
    )
    texts = torch.tensor(ordinary)[picks]
    ids = F.pad(F.pad(texts, (1, 0), value=special[1]), (0, 2), value=special[0])
    generator = torch.Generator().manual_seed(7)
    arguments = (ids, vocabulary, special, special[-1], generator, rate)
    case = Case("", arguments)
    found = call(function, ids.clone(), vocabulary, [*special], *arguments[3:])
    sentence = _hidden_wrong(found, (ids, ids), case)
    if sentence:
        fail(f"for {rows:,} texts of 40 ordinary tokens, {sentence}")
    shown, labels = found
    return texts, shown[:, 1:41], labels[:, 1:41] != -100


def _expect_shares(function: Callable) -> None:
    special = [0, 1, 2, 77, 3]
    texts, shown, chosen = _much_hidden(function, 400, special, 2000, 0.15)
    hidden, same = chosen & (shown == 3), chosen & (shown == texts)
    total, parts = int(chosen.sum()), (hidden, chosen & ~hidden & ~same, same)
    counts = [int(part.sum()) for part in parts]
    shares = (0.8, 0.1, 0.1)
    second_throw = _all_fit(counts, total, (0.8, 0.02, 0.18))
    hint = "Of the tokens to be guessed these three shares should be 80, 10 and 10 %."
    if second_throw:
        hint += (
            " The second throw only counts where the first has not won, and so most of "
            "its tenth is lost."
        )
    if counts[0] == total:
        hint += " All of them show [MASK]."
    for count, share, what in zip(
        counts, shares, ("[MASK]", "another word", "they are"), strict=True
    ):
        expect_share(
            count, total, share, f"tokens to be guessed that are shown as {what}", hint
        )
    expect_binomial(
        hidden.sum(dim=1).tolist(),
        6,
        0.8,
        "of the six tokens of a text to be guessed, those shown as [MASK]",
    )


def _all_fit(counts: Sequence[int], total: int, shares: Sequence[float]) -> bool:
    """Whether all counts are what these probabilities give."""
    try:
        for count, share in zip(counts, shares, strict=True):
            expect_share(count, total, share, "")
    except CheckFailed:
        return False
    return True


def _expect_even_chances(function: Callable) -> None:
    special = [0, 1, 9, 2, 3]
    texts, shown, chosen = _much_hidden(function, 16, special, 1500, 0.5)
    expect_independent(
        chosen[:-1],
        chosen[1:],
        "the places chosen in one text and in the next",
        "Draw for each text anew.",
    )
    expect_even(chosen.sum(dim=0), "which of 40 tokens of a text is to be guessed")
    pairs = chosen.unflatten(1, (20, 2)).all(dim=2)
    expect_share(
        int(pairs.sum()),
        pairs.numel(),
        20 * 19 / (40 * 39),
        "pairs of neighbours that are both to be guessed",
        "Which tokens they are should not depend on each other.",
    )
    other = chosen & (shown != texts) & (shown != 3)
    words = _ordinary_words(16, special)
    rank = torch.searchsorted(words, shown.clamp(min=4))
    new, old = rank[other], torch.searchsorted(words, texts)[other]
    even = "the words put in another's place"
    hint = "Draw a new word for each token, from all ordinary ones."
    expect_even(new.bincount(minlength=len(words)), even, hint)
    steps = (new - old) % len(words)
    expect_even(
        steps.bincount(minlength=len(words))[1:],
        "how far the word that is put in lies behind the one that was there",
        hint,
    )
    places = torch.arange(40).expand_as(other)[other]
    expect_independent(new, places % 8, "the words put in and their places", hint)
    first, second = _first_two(rank, other)
    expect_independent(first, second, "two words put into the same text", hint)
    fate = torch.where(shown == 3, 0, torch.where(shown == texts, 1, 2))
    hint = "Throw a die for each token."
    expect_independent(
        fate[chosen],
        torch.arange(40).expand_as(chosen)[chosen],
        "how a token is shown and its place",
        hint,
    )
    first, second = _first_two(fate, chosen)
    expect_independent(first, second, "how two tokens of a text are shown", hint)


def _first_two(values: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """The first two values of each row in which there are as many."""
    rows = where.sum(dim=1) >= 2
    order = where[rows].long().argsort(dim=1, descending=True, stable=True)
    found = values[rows].gather(1, order[:, :2])
    return found[:, 0], found[:, 1]


def _expect_own_draws(function: Callable, arguments: tuple) -> None:
    """Fail unless the generator alone decides, and goes on with every call."""
    place = next(
        n for n, value in enumerate(arguments) if isinstance(value, torch.Generator)
    )

    def drawn(generator: torch.Generator) -> list[Tensor]:
        result = call(function, *arguments[:place], generator, *arguments[place + 1 :])
        return [result] if isinstance(result, Tensor) else [*result]

    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))

    with own_random_numbers():
        generator = torch.Generator().manual_seed(5)
        first, second = drawn(generator), drawn(generator)
        again = drawn(torch.Generator().manual_seed(5))
    if not same(first, again):
        fail(
            "two calls with a generator of the same seed differ. Give `generator` to "
            "every draw."
        )
    if same(first[-1:], second[-1:]):
        fail(
            "two calls in a row choose the same tokens. Choose by numbers drawn from "
            "`generator`, and do not seed it anew."
        )


# 8.4

_WORD_SPECIAL = [0, 1, 2, 3]


def _word_numbers(ids: Tensor, continues: Tensor, special: Sequence[int]) -> Tensor:
    """(B, T): the number of each token's word in its row, −1 for special tokens."""
    apart = torch.isin(ids, torch.tensor(special))
    behind = F.pad(apart[:, :-1], (1, 0), value=True)  # a special token, or nothing
    starts = ~apart & (~continues[ids] | behind)
    return (starts.cumsum(dim=1) - 1).masked_fill(apart, -1)


def _choose_words(
    ids: Tensor,
    continues: Tensor,
    special: Sequence[int],
    rate: float,
    generator: torch.Generator,
) -> Tensor:
    """A right answer."""
    word = _word_numbers(ids, continues, special)
    draws = torch.rand(ids.shape, generator=generator)
    return (draws.gather(1, word.clamp(min=0)) < rate) & (word >= 0)


def _pieces(vocabulary: int, special: list[int], rows: int) -> tuple[Tensor, Tensor]:
    """Rows [CLS] … [SEP] … [SEP], padded, of words of one to three pieces."""
    continues = torch.zeros(vocabulary, dtype=torch.bool)
    continues[vocabulary // 2 : vocabulary - 2] = True
    starts = [n for n in range(vocabulary) if not continues[n] and n not in special]
    rest = [n for n in range(vocabulary) if continues[n] and n not in special]
    generator = torch.Generator().manual_seed(rows)

    def pick(numbers: list[int]) -> int:
        return numbers[int(torch.randint(len(numbers), (), generator=generator))]

    made = []
    for number in range(rows):
        row = [] if number % 5 == 4 else [special[1]]
        if number % 2:  # a block that begins in the middle of a word
            row += [pick(rest), pick(rest)]
        while len(row) < 22:
            row += [pick(starts)] + [
                pick(rest)
                for _ in range(int(torch.randint(3, (), generator=generator)))
            ]
            if len(row) > 9 and special[2] not in row:
                row.append(special[2])
                if number % 3 == 0:
                    row.append(pick(rest))
        row = [*row[:24], special[2]]
        padding = [special[0]] * (27 - len(row))
        made.append(padding + row if number % 7 == 3 else row + padding)
    return torch.tensor(made), continues


def _word_cases(rates: Sequence[float]) -> list[Case]:
    cases = []
    words, marks = torch.arange(4, 11)[None], torch.tensor([[1, 2], [3, 1]])
    for ids, what in ((words, "a text of words of one piece"), (marks, "marks alone")):
        for rate in rates:
            generator = torch.Generator().manual_seed(1)
            continues = torch.arange(20) >= 15
            cases.append(
                Case(
                    f"at rate {rate} for {what}",
                    (ids, continues, _WORD_SPECIAL, rate, generator),
                )
            )
    for vocabulary, special, rows in (
        (40, _WORD_SPECIAL, 40),
        (30, [7, 28, 29], 20),
        (26, [0, 24, 25], 1),
    ):
        ids, continues = _pieces(vocabulary, special, rows)
        for rate in rates:
            generator = torch.Generator().manual_seed(rows)
            cases.append(
                Case(
                    f"at rate {rate} for {rows} text{'s' * (rows > 1)} with "
                    f"special={special}",
                    (ids, continues, special, rate, generator),
                )
            )
    return cases


def _loose(
    ids: Tensor, continues: Tensor, special: Sequence[int], first: bool = True
) -> Tensor:
    """(B, T): pieces that follow a special token, without the beginning of a word.

    `first`: also those with which a row begins.
    """
    word = _word_numbers(ids, continues, special)
    apart = word < 0
    begins = ~apart & F.pad(apart[:, :-1], (1, 0), value=first) & continues[ids]
    number = torch.where(begins, word, -2)
    return (word[:, :, None] == number[:, None, :]).any(dim=2)


_ALL_OR_NONE = Task(
    _choose_words,
    lambda: _word_cases((0.0, 1.0)),
    [
        Mistake(
            "Special tokens are chosen as well.",
            lambda ids, continues, special, rate, generator: torch.full_like(
                ids, rate == 1, dtype=torch.bool
            ),
        ),
        Mistake(
            "Of `special` only the first id is left out.",
            lambda ids, continues, special, rate, generator: (
                (ids != special[0]) & (rate == 1)
            ),
        ),
        Mistake(
            "A word is to be chosen where its draw is *below* `rate`.",
            lambda ids, continues, special, rate, generator: _choose_words(
                ids, continues, special, 1 - rate, generator
            ),
        ),
        *(
            Mistake(
                "Pieces right behind a special token are left out. A block may begin "
                "in the middle of a word; what is there of it is a word of its own.",
                lambda ids, continues, special, rate, generator, first=first: (
                    _choose_words(ids, continues, special, rate, generator)
                    & ~_loose(ids, continues, special, first)
                ),
            )
            for first in (True, False)
        ),
        Mistake(
            "The pieces behind the first of a word go with it.",
            lambda ids, continues, special, rate, generator: (
                _choose_words(ids, continues, special, rate, generator)
                & ~continues[ids]
            ),
        ),
    ],
    result="the choice",
    dtype=torch.bool,
)


def _whole_words(found: Any, expected: Tensor, case: Case) -> str | None:
    """Which word is chosen in part, or which special token."""
    ids, continues, special, *_ = case.arguments
    if not isinstance(found, Tensor) or found.shape != ids.shape:
        return difference(found, expected, "the choice")
    if found.dtype != torch.bool:
        return f"the choice has the dtype {found.dtype}; it should hold booleans."
    word = _word_numbers(ids, continues, special)
    if (found & (word < 0)).any():
        row, place = (found & (word < 0)).nonzero()[0].tolist()
        return (
            f"at place {place} of text {row} the special id {int(ids[row, place])} is "
            "chosen."
        )
    broken = (word[:, 1:] == word[:, :-1]) & (found[:, 1:] != found[:, :-1])
    if broken.any():
        row, place = broken.nonzero()[0].tolist()
        inside = (word[row] == word[row, place]).nonzero().squeeze(1)
        parts, choice = ids[row][inside].tolist(), found[row][inside].tolist()
        return (
            f"of the word with the ids {parts} in text {row} the choice is {choice}. A "
            "word is chosen as a whole, or not."
        )
    return None


_WHOLE_WORDS = Task(
    _choose_words,
    lambda: _word_cases((0.5, 0.15)),
    compare=_whole_words,
    draws=True,  # that only the generator is used is looked at by itself
)


@check
def choose_words(choose_words: Callable[..., Tensor]) -> None:
    """8.4: whole words, equally likely and independent, never special tokens."""
    _WHOLE_WORDS.check(choose_words)
    ids, continues = _pieces(40, _WORD_SPECIAL, 3000)
    generator = torch.Generator().manual_seed(5)
    _expect_own_draws(
        choose_words, (ids[:200], continues, _WORD_SPECIAL, 0.15, generator)
    )
    _ALL_OR_NONE.check(choose_words)
    passed(
        "all pieces of a word are chosen, or none; special tokens never; a "
        "cut-off word by itself"
    )
    for rate in (0.15, 0.4):
        generator = torch.Generator().manual_seed(2)
        arguments = (ids, continues, _WORD_SPECIAL, rate, generator)
        chosen = call(choose_words, ids.clone(), *arguments[1:])
        sentence = _whole_words(chosen, chosen, Case("", arguments))
        if sentence:
            fail(f"at rate {rate} for 3,000 texts, {sentence}")
        _expect_word_chances(chosen, ids, continues, rate)
    passed(
        "words of one, two and three pieces have the same chance, independently "
        "of their neighbours"
    )
    passed("all chance comes from the generator")


def _expect_word_chances(
    chosen: Tensor, ids: Tensor, continues: Tensor, rate: float
) -> None:
    """Fail unless all words are chosen with probability `rate`, independently."""
    word = _word_numbers(ids, continues, _WORD_SPECIAL)

    def by_word(tokens: Tensor) -> Tensor:  # (B, words): of how many tokens of each
        return torch.zeros(len(ids), 28, dtype=torch.long).scatter_add(
            1, word + 1, tokens.long()
        )[:, 1:]

    pieces, hit = by_word(torch.ones_like(ids)), by_word(chosen) > 0
    there, loose = pieces > 0, by_word(_loose(ids, continues, _WORD_SPECIAL)) > 0
    hint = "Each word is to have a draw of its own."
    both = there[:, 1:] & there[:, :-1]
    across = there[1:] & there[:-1]
    number = torch.arange(27).expand_as(there)
    for one, other, what in (
        (
            hit[1:][across],
            hit[:-1][across],
            "the choices of words with the same number, in one text and the next,",
        ),
        (hit[:, 1:][both], hit[:, :-1][both], "a word's choice and its neighbour's"),
        (hit[there], number[there] % 8, "a word's choice and its number in the text"),
    ):
        expect_independent(one, other, what, hint)
    trials = [int((pieces == size).sum()) for size in (1, 2, 3)]
    found = [int(hit[pieces == size].sum()) for size in (1, 2, 3)]
    hint = ""
    for sentence, shares in {
        "A longer word has several chances: any of its pieces will do. Draw once a "
        "word.": [1 - (1 - rate) ** size for size in (1, 2, 3)],
        "A longer word is chosen only where each of its pieces is. Draw once a word.": [
            rate**size for size in (1, 2, 3)
        ],
    }.items():
        if all(map(_fits, found, trials, shares)):
            hint = sentence
    for size, count, total in zip((3, 2, 1), found[::-1], trials[::-1], strict=True):
        kind = f"at rate {rate}, words of {size} piece{'s' * (size > 1)}"
        expect_share(count, total, rate, f"{kind} that are chosen", hint)
    expect_share(
        int(hit[loose].sum()),
        int(loose.sum()),
        rate,
        f"at rate {rate}, pieces behind a special token that are chosen",
        "They are a word of their own.",
    )
    after = loose[:, 1:] & there[:, :-1]
    expect_independent(
        hit[:, 1:][after],
        hit[:, :-1][after],
        "the choice of pieces behind a special token and of the word before it",
        "They are a word of their own.",
    )
    starts = word != F.pad(word[:, :-1], (1, 0), value=-1)
    starts &= word >= 0
    expect_independent(
        chosen[starts],
        ids[starts],
        "a word's choice and its first id",
        "Each word is to have a draw of its own.",
    )
    counts = hit[:, :5][there[:, 4]].sum(dim=1).tolist()
    expect_binomial(counts, 5, rate, "of the first five words of a text, those chosen")


def _fits(hits: int, trials: int, share: float) -> bool:
    return _all_fit([hits], trials, [share])


# 8.5


def _pooled(
    model: Bert,
    ids: Tensor,
    mask: Tensor,
    sees: bool = True,
    how: str = "mean",
    normal: bool = False,
) -> Tensor:
    """A vector for each text (B, C), rightly or wrongly."""
    real = mask.bool().unsqueeze(-1)
    with torch.no_grad():
        states = model(ids, mask.bool()) if sees else model(ids)
    kept = states.masked_fill(~real, 0.0)
    count = real.sum(dim=1)
    vectors = {
        "mean": lambda: kept.sum(dim=1) / count.clamp(min=1),
        "not clamped": lambda: kept.sum(dim=1) / count,
        "zeros counted": lambda: kept.mean(dim=1),
        "padding too": lambda: states.mean(dim=1),
        "sum": lambda: kept.sum(dim=1),
        "first": lambda: states[:, 0],
        "largest": lambda: states.amax(dim=1),
        "largest real": lambda: states.masked_fill(~real, -math.inf).amax(dim=1),
        "whole batch": lambda: kept.sum(dim=1) / count.sum(),
    }[how]()
    return F.normalize(vectors, dim=-1) if normal else vectors


def _embedding_mistake(sentence: str, **ways: Any) -> Mistake:
    return Mistake(sentence, functools.partial(_pooled, **ways))


def _embedding_cases() -> list[Case]:
    models = {
        "a model of width 16": _random_model(30, 24).bert,
        "a model of width 12": _random_model(25, 12, 1, 1, 12).bert,
        "a model in `train()` mode": _random_model(30, 24, 2).bert.train(),
        "a float64 model": _random_model(30, 24, 3).bert.double(),
    }
    generator = torch.Generator().manual_seed(3)
    cases = []
    for number, (name, batch, length) in enumerate(
        (
            ("a model of width 16", 3, 9),
            ("a model of width 12", 4, 11),
            ("a model in `train()` mode", 2, 7),
            ("a float64 model", 3, 5),
            ("a model of width 16", 1, 1),
            ("a model of width 12", 1, 12),
        )
    ):
        kinds = paddings(batch, length) if length > 1 else paddings(batch, 2)
        for place, (what, mask) in enumerate(kinds):
            kind = (torch.long, torch.bool, torch.float32)[(number + place) % 3]
            mask = mask[:, :length].to(kind)
            ids = torch.randint(4, 25, mask.shape, generator=generator)
            filler = (0, 13)[place % 2]
            ids = torch.where(mask.bool(), ids, filler)
            words = f"{what}, a mask {tuple(mask.shape)} of {kind} and {name}"
            cases.append(Case(words, (models[name], ids, mask)))
            if length == 1:
                break
    ids = torch.full((3, 6), 9)
    empty = torch.tensor([[1, 1, 1, 0, 0, 0], [0] * 6, [1] * 6])
    model = models["a model of width 16"]
    cases += [
        Case("where a text of padding only stands among others", (model, ids, empty)),
        Case("for a single text of padding only", (model, ids[:1], empty[1:2])),
    ]
    return cases


def _vectors_wrong(found: Any, expected: Tensor, case: Case) -> str | None:
    return difference(
        found, expected, "the result", Tolerance(1e-3), floor=expected.dtype
    )


_EMBEDDED = Task(
    _pooled,
    _embedding_cases,
    [
        _embedding_mistake(
            "The vectors have length 1. The mean itself is asked for.", normal=True
        ),
        *(
            _embedding_mistake(
                "The vectors have length 1, where the mean itself is asked for; and "
                "the model still reads padding.",
                normal=True,
                sees=False,
                how=how,
            )
            for how in ("mean", "zeros counted")
        ),
        _embedding_mistake(
            "The states are added up and not divided. A mean is asked for.", how="sum"
        ),
        _embedding_mistake(
            "This is the state of the first token. A mean over all is asked for.",
            how="first",
        ),
        *(
            _embedding_mistake(
                "This is the largest of each number over the tokens. A mean is asked "
                "for.",
                how=how,
            )
            for how in ("largest", "largest real")
        ),
        _embedding_mistake(
            "The mean is right, but what it is taken of is not: the model itself reads "
            "padding. Attention mixes places too.",
            sees=False,
        ),
        _embedding_mistake(
            "Padding is set to zero, and then counted: three numbers and two zeros "
            "have another mean than the three.",
            how="zeros counted",
        ),
        _embedding_mistake(
            "Both faults are still there: the model reads padding, and the zeros are "
            "counted.",
            sees=False,
            how="zeros counted",
        ),
        _embedding_mistake("The states of padding are in the mean.", how="padding too"),
        _embedding_mistake(
            "Padding is read by the model, and is in the mean too.",
            sees=False,
            how="padding too",
        ),
        _embedding_mistake(
            "The sum is divided by all real tokens of the batch. Each text has a "
            "number of its own.",
            how="whole batch",
        ),
        _embedding_mistake(
            "Zero divided by zero is NaN: divide by at least 1.", how="not clamped"
        ),
    ],
    tolerance=Tolerance(1e-3),
    precise=False,
    compare=_vectors_wrong,
)


@check
def mended_embed(mended_embed: Callable[..., Tensor]) -> None:
    """8.5: a text's vector is a mean, and the same whatever stands beside it."""
    _EMBEDDED.check(mended_embed)
    passed(
        "each text has the vector that it has alone, beside short texts and long "
        "ones, with any padding"
    )
    passed("it is the mean of its states, neither a sum nor of length 1")
    passed("a text of padding only gets zeros")


# 8.6


class _Recorder(nn.Module):
    """A model that counts how often it is asked."""

    def __init__(self, model: MaskedLanguageModel) -> None:
        super().__init__()
        self.model, self.calls = model, 0

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, segments: Tensor | None = None
    ) -> Tensor:
        self.calls += 1
        return self.model(ids, mask, segments)


_Hidden_places = Callable[[Tensor, int, set[int], Tensor | None], list[int]]


def _end(ids: Tensor, place: int, continues: Tensor | None) -> int:
    """Behind the last piece of the word to which the token at `place` belongs."""
    place += 1
    while continues is not None and place < len(ids) and continues[ids[place]]:
        place += 1
    return place


def _start(
    ids: Tensor, place: int, ordinary: set[int], continues: Tensor | None
) -> int:
    """The first piece of the word to which the token at `place` belongs."""
    while continues is not None and continues[ids[place]] and place - 1 in ordinary:
        place -= 1
    return place


def _rest(
    ids: Tensor, place: int, ordinary: set[int], continues: Tensor | None
) -> list[int]:
    return list(range(place, _end(ids, place, continues)))


def _scores_with(
    hides: _Hidden_places = _rest,
    score: Callable[[Tensor, int], Tensor] = lambda z, n: z.log_softmax(dim=-1)[n],
    own_mask: int | None = None,
    own_special: Sequence[int] | None = None,
    read_at: int = 0,
) -> Callable[..., Tensor]:
    """`token_scores` with other places hidden or another score."""

    @torch.no_grad()
    def token_scores(
        model: nn.Module,
        ids: Tensor,
        mask: int = 3,
        special: Sequence[int] = (0, 1, 2, 3),
        continues: Tensor | None = None,
    ) -> Tensor:
        special = special if own_special is None else own_special
        numbers = ids.tolist()
        ordinary = {n for n, number in enumerate(numbers) if number not in special}
        scores = torch.zeros(len(ids))
        if not ordinary:
            return scores
        rows = ids.repeat(len(ordinary), 1)
        for row, place in zip(rows, ordinary, strict=True):
            row[hides(ids, place, ordinary, continues)] = own_mask or mask
        logits = getattr(model, "model", model)(rows)
        for row, place in zip(logits, ordinary, strict=True):
            at = min(place + read_at, len(ids) - 1)
            scores[place] = score(row[at], numbers[place])
        return scores

    return token_scores


_scores = _scores_with()


def _score_cases() -> list[Case]:
    model = _Recorder(_random_model(30, 16))
    other = _Recorder(_random_model(26, 12, 1, 1, 12)).train()
    continues = torch.zeros(30, dtype=torch.bool)
    continues[20:] = True
    texts = (
        [1, 5, 4, 14, 6, 2],
        [1, 5, 22, 9, 24, 25, 6, 28, 2, 7, 21, 2],
        [1, 21, 8, 23, 2],
        [8, 23, 26, 27],
        [1, 11, 2],
        [9, 9, 21, 21, 21],
        [1, 2, 2],
        [1, 10, 29, 28, 27, 4, 2],
    )
    cases = [
        Case(
            f"for the ids {ids} and no word about the marks", (model, torch.tensor(ids))
        )
        for ids in texts[:4]
    ]
    for marks in (None, continues):
        for ids in texts:
            for mask, special in ((3, (0, 1, 2, 3)), (4, (0, 1, 2, 3, 4))):
                what = f"for the ids {ids}, mask={mask} and special={special}"
                what += ", with `continues`" if marks is not None else ""
                arguments = (model, torch.tensor(ids), mask, special, marks)
                cases.append(Case(what, arguments))
    pieces = torch.arange(26) % 3 == 0
    for ids in ([7, 6, 9, 12, 5], [1, 25, 3, 15, 18, 2, 3, 1, 16, 21]):
        what = f"for the ids {ids}, mask=2 and special=(1, 2), with other `continues`"
        cases.append(Case(what, (other, torch.tensor(ids), 2, (1, 2), pieces)))
    return cases


def _behind(
    ids: Tensor, place: int, ordinary: set[int], continues: Tensor | None
) -> list[int]:
    return [p for p in ordinary if p >= place]


def _behind_for_words(
    ids: Tensor, place: int, ordinary: set[int], continues: Tensor | None
) -> list[int]:
    return [p for p in ordinary if p >= place] if continues is not None else [place]


def _scores_wrong(found: Any, expected: Tensor, case: Case) -> str | None:
    if isinstance(found, float) or getattr(found, "shape", None) == ():
        return (
            "one number came back. The score of each token is asked for, (T); their "
            "sum is for later."
        )
    ordinary = int((expected != 0).sum())
    if getattr(found, "shape", None) == (ordinary,) != expected.shape:
        return (
            f"the result has {ordinary} scores for {len(expected)} ids. Special tokens "
            "have a place in it too, with 0."
        )
    return difference(found, expected, "the result", Tolerance(1e-3))


_SCORES = Task(
    _scores,
    _score_cases,
    [
        Mistake(
            "The token itself is in sight when it is guessed. Hide it.",
            _scores_with(lambda ids, place, ordinary, continues: []),
        ),
        Mistake(
            "All tokens are hidden at once. Each should be guessed with all others in "
            "sight.",
            _scores_with(lambda ids, place, ordinary, continues: list(ordinary)),
        ),
        Mistake(
            "The sign is turned round: these are losses. A log-probability is at most "
            "0.",
            _scores_with(score=lambda z, n: -z.log_softmax(dim=-1)[n]),
        ),
        Mistake(
            "These are probabilities. Their logarithms are asked for.",
            _scores_with(score=lambda z, n: z.softmax(dim=-1)[n]),
        ),
        Mistake(
            "These are logits: the softmax is missing.",
            _scores_with(score=lambda z, n: z[n]),
        ),
        Mistake(
            "These are logarithms to the base 2. Nats are asked for.",
            _scores_with(score=lambda z, n: z.log_softmax(dim=-1)[n] / math.log(2)),
        ),
        Mistake(
            "What is put in the place of a token is 3, whatever `mask` says.",
            _scores_with(own_mask=3),
        ),
        Mistake(
            "Special are 0, 1, 2 and 3, whatever `special` says.",
            _scores_with(own_special=(0, 1, 2, 3)),
        ),
        Mistake(
            "The tokens in `special` have a score too. They are not to be guessed: "
            "theirs is 0.",
            _scores_with(own_special=()),
        ),
        Mistake(
            "`continues` has no effect: only the token itself is hidden.",
            _scores_with(lambda ids, place, ordinary, continues: [place]),
        ),
        Mistake(
            "The whole word is hidden, the pieces before the token too. Only what "
            "stands behind it in the word should be.",
            _scores_with(
                lambda ids, place, ordinary, continues: list(
                    range(
                        _start(ids, place, ordinary, continues),
                        _end(ids, place, continues),
                    )
                )
            ),
        ),
        Mistake(
            "The pieces before the token are hidden, and those behind it are in sight. "
            "It should be the other way round.",
            _scores_with(
                lambda ids, place, ordinary, continues: list(
                    range(_start(ids, place, ordinary, continues), place + 1)
                )
            ),
        ),
        Mistake(
            "Of the rest of the word, only the next piece is hidden. A word may have "
            "more.",
            _scores_with(
                lambda ids, place, ordinary, continues: list(
                    range(place, min(_end(ids, place, continues), place + 2))
                )
            ),
        ),
        Mistake(
            "All that stands behind the token is hidden. Only the rest of its word "
            "should be, and without `continues` only the token itself.",
            _scores_with(_behind),
        ),
        Mistake(
            "With `continues`, all that stands behind the token is hidden. Only the "
            "rest of its word should be.",
            _scores_with(_behind_for_words),
        ),
        Mistake(
            "All that stands behind the token is hidden, with the marks. Only the rest "
            "of its word should be.",
            _scores_with(
                lambda ids, place, ordinary, continues: list(range(place, len(ids)))
            ),
        ),
        *(
            Mistake(
                "Each copy's score is read one place beside the one that is hidden in "
                "it.",
                _scores_with(read_at=shift),
            )
            for shift in (-1, 1)
        ),
    ],
    tolerance=Tolerance(1e-3),
    precise=False,
    compare=_scores_wrong,
)


@check
def token_scores(token_scores: Callable[..., Tensor]) -> None:
    """8.6: parity with hiding tokens one by one, special tokens, words, one batch."""
    _SCORES.check(token_scores)
    passed(
        "each token has its log-probability with all others in sight, special tokens "
        "have 0"
    )
    passed(
        "with `continues`, the rest of the word is hidden along with a piece, "
        "and nothing else"
    )
    for case in _score_cases():
        model = case.arguments[0]
        model.calls = 0
        call(token_scores, *case.arguments)
        if model.calls > 1:
            fail(
                f"{case.what}, the scores are right, and the model is asked "
                f"{model.calls} times. Put all versions of the text into one batch."
            )
    passed("the model is asked once a text")
