"""BLEU for `evaluate.load`, of a whole corpus, by sacrebleu."""

import evaluate
from sacrebleu.metrics import BLEU

from finetuning.metrics.text.references import information, sacrebleu_score

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


class SacreBLEU(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"score": …, "signature": …}`."""

    def _info(self) -> evaluate.MetricInfo:
        return information(
            _DESCRIPTION,
            _INPUTS,
            "https://github.com/mjpost/sacrebleu",
        )

    def _compute(self, predictions, references, **settings):
        return sacrebleu_score(BLEU(**settings), predictions, references)
