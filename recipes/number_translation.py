"""Chapter 7's experiment in full: the Transformer on number words, with one thing
changed at a time.

    python recipes/number_translation.py

A run takes a minute or two on one CPU core, all of them half an hour or more. It writes
`finetuning/experiments/results/number_translation.json` after every run, so that an
interrupted one can be taken up again; chapter 7 prints its tables from it.
"""

import argparse
import datetime
import json
import random
from pathlib import Path

import torch
from torch import Tensor

from finetuning.data.number_words import (
    Vocabulary,
    batches,
    draw_numbers,
    examples,
    padded,
    split_numbers,
)
from finetuning.runtime import Stopwatch, machine, set_seed, write_whole
from finetuning.scratch.decoding import greedy
from finetuning.scratch.transformer import (
    CachedNextLogits,
    TokenEmbedding,
    Transformer,
    noam_schedule,
    train,
)

KEPT = (
    Path(__file__).parents[1]
    / "finetuning"
    / "experiments"
    / "results"
    / "number_translation.json"
)
# The chapter's run.
WIDTH, BATCH, STEPS, WARMUP, DESCENT, DROPOUT = 64, 64, 2500, 400, 800, 0.05
# What differs from it, and with how many seeds that is repeated.
VARIANTS: dict[str, tuple[dict[str, object], int]] = {
    "as in the chapter": ({}, 3),
    "dropout 0.1": ({"dropout": 0.1}, 1),
    "no dropout": ({"dropout": 0.0}, 1),
    "no label smoothing": ({"smoothing": 0.0}, 1),
    "no warm-up": ({"warm": False}, 1),
    "no descent to zero": ({"descent": False}, 1),
    "pre-norm": ({"norm_first": True}, 1),
    "pre-norm, no warm-up": ({"norm_first": True, "warm": False}, 1),
    "embedding not times √C": ({"scaled": False}, 1),
    "with 10 numbers of eight digits": ({"extra": 10}, 1),
    "with 100 numbers of eight digits": ({"extra": 100}, 1),
    "with 1,000 numbers of eight digits": ({"extra": 1000}, 1),
}


class UnscaledEmbedding(TokenEmbedding):
    """Rows plus positions, the rows as they are."""

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
    wanted = [vocabulary.decode(pair.target) for pair in pairs]
    rows = zip(numbers, written, wanted, strict=True)
    return [number for number, row, want in rows if vocabulary.decode(row) != want]


def learning_rate(step: int, steps: int, warm: bool, descent: bool) -> float:
    """The paper's, which over the last steps goes down to zero."""
    rate = noam_schedule(step if warm else max(step, WARMUP), WIDTH, WARMUP)
    return rate * min(1.0, (steps + 1 - step) / DESCENT) if descent else rate


def run(
    seed: int,
    smoothing: float = 0.1,
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
    """
    vocabulary, splits = Vocabulary(), split_numbers()
    more = [
        n
        for n in draw_numbers(8, 2 * extra, random.Random(1))
        if n not in set(splits.longer)
    ][:extra]
    numbers = splits.training + more
    pairs = examples(numbers, vocabulary, "Chinese") + examples(
        numbers, vocabulary, "English"
    )
    set_seed(seed)
    model = Transformer(len(vocabulary), WIDTH, 4, 256, 2, dropout, 64, norm_first)
    if not scaled:
        model.embedding.__class__ = UnscaledEmbedding
    with Stopwatch() as watch:
        losses = train(
            model,
            batches(pairs, BATCH, steps, seed),
            lambda step: learning_rate(step, steps, warm, descent),
            smoothing,
        )
    model.eval()
    result: dict[str, object] = {
        "seconds": round(watch.seconds),
        "loss": round(sum(losses[-50:]) / 50, 4),
    }
    for to in ("Chinese", "English"):
        wrong = wrong_numbers(model, splits.test, vocabulary, to)
        longer = wrong_numbers(model, splits.longer, vocabulary, to)
        result[to] = {
            "right": 1 - len(wrong) / len(splits.test),
            "longer": 1 - len(longer) / len(splits.longer),
            "wrong": wrong[:20],
        }
    return result


def main() -> None:
    """Run what is not kept yet, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--most", type=int, default=1000, help="stop after this many runs"
    )
    most = parser.parse_args().most
    kept = (
        json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"runs": []}
    )
    there = {(run["variant"], run["seed"]) for run in kept["runs"]}
    for seed in range(max(seeds for _, seeds in VARIANTS.values())):
        for variant, (settings, seeds) in VARIANTS.items():
            if seed >= seeds or (variant, seed) in there or most == 0:
                continue
            kept["runs"].append(
                {"variant": variant, "seed": seed} | run(seed, **settings)
            )
            most -= 1
            kept |= {
                "command": "python recipes/number_translation.py",
                "date": datetime.date.today().isoformat(),
                "versions": {"torch": torch.__version__},
                "machine": {"device": "cpu", **machine()},
            }
            write_whole(KEPT, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            print(kept["runs"][-1], flush=True)


if __name__ == "__main__":
    main()
