"""Accuracy for `evaluate.load`: the share of predictions that equal their reference."""

import datasets
import evaluate
from sklearn.metrics import accuracy_score

_DESCRIPTION = "The share of predictions that equal their reference, by scikit-learn."

_INPUTS = """
Args:
    predictions: predicted labels, integers.
    references: true labels, integers.
    normalize: if False, the number of right predictions instead of their share.
    sample_weight: a weight for each item.
Returns:
    accuracy: between 0 and 1 (or a count).
"""


class Accuracy(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"accuracy": share}`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("int64"),
                    "references": datasets.Value("int64"),
                }
            ),
            reference_urls=[
                "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.accuracy_score.html"
            ],
        )

    def _compute(self, predictions, references, normalize=True, sample_weight=None):
        score = accuracy_score(
            references, predictions, normalize=normalize, sample_weight=sample_weight
        )
        return {"accuracy": float(score)}
