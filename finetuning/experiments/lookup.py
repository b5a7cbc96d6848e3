"""Chapter 05's experiment: does a head of attention learn without the division by √D?

One head looks up a digit by its name. Three widths with and without the division, and
at the largest what could stand in for it: more steps, and smaller first weights. Three
seeds each. All runs together take half a minute on one CPU core.
"""

import itertools

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.scratch.lookup import Lookup, SmallStart, train_lookup

WIDTHS = (8, 32, 128)
RATES = (0.001, 0.003, 0.01)
SEEDS = 3
STEPS = 250
# Of what is tried at the largest width: kind, rates, steps.
CONTROLS = (
    ("not divided", (0.0003,), STEPS),
    ("not divided", (0.0003, 0.001), 4 * STEPS),
    ("smaller start", (0.0003, 0.001), STEPS),
)


def keys() -> list[Key]:
    """All runs in their order: the comparison, then the controls."""
    runs = list(itertools.product(("divided", "not divided"), WIDTHS, RATES, [STEPS]))
    for kind, rates, steps in CONTROLS:
        runs += [(kind, WIDTHS[-1], rate, steps) for rate in rates]
    return [
        {"kind": kind, "D": width, "rate": rate, "steps": steps, "seed": seed}
        for kind, width, rate, steps in runs
        for seed in range(SEEDS)
    ]


def run(key: Key, so_far: Results) -> dict[str, object]:
    """The share of fresh questions that the trained head answers."""
    share = train_lookup(
        key["D"],
        key["kind"] == "divided",
        key["rate"],
        key["seed"],
        key["steps"],
        SmallStart if key["kind"] == "smaller start" else Lookup,
    )
    return {"share": round(share, 4)}


EXPERIMENT = Experiment(
    name="lookup",
    chapter=5,
    settings={},
    keys=keys(),
    run=run,
)
