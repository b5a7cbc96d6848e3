"""Checks of chapter 11's exercises.

- `collate`: a batch padded to its longest text, with a mask that knows padding from
  text (exercise 11.1)
- `schedule`: linear warm-up and linear decay, step by step (exercise 11.2)
- `macro_f1`: the mean of the classes' F1, where a class may never be predicted
  (exercise 11.3)
- `bookkeeping`: steps, warm-up, first loss and averages of a run, counted beforehand
  (exercise 11.4)
- `layerwise_groups`: a smaller learning rate for each deeper layer, no parameter lost
  (exercise 11.5)
- `items_needed`: how many test items an interval of a given width takes (exercise 11.6)
- `training_loop`: a loop without the three faults of the broken one (exercise 11.7)
"""

import functools
import itertools
import math
import warnings
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    get_linear_schedule_with_warmup,
)

from finetuning.checks.cases import listed, normal
from finetuning.checks.compare import Tolerance, difference
from finetuning.checks.core import (
    as_number,
    call,
    check,
    describe,
    expect_close,
    fail,
    name_of,
    passed,
    told_as,
    written,
)
from finetuning.checks.predictions import Guess, predicted_numbers
from finetuning.checks.task import Case, Mistake, Task

__all__ = [
    "bookkeeping",
    "collate",
    "items_needed",
    "layerwise_groups",
    "macro_f1",
    "schedule",
    "training_loop",
]


# 11.1


def _batch(
    rows: list[dict],
    pad_id: int,
    left: bool = False,
    mask: Callable[[Tensor, Tensor], Tensor] = lambda ids, mask: mask,
) -> dict[str, Tensor]:
    """The batch, but for the mistakes that are asked for."""
    texts = [torch.tensor(row["input_ids"]) for row in rows]
    side = "left" if left else "right"

    def together(parts: list[Tensor], value: int) -> Tensor:
        return nn.utils.rnn.pad_sequence(parts, True, value, padding_side=side)

    ids = together(texts, pad_id)
    ones = together([torch.ones_like(text) for text in texts], 0)
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask(ids, ones), "labels": labels}


def _by_length(rows: list[dict], pad_id: int) -> dict[str, Tensor]:
    return _batch(sorted(rows, key=lambda row: -len(row["input_ids"])), pad_id)


_ROWS = [  # the padding id inside a text and at its end, as where padding ends texts
    {"input_ids": [1, 12, 7, 14, 2], "labels": 2},
    {"input_ids": [1, 21, 22, 23, 24, 25, 26, 7], "labels": 0},
    {"input_ids": [7, 31, 2], "labels": 1},
]


def _collate_cases() -> list[Case]:
    generator = torch.Generator().manual_seed(1)

    def rows(*lengths: int, classes: int = 5) -> list[dict]:
        return [
            {
                "input_ids": torch.randint(
                    1, 30_000, (n,), generator=generator
                ).tolist(),
                "labels": int(torch.randint(classes, (), generator=generator)),
            }
            for n in lengths
        ]

    inside = (
        "A text holds the id of padding here: `pad_id` is an ordinary token of it.",
    )
    return [
        Case("for three texts, padded with 7", (_ROWS, 7), facts=inside),
        Case("for the longest text first", (rows(9, 4, 6, 1), 0)),
        Case("for the longest text last, padded with 30,521", (rows(2, 3, 7), 30_521)),
        Case("for texts of one length", (rows(6, 6, 6), 0)),
        Case("for a single text", (rows(5), 9)),
        Case("for texts of one token and of two", (rows(1, 2, 1), 5)),
        Case("for 24 texts", (rows(*(3 + n * 7 % 20 for n in range(24))), 0)),
        Case("for two texts of 70 and 90 tokens", (rows(70, 90, classes=77), 3)),
        Case(
            "for texts that end with the id of padding",
            (
                [
                    {"input_ids": [5, 6, 2], "labels": 1},
                    {"input_ids": [5, 2], "labels": 0},
                    {"input_ids": [2, 2, 8, 9, 2], "labels": 1},
                ],
                2,
            ),
            facts=inside,
        ),
    ]


def _rectangle(found: Any, expected: dict[str, Tensor], case: Case) -> str | None:
    """How a batch differs; every tensor of it has to be int64."""
    ids = found.get("input_ids") if isinstance(found, Mapping) else None
    longest = expected["input_ids"].size(1)
    if isinstance(ids, Tensor) and ids.dim() == 2 and ids.size(1) != longest:
        return (
            f"the batch is {ids.size(1)} wide, and its longest text has {longest} "
            "tokens. Dynamic padding goes to the longest of this batch and no further; "
            "no text is cut."
        )
    sentence = difference(found, expected, "the batch")
    if sentence:
        return sentence
    for name, value in found.items():
        if getattr(value, "dtype", None) != torch.int64:
            return (
                f"`{name}` has the type {value.dtype}; ids, masks and labels of "
                "classes are torch.int64."
            )
    return None


_COLLATE = Task(
    _batch,
    _collate_cases,
    [
        Mistake(
            "The mask is zero at a real token that happens to have the padding id. "
            "Where padding and the end of a text are the same token, that loses the "
            "end. Take the mask from the lengths.",
            lambda rows, pad_id: _batch(
                rows, pad_id, mask=lambda ids, mask: (ids != pad_id).long()
            ),
        ),
        Mistake(
            "The mask is one everywhere, so the model reads padding as text. It is one "
            "where a token stands and zero where padding does.",
            lambda rows, pad_id: _batch(
                rows, pad_id, mask=lambda ids, mask: torch.ones_like(ids)
            ),
        ),
        Mistake(
            "Ones and zeros of the mask have changed places: it is one where a token "
            "stands and zero where padding does.",
            lambda rows, pad_id: _batch(rows, pad_id, mask=lambda ids, mask: 1 - mask),
        ),
        Mistake(
            "Padding stands in front. BERT numbers positions from the left, so its "
            "texts are padded on the right.",
            lambda rows, pad_id: _batch(rows, pad_id, left=True),
        ),
        Mistake(
            "Padding has the id 0; the tokenizer's is given as `pad_id`.",
            lambda rows, pad_id: _batch(rows, 0),
        ),
        Mistake(
            "The texts come in the order of their lengths; keep that of the rows.",
            _by_length,
        ),
    ],
    compare=_rectangle,
)


