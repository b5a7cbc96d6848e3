"""Rules for code cells: what they may do, how long they are, how they are written."""

import ast
import builtins
import re
from collections.abc import Iterator

from notebooks import Finding, numbered, tags
from syntax import (
    global_names,
    inner_semicolons,
    packed_assignments,
    statements,
    without_magics,
)

from rules.page import EVERYWHERE, EXECUTED, Page, rule

MOST_STATEMENTS = 20
SHELL = re.compile(
    r"^[ \t]*(?:!(?!=)|%(?:pip|conda|system|sx)\b|%%(?:bash|sh)\b)", re.MULTILINE
)


@rule(*EVERYWHERE)
def set_up(page: Page) -> Iterator[Finding]:
    """The first code cell is the set-up cell; no other installs or calls the shell."""
    marked = [
        number for number, cell in numbered(page.notebook) if "setup" in tags(cell)
    ]
    if len(marked) != 1 or not page.code or marked[0] != page.code[0][0]:
        yield Finding(
            page.place, "the first code cell, and no other, must be tagged `setup`."
        )
    for number, cell in page.code:
        if "setup" not in tags(cell):
            for place, _ in page.find(SHELL, cell.source, number):
                yield Finding(place, "calls the shell; only the set-up cell may.")


@rule(*EVERYWHERE)
def short_cells(page: Page) -> Iterator[Finding]:
    """A cell does one thing. Lines are not counted: that would be met by packing."""
    for number, cell in page.code:
        if not cell.source.strip():
            yield Finding(page.at(number), "is empty.")
        try:
            count = statements(ast.parse(without_magics(cell.source)))
        except SyntaxError:
            continue
        if count > MOST_STATEMENTS:
            sentence = f"has {count} statements; at most {MOST_STATEMENTS} are allowed."
            yield Finding(page.at(number), sentence)


@rule(*EVERYWHERE)
def one_statement_a_line(page: Page) -> Iterator[Finding]:
    """Two statements on one line hide the second. A `;` at a cell's end hides its
    value, and stays.
    """
    for number, cell in page.code:
        source = without_magics(cell.source)
        for line in inner_semicolons(source):
            sentence = "two statements in one line; only a cell's last may end in `;`."
            yield Finding(page.at(number, line), sentence)
        try:
            lines = packed_assignments(ast.parse(source))
        except SyntaxError:
            continue
        for line in lines:
            sentence = (
                "assigns several values in one line; that is for swaps and for "
                "unpacking one value."
            )
            yield Finding(page.at(number, line), sentence)


@rule(*EXECUTED)
def visible_names(page: Page) -> Iterator[Finding]:
    """What a cell on the page uses is defined and imported on the page."""
    shown: set[str] = set(dir(builtins))
    removed: set[str] = set()
    for number, cell in page.code:
        bound, used = global_names(cell.source)
        if "remove-cell" in tags(cell):
            removed |= bound
            continue
        shown |= bound
        for name in sorted((used & removed) - shown):
            sentence = f"uses `{name}`, which only a cell that is not shown defines."
            yield Finding(page.at(number), sentence)
            shown.add(name)  # said once
