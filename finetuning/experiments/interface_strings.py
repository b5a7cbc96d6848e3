"""Chapter 18's first experiment: SmolLM2 translates the strings of software into
French, asked, shown three pairs, and tuned at four learning rates; on the catalogues of
Django's admin, which it was not tuned on, and on extensions of another product.

The best of two requests, of three draws of three pairs and of four rates are chosen on
validation strings; the two best rates have three seeds. The adapter of the best rate is
shipped: the catalogues' licence allows it. Then one run each of beam search, of
placeholders kept by force, and of a glossary. All runs together take an hour and a
quarter on one CPU core, each a few minutes at most.
"""

import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import LogitsProcessorList, PreTrainedTokenizerBase

from finetuning.data import catalogues
from finetuning.data.catalogues import Entry
from finetuning.experiments import headlines
from finetuning.experiments.engine import Experiment, ExperimentError, Key, Results
from finetuning.experiments.headlines import digest, folder_of
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import Chat
from finetuning.scratch.text_metrics import chrf
from finetuning.scratch.translation import (
    KeepPlaceholders,
    Memory,
    mask_terms,
    placeholders,
    restore_terms,
)
from finetuning.tuning import (
    BASE,
    CONFIGURATION,
    SHIPPED,
    Recipe,
    Settings,
    load_adapter,
    loss_figures,
    write,
    write_card,
)

NAME = "interface_strings"
# The rate is the best of the four by the validation strings; a test holds it to that.
SETTINGS = Settings(steps=60, learning_rate=3e-3, batch_size=8, max_tokens=160)
RATES = headlines.RATES
SEEDS = headlines.SEEDS
# The two best of the four by the first seed, which all seeds are tried with; a test.
FINALISTS = (1e-3, 3e-3)
TRAINING = SETTINGS.steps * SETTINGS.batch_size  # each is seen once
JUPYTERLAB = 150  # strings of the other product
PARTS = ("test", catalogues.JUPYTERLAB)
SHOWN = 3
IN_THE_TURN = "Translate into French: {source}"
PROMPTS = {"zero-shot": 2, "few-shot": 3}  # how many are tried
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
    "server": "serveur",
    "settings": "paramètres",
}
USE_TERMS = "Use these terms: {terms}."
TUNED = {"system": "tuned", "seed": SEEDS[0]}
SYSTEMS = (
    {"system": "zero-shot"},
    {"system": "few-shot"},
    {"system": "nearest"},
    *({"system": "tuned", "seed": seed} for seed in SEEDS),
)

# The strings


def training() -> list[Entry]:
    """The strings that are trained on."""
    return catalogues.entries("train")[:TRAINING]


def validation() -> list[Entry]:
    """Those that decide on rate and prompt: another catalogue of Django."""
    return catalogues.entries("validation")


def other_product(core: bool) -> list[Entry]:
    """JupyterLab's own strings, or those of its extensions, without what its
    translators left as it was.
    """
    return [
        each
        for each in catalogues.entries(catalogues.JUPYTERLAB)
        if (each.catalogue == "jupyterlab") is core and each.source != each.target
    ]


def test(part: str = "test") -> list[Entry]:
    """Those that all systems are compared on: Django's admin, or extensions of
    JupyterLab.
    """
    if part == catalogues.JUPYTERLAB:
        return other_product(core=False)[:JUPYTERLAB]
    return catalogues.entries(part)


def held_places() -> list[int]:
    """Which of Django's test strings have a placeholder."""
    return [place for place, each in enumerate(test()) if placeholders(each.source)]


def held(part: str = "test") -> list[Entry]:
    """Strings with a placeholder: Django's, or as many of JupyterLab as are wanted."""
    if part == catalogues.JUPYTERLAB:
        rows = other_product(core=False)
        return [each for each in rows if placeholders(each.source)][:HELD]
    return [test()[place] for place in held_places()]


def terms_in(text: str) -> list[str]:
    """The glossary's terms that a text holds, in small letters, in their order."""
    words = re.findall(r"\w+", text.lower())
    return [word for word in words if word in GLOSSARY]


def with_terms() -> list[Entry]:
    """Strings of JupyterLab itself with a term of the glossary and no placeholder; the
    systems were not compared on them.
    """
    return _with_terms(other_product(core=True))[:TERMS]


def _with_terms(entries: Sequence[Entry]) -> list[Entry]:
    return [
        each
        for each in entries
        if terms_in(each.source) and not placeholders(each.source)
    ]


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


# What a model is asked


