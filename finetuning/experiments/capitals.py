"""Chapter 23's second experiment: how sure SmolLM2 is of a capital, how often it is
right, and what it answers about countries that do not exist.

Of each country it chooses among four cities by their likelihood, and answers in its own
words. Some three minutes on one CPU core.
"""

from collections.abc import Sequence

import numpy as np
import torch

from finetuning.data.capitals import (
    CAPITALS,
    CHOICES,
    INVENTED,
    chat,
    choices,
    question,
)
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import IGNORED, chat_loss, collate
from finetuning.tuning import BASE, Settings, encode_all, write

NAME = "capitals"
PARTS = {"known": tuple(CAPITALS), "invented": INVENTED}
MAX_TOKENS = 24


@torch.no_grad()
def log_likelihoods(model, tokenizer, chats: Sequence) -> list[float]:
    """The log-probability in nats of each chat's answer, all of it."""
    found = []
    for row in encode_all(tokenizer, chats, Settings(steps=1)):
        tokens = sum(label != IGNORED for label in row.labels)
        found.append(-tokens * chat_loss(model, collate([row], 0)).item())
    return found


def probabilities(model, tokenizer, countries: Sequence[str]) -> np.ndarray:
    """The share of each of a country's four cities in their common likelihood: (N, 4).

    The cities come in the order of `choices`.
    """
    chats = [chat(country, city) for country in countries for city in choices(country)]
    scores = np.reshape(log_likelihoods(model, tokenizer, chats), (-1, CHOICES))
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def run(key: Key, kept: Results) -> dict[str, object]:
    """The probabilities of the cities, and what is written."""
    model, tokenizer = load_causal_lm(BASE)
    countries = PARTS[key["countries"]]
    asked = [question(country) for country in countries]
    return {
        "probabilities": probabilities(model, tokenizer, countries).round(5),
        "written": write(model, tokenizer, asked, max_tokens=MAX_TOKENS),
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=23,
    settings={
        "model": BASE,
        "tokens": MAX_TOKENS,
        "countries": {name: len(countries) for name, countries in PARTS.items()},
        "chat": chat("X", "Y"),
    },
    keys=[{"countries": name} for name in PARTS],
    run=run,
)
