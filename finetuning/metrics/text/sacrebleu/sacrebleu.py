"""BLEU for `evaluate.load`, of a whole corpus, by sacrebleu."""

import datasets
import evaluate
from sacrebleu.metrics import BLEU

_DESCRIPTION = "BLEU of a corpus, between 0 and 100, by sacrebleu."

_INPUTS = """
Args:
    predictions: texts.
    references: one text for each prediction, or a list of as many for each.
    tokenize: how texts are cut: "13a" (the default), "zh", "char", "intl", "none".
    lowercase: whether case counts for nothing.
    smooth_method: "exp" (the default), "floor", "add-k" or "none".
    effective_order: leave out lengths that no prediction has; for single sentences.
Returns:
    score: between 0 and 100.
    signature: the settings, to be printed beside the score.
"""

_TEXT = datasets.Value("string")


class SacreBLEU(evaluate.Metric):
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
        # sacrebleu wants a list for each set of references, and says nothing if it
        # gets one for each prediction.
        streams = list(zip(*references, strict=True))
        bleu = BLEU(**settings)
        score = bleu.corpus_score(predictions, streams).score
        return {"score": float(score), "signature": str(bleu.get_signature())}
