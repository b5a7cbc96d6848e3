"""Chapter 01's n-gram model: probabilities that sum to one, and bits by hand."""

import math

import pytest

from finetuning.scratch.ngram import NGram, bits_per_character

TEXT = "the mouse ate until it slept, and the mouse worked until it broke."


@pytest.mark.parametrize("n", [1, 2, 3, 5])
@pytest.mark.parametrize("context", ["", "t", "th", "the mouse", "zzz", "."])
def test_after_every_context_the_probabilities_sum_to_one(n, context):
    model = NGram(TEXT, n, strength=0.7)
    total = sum(model.probability(context, letter) for letter in model.alphabet)
    assert total == pytest.approx(1.0)


def test_by_hand():
    model = NGram("banana", 2, strength=1)
    assert model.probability("", "a") == pytest.approx((3 + 1 / 3) / 7)
    assert model.probability("a", "n") == pytest.approx((2 + 7 / 21) / 3)
    assert model.probability("a", "b") == pytest.approx(4 / 63)


def test_only_the_last_characters_of_a_context_count():
    model = NGram(TEXT, 3, strength=2)
    for letter in model.alphabet:
        assert model.probability("any th", letter) == model.probability("th", letter)


def test_bits_are_the_mean_of_the_characters():
    model = NGram("banana", 2, strength=1)
    probabilities = [model.probability("", "n"), model.probability("n", "a")]
    expected = -math.log2(math.prod(probabilities)) / 2
    assert bits_per_character(model, "na") == pytest.approx(expected)


def test_a_model_of_one_letter_is_sure():
    assert bits_per_character(NGram("aaaa", 3, strength=1), "aa") == pytest.approx(0.0)


def test_a_character_that_was_never_seen_has_no_probability():
    with pytest.raises(ValueError, match="'z'"):
        NGram("banana", 2, strength=1).probability("a", "z")


@pytest.mark.parametrize(
    ("text", "n", "strength"), [("", 2, 1), ("a", 0, 1), ("a", 1, 0)]
)
def test_what_makes_no_model_is_refused(text, n, strength):
    with pytest.raises(ValueError):
        NGram(text, n, strength)
