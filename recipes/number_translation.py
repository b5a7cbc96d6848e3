"""Chapter 7's experiment in full: the Transformer on number words, with one thing changed at a time.

    python recipes/number_translation.py

A run takes about a minute and a half on one CPU core, all of them most of an hour. It writes
`finetuning/kept/number_translation.json` after every run, so that an interrupted one can be taken up again,
from which chapter 7 prints its table.
"""

import argparse
import copy
import datetime
import json
import platform
import random
from pathlib import Path

import torch
from torch import Tensor

from finetuning.number_words import Vocabulary, batches, draw_numbers, examples, padded, split_numbers
from finetuning.scratch.decoding import greedy
from finetuning.scratch.transformer import (
    CachedNextLogits,
    TokenEmbedding,
    Transformer,
    average_checkpoints,
    noam_schedule,
    train,
)
from finetuning.training import Stopwatch, set_seed

KEPT = Path(__file__).parents[1] / "finetuning" / "kept" / "number_translation.json"
WIDTH, WARMUP, STEPS, BATCH = 64, 400, 1500, 128
CHECKPOINTS = range(STEPS - 200, STEPS + 1, 50)  # five, as many as the paper averages
# What differs from the chapter's run, and with how many seeds it is repeated.
VARIANTS: dict[str, tuple[dict[str, object], int]] = {
    "as in the chapter": ({}, 5),
    "no label smoothing": ({"smoothing": 0.0}, 3),
    "no dropout": ({"dropout": 0.0}, 3),
    "no warm-up": ({"warm": False}, 3),
    "pre-norm": ({"norm_first": True}, 3),
    "pre-norm, no warm-up": ({"norm_first": True, "warm": False}, 3),
    "embedding not times √C": ({"scaled": False}, 3),
    "with 10 numbers of eight digits": ({"extra": 10}, 3),
    "with 100 numbers of eight digits": ({"extra": 100}, 3),
    "with 1,000 numbers of eight digits": ({"extra": 1000}, 3),
}


class UnscaledEmbedding(TokenEmbedding):
    """Rows plus positions, the rows as they are."""

    def forward(self, ids: Tensor, offset: int = 0) -> Tensor:
        return self.dropout(self.table(ids) + self.positions[offset : offset + ids.size(1)])


def exact_match(model: Transformer, numbers: list[int], vocabulary: Vocabulary) -> list[float]:
    """The share of greedy translations that are right, to Chinese and to English."""
    model.eval()
    shares = []
    for to in ("Chinese", "English"):
        pairs = examples(numbers, vocabulary, to)
        next_logits = CachedNextLogits(model, padded([pair.source for pair in pairs]))
        start = torch.full((len(pairs), 1), vocabulary.start)
        written = greedy(next_logits, start, max_length=40, end=vocabulary.end).tolist()
        wanted = [vocabulary.decode(pair.target) for pair in pairs]
        right = [vocabulary.decode(row) == want for row, want in zip(written, wanted, strict=True)]
        shares.append(sum(right) / len(right))
    return shares


def run(
    seed: int,
    smoothing: float = 0.1,
    dropout: float = 0.1,
    warm: bool = True,
    norm_first: bool = False,
    scaled: bool = True,
    extra: int = 0,
    steps: int = STEPS,
) -> dict[str, object]:
    """Train once and test: the last state, and the mean of the last five checkpoints."""
    vocabulary, splits = Vocabulary(), split_numbers()
    more = [n for n in draw_numbers(8, 2 * extra, random.Random(1)) if n not in set(splits.longer)][:extra]
    numbers = splits.training + more
    pairs = examples(numbers, vocabulary, "Chinese") + examples(numbers, vocabulary, "English")
    set_seed(seed)
    model = Transformer(len(vocabulary), WIDTH, 4, 256, 2, dropout, 64, norm_first)
    if not scaled:
        model.embedding.__class__ = UnscaledEmbedding
    kept: list[dict[str, Tensor]] = []

    def after_step(step: int) -> None:
        if step in CHECKPOINTS:
            kept.append(copy.deepcopy(model.state_dict()))

    with Stopwatch() as watch:
        losses = train(
            model,
            batches(pairs, BATCH, steps, seed),
            lambda step: noam_schedule(step if warm else max(step, WARMUP), WIDTH, WARMUP),
            smoothing,
            after_step=after_step,
        )
    result: dict[str, object] = {"seconds": round(watch.seconds), "loss": sum(losses[-50:]) / 50}
    result["last"] = exact_match(model, splits.test, vocabulary)
    model.load_state_dict(average_checkpoints(kept))
    result["averaged"] = exact_match(model, splits.test, vocabulary)
    result["longer"] = exact_match(model, splits.longer, vocabulary)
    return result


def main() -> None:
    """Run what is not kept yet, and keep it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--most", type=int, default=1000, help="stop after this many runs")
    most = parser.parse_args().most
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {"runs": []}
    there = {(run["variant"], run["seed"]) for run in kept["runs"]}
    for seed in range(max(seeds for _, seeds in VARIANTS.values())):
        for variant, (settings, seeds) in VARIANTS.items():
            if seed >= seeds or (variant, seed) in there or most == 0:
                continue
            kept["runs"].append({"variant": variant, "seed": seed} | run(seed, **settings))
            most -= 1
            kept |= {
                "command": "python recipes/number_translation.py",
                "date": datetime.date.today().isoformat(),
                "versions": {"torch": torch.__version__},
                "machine": {
                    "device": "cpu",
                    "architecture": platform.machine(),
                    "cpu_capability": torch.backends.cpu.get_cpu_capability(),
                    "threads": torch.get_num_threads(),
                },
            }
            KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(kept["runs"][-1], flush=True)


if __name__ == "__main__":
    main()
