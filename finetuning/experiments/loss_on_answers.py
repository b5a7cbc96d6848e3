"""Chapter 13's first experiment: is the loss to count the answers alone, or everything?

Three seeds and four learning rates, each with both: the same chats in the same order,
the same steps, so the same tokens are seen. What counts is the loss of the right
answers to instructions that neither has seen, and how many of some are obeyed. A run
takes a minute or two on one CPU core.
"""

import dataclasses

import torch

from finetuning.data import instructions
from finetuning.experiments.engine import Experiment, Key, Results, to_bits
from finetuning.models import load_causal_lm
from finetuning.scratch.instruction import chat_loss, collate, encode_chat
from finetuning.tuning import BASE, Settings, tune, write

SETTINGS = Settings(steps=10, batch_size=6)
TRAIN_ON = ("answers", "everything")
# First that of the adapter that the book ships.
RATES = (2e-3, 5e-4, 8e-3, 3.2e-2)
SEEDS = (0, 1, 2)
EACH = 6  # test instructions of each familiar kind
ANSWERED = 24  # of them, the first
MAX_TOKENS = 32


@torch.no_grad()
def answer_losses(model, tokenizer, asked) -> list[float]:
    """The mean loss in nats of each right answer's tokens, one chat at a time."""
    losses = []
    for each in asked:
        batch = collate([encode_chat(tokenizer, each.chat)], pad_id=0)
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        losses.append(chat_loss(model, batch).item())
    return losses


def run(key: Key, kept: Results) -> dict[str, object]:
    """Tune once; the losses of training and of test answers, and what is obeyed."""
    settings = dataclasses.replace(SETTINGS, **key)
    model, tokenizer = load_causal_lm(BASE)
    chats = [each.chat for each in instructions.training_set()]
    tuned, losses = tune(model, tokenizer, chats, settings)
    asked = instructions.familiar_set(EACH)
    tests = answer_losses(tuned, tokenizer, asked)
    asked = asked[:ANSWERED]
    prompts = [each.prompt for each in asked]
    written = write(
        tuned, tokenizer, prompts, max_tokens=MAX_TOKENS, batch_size=ANSWERED
    )
    obeyed = [each.obeyed_by(text) for each, text in zip(asked, written, strict=True)]
    return {
        "answer_loss": sum(tests) / len(tests),
        "share": sum(obeyed) / len(obeyed),
        "losses": [round(loss, 5) for loss in losses],
        "answer_losses": [round(loss, 4) for loss in tests],
        "obeyed": to_bits(obeyed),
    }


EXPERIMENT = Experiment(
    name="loss_on_answers",
    chapter=13,
    settings={
        "model": BASE,
        "tuning": {
            name: value
            for name, value in vars(SETTINGS).items()
            if name not in ("train_on", "seed", "learning_rate")
        },
        "each kind": EACH,
        "answered": ANSWERED,
        "answer tokens": MAX_TOKENS,
    },
    keys=[
        {"learning_rate": rate, "seed": seed, "train_on": train_on}
        for rate in RATES
        for seed in SEEDS
        for train_on in TRAIN_ON
    ],
    run=run,
)
