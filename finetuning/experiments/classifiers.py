"""Chapter 11's comparison: what the same 200 labels are worth to counted words, to a
frozen encoder, and to one that is fine-tuned.

Every method tries four settings, and for each its epochs, where it has any, are chosen
on 100 validation articles. Three seeds have each their own 300 articles. All runs
together take about fifteen minutes on one CPU core.
"""

import copy
import functools

import numpy as np
import torch
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding

from finetuning import resources
from finetuning.classification import embed
from finetuning.data import headline_and_lead, load_bbc_news
from finetuning.experiments.engine import Experiment, Key, Results, Run, to_bits
from finetuning.models import load_encoder, load_tokenizer
from finetuning.runtime import set_seed
from finetuning.scratch.fine_tuning import (
    MeanPooledBert,
    predict_logits,
    train_classifier,
)

MODEL = "all-MiniLM-L6-v2"
TRAINING = 200
VALIDATION = 100
SEEDS = 3
BATCH = 16
MAX_LENGTH = 64
EPOCHS = 6  # at most
PATIENCE = 2  # epochs without a lower validation loss, and training stops
# Inverse regularisation, or peak learning rate: four of each method.
SETTINGS = {
    "counted words": (100, 1000, 10000, 100000),
    "frozen": (10, 30, 100, 1000),
    "all layers": (5e-5, 1e-4, 2e-4, 4e-4),
}
LAST_TWO = 4  # layers below this one stay as they are