@check
def collate(collate_function: Callable) -> None:
    """`collate(rows, pad_id)` -> `input_ids` (B, T), `attention_mask` (B, T), `labels`
    (B,), all int64.
    """
    _COLLATE.check(collate_function)
    passed("shapes and types are right, and the rows are left alone")
    passed("tokens, mask and padding stand where they belong")
    model = _tiny_bert(layers=2)
    batch = call(collate_function, [dict(row) for row in _ROWS], 7)
    with torch.inference_mode():
        together = model(
            batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
        for place, row in enumerate(_ROWS):
            alone = model(torch.tensor([row["input_ids"]])).logits[0]
            what = f"the score of text {place} in the batch"
            expect_close(together[place], alone, what, tolerance=1e-4)
    passed("a BERT gives each text the same scores alone and in the batch")


def _tiny_bert(
    layers: int, labels: int = 3, width: int = 16
) -> BertForSequenceClassification:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=50,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=2 * width,
            max_position_embeddings=32,
            num_labels=labels,
            # far from uniform attention, so that a wrong mask shows
            initializer_range=0.5,
        )
        return BertForSequenceClassification(config).eval()


# 11.2


@functools.cache
def _library_schedule(warmup: int, total: int) -> Callable[[int], float]:
    """The share of the peak at a step, from transformers."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    return get_linear_schedule_with_warmup(optimizer, warmup, total).lr_lambdas[0]


def _rate(step: int, peak: float, warmup_steps: int, total_steps: int) -> float:
    return peak * _library_schedule(warmup_steps, total_steps)(step)


def _schedule_cases() -> list[Case]:
    cases = []
    for peak, warmup, total in ((1e-3, 4, 20), (5e-5, 10, 39), (1.0, 1, 8)):
        for step in range(total + 1):
            what = f"at step {step} of {total} with a warm-up of {warmup}"
            cases.append(Case(what, (step, peak, warmup, total)))
    for peak, total in ((2.0, 5), (3e-4, 7)):
        for step in range(total):
            what = f"at step {step} of {total} without warm-up"
            facts = ("It begins at the peak.",) if step == 0 else ()
            cases.append(Case(what, (step, peak, 0, total), facts=facts))
    for step, peak, warmup, total in (
        (25, 1e-3, 4, 20),
        (21, 5e-5, 6, 20),
        (9, 2.0, 0, 5),
    ):
        what = f"at step {step}, after the end of {total} steps"
        facts = ("After the end the rate stays at zero.",)
        cases.append(Case(what, (step, peak, warmup, total), facts=facts))
    return cases


def _same_rate(found: Any, expected: float, case: Case) -> str | None:
    """How a rate differs; what is next to nothing beside the peak counts as zero."""
    sentence = difference(found, expected, "the rate", Tolerance(1e-6, 0.0))
    number = isinstance(found, (int, float)) or getattr(found, "shape", None) == ()
    if number and abs(float(found) - expected) < 1e-6 * case.arguments[1]:
        return None
    return sentence


_Shares = Callable[[int, int, int], float]


def _wrong_rate(sentence: str, share: _Shares) -> list[Mistake]:
    """A mistake in the share of the peak; cut off at zero, and not."""

    def plain(step: int, peak: float, warmup_steps: int, total_steps: int) -> float:
        return peak * share(step, warmup_steps, total_steps)

    def at_least_zero(
        step: int, peak: float, warmup_steps: int, total_steps: int
    ) -> float:
        return max(0.0, peak * share(step, warmup_steps, total_steps))

    return [Mistake(sentence, plain), Mistake(sentence, at_least_zero)]


def _lines(step: int, warmup: int, total: int) -> float:
    """Both lines, the second one without an end."""
    return step / warmup if step < warmup else (total - step) / (total - warmup)


def _rising(step: int, warmup: int, otherwise: float) -> float:
    return step / warmup if step < warmup else otherwise


_SCHEDULE = Task(
    _rate,
    _schedule_cases,
    [
        Mistake(
            "After the last step the rate is negative: the optimiser would climb. It "
            "stays at zero.",
            lambda step, peak, warmup_steps, total_steps: (
                peak * _lines(step, warmup_steps, total_steps)
            ),
        ),
        *_wrong_rate(
            "After the warm-up the rate stays at the peak; it should fall in a "
            "straight line to zero.",
            lambda step, warmup, total: min(1.0, step / max(1, warmup)),
        ),
        *_wrong_rate(
            "After the warm-up the rate stays at the peak; it should fall in a "
            "straight line to zero.",
            lambda step, warmup, total: _rising(step, warmup, 1.0),
        ),
        *_wrong_rate(
            "There is no warm-up: the first step has the full rate, when the new head "
            "is still noise.",
            lambda step, warmup, total: (total - step) / total,
        ),
        *_wrong_rate(
            "This is one step early. Step 0 has the rate 0, step `warmup_steps` has "
            "the peak.",
            lambda step, warmup, total: _lines(step + 1, warmup, total),
        ),
        *_wrong_rate(
            "The warm-up is one step early. Step 0 has the rate 0, step `warmup_steps` "
            "has the peak.",
            lambda step, warmup, total: (
                (step + 1) / warmup if step < warmup else _lines(step, warmup, total)
            ),
        ),
        *_wrong_rate(
            "The rate jumps where the warm-up ends: the decay is measured from step 0. "
            "It starts at the peak, at step `warmup_steps`, and has `total_steps − "
            "warmup_steps` steps to reach zero.",
            lambda step, warmup, total: _rising(step, warmup, (total - step) / total),
        ),
        *_wrong_rate(
            "The decay takes `total_steps` steps from the end of the warm-up; it has "
            "only `total_steps − warmup_steps` of them to reach zero.",
            lambda step, warmup, total: _rising(
                step, warmup, 1 - (step - warmup) / total
            ),
        ),
        *_wrong_rate(
            "The decay reaches zero one step too early: at step `total_steps`, which "
            "would come after the last one.",
            lambda step, warmup, total: _rising(
                step, warmup, (total - 1 - step) / (total - 1 - warmup)
            ),
        ),
        *_wrong_rate(
            "The rate rises above its peak: the warm-up never ends.",
            lambda step, warmup, total: step / max(1, warmup),
        ),
        *_wrong_rate(
            "The rate rises above its peak: the warm-up never ends.",
            lambda step, warmup, total: step / warmup,
        ),
        *_wrong_rate(
            "The decay is half a cosine; a straight line is asked for.",
            lambda step, warmup, total: _rising(
                step,
                warmup,
                (1 + math.cos(math.pi * min(1, (step - warmup) / (total - warmup))))
                / 2,
            ),
        ),
        Mistake(
            "This is the share of the peak; the rate is that times `peak`.",
            lambda step, peak, warmup_steps, total_steps: _rate(
                step, 1.0, warmup_steps, total_steps
            ),
        ),
    ],
    result="the rate",
    tolerance=Tolerance(1e-6, 0.0),
    compare=_same_rate,
)


@check
def schedule(learning_rate_at: Callable) -> None:
    """`learning_rate_at(step, peak, warmup_steps, total_steps)` -> the rate of that
    step, counted from 0.
    """
    _SCHEDULE.check(learning_rate_at)
    passed("equal to transformers' linear schedule at every step, for three settings")
    passed("without warm-up it begins at the peak")
    passed("after the end it stays at zero")


# 11.3


def _library_f1(predictions: np.ndarray, labels: np.ndarray, classes: int) -> float:
    return f1_score(
        labels, predictions, average="macro", labels=range(classes), zero_division=0
    )


def _drawn(size: int, shares: list[float], right: float, seed: int) -> tuple:
    """Predictions, of which a share is right, labels, and the number of classes."""
    generator, classes = np.random.default_rng(seed), len(shares)
    labels = generator.choice(classes, size=size, p=shares)
    others = generator.integers(0, classes, size)
    return np.where(generator.random(size) < right, labels, others), labels, classes


def _f1_cases() -> list[Case]:
    never = "One class is never predicted: nothing of it was found."
    foreign = "One class is predicted, and nobody's label."
    absent = "One class of `classes` is neither predicted nor a label."
    table = [
        (
            "for 200 items of four classes of unequal size",
            _drawn(200, [0.7, 0.15, 0.1, 0.05], 0.75, seed=0),
            "",
        ),
        ("for 90 items of two classes", _drawn(90, [0.8, 0.2], 0.5, seed=1), ""),
        (
            "for 500 items of seven classes",
            _drawn(500, [0.4, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05], 0.6, seed=2),
            "",
        ),
        (
            "where everything is right",
            ([0, 1, 1, 2, 2, 2], [0, 1, 1, 2, 2, 2], 3),
            "",
        ),
        ("where everything is wrong", ([1, 2, 0, 0], [0, 1, 2, 1], 3), ""),
        (
            "where class 2 is never predicted",
            ([0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 2], 3),
            never,
        ),
        (
            "where classes 0 and 3 are never predicted",
            ([1, 1, 2, 2, 1, 1, 2], [1, 0, 2, 2, 3, 1, 1], 4),
            never,
        ),
        (
            "where class 2 is predicted and nobody's label",
            ([0, 2, 1, 1, 0], [0, 0, 1, 1, 1], 3),
            foreign,
        ),
        (
            "where class 0 is predicted and nobody's label",
            ([0, 2, 1, 1, 0, 2, 2], [1, 2, 1, 1, 2, 2, 2], 3),
            foreign,
        ),
        (
            "where class 3 of four occurs nowhere",
            ([0, 2, 1, 1, 0], [0, 0, 1, 2, 1], 4),
            absent,
        ),
        (
            "where classes 0, 4 and 5 of six occur nowhere",
            ([1, 2, 3, 3, 2, 1], [1, 2, 2, 3, 3, 3], 6),
            absent,
        ),
        ("for a single item of two classes", ([1], [1], 2), absent),
    ]
    return [
        Case(
            what,
            (np.array(predictions), np.array(labels), classes),
            facts=(fact,) if fact else (),
        )
        for what, (predictions, labels, classes), fact in table
    ]


def _by_class(
    predictions: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, predictions and labels of each class."""
    each = range(classes)
    return tuple(
        np.array([which.sum() for which in kinds], dtype=float)
        for kinds in (
            [(predictions == k) & (labels == k) for k in each],
            [predictions == k for k in each],
            [labels == k for k in each],
        )
    )


