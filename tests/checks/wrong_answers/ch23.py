"""Wrong answers to chapter 23's exercises, each with a part of its diagnosis."""

import itertools
import math
import warnings

import numpy as np
import torch
from scipy import stats

# 23.1


def _chance(p, k, n):
    return math.comb(k, n) * p**n * (1 - p) ** (k - n)


def at_least_one(p, k):
    return 1 - (1 - p) ** k


def all_of_them(p, k):
    return p**k


def one_order(p, k):
    more = sum(p**n * (1 - p) ** (k - n) for n in range(k // 2 + 1, k + 1))
    return more if k % 2 else more + (p * (1 - p)) ** (k // 2) / 2


def a_tie_wins(p, k):
    return sum(_chance(p, k, n) for n in range(k + 1) if 2 * n >= k)


def a_tie_loses(p, k):
    return sum(_chance(p, k, n) for n in range(k + 1) if 2 * n > k)


def the_smallest_majority(p, k):
    return _chance(p, k, k // 2 + 1)


def by_drawing(p, k):
    draws = np.random.default_rng(0).random((2000, k)) < p
    return (2 * draws.sum(axis=1) > k).mean()


# 23.2

PREDICTED = {
    "majority of 3": 0.784,
    "any of 4": 0.7599,
    "exposure": 6.966,
    "active share": 0.2432,
    "days": 44.5,
    "kilowatt-hours": 427.0,
}


# 23.3


def with_replacement(n, c, k):
    return 1 - (1 - c / n) ** k


def the_share(n, c, k):
    return c / n


def shares_added(n, c, k):
    return min(1.0, k * c / n)


def none_of_them(n, c, k):
    return math.comb(n - c, k) / math.comb(n, k)


def all_k_right(n, c, k):
    return math.comb(c, k) / math.comb(n, k)


def a_product_that_divides_by_zero(n, c, k):
    ratio = 1.0
    for step in range(k):
        ratio *= (n - c - step) / (n - k - step)
    return 1 - ratio


# 23.4


def over_all_experts(scores, k):
    places = scores.topk(k, dim=-1).indices
    kept = torch.zeros_like(scores).scatter(-1, places, 1.0)
    return scores.softmax(dim=-1) * kept


def zeros_before_the_softmax(scores, k):
    places = scores.topk(k, dim=-1).indices
    kept = torch.zeros_like(scores).scatter(-1, places, 1.0)
    return (scores * kept).softmax(dim=-1)


def all_experts(scores, k):
    return scores.softmax(dim=-1)


def equal_shares(scores, k):
    places = scores.topk(k, dim=-1).indices
    return torch.zeros_like(scores).scatter(-1, places, 1 / k)


def the_worst(scores, k):
    worst = scores.topk(k, dim=-1, largest=False)
    shares = worst.values.softmax(dim=-1)
    return torch.zeros_like(scores).scatter(-1, worst.indices, shares)


def only_the_values(scores, k):
    return scores.topk(k, dim=-1).values.softmax(dim=-1)


def detached(scores, k):
    best = scores.detach().topk(k, dim=-1)
    shares = best.values.softmax(dim=-1)
    return torch.zeros_like(scores).scatter(-1, best.indices, shares)


# 23.5


def _measured(first, second):
    return np.mean(first) - np.mean(second)


def _splits(first, second):
    both = np.array([*first, *second], dtype=float)
    found = []
    for places in itertools.combinations(range(len(both)), len(first)):
        others = np.delete(both, places)
        found.append(both[list(places)].mean() - others.mean())
    return np.array(found)


def one_direction(first, second):
    return (_splits(first, second) >= _measured(first, second) - 1e-9).mean()


def only_larger(first, second):
    limit = abs(_measured(first, second)) + 1e-9
    return (abs(_splits(first, second)) > limit).mean()


def sums_compared(first, second):
    both = np.array([*first, *second], dtype=float)
    limit = abs(sum(first) - sum(second)) - 1e-9
    rows = itertools.combinations(range(len(both)), len(first))
    return np.mean(
        [abs(2 * both[list(row)].sum() - both.sum()) >= limit for row in rows]
    )


def t_test(first, second):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of equal scores
        return stats.ttest_ind(first, second).pvalue


def signs_flipped(first, second):
    gaps = np.array(first) - np.array(second)
    signs = np.array(list(itertools.product((1, -1), repeat=len(gaps))))
    return (abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).mean()


def by_chance(first, second):
    both = np.array([*first, *second], dtype=float)
    generator = np.random.default_rng(0)
    limit = abs(_measured(first, second)) - 1e-9
    hits = []
    for _ in range(200):
        generator.shuffle(both)
        gap = both[: len(first)].mean() - both[len(first) :].mean()
        hits.append(abs(gap) >= limit)
    return np.mean(hits)


# 23.6


def as_it_was(sentences, needle, depth, words):
    kept = []
    for sentence in sentences:
        kept.append(sentence)
        if sum(len(each.split()) for each in kept) >= words:
            break
    kept.insert(round(depth * (len(kept) - 1)), needle)
    return " ".join(" ".join(kept).split()[:words])


def _kept(sentences, room):
    kept = []
    used = 0
    for sentence in sentences:
        used += len(sentence.split())
        if used > room:
            break
        kept.append(sentence)
    return kept


def _joined(kept, needle, depth):
    sizes = [len(sentence.split()) for sentence in kept]
    place = 0
    while place < len(kept) and sum(sizes[:place]) < depth * sum(sizes):
        place += 1
    return " ".join([*kept[:place], needle, *kept[place:]])


def by_the_number_of_sentences(sentences, needle, depth, words):
    kept = _kept(sentences, words - len(needle.split()))
    place = math.ceil(depth * len(kept))
    return " ".join([*kept[:place], needle, *kept[place:]])


def needle_not_counted(sentences, needle, depth, words):
    return _joined(_kept(sentences, words), needle, depth)


def cut_to_length(sentences, needle, depth, words):
    text = needle_not_counted(sentences, needle, depth, words)
    return " ".join(text.split()[:words])


def never_at_the_end(sentences, needle, depth, words):
    kept = _kept(sentences, words - len(needle.split()))
    text = _joined(kept, needle, depth)
    if kept and text.endswith(needle):
        return " ".join([*kept[:-1], needle, kept[-1]])
    return text


def in_the_middle_of_a_sentence(sentences, needle, depth, words):
    text = " ".join(_kept(sentences, words - len(needle.split()))).split()
    place = round(depth * len(text))
    return " ".join([*text[:place], needle, *text[place:]])


def a_list_of_sentences(sentences, needle, depth, words):
    return [*_kept(sentences, words - len(needle.split())), needle]


WRONG = {
    "majority_right": [
        (at_least_one, "at least one"),
        (all_of_them, "*all* answers"),
        (one_order, "Only one order"),
        (a_tie_wins, "counted as a right majority"),
        (a_tie_loses, "counted as a wrong majority"),
        (the_smallest_majority, "smallest majority"),
        (by_drawing, ", and should be 0"),
    ],
    "by_hand": [
        (PREDICTED | {"majority of 3": 0.343}, "And exactly two"),
        (PREDICTED | {"majority of 3": 0.441}, "And all three"),
        (PREDICTED | {"any of 4": 1.2}, "rule each other out"),
        (PREDICTED | {"any of 4": 0.2401}, "That is none of four"),
        (PREDICTED | {"exposure": 3.0}, "bits of the rank"),
        (PREDICTED | {"exposure": 4.828}, "natural logarithm"),
        (PREDICTED | {"active share": 0.125}, "That is the share of the experts"),
        (PREDICTED | {"days": 17.8}, "at the full peak"),
        (PREDICTED | {"days": 14.84}, "the backward pass"),
        (PREDICTED | {"days": 1068.0}, "That are hours"),
        (PREDICTED | {"kilowatt-hours": 427_350}, "That are watt-hours"),
        (PREDICTED | {"kilowatt-hours": 100.0}, "how many kilowatts are"),
        (PREDICTED | {"days": "six weeks"}, "should be one number"),
        ({"majority of 3": 0.784}, "a dictionary with the keys"),
    ],
    "any_right": [
        (with_replacement, "with replacement"),
        (the_share, "the share of right answers"),
        (shares_added, "probabilities do not add"),
        (none_of_them, "*none* of the k"),
        (all_k_right, "*all* k are right"),
        (a_product_that_divides_by_zero, ", and should be 0"),
    ],
    "route": [
        (over_all_experts, "do not sum to one"),
        (zeros_before_the_softmax, "e⁰ is not 0"),
        (all_experts, "All experts have weight"),
        (equal_shares, "share equally"),
        (the_worst, "*worst* experts"),
        (only_the_values, "has shape"),
        (detached, "gradient"),
    ],
    "shuffled_p": [
        (one_direction, "in either direction"),
        (only_larger, "count as well"),
        (sums_compared, "*sums* of the groups"),
        (t_test, "Student's t-test"),
        (signs_flipped, "signs of the pairs"),
        (by_chance, ", and should be 0"),
    ],
    "haystack": [
        (as_it_was, "All three faults"),
        (by_the_number_of_sentences, "number of sentences"),
        (needle_not_counted, "has more"),
        (cut_to_length, "in the middle of a sentence"),
        (never_at_the_end, "never comes last"),
        (in_the_middle_of_a_sentence, "the text is"),
        (a_list_of_sentences, "should be text"),
    ],
}
