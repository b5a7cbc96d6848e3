"""Chapter 23's first experiment: fifteen answers of SmolLM2's to each of two hundred
sums.

In one way the answers are drawn, after the same three worked sums; in the other each is
the likeliest one, after three worked sums of its own. Some eight minutes on one CPU
core.
"""

import hashlib
import re
import warnings
from collections.abc import Sequence

import torch

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm

NAME = "majority_voting"
MODEL = "SmolLM2-135M-Instruct"
NUMBERS = range(
    10, 30
)  # what is added: two digits, so that all prompts are equally long
QUESTIONS = 200
SHOWN = 3
VOTERS = 15
EACH = 5  # voters of a run
WAYS = ("drawn", "other examples")
TEMPERATURE = 0.7
MAX_TOKENS = 4
BATCH = 50

Sum = tuple[int, int]


def sums() -> list[Sum]:
    """All pairs of numbers, in an order that is the same on every machine."""
    pairs = [(a, b) for a in NUMBERS for b in NUMBERS]
    return sorted(pairs, key=lambda pair: hashlib.sha256(str(pair).encode()).digest())


def questions() -> list[Sum]:
    """The sums that are asked."""
    return sums()[:QUESTIONS]


def examples(voter: int) -> list[Sum]:
    """The worked sums of a voter: none of them is asked, no two voters share one."""
    start = QUESTIONS + SHOWN * voter
    return sums()[start : start + SHOWN]


def prompt_parts(shown: Sequence[Sum], asked: Sum) -> tuple[str, str]:
    """What stands before the question, and the question."""
    worked = "".join(f"Question: {a} + {b}\nAnswer: {a + b}\n\n" for a, b in shown)
    return f"{worked}Question:", f" {asked[0]} + {asked[1]}\nAnswer:"


@torch.no_grad()
def answers(
    model,
    tokenizer,
    shown: Sequence[Sum],
    asked: Sequence[Sum],
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """The first number that the model writes for each sum, or "": the likeliest one or,
    with a temperature, one that is drawn by the seed.

    The worked sums are read once: their keys and values serve all questions.
    """
    device = next(model.parameters()).device
    texts = [prompt_parts(shown, pair) for pair in asked]
    prompts = [
        tokenizer(before + query, add_special_tokens=False)["input_ids"]
        for before, query in texts
    ]
    shared = tokenizer(texts[0][0], add_special_tokens=False)["input_ids"]
    options = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "temperature": temperature, "top_k": 0}
        torch.manual_seed(seed)
    found = []
    for start in range(0, len(prompts), BATCH):
        ids = torch.tensor(prompts[start : start + BATCH], device=device)  # (B, T)
        cache = model(ids[:1, : len(shared)], use_cache=True).past_key_values
        cache.batch_repeat_interleave(len(ids))
        with warnings.catch_warnings():
            # of settings for sampling that the model brings along
            warnings.simplefilter("ignore", UserWarning)
            written = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                past_key_values=cache,
                max_new_tokens=MAX_TOKENS,
                pad_token_id=tokenizer.pad_token_id,
                **options,
            )
        found += tokenizer.batch_decode(written[:, ids.size(1) :])
    numbers = [re.search(r"\d+", text) for text in found]
    return [number.group() if number else "" for number in numbers]


def run(key: Key, kept: Results) -> dict[str, object]:
    """The answers of five voters."""
    model, tokenizer = load_causal_lm(MODEL)
    found = []
    for voter in range(key["from"], key["from"] + EACH):
        if key["way"] == "drawn":
            settings = (examples(0), questions(), TEMPERATURE, voter)
        else:
            settings = (examples(voter), questions())
        found.append(answers(model, tokenizer, *settings))
    return {"answers": found}


EXPERIMENT = Experiment(
    name=NAME,
    chapter=23,
    settings={
        "model": MODEL,
        "numbers": [NUMBERS.start, NUMBERS.stop - 1],
        "questions": QUESTIONS,
        "shown": SHOWN,
        "temperature": TEMPERATURE,
        "tokens": MAX_TOKENS,
        "prompt": "".join(prompt_parts([(1, 2)], (3, 4))),
    },
    keys=[
        {"way": way, "from": first} for way in WAYS for first in range(0, VOTERS, EACH)
    ],
    run=run,
)


def ballots(kept: Results, way: str) -> list[list[str]]:
    """What each voter answered: (VOTERS, QUESTIONS)."""
    runs = sorted(kept.select(way=way), key=lambda run: run["from"])
    return [ballot for run in runs for ballot in run["answers"]]