_Counts = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


def _from_counts(score: _Counts) -> Callable[..., float]:
    """A mistake, from hits, predictions and labels of each class; 0/0 is NaN."""

    def wrong(predictions: np.ndarray, labels: np.ndarray, classes: int) -> float:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            return float(score(*_by_class(predictions, labels, classes)))

    return wrong


def _zero(shares: np.ndarray) -> np.ndarray:
    return np.nan_to_num(shares, nan=0.0)


def _harmonic(precision: Any, recall: Any) -> Any:
    return 2 * precision * recall / (precision + recall)


def _f1(hits: np.ndarray, given: np.ndarray, real: np.ndarray) -> np.ndarray:
    return 2 * hits / (given + real)


def _with_and_without_zeros(sentence: str, score: Callable) -> list[Mistake]:
    """A mistake made of precision and recall, where 0/0 stays NaN or becomes 0."""
    return [
        Mistake(
            sentence,
            _from_counts(lambda hits, given, real: score(hits / given, hits / real)),
        ),
        Mistake(
            sentence,
            _from_counts(
                lambda hits, given, real: score(_zero(hits / given), _zero(hits / real))
            ),
        ),
    ]


_MACRO_F1 = Task(
    _library_f1,
    _f1_cases,
    [
        Mistake(
            "This is the accuracy, which is also the micro-averaged F1. Macro: one F1 "
            "for each class, then their plain mean.",
            _from_counts(lambda hits, given, real: hits.sum() / real.sum()),
        ),
        Mistake(
            "Classes are weighted by how often they occur, so the rare ones hardly "
            "count. In the macro average each class counts the same.",
            _from_counts(
                lambda hits, given, real: (
                    (_zero(_f1(hits, given, real)) * real).sum() / real.sum()
                )
            ),
        ),
        *_with_and_without_zeros(
            "This averages precision and recall over classes first and combines them "
            "afterwards. F1 comes first, for each class.",
            lambda precision, recall: _harmonic(precision.mean(), recall.mean()),
        ),
        *_with_and_without_zeros(
            "F1 is the harmonic mean of precision and recall, and this is their "
            "arithmetic mean.",
            lambda precision, recall: (precision + recall).mean() / 2,
        ),
        *_with_and_without_zeros(
            "This is the mean of the classes' recalls; precision is the other half.",
            lambda precision, recall: recall.mean(),
        ),
        *_with_and_without_zeros(
            "This is the mean of the classes' precisions; recall is the other half.",
            lambda precision, recall: precision.mean(),
        ),
        *[
            Mistake(
                "A class that is never predicted, or of which nothing is found, gives "
                "0/0 and makes everything NaN. Its F1 is 0. Write F1 as 2·TP / (2·TP + "
                "FP + FN).",
                _from_counts(nan),
            )
            for nan in (
                lambda hits, given, real: _harmonic(hits / given, hits / real).mean(),
                lambda hits, given, real: _harmonic(
                    hits / given, _zero(hits / real)
                ).mean(),
                lambda hits, given, real: _harmonic(
                    _zero(hits / given), _zero(hits / real)
                ).mean(),
            )
        ],
        Mistake(
            "A class that is neither predicted nor a label gives NaN; of `classes` "
            "classes it counts 0.",
            _from_counts(lambda hits, given, real: _f1(hits, given, real).mean()),
        ),
        Mistake(
            "A class that is never predicted is left out of the mean, which rewards "
            "ignoring it. It counts, with an F1 of 0.",
            _from_counts(
                lambda hits, given, real: _f1(hits, given, real)[given > 0].mean()
            ),
        ),
        Mistake(
            "A class that is predicted but is nobody's label is left out of the mean. "
            "It counts, with 0.",
            _from_counts(
                lambda hits, given, real: _f1(hits, given, real)[real > 0].mean()
            ),
        ),
        Mistake(
            "A class that occurs nowhere is left out of the mean. There are `classes` "
            "classes.",
            _from_counts(
                lambda hits, given, real: _f1(hits, given, real)[
                    given + real > 0
                ].mean()
            ),
        ),
        Mistake(
            "A class without a hit is left out of the mean. It counts, with 0.",
            _from_counts(
                lambda hits, given, real: (
                    _f1(hits, given, real)[hits > 0].sum() / max((hits > 0).sum(), 1)
                )
            ),
        ),
    ],
    result="the macro-F1",
    tolerance=Tolerance(1e-6, 0.0),
)


