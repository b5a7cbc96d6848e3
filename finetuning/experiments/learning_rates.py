"""Chapter 11's experiment: how far learning rates, and how far seeds, move a short
fine-tuning.

MiniLM with the standard head, 128 labelled leads of BBC News in 32 batches of four. A
run takes some ten seconds on one CPU core.
"""

import functools
import itertools

import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from finetuning.data import headline_and_lead, load_bbc_news
from finetuning.experiments.engine import Experiment, Key, Results
from finetuning.models import load_encoder, load_tokenizer
from finetuning.runtime import set_seed
from finetuning.scratch.fine_tuning import predict_logits, train_classifier

MODEL = "all-MiniLM-L6-v2"
RATES = (2e-5, 6e-5, 2e-4, 6e-4, 2e-3)
SEEDS = 3
TRAINING = range(0, 128)
VALIDATION = range(200, 300)  # the chapter's
BATCH = 4
MAX_LENGTH = 64


@functools.cache
def leads() -> Dataset:
    """Title and first paragraph of the articles as token ids, with labels."""
    articles = load_bbc_news(split=True)["train"].select(range(VALIDATION.stop))
    tokenizer = load_tokenizer(MODEL)
    texts = [". ".join(headline_and_lead(text)) for text in articles["text"]]
    ids = tokenizer(texts, truncation=True, max_length=MAX_LENGTH)["input_ids"]
    return Dataset.from_dict({"input_ids": ids, "labels": articles["label"]})


def run(key: Key, so_far: Results) -> dict[str, object]:
    """Fine-tune once; what the validation articles then say."""
    set_seed(key["seed"])
    model, tokenizer = load_encoder(MODEL, head="classification", num_labels=5)
    collate = DataCollatorWithPadding(tokenizer)
    batches = DataLoader(
        leads().select(TRAINING),
        batch_size=BATCH,
        shuffle=True,
        generator=torch.Generator().manual_seed(key["seed"]),
        collate_fn=collate,
    )
    losses = train_classifier(model, batches, 1, key["rate"])
    validation = leads().select(VALIDATION)
    scores = predict_logits(model, validation, collate)
    labels = torch.tensor(validation["labels"])
    answers = scores.argmax(dim=1)
    return {
        "accuracy": float((answers == labels).double().mean()),
        "validation loss": nn.functional.cross_entropy(scores, labels).item(),
        "different answers": len(answers.unique()),
        "losses": [round(loss, 4) for loss in losses],
    }


EXPERIMENT = Experiment(
    name="learning_rates",
    chapter=11,
    settings={
        "model": MODEL,
        "training": len(TRAINING),
        "batch": BATCH,
        "max_length": MAX_LENGTH,
    },
    keys=[
        {"rate": rate, "seed": seed}
        for seed, rate in itertools.product(range(SEEDS), RATES)
    ],
    run=run,
)
