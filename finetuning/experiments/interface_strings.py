"""Chapter 18's first experiment: SmolLM2 translates the strings of software into
French, asked, shown three, and tuned at four learning rates with three seeds; on a
catalogue of Django that it was not tuned on, and on another product.

The adapter of the best learning rate is shipped: the catalogues' licence allows it.
Then one run each of beam search, of placeholders kept by force, and of a glossary. All
runs together take an hour and a half on one CPU core, each a few minutes at most.
"""

import dataclasses
import re
import shutil
from collections.abc import Sequence

from transformers import LogitsProcessorList, PreTrainedTokenizerBase

from finetuning.data import catalogues
from finetuning.data.catalogues import Entry
from finetuning.experiments import headlines
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.experiments.headlines import best_rate, digest, folder_of, tuned_model
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import Chat
from finetuning.scratch.translation import (
    KeepPlaceholders,
    hide_terms,
    placeholders,
    show_terms,
)
from finetuning.tuning import (
    BASE,
    SHIPPED,
    Recipe,
    Settings,
    loss_figures,
    write,
    write_card,
)

NAME = "interface_strings"
# The rate is the best of the four by the validation strings; a test holds it to that.
SETTINGS = Settings(steps=60, learning_rate=3e-3, batch_size=8, max_tokens=160)
RATES = headlines.RATES
SEEDS = headlines.SEEDS
SYSTEMS = headlines.SYSTEMS
TUNED = headlines.TUNED
TRAINING = SETTINGS.steps * SETTINGS.batch_size  # each is seen once
JUPYTERLAB = 200  # strings of the other product
PARTS = ("test", catalogues.JUPYTERLAB)
SHOWN = 3
MAX_TOKENS = 56
BATCH = 16
BEAMS = 4
HELD = 60  # strings of the other product with a placeholder
TERMS = 60  # and with a term
# As JupyterLab's translators have them, nearly always.
GLOSSARY = {
    "kernel": "noyau",
    "kernels": "noyaux",
    "cell": "cellule",
    "cells": "cellules",
    "file": "fichier",
    "files": "fichiers",
    "branch": "branche",
    "branches": "branches",
    "repository": "dépôt",
    "server": "serveur",
    "settings": "paramètres",
}
ASKED = "{request} Use these terms: {terms}."


def training() -> list[Entry]:
    """The strings that are trained on."""
    return catalogues.entries("train")[:TRAINING]


def validation() -> list[Entry]:
    """Those that decide on the learning rate: another catalogue of Django."""
    return catalogues.entries("validation")


def test(part: str = "test") -> list[Entry]:
    """Those that all systems are compared on."""
    rows = catalogues.entries(part)
    return rows[:JUPYTERLAB] if part == catalogues.JUPYTERLAB else rows


def held(part: str = "test") -> list[Entry]:
    """Strings with a placeholder; of the other product as many as are wanted."""
    rows = [each for each in catalogues.entries(part) if placeholders(each.source)]
    return rows[:HELD] if part == catalogues.JUPYTERLAB else rows


def terms_in(text: str) -> list[str]:
    """The glossary's terms that a text holds, in small letters, in their order."""
    words = re.findall(r"\w+", text.lower())
    return [word for word in words if word in GLOSSARY]


def with_terms() -> list[Entry]:
    """Strings of the other product with a term of the glossary and no placeholder."""
    return [
        each
        for each in catalogues.entries(catalogues.JUPYTERLAB)
        if terms_in(each.source) and not placeholders(each.source)
    ][:TERMS]


def chats() -> list[list[dict[str, str]]]:
    """The training chats."""
    return [entry.chat for entry in training()]


RECIPE = Recipe(
    name=NAME,
    chats=chats,
    data=f"{TRAINING} interface strings of Django and their French translations "
    "(BSD-3-Clause), of all catalogues but those of `contrib.admin` and "
    "`contrib.admindocs`, as `finetuning.data.catalogues` reads them.",
    licence="apache-2.0",
    settings=SETTINGS,
)


def shown(entries: Sequence[Entry], count: int = SHOWN) -> list[dict[str, str]]:
    """The request and the first pairs as turns of a chat: few-shot."""
    turns = [message for entry in entries[:count] for message in entry.chat[1:]]
    return [entries[0].chat[0], *turns]


def prompts(entries: Sequence[Entry], few_shot: bool = False) -> list[Chat]:
    """What a model is asked, with or without examples before it."""
    if not few_shot:
        return [entry.prompt for entry in entries]
    first = shown(training())
    return [[*first, entry.prompt[-1]] for entry in entries]


