"""Exact match and token F1 for `evaluate.load`: the book's own of chapter 16."""

import evaluate

from finetuning.metrics.text.references import as_lists, information
from finetuning.scratch.text_metrics import exact_match, token_f1

_DESCRIPTION = (
    "Exact match and F1 of tokens as SQuAD counts them, between 0 and 1; of several "
    "accepted answers the best counts."
)

_INPUTS = """
Args:
    predictions: texts.
    references: one text for each prediction, or a list of accepted ones for each.
Returns:
    exact_match, f1: the means over the predictions.
"""


class Squad(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"exact_match": …, "f1": …}`."""

    def _info(self) -> evaluate.MetricInfo:
        return information(
            _DESCRIPTION,
            _INPUTS,
            "https://rajpurkar.github.io/SQuAD-explorer/",
        )

    def _compute(self, predictions, references):
        pairs = list(zip(predictions, as_lists(references), strict=True))

        def mean_of_best(metric) -> float:
            best = [max(metric(given, each) for each in good) for given, good in pairs]
            return float(sum(best) / len(best))

        return {"exact_match": mean_of_best(exact_match), "f1": mean_of_best(token_f1)}