@check
def macro_f1(score: Callable) -> None:
    """`macro_f1(predictions, labels, classes)` -> a number; both arrays (N,), classes 0
    … classes − 1.
    """
    _MACRO_F1.check(score)
    passed("equal to scikit-learn's on four classes of unequal size")
    passed("a class that is never predicted counts as 0")
    passed("so do a class that is only predicted and one that occurs nowhere")


# 11.4

_RUN = {  # what is counted is counted exactly
    "steps": 4 * math.ceil(330 / 32),
    "warm-up steps": math.ceil(0.1 * 44),
    "trained weights": 384 * 20 + 20,
}
_MEASURED = {
    "first loss": math.log(20),
    "accuracy": 32 / 33,
    "mean of batches": 0.5,
}
_RUN_QUESTIONS = {
    "steps": (
        "How many batches has one epoch, the incomplete one at its end included? And "
        "how many epochs are there?"
    ),
    "warm-up steps": "What is a tenth of all steps, rounded up?",
    "first loss": (
        "Before any training, what probability does the right class get, about? The "
        "loss is minus the natural logarithm of that."
    ),
    "trained weights": (
        "The head is a linear layer from the encoder's width to the classes. Which "
        "numbers does such a layer hold?"
    ),
    "accuracy": "How many of all articles are right, and how many articles are there?",
    "mean of batches": (
        "What is the accuracy of each of the two batches, and what their plain mean?"
    ),
}
_CROSSING = (
    "Each epoch ends with a small batch of its own; batches do not run over into the "
    "next."
)
_SHARE = "Write a share as a number between 0 and 1, not in percent."
_RUN_GUESSES = {
    "steps": [
        Guess(
            40,
            "330 articles are ten batches of 32 and one of ten: the last one "
            "counts as a step too.",
        ),
        Guess(41.25, _CROSSING),
        Guess(41, _CROSSING),
        Guess(42, _CROSSING),
        Guess(11, "That is one epoch."),
        Guess(
            10,
            "One epoch has a last batch that is not full, and there are four epochs.",
        ),
        Guess(1320, "Those are articles; a step takes a whole batch."),
    ],
    "warm-up steps": [
        Guess(
            4,
            "Is that rounded down, or a tenth of too few steps? It is a tenth of "
            "all steps, and it is rounded up.",
        ),
        Guess(4.4, "A step cannot be divided: 10 % of the steps, rounded up."),
        Guess(1.1, "That is a tenth of one epoch. There are four."),
        Guess(2, "That is a tenth of one epoch. There are four."),
    ],
    "first loss": [
        Guess(math.log(5), "Five were the chapter's classes; here there are twenty."),
        Guess(
            1 / 20,
            "That is the probability of each class; the loss is minus its logarithm.",
        ),
        Guess(
            math.log2(20), "Cross-entropy in PyTorch is in nats: the natural logarithm."
        ),
        Guess(
            math.log10(20),
            "Cross-entropy in PyTorch is in nats: the natural logarithm.",
        ),
    ],
    "trained weights": [
        Guess(384 * 20 + 5, "Five biases were the chapter's; here are twenty classes."),
        Guess(384 * 5 + 5, "Five were the chapter's classes; here there are twenty."),
        Guess(
            384 * 20,
            "That is 384 · 20. Which numbers does a linear layer of 384 to 20 hold?",
        ),
        Guess(
            384 * 20 + 384,
            "The bias has one number for each class, not for each "
            "number of the encoder.",
        ),
        Guess(384 * 20 + 1, "The bias has one number for each class."),
    ],
    "accuracy": [
        Guess(
            0.5,
            "That is the mean of the batches' accuracies. Of 33 articles 32 are right.",
        ),
        Guess(3200 / 33, _SHARE),
    ],
    "mean of batches": [
        Guess(
            32 / 33, "Each batch counts the same here, however many articles it has."
        ),
        Guess(50, _SHARE),
    ],
}


