"""Chapter 18's second experiment: French strings of another product, without their
English, made into training pairs by a model that translates the other way.

In as many steps as the tuned model of `interface_strings` had, half of Django's strings
give way to strings of JupyterLab, whose English is written by the model; for a ceiling,
by JupyterLab's authors; and, as a control, is the French once more. The strings are of
JupyterLab itself, and those of the test of its extensions. The rate is the one that
`interface_strings` chose for Django's strings alone. All runs together take an hour on
one CPU core.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from finetuning.data import catalogues
from finetuning.data.catalogues import Entry
from finetuning.experiments import interface_strings
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.experiments.headlines import digest
from finetuning.experiments.interface_strings import first_line, kept_adapter
from finetuning.models import load_causal_lm
from finetuning.tuning import (
    BASE,
    Recipe,
    loss_figures,
    save_adapter,
    trained_folder,
    tune,
    write,
)

NAME = "back_translation"
SETTINGS = interface_strings.SETTINGS
SEEDS = interface_strings.SEEDS
MONOLINGUAL = 240  # strings of JupyterLab itself
ENGLISH = ("written", "true", "copied")


def reverse() -> list[Entry]:
    """What the model that translates into English is tuned on."""
    return catalogues.turned(interface_strings.training())


def monolingual() -> list[Entry]:
    """Pairs of JupyterLab itself of which the French is used; the test has none of
    this catalogue.
    """
    return interface_strings.other_product(core=True)[:MONOLINGUAL]


def pairs(english: str, kept: Results) -> list[Entry]:
    """The mixture that is trained on: Django's strings, and JupyterLab's."""
    added = monolingual()
    if english == "written":
        lines = kept.one(part="write")["lines"]
        added = [
            dataclasses.replace(entry, source=first_line(line) or entry.target)
            for entry, line in zip(added, lines, strict=True)
        ]
    if english == "copied":
        added = [dataclasses.replace(entry, source=entry.target) for entry in added]
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


# The control has one seed.
MIXTURES = [
    *(
        {"english": english, "seed": seed}
        for seed in SEEDS
        for english in ("written", "true")
    ),
    {"english": "copied", "seed": SEEDS[0]},
]
REVERSE = {"part": "tune", "into": "English", "seed": SEEDS[0]}


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune, the one way or the other, or translate."""
    if key == REVERSE:
        return tune_on(reverse(), key)
    if key["part"] == "tune":
        return tune_on(pairs(key["english"], kept), key)
    if key["part"] == "write":
        asked = [entry.prompt for entry in catalogues.turned(monolingual())]
        by = REVERSE
    else:
        asked = interface_strings.prompts(interface_strings.test(key["of"]))
        by = {"part": "tune", "english": key["english"], "seed": key["seed"]}
    model, tokenizer = kept_adapter(folder_of(by), kept.one(**by)["adapter"])
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
        "learning rate, chosen for Django alone": SETTINGS.learning_rate,
        "monolingual, of another catalogue than the test": MONOLINGUAL,
    },
    keys=[
        REVERSE,
        {"part": "write"},
        *({"part": "tune", **mixture} for mixture in MIXTURES),
        *(
            {"part": "test", **mixture, "of": catalogues.JUPYTERLAB}
            for mixture in MIXTURES
        ),
        *(
            {"part": "test", "english": english, "seed": SEEDS[0], "of": "test"}
            for english in ("written", "true")
        ),
    ],
    run=run,
)
