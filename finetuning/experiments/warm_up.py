"""Chapter 06's second experiment: which wrapper of a sublayer needs a warm-up?

Models of four layers, 100 steps, with and without warm-up. Three seeds. A run takes two
seconds on one CPU core; the chapter makes two of them again.
"""

import functools

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.scratch.byte_model import train_deep, training_and_test_text

# Wrapper, peak rate, steps of warm-up.
SETTINGS = (
    ("post-norm", 0.01, 0),
    ("post-norm", 0.01, 30),
    ("post-norm", 0.003, 0),
    ("pre-norm", 0.01, 0),
    ("pre-norm", 0.01, 30),
)
SEEDS = 3
STEPS = 100

text = functools.cache(training_and_test_text)


def run(key: Key, so_far: Results) -> dict[str, object]:
    """The losses of all steps, in nats a byte."""
    losses = train_deep(text()[0], **key, steps=STEPS)
    return {"losses": [round(loss, 4) for loss in losses]}


EXPERIMENT = Experiment(
    name="warm_up",
    chapter=6,
    settings={"steps": STEPS},
    keys=[
        {"wrapper": wrapper, "rate": rate, "warmup": warmup, "seed": seed}
        for wrapper, rate, warmup in SETTINGS
        for seed in range(SEEDS)
    ],
    run=run,
)