@check
def bookkeeping(predicted: Mapping[str, float]) -> None:
    """A prediction: keys "steps", "warm-up steps", "first loss", "trained weights",
    "accuracy", "mean of batches".
    """
    written(predicted, "the prediction")
    if not isinstance(predicted, Mapping) or set(predicted) != set(_RUN_QUESTIONS):
        names = listed(f"“{name}”" for name in _RUN_QUESTIONS)
        keys = predicted if isinstance(predicted, Mapping) else _RUN_QUESTIONS
        lacks = [f"; “{key}” is missing" for key in _RUN_QUESTIONS if key not in keys]
        fail(
            f"the prediction should be a dictionary with the keys {names}"
            f"{''.join(lacks[:1])}."
        )
    for name in _RUN_QUESTIONS:
        as_number(predicted[name], f"“{name}”")
    for true, absolute in ((_RUN, 1e-6), (_MEASURED, 2e-3)):
        predicted_numbers(
            {name: predicted[name] for name in true},
            true,
            _RUN_QUESTIONS,
            relative=0.0,
            absolute=absolute,
            guesses=_RUN_GUESSES,
            sentence="“{name}” is not {said:g}.",
            at_least=0.0,
        )
    passed("all six predictions are right")


# 11.5


def _depths(model: BertForSequenceClassification) -> dict[str, int]:
    """How many steps below the head each parameter lies."""
    layers = len(model.bert.encoder.layer)

    def depth(name: str) -> int:
        if "encoder.layer." in name:
            return layers - int(name.split("encoder.layer.")[1].split(".")[0])
        return layers + 1 if "embeddings" in name else 0

    return {name: depth(name) for name, _ in model.named_parameters()}


_Depth = Callable[[str, int, int], int]


def _rates(
    model: BertForSequenceClassification,
    learning_rate: float,
    decay: float,
    moved: _Depth = lambda name, depth, layers: depth,
    found_twice: bool = False,
) -> dict[str, list[float]]:
    """The rates of each parameter, one for each group that holds it."""
    layers = len(model.bert.encoder.layer)
    rates = {}
    for name, depth in _depths(model).items():
        place = moved(name, depth, layers)
        rates[name] = [learning_rate * decay**place]
        if found_twice and "encoder.layer." in name:
            rates[name] = [
                learning_rate * decay ** (layers - layer)
                for layer in range(layers)
                if f"layer.{layer}" in name
            ]
    return rates


def _rates_of(groups: Callable) -> Callable[..., dict[str, list[float]]]:
    """The learner's groups as rates of the parameters, by their names."""

    def rates(
        model: BertForSequenceClassification, learning_rate: float, decay: float
    ) -> dict[str, list[float]]:
        result = groups(model, learning_rate, decay)
        what = "the answer should be a list of dictionaries, each with `params` and"
        if not isinstance(result, list):
            fail(f"{what} `lr`, and is {describe(result)}.")
        for number, group in enumerate(result):
            if not isinstance(group, Mapping):
                fail(f"{what} `lr`, and group {number} is {describe(group)}.")
            if not {"params", "lr"} <= set(group):
                fail(f"{what} `lr`, and group {number} has the keys {sorted(group)}.")
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        found: dict[str, list[float]] = {name: [] for name in names.values()}
        for group in result:
            one = isinstance(group["params"], Tensor)
            rate = as_number(group["lr"], "the `lr` of a group")
            for parameter in [group["params"]] if one else group["params"]:
                if id(parameter) not in names:
                    fail(
                        f"a group holds {describe(parameter)}, which is not a "
                        "parameter of the model (a name, say, or a copy)."
                    )
                found[names[id(parameter)]].append(rate)
        return found

    rates.__name__ = name_of(groups)
    return rates


