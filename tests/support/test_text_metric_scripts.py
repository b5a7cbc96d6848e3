"""The metric scripts of texts, loaded by `evaluate` itself, against the libraries."""

import evaluate
import numpy as np
import offline
import pytest
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics import BLEU, CHRF

from finetuning.metrics import text

TEXTS = ["Enter a valid web address.", "Save it", "Running the tests again now."]
GOOD = ["Enter a valid email address.", "Save", "Run the tests again now, please."]


def scores_of(name, references=GOOD, **settings):
    metric = evaluate.load(text.path(name))
    return metric.compute(predictions=TEXTS, references=references, **settings)


@pytest.mark.parametrize(
    "settings", [{}, {"tokenize": "char"}, {"lowercase": True, "smooth_method": "none"}]
)
def test_bleu_is_sacrebleus(settings):
    found = scores_of("sacrebleu", **settings)
    library = BLEU(**settings)
    assert found["score"] == library.corpus_score(TEXTS, [GOOD]).score
    assert found["signature"] == str(library.get_signature())
    assert type(found["score"]) is float


def test_chrf_is_sacrebleus():
    for settings in ({}, {"word_order": 2}):
        library = CHRF(**settings)
        found = scores_of("chrf", **settings)
        assert found["score"] == library.corpus_score(TEXTS, [GOOD]).score


@pytest.mark.parametrize("name", ["sacrebleu", "chrf"])
def test_references_of_each_prediction_are_turned_round(name):
    """What sacrebleu itself would read as references of one prediction."""
    several = [[good, text] for good, text in zip(GOOD, TEXTS, strict=True)]
    assert scores_of(name, several)["score"] == pytest.approx(100)
    assert scores_of(name, [[good] for good in GOOD]) == scores_of(name)
    with pytest.raises(ValueError):
        scores_of(name, [["one"], ["one", "two"], ["one"]])


@pytest.mark.parametrize("stemmed", [False, True])
def test_rouge_is_rouge_scores(stemmed):
    kinds = ["rouge1", "rougeL"]
    scorer = RougeScorer(kinds, use_stemmer=stemmed)
    pairs = [scorer.score(good, text) for good, text in zip(GOOD, TEXTS, strict=True)]
    found = scores_of("rouge", rouge_types=kinds, use_stemmer=stemmed)
    each = scores_of(
        "rouge", rouge_types=kinds, use_stemmer=stemmed, use_aggregator=False
    )
    for kind in kinds:
        expected = [pair[kind].fmeasure for pair in pairs]
        assert found[kind] == pytest.approx(np.mean(expected))
        assert each[kind] == pytest.approx(expected)


def test_squad_takes_the_best_of_several_answers():
    assert scores_of("squad") == {
        "exact_match": 0.0,
        "f1": pytest.approx((0.75 + 2 / 3 + 6 / 9) / 3),
    }
    several = [["no", text.upper()] for text in TEXTS]
    assert scores_of("squad", several) == {"exact_match": 1.0, "f1": 1.0}


def test_an_unknown_metric_is_told_what_exists():
    with pytest.raises(ValueError, match="no metric of texts named 'bleu'; there are"):
        text.path("bleu")


def test_no_network_and_nothing_on_stderr(tmp_path):
    """In a fresh process with an empty cache; Python refuses every connection."""
    script = (
        "import evaluate\n"
        "from finetuning.metrics import text\n"
        "given = ['one two three four five', 'six']\n"
        "for name in text.NAMES:\n"
        "    scores = evaluate.load(text.path(name)).compute(predictions=given, "
        "references=given)\n"
        "    print(name, *(round(each, 6) for each in scores.values() if each != "
        "str(each)))\n"
    )
    printed, errors = offline.run(script, tmp_path)
    lines = [
        "chrf 100.0",
        "rouge 1.0 0.5 1.0 1.0",  # a single word has no bigram
        "sacrebleu 100.0",
        "squad 1.0 1.0",
    ]
    assert (printed.splitlines(), errors) == (lines, "")
