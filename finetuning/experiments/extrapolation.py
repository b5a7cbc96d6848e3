"""Chapter 06's experiment: five ways to say where a byte stands, trained on stretches
of 64 bytes and read on 256.

Each is trained with two lengths of training and three seeds, everything else alike. A
run of 800 steps takes half a minute on one CPU core, all of them ten minutes.
"""

import functools
import itertools

from torch import Tensor

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.runtime import set_seed
from finetuning.scratch.byte_model import (
    ByteModel,
    loss_by_position,
    train,
    training_and_test_text,
)

KINDS = ("none", "learned", "sinusoidal", "RoPE", "ALiBi")
STEPS = (200, 800)
SEEDS = 3
TRAINED = 64  # bytes a stretch in training
READ = 256  # and in the test
TRAINING = {
    "rate": 0.01,
    "warmup": 30,
    "batch": 24,
    "length": TRAINED,
    "clip": 1.0,
}

text = functools.cache(training_and_test_text)


def trained(
    kind: str, steps: int, seed: int, stop: int | None = None
) -> tuple[ByteModel, list[float]]:
    """A model and its losses in training; with `stop` only its first steps."""
    set_seed(seed)
    model = ByteModel(kind)
    losses = train(model, text()[0], seed, steps=steps, stop=stop, **TRAINING)
    return model, losses


def _rounded(losses: Tensor) -> list[float]:
    return [round(loss, 4) for loss in losses.tolist()]


def run(key: Key, so_far: Results) -> dict[str, object]:
    """Train one model; its losses at each step, and at each position of the test."""
    model, losses = trained(key["kind"], key["steps"], key["seed"])
    test = text()[1]
    ends = key["kind"] == "learned"  # it has no positions past those of training
    result = {
        "losses": [round(loss, 4) for loss in losses],
        "by position": _rounded(
            loss_by_position(model, test, TRAINED if ends else READ)
        ),
    }
    if not ends:
        result["looking back 64"] = _rounded(
            loss_by_position(model, test, READ, window=TRAINED)
        )
    return result


EXPERIMENT = Experiment(
    name="extrapolation",
    chapter=6,
    settings={**TRAINING, "read": READ},
    keys=[
        {"kind": kind, "steps": steps, "seed": seed}
        for seed, steps, kind in itertools.product(range(SEEDS), STEPS, KINDS)
    ],
    run=run,
)
