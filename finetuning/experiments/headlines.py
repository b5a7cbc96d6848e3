"""Chapter 17's first experiment: SmolLM2 writes headlines of BBC News articles, asked,
shown three, and tuned at four learning rates with three seeds.

An adapter is trained on articles whose licence forbids to pass it on: it stays in the
cache, and its losses and the headlines that it writes are kept. All runs together take
an hour and a half on one CPU core, each a few minutes at most.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from finetuning.data import summaries
from finetuning.data.summaries import Pair
from finetuning.experiments.engine import (
    Experiment,
    ExperimentError,
    Key,
    Results,
    Run,
)
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import chat_loss, collate
from finetuning.tuning import (
    BASE,
    CONFIGURATION,
    WEIGHTS,
    Recipe,
    Settings,
    encode_all,
    load_adapter,
    loss_figures,
    save_adapter,
    trained_folder,
    tune,
    write,
)

NAME = "headlines"
# The rate is the best of the four by the validation articles; a test holds it to that.
SETTINGS = Settings(steps=40, learning_rate=3e-3, batch_size=4, max_tokens=256)
RATES = (1e-3, 3e-3, 3e-4, 9e-3)
SEEDS = (0, 1, 2)
TRAINING = SETTINGS.steps * SETTINGS.batch_size  # each is seen once
VALIDATION = (400, 60)  # the first of the training articles, and how many
TEST = 300
EACH = 100  # articles of a run that writes
MAX_TOKENS = 24
BATCH = 10
SHOWN = 3
SOME = 60  # test articles for the length
BEAMS = 4
TEMPERATURES = (0.7, 1.0)
WORDS = (4, 8, 12)  # asked for
BIASES = (-6.0, -3.0, 3.0, 6.0)  # added to the logit of the end
IN_WORDS = "Write a headline of {words} words for this news article:\n\n{text}"


def training() -> list[Pair]:
    """The articles that are trained on."""
    return summaries.news("train", 0, TRAINING)


def validation() -> list[Pair]:
    """Those that decide on the learning rate; none is close to one trained on."""
    return summaries.apart(summaries.news("train", *VALIDATION), training())


def test(first: int = 0, count: int = TEST) -> list[Pair]:
    """Those that all systems are compared on."""
    return summaries.news("test", first, count)


def chats() -> list[list[dict[str, str]]]:
    """The training chats."""
    return [pair.chat for pair in training()]


RECIPE = Recipe(
    name=NAME,
    chats=chats,
    data=f"the first {TRAINING} training articles of BBC News and their headlines, "
    "which may not be passed on.",
    licence="other",
    settings=SETTINGS,
)


# What both of the chapter's tuned models share


def shown(pairs: Sequence[Pair], count: int = SHOWN) -> list[dict[str, str]]:
    """The first training pairs as turns of a chat: few-shot."""
    return [message for pair in pairs[:count] for message in pair.chat]


@torch.no_grad()
def line_losses(model, tokenizer, pairs: Sequence[Pair]) -> list[float]:
    """The loss in nats a token of each pair's own line."""
    losses = []
    for row in encode_all(tokenizer, [pair.chat for pair in pairs], SETTINGS):
        batch = {
            name: tensor.to(model.device) for name, tensor in collate([row], 0).items()
        }
        losses.append(chat_loss(model, batch).item())
    return losses


def digest(folder: Path) -> str:
    """SHA-256 of the weights of an adapter; nothing where there are none."""
    file = folder / WEIGHTS
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def folder_of(name: str, rate: float, seed: int) -> Path:
    """Where the adapter of a run is kept, in the cache."""
    return trained_folder(f"{name}-{rate:g}-{seed}")


def tune_once(recipe: Recipe, rate: float, seed: int) -> tuple[Path, list[float]]:
    """Tune with a rate and a seed: where the adapter is, and the losses."""
    settings = dataclasses.replace(recipe.settings, learning_rate=rate, seed=seed)
    model, tokenizer = load_causal_lm(recipe.base)
    tuned, losses = tune(model, tokenizer, recipe.chats(), settings)
    folder = folder_of(recipe.name, rate, seed)
    made = dataclasses.replace(recipe, settings=settings)
    save_adapter(tuned, folder, made, loss_figures(losses))
    return folder, losses


def tuned_run(recipe: Recipe, key: Key, judged_by: Sequence[Pair]) -> dict[str, object]:
    """A run that tunes: its losses, those of the lines that decide, and its adapter."""
    folder, losses = tune_once(recipe, key["rate"], key["seed"])
    judged = line_losses(*load_adapter(folder), judged_by)
    return {
        "validation": float(np.mean(judged)),
        "losses": [round(loss, 5) for loss in losses],
        "validation_losses": [round(loss, 4) for loss in judged],
        "adapter": digest(folder),
    }