def _same_rates(found: dict, expected: dict, case: Case) -> str | None:
    """The first parameter without a group, in two, or with another rate."""
    missing = [name for name, rates in found.items() if not rates]
    if missing:
        return (
            f"{len(missing)} of {len(found)} parameters are in no group and would "
            f"never be trained; the first is {missing[0]}."
        )
    twice = [name for name, rates in found.items() if len(rates) > 1]
    if twice:
        return f"{twice[0]} is in {len(found[twice[0]])} groups."
    _, peak, decay = case.arguments
    for name, (right,) in expected.items():
        rate = found[name][0]
        if not math.isclose(rate, right, rel_tol=1e-6):
            return (
                f"with a peak of {peak:g} and a decay of {decay:g}, {name} has the "
                f"rate {rate:.4g}, and should have {right:.4g}."
            )
    return None


def _layer_cases() -> list[Case]:
    return [
        Case(
            f"for a model of {layers} layer{'s' if layers > 1 else ''}, "
            f"{labels} classes",
            (_tiny_bert(layers, labels, width=4), peak, decay),
        )
        for layers, labels, peak, decay in (
            (3, 3, 5e-4, 0.5),
            (12, 2, 1e-3, 0.8),
            (1, 4, 2e-5, 0.9),
            (5, 3, 3e-4, 0.65),
            (11, 5, 1e-2, 0.95),
        )
    ]


def _moved(sentence: str, moved: _Depth) -> Mistake:
    return Mistake(
        sentence,
        lambda model, learning_rate, decay: _rates(model, learning_rate, decay, moved),
    )


_LAYERS = "This model has other layers than that: take their number from the model."
_LAYERWISE = Task(
    _rates,
    _layer_cases,
    [
        Mistake(
            "If you look for “layer.1” in a name, layers 10 and 11 answer too: compare "
            "with “layer.1.”, dot included, or go over the modules.",
            lambda model, learning_rate, decay: _rates(
                model, learning_rate, decay, found_twice=True
            ),
        ),
        _moved(
            "The order is upside down: the embeddings have the largest rate and the "
            "new head the smallest.",
            lambda name, depth, layers: layers + 1 - depth,
        ),
        _moved(
            "The last layer has the rate of the head; it is one step below the head "
            "already.",
            lambda name, depth, layers: max(depth - 1, 0),
        ),
        _moved(
            "The last layer has the rate of the head; it is one step below the head "
            "already.",
            lambda name, depth, layers: depth - 1 if 0 < depth <= layers else depth,
        ),
        _moved(
            "The embeddings have the rate of the first layer; they lie one step below "
            "it.",
            lambda name, depth, layers: min(depth, layers),
        ),
        _moved(
            "The embeddings have the rate of the head; they lie one step below the "
            "first layer.",
            lambda name, depth, layers: depth if depth <= layers else 0,
        ),
        _moved(
            "The pooler has the rate of the last layer; it belongs to the head, above "
            "all layers.",
            lambda name, depth, layers: depth + ("pooler" in name),
        ),
        _moved(
            "The pooler is a step of its own here; it has the rate of the classifier.",
            lambda name, depth, layers: depth + ("classifier" not in name),
        ),
        _moved(
            "The layers were counted from the bottom: the *last* one is next to the "
            "head.",
            lambda name, depth, layers: (
                layers + 1 - depth if 0 < depth <= layers else depth
            ),
        ),
        *(
            _moved(
                _LAYERS,
                lambda name, depth, layers, other=other: (
                    depth + (other - layers if depth else 0)
                ),
            )
            for other in (6, 12)
        ),
        *(
            Mistake(
                f"That is a decay of {fixed:g}, whatever `decay` is.",
                lambda model, learning_rate, decay, fixed=fixed: _rates(
                    model, learning_rate, fixed
                ),
            )
            for fixed in (0.8, 0.9, 0.95)
        ),
        Mistake(
            "From layer to layer the rate falls by the same amount; the decay "
            "multiplies.",
            lambda model, learning_rate, decay: {
                name: [
                    learning_rate
                    * (1 - (1 - decay) * depth / (2 + len(model.bert.encoder.layer)))
                ]
                for name, depth in _depths(model).items()
            },
        ),
        Mistake(
            "From layer to layer the rate falls by the same amount; the decay "
            "multiplies.",
            lambda model, learning_rate, decay: {
                name: [learning_rate * (1 - (1 - decay) * depth)]
                for name, depth in _depths(model).items()
            },
        ),
        Mistake(
            "All layers have the same rate, one step below the head. Each layer down "
            "has `decay` times the rate of the layer above.",
            lambda model, learning_rate, decay: _rates(
                model, learning_rate, decay, lambda name, depth, layers: min(depth, 1)
            ),
        ),
        Mistake(
            "The rate grows from layer to layer on the way down; it should shrink.",
            lambda model, learning_rate, decay: _rates(model, learning_rate, 1 / decay),
        ),
    ],
    tolerance=Tolerance(1e-6, 0.0),
    precise=False,
    compare=_same_rates,
)


@check
def layerwise_groups(groups: Callable) -> None:
    """`layerwise_groups(model, learning_rate, decay)` -> list of dicts with `params`
    and `lr`.
    """
    written(groups, "the answer")
    if not callable(groups):
        call(groups)
    _LAYERWISE.check(_rates_of(groups))
    passed("every parameter is in exactly one group")
    passed(
        "the head learns at the peak rate, and each layer down multiplies it by "
        "the decay"
    )
    try:
        torch.optim.AdamW(call(groups, _tiny_bert(2, width=4), 1e-3, 0.5), lr=1e-3)
    except (ValueError, TypeError) as error:
        fail(f"AdamW does not take these groups: {error}")
    passed("AdamW takes the groups")