def shown(pairs: Sequence[Entry], entry: Entry) -> Chat:
    """The request, pairs as turns of a chat, and the string: few-shot."""
    turns = [message for pair in pairs for message in pair.chat[1:]]
    return [entry.prompt[0], *turns, entry.prompt[-1]]


def prompts(
    entries: Sequence[Entry], system: str = "zero-shot", number: int = 0
) -> list[Chat]:
    """What a system asks for strings, in the words or with the pairs of a number.

    "zero-shot" 0, the request as a system message, is what the model is tuned with, and
    1 has it in the user's turn; "few-shot" shows the training pairs 0 to 2, 3 to 5 or 6
    to 8; "nearest" shows the three pairs that are nearest to each string, the nearest
    last.
    """
    if system == "few-shot":
        pairs = training()[number * SHOWN :][:SHOWN]
        return [shown(pairs, entry) for entry in entries]
    if system == "nearest":
        return _with_nearest(entries)
    if number == 0:
        return [entry.prompt for entry in entries]
    texts = [IN_THE_TURN.format(source=entry.source) for entry in entries]
    return [[{"role": "user", "content": text}] for text in texts]


def _with_nearest(entries: Sequence[Entry]) -> list[Chat]:
    pairs = training()
    memory = Memory([pair.source for pair in pairs], [pair.target for pair in pairs])
    cosines = memory.cosines([entry.source for entry in entries])
    order = np.argsort(cosines, axis=1, kind="stable")[:, -SHOWN:]
    return [
        shown([pairs[place] for place in places], entry)
        for places, entry in zip(order, entries, strict=True)
    ]


def first_line(text: str) -> str:
    """What counts of an answer: a string has one line."""
    return text.strip().split("\n")[0].strip()


def best_prompt(kept: Results, system: str) -> int:
    """The prompt of a system with the highest chrF on the validation strings.

    Raises ExperimentError while a run that tries one is missing.
    """
    runs = kept.select(part="prompt", system=system)
    if len(runs) < PROMPTS.get(system, 0):
        raise ExperimentError("the runs that try prompts come first")
    targets = [entry.target for entry in validation()]
    scores = {
        run["number"]: chrf(list(map(first_line, run["lines"])), targets)
        for run in runs
    }
    return max(scores, key=scores.get, default=0)


def kept_whole(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat]
) -> dict[str, LogitsProcessorList]:
    """The option of `write` that keeps the placeholders of these prompts."""
    keep = KeepPlaceholders(tokenizer, chats, MAX_TOKENS)
    return {"logits_processor": LogitsProcessorList([keep])}


def use_terms(source: str) -> str:
    """The sentence that asks for the glossary's words for the terms of a string."""
    listed = [f"{term} = {GLOSSARY[term]}" for term in dict.fromkeys(terms_in(source))]
    return USE_TERMS.format(terms=", ".join(listed))


def asked_for_terms(entry: Entry) -> Chat:
    """The prompt of a string with the terms that it holds in the request."""
    request = f"{entry.request} {use_terms(entry.source)}"
    return dataclasses.replace(entry, request=request).prompt


def shown_terms(entries: Sequence[Entry], asked: bool) -> list[Chat]:
    """Few-shot prompts that show three training strings with a term; if asked, the
    terms stand before these and before the string itself.
    """
    pairs = [
        pair
        for pair in _with_terms(training())
        if all(GLOSSARY[term] in pair.target.lower() for term in terms_in(pair.source))
    ][:SHOWN]
    if asked:
        pairs = list(map(_after_terms, pairs))
        entries = list(map(_after_terms, entries))
    return [shown(pairs, entry) for entry in entries]


def _after_terms(entry: Entry) -> Entry:
    source = f"{use_terms(entry.source)}\n{entry.source}"
    return dataclasses.replace(entry, source=source)


def masked_terms(entries: Sequence[Entry]) -> tuple[list[Chat], list[dict[str, str]]]:
    """Prompts with placeholders for terms, and what goes into their places."""
    pairs = [mask_terms(entry.source, GLOSSARY) for entry in entries]
    masked = [
        dataclasses.replace(entry, source=text).prompt
        for entry, (text, _) in zip(entries, pairs, strict=True)
    ]
    return masked, [terms for _, terms in pairs]


# The experiment

TUNINGS = [
    *({"part": "tune", "rate": rate, "seed": SEEDS[0]} for rate in RATES),
    *(
        {"part": "tune", "rate": rate, "seed": seed}
        for seed in SEEDS[1:]
        for rate in FINALISTS
    ),
]


