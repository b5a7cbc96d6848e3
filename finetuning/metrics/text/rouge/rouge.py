"""ROUGE for `evaluate.load`: the mean of the pairs' F1, by rouge_score."""

import datasets
import evaluate
from rouge_score.rouge_scorer import RougeScorer

_DESCRIPTION = "The mean over pairs of ROUGE's F1, between 0 and 1, by rouge_score."

_INPUTS = """
Args:
    predictions: texts. For rougeLsum a line break stands between sentences.
    references: one text for each prediction.
    rouge_types: of "rouge1" … "rouge9", "rougeL", "rougeLsum".
    use_stemmer: whether Porter's stemmer cuts the ends of words.
    use_aggregator: if False, a list of the pairs' scores instead of their mean.
Returns:
    a score for each of the types.
"""


class Rouge(evaluate.Metric):
    """`compute(predictions=…, references=…)` returns `{"rouge1": …, …}`."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": text, "references": text}),
            reference_urls=["https://github.com/google-research/google-research"],
        )

    def _compute(
        self,
        predictions,
        references,
        rouge_types=("rouge1", "rouge2", "rougeL", "rougeLsum"),
        use_stemmer=False,
        use_aggregator=True,
    ):
        scorer = RougeScorer(list(rouge_types), use_stemmer=use_stemmer)
        pairs = [
            scorer.score(reference, prediction)
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        scores = {
            name: [float(pair[name].fmeasure) for pair in pairs] for name in rouge_types
        }
        if not use_aggregator:
            return scores
        return {name: sum(each) / len(each) for name, each in scores.items()}
