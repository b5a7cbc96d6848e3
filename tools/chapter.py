"""Begin a chapter: python tools/chapter.py 12 parameter-efficient-fine-tuning

Copies the skeleton (tools/skeleton/) of the files that a chapter consists of, fills in
its record in book/chapters.yml, and prints what is left to write. The chapter must be
planned there, with its title. What is copied runs and keeps the rules, except that each
place to be written holds a mark which the tests refuse.
"""

import argparse
import re
import sys
from pathlib import Path

from contents import SOURCE, ChaptersError, read_contents
from notebooks import ROOT, NotebookNode, dumps, nbformat, normalise, write_text

SKELETON = Path(__file__).parent / "skeleton"
# Put together here: tests refuse a file with this word in it.
MARK = "TO" + "DO"
KINDS = (
    "implement",
    "implement",
    "predict, then verify",
    "measure",
    "break-it",
)


class ChapterError(Exception):
    """Why a chapter cannot be begun, in one sentence."""


def notebook(text: str) -> NotebookNode:
    """A notebook from text in jupytext's percent form, its cells named by `cell`."""
    import jupytext  # it imports nbformat: tools/notebooks.py

    content = jupytext.reads(text, fmt="py:percent")
    for cell in content.cells:
        cell.id = cell.metadata["cell"]
    normalise(content)
    nbformat.validate(content)
    return content


def skeleton(name: str, values: dict[str, str]) -> str:
    """The text of a file of the skeleton, `@NAME@` replaced by its value."""
    text = (SKELETON / f"{name}.txt").read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)


def with_record(text: str, number: int, slug: str, module: str) -> str:
    """book/chapters.yml with the rest of a planned chapter's record."""
    lines = text.split("\n")
    start = lines.index(f"  - number: {number}")
    end = start + 1
    while end < len(lines) and lines[end].startswith("    "):
        end += 1
    lines[end:end] = [
        f"    slug: {slug}",
        f'    question: "{MARK}: the question that the chapter answers?"',
        f"    modules: [{module}]",
    ]
    return "\n".join(lines)


def new_files(number: int, slug: str, root: Path = ROOT) -> dict[str, str]:
    """The files of a new chapter, by their paths from the root.

    Raises
    ------
    ChapterError: if the chapter is not planned, written already, or a file is there.
    ChaptersError: if book/chapters.yml is not as it should be.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", slug):
        raise ChapterError(f"a slug is small letters, digits and dashes, not {slug!r}.")
    contents = read_contents(root)
    chapters = {chapter.number: chapter for chapter in contents.chapters}
    if number not in chapters:
        raise ChapterError(f"{SOURCE} plans no chapter {number}: give it a record.")
    if chapters[number].is_written:
        raise ChapterError(f"chapter {number} is {chapters[number].stem} already.")
    module = slug.replace("-", "_")
    stem = f"{number:02d}-{slug}"
    values = {
        "N": str(number),
        "NN": f"{number:02d}",
        "SLUG": slug,
        "TITLE": chapters[number].title,
        "MODULE": module,
        "WRITE": MARK,
    }
    solutions = skeleton("solutions", values)
    for place, kind in enumerate(KINDS, start=1):
        solutions += skeleton("exercise", values | {"K": str(place), "KIND": kind})
    checks = f"ch{number:02d}.py"
    files = {
        f"chapters/{stem}.ipynb": dumps(notebook(skeleton("chapter", values))),
        f"solutions/{stem}.ipynb": dumps(notebook(solutions)),
        f"finetuning/checks/{checks}": skeleton("checks", values),
        f"tests/checks/wrong_answers/{checks}": skeleton("wrong_answers", values),
        f"tests/scratch/test_{module}.py": skeleton("unit_test", values),
    }
    present = [name for name in files if (root / name).exists()]
    if present:
        raise ChapterError(f"{present[0]} is there already; nothing was written.")
    text = (root / SOURCE).read_text(encoding="utf-8")
    files[str(SOURCE)] = with_record(text, number, slug, module)
    return files


def what_is_left(files: dict[str, str]) -> str:
    """What an author has to write, and what comes after that."""
    places = [
        f"  {name}: {text.count(MARK)} places marked {MARK}"
        for name, text in files.items()
    ]
    notebooks = " ".join(name for name in files if name.endswith(".ipynb"))
    return "\n".join(
        [
            "To write, by hand:",
            *places,
            "  book/references.bib: what the chapter cites",
            "Where there is something new, a line each:",
            "  book/notation.md, book/glossary.md, book/data-cards.md, CHANGELOG.md",
            "Then, as often as you like:",
            f'  make run NB="{notebooks}"',
            "  make lint",
            "And before a pull request:",
            "  make test",
            "CONTRIBUTING.md says more: “Add a chapter”.",
        ]
    )


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Begin a chapter.")
    parser.add_argument("number", type=int, metavar="N")
    parser.add_argument("slug", metavar="SLUG")
    options = parser.parse_args(arguments)
    try:
        files = new_files(options.number, options.slug, root)
    except (ChapterError, ChaptersError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, text in files.items():
        write_text(root / name, text)
    print(what_is_left(files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
