"""Chapter 02's second experiment: what six passes over fifty labelled articles do to a
pretrained network, and to the same network with random weights.

The chapter makes the first run itself. Each run keeps its losses and which test
articles were right, and how far its weights went; a run on as many articles of each
topic also keeps how far it ended from the one on a plain draw. A run takes about half a
minute on one CPU core.
"""

import functools
from collections.abc import Callable

import numpy as np
import torch

from finetuning.classification import MeanPooledClassifier, fine_tune, predict
from finetuning.experiments.engine import Experiment, Key, Results, to_bits
from finetuning.experiments.label_efficiency import draw, draw_evenly, load_articles
from finetuning.models import load_encoder
from finetuning.runtime import pick_device, set_seed
from finetuning.scratch.weight_distances import (
    KINDS,
    LAYER,
    cosine,
    distance,
    step_size,
)

LABELS = 50
EPOCHS = 6
LEARNING_RATES = {"pretrained": 1e-4, "random": 3e-4}
LAYERS = 6
MODEL = "all-MiniLM-L6-v2"
# Draws with as many articles of each topic, and the plain draw that each is compared
# with: no article is in both.
PAIRS = {1: 0, 0: 1, 2: 3}

Weights = dict[str, torch.Tensor]


def weights(model: torch.nn.Module) -> Weights:
    """A model's weights by name, on the CPU."""
    return {name: weight.detach().cpu() for name, weight in model.named_parameters()}


@functools.cache
def start() -> Weights:
    """The pretrained encoder's weights."""
    return weights(load_encoder(MODEL)[0])


def labelled(draws: str, seed: int) -> np.ndarray:
    """Rows of the fifty articles that get a label."""
    articles = load_articles()
    if draws == "even":
        return draw_evenly(articles.train_topics, LABELS, seed)
    return draw(len(articles.train_texts), LABELS, seed)


@functools.cache
def trained(
    weights_from: str, draws: str, seed: int
) -> tuple[MeanPooledClassifier, list[float]]:
    """A model after its training, and the loss of each step."""
    articles = load_articles()
    rows = labelled(draws, seed)
    set_seed(seed)
    encoder, tokenizer = load_encoder(MODEL, pretrained=weights_from == "pretrained")
    model = MeanPooledClassifier(encoder, classes=len(articles.names))
    model.to(pick_device())
    losses = fine_tune(
        model,
        tokenizer,
        [articles.train_texts[row] for row in rows],
        articles.train_topics[rows],
        epochs=EPOCHS,
        learning_rate=LEARNING_RATES[weights_from],
        seed=seed,
    )
    return model, losses


def by_layer(measure: Callable, pattern: str, *models: Weights) -> list[float]:
    """A measure of one or two models' weights against the start, layer by layer."""
    return [
        round(measure(*models, start(), pattern.format(layer)), 5)
        for layer in range(LAYERS)
    ]


def by_kind(measure: Callable, *models: Weights) -> dict[str, list[float]]:
    """The same for the kinds of weights in a layer."""
    return {
        kind: by_layer(measure, pattern, *models) for kind, pattern in KINDS.items()
    }


def run(key: Key, kept: Results) -> dict[str, object]:
    """Train once: the losses, what is right of the fifty and of the test articles, and
    what became of the weights.
    """
    articles = load_articles()
    model, losses = trained(key["weights"], key["draws"], key["seed"])
    _, tokenizer = load_encoder(MODEL)
    rows = labelled(key["draws"], key["seed"])
    texts = [articles.train_texts[row] for row in rows]
    fitted = predict(model, tokenizer, texts) == articles.train_topics[rows]
    right = predict(model, tokenizer, articles.test_texts) == articles.test_topics
    result = {
        "accuracy": float(np.mean(right)),
        "fitted": float(np.mean(fitted)),
        "losses": [round(loss, 4) for loss in losses],
        "right": to_bits(right),
    }
    if key["weights"] == "pretrained":
        end = weights(model.encoder)
        result["from the start"] = by_kind(distance, end, start())
        result["steps"] = by_layer(step_size, LAYER, end)
    if key["draws"] == "even":
        other, _ = trained("pretrained", "plain", PAIRS[key["seed"]])
        ends = (end, weights(other.encoder))
        result["other"] = PAIRS[key["seed"]]
        result["apart"] = by_kind(distance, *ends)
        result["cosines"] = by_layer(cosine, LAYER, *ends)
    return result


EXPERIMENT = Experiment(
    name="fifty_labels",
    chapter=2,
    settings={
        "model": MODEL,
        "labels": LABELS,
        "epochs": EPOCHS,
        "learning rates": LEARNING_RATES,
        "pairs": {str(even): plain for even, plain in PAIRS.items()},
    },
    keys=[
        *(
            {"weights": "pretrained", "draws": "plain", "seed": seed}
            for seed in PAIRS.values()
        ),
        *({"weights": "pretrained", "draws": "even", "seed": seed} for seed in PAIRS),
        *({"weights": "random", "draws": "plain", "seed": seed} for seed in range(5)),
    ],
    run=run,
)
