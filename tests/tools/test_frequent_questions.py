"""Chapter 24: how many questions there are, how short the answers, which are shown."""

import re

from contents import read_contents
from notebooks import ROOT, read

CHAPTER = read(ROOT / "chapters/24-frequent-questions.ipynb", ROOT)
PROMISE = next(each for each in read_contents().chapters if each.number == 24).promise
LONGEST = 70  # words
MOST_SENTENCES = 5


def answers(cells):
    """Each question with its answer's text and the code cells below it."""
    found = {}
    question = None
    for cell in cells:
        if cell.cell_type == "code":
            if question:
                found[question][1].append(cell.source)
            continue
        for part in re.split(r"(?m)^(?=#{2,3} )", cell.source):
            heading, _, text = part.partition("\n")
            if heading.startswith("### "):
                question = heading.removeprefix("### ")
                assert question not in found, question
                found[question] = (text.strip(), [])
            elif heading.startswith("## "):
                question = None
    return found


ANSWERS = answers(CHAPTER.cells)
SHOWN = [
    question
    for question, (_, code) in ANSWERS.items()
    if any("claim(" in source for source in code)
]


def test_there_are_as_many_as_the_chapter_says():
    assert len(ANSWERS) >= 60
    assert len(SHOWN) >= 20
    assert f"{len(ANSWERS)} questions" in CHAPTER.cells[0].source
    assert f"Below {len(SHOWN)} of them" in CHAPTER.cells[0].source
    assert PROMISE.startswith(f"{len(ANSWERS)} of them")
    assert f"; {len(SHOWN)} have a cell" in PROMISE


def test_every_cell_below_a_question_belongs_to_one_that_is_shown():
    assert [
        question
        for question, (_, code) in ANSWERS.items()
        if code and question not in SHOWN
    ] == []


def test_answers_are_short():
    assert {
        question: text
        for question, (text, _) in ANSWERS.items()
        if len(text.split()) > LONGEST
        or len(re.findall(r"[.?!](?= |\n|$)", text)) > MOST_SENTENCES
    } == {}
