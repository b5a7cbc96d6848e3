"""Wrong answers to chapter 16's exercises, each with a part of its diagnosis."""

import itertools
import math
import warnings
from collections import Counter

import numpy as np
from scipy import stats

# 16.1


def plain_agreement(first, second):
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def _chance(first, second):
    one, other = Counter(first), Counter(second)
    return sum(one[label] * other[label] for label in one) / len(first) ** 2


def not_divided(first, second):
    return plain_agreement(first, second) - _chance(first, second)


def all_labels_equally_often(first, second):
    chance = 1 / len(set(first) | set(second))
    if chance == 1:
        return 1.0
    return (plain_agreement(first, second) - chance) / (1 - chance)


def shares_of_both_together(first, second):
    both = Counter(list(first) + list(second))
    chance = sum((count / both.total()) ** 2 for count in both.values())
    if chance == 1:
        return 1.0
    return (plain_agreement(first, second) - chance) / (1 - chance)


def divides_by_zero(first, second):
    chance = _chance(first, second)
    return (plain_agreement(first, second) - chance) / (1 - chance)


def zero_for_one_label(first, second):
    chance = _chance(first, second)
    if chance == 1:
        return 0.0
    return (plain_agreement(first, second) - chance) / (1 - chance)


# 16.2

PREDICTED = {
    "token F1": 2 / 3,
    "ROUGE-2 F1": 2 / 7,
    "ROUGE-L recall": 3 / 5,
    "brevity factor": math.exp(-0.25),
    "trigram precision": 0.25,
    "perplexity": 4.0,
}


# 16.3


def share_and_its_own_errors(right, items):
    share = right / items
    half = 1.96 * math.sqrt(share * (1 - share) / items)
    return share - half, share + half


def cut_off_at_zero_and_one(right, items):
    low, high = share_and_its_own_errors(right, items)
    return max(0.0, low), min(1.0, high)


def _wilson(right, items):
    share = right / items
    extra = 1.96**2 / items
    centre = share + extra / 2
    half = 1.96 * math.sqrt(share * (1 - share) / items + extra / (4 * items))
    return (centre - half) / (1 + extra), (centre + half) / (1 + extra)


def around_the_measured_share(right, items):
    low, high = _wilson(right, items)
    return right / items - (high - low) / 2, right / items + (high - low) / 2


def division_forgotten(right, items):
    low, high = _wilson(right, items)
    return low * (1 + 1.96**2 / items), high * (1 + 1.96**2 / items)


def upper_end_first(right, items):
    low, high = _wilson(right, items)
    return high, low


def the_width(right, items):
    low, high = _wilson(right, items)
    return high - low


def ninety_percent(right, items):
    interval = stats.binomtest(right, items).proportion_ci(0.9, method="wilson")
    return interval.low, interval.high


# 16.4


def _report(first):
    chosen = first > 0.5
    own = np.stack([chosen[:, 0], ~chosen[:, 1]], axis=1)
    return {
        "first": chosen.mean(),
        "consistent": (own[:, 0] == own[:, 1]).mean(),
        "right": own.mean(),
        "right together": (first[:, 0] - first[:, 1] > 0).mean(),
    }


def same_letter_is_consistent(first):
    chosen = first > 0.5
    return _report(first) | {"consistent": (chosen[:, 0] == chosen[:, 1]).mean()}


def first_is_right(first):
    return _report(first) | {"right": (first > 0.5).mean()}


def right_in_the_first_column(first):
    return _report(first) | {"right": (first[:, 0] > 0.5).mean()}


def right_in_both(first):
    both = (first[:, 0] > 0.5) & (first[:, 1] < 0.5)
    return _report(first) | {"right": both.mean()}


def mean_probability(first):
    return _report(first) | {"first": first.mean()}


def columns_added(first):
    return _report(first) | {"right together": (first.sum(axis=1) > 1).mean()}


def equally_much_is_right(first):
    together = first[:, 0] >= first[:, 1]
    return _report(first) | {"right together": together.mean()}


def a_figure_missing(first):
    return {name: each for name, each in _report(first).items() if name != "first"}


# 16.5


def _sums(gaps):
    signs = np.array(list(itertools.product((1, -1), repeat=len(gaps))))
    return signs @ gaps


def _gaps(first, second):
    return np.array(first, dtype=float) - np.array(second, dtype=float)


def one_direction(first, second):
    gaps = _gaps(first, second)
    return (_sums(gaps) >= gaps.sum() - 1e-9).mean()


def only_larger(first, second):
    gaps = _gaps(first, second)
    return (abs(_sums(gaps)) > abs(gaps.sum()) + 1e-9).mean()


def t_test(first, second):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a single item, say
        return stats.ttest_rel(first, second).pvalue


def only_the_signs(first, second):
    gaps = np.sign(_gaps(first, second))
    return (abs(_sums(gaps)) >= abs(gaps.sum()) - 1e-9).mean()


