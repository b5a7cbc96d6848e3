"""Tests of what is drawn: right on average, and independent.

Every test allows for chance with one false alarm in a billion (`FALSE_ALARM`), so a
right answer is never refused; `power` says what chance a test has to see a mistake.
"""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from torch import Tensor

from finetuning.checks.core import fail

FALSE_ALARM = 1e-9


def expect_share(
    hits: int, trials: int, share: float, what: str, hint: str = ""
) -> None:
    """Fail unless `hits` of `trials` are what a probability of `share` gives."""
    if fits(hits, trials, share):
        return
    low, high = _usual(trials, share)[0], _usual(trials, share)[-1]
    fail(
        f"{what}: {hits:,} of {trials:,}, which is {hits / trials:.1%}. With a "
        f"probability of {share:.4g} it would be between {low:,} and {high:,}. "
        f"{hint}".rstrip()
    )


def fits(hits: int, trials: int, share: float) -> bool:
    """Whether `hits` of `trials` are what a probability of `share` gives."""
    return hits in _usual(trials, share)


def power(trials: int, share: float, wrong: float) -> float:
    """The chance that `expect_share` refuses what has the probability `wrong`."""
    usual = _usual(trials, share)
    seen = stats.binom.cdf(usual[-1], trials, wrong)
    return float(1 - seen + stats.binom.cdf(usual[0] - 1, trials, wrong))


def _usual(trials: int, share: float) -> range:
    low = int(stats.binom.ppf(FALSE_ALARM / 2, trials, share))
    high = int(stats.binom.isf(FALSE_ALARM / 2, trials, share))
    return range(max(low, 0), high + 1)


def expect_even(counts: Sequence[int], what: str, hint: str = "") -> None:
    """Fail unless all counts come from equal probabilities (a chi-squared test)."""
    counts = np.asarray(counts)
    if stats.chisquare(counts).pvalue < FALSE_ALARM:
        most, least = int(counts.argmax()), int(counts.argmin())
        fail(
            f"{what}: number {most} came {counts[most]:,} times and number {least} "
            f"{counts[least]:,} times, of {counts.sum():,} draws; each should come as "
            f"often as the others. {hint}".rstrip()
        )


def expect_independent(
    one: Sequence[int] | Tensor,
    other: Sequence[int] | Tensor,
    what: str,
    hint: str = "",
) -> None:
    """Fail unless two things drawn together have nothing to do with each other.

    Both are whole numbers of few kinds: put many kinds into classes first (a word's
    distance modulo 8, say).
    """
    one, other = (np.asarray(values).ravel() for values in (one, other))
    kinds, rows = np.unique(one, return_inverse=True)
    other_kinds, columns = np.unique(other, return_inverse=True)
    if len(kinds) < 2 or len(other_kinds) < 2:
        return
    table = np.zeros((len(kinds), len(other_kinds)), dtype=int)
    np.add.at(table, (rows, columns), 1)
    if stats.chi2_contingency(table).pvalue < FALSE_ALARM:
        fail(f"{what} depend on each other: one tells something of the other. {hint}")


def expect_binomial(
    counts: Sequence[int], size: int, share: float, what: str, hint: str = ""
) -> None:
    """Fail unless the counts of hits in groups of `size` scatter as single draws do.

    Right on average is not enough: whole groups chosen at once scatter too much, a
    fixed number a group too little.
    """
    counts = np.asarray(counts)
    expected = size * share * (1 - share)
    spread = float(((counts - size * share) ** 2).sum() / expected)
    tail = min(stats.chi2.cdf(spread, len(counts)), stats.chi2.sf(spread, len(counts)))
    if tail < FALSE_ALARM / 2:
        kind = "more" if spread > len(counts) else "less"
        fail(
            f"{what}: from group to group the count scatters {kind} than single draws "
            f"do (from {counts.min()} to {counts.max()} of {size}). Each must be drawn "
            f"by itself. {hint}".rstrip()
        )
