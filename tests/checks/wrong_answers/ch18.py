"""Wrong answers to chapter 18's exercises, each with a part of its diagnosis."""

import re
from collections import Counter

PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sdr%]|%\d+|\{\w*\}")

# 18.1


def _distance(first, second, change=1):
    row = list(range(len(second) + 1))
    for i, one in enumerate(first, start=1):
        above = row
        row = [i]
        for j, other in enumerate(second, start=1):
            changed = above[j - 1] + (change if one != other else 0)
            row.append(min(changed, above[j] + 1, row[j - 1] + 1))
    return row[-1]


def _best(source, memory, score):
    scores = [score(source, each) for each in memory]
    return scores.index(max(scores)), max(scores)


def by_characters(source, memory):
    return _best(source, memory, lambda a, b: 1 - _distance(a, b) / max(len(a), len(b)))


def by_the_words_of_the_source(source, memory):
    return _best(
        source,
        memory,
        lambda a, b: 1 - _distance(a.split(), b.split()) / len(a.split()),
    )


def _words(a, b, change=1):
    first = a.split()
    second = b.split()
    return 1 - _distance(first, second, change) / max(len(first), len(second))


def the_last_of_equals(source, memory):
    best = (0, 0.0)
    for place, each in enumerate(memory):
        if _words(source, each) >= best[1]:
            best = (place, _words(source, each))
    return best


def a_change_costs_two(source, memory):
    return _best(source, memory, lambda a, b: _words(a, b, 2))


def place_by_place(source, memory):
    def score(a, b):
        pairs = zip(a.split(), b.split(), strict=False)
        same = sum(one == other for one, other in pairs)
        return same / max(len(a.split()), len(b.split()))

    return _best(source, memory, score)


def the_distance_itself(source, memory):
    distances = [_distance(source.split(), each.split()) for each in memory]
    place, _ = _best(source, memory, _words)
    return place, distances[place]


def the_string_itself(source, memory):
    place, score = _best(source, memory, _words)
    return memory[place], score


# 18.2

PREDICTED = {
    "plain tokens": 7,
    "13a tokens": 1,
    "zh tokens": 10,
    "survival": 0.75,
    "forms in Chinese": 1,
}


# 18.3


def _allowed(vocabulary, missing, room, end=None, foreign=False, spare=0):
    found = []
    for piece in vocabulary:
        if piece == "<end>":
            right = not missing if end is None else end
        elif piece[0] in "%{":
            right = piece in missing or (foreign and room > sum(missing.values()))
        else:
            right = room > sum(missing.values()) - spare
        if right:
            found.append(piece)
    return found


def _missing(output, wanted):
    return Counter(wanted) - Counter(output)


def written_ones_again(vocabulary, output, wanted, limit):
    return _allowed(vocabulary, Counter(wanted), limit - len(output))


def once_is_enough(vocabulary, output, wanted, limit):
    missing = Counter({name: 1 for name in wanted if name not in output})
    return _allowed(vocabulary, missing, limit - len(output))


def the_end_at_any_time(vocabulary, output, wanted, limit):
    missing = _missing(output, wanted)
    return _allowed(vocabulary, missing, limit - len(output), end=True)


def placeholders_like_words(vocabulary, output, wanted, limit):
    missing = _missing(output, wanted)
    return _allowed(vocabulary, missing, limit - len(output), foreign=True)


def one_word_too_many(vocabulary, output, wanted, limit):
    missing = _missing(output, wanted)
    return _allowed(vocabulary, missing, limit - len(output), spare=1)


def without_a_limit(vocabulary, output, wanted, limit):
    return _allowed(vocabulary, _missing(output, wanted), 10**6)


def changes_what_is_wanted(vocabulary, output, wanted, limit):
    for piece in output:
        if piece in wanted:
            wanted[piece] -= 1
    missing = +Counter(wanted)
    return _allowed(vocabulary, missing, limit - len(output))


# 18.4


def _edges(tokens):
    edges = set()
    length = 0
    for token in tokens:
        length += len(token)
        edges.add(length)
    return edges


def broken(text, tokens):
    edges = _edges(tokens)
    count = 0
    start = 0
    for character in text:
        end = start + len(character.encode())
        count += bool(edges & set(range(start + 1, end)))
        start = end
    return count


def tokens_that_cannot_be_read(text, tokens):
    count = 0
    for token in tokens:
        try:
            token.decode()
        except UnicodeDecodeError:
            count += 1
    return count


def all_that_are_not_ascii(text, tokens):
    return sum(not character.isascii() for character in text)


def tokens_too_many(text, tokens):
    return max(len(tokens) - len(text), 0)


def whole_ones(text, tokens):
    return len(text) - broken(text, tokens)


def a_share(text, tokens):
    return broken(text, tokens) / max(len(text), 1)


def edges_inside(text, tokens):
    edges = _edges(tokens)
    count = 0
    start = 0
    for character in text:
        end = start + len(character.encode())
        count += len(edges & set(range(start + 1, end)))
        start = end
    return count


# 18.5


def by_place(source, output):
    names = PLACEHOLDER.findall(source)
    if len(names) != len(PLACEHOLDER.findall(output)):
        return ""
    return PLACEHOLDER.sub(lambda match: names.pop(0), output)


