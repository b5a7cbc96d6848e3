"""Chapter 9's experiment in full: how fast a small GPT learns on one CPU core, one
change at a time.

    python recipes/fast_gpt.py

Every run trains on the same million characters of State of the Union messages for the
same processor time and is measured on 110,000 characters of other years. The ladder
starts from the recipe of nanoGPT's CPU example and makes one change a rung; each keeps
those before it. Below it stand changes to the last rung: the first of them, which takes
a rung back, is kept and makes the chapter's recipe, the others are dropped. The changes
were found on speeches and on plays, partly on these held-out characters, so the last
digit of the best line flatters it. `finetuning/experiments/results/fast_gpt.json` is
written after every run, so that an interrupted recipe goes on where it stopped;
`--most` ends it after so many runs.
"""

import argparse
import datetime
import json
import platform
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from finetuning.data.streams import characters
from finetuning.runtime import machine, set_seed, write_whole
from finetuning.scratch.fast_gpt import (
    FastGPT,
    Recipe,
    encoded,
    nats_per_character,
    train_fast,
)

KEPT = (
    Path(__file__).parents[1]
    / "finetuning"
    / "experiments"
    / "results"
    / "fast_gpt.json"
)
SECONDS = 30.0  # of processor time a run, on one thread
# of first rung, last rung and the recipe that is kept: how much is chance; else one run
# a line
SEEDS = 3
START = Recipe(
    context=64,
    batch=12,
    shift=0,
    positions="learned",
    norm="layer",
    activation="gelu",
    zero_outputs=False,
    fused=True,
    half=False,
    optimiser="adamw",
    rate=0.001,
    warm_up=0.05,
    cool_down=0.95,
    in_order=False,
)
"""Like nanoGPT's CPU example, but for its cosine, which is a straight line here, and
its end at a tenth.
"""

LADDER: dict[str, dict[str, object]] = {
    "nanoGPT's CPU example": {},
    "attention as matrix products": {"fused": False},
    "bfloat16": {"half": True},
    "AdamW at 0.003": {"rate": 0.003},
    "blocks in order": {"in_order": True},
    "RoPE, normalised queries and keys": {"positions": "rotary"},
    "norms without gain": {"norm": "bare"},
    "ReLU²": {"activation": "relu²"},
    "outputs zero at first": {"zero_outputs": True},
    "Muon for matrices": {"optimiser": "muon"},
    "half of the time at the full rate": {"warm_up": 0.02, "cool_down": 0.5},
    "context 128, batch 16": {"context": 128, "batch": 16},
    "two tokens shifted in": {"shift": 2},
}
TRIED: dict[str, dict[str, object]] = {
    "outputs not zero at first": {"zero_outputs": False},
    "AdamW at 0.003 instead of Muon": {"optimiser": "adamw"},
    "AdamW at 0.006 instead of Muon": {"optimiser": "adamw", "rate": 0.006},
    "AdamW at 0.006, outputs not zero": {
        "optimiser": "adamw",
        "rate": 0.006,
        "zero_outputs": False,
    },
    "AdamW at 0.012, outputs not zero": {
        "optimiser": "adamw",
        "rate": 0.012,
        "zero_outputs": False,
    },
    "AdamW at 0.024, outputs not zero": {
        "optimiser": "adamw",
        "rate": 0.024,
        "zero_outputs": False,
    },
    "Muon at 0.04": {"matrix_rate": 0.04},
    "RMSNorm": {"norm": "rms"},
    "context 256, batch 8": {"context": 256, "batch": 8},
    "batch 24": {"batch": 24},
    "PyTorch's fused attention": {"fused": True},
}


def recipes() -> dict[str, Recipe]:
    """Every line of the table, by name: the rungs, each with all changes up to it, then
    what was dropped.
    """
    lines, recipe = {}, START
    for name, change in LADDER.items():
        recipe = lines[name] = replace(recipe, **change)
    return lines | {name: replace(recipe, **change) for name, change in TRIED.items()}


def planned() -> list[tuple[str, int]]:
    """Names and seeds of all runs, in the order in which they are made."""
    names, rungs = list(recipes()), list(LADDER)
    return [(name, 0) for name in names] + [
        (name, seed)
        for seed in range(1, SEEDS)
        for name in (rungs[0], rungs[-1], next(iter(TRIED)))
    ]


def run(
    recipe: Recipe, seed: int, seconds: float = SECONDS, most: int | None = None
) -> dict[str, float]:
    """Train and measure: nats a character, and characters trained on in a second of
    processor time.

    `most` shortens the two texts, for tests.
    """
    training, held_out = characters()
    alphabet = "".join(sorted(set(training + held_out)))
    training_ids, held_out_ids = (
        encoded(text[:most], alphabet) for text in (training, held_out)
    )
    set_seed(seed)
    model = FastGPT(len(alphabet), recipe)
    start = time.process_time()
    losses = train_fast(
        model, training_ids, lambda step: (time.process_time() - start) / seconds, seed
    )
    spent = time.process_time() - start
    return {
        "loss": nats_per_character(model, training_ids, held_out_ids),
        "training_loss": sum(losses[-50:]) / len(losses[-50:]),
        "steps": len(losses),
        "speed": len(losses) * recipe.batch * recipe.context / spent,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def conditions() -> dict[str, object]:
    """What a run depends on besides its recipe and seed."""
    return {
        "command": "python recipes/fast_gpt.py",
        "seconds": SECONDS,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=KEPT)
    parser.add_argument(
        "--most", type=int, help="stop after so many runs, to go on another time"
    )
    arguments = parser.parse_args()
    output = arguments.output
    kept = (
        json.loads(output.read_text(encoding="utf-8"))
        if output.exists()
        else {"runs": []}
    )
    torch.set_num_threads(1)  # so that processor time is time
    kept |= conditions() | {"date": datetime.date.today().isoformat()}
    done = {(each["name"], each["seed"]): each["recipe"] for each in kept["runs"]}
    made = 0
    for name, seed in planned():
        recipe = recipes()[name]
        if (name, seed) in done:
            if done[name, seed] != asdict(recipe):
                raise SystemExit(
                    f"{output} holds a run of '{name}' with another recipe than this "
                    "file's: move the file away, or name another with --output"
                )
            continue
        if made == arguments.most:
            return
        made += 1
        result = (
            {"name": name, "seed": seed}
            | run(recipe, seed)
            | {"recipe": asdict(recipe)}
        )
        kept["runs"].append(result)
        write_whole(output, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
        print(
            f"{name:36} {seed} {result['loss']:.3f} {result['speed']:7.0f}", flush=True
        )


if __name__ == "__main__":
    main()
