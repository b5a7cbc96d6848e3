"""Rules for Markdown that every reader of notebooks shows alike."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from notebooks import Finding

from rules.page import EVERYWHERE, Markdown, Page, rule

HTML = {"br", "details", "kbd", "sub", "summary", "sup"}
TAG = re.compile(r"</?\s*(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<rest>[^<>]*)>")
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# What MyST or LaTeX, but not every reader of notebooks, makes something of.
FOREIGN = [
    (re.compile(r"^\s*:{3,}"), "a MyST directive; other readers show it as text."),
    (
        re.compile(r"\{[a-z][a-z0-9:_-]*\}`"),
        "a MyST role; other readers show it as text.",
    ),
    (re.compile(r"^\([\w-]+\)=\s*$"), "a MyST target; link to the notebook instead."),
    (re.compile(r"^\+\+\+"), "a MyST block break."),
    (re.compile(r"^%(?:\s|$)"), "a MyST comment; other readers show it as text."),
    (re.compile(r"\{\{.*?\}\}"), "a MyST substitution."),
    (
        re.compile(r"\[\^[^\]]+\]"),
        "a footnote; not every reader of notebooks knows them.",
    ),
    (
        re.compile(r"\\begin\{"),
        "LaTeX outside of `$$`: not every reader of notebooks shows it.",
    ),
    (re.compile(r"(?<!\\)\\[(\[]"), "mathematics goes between `$` or `$$`."),
]
BANNED = re.compile(
    r"\bIn this (?:section|chapter|notebook), we(?: will|'ll)\b"
    r"|\bIt is important to note\b|\bdelv(?:e|es|ing)\b|\bcrucial(?:ly)?\b"
    r"|\bpowerful\b|\bseamless(?:ly)?\b",
    re.IGNORECASE,
)


@rule(*EVERYWHERE)
def portable_markdown(page: Page) -> Iterator[Finding]:
    """A notebook reads well in Colab, JupyterLab, on GitHub and on the site."""
    for cell in page.markdown:
        for line, sentence in foreign(cell):
            yield Finding(page.at(cell.number, line), sentence)


def foreign(cell: Markdown) -> Iterator[tuple[int, str]]:
    """What other readers of notebooks show wrongly, with its line."""
    for line, text in cell.prose():
        for pattern, sentence in FOREIGN:
            if pattern.search(text):
                yield line, sentence
    for line, token in cell.pieces():
        if token.type == "fence" and token.info.startswith("{"):
            yield line, "a MyST directive; other readers show it as text."
        elif token.type.endswith("_label"):
            yield line, "a labelled equation is MyST."
        elif token.type == "image":
            yield (
                line,
                "a picture from a file or an address; figures are drawn by code.",
            )
        elif token.type in ("html_block", "html_inline"):
            for offset, sentence in foreign_html(token.content):
                yield line + offset, sentence


def foreign_html(content: str) -> Iterator[tuple[int, str]]:
    """HTML that is not plain, with its line in `content`, counted from 0."""
    content = COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), content)
    for tag in TAG.finditer(content):
        line = content.count("\n", 0, tag.start())
        name = tag["name"].lower()
        if name not in HTML:
            allowed = ", ".join(sorted(HTML))
            yield line, f"`<{name}>`: of HTML only {allowed} and comments."
        elif tag["rest"].strip(" /") not in ("", "open"):
            yield (
                line,
                f"`<{name}>` has attributes, which not every reader of notebooks "
                "keeps.",
            )


@rule(*EVERYWHERE)
def links(page: Page) -> Iterator[Finding]:
    """Links are https or relative, and what they lead to in the book exists."""
    folder = (page.root / page.name).parent
    for cell in page.markdown:
        targets = [
            (line, str(token.attrs["href"]))
            for line, token in cell.pieces()
            if token.type == "link_open"
        ]
        targets += [
            (definition["map"][0] + 1, definition["href"])
            for definition in cell.references.values()
        ]
        for line, target in targets:
            place = page.at(cell.number, line)
            if target.startswith(("https://", "mailto:", "#")):
                continue
            if re.match(r"[a-z]+:", target):
                yield Finding(place, f"the link to {target} is not https.")
            elif target.startswith("/"):
                yield Finding(place, f"the link to {target} is not relative.")
            elif not (folder / unquote(target.partition("#")[0])).is_file():
                sentence = f"the link leads to {target}, which does not exist."
                yield Finding(place, sentence)


@rule(*EVERYWHERE)
def words(page: Page) -> Iterator[Finding]:
    """Phrases that say nothing (see the book's voice in CONTRIBUTING.md)."""
    for cell in page.markdown:
        for line, text in cell.prose():
            for phrase in BANNED.finditer(text):
                sentence = f"says “{phrase[0]}”: say what is meant."
                yield Finding(page.at(cell.number, line), sentence)


@rule(*EVERYWHERE)
def one_title(page: Page) -> Iterator[Finding]:
    """One title, in the first line, with the chapter's number; headings below it in
    order.
    """
    first = page.notebook.cells[0] if page.notebook.cells else None
    title = ""
    if first and first.cell_type == "markdown":
        title = first.source.split("\n")[0]
    if page.number is None or not re.match(rf"# {page.number:02d} · \S", title):
        number = "NN" if page.number is None else f"{page.number:02d}"
        yield Finding(
            page.place,
            f"the first line is not a title `# {number} · …` with the file's number.",
        )
    before = 0
    for place, heading in enumerate(page.headings):
        at = page.at(heading.cell, heading.line)
        if heading.level == 1 and place:
            yield Finding(at, f"a second title, “{heading.text}”.")
        if before and heading.level > before + 1:
            yield Finding(at, f"the heading “{heading.text}” skips a level.")
        before = heading.level
    if page.kind in ("solutions", "exercises") and not re.search(
        rf"\b{page.kind}\b", title, re.IGNORECASE
    ):
        yield Finding(page.place, f"the title does not say “{page.kind}”.")
