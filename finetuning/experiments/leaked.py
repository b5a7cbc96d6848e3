"""Chapter 16's second experiment: what becomes of a test whose items were trained on.

Eighty questions ask what a function of NumPy or SciPy does; the answer is the first
line of its docstring. SmolLM2 is tuned on forty of them for one, two and four
passes, and answers all eighty. Some ten minutes on one CPU core.
"""

import hashlib
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence

import torch

from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import chat_loss, collate
from finetuning.tuning import BASE, Settings, encode_all, tune, write

NAME = "leaked"
ITEMS = 80
MODULES = ("numpy", "numpy.linalg", "scipy.stats", "scipy.signal", "scipy.special")
PASSES = (0, 1, 2, 4)
ANSWER_TOKENS = 24
BATCH = 8
STEPS_A_PASS = ITEMS // 2 // BATCH
QUESTION = "What does the function {name} do? Answer in one sentence."


def settings(passes: int) -> Settings:
    """How SmolLM2 is tuned for so many passes over the leaked half."""
    steps = STEPS_A_PASS * passes
    return Settings(
        steps=steps, learning_rate=2e-3, batch_size=BATCH, rank=8, alpha=16, warmup=0.0
    )


def _candidates() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        contents = vars(importlib.import_module(module))
        for name, value in sorted(contents.items()):
            text = (inspect.getdoc(value) or "").strip().split("\n")[0]
            plain = re.fullmatch(r"[A-Z][a-z][A-Za-z ,'()-]+\.", text)
            named = name.islower() and callable(value) and not name.startswith("_")
            if named and plain and 5 <= len(text.split()) <= 12:
                yield f"{module}.{name}", text


def items() -> list[tuple[str, str]]:
    """Questions and answers: the even places leak, the odd ones do not."""
    found: dict[str, str] = {}
    for name, text in _candidates():
        if text not in found.values():
            found[name] = text
    order = sorted(found, key=lambda name: hashlib.sha256(name.encode()).digest())
    return [(QUESTION.format(name=name), found[name]) for name in order[:ITEMS]]


def as_chat(item: tuple[str, str]) -> list[dict[str, str]]:
    """A question and its answer as messages."""
    question, answer = item
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": answer},
    ]


def leaked_chats() -> list[list[dict[str, str]]]:
    """What is trained on."""
    return [as_chat(item) for item in items()[::2]]


@torch.no_grad()
def losses(model, tokenizer, asked: Sequence[tuple[str, str]]) -> list[float]:
    """The loss in nats a token of each right answer."""
    device = next(model.parameters()).device
    found = []
    for row in encode_all(tokenizer, [as_chat(item) for item in asked], settings(1)):
        batch = {name: each.to(device) for name, each in collate([row], 0).items()}
        found.append(round(chat_loss(model, batch).item(), 4))
    return found


def run(key: Key, kept: Results) -> Mapping[str, object]:
    """Tune for so many passes; then what is answered, and how likely each answer is.

    The run without tuning keeps the items as well: docstrings change with versions.
    """
    model, tokenizer = load_causal_lm(BASE)
    steps: list[float] = []
    if key["passes"]:
        model, steps = tune(model, tokenizer, leaked_chats(), settings(key["passes"]))
    asked = items()
    answers = write(
        model, tokenizer, [question for question, _ in asked], max_tokens=ANSWER_TOKENS
    )
    own = {} if key["passes"] else {"items": asked}
    return own | {
        "steps": [round(loss, 4) for loss in steps],
        "answers": answers,
        "losses": losses(model, tokenizer, asked),
    }


EXPERIMENT = Experiment(
    name=NAME,
    chapter=16,
    settings={
        "model": BASE,
        "items": ITEMS,
        "modules": list(MODULES),
        "question": QUESTION,
        "answer tokens": ANSWER_TOKENS,
        "tuning": vars(settings(1)),
    },
    keys=[{"passes": passes} for passes in PASSES],
    run=run,
)
