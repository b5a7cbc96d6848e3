"""Rules for the file as a whole: its size, its metadata, traces of a machine."""

import json
import re
from collections.abc import Iterator

from notebooks import (
    KEPT_CELL_METADATA,
    KEPT_NOTEBOOK_METADATA,
    NOTEBOOK_METADATA,
    Finding,
    NotebookNode,
    numbered,
    tags,
)

from rules.page import EVERYWHERE, Page, rule

MOST_BYTES = 1_000_000
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
MACHINE_PATH = re.compile(
    r"(?<![\w.~/-])/(?:home|root|work|Users|tmp|content|mnt|private|var/folders)/"
    r"|\b[A-Z]:\\Users\b"
)
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{8,}\b")


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


@rule(*EVERYWHERE)
def machine(page: Page) -> Iterator[Finding]:
    """No folder of the machine that it was made on, no address in memory."""
    for number, cell in numbered(page.notebook):
        for place, match in page.find(MACHINE_PATH, cell.source, number):
            yield Finding(place, f"names a folder of one machine, {match[0]}…")
        for output in cell.get("outputs", []):
            text = "\n".join(texts(output))
            folder = MACHINE_PATH.search(text)
            if folder:
                sentence = f"its output names a folder of one machine, {folder[0]}…"
                yield Finding(page.at(number), sentence)
            address = ADDRESS.search(text)
            if address:
                sentence = f"its output has an address in memory, {address[0]}."
                yield Finding(page.at(number), sentence)


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
