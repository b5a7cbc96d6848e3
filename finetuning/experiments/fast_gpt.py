"""Chapter 09's experiment: how fast a small GPT learns on one CPU core, one change at a
time.

Every run trains on the same million characters of State of the Union messages for the
same processor time and is measured on 110,000 characters of other years. The ladder
starts from the recipe of nanoGPT's CPU example and makes one change a rung; each keeps
those before it. Below it stand changes to the last rung: the first of them, which takes
a rung back, is kept and makes the chapter's recipe, the others are dropped. The changes
were found on speeches and on plays, partly on these held-out characters, so the last
digit of the best line flatters it. All runs together take twenty minutes.
"""

import time
from dataclasses import asdict, replace

from finetuning.data.streams import characters
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.runtime import set_seed
from finetuning.scratch.fast_gpt import (
    FastGPT,
    Recipe,
    encoded,
    nats_per_character,
    train_fast,
)

SECONDS = 30.0  # of processor time a run, on one thread
# Of the first rung, the last and the recipe that is kept: how much is chance. The other
# lines have one run.
SEEDS = 3
# Like nanoGPT's CPU example, but for its cosine, which is a straight line here, and its
# end at a tenth.
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
    what was tried on the last.
    """
    lines = {}
    recipe = START
    for name, change in LADDER.items():
        recipe = replace(recipe, **change)
        lines[name] = recipe
    for name, change in TRIED.items():
        lines[name] = replace(recipe, **change)
    return lines


def keys() -> list[Key]:
    """All runs in the order in which they are made."""
    lines = recipes()
    rungs = list(LADDER)
    repeated = (rungs[0], rungs[-1], next(iter(TRIED)))
    runs = [(name, 0) for name in lines]
    runs += [(name, seed) for seed in range(1, SEEDS) for name in repeated]
    return [
        {"name": name, "recipe": asdict(lines[name]), "seed": seed}
        for name, seed in runs
    ]


def train_and_measure(
    recipe: Recipe,
    training: str,
    held_out: str,
    seed: int = 0,
    seconds: float = SECONDS,
) -> dict[str, float]:
    """Train on one text for so many seconds of processor time; nats a character on
    another, and characters trained on in a second.
    """
    alphabet = "".join(sorted(set(training + held_out)))
    training_ids = encoded(training, alphabet)
    held_out_ids = encoded(held_out, alphabet)
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


def run(key: Key, kept: Results) -> dict[str, float]:
    """One of `keys`: see `train_and_measure`."""
    training, held_out = characters()
    return train_and_measure(Recipe(**key["recipe"]), training, held_out, key["seed"])


EXPERIMENT = Experiment(
    name="fast_gpt",
    chapter=9,
    settings={"seconds": SECONDS},
    keys=keys(),
    run=run,
)
