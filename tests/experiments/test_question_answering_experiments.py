"""Chapter 19's experiments: parts that are apart, rates that were chosen without the
test, and results that are complete.
"""

import math

import numpy as np
import pytest

from finetuning.data import book, documentation
from finetuning.experiments import book_answers, book_search, results, spans
from finetuning.experiments.engine import ExperimentError, Results, Run
from finetuning.scratch.lora import adapter_tensors, lora_layers
from finetuning.scratch.question_answering import judged


def test_what_trains_what_decides_and_what_tests_are_apart():
    training = documentation.made("train", 0, spans.TRAINING)
    parts = [
        {each.passage for each in rows}
        for rows in (training, spans.validation(), spans.test())
    ]
    assert not parts[0] & parts[1] and not (parts[0] | parts[1]) & parts[2]
    assert len(training) == spans.TRAINING
    assert len(spans.validation()) == spans.VALIDATION
    assert len(spans.test()) == spans.TEST


def test_no_written_passage_is_trained_on():
    trained = " ".join(documentation.passages("train"))
    for each in documentation.written():
        assert each.passage not in trained
        assert each.source.startswith("sklearn")


def test_a_fresh_model_trains_its_adapter_and_its_head_alone():
    model, _ = spans.fresh(0)
    own = adapter_tensors(model)
    assert len(lora_layers(model)) == 6 * 6
    assert sum(name.endswith("qa_outputs.weight") for name in own) == 1
    assert sum(each.numel() for each in own.values()) < 1_500_000


def test_refusing_counts_where_the_margin_is_not_above_zero():
    answered = documentation.Question("x", "a b", "a?", ("a",), 0, "made up")
    silent = documentation.Question("x", "a b", "c?", (), None, "made up")
    scores = {"f1": [0.5, 0.0, 0.5], "margins": [1.0, -1.0, -1.0]}
    found = spans.with_refusals(scores, [answered, silent, answered])
    assert found == pytest.approx((0.5 + 1.0 + 0.0) / 3)


def test_the_best_rate_wants_all_runs():
    some = Results(
        "spans", {}, (Run({"part": "tune", "rate": 1e-3, "seed": 0}, {}, {}),)
    )
    with pytest.raises(ExperimentError, match="come first"):
        spans.best_rate(some)
    runs = tuple(
        Run({"part": "tune", "rate": rate, "seed": seed}, {"validation": -rate}, {})
        for rate in spans.RATES
        for seed in spans.SEEDS
    )
    assert spans.best_rate(Results("spans", {}, runs)) == min(spans.RATES)


def test_kept_questions_are_found_again_where_they_are_still_made():
    first, second = spans.test()[:2]
    there = {
        "questions": [first.question, "What is gone?", second.question],
        "answers": [list(first.answers), ["gone"], list(second.answers)],
    }
    kept = Results("spans", {}, (Run({"part": "test"}, there, {}),))
    assert spans.kept_test(kept) == ([0, 2], [first, second])


@pytest.mark.parametrize("cut", spans.CUTS)
def test_units_are_parts_of_their_passage(cut):
    for passage in documentation.passages("test")[:50]:
        parts = spans.units(passage, cut)
        assert parts and all(part in passage for part in parts)


def test_all_runs_of_the_spans_are_kept_and_scored():
    kept = results(spans.NAME)
    runs = kept.select(part="tune")
    assert len(runs) == len(spans.RATES) * len(spans.SEEDS) == 12
    written = documentation.written()
    for run in runs:
        assert len(run["losses"]) == spans.STEPS
        assert len(run["made"]["f1"]) == spans.TEST
        for answer, exact, question in zip(
            run["written"]["answers"], run["written"]["exact"], written, strict=True
        ):
            assert answer in question.passage
            assert judged(answer, question)[0] == exact
    assert kept.one(part="weights")["same losses"]


def test_the_shipped_weights_are_loaded_whole():
    model, _ = spans.load_tuned()
    tensors = results(spans.NAME).one(part="weights")["weights"].load()
    own = adapter_tensors(model)
    for name, tensor in tensors.items():
        assert np.allclose(own[name].detach(), tensor.float())


def test_some_passage_holds_every_answer():
    for words in book_search.WORDS:
        for each in book.answerable() + book.follow_ups():
            assert book_search.right(each, words).any()


def test_an_answer_that_is_cut_belongs_to_the_larger_part():
    phrase = "one two three four five six"
    assert book_search._in(phrase, f"so {phrase}.")
    assert book_search._in(phrase, "so one two three four")
    assert book_search._in(phrase, "four five six and on")
    assert not book_search._in(phrase, "five six and on")
    assert not book_search._in(phrase, "so one two")


def test_all_runs_of_the_search_are_kept():
    kept = results(book_search.NAME)
    for words in book_search.WORDS:
        for headed in (True, False):
            run = kept.one(part="ranks", words=words, headed=headed)
            for ranks in run["ranks"].values():
                assert len(ranks) == len(book.answerable())
                assert min(ranks) >= 1
            assert len(run["unanswerable"]) == len(book.unanswerable())
    vectors = book_search.kept_vectors()
    assert vectors.shape == (len(book_search.shelf()), 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)


def test_limits():
    run = Run(
        {"part": "ranks", "words": book_search.CHOSEN, "headed": True},
        {
            "cosines": [[0.9], [0.6], [0.5]],
            "unanswerable": [[0.4], [0.7]],
            "ranks": {"both": [1, 9, 2]},
        },
        {},
    )
    near, sure = book_search.limits(Results("book_search", {}, (run,)), 3, 0.5)
    assert near == 0.5
    assert sure == 0.5  # 2 of 4 right from there on
    assert book_search.limits(Results("book_search", {}, (run,)), 3, 0.0)[1] == 0.9
    nobody = {**run.result, "ranks": {"both": [9, 9, 9]}}
    nothing = Results("book_search", {}, (Run(run.key, nobody, {}),))
    assert book_search.limits(nothing, 3, 0.1)[1] == math.inf


def test_every_system_answered_every_question():
    kept = results(book_answers.NAME)
    for system in book_answers.SYSTEMS:
        answers = book_answers.answers_of(kept, "answerable", **system)
        assert len(answers) == len(book_answers.asked("answerable"))
    answers = book_answers.answers_of(kept, "unanswerable", **book_answers.TOLD)
    assert len(answers) == len(book.unanswerable())


def test_questions_that_are_answered_are_of_all_chapters():
    rows = book_answers.asked("answerable")
    assert len({each.question for each in rows}) == book_answers.ANSWERED
