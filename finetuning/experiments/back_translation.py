"""Chapter 18's second experiment: French strings of another product, without their
English, made into training pairs by a model that translates the other way.

In as many steps as the tuned model of `interface_strings` had, half of Django's strings
give way to strings of JupyterLab, whose English is written by the model, or, for a
ceiling, by JupyterLab's authors. Which model has what is compared on JupyterLab's test
strings. All runs together take an hour on one CPU core.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from finetuning.data import catalogues
from finetuning.data.catalogues import Entry
from finetuning.experiments import interface_strings
from finetuning.experiments.engine import Experiment, ExperimentError, Key, Results
from finetuning.experiments.headlines import digest
from finetuning.models import load_causal_lm
from finetuning.tuning import (
    BASE,
    CONFIGURATION,
    Recipe,
    load_adapter,
    loss_figures,
    save_adapter,
    trained_folder,
    tune,
    write,
)

NAME = "back_translation"
SETTINGS = interface_strings.SETTINGS
SEEDS = interface_strings.SEEDS
MONOLINGUAL = (400, 240)  # from where on of JupyterLab's strings, and how many
ENGLISH = ("written", "true")


def reverse() -> list[Entry]:
    """What the model that translates into English is tuned on."""
    return catalogues.turned(interface_strings.training())


def monolingual() -> list[Entry]:
    """Pairs of JupyterLab of which the French is used; none is a test string."""
    first, count = MONOLINGUAL
    return catalogues.entries(catalogues.JUPYTERLAB)[first : first + count]


def pairs(english: str, kept: Results) -> list[Entry]:
    """The mixture that is trained on: Django's strings, and JupyterLab's."""
    added = monolingual()
    if english == "written":
        lines = kept.one(part="write")["lines"]
        added = [
            dataclasses.replace(entry, source=line.strip() or entry.target)
            for entry, line in zip(added, lines, strict=True)
        ]
    own = interface_strings.training()
    return own[: len(own) - len(added)] + added


def folder_of(key: Key):
    """Where the adapter of a run that tunes is kept, in the cache."""
    words = "-".join(str(value) for value in key.values())
    return trained_folder(f"{NAME}-{words}")


def tune_on(entries: Sequence[Entry], key: Key) -> dict[str, object]:
    """Tune as `interface_strings` does at its best rate, on other pairs."""
    settings = dataclasses.replace(SETTINGS, seed=key["seed"])
    model, tokenizer = load_causal_lm(BASE)
    chats = [entry.chat for entry in entries]
    tuned, losses = tune(model, tokenizer, chats, settings)
    recipe = Recipe(NAME, lambda: chats, "strings of JupyterLab", "other", settings)
    save_adapter(tuned, folder_of(key), recipe, loss_figures(losses))
    return {
        "last_loss": float(np.mean(losses[-10:])),
        "losses": [round(loss, 5) for loss in losses],
        "adapter": digest(folder_of(key)),
    }


def tuned_by(key: Key, kept: Results) -> tuple:
    """The model of a kept run and its tokenizer.

    Raises ExperimentError if the cache has not its adapter.
    """
    folder = folder_of(key)
    there = (folder / CONFIGURATION).is_file()
    if not there or digest(folder) != kept.one(**key)["adapter"]:
        raise ExperimentError(
            f"{folder} does not hold the adapter of the kept run: take its line out of "
            "the results, and it is made again"
        )
    return load_adapter(folder)


REVERSE = {"part": "tune", "into": "English", "seed": SEEDS[0]}


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune, the one way or the other, or translate."""
    if key == REVERSE:
        return tune_on(reverse(), key)
    if key["part"] == "tune":
        return tune_on(pairs(key["english"], kept), key)
    if key["part"] == "write":
        asked = [entry.prompt for entry in catalogues.turned(monolingual())]
        model, tokenizer = tuned_by(REVERSE, kept)
    else:
        asked = interface_strings.prompts(interface_strings.test(key["of"]))
        model, tokenizer = tuned_by(
            {"part": "tune", "english": key["english"], "seed": key["seed"]}, kept
        )
    lines = write(
        model,
        tokenizer,
        asked,
        max_tokens=interface_strings.MAX_TOKENS,
        batch_size=interface_strings.BATCH,
    )
    return {"lines": lines}


EXPERIMENT = Experiment(
    name=NAME,
    chapter=18,
    settings={
        **interface_strings.EXPERIMENT.settings,
        "learning rate": SETTINGS.learning_rate,
        "monolingual": MONOLINGUAL,
    },
    keys=[
        REVERSE,
        {"part": "write"},
        *(
            {"part": "tune", "english": english, "seed": seed}
            for seed in SEEDS
            for english in ENGLISH
        ),
        *(
            {"part": "test", "english": english, "seed": seed, "of": part}
            for seed in SEEDS
            for english in ENGLISH
            for part in interface_strings.PARTS
        ),
    ],
    run=run,
)
