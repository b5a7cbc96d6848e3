"""Wrong answers to chapter 19's exercises, each with a part of its diagnosis."""

import math

import numpy as np

# 19.1


def _all_pairs(begins, ends, longest, first=1):
    return sorted(
        (
            (begin, end)
            for begin in range(first, len(begins))
            for end in range(begin, min(begin + longest, len(ends)))
        ),
        key=lambda pair: -(begins[pair[0]] + ends[pair[1]]),
    )


def with_the_mark(begins, ends, count, longest):
    return _all_pairs(begins, ends, longest, first=0)[:count]


def in_any_order(begins, ends, count, longest):
    pairs = [
        (begin, end)
        for begin in range(1, len(begins))
        for end in range(1, len(ends))
        if end - begin < longest
    ]
    pairs.sort(key=lambda pair: -(begins[pair[0]] + ends[pair[1]]))
    return pairs[:count]


def one_too_long(begins, ends, count, longest):
    return _all_pairs(begins, ends, longest + 1)[:count]


def one_too_short(begins, ends, count, longest):
    return _all_pairs(begins, ends, longest - 1)[:count]


def the_worst(begins, ends, count, longest):
    return _all_pairs(begins, ends, longest)[::-1][:count]


def the_best_last(begins, ends, count, longest):
    return _all_pairs(begins, ends, longest)[:count][::-1]


def each_beginning_once(begins, ends, count, longest):
    found = {}
    for begin, end in _all_pairs(begins, ends, longest):
        found.setdefault(begin, (begin, end))
    return list(found.values())[:count]


def the_scores(begins, ends, count, longest):
    pairs = _all_pairs(begins, ends, longest)[:count]
    return [float(begins[begin] + ends[end]) for begin, end in pairs]


# 19.2

PREDICTED = {
    "F1": 8 / 9,
    "MRR": 7 / 16,
    "weight": math.log(10 / 3),
    "risk": 0.5,
    "threshold": 0.3,
}


# 19.3


def _starts(length, size, stride):
    starts = [0]
    while starts[-1] + size < length:
        starts.append(starts[-1] + stride)
    return starts


def _held(span, start, end):
    return span is not None and start <= span[0] and span[1] < end


def goes_on(length, span, size, stride):
    return [
        (
            start,
            (span[0] - start, span[1] - start)
            if _held(span, start, min(start + size, length))
            else None,
        )
        for start in range(0, length, stride)
    ]


def absolute_labels(length, span, size, stride):
    return [
        (start, span if _held(span, start, start + size) else None)
        for start in _starts(length, size, stride)
    ]


def parts_of_answers(length, span, size, stride):
    found = []
    for start in _starts(length, size, stride):
        label = None
        if span is not None:
            first = max(span[0], start)
            last = min(span[1], start + size - 1, length - 1)
            if first <= last:
                label = (first - start, last - start)
        found.append((start, label))
    return found


def without_the_last_token(length, span, size, stride):
    return [
        (
            start,
            (span[0] - start, span[1] - start)
            if _held(span, start, min(start + size, length) - 1)
            else None,
        )
        for start in _starts(length, size, stride)
    ]


def the_first_alone(length, span, size, stride):
    found = []
    told = False
    for start in _starts(length, size, stride):
        label = None
        if _held(span, start, start + size) and not told:
            label = (span[0] - start, span[1] - start)
            told = True
        found.append((start, label))
    return found


def no_overlap(length, span, size, stride):
    return [
        (
            start,
            (span[0] - start, span[1] - start)
            if _held(span, start, start + size)
            else None,
        )
        for start in _starts(length, size, size)
    ]


def starts_alone(length, span, size, stride):
    return _starts(length, size, stride)


# 19.4


def _least(sure, right, wrong, thresholds, strict=False):
    best = None
    least = math.inf
    for threshold in thresholds:
        answered = sure > threshold if strict else sure >= threshold
        cost = wrong * (1 - right[answered]).sum() + (~answered).sum()
        if cost < least - 1e-9:
            best = threshold
            least = cost
    return best


def never_silent(sure, right, wrong):
    return _least(sure, right, wrong, np.unique(sure))


def strictly_surer(sure, right, wrong):
    return _least(sure, right, wrong, [*np.unique(sure), math.inf], strict=True)


def the_highest_of_equals(sure, right, wrong):
    return _least(sure, right, wrong, [math.inf, *np.unique(sure)[::-1]])


def one_price(sure, right, wrong):
    return _least(sure, right, 1.0, [*np.unique(sure), math.inf])


def the_cost(sure, right, wrong):
    threshold = _least(sure, right, wrong, [*np.unique(sure), math.inf])
    answered = sure >= threshold
    return wrong * (1 - right[answered]).sum() + (~answered).sum()


def a_half(sure, right, wrong):
    return 0.5


# 19.5


def _stands(run, text):
    return any(text[at : at + len(run)] == run for at in range(len(text)))


