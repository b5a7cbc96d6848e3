"""Wrong answers to chapter 01's exercises, each with a part of its diagnosis."""

import math
import re
from collections import Counter

# 1.1

P_A, P_N, P_B = 10 / 21, 7 / 9, 4 / 63
BITS = -math.log2(P_B)

# 1.2


def least_probable(next_tokens, start, most):
    text = start
    for _ in range(most):
        given = next_tokens(text)
        token = min(given, key=given.get)
        if token == "<end>":
            break
        text += token
    return text


def last_token_only(next_tokens, start, most):
    text, last = start, start
    for _ in range(most):
        given = next_tokens(last)
        last = max(given, key=given.get)
        if last == "<end>":
            break
        text += last
    return text


def always_the_start(next_tokens, start, most):
    text = start
    for _ in range(most):
        given = next_tokens(start)
        token = max(given, key=given.get)
        if token == "<end>":
            break
        text += token
    return text


def with_the_end(next_tokens, start, most):
    text = start
    for _ in range(most):
        given = next_tokens(text)
        token = max(given, key=given.get)
        text += token
        if token == "<end>":
            break
    return text


def without_the_start(next_tokens, start, most):
    text = ""
    for _ in range(most):
        given = next_tokens(start + text)
        token = max(given, key=given.get)
        if token == "<end>":
            break
        text += token
    return text


def never_stops(next_tokens, start, most):
    text = start
    for _ in range(most):
        given = next_tokens(text)
        text += max(given, key=given.get)
    return text


def one_too_many(next_tokens, start, most):
    text = start
    for _ in range(most + 1):
        given = next_tokens(text)
        token = max(given, key=given.get)
        if token == "<end>":
            break
        text += token
    return text


def first_in_the_dictionary(next_tokens, start, most):
    text = start
    for _ in range(most):
        token = next(iter(next_tokens(text)))
        if token == "<end>":
            break
        text += token
    return text


# 1.3


def predicted(**wrong):
    """The right predictions, but for those given, in the check's order."""
    right = {
        "own_text": "fewer",
        "huge_strength": "more",
        "unigram_shuffled": "same",
        "trigram_shuffled": "more",
        "trigram_twice": "same",
        "smollm2_twice": "fewer",
    }
    assert not wrong.keys() - right.keys()
    return tuple((right | wrong).values())


# 1.4


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def search(score):
    """The first passage with the highest score."""

    def best_passage(question, passages):
        found = Counter(word for p in passages for word in set(words(p)))

        def weight(word):
            return math.log(len(passages) / found[word]) if found[word] else 0.0

        scores = [round(score(question, p, weight), 9) for p in passages]
        return scores.index(max(scores))

    return best_passage


def without_logarithm(question, passage, weight):
    return sum(math.exp(weight(w)) for w in set(words(question)) & set(words(passage)))


def common_words_weigh_more(question, passage, weight):
    return sum(9.0 - weight(w) for w in set(words(question)) & set(words(passage)))


def of_six_passages(question, passages):
    found = Counter(word for p in passages for word in set(words(p)))
    scores = [
        sum(math.log(6 / found[w]) for w in set(words(question)) & set(words(passage)))
        for passage in passages
    ]
    return scores.index(max(scores))


def plain_overlap(question, passage, weight):
    return len(set(words(question)) & set(words(passage)))


def every_time(question, passage, weight):
    return sum(weight(word) for word in words(passage) if word in words(question))


def by_length(question, passage, weight):
    shared = set(words(question)) & set(words(passage))
    return sum(map(weight, sorted(shared))) / len(words(passage))


def least_shared(question, passage, weight):
    return -sum(map(weight, sorted(set(words(question)) & set(words(passage)))))


def last_of_equals(question, passages):
    found = Counter(word for p in passages for word in set(words(p)))
    scores = [
        round(
            sum(
                math.log(len(passages) / found[word])
                for word in sorted(set(words(question)) & set(words(p)))
            ),
            9,
        )
        for p in passages
    ]
    return max(range(len(passages)), key=lambda place: (scores[place], place))


def the_passage(question, passages):
    def rarest(question, passage, weight):
        shared = sorted(set(words(question)) & set(words(passage)))
        return sum(map(weight, shared))

    return passages[search(rarest)(question, passages)]


def case_kept(question, passages):
    def cut(text):
        return set(re.findall(r"[A-Za-z0-9]+", text))

    found = Counter(word for p in passages for word in cut(p))
    scores = [
        round(
            sum(
                math.log(len(passages) / found[word])
                for word in sorted(cut(question) & cut(p))
            ),
            9,
        )
        for p in passages
    ]
    return scores.index(max(scores))


