"""What chapter 23 exports."""

import statistics

import numpy as np
import pytest

from finetuning.scratch.trends_and_challenges import exposure, majority


@pytest.mark.parametrize(
    ("answers", "winner"),
    [
        (["37", "36", "37"], "37"),
        (["b", "a", "a", "b"], "b"),  # of equally frequent ones the first
        (["", "", "", "7"], "7"),  # an empty answer is no vote
        (["", ""], ""),
        ([], ""),
    ],
)
def test_the_most_frequent_answer_wins(answers, winner):
    assert majority(answers) == winner


def test_a_majority_is_pythons_mode():
    generator = np.random.default_rng(0)
    for _ in range(50):
        answers = [str(each) for each in generator.integers(4, size=9)]
        assert majority(answers) == statistics.mode(answers)


def test_exposure_is_what_is_left_of_the_bits():
    scores = np.arange(1024)
    assert exposure(scores, 1023) == 10.0
    assert exposure(scores, 1022) == 9.0
    assert exposure(scores, 512) == pytest.approx(1.0, abs=0.01)
    assert exposure(scores, 0) == 0.0


def test_of_equal_scores_the_secret_is_the_last():
    assert exposure(np.zeros(8), 3) == 0.0
    assert exposure(np.array([1.0, 1.0, 0.0, 0.0]), 0) == 1.0


def test_a_model_that_knows_nothing_gives_away_about_log2_of_e():
    scores = np.random.default_rng(0).random(4000)
    mean = np.mean([exposure(scores, own) for own in range(4000)])
    assert mean == pytest.approx(np.log2(np.e), abs=0.01)
