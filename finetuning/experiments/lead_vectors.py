"""Chapter 11's vectors of the articles that it neither trains on nor decides with.

What the frozen encoder makes of their headlines and leads, for the search for doubtful
labels. One run, of half a minute on one CPU core; the chapter makes the first of them
again. Kept in half precision.
"""

import torch

from finetuning.classification import embed
from finetuning.data import headline_and_lead, load_bbc_news
from finetuning.experiments.classifiers import MAX_LENGTH, MODEL, TRAINING, VALIDATION
from finetuning.experiments.engine import Experiment, Key, Results, Weights
from finetuning.models import load_encoder

FIRST = TRAINING + VALIDATION  # the chapter has the vectors of those before it


def leads(most: int | None = None) -> list[str]:
    """Title and first paragraph of the training articles from `FIRST` on."""
    texts = list(load_bbc_news(split=True)["train"]["text"])[FIRST:][:most]
    return [". ".join(headline_and_lead(text)) for text in texts]


def vectors(texts: list[str]) -> torch.Tensor:
    """Means of token vectors, of length 1: (N, C)."""
    encoder, tokenizer = load_encoder(MODEL)
    return torch.tensor(embed(encoder, tokenizer, texts, MAX_LENGTH))


def run(key: Key, so_far: Results) -> dict[str, object]:
    """The vectors of all these articles."""
    texts = leads()
    return {
        "articles": len(texts),
        "vectors": Weights({"vectors": vectors(texts).half()}),
    }


EXPERIMENT = Experiment(
    name="lead_vectors",
    chapter=11,
    settings={"model": MODEL, "max_length": MAX_LENGTH},
    keys=[{"from": FIRST}],
    run=run,
)
