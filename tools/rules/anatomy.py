"""Rules for what a chapter, its solutions and its exercises consist of."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from contents import read_contents
from derivation.blanks import BEGIN
from derivation.scratch import directives
from notebooks import MEASURED, Finding, NotebookNode, measured_numbers, tags

from rules.page import Page, rule

FEWEST_EXERCISES = 5  # from chapter 2 on
EXERCISE = re.compile(r"Exercise (?P<chapter>\d+)\.(?P<number>\d+) · \S")
HINT = re.compile(r"<details[^>]*>\s*<summary>\s*(?:<[^>]+>)*\s*Hint", re.IGNORECASE)


@rule("chapters")
def chapter_anatomy(page: Page) -> Iterator[Finding]:
    """A chapter opens with what it gives and takes, binds its claims, and closes with
    where to go on.
    """
    for sentence in [*opening_problems(page), *measured_problems(page)]:
        yield Finding(page.place, sentence)
    yield from closing_problems(page)
    if not any(re.search(r"\bclaim\(", cell.source) for _, cell in page.code):
        yield Finding(page.place, "asserts nothing: no cell calls claim(…).")


def opening_problems(page: Page) -> Iterator[str]:
    """What is missing before the set-up cell."""
    before_code = page.code[0][0] - 1 if page.code else len(page.notebook.cells)
    opening = [cell for cell in page.markdown if cell.number <= before_code]
    tokens = [
        token
        for cell in opening
        for token in cell.tokens
        if token.type not in ("html_block", "heading_close")
    ]
    # The title's heading and its text come first.
    starts = [token.type for token in tokens[2:3]]
    if starts != ["paragraph_open"] or tokens[3].content.startswith("**"):
        yield (
            "no promise: a paragraph that says what the chapter gives, below the title."
        )
    text = "\n\n".join(cell.cell.source for cell in opening)
    for part in ("What you will be able to do", "Builds on"):
        if part not in text:
            yield f"“{part}” is missing before the set-up cell."


def measured_problems(page: Page) -> Iterator[str]:
    """What is wrong with the line for the measured time and memory."""
    first = page.notebook.cells[0].source if page.notebook.cells else ""
    if not MEASURED.search(first):
        yield "the first cell has no line `<!-- measured -->` for its time and memory."
    elif not measured_numbers(first):
        yield f"its measured line is not filled in: make run NB={page.name}"


def closing_problems(page: Page) -> Iterator[Finding]:
    """What is missing at a chapter's end, or stands in another order."""
    order = []
    for part in ("What goes wrong", "Summary", "Further reading"):
        cells = [
            heading.cell
            for heading in page.headings
            if part.lower() in heading.text.lower()
        ]
        if not cells:
            yield Finding(page.place, f"no heading “{part}”.")
        order += cells[-1:]
    if order != sorted(order):
        yield Finding(
            page.place,
            "“What goes wrong”, “Summary” and “Further reading” stand in another "
            "order.",
        )
    if len(order) == 3 and cited(page, order[-1]) < 2:
        yield Finding(
            page.at(order[-1]),
            "further reading has fewer than two links to what is cited.",
        )
    last = page.notebook.cells[-1].source if page.notebook.cells else ""
    for folder in ("exercises", "solutions") if has_exercises(page) else ():
        if f"../{folder}/{Path(page.name).name}" not in last:
            yield Finding(page.place, f"the last cell does not link to its {folder}.")


def has_exercises(page: Page) -> bool:
    """Whether a notebook is one of the book's whose record does not say that there are
    none.
    """
    return page.number is not None and not any(
        chapter.number == page.number and not chapter.exercises
        for chapter in read_contents(page.root).chapters
    )


def cited(page: Page, first: int) -> int:
    """How many links lead out of the book, from a cell on."""
    return sum(
        token.type == "link_open" and str(token.attrs["href"]).startswith("https://")
        for cell in page.markdown
        if cell.number >= first
        for _, token in cell.pieces()
    )


@rule("solutions")
def solutions_anatomy(page: Page) -> Iterator[Finding]:
    """Enough exercises, each with hint, answer, its check after it, and a reason; one
    is a bug to find.
    """
    everything = "\n".join(cell.cell.source for cell in page.markdown)
    for folder in ("chapters", "exercises"):
        if f"../{folder}/{Path(page.name).name}" not in everything:
            sentence = f"has no link to ../{folder}/{Path(page.name).name}."
            yield Finding(page.place, sentence)
    for number, cell in page.code:
        if directives(cell):
            yield Finding(page.at(number), "`#| …`: only chapters export.")
    starts = [
        heading
        for heading in page.headings
        if heading.level == 2 and re.match(r"exercise\b", heading.text, re.IGNORECASE)
    ]
    if len(starts) < FEWEST_EXERCISES and page.number is not None:
        sentence = (
            f"has {len(starts)} exercises; at least {FEWEST_EXERCISES} are needed."
        )
        yield Finding(page.place, sentence)
    ends = [heading.cell for heading in starts] + [len(page.notebook.cells) + 1]
    broken = False
    for place, (heading, (begin, end)) in enumerate(
        zip(starts, pairwise(ends), strict=True), start=1
    ):
        at = page.at(heading.cell, heading.line)
        match = EXERCISE.match(heading.text)
        expected = (page.number, place)
        if not match or (int(match["chapter"]), int(match["number"])) != expected:
            sentence = f"the heading is not `## Exercise {page.number}.{place} · …`."
            yield Finding(at, sentence)
        cells = page.notebook.cells[begin - 1 : end - 1]
        broken = broken or is_break_it(heading.text, cells)
        for problem in exercise_problems(cells, page.number):
            yield Finding(at, problem)
    if starts and not broken:
        sentence = "no exercise is a break-it (in its heading, or a cell's tag)."
        yield Finding(page.place, sentence)


def is_break_it(heading: str, cells: list[NotebookNode]) -> bool:
    tagged = any("break-it" in tags(cell) for cell in cells)
    return tagged or bool(re.search(r"break[- ]it", heading, re.IGNORECASE))


def exercise_problems(cells: list[NotebookNode], chapter: int | None) -> Iterator[str]:
    """What one exercise lacks, from its heading to the next. That it has an answer is
    for tools/derive.py to see.
    """
    markdown = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if not HINT.search(markdown):
        yield "has no hint (`<details><summary>Hint</summary>…</details>`)."
    name = f"ch{chapter or 0:02d}"
    call = re.compile(rf"\bchecks\.{name}\.\w+\(")
    code = [
        (place, cell.source)
        for place, cell in enumerate(cells)
        if cell.cell_type == "code"
    ]
    answered = [place for place, source in code if BEGIN in source]
    checked = [place for place, source in code if call.search(source)]
    if not checked:
        yield f"has no check: no cell calls checks.{name}.…(…)."
    elif answered and checked[-1] <= answered[-1]:
        yield "its check does not stand in a cell of its own after the answer."
    if not any(
        cell.cell_type == "markdown" and "solution-only" in tags(cell) for cell in cells
    ):
        yield "has no explanation (a Markdown cell tagged solution-only)."


@rule("exercises")
def blank_anatomy(page: Page) -> Iterator[Finding]:
    """A blank is derived, and nobody has run it."""
    source = f"solutions/{Path(page.name).name}"
    if page.notebook.metadata.get("derived_from") != source:
        yield Finding(page.place, "is not derived from its solutions: make derive.")
    for number, cell in page.code:
        if cell.outputs or cell.execution_count is not None:
            yield Finding(page.at(number), "has been run: make derive.")
