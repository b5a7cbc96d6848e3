"""Chapter 02's second experiment: its draws are the first one's, and what it keeps of a
run agrees with itself.
"""

import numpy as np
import pytest

from finetuning.experiments import fifty_labels, from_bits, results


def test_an_accuracy_is_that_of_the_articles_that_were_right():
    for run in results("fifty_labels"):
        right = from_bits(run["right"])
        assert len(right) == 500
        assert run["accuracy"] == pytest.approx(right.mean())


def test_the_losses_are_those_of_six_passes_in_four_batches():
    for run in results("fifty_labels"):
        assert len(run["losses"]) == 24
        assert run["losses"][-1] < run["losses"][0]


def test_fine_tuning_agrees_with_the_experiment_that_has_other_numbers_of_labels():
    larger = results("label_efficiency")
    for run in results("fifty_labels").select(weights="pretrained"):
        method = "fine-tuned-even" if run["draws"] == "even" else "fine-tuned"
        same = larger.one(method=method, labels=50, seed=run["seed"])
        # That one was made on a processor with bfloat16.
        agree = from_bits(run["right"]) == from_bits(same["right"])
        assert np.mean(agree) > 0.97


def test_two_models_that_are_compared_have_no_article_in_common():
    for even, plain in fifty_labels.PAIRS.items():
        first = fifty_labels.labelled("even", even)
        second = fifty_labels.labelled("plain", plain)
        assert len(first) == len(second) == fifty_labels.LABELS
        assert not set(first) & set(second)


def test_distances_steps_and_cosines_belong_together():
    """The law of cosines, layer by layer, for the two kinds as a whole."""
    kept = results("fifty_labels")
    for run in kept.select(draws="even"):
        other = kept.one(weights="pretrained", draws="plain", seed=run["other"])
        apart = np.array(list(run["apart"].values()))
        first = np.array(list(run["from the start"].values()))
        second = np.array(list(other["from the start"].values()))
        cosines = (first**2 + second**2 - apart**2) / (2 * first * second)
        # The layer's cosine is a weighted mean of those of its kinds.
        assert (cosines.min(axis=0) - 0.01 <= run["cosines"]).all()
        assert (run["cosines"] <= cosines.max(axis=0) + 0.01).all()
