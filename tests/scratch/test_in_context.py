"""Chapter 09's prompts: the same words in all versions, and the labels they promise."""

import numpy as np
import pytest

from finetuning.scratch.in_context import ASKED, KINDS, LABELS, POOL, prompt_of


def lines(count, seed, version):
    return [line.split(": ") for line in prompt_of(count, seed, version).splitlines()]


def kind_of(word):
    return next(k for k, words in enumerate(POOL) if word in words)


@pytest.mark.parametrize("count", [0, 1, 4, 16])
def test_the_versions_share_their_words(count):
    words = {
        version: [word for word, _ in lines(count, 3, version)]
        for version in ("true", "random", "exchanged")
    }
    assert words["true"] == words["random"] == words["exchanged"]
    assert len(set(words["true"])) == count


def test_labels_are_true_or_exchanged():
    for version, moved in (("true", 0), ("exchanged", 1)):
        for word, label in lines(16, 1, version):
            assert label == LABELS[(kind_of(word) + moved) % 4]


def test_random_labels_are_drawn():
    drawn = [label for seed in range(20) for _, label in lines(16, seed, "random")]
    shares = np.array([drawn.count(label) for label in LABELS]) / len(drawn)
    assert np.abs(shares - 0.25).max() < 0.1


def test_each_kind_has_as_many_examples():
    kinds = [kind_of(word) for word, _ in lines(16, 0, "true")]
    assert np.bincount(kinds).tolist() == [4, 4, 4, 4]


def test_no_word_is_both_shown_and_asked():
    shown = {word for words in POOL for word in words}
    asked = {word for word, _ in ASKED}
    assert len(shown) == len(asked) == 40 and not shown & asked
    assert shown | asked == {word for text in KINDS.values() for word in text.split()}