# 11.6


def _items(
    accuracy: float,
    half_width: float,
    errors: float = 1.96,
    rounded: Callable[[float], float] = math.ceil,
) -> float:
    return rounded((errors / half_width) ** 2 * accuracy * (1 - accuracy))


_ROUNDED = (
    "Rounded down, the interval is a little wider than asked. Round up, whatever the "
    "fraction."
)
_ITEMS = Task(
    _items,
    lambda: [
        Case(f"for {accuracy:g} ± {half_width:g}", (accuracy, half_width))
        for accuracy, half_width in (
            (0.93, 0.01),
            (0.93, 0.02),
            (0.5, 0.03),
            (0.8, 0.005),
            (0.07, 0.03),
            (0.8, 0.01),
            (0.93, 0.005),
            (0.07, 0.02),
        )
    ],
    [
        Mistake(
            "This gives one standard error on each side, which covers two thirds of "
            "the cases. For 95 % it is 1.96 of them.",
            lambda accuracy, half_width: _items(accuracy, half_width, 1.0),
        ),
        Mistake(
            "This takes 1.64 standard errors on each side, for 90 %.",
            lambda accuracy, half_width: _items(accuracy, half_width, 1.645),
        ),
        Mistake(
            "This takes 2 standard errors on each side; take 1.96.",
            lambda accuracy, half_width: _items(accuracy, half_width, 2.0),
        ),
        Mistake(_ROUNDED, lambda p, h: _items(p, h, rounded=math.floor)),
        Mistake(_ROUNDED, lambda p, h: _items(p, h, rounded=round)),
        Mistake(
            "Half an article cannot be tested: a whole number is asked for.",
            lambda p, h: _items(p, h, rounded=float),
        ),
        Mistake("This is one more than needed.", lambda p, h: _items(p, h) + 1),
        Mistake(
            "The half width is already what stands on each side of the result; it was "
            "halved once more.",
            lambda p, h: _items(p, h / 2),
        ),
        Mistake(
            "This treats the whole width of the interval as its half.",
            lambda p, h: _items(p, 2 * h),
        ),
        Mistake(
            "The width falls with the *root* of the number of items: to halve it takes "
            "four times as many.",
            lambda p, h: math.ceil(1.96**2 * p * (1 - p) / h),
        ),
        Mistake(
            "The width falls with the *root* of the number of items: to halve it takes "
            "four times as many.",
            lambda p, h: math.ceil(1.96 * math.sqrt(p * (1 - p)) / h),
        ),
        Mistake(
            "1.96 is to be squared, too: it stands in front of the root.",
            lambda p, h: _items(p, h, 1.4),
        ),
        Mistake(
            "This is the number for an accuracy of 0.5, the worst case, whatever the "
            "accuracy.",
            lambda p, h: _items(0.5, h),
        ),
        Mistake(
            "This has p in place of p(1 − p).",
            lambda p, h: math.ceil((1.96 / h) ** 2 * p),
        ),
        Mistake(
            "This has 1 − p in place of p(1 − p).",
            lambda p, h: math.ceil((1.96 / h) ** 2 * (1 - p)),
        ),
    ],
    result="the number of articles",
    tolerance=Tolerance(1e-9, 0.0),
)


@check
def items_needed(needed: Callable) -> None:
    """`items_needed(accuracy, half_width)` -> the smallest whole number of test items,
    at 95 %.
    """
    _ITEMS.check(needed)
    passed("right for four accuracies and widths")


# 11.7


class _Probe(nn.Module):
    """A classifier that notes in which mode each forward pass ran."""

    def __init__(self, width: int, classes: int, training: bool) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(width, classes)
        self.modes: list[bool] = []
        self.train(training)

    def forward(self, inputs: Tensor, labels: Tensor) -> SimpleNamespace:
        self.modes.append(self.training)
        logits = self.layer(inputs)
        return SimpleNamespace(
            loss=nn.functional.cross_entropy(logits, labels), logits=logits
        )


def _batches(number: int, size: int, width: int, classes: int) -> list[dict]:
    """Batches of which some have large gradients, to be clipped, and some small."""
    return [
        {
            "inputs": normal(size, width, seed=n, scale=4.0 if n % 2 == 0 else 0.3),
            "labels": (torch.arange(size) * (n + 2) + n) % classes,
        }
        for n in range(number)
    ]


def _loop(
    model: nn.Module,
    batches: list[dict],
    epochs: int,
    learning_rate: float,
    evaluate: Callable,
    clear: bool = True,
    mode: str = "every epoch",
    per_step: bool = True,
    clip: bool = True,
    rate_first: bool = False,
    step: bool = True,
    summed: bool = False,
    last: bool = False,
) -> list[float]:
    """The right loop, but for the faults that are asked for."""
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    with warnings.catch_warnings(action="ignore"):  # PyTorch's, about these faults
        warm = get_linear_schedule_with_warmup(optimizer, 2, epochs * len(batches))
        losses: list[float] = []
        if mode == "once":
            model.train()
        for _ in range(epochs):
            if mode == "every epoch":
                model.train()
            for batch in batches:
                loss = model(**batch).loss
                if clear:
                    optimizer.zero_grad()
                loss.backward()
                if clip:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                if per_step and rate_first:
                    warm.step()
                if step:
                    optimizer.step()
                if per_step and not rate_first:
                    warm.step()
                losses.append(loss.item() + (losses[-1] if summed and losses else 0.0))
            if not per_step:
                warm.step()
            evaluate(model)
            if mode == "after evaluate":
                model.train()
    return losses[-1:] * len(losses) if last else losses