@functools.cache
def articles() -> dict[str, Dataset]:
    """Title and first paragraph of the articles, as text and as token ids."""
    tokenizer = load_tokenizer(MODEL)

    def lead(article: dict[str, str]) -> dict[str, object]:
        text = ". ".join(headline_and_lead(article["text"]))
        ids = tokenizer(text, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        return {"lead": text, "input_ids": ids}

    parts = load_bbc_news(split=True)
    labelled = SEEDS * (TRAINING + VALIDATION)
    parts["train"] = parts["train"].select(range(labelled))
    return {name: part.map(lead) for name, part in parts.items()}


def parts_of(seed: int) -> dict[str, Dataset]:
    """Training and validation articles of a seed, which no other seed has, and the test
    articles, which all have. Seed 0 has those of chapter 11.
    """
    start = seed * (TRAINING + VALIDATION)
    middle = start + TRAINING
    train = articles()["train"]
    return {
        "train": train.select(range(start, middle)),
        "validation": train.select(range(middle, middle + VALIDATION)),
        "test": articles()["test"],
    }


def regression(setting: float) -> LogisticRegression:
    return LogisticRegression(C=setting, max_iter=5000)


def by_counting(setting: float, seed: int) -> dict[str, torch.Tensor]:
    """TF-IDF and logistic regression: log p of the validation and test articles."""
    parts = parts_of(seed)
    classifier = make_pipeline(TfidfVectorizer(sublinear_tf=True), regression(setting))
    classifier.fit(list(parts["train"]["lead"]), parts["train"]["label"])
    return {
        name: torch.tensor(classifier.predict_log_proba(list(parts[name]["lead"])))
        for name in ("validation", "test")
    }


@functools.cache
def features() -> dict[str, np.ndarray]:
    """Means of token vectors, of length 1: of all labelled articles, and of the test
    articles, (N, C).
    """
    encoder, tokenizer = load_encoder(MODEL)
    return {
        name: embed(encoder, tokenizer, list(part["lead"]), MAX_LENGTH)
        for name, part in articles().items()
    }


def by_features(setting: float, seed: int) -> dict[str, torch.Tensor]:
    """Logistic regression on the frozen encoder's means: as `by_counting`."""
    start = seed * (TRAINING + VALIDATION)
    middle = start + TRAINING
    vectors = features()["train"]
    labels = articles()["train"]["label"]
    classifier = regression(setting)
    classifier.fit(vectors[start:middle], labels[start:middle])
    parts = {
        "validation": vectors[middle : middle + VALIDATION],
        "test": features()["test"],
    }
    return {
        name: torch.tensor(classifier.predict_log_proba(part))
        for name, part in parts.items()
    }


def fresh(method: str, seed: int) -> nn.Module:
    """The pretrained encoder with a new head on the mean; perhaps the lower layers are
    frozen.
    """
    set_seed(seed)
    model = MeanPooledBert.from_pretrained(resources.fetch(MODEL), num_labels=5)
    if method == "last two layers":
        model.bert.embeddings.requires_grad_(False)
        model.bert.encoder.layer[:LAST_TWO].requires_grad_(False)
    return model


def by_fine_tuning(
    method: str, setting: float, seed: int
) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """Log p of the validation and test articles after the epoch with the lowest
    validation loss; and accuracy and loss on the validation articles by epoch.
    """
    parts = parts_of(seed)
    collate = DataCollatorWithPadding(load_tokenizer(MODEL))
    train = parts["train"].select_columns(["input_ids", "label"])
    train = train.rename_column("label", "labels")
    batches = DataLoader(
        train,
        batch_size=BATCH,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=collate,
    )
    rows = {
        name: parts[name].select_columns(["input_ids"])
        for name in ("validation", "test")
    }
    labels = parts["validation"]["label"]
    history = []
    best = {}

    def after_epoch(model: nn.Module) -> bool:
        scores = predict_logits(model, rows["validation"], collate)
        history.append(judged(scores.log_softmax(dim=1), labels))
        losses = [epoch["loss"] for epoch in history]
        if losses[-1] == min(losses):
            best["state"] = copy.deepcopy(model.state_dict())
        return len(losses) - 1 - int(np.argmin(losses)) >= PATIENCE

    model = fresh(method, seed)
    set_seed(seed)
    train_classifier(model, batches, EPOCHS, setting, after_epoch=after_epoch)
    model.load_state_dict(best["state"])
    scores = {
        name: predict_logits(model, part, collate).log_softmax(dim=1)
        for name, part in rows.items()
    }
    return scores, history


def judged(log_p: torch.Tensor, labels: list[int]) -> dict[str, float]:
    """Accuracy and loss of log p (N, K)."""
    targets = torch.tensor(labels)
    right = (log_p.argmax(dim=1) == targets).double().mean()
    return {
        "accuracy": round(float(right), 4),
        "loss": round(float(nn.functional.nll_loss(log_p, targets)), 4),
    }


def run(key: Key, so_far: Results) -> dict[str, object]:
    """Train with one setting: what the validation articles say of it, which test
    articles are right, and how sure it is of each, in hundredths.
    """
    method = key["method"]
    history = []
    if method == "counted words":
        log_p = by_counting(key["setting"], key["seed"])
    elif method == "frozen":
        log_p = by_features(key["setting"], key["seed"])
    else:
        log_p, history = by_fine_tuning(method, key["setting"], key["seed"])
    parts = parts_of(key["seed"])
    test_labels = np.array(parts["test"]["label"])
    sure = log_p["test"].exp().max(dim=1).values
    return {
        "validation": judged(log_p["validation"], parts["validation"]["label"]),
        "epochs": history,
        "test": judged(log_p["test"], parts["test"]["label"]),
        "right": to_bits(log_p["test"].argmax(dim=1).numpy() == test_labels),
        "sure": [round(100 * each) for each in sure.tolist()],
    }


def chosen(kept: Results, method: str, seed: int) -> Run:
    """Of a method's runs with a seed the one with the lowest validation loss.

    Raises ValueError if there is none.
    """
    runs = kept.select(method=method, seed=seed)
    return min(runs, key=lambda run: run["validation"]["loss"])


EXPERIMENT = Experiment(
    name="classifiers",
    chapter=11,
    settings={
        "model": MODEL,
        "training": TRAINING,
        "validation": VALIDATION,
        "batch": BATCH,
        "max_length": MAX_LENGTH,
        "epochs": EPOCHS,
        "patience": PATIENCE,
    },
    keys=[
        {"method": method, "setting": setting, "seed": seed}
        for method in SETTINGS
        for seed in range(SEEDS)
        for setting in SETTINGS[method]
    ],
    run=run,
)
