"""The book's text and the questions about it."""

import json
import re

import pytest
from notebooks import ROOT

from finetuning.data import book


def notebook(folder, name, *cells):
    content = {
        "cells": [
            {"cell_type": kind, "id": id_, "source": source}
            for id_, kind, source in cells
        ]
    }
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        (
            "a **bold** and *slanted* [link](x.ipynb#y) `code`",
            "a bold and slanted link `code`",
        ),
        ("*under*flow and 2 * 3 * 4", "underflow and 2 * 3 * 4"),
        ("one\n\n$$\nx = 1\n$$\n\ntwo", "one\n…\ntwo"),
        ("- one\n- two\n\n1. three", "one\ntwo\nthree"),
        ("| a | b |\n|:--|--:|\n| 1 | 2 |", "| a | b |\n| 1 | 2 |"),
        ("before\n\n```python\ncode = 1\n```\n\nbehind", "before\nbehind"),
        ("<!-- no --><details><summary>Hint</summary> yes</details>", "Hint yes"),
        ("in the $x_1$ of `**kwargs`", "in the $x_1$ of `**kwargs`"),
    ],
)
def test_markdown_as_a_reader_sees_it(markdown, text):
    assert book.plain(markdown) == text


def test_pieces_have_the_heading_that_they_stand_under(tmp_path):
    notebook(
        tmp_path,
        "04-some-words.ipynb",
        ("title", "markdown", "# 04 · Some words\n\nA promise."),
        ("before", "markdown", "No heading yet."),
        ("one", "markdown", "## One thing\n\nText.\n\n### Its part?\n\nMore."),
        ("code", "code", "## no = heading"),
        ("on", "markdown", "And on."),
        ("end", "markdown", "## Summary\n\nAll of it again."),
        ("links", "markdown", "Exercises: [04](x)"),
    )
    assert [
        (each.heading, each.anchor, each.cell, each.text)
        for each in book.read(tmp_path)
    ] == [
        ("04 · Some words", "04--some-words", "before", "No heading yet."),
        ("One thing", "one-thing", "one", "Text."),
        ("Its part?", "its-part", "one", "More."),
        ("Its part?", "its-part", "on", "And on."),
    ]


def test_chapters_are_left_out_by_number(tmp_path):
    for number in ("18", "19"):
        notebook(tmp_path, f"{number}-x.ipynb", ("a", "markdown", "## H\n\nText."))
    assert {each.chapter for each in book.read(tmp_path, ["19"])} == {"18-x"}


def test_a_folder_without_chapters_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="no chapter"):
        book.read(tmp_path)


def test_the_snapshot_has_all_chapters_but_those_left_out():
    chapters = {each.chapter[:2] for each in book.snapshot()}
    assert not chapters & set(book.LEFT_OUT)
    assert len(chapters) >= 16
    assert not any(each.chapter.endswith("exercises") for each in book.snapshot())


def test_nothing_unfinished_is_in_the_snapshot():
    for each in book.snapshot():
        assert not re.search(r"@[A-Z-]+@", each.text)
        assert each.text and each.heading


def test_places_are_headings_of_notebooks():
    for each in book.snapshot():
        assert (ROOT / each.place.partition("#")[0]).is_file()
        assert each.anchor == book.anchor_of(each.heading)


def test_enough_questions_of_each_kind():
    answerable = book.answerable()
    assert len(answerable) >= 100
    assert sum(map(book.shares_no_word, answerable)) >= 50
    assert len(book.unanswerable()) >= 50
    assert len(book.follow_ups()) >= 20
    everything = answerable + book.unanswerable() + book.follow_ups()
    assert len({each.question for each in everything}) >= len(everything) - 2


def test_every_answer_stands_in_the_book():
    for each in book.answerable() + book.follow_ups():
        for phrase in each.answers:
            assert any(phrase in piece.text for piece in book.snapshot()), phrase
        assert each.headings()


def test_answers_that_were_marked_late_say_so():
    late = [each for each in book.answerable() if each.marked_late]
    assert len(late) == 13
    assert all(len(each.answers) > 1 for each in late)
    assert not any(each.marked_late for each in book.unanswerable())


def test_questions_are_about_all_chapters():
    about = {
        piece.chapter[:2]
        for piece in book.snapshot()
        for each in book.answerable()
        if each.answered_by(piece.text)
    }
    assert about == {each.chapter[:2] for each in book.snapshot()}


def test_a_follow_up_knows_what_was_asked_before():
    asked = {each.question for each in book.answerable()}
    for each in book.follow_ups():
        assert each.after in asked


def test_content_words_forget_endings_and_small_words():
    assert book.content_words("Which merges are merged?") == {"merge"}
    question = book.BookQuestion("Why merge?", ("x",))
    assert question.answered_by("a x b")
    assert not question.answered_by("y")
