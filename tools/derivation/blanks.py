"""exercises/NN-*.ipynb from solutions/NN-*.ipynb, with the answers taken out.

What is different in a blank from its master, and nothing else is:

- `### BEGIN SOLUTION` … `### END SOLUTION` and what is between them: inside a function
  or class it becomes `raise NotImplementedError`; at top level every name that it
  defines and that is used elsewhere in the notebook becomes `name = ...`, and where
  there is no such name it becomes `raise NotImplementedError`.
- A cell tagged `solution-only` is left out. A Markdown cell tagged `exercise-only` is
  one HTML comment in the master, where nobody sees it, and its text without the comment
  marks in the blank.
- A link to the blank itself becomes one to the master, its text "solutions" or "the
  solutions"; the title says "exercises" for "solutions".
- No outputs, no execution counts; a note on where it comes from; `derived_from` in its
  metadata.
"""

import ast
import copy
import itertools
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from notebooks import (
    NOTEBOOK_METADATA,
    Finding,
    NotebookNode,
    Place,
    nbformat,
    numbered,
    tags,
)
from syntax import defined_names, used_names, without_magics

from derivation import GENERATED, Problems

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
MARKER = re.compile(r"\b(?:BEGIN|END)[\s_-]*SOLUTIONS?\b", re.IGNORECASE)
# How alike a line's letters are to a marker's before it is taken for one misspelt.
LIKENESS = 0.85
EXERCISE = re.compile(r"^##\s+Exercise\b", re.IGNORECASE | re.MULTILINE)


