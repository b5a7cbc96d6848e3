"""Right but unusual answers to chapter 16's exercises: none may be refused."""

import itertools
import math
from fractions import Fraction

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix

# 16.1


def by_a_table(first, second):
    names = sorted({*first, *second})
    if len(names) == 1:
        return np.float64(1)
    table = confusion_matrix(first, second, labels=names) / len(first)
    chance = table.sum(axis=0) @ table.sum(axis=1)
    return (np.trace(table) - chance) / (1 - chance)


def by_scikit_learn(first, second):
    if len({*first, *second}) == 1:
        return 1
    return cohen_kappa_score(first, second)


def by_fractions(first, second):
    items = len(first)
    agree = Fraction(sum(a == b for a, b in zip(first, second, strict=True)), items)
    pairs = itertools.product(first, second)
    chance = Fraction(sum(a == b for a, b in pairs), items**2)
    return 1.0 if chance == 1 else float((agree - chance) / (1 - chance))


# 16.3


def by_roots(right, items):
    share, extra = right / items, 1.96**2 / items
    return np.sort(np.roots([1 + extra, -(2 * share + extra), share**2]).real)


# 16.4


def pair_by_pair(first):
    takes, keeps, right, together = [], [], [], []
    for there, back in first.tolist():
        takes += [there > 0.5, back > 0.5]
        keeps.append((there > 0.5) != (back > 0.5))
        right += [there > 0.5, back < 0.5]
        together.append(there > back)
    figures = (takes, keeps, right, together)
    names = ("first", "consistent", "right", "right together")
    return {
        name: sum(each) / len(each) for name, each in zip(names, figures, strict=True)
    }


# 16.5


def by_half_of_the_signs(first, second):
    """All signs turned round give the same size, so the first sign may stay."""
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    sums = [gaps[0]]
    for gap in gaps[1:]:
        sums = [total + sign * gap for total in sums for sign in (1, -1)]
    return sum(abs(total) >= abs(sum(gaps)) - 1e-9 for total in sums) / len(sums)


def by_bits(first, second):
    gaps = np.subtract(first, second)
    numbers = np.arange(2 ** len(gaps))
    signs = 1 - 2 * (numbers[:, None] >> np.arange(len(gaps)) & 1)
    return (np.abs((signs * gaps).mean(axis=1)) >= abs(gaps.mean()) - 1e-9).mean()


# 16.6


def by_removing(predictions, references):
    """Each run of the prediction takes one of the reference's away."""
    score = 0.0
    for n in (1, 2, 3, 4):
        matches = total = 0
        for ours, theirs in zip(predictions, references, strict=True):
            own, left = ours.split(), theirs.split()
            runs = [left[k : k + n] for k in range(len(left) - n + 1)]
            for k in range(len(own) - n + 1):
                total += 1
                if own[k : k + n] in runs:
                    runs.remove(own[k : k + n])
                    matches += 1
        if not matches:
            return 0
        score += math.log(matches / total) / 4
    ours = len(" ".join(predictions).split())
    theirs = len(" ".join(references).split())
    if ours < theirs:
        score += 1 - theirs / ours
    return 100 * math.exp(score)


RIGHT = {
    "kappa": [by_a_table, by_scikit_learn, by_fractions],
    "by_hand": [
        {
            "token F1": 0.667,
            "ROUGE-2 F1": 0.286,
            "ROUGE-L recall": Fraction(3, 5),
            "brevity factor": 0.779,
            "trigram precision": np.float64(0.25),
            "perplexity": 4,
        }
    ],
    "wilson": [by_roots],
    "judge_report": [pair_by_pair],
    "sign_flip": [by_half_of_the_signs, by_bits],
    "corpus_bleu": [by_removing],
}
