"""Right but unusual answers to chapter 19's exercises: none may be refused."""

import math
from difflib import SequenceMatcher

import numpy as np

# 19.1


def spans_by_a_table(begins, ends, count, longest):
    scores = begins[:, None] + ends[None, :]
    allowed = np.triu(np.ones(scores.shape, dtype=bool))
    allowed &= np.tril(np.ones(scores.shape, dtype=bool), longest - 1)
    allowed[0] = False
    scores = np.where(allowed, scores, -np.inf)
    order = np.argsort(-scores, axis=None)[: min(count, int(allowed.sum()))]
    return np.stack(np.unravel_index(order, scores.shape), axis=1)


# 19.3


def windows_by_counting(length, span, size, stride):
    many = 1 + max(0, math.ceil((length - size) / stride))
    found = []
    for number in range(many):
        start = number * stride
        inside = span is not None and span[0] >= start and span[1] <= start + size - 1
        found.append((start, [span[0] - start, span[1] - start] if inside else None))
    return found


# 19.4


def threshold_by_sorting(sure, right, wrong):
    sure = np.asarray(sure)
    right = np.asarray(right)
    candidates = np.append(np.unique(sure), np.inf)
    answered = sure[None, :] >= candidates[:, None]
    costs = (answered * (1 - right) * wrong).sum(axis=1) + (~answered).sum(axis=1)
    return candidates[costs.round(9).argmin()]


# 19.5


def quote_by_matching(answer, text):
    matcher = SequenceMatcher(None, answer, text, autojunk=False)
    match = matcher.find_longest_match()
    return tuple(answer[match.a : match.a + match.size])


# 19.6


def search_by_a_loop(query, vectors, texts, count):
    scored = []
    for place, (vector, text) in enumerate(zip(vectors, texts, strict=True)):
        length = math.sqrt(float(vector @ vector)) * math.sqrt(float(query @ query))
        cosine = float(vector @ query) / length if length else 0.0
        scored.append((-round(cosine, 12), place, text))
    found = []
    for _, _, text in sorted(scored):
        if len(found) < count and text not in found:
            found.append(text)
    return found


RIGHT = {
    "top_spans": [spans_by_a_table],
    "windows": [windows_by_counting],
    "cheapest_threshold": [threshold_by_sorting],
    "longest_quote": [quote_by_matching],
    "search": [search_by_a_loop],
}
