"""Right but unusual answers to chapter 17's exercises: none may be refused."""

import numpy as np

# 17.1


def length_by_a_loop(texts, references, score, longest):
    best = None
    highest = -np.inf
    for k in range(1, longest + 1):
        total = 0.0
        for text, reference in zip(texts, references, strict=True):
            total += score(" ".join(text.split()[:k]), reference)
        if total > highest + 1e-9:
            best = k
            highest = total
    return best


def length_by_argmax(texts, references, score, longest):
    means = [
        np.mean(
            [
                score(" ".join(text.split()[:k]), reference)
                for text, reference in zip(texts, references, strict=True)
            ]
        ).round(9)
        for k in range(1, longest + 1)
    ]
    return 1 + np.argmax(means)


# 17.3


def by_runs_from_long_to_short(summary, text):
    runs = {
        tuple(text[start:end])
        for start in range(len(text))
        for end in range(start + 1, len(text) + 1)
    }
    lengths = []
    place = 0
    while place < len(summary):
        length = len(summary) - place
        while length and tuple(summary[place : place + length]) not in runs:
            length -= 1
        lengths.append(length)
        place += length or 1
    lengths = np.array(lengths)
    return [lengths.sum() / len(summary), (lengths**2).sum() / len(summary)]


def by_a_table(summary, text):
    table = np.zeros((len(summary) + 1, len(text) + 1), dtype=int)
    for i in reversed(range(len(summary))):
        for j in reversed(range(len(text))):
            if summary[i] == text[j]:
                table[i, j] = table[i + 1, j + 1] + 1
    longest = table.max(axis=1)
    total = 0
    squares = 0
    place = 0
    while place < len(summary):
        length = int(longest[place])
        total += length
        squares += length * length
        place += max(length, 1)
    return np.array([total, squares]) / len(summary)


# 17.4


def by_sorting(sentences, wanted, limit):
    missing = frozenset(wanted)
    left = list(range(len(sentences)))
    chosen = []
    while left:
        left = [place for place in left if len(sentences[place]) <= limit]
        left.sort(
            key=lambda place: (-len(missing.intersection(sentences[place])), place)
        )
        if not left or missing.isdisjoint(sentences[left[0]]):
            break
        place = left.pop(0)
        chosen.append(place)
        missing = missing.difference(sentences[place])
        limit -= len(sentences[place])
    return sorted(chosen)


def as_an_array(sentences, wanted, limit):
    return np.array(by_sorting(sentences, wanted, limit), dtype=int)


# 17.5


def by_an_eigenvector(cosines, damping=0.85):
    count = len(cosines)
    sums = cosines.sum(axis=1)
    walk = np.full((count, count), 1 / count)
    walk[sums > 0] = cosines[sums > 0] / sums[sums > 0, None]
    values, vectors = np.linalg.eig((damping * walk + (1 - damping) / count).T)
    ranks = vectors[:, values.real.argmax()].real
    return ranks / ranks.sum()


def by_solving(cosines, damping=0.85):
    count = len(cosines)
    walk = np.array(
        [row / row.sum() if row.sum() else np.ones(count) / count for row in cosines]
    )
    return np.linalg.solve(
        np.eye(count) - damping * walk.T, np.full(count, (1 - damping) / count)
    )


# 17.6


def by_deleting(before, text, after, limit):
    kept = list(text)
    while kept and len(before) + len(kept) + len(after) > limit:
        kept.pop()
    if not kept:
        raise ValueError("the text does not fit")
    return [*before, *kept, *after]


RIGHT = {
    "best_length": [length_by_a_loop, length_by_argmax],
    "copied": [by_runs_from_long_to_short, by_a_table],
    "greedy_oracle": [by_sorting, as_an_array],
    "lexrank": [by_an_eigenvector, by_solving],
    "fitting_prompt": [by_deleting],
}
