"""Hold notebooks to the book's rules: python tools/lint.py [NB…], by default all of
them.

Prints a line for each thing that is wrong, `file, cell 'id' (n), line m: what`, and
exits with 1 where there is one. Each rule is a function of a `Page`; what it is for
stands in its docstring.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from derivation.blanks import BEGIN
from derivation.scratch import directives
from key import changed_since
from nbformat import NotebookNode
from notebooks import (
    KEPT_CELL_METADATA,
    KEPT_NOTEBOOK_METADATA,
    MEASURED,
    NOTEBOOK_METADATA,
    ROOT,
    Finding,
    NotebookError,
    Place,
    close_enough,
    display,
    measured_numbers,
    numbered,
    read,
    tags,
)

MOST_BYTES = 1_000_000
MOST_LINES = 30
MOST_IGNORED = 6
WIDEST_TOLERANCE = 0.1
FEWEST_EXERCISES = 5  # from chapter 2 on

HTML = {"br", "details", "kbd", "sub", "summary", "sup"}
TAGS = {
    "break-it",
    "exercise-only",
    "hide-cell",
    "hide-input",
    "hide-output",
    "nbval-ignore-output",
    "raises-exception",
    "remove-cell",
    "setup",
    "solution-only",
}
# What an output that is not compared may depend on: a cell carries the tag for one of
# these.
CHANGING = (
    "Stopwatch",
    "seconds",
    "perf_counter",
    "peak_memory",
    "memory",
    "__version__",
    "%time",
)
BANNED = re.compile(
    r"\bIn this (?:section|chapter|notebook), we(?: will|'ll)\b|\bIt is important to note\b"
    r"|\bdelv(?:e|es|ing)\b|\bcrucial(?:ly)?\b|\bpowerful\b|\bseamless(?:ly)?\b",
    re.IGNORECASE,
)
MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/(?:home|root|work|Users|tmp|content|mnt|private|var/folders)/|\b[A-Z]:\\Users\b"
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{8,}\b")

MYST = [
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
    (
        re.compile(r"!\[[^\]]*\]"),
        "a picture from a file or an address; figures are drawn by code.",
    ),
]
TAG = re.compile(r"</?\s*(?P<name>[A-Za-z][A-Za-z0-9-]*)(?P<rest>[^<>]*)>")
LINK = re.compile(
    r"(?<!!)\[[^\]]*\]\(\s*<?(?P<target>[^)\s>]+)>?[^)]*\)|^\s*\[[^\]^]+\]:\s*(?P<other>\S+)"
)
HEADING = re.compile(r"^(?P<level>#{1,6})\s+(?P<text>.+?)\s*#*\s*$")
EXERCISE = re.compile(r"^## Exercise (?P<chapter>\d+)\.(?P<number>\d+) · \S")


def blanked(text: str, *patterns: re.Pattern[str]) -> str:
    """`text` with what the patterns find replaced by spaces: columns and lines stay
    where they are.
    """
    for pattern in patterns:
        text = pattern.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return text


FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<fence>`{3,}|~{3,})[^\n]*\n.*?(?:^[ ]*(?P=fence)[`~]*[ ]*$|\Z)",
    re.M | re.S,
)
INLINE_CODE = re.compile(r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.S)
COMMENT = re.compile(r"<!--.*?-->", re.S)
DISPLAY_MATHS = re.compile(r"\$\$.*?\$\$", re.S)
INLINE_MATHS = re.compile(r"(?<![\\$])\$(?![\s$])[^$\n]*?(?<!\s)\$(?!\d)")


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
        found = re.match(r"(\d\d)-", Path(self.name).name)
        return int(found[1]) if found else None

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
    def markdown(self) -> list[tuple[int, NotebookNode]]:
        return [
            (number, cell)
            for number, cell in numbered(self.notebook)
            if cell.cell_type == "markdown"
        ]

    @cached_property
    def headings(self) -> list[tuple[int, int, int, str]]:
        """Cell, line, level and text of each heading."""
        found = []
        for number, cell in self.markdown:
            for line, text in enumerate(
                blanked(cell.source, COMMENT, FENCE).split("\n"), start=1
            ):
                heading = HEADING.match(text)
                if heading:
                    found.append((number, line, len(heading["level"]), heading["text"]))
        return found

    def find(
        self, pattern: re.Pattern[str], text: str, number: int
    ) -> Iterator[tuple[Place, re.Match[str]]]:
        for found in pattern.finditer(text):
            yield self.at(number, text.count("\n", 0, found.start()) + 1), found


Rule = Callable[[Page], Iterator[Finding]]
RULES: list[tuple[Rule, tuple[str, ...]]] = []
EVERYWHERE = ("chapters", "solutions", "exercises")
EXECUTED = ("chapters", "solutions")


def rule(*kinds: str) -> Callable[[Rule], Rule]:
    """Register a rule for notebooks of these kinds."""

    def register(function: Rule) -> Rule:
        RULES.append((function, kinds))
        return function

    return register


# The file


@rule(*EVERYWHERE)
def size(page: Page) -> Iterator[Finding]:
    """A committed notebook stays small: GitHub and Colab stop showing large ones."""
    if page.size >= MOST_BYTES:
        yield Finding(
            page.place,
            f"has {page.size:,} bytes; less than {MOST_BYTES:,} are allowed.",
        )


@rule(*EVERYWHERE)
def metadata(page: Page) -> Iterator[Finding]:
    """No widget state, no timing, no versions of this machine: they change with every
    run.
    """
    expected = dict(NOTEBOOK_METADATA)
    for key, value in page.notebook.metadata.items():
        if key in KEPT_NOTEBOOK_METADATA:
            continue
        if key not in expected:
            yield Finding(page.place, f"has metadata `{key}`; `make run` takes it out.")
        elif value != expected[key]:
            yield Finding(
                page.place,
                f"has another `{key}` than the book's; `make run` puts that in.",
            )
    for key in expected.keys() - page.notebook.metadata.keys():
        yield Finding(page.place, f"has no `{key}`; `make run` puts it in.")
    for number, cell in numbered(page.notebook):
        for key in cell.metadata.keys() - set(KEPT_CELL_METADATA):
            yield Finding(
                page.at(number), f"has metadata `{key}`; `make run` takes it out."
            )
        if cell.get("attachments"):
            yield Finding(
                page.at(number), "has an attached file; figures are drawn by code."
            )
        for tag in tags(cell):
            if tag not in TAGS:
                yield Finding(
                    page.at(number), f"has the tag `{tag}`, which nothing here knows."
                )


# Markdown that every reader of notebooks shows alike


@rule(*EVERYWHERE)
def portable_markdown(page: Page) -> Iterator[Finding]:
    """A notebook reads well in Colab, JupyterLab, on GitHub and on the site."""
    for number, cell in page.markdown:
        for place, _ in page.find(
            re.compile(r"^ *(?:`{3,}|~{3,}) *\{", re.M), cell.source, number
        ):
            yield Finding(place, "a MyST directive; other readers show it as text.")
        for place, _ in page.find(
            re.compile(r"\$\$[ ]*\([\w-]+\)[ ]*$", re.M), cell.source, number
        ):
            yield Finding(place, "a labelled equation is MyST.")
        text = blanked(cell.source, COMMENT, FENCE)
        without_code = blanked(text, INLINE_CODE, DISPLAY_MATHS, INLINE_MATHS)
        # A role ends in inline code, so there the backticks stay.
        roles = INLINE_CODE.sub(
            lambda found: "`" + re.sub(r"[^\n]", " ", found[0][1:-1]) + "`", text
        )
        roles = blanked(roles, DISPLAY_MATHS, INLINE_MATHS)
        for pattern, sentence in MYST:
            source = roles if "role" in sentence else without_code
            for line, content in enumerate(source.split("\n"), start=1):
                if pattern.search(content):
                    yield Finding(page.at(number, line), sentence)
        for place, found in page.find(TAG, without_code, number):
            name, rest = found["name"].lower(), found["rest"].strip(" /")
            if name not in HTML and not rest.startswith(
                (":", "@")
            ):  # <https://…>, <name@…>
                yield Finding(
                    place,
                    f"`<{name}>`: of HTML only {', '.join(sorted(HTML))} and comments.",
                )
            elif name in HTML and rest not in ("", "open"):
                yield Finding(
                    place,
                    f"`<{name}>` has attributes, which not every reader of "
                    "notebooks keeps.",
                )


@rule(*EVERYWHERE)
def links(page: Page) -> Iterator[Finding]:
    """Links are https or relative, and what they lead to in the book exists."""
    folder = (page.root / page.name).parent
    for number, cell in page.markdown:
        text = blanked(cell.source, COMMENT, FENCE, INLINE_CODE, DISPLAY_MATHS)
        for line, content in enumerate(text.split("\n"), start=1):
            for found in LINK.finditer(content):
                target = found["target"] or found["other"]
                path = target.partition("#")[0]
                if target.startswith(("https://", "mailto:", "#")):
                    continue
                if re.match(r"[a-z]+:", target):
                    yield Finding(
                        page.at(number, line), f"the link to {target} is not https."
                    )
                elif target.startswith("/"):
                    yield Finding(
                        page.at(number, line), f"the link to {target} is not relative."
                    )
                elif not (folder / path).is_file():
                    yield Finding(
                        page.at(number, line),
                        f"the link leads to {target}, which does not exist.",
                    )


@rule(*EVERYWHERE)
def words(page: Page) -> Iterator[Finding]:
    """Phrases that say nothing (see the book's voice in CONTRIBUTING.md)."""
    for number, cell in page.markdown:
        text = blanked(cell.source, FENCE, INLINE_CODE)
        for place, found in page.find(BANNED, text, number):
            yield Finding(place, f"says “{found[0]}”: say what is meant.")


@rule(*EVERYWHERE)
def one_title(page: Page) -> Iterator[Finding]:
    """One title, in the first line, with the chapter's number; headings below it in
    order.
    """
    first = page.notebook.cells[0] if page.notebook.cells else None
    title = (
        first.source.split("\n")[0] if first and first.cell_type == "markdown" else ""
    )
    if page.number is None or not re.match(rf"# {page.number:02d} · \S", title):
        number = "NN" if page.number is None else f"{page.number:02d}"
        yield Finding(
            page.place,
            f"the first line is not a title `# {number} · …` with the file's number.",
        )
    before = 0
    for place, (number, line, level, text) in enumerate(page.headings):
        if level == 1 and place:
            yield Finding(page.at(number, line), f"a second title, “{text}”.")
        if before and level > before + 1:
            yield Finding(page.at(number, line), f"the heading “{text}” skips a level.")
        before = level
    word = {"solutions": "solutions", "exercises": "exercises"}.get(page.kind)
    if word and not re.search(rf"\b{word}\b", title, re.IGNORECASE):
        yield Finding(page.place, f"the title does not say “{word}”.")


# Code and outputs


@rule(*EVERYWHERE)
def set_up(page: Page) -> Iterator[Finding]:
    """The first code cell is the set-up cell; nothing else installs or calls the shell."""
    marked = [
        number for number, cell in numbered(page.notebook) if "setup" in tags(cell)
    ]
    if len(marked) != 1 or not page.code or marked[0] != page.code[0][0]:
        yield Finding(
            page.place, "the first code cell, and no other, must be tagged `setup`."
        )
    for number, cell in page.code:
        if "setup" in tags(cell):
            continue
        for place, _ in page.find(
            re.compile(
                r"^[ \t]*(?:!|%(?:pip|conda|system|sx)\b|%%(?:bash|sh)\b)", re.M
            ),
            cell.source,
            number,
        ):
            yield Finding(place, "calls the shell; only the set-up cell may.")


@rule(*EVERYWHERE)
def short_cells(page: Page) -> Iterator[Finding]:
    """A cell does one thing."""
    for number, cell in page.code:
        lines = len(cell.source.split("\n"))
        if not cell.source.strip():
            yield Finding(page.at(number), "is empty.")
        if lines > MOST_LINES:
            yield Finding(
                page.at(number), f"has {lines} lines; at most {MOST_LINES} are allowed."
            )


@rule(*EVERYWHERE)
def machine(page: Page) -> Iterator[Finding]:
    """No folder of the machine that it was made on, no address in memory."""
    for number, cell in numbered(page.notebook):
        for place, found in page.find(MACHINE_PATH, cell.source, number):
            yield Finding(place, f"names a folder of one machine, {found[0]}…")
        for output in cell.get("outputs", []):
            text = "\n".join(texts(output))
            found = MACHINE_PATH.search(text)
            if found:
                yield Finding(
                    page.at(number),
                    f"its output names a folder of one machine, {found[0]}…",
                )
            found = ADDRESS.search(text)
            if found:
                yield Finding(
                    page.at(number), f"its output has an address in memory, {found[0]}."
                )


def texts(output: NotebookNode) -> Iterator[str]:
    """All text of an output, stack traces too; not pictures."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield from (str(output.evalue), *output.traceback)
    else:
        for kind, content in output.get("data", {}).items():
            if not kind.startswith("image/") or kind == "image/svg+xml":
                yield content if isinstance(content, str) else json.dumps(content)


def pictures(cell: NotebookNode) -> bool:
    outputs = cell.get("outputs", [])
    return any(
        kind.startswith("image/")
        for output in outputs
        for kind in output.get("data", {})
    )


@rule(*EXECUTED)
def executed(page: Page) -> Iterator[Finding]:
    """Every code cell was run, from the first to the last, once."""
    if page.code and all(cell.execution_count is None for _, cell in page.code):
        yield Finding(page.place, f"has not been run: make run NB={page.name}")
        return
    for count, (number, cell) in enumerate(page.code, start=1):
        if cell.execution_count is None:
            yield Finding(page.at(number), f"has not been run: make run NB={page.name}")
        elif cell.execution_count != count:
            sentence = (
                f"was run as number {cell.execution_count}, not {count}: make run "
                f"NB={page.name}"
            )
            yield Finding(page.at(number), sentence)


@rule(*EXECUTED)
def up_to_date(page: Page) -> Iterator[Finding]:
    """The outputs are those of the code, and the time and memory that a chapter states
    are those measured.
    """
    run = status(page.root).get(page.name)
    if run is None:
        yield Finding(
            page.place,
            f"has no measured run in book/status.json: make run NB={page.name}",
        )
        return
    changed = changed_since(run.get("key", {}), page.notebook, page.root)
    if changed:
        yield Finding(
            page.place,
            f"changed since it was run: {', '.join(changed)}: make run NB={page.name}",
        )
    stated = measured_numbers(page.notebook.cells[0].source)
    if stated and not (
        close_enough(stated[0], run["seconds"], share=0.4, slack=2)
        and close_enough(stated[1], run["memory_mb"] / 1000, share=0.4, slack=0.1)
    ):
        sentence = (
            f"states {stated[0]:g} s and {stated[1]:g} GB; measured were "
            f"{run['seconds']} s and "
        )
        yield Finding(page.at(1), sentence + f"{run['memory_mb'] / 1000:.1f} GB.")


def status(root: Path) -> dict[str, dict[str, Any]]:
    path = root / "book" / "status.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@rule(*EXECUTED)
def clean_outputs(page: Page) -> Iterator[Finding]:
    """No stderr, no widget, no progress bar; an exception only where it is the lesson."""
    for number, cell in page.code:
        raised = any(output.output_type == "error" for output in cell.outputs)
        if raised and "raises-exception" not in tags(cell):
            yield Finding(
                page.at(number),
                "has an exception in its output and no tag `raises-exception`.",
            )
        if not raised and "raises-exception" in tags(cell):
            yield Finding(
                page.at(number),
                "has the tag `raises-exception` and no exception in its output.",
            )
        for output in cell.outputs:
            if output.get("name") == "stderr":
                yield Finding(
                    page.at(number),
                    "has output on stderr: find its cause, or silence just that.",
                )
            if any("widget" in kind for kind in output.get("data", {})):
                yield Finding(
                    page.at(number), "shows a widget, which nobody sees on the site."
                )
            if output.output_type == "stream" and re.search(r"\r|\x1b\[", output.text):
                yield Finding(
                    page.at(number),
                    "its output has a progress bar or colours of a terminal.",
                )


@rule(*EXECUTED)
def figures(page: Page) -> Iterator[Finding]:
    """A cell that draws has its picture, and the picture has a text for those who do
    not see it.
    """
    for number, cell in page.code:
        if cell.execution_count is None:
            continue
        alternative = (cell.metadata.get("mystnb", {}).get("image") or {}).get(
            "alt", ""
        )
        if "plt.show()" in cell.source and not pictures(cell):
            yield Finding(
                page.at(number), "calls plt.show() and has no picture in its output."
            )
        if not pictures(cell):
            if alternative:
                yield Finding(page.at(number), "has alternative text and no picture.")
            continue
        if not alternative.strip():
            yield Finding(
                page.at(number),
                "has a picture without alternative text (mystnb.image.alt).",
            )
        elif len(alternative.split()) < 6 or re.match(
            r"(?:an? |the )?(?:image|picture|figure|plot|chart|graph)(?: of)?\b",
            alternative,
            re.IGNORECASE,
        ):
            sentence = (
                "its alternative text should say, in a sentence, what the picture "
                "shows, not what it is."
            )
            yield Finding(page.at(number), sentence)


@rule(*EXECUTED)
def comparison(page: Page) -> Iterator[Finding]:
    """Outputs go uncompared only for time, memory and versions, and rarely; tolerances
    stay narrow.
    """
    ignored = [
        (number, cell)
        for number, cell in page.code
        if "nbval-ignore-output" in tags(cell)
    ]
    if len(ignored) > MOST_IGNORED:
        sentence = (
            f"{len(ignored)} cells are tagged nbval-ignore-output; at most "
            f"{MOST_IGNORED} are allowed."
        )
        yield Finding(page.place, sentence)
    for number, cell in ignored:
        if not any(name in cell.source for name in CHANGING):
            sentence = (
                "is tagged nbval-ignore-output and has to do with none of "
                f"{', '.join(CHANGING)}."
            )
            yield Finding(page.at(number), sentence)
    for number, cell in page.code:
        for place, found in page.find(
            re.compile(r"#\s*(?:NBVAL_|PYTEST_VALIDATE)\w+"), cell.source, number
        ):
            yield Finding(place, f"`{found[0]}`: use tags and `nbval_tolerance`.")
        tolerance = cell.metadata.get("nbval_tolerance")
        number_given = isinstance(tolerance, int | float) and not isinstance(
            tolerance, bool
        )
        if tolerance is not None and not (
            number_given and 0 < tolerance <= WIDEST_TOLERANCE
        ):
            yield Finding(
                page.at(number),
                f"nbval_tolerance {tolerance} is not above 0 and at most "
                f"{WIDEST_TOLERANCE}.",
            )


# Anatomy


@rule("chapters")
def chapter_anatomy(page: Page) -> Iterator[Finding]:
    """A chapter opens with what it gives and takes, binds its claims, and closes with
    where to go on.
    """
    before_code = page.code[0][0] - 1 if page.code else len(page.notebook.cells)
    opening = "\n\n".join(cell.source for cell in page.notebook.cells[:before_code])
    promise = re.split(r"\n\s*\n", COMMENT.sub("", opening).strip())
    if len(promise) < 2 or promise[1].startswith(("#", "**", "-", "|")):
        yield Finding(
            page.place,
            "no promise: a paragraph that says what the chapter gives, below the "
            "title.",
        )
    for part in ("What you will be able to do", "Builds on"):
        if part not in opening:
            yield Finding(page.place, f"“{part}” is missing before the set-up cell.")
    if not page.notebook.cells or not MEASURED.search(page.notebook.cells[0].source):
        yield Finding(
            page.place,
            "the first cell has no line `<!-- measured -->` for its time and memory.",
        )
    elif not measured_numbers(page.notebook.cells[0].source):
        yield Finding(
            page.at(1), f"its measured line is not filled in: make run NB={page.name}"
        )
    order = []
    for part in ("What goes wrong", "Summary", "Further reading"):
        found = [
            number
            for number, _, _, text in page.headings
            if part.lower() in text.lower()
        ]
        if not found:
            yield Finding(page.place, f"no heading “{part}”.")
        order += found[-1:]
    if order != sorted(order):
        yield Finding(
            page.place,
            "“What goes wrong”, “Summary” and “Further reading” stand in another "
            "order.",
        )
    if len(order) == 3:
        reading = "\n".join(
            cell.source for cell in page.notebook.cells[order[-1] - 1 :]
        )
        if len(re.findall(r"\]\(https://", reading)) < 2:
            yield Finding(
                page.at(order[-1]),
                "further reading has fewer than two links to what is cited.",
            )
    last = page.notebook.cells[-1].source if page.notebook.cells else ""
    for folder in ("exercises", "solutions") if (page.number or 0) > 1 else ():
        if f"../{folder}/{Path(page.name).name}" not in last:
            yield Finding(page.place, f"the last cell does not link to its {folder}.")
    if not any(re.search(r"\bclaim\(", cell.source) for _, cell in page.code):
        yield Finding(page.place, "asserts nothing: no cell calls claim(…).")


@rule("solutions")
def solutions_anatomy(page: Page) -> Iterator[Finding]:
    """Enough exercises, each with hint, answer, its check after it, and a reason; one
    is a bug to find.
    """
    everything = "\n".join(cell.source for _, cell in page.markdown)
    for folder in ("chapters", "exercises"):
        if f"../{folder}/{Path(page.name).name}" not in everything:
            yield Finding(
                page.place, f"has no link to ../{folder}/{Path(page.name).name}."
            )
    for number, cell in page.code:
        if directives(cell):
            yield Finding(page.at(number), "`#| …`: only chapters export.")
    starts = [
        (number, line, text)
        for number, line, level, text in page.headings
        if level == 2 and re.match(r"exercise\b", text, re.IGNORECASE)
    ]
    if len(starts) < FEWEST_EXERCISES and (page.number or 0) > 1:
        yield Finding(
            page.place,
            f"has {len(starts)} exercises; at least {FEWEST_EXERCISES} are needed.",
        )
    broken = False
    for place, (number, line, text) in enumerate(starts):
        found = EXERCISE.match(f"## {text}")
        if not found or (int(found["chapter"]), int(found["number"])) != (
            page.number,
            place + 1,
        ):
            expected = f"## Exercise {page.number}.{place + 1} · …"
            yield Finding(page.at(number, line), f"the heading is not `{expected}`.")
        end = (
            starts[place + 1][0] - 1
            if place + 1 < len(starts)
            else len(page.notebook.cells)
        )
        cells = page.notebook.cells[number - 1 : end]
        broken |= bool(re.search(r"break[- ]it", text, re.IGNORECASE)) or any(
            "break-it" in tags(c) for c in cells
        )
        for problem in exercise_problems(cells, page.number):
            yield Finding(page.at(number, line), problem)
    if starts and not broken:
        yield Finding(
            page.place, "no exercise is a break-it (in its heading, or a cell's tag)."
        )


def exercise_problems(cells: list[NotebookNode], chapter: int | None) -> Iterator[str]:
    """What one exercise lacks, from its heading to the next."""
    markdown = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    if not re.search(
        r"<details[^>]*>\s*<summary>\s*(?:<[^>]+>)*\s*Hint", markdown, re.IGNORECASE
    ):
        yield "has no hint (`<details><summary>Hint</summary>…</details>`)."
    answered = [
        place
        for place, cell in enumerate(cells)
        if cell.cell_type == "code" and BEGIN in cell.source
    ]
    call = re.compile(rf"\bchecks\.ch{chapter or 0:02d}\.\w+\(")
    checked = [
        place
        for place, cell in enumerate(cells)
        if cell.cell_type == "code" and call.search(cell.source)
    ]
    if not answered:
        yield f"has no answer between `{BEGIN}` and its end."
    if not checked:
        yield f"has no check: no cell calls checks.ch{chapter or 0:02d}.…(…)."
    elif answered and checked[-1] <= answered[-1]:
        yield "its check does not stand in a cell of its own after the answer."
    if not any(
        cell.cell_type == "markdown" and "solution-only" in tags(cell) for cell in cells
    ):
        yield "has no explanation (a Markdown cell tagged solution-only)."


@rule("exercises")
def blank_anatomy(page: Page) -> Iterator[Finding]:
    """A blank is derived, and nobody has run it."""
    if (
        page.notebook.metadata.get("derived_from")
        != f"solutions/{Path(page.name).name}"
    ):
        yield Finding(page.place, "is not derived from its solutions: make derive.")
    for number, cell in page.code:
        if cell.outputs or cell.execution_count is not None:
            yield Finding(page.at(number), "has been run: make derive.")


def lint(path: Path, root: Path = ROOT) -> list[Finding]:
    """Everything that is wrong with one notebook.

    Raises
    ------
    NotebookError: if it cannot be read as a notebook at all.
    """
    page = Page(read(path, root), display(path, root), root, path.stat().st_size)
    return [
        finding
        for function, kinds in RULES
        if page.kind in kinds or (page.kind not in EVERYWHERE and kinds == EVERYWHERE)
        for finding in function(page)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description="Hold notebooks to the book's rules.")
    parser.add_argument(
        "notebooks",
        nargs="*",
        type=Path,
        metavar="NB",
        help="default: all of the book's",
    )
    arguments = parser.parse_args()
    paths = arguments.notebooks or [
        path
        for folder in EVERYWHERE
        for path in sorted((ROOT / folder).glob("*.ipynb"))
    ]
    failed = False
    for path in paths:
        try:
            findings = lint(path)
        except NotebookError as error:
            findings = [error]
        for finding in findings:
            print(finding, file=sys.stderr)
        failed |= bool(findings)
    if not failed:
        print(f"{len(paths)} notebooks keep the rules.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
