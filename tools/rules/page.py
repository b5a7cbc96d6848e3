"""What a rule looks at, and the list of rules."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin
from notebooks import Finding, NotebookNode, Place, numbered

EVERYWHERE = ("chapters", "solutions", "exercises")
EXECUTED = ("chapters", "solutions")

# Without text_join an escaped character keeps the backslash that it was written with.
MARKDOWN = MarkdownIt("commonmark").enable("table").disable("text_join")
dollarmath_plugin(
    MARKDOWN,
    allow_space=False,
    allow_digits=False,
    allow_labels=True,
    double_inline=True,
)


@dataclass(frozen=True)
class Markdown:
    """A Markdown cell, parsed."""

    number: int
    cell: NotebookNode
    tokens: list[Token]
    references: dict[str, dict]

    def pieces(self) -> Iterator[tuple[int, Token]]:
        """All blocks, and what stands in them, with their lines, counted from 1."""
        for token in self.tokens:
            line = token.map[0] + 1 if token.map else 1
            yield line, token
            for child in token.children or []:
                if child.type in ("softbreak", "hardbreak"):
                    line += 1
                yield line, child

    def prose(self) -> Iterator[tuple[int, str]]:
        """The lines of text, with their places. Code is two backticks in them;
        mathematics and HTML are left out.
        """
        for block in self.tokens:
            if block.type != "inline":
                continue
            lines = [""]
            for child in block.children or []:
                if child.type in ("softbreak", "hardbreak"):
                    lines.append("")
                elif child.type == "code_inline":
                    lines[-1] += "``"
                elif child.type == "text_special":
                    lines[-1] += child.markup
                elif child.type == "text":
                    lines[-1] += child.content
            yield from enumerate(lines, start=block.map[0] + 1)


@dataclass(frozen=True)
class Heading:
    cell: int
    line: int
    level: int
    text: str


@dataclass(frozen=True)
class Page:
    """A notebook and where it lies."""

    notebook: NotebookNode
    name: str  # from the root: chapters/04-self-attention.ipynb
    root: Path
    size: int

    @property
    def kind(self) -> str:
        """chapters, solutions or exercises; what lies elsewhere is held to the rules
        for all.
        """
        return Path(self.name).parent.name

    @property
    def number(self) -> int | None:
        """The chapter's number, from the file's name."""
        digits = re.match(r"(\d\d)-", Path(self.name).name)
        return int(digits[1]) if digits else None

    @property
    def place(self) -> Place:
        return Place(self.name)

    def at(self, number: int, line: int | None = None) -> Place:
        return Place(self.name, self.notebook.cells[number - 1].id, number, line)

    @cached_property
    def code(self) -> list[tuple[int, NotebookNode]]:
        return [
            (number, cell)
            for number, cell in numbered(self.notebook)
            if cell.cell_type == "code"
        ]

    @cached_property
    def markdown(self) -> list[Markdown]:
        cells = []
        for number, cell in numbered(self.notebook):
            if cell.cell_type == "markdown":
                environment: dict = {}
                tokens = MARKDOWN.parse(cell.source, environment)
                references = environment.get("references", {})
                cells.append(Markdown(number, cell, tokens, references))
        return cells

    @cached_property
    def headings(self) -> list[Heading]:
        headings = []
        for cell in self.markdown:
            for place, token in enumerate(cell.tokens):
                if token.type == "heading_open":
                    line = token.map[0] + 1
                    text = cell.tokens[place + 1].content
                    headings.append(Heading(cell.number, line, int(token.tag[1]), text))
        return headings

    def find(
        self, pattern: re.Pattern[str], text: str, number: int
    ) -> Iterator[tuple[Place, re.Match[str]]]:
        """Where a pattern occurs in the text of a cell."""
        for match in pattern.finditer(text):
            yield self.at(number, text.count("\n", 0, match.start()) + 1), match


Rule = Callable[[Page], Iterator[Finding]]
RULES: list[tuple[Rule, tuple[str, ...]]] = []


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register a rule for notebooks of these kinds."""

    def register(function: Rule) -> Rule:
        RULES.append((function, kinds))
        return function

    return register