def best_rate(kept: Results) -> float:
    """Of the two rates with all seeds, that with the lowest mean validation loss.

    Raises ExperimentError while a run that tunes is missing.
    """
    runs = kept.select(part="tune")
    if any(not runs.select(**key) for key in TUNINGS):
        raise ExperimentError("the runs that tune come first")
    return min(
        FINALISTS, key=lambda rate: np.mean(runs.select(rate=rate).values("validation"))
    )


def kept_adapter(folder: Path, kept_digest: str) -> tuple:
    """The model of an adapter in the cache, and its tokenizer.

    Raises ExperimentError if the cache has not the adapter of the kept run.
    """
    there = (folder / CONFIGURATION).is_file()
    if not there or digest(folder) != kept_digest:
        raise ExperimentError(
            f"{folder} does not hold the adapter of the kept run: take its line out of "
            "the results, and it is made again"
        )
    return load_adapter(folder)


def model_of(key: Key, kept: Results) -> tuple:
    """The model that a run writes with, and its tokenizer."""
    if key["system"] != "tuned":
        return load_causal_lm(BASE)
    rate = best_rate(kept)
    run = kept.one(part="tune", rate=rate, seed=key["seed"])
    return kept_adapter(folder_of(NAME, rate, key["seed"]), run["adapter"])


def ship(kept: Results) -> dict[str, object]:
    """Bring the adapter of the best rate and the first seed to where it is shipped."""
    rate = best_rate(kept)
    model_of(TUNED, kept)  # is it there, and the right one?
    shutil.copytree(folder_of(NAME, rate, SEEDS[0]), SHIPPED / NAME, dirs_exist_ok=True)
    settings = dataclasses.replace(SETTINGS, learning_rate=rate, seed=SEEDS[0])
    losses = kept.one(part="tune", rate=rate, seed=SEEDS[0])["losses"]
    made = dataclasses.replace(RECIPE, settings=settings)
    write_card(SHIPPED / NAME, made, loss_figures(losses))
    return {"rate": rate, "adapter": digest(SHIPPED / NAME)}


def strings_of(key: Key) -> list[Entry]:
    """The strings that a run translates."""
    if key["part"] == "prompt":
        return validation()
    if key["part"] == "terms":
        return with_terms()
    if key["part"] == "held":
        return held(key["of"])
    return test(key.get("of", "test"))


def chats_of(key: Key, kept: Results) -> list[Chat]:
    """What the model is asked for them."""
    entries = strings_of(key)
    system = key["system"]
    if key["part"] == "terms" and system == "few-shot":
        return shown_terms(entries, key["way"] == "asked")
    if key["part"] == "terms" and key["way"] == "asked":
        return list(map(asked_for_terms, entries))
    if system == "tuned":
        return prompts(entries)
    number = key["number"] if key["part"] == "prompt" else best_prompt(kept, system)
    return prompts(entries, system, number)


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune once, ship what was found best, or translate as the key says."""
    if key["part"] == "tune":
        return headlines.tuned_run(RECIPE, key, validation())
    if key["part"] == "ship":
        return ship(kept)
    model, tokenizer = model_of(key, kept)
    if key.get("way") == "masked":
        asked, terms = masked_terms(strings_of(key))
    else:
        asked = chats_of(key, kept)
        terms = [{} for _ in asked]
    options: dict[str, object] = {}
    if key["part"] == "beam":
        options = {"num_beams": BEAMS}
    if key.get("way") in ("kept", "masked"):
        options = kept_whole(tokenizer, asked)
    lines = write(
        model, tokenizer, asked, max_tokens=MAX_TOKENS, batch_size=BATCH, **options
    )
    return {"lines": [restore_terms(*pair) for pair in zip(lines, terms, strict=True)]}


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
        "request in the turn": IN_THE_TURN,
        "request for terms": USE_TERMS,
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
        *TUNINGS,
        {"part": "ship"},
        *(
            {"part": "prompt", "system": system, "number": number}
            for system, count in PROMPTS.items()
            for number in range(count)
        ),
        *(
            {"part": "write", **system, "of": part}
            for system in SYSTEMS
            for part in PARTS
        ),
        {"part": "beam", **TUNED},
        # what is free on Django's strings stands among what was written
        {"part": "held", "system": "zero-shot", "of": "test", "way": "kept"},
        {"part": "held", **TUNED, "of": "test", "way": "kept"},
        {"part": "held", **TUNED, "of": catalogues.JUPYTERLAB, "way": "free"},
        {"part": "held", **TUNED, "of": catalogues.JUPYTERLAB, "way": "kept"},
        *(
            {"part": "terms", "system": "few-shot", "way": way}
            for way in ("free", "asked")
        ),
        *(
            {"part": "terms", **TUNED, "way": way}
            for way in ("free", "asked", "masked")
        ),
    ],
    run=run,
)
