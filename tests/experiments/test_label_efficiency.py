"""Chapter 02's experiment: draws of labels, and accuracies that are those of the kept
articles.
"""

import numpy as np
import pytest

from finetuning.experiments import from_bits, label_efficiency, results


def test_an_accuracy_is_that_of_the_articles_that_were_right():
    for run in results("label_efficiency"):
        right = from_bits(run["right"])
        articles = 500 if "labels" in run.key else label_efficiency.PROMPT_TEST
        assert len(right) == articles
        assert run["accuracy"] == pytest.approx(right.mean())


def test_a_smaller_draw_is_contained_in_a_larger_one():
    few = label_efficiency.draw(100, 20, seed=3)
    many = label_efficiency.draw(100, 50, seed=3)
    assert many[:20].tolist() == few.tolist() and len(set(many)) == 50
    assert label_efficiency.draw(100, 20, seed=4).tolist() != few.tolist()


def test_an_even_draw_has_as_many_of_each_topic():
    topics = np.random.default_rng(0).integers(5, size=400)
    rows = label_efficiency.draw_evenly(topics, 50, seed=1)
    assert np.bincount(topics[rows]).tolist() == [10] * 5 and len(set(rows)) == 50
    order = label_efficiency.draw(400, 400, seed=1)
    first = order[topics[order] == 2][:10]
    assert rows[20:30].tolist() == first.tolist()
