"""Chapter 16's judge: both orders of each pair, and nothing of the articles is kept."""

import numpy as np
import pytest

from finetuning.experiments import judge, results


def test_pairs_are_of_one_topic_and_two_articles():
    found = judge.pairs(40)
    assert len(found) == 40
    for opening, own, other in found:
        assert len(opening.split()) == judge.OPENING_WORDS
        assert own != other
    assert len({opening for opening, _, _ in found}) == 40


@pytest.mark.parametrize("key", judge.EXPERIMENT.keys)
def test_every_run_is_kept(key):
    run = results("judge").one(**key)
    if key["part"] == "likelihood":
        sums = np.array(run["sums"])
        tokens = np.array(run["tokens"])
        assert sums.shape == tokens.shape == (judge.PAIRS, 3)
        assert (sums < 0).all()
        # the padded headline begins with the plain one
        assert (tokens[:, 2] > tokens[:, 0]).all()
        assert (sums[:, 2] < sums[:, 0]).all()
    else:
        first = np.array(run["first"])
        assert first.shape == (judge.PAIRS, 2)
        assert ((first > 0) & (first < 1)).all()
        assert 0 < run["share"] < 1


def test_no_text_of_an_article_is_kept():
    kept = str([run.result for run in results("judge")])
    assert not any(own in kept for _, own, _ in judge.pairs())