# 1.5


def followers(pairs, previous):
    return sum(count for pair, count in pairs.items() if pair.startswith(previous))


def still_broken(pairs, alphabet, previous, character, strength):
    total = followers(pairs, previous) + strength
    return (pairs.get(previous + character, 0) + strength) / total


def above_lost(pairs, alphabet, previous, character, strength):
    total = followers(pairs, previous) + strength * len(alphabet)
    return pairs.get(previous + character, 0) / total


def only_for_one(pairs, alphabet, previous, character, strength):
    total = followers(pairs, previous) + len(alphabet)
    return (pairs.get(previous + character, 0) + strength) / total


def of_all_pairs(pairs, alphabet, previous, character, strength):
    total = sum(pairs.values()) + strength * len(alphabet)
    return (pairs.get(previous + character, 0) + strength) / total


def another_share(pairs, alphabet, previous, character, strength):
    total = followers(pairs, previous) + strength
    return (pairs.get(previous + character, 0) + strength / len(alphabet)) / total


def unsmoothed(pairs, alphabet, previous, character, strength):
    return pairs.get(previous + character, 0) / followers(pairs, previous)


def by_second_letter(pairs, alphabet, previous, character, strength):
    total = sum(count for pair, count in pairs.items() if pair[1] == previous)
    return (pairs.get(previous + character, 0) + strength) / (
        total + strength * len(alphabet)
    )


WRONG = {
    "smoothing_on_paper": [
        ((0.5, P_N, P_B, BITS), "Begin at the bottom"),
        ((0.5, 1.0, 0.0, BITS), "where is the smoothing?"),
        ((4 / 9, P_N, P_B, BITS), "This is add-one smoothing"),
        ((P_A, 7 / 12, P_B, BITS), "how often anything follows a"),
        ((P_A, 7 / 12, P_B * 3 / 4, BITS), "The last a has no letter after it"),
        ((P_A, 1.0, P_B, BITS), "Above the line stands how often n follows a"),
        ((P_A, P_N, 0.0, BITS), "where is the smoothing?"),
        ((P_A, P_N, 1 / 9, BITS), "What is P(b), without a context?"),
        ((P_A, 0.774, P_B, BITS), "is not 0.774"),
        ((P_A, P_N, P_B, -math.log(P_B)), "This is in nats"),
        ((P_A, P_N, P_B, math.log2(P_B)), "has a negative logarithm"),
        ((0.3, P_N, P_B, BITS), "Begin at the bottom"),
        ((P_A, 0.9, P_B, BITS), "how often anything follows a"),
    ],
    "write": [
        (least_probable, "this is the least probable"),
        (last_token_only, "it was given only the last token"),
        (always_the_start, "it was given the start each time"),
        (with_the_end, "ends the text and is no part of it"),
        (without_the_start, "only what was added came back"),
        (never_stops, "here it goes on, and the sign is in it"),
        (one_too_many, "this is one more"),
        (first_in_the_dictionary, "when it counts from 1 on"),
    ],
    "predictions": [
        (predicted(own_text="same"), "Have they seen its runs of letters?"),
        (predicted(huge_strength="same"), "how much do the counts still say"),
        (predicted(unigram_shuffled="more"), "model with n = 1 look at"),
        (predicted(trigram_shuffled="same"), "Do such runs survive"),
        (predicted(trigram_twice="fewer"), "Can it notice that it has read this"),
        (predicted(smollm2_twice="same"), "when the second half begins"),
        (predicted(smollm2_twice="less"), "not one of the 3 answers"),
    ],
    "best_passage": [
        (search(plain_overlap), "Every shared word counts the same here"),
        (search(without_logarithm), "without the logarithm"),
        (search(common_words_weigh_more), "should be 5. It is right for the question"),
        (of_six_passages, "where one rare word outweighs two common ones"),
        (search(every_time), "count the distinct words"),
        (search(by_length), "divided by the passage's length"),
        (search(least_shared), "shares least came back"),
        (last_of_equals, "this is the last"),
        (the_passage, "The passage itself came back"),
        (case_kept, "told apart: Dogs and dogs"),
        (lambda question, passages: len(passages), "should be 0"),
    ],
    "mended_probability": [
        (still_broken, "This is the broken function still"),
        (above_lost, "has lost its `strength`"),
        (only_for_one, "strength 1 only"),
        (of_all_pairs, "divided by those of all pairs"),
        (another_share, "That sums to one, too"),
        (unsmoothed, "the smoothing is gone"),
        (by_second_letter, "the probability is"),
    ],
}
