"""chrF for `evaluate.load`, of a whole corpus, by sacrebleu."""

import datasets
import evaluate
from sacrebleu.metrics import CHRF

_DESCRIPTION = "chrF of a corpus, between 0 and 100, by sacrebleu."

_INPUTS = """
Args:
    predictions: texts.
    references: one text for each prediction, or a list of as many for each.
    char_order: the longest run of characters, 6 as the default.
    word_order: the longest run of words: 0 is chrF, 2 is chrF++.
    beta: how many times as much recall counts as precision, 2 as the default.
    lowercase: whether case counts for nothing.
Returns:
    score: between 0 and 100.
    signature: the settings, to be printed beside the score.
"""

_TEXT = datasets.Value("string")


class ChrF(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"score": …, "signature": …}`."""

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
            reference_urls=["https://github.com/mjpost/sacrebleu"],
        )

    def _compute(self, predictions, references, **settings):
        if isinstance(references[0], str):
            references = [[reference] for reference in references]
        streams = list(zip(*references, strict=True))
        chrf = CHRF(**settings)
        score = chrf.corpus_score(predictions, streams).score
        return {"score": float(score), "signature": str(chrf.get_signature())}
