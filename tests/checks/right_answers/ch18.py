"""Right but unusual answers to chapter 18's exercises: none may be refused."""

import functools
import re
from collections import Counter

import numpy as np

PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sdr%]|%\d+|\{\w*\}")

# 18.1


def by_recursion(source, memory):
    def score(first, second):
        @functools.cache
        def distance(i, j):
            if not i or not j:
                return i + j
            changed = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
            return min(changed, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

        longer = max(len(first), len(second))
        return (longer - distance(len(first), len(second))) / longer

    scores = np.array([score(source.split(), each.split()) for each in memory])
    return int(scores.argmax()), float(scores.max())


def numbers_of_numpy(source, memory):
    return list(map(np.float64, by_recursion(source, memory)))


# 18.3


def by_a_set(vocabulary, output, wanted, limit):
    missing = dict(wanted)
    for piece in output:
        if piece in missing:
            missing[piece] -= 1
    left = {name for name, count in missing.items() if count > 0}
    total = sum(count for count in missing.values() if count > 0)
    found = []
    for piece in vocabulary:
        if piece.startswith(("%", "{")):
            if piece in left:
                found.append(piece)
        elif piece == "<end>":
            if not left:
                found.append(piece)
        elif limit - len(output) - total >= 1:
            found.append(piece)
    return found


# 18.4


def by_owners(text, tokens):
    owner = [number for number, token in enumerate(tokens) for _ in token]
    count = 0
    start = 0
    for character in text:
        end = start + len(character.encode())
        count += len(set(owner[start:end])) > 1
        start = end
    return count


def by_walking(text, tokens):
    ends = np.cumsum([len(token) for token in tokens])
    lengths = [len(character.encode()) for character in text]
    last = np.cumsum(lengths)
    first = last - lengths
    inside = [
        ((ends > one) & (ends < other)).any()
        for one, other in zip(first, last, strict=True)
    ]
    return np.sum(inside, dtype=int)


# 18.5


def by_pieces(source, output):
    wanted = PLACEHOLDER.findall(source)
    matches = list(PLACEHOLDER.finditer(output))
    if len(wanted) != len(matches):
        return ""
    left = Counter(wanted)
    kept = []
    for match in matches:
        own = left[match[0]] > 0
        left[match[0]] -= own
        kept.append(own)
    used = Counter(match[0] for match, own in zip(matches, kept, strict=True) if own)
    missing = []
    for name in wanted:
        if used[name]:
            used[name] -= 1
        else:
            missing.append(name)
    waiting = iter(missing)
    text = ""
    end = 0
    for match, own in zip(matches, kept, strict=True):
        text += output[end : match.start()] + (match[0] if own else next(waiting))
        end = match.end()
    return text + output[end:]


# 18.6


def by_pairs(texts, translate, size):
    pairs = sorted(enumerate(texts), key=lambda pair: len(pair[1]))
    found = []
    while pairs:
        now = pairs[:size]
        pairs = pairs[size:]
        lines = translate([text for _, text in now])
        found += [(place, line) for (place, _), line in zip(now, lines, strict=True)]
    return [line for _, line in sorted(found)]


def as_a_tuple(texts, translate, size):
    return tuple(by_pairs(texts, translate, size))


RIGHT = {
    "fuzzy_match": [by_recursion, numbers_of_numpy],
    "allowed_pieces": [by_a_set],
    "broken_characters": [by_owners, by_walking],
    "repaired": [by_pieces],
    "in_order": [by_pairs, as_a_tuple],
}
