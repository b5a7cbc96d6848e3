"""Checks of chapter 13's exercises.

- `labels_from_ids`: the answers of a chat found among its ids (exercise 13.1)
- `packed`: positions and mask of chats that lie end to end (exercise 13.2)
- `bookkeeping`: tokens, labels, loss and padding of a chat, counted beforehand
  (exercise 13.3)
- `endings`: how many answers ended, and after how many tokens (exercise 13.4)
- `collate`: a batch without the three faults of the broken one (exercise 13.5)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import check, passed
from finetuning.checks.predictions import Guess, numbers_by_name, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = ["bookkeeping", "collate", "endings", "labels_from_ids", "packed"]

IGNORED = -100


# 13.1


def _labels(
    ids: Sequence[int],
    header: Sequence[int],
    end: int,
    with_header: bool = False,
    with_end: bool = True,
    only: str = "",
    every_turn: bool = False,
    to_the_last_end: bool = False,
) -> list[int]:
    """The labels, but for the mistake that is asked for."""
    ids, header = list(ids), list(header)
    places = [
        place for place in range(len(ids)) if ids[place : place + len(header)] == header
    ]
    # A header inside an answer is a part of it.
    starts: list[int] = []
    reached = 0
    for place in places:
        if place >= reached:
            starts.append(place)
            begin = place + len(header)
            ends = [at for at in range(begin, len(ids)) if ids[at] == end]
            reached = ends[0] + 1 if ends else len(ids)
    if only == "first":
        starts = starts[:1]
    if only == "last":
        starts = starts[-1:]
    labels = [IGNORED] * len(ids)
    for start in starts:
        begin = start + len(header)
        ends = [at for at in range(begin, len(ids)) if ids[at] == end]
        stop = len(ids)
        if ends:
            stop = (ends[-1] if to_the_last_end else ends[0]) + int(with_end)
        if every_turn:
            stop = len(ids)
        first = start if with_header else begin
        labels[first:stop] = ids[first:stop]
    return labels


def _labels_cases() -> list[Case]:
    header, end = [1, 520, 198], 2
    system = [1, 9690, 198, 31, 32, 33, 2, 198]
    request = [1, 4093, 198, 41, 42, 2, 198]
    other = [7, 8]
    return [
        Case(
            "for a chat of one turn",
            ([*system, *request, *header, 51, 52, 53, 2, 198], header, end),
        ),
        Case(
            "for a chat of two turns",
            (
                [
                    *request,
                    *header,
                    61,
                    62,
                    2,
                    198,
                    *request,
                    *header,
                    63,
                    64,
                    65,
                    2,
                    198,
                ],
                header,
                end,
            ),
        ),
        Case(
            "for an answer that is cut off before its end",
            ([*request, *header, 71, 72, 73], header, end),
        ),
        Case("for an empty answer", ([*request, *header, 2, 198], header, end)),
        Case("for a chat without an answer", ([*system, *request], header, end)),
        Case(
            "for a prompt that ends with the header",
            ([*system, *request, *header], header, end),
        ),
        Case(
            "for a header of two ids and another end",
            ([3, 4, 7, 8, 50, 51, 9, 7, 5, 9, 7, 8, 52, 9], other, 9),
        ),
        Case(
            "for a header of which a part stands elsewhere",
            ([1, 520, 60, 2, 520, 198, 61, 2, *header, 62, 520, 2], header, end),
        ),
        Case(
            "for three turns",
            (
                [*header, 80, 2, 198, *request, *header, 81, 2, *header, 82, 83, 2],
                header,
                end,
            ),
        ),
        Case("for an answer of a header's own ids", ([7, 8, 8, 7, 9, 9], other, 9)),
        Case(
            "for a chat of five turns",
            ([*(system + [*request, *header, 91, 92, 2, 198] * 5), 2], header, end),
        ),
    ]


_LABELS = Task(
    _labels,
    _labels_cases,
    [
        Mistake(
            "The end of the turn is not trained. A model that never learns it never "
            "stops.",
            lambda ids, header, end: _labels(ids, header, end, with_end=False),
        ),
        Mistake(
            "The header is trained as well. It is the template's: nobody asks the "
            "model to write it.",
            lambda ids, header, end: _labels(ids, header, end, with_header=True),
        ),
        Mistake(
            "Only the first answer is trained. A chat of several turns has several.",
            lambda ids, header, end: _labels(ids, header, end, only="first"),
        ),
        Mistake(
            "Only the last answer is trained. A chat of several turns has several.",
            lambda ids, header, end: _labels(ids, header, end, only="last"),
        ),
        Mistake(
            "What follows the end of an answer is trained, too: look for the first "
            "`end` after the header, not for the last of the chat.",
            lambda ids, header, end: _labels(ids, header, end, to_the_last_end=True),
        ),
        Mistake(
            "Everything after a header is trained, to the end of the chat. An answer "
            "ends with its `end`.",
            lambda ids, header, end: _labels(ids, header, end, every_turn=True),
        ),
        Mistake(
            "Everything is trained; what is no answer is -100.",
            lambda ids, header, end: list(ids),
        ),
    ],
    result="the list of labels",
)


@check
def labels_from_ids(find_labels: Callable) -> None:
    """`labels_from_ids(ids, header, end)` -> labels, as long as `ids`."""
    _LABELS.check(find_labels)
    passed("answers of one, two and three turns are trained, each with its end")
    passed("headers, other turns and line breaks are not")
    passed("empty and cut answers, and chats without one, are right")


# 13.2


def _packed(
    lengths: Sequence[int],
    running: bool = False,
    two_ways: bool = False,
    one_text: bool = False,
    strict: bool = False,
    columns: bool = False,
) -> tuple[Tensor, Tensor]:
    """Positions and mask, but for the mistake that is asked for."""
    total = sum(lengths)
    positions = torch.cat(
        [torch.zeros(0, dtype=torch.int64), *(torch.arange(n) for n in lengths)]
    )
    chat = torch.tensor([number for number, n in enumerate(lengths) for _ in range(n)])
    place = torch.arange(total)
    mask = torch.ones(total, total, dtype=torch.bool)
    if not one_text:
        mask &= chat[:, None] == chat[None, :]
    if not two_ways:
        mask &= place[None, :] <= place[:, None]
    if strict:
        mask &= place[None, :] < place[:, None]
    if columns:
        mask = mask.mT
    return (place if running else positions), mask


def _packed_cases() -> list[Case]:
    return [
        Case("for two chats", ([3, 4],)),
        Case("for three chats", ([5, 1, 2],)),
        Case("for a single chat", ([6],)),
        Case("for chats of one token each", ([1, 1, 1],)),
        Case(
            "for a length of zero between two others",
            ([2, 0, 3],),
            facts=("A length is 0 here: that chat takes no place.",),
        ),
        Case("for a length of zero at the end", ([4, 0],)),
        Case("for seven chats", ([9, 2, 7, 1, 4, 12, 3],)),
    ]


_PACKED = Task(
    _packed,
    _packed_cases,
    [
        Mistake(
            "The positions run on from one chat to the next; each chat starts at 0.",
            lambda lengths: _packed(lengths, running=True),
        ),
        Mistake(
            "A token sees those of its chat that come after it. The mask is causal "
            "within each chat, too.",
            lambda lengths: _packed(lengths, two_ways=True),
        ),
        Mistake(
            "This is the causal mask of one text: the second chat sees the first. A "
            "token sees its own chat alone.",
            lambda lengths: _packed(lengths, one_text=True),
        ),
        Mistake(
            "No token sees itself, and the first of each chat sees nothing at all.",
            lambda lengths: _packed(lengths, strict=True),
        ),
        Mistake(
            "Rows and columns have changed places: row t says what token t may see.",
            lambda lengths: _packed(lengths, columns=True),
        ),
    ],
    result=("the positions", "the mask"),
)


@check
def packed(pack: Callable) -> None:
    """`packed(lengths)` -> `(positions, mask)`: (T,) int64 and (T, T) bool."""
    _PACKED.check(pack)
    passed("positions start again with each chat")
    passed("each token sees its own chat up to itself, and nothing else")


# 13.3

_TRUE = {
    "tokens": 53,
    "trained": 7,
    "predictions": 52,
    "loss": (7 * math.log(8) + 45 * math.log(2)) / 52,
    "padding": 21 / 106,
    "packed pairs": 53 * 54 / 2 + 32 * 33 / 2,
}
_QUESTIONS = {
    "tokens": "How many messages are there, and how many tokens does the template add "
    "to each?",
    "trained": "How does the model say that it is done, and who teaches it to?",
    "predictions": "What comes before the first token?",
    "loss": "Which tokens have which probability, and over how many is the mean?",
    "padding": "How wide is the batch, and which of its two rows has a gap?",
    "packed pairs": "What may the first token of the second chat see?",
}
_GUESSES = {
    "tokens": [
        Guess(38, "These are the words alone. What does the template add to them?"),
        Guess(43, "Has every message its five tokens of template?"),
    ],
    "trained": [
        Guess(6, "Will this model ever stop?"),
        Guess(8, "Does the model write the line break after its turn's end?"),
    ],
    "predictions": [Guess(53, "Which position predicts the first token?")],
    "loss": [
        Guess(math.log(8), "This is the loss of the answer alone. And the prompt?"),
        Guess(
            (7 * math.log(8) + 46 * math.log(2)) / 53,
            "Is the first token predicted by anything?",
        ),
        Guess(
            (6 * math.log(8) + 46 * math.log(2)) / 52,
            "Has the end of the answer the probability of an answer's token?",
        ),
    ],
    "padding": [
        Guess(21 / 53, "This is the share of one row. How many cells has the batch?"),
    ],
    "packed pairs": [
        Guess(85 * 86 / 2, "Does the second chat see the first?"),
        Guess(53**2 + 32**2, "May a token see what comes after it?"),
    ],
}


@check
def bookkeeping(predicted: Mapping[str, Any]) -> None:
    """Six numbers about a chat."""
    numbers_by_name(predicted, _TRUE)
    predicted_numbers(predicted, _TRUE, _QUESTIONS, relative=0.005, guesses=_GUESSES)
    passed("53 tokens, 7 of them trained, 52 predicted")
    passed("the loss on everything, the padding and the packed pairs are right")


# 13.4


def _endings(
    written: Tensor,
    end: int,
    with_end: bool = False,
    unended_as_empty: bool = False,
    only_ended: bool = False,
    last: bool = False,
) -> tuple[float, float]:
    """Share and mean, but for the mistake that is asked for."""
    lengths, ended = [], []
    for row in written.tolist():
        places = [place for place, token in enumerate(row) if token == end]
        ended.append(bool(places))
        if places:
            lengths.append((places[-1] if last else places[0]) + int(with_end))
        elif unended_as_empty:
            lengths.append(0)
        elif not only_ended:
            lengths.append(len(row))
    mean = sum(lengths) / len(lengths) if lengths else float("nan")
    return sum(ended) / len(ended), mean


def _endings_cases() -> list[Case]:
    end = 2
    rows = {
        "for four answers": [
            [5, 6, 2, 2, 2],
            [7, 8, 9, 5, 6],
            [2, 2, 2, 2, 2],
            [4, 4, 4, 4, 2],
        ],
        "where none ends": [[5, 6, 7], [8, 9, 5]],
        "where all end": [[5, 2, 2, 2], [6, 7, 2, 2], [8, 9, 4, 2]],
        "for a single answer": [[5, 6, 7, 2, 2, 2]],
        "for answers of one token": [[2], [5], [6]],
        "for empty answers": [[2, 2], [2, 2], [5, 2]],
    }
    cases = [Case(what, (torch.tensor(each), end)) for what, each in rows.items()]
    other = torch.tensor([[0, 2, 11, 11], [2, 0, 4, 5]])
    return [*cases, Case("for another end", (other, 11))]


_ENDINGS = Task(
    _endings,
    _endings_cases,
    [
        Mistake(
            "The end is counted with the answer; the mean is of the tokens before it.",
            lambda written, end: _endings(written, end, with_end=True),
        ),
        Mistake(
            "A row that never ended counts as empty: `argmax` gives 0 where nothing "
            "is True. It counts with all its tokens.",
            lambda written, end: _endings(written, end, unended_as_empty=True),
        ),
        Mistake(
            "The mean leaves out the rows that never ended, which are the longest.",
            lambda written, end: _endings(written, end, only_ended=True),
        ),
        Mistake(
            "The last `end` of a row is that of its filling; the first ends the "
            "answer.",
            lambda written, end: _endings(written, end, last=True),
        ),
    ],
    result=("the share", "the mean"),
    tolerance=Tolerance().wider(),
    precise=False,
)


@check
def endings(measure: Callable) -> None:
    """`endings(written, end)` -> `(share, mean)`, two floats."""
    _ENDINGS.check(measure)
    passed("answers that end, that never end, and empty ones are counted")


# 13.5


def _collate(
    rows: Sequence[tuple[list[int], list[int]]],
    pad_id: int,
    shifted: bool = False,
    mask_by_id: bool = False,
    labels_by_id: bool = False,
    padded_labels: bool = False,
    labels_of_ids: bool = False,
) -> dict[str, Tensor]:
    """The batch, but for the mistakes that are asked for."""
    longest = max(len(ids) for ids, _ in rows)
    batch: dict[str, list] = {"input_ids": [], "attention_mask": [], "labels": []}
    for ids, labels in rows:
        gap = longest - len(ids)
        labels = list(ids) if labels_of_ids else list(labels)
        if shifted:
            labels = [*labels[1:], IGNORED]
        if labels_by_id:
            labels = [IGNORED if each == pad_id else each for each in labels]
        batch["input_ids"].append([*ids, *[pad_id] * gap])
        batch["attention_mask"].append([1] * len(ids) + [0] * gap)
        batch["labels"].append(labels + [pad_id if padded_labels else IGNORED] * gap)
    tensors = {name: torch.tensor(values) for name, values in batch.items()}
    if mask_by_id:
        tensors["attention_mask"] = (tensors["input_ids"] != pad_id).long()
    return tensors


def _collate_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(13)

    def row(prompt: int, answer: int, end: int) -> tuple[list[int], list[int]]:
        numbers = torch.randint(20, 40_000, (prompt + answer,), generator=generator)
        ids = [*numbers.tolist(), end]
        return ids, [IGNORED] * prompt + ids[prompt:]

    ends = ("The end of an answer has the id of padding here.",)
    apart = ("Padding has an id of its own here.",)
    return [
        Case("for two chats", ([row(3, 2, 2), row(5, 4, 2)], 2), facts=ends),
        Case("for the longest first", ([row(9, 3, 2), row(1, 1, 2)], 2), facts=ends),
        Case(
            "for a padding of its own", ([row(2, 2, 3), row(4, 1, 3)], 0), facts=apart
        ),
        Case("for a single chat", ([row(4, 3, 2)], 2), facts=ends),
        Case("for chats of one length", ([row(3, 3, 5), row(4, 2, 5)], 5), facts=ends),
        Case(
            "for five chats",
            ([row(n, 6 - n, 2) if n % 2 else row(2 * n, n, 2) for n in range(1, 6)], 2),
            facts=ends,
        ),
        Case("for chats that are trained whole", ([row(0, 4, 7), row(0, 2, 7)], 1)),
    ]


def _as_batch(found: Any, expected: dict[str, Tensor], case: Case) -> str | None:
    """How a batch differs; every tensor of it has to be int64."""
    sentence = difference(found, expected, "the batch")
    if sentence:
        return sentence
    for name, value in found.items():
        if getattr(value, "dtype", None) != torch.int64:
            return f"`{name}` has the type {value.dtype}; all three are torch.int64."
    return None


def _with(**mistakes: bool) -> Callable:
    return lambda rows, pad_id: _collate(rows, pad_id, **mistakes)


_LABEL_SHIFT = (
    "The labels are shifted by one. The model does that itself: a label stands at the "
    "place of its own token."
)
_LABEL_ENDS = (
    "The ends of answers are not trained: -100 stands wherever the id is that of "
    "padding. Go by the place, not by the id."
)
_MASK_ENDS = (
    "The mask is zero at the ends of turns, which have the id of padding. Take it from "
    "the lengths."
)
_COLLATE = Task(
    _collate,
    _collate_cases,
    [
        Mistake(
            "All three mistakes are still there: " + _LABEL_SHIFT,
            _with(shifted=True, mask_by_id=True, labels_by_id=True),
        ),
        Mistake(
            "Two mistakes are left, in the labels. " + _LABEL_SHIFT,
            _with(shifted=True, labels_by_id=True),
        ),
        Mistake(
            "Two mistakes are left. " + _LABEL_SHIFT,
            _with(shifted=True, mask_by_id=True),
        ),
        Mistake(
            "Two mistakes are left. " + _LABEL_ENDS,
            _with(mask_by_id=True, labels_by_id=True),
        ),
        Mistake(_LABEL_SHIFT, _with(shifted=True)),
        Mistake(_LABEL_ENDS, _with(labels_by_id=True)),
        Mistake(_MASK_ENDS, _with(mask_by_id=True)),
        Mistake(
            "The labels are filled up with the id of padding, so padding is trained. "
            "Fill them with -100.",
            _with(padded_labels=True),
        ),
        Mistake(
            "The labels are the ids: prompts are trained as well. The rows bring their "
            "labels with them.",
            _with(labels_of_ids=True),
        ),
    ],
    compare=_as_batch,
)


@check
def collate(collate_function: Callable) -> None:
    """`collate(rows, pad_id)` -> `input_ids`, `attention_mask`, `labels`, (B, T)."""
    _COLLATE.check(collate_function)
    passed("ids, mask and labels stand where they belong")
    passed("the end of an answer is seen and trained, padding is neither")
