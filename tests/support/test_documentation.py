"""Questions about documentation: spans are where they should be, parts are apart, and
what was written by hand is in its passage.
"""

import re
from collections import Counter

import pytest

from finetuning.data import documentation
from finetuning.data.corpora import near_duplicate_groups
from finetuning.data.documentation import Entry

DOCSTRING = """Add two numbers.

Parameters
----------
a : int or float, default=1
    The first number. See :func:`~x.y` for more.
b, c : int
    Two at once are not read.
mode : {'fast', 'slow'}, optional
    How it is done [1]_. By default, 'fast' is used. Default is 'fast'.

    - `'fast'`: a list is not read
out : ndarray
    Short.

Returns
-------
d : int
    The sum of both numbers.
"""


@pytest.fixture(scope="module")
def made():
    return {part: documentation.made(part) for part in ("train", "validation", "test")}


def test_entries_of_a_docstring():
    a, mode = documentation.entries(DOCSTRING)
    assert a == Entry(
        "a", "int or float, default=1", "The first number. See x.y for more."
    )
    assert (mode.name, mode.type) == ("mode", "{'fast', 'slow'}, optional")
    assert mode.description.endswith("Default is 'fast'.")


def test_what_the_rule_reads_off():
    a, mode = documentation.entries(DOCSTRING)
    assert documentation.default_of(a) == "1"
    assert documentation.default_of(mode) == "'fast'"
    assert documentation.type_of(a) == "int or float"
    assert documentation.type_of(mode) is None
    assert documentation.values_of(mode) == "{'fast', 'slow'}"
    assert documentation.values_of(a) is None
    assert documentation.meaning_of(a) == "The first number."


def test_a_docstring_without_parameters():
    assert documentation.entries("One line.") == []
    assert documentation.windows([]) == []


def test_windows_hold_all_entries_in_their_order():
    entries = [Entry(f"x{n}", "int", "word " * 20) for n in range(9)]
    cut = documentation.windows(entries)
    assert [entry for window in cut for entry in window] == entries
    assert len(cut) > 1
    assert all(len(window) >= 1 for window in cut)


def test_a_span_is_the_answer(made):
    for rows in made.values():
        for each in rows:
            if each.answers:
                end = each.start + len(each.answers[0])
                assert each.passage[each.start : end] == each.answers[0]
            else:
                assert each.start is None


def test_a_default_is_found_behind_its_word_and_not_before():
    entry = Entry("n", "int, default=1", "Of 1 or more.")
    assert documentation.span_of(entry.text, entry, "default") == ("1", 17)


def test_of_three_questions_two_are_answered(made):
    for rows in made.values():
        assert len(rows) % 3 == 0
        for place in range(0, len(rows), 3):
            assert [each.answerable for each in rows[place : place + 3]] == [
                True,
                True,
                False,
            ]


def test_enough_to_train_to_decide_and_to_test(made):
    assert len(made["train"]) >= 1_500
    assert len(made["validation"]) >= 240
    assert len(made["test"]) >= 800
    assert {each.kind for each in made["test"] if each.answers} == {
        *documentation.KINDS,
        "gap",
    }


def test_no_function_and_no_passage_is_in_two_parts(made):
    sources = [{each.source for each in rows} for rows in made.values()]
    assert not sources[0] & sources[1]
    assert {name.partition(".")[0] for name in sources[0] | sources[1]} == {
        "numpy",
        "scipy",
    }
    assert {name.partition(".")[0] for name in sources[2]} == {"sklearn"}
    texts = [text for part in made for text in documentation.passages(part)]
    assert len(set(near_duplicate_groups(texts))) == len(texts)


def test_the_test_asks_in_words_that_training_has_not():
    for trained, new in documentation.WORDINGS.values():
        assert not set(trained) & set(new)


def _wording(question):
    """The wording of training that a question about a parameter has, or None."""
    for trained, _ in documentation.WORDINGS.values():
        for wording in trained:
            pattern = re.escape(wording)
            pattern = pattern.replace(r"\{name\}", r"\w+").replace(r"\{text\}", ".+")
            if re.fullmatch(pattern, question.question):
                return wording
    return None


def test_no_wording_tells_whether_there_is_an_answer(made):
    asked = Counter(map(_wording, made["train"]))
    refused = Counter(_wording(each) for each in made["train"] if not each.answers)
    assert asked.keys() - {None} == {
        wording for trained, _ in documentation.WORDINGS.values() for wording in trained
    }
    for wording in asked.keys() - {None}:
        assert 0.15 <= refused[wording] / asked[wording] <= 0.85


@pytest.mark.parametrize(
    "description", ["By default all.", "If None, all are used.", "If not given, 3."]
)
def test_what_states_a_default_in_other_words_is_not_asked_as_silent(description):
    assert documentation.states_default(Entry("n", "int", description))
    assert not documentation.states_default(Entry("n", "int", "How many there are."))


def test_what_is_not_answered_is_not_answered_by_the_rule_either(made):
    rows = [each for each in made["test"] if each.kind == "another passage"]
    answered = [
        each
        for each in rows
        if documentation.by_rule(each.passage, each.question) is not None
    ]
    assert len(answered) <= 0.01 * len(rows)  # of words that happen to be names


def test_the_rule_is_right_about_nearly_all_of_its_own_questions(made):
    right = [
        documentation.by_rule(each.passage, each.question)
        == (each.answers[0] if each.answers else None)
        for each in made["test"]
    ]
    assert sum(right) >= 0.99 * len(right)


def test_a_gap_by_hand():
    sentence = "Stop when a step of the search gains less than this value."
    before, answer, after, whole = documentation.gap_of(sentence, 3)
    assert whole == sentence[:-1]
    assert answer in whole
    question = f"{before} what {after}".strip() + "?"
    assert documentation.by_gap(sentence, question) == answer
    question = f"What {before} {after}".strip() + "?"
    assert documentation.by_gap(sentence, question) == answer
    assert documentation.gap_of("Too short for it.", 0) is None
    assert documentation.by_gap(sentence, "What is tol?") is None


def test_written_questions_are_many_and_their_answers_stand_in_their_passages():
    rows = documentation.written()
    assert sum(each.answerable for each in rows) >= 100
    assert sum(not each.answerable for each in rows) >= 30
    assert len({each.question for each in rows}) >= len(rows) - 2
    for each in rows:
        assert each.question.endswith("?")
        assert all(answer in each.passage for answer in each.answers)


def test_no_rule_made_a_written_question(made):
    asked = {each.question for rows in made.values() for each in rows}
    assert not asked & {each.question for each in documentation.written()}
