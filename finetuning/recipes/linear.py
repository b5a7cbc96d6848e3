"""Linear classifiers, on counted words or on an encoder's vectors.

They are trained by scikit-learn and kept as arrays and a vocabulary: what is loaded is
numbers and names, and no code.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from finetuning.recipes.measuring import log_loss
from finetuning.scratch.text_metrics import macro_f1

# Inverse strengths of regularisation, from stiff to free.
GRID = (1, 10, 100, 1_000, 10_000, 100_000)
# What is counted: words and pairs of words; or pieces of words, which need no spaces
# and forgive misspellings.
READERS: dict[str, dict[str, Any]] = {
    "words": {"ngram_range": [1, 2], "token_pattern": r"(?u)\b\w+\b"},
    "pieces of words": {"analyzer": "char_wb", "ngram_range": [2, 4]},
}
MOST_FEATURES = 200_000
# Classes are weighed where one is this many times another.
UNEVEN = 2

Features = np.ndarray | sparse.csr_array


@dataclass(frozen=True)
class Linear:
    """Scores are features @ weights.T + bias: (N, F), (K, F), (K,) to (N, K)."""

    weights: np.ndarray
    bias: np.ndarray

    def scores(self, features: Features) -> np.ndarray:
        return np.asarray(features @ self.weights.T) + self.bias


@dataclass(frozen=True)
class Fitted:
    """A linear classifier, and how it was chosen.

    `losses` are those of the validation part at each strength of `GRID`.
    """

    linear: Linear
    strength: float
    weighed: bool
    losses: list[float]
    scores: np.ndarray  # of the validation part, (N, K)

    @property
    def loss(self) -> float:
        return min(self.losses)


def fit(
    train: Features,
    labels: np.ndarray,
    validation: Features,
    validation_labels: np.ndarray,
) -> Fitted:
    """A logistic regression; the validation part chooses its strength by the lowest
    loss, and whether rare classes weigh more by macro-F1.
    """
    tried = [_regression(train, labels, strength) for strength in GRID]
    scored = [each.scores(validation) for each in tried]
    losses = [log_loss(each, validation_labels) for each in scored]
    best = int(np.argmin(losses))
    fitted = Fitted(tried[best], GRID[best], False, losses, scored[best])
    counts = np.bincount(labels)
    if counts.max() < UNEVEN * counts.min():
        return fitted
    weighed = _regression(train, labels, GRID[best], class_weight="balanced")
    scores = weighed.scores(validation)
    gain = macro_f1(scores.argmax(axis=1), validation_labels) - macro_f1(
        fitted.scores.argmax(axis=1), validation_labels
    )
    if gain <= 0:
        return fitted
    return Fitted(weighed, GRID[best], True, losses, scores)


def _regression(
    features: Features, labels: np.ndarray, strength: float, **options: Any
) -> Linear:
    model = LogisticRegression(C=strength, max_iter=1000, **options)
    with warnings.catch_warnings():
        # The freest may not come to an end. They are judged by what they predict.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, labels)
    weights, bias = model.coef_, model.intercept_
    if len(weights) == 1:  # of two classes the second's are given, against zero
        weights = np.concatenate([np.zeros_like(weights), weights])
        bias = np.concatenate([np.zeros_like(bias), bias])
    return Linear(weights.astype(np.float32), bias.astype(np.float32))


class Counter:
    """Texts to TF-IDF of what a reader of `READERS` sees in them, (N, F)."""

    def __init__(self, reader: str) -> None:
        self.reader = reader
        self._vectorizer = self._fresh()

    def _fresh(self, **options: Any) -> TfidfVectorizer:
        settings = dict(READERS[self.reader])
        settings["ngram_range"] = tuple(settings["ngram_range"])
        return TfidfVectorizer(
            sublinear_tf=True, dtype=np.float32, **settings, **options
        )

    def fit(self, texts: Sequence[str]) -> Features:
        """Learn what there is to count. Raises ValueError if there is nothing."""
        self._vectorizer = self._fresh(max_features=MOST_FEATURES)
        return self._vectorizer.fit_transform(texts)

    def __call__(self, texts: Sequence[str]) -> Features:
        return self._vectorizer.transform(texts)

    @property
    def vocabulary(self) -> list[str]:
        """What is counted, in the order of the columns."""
        return self._vectorizer.get_feature_names_out().tolist()

    @property
    def rarity(self) -> np.ndarray:
        """The weight of each column, (F,): the rarer, the heavier."""
        return self._vectorizer.idf_.astype(np.float32)

    @classmethod
    def load(cls, reader: str, vocabulary: list[str], rarity: np.ndarray) -> "Counter":
        """As it was fitted."""
        counter = cls(reader)
        counter._vectorizer = counter._fresh(vocabulary=vocabulary)
        counter._vectorizer.idf_ = rarity
        return counter


@dataclass(frozen=True)
class CountedWords:
    """The baseline: a reader, and a linear classifier on what it counts."""

    counter: Counter
    fitted: Fitted


def fit_counted_words(
    train: Sequence[str],
    labels: np.ndarray,
    validation: Sequence[str],
    validation_labels: np.ndarray,
) -> CountedWords:
    """Of each reader the best strength, and of the readers the lower loss.

    Raises ValueError if no reader finds anything to count.
    """
    found = []
    for reader in READERS:
        counter = Counter(reader)
        try:
            features = counter.fit(train)
        except ValueError as error:
            reason = error
            continue
        fitted = fit(features, labels, counter(validation), validation_labels)
        found.append(CountedWords(counter, fitted))
    if not found:
        raise ValueError(f"there is nothing to count in these texts ({reason})")
    return min(found, key=lambda each: each.fitted.loss)
