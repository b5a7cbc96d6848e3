"""`make ask`: every question gets an answer or a clear sentence."""

import json
import os
import subprocess
import sys

import ask
import numpy as np
import pytest
from notebooks import ROOT

MODEL = "all-MiniLM-L6-v2"


@pytest.fixture
def chapters(tmp_path):
    """A book of two sections."""
    folder = tmp_path / "chapters"
    folder.mkdir()
    cells = [
        ("# 04 · Self-attention\n\nPromise.", "title"),
        (
            "## Keep the scores small\n\nScores are divided by the root of their "
            "width. So their standard deviation is one.",
            "root",
        ),
        ("## Padding\n\nA mask hides what was filled up. It costs nothing.", "mask"),
    ]
    content = {
        "cells": [
            {"cell_type": "markdown", "id": id_, "source": source}
            for source, id_ in cells
        ]
    }
    (folder / "04-self-attention.ipynb").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("question", ["", "   ", "?!", "\n", "… — …", "123"])
def test_no_question_is_told_how_to_ask(question):
    with pytest.raises(ask.AskError, match="make ask Q="):
        ask.checked(question)


@pytest.mark.parametrize("question", ["为什么要除以根号d?", "Зачем делить на корень?"])
def test_another_script_is_told_to_be_english(question):
    with pytest.raises(ask.AskError, match="ask in English"):
        ask.checked(question)


def test_a_question_that_is_too_long():
    with pytest.raises(ask.AskError, match="at most"):
        ask.checked("why " * 200)


@pytest.mark.parametrize(
    "question", ["Why `B` = $0$?", 'What does "[CLS]" do?', "Pourquoi diviser ?"]
)
def test_signs_and_latin_letters_do_no_harm(question):
    assert ask.checked(f"  {question}\n") == question


def test_an_answer_has_a_quotation_and_a_link(chapters, tmp_path):
    asked = "Why are scores divided by the root of the width?"
    text = ask.answer(asked, chapters, tmp_path / "v.npz")
    assert "04 · Self-attention › Keep the scores small" in text
    assert "divided by the root" in text
    assert "→ chapters/04-self-attention.ipynb#keep-the-scores-small" in text
    assert "/chapters/04-self-attention.html#keep-the-scores-small" in text


def test_a_question_about_nothing_in_the_book(chapters, tmp_path):
    text = ask.answer("How do I bake a cherry cake?", chapters, tmp_path / "v.npz")
    assert text.startswith(("Nothing in the book", "The book may not answer"))


def test_only_what_is_new_is_embedded(tmp_path):
    file = tmp_path / "deep" / "vectors.npz"
    seen = []

    def embed(texts):
        seen.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts])

    first = ask.cached_vectors(["one", "three"], file, embed)
    again = ask.cached_vectors(["three", "four", "one"], file, embed)
    assert seen == [["one", "three"], ["four"]]
    assert first.tolist() == [[3, 1], [5, 1]]
    assert again.tolist() == [[5, 1], [4, 1], [3, 1]]
    file.write_bytes(b"broken")
    assert ask.cached_vectors(["one"], file, embed).tolist() == [[3, 1]]


@pytest.mark.parametrize(
    "question", ['a "quoted" $x $(y) `ls` $$ end', "it's $5", "", "$(", "a; rm -rf b"]
)
def test_make_hands_a_question_over_letter_by_letter(question):
    echo = "import sys; print(repr(sys.argv[2:]))"
    environment = {name: value for name, value in os.environ.items() if name != "Q"}
    done = subprocess.run(
        ["make", "-s", "-o", ".venv/ready", "ask", f"Q={question}",
         f"PYTHON={sys.executable} -c '{echo}'"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == repr([question])