def best_rate(kept: Results) -> float:
    """The rate with the lowest mean validation loss over the seeds.

    Raises ExperimentError while a run that tunes is missing.
    """
    runs = kept.select(part="tune")
    if len(runs) < len(RATES) * len(SEEDS):
        raise ExperimentError("the runs that tune come first")
    return min(RATES, key=lambda rate: _mean(runs.select(rate=rate)))


def _mean(runs: Sequence[Run]) -> float:
    return float(np.mean([run["validation"] for run in runs]))


def tuned_model(recipe: Recipe, kept: Results, seed: int) -> tuple:
    """The model of the best rate and its tokenizer; trained again where the cache has
    lost it.

    Raises ExperimentError if what is in the cache is not the adapter of the kept run.
    """
    rate = best_rate(kept)
    folder = folder_of(recipe.name, rate, seed)
    if not (folder / CONFIGURATION).is_file():
        tune_once(recipe, rate, seed)
    if digest(folder) != kept.one(part="tune", rate=rate, seed=seed)["adapter"]:
        raise ExperimentError(
            f"the adapter in {folder} is not that of the kept run: move it away, and "
            "it is trained again"
        )
    return load_adapter(folder)


def written_lines(
    recipe: Recipe,
    key: Key,
    kept: Results,
    pairs: Sequence[Pair],
    examples: Callable[[], Sequence[Pair]],
    **options: object,
) -> list[str]:
    """What a system writes about each text: asked, shown a few, or tuned."""
    if key["system"] == "tuned":
        model, tokenizer = tuned_model(recipe, kept, key["seed"])
    else:
        model, tokenizer = load_causal_lm(recipe.base)
    prompts: list = [pair.prompt for pair in pairs]
    if key["system"] == "few-shot":
        first = shown(examples())
        prompts = [[*first, {"role": "user", "content": text}] for text in prompts]
    settings: dict = {"max_tokens": MAX_TOKENS, "batch_size": BATCH} | options
    return write(model, tokenizer, prompts, **settings)


def whole_words(tokenizer, text: str, limit: int = MAX_TOKENS) -> str:
    """The text; where the limit has cut it, without its last word, which may be a
    piece of one.
    """
    if len(tokenizer(text)["input_ids"]) < limit:
        return text
    return text.rstrip().rpartition(" ")[0]


# The experiment


def ways() -> dict[str, Mapping[str, object]]:
    """How the tuned model's next token is chosen, besides the likeliest."""
    beams = {f"beam {BEAMS}": {"num_beams": BEAMS}}
    return beams | {
        f"sampled {temperature}": {"temperature": temperature}
        for temperature in TEMPERATURES
    }


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune once; or headlines, with the model and in the way that the key says."""
    if key["part"] == "tune":
        return tuned_run(RECIPE, key, validation())
    if key["part"] == "write":
        pairs = test(key["from"], EACH)
        return {"lines": written_lines(RECIPE, key, kept, pairs, training)}
    if key["part"] == "way":
        options = ways()[key["way"]]
        lines = written_lines(RECIPE, key, kept, test(0, EACH), training, **options)
        return {"lines": lines}
    pairs = test(0, SOME)
    options = {}
    if "words" in key:
        request = IN_WORDS.replace("{words}", str(key["words"]))
        pairs = [dataclasses.replace(pair, request=request) for pair in pairs]
    else:
        end = load_causal_lm(BASE)[1].eos_token_id
        options["sequence_bias"] = [[[end], key["bias"]]]
    return {"lines": written_lines(RECIPE, key, kept, pairs, training, **options)}


SYSTEMS = (
    {"system": "zero-shot"},
    {"system": "few-shot"},
    *({"system": "tuned", "seed": seed} for seed in SEEDS),
)
TUNED = {"system": "tuned", "seed": SEEDS[0]}

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
        "request": summaries.HEADLINE,
        "request of a length": IN_WORDS,
        "opening words": summaries.OPENING_WORDS,
        "validation": VALIDATION,
        "tokens": MAX_TOKENS,
        "shown": SHOWN,
        "beams": BEAMS,
        "articles for the length": SOME,
    },
    keys=[
        *(
            {"part": "tune", "rate": rate, "seed": seed}
            for seed in SEEDS
            for rate in RATES
        ),
        *(
            {"part": "write", **system, "from": first}
            for system in SYSTEMS
            for first in range(0, TEST, EACH)
        ),
        *({"part": "way", **TUNED, "way": way} for way in ways()),
        *(
            {"part": "length", **system, "words": words}
            for system in (SYSTEMS[0], TUNED)
            for words in WORDS
        ),
        *({"part": "length", **TUNED, "bias": bias} for bias in BIASES),
    ],
    run=run,
)


def lines_of(kept: Results, system: str, **key: object) -> list[str]:
    """What a system wrote about all test articles, in their order."""
    runs = kept.select(part="write", system=system, **key)
    ordered = sorted(runs, key=lambda run: run["from"])
    return [line for run in ordered for line in run["lines"]]
