"""What chapter 17 exports."""

import numpy as np
import pytest

from finetuning.scratch.summarization import (
    common_words,
    most_central,
    names_and_numbers,
    sentences,
    share_found,
    unsupported,
)


def test_sentences_end_before_a_capital_or_a_digit():
    text = "It rained. Then it stopped! Why? 9 cars came.\nThey left. e.g. by ferry."
    assert sentences(text) == [
        "It rained.",
        "Then it stopped!",
        "Why?",
        "9 cars came.",
        "They left. e.g. by ferry.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Mr. Smith and Mrs. Hill met Dr. Calder and J. P. Morgan.",
        "It costs 3.5 million in the U.S. Senate.",
        'He said "no. and" again.',
    ],
)
def test_what_ends_no_sentence(text):
    assert sentences(text) == [text]


def test_quotes_stay_with_their_sentence():
    text = '"We cannot say." "Why?" asked Ruth. (Nobody knew.)'
    assert sentences(text) == [
        '"We cannot say."',
        '"Why?" asked Ruth.',
        "(Nobody knew.)",
    ]


def test_an_empty_line_ends_a_sentence_and_a_line_break_does_not():
    assert sentences("A heading\n\nOne that\ngoes on\n \n\n") == [
        "A heading",
        "One that goes on",
    ]
    assert sentences(" \n\n ") == []


def unit(*rows):
    vectors = np.array(rows, dtype=float)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_most_central_is_nearest_to_all():
    vectors = unit((1, 0), (1, 1), (0, 1), (1, 0.9))
    assert most_central(vectors, 1) in ([1], [3])
    assert most_central(vectors, 2, novelty=0.0) == [1, 3]


def test_novelty_turns_away_from_what_is_chosen():
    vectors = unit((1, 0, 0), (1, 0.01, 0), (1, 0, 0.01), (0.6, 0.8, 0))
    assert 3 not in most_central(vectors, 2, novelty=0.0)
    assert 3 in most_central(vectors, 2, novelty=1.0)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_places_come_in_order_and_once(count):
    generator = np.random.default_rng(count)
    vectors = unit(*generator.normal(size=(5, 4)))
    before = vectors.copy()
    chosen = most_central(vectors, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, 5)
    assert (vectors == before).all()


def test_one_sentence_is_central():
    assert most_central(unit((1, 2))) == [0]
    assert most_central(np.zeros((0, 3))) == []


def test_common_words_are_those_that_are_mostly_small():
    texts = ["The police saw Blair. The Police left.", "Then police and Blair met."]
    common = common_words(texts)
    assert "police" in common
    assert "blair" not in common
    assert "the" not in common  # it only begins sentences here


def test_names_and_numbers_of_a_line():
    common = {"bridge", "shut"}
    line = "Police Shut bridge: 9,000 Cars, said Ruth Calder of U2. B"
    assert names_and_numbers(line, common) == ["9,000", "Cars", "Ruth", "Calder", "2."]
    assert names_and_numbers("12 ferries", common) == ["12"]
    assert names_and_numbers("", common) == []


def test_names_and_numbers_that_are_not_in_the_text():
    text = "About 9,000 cars cross Elm Point's bridge, said Ruth Calder of the UK."
    common = {"bridge", "cars", "shut", "of"}
    assert unsupported("Bridge Shut: 9000 Cars Of elm Point", text, common) == []
    assert unsupported("Forth bridge, 12,000 cars", text, common) == ["12,000"]
    assert unsupported("The Forth bridge, 12,000 cars", text, common) == [
        "Forth",
        "12,000",
    ]
    assert unsupported("CALDER'S bridge in Uk", text, common) == []
    assert unsupported("A plan B", text, common) == []
    assert unsupported("9,000. 9", text, common) == ["9"]
    assert unsupported("", text, common) == []


def test_the_share_of_a_lines_words_that_stand_in_a_text():
    assert share_found("The bridge, closed.", "Bridge closed early") == 2 / 3
    assert share_found("", "Bridge") == 0.0