def with_gaps(answer, text):
    table = {(0, column): [] for column in range(len(text) + 1)}
    for row, word in enumerate(answer, start=1):
        table[row, 0] = []
        for column, other in enumerate(text, start=1):
            if word == other:
                table[row, column] = [*table[row - 1, column - 1], word]
            else:
                table[row, column] = max(
                    table[row - 1, column], table[row, column - 1], key=len
                )
    return table[len(answer), len(text)]


def words_that_are_there(answer, text):
    return [word for word in answer if word in text]


def from_the_first_word(answer, text):
    for end in range(len(answer), 0, -1):
        if _stands(answer[:end], text):
            return answer[:end]
    return []


def the_last_of_equals(answer, text):
    best = []
    for start in range(len(answer)):
        for end in range(start + 1, len(answer) + 1):
            if _stands(answer[start:end], text) and end - start >= len(best):
                best = answer[start:end]
    return best


def the_length(answer, text):
    best = 0
    for start in range(len(answer)):
        for end in range(start + best + 1, len(answer) + 1):
            if _stands(answer[start:end], text):
                best = end - start
    return best


def a_string(answer, text):
    best = []
    for start in range(len(answer)):
        for end in range(start + len(best) + 1, len(answer) + 1):
            if _stands(answer[start:end], text):
                best = answer[start:end]
    return " ".join(best)


# 19.6


def _cosines(query, vectors):
    lengths = np.linalg.norm(vectors, axis=1)
    return (vectors @ query) / np.where(lengths > 0, lengths, 1)


def all_faults(query, vectors, texts, count):
    order = (vectors @ query).argsort()[-count:]
    return [texts[place] for place in order]


def by_dot_products(query, vectors, texts, count):
    order = (-(vectors @ query)).argsort(kind="stable")
    return list(dict.fromkeys(texts[place] for place in order))[:count]


def the_best_passage_last(query, vectors, texts, count):
    order = (-_cosines(query, vectors)).argsort(kind="stable")
    return list(dict.fromkeys(texts[place] for place in order))[:count][::-1]


def doubles(query, vectors, texts, count):
    order = (-_cosines(query, vectors)).argsort(kind="stable")[:count]
    return [texts[place] for place in order]


def doubles_taken_out_late(query, vectors, texts, count):
    order = (-_cosines(query, vectors)).argsort(kind="stable")[:count]
    return list(dict.fromkeys(texts[place] for place in order))


def all_of_them(query, vectors, texts, count):
    order = (-_cosines(query, vectors)).argsort(kind="stable")
    return list(dict.fromkeys(texts[place] for place in order))[:count] or list(texts)


WRONG = {
    "top_spans": [
        (with_the_mark, "no span may touch token 0"),
        (in_any_order, "end before they begin"),
        (one_too_long, "one token more"),
        (one_too_short, "one token less"),
        (the_worst, "The worst spans come first"),
        (the_best_last, "the best comes first"),
        (each_beginning_once, "may begin at the same token"),
        (the_scores, "the list of spans"),
    ],
    "by_hand": [
        (PREDICTED | {"F1": 1.0}, "That is the precision"),
        (PREDICTED | {"F1": 0.8}, "does it count"),
        (PREDICTED | {"MRR": 7 / 12}, "was asked as well"),
        (PREDICTED | {"weight": math.log(7 / 3)}, "no 1 in front"),
        (PREDICTED | {"risk": 0.25}, "if all four are answered"),
        (PREDICTED | {"threshold": 0.9}, "Is there a lower one"),
        (PREDICTED | {"risk": "half"}, "should be one number"),
        ({"F1": 8 / 9}, "a dictionary with the keys"),
    ],
    "windows": [
        (goes_on, "behind the one that reaches the end"),
        (absolute_labels, "from the beginning of the passage"),
        (parts_of_answers, "answer by halves"),
        (without_the_last_token, "belongs to the answer"),
        (the_first_alone, "holds it as well"),
        (no_overlap, "`stride` after it"),
        (starts_alone, "the list of windows"),
    ],
    "cheapest_threshold": [
        (never_silent, "refuse everything was not tried"),
        (strictly_surer, "exactly as sure"),
        (the_highest_of_equals, "takes the highest"),
        (one_price, "`wrong` is not used"),
        (the_cost, "the threshold is"),
        (a_half, "the threshold is"),
    ],
    "longest_quote": [
        (with_gaps, "without a gap"),
        (words_that_are_there, "These are all words"),
        (from_the_first_word, "from the answer's first word"),
        (the_last_of_equals, "takes the last"),
        (the_length, "the number of words"),
        (a_string, "the list of words"),
    ],
    "search": [
        (all_faults, "All faults are still there"),
        (by_dot_products, "Long vectors win"),
        (the_best_passage_last, "the best comes last"),
        (doubles, "comes twice"),
        (doubles_taken_out_late, "too few are left"),
        (all_of_them, "No passage is wanted"),
    ],
}