def blank(master: NotebookNode, name: str) -> NotebookNode:
    """The exercises of a solutions notebook, whose path from the root is `name`.

    Raises
    ------
    Problems: markers that do not fit together, are misspelt or stand in Markdown, and
        exercises without an answer, each with file, cell and line.
    """
    findings = misplaced_markers(master, name)
    cells = []
    for number, cell in numbered(master):
        if "solution-only" in tags(cell):
            continue
        try:
            cells.append(blank_cell(cell, master, Place(name, cell.id, number)))
        except Problems as problem:
            findings += problem.findings
    # A misspelt marker also leaves its exercise without an answer: one cause is said
    # once.
    findings = findings or exercises_without_answer(master, name)
    if findings:
        raise Problems(*findings)
    if cells and cells[0].cell_type == "markdown":
        cells[0].source = with_note(cells[0].source, name)
    return nbformat.from_dict(
        {
            "cells": cells,
            "metadata": NOTEBOOK_METADATA | {"derived_from": name},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def blank_cell(cell: NotebookNode, master: NotebookNode, place: Place) -> NotebookNode:
    """One cell of a blank.

    Raises
    ------
    Problems: as in `blank`, for this cell.
    """
    cell = copy.deepcopy(cell)
    if "exercise-only" in tags(cell):
        cell.source = uncommented(cell, place)
        kept = [
            tag for tag in tags(cell) if tag not in ("exercise-only", "remove-cell")
        ]
        del cell.metadata["tags"]
        if kept:
            cell.metadata["tags"] = kept
    if cell.cell_type == "code":
        others = [
            other.source
            for other in master.cells
            if other.cell_type == "code" and other.id != cell.id
        ]
        cell.source = without_answers(cell.source, place, others)
        cell.outputs = []
        cell.execution_count = None
    elif cell.cell_type == "markdown":
        cell.source = turned_links(cell.source, Path(place.file).name)
    return cell


def uncommented(cell: NotebookNode, place: Place) -> str:
    """The text inside the HTML comment that a cell tagged `exercise-only` is."""
    text = cell.source.strip()
    if cell.cell_type != "markdown" or not (
        text.startswith("<!--") and text.endswith("-->")
    ):
        sentence = (
            "is tagged exercise-only and is not Markdown inside one `<!-- … -->`."
        )
        raise Problems(Finding(place, sentence))
    return text.removeprefix("<!--").removesuffix("-->").strip()


def with_note(source: str, name: str) -> str:
    """The first cell of a blank: its title says exercises, and a note says where it is
    from.
    """
    title, _, rest = source.partition("\n")
    title = re.sub(r"\bsolutions\b", "exercises", title)
    title = re.sub(r"\bSolutions\b", "Exercises", title)
    note = f"<!-- {GENERATED} {name}; edit that file. -->"
    return f"{title}\n\n{note}\n{rest}".rstrip("\n")


def turned_links(text: str, file: str) -> str:
    """Links of a master to its blank lead, in the blank, to the master, and their text
    says so.
    """
    link = re.compile(
        r"\[(?P<text>[^\]]*)\]\(\.\./exercises/"
        + re.escape(file)
        + r"(?P<anchor>#[^)\s]*)?\)"
    )

    def turned(match: re.Match[str]) -> str:
        words = match["text"]
        article = "the " if words.lower().startswith("the ") else ""
        name = f"{article}solutions"
        name = name.capitalize() if words[:1].isupper() else name
        return f"[{name}](../solutions/{file}{match['anchor'] or ''})"

    return link.sub(turned, text)


# Answers


@dataclass(frozen=True)
class Answer:
    """Lines `begin` to `end` (its markers, from 0) and the code between them."""

    begin: int
    end: int
    indentation: str
    code: str


def is_marker(line: str) -> bool:
    """Whether a line is a marker, or was meant to be one."""
    letters = re.sub(r"[^A-Z]", "", line.upper())
    meant = get_close_matches(letters, ["BEGINSOLUTION", "ENDSOLUTION"], 1, LIKENESS)
    return bool(MARKER.search(line) or meant)


def misplaced_markers(master: NotebookNode, name: str) -> list[Finding]:
    """Markers in cells that are not code: nothing would be taken out there."""
    sentence = f"a marker of answers outside of code; `{BEGIN}` has no effect here."
    return [
        Finding(Place(name, cell.id, number, line), sentence)
        for number, cell in numbered(master)
        if cell.cell_type != "code"
        for line, text in enumerate(cell.source.split("\n"), start=1)
        if is_marker(text)
    ]


def exercises_without_answer(master: NotebookNode, name: str) -> list[Finding]:
    """Exercises, up to the next heading, in which nothing is marked as an answer."""
    starts = [
        number
        for number, cell in numbered(master)
        if cell.cell_type == "markdown" and EXERCISE.search(cell.source)
    ]
    findings = []
    for start, end in itertools.pairwise([*starts, len(master.cells) + 1]):
        cells = master.cells[start - 1 : end - 1]
        if not any(cell.cell_type == "code" and BEGIN in cell.source for cell in cells):
            heading = Place(name, cells[0].id, start)
            sentence = f"an exercise without an answer between `{BEGIN}` and `{END}`."
            findings.append(Finding(heading, sentence))
    return findings


def answers(source: str, place: Place) -> list[Answer]:
    """The answers of a cell.

    Raises
    ------
    Problems: for an unclosed, nested, stray, misspelt, wrongly indented or empty pair
        of markers.
    """

    def problem(line: int, sentence: str) -> Problems:
        return Problems(Finding(place.at_line(line + 1), sentence))

    lines = source.split("\n")
    complete: list[Answer] = []
    opened: int | None = None
    for number, line in enumerate(lines):
        if not is_marker(line):
            continue
        if line.strip() not in (BEGIN, END):
            sentence = f"a marker is a line of its own, exactly `{BEGIN}` or `{END}`."
            raise problem(number, sentence)
        if line.strip() == BEGIN:
            if opened is not None:
                sentence = f"`{BEGIN}` inside the answer that line {opened + 1} begins."
                raise problem(number, sentence)
            opened = number
            continue
        if opened is None:
            raise problem(number, f"`{END}` without a `{BEGIN}` before it.")
        answer = Answer(
            begin=opened,
            end=number,
            indentation=indentation(lines[opened]),
            code="\n".join(lines[opened + 1 : number]),
        )
        if indentation(line) != answer.indentation:
            sentence = (
                f"`{END}` is not indented like its `{BEGIN}` in line {opened + 1}."
            )
            raise problem(number, sentence)
        if not has_code(answer.code):
            raise problem(opened, "there is no code between the markers.")
        complete.append(answer)
        opened = None
    if opened is not None:
        raise problem(opened, f"`{BEGIN}` without an `{END}` after it.")
    return complete


def indentation(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def has_code(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n")]
    return any(line and not line.startswith("#") for line in lines)


def without_answers(source: str, place: Place, others: list[str]) -> str:
    """A cell's source with a stub for every answer.

    Parameters
    ----------
    others: the sources of the notebook's other code cells, which say which names are
        needed.

    Raises
    ------
    Problems: as in `answers`, and where the cell or its blank does not parse.
    """
    marked = answers(source, place)
    if not marked:
        return source
    lines = source.split("\n")
    rest = list(lines)
    for answer in reversed(marked):
        del rest[answer.begin : answer.end + 1]
    needed = set().union(*(used_names(text) for text in [*others, "\n".join(rest)]))
    for answer in reversed(marked):
        lines[answer.begin : answer.end + 1] = stub(answer, needed)
    text = "\n".join(lines)
    for name, code in (("the cell", source), ("the blank made from the cell", text)):
        try:
            ast.parse(without_magics(code))
        except SyntaxError as error:
            sentence = f"{name} does not parse: {error.msg}."
            raise Problems(Finding(place.at_line(error.lineno), sentence)) from None
    return text


def stub(answer: Answer, needed: set[str]) -> list[str]:
    """The lines that stand in an answer's place."""
    if not answer.indentation:
        try:
            names = defined_names(ast.parse(answer.code))
        except SyntaxError:  # half of a statement, or a magic
            names = []
        lines = [f"{name} = ..." for name in names if name in needed]
        if lines:
            return lines
    return [f"{answer.indentation}raise NotImplementedError"]
