"""chrF for `evaluate.load`, of a whole corpus, by sacrebleu."""

import evaluate
from sacrebleu.metrics import CHRF

from finetuning.metrics.text.references import information, sacrebleu_score

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


class ChrF(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"score": …, "signature": …}`."""

    def _info(self) -> evaluate.MetricInfo:
        return information(
            _DESCRIPTION,
            _INPUTS,
            "https://github.com/mjpost/sacrebleu",
        )

    def _compute(self, predictions, references, **settings):
        return sacrebleu_score(CHRF(**settings), predictions, references)