def dealt_out_anew(first, second):
    both = [*first, *second]
    size = len(first)
    whole = abs(sum(first) - sum(second)) - 1e-9
    hits = [
        abs(2 * sum(both[k] for k in rows) - sum(both)) >= whole
        for rows in itertools.combinations(range(2 * size), size)
    ]
    return sum(hits) / len(hits)


def by_chance(first, second):
    gaps = _gaps(first, second)
    signs = np.random.default_rng(0).choice([1, -1], size=(200, len(gaps)))
    return (abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).mean()


# 16.6


def _runs(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _bleu(predictions, references, clip=True, add=True, penalty="right"):
    pairs = [
        (ours.split(), theirs.split())
        for ours, theirs in zip(predictions, references, strict=True)
    ]
    product = 1.0
    for n in range(1, 5):
        matches, totals = [], []
        for ours, theirs in pairs:
            found, wanted = _runs(ours, n), _runs(theirs, n)
            if clip:
                matches.append((found & wanted).total())
            else:
                matches.append(sum(found[run] for run in found if run in wanted))
            totals.append(found.total())
        if add:
            product *= sum(matches) / max(sum(totals), 1)
        else:
            shares = [m / max(t, 1) for m, t in zip(matches, totals, strict=True)]
            product *= sum(shares) / len(shares)
    ours = sum(len(each) for each, _ in pairs)
    theirs = sum(len(each) for _, each in pairs)
    factor = {
        "right": min(1.0, math.exp(1 - theirs / ours)),
        "turned": min(1.0, math.exp(1 - ours / theirs)),
        "none": 1.0,
    }[penalty]
    return 100 * factor * product**0.25


def as_it_was(predictions, references):
    return _bleu(predictions, references, False, False, "turned")


def sentences_averaged(predictions, references):
    return _bleu(predictions, references, add=False)


def repetitions_count(predictions, references):
    return _bleu(predictions, references, clip=False)


def penalty_the_wrong_way_round(predictions, references):
    return _bleu(predictions, references, penalty="turned")


def no_penalty(predictions, references):
    return _bleu(predictions, references, penalty="none")


def only_clipped(predictions, references):
    return _bleu(predictions, references, add=False, penalty="turned")


def between_zero_and_one(predictions, references):
    return _bleu(predictions, references) / 100


WRONG = {
    "kappa": [
        (plain_agreement, "plain agreement"),
        (not_divided, "not divided by what chance leaves"),
        (all_labels_equally_often, "all labels equally often"),
        (shares_of_both_together, "thrown together"),
        (divides_by_zero, "ZeroDivisionError"),
        (zero_for_one_label, "one and the same label throughout"),
    ],
    "by_hand": [
        (PREDICTED | {"token F1": 0.75}, "That is the precision"),
        (PREDICTED | {"token F1": 0.675}, "plain mean"),
        (PREDICTED | {"ROUGE-2 F1": 0.25}, "That is the recall"),
        (PREDICTED | {"ROUGE-L recall": 0.75}, "of whose words"),
        (PREDICTED | {"brevity factor": 0.8}, "ratio of lengths"),
        (PREDICTED | {"brevity factor": math.exp(0.2)}, "at most 1"),
        (PREDICTED | {"trigram precision": 0.5}, "how many trigrams"),
        (PREDICTED | {"perplexity": 5.0}, "mean of 2 and 8"),
        (PREDICTED | {"perplexity": 7.3}, "mean of ln 2 and ln 8"),
        (PREDICTED | {"perplexity": "four"}, "should be one number"),
        ({"token F1": 2 / 3}, "a dictionary with the keys"),
    ],
    "wilson": [
        (share_and_its_own_errors, "nothing where all are right"),
        (cut_off_at_zero_and_one, "cut off at 0 and 1"),
        (around_the_measured_share, "the middle is not"),
        (division_forgotten, "division by 1 + z²/n"),
        (upper_end_first, "wrong order"),
        (the_width, "2 things should come back"),
        (ninety_percent, "the lower end is"),
    ],
    "judge_report": [
        (same_letter_is_consistent, "same *letter*"),
        (first_is_right, "in both columns"),
        (right_in_the_first_column, "“right” looks at the first column alone"),
        (right_in_both, "right in both orders"),
        (mean_probability, "mean probability"),
        (columns_added, "adds the two columns"),
        (equally_much_is_right, "equally much"),
        (a_figure_missing, "lacks the key"),
    ],
    "sign_flip": [
        (one_direction, "in either direction"),
        (only_larger, "count as well"),
        (t_test, "Student's paired t-test"),
        (only_the_signs, "Only the signs"),
        (dealt_out_anew, "dealt out anew"),
        (by_chance, ", and should be 0"),
    ],
    "corpus_bleu": [
        (as_it_was, "All three faults"),
        (sentences_averaged, "precisions of the sentences are averaged"),
        (repetitions_count, "counts each time"),
        (penalty_the_wrong_way_round, "the wrong way round"),
        (no_penalty, "There is no brevity penalty"),
        (only_clipped, "still averaged, and the penalty"),
        (between_zero_and_one, "goes to 100"),
    ],
}
