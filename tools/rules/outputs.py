"""Rules for outputs: of this code, clean, narrow enough for the page, and compared."""

import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from key import changed_since
from notebooks import Finding, NotebookNode, close_enough, measured_numbers, tags

from rules.page import EXECUTED, Page, rule

# Columns that a reader sees without scrolling.
WIDTH = 80
MOST_IGNORED = 6
WIDEST_TOLERANCE = 0.1
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
ANSI = re.compile(r"\x1b\[[0-9;]*m")
MARKER = re.compile(r"#\s*(?:NBVAL_|PYTEST_VALIDATE)\w+")
WHAT_IT_IS = re.compile(
    r"(?:an? |the )?(?:image|picture|figure|plot|chart|graph)(?: of)?\b", re.IGNORECASE
)


@rule(*EXECUTED)
def executed(page: Page) -> Iterator[Finding]:
    """Every code cell was run, from the first to the last, once."""
    again = f"make run NB={page.name}"
    if page.code and all(cell.execution_count is None for _, cell in page.code):
        yield Finding(page.place, f"has not been run: {again}")
        return
    for count, (number, cell) in enumerate(page.code, start=1):
        if cell.execution_count is None:
            yield Finding(page.at(number), f"has not been run: {again}")
        elif cell.execution_count != count:
            sentence = f"was run as number {cell.execution_count}, not {count}: {again}"
            yield Finding(page.at(number), sentence)


@rule(*EXECUTED)
def up_to_date(page: Page) -> Iterator[Finding]:
    """The outputs are those of the code and of all that it imports, and the time and
    memory that a chapter states are those measured.
    """
    again = f"make run NB={page.name}"
    run = runs(page.root).get(page.name)
    if run is None or "key" not in run:
        sentence = f"has no measured run in book/status.json: {again}"
        yield Finding(page.place, sentence)
        return
    changed = changed_since(run["key"], page.notebook, page.root)
    if changed:
        sentence = f"changed since it was run: {', '.join(changed)}: {again}"
        yield Finding(page.place, sentence)
    stated = measured_numbers(page.notebook.cells[0].source)
    gigabytes = run["memory_mb"] / 1000
    if stated and not (
        close_enough(stated[0], run["seconds"], share=0.4, slack=2)
        and close_enough(stated[1], gigabytes, share=0.4, slack=0.1)
    ):
        sentence = (
            f"states {stated[0]:g} s and {stated[1]:g} GB; measured were "
            f"{run['seconds']} s and {gigabytes:.1f} GB."
        )
        yield Finding(page.at(1), sentence)


def runs(root: Path) -> dict[str, dict[str, Any]]:
    """The last run of each notebook, as `make run` keeps it."""
    path = root / "book" / "status.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


@rule(*EXECUTED)
def clean_outputs(page: Page) -> Iterator[Finding]:
    """No stderr, no widget, no progress bar; an exception only where it teaches."""
    for number, cell in page.code:
        at = page.at(number)
        raised = any(output.output_type == "error" for output in cell.outputs)
        if raised and "raises-exception" not in tags(cell):
            sentence = "has an exception in its output and no tag `raises-exception`."
            yield Finding(at, sentence)
        if not raised and "raises-exception" in tags(cell):
            sentence = "has the tag `raises-exception` and no exception in its output."
            yield Finding(at, sentence)
        for output in cell.outputs:
            if output.get("name") == "stderr":
                sentence = "has output on stderr: find its cause, or silence just that."
                yield Finding(at, sentence)
            if any("widget" in kind for kind in output.get("data", {})):
                yield Finding(at, "shows a widget, which nobody sees on the site.")
            if output.output_type == "stream" and re.search(r"\r|\x1b\[", output.text):
                sentence = "its output has a progress bar or colours of a terminal."
                yield Finding(at, sentence)


@rule(*EXECUTED)
def narrow_outputs(page: Page) -> Iterator[Finding]:
    """No line of an output is cut off at the edge of the page."""
    for number, cell in page.code:
        widths = [
            columns(line)
            for output in cell.outputs
            for text in shown_texts(output)
            for line in text.splitlines()
        ]
        widest = max(widths, default=0)
        if widest > WIDTH:
            sentence = (
                f"its output has a line of {widest} columns; {WIDTH} fit on the page."
            )
            yield Finding(page.at(number), sentence)


def shown_texts(output: NotebookNode) -> list[str]:
    """The texts of an output that a page shows as they are: no table, no picture."""
    if output.output_type == "stream":
        return [output.text]
    if output.output_type == "error":
        return [ANSI.sub("", text) for text in output.traceback]
    data = output.get("data", {})
    return [data["text/plain"]] if list(data) == ["text/plain"] else []


def columns(line: str) -> int:
    """The width of a line in a fixed-width font: a Chinese character takes two."""
    return sum(
        (unicodedata.east_asian_width(sign) in "WF") + 1
        for sign in line
        if not unicodedata.combining(sign)
    )


def pictures(cell: NotebookNode) -> bool:
    return any(
        kind.startswith("image/")
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    )


@rule(*EXECUTED)
def figures(page: Page) -> Iterator[Finding]:
    """A cell that draws has its picture, and the picture has a text for those who do
    not see it.
    """
    for number, cell in page.code:
        if cell.execution_count is None:
            continue
        at = page.at(number)
        image = cell.metadata.get("mystnb", {}).get("image") or {}
        alternative = image.get("alt", "")
        if "plt.show()" in cell.source and not pictures(cell):
            yield Finding(at, "calls plt.show() and has no picture in its output.")
        if not pictures(cell):
            if alternative:
                yield Finding(at, "has alternative text and no picture.")
        elif not alternative.strip():
            sentence = "has a picture without alternative text (mystnb.image.alt)."
            yield Finding(at, sentence)
        elif len(alternative.split()) < 6 or WHAT_IT_IS.match(alternative):
            sentence = (
                "its alternative text should say, in a sentence, what the picture "
                "shows, not what it is."
            )
            yield Finding(at, sentence)


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
        for place, match in page.find(MARKER, cell.source, number):
            yield Finding(place, f"`{match[0]}`: use tags and `nbval_tolerance`.")
        tolerance = cell.metadata.get("nbval_tolerance")
        is_number = isinstance(tolerance, int | float) and tolerance is not True
        if tolerance is not None and not (
            is_number and 0 < tolerance <= WIDEST_TOLERANCE
        ):
            sentence = (
                f"nbval_tolerance {tolerance} is not above 0 and at most "
                f"{WIDEST_TOLERANCE}."
            )
            yield Finding(page.at(number), sentence)
