"""Chapter 07's experiment: the Transformer on number words, with one thing changed at a
time.

A run takes a minute or two on one CPU core, all of them half an hour or more.
"""

import random

import torch
from torch import Tensor

from finetuning.data.number_words import (
    Splits,
    Vocabulary,
    batches,
    draw_numbers,
    examples,
    padded,
    split_numbers,
)
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.runtime import set_seed
from finetuning.scratch.decoding import greedy
from finetuning.scratch.transformer import (
    CachedNextLogits,
    TokenEmbedding,
    Transformer,
    noam_schedule,
    train,
)

# The chapter's run.
WIDTH = 64
HEADS = 4
HIDDEN = 256
LAYERS = 2
MAX_LENGTH = 64
DROPOUT = 0.05
SMOOTHING = 0.1
BATCH = 64
STEPS = 2500
WARM_UP = 400
DESCENT = 800
SETTINGS = {
    "width": WIDTH,
    "heads": HEADS,
    "hidden": HIDDEN,
    "layers": LAYERS,
    "dropout": DROPOUT,
    "label smoothing": SMOOTHING,
    "batch": BATCH,
    "warm-up": WARM_UP,
    "descent": DESCENT,
}
# What differs from it.
VARIANTS: dict[str, dict[str, object]] = {
    "as in the chapter": {},
    "dropout 0.1": {"dropout": 0.1},
    "no dropout": {"dropout": 0.0},
    "no label smoothing": {"smoothing": 0.0},
    "no warm-up": {"warm": False},
    "no descent to zero": {"descent": False},
    "pre-norm": {"norm_first": True},
    "pre-norm, no warm-up": {"norm_first": True, "warm": False},
    "embedding not times √C": {"scaled": False},
    "with 10 numbers of eight digits": {"extra": 10},
    "with 100 numbers of eight digits": {"extra": 100},
    "with 1,000 numbers of eight digits": {"extra": 1000},
}
# How many seeds the chapter's run is repeated with. The others have one.
SEEDS = 3
LANGUAGES = ("Chinese", "English")


class UnscaledEmbedding(TokenEmbedding):
    """Rows plus positions, the rows as they are and not times √C."""

    def forward(self, ids: Tensor, offset: int = 0) -> Tensor:
        return self.dropout(
            self.table(ids) + self.positions[offset : offset + ids.size(1)]
        )


def wrong_numbers(
    model: Transformer, numbers: list[int], vocabulary: Vocabulary, to: str
) -> list[int]:
    """The numbers whose greedy translation is not right to the last token."""
    pairs = examples(numbers, vocabulary, to)
    next_logits = CachedNextLogits(model, padded([pair.source for pair in pairs]))
    start = torch.full((len(pairs), 1), vocabulary.start)
    written = greedy(next_logits, start, max_length=32, end=vocabulary.end).tolist()
    targets = [vocabulary.decode(pair.target) for pair in pairs]
    rows = zip(numbers, written, targets, strict=True)
    return [number for number, row, target in rows if vocabulary.decode(row) != target]


def learning_rate(step: int, steps: int, warm: bool, descent: bool) -> float:
    """The paper's, which over the last steps goes down to zero."""
    rate = noam_schedule(step if warm else max(step, WARM_UP), WIDTH, WARM_UP)
    if descent:
        rate *= min(1.0, (steps + 1 - step) / DESCENT)
    return rate


def make_model(
    vocabulary: Vocabulary, dropout: float, norm_first: bool, scaled: bool
) -> Transformer:
    """The chapter's model, or one that does not multiply its embedding by √C."""
    model = Transformer(
        len(vocabulary), WIDTH, HEADS, HIDDEN, LAYERS, dropout, MAX_LENGTH, norm_first
    )
    if not scaled:
        # The first weights and the later draws of dropout stay those of the other runs.
        with torch.random.fork_rng():
            unscaled = UnscaledEmbedding(len(vocabulary), WIDTH, MAX_LENGTH, dropout)
        unscaled.load_state_dict(model.embedding.state_dict())
        model.embedding = unscaled
    return model


def train_and_test(
    splits: Splits,
    seed: int,
    *,
    smoothing: float = SMOOTHING,
    dropout: float = DROPOUT,
    warm: bool = True,
    descent: bool = True,
    norm_first: bool = False,
    scaled: bool = True,
    extra: int = 0,
    steps: int = STEPS,
) -> dict[str, object]:
    """Train once; the loss at the end, and for each direction the share right and which
    numbers are wrong.

    `extra` numbers of eight digits are learned beside those of the splits.
    """
    vocabulary = Vocabulary()
    tested = set(splits.longer)
    eight_digits = draw_numbers(8, 2 * extra, random.Random(1))
    more = [number for number in eight_digits if number not in tested][:extra]
    numbers = splits.training + more
    pairs = [pair for to in LANGUAGES for pair in examples(numbers, vocabulary, to)]
    set_seed(seed)
    model = make_model(vocabulary, dropout, norm_first, scaled)
    losses = train(
        model,
        batches(pairs, BATCH, steps, seed),
        lambda step: learning_rate(step, steps, warm, descent),
        smoothing,
    )
    model.eval()
    result: dict[str, object] = {"loss": round(sum(losses[-50:]) / 50, 4)}
    for to in LANGUAGES:
        wrong = wrong_numbers(model, splits.test, vocabulary, to)
        longer = wrong_numbers(model, splits.longer, vocabulary, to)
        result[to] = {
            "right": 1 - len(wrong) / len(splits.test),
            "longer": 1 - len(longer) / len(splits.longer),
            "wrong": wrong[:20],
        }
    return result


def keys() -> list[Key]:
    """All runs in their order: every variant once, then the chapter's run again."""
    first, *_ = VARIANTS
    runs = [(variant, 0) for variant in VARIANTS]
    runs += [(first, seed) for seed in range(1, SEEDS)]
    return [
        {"variant": variant, "changes": VARIANTS[variant], "seed": seed}
        for variant, seed in runs
    ]


def run(key: Key, kept: Results) -> dict[str, object]:
    """One of `keys`: see `train_and_test`."""
    return train_and_test(split_numbers(), key["seed"], **key["changes"])


EXPERIMENT = Experiment(
    name="number_translation",
    chapter=7,
    settings={**SETTINGS, "steps": STEPS},
    keys=keys(),
    run=run,
)
