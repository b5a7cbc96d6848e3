"""Right but unusual answers to chapter 23's exercises: none may be refused."""

import itertools
from fractions import Fraction

import numpy as np
import torch
from scipy import stats

# 23.1


def by_scipy(p, k):
    more = stats.binom.sf(k // 2, k, p)
    return more if k % 2 else more + stats.binom.pmf(k // 2, k, p) / 2


def by_all_outcomes(p, k):
    total = 0
    for outcome in itertools.product((True, False), repeat=k):
        chance = np.prod([p if right else 1 - p for right in outcome])
        total += chance * (np.sign(2 * sum(outcome) - k) + 1) / 2
    return total


# 23.2

BY_ROUNDED_NUMBERS = {
    "majority of 3": 0.78,
    "any of 4": np.float64(0.76),
    "exposure": torch.tensor(6.97),
    "active share": 18 / 74,
    "days": 44.5,
    "kilowatt-hours": 427,
}


# 23.3


def by_a_product(n, c, k):
    if n - c < k:
        return 1
    return 1 - np.prod(1 - k / np.arange(n - c + 1, n + 1))


def by_fractions(n, c, k):
    wrong = Fraction(1)
    for step in range(k):
        wrong *= Fraction(max(n - c - step, 0), n - step)
    return float(1 - wrong)


def by_scipys_hypergeometric(n, c, k):
    return stats.hypergeom.sf(0, n, c, k)


# 23.4


def masked(scores, k):
    least = scores.topk(k, dim=-1).values[..., -1:]
    return scores.masked_fill(scores < least, float("-inf")).softmax(dim=-1)


def renewed(scores, k):
    weights = (scores - scores.max(dim=-1, keepdim=True).values).exp()
    places = scores.topk(k, dim=-1).indices
    kept = weights * torch.zeros_like(scores).scatter(-1, places, 1.0)
    return kept / kept.sum(dim=-1, keepdim=True)


def sorted_first(scores, k):
    order = scores.argsort(dim=-1, descending=True)
    shares = scores.gather(-1, order[..., :k]).softmax(dim=-1)
    weights = scores.new_zeros(scores.shape)
    return weights.scatter_(-1, order[..., :k], shares)


# 23.5


def by_masks(first, second):
    both = np.array([*first, *second], dtype=float)
    masks = [
        np.array(mask)
        for mask in itertools.product((True, False), repeat=len(both))
        if sum(mask) == len(first)
    ]
    gaps = np.array([both[mask].mean() - both[~mask].mean() for mask in masks])
    return np.mean(np.abs(gaps) > abs(np.mean(first) - np.mean(second)) - 1e-9)


# 23.6


def from_the_end(sentences, needle, depth, words):
    sizes = [len(sentence.split()) for sentence in sentences]
    ends = list(itertools.accumulate(sizes))
    count = sum(end + len(needle.split()) <= words for end in ends)
    starts = [0, *ends][:count]
    whole = ends[count - 1] if count else 0
    before = [
        sentence
        for sentence, start in zip(sentences, starts, strict=False)
        if start < depth * whole
    ]
    return " ".join([*before, needle, *sentences[len(before) : count]])


RIGHT = {
    "majority_right": [by_scipy, by_all_outcomes],
    "by_hand": [BY_ROUNDED_NUMBERS],
    "any_right": [by_a_product, by_fractions, by_scipys_hypergeometric],
    "route": [masked, renewed, sorted_first],
    "shuffled_p": [by_masks],
    "haystack": [from_the_end],
}
