"""What is reported of a classifier: shares right with intervals, and how sure it is."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from finetuning.scratch.text_metrics import corpus_interval, macro_f1
from finetuning.statistics import Interval, bootstrap_interval, paired_bootstrap

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
# A validation part without a mistake would ask for an endless certainty.
TEMPERATURES = (0.2, 10.0)
DRAWS = 1000  # of the bootstrap
MOST_DRAWN = 20_000_000  # numbers of one bootstrap that are in memory at once


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean cross-entropy in nats of logits (N, K)."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number that logits are to be divided by, for the lowest loss.

    Source: Guo et al., 2017, section 4.2; chapter 11.
    """
    found = minimize_scalar(
        lambda exponent: log_loss(logits / np.exp(exponent), labels),
        bounds=np.log(TEMPERATURES),
        method="bounded",
    )
    return float(np.exp(found.x))


def probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """(N, K), each row's sum is 1."""
    return softmax(logits / temperature, axis=1)


def threshold_table(shares: np.ndarray, labels: np.ndarray) -> list[dict[str, object]]:
    """For each threshold how many texts reach it, and what share of those is right.

    `shares` are probabilities (N, K).
    """
    sure = shares.max(axis=1)
    right = shares.argmax(axis=1) == labels
    rows = []
    for threshold in THRESHOLDS:
        kept = sure >= threshold
        share_right = round(float(right[kept].mean()), 4) if kept.any() else None
        rows.append(
            {
                "threshold": threshold,
                "share_kept": round(float(kept.mean()), 4),
                "share_right": share_right,
            }
        )
    return rows


def per_class(
    predictions: np.ndarray, labels: np.ndarray, names: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Of each class how many there are, what share was found, and what share of those
    put there belongs there.
    """
    figures = {}
    for number, name in enumerate(names):
        there = labels == number
        put = predictions == number
        hits = int((there & put).sum())
        figures[name] = {
            "texts": int(there.sum()),
            "recall": round(hits / int(there.sum()), 4) if there.any() else None,
            "precision": round(hits / int(put.sum()), 4) if put.any() else None,
            "f1": round(2 * hits / int(there.sum() + put.sum()), 4)
            if there.any() or put.any()
            else None,
        }
    return figures


def scores(predictions: np.ndarray, labels: np.ndarray) -> dict[str, object]:
    """Accuracy and macro-F1, each with an interval over the texts."""
    right = (predictions == labels).astype(float)
    counts = _counts(predictions, labels)
    draws = min(DRAWS, max(100, MOST_DRAWN // len(labels)))
    return {
        "accuracy": round(float(right.mean()), 4),
        "accuracy_interval": _ends(bootstrap_interval(right))
        if len(right) > 1
        else None,
        "macro_f1": round(macro_f1(predictions, labels), 4),
        "macro_f1_interval": _ends(corpus_interval(counts, _macro_f1, resamples=draws)),
    }


def difference(
    first: np.ndarray, second: np.ndarray, labels: np.ndarray
) -> dict[str, object]:
    """How far the first predictions are ahead of the second in the share right."""
    if len(labels) < 2:
        return {"accuracy": None, "interval": None}
    gap = paired_bootstrap(
        (first == labels).astype(float), (second == labels).astype(float)
    )
    return {"accuracy": round(gap.mean, 4), "interval": _ends(gap)}


def _ends(interval: Interval) -> list[float]:
    return [round(interval.low, 4), round(interval.high, 4)]


def _counts(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Of each text and class whether it was hit, put there, and belongs there:
    (N, 3 K).
    """
    classes = np.union1d(predictions, labels)
    put = predictions[:, None] == classes
    there = labels[:, None] == classes
    return np.concatenate([put & there, put, there], axis=1).astype(np.int64)


def _macro_f1(totals: np.ndarray) -> float:
    """Mean F1 of the classes that occur, from added `_counts`."""
    hits, put, there = totals.reshape(3, -1)
    occurs = put + there > 0
    return float(np.mean(2 * hits[occurs] / (put + there)[occurs]))
