"""Texts and their lines: nothing leaks, nothing of the line is left in the text."""

import pytest

from finetuning.data import summaries
from finetuning.data.corpora import near_duplicate_groups


@pytest.fixture(scope="module")
def docstrings():
    return {part: summaries.docstrings(part) for part in ("train", "test")}


def test_an_article_comes_without_its_headline():
    pairs = summaries.news("test", 0, 50)
    assert len(pairs) == 50
    for pair in pairs:
        assert not pair.whole.startswith(pair.line)
        assert pair.text == " ".join(pair.whole.split()[: summaries.OPENING_WORDS])
        assert pair.prompt.endswith(pair.text)
        assert [message["role"] for message in pair.chat] == ["user", "assistant"]
        assert pair.chat[1]["content"] == pair.line


def test_a_part_of_the_articles_is_a_part_of_all():
    assert summaries.news("train", 5, 3) == summaries.news("train")[5:8]


def test_enough_docstrings_to_train_to_decide_and_to_test(docstrings):
    assert len(docstrings["train"]) >= 440
    assert len(docstrings["test"]) >= 170


def test_the_test_library_is_none_of_those_trained_on(docstrings):
    libraries = {
        part: {pair.name.partition(".")[0] for pair in pairs}
        for part, pairs in docstrings.items()
    }
    assert libraries["train"] == {"numpy", "scipy", "torch"}
    assert libraries["test"] == {"sklearn"}


def test_no_line_and_no_text_comes_twice(docstrings):
    pairs = docstrings["train"] + docstrings["test"]
    lines = [pair.line.lower() for pair in pairs]
    assert len(set(lines)) == len(lines)
    texts = [f"{pair.line} {pair.text}" for pair in pairs]
    assert len(set(near_duplicate_groups(texts))) == len(texts)


def test_lines_and_descriptions_are_plain(docstrings):
    for pair in docstrings["train"] + docstrings["test"]:
        assert 4 <= len(pair.line.split()) <= 14
        assert pair.line.endswith(".")
        assert len(pair.whole.split()) >= summaries.FEWEST_WORDS
        assert not any(mark in pair.whole for mark in ("``", ":class:", ">>>", "===="))


def test_what_a_description_is():
    line, rest = summaries.description(
        "Add two\nnumbers.\n\nThe sum of ``a`` and `b`, see :func:`~x.add` [1]_.\nRead "
        "more in the :ref:`User Guide <adding>`.\n\nParameters\n----------\na : int"
    )
    assert line == "Add two numbers."
    assert rest == "The sum of a and b, see x.add."


@pytest.mark.parametrize(
    "end", ["Args:\n    a: one", ".. note::\n    this", ">>> 1 + 1", "==== ====\n1  2"]
)
def test_a_description_ends_before_sections_directives_and_code(end):
    assert summaries.description(f"One line.\n\nAnd more.\n\n{end}")[1] == "And more."


def test_a_docstring_without_a_description():
    assert summaries.description("One line.") == ("One line.", "")


def test_apart_drops_what_is_close_to_another():
    pairs = summaries.news("train", 0, 20)
    others = summaries.news("train", 20, 10)
    assert summaries.apart(pairs, [*others, pairs[3]]) == pairs[:3] + pairs[4:]
