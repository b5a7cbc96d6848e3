"""Exact match and token F1 for `evaluate.load`: the book's own of chapter 16."""

import datasets
import evaluate

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

_TEXT = datasets.Value("string")


class Squad(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"exact_match": …, "f1": …}`."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=[
                datasets.Features(
                    {"predictions": _TEXT, "references": datasets.Sequence(_TEXT)}
                ),
                datasets.Features({"predictions": _TEXT, "references": _TEXT}),
            ],
            reference_urls=["https://rajpurkar.github.io/SQuAD-explorer/"],
        )

    def _compute(self, predictions, references):
        if isinstance(references[0], str):
            references = [[reference] for reference in references]
        pairs = list(zip(predictions, references, strict=True))

        def mean_of_best(metric) -> float:
            best = [max(metric(given, each) for each in good) for given, good in pairs]
            return float(sum(best) / len(best))

        return {"exact_match": mean_of_best(exact_match), "f1": mean_of_best(token_f1)}
