"""Chapter 17's second experiment: SmolLM2 writes the summary lines of docstrings, tuned
on those of three libraries and tried on those of a fourth.

The adapter of the best learning rate is shipped: the libraries' licences allow it. The
last run brings it to its place. All runs together take an hour on one CPU core, each a
few minutes at most.
"""

import dataclasses
import shutil

from finetuning.data import summaries
from finetuning.data.summaries import Pair
from finetuning.experiments import headlines
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.experiments.headlines import best_rate, digest, folder_of
from finetuning.tuning import BASE, SHIPPED, Recipe, Settings, loss_figures, write_card

NAME = "docstring_lines"
# The rate is the best of the four by the validation lines; a test holds it to that.
SETTINGS = Settings(steps=40, learning_rate=3e-3, batch_size=4, max_tokens=256)
RATES = headlines.RATES
SEEDS = headlines.SEEDS
TRAINING = SETTINGS.steps * SETTINGS.batch_size
VALIDATION = (380, 60)
EACH = 85  # of a run that writes
TEST = 2 * EACH


def training() -> list[Pair]:
    """What is trained on."""
    return summaries.docstrings("train", 0, TRAINING)


def validation() -> list[Pair]:
    """What decides on the learning rate: of the same three libraries."""
    return summaries.docstrings("train", *VALIDATION)


def test(first: int = 0, count: int = TEST) -> list[Pair]:
    """What all systems are compared on: of a fourth library."""
    return summaries.docstrings("test", first, count)


def chats() -> list[list[dict[str, str]]]:
    """The training chats."""
    return [pair.chat for pair in training()]


RECIPE = Recipe(
    name=NAME,
    chats=chats,
    data=f"the summary lines of {TRAINING} functions and classes of NumPy, SciPy and "
    "PyTorch, with the descriptions below them (BSD-3-Clause, and for parts of PyTorch "
    "other permissive licences), as `finetuning.data.summaries` reads them from the "
    "installed libraries.",
    licence="apache-2.0",
    settings=SETTINGS,
)


def ship(kept: Results) -> dict[str, object]:
    """Bring the adapter of the best rate and the first seed to where it is shipped."""
    rate = best_rate(kept)
    headlines.tuned_model(RECIPE, kept, SEEDS[0])  # is it there, and the right one?
    shutil.copytree(folder_of(NAME, rate, SEEDS[0]), SHIPPED / NAME, dirs_exist_ok=True)
    settings = dataclasses.replace(SETTINGS, learning_rate=rate, seed=SEEDS[0])
    losses = kept.one(part="tune", rate=rate, seed=SEEDS[0])["losses"]
    made = dataclasses.replace(RECIPE, settings=settings)
    write_card(SHIPPED / NAME, made, loss_figures(losses))
    return {"rate": rate, "adapter": digest(SHIPPED / NAME)}


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune once; or the lines that a system writes; or ship what was found best.

    The lines of the system that is only asked come with the texts: docstrings change
    with the versions of their libraries.
    """
    if key["part"] == "tune":
        return headlines.tuned_run(RECIPE, key, validation())
    if key["part"] == "ship":
        return ship(kept)
    pairs = test(key["from"], EACH)
    lines = headlines.written_lines(RECIPE, key, kept, pairs, training)
    if key["system"] != "zero-shot":
        return {"lines": lines}
    return {
        "names": [pair.name for pair in pairs],
        "texts": [pair.text for pair in pairs],
        "right": [pair.line for pair in pairs],
        "lines": lines,
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=17,
    settings={
        "model": BASE,
        "tuning": {
            name: value
            for name, value in vars(SETTINGS).items()
            if name not in ("learning_rate", "seed")
        },
        "request": summaries.SUMMARY_LINE,
        "opening words": summaries.OPENING_WORDS,
        "validation": VALIDATION,
        "tokens": headlines.MAX_TOKENS,
        "shown": headlines.SHOWN,
    },
    keys=[
        *(
            {"part": "tune", "rate": rate, "seed": seed}
            for seed in SEEDS
            for rate in RATES
        ),
        {"part": "ship"},
        *(
            {"part": "write", **system, "from": first}
            for system in headlines.SYSTEMS
            for first in range(0, TEST, EACH)
        ),
    ],
    run=run,
)
