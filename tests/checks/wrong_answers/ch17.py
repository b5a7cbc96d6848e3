"""Wrong answers to chapter 17's exercises, each with a part of its diagnosis."""

import numpy as np

# 17.1


def _mean(texts, references, score, k):
    lines = [" ".join(text.split()[:k]) for text in texts]
    return sum(map(score, lines, references)) / len(lines)


def counted_from_zero(texts, references, score, longest):
    means = [_mean(texts, references, score, k) for k in range(1, longest + 1)]
    return int(np.argmax(np.round(means, 9)))


def without_the_longest(texts, references, score, longest):
    return max(
        range(1, longest), key=lambda k: round(_mean(texts, references, score, k), 9)
    )


def the_largest_of_equals(texts, references, score, longest):
    best = 1
    for k in range(1, longest + 1):
        if _mean(texts, references, score, k) >= _mean(texts, references, score, best):
            best = k
    return best


def cuts_characters(texts, references, score, longest):
    def mean(k):
        lines = [text[:k] for text in texts]
        return round(sum(map(score, lines, references)) / len(lines), 9)

    return max(range(1, longest + 1), key=mean)


def starts_at_zero(texts, references, score, longest):
    best = 0
    highest = 0.0
    for k in range(1, longest + 1):
        mean = _mean(texts, references, score, k)
        if mean > highest:
            best = k
            highest = mean
    return best


def the_score_of_it(texts, references, score, longest):
    return max(_mean(texts, references, score, k) for k in range(1, longest + 1))


def the_first_text(texts, references, score, longest):
    return max(
        range(1, longest + 1),
        key=lambda k: round(_mean(texts[:1], references[:1], score, k), 9),
    )


# 17.2

PREDICTED = {
    "ROUGE-1 precision": 3 / 8,
    "ROUGE-2 F1": 0.2,
    "first four F1": 0.75,
    "end probability": 0.5,
    "mean words": 2,
}


# 17.3


def _longest(summary, text, place):
    longest = 0
    for start in range(len(text)):
        length = 0
        while (
            place + length < len(summary)
            and start + length < len(text)
            and summary[place + length] == text[start + length]
        ):
            length += 1
        longest = max(longest, length)
    return longest


def _lengths(summary, text):
    lengths = []
    place = 0
    while place < len(summary):
        longest = _longest(summary, text, place)
        lengths.append(longest)
        place += max(longest, 1)
    return lengths


def overlapping_fragments(summary, text):
    lengths = [_longest(summary, text, place) for place in range(len(summary))]
    words = len(summary)
    return sum(lengths) / words, sum(length**2 for length in lengths) / words


def first_run(summary, text):
    lengths = []
    place = 0
    while place < len(summary):
        length = 0
        if summary[place] in text:
            start = text.index(summary[place])
            while (
                place + length < len(summary)
                and start + length < len(text)
                and summary[place + length] == text[start + length]
            ):
                length += 1
        lengths.append(length)
        place += max(length, 1)
    words = len(summary)
    return sum(lengths) / words, sum(length**2 for length in lengths) / words


def without_squares(summary, text):
    share = sum(_lengths(summary, text)) / len(summary)
    return share, share


def square_of_the_sum(summary, text):
    lengths = _lengths(summary, text)
    return sum(lengths) / len(summary), sum(lengths) ** 2 / len(summary)


def density_first(summary, text):
    lengths = _lengths(summary, text)
    words = len(summary)
    return sum(length**2 for length in lengths) / words, sum(lengths) / words


def one_fragment_alone(summary, text):
    longest = max(_longest(summary, text, place) for place in range(len(summary)))
    return longest / len(summary), longest**2 / len(summary)


def coverage_alone(summary, text):
    return sum(_lengths(summary, text)) / len(summary)


# 17.4


def _oracle(sentences, wanted, limit, again=False, stop=True, in_order=True):
    missing = set(wanted)
    chosen = []
    while True:
        best = None
        gained = 0 if stop else -1
        for place, words in enumerate(sentences):
            gain = len(missing & set(words))
            if place not in chosen and len(words) <= limit and gain > gained:
                best = place
                gained = gain
        if best is None:
            break
        chosen.append(best)
        limit -= len(sentences[best])
        if not again:
            missing -= set(sentences[best])
    return sorted(chosen) if in_order else chosen


def counts_words_again(sentences, wanted, limit):
    return _oracle(sentences, wanted, limit, again=True)


def fills_up(sentences, wanted, limit):
    return _oracle(sentences, wanted, limit, stop=False)


def in_order_of_choice(sentences, wanted, limit):
    return _oracle(sentences, wanted, limit, in_order=False)


def stops_at_the_first_that_is_too_long(sentences, wanted, limit):
    missing = set(wanted)
    chosen = []
    while len(chosen) < len(sentences):
        rest = [place for place in range(len(sentences)) if place not in chosen]
        best = max(rest, key=lambda place: len(missing & set(sentences[place])))
        if not missing & set(sentences[best]) or len(sentences[best]) > limit:
            break
        chosen.append(best)
        missing -= set(sentences[best])
        limit -= len(sentences[best])
    return sorted(chosen)


def without_a_limit(sentences, wanted, limit):
    return _oracle(sentences, wanted, 10**6)


def the_sentences(sentences, wanted, limit):
    return [sentences[place] for place in _oracle(sentences, wanted, limit)]


