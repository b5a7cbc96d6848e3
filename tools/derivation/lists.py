"""What is listed of the chapters: the table of contents of the site, and the tables in
README.md, book/index.md and book/guide.md, between two marks.
"""

import tomllib
from pathlib import Path

import yaml
from contents import SOURCE, Chapter, Contents
from notebooks import Finding, Place

from derivation import GENERATED, Problems

# English words for how many chapters there are.
WORDS = [
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "twenty-one",
    "twenty-two",
    "twenty-three",
    "twenty-four",
    "twenty-five",
]
BEGIN = f"<!-- {GENERATED} {SOURCE}; edit that file. -->"
END = "<!-- end of what is generated -->"


def table_of_contents(contents: Contents, root: Path) -> str:
    """The text of _toc.yml. A chapter is followed by its exercises and solutions, if it
    has them.
    """
    parts = [_pages(part, pages) for part, pages in contents.before.items()]
    for part, chapters in contents.parts():
        entries = []
        for chapter in chapters:
            if not chapter.is_written:
                continue
            entry: dict[str, object] = {"file": f"chapters/{chapter.stem}"}
            if (root / f"solutions/{chapter.stem}.ipynb").exists():
                entry["sections"] = [
                    {"file": f"{folder}/{chapter.stem}", "title": folder.capitalize()}
                    for folder in ("exercises", "solutions")
                ]
            entries.append(entry)
        if entries:
            parts.append({"caption": part, "chapters": entries})
    parts += [_pages(part, pages) for part, pages in contents.after.items()]
    text = yaml.safe_dump(
        {"format": "jb-book", "root": "book/index", "parts": parts},
        allow_unicode=True,
        sort_keys=False,
    )
    return f"# {GENERATED} {SOURCE}: edit that file.\n{text}"


def _pages(part: str, pages: list[str]) -> dict[str, object]:
    chapters = [{"file": f"book/{page}"} for page in pages]
    return {"caption": part, "chapters": chapters}


def version(root: Path) -> str:
    """The book's version, as pyproject.toml states it."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return project["project"]["version"]


def edition(root: Path) -> str:
    """The version, and whether CHANGELOG.md lists more than is released."""
    path = root / "CHANGELOG.md"
    log = path.read_text(encoding="utf-8") if path.exists() else ""
    unreleased = log.partition("## [Unreleased]")[2].partition("\n## ")[0].strip()
    return f"{version(root)} and what came since" if unreleased else version(root)


def readme_list(contents: Contents, root: Path) -> str:
    """What README.md says of the chapters that there are."""
    written = contents.written
    lines = [
        f"Version {edition(root)}: the frame of the book and {_chapters(written)}.",
        "",
        "| chapter | what it shows | exercises |",
        "|---|---|---|",
    ]
    for chapter in written:
        link = f"[{chapter.label}](chapters/{chapter.stem}.ipynb)"
        exercises = ""
        if (root / f"solutions/{chapter.stem}.ipynb").exists():
            exercises = f"[{chapter.number:02d}](exercises/{chapter.stem}.ipynb)"
        lines.append(f"| {link} | {chapter.promise} | {exercises} |")
    lines += [
        "",
        f"The plan has {len(contents.chapters)} chapters; their numbers are fixed, so "
        "a chapter keeps its number when\nthose before it arrive.",
    ]
    return "\n".join(lines)


def index_list(contents: Contents, root: Path) -> str:
    """What the landing page says of the chapters that there are."""
    written = contents.written
    planned = len(contents.chapters) - len(written)
    lines = [
        f"This is version {edition(root)}: {_chapters(written)} of "
        f"{WORDS[len(contents.chapters)]}, complete with exercises and solutions"
        f"{_without_exercises(written)}.",
        "",
        "| chapter | the question it answers |",
        "|:--|:--|",
    ]
    for chapter in written:
        link = f"[{chapter.label}](../chapters/{chapter.stem}.ipynb)"
        lines.append(f"| {link} | {chapter.question} |")
    if planned:
        lines += [
            "",
            "The [map of the book](guide.md#the-map) says what the other "
            f"{WORDS[planned]} will hold.",
        ]
    return "\n".join(lines)


def guide_map(contents: Contents, root: Path) -> str:
    """The guide's map: all chapters, by part; those that there are, linked."""
    lines = ["| | chapter | what you see running | state |", "|--:|:--|:--|:--|"]
    for part, chapters in contents.parts():
        lines.append(f"| | **{part}** | | |")
        for chapter in chapters:
            name = chapter.title
            state = "planned"
            if chapter.is_written:
                name = f"[{chapter.title}](../chapters/{chapter.stem}.ipynb)"
                state = "**here**"
            row = [f"{chapter.number:02d}", name, chapter.promise, state]
            lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _without_exercises(written: list[Chapter]) -> str:
    numbers = [f"{each.number:02d}" for each in written if not each.exercises]
    if not numbers:
        return ""
    return f" (there is nothing to solve in {' and '.join(numbers)})"


def _chapters(written: list[Chapter]) -> str:
    plural = "" if len(written) == 1 else "s"
    return f"{WORDS[len(written)]} chapter{plural}"


PAGES = {
    "README.md": readme_list,
    "book/index.md": index_list,
    "book/guide.md": guide_map,
}


def with_list(text: str, generated: str, name: str) -> str:
    """A page with this text between its marks.

    Raises
    ------
    Problems: if the marks are not there, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sentence = f"the list of chapters stands between `{BEGIN}` and `{END}`."
        raise Problems(Finding(Place(name), sentence))
    return f"{before}{BEGIN}\n{generated}\n{END}{after}"


def list_files(contents: Contents, root: Path) -> dict[str, str]:
    """_toc.yml and the pages with tables of chapters.

    Raises
    ------
    Problems: if a page has no marks.
    """
    files = {"_toc.yml": table_of_contents(contents, root)}
    for name, generate in PAGES.items():
        text = (root / name).read_text(encoding="utf-8")
        files[name] = with_list(text, generate(contents, root), name)
    return files
