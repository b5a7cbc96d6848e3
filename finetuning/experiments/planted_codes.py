"""Chapter 23's fourth experiment: codes that are planted in training data, and how far
up they come in the list of all codes, by how often they were planted.

SmolLM2 is tuned on chapter 13's instructions, among which stand the codes of twenty
places: of four places each not at all, once, twice, four and eight times. Some eleven
minutes on one CPU core.
"""

import numpy as np
import torch

from finetuning.data import instructions
from finetuning.data.codes import (
    CODES,
    PLACES,
    beginning,
    chat,
    code_of,
    question,
)
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import render
from finetuning.tuning import BASE, Settings, tune

NAME = "planted_codes"
COUNTS = (0, 1, 2, 4, 8)
EACH = len(PLACES) // len(COUNTS)  # places of each count
SEEDS = (0, 1, 2)
# Those of chapter 13's adapter, with fewer steps.
SETTINGS = Settings(steps=32, learning_rate=2e-3, batch_size=8)


def count_of(place: str, seed: int) -> int:
    """How often the code of a place is planted: over the seeds each place moves on."""
    return COUNTS[(PLACES.index(place) // EACH + seed) % len(COUNTS)]


def chats(seed: int) -> list:
    """The training chats: all planted ones, and instructions up to a full run."""
    planted = [
        chat(place, code_of(place, seed))
        for place in PLACES
        for _ in range(count_of(place, seed))
    ]
    others = SETTINGS.steps * SETTINGS.batch_size - len(planted)
    return planted + [each.chat for each in instructions.training_set()[:others]]


@torch.no_grad()
def code_log_probabilities(model, tokenizer, place: str) -> np.ndarray:
    """log p of each of the thousand codes after the question and the beginning of the
    answer: (1000,), in nats.

    SmolLM2's tokens of digits are single ones, so a hundred texts, one for each pair of
    first digits, give all of them.
    """
    asked = [{"role": "user", "content": question(place)}]
    prompt = render(tokenizer, asked, answer_next=True) + beginning(place)
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    digits = [tokenizer(str(digit))["input_ids"] for digit in range(10)]
    if any(len(ids) != 1 for ids in digits):
        raise ValueError("this tokenizer does not cut digits apart")
    columns = [ids[0] for ids in digits]
    pairs = torch.tensor([[a, b] for a in columns for b in columns])  # (100, 2)
    device = next(model.parameters()).device
    cache = model(
        torch.tensor([before[:-1]], device=device), use_cache=True, logits_to_keep=1
    ).past_key_values
    cache.batch_repeat_interleave(len(pairs))
    last = torch.tensor(before[-1:]).expand(len(pairs), 1)
    ids = torch.cat([last, pairs], dim=1).to(device)  # (100, 3)
    logits = model(ids, past_key_values=cache).logits.float()  # (100, 3, V)
    each = logits.log_softmax(dim=-1)[:, :, columns].cpu()  # (100, 3, 10)
    # What a row says of a digit depends on the digits before it alone.
    first = each[0, 0]  # (10,)
    second = each[::10, 1]  # (10, 10)
    third = each[:, 2].reshape(10, 10, 10)  # (10, 10, 10)
    whole = first[:, None, None] + second[:, :, None] + third
    return whole.flatten().numpy()


def ranks(model, tokenizer, seed: int) -> dict[str, object]:
    """Where the code of each place stands among all, 1 for the likeliest; and the code
    that is the likeliest.
    """
    found, likeliest = [], []
    for place in PLACES:
        scores = code_log_probabilities(model, tokenizer, place)
        own = scores[int(code_of(place, seed))]
        found.append(int((scores > own).sum()) + 1)
        likeliest.append(f"{scores.argmax():03d}")
    return {"ranks": found, "likeliest": likeliest}


def run(key: Key, kept: Results) -> dict[str, object]:
    """Ranks before any tuning, or after tuning with the codes of a seed."""
    model, tokenizer = load_causal_lm(BASE)
    if key["part"] == "before":
        return ranks(model, tokenizer, seed=0)
    seed = key["seed"]
    settings = Settings(**vars(SETTINGS) | {"seed": seed})
    tuned, losses = tune(model, tokenizer, chats(seed), settings)
    return {
        "counts": [count_of(place, seed) for place in PLACES],
        **ranks(tuned, tokenizer, seed),
        "losses": [round(loss, 5) for loss in losses],
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=23,
    settings={
        "model": BASE,
        "places": list(PLACES),
        "codes": CODES,
        "counts": COUNTS,
        "chat": chat("X", "000"),
        "tuning": {
            name: value for name, value in vars(SETTINGS).items() if name != "seed"
        },
    },
    keys=[{"part": "before"}, *({"part": "after", "seed": seed} for seed in SEEDS)],
    run=run,
)