def empties_what_is_wanted(sentences, wanted, limit):
    chosen = _oracle(sentences, wanted, limit)
    for place in chosen:
        wanted -= set(sentences[place])
    return chosen


# 17.5


def _steps(cosines, damping):
    count = len(cosines)
    sums = cosines.sum(axis=1, keepdims=True)
    walk = np.where(sums > 0, cosines / np.where(sums > 0, sums, 1), 1 / count)
    return damping * walk + (1 - damping) / count


def _ranks(steps, times=500):
    ranks = np.full(len(steps), 1 / len(steps))
    for _ in range(times):
        ranks = ranks @ steps
    return ranks


def sums_of_rows(cosines, damping=0.85):
    with np.errstate(invalid="ignore"):
        return cosines.sum(axis=1) / cosines.sum()


def one_step(cosines, damping=0.85):
    return _ranks(_steps(cosines, damping), 1)


def damping_the_other_way(cosines, damping=0.85):
    return _ranks(_steps(cosines, 1 - damping))


def from_the_wrong_side(cosines, damping=0.85):
    steps = _steps(cosines, damping)
    ranks = np.full(len(steps), 1 / len(steps))
    for _ in range(500):
        ranks = steps @ ranks
    return ranks


def damping_ignored(cosines, damping=0.85):
    return _ranks(_steps(cosines, 0.85))


def divides_by_zero(cosines, damping=0.85):
    with np.errstate(all="ignore"):
        walk = cosines / cosines.sum(axis=1, keepdims=True)
    return _ranks(damping * walk + (1 - damping) / len(cosines))


def sums_to_their_number(cosines, damping=0.85):
    return _ranks(_steps(cosines, damping)) * len(cosines)


# 17.6


def cuts_the_whole(before, text, after, limit):
    if len(before) + len(after) >= limit:
        raise ValueError("no room")
    return (before + text + after)[:limit]


def keeps_the_end(before, text, after, limit):
    room = limit - len(before) - len(after)
    if room < 1:
        raise ValueError("no room")
    return before + text[-room:] + after


def forgets_what_comes_after(before, text, after, limit):
    return before + text[: limit - len(before)] + after


def no_refusal(before, text, after, limit):
    return before + text[: max(limit - len(before) - len(after), 0)] + after


def lets_an_empty_text_pass(before, text, after, limit):
    room = limit - len(before) - len(after)
    if room < 0:
        raise ValueError("no room")
    return before + text[:room] + after


def one_too_few(before, text, after, limit):
    room = limit - len(before) - len(after) - 1
    if room < 0:
        raise ValueError("no room")
    return before + text[:room] + after


def changes_the_request(before, text, after, limit):
    room = limit - len(before) - len(after)
    if room < 1:
        raise ValueError("no room")
    before += text[:room]
    return before + after


def all_faults(before, text, after, limit):
    room = limit - len(before)
    if len(text) > room:
        text = text[-room:]
    return (before + text + after)[:limit]


WRONG = {
    "best_length": [
        (counted_from_zero, "one too small"),
        (without_the_longest, "leaves out its end"),
        (the_largest_of_equals, "takes the largest"),
        (cuts_characters, "Characters were cut off"),
        (starts_at_zero, "the length is"),
        (the_score_of_it, "the length is"),
        (the_first_text, "the first text alone"),
    ],
    "by_hand": [
        (PREDICTED | {"ROUGE-1 precision": 0.75}, "That is the recall"),
        (PREDICTED | {"ROUGE-1 precision": 3 / 7}, "make of 9,000"),
        (PREDICTED | {"ROUGE-2 F1": 1 / 3}, "That is the recall"),
        (PREDICTED | {"first four F1": 1.0}, "the same word as"),
        (PREDICTED | {"end probability": 0.8}, "not four times the probability"),
        (PREDICTED | {"mean words": 5}, "before anything was added"),
        (PREDICTED | {"mean words": "two"}, "should be one number"),
        ({"mean words": 2}, "a dictionary with the keys"),
    ],
    "copied": [
        (overlapping_fragments, "fragments overlap"),
        (first_run, "the longest one that counts"),
        (without_squares, "their squares"),
        (square_of_the_sum, "sum of squares"),
        (density_first, "wrong order"),
        (one_fragment_alone, "coverage is"),
        (coverage_alone, "2 things should come back"),
    ],
    "greedy_oracle": [
        (counts_words_again, "still missing count"),
        (fills_up, "add nothing"),
        (in_order_of_choice, "order of the text"),
        (stops_at_the_first_that_is_too_long, "A shorter one may"),
        (without_a_limit, "limit was not kept"),
        (the_sentences, "the list of places"),
        (empties_what_is_wanted, "must leave what it is given"),
    ],
    "lexrank": [
        (sums_of_rows, "every vote counts the same"),
        (one_step, "after one step"),
        (damping_the_other_way, "not of one to anywhere"),
        (from_the_wrong_side, "wrong side"),
        (damping_ignored, "not always 0.85"),
        (divides_by_zero, "row is all zero"),
        (sums_to_their_number, "sum to N"),
    ],
    "fitting_prompt": [
        (cuts_the_whole, "cut at its end"),
        (keeps_the_end, "The end of the text is kept"),
        (forgets_what_comes_after, "needs room as well"),
        (no_refusal, "should raise a ValueError"),
        (lets_an_empty_text_pass, "should raise a ValueError"),
        (one_too_few, "One more id"),
        (changes_the_request, "must leave what it is given"),
        (all_faults, "All faults are still there"),
    ],
}