def _trained(train: Callable) -> Callable[..., dict[str, Any]]:
    """What can be seen of a loop: evaluations, modes, weights, losses."""

    def trained(
        batches: list[dict], epochs: int, learning_rate: float, training: bool
    ) -> dict[str, Any]:
        width = batches[0]["inputs"].size(1)
        model = _Probe(width, 3, training)
        evaluations = []

        def evaluate(given: nn.Module) -> None:
            given.eval()  # as anybody's evaluation does, and it does not switch back
            evaluations.append(len(given.modes))

        given = model, batches, epochs, learning_rate, evaluate
        with told_as(train, *given):
            losses = train(*given)
        weights = nn.utils.parameters_to_vector(model.parameters()).detach()
        return {
            "evaluations": evaluations,
            "modes": model.modes,
            "weights": weights,
            "losses": losses,
        }

    trained.__name__ = name_of(train)
    return trained


def _seen(found: dict, expected: dict, case: Case) -> str | None:
    """The first thing that is not as in a loop without faults."""
    steps = len(expected["losses"])
    if not isinstance(found["losses"], list) or len(found["losses"]) != steps:
        return (
            f"the answer should be the list of the losses of all {steps} steps, and is "
            f"{describe(found['losses'])}."
        )
    if any(isinstance(loss, Tensor) for loss in found["losses"]):
        return (
            "the list holds tensors, and each may keep the graph of its step alive, "
            "activations included. Keep the number, `loss.item()`."
        )
    if found["evaluations"] != expected["evaluations"]:
        return (
            "`evaluate` should be called once after each epoch; it was called after "
            f"steps {found['evaluations']}."
        )
    if len(found["modes"]) != steps:
        return f"the model was called {len(found['modes'])} times in {steps} steps."
    if not all(found["modes"]):
        return f"step {found['modes'].index(False) + 1} ran in evaluation mode."
    tolerance = Tolerance(1e-4, 1e-4)
    for name, what in (
        ("weights", "the weights after training"),
        ("losses", "the list of losses"),
    ):
        sentence = difference(found[name], expected[name], what, tolerance)
        if sentence:
            return sentence
    return None


def _loop_cases() -> list[Case]:
    return [
        Case(
            f"with {number} batches of {size}, {epochs} epochs, and a model that comes "
            f"in {'training' if training else 'evaluation'} mode",
            (_batches(number, size, width, 3), epochs, rate, training),
        )
        for number, size, width, epochs, rate, training in (
            (5, 4, 6, 3, 0.1, True),
            (3, 8, 5, 4, 0.5, False),
            (7, 5, 4, 2, 0.3, False),
            (4, 6, 8, 5, 0.2, True),
        )
    ]


_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "mode": (
        {"mode": "once"},
        "`evaluate` switched dropout off and nothing switched it on again. Call "
        "`model.train()` at the start of every epoch.",
    ),
    "no mode": (
        {"mode": "never"},
        "Nothing switches the model to training. Call `model.train()` at the start of "
        "every epoch.",
    ),
    "late mode": (
        {"mode": "after evaluate"},
        "The first epoch runs in the mode that the model comes in, which may be that "
        "of evaluation. Call `model.train()` at the start of every epoch.",
    ),
    "clear": (
        {"clear": False},
        "Gradients pile up: each step follows the sum of all gradients so far. Clear "
        "them before each `backward`, or after each `step`.",
    ),
    "per step": (
        {"per_step": False},
        "The schedule moves once an epoch, so at the end it has barely warmed up. It "
        "counts in steps: call `schedule.step()` after each `optimizer.step()`.",
    ),
    "clip": (
        {"clip": False},
        "The steps used gradients that were not clipped: clipping is missing, or comes "
        "after the step and limits nothing. Clip between `backward` and `step`.",
    ),
    "rate": (
        {"rate_first": True},
        "The schedule moves before the optimiser, so every step has the rate of the "
        "next one. Call `schedule.step()` after `optimizer.step()`.",
    ),
}


def _loop_mistakes() -> list[Mistake]:
    """Each fault, and every two together: the sentence is that of the first."""

    def mistake(sentence: str, **faults: Any) -> Mistake:
        return Mistake(sentence, _trained(functools.partial(_loop, **faults)))

    found = [mistake(sentence, **faults) for faults, sentence in _FAULTS.values()]
    for (faults, sentence), (more, _) in itertools.combinations(_FAULTS.values(), 2):
        if not faults.keys() & more.keys() and not {"per_step", "rate_first"} <= {
            *faults,
            *more,
        }:
            found.append(mistake(sentence, **faults, **more))
    mode, clear, per_step = (_FAULTS[name] for name in ("mode", "clear", "per step"))
    return [
        *found,
        mistake(mode[1], **mode[0], **clear[0], **per_step[0]),
        mistake(
            "No weight has changed. That takes gradients of `backward` that are still "
            "there at the step, the step itself, and a rate above 0: the schedule "
            "begins at 0, and rises where it moves.",
            step=False,
        ),
        mistake(
            "The weights are right, so it is the list: append the loss of each batch, "
            "not the sum so far.",
            summed=True,
        ),
    ]


_LOOP = Task(
    _trained(_loop),
    _loop_cases,
    _loop_mistakes(),
    tolerance=Tolerance(1e-4, 1e-4),
    precise=False,
    compare=_seen,
)


@check
def training_loop(train: Callable) -> None:
    """`train(model, batches, epochs, learning_rate, evaluate)` -> list of losses; SGD,
    2 warm-up steps, clipping at norm 1, `evaluate(model)` after each epoch.
    """
    written(train, "the answer")
    if not callable(train):
        call(train)
    _LOOP.check(_trained(train))
    passed("every step runs in training mode, and losses are plain numbers")
    passed("after 15 steps the weights are those of a loop without faults")
