"""Intervals for results: over seeds, over test items, and for a difference."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """A mean and the ends of its confidence interval, in the units of the values."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval of the mean over independent runs (seeds).

    Parameters
    ----------
    values: one result a run, shape (runs,), at least two.
    confidence: the share of such intervals that cover the true mean, if the runs are
        normal.

    Raises
    ------
    ValueError: with fewer than two runs, for which no interval exists, with a value
        that is not a finite number, or a confidence that is not between 0 and 1.

    Source: Student, "The probable error of a mean", Biometrika 6(1), 1908.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            "an interval over runs needs a list of at least two, not shape "
            f"{values.shape}"
        )
    _check(values, confidence)
    quantiles = stats.t.interval(confidence, len(values) - 1)
    low, high = values.mean() + stats.sem(values) * np.array(quantiles)
    return Interval(float(values.mean()), float(low), float(high))


def bootstrap_interval(
    scores: Sequence[float],
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the mean over test items.

    Parameters
    ----------
    scores: one score an item (1 for right, 0 for wrong, or any number), shape (items,).
    confidence: nominal coverage of the interval.
    resamples: how many times the items are drawn anew, with replacement.
    seed: of the draws, so that the same scores give the same interval.

    Raises
    ------
    ValueError: if there are fewer than two items, `scores` is not one-dimensional, a
        score is not a finite number, or the confidence is not between 0 and 1.

    Source: Efron, "Bootstrap methods: another look at the jackknife", Annals of
        Statistics 7(1), 1979.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 1 or len(scores) < 2:
        raise ValueError(
            "a bootstrap needs one score an item, of at least two items, not shape "
            f"{scores.shape}"
        )
    _check(scores, confidence)
    result = stats.bootstrap(
        (scores,),
        np.mean,
        n_resamples=resamples,
        # 10,000 resamples of a large test set at once would be one huge matrix.
        batch=max(1, 2_000_000 // len(scores)),
        confidence_level=confidence,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    low, high = result.confidence_interval
    return Interval(float(scores.mean()), float(low), float(high))


def paired_bootstrap(
    first: Sequence[float],
    second: Sequence[float],
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Interval of mean(first) − mean(second), both scored on the same items in order.

    An interval that leaves out zero says that the difference is larger than the choice
    of test items explains. Pairing matters: two systems fail on the same hard items,
    and that shared part cancels.

    Raises
    ------
    ValueError: if the two do not have one score for each of the same number of items;
        and as `bootstrap_interval`.

    Source: Koehn, "Statistical significance tests for machine translation evaluation",
        EMNLP 2004.
    """
    first = np.asarray(first, dtype=float)
    second = np.asarray(second, dtype=float)
    if first.shape != second.shape:
        raise ValueError(
            f"paired scores must be of the same items: {first.shape} against "
            f"{second.shape}"
        )
    return bootstrap_interval(first - second, confidence, resamples, seed)


def _check(numbers: np.ndarray, confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(
            f"the confidence is a share between 0 and 1, such as 0.95, not {confidence}"
        )
    if not np.isfinite(numbers).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(numbers))} of {len(numbers)} scores are "
            "no finite numbers, so there is no interval: find out where they come from"
        )
