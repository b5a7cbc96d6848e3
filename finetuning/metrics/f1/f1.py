"""F1 for `evaluate.load`: the harmonic mean of precision and recall."""

import datasets
import evaluate
from sklearn.metrics import f1_score

_DESCRIPTION = "F1, the harmonic mean of precision and recall, by scikit-learn."

_INPUTS = """
Args:
    predictions: predicted labels, integers.
    references: true labels, integers.
    average: "binary" (of pos_label, the default), "macro", "micro", "weighted", or None
        for one score a label.
    labels: the labels to average over, in order.
    pos_label: the label that counts as positive when average is "binary".
    sample_weight: a weight for each item.
Returns:
    f1: between 0 and 1, or a list of such numbers.
"""


class F1(evaluate.Metric):
    """`compute(predictions=…, references=…, average=…)` returns `{"f1": score}`."""

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
                "https://scikit-learn.org/stable/modules/generated/sklearn.metrics.f1_score.html"
            ],
        )

    def _compute(
        self,
        predictions,
        references,
        labels=None,
        pos_label=1,
        average="binary",
        sample_weight=None,
    ):
        score = f1_score(
            references,
            predictions,
            labels=labels,
            pos_label=pos_label,
            average=average,
            sample_weight=sample_weight,
        )
        return {
            "f1": float(score) if getattr(score, "ndim", 0) == 0 else score.tolist()
        }
