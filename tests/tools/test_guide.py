"""The guide's path for support tickets: no longer than it says, and never too long."""

import json
import re

from notebooks import ROOT

GUIDE = (ROOT / "book" / "guide.md").read_text(encoding="utf-8")
MOST = 6_000


def slug(heading):
    """The anchor of a heading, as the site and GitHub make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def words(markdown):
    """How many words a reader sees: no comments, no addresses, no roles' arguments."""
    text = re.sub(r"<!--.*?-->", "", markdown, flags=re.DOTALL)
    text = re.sub(r"\{of-100\}`[^`]*`", "92", text)
    text = re.sub(r"\]\([^)]*\)", "]", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def sections(cells):
    """The words of prose below each heading of a notebook, up to the next heading."""
    found = {}
    current = ""
    for cell in cells:
        if cell["cell_type"] != "markdown":
            continue
        for line in "".join(cell["source"]).splitlines():
            if heading := re.match(r"#+ (.+)", line):
                current = slug(heading[1])
                found[current] = 0
            found[current] = found.get(current, 0) + words(line)
    return found


def path_of(guide):
    """The section of the guide that holds the path."""
    return re.search(
        r"^### Support tickets\n(.*?)^##", guide, re.DOTALL | re.MULTILINE
    )[1]


def length(path):
    """The words of the path and of each section of a chapter that it leads to."""
    linked = set(re.findall(r"\]\(\.\./(chapters/[^)#]+)#([^)]+)\)", path))
    total = words(path)
    for name, anchor in linked:
        notebook = json.loads((ROOT / name).read_text(encoding="utf-8"))
        total += sections(notebook["cells"])[anchor]
    return total


def test_the_path_for_support_tickets_is_as_long_as_it_says():
    path = path_of(GUIDE)
    said = int(re.search(r"about ([\d,]+) words", path)[1].replace(",", ""))
    assert abs(length(path) - said) <= 250
    assert length(path) <= MOST


def test_words_and_sections_are_counted():
    assert words("See [the loop](../chapters/x.ipynb#a-b), **now** – it.") == 5
    assert words("<!-- two words -->right on {of-100}`a > b` of 100") == 5
    cells = [
        {"cell_type": "markdown", "source": ["# 04 · One\n", "\n", "a b"]},
        {"cell_type": "code", "source": ["# no words"]},
        {"cell_type": "markdown", "source": ["c\n", "### `Two`, that is\n", "d"]},
    ]
    assert sections(cells) == {"04--one": 5, "two-that-is": 4}
    guide = "## Paths\n\n### Support tickets\n\nOne.\n\n### Other\n"
    assert path_of(guide) == "\nOne.\n\n"
