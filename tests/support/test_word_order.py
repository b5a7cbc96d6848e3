"""Chapter 12's sentences: no two alike, halves that are what their labels say, and no
speech in two parts.
"""

import hashlib
import json
from collections import Counter

import pytest

from finetuning.data import load_state_of_the_union
from finetuning.data.word_order import SIZES, WORDS, load_word_order


def words(text: str) -> Counter[str]:
    return Counter(text.removesuffix(".").split())


def test_every_machine_has_the_same_sentences():
    parts = [load_word_order(part) for part in SIZES]
    assert hashlib.sha256(json.dumps(parts).encode()).hexdigest() == (
        "141a7d954d342cdcda1d65a441a1f08e718bafe0c3022590821018c176eea4b8"
    )


def test_parts_have_their_sizes_and_half_of_each_is_turned():
    for part, size in SIZES.items():
        texts, labels = load_word_order(part)
        assert len(texts) == len(labels) == size
        assert sum(labels) == size / 2
        assert all(words(text).total() in WORDS for text in texts)


def test_a_turned_sentence_turns_back():
    speeches = " ".join(
        " ".join(text.lower().split()) for text in load_state_of_the_union()["text"]
    )
    for text, label in zip(*load_word_order("validation"), strict=True):
        if not label:
            continue
        one = text.removesuffix(".").split()
        turns = [" ".join(one[at:] + one[:at]) + "." for at in range(2, len(one) - 1)]
        assert any(turn in speeches for turn in turns), text


def test_no_two_sentences_have_the_same_words():
    texts = [text for part in SIZES for text in load_word_order(part)[0]]
    bags = {frozenset(words(text).items()) for text in texts}
    assert len(bags) > 0.99 * len(texts)
    assert len(set(texts)) == len(texts)


def test_labels_say_whether_a_speech_has_the_sentence():
    speeches = [
        " ".join(text.lower().split()) for text in load_state_of_the_union()["text"]
    ]
    found = {}
    for part in SIZES:
        found[part] = set()
        some = list(zip(*load_word_order(part), strict=True))[:100]
        for text, label in some:
            places = {place for place, each in enumerate(speeches) if text in each}
            assert bool(places) == (label == 0), text
            if len(places) == 1:
                found[part] |= places
    assert not found["test"] & found["train"]
    assert not found["test"] & found["validation"]
    assert not found["validation"] & found["train"]


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="no part 'dev'; there are test, validation"):
        load_word_order("dev")