def _repaired(source, output, last=False):
    left = PLACEHOLDER.findall(source)
    found = PLACEHOLDER.findall(output)
    stays = []
    for name in found:
        stays.append(name in left)
        if stays[-1]:
            left.remove(name)
    names = [
        name if own else left.pop(-1 if last else 0)
        for name, own in zip(found, stays, strict=True)
    ]
    return PLACEHOLDER.sub(lambda match: names.pop(0), output)


def _as_many(source, output):
    return len(PLACEHOLDER.findall(source)) == len(PLACEHOLDER.findall(output))


def missing_ones_backwards(source, output):
    return _repaired(source, output, last=True) if _as_many(source, output) else ""


def the_output_where_numbers_differ(source, output):
    return _repaired(source, output) if _as_many(source, output) else output


def every_time_it_stands(source, output):
    if not _as_many(source, output):
        return ""
    wanted = PLACEHOLDER.findall(source)
    found = PLACEHOLDER.findall(output)
    missing = [name for name in wanted if name not in found]
    for name in found:
        if name not in wanted and missing:
            output = output.replace(name, missing.pop(0))
    return output


def throws_away(source, output):
    same = Counter(PLACEHOLDER.findall(source)) == Counter(PLACEHOLDER.findall(output))
    return output if same else ""


def returns_none(source, output):
    if _as_many(source, output):
        return _repaired(source, output)


# 18.6


def all_faults(texts, translate, size):
    waiting = sorted(dict.fromkeys(texts), key=len)
    lines = []
    for start in range(0, len(waiting) - size + 1, size):
        lines += translate(waiting[start : start + size])
    return lines


def in_order_of_length(texts, translate, size):
    waiting = sorted(texts, key=len)
    lines = []
    for start in range(0, len(waiting), size):
        lines += translate(waiting[start : start + size])
    return lines


def each_text_once(texts, translate, size):
    distinct = list(dict.fromkeys(texts))
    order = sorted(distinct, key=len)
    found = {}
    for start in range(0, len(order), size):
        batch = order[start : start + size]
        found |= dict(zip(batch, translate(batch), strict=True))
    return [found[text] for text in distinct]


def without_the_last_batch(texts, translate, size):
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = {}
    for start in range(0, len(order) - size + 1, size):
        places = order[start : start + size]
        lines = translate([texts[place] for place in places])
        found |= dict(zip(places, lines, strict=True))
    return [found[place] for place in sorted(found)]


def as_they_come(texts, translate, size):
    lines = []
    for start in range(0, len(texts), size):
        lines += translate(texts[start : start + size])
    return lines


def sorts_what_it_is_given(texts, translate, size):
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    lines = [""] * len(texts)
    for start in range(0, len(order), size):
        places = order[start : start + size]
        batch = translate([texts[place] for place in places])
        for place, line in zip(places, batch, strict=True):
            lines[place] = line
    texts.sort(key=len)
    return lines


WRONG = {
    "fuzzy_match": [
        (by_characters, "Characters were counted"),
        (by_the_words_of_the_source, "the larger number"),
        (the_last_of_equals, "takes the last"),
        (a_change_costs_two, "It is one edit"),
        (place_by_place, "place by place"),
        (the_distance_itself, "is the distance"),
        (the_string_itself, "the place should be"),
    ],
    "by_hand": [
        (PREDICTED | {"plain tokens": 12}, "still come through"),
        (PREDICTED | {"plain tokens": 5}, "what the placeholders need"),
        (PREDICTED | {"13a tokens": 10}, "cut between them"),
        (PREDICTED | {"zh tokens": 8}, "tokens as well"),
        (PREDICTED | {"survival": 0.95}, "survive anything"),
        (PREDICTED | {"forms in Chinese": 2}, "English or French"),
        (PREDICTED | {"survival": "most"}, "should be one number"),
        ({"survival": 0.75}, "a dictionary with the keys"),
    ],
    "allowed_pieces": [
        (written_ones_again, "still counted as missing"),
        (once_is_enough, "done after the first"),
        (the_end_at_any_time, "while a placeholder is missing"),
        (placeholders_like_words, "allowed like a word"),
        (one_word_too_many, "one more than that"),
        (without_a_limit, "no longer fit"),
        (changes_what_is_wanted, "must leave what it is given"),
    ],
    "broken_characters": [
        (tokens_that_cannot_be_read, "cannot be read alone"),
        (all_that_are_not_ascii, "more than one byte"),
        (tokens_too_many, "two too many"),
        (whole_ones, "that are whole"),
        (a_share, "This is a share"),
        (edges_inside, "the number of broken characters is"),
    ],
    "repaired": [
        (by_place, "place by place"),
        (missing_ones_backwards, "from the last to the first"),
        (the_output_where_numbers_differ, "an empty string"),
        (every_time_it_stands, "from the second time on"),
        (throws_away, "Nothing was repaired"),
        (returns_none, "returned None"),
    ],
    "in_order": [
        (in_order_of_length, "order of their lengths"),
        (each_text_once, "translated once"),
        (without_the_last_batch, "last batch is left out"),
        (as_they_come, "Sort them by length first"),
        (sorts_what_it_is_given, "must leave what it is given"),
        (all_faults, "All faults are still there"),
    ],
}