def kept_whole(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat]
) -> dict[str, LogitsProcessorList]:
    """The option of `write` that keeps the placeholders of these prompts."""
    keep = KeepPlaceholders(tokenizer, chats, MAX_TOKENS)
    return {"logits_processor": LogitsProcessorList([keep])}


def asked_for_terms(entry: Entry) -> Chat:
    """The prompt of a string with the terms that it holds in the request."""
    terms = dict.fromkeys(terms_in(entry.source))
    listed = ", ".join(f"{term} = {GLOSSARY[term]}" for term in terms)
    request = ASKED.format(request=entry.request, terms=listed)
    return dataclasses.replace(entry, request=request).prompt


def hidden_terms(entries: Sequence[Entry]) -> tuple[list[Chat], list[list[str]]]:
    """Prompts with placeholders for terms, and what goes into their places."""
    pairs = [hide_terms(entry.source, GLOSSARY) for entry in entries]
    hidden = [
        dataclasses.replace(entry, source=text).prompt
        for entry, (text, _) in zip(entries, pairs, strict=True)
    ]
    return hidden, [targets for _, targets in pairs]


# The experiment


def model_of(key: Key, kept: Results) -> tuple:
    """The model that a run writes with, and its tokenizer."""
    if key["system"] == "tuned":
        return tuned_model(RECIPE, kept, key["seed"])
    return load_causal_lm(BASE)


def ship(kept: Results) -> dict[str, object]:
    """Bring the adapter of the best rate and the first seed to where it is shipped."""
    rate = best_rate(kept)
    tuned_model(RECIPE, kept, SEEDS[0])  # is it there, and the right one?
    shutil.copytree(folder_of(NAME, rate, SEEDS[0]), SHIPPED / NAME, dirs_exist_ok=True)
    settings = dataclasses.replace(SETTINGS, learning_rate=rate, seed=SEEDS[0])
    losses = kept.one(part="tune", rate=rate, seed=SEEDS[0])["losses"]
    made = dataclasses.replace(RECIPE, settings=settings)
    write_card(SHIPPED / NAME, made, loss_figures(losses))
    return {"rate": rate, "adapter": digest(SHIPPED / NAME)}


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune once, ship what was found best, or translate as the key says."""
    if key["part"] == "tune":
        return headlines.tuned_run(RECIPE, key, validation())
    if key["part"] == "ship":
        return ship(kept)
    model, tokenizer = model_of(key, kept)
    targets: list[list[str]] = []
    options: dict[str, object] = {}
    if key["part"] == "write":
        asked = prompts(test(key["of"]), key["system"] == "few-shot")
    elif key["part"] == "beam":
        asked = prompts(test())
        options = {"num_beams": BEAMS}
    elif key["part"] == "held":
        asked = prompts(held(key["of"]))
    elif key["way"] == "asked":
        asked = [asked_for_terms(entry) for entry in with_terms()]
    elif key["way"] == "hidden":
        asked, targets = hidden_terms(with_terms())
    else:
        asked = prompts(with_terms())
    if key.get("way") in ("kept", "hidden"):
        options = kept_whole(tokenizer, asked)
    lines = write(
        model, tokenizer, asked, max_tokens=MAX_TOKENS, batch_size=BATCH, **options
    )
    if targets:
        lines = [show_terms(*pair) for pair in zip(lines, targets, strict=True)]
    return {"lines": lines}


EXPERIMENT = Experiment(
    name=NAME,
    chapter=18,
    settings={
        "model": BASE,
        "tuning": {
            name: value
            for name, value in vars(SETTINGS).items()
            if name not in ("learning_rate", "seed")
        },
        "request": catalogues.REQUEST,
        "request with terms": ASKED,
        "longest": catalogues.LONGEST,
        "strings of the other product": JUPYTERLAB,
        "with a placeholder": HELD,
        "with a term": TERMS,
        "glossary": GLOSSARY,
        "tokens": MAX_TOKENS,
        "shown": SHOWN,
        "beams": BEAMS,
    },
    keys=[
        *(
            {"part": "tune", "rate": rate, "seed": seed}
            for seed in SEEDS
            for rate in RATES
        ),
        {"part": "ship"},
        *(
            {"part": "write", **system, "of": part}
            for system in SYSTEMS
            for part in PARTS
        ),
        {"part": "beam", **TUNED},
        *(
            {"part": "held", **system, "of": part, "way": way}
            for system in (SYSTEMS[0], TUNED)
            for part in PARTS
            for way in ("free", "kept")
        ),
        *(
            {"part": "terms", **TUNED, "way": way}
            for way in ("free", "asked", "hidden")
        ),
    ],
    run=run,
)
