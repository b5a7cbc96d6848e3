"""Right but unusual answers to chapter 01's exercises: none may be refused."""

import itertools
import math
import re
from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import torch


def by_recursion(next_tokens, start, most):
    if most == 0:
        return start
    token = max(next_tokens(start).items(), key=lambda pair: pair[1])[0]
    return (
        start
        if token == "<end>"
        else by_recursion(next_tokens, start + token, most - 1)
    )


def with_a_list(next_tokens, start, most):
    tokens = [start]
    while len(tokens) <= most:
        given = next_tokens("".join(tokens))
        tokens.append(sorted(given, key=given.get)[-1])
        if tokens[-1] == "<end>":
            tokens.pop()
            break
    return "".join(tokens)


def by_numpy(next_tokens, start, most):
    for _ in range(most):
        given = next_tokens(start)
        token = list(given)[int(np.argmax(list(given.values())))]
        if token == "<end>":
            return start
        start = start + token
    return start


def cut(text):
    return set(re.findall("[a-z0-9]+", text.lower()))


def with_sorted(question, passages):
    sets = [cut(passage) for passage in passages]
    count = Counter(itertools.chain(*sets))
    total = len(passages)
    scores = [
        round(sum(math.log(total / count[w]) for w in s & cut(question)), 8)
        for s in sets
    ]
    return sorted(range(total), key=lambda place: (-scores[place], place))[0]


def by_products(question, passages):
    """The logarithm of a product is the sum of logarithms: no logarithm is needed."""
    sets = [cut(passage) for passage in passages]
    scores = []
    for own in sets:
        product = Fraction(1)
        for word in own & cut(question):
            product *= Fraction(len(sets), sum(word in other for other in sets))
        scores.append(product)
    return scores.index(max(scores))


def as_matrix(question, passages):
    words = sorted(set().union(*map(cut, passages)))
    has = np.array([[word in cut(passage) for word in words] for passage in passages])
    asked = np.array([word in cut(question) for word in words])
    scores = (has * asked) @ np.log(len(passages) / has.sum(axis=0))
    return np.argmax(scores.round(9))


def row_first(pairs, alphabet, previous, character, strength):
    row = {letter: pairs.get(previous + letter, 0) + strength for letter in alphabet}
    return row[character] / sum(row.values())


def as_mixture(pairs, alphabet, previous, character, strength):
    seen = sum(pairs.get(previous + letter, 0) for letter in alphabet)
    share = seen / (seen + strength * len(alphabet))
    plain = pairs.get(previous + character, 0) / seen if seen else 0.0
    return share * plain + (1 - share) / len(alphabet)


def by_default_dictionary(pairs, alphabet, previous, character, strength):
    after = defaultdict(Counter)
    for pair, count in pairs.items():
        after[pair[0]][pair[1]] += count
    row = torch.tensor(
        [after[previous][letter] for letter in alphabet], dtype=torch.float64
    )
    row = (row + strength) / (row + strength).sum()
    return row[alphabet.index(character)]


P_A, P_N, P_B = 10 / 21, 7 / 9, 4 / 63
BITS = -math.log2(P_B)

RIGHT = {
    "smoothing_on_paper": [
        (0.476, 0.778, 0.0635, 3.98),
        (Fraction(10, 21), Fraction(7, 9), Fraction(4, 63), BITS),
        (torch.tensor(P_A), np.float32(P_N), np.array([P_B]), torch.tensor([BITS])),
    ],
    "write": [by_recursion, with_a_list, by_numpy],
    "predictions": [("fewer", "more", "same", "more", "same", "fewer")],
    "best_passage": [with_sorted, by_products, as_matrix],
    "mended_probability": [row_first, as_mixture, by_default_dictionary],
}
