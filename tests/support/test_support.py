"""The small support modules: claims, intervals, seeds, time, figures."""

import random
import tracemalloc

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from scipy import stats

from finetuning import plots
from finetuning.runtime import Stopwatch, peak_memory_mb, set_seed
from finetuning.statistics import bootstrap_interval, mean_interval, paired_bootstrap


def test_mean_interval_is_students():
    values = [0.80, 0.85, 0.90, 0.91]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean_interval(values) == pytest.approx(
        (np.mean(values), expected.low, expected.high)
    )


@pytest.mark.parametrize("values", [[], [0.5], [[0.5, 0.6]]])
def test_mean_interval_needs_two_runs(values):
    with pytest.raises(ValueError, match="at least two"):
        mean_interval(values)


def test_bootstrap_agrees_with_theory():
    correct = np.array([1] * 160 + [0] * 40)
    ours = bootstrap_interval(correct)
    standard_error = (0.8 * 0.2 / 200) ** 0.5
    assert ours.high - ours.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)


def test_bootstrap_covers_as_often_as_it_says():
    generator = np.random.default_rng(0)
    samples = generator.random((200, 100)) < 0.7
    intervals = [
        bootstrap_interval(sample, resamples=500, seed=n)
        for n, sample in enumerate(samples)
    ]
    covered = np.mean([low <= 0.7 <= high for _, low, high in intervals])
    assert 0.88 <= covered <= 0.99


def test_bootstrap_repeats_itself_and_needs_items():
    scores = np.linspace(0, 1, 3_000)
    first = bootstrap_interval(scores, resamples=2_000)
    assert bootstrap_interval(scores, resamples=2_000) == first
    assert bootstrap_interval(scores, resamples=2_000, seed=1) != first
    for few in ([], [1.0], [[0.5, 0.6]]):
        with pytest.raises(ValueError, match="one score an item, of at least two"):
            bootstrap_interval(few)


def test_equal_scores_have_an_interval_without_width():
    assert mean_interval([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)
    assert bootstrap_interval([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)


def test_a_large_test_set_needs_no_huge_matrix():
    tracemalloc.start()
    bootstrap_interval(np.ones(50_000), resamples=200)  # 80 MB at once
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("confidence", [95, 1, 0, -0.5, float("nan")])
@pytest.mark.parametrize("interval", [mean_interval, bootstrap_interval])
def test_a_confidence_in_per_cent_is_refused(interval, confidence):
    with pytest.raises(ValueError, match=r"a share between 0 and 1, such as 0\.95"):
        interval([0.8, 0.9, 1.0], confidence)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
@pytest.mark.parametrize("interval", [mean_interval, bootstrap_interval])
def test_scores_that_are_no_numbers_are_refused(interval, score):
    with pytest.raises(ValueError, match="1 of 3 scores are no finite numbers"):
        interval([0.8, score, 1.0])


def test_pairing_sees_a_difference_that_two_separate_intervals_hide():
    generator = np.random.default_rng(0)
    hard = generator.random(400) < 0.3
    better = ~hard
    worse = better & ~(generator.random(400) < 0.04)
    assert paired_bootstrap(better, worse).low > 0
    assert bootstrap_interval(worse).high > bootstrap_interval(better).low
    with pytest.raises(ValueError, match="same items"):
        paired_bootstrap([1, 0], [1])


def test_an_interval_prints_as_the_book_writes_it():
    interval = mean_interval([0.88, 0.89, 0.90])
    assert f"{interval}" == "0.890 [0.865, 0.915]"
    assert f"{interval:>24}" == "    0.890 [0.865, 0.915]"


def test_a_seed_repeats_all_three_generators():
    def draw():
        set_seed(3)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw() == draw()
    set_seed(4)
    assert random.random() != draw()[0]


def test_stopwatch_and_memory_measure_something():
    with Stopwatch() as watch:
        before = peak_memory_mb()
        block = np.ones(40_000_000)  # 320 MB
        after = peak_memory_mb()
    assert watch.seconds > 0
    assert after > before or before > block.nbytes / 1e6


def test_a_heat_map_shows_each_number_and_label():
    plots.use_style()
    axes = plots.heat_map(torch.tensor([[0.25, 0.75]]), ["query"], ["first", "second"])
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["0.25", "0.75"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["first", "second"]
    assert axes.figure.get_facecolor() == (1.0, 1.0, 1.0, 1.0)
    plt.close("all")
    with pytest.raises(ValueError, match="do not fit"):
        plots.heat_map(np.eye(2), ["a"], ["b", "c"])


def test_heat_maps_that_are_compared_can_share_a_colour_scale():
    own = plots.heat_map(torch.tensor([[0.25, 0.75]]), ["query"], ["first", "second"])
    shared = plots.heat_map(
        torch.tensor([[0.25, 0.75]]), ["query"], ["first", "second"], highest=1.0
    )
    assert own.images[0].get_clim() == (0.0, 0.75)
    assert shared.images[0].get_clim() == (0.0, 1.0)
    plt.close("all")
