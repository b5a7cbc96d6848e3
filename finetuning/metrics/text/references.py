"""What the metric scripts of texts share: one or several references for each text."""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate

_TEXT = datasets.Value("string")


def information(description: str, inputs: str, source: str) -> evaluate.MetricInfo:
    """Of a metric whose references are a text, or a list of texts, for each prediction.

    `source` is the address of what it follows.
    """
    return evaluate.MetricInfo(
        description=description,
        citation="",
        inputs_description=inputs,
        features=[
            datasets.Features(
                {"predictions": _TEXT, "references": datasets.Sequence(_TEXT)}
            ),
            datasets.Features({"predictions": _TEXT, "references": _TEXT}),
        ],
        reference_urls=[source],
    )


def as_lists(references: Sequence[Any]) -> list[list[str]]:
    """References as a list for each prediction, whichever of the two they are."""
    if isinstance(references[0], str):
        return [[reference] for reference in references]
    return list(references)


def sacrebleu_score(
    metric: Any, predictions: Sequence[str], references: Sequence[Any]
) -> dict[str, Any]:
    """Score and signature of a corpus, by a metric of sacrebleu's.

    sacrebleu wants a list for each set of references, and says nothing if it gets one
    for each prediction.
    """
    streams = list(zip(*as_lists(references), strict=True))
    score = metric.corpus_score(predictions, streams).score
    return {"score": float(score), "signature": str(metric.get_signature())}
